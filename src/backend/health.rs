//! Whether a backend answers, and what its operator should know.

use std::time::{Duration, Instant};

use super::{Backend, Call, Name, Read, Want};
use crate::error::{Error, Result};

/// The state of a backend, and of those inside it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// Its name.
    pub name: &'static str,
    /// How long it took to answer.
    pub latency: Option<Duration>,
    /// Why it did not answer.
    pub error: Option<Error>,
    /// Settings of a server that weaken what the cache promises, in words.
    pub warnings: Vec<String>,
    /// The backends and servers inside, with the parts they play.
    pub children: Vec<(String, Health)>,
}

impl Health {
    /// Of a backend that answered, or did not.
    pub fn new(name: &'static str, answered: Result<Duration>) -> Self {
        let (latency, error) = match answered {
            Ok(latency) => (Some(latency), None),
            Err(error) => (None, Some(error)),
        };
        Self { name, latency, error, warnings: Vec::new(), children: Vec::new() }
    }

    /// Whether it and all inside it answer.
    pub fn is_up(&self) -> bool {
        self.error.is_none() && self.children.iter().all(|(_, child)| child.is_up())
    }
}

/// Asks a backend for a key.
pub(super) fn probe<B: Backend + ?Sized>(backend: &B, call: Call, key: Name<'_>) -> Health {
    let started = Instant::now();
    let mut out = [Read::Unanswered];
    let want = Want { quiet: true, head_only: true, ..Want::VALUE };
    let answered = backend.read(call, &[key], &want, &mut out).and_then(|()| match out {
        [Read::Failed(error)] => Err(error),
        _ => Ok(started.elapsed()),
    });
    Health::new(backend.about().name, answered)
}
