//! The health of what has parts: each is asked once, and one that hangs leaves the others time.

use super::Health;
use crate::backend::{Backend, Call, Name};

/// Asks a backend for a key, and then its parts.
pub(in crate::backend) fn examine<B: Backend + ?Sized>(
    backend: &B,
    call: Call,
    probe: Name<'_>,
) -> Health {
    let call = call.armed();
    let parts = count(backend);
    let answered = super::read(backend, share(call, parts + 1), probe);
    let mut health = Health::new(backend.about().name, answered);
    health.children = ask(backend, call, probe);
    health
}

/// The health of a wrapper, by that of its parts: it serves as long as one does of those it is served
/// by.
pub(in crate::backend) fn of_parts<B: Backend + ?Sized>(
    backend: &B,
    call: Call,
    probe: Name<'_>,
    serves: impl Fn(&str) -> bool,
) -> Health {
    let children = ask(backend, call.armed(), probe);
    let serving = || children.iter().filter(|(part, _)| serves(part)).map(|(_, child)| child);
    let up = serving().find(|child| child.error.is_none());
    let name = backend.about().name;
    let mut health = match up.or_else(|| serving().next()) {
        Some(Health { error: Some(error), .. }) => Health::new(name, Err(error.clone())),
        Some(Health { latency, .. }) => Health { latency: *latency, ..blank(name) },
        None => blank(name),
    };
    health.children = children;
    health
}

fn blank(name: &'static str) -> Health {
    Health { latency: None, ..Health::new(name, Ok(std::time::Duration::ZERO)) }
}

fn count<B: Backend + ?Sized>(backend: &B) -> usize {
    let mut parts = 0;
    backend.children(&mut |_, _| parts += 1);
    parts
}

/// Asks the parts one after the other, each within its share of what is left.
fn ask<B: Backend + ?Sized>(backend: &B, call: Call, probe: Name<'_>) -> Vec<(String, Health)> {
    let mut left = count(backend);
    let mut parts = Vec::with_capacity(left);
    backend.children(&mut |part, child| {
        parts.push((part.into(), child.health(share(call, left), probe)));
        left = left.saturating_sub(1);
    });
    parts
}

fn share(call: Call, parts: usize) -> Call {
    call.share(1.0 / parts.max(1) as f64).armed()
}
