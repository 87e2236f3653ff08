//! Many keys loaded by one call.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Barrier, Mutex};
use std::thread;

use yokedcache::{Cache, Error, ErrorKind, Freshness, Lookup, Ttl};

use super::gate::{Gate, LONG, Loads, Runs, SHORT, lasting, make_stale, never, new, wait_for};
use super::invalidation::has_tags;
use super::rig::Rig;

type Pairs = Vec<(String, String)>;

fn key(id: &u32) -> String {
    format!("key {id}")
}

/// What is loaded for an id.
fn of(id: u32) -> String {
    format!("value {id}")
}

fn all(missing: &[&u32]) -> Loads<Vec<(u32, String)>> {
    Ok(missing.iter().map(|id| (**id, of(**id))).collect())
}

fn values<const N: usize>(ids: [u32; N]) -> Vec<Option<String>> {
    ids.map(|id| Some(of(id))).to_vec()
}

fn strings<const N: usize>(values: [&str; N]) -> Vec<Option<String>> {
    values.map(|value| Some(value.to_owned())).to_vec()
}

/// All of them, each with this value.
fn each(missing: &[&String], value: &str) -> Pairs {
    missing.iter().map(|key| ((*key).clone(), value.to_owned())).collect()
}

pub fn values_come_in_the_order_asked_for_each_loaded_once(rig: &Rig) {
    let (cache, runs) = (rig.cache(), Runs::default());
    cache.set(key(&2), &of(2)).unwrap();
    let ids = [5, 2, 9, 5, 1, 9, 2];
    let load = |missing: &[&u32]| {
        runs.next();
        assert_eq!(missing, [&5, &9, &1], "in order, each once");
        all(missing).map(|loaded| loaded.into_iter().rev().chain([(77, of(77))]))
    };
    let answer = cache.entries_by(ids, key).get_or_load_many(load);
    assert_eq!(answer.unwrap().unwrap(), values(ids));
    let again = cache.entries_by(ids, key).get_or_load_many(|_| never::<Vec<(u32, String)>>());
    assert_eq!(again.unwrap().unwrap(), values(ids), "all hits");
    assert!(!cache.exists(key(&77)).unwrap(), "what it was not asked for is passed over");
    let stats = cache.stats();
    assert_eq!((runs.count(), stats.loads, stats.sets), (1, 1, 4));
}

pub fn nothing_asked_for_loads_nothing(rig: &Rig) {
    let cache = rig.cache();
    let none = cache.entries([""; 0]).get_or_load_many(|_| never::<Pairs>());
    assert_eq!(none.unwrap().unwrap(), []);
    assert_eq!(cache.stats().loads, 0);
}

pub fn what_is_left_out_is_none_and_not_stored(rig: &Rig) {
    let cache = rig.cache();
    let answer = cache
        .entries(["a", "b", "c"])
        .get_or_load_many(|missing| Loads::Ok(each(&missing[1..2], "value")));
    assert_eq!(answer.unwrap().unwrap(), [None, Some("value".to_owned()), None]);
    assert_eq!(["a", "b", "c"].map(|key| cache.exists(key).unwrap()), [false, true, false]);
    assert_eq!(cache.get_or_load("a", new).unwrap().unwrap(), "new", "the key is free");
    let nothing = cache.entries(["x"]).get_or_load_many(|_| Loads::Ok(Pairs::new()));
    assert_eq!(nothing.unwrap().unwrap(), [None]);
}

pub fn optional_values_store_that_there_is_none(rig: &Rig) {
    let cache = rig.cache();
    let load = |missing: &[&String]| {
        let value = |key: &String| (key == "b").then_some(1);
        Loads::Ok(missing.iter().map(|key| ((*key).clone(), value(key))).collect::<Vec<_>>())
    };
    let answer = cache.entries(["a", "b"]).get_or_load_many(load).unwrap().unwrap();
    assert_eq!(answer, [Some(None), Some(Some(1))]);
    assert!(matches!(cache.lookup::<u8>("a").unwrap(), Lookup::Negative(_)));
    let again =
        cache.entries(["a", "b"]).get_or_load_many(|_| never::<Vec<(String, Option<i32>)>>());
    assert_eq!(again.unwrap().unwrap(), [Some(None), Some(Some(1))]);
    let typed = cache.entries(["a"]).get_or_load_many(|_| Loads::Ok([("a".to_owned(), 7)]));
    assert_eq!(typed.unwrap().unwrap(), [Some(7)], "a type that has no none loads");
}

pub fn a_batch_stores_with_tags_and_times(rig: &Rig) {
    let (cache, unit) = (rig.cache(), rig.unit());
    if !has_tags(rig, &cache) {
        let tagged = cache.entries(["a"]).tags(["t"]).get_or_load_many(|_| never::<Pairs>());
        assert_eq!(tagged.unwrap_err().kind(), ErrorKind::Unsupported);
    } else {
        let load = || {
            let entries = cache.entries(["a", "b"]).tags(["t"]);
            entries.get_or_load_many(|missing| Loads::Ok(each(missing, "v"))).unwrap().unwrap()
        };
        assert_eq!(load(), strings(["v", "v"]));
        cache.invalidate_tags(["t"]).unwrap();
        assert_eq!(["a", "b"].map(|key| cache.exists(key).unwrap()), [false, false]);
    }
    let load = |keys: [&str; 2], fresh: Freshness| {
        let entries = cache.entries(keys).freshness(fresh);
        entries.get_or_load_many(|missing| Loads::Ok(each(missing, "v"))).unwrap().unwrap()
    };
    load(["short", "short, too"], Freshness::new().ttl(unit / 50));
    load(["long", "long, too"], Freshness::new().ttl(unit * 1000));
    rig.pass(unit + unit / 20);
    let there = ["short", "short, too", "long", "long, too"].map(|key| cache.exists(key).unwrap());
    assert_eq!(there, [false, false, true, true]);
    assert!(matches!(cache.ttl("long").unwrap(), Some(Ttl::After(_))));
}

pub fn an_error_of_the_loader_stores_nothing_and_frees_the_keys(rig: &Rig) {
    let cache = rig.cache();
    cache.set("there", "there").unwrap();
    let answer = cache.entries(["a", "there", "b"]).get_or_load_many(|_| Err::<Pairs, _>("down"));
    assert_eq!(answer.unwrap(), Err("down"));
    assert_eq!(["a", "b"].map(|key| cache.exists(key).unwrap()), [false, false]);
    let again = cache
        .entries(["a", "there", "b"])
        .get_or_load_many(|missing| Loads::Ok(each(missing, "new")));
    assert_eq!(again.unwrap().unwrap(), strings(["new", "there", "new"]));
    assert_eq!((cache.stats().loads, cache.stats().load_errors), (2, 1));
}

pub fn stale_values_answer_for_a_loader_that_fails(rig: &Rig) {
    let cache = rig.cache();
    cache.set("there", "there").unwrap();
    make_stale(rig, &cache, ["a", "b", "c"]);
    let load = |keys: &[&str], result: Loads<Pairs>, runs: &Runs| {
        let entries = cache.entries(keys.iter().copied()).freshness(lasting(rig));
        entries.get_or_load_many(|_| {
            runs.next();
            result
        })
    };
    let (down, runs) = (|| Err("down".to_owned()), Runs::default());
    let answer = load(&["a", "there", "b", "a"], down(), &runs).unwrap();
    assert_eq!(answer.unwrap(), strings(["old", "there", "old", "old"]));
    assert_eq!(cache.stats().stale, 2);
    let answer = load(&["a", "b"], down(), &runs).unwrap();
    assert_eq!(answer.unwrap(), strings(["old", "old"]));
    let throttled = rig.can().leases;
    assert_eq!(runs.count(), if throttled { 1 } else { 2 }, "it is left alone for a while");
    let partly = load(&["c", "absent"], down(), &runs).unwrap();
    assert_eq!(partly, Err("down".to_owned()), "there is nothing to serve for one of them");
    let plain = cache.entries(["c"]).get_or_load_many(|_| Err::<Pairs, _>("down")).unwrap();
    assert_eq!(plain, Err("down"), "to a caller who takes none");
}

pub fn stale_values_are_served_while_another_loads(rig: &Rig) {
    let (one, two) = (rig.cache(), rig.cache());
    make_stale(rig, &one, ["a", "b"]);
    let gate = Gate::new();
    let load = |cache: &Cache, keys: [&str; 2], loader: &dyn Fn(&[&String]) -> Pairs| {
        let entries = cache.entries(keys).freshness(lasting(rig));
        entries.get_or_load_many(|missing| Loads::Ok(loader(missing))).unwrap().unwrap()
    };
    let not = |missing: &[&String]| -> Pairs { panic!("{missing:?} is being loaded") };
    thread::scope(|scope| {
        let leader = scope.spawn(|| {
            load(&one, ["a", "b"], &|missing| {
                gate.pass();
                each(missing, "new")
            })
        });
        gate.wait();
        assert_eq!(load(&one, ["b", "a"], &not), strings(["old", "old"]));
        if rig.can().leases {
            assert_eq!(load(&two, ["b", "a"], &not), strings(["old", "old"]));
        }
        gate.open();
        assert_eq!(leader.join().unwrap(), strings(["new", "new"]));
    });
    assert_eq!(load(&two, ["a", "b"], &not), strings(["new", "new"]));
}

pub fn a_panic_frees_all_keys(rig: &Rig) {
    let cache = rig.cache();
    let panics = catch_unwind(AssertUnwindSafe(|| {
        cache
            .entries(["a", "b"])
            .get_or_load_many(|_| -> Loads<Pairs> { resume_unwind(Box::new("the loader panics")) })
    }));
    assert!(panics.is_err());
    let other = if rig.can().leases { rig.cache() } else { cache };
    for key in ["a", "b"] {
        let entry = other.entry(key).timeout(LONG / 12);
        assert_eq!(entry.get_or_load(new).unwrap().unwrap(), "new");
    }
}

pub fn a_panic_of_the_pairs_frees_all_keys(rig: &Rig) {
    let cache = rig.cache();
    let lazily = |missing: &[&String]| {
        let pairs = each(missing, "value").into_iter().enumerate();
        Loads::Ok(pairs.map(|(at, pair)| match at {
            0 => pair,
            _ => resume_unwind(Box::new("the second pair panics")),
        }))
    };
    let panics = catch_unwind(AssertUnwindSafe(|| {
        cache.entries(["a", "b", "c"]).get_or_load_many(lazily).map(drop)
    }));
    assert!(panics.is_err());
    for key in ["a", "b", "c"] {
        let entry = cache.entry(key).timeout(LONG / 12);
        assert_eq!(entry.get_or_load(new).unwrap().unwrap(), "new");
    }
}

/// Loads "a", "b" and "c" with one call, and changes something meanwhile.
fn overtaken(rig: &Rig, change: impl FnOnce(&Cache)) -> [Option<String>; 3] {
    let cache = rig.cache();
    cache.delete_many(["a", "b", "c"]).unwrap();
    let load = |missing: &[&String]| {
        change(&cache);
        Loads::Ok(each(missing, "loaded"))
    };
    let answer = match rig.can().tags {
        true => cache.entries(["a", "b", "c"]).tags(["t"]).get_or_load_many(load),
        false => cache.entries(["a", "b", "c"]).get_or_load_many(load),
    };
    let own = strings(["loaded", "loaded", "loaded"]);
    assert_eq!(answer.unwrap().unwrap(), own, "the caller keeps its values");
    ["a", "b", "c"].map(|key| cache.get(key).unwrap())
}

pub fn what_is_overtaken_of_a_batch_is_not_stored(rig: &Rig) {
    let loaded = || Some("loaded".to_owned());
    let after = overtaken(rig, |cache| assert!(!cache.delete("b").unwrap()));
    assert_eq!(after, [loaded(), None, loaded()]);
    let after = overtaken(rig, |cache| assert!(cache.set("b", "set").unwrap()));
    assert_eq!(after, [loaded(), Some("set".to_owned()), loaded()]);
    if rig.can().scan {
        let after = overtaken(rig, |cache| _ = cache.invalidate_pattern("[ab]").unwrap());
        assert_eq!(&after[..2], [None, None], "and the third is not asked for again by halves");
        assert_eq!(overtaken(rig, |cache| _ = cache.clear().unwrap()), [None, None, None]);
    }
    if rig.can().tags {
        let after = overtaken(rig, |cache| _ = cache.invalidate_tags(["t"]).unwrap());
        assert_eq!(after, [None, None, None]);
    }
}

/// Batches of random ids by two threads, over one or two caches: each id is loaded once.
fn overlapping(caches: [&Cache; 2], rounds: u32) {
    let (loaded, mut state) = (Mutex::new(HashSet::new()), 0x9E37_79B9_7F4A_7C15_u64);
    let mut random = |round: u32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        round * 8 + (state >> 33) as u32 % 8
    };
    for round in 0..rounds {
        let start = Barrier::new(2);
        let batch = |cache: &Cache, ids: Vec<u32>| {
            start.wait();
            let load = |missing: &[&u32]| {
                let mut loaded = loaded.lock().unwrap();
                assert!(missing.iter().all(|id| loaded.insert(**id)), "{missing:?} again");
                drop(loaded);
                thread::yield_now();
                all(missing)
            };
            let answer = cache.entries_by(ids.clone(), key).get_or_load_many(load);
            let expected: Vec<_> = ids.iter().map(|id| Some(of(*id))).collect();
            assert_eq!(answer.unwrap().unwrap(), expected, "{ids:?} in round {round}");
        };
        thread::scope(|scope| {
            for cache in caches {
                let (ids, batch) = ((0..6).map(|_| random(round)).collect(), &batch);
                scope.spawn(move || batch(cache, ids));
            }
        });
    }
}

pub fn overlapping_batches_of_two_threads_load_each_key_once(rig: &Rig) {
    let cache = rig.cache();
    overlapping([&cache, &cache], 100);
}

pub fn overlapping_batches_of_two_caches_load_each_key_once(rig: &Rig) {
    if rig.can().leases {
        overlapping([&rig.cache(), &rig.cache()], 30);
    }
}

pub fn two_batches_that_need_each_other_do_not_deadlock(rig: &Rig) {
    let (cache, (first, second)) = (rig.cache(), (Gate::new(), Gate::new()));
    let load = |ids: [u32; 2], gate: &Gate, expected: u32| {
        let load = |missing: &[&u32]| {
            assert_eq!(missing, [&expected]);
            gate.pass();
            all(missing)
        };
        cache.entries_by(ids, key).get_or_load_many(load).unwrap().unwrap()
    };
    // A slot holds each of the two until both batches have claimed the other one.
    thread::scope(|scope| {
        let one = scope.spawn(|| {
            cache.entries_by([1], key).get_or_load_many(|missing| {
                first.pass();
                all(missing)
            })
        });
        first.wait();
        let both = scope.spawn(|| load([1, 2], &second, 2));
        second.wait();
        let back = scope.spawn(|| {
            cache.entries_by([2, 1], key).get_or_load_many(|_| never::<Vec<(u32, String)>>())
        });
        wait_for(|| cache.stats().misses.total() == 5);
        thread::sleep(SHORT);
        first.open();
        assert_eq!(one.join().unwrap().unwrap().unwrap(), values([1]));
        second.open();
        assert_eq!(both.join().unwrap(), values([1, 2]));
        assert_eq!(back.join().unwrap().unwrap().unwrap(), values([2, 1]));
    });
}

pub fn a_batch_and_a_single_load_share_their_runs(rig: &Rig) {
    let (one, two) = (rig.cache(), rig.cache());
    for (number, cache) in [&one, &two].into_iter().enumerate() {
        if number == 1 && !rig.can().leases {
            return;
        }
        let [a, b, c] = ["a", "b", "c"].map(|name| format!("{name}{number}"));
        let gate = Gate::new();
        thread::scope(|scope| {
            let single = scope.spawn(|| {
                one.get_or_load(&a, || {
                    gate.pass();
                    Loads::Ok("single".to_owned())
                })
            });
            gate.wait();
            let batch = scope.spawn(|| {
                cache.entries([&a, &b, &c]).get_or_load_many(|missing| {
                    assert_eq!(missing, [&b, &c], "another loads the first");
                    gate.pass();
                    Loads::Ok(each(missing, "batch"))
                })
            });
            gate.wait();
            let joins = scope.spawn(|| one.get_or_load(&c, never::<String>));
            let before = one.stats().misses.total();
            thread::sleep(SHORT);
            assert!(!joins.is_finished() && before > 0);
            (0..2).for_each(|_| gate.open());
            assert_eq!(single.join().unwrap().unwrap().unwrap(), "single");
            let batch = batch.join().unwrap().unwrap().unwrap();
            assert_eq!(batch, strings(["single", "batch", "batch"]));
            assert_eq!(joins.join().unwrap().unwrap().unwrap(), "batch");
        });
    }
}

pub fn a_failing_other_is_an_error_and_own_values_are_stored(rig: &Rig) {
    let (cache, gate) = (rig.cache(), Gate::new());
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            cache.get_or_load("a", || {
                gate.pass();
                Err::<String, _>("down")
            })
        });
        gate.wait();
        let batch = scope.spawn(|| {
            cache.entries(["a", "b"]).get_or_load_many(|missing| Loads::Ok(each(missing, "own")))
        });
        wait_for(|| cache.exists("b").unwrap());
        gate.open();
        assert_eq!(other.join().unwrap().unwrap(), Err("down"));
        assert_eq!(batch.join().unwrap().unwrap_err().kind(), ErrorKind::LoadFailed);
    });
    assert_eq!(cache.get::<String>("b").unwrap().as_deref(), Some("own"));
    let again =
        cache.entries(["a", "b"]).get_or_load_many(|missing| Loads::Ok(each(missing, "again")));
    assert_eq!(again.unwrap().unwrap(), strings(["again", "own"]), "asking again loads the rest");
}

pub fn waiting_for_others_ends_at_the_timeout(rig: &Rig) {
    let caches = if rig.can().leases { vec![rig.cache(), rig.cache()] } else { vec![rig.cache()] };
    let gate = Gate::new();
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            caches[0].get_or_load("a", || {
                gate.pass();
                new()
            })
        });
        gate.wait();
        for (cache, own) in caches.iter().zip(["b", "c"]) {
            let entries = cache.entries(["a", own]).timeout(10 * SHORT);
            let late = entries.get_or_load_many(|missing| {
                assert_eq!(missing, [own]);
                Loads::Ok(each(missing, "own"))
            });
            assert_eq!(late.unwrap_err().kind(), ErrorKind::Timeout);
            assert!(cache.exists(own).unwrap(), "its own is stored all the same");
        }
        gate.open();
        assert_eq!(other.join().unwrap().unwrap().unwrap(), "new");
    });
}

pub fn a_batch_that_asks_for_its_own_keys_gets_an_error(rig: &Rig) {
    let cache = rig.cache();
    let answer = cache.entries(["a", "b"]).get_or_load_many(|_| {
        let single = cache.get_or_compute("a", || 1).unwrap_err();
        let batch = cache.entries(["c", "b"]).get_or_load_many(|_| never::<Pairs>()).unwrap_err();
        assert_eq!([single.kind(), batch.kind()], [ErrorKind::Reentrant; 2]);
        let other = cache.entries(["d"]).get_or_load_many(|_| Loads::Ok([("d".to_owned(), 1)]));
        assert_eq!(other.unwrap().unwrap(), [Some(1)]);
        Err::<Pairs, Error>(single)
    });
    assert_eq!(answer.unwrap().unwrap_err().kind(), ErrorKind::Reentrant);
    assert_eq!(["a", "b", "c"].map(|key| cache.get_or_compute(key, || 2).unwrap()), [2; 3]);
}

pub fn a_bad_key_or_tag_refuses_the_batch_before_it_begins(rig: &Rig) {
    let cache = rig.cache();
    let long = "x".repeat(yokedcache::MAX_KEY + 1);
    for bad in ["", &long] {
        let refused = cache.entries(["a", bad]).get_or_load_many(|_| never::<Pairs>());
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidKey);
    }
    let refused = cache.entries(["a"]).tags([""]).get_or_load_many(|_| never::<Pairs>());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidTag);
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.misses.total()), (0, 0));
}

pub fn a_value_that_cannot_be_stored_is_the_callers_all_the_same(rig: &Rig) {
    let (cache, Some(most)) = (rig.cache(), rig.can().max_value) else { return };
    if most > 100 << 20 {
        return; // Too much to move about in a test.
    }
    let big = "x".repeat(most + 1);
    let load = |missing: &[&String]| {
        let value = |key: &str| if key == "big" { big.clone() } else { "small".to_owned() };
        Loads::Ok(missing.iter().map(|key| ((*key).clone(), value(key))).collect::<Vec<_>>())
    };
    let answer = cache.entries(["a", "big", "b"]).get_or_load_many(load).unwrap().unwrap();
    assert_eq!(answer.iter().flatten().map(String::len).collect::<Vec<_>>(), [5, most + 1, 5]);
    assert_eq!(["a", "big", "b"].map(|key| cache.exists(key).unwrap()), [true, false, true]);
    assert_eq!(cache.get_or_load("big", new).unwrap().unwrap(), "new", "the key is free");
}

pub fn a_batch_keeps_to_its_schema_and_namespace(rig: &Rig) {
    let cache = rig.cache();
    let two = cache.namespace("space").with_schema(2);
    cache.set("a", "of none").unwrap();
    cache.namespace("space").set("a", "of schema 0").unwrap();
    let load =
        || two.entries(["a", "b"]).get_or_load_many(|missing| Loads::Ok(each(missing, "two")));
    assert_eq!(load().unwrap().unwrap(), strings(["two", "two"]));
    assert_eq!(cache.get::<String>("a").unwrap().as_deref(), Some("of none"));
    let again = two.entries(["b", "a"]).get_or_load_many(|_| never::<Pairs>());
    assert_eq!(again.unwrap().unwrap(), strings(["two", "two"]));
    assert_eq!(cache.namespace("space").get::<String>("a").unwrap(), None);
}

pub fn keys_that_meet_are_loaded_once(rig: &Rig) {
    let cache = rig.cache();
    let halves = |id: &u32| format!("half {}", id / 2);
    let answer = cache.entries_by([2, 3, 4], halves).get_or_load_many(|missing| {
        assert_eq!(missing, [&2, &4], "the first id of each key");
        all(missing)
    });
    assert_eq!(answer.unwrap().unwrap(), [Some(of(2)), Some(of(2)), Some(of(4))]);
}
