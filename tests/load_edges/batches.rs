//! Batches whose claims fail half way, that overlap, or meet an outage.

use super::*;

/// Two processes, a roll-out of a new schema, two batches in opposite order.
#[test]
fn overlapping_batches_over_values_nobody_can_use_do_not_wait_for_each_other() {
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    for key in ["a", "b"] {
        hooked.cache(&clock).with_schema(1).set(key, "old").unwrap();
    }
    // Each has its first key before either asks for the second.
    let (barrier, takes) = (Barrier::new(2), Mutex::new(std::collections::HashMap::new()));
    hooked.before_reads(move |_, want| {
        let take = matches!(want.lease, Ask::Take { .. });
        let before = take.then(|| {
            let mut takes = takes.lock().unwrap();
            let takes = takes.entry(thread::current().id()).or_insert(0);
            *takes += 1;
            *takes
        });
        if before == Some(2) {
            barrier.wait();
        }
        None
    });
    let started = Instant::now();
    let loads: Vec<_> = [["a", "b"], ["b", "a"]]
        .into_iter()
        .map(|keys| {
            let cache = hooked.cache(&clock).with_schema(2).with_timeout(60 * SECOND);
            thread::spawn(move || {
                cache.entries(keys).get_or_load_many(|missing| {
                    Ok::<_, Error>(
                        missing.iter().map(|key| (key.to_string(), 1)).collect::<Vec<_>>(),
                    )
                })
            })
        })
        .collect();
    for load in loads {
        // Each may fail to get the other's, but not wait until the end.
        let _ = load.join().unwrap();
    }
    assert!(started.elapsed() < 30 * SECOND, "{:?}", started.elapsed());
}

/// The claim of one key fails; the other's right was given.
#[test]
fn a_batch_whose_claim_fails_gives_back_what_it_got() {
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    hooked.before_reads(|key, want| {
        let claims = matches!(want.lease, Ask::Own { .. });
        (claims && key == "bad").then(|| Error::new(ErrorKind::Timeout, "one node"))
    });
    let strict = Cache::builder(hooked.clone()).clock(&clock).strict().build().unwrap();
    let failed = strict
        .entries(["good", "bad"])
        .get_or_load_many(|_| Ok::<_, Error>([]) as Result<[(String, u8); 0]>);
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Timeout);
    let other = hooked.cache(&clock).with_timeout(60 * SECOND);
    let started = Instant::now();
    assert_eq!(other.get_or_compute("good", || 1).unwrap(), 1);
    assert!(
        started.elapsed() < 30 * SECOND,
        "nobody loads it, yet it took {:?}",
        started.elapsed()
    );
    assert!(other.exists("good").unwrap(), "and it is stored");
}

#[test]
fn a_batch_does_not_pay_for_each_key_when_the_cache_goes_down_before_the_fill() {
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    let cache = hooked.cache(&clock);
    let keys: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let down = hooked.down.clone();
    let mut started = Instant::now();
    let values = cache.entries(keys).get_or_load_many(|missing| {
        down.store(true, Ordering::SeqCst);
        started = Instant::now();
        Ok::<_, Error>(missing.iter().map(|key| (key.to_string(), 1)).collect::<Vec<_>>())
    });
    assert_eq!(values.unwrap().unwrap().len(), 50);
    let writes = hooked.writes.load(Ordering::SeqCst);
    assert!(writes <= 2, "{writes} writes to a dead server in {:?}", started.elapsed());
}

#[test]
fn a_batch_does_not_pay_for_each_key_when_its_loader_fails() {
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    let cache = hooked.cache(&clock);
    let keys: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let failed = cache.entries(keys).get_or_load_many(|_| Err::<Vec<(String, u8)>, _>("no"));
    assert_eq!(failed.unwrap().unwrap_err(), "no");
    let writes = hooked.writes.load(Ordering::SeqCst);
    assert!(writes <= 2, "{writes} round trips");
}

#[test]
fn what_a_batch_loader_leaves_out_is_none_even_if_a_stale_value_is_there() {
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    let cache = hooked.cache(&clock);
    let fresh = Freshness::new().ttl(SECOND).stale_for(1000 * SECOND);
    cache.entry("gone").freshness(fresh).set("old").unwrap();
    clock.advance(2 * SECOND);
    let values = cache
        .entries(["gone"])
        .freshness(fresh)
        .get_or_load_many(|_| Ok::<_, Error>([]) as Result<[(String, String); 0]>);
    assert_eq!(values.unwrap().unwrap(), [None]);
}

#[test]
fn a_key_asked_for_twice_has_one_value() {
    let clock = ManualClock::new();
    let cache = Hooked::new(&clock).cache(&clock);
    let past = Ttl::At(clock.wall() - SECOND);
    let values = cache
        .entries(["a", "a"])
        .ttl(past)
        .get_or_load_many(|_| Ok::<_, Error>([("a".to_owned(), 1)]));
    assert_eq!(values.unwrap().unwrap(), [Some(1), Some(1)]);
}

/// A batch that has nothing to load itself has no time beside it.
#[test]
fn a_batch_that_waits_for_others_waits_within_the_same_deadline() {
    let slow = Duration::from_millis(200);
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    let (cache, other) = (hooked.cache(&clock), hooked.cache(&clock));
    let Begun::Slot(slot) = other.entry("k").begin::<u8>().unwrap() else { unreachable!() };
    hooked.before_reads(move |_, _| {
        thread::sleep(slow);
        None
    });
    hooked.given.lock().unwrap().clear();
    let nothing = |_: &[&String]| -> Result<[(String, u8); 0]> { unreachable!("another loads it") };
    let waits = cache.entries(["k"]).timeout(SECOND).get_or_load_many(nothing);
    assert_eq!(waits.unwrap_err().kind(), ErrorKind::Timeout);
    let given = hooked.given.lock().unwrap().clone();
    // To look, to claim, and to see what has become of it.
    assert!(given.len() > 2 && given[2].unwrap() <= SECOND - 2 * slow, "{given:?}");
    assert!(slot.set(&1).unwrap());
}

/// The docs: "Calls of the loader refuse".
#[test]
fn batches_count_what_their_loader_does() {
    let cache = Cache::memory(100);
    let failed = cache
        .entries(["a"])
        .get_or_load_many(|_| Ok::<_, Error>([("a".to_owned(), BTreeMap::from([((1, 2), 3)]))]));
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Encode);
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_errors), (1, 1));
    let failed = cache.get_or_load("b", || Ok::<_, Error>(BTreeMap::from([((1, 2), 3)])));
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Encode);
    assert_eq!(cache.stats().load_errors, 2);
}
