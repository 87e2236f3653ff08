//! Loading: once per key, and never over an invalidation.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use yokedcache::{Begun, Cache, Error, ErrorKind, Loaded, Lookup, MAX_TAGS, Pattern, Ttl};

use super::invalidation::{has_scan, has_tags};
use super::rig::Rig;

type Loads<T> = Result<T, String>;

pub fn a_missing_value_is_loaded_and_kept(rig: &Rig) {
    let (cache, unit) = (rig.cache(), rig.unit());
    let runs = AtomicUsize::new(0);
    let load = || {
        cache
            .entry("k")
            .ttl(unit)
            .get_or_load(|| Loads::Ok(format!("run {}", runs.fetch_add(1, Ordering::Relaxed))))
    };
    assert_eq!(load().unwrap().unwrap(), "run 0");
    assert_eq!(load().unwrap().unwrap(), "run 0");
    assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("run 0"));
    rig.pass(unit * 2);
    assert_eq!(load().unwrap().unwrap(), "run 1");
    assert_eq!(cache.get_or_compute("c", || 5).unwrap(), 5);
    assert_eq!(cache.get_or_compute("c", || 6).unwrap(), 5);
}

pub fn a_cached_none_is_not_loaded_again(rig: &Rig) {
    let cache = rig.cache();
    let none = cache.get_or_load("k", || Loads::Ok(None::<u8>)).unwrap().unwrap();
    assert_eq!(none, None);
    assert!(matches!(cache.lookup::<u8>("k").unwrap(), Lookup::Negative(_)));
    let again = cache.get_or_compute("k", || -> Option<u8> { panic!("not loaded again") });
    assert_eq!(again.unwrap(), None);
    let typed =
        cache.entry("k").load_with(|_| -> Result<Loaded<u8>, Infallible> { panic!("nor here") });
    assert_eq!(typed.unwrap().unwrap(), None);
    assert_eq!(cache.get_or_compute("k", || 7u8).unwrap(), 7, "a type that has no none");
}

pub fn skip_negative_stores_nothing(rig: &Rig) {
    let cache = rig.cache();
    for _ in 0..2 {
        let none = cache.entry("k").skip_negative().get_or_load(|| Loads::Ok(None::<u8>));
        assert_eq!(none.unwrap().unwrap(), None);
        assert!(!cache.exists("k").unwrap());
    }
    assert_eq!(cache.stats().loads, 2);
    assert!(!cache.entry("k").skip_negative().set(&None::<u8>).unwrap());
    assert!(!cache.exists("k").unwrap());
}

pub fn a_loaders_error_is_the_callers_and_stores_nothing(rig: &Rig) {
    let cache = rig.cache();
    let failed = cache.get_or_load("k", || "x".parse::<u8>()).unwrap();
    assert!(failed.is_err());
    assert!(!cache.exists("k").unwrap());
    assert_eq!(cache.get_or_load("k", || "7".parse::<u8>()).unwrap(), Ok(7));
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_errors, stats.sets), (2, 1, 1));
}

pub fn loaded_says_ttl_negative_and_skip(rig: &Rig) {
    let (cache, unit) = (rig.cache(), rig.unit());
    let load = |key: &str, loaded: Loaded<u8>| {
        cache.entry(key).ttl(unit * 100).load_with(|_| Loads::Ok(loaded)).unwrap().unwrap()
    };
    assert_eq!(load("value", Loaded::Value(1)), Some(1));
    assert_eq!(load("for", Loaded::For(2, Ttl::After(unit))), Some(2));
    assert_eq!(load("negative", Loaded::Negative(Ttl::After(unit))), None);
    assert_eq!(load("skip", Loaded::Skip(3)), Some(3));
    let there = |keys: [&str; 4]| keys.map(|key| cache.exists(key).unwrap());
    assert_eq!(there(["value", "for", "negative", "skip"]), [true, true, true, false]);
    rig.pass(unit * 2);
    assert_eq!(there(["value", "for", "negative", "skip"]), [true, false, false, false]);
}

pub fn a_loader_can_revalidate_a_stale_value(rig: &Rig) {
    let (cache, unit) = (rig.cache(), rig.unit());
    let load = |answer: fn(Option<String>) -> Loaded<String>| {
        let entry = cache.entry("k").ttl(unit).stale_for(unit * 100);
        entry.load_with(|load| Loads::Ok(answer(load.previous()))).unwrap().unwrap()
    };
    let first = load(|previous| {
        assert_eq!(previous, None);
        Loaded::Value("v".into())
    });
    assert_eq!(first.as_deref(), Some("v"));
    rig.pass(unit * 2);
    let same = load(|previous| {
        assert_eq!(previous.as_deref(), Some("v"));
        Loaded::NotModified
    });
    assert_eq!(same.as_deref(), Some("v"));
    assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("v"), "it lives anew");
}

pub fn not_modified_needs_a_previous_value(rig: &Rig) {
    let cache = rig.cache();
    let error = cache.entry("k").load_with(|_| Loads::Ok(Loaded::<u8>::NotModified)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(cache.get_or_compute("k", || 1).unwrap(), 1, "the key is free again");
}

pub fn tags_of_a_load_invalidate_it(rig: &Rig) {
    let cache = rig.cache();
    if !has_tags(rig, &cache) {
        return;
    }
    cache.entry("up front").tag("a").get_or_compute(|| 1).unwrap();
    let late = cache.entry("late").tag("a").load_with(|load| {
        assert_eq!(load.key(), "late");
        load.tag("b")?;
        Ok::<_, Error>(Loaded::Value(1))
    });
    late.unwrap().unwrap();
    cache.invalidate_tags(["b"]).unwrap();
    assert!(cache.exists("up front").unwrap() && !cache.exists("late").unwrap());
    cache.invalidate_tags(["a"]).unwrap();
    assert!(!cache.exists("up front").unwrap());
}

pub fn many_threads_load_once(rig: &Rig) {
    let cache = rig.cache();
    let (runs, barrier) = (AtomicUsize::new(0), Barrier::new(8));
    for round in 0..20 {
        let key = format!("k{round}");
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    let value = cache.get_or_compute(&key, || {
                        thread::sleep(Duration::from_millis(2));
                        runs.fetch_add(1, Ordering::Relaxed)
                    });
                    assert_eq!(value.unwrap(), round);
                });
            }
        });
    }
    assert_eq!((runs.into_inner(), cache.stats().loads), (20, 20));
}

/// Starts a loader and stops it half way: `during` runs while it loads, then it returns `value`.
fn while_loading(
    cache: &Cache,
    load: impl FnOnce(&Cache, &dyn Fn() -> String) -> String + Send,
    during: impl FnOnce(),
) -> String {
    let (started, wait_started) = channel();
    let (finish, wait_finish) = channel::<()>();
    thread::scope(|scope| {
        let loading = scope.spawn(move || {
            load(cache, &|| {
                started.send(()).unwrap();
                wait_finish.recv().unwrap();
                "loaded".to_owned()
            })
        });
        wait_started.recv().unwrap();
        during();
        finish.send(()).unwrap();
        loading.join().unwrap()
    })
}

/// A load that `invalidation` overtakes hands its value to its caller and stores nothing.
fn overtaken(rig: &Rig, invalidation: impl FnOnce(&Cache)) {
    let cache = rig.cache();
    cache.delete("k").unwrap();
    let tagged = rig.can().tags;
    let value = while_loading(
        &cache,
        |cache, loader| match tagged {
            true => cache.entry("k").tag("t").get_or_compute(loader).unwrap(),
            false => cache.get_or_compute("k", loader).unwrap(),
        },
        || invalidation(&cache),
    );
    assert_eq!(value, "loaded", "the caller keeps its value");
    assert_ne!(cache.get::<String>("k").unwrap().as_deref(), Some("loaded"));
    assert_eq!(cache.stats().overtaken, 1);
    let next = cache.get_or_compute("k", || "next".to_owned()).unwrap();
    assert_ne!(next, "loaded");
}

pub fn a_load_overtaken_by_delete_is_not_stored(rig: &Rig) {
    overtaken(rig, |cache| assert!(!cache.delete("k").unwrap()));
}

pub fn a_load_overtaken_by_set_is_not_stored(rig: &Rig) {
    overtaken(rig, |cache| {
        cache.set("k", "set").unwrap();
    });
}

pub fn a_load_overtaken_by_its_tag_is_not_stored(rig: &Rig) {
    if has_tags(rig, &rig.cache()) {
        overtaken(rig, |cache| {
            cache.invalidate_tags(["t"]).unwrap();
        });
    }
}

pub fn a_load_overtaken_by_a_late_tag_is_not_stored(rig: &Rig) {
    let cache = rig.cache();
    if !has_tags(rig, &cache) || !rig.can().leases {
        return;
    }
    let load = |cache: &Cache, loader: &dyn Fn() -> String| {
        let value = cache.entry("k").load_with(|load| {
            load.tag("late")?;
            Ok::<_, Error>(Loaded::Value(loader()))
        });
        value.unwrap().unwrap().unwrap()
    };
    while_loading(&cache, load, || {
        cache.invalidate_tags(["late"]).unwrap();
    });
    assert!(!cache.exists("k").unwrap());
    while_loading(&cache, load, || {
        cache.invalidate_tags(["another"]).unwrap();
    });
    assert!(cache.exists("k").unwrap(), "another tag does not overtake");
    if !rig.can().scan {
        return;
    }
    cache.delete("k").unwrap();
    while_loading(&cache, load, || {
        cache.invalidate_tags_all(["late", "another"]).unwrap();
    });
    assert!(!cache.exists("k").unwrap(), "all-of overtakes: the rest could have come");
}

pub fn a_load_overtaken_by_a_pattern_is_not_stored(rig: &Rig) {
    if has_scan(rig, &rig.cache()) {
        overtaken(rig, |cache| {
            cache.invalidate_pattern("k*").unwrap();
        });
        overtaken(rig, |cache| {
            cache.invalidate_pattern(Pattern::regex("^k$").unwrap()).unwrap();
        });
    }
}

pub fn a_load_overtaken_by_clear_is_not_stored(rig: &Rig) {
    if has_scan(rig, &rig.cache()) {
        overtaken(rig, |cache| {
            cache.clear().unwrap();
        });
    }
}

pub fn waiters_of_a_failed_load_get_an_error_and_the_next_loads(rig: &Rig) {
    // A thread that is not yet waiting when the load fails loads for itself.
    let waited = (1..=5).any(|time| a_waiter_of_a_failed_load_gets_an_error(rig, time * time));
    assert!(waited, "five times it loaded for itself");
}

fn a_waiter_of_a_failed_load_gets_an_error(rig: &Rig, times: u32) -> bool {
    let cache = rig.cache();
    cache.delete("k").unwrap();
    let (started, wait_started) = channel();
    let (finish, wait_finish) = channel::<()>();
    let waited = thread::scope(|scope| {
        let cache = &cache;
        let leader = scope.spawn(move || {
            cache.get_or_load("k", || {
                started.send(()).unwrap();
                wait_finish.recv().unwrap();
                Loads::<u8>::Err("no".into())
            })
        });
        wait_started.recv().unwrap();
        let joins = scope.spawn(move || cache.get_or_load("k", || Loads::Ok(1u8)));
        wait_for(|| joins.is_finished() || cache.stats().misses.total() == 2);
        // It has missed, and joins next.
        thread::sleep(Duration::from_millis(50) * times);
        finish.send(()).unwrap();
        assert_eq!(leader.join().unwrap().unwrap(), Err("no".into()));
        let failed = joins.join().unwrap().err();
        assert!(failed.as_ref().is_none_or(|error| error.kind() == ErrorKind::LoadFailed));
        failed.is_some()
    });
    let left = if waited { 2 } else { 1 };
    assert_eq!(cache.get_or_compute("k", || 2u8).unwrap(), left);
    waited
}

fn wait_for(done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(120), "it does not come");
        thread::yield_now();
    }
}

pub fn a_panic_frees_the_key(rig: &Rig) {
    let cache = rig.cache();
    let (started, wait_started) = channel();
    let (finish, wait_finish) = channel::<()>();
    thread::scope(|scope| {
        let cache = &cache;
        let leader = scope.spawn(move || {
            catch_unwind(AssertUnwindSafe(|| {
                cache.get_or_compute("k", || -> u8 {
                    started.send(()).unwrap();
                    wait_finish.recv().unwrap();
                    std::panic::resume_unwind(Box::new("the loader panics"))
                })
            }))
        });
        wait_started.recv().unwrap();
        let waits = scope.spawn(move || cache.get_or_compute("k", || 1u8));
        thread::sleep(Duration::from_millis(10));
        finish.send(()).unwrap();
        assert!(leader.join().unwrap().is_err());
        assert_eq!(waits.join().unwrap().unwrap(), 1, "one of those who waited loads");
    });
    assert_eq!(cache.get("k").unwrap(), Some(1));
    assert_eq!(cache.stats().load_errors, 1);
}

pub fn a_loader_may_load_other_keys(rig: &Rig) {
    let cache = rig.cache();
    let a = cache.get_or_load("a", || {
        let b = cache.get_or_load("b", || Ok::<_, Error>(1))??;
        Ok::<_, Error>(b + 1)
    });
    assert_eq!(a.unwrap().unwrap(), 2);
    assert_eq!(cache.get_many::<i32>(["a", "b"]).unwrap(), [Some(2), Some(1)]);
}

pub fn a_loader_that_loads_its_own_key_gets_an_error(rig: &Rig) {
    let cache = rig.cache();
    let result = cache.get_or_load("k", || {
        let own = cache.get_or_compute("k", || 1);
        assert_eq!(own.as_ref().unwrap_err().kind(), ErrorKind::Reentrant);
        assert_eq!(cache.get::<i32>("k").unwrap(), None, "a plain get is a miss");
        own
    });
    assert_eq!(result.unwrap().unwrap_err().kind(), ErrorKind::Reentrant);
    assert_eq!(cache.get_or_compute("k", || 2).unwrap(), 2);
}

pub fn different_keys_never_wait_for_each_other(rig: &Rig) {
    let cache = rig.cache();
    // Every loader waits for all others: with stripes two keys would share one, and none end.
    let all = Arc::new(Barrier::new(200));
    thread::scope(|scope| {
        for number in 0..200 {
            let (cache, all) = (&cache, all.clone());
            scope.spawn(move || {
                let value = cache.entry(format!("k{number}")).get_or_compute(|| {
                    all.wait();
                    number
                });
                assert_eq!(value.unwrap(), number);
            });
        }
    });
}

pub fn waiting_ends_at_the_timeout(rig: &Rig) {
    let cache = rig.cache();
    let value = while_loading(
        &cache,
        |cache, loader| cache.get_or_compute("k", loader).unwrap(),
        || {
            let started = Instant::now();
            let limited = cache.entry("k").timeout(Duration::from_millis(200));
            let error = limited.get_or_compute(|| "own".to_owned()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout);
            assert!(started.elapsed() < Duration::from_secs(20));
        },
    );
    assert_eq!(value, "loaded");
    assert!(cache.exists("k").unwrap());
}

/// Who waits for another process gives up like who waits for another thread.
pub fn waiting_for_another_cache_ends_at_the_timeout(rig: &Rig) {
    let (mine, other) = (rig.cache(), rig.cache());
    if !rig.can().leases {
        return;
    }
    let Begun::Slot(slot) = other.entry("k").begin::<u8>().unwrap() else { unreachable!() };
    assert!(!mine.exists("k").unwrap(), "and it is connected");
    let limited = || mine.entry("k").timeout(Duration::from_secs(1));
    let started = Instant::now();
    waits_in_vain(&mine, || limited().get_or_compute(|| 2).map(drop));
    waits_in_vain(&mine, || limited().begin::<u8>().map(drop));
    assert!(started.elapsed() < Duration::from_secs(60));
    assert!(slot.set(&1).unwrap());
    assert_eq!(mine.get("k").unwrap(), Some(1));
}

/// On a machine that stands still a backend may be late with its first answer, and is down then.
#[track_caller]
fn waits_in_vain(cache: &Cache, load: impl Fn() -> Result<(), Error>) {
    for _ in 0..10 {
        let down = cache.stats().misses.down;
        match load() {
            Err(error) => return assert_eq!(error.kind(), ErrorKind::Timeout),
            Ok(()) => assert!(cache.stats().misses.down > down, "it did not wait"),
        }
    }
    panic!("the backend is always late");
}

pub fn a_load_names_no_more_tags_than_an_entry_may_have(rig: &Rig) {
    let cache = rig.cache();
    if !has_tags(rig, &cache) {
        return;
    }
    let loaded = cache.entry("k").tag("up front").load_with(|load| {
        (1..MAX_TAGS).try_for_each(|number| load.tag(&format!("t{number}")))?;
        load.tag("t1").expect("it has that one");
        assert_eq!(load.tag("one more").unwrap_err().kind(), ErrorKind::InvalidTag);
        Ok::<_, Error>(Loaded::Value(1))
    });
    assert_eq!(loaded.unwrap().unwrap(), Some(1));
    assert!(cache.exists("k").unwrap());
    cache.invalidate_tags(["one more"]).unwrap();
    assert!(cache.exists("k").unwrap(), "refused, and not noted");
    cache.invalidate_tags([format!("t{}", MAX_TAGS - 1)]).unwrap();
    assert!(!cache.exists("k").unwrap());
}

pub fn a_waiter_of_another_schema_loads_for_itself(rig: &Rig) {
    let cache = rig.cache();
    let other = cache.with_schema(2);
    let (started, wait_started) = channel();
    let waits = thread::spawn(move || {
        wait_started.recv().unwrap();
        other.get_or_compute("k", || "of schema 2".to_owned()).unwrap()
    });
    while_loading(
        &cache,
        |cache, loader| cache.get_or_compute("k", loader).unwrap(),
        || {
            started.send(()).unwrap();
            wait_for(|| cache.stats().misses.total() == 2);
            thread::sleep(Duration::from_millis(5));
        },
    );
    assert_eq!(waits.join().unwrap(), "of schema 2");
}

pub fn a_load_may_take_longer_than_the_timeout(rig: &Rig) {
    let cache = rig.cache();
    // Where the machine is busy the cache's own time may be over, too.
    let is_kept = (0..5).any(|_| {
        let slow = cache.entry("k").timeout(Duration::from_millis(300));
        slow.get_or_compute(|| thread::sleep(Duration::from_millis(400))).unwrap();
        cache.exists("k").unwrap()
    });
    assert!(is_kept, "the loader's time is not the cache's");
    let endless = cache.entry("l").timeout(Duration::MAX);
    assert_eq!(endless.get_or_compute(|| 1).unwrap(), 1);
}

pub fn two_caches_over_one_backend_load_once(rig: &Rig) {
    if !rig.can().leases {
        return;
    }
    let (one, two) = (rig.cache(), rig.cache());
    let (started, wait_started) = channel();
    let second = thread::spawn({
        let two = two.clone();
        move || {
            wait_started.recv().unwrap();
            two.get_or_compute("k", || "second".to_owned()).unwrap()
        }
    });
    let first = while_loading(
        &one,
        |cache, loader| cache.get_or_compute("k", loader).unwrap(),
        || {
            started.send(()).unwrap();
            wait_for(|| two.stats().misses.total() > 0);
            thread::sleep(Duration::from_millis(20));
        },
    );
    assert_eq!(first, "loaded");
    assert_eq!(second.join().unwrap(), "loaded");
    assert_eq!(two.stats().loads, 0);
}

pub fn bad_settings_are_refused_before_the_loader_runs(rig: &Rig) {
    let cache = rig.cache();
    let zero = Duration::ZERO;
    let never = || -> u8 { panic!("the loader does not run") };
    let errors = [
        cache.entry("k").ttl(zero).get_or_compute(never).unwrap_err(),
        cache.entry("k").negative_ttl(zero).get_or_compute(never).unwrap_err(),
        cache.entry("k").sliding(zero).get_or_compute(never).unwrap_err(),
    ];
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::InvalidTtl));
}

pub fn a_stale_value_of_another_schema_is_no_previous_one(rig: &Rig) {
    let (one, two) = (rig.cache().with_schema(1), rig.cache().with_schema(2));
    one.entry("k").ttl(rig.unit()).stale_for(rig.unit() * 100).set("of one").unwrap();
    rig.pass(rig.unit() * 2);
    let answer = two.entry("k").load_with(|load| {
        assert_eq!(load.previous::<String>(), None);
        Loads::Ok(Loaded::Value("of two".to_owned()))
    });
    assert_eq!(answer.unwrap().unwrap().as_deref(), Some("of two"));
}

pub fn an_undecodable_value_is_loaded_anew(rig: &Rig) {
    let cache = rig.cache();
    cache.set("k", "text").unwrap();
    assert_eq!(cache.get_or_compute("k", || 5).unwrap(), 5);
    assert_eq!(cache.get("k").unwrap(), Some(5));
    let versioned = cache.with_schema(2);
    assert_eq!(versioned.get_or_compute("k", || 6).unwrap(), 6);
    assert_eq!(versioned.get("k").unwrap(), Some(6));
}
