//! What is the memory backend's own: limits, the order of eviction, the sweeper, the listener.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use yokedcache::backend::memory::MemoryBuilder;
use yokedcache::{Cache, ErrorKind, ManualClock, Memory, Reason};

const SECOND: Duration = Duration::from_secs(1);

/// A cache without a sweeper, on a manual clock.
fn still(settings: impl FnOnce(MemoryBuilder) -> MemoryBuilder) -> (Cache, ManualClock) {
    let clock = ManualClock::new();
    let builder = Memory::builder().clock(&clock).cleanup_interval(Duration::ZERO);
    let memory = settings(builder).build().unwrap();
    (Cache::builder(memory).clock(&clock).build().unwrap(), clock)
}

fn there<const N: usize>(cache: &Cache, keys: [&str; N]) -> [bool; N] {
    keys.map(|key| cache.exists(key).unwrap())
}

fn wait_for(done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(120), "it does not come");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_least_recently_used_entry_goes_first() {
    let cache = Cache::memory(3);
    ["a", "b", "c"].iter().for_each(|key| assert!(cache.set(key, &1).unwrap()));
    cache.get::<i32>("a").unwrap();
    cache.set("d", &1).unwrap();
    assert_eq!(there(&cache, ["a", "b", "c", "d"]), [true, false, true, true]);
    cache.set("c", &2).unwrap();
    cache.set("e", &1).unwrap();
    assert_eq!(there(&cache, ["a", "c", "d", "e"]), [false, true, true, true]);
    cache.increment("d", 1).unwrap();
    cache.set("f", &1).unwrap();
    assert_eq!(there(&cache, ["c", "d", "e", "f"]), [false, true, true, true]);
    assert_eq!(cache.stats().backend.evicted, 3);
}

#[test]
fn looking_without_reading_does_not_count_as_use() {
    let cache = Cache::memory(2);
    cache.set("a", &1).unwrap();
    cache.set("b", &1).unwrap();
    cache.exists("a").unwrap();
    cache.peek::<i32>("a").unwrap();
    cache.ttl("a").unwrap();
    cache.keys("*").unwrap();
    cache.dry_run().invalidate_tags(["t"]).unwrap();
    cache.set("c", &1).unwrap();
    assert_eq!(there(&cache, ["a", "b", "c"]), [false, true, true]);
}

#[test]
fn a_cache_holds_exactly_what_it_is_told_to() {
    for max_size in [1, 2, 100, 2_047, 2_048, 10_000] {
        let cache = Cache::memory(max_size);
        for number in 0..max_size {
            cache.set(format!("k{number}"), &number).unwrap();
        }
        let stats = cache.stats().backend;
        assert_eq!((stats.entries, stats.evicted), (Some(max_size as u64), 0), "{max_size}");
        for number in 0..3 * max_size {
            cache.set(format!("n{number}"), &number).unwrap();
            if number.is_multiple_of(997) {
                assert_eq!(cache.stats().backend.entries, Some(max_size as u64));
            }
        }
        assert_eq!(cache.stats().backend.entries, Some(max_size as u64), "{max_size}");
    }
}

#[test]
fn in_a_large_cache_what_was_read_outlives_what_was_not() {
    let cache = Cache::memory(10_000);
    let key = |number: usize| format!("k{number}");
    (0..10_000).for_each(|number| assert!(cache.set(key(number), &number).unwrap()));
    (0..5_000).for_each(|number| assert!(cache.get::<usize>(key(number)).unwrap().is_some()));
    (10_000..14_000).for_each(|number| assert!(cache.set(key(number), &number).unwrap()));
    let left = |range: std::ops::Range<usize>| {
        range.filter(|number| cache.exists(key(*number)).unwrap()).count()
    };
    assert_eq!(left(0..5_000), 5_000, "read");
    assert_eq!(left(5_000..10_000), 1_000, "not read");
    assert_eq!(left(10_000..14_000), 4_000, "new");
}

#[test]
fn expired_entries_make_room_before_live_ones() {
    for max_size in [100, 10_000] {
        let (cache, clock) = still(|builder| builder.max_size(max_size));
        for number in 0..max_size {
            let live = number % 2 == 0;
            let ttl = SECOND * if live { 100_000 } else { 1 + number as u32 % 900 };
            cache.entry(format!("k{number}")).ttl(ttl).set(&1).unwrap();
        }
        clock.advance(SECOND * 1000);
        for number in 0..max_size / 2 {
            cache.set(format!("new{number}"), &1).unwrap();
        }
        let stats = cache.stats().backend;
        assert_eq!((stats.expired, stats.evicted), (max_size as u64 / 2, 0), "{max_size}");
        cache.set("one more", &1).unwrap();
        assert_eq!(cache.stats().backend.evicted, 1);
    }
}

#[test]
fn bytes_are_bounded_too() {
    let (cache, _) = still(|builder| builder.max_bytes(1_000));
    for key in ["a", "b", "c", "d", "e"] {
        cache.set_bytes(key, vec![0; 199]).unwrap();
    }
    assert_eq!(cache.stats().backend.bytes, Some(1_000));
    cache.get_bytes("a").unwrap();
    cache.set_bytes("f", vec![0; 99]).unwrap();
    assert_eq!(there(&cache, ["a", "b", "c", "f"]), [true, false, true, true]);
    cache.set_bytes("a", vec![0; 399]).unwrap();
    assert_eq!(there(&cache, ["a", "c", "d", "f"]), [true, false, true, true]);
    cache.entry("t").tag("x".repeat(500)).set(&1).unwrap();
    assert!(cache.stats().backend.bytes.unwrap() <= 1_000, "tag names count");
}

#[test]
fn a_value_that_can_never_fit_is_refused_and_takes_the_older_one_with_it() {
    let (cache, _) = still(|builder| builder.max_bytes(100));
    cache.set("k", "old").unwrap();
    cache.set("other", "x").unwrap();
    let error = cache.set_bytes("k", vec![0; 100]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(there(&cache, ["k", "other"]), [false, true]);
    let failed = cache.set_many([("a", "x".to_owned()), ("b", "y".repeat(100))]).unwrap();
    assert_eq!((failed.len(), failed[0].0.as_str()), (1, "b"));
    assert!(cache.exists("a").unwrap());
    let loaded = cache.get_or_compute("l", || "z".repeat(100)).unwrap();
    assert_eq!(loaded.len(), 100, "a load hands its value over all the same");
    assert!(!cache.exists("l").unwrap());
    assert!(!cache.add("other", &"y".repeat(100)).unwrap(), "nothing was to be stored");
    assert!(cache.exists("other").unwrap());
}

#[test]
fn a_large_value_fits_beside_small_ones_in_a_sharded_cache() {
    let memory = Memory::builder().max_size(1_000_000).max_bytes(32 << 20).build().unwrap();
    let cache = Cache::builder(memory).build().unwrap();
    for number in 0..40_000 {
        cache.set_bytes(format!("k{number}"), vec![0; 1_000]).unwrap();
    }
    cache.set_bytes("large", vec![0; 20 << 20]).unwrap();
    assert!(cache.exists("large").unwrap());
    let stats = cache.stats().backend;
    assert!(stats.bytes.unwrap() <= 32 << 20 && stats.entries.unwrap() > 8_000, "{stats:?}");
}

#[test]
fn nothing_is_left_of_an_entry_however_it_goes() {
    let (cache, clock) = still(|builder| builder.max_size(50));
    let store = |key: &str| {
        cache.entry(key).tags(["shared", key]).ttl(SECOND).set("value").unwrap();
    };
    let books = || {
        let stats = cache.stats().backend;
        (stats.entries.unwrap(), stats.bytes.unwrap(), stats.tag_links.unwrap())
    };
    store("deleted");
    cache.delete("deleted").unwrap();
    assert_eq!(books(), (0, 0, 0), "deleted");
    store("expired and read");
    clock.advance(SECOND);
    cache.get::<String>("expired and read").unwrap();
    assert_eq!(books(), (0, 0, 0), "expired and read");
    store("invalidated");
    cache.invalidate_tags(["invalidated"]).unwrap();
    assert_eq!(books(), (0, 0, 0), "invalidated");
    store("cleared");
    cache.clear().unwrap();
    assert_eq!(books(), (0, 0, 0), "cleared");
    store("overwritten");
    cache.set("overwritten", &1).unwrap();
    assert_eq!(books(), (1, 12, 0), "overwritten");
    cache.delete("overwritten").unwrap();
    for number in 0..1_000 {
        store(&format!("evicted {number}"));
    }
    assert_eq!((books().0, books().2), (50, 100), "evicted");
    clock.advance(SECOND);
    cache.set("last", "").unwrap();
    cache.clear().unwrap();
    assert_eq!(books(), (0, 0, 0), "all");
}

#[test]
fn the_sweeper_frees_what_nobody_reads() {
    let memory = Memory::builder().cleanup_interval(Duration::from_millis(10)).build().unwrap();
    let cache = Cache::builder(memory).build().unwrap();
    for number in 0..5_000 {
        let entry = cache.entry(format!("k{number}")).tag("t");
        entry.ttl(Duration::from_millis(1 + number % 100)).set(&number).unwrap();
    }
    cache.set("forever", &1).unwrap();
    wait_for(|| cache.stats().backend.entries == Some(1));
    let stats = cache.stats().backend;
    assert_eq!((stats.expired, stats.tag_links), (5_000, Some(0)));
    assert_eq!(there(&cache, ["forever"]), [true]);
}

#[test]
fn what_is_kept_survives_the_move_to_a_smaller_table() {
    let clock = ManualClock::new();
    let memory = Memory::builder().max_size(20_000).clock(&clock);
    let memory = Arc::new(memory.cleanup_interval(Duration::ZERO).build().unwrap());
    let cache = Cache::builder(memory.clone()).clock(&clock).build().unwrap();
    for number in 0..15_000 {
        let ttl = SECOND * if number % 100 == 0 { 100 } else { 1 };
        cache.entry(format!("k{number}")).ttl(ttl).tag("t").set(&number).unwrap();
    }
    clock.advance(SECOND * 2);
    memory.sweep();
    assert_eq!(cache.stats().backend.entries, Some(150));
    assert_eq!(cache.keys("*").unwrap().len(), 150);
    assert_eq!(cache.get("k700").unwrap(), Some(700));
    cache.set("new", &1).unwrap();
    clock.advance(SECOND * 100);
    memory.sweep();
    assert_eq!(cache.keys("*").unwrap(), ["new"]);
    cache.entry("tagged").tag("t").set(&1).unwrap();
    cache.invalidate_tags(["t"]).unwrap();
    assert_eq!(cache.stats().backend.entries, Some(1));
}

#[test]
fn walks_miss_nothing_while_tables_shrink_under_them() {
    type Walk = fn(&Cache) -> Option<u64>;
    let walks: [(&str, Walk); 4] = [
        ("clear", |cache| cache.clear().unwrap().entries),
        ("pattern", |cache| cache.invalidate_pattern("k*").unwrap().entries),
        ("tag", |cache| cache.invalidate_tags(["t"]).unwrap().entries),
        ("tags", |cache| cache.invalidate_tags_all(["t", "u"]).unwrap().entries),
    ];
    for (name, walk) in walks {
        let held: Arc<OnceLock<Arc<Memory>>> = Arc::default();
        let sweeping = held.clone();
        let memory = Memory::builder().max_size(40_000).cleanup_interval(Duration::ZERO);
        let memory = memory.eviction_listener(move |_, _, _| sweeping.get().unwrap().sweep());
        let memory = Arc::new(memory.build().unwrap());
        held.set(memory.clone()).unwrap();
        let cache = Cache::builder(memory).build().unwrap();
        for number in 0..20_000 {
            cache.entry(format!("k{number}")).tags(["t", "u"]).set(&number).unwrap();
        }
        assert_eq!(walk(&cache), Some(20_000), "{name}");
        assert!(cache.keys("*").unwrap().is_empty(), "{name}");
    }
    let memory = Memory::builder().max_size(40_000).cleanup_interval(Duration::ZERO);
    let memory = Arc::new(memory.build().unwrap());
    let cache = Cache::builder(memory.clone()).build().unwrap();
    for number in 0..20_000 {
        cache
            .set(format!("{}{number}", if number < 16_000 { "gone" } else { "kept" }), &1)
            .unwrap();
    }
    let mut met = std::collections::HashSet::new();
    cache
        .scan("*", |page| {
            cache.invalidate_pattern("gone*").unwrap();
            memory.sweep();
            met.extend(
                page.iter().filter(|key| key.starts_with("kept")).map(|key| key.to_string()),
            );
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(met.len(), 4_000);
}

#[test]
fn the_drop_of_a_shared_value_may_panic() {
    #[derive(serde::Deserialize)]
    struct Bomb(#[allow(dead_code)] u8);
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("the value panics"));
        }
    }
    let memory = Memory::builder().cleanup_interval(Duration::from_millis(5)).build().unwrap();
    let cache = Cache::builder(memory).build().unwrap();
    for number in 0..10 {
        let key = format!("k{number}");
        cache.entry(&key).ttl(Duration::from_millis(30)).set(&number).unwrap();
        std::mem::forget(cache.get_arc::<Bomb>(&key).unwrap());
    }
    wait_for(|| cache.stats().backend.entries == Some(0));
}

#[test]
fn the_drop_of_a_counter_s_decoded_value_may_use_the_cache() {
    static CACHE: OnceLock<Cache> = OnceLock::new();
    static DROPPED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    #[derive(serde::Deserialize)]
    struct Counted(#[allow(dead_code)] i64);
    impl Drop for Counted {
        fn drop(&mut self) {
            CACHE.get().unwrap().get::<i64>("n").unwrap();
            DROPPED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let cache = CACHE.get_or_init(|| Cache::memory(10));
    cache.set("n", &1).unwrap();
    drop(cache.get_arc::<Counted>("n").unwrap());
    assert_eq!(cache.increment("n", 1).unwrap(), 2);
    assert_eq!(DROPPED.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn a_counter_that_can_never_fit_is_refused() {
    let (cache, _) = still(|builder| builder.max_bytes(30));
    assert_eq!(cache.increment("n", 1).unwrap(), 1);
    let error = cache.increment("a counter with a long name", 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

type Log = Arc<Mutex<Vec<(String, Reason)>>>;

fn logging(settings: impl FnOnce(MemoryBuilder) -> MemoryBuilder) -> (Cache, ManualClock, Log) {
    let log = Log::default();
    let (cache, clock) = still(|builder| {
        let log = log.clone();
        settings(builder).eviction_listener(move |key, _, reason| {
            log.lock().unwrap().push((key.to_owned(), reason));
        })
    });
    (cache, clock, log)
}

#[test]
fn the_listener_is_told_what_left_and_why() {
    let (cache, clock, log) = logging(|builder| builder.max_size(2));
    let told = |key: &str, reason| {
        assert_eq!(log.lock().unwrap().drain(..).collect::<Vec<_>>(), [(key.to_owned(), reason)]);
    };
    cache.set("a", &1).unwrap();
    cache.set("a", &2).unwrap();
    told("a", Reason::Replaced);
    cache.delete("a").unwrap();
    told("a", Reason::Deleted);
    cache.entry("b").tag("t").set(&1).unwrap();
    cache.invalidate_tags(["t"]).unwrap();
    told("b", Reason::Invalidated);
    cache.set("c", &1).unwrap();
    cache.invalidate_pattern("c").unwrap();
    told("c", Reason::Invalidated);
    cache.entry("d").ttl(SECOND).set(&1).unwrap();
    clock.advance(SECOND);
    cache.get::<i32>("d").unwrap();
    told("d", Reason::Expired);
    cache.entry("e").ttl(SECOND).set(&1).unwrap();
    clock.advance(SECOND);
    cache.set("e", &2).unwrap();
    told("e", Reason::Expired);
    cache.set("f", &1).unwrap();
    cache.set("g", &1).unwrap();
    told("e", Reason::Evicted);
}

#[test]
fn the_listener_may_use_the_cache() {
    let held: Arc<OnceLock<Cache>> = Arc::default();
    let (cache, _) = still(|builder| {
        let held = held.clone();
        builder.max_size(10).eviction_listener(move |key, entry, reason| {
            if reason == Reason::Evicted
                && let Some(cache) = held.get()
            {
                cache.set_bytes("last victim", entry.value.bytes().clone()).unwrap();
                cache.invalidate_tags(["t"]).unwrap();
                cache.exists(key).unwrap();
            }
        })
    });
    held.set(cache.clone()).unwrap();
    (0..100).for_each(|number| assert!(cache.set(format!("k{number}"), &number).unwrap()));
    assert!(cache.exists("last victim").unwrap());
}

#[test]
fn a_panicking_listener_harms_nobody() {
    let memory = Memory::builder()
        .cleanup_interval(Duration::from_millis(5))
        .eviction_listener(|_, _, _| std::panic::resume_unwind(Box::new("the listener panics")))
        .build()
        .unwrap();
    let cache = Cache::builder(memory).build().unwrap();
    for round in 1..=3 {
        cache.entry("k").ttl(Duration::from_millis(1)).set(&1).unwrap();
        wait_for(|| cache.stats().backend.expired == round);
    }
    cache.set("k", &1).unwrap();
    assert!(cache.delete("k").unwrap());
}

#[test]
fn the_sweeper_ends_with_its_cache_even_when_it_drops_it_itself() {
    let (ended, wait_ended) = channel();
    let (hold, held_now) = channel();
    let held_now = Mutex::new(held_now);
    let held: Arc<Mutex<Option<Cache>>> = Arc::default();
    let memory = Memory::builder()
        .cleanup_interval(Duration::from_millis(5))
        .eviction_listener({
            let held = held.clone();
            move |_, _, _| {
                held_now.lock().unwrap().recv().unwrap();
                let last = held.lock().unwrap().take();
                assert!(last.is_some());
                drop(last);
                ended.send(thread::current().name().map(String::from)).unwrap();
            }
        })
        .build()
        .unwrap();
    let cache = Cache::builder(memory).build().unwrap();
    cache.entry("k").ttl(Duration::from_millis(1)).set(&1).unwrap();
    *held.lock().unwrap() = Some(cache);
    hold.send(()).unwrap();
    let name = wait_ended.recv_timeout(Duration::from_secs(120)).unwrap();
    assert_eq!(name.as_deref(), Some("yokedcache-sweeper"));
}

#[test]
fn dropping_and_closing_wait_for_the_sweep_under_way() {
    for closes in [false, true] {
        let (begun, wait_begun) = channel();
        let swept = Arc::new(Mutex::new(false));
        let told = swept.clone();
        let memory = Memory::builder().cleanup_interval(Duration::from_millis(5));
        let memory = memory.eviction_listener(move |_, _, _| {
            begun.send(()).unwrap();
            thread::sleep(Duration::from_millis(100));
            *told.lock().unwrap() = true;
        });
        let cache = Cache::builder(memory.build().unwrap()).build().unwrap();
        cache.entry("k").ttl(Duration::from_millis(1)).set(&1).unwrap();
        wait_begun.recv_timeout(Duration::from_secs(120)).unwrap();
        if closes {
            cache.close();
        } else {
            drop(cache);
        }
        assert!(*swept.lock().unwrap(), "closes: {closes}");
    }
}

/// The sweepers of this process, by the names of its threads.
#[cfg(target_os = "linux")]
fn sweepers(process: u32) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("yokedcache-swe")).count()
}

/// In a process of its own, where no other test starts sweepers.
#[test]
#[cfg(target_os = "linux")]
fn dropping_and_closing_end_the_sweeper() {
    if std::env::var_os("YOKEDCACHE_TEST_ALONE").is_none() {
        let own = std::env::current_exe().unwrap();
        let mut alone = std::process::Command::new(own);
        alone.args(["--exact", "dropping_and_closing_end_the_sweeper"]);
        let output = alone.env("YOKEDCACHE_TEST_ALONE", "1").output().unwrap();
        return assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let count = || sweepers(std::process::id());
    let caches: Vec<Cache> = (0..5).map(|_| Cache::memory(10)).collect();
    wait_for(|| count() == 5);
    let clone = caches[0].clone();
    drop(caches);
    // The system lists a thread for a moment after its end.
    wait_for(|| count() == 1);
    clone.close();
    wait_for(|| count() == 0);
    clone.set("k", &1).unwrap();
    assert!(clone.exists("k").unwrap(), "a closed memory cache still answers");
}

#[test]
fn settings_out_of_range_are_refused() {
    let refused = [
        Memory::builder().max_size(0).build().unwrap_err(),
        Memory::builder().max_bytes(0).build().unwrap_err(),
        Cache::builder(Memory::builder().build().unwrap())
            .key_prefix("p".repeat(40_000))
            .build()
            .unwrap_err(),
    ];
    assert!(refused.iter().all(|error| error.kind() == ErrorKind::InvalidArgument));
    assert!(Cache::memory(0).set("k", &1).unwrap(), "at least one entry");
}

#[test]
fn a_key_prefix_is_part_of_every_name() {
    let memory = Arc::new(Memory::builder().build().unwrap());
    let whole = Cache::builder(memory.clone()).build().unwrap();
    let shop = Cache::builder(memory).key_prefix("shop").build().unwrap();
    shop.entry("k").tag("t").set(&1).unwrap();
    assert_eq!(whole.keys("*").unwrap(), ["shop:k"]);
    assert_eq!(shop.keys("*").unwrap(), ["k"]);
    whole.invalidate_tags(["shop:t"]).unwrap();
    assert!(!shop.exists("k").unwrap());
}

#[test]
fn eight_threads_leave_the_books_balanced() {
    let memory = Memory::builder().max_size(5_000).cleanup_interval(Duration::from_millis(1));
    let cache = Cache::builder(memory.build().unwrap()).build().unwrap();
    thread::scope(|scope| {
        for seed in 1..=8u64 {
            let cache = &cache;
            scope.spawn(move || hammer(cache, seed));
        }
    });
    let stats = cache.stats().backend;
    assert!(stats.entries.unwrap() <= 5_000, "{stats:?}");
    cache.clear().unwrap();
    let stats = cache.stats().backend;
    assert_eq!((stats.entries, stats.bytes, stats.tag_links), (Some(0), Some(0), Some(0)));
    cache.set("k", &1).unwrap();
    assert_eq!(cache.stats().backend.entries, Some(1));
}

/// Everything at once, on values that name their key.
fn hammer(cache: &Cache, mut seed: u64) {
    for _ in 0..20_000 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let key = format!("k{}", seed % 9_000);
        let tag = format!("t{}", seed % 31);
        match seed >> 32 & 15 {
            0..6 => assert!(cache.get::<String>(&key).unwrap().is_none_or(|value| value == key)),
            6..9 => assert!(cache.entry(&key).tags([&tag]).set(&key).unwrap()),
            9 => {
                let ttl = Duration::from_micros(1 + seed % 5_000);
                cache.entry(&key).tags([&tag, "all"]).ttl(ttl).set(&key).unwrap();
            }
            10 => drop(cache.delete(&key).unwrap()),
            11 => drop(cache.expire(&key, Duration::from_micros(1 + seed % 2_000)).unwrap()),
            12 if seed.is_multiple_of(50) => drop(cache.invalidate_tags([&tag]).unwrap()),
            13 if seed.is_multiple_of(500) => drop(cache.invalidate_pattern("k1*").unwrap()),
            14 => assert_eq!(cache.get_or_compute(&key, || key.clone()).unwrap(), key),
            _ => drop(cache.add(&key, &key).unwrap()),
        }
    }
}
