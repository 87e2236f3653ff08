//! A backend that is replaced while threads use it.

#[path = "dual_write/gated.rs"]
mod gated;

#[path = "../examples/custom_backend.rs"]
#[allow(dead_code)]
mod custom;

#[path = "fallback/faulty.rs"]
#[allow(dead_code)]
mod faulty;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use faulty::{Faulty, Mode};
use gated::{At, Gated, LONG, SHORT};
use yokedcache::{
    Backend, Cache, ErrorKind, Event, Fallback, Lookup, ManualClock, Memory, Switch, Ttl,
};

fn memory() -> Memory {
    Memory::builder().max_size(10_000).build().unwrap()
}

fn over(backend: impl Backend) -> Cache {
    Cache::builder(backend).strict().build().unwrap()
}

#[test]
fn a_warm_backend_has_all_that_is_live_with_the_time_left() {
    let clock = ManualClock::new();
    let memory = || Memory::builder().max_size(5_000).clock(&clock).build().unwrap();
    let switch = Switch::new(memory());
    let build = |prefix| Cache::builder(switch.clone()).key_prefix(prefix).clock(&clock).build();
    let (shop, blog) = (build("shop").unwrap(), build("blog").unwrap());
    shop.entry("k").ttl(Duration::from_secs(100)).tags(["t"]).set(&1).unwrap();
    shop.entry("over").ttl(Duration::from_secs(10)).set(&1).unwrap();
    let grace = Duration::from_secs(50);
    shop.entry("stale").ttl(Duration::from_secs(20)).stale_for(grace).set(&1).unwrap();
    shop.with_schema(7).set("schema", &1).unwrap();
    (0..1_000).for_each(|at| assert!(blog.set(format!("post:{at}"), &at).unwrap()));
    clock.advance(Duration::from_secs(40));

    assert_eq!(switch.switch_to_warm(memory(), LONG).unwrap(), 1_002);

    assert_eq!(shop.get::<i32>("k").unwrap(), Some(1));
    assert_eq!(shop.ttl("k").unwrap(), Some(Ttl::After(Duration::from_secs(60))));
    assert_eq!(shop.get::<i32>("over").unwrap(), None);
    assert_eq!(shop.with_schema(7).get::<i32>("schema").unwrap(), Some(1));
    assert!((0..1_000).all(|at| blog.get::<i32>(format!("post:{at}")).unwrap() == Some(at)));
    assert_eq!(shop.invalidate_tags(["t"]).unwrap().entries, Some(1));
    assert_eq!(shop.get::<i32>("k").unwrap(), None);
    assert!(matches!(shop.lookup::<i32>("stale").unwrap(), Lookup::Miss { .. }), "keys are listed");
}

#[test]
fn a_backend_that_cannot_be_warmed_is_refused() {
    let switch = Switch::new(memory());
    let cache = over(switch.clone());
    cache.set("k", &1).unwrap();
    let refused = switch.switch_to_warm(custom::Sorted::new(), LONG).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert_eq!(cache.get::<i32>("k").unwrap(), Some(1));
}

#[test]
fn a_backend_that_fails_while_it_is_warmed_is_dropped() {
    let (old, new) = (Gated::new(), Gated::new());
    let switch = Switch::new(old.clone());
    let cache = over(switch.clone());
    cache.set("k", &1).unwrap();
    let scan = old.stop(At::BeforeScan);
    thread::scope(|scope| {
        let switching = scope.spawn(|| switch.switch_to_warm(new.clone(), LONG).unwrap_err());
        scan.wait();
        new.fail(true);
        scan.open();
        assert_eq!(switching.join().unwrap().kind(), ErrorKind::Unavailable);
    });
    assert!(cache.set("k", &2).unwrap(), "the new one is not asked any more");
    assert_eq!(cache.get::<i32>("k").unwrap(), Some(2));
}

#[test]
fn a_value_too_large_for_the_new_one_is_left_behind() {
    let switch = Switch::new(memory());
    let cache = over(switch.clone());
    cache.set("small", &1).unwrap();
    cache.set("large", &"x".repeat(10_000)).unwrap();
    let new = Memory::builder().max_bytes(5_000).build().unwrap();
    assert_eq!(switch.switch_to_warm(new, LONG).unwrap(), 1);
    assert_eq!(cache.get::<i32>("small").unwrap(), Some(1));
    assert_eq!(cache.get::<String>("large").unwrap(), None);
}

#[test]
fn a_backend_that_panics_while_it_is_warmed_is_written_no_more() {
    let switch = Switch::new(memory());
    let cache = over(switch.clone());
    let new = Faulty::new();
    new.set(Mode::Panics);
    let warmed = catch_unwind(AssertUnwindSafe(|| switch.switch_to_warm(new.clone(), LONG)));
    assert!(warmed.is_err());
    new.calls();
    assert!(cache.set("k", &1).unwrap());
    assert_eq!(new.calls(), Vec::<String>::new());
}

/// Fails instead of waiting for ever.
fn in_time(work: impl FnOnce() + Send + 'static) {
    let (done, is_done) = crossbeam_channel::bounded(1);
    let working = thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    if is_done.recv_timeout(LONG) != Err(crossbeam_channel::RecvTimeoutError::Timeout) {
        working.join().unwrap();
        return;
    }
    panic!("it hangs");
}

#[test]
fn a_handler_may_switch() {
    in_time(|| {
        let switch = Switch::new(memory());
        let (theirs, told) = (switch.clone(), AtomicU64::new(0));
        let cache = Cache::builder(switch.clone()).on_event(move |_| {
            if told.fetch_add(1, Ordering::Relaxed) == 0 {
                theirs.switch_to(memory()).unwrap();
                theirs.switch_to_warm(memory(), LONG).unwrap();
            }
        });
        let cache = cache.build().unwrap();
        switch.switch_to(memory()).unwrap();
        assert!(cache.set("k", &1).unwrap());
    });
}

/// The thread of the one that goes is waited for, and may be about to switch.
#[test]
fn a_fallback_may_be_replaced_while_its_handler_switches() {
    in_time(|| {
        let primary = Gated::new();
        let fallback = Fallback::builder(primary.clone(), memory()).build().unwrap();
        let (switch, (came, come)) = (Switch::new(fallback), crossbeam_channel::unbounded());
        let theirs = switch.clone();
        let cache = Cache::builder(switch.clone()).on_event(move |event| {
            if let Event::Opened { .. } = event {
                came.send(()).unwrap();
                thread::sleep(SHORT);
                theirs.switch_to(memory()).unwrap();
            }
        });
        let cache = cache.build().unwrap();
        primary.fail(true);
        cache.delete("k").unwrap();
        come.recv().unwrap();
        switch.switch_to(memory()).unwrap();
        assert!(cache.set("k", &1).unwrap());
    });
}

#[test]
fn what_is_under_way_on_the_backend_before_is_waited_for() {
    let old = Gated::new();
    let switch = Switch::new(old.clone());
    let cache = over(switch.clone());
    cache.set("deleted", &1).unwrap();
    let (put, removal) = (old.stop(At::BeforePut), old.stop(At::BeforeRemove));
    thread::scope(|scope| {
        let set = scope.spawn(|| cache.set("set", &1).unwrap());
        let delete = scope.spawn(|| cache.delete("deleted").unwrap());
        put.wait();
        removal.wait();
        let late = switch.switch_to_warm(memory(), SHORT).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Timeout);
        let switching = scope.spawn(|| switch.switch_to_warm(memory(), LONG).unwrap());
        thread::sleep(SHORT);
        put.open();
        removal.open();
        assert_eq!(switching.join().unwrap(), 1);
        assert!(set.join().unwrap() && delete.join().unwrap());
    });
    assert_eq!(cache.get::<i32>("set").unwrap(), Some(1));
    assert_eq!(cache.get::<i32>("deleted").unwrap(), None);
}

#[test]
fn what_a_call_under_way_invalidated_is_not_kept_from_before_the_copy() {
    let old = Gated::new();
    let switch = Switch::new(old.clone());
    let (cache, other) = (over(switch.clone()), over(switch.clone()));
    thread::scope(|scope| {
        // The load begins before the invalidation, and ends when the old backend is written along.
        let passed = old.stop(At::BeforeRemove);
        let load = cache.get_or_load("k", || {
            scope.spawn(|| other.delete("k").unwrap());
            passed.wait();
            scope.spawn(|| switch.switch_to_warm(memory(), LONG).unwrap());
            thread::sleep(SHORT);
            Ok::<_, String>(1u64)
        });
        assert_eq!(load.unwrap().unwrap(), 1);
        passed.open();
    });
    assert_eq!(cache.get::<u64>("k").unwrap(), None);
}

#[test]
fn what_is_written_or_removed_meanwhile_overtakes_the_copy() {
    for deletes in [true, false] {
        let new = Gated::new();
        let switch = Switch::new(memory());
        let cache = over(switch.clone());
        cache.set("k", &1).unwrap();
        let copy = new.stop(At::BeforePut);
        thread::scope(|scope| {
            let switching = scope.spawn(|| switch.switch_to_warm(new.clone(), LONG).unwrap());
            copy.wait();
            match deletes {
                true => assert!(cache.delete("k").unwrap()),
                false => assert!(cache.set("k", &2).unwrap()),
            }
            copy.open();
            switching.join().unwrap();
        });
        assert_eq!(cache.get::<i32>("k").unwrap(), (!deletes).then_some(2));
    }
}

#[test]
fn what_is_under_way_on_both_is_waited_for_at_the_end() {
    let old = Gated::new();
    let switch = Switch::new(old.clone());
    let cache = over(switch.clone());
    let scan = old.stop(At::BeforeScan);
    thread::scope(|scope| {
        let switching = scope.spawn(|| switch.switch_to_warm(memory(), LONG).unwrap());
        scan.wait();
        let added = old.stop(At::AfterAdd);
        let first = scope.spawn(|| cache.increment("n", 1).unwrap());
        added.wait();
        scan.open();
        thread::sleep(SHORT);
        let second = scope.spawn(|| cache.increment("n", 1).unwrap());
        thread::sleep(SHORT);
        added.open();
        switching.join().unwrap();
        assert_eq!((first.join().unwrap(), second.join().unwrap()), (1, 2));
    });
    assert_eq!(cache.increment("n", 1).unwrap(), 3);
}

/// How many plain switches there were; odd while there is one.
static PLAIN: AtomicU64 = AtomicU64::new(0);

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A key of one thread, and what must be there.
struct Own {
    key: String,
    tag: String,
    value: Option<u64>,
    /// The plain switches when it was stored.
    plain: u64,
}

impl Own {
    fn new(thread: u64, at: u64) -> Self {
        let (key, tag) = (format!("key-{thread}-{at}"), format!("tag-{thread}-{at}"));
        Self { key, tag, value: None, plain: 1 }
    }

    fn act(&mut self, cache: &Cache, dice: &mut Dice, next: u64) {
        match dice.roll(8) {
            0 | 1 => {
                self.plain = PLAIN.load(Ordering::SeqCst);
                assert!(cache.entry(&self.key).tags([&self.tag]).set(&next).unwrap());
                self.value = Some(next);
            }
            2 => {
                cache.delete(&self.key).unwrap();
                self.value = None;
            }
            3 => {
                cache.invalidate_tags([&self.tag]).unwrap();
                self.value = None;
            }
            4 => {
                let load = cache.entry(&self.key).tags([&self.tag]);
                let loaded = load.get_or_load(|| Ok::<_, String>(next)).unwrap().unwrap();
                assert!(loaded == next || Some(loaded) == self.value, "{}: {loaded}", self.key);
                // Whether it was stored is not told.
                (self.value, self.plain) = (Some(loaded), 1);
            }
            _ => self.check(cache),
        }
    }

    fn check(&self, cache: &Cache) {
        let read = cache.get::<u64>(&self.key).unwrap();
        let kept = self.plain.is_multiple_of(2) && PLAIN.load(Ordering::SeqCst) == self.plain;
        let right = read == self.value || (!kept && read.is_none());
        assert!(right, "{}: {read:?}, not {:?}", self.key, self.value);
    }
}

#[test]
fn nothing_invalidated_is_served_and_nothing_warm_is_lost_in_a_thousand_switches() {
    let switch = Switch::new(memory());
    let done = AtomicBool::new(false);
    let acts = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..8 {
            let (cache, done, acts) = (over(switch.clone()), &done, &acts);
            scope.spawn(move || {
                let mut dice = Dice(thread);
                let mut keys: Vec<Own> = (0..8).map(|at| Own::new(thread, at)).collect();
                let mut next = 0;
                while !done.load(Ordering::Relaxed) {
                    next += 1;
                    let at = dice.roll(8) as usize;
                    keys[at].act(&cache, &mut dice, next);
                }
                acts.fetch_add(next, Ordering::Relaxed);
            });
        }
        let _end = Ends(&done);
        for round in 0..1_000 {
            if round % 4 == 0 {
                PLAIN.fetch_add(1, Ordering::SeqCst);
                switch.switch_to(memory()).unwrap();
                PLAIN.fetch_add(1, Ordering::SeqCst);
            } else {
                switch.switch_to_warm(memory(), LONG).unwrap();
            }
        }
    });
    let acts = acts.into_inner();
    println!("{acts} acts");
    assert!(acts > 1_000);
}

struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
