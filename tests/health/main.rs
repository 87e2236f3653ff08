//! What a cache tells of its health, over whole and broken servers.

#[allow(dead_code)]
#[path = "../fallback/faulty.rs"]
mod faulty;
mod live;
mod memory;
#[path = "../support/mod.rs"]
mod support;
mod wrapped;

#[cfg(feature = "redis")]
mod clocks;
#[cfg(feature = "memcached")]
mod memcached;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod rights;
#[cfg(feature = "redis")]
mod shape;
#[cfg(feature = "redis")]
mod topologies;
#[cfg(feature = "redis")]
mod wrappers;

use std::time::{Duration, Instant};

use yokedcache::{Health, HealthWarning};

/// How long a check may take where something hangs.
const LIMIT: Duration = Duration::from_millis(600);
/// And where nothing does, on a machine that is busy.
#[cfg(any(feature = "redis", feature = "memcached"))]
const PATIENCE: Duration = Duration::from_secs(20);

/// Several waits of this length come apart from one, be the machine busy.
const LONG_LIMIT: Duration = Duration::from_secs(3);

/// Calls, and sees that the call ends in time: less than it takes without [`LIMIT`], and that with much
/// patience for a busy machine.
#[track_caller]
fn timed<T>(call: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = call();
    let took = started.elapsed();
    assert!(took < LIMIT * 8, "{took:?}");
    result
}

/// Calls what has [`LONG_LIMIT`], and sees that it takes less than twice that.
#[track_caller]
fn within_one_limit<T>(call: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = call();
    let took = started.elapsed();
    assert!(took < LONG_LIMIT * 2, "{took:?}");
    result
}

/// The codes of all warnings in the tree.
fn codes(health: &Health) -> Vec<&'static str> {
    health.all_warnings().into_iter().map(|(_, warning)| warning.code).collect()
}

#[track_caller]
fn warning<'h>(health: &'h Health, code: &str) -> &'h HealthWarning {
    let all = health.all_warnings();
    let found = all.iter().find(|(_, warning)| warning.code == code);
    found.unwrap_or_else(|| panic!("no {code} in {:?}", codes(health))).1
}

/// The one part of this name, at whatever depth.
#[track_caller]
fn part<'h>(health: &'h Health, name: &str) -> &'h Health {
    fn look<'h>(health: &'h Health, name: &str, found: &mut Vec<&'h Health>) {
        for (part, child) in &health.children {
            if part == name {
                found.push(child);
            }
            look(child, name, found);
        }
    }
    let mut found = Vec::new();
    look(health, name, &mut found);
    let [one] = found[..] else { panic!("{} of {name} in {health:#?}", found.len()) };
    one
}
