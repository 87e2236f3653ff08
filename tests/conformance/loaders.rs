//! Loaders that outlive the call: refreshes behind, time limits, and what becomes of them.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use yokedcache::{Cache, ErrorKind, Freshness, Load, Loaded, Loader, Lookup, Ttl};

use super::gate::{
    Gate, LONG, Loads, Runs, SHORT, fails, lasting, make_stale, never, new, wait_for,
};
use super::invalidation::{has_scan, has_tags};
use super::rig::Rig;

/// A loader that stops at the gate and counts its runs from 1.
fn gated(rig: &Rig, cache: &Cache, gate: &Gate) -> Loader<String, String> {
    let (gate, runs) = (gate.clone(), Runs::default());
    let load = move |_: &str| {
        let run = runs.next() + 1;
        gate.pass();
        Ok(format!("run {run}"))
    };
    cache.loader(load).freshness(lasting(rig))
}

fn one_thread(rig: &Rig, queue: usize) -> Cache {
    rig.builder().loader_threads(1).loader_queue(queue).build().unwrap()
}

fn get(loader: &Loader<String, String>, key: &str) -> String {
    loader.get(key).unwrap().unwrap()
}

/// Asks within its short limit, in vain, until its loader has come to the gate and stands there.
#[track_caller]
fn times_out(loader: &Loader<String, String>, gate: &Gate) {
    wait_for(|| {
        assert_eq!(loader.get("k").unwrap_err().kind(), ErrorKind::Timeout);
        gate.has_come()
    });
}

#[track_caller]
fn drained(cache: &Cache) {
    assert!(cache.drain(LONG), "nothing holds a loader up");
}

pub fn a_loader_loads_what_is_missing(rig: &Rig) {
    let cache = rig.cache().namespace("space");
    let runs = Arc::new(Runs::default());
    let counted = runs.clone();
    let loader = cache.loader(move |key| Loads::Ok(format!("{key} {}", counted.next())));
    assert_eq!([get(&loader, "a"), get(&loader, "b"), get(&loader, "a")], ["a 0", "b 1", "a 0"]);
    assert_eq!(cache.get::<String>("a").unwrap().as_deref(), Some("a 0"), "the cache's own entry");
    assert_eq!(runs.count(), 2);
    let broken = cache.loader(|_| fails());
    assert_eq!(broken.get("c").unwrap(), fails());
    assert!(!cache.exists("c").unwrap());
    assert_eq!(get(&broken.clone(), "a"), "a 0", "hits need no loader");
}

pub fn a_loader_says_more_than_a_value(rig: &Rig) {
    let (cache, unit) = (rig.cache(), rig.unit());
    let answer = move |load: &mut Load<'_>| {
        Loads::Ok(match load.key() {
            "for" => Loaded::For(1, Ttl::After(unit / 50)),
            "negative" => Loaded::Negative(Ttl::Never),
            "skip" => Loaded::Skip(3),
            _ => Loaded::Value(4),
        })
    };
    let loader = cache.loader_with(answer).ttl(unit * 1000);
    assert_eq!(["for", "skip", "value"].map(|key| loader.get(key).unwrap().unwrap()), [1, 3, 4]);
    assert_eq!(loader.get("negative").unwrap_err().kind(), ErrorKind::WrongType);
    assert!(matches!(loader.lookup("negative").unwrap(), Ok(Lookup::Negative(_))));
    rig.pass(unit + unit / 20);
    let there = ["for", "negative", "skip", "value"].map(|key| cache.exists(key).unwrap());
    assert_eq!(there, [false, true, false, true]);
}

pub fn a_loader_tells_times_and_staleness(rig: &Rig) {
    let cache = rig.cache();
    make_stale(rig, &cache, ["k"]);
    let loader = cache.loader(|_| new()).freshness(lasting(rig));
    let look = || match loader.lookup("k").unwrap().unwrap() {
        Lookup::Hit(hit) => (hit.value, hit.stale, hit.ttl_left.is_some()),
        other => panic!("{other:?}"),
    };
    assert_eq!(look(), ("old".into(), true, true));
    drained(&cache);
    assert_eq!(look(), ("new".into(), false, true));
}

pub fn the_tags_of_a_loader_invalidate_what_it_loads(rig: &Rig) {
    let cache = rig.cache();
    if !has_tags(rig, &cache) {
        let error = cache.loader(|_| never::<u8>()).tags(["t"]).get("k").unwrap_err();
        return assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    let more = |load: &mut Load<'_>| {
        let tag = load.key().to_owned();
        load.tag(&tag).map(|()| Loaded::Value(1))
    };
    let loader = cache.loader_with(more).tags(["all"]);
    let there = || ["a", "b"].map(|key| cache.exists(key).unwrap());
    let fill = || _ = ["a", "b"].map(|key| loader.get(key).unwrap().unwrap());
    fill();
    cache.invalidate_tags(["a"]).unwrap();
    assert_eq!(there(), [false, true]);
    fill();
    cache.invalidate_tags(["all"]).unwrap();
    assert_eq!(there(), [false, false]);
    assert!(loader.refresh("a").unwrap());
    drained(&cache);
    assert_eq!(there(), [true, false]);
    cache.invalidate_tags(["all"]).unwrap();
    assert_eq!(there(), [false, false], "what a refresh stores carries them, too");
}

pub fn a_refresh_can_revalidate_what_is_there(rig: &Rig) {
    let cache = rig.cache();
    make_stale(rig, &cache, ["k"]);
    let (tell, told) = unbounded();
    let revalidate = move |load: &mut Load<'_>| {
        tell.send(load.previous::<String>()).unwrap();
        Loads::Ok(Loaded::<String>::NotModified)
    };
    let loader = cache.loader_with(revalidate).freshness(lasting(rig));
    assert_eq!(get(&loader, "k"), "old");
    assert_eq!(told.recv_timeout(LONG).unwrap().as_deref(), Some("old"));
    drained(&cache);
    assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("old"), "it lives anew");
}

pub fn a_stale_value_is_served_while_a_thread_loads(rig: &Rig) {
    let cache = rig.cache();
    make_stale(rig, &cache, ["k"]);
    let (gate, (tell, told)) = (Gate::new(), unbounded());
    let stop = gate.clone();
    let load = move |_: &str| {
        tell.send(thread::current().name().map(str::to_owned)).unwrap();
        stop.pass();
        new()
    };
    let loader = cache.loader(load).freshness(lasting(rig));
    assert_eq!(get(&loader, "k"), "old", "at once, as the loader stands still");
    assert_eq!(told.recv_timeout(LONG).unwrap().as_deref(), Some("yokedcache-loader"));
    assert!(!cache.drain(SHORT), "it is at work");
    gate.open();
    drained(&cache);
    assert_eq!(get(&loader, "k"), "new");
    let stats = cache.stats();
    assert_eq!((stats.refreshes, stats.loads, stats.stale), (1, 1, 1));
}

pub fn many_threads_start_one_refresh(rig: &Rig) {
    let cache = rig.cache();
    make_stale(rig, &cache, ["k"]);
    let gate = Gate::new();
    let loader = gated(rig, &cache, &gate);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(get(&loader, "k"), "old"));
        }
    });
    gate.wait();
    gate.open();
    drained(&cache);
    assert!(!gate.has_come(), "no other");
    assert_eq!(get(&loader, "k"), "run 1");
    assert_eq!((cache.stats().loads, cache.stats().refreshes), (1, 1));
}

pub fn a_refresh_that_waits_for_a_thread_is_asked_for_once(rig: &Rig) {
    let cache = one_thread(rig, 2);
    make_stale(rig, &cache, ["a", "b"]);
    let gate = Gate::new();
    let loader = gated(rig, &cache, &gate);
    assert_eq!(get(&loader, "a"), "old");
    gate.wait();
    for _ in 0..5 {
        assert_eq!(get(&loader, "b"), "old");
    }
    assert!(!loader.refresh("b").unwrap(), "it is under way");
    let stats = cache.stats();
    gate.open();
    gate.open();
    drained(&cache);
    assert_eq!((stats.refreshes, stats.refreshes_dropped), (2, 0));
    assert_eq!(get(&loader, "b"), "run 2", "who asked again did not drop it");
}

pub fn an_early_refresh_runs_behind(rig: &Rig) {
    let (cache, gate, unit) = (rig.cache(), Gate::new(), rig.unit());
    cache.entry("k").ttl(unit * 100).set("old").unwrap();
    rig.pass(unit / 2);
    let fresh = Freshness::new().ttl(unit * 100_000).refresh_at(0.9);
    let loader = gated(rig, &cache, &gate);
    assert_eq!(get(&loader.clone().freshness(fresh), "k"), "old");
    drained(&cache);
    assert!(!gate.has_come(), "long before it is due");
    let loader = loader.freshness(fresh.refresh_at(0.001));
    assert_eq!([(); 3].map(|()| get(&loader, "k")), ["old"; 3]);
    gate.wait();
    gate.open();
    drained(&cache);
    assert_eq!(get(&loader, "k"), "run 1");
    assert_eq!((cache.stats().loads, cache.stats().stale), (1, 0));
}

pub fn a_refresh_that_fails_leaves_the_older_value_and_the_loader_alone(rig: &Rig) {
    let (cache, runs) = (rig.cache(), Arc::new(Runs::default()));
    make_stale(rig, &cache, ["k"]);
    let counted = runs.clone();
    let load = move |_: &str| {
        counted.next();
        fails()
    };
    let loader = cache.loader(load).freshness(lasting(rig).retry_after(rig.unit() * 1000));
    for _ in 0..3 {
        assert_eq!(get(&loader, "k"), "old");
        drained(&cache);
    }
    assert_eq!(runs.count(), if rig.can().leases { 1 } else { 3 });
    assert_eq!(cache.stats().load_errors, runs.count() as u64);
}

/// A refresh behind that `change` overtakes does not store what it loads.
fn overtaken(rig: &Rig, change: impl FnOnce(&Cache)) {
    let (cache, gate) = (rig.cache(), Gate::new());
    cache.delete("k").unwrap();
    let fresh = lasting(rig).ttl(rig.unit() * 100);
    let set = |value: &str| match rig.can().tags {
        true => cache.entry("k").tag("t").freshness(fresh).set(value).unwrap(),
        false => cache.entry("k").freshness(fresh).set(value).unwrap(),
    };
    assert!(set("old"));
    let mut loader = gated(rig, &cache, &gate);
    if rig.can().tags {
        loader = loader.tags(["t"]);
    }
    assert!(loader.refresh("k").unwrap());
    gate.wait();
    change(&cache);
    gate.open();
    drained(&cache);
    assert_ne!(cache.get::<String>("k").unwrap().as_deref(), Some("run 1"));
    assert_eq!(cache.stats().overtaken, 1);
    gate.open();
    assert_ne!(get(&loader, "k"), "run 1");
}

pub fn a_refresh_overtaken_by_delete_is_not_stored(rig: &Rig) {
    overtaken(rig, |cache| assert!(cache.delete("k").unwrap()));
}

pub fn a_refresh_overtaken_by_set_is_not_stored(rig: &Rig) {
    overtaken(rig, |cache| assert!(cache.set("k", "set").unwrap()));
}

pub fn a_refresh_overtaken_by_its_tag_is_not_stored(rig: &Rig) {
    if has_tags(rig, &rig.cache()) {
        overtaken(rig, |cache| _ = cache.invalidate_tags(["t"]).unwrap());
    }
}

pub fn a_refresh_overtaken_by_a_pattern_or_clear_is_not_stored(rig: &Rig) {
    if has_scan(rig, &rig.cache()) {
        overtaken(rig, |cache| _ = cache.invalidate_pattern("k*").unwrap());
        overtaken(rig, |cache| _ = cache.clear().unwrap());
    }
}

pub fn a_soft_limit_is_waited_for_a_better_value(rig: &Rig) {
    let (cache, gate) = (rig.cache(), Gate::new());
    make_stale(rig, &cache, ["k", "l"]);
    let quick = cache.loader(|_| new()).freshness(lasting(rig)).soft_limit(LONG);
    assert_eq!(get(&quick, "l"), "new");
    let loader = gated(rig, &cache, &gate).soft_limit(SHORT);
    let started = Instant::now();
    let Lookup::Hit(hit) = loader.lookup("k").unwrap().unwrap() else { panic!("the stale value") };
    assert_eq!((hit.value.as_str(), hit.stale), ("old", true));
    assert!(started.elapsed() >= SHORT);
    assert_eq!(get(&loader, "k"), "old", "who comes second does not wait");
    gate.open();
    drained(&cache);
    assert_eq!(get(&loader, "k"), "run 1", "what came late is stored");
    assert_eq!(cache.stats().stale, 2);
}

pub fn without_an_end_the_soft_limit_serves_the_stale_value_for_an_error(rig: &Rig) {
    let (cache, gate) = (rig.cache(), Gate::new());
    make_stale(rig, &cache, ["k", "l"]);
    let failing = cache.loader(|_| fails()).freshness(lasting(rig)).soft_limit(Duration::MAX);
    assert_eq!(get(&failing, "l"), "old");
    let loader = gated(rig, &cache, &gate).soft_limit(Duration::MAX);
    thread::scope(|scope| {
        let waits = scope.spawn(|| get(&loader, "k"));
        gate.wait();
        thread::sleep(SHORT);
        assert!(!waits.is_finished());
        gate.open();
        assert_eq!(waits.join().unwrap(), "run 1");
    });
}

pub fn a_hard_limit_bounds_the_soft_one(rig: &Rig) {
    let (cache, gate) = (rig.cache(), Gate::new());
    make_stale(rig, &cache, ["k"]);
    let loader = gated(rig, &cache, &gate).soft_limit(Duration::MAX).hard_limit(SHORT);
    wait_for(|| {
        assert_eq!(get(&loader, "k"), "old", "there is a value");
        gate.has_come()
    });
    gate.open();
    drained(&cache);
    assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("run 1"));
}

pub fn past_the_hard_limit_the_call_is_a_timeout(rig: &Rig) {
    let (cache, gate) = (rig.cache(), Gate::new());
    let loader = gated(rig, &cache, &gate).hard_limit(SHORT);
    let started = Instant::now();
    assert_eq!(loader.get("k").unwrap_err().kind(), ErrorKind::Timeout);
    assert!((SHORT..LONG / 2).contains(&started.elapsed()));
    times_out(&loader, &gate);
    gate.open();
    drained(&cache);
    assert!(!cache.exists("k").unwrap(), "nobody waited for it any more");
    gate.open();
    assert_eq!(get(&loader.hard_limit(LONG), "k"), "run 2", "the key is free");
    assert!(cache.exists("k").unwrap());
}

pub fn what_comes_late_is_kept_if_asked_for(rig: &Rig) {
    let (cache, gate) = (rig.cache(), Gate::new());
    let loader = gated(rig, &cache, &gate).hard_limit(SHORT).keep_late();
    times_out(&loader, &gate);
    gate.open();
    drained(&cache);
    assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("run 1"));
}

pub fn a_value_in_time_is_the_callers_and_stored(rig: &Rig) {
    let cache = rig.cache();
    let loader = cache.loader(|_| new()).hard_limit(LONG);
    assert_eq!(get(&loader, "k"), "new");
    assert!(cache.exists("k").unwrap());
    let broken = cache.loader(|_| fails()).hard_limit(LONG);
    assert_eq!(broken.get("l").unwrap(), fails());
    assert_eq!(get(&loader, "l"), "new", "the key is free");
}

pub fn others_wait_for_the_loader_that_is_late(rig: &Rig) {
    let (cache, gate) = (rig.cache(), Gate::new());
    let loader = gated(rig, &cache, &gate).hard_limit(SHORT);
    times_out(&loader, &gate);
    assert_eq!(loader.get("k").unwrap_err().kind(), ErrorKind::Timeout, "each within its limit");
    let missed = cache.stats().misses.total();
    let patient = loader.clone().hard_limit(LONG);
    thread::scope(|scope| {
        let plain = scope.spawn(|| cache.get_or_load("k", never::<String>).unwrap().unwrap());
        let limited = scope.spawn(|| get(&patient, "k"));
        // Both have missed, and join next.
        wait_for(|| cache.stats().misses.total() >= missed + 2);
        thread::sleep(SHORT);
        gate.open();
        assert_eq!([plain, limited].map(|thread| thread.join().unwrap()), ["run 1", "run 1"]);
    });
    drained(&cache);
    assert_eq!(cache.stats().loads, 1);
}

pub fn one_refresh_too_many_is_dropped_and_counted(rig: &Rig) {
    let (cache, gate) = (one_thread(rig, 1), Gate::new());
    make_stale(rig, &cache, ["a", "b", "c"]);
    let loader = gated(rig, &cache, &gate);
    assert_eq!(get(&loader, "a"), "old");
    gate.wait();
    assert_eq!([get(&loader, "b"), get(&loader, "c")], ["old", "old"]);
    assert!(!loader.refresh("c").unwrap(), "there is no room for it");
    let stats = cache.stats();
    assert_eq!((stats.refreshes, stats.refreshes_dropped), (2, 2));
    (0..3).for_each(|_| gate.open());
    drained(&cache);
    assert_eq!([get(&loader, "a"), get(&loader, "b")], ["run 1", "run 2"]);
    assert_eq!(get(&loader, "c"), "old", "and asks for another refresh");
    drained(&cache);
    assert_eq!(get(&loader, "c"), "run 3");
}

pub fn where_all_threads_hang_limits_hold_and_misses_load(rig: &Rig) {
    let (cache, gate) = (one_thread(rig, 1), Gate::new());
    make_stale(rig, &cache, ["hangs"]);
    let hangs = gated(rig, &cache, &gate);
    assert_eq!(get(&hangs, "hangs"), "old");
    gate.wait();
    let loader = cache.loader(|_| Loads::Ok(thread::current().name().map(str::to_owned)));
    let limited = loader.clone().hard_limit(SHORT).get("limited");
    assert_eq!(limited.unwrap_err().kind(), ErrorKind::Timeout);
    let name = loader.get("plain").unwrap().unwrap();
    assert_eq!(name.as_deref(), thread::current().name(), "on the caller's thread");
    gate.open();
    drained(&cache);
    assert!(!cache.exists("limited").unwrap());
}

pub fn a_panic_behind_leaves_the_stale_value_and_frees_the_key(rig: &Rig) {
    let cache = rig.cache();
    make_stale(rig, &cache, ["k"]);
    let runs = Runs::default();
    let load = move |_: &str| match runs.next() {
        0 | 1 => resume_unwind(Box::new("the loader panics")),
        _ => new(),
    };
    let loader = cache.loader(load).freshness(lasting(rig).retry_after(Duration::ZERO));
    for _ in 0..3 {
        assert_eq!(get(&loader, "k"), "old");
        drained(&cache);
    }
    assert_eq!(get(&loader, "k"), "new");
    assert_eq!((cache.stats().loads, cache.stats().load_errors), (3, 2));
}

pub fn a_loader_that_panicked_is_left_alone_like_one_that_failed(rig: &Rig) {
    let cache = rig.cache();
    make_stale(rig, &cache, ["k"]);
    let load = |_: &str| -> Result<String, String> { resume_unwind(Box::new("it panics")) };
    let loader = cache.loader(load).freshness(lasting(rig));
    for _ in 0..3 {
        assert_eq!(get(&loader, "k"), "old");
        drained(&cache);
    }
    assert_eq!(cache.stats().loads, if rig.can().leases { 1 } else { 3 });
}

pub fn a_panic_in_time_is_an_error_of_those_who_wait(rig: &Rig) {
    let (cache, runs) = (rig.cache(), Runs::default());
    make_stale(rig, &cache, ["stale"]);
    let load = move |key: &str| match (key, runs.next()) {
        ("k", 0) | ("stale", _) => resume_unwind(Box::new("the loader panics")),
        _ => new(),
    };
    let loader = cache.loader(load).freshness(lasting(rig)).soft_limit(LONG).hard_limit(LONG);
    assert_eq!(loader.get("k").unwrap_err().kind(), ErrorKind::LoadFailed);
    assert_eq!(get(&loader, "k"), "new", "the key is free");
    assert_eq!(get(&loader, "stale"), "old", "there is a value");
    assert_eq!(cache.stats().load_errors, 2);
}

pub fn a_refresh_can_be_asked_for_at_any_age(rig: &Rig) {
    let (cache, gate) = (rig.cache(), Gate::new());
    let loader = gated(rig, &cache, &gate);
    assert!(loader.refresh("k").unwrap(), "of an absent key");
    gate.wait();
    assert!(!loader.refresh("k").unwrap(), "it is under way");
    gate.open();
    drained(&cache);
    assert_eq!(get(&loader, "k"), "run 1");
    assert!(loader.refresh("k").unwrap(), "of a fresh one");
    gate.wait();
    assert_eq!(get(&loader, "k"), "run 1", "it stays meanwhile");
    gate.open();
    drained(&cache);
    assert_eq!(get(&loader, "k"), "run 2");
    assert_eq!(loader.refresh("").unwrap_err().kind(), ErrorKind::InvalidKey);
    assert_eq!((cache.stats().refreshes, cache.stats().loads), (2, 2));
}

pub fn dropping_the_last_handle_waits_for_the_refresh_that_runs(rig: &Rig) {
    let (cache, gate, done) = (one_thread(rig, 10), Gate::new(), Arc::new(Runs::default()));
    let (stop, count) = (gate.clone(), done.clone());
    let loader = cache.loader(move |_| {
        stop.pass();
        thread::sleep(SHORT);
        Loads::Ok(count.next())
    });
    assert!(loader.refresh("runs").unwrap() && loader.refresh("waits").unwrap());
    gate.wait();
    drop(cache);
    gate.open();
    drop(loader);
    assert_eq!(done.count(), 1, "the one that ran, and not the one that had not begun");
    assert!(rig.cache().exists("runs").unwrap());
    assert!(!rig.cache().exists("waits").unwrap());
}

pub fn a_loader_may_hold_the_last_handle(rig: &Rig) {
    let (cache, gate) = (rig.cache(), Gate::new());
    let (own, stop, (tell, told)) = (cache.clone(), gate.clone(), unbounded::<()>());
    let loader = cache.loader(move |_| {
        let _told_when_dropped = &tell;
        stop.pass();
        own.get_or_compute("other", || 1).map(|one| one + 1)
    });
    assert!(loader.refresh("k").unwrap());
    gate.wait();
    drop((cache, loader));
    gate.open();
    let gone = told.recv_timeout(LONG).unwrap_err();
    assert!(gone.is_disconnected(), "the loader is dropped, and the cache with it: {gone}");
    assert_eq!(rig.cache().get_many::<i32>(["k", "other"]).unwrap(), [Some(2), Some(1)]);
}

pub fn a_loader_may_use_its_cache_but_not_wait_for_itself(rig: &Rig) {
    for limit in [None, Some(LONG)] {
        let cache = rig.cache();
        cache.delete("k").unwrap();
        let own = cache.clone();
        let loader = cache.loader(move |key| {
            own.delete("other").unwrap();
            assert_eq!(own.get_or_compute("other", || 1).unwrap(), 1);
            own.get_or_compute(key, || 2)
        });
        let loader = limit.map_or(loader.clone(), |limit| loader.hard_limit(limit));
        let error = loader.get("k").unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reentrant, "within {limit:?}");
        assert_eq!(cache.get_or_compute("k", || 3).unwrap(), 3, "the key is free");
    }
}

pub fn a_refresh_that_asks_for_its_own_key_does_not_wait_for_itself(rig: &Rig) {
    let (cache, (tell, told)) = (rig.cache(), unbounded());
    make_stale(rig, &cache, ["k"]);
    let (own, lasts) = (cache.clone(), lasting(rig));
    let loader = cache.loader(move |key| {
        let plain = own.get_or_compute(key, String::new).map_err(|error| error.kind());
        let stale = own.entry(key).freshness(lasts).get_or_compute(String::new).unwrap();
        tell.send((plain, stale)).unwrap();
        new()
    });
    assert_eq!(get(&loader.freshness(lasts), "k"), "old");
    let asked = told.recv_timeout(LONG).unwrap();
    assert_eq!(asked, (Err(ErrorKind::Reentrant), "old".to_owned()));
    drained(&cache);
    assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("new"));
}

pub fn a_miss_does_not_wait_for_a_refresh_that_waits_for_a_thread(rig: &Rig) {
    let (cache, gate) = (one_thread(rig, 10), Gate::new());
    let hangs = gated(rig, &cache, &gate);
    assert!(hangs.refresh("hangs").unwrap());
    gate.wait();
    let runs = Arc::new(Runs::default());
    let count = runs.clone();
    let loader = cache.loader(move |_| Loads::Ok(count.next()));
    assert!(loader.refresh("k").unwrap());
    assert_eq!(loader.get("k").unwrap(), Ok(0), "on this thread, as the other hangs");
    gate.open();
    drained(&cache);
    assert_eq!(runs.count(), 1, "what waited has nothing left to do");
}

pub fn a_miss_waits_for_the_refresh_that_runs(rig: &Rig) {
    let (cache, gate) = (rig.cache(), Gate::new());
    let loader = gated(rig, &cache, &gate);
    assert!(loader.refresh("k").unwrap());
    gate.wait();
    thread::scope(|scope| {
        let joins = scope.spawn(|| get(&loader, "k"));
        wait_for(|| cache.stats().misses.total() == 1);
        thread::sleep(SHORT);
        gate.open();
        assert_eq!(joins.join().unwrap(), "run 1");
    });
    assert_eq!(cache.stats().loads, 1);
}

pub fn draining_an_idle_cache_does_not_wait(rig: &Rig) {
    let cache = rig.cache();
    assert!(cache.drain(Duration::ZERO));
    assert!(cache.drain(Duration::MAX));
}

pub fn a_loader_keeps_the_schema_and_settings_of_its_handle(rig: &Rig) {
    let cache = rig.cache();
    let two = cache.with_schema(2);
    let loader = two.loader(|_| Loads::Ok(2)).ttl(rig.unit() * 1000);
    cache.set("k", &1).unwrap();
    assert_eq!(loader.get("k").unwrap(), Ok(2));
    assert_eq!((cache.get::<i32>("k").unwrap(), two.get("k").unwrap()), (None, Some(2)));
    assert!(matches!(two.ttl("k").unwrap(), Some(Ttl::After(_))));
    assert!(loader.refresh("k").unwrap());
    drained(&cache);
    assert_eq!(two.get("k").unwrap(), Some(2), "a refresh, too");
}
