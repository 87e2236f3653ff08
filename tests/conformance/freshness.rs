//! What happens around the ends of entries.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use yokedcache::{Cache, Error, ErrorKind, Freshness, Loaded, Lookup, Ttl};

use super::gate::{Gate, Loads, Runs, fails, lasting, make_stale, never, new, wait_for};
use super::rig::Rig;

fn load(cache: &Cache, fresh: Freshness, loader: impl FnOnce() -> Loads<String>) -> Loads<String> {
    cache.entry("k").freshness(fresh).get_or_load(loader).unwrap()
}

/// Whether the loader is asked, which fails; a stale value is served in any case.
fn asks(cache: &Cache, key: &str, fresh: Freshness) -> bool {
    let runs = Runs::default();
    let answer = cache.entry(key).freshness(fresh).get_or_load(|| {
        runs.next();
        fails()
    });
    assert_eq!(answer.unwrap().unwrap(), "old");
    runs.count() == 1
}

pub fn a_failing_loader_is_answered_with_the_stale_value(rig: &Rig) {
    let cache = rig.cache();
    make_stale(rig, &cache, ["k"]);
    let entry = cache.entry("k").freshness(lasting(rig));
    let answer = entry.lookup_or_load(|_| fails().map(Loaded::Value)).unwrap();
    let Ok(Lookup::Hit(hit)) = answer else { panic!("the stale value") };
    assert_eq!((hit.value.as_str(), hit.stale), ("old", true));
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_errors, stats.stale, stats.hits), (1, 1, 1, 0));
    assert_eq!(cache.get::<String>("k").unwrap(), None, "absent to plain reads all the same");
}

pub fn a_loader_that_failed_is_left_alone_for_a_while(rig: &Rig) {
    let (one, two, unit) = (rig.cache(), rig.cache(), rig.unit());
    make_stale(rig, &one, ["k"]);
    // On a noisy machine two lines of a test may lie far apart.
    let pause = if rig.is_exact() { unit } else { unit.max(Duration::from_secs(2)) };
    let fresh = lasting(rig).retry_after(pause);
    assert!(asks(&one, "k", fresh));
    let throttled = rig.can().leases;
    assert_eq!(asks(&one, "k", fresh), !throttled);
    assert_eq!(asks(&two, "k", fresh), !throttled, "another cache over the same backend");
    assert_eq!((one.stats().stale, two.stats().stale), (2, 1));
    rig.pass(pause + unit + unit / 20);
    assert!(asks(&two, "k", fresh), "the pause is over");
}

pub fn without_a_pause_each_caller_tries_again(rig: &Rig) {
    let cache = rig.cache();
    make_stale(rig, &cache, ["k"]);
    let fresh = lasting(rig).retry_after(Duration::ZERO);
    assert!((0..3).all(|_| asks(&cache, "k", fresh)));
    assert_eq!(load(&cache, fresh, new).unwrap(), "new");
}

pub fn a_pause_is_not_jittered(rig: &Rig) {
    if !rig.is_exact() {
        return; // Its last millisecond is too short to meet.
    }
    let (cache, unit, keys) = (rig.cache(), rig.unit(), ["a", "b", "c", "d", "e", "f", "g", "h"]);
    make_stale(rig, &cache, keys);
    let fresh = lasting(rig).jitter(unit * 1000).retry_after(unit);
    let asked = || keys.map(|key| asks(&cache, key, fresh));
    assert_eq!(asked(), [true; 8]);
    rig.pass(unit - Duration::from_millis(1));
    assert_eq!(asked(), [false; 8]);
    rig.pass(Duration::from_millis(1));
    assert_eq!(asked(), [true; 8]);
}

pub fn a_success_ends_the_pause_for_all(rig: &Rig) {
    let cache = rig.cache();
    make_stale(rig, &cache, ["k"]);
    assert!(asks(&cache, "k", lasting(rig)));
    cache.entry("k").freshness(lasting(rig)).set("set").unwrap();
    assert_eq!(load(&cache, lasting(rig), never).unwrap(), "set");
    cache.delete("k").unwrap();
    assert_eq!(load(&cache, lasting(rig), new).unwrap(), "new", "nothing to leave it alone for");
}

pub fn a_value_older_than_its_grace_is_gone_and_the_error_surfaces(rig: &Rig) {
    let (cache, unit) = (rig.cache(), rig.unit());
    let short = Freshness::new().ttl(unit / 50).stale_for(unit / 50);
    cache.entry("k").freshness(short).set("old").unwrap();
    rig.pass(unit * 2);
    assert_eq!(load(&cache, lasting(rig), fails), fails());
    assert_eq!(cache.stats().stale, 0);
}

pub fn the_stale_value_is_served_while_one_loads(rig: &Rig) {
    let (one, two) = (rig.cache(), rig.cache());
    make_stale(rig, &one, ["k"]);
    let (gate, fresh) = (Gate::new(), lasting(rig));
    thread::scope(|scope| {
        let leader = scope.spawn(|| {
            load(&one, fresh, || {
                gate.pass();
                new()
            })
        });
        gate.wait();
        // On this thread, while the leader stands still: whoever waited would never come back.
        assert_eq!(load(&one, fresh, never).unwrap(), "old");
        if rig.can().leases {
            assert_eq!(load(&two, fresh, never).unwrap(), "old");
            assert_eq!(two.stats().stale, 1);
        }
        gate.open();
        assert_eq!(leader.join().unwrap().unwrap(), "new");
    });
    assert_eq!(load(&two, fresh, never).unwrap(), "new");
    assert_eq!((one.stats().stale, one.stats().loads), (1, 1));
}

pub fn who_takes_no_stale_value_gets_none(rig: &Rig) {
    let (one, two) = (rig.cache(), rig.cache());
    make_stale(rig, &one, ["k"]);
    let plain = Freshness::new().ttl(rig.unit() * 1000);
    assert!(asks(&one, "k", lasting(rig).retry_after(rig.unit() * 1000)));
    // Nor does it wait for the pause after the failure.
    for cache in [&one, &two] {
        assert_eq!(load(cache, plain, fails), fails());
    }
    assert_eq!(load(&two, plain, new).unwrap(), "new");
    assert_eq!(load(&one, plain, never).unwrap(), "new");
    assert_eq!(two.stats().stale, 0);
}

pub fn who_takes_no_stale_value_does_not_wait_for_who_does(rig: &Rig) {
    let (one, two) = (rig.cache(), rig.cache());
    make_stale(rig, &one, ["k"]);
    let gate = Gate::new();
    thread::scope(|scope| {
        let refresh = scope.spawn(|| {
            load(&one, lasting(rig), || {
                gate.pass();
                Ok("slow".to_owned())
            })
        });
        gate.wait();
        assert_eq!(load(&two, Freshness::new(), new).unwrap(), "new");
        gate.open();
        assert_eq!(refresh.join().unwrap().unwrap(), "slow", "its caller keeps it");
    });
    if rig.can().leases {
        assert_eq!(two.get::<String>("k").unwrap().as_deref(), Some("new"), "it was overtaken");
    }
}

/// An entry of which a thousandth is over, and a policy that refreshes it then.
fn make_due(rig: &Rig, cache: &Cache) -> Freshness {
    cache.entry("k").ttl(rig.unit() * 100).set("old").unwrap();
    rig.pass(rig.unit() / 2);
    // What is loaded lives so long that it is not due again.
    Freshness::new().ttl(rig.unit() * 100_000).refresh_at(0.001)
}

pub fn an_entry_is_refreshed_from_its_part_on(rig: &Rig) {
    let cache = rig.cache();
    let fresh = make_due(rig, &cache);
    assert_eq!(load(&cache, fresh.refresh_at(0.9), never).unwrap(), "old", "long before it");
    assert_eq!(cache.stats().loads, 0, "nobody asked");
    assert_eq!(load(&cache, fresh, new).unwrap(), "new");
    assert_eq!(load(&cache, fresh, never).unwrap(), "new", "it has a life of its own");
    cache.set("k", "endless").unwrap();
    rig.pass(rig.unit() / 2);
    assert_eq!(load(&cache, fresh, never).unwrap(), "endless", "no end, no parts");
}

pub fn the_part_is_met_to_the_millisecond(rig: &Rig) {
    if !rig.is_exact() {
        return;
    }
    let (cache, second) = (rig.cache(), Duration::from_secs(1));
    for (fresh, end) in [
        (Freshness::new().ttl(second).refresh_at(0.8), 800),
        (Freshness::new().ttl(second).refresh_at(1.0).stale_for(second), 1000),
        (Freshness::new().ttl(second).stale_for(second * 9).refresh_at(0.8), 800),
    ] {
        cache.entry("k").freshness(fresh).set("old").unwrap();
        rig.pass(Duration::from_millis(end - 1));
        assert_eq!(load(&cache, fresh, never).unwrap(), "old", "{fresh:?}");
        rig.pass(Duration::from_millis(1));
        assert_eq!(load(&cache, fresh, new).unwrap(), "new", "{fresh:?}");
    }
}

pub fn the_longest_lives_have_parts_or_no_end(rig: &Rig) {
    let cache = rig.cache();
    for ttl in [Duration::MAX, Duration::from_secs(u64::MAX / 4), Duration::from_secs(1 << 36)] {
        cache.entry("k").ttl(ttl).set("old").unwrap();
        for fresh in [Freshness::new().refresh_at(1.0), Freshness::new().refresh_by_chance(1.0)] {
            assert_eq!(load(&cache, fresh.ttl(ttl), never).unwrap(), "old", "{fresh:?}");
        }
    }
}

pub fn an_early_refresh_keeps_nobody_waiting(rig: &Rig) {
    let (one, two) = (rig.cache(), rig.cache());
    let (gate, fresh) = (Gate::new(), make_due(rig, &one));
    thread::scope(|scope| {
        let leader = scope.spawn(|| {
            load(&one, fresh, || {
                gate.pass();
                new()
            })
        });
        gate.wait();
        for _ in 0..3 {
            assert_eq!(load(&one, fresh, never).unwrap(), "old");
        }
        if rig.can().leases {
            assert_eq!(load(&two, fresh, never).unwrap(), "old", "nor another cache");
        }
        gate.open();
        assert_eq!(leader.join().unwrap().unwrap(), "new");
    });
    assert_eq!(one.get::<String>("k").unwrap().as_deref(), Some("new"));
    assert_eq!((one.stats().loads, one.stats().stale), (1, 0), "an old value is no stale one");
}

pub fn many_threads_refresh_once(rig: &Rig) {
    let cache = rig.cache();
    let (runs, all, fresh) = (Runs::default(), Barrier::new(8), make_due(rig, &cache));
    let values: Vec<String> = thread::scope(|scope| {
        let threads = [(); 8].map(|()| {
            scope.spawn(|| {
                all.wait();
                let loaded = load(&cache, fresh, || {
                    runs.next();
                    new()
                });
                loaded.unwrap()
            })
        });
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(runs.count(), 1);
    assert!(values.contains(&"new".to_owned()), "who is first loads for itself");
    assert!(values.iter().all(|value| value == "old" || value == "new"), "{values:?}");
}

pub fn an_early_refresh_that_fails_leaves_the_older_value(rig: &Rig) {
    let (one, two) = (rig.cache(), rig.cache());
    let fresh = make_due(rig, &one).retry_after(rig.unit() * 1000);
    let entry = one.entry("k").freshness(fresh);
    let answer = entry.lookup_or_load(|_| fails().map(Loaded::Value)).unwrap();
    let Ok(Lookup::Hit(hit)) = answer else { panic!("the older value") };
    assert_eq!((hit.value.as_str(), hit.stale), ("old", false));
    assert_eq!(asks(&one, "k", fresh), !rig.can().leases, "it is left alone, too");
    assert_eq!(asks(&two, "k", fresh), !rig.can().leases);
    assert_eq!(one.get::<String>("k").unwrap().as_deref(), Some("old"), "fresh to all others");
}

pub fn an_early_refresh_sees_the_previous_value(rig: &Rig) {
    let cache = rig.cache();
    let fresh = make_due(rig, &cache);
    let answer = cache.entry("k").freshness(fresh).load_with(|load| {
        assert_eq!(load.previous::<String>().as_deref(), Some("old"));
        Loads::Ok(Loaded::<String>::NotModified)
    });
    assert_eq!(answer.unwrap().unwrap().as_deref(), Some("old"));
    assert_eq!(load(&cache, fresh, never).unwrap(), "old", "it lives anew");
}

pub fn an_early_refresh_that_is_overtaken_is_not_stored(rig: &Rig) {
    let cache = rig.cache();
    let (gate, fresh) = (Gate::new(), make_due(rig, &cache));
    thread::scope(|scope| {
        let leader = scope.spawn(|| {
            load(&cache, fresh, || {
                gate.pass();
                new()
            })
        });
        gate.wait();
        assert!(cache.delete("k").unwrap());
        gate.open();
        assert_eq!(leader.join().unwrap().unwrap(), "new");
    });
    assert!(!cache.exists("k").unwrap());
    assert_eq!(cache.stats().overtaken, 1);
}

pub fn a_chance_of_nothing_never_refreshes_and_certainty_always(rig: &Rig) {
    let (cache, runs) = (rig.cache(), Runs::default());
    let fresh = Freshness::new().ttl(rig.unit() * 1000);
    let read = |beta: f64| {
        let load = || Loads::Ok(runs.next());
        cache.entry("k").freshness(fresh.refresh_by_chance(beta)).get_or_load(load).unwrap()
    };
    assert_eq!(read(0.0), Ok(0));
    assert!([0.0; 50].map(read).iter().all(|value| *value == Ok(0)));
    assert_eq!([f64::INFINITY; 5].map(read), [Ok(1), Ok(2), Ok(3), Ok(4), Ok(5)]);
    cache.set("k", &7).unwrap();
    assert_eq!(read(f64::INFINITY), Ok(7), "what has no end is not refreshed");
}

pub fn a_seed_makes_chance_reproducible(rig: &Rig) {
    if !rig.is_exact() {
        return; // The entry's time must stand still.
    }
    let reads = |seed: u64| -> Vec<bool> {
        let cache = rig.builder().seed(seed).build().unwrap();
        cache.entry("k").ttl(Duration::from_millis(2)).set("old").unwrap();
        let fresh = Freshness::new().refresh_by_chance(1.0);
        let read = |_| {
            let runs = Runs::default();
            // Not stored, so that each read finds the same entry.
            let answer = cache.entry("k").freshness(fresh).load_with(|_| {
                runs.next();
                Loads::Ok(Loaded::Skip("new".to_owned()))
            });
            answer.unwrap().unwrap();
            runs.count() == 1
        };
        (0..1000).map(read).collect()
    };
    assert_eq!(reads(7), reads(7));
    assert_ne!(reads(7), reads(8));
    // exp(-2 ms / 1 ms) of a thousand, with four standard deviations to either side.
    let many = reads(7).iter().filter(|refreshed| **refreshed).count();
    assert!((93..178).contains(&many), "{many}");
}

fn bad() -> [Freshness; 5] {
    let fresh = Freshness::new();
    [
        fresh.refresh_at(1.5),
        fresh.refresh_at(-0.1),
        fresh.refresh_at(f64::NAN),
        fresh.refresh_by_chance(-1.0),
        fresh.refresh_by_chance(f64::NAN),
    ]
}

/// The kinds of error of every way to load under this policy.
fn refusals(cache: &Cache, fresh: Freshness) -> [ErrorKind; 5] {
    let entry = || cache.entry("k").freshness(fresh);
    let loader = cache.loader(|_| never::<u8>()).freshness(fresh);
    let many = |missing: &[&String]| -> Loads<[(String, u8); 0]> { panic!("{missing:?}") };
    [
        entry().get_or_load(never::<u8>).unwrap_err(),
        entry().lookup_or_load(|_| never::<Loaded<u8>>()).unwrap_err(),
        entry().begin::<u8>().unwrap_err(),
        loader.get("k").unwrap_err(),
        cache.entries(["k"]).freshness(fresh).get_or_load_many(many).unwrap_err(),
    ]
    .map(|error: Error| error.kind())
}

pub fn bad_settings_are_refused_before_anything_is_done(rig: &Rig) {
    let cache = rig.cache();
    for fresh in bad() {
        assert_eq!(refusals(&cache, fresh), [ErrorKind::InvalidArgument; 5], "{fresh:?}");
        let error = rig.builder().freshness(fresh).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{fresh:?}");
    }
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.misses.total()), (0, 0), "no read, no load");
}

pub fn a_life_of_zero_is_refused_before_the_loader_runs(rig: &Rig) {
    let (cache, zero) = (rig.cache(), Duration::ZERO);
    let fresh = Freshness::new();
    for fresh in [fresh.ttl(zero), fresh.negative_ttl(zero), fresh.sliding(zero)] {
        assert_eq!(refusals(&cache, fresh), [ErrorKind::InvalidTtl; 5], "{fresh:?}");
        let error = rig.builder().freshness(fresh).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidTtl, "{fresh:?}");
    }
    assert_eq!(cache.get_or_load("k", new).unwrap().unwrap(), "new", "the key is free");
}

pub fn bad_settings_are_refused_where_there_is_a_value(rig: &Rig) {
    let cache = rig.cache();
    cache.entry("k").ttl(rig.unit() * 1000).set(&1).unwrap();
    for fresh in bad() {
        assert_eq!(refusals(&cache, fresh), [ErrorKind::InvalidArgument; 5], "{fresh:?}");
        let refresh = cache.loader(|_| never::<u8>()).freshness(fresh).refresh("k");
        assert_eq!(refresh.unwrap_err().kind(), ErrorKind::InvalidArgument, "{fresh:?}");
    }
}

pub fn a_lease_of_zero_is_refused(rig: &Rig) {
    let (cache, zero) = (rig.cache(), Duration::ZERO);
    let many = |_: &[&String]| never::<[(String, u8); 0]>();
    let errors = [
        cache.entry("k").lease(zero).get_or_load(never::<u8>).unwrap_err(),
        cache.entry("k").lease(zero).begin::<u8>().unwrap_err(),
        cache.loader(|_| never::<u8>()).lease(zero).get("k").unwrap_err(),
        cache.entries(["k"]).lease(zero).get_or_load_many(many).unwrap_err(),
        rig.builder().lease(zero).build().unwrap_err(),
    ];
    assert_eq!(errors.map(|error| error.kind()), [ErrorKind::InvalidArgument; 5]);
}

pub fn what_an_entry_leaves_open_is_as_the_cache_is_set(rig: &Rig) {
    let unit = rig.unit();
    let set = Freshness::new().ttl(unit * 10).negative_ttl(unit * 20).stale_for(unit * 1000);
    let cache = rig.builder().freshness(set).build().unwrap();
    let left = |key: &str, fresh: Freshness, value: Option<u8>| {
        let answer = cache.entry(key).freshness(fresh).get_or_load(|| Loads::Ok(value));
        assert_eq!(answer.unwrap().unwrap(), value);
        let Some(Ttl::After(left)) = cache.ttl(key).unwrap() else { panic!("an end of {key}") };
        left.as_secs_f64() / unit.as_secs_f64()
    };
    let open = Freshness::new().jitter(Duration::ZERO);
    for (key, fresh, value, units) in [
        ("open", open, Some(1), 10.0),
        ("open, none", open, None, 20.0),
        ("own", open.ttl(unit * 40), Some(1), 40.0),
        ("own, none", open.ttl(unit * 40), None, 20.0),
        ("own of none", open.negative_ttl(unit * 80), None, 80.0),
    ] {
        let left = left(key, fresh, value);
        assert!((units - 8.0..=units + 1.0).contains(&left), "{key}: {left} of {units} units");
    }
}

pub fn a_policy_of_an_entry_stands_in_place_of_the_caches(rig: &Rig) {
    let cache = rig.builder().freshness(lasting(rig)).build().unwrap();
    make_stale(rig, &cache, ["k"]);
    assert_eq!(load(&cache, Freshness::new(), fails), fails(), "it says nothing of stale values");
    assert_eq!(cache.get_or_load("k", fails).unwrap().unwrap(), "old");
}

pub fn who_takes_no_stale_value_leaves_it_to_others(rig: &Rig) {
    let cache = rig.cache();
    make_stale(rig, &cache, ["k"]);
    assert!(asks(&cache, "k", lasting(rig)));
    assert_eq!(load(&cache, Freshness::new(), fails), fails(), "during the pause");
    assert_eq!(load(&cache, lasting(rig), fails), Ok("old".to_owned()));
}

pub fn none_may_be_stored_for_a_time_of_its_own_or_not_at_all(rig: &Rig) {
    let (cache, unit) = (rig.cache(), rig.unit());
    let fresh = Freshness::new().ttl(unit * 1000).negative_ttl(unit / 50);
    let load = |key: &str, fresh: Freshness, value: Option<u8>| {
        let answer = cache.entry(key).freshness(fresh).get_or_load(|| Loads::Ok(value));
        assert_eq!(answer.unwrap().unwrap(), value);
    };
    load("value", fresh, Some(1));
    load("none", fresh, None);
    load("kept", fresh.negative_ttl(Ttl::Never), None);
    load("skipped", fresh.negative_ttl(Ttl::Never).skip_negative(), None);
    load("not skipped", fresh.skip_negative(), Some(1));
    rig.pass(unit + unit / 20);
    let keys = ["value", "none", "kept", "skipped", "not skipped"];
    let there = keys.map(|key| cache.exists(key).unwrap());
    assert_eq!(there, [true, false, true, false, true]);
}

pub fn a_stale_none_is_served_as_one(rig: &Rig) {
    let (cache, unit) = (rig.cache(), rig.unit());
    let set = cache.entry("k").freshness(lasting(rig).negative_ttl(unit / 50));
    set.set(&None::<String>).unwrap();
    rig.pass(unit + unit / 20);
    let entry = cache.entry("k").freshness(lasting(rig));
    let answer = entry.get_or_load(|| Err::<Option<String>, _>("the source is down"));
    assert_eq!(answer.unwrap(), Ok(None));
    assert_eq!(load(&cache, lasting(rig), fails), fails(), "a type that has no none");
}

pub fn loads_are_jittered_within_the_window(rig: &Rig) {
    let (ttl, jitter) = (Duration::from_secs(1000), Duration::from_secs(100));
    let (cache, fresh) = (rig.cache(), Freshness::new().ttl(ttl).jitter(jitter));
    let left = (0..100).map(|number| {
        let key = format!("k{number}");
        cache.entry(&key).freshness(fresh).get_or_load(|| Loads::Ok(number)).unwrap().unwrap();
        let Some(Ttl::After(left)) = cache.ttl(&key).unwrap() else { panic!("an end") };
        left
    });
    let mut left: Vec<Duration> = left.collect();
    left.sort();
    let (least, most) = (left[0], left[99]);
    assert!(most <= ttl && least >= ttl - jitter - Duration::from_secs(20), "{least:?} {most:?}");
    assert!(most - least > jitter.mul_f64(0.7), "{least:?} to {most:?} is no spread");
}

pub fn a_loaded_entry_slides_to_its_cap(rig: &Rig) {
    if !rig.is_exact() {
        return; // Half units are too short to wait for exactly.
    }
    let (cache, unit) = (rig.cache(), rig.unit());
    let fresh = Freshness::new().ttl(unit * 3).sliding(unit);
    load(&cache, fresh, new).unwrap();
    for half in 1..6 {
        rig.pass(unit / 2);
        assert_eq!(load(&cache, fresh, never).unwrap(), "new", "after {half} halves");
    }
    rig.pass(unit / 2);
    assert_eq!(load(&cache, fresh, fails), fails(), "the cap of three units");
    load(&cache, fresh, new).unwrap();
    rig.pass(unit);
    assert_eq!(load(&cache, fresh, fails), fails(), "not read for a unit");
}

pub fn a_stale_value_that_is_invalidated_is_not_served(rig: &Rig) {
    let cache = rig.cache();
    make_stale(rig, &cache, ["k"]);
    cache.delete("k").unwrap();
    assert_eq!(load(&cache, lasting(rig), fails), fails());
    let gate = Gate::new();
    make_stale(rig, &cache, ["k"]);
    thread::scope(|scope| {
        let leader = scope.spawn(|| {
            load(&cache, lasting(rig), || {
                gate.pass();
                new()
            })
        });
        gate.wait();
        cache.delete("k").unwrap();
        let after = scope.spawn(|| load(&cache, lasting(rig), || Ok("after".to_owned())));
        wait_for(|| after.is_finished() || cache.stats().misses.absent > 1);
        gate.open();
        assert_eq!(leader.join().unwrap().unwrap(), "new");
        assert_eq!(after.join().unwrap().unwrap(), "after", "it asked after the delete");
    });
    assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("after"));
}
