//! Loaders that stop half way, and entries past their time, to put things in order without sleeping.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use yokedcache::{Cache, Freshness};

use super::rig::Rig;

pub type Loads<T> = Result<T, String>;

/// Longer than anything takes here that is to happen at all.
pub const LONG: Duration = Duration::from_secs(60);
/// Shorter than anything is waited for that is not to happen.
pub const SHORT: Duration = Duration::from_millis(50);

/// Stops whoever passes it until it is let go.
#[derive(Clone, Debug)]
pub struct Gate {
    come: (Sender<()>, Receiver<()>),
    go: (Sender<()>, Receiver<()>),
}

impl Gate {
    pub fn new() -> Self {
        Self { come: unbounded(), go: unbounded() }
    }

    /// Tells that somebody has come, and waits until it may go on.
    pub fn pass(&self) {
        self.come.0.send(()).unwrap();
        self.go.1.recv_timeout(LONG).expect("the gate opens");
    }

    /// Waits until somebody has come.
    pub fn wait(&self) {
        self.come.1.recv_timeout(LONG).expect("somebody comes");
    }

    /// Whether one more has come than was waited for.
    pub fn has_come(&self) -> bool {
        !self.come.1.is_empty()
    }

    /// Lets one go on.
    pub fn open(&self) {
        self.go.0.send(()).unwrap();
    }
}

/// How often something ran.
#[derive(Default)]
pub struct Runs(AtomicUsize);

impl Runs {
    /// Counts one more; how many there were before.
    pub fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[track_caller]
pub fn wait_for(done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < LONG, "it does not come");
        std::thread::yield_now();
    }
}

/// Entries that live longer than any test, and are kept as long after it.
pub fn lasting(rig: &Rig) -> Freshness {
    Freshness::new().ttl(rig.unit() * 1000).stale_for(rig.unit() * 1000)
}

/// Stores "old" under each of these keys, and lets it turn stale.
pub fn make_stale<const N: usize>(rig: &Rig, cache: &Cache, keys: [&str; N]) {
    let unit = rig.unit();
    for key in keys {
        cache.entry(key).freshness(lasting(rig).ttl(unit / 50)).set("old").unwrap();
    }
    rig.pass(unit + unit / 20);
}

/// What is loaded once there is nothing, or nothing better.
pub fn new() -> Loads<String> {
    Ok("new".to_owned())
}

pub fn fails() -> Loads<String> {
    Err("the source is down".to_owned())
}

/// For whoever has an answer already.
pub fn never<T>() -> Loads<T> {
    panic!("this loader does not run")
}
