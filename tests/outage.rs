//! What callers see of a backend that fails: a miss with its cause or a typed error, never an
//! invalidation that did not happen, and never a load that fails because of the cache.

mod support;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use support::{this_thread, wait_until, wait_until_asleep};
use yokedcache::backend::{About, Backend, Call, Name, Read, Removed, Scope, Want, Write, Wrote};
use yokedcache::{Cache, Cause, Error, ErrorKind, Memory, Pattern, Result};

/// A memory backend that answers nothing while it is down.
#[derive(Clone, Debug)]
struct Faulty {
    memory: Arc<Memory>,
    down: Arc<AtomicBool>,
    /// Of each batch only the slots of keys that begin with `bad` fail.
    by_slot: bool,
    calls: Arc<AtomicUsize>,
}

impl Faulty {
    fn new() -> Self {
        let memory = Arc::new(Memory::builder().build().unwrap());
        Self { memory, down: Arc::default(), by_slot: false, calls: Arc::default() }
    }

    fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
        self.calls.store(0, Ordering::SeqCst);
    }

    fn check(&self) -> Result<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match self.down.load(Ordering::SeqCst) && !self.by_slot {
            true => Err(Error::new(ErrorKind::Unavailable, "connection refused")),
            false => Ok(()),
        }
    }

    fn fails(&self, key: Name<'_>) -> Option<Error> {
        let fails =
            self.by_slot && self.down.load(Ordering::SeqCst) && key.rest().starts_with("bad");
        fails.then(|| Error::new(ErrorKind::Timeout, "one node does not answer"))
    }
}

impl Backend for Faulty {
    fn about(&self) -> About {
        let mut can = self.memory.about().can;
        can.max_value = Some(100);
        About::new("faulty", can)
    }

    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        self.check()?;
        self.memory.read(call, keys, want, out)?;
        for (key, out) in keys.iter().zip(out) {
            if let Some(error) = self.fails(*key) {
                *out = Read::Failed(error);
            }
        }
        Ok(())
    }

    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        self.check()?;
        for (write, out) in writes.iter_mut().zip(out) {
            match self.fails(write.key) {
                Some(error) => *out = Wrote::Failed(error),
                None => self.memory.write(
                    call,
                    std::slice::from_mut(write),
                    std::slice::from_mut(out),
                )?,
            }
        }
        Ok(())
    }

    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        self.check()?;
        self.memory.invalidate(call, what)
    }

    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.check()?;
        self.memory.scan(call, what, page)
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn reads_miss_and_stores_answer_no() {
    let faulty = Faulty::new();
    let cache = Cache::builder(faulty.clone()).build().unwrap();
    cache.set("k", &1).unwrap();
    faulty.set_down(true);
    assert_eq!(cache.get::<i32>("k").unwrap(), None);
    assert_eq!(cache.get_bytes("k").unwrap(), None);
    assert_eq!(cache.lookup::<i32>("k").unwrap().cause(), Some(Cause::Down));
    assert!(!cache.exists("k").unwrap());
    assert_eq!(cache.get_many::<i32>(["k", "l"]).unwrap(), [None, None]);
    assert!(!cache.set("k", &2).unwrap());
    assert!(!cache.add("l", &2).unwrap());
    assert!(!cache.replace("k", &2).unwrap());
    let failed = cache.set_many([("k", 2), ("l", 2)]).unwrap();
    assert!(failed.iter().all(|(_, error)| error.kind() == ErrorKind::Unavailable));
    assert_eq!(failed.len(), 2);
    let stats = cache.stats();
    assert_eq!(stats.misses.down, 5);
    assert!(stats.failures >= 9, "{}", stats.failures);
    faulty.set_down(false);
    assert_eq!(cache.get("k").unwrap(), Some(1));
}

#[test]
fn what_must_happen_is_an_error_if_it_does_not() {
    let faulty = Faulty::new();
    let cache = Cache::builder(faulty.clone()).build().unwrap();
    cache.set("k", &1).unwrap();
    let (_, version) = cache.get_versioned::<i32>("k").unwrap().unwrap();
    faulty.set_down(true);
    let kinds = [
        kind(cache.delete("k")),
        kind(cache.delete_many(["k"])),
        kind(cache.expire("k", Duration::from_secs(1))),
        kind(cache.increment("k", 1)),
        kind(cache.swap("k", version, &2)),
        kind(cache.invalidate_tags(["t"])),
        kind(cache.invalidate_tags_all(["t"])),
        kind(cache.invalidate_pattern("*")),
        kind(cache.clear()),
        kind(cache.keys("*")),
        kind(cache.dry_run().invalidate_tags(["t"])),
    ];
    assert!(kinds.iter().all(|kind| *kind == ErrorKind::Unavailable), "{kinds:?}");
    assert!(cache.delete("k").unwrap_err().is_transient());
}

#[test]
fn strict_makes_every_failure_an_error() {
    let faulty = Faulty::new();
    let strict = Cache::builder(faulty.clone()).strict().build().unwrap();
    let lax = Cache::builder(faulty.clone()).build().unwrap();
    faulty.set_down(true);
    let kinds = [
        kind(strict.get::<i32>("k")),
        kind(strict.set("k", &1)),
        kind(strict.exists("k")),
        kind(strict.get_many::<i32>(["k"])),
        kind(strict.set_many([("k", 1)])),
        kind(strict.get_or_compute("k", || 1)),
        kind(lax.entry("k").strict().get::<i32>()),
        kind(lax.entry("k").strict().set(&1)),
    ];
    assert!(kinds.iter().all(|kind| *kind == ErrorKind::Unavailable), "{kinds:?}");
}

#[test]
fn a_load_runs_its_loader_and_asks_once() {
    let faulty = Faulty::new();
    let cache = Cache::builder(faulty.clone()).build().unwrap();
    faulty.set_down(true);
    assert_eq!(cache.entry("k").tag("t").get_or_compute(|| 5).unwrap(), 5);
    assert_eq!(faulty.calls.load(Ordering::SeqCst), 1, "a failed read is followed by nothing");
    faulty.set_down(false);
    assert_eq!(cache.get_or_compute("k", || 6).unwrap(), 6);
    assert_eq!(cache.get_or_compute("k", || 7).unwrap(), 6);
}

#[test]
fn threads_that_load_while_it_is_down_share_one_load() {
    let faulty = Faulty::new();
    let cache = Cache::builder(faulty.clone()).build().unwrap();
    faulty.set_down(true);
    let runs = AtomicUsize::new(0);
    let threads = Mutex::new(Vec::<PathBuf>::new());
    let wait_for_the_others = || {
        wait_until("all have asked", || cache.stats().misses.down == 8);
        let mine = this_thread();
        let others = threads.lock().unwrap().clone();
        others
            .iter()
            .filter(|thread| **thread != mine)
            .for_each(|thread| wait_until_asleep(thread));
    };
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                threads.lock().unwrap().push(this_thread());
                let value = cache.get_or_compute("k", || {
                    runs.fetch_add(1, Ordering::SeqCst);
                    wait_for_the_others();
                    "value".to_owned()
                });
                assert_eq!(value.unwrap(), "value");
            });
        }
    });
    assert_eq!(runs.into_inner(), 1);
}

#[test]
fn a_load_begun_in_an_outage_is_not_shared_past_an_invalidation() {
    let invalidations: [fn(&Cache); 4] = [
        |cache| assert!(cache.delete("k").is_ok()),
        |cache| assert!(cache.invalidate_tags(["t"]).is_ok()),
        |cache| assert!(cache.invalidate_pattern("k").is_ok()),
        |cache| assert!(cache.clear().is_ok()),
    ];
    for invalidate in invalidations {
        let faulty = Faulty::new();
        let cache = Cache::builder(faulty.clone()).build().unwrap();
        faulty.set_down(true);
        let (started, wait_started) = std::sync::mpsc::channel();
        let (finish, wait_finish) = std::sync::mpsc::channel::<()>();
        thread::scope(|scope| {
            let cache = &cache;
            let old = scope.spawn(move || {
                cache.get_or_compute("k", || {
                    started.send(()).unwrap();
                    wait_finish.recv().unwrap();
                    "old".to_owned()
                })
            });
            wait_started.recv().unwrap();
            faulty.set_down(false);
            invalidate(cache);
            let late = scope.spawn(move || cache.get_or_compute("k", || "new".to_owned()));
            thread::sleep(Duration::from_millis(20));
            finish.send(()).unwrap();
            assert_eq!(old.join().unwrap().unwrap(), "old", "its own caller keeps it");
            assert_eq!(late.join().unwrap().unwrap(), "new");
        });
    }
}

#[test]
fn an_outage_in_the_middle_of_a_load_costs_nobody_the_value() {
    let faulty = Faulty::new();
    let cache = Cache::builder(faulty.clone()).build().unwrap();
    let value = cache.get_or_compute("k", || {
        faulty.set_down(true);
        5
    });
    assert_eq!(value.unwrap(), 5);
    faulty.set_down(false);
    assert!(!cache.exists("k").unwrap());
}

#[test]
fn one_failing_node_fails_only_its_keys() {
    let faulty = Faulty { by_slot: true, ..Faulty::new() };
    let cache = Cache::builder(faulty.clone()).key_prefix("p").build().unwrap();
    cache.set_many([("good", 1), ("bad", 2)]).unwrap();
    faulty.set_down(true);
    assert_eq!(cache.get_many::<i32>(["good", "bad"]).unwrap(), [Some(1), None]);
    let failed = cache.set_many([("good", 3), ("bad", 4)]).unwrap();
    assert_eq!((failed.len(), failed[0].0.as_str()), (1, "bad"));
    assert_eq!(failed[0].1.kind(), ErrorKind::Timeout);
    assert_eq!(kind(cache.delete_many(["good", "bad"])), ErrorKind::Timeout);
    assert_eq!(kind(cache.dry_run().invalidate_tags(["t"])), ErrorKind::Timeout);
}

#[test]
fn a_value_the_backend_cannot_take_removes_the_older_one() {
    let cache = Cache::builder(Faulty::new()).build().unwrap();
    let large = "x".repeat(200);
    let stores: [fn(&Cache, &str) -> Result<bool>; 4] = [
        |cache, large| cache.set("k", large),
        |cache, large| cache.set_bytes("k", large.to_owned()),
        |cache, large| cache.replace("k", large),
        |cache, large| {
            let (_, version) = cache.get_versioned::<String>("k")?.unwrap();
            cache.swap("k", version, large)
        },
    ];
    for store in stores {
        cache.set("k", "old").unwrap();
        assert_eq!(kind(store(&cache, &large)), ErrorKind::TooLarge);
        assert!(!cache.exists("k").unwrap());
    }
    cache.set("k", "old").unwrap();
    assert_eq!(kind(cache.add("k", &large)), ErrorKind::TooLarge);
    assert!(cache.exists("k").unwrap(), "nothing was to be stored over it");
    let failed = cache.set_many([("a", "small"), ("k", &large)]).unwrap();
    assert_eq!((failed.len(), failed[0].0.as_str()), (1, "k"));
    assert_eq!((cache.exists("a").unwrap(), cache.exists("k").unwrap()), (true, false));
    assert_eq!(cache.get_or_compute("l", || large.clone()).unwrap(), large);
    assert!(!cache.exists("l").unwrap());
}

#[test]
fn errors_keep_their_source_and_show_no_value() {
    let broken = "\u{7}".parse::<u8>().unwrap_err();
    let error = Error::with_source(ErrorKind::Backend, "it broke", broken);
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(error.to_string(), "it broke");
    let cache = Cache::memory(10);
    cache.set("k", "hush hush").unwrap();
    let shown = format!("{cache:?} {:?} {:?}", cache.entry("k"), cache.increment("k", 1));
    assert!(!shown.contains("hush"), "{shown}");
}
