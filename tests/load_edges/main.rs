//! Loads at the edge: claims that fail half way, caches that go down in mid-load, loaders that hang,
//! panic, or need each other.

mod batches;
mod hooked;
mod limits;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hooked::Hooked;
use support::{this_thread, wait_until, wait_until_asleep};
use yokedcache::backend::{
    About, Ask, Backend, Call, Name, Read, Removed, Scope, Want, Write, Wrote,
};
use yokedcache::{
    Begun, Cache, Error, ErrorKind, Freshness, Loaded, ManualClock, Memory, Pattern, Result, Ttl,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn one_key_does_not_fill_the_queue_of_refreshes() {
    let clock = ManualClock::new();
    let memory = Memory::builder().clock(&clock).build().unwrap();
    let cache = Cache::builder(memory)
        .clock(&clock)
        .loader_threads(1)
        .loader_queue(8)
        .freshness(Freshness::new().ttl(SECOND).stale_for(1000 * SECOND))
        .build()
        .unwrap();
    for key in ["busy", "hot", "cold"] {
        cache.set(key, &0).unwrap();
    }
    clock.advance(2 * SECOND);
    let (go, gone) = channel::<()>();
    let gone = Mutex::new(gone);
    let loader = cache.loader(move |key| {
        if key == "busy" {
            gone.lock().unwrap().recv().unwrap();
        }
        Ok::<_, Error>(1)
    });
    assert_eq!(loader.get("busy").unwrap().unwrap(), 0);
    for _ in 0..20 {
        assert_eq!(loader.get("hot").unwrap().unwrap(), 0);
    }
    assert_eq!(loader.get("cold").unwrap().unwrap(), 0);
    let stats = cache.stats();
    go.send(()).unwrap();
    assert!(cache.drain(60 * SECOND));
    assert_eq!((stats.refreshes, stats.refreshes_dropped), (3, 0));
    assert_eq!(cache.get("cold").unwrap(), Some(1));
}

#[test]
fn refresh_says_that_one_is_under_way() {
    let clock = ManualClock::new();
    let cache = Cache::builder(Memory::builder().clock(&clock).build().unwrap())
        .clock(&clock)
        .loader_threads(1)
        .build()
        .unwrap();
    let (go, gone) = channel::<()>();
    let gone = Mutex::new(gone);
    let loader = cache.loader(move |key| {
        if key == "busy" {
            gone.lock().unwrap().recv().unwrap();
        }
        Ok::<_, Error>(1)
    });
    assert!(loader.refresh("busy").unwrap());
    assert!(loader.refresh("k").unwrap());
    let again = loader.refresh("k").unwrap();
    go.send(()).unwrap();
    assert!(cache.drain(60 * SECOND));
    assert!(!again, "it waits for a thread already");
}

/// A value was there when the caller came and was deleted before it had the right to load.
#[test]
fn a_value_deleted_before_the_load_began_is_not_its_previous_one() {
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    let cache = hooked.cache(&clock);
    let fresh = Freshness::new().ttl(SECOND).stale_for(1000 * SECOND);
    cache.entry("k").freshness(fresh).set("old").unwrap();
    clock.advance(2 * SECOND);
    let (other, calls) = (hooked.cache(&clock), AtomicUsize::new(0));
    let memory = hooked.memory.clone();
    drop(other);
    hooked.before_reads(move |_, want| {
        // The caller has looked, and asked once: before it asks again another process deletes the key.
        if matches!(want.lease, Ask::Own { .. }) && calls.fetch_add(1, Ordering::SeqCst) == 1 {
            let other = Cache::builder(memory.clone()).build().unwrap();
            assert!(!other.delete("k").unwrap(), "stale, but there");
        }
        None
    });
    // This caller takes no stale values: it asks for the right twice.
    let mut seen = None;
    let loaded = cache.entry("k").load_with(|load| {
        seen = load.previous::<String>();
        Ok::<_, Error>(match &seen {
            Some(_) => Loaded::NotModified,
            None => Loaded::Value("new".to_owned()),
        })
    });
    assert_eq!(seen, None, "the load began after the delete");
    assert_eq!(loaded.unwrap().unwrap().as_deref(), Some("new"));
    assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("new"));
}

/// A value of the user's that panics while it is read must not keep its key from others.
#[test]
fn a_panic_while_reading_in_a_claim_gives_the_right_back() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    thread_local!(static PANICS: std::cell::Cell<u32> = const { std::cell::Cell::new(u32::MAX) });
    #[derive(Debug, serde::Serialize)]
    struct Picky(u32);
    impl<'de> serde::Deserialize<'de> for Picky {
        fn deserialize<D: serde::Deserializer<'de>>(
            from: D,
        ) -> std::result::Result<Self, D::Error> {
            let left = PANICS.get();
            PANICS.set(left.saturating_sub(1));
            assert!(left != 0, "picky");
            u32::deserialize(from).map(Picky)
        }
    }
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    let cache = hooked.cache(&clock);
    let fresh = Freshness::new().ttl(SECOND).stale_for(1000 * SECOND);
    cache.entry("k").freshness(fresh).set(&1u32).unwrap();
    clock.advance(2 * SECOND);
    PANICS.set(1); // the first look is fine, the claim is not
    let load = || cache.entry("k").freshness(fresh).get_or_compute(|| Picky(2));
    assert!(catch_unwind(AssertUnwindSafe(load)).is_err());
    PANICS.set(u32::MAX);
    let mut ran = false;
    let value = cache.entry("k").freshness(fresh).get_or_compute(|| {
        ran = true;
        2u32
    });
    assert_eq!((value.unwrap(), ran), (2, true), "nobody loads it");
}

/// Once a read failed the cache is not asked again in the call, even if the load that was joined came
/// to nothing.
#[test]
fn who_joins_in_an_outage_does_not_pay_twice() {
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    let cache = hooked.cache(&clock);
    hooked.down.store(true, Ordering::SeqCst);
    let (begun, began) = channel();
    let (go, gone) = channel::<()>();
    thread::scope(|scope| {
        let leader = cache.clone();
        scope.spawn(move || {
            leader.entry("k").load_with(|_| {
                begun.send(()).unwrap();
                gone.recv().unwrap();
                let _ = leader.delete("k");
                Ok::<_, Error>(Loaded::Value(1))
            })
        });
        began.recv().unwrap();
        let joiner = cache.clone();
        let (tell, told) = channel();
        let joins = scope.spawn(move || {
            tell.send(this_thread()).unwrap();
            joiner.get_or_compute("k", || 2)
        });
        wait_until("it has asked", || cache.stats().misses.down == 2);
        wait_until_asleep(&told.recv().unwrap());
        let before = hooked.reads.load(Ordering::SeqCst);
        go.send(()).unwrap();
        assert_eq!(joins.join().unwrap().unwrap(), 2);
        assert_eq!(hooked.reads.load(Ordering::SeqCst), before);
    });
}

/// What is left half done tends to be shown in logs.
#[test]
fn a_slot_and_a_load_show_themselves_and_no_others() {
    let cache = Cache::memory(10);
    let other = cache.entry("other").begin::<u8>().unwrap();
    let slot = cache.entry("k").begin::<u8>().unwrap();
    let shown = format!("{slot:?}");
    assert!(shown.contains("\"k\"") && !shown.contains("other"), "{shown}");
    assert!(shown.len() < 2_000, "{} bytes", shown.len());
    let loaded =
        cache.entry("l").load_with(|load| Ok::<_, Error>(Loaded::Value(format!("{load:?}"))));
    let shown = loaded.unwrap().unwrap().unwrap();
    assert!(shown.contains("\"l\"") && !shown.contains("other"), "{shown}");
    drop(other);
}
