//! Each counter moves when it should, and no other.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use yokedcache::monitoring::Operation;
use yokedcache::{Cache, ErrorKind, ManualClock, Memory};

use super::moved;
use super::odd::Odd;
use super::recorder::Recorder;
use super::support::{in_time, this_thread, wait_until, wait_until_asleep};

type Row = (&'static str, fn(&Cache), &'static str);

/// Of what is no backend's own: the same everywhere.
pub(super) const TABLE: &[Row] = &[
    ("a hit", |cache| _ = cache.get::<String>("k"), "bytes_read+5 hits+1 operations.get.calls+1"),
    ("a miss", |cache| _ = cache.get::<String>("none"), "misses.absent+1 operations.get.calls+1"),
    (
        "a value of another type",
        |cache| _ = cache.get::<i32>("k"),
        "bytes_read+5 misses.undecodable+1 operations.get.calls+1",
    ),
    (
        "a value of another schema",
        |cache| _ = cache.with_schema(7).get::<String>("k"),
        "bytes_read+5 misses.other_version+1 operations.get.calls+1",
    ),
    ("a peek", |cache| _ = cache.peek::<String>("k"), "bytes_read+5 operations.get.calls+1"),
    (
        "the knowledge that there is none",
        |cache| {
            cache.set("k", &None::<String>).unwrap();
            cache.get::<String>("k").unwrap();
        },
        "hits+1 negative_hits+1 operations.get.calls+1 \
         operations.set.calls+1 sets+1",
    ),
    ("a set", |cache| _ = cache.set("s", "1234"), "bytes_written+6 operations.set.calls+1 sets+1"),
    (
        "a replacement of what is not there",
        |cache| _ = cache.replace("none", "1234"),
        "operations.set.calls+1",
    ),
    ("a delete", |cache| _ = cache.delete("k"), "deletes+1 operations.delete.calls+1"),
    ("a delete of nothing", |cache| _ = cache.delete("none"), "operations.delete.calls+1"),
    ("a counter", |cache| _ = cache.increment("n", 1), "operations.increment.calls+1"),
    (
        "a new end",
        |cache| _ = cache.expire("k", Duration::from_secs(9)),
        "operations.expire.calls+1",
    ),
    (
        "a batch of reads",
        |cache| _ = cache.get_many::<String>(["k", "none", "k"]),
        "bytes_read+10 hits+2 misses.absent+1 operations.get_many.calls+1",
    ),
    (
        "a batch of writes",
        |cache| _ = cache.set_many([("a", "x"), ("b", "y")]),
        "bytes_written+6 operations.set_many.calls+1 sets+2",
    ),
    (
        "a batch of deletes",
        |cache| _ = cache.delete_many(["k", "none"]),
        "deletes+1 operations.delete_many.calls+1",
    ),
    (
        "an invalidation of a tag",
        |cache| _ = cache.invalidate_tags(["t"]),
        "invalidations+1 operations.invalidate.calls+1",
    ),
    (
        "an invalidation of a pattern",
        |cache| _ = cache.invalidate_pattern("k*"),
        "invalidations+1 operations.invalidate.calls+1",
    ),
    ("clearing", |cache| _ = cache.clear(), "invalidations+1 operations.invalidate.calls+1"),
    ("a list of keys", |cache| _ = cache.keys("*"), "operations.scan.calls+1"),
    (
        "a load",
        |cache| _ = cache.get_or_load("l", || Ok::<_, ()>("v".to_owned())),
        "bytes_written+3 loads+1 misses.absent+1 operations.get.calls+1 operations.lease.calls+1 \
         operations.load.calls+1 operations.set.calls+1 sets+1",
    ),
    (
        "a load that fails",
        |cache| _ = cache.get_or_load("l", || Err::<String, _>("no")),
        "load_errors+1 loads+1 misses.absent+1 operations.get.calls+1 operations.lease.calls+2 \
         operations.load.calls+1",
    ),
    (
        "a load that panics",
        |cache| {
            let load = || -> String { std::panic::resume_unwind(Box::new("no")) };
            let call = || cache.get_or_compute("l", load);
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).unwrap_err();
        },
        "load_errors+1 loads+1 misses.absent+1 operations.get.calls+1 operations.lease.calls+2 \
         operations.load.calls+1",
    ),
    (
        "a load that is not needed",
        |cache| _ = cache.get_or_load("k", || Ok::<_, ()>("v".to_owned())),
        "bytes_read+5 hits+1 operations.get.calls+1",
    ),
    (
        "a load that is overtaken",
        |cache| {
            let load = || {
                cache.delete("l").unwrap();
                Ok::<_, ()>("v".to_owned())
            };
            cache.get_or_load("l", load).unwrap().unwrap();
        },
        "loads+1 misses.absent+1 operations.delete.calls+1 operations.get.calls+1 \
         operations.lease.calls+1 operations.load.calls+1 operations.set.calls+1 overtaken+1",
    ),
    (
        "a slot",
        |cache| {
            let yokedcache::Begun::Slot(slot) = cache.entry("l").begin::<String>().unwrap() else {
                panic!("there is none");
            };
            slot.set("v").unwrap();
        },
        "bytes_written+3 loads+1 misses.absent+1 operations.get.calls+1 operations.lease.calls+1 \
         operations.load.calls+1 operations.set.calls+1 sets+1",
    ),
    (
        "a batch of loads",
        |cache| {
            let load = |ids: &[&String]| {
                Ok::<_, ()>(
                    ids.iter().map(|id| (id.to_string(), "v".to_owned())).collect::<Vec<_>>(),
                )
            };
            cache.entries(["k", "l", "m"]).get_or_load_many(load).unwrap().unwrap();
        },
        "bytes_read+5 bytes_written+6 hits+1 loads+1 misses.absent+2 operations.get_many.calls+1 \
         operations.lease.calls+1 operations.load.calls+1 operations.set_many.calls+1 sets+2",
    ),
];

/// What moves over a backend, its own counters aside.
pub(super) fn check(cache: &Cache) {
    for (what, action, expected) in TABLE {
        cache.clear().unwrap();
        cache.entry("k").tag("t").set("abc").unwrap();
        let moved = moved(cache, action);
        let own = moved.split(' ').filter(|count| !count.starts_with("backend."));
        assert_eq!(own.collect::<Vec<_>>().join(" "), *expected, "{what}");
    }
}

#[test]
fn each_call_moves_its_counters_and_no_other() {
    check(&Cache::memory(100));
}

#[test]
fn an_invalidation_is_one_where_it_is_done_entry_by_entry_too() {
    let cache = Cache::builder(Odd::new()).build().unwrap();
    check(&cache);
    cache.entry("k").tags(["t", "u"]).set("v").unwrap();
    let moved = moved(&cache, |cache| _ = cache.invalidate_tags_all(["t", "u"]).unwrap());
    assert!(moved.starts_with("invalidations+1 operations.delete.calls+1 "), "{moved}");
    assert!(!cache.exists("k").unwrap());
}

#[test]
fn memory_tells_why_entries_left() {
    let clock = ManualClock::new();
    let memory = Memory::builder().max_size(4).max_bytes(1000).clock(&clock);
    let memory = memory.cleanup_interval(Duration::ZERO).build().unwrap();
    let cache = Cache::builder(memory).build().unwrap();
    let leave = |reason: &str, action: &dyn Fn(&Cache)| {
        cache.clear().unwrap();
        for key in ["a", "b", "c"] {
            let entry = cache.entry(key).tag("t").ttl(Duration::from_secs(60));
            entry.set("v").unwrap();
        }
        let moved = moved(&cache, |cache| action(cache));
        let mut left: Vec<&str> = moved.split(' ').filter(|of| of.contains(".removals.")).collect();
        left.retain(|of| !of.is_empty());
        assert_eq!(left.join(" "), format!("backend.removals.{reason}"));
    };
    leave("size+2", &|cache| ["d", "e", "f"].iter().for_each(|key| _ = cache.set(key, "v")));
    leave("bytes+1", &|cache| _ = cache.set_bytes("d", vec![0; 985]).map(|_| ()));
    leave("replaced+1", &|cache| _ = cache.set("a", "w"));
    leave("deleted+1", &|cache| _ = cache.delete("a"));
    leave("invalidated+3", &|cache| _ = cache.invalidate_tags(["t"]));
    leave("expired+1", &|cache| {
        clock.advance(Duration::from_secs(61));
        cache.get::<String>("a").unwrap();
    });
}

#[test]
fn counters_that_are_added_to_replace_their_number() {
    let cache = Cache::memory(10);
    cache.increment("n", 1).unwrap();
    let moved = moved(&cache, |cache| _ = cache.increment("n", 9));
    assert!(moved.contains("backend.removals.replaced+1"), "{moved}");
}

#[test]
fn an_outage_is_counted_for_each_call() {
    let backend = Recorder::new();
    let cache = Cache::builder(backend.clone()).build().unwrap();
    backend.set_failing(Some(ErrorKind::Unavailable));
    let down = |action: fn(&Cache)| moved(&cache, action);
    assert_eq!(
        down(|cache| _ = cache.get::<i32>("k")),
        "failures+1 misses.down+1 operations.get.calls+1"
    );
    assert_eq!(down(|cache| _ = cache.set("k", &1)), "failures+1 operations.set.calls+1");
    assert_eq!(
        down(|cache| _ = cache.get_many::<i32>(["k", "l"])),
        "failures+1 misses.down+2 operations.get_many.calls+1"
    );
    assert_eq!(
        down(|cache| _ = cache.set_many([("k", 1)])),
        "failures+1 operations.set_many.calls+1"
    );
    assert_eq!(down(|cache| _ = cache.clear()), "failures+1 operations.invalidate.calls+1");
    assert_eq!(down(|cache| _ = cache.keys("*")), "failures+1 operations.scan.calls+1");
}

#[test]
fn who_joins_a_load_and_who_is_served_stale_is_counted() {
    let clock = ManualClock::new();
    let memory = Memory::builder().clock(&clock).build().unwrap();
    let cache = Cache::builder(memory).build().unwrap();
    let (arrived, joiner) = (Barrier::new(2), this_thread());
    thread::scope(|scope| {
        scope.spawn(|| {
            let load = || {
                arrived.wait();
                wait_until("the other one has missed", || cache.stats().misses.absent == 2);
                // It joins next, and waits.
                wait_until_asleep(&joiner);
                1
            };
            cache.get_or_compute("k", load).unwrap();
        });
        arrived.wait();
        assert_eq!(cache.get_or_compute("k", || 2).unwrap(), 1);
    });
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.coalesced, stats.stale), (1, 1, 0));
    let minute = Duration::from_secs(60);
    cache.entry("k").ttl(minute).stale_for(minute).set(&1).unwrap();
    clock.advance(minute);
    let entry = cache.entry("k").ttl(minute).stale_for(minute);
    assert_eq!(entry.get_or_load(|| Err("no")).unwrap(), Ok(1));
    let stats = cache.stats();
    assert_eq!((stats.stale, stats.load_errors, stats.misses.expired), (1, 1, 1));
}

#[test]
fn handles_of_a_cache_count_together_and_so_do_threads() {
    let cache = Cache::memory(100);
    cache.set("ns:k", &1).unwrap();
    thread::scope(|scope| {
        for _ in 0..40 {
            let cache = cache.namespace("ns");
            scope.spawn(move || (0..1000).for_each(|_| _ = cache.get::<i32>("k").unwrap()));
        }
    });
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.bytes_read), (40_000, 40_000));
    assert_eq!(stats.operations[Operation::Get].calls, 40_000);
}

#[test]
fn a_loader_is_timed_by_itself() {
    in_time(|| {
        let cache = Cache::memory(10);
        let nap = Duration::from_millis(100);
        cache.get_or_compute("k", || thread::sleep(nap)).unwrap();
        let fails = || {
            thread::sleep(nap);
            Err::<i32, _>("no")
        };
        cache.get_or_load("l", fails).unwrap().unwrap_err();
        let operations = cache.stats().operations;
        let load = &operations[Operation::Load].latency;
        assert_eq!(load.count(), 2);
        assert!(load.percentile(1.0).unwrap() >= nap - nap / 30, "{load:?}");
        // One that was kept from its processor took as long by itself.
        (operations[Operation::Get].latency.max().unwrap() < nap).then_some(())
    });
}

#[test]
fn the_time_of_a_scan_is_not_that_of_its_pages() {
    in_time(|| {
        let cache = Cache::memory(10);
        cache.set("k", &1).unwrap();
        let nap = Duration::from_millis(400);
        let nap_a_page = |_: &[&str]| {
            thread::sleep(nap);
            std::ops::ControlFlow::Continue(())
        };
        cache.scan("*", nap_a_page).unwrap();
        let scan = cache.stats().operations[Operation::Scan].latency.max().unwrap();
        // One that was kept from its processor took as long by itself.
        (scan < nap).then_some(())
    });
}

#[test]
fn percentiles_of_what_is_slow_are_those_of_all_calls() {
    let backend = Arc::new(Odd::new());
    let cache = Cache::builder(backend.clone()).build().unwrap();
    for call in 0..100 {
        backend.take(if call % 10 == 0 { 60 } else { 2 });
        cache.get::<i32>("k").unwrap();
    }
    let get = cache.stats().operations[Operation::Get].latency.clone();
    assert_eq!(get.count(), 100);
    let millis = |percent| get.percentile(percent).unwrap().as_secs_f64() * 1e3;
    assert!((1.9..50.0).contains(&millis(50.0)), "{get:?}");
    assert!(millis(95.0) >= 58.0, "{get:?}");
}

#[test]
fn a_cache_knows_how_long_it_is_up() {
    let cache = Cache::memory(10);
    thread::sleep(Duration::from_millis(20));
    let uptime = cache.stats().uptime;
    assert!((Duration::from_millis(20)..Duration::from_secs(60)).contains(&uptime), "{uptime:?}");
}
