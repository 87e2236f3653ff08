//! Waiting for something that happens in another process.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Long enough for a busy machine; nothing here takes it on an idle one.
const LIMIT: Duration = Duration::from_secs(120);

/// Returns once `done` says so; panics with `what` if it never does.
#[track_caller]
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LIMIT, "waited {LIMIT:?} in vain: {what}");
        sleep(Duration::from_millis(5));
    }
}
