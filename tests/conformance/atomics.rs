//! Calls of which one among many may win.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use yokedcache::{Cache, ErrorKind, Ttl};

use super::rig::Rig;

/// How many of eight threads that do the same at once are told yes.
fn winners(attempt: impl Fn(usize) -> bool + Sync) -> usize {
    let won = AtomicUsize::new(0);
    let barrier = std::sync::Barrier::new(8);
    thread::scope(|scope| {
        for number in 0..8 {
            let (attempt, won, barrier) = (&attempt, &won, &barrier);
            scope.spawn(move || {
                barrier.wait();
                won.fetch_add(usize::from(attempt(number)), Ordering::Relaxed);
            });
        }
    });
    won.into_inner()
}

fn has_versions(rig: &Rig, cache: &Cache) -> bool {
    let can = rig.can().versions;
    if !can {
        let refused = cache.get_versioned::<i32>("k").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
    }
    can
}

pub fn add_stores_only_what_is_absent(rig: &Rig) {
    let cache = rig.cache();
    assert!(cache.add("k", "first").unwrap());
    assert!(!cache.add("k", "second").unwrap());
    assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("first"));
    cache.delete("k").unwrap();
    assert!(cache.add("k", "third").unwrap());
}

pub fn of_many_adders_one_wins(rig: &Rig) {
    let cache = rig.cache();
    for round in 0..20 {
        let key = format!("k{round}");
        assert_eq!(winners(|number| cache.add(&key, &number).unwrap()), 1);
    }
}

pub fn an_expired_entry_can_be_added_again(rig: &Rig) {
    let cache = rig.cache();
    cache.entry("k").ttl(rig.unit()).set(&1).unwrap();
    rig.pass(rig.unit() * 2);
    assert!(cache.add("k", &2).unwrap());
    assert_eq!(cache.get("k").unwrap(), Some(2));
    assert_eq!(cache.ttl("k").unwrap(), Some(Ttl::Never));
}

pub fn an_entry_of_another_schema_can_be_added_again(rig: &Rig) {
    let (one, two) = (rig.cache().with_schema(1), rig.cache().with_schema(2));
    if !has_versions(rig, &one) {
        return;
    }
    one.set("k", &1).unwrap();
    assert_eq!(winners(|number| two.add("k", &number).unwrap()), 1);
    assert!(!one.exists("k").unwrap());
}

pub fn replace_stores_only_over_what_is_there(rig: &Rig) {
    let cache = rig.cache();
    assert!(!cache.replace("k", &1).unwrap());
    assert!(!cache.exists("k").unwrap());
    cache.set("k", &1).unwrap();
    assert!(cache.replace("k", &2).unwrap());
    assert_eq!(cache.get("k").unwrap(), Some(2));
}

pub fn counters_begin_at_their_initial_value(rig: &Rig) {
    let cache = rig.cache();
    assert_eq!(cache.increment("n", 5).unwrap(), 5);
    assert_eq!(cache.decrement("n", 7).unwrap(), -2);
    assert_eq!(cache.entry("m").initial(100).increment(1).unwrap(), 101);
    assert_eq!(cache.entry("m").initial(100).increment(0).unwrap(), 101);
    assert_eq!(cache.get::<i64>("n").unwrap(), Some(-2));
    cache.set("o", &40).unwrap();
    assert_eq!(cache.increment("o", 2).unwrap(), 42);
}

pub fn concurrent_increments_are_all_counted(rig: &Rig) {
    let cache = rig.cache();
    winners(|_| {
        for _ in 0..200 {
            cache.increment("n", 3).unwrap();
        }
        true
    });
    assert_eq!(cache.get::<i64>("n").unwrap(), Some(8 * 200 * 3));
}

pub fn counters_created_by_many_at_once_are_exact(rig: &Rig) {
    let cache = rig.cache();
    for round in 0..50 {
        let key = format!("n{round}");
        winners(|_| cache.increment(&key, 3).is_ok());
        assert_eq!(cache.get::<i64>(&key).unwrap(), Some(8 * 3));
    }
}

pub fn a_counter_keeps_its_ttl(rig: &Rig) {
    let (cache, unit) = (rig.cache(), rig.unit());
    cache.entry("n").ttl(unit * 2).increment(1).unwrap();
    rig.pass(unit);
    assert_eq!(cache.entry("n").ttl(unit * 100).increment(1).unwrap(), 2);
    rig.pass(unit * 2);
    assert_eq!(cache.increment("n", 1).unwrap(), 1, "it ended when its first ttl did");
}

pub fn what_is_no_number_is_left_alone(rig: &Rig) {
    let cache = rig.cache();
    cache.set("text", "5").unwrap();
    cache.set("float", &1.5).unwrap();
    cache.set("none", &None::<u8>).unwrap();
    cache.set_bytes("bytes", b"5".to_vec()).unwrap();
    for key in ["text", "float", "none", "bytes"] {
        let error = cache.increment(key, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongType, "{key}");
    }
    assert_eq!(cache.get::<String>("text").unwrap().as_deref(), Some("5"));
    assert_eq!(cache.get_bytes("bytes").unwrap().as_deref(), Some(&b"5"[..]));
}

pub fn a_counter_does_not_wrap_around(rig: &Rig) {
    let cache = rig.cache();
    cache.set("high", &i64::MAX).unwrap();
    cache.set("low", &i64::MIN).unwrap();
    cache.set("unsigned", &u64::MAX).unwrap();
    let errors = [
        cache.increment("high", 1).unwrap_err(),
        cache.decrement("low", 1).unwrap_err(),
        cache.increment("unsigned", 1).unwrap_err(),
        cache.decrement("n", i64::MIN).unwrap_err(),
        cache.entry("n").initial(i64::MAX).increment(1).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Overflow);
    }
    assert_eq!(cache.get::<i64>("high").unwrap(), Some(i64::MAX));
    assert_eq!(cache.get::<u64>("unsigned").unwrap(), Some(u64::MAX));
    assert!(!cache.exists("n").unwrap());
}

pub fn a_counter_of_another_schema_is_another_counter(rig: &Rig) {
    let (one, two) = (rig.cache().with_schema(1), rig.cache().with_schema(2));
    if !has_versions(rig, &one) {
        return;
    }
    assert_eq!(one.increment("n", 5).unwrap(), 5);
    assert_eq!(one.increment("n", 1).unwrap(), 6);
    assert_eq!(one.get::<i64>("n").unwrap(), Some(6));
    assert!(!two.expire("n", rig.unit()).unwrap() && !two.replace("n", &1).unwrap());
    assert_eq!(two.increment("n", 1).unwrap(), 1);
    assert_eq!(one.get::<i64>("n").unwrap(), None);
}

pub fn a_counter_is_not_created_with_tags(rig: &Rig) {
    let cache = rig.cache();
    let error = cache.entry("n").tag("t").increment(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(cache.entry("n").tag("").increment(1).unwrap_err().kind(), ErrorKind::InvalidTag);
    assert!(!cache.exists("n").unwrap());
    if rig.can().tags {
        cache.entry("n").tag("t").set(&1).unwrap();
        assert_eq!(cache.increment("n", 1).unwrap(), 2);
        cache.invalidate_tags(["t"]).unwrap();
        assert!(!cache.exists("n").unwrap(), "it keeps the tags it has");
    }
}

pub fn swap_needs_the_version_read(rig: &Rig) {
    let cache = rig.cache();
    if !has_versions(rig, &cache) {
        return;
    }
    assert!(cache.get_versioned::<i32>("k").unwrap().is_none());
    cache.set("k", &1).unwrap();
    let (value, version) = cache.get_versioned::<i32>("k").unwrap().unwrap();
    assert_eq!(value, 1);
    cache.set("other", &1).unwrap();
    assert!(!cache.swap("other", version, &9).unwrap(), "a version is of one key");
    assert!(cache.swap("k", version, &2).unwrap());
    assert!(!cache.swap("k", version, &3).unwrap());
    assert!(!cache.swap("absent", version, &3).unwrap());
    assert_eq!(cache.get("k").unwrap(), Some(2));
    let strange = Rig::memory(10).cache();
    strange.set("k", &1).unwrap();
    let (_, foreign) = strange.get_versioned::<i32>("k").unwrap().unwrap();
    assert!(!cache.swap("k", foreign, &3).unwrap(), "another backend's version");
}

pub fn swap_refuses_a_deleted_and_added_entry(rig: &Rig) {
    let cache = rig.cache();
    if !has_versions(rig, &cache) {
        return;
    }
    cache.set("k", &1).unwrap();
    let (_, version) = cache.get_versioned::<i32>("k").unwrap().unwrap();
    cache.delete("k").unwrap();
    cache.set("k", &1).unwrap();
    assert!(!cache.swap("k", version, &2).unwrap());
    assert_eq!(cache.get("k").unwrap(), Some(1));
}

pub fn of_many_swappers_one_wins(rig: &Rig) {
    let cache = rig.cache();
    if !has_versions(rig, &cache) {
        return;
    }
    for _ in 0..20 {
        cache.set("k", &0).unwrap();
        let (_, version) = cache.get_versioned::<i32>("k").unwrap().unwrap();
        assert_eq!(winners(|number| cache.swap("k", version, &number).unwrap()), 1);
    }
}
