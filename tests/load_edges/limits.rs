//! Deadlines, limits of loaders, and the longest durations.

use super::*;

#[test]
fn with_the_longest_soft_limit_a_stale_value_is_served_only_if_the_loader_fails() {
    let clock = ManualClock::new();
    let cache = Hooked::new(&clock).cache(&clock);
    let fresh = Freshness::new().ttl(SECOND).stale_for(1000 * SECOND);
    cache.entry("k").freshness(fresh).set(&0).unwrap();
    clock.advance(2 * SECOND);
    let (tell, told) = channel::<()>();
    let tell = Mutex::new(tell);
    let loader = cache
        .loader(move |_| {
            tell.lock().unwrap().send(()).unwrap();
            thread::sleep(SECOND / 5);
            Ok::<_, Error>(1)
        })
        .freshness(fresh)
        .soft_limit(Duration::MAX);
    let first = loader.clone();
    let first = thread::spawn(move || first.get("k").unwrap().unwrap());
    told.recv().unwrap();
    assert_eq!(loader.get("k").unwrap().unwrap(), 1, "the loader did not fail");
    assert_eq!(first.join().unwrap(), 1);
}

/// A loader that needs another of the same cache.
#[test]
fn loaders_with_limits_may_need_each_other() {
    let cache =
        Cache::builder(Memory::builder().build().unwrap()).loader_threads(1).build().unwrap();
    let inner = cache.namespace("inner").loader(|_| Ok::<_, Error>(1)).hard_limit(20 * SECOND);
    let outer = cache
        .namespace("outer")
        .loader(move |key| inner.get(key).and_then(|inner| inner))
        .hard_limit(60 * SECOND);
    assert_eq!(outer.get("k").unwrap().unwrap(), 1);
}

/// A source that hangs, and then does not: nobody waits for most of what is queued any more.
#[test]
fn nobody_loads_what_everybody_has_given_up_waiting_for() {
    let cache =
        Cache::builder(Memory::builder().build().unwrap()).loader_threads(1).build().unwrap();
    let (begun, began) = channel();
    let (go, gone) = channel::<()>();
    let (gone, runs) = (Mutex::new(gone), Arc::new(AtomicUsize::new(0)));
    let count = runs.clone();
    let loader = cache.loader(move |key| {
        count.fetch_add(1, Ordering::SeqCst);
        if key == "hangs" {
            begun.send(()).unwrap();
            gone.lock().unwrap().recv().unwrap();
        }
        Ok::<_, Error>(1)
    });
    let hasty = loader.clone().hard_limit(Duration::from_millis(20));
    assert!(loader.refresh("hangs").unwrap());
    began.recv().unwrap();
    assert_eq!(hasty.get("hangs").unwrap_err().kind(), ErrorKind::Timeout);
    for n in 0..20 {
        assert_eq!(hasty.get(n.to_string()).unwrap_err().kind(), ErrorKind::Timeout);
    }
    go.send(()).unwrap();
    assert!(cache.drain(60 * SECOND));
    assert_eq!(runs.load(Ordering::SeqCst), 1, "the others had gone before it began");
}

#[test]
fn a_hard_limit_counts_the_wait_for_another_load() {
    let cache = Cache::memory(100);
    let limit = 2 * SECOND;
    let (go, gone) = channel::<()>();
    let gone = Mutex::new(gone);
    let loader = cache.loader(move |_| {
        let _ = gone.lock().unwrap().recv();
        Ok::<_, Error>(1)
    });
    let loader = loader.hard_limit(limit);
    let (begun, began) = channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            cache.get_or_compute("k", || {
                begun.send(()).unwrap();
                thread::sleep(limit * 9 / 10);
                cache.delete("k").unwrap();
                1
            })
        });
        began.recv().unwrap();
        let started = Instant::now();
        assert_eq!(loader.get("k").unwrap_err().kind(), ErrorKind::Timeout);
        // Not counted, it would come on top.
        assert!(started.elapsed() < limit * 7 / 4, "{:?}", started.elapsed());
        go.send(()).unwrap();
    });
}

/// To look and to claim are two questions, and one call.
#[test]
fn the_questions_of_a_load_share_its_deadline() {
    let slow = Duration::from_millis(200);
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    let cache = hooked.cache(&clock);
    hooked.before_reads(move |_, _| {
        thread::sleep(slow);
        None
    });
    let asks = |ask: &dyn Fn()| {
        hooked.given.lock().unwrap().clear();
        ask();
        let given = hooked.given.lock().unwrap().clone();
        assert_eq!(given.len(), 2);
        assert!(given[0].unwrap() <= SECOND && given[1].unwrap() <= SECOND - slow, "{given:?}");
    };
    let entry = |key| cache.entry(key).timeout(SECOND);
    asks(&|| assert_eq!(entry("a").get_or_compute(|| 1).unwrap(), 1));
    asks(&|| _ = entry("b").load_with(|_| Ok::<_, Error>(Loaded::Value(1))).unwrap().unwrap());
    asks(&|| _ = entry("c").begin::<u8>().unwrap());
    asks(&|| {
        let load = |_: &[&String]| Ok::<_, Error>([("d".to_owned(), 1)]);
        cache.entries(["d"]).timeout(SECOND).get_or_load_many(load).unwrap().unwrap();
    });
}

/// What a hung cache takes of a caller's time it does not take of the loader's.
#[test]
fn a_hard_limit_over_a_hung_cache_is_the_loaders() {
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    let cache = hooked.cache(&clock);
    hooked.down.store(true, Ordering::SeqCst);
    let limit = Duration::from_millis(50);
    let quick = cache.loader(|_| Ok::<_, Error>(1)).hard_limit(limit);
    assert_eq!(quick.get("k").unwrap().unwrap(), 1, "a cache that is down fails no load");
    let slow = |_: &str| {
        thread::sleep(SECOND);
        Ok::<_, Error>(1)
    };
    let late = cache.loader(slow).hard_limit(limit).get("l").unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout);
}

/// Dates and durations at the ends of their ranges.
#[test]
fn the_longest_durations_are_no_trouble() {
    let cache = Cache::memory(100);
    let fresh = Freshness::new()
        .ttl(Duration::MAX)
        .stale_for(Duration::MAX)
        .retry_after(Duration::MAX)
        .jitter(Duration::MAX)
        .sliding(Duration::MAX)
        .refresh_at(1.0);
    for _ in 0..1000 {
        cache.entry("k").freshness(fresh).lease(Duration::MAX).set(&1).unwrap();
        let load = |_: &mut yokedcache::Load<'_>| Ok::<_, Error>(Loaded::Value(1));
        cache
            .entry("k")
            .freshness(fresh)
            .lease(Duration::MAX)
            .timeout(Duration::MAX)
            .load_with(load)
            .unwrap()
            .unwrap();
    }
    let loader = cache.loader(|_| Ok::<_, Error>(1)).freshness(fresh.refresh_by_chance(f64::MAX));
    let loader = loader.soft_limit(Duration::MAX).hard_limit(Duration::MAX).lease(Duration::MAX);
    assert_eq!(loader.get("l").unwrap().unwrap(), 1);
    assert_eq!(loader.get("l").unwrap().unwrap(), 1);
    assert!(cache.drain(Duration::MAX));
    let guard = cache.lock("x", Duration::MAX).lock_within(Duration::MAX).unwrap();
    assert!(guard.left() > SECOND, "{:?}", guard.left());
}
