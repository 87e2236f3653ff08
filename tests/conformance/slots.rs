//! Loading without a closure.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use yokedcache::{Begun, Cache, ErrorKind, Lookup, Slot, Ttl};

use super::gate::{LONG, SHORT, lasting, make_stale, never, new, wait_for};
use super::invalidation::has_tags;
use super::rig::Rig;

#[track_caller]
fn slot(cache: &Cache, key: &str) -> Slot {
    match cache.entry(key).begin::<String>().unwrap() {
        Begun::Slot(slot) => slot,
        Begun::Hit(value) => panic!("{value} is there"),
    }
}

#[track_caller]
fn hit(cache: &Cache, key: &str) -> String {
    match cache.entry(key).begin::<String>().unwrap() {
        Begun::Hit(value) => value,
        Begun::Slot(_) => panic!("nothing is there"),
    }
}

pub fn a_slot_is_set_and_then_there_is_a_value(rig: &Rig) {
    let cache = rig.cache().namespace("space");
    let slot = slot(&cache, "k");
    assert_eq!((slot.key(), slot.previous::<String>()), ("k", None));
    assert!(slot.set("value").unwrap());
    assert_eq!(hit(&cache, "k"), "value");
    assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("value"));
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.sets, stats.misses.total(), stats.hits), (1, 1, 1, 2));
}

pub fn a_slot_is_set_for_a_time_of_its_own(rig: &Rig) {
    let (cache, unit) = (rig.cache(), rig.unit());
    assert!(slot(&cache, "short").set_for("value", unit / 50).unwrap());
    assert!(slot(&cache, "none").set_for(&None::<u8>, unit / 50).unwrap());
    assert!(slot(&cache, "default").set_for("value", Ttl::Default).unwrap());
    let entry = cache.entry("entry's").ttl(unit * 1000);
    let Begun::Slot(entrys) = entry.begin::<String>().unwrap() else { panic!("nothing is there") };
    assert!(entrys.set("value").unwrap());
    rig.pass(unit + unit / 20);
    let there = ["short", "none", "default", "entry's"].map(|key| cache.exists(key).unwrap());
    assert_eq!(there, [false, false, true, true]);
    assert!(matches!(cache.ttl("entry's").unwrap(), Some(Ttl::After(_))));
}

pub fn what_cannot_be_stored_is_refused_and_frees_the_key(rig: &Rig) {
    let cache = rig.cache();
    let refused = slot(&cache, "k").set_for("value", Duration::ZERO).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidTtl);
    let map = std::collections::HashMap::from([((1, 2), 3)]);
    let refused = slot(&cache, "k").set(&map).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Encode, "JSON has no such keys");
    assert!(slot(&cache, "k").set("value").unwrap());
}

pub fn a_slot_that_is_dropped_frees_the_key(rig: &Rig) {
    let (one, two) = (rig.cache(), rig.cache());
    drop(slot(&one, "k"));
    assert_eq!(one.stats().load_errors, 0);
    let entry = two.entry("k").timeout(LONG / 12);
    assert_eq!(entry.get_or_load(new).unwrap().unwrap(), "new");
}

pub fn others_wait_for_a_slot(rig: &Rig) {
    let (one, two) = (rig.cache(), rig.cache());
    let others = if rig.can().leases { vec![&one, &two] } else { vec![&one] };
    let slot = slot(&one, "k");
    thread::scope(|scope| {
        let waits: Vec<_> = others
            .iter()
            .map(|cache| scope.spawn(|| cache.get_or_load("k", never::<String>).unwrap().unwrap()))
            .collect();
        wait_for(|| others.iter().all(|cache| cache.stats().misses.total() > 0));
        thread::sleep(SHORT);
        assert!(waits.iter().all(|thread| !thread.is_finished()));
        assert!(slot.set("value").unwrap());
        assert!(waits.into_iter().all(|thread| thread.join().unwrap() == "value"));
    });
}

pub fn who_waits_for_a_slot_that_is_dropped_loads(rig: &Rig) {
    let cache = rig.cache();
    let slot = slot(&cache, "k");
    thread::scope(|scope| {
        let waits = scope.spawn(|| cache.get_or_load("k", new).unwrap().unwrap());
        wait_for(|| cache.stats().misses.total() == 2);
        thread::sleep(SHORT);
        drop(slot);
        assert_eq!(waits.join().unwrap(), "new");
    });
}

pub fn a_slot_waits_for_a_load(rig: &Rig) {
    let cache = rig.cache();
    let (began, wait_began) = channel();
    let (go, gone) = channel::<()>();
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            cache.get_or_load("k", move || {
                began.send(()).unwrap();
                gone.recv_timeout(LONG).unwrap();
                new()
            })
        });
        wait_began.recv_timeout(LONG).unwrap();
        let late = cache.entry("k").timeout(4 * SHORT).begin::<String>().unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Timeout);
        let waits = scope.spawn(|| hit(&cache, "k"));
        thread::sleep(SHORT);
        go.send(()).unwrap();
        assert_eq!(waits.join().unwrap(), "new");
        assert_eq!(load.join().unwrap().unwrap().unwrap(), "new");
    });
}

/// A slot that is overtaken stores nothing.
fn overtaken(rig: &Rig, change: impl FnOnce(&Cache)) {
    let cache = rig.cache();
    cache.delete("k").unwrap();
    let entry = cache.entry("k");
    let begun = match rig.can().tags {
        true => entry.tag("t").begin::<String>().unwrap(),
        false => entry.begin::<String>().unwrap(),
    };
    let Begun::Slot(slot) = begun else { panic!("nothing is there") };
    change(&cache);
    assert!(!slot.set("value").unwrap());
    assert_ne!(cache.get::<String>("k").unwrap().as_deref(), Some("value"));
    assert_eq!(cache.stats().overtaken, 1);
}

pub fn a_slot_that_is_overtaken_stores_nothing(rig: &Rig) {
    overtaken(rig, |cache| assert!(!cache.delete("k").unwrap()));
    overtaken(rig, |cache| assert!(cache.set("k", "set").unwrap()));
    if rig.can().tags {
        overtaken(rig, |cache| _ = cache.invalidate_tags(["t"]).unwrap());
    }
    if rig.can().scan {
        overtaken(rig, |cache| _ = cache.invalidate_pattern("k*").unwrap());
        overtaken(rig, |cache| _ = cache.clear().unwrap());
    }
}

pub fn a_slot_is_overtaken_by_other_caches_and_says_so_when_renewed(rig: &Rig) {
    let (one, two) = (rig.cache(), rig.cache());
    let mut slot = slot(&one, "k");
    assert!(slot.renew().unwrap());
    if rig.can().leases {
        two.delete("k").unwrap();
        assert!(!slot.renew().unwrap() && !slot.renew().unwrap());
        assert!(!slot.set("value").unwrap());
        assert!(!two.exists("k").unwrap());
    }
}

pub fn a_slot_is_tagged_on_the_way(rig: &Rig) {
    let cache = rig.cache();
    let mut first = slot(&cache, "k");
    if !has_tags(rig, &rig.cache().namespace("other")) {
        return assert_eq!(first.tag("late").unwrap_err().kind(), ErrorKind::Unsupported);
    }
    first.tag("late").unwrap();
    assert_eq!(first.tag("").unwrap_err().kind(), ErrorKind::InvalidTag);
    assert!(first.set("value").unwrap());
    cache.invalidate_tags(["late"]).unwrap();
    assert!(!cache.exists("k").unwrap());
    let mut second = slot(&cache, "k");
    second.tag("late").unwrap();
    cache.invalidate_tags(["late"]).unwrap();
    assert!(!second.set("value").unwrap(), "the tag was invalidated meanwhile");
}

pub fn a_slot_over_a_stale_value_shows_it_and_keeps_nobody_waiting(rig: &Rig) {
    let (one, two) = (rig.cache(), rig.cache());
    make_stale(rig, &one, ["k"]);
    let begin = |cache: &Cache| cache.entry("k").freshness(lasting(rig)).begin::<String>().unwrap();
    let Begun::Slot(slot) = begin(&one) else { panic!("it is stale") };
    assert_eq!(slot.previous::<String>().as_deref(), Some("old"));
    assert_eq!(slot.previous::<u8>(), None, "it is of no such type");
    assert!(matches!(begin(&one), Begun::Hit(old) if old == "old"));
    if rig.can().leases {
        assert!(matches!(begin(&two), Begun::Hit(old) if old == "old"));
    }
    assert!(slot.set("new").unwrap());
    assert!(matches!(begin(&two), Begun::Hit(new) if new == "new"));
}

pub fn a_slot_dropped_over_a_stale_value_leaves_it(rig: &Rig) {
    let cache = rig.cache();
    make_stale(rig, &cache, ["k"]);
    let begin = || cache.entry("k").freshness(lasting(rig)).begin::<String>().unwrap();
    for _ in 0..2 {
        let Begun::Slot(slot) = begin() else { panic!("it is stale") };
        assert_eq!(slot.previous::<String>().as_deref(), Some("old"));
    }
    let Lookup::Hit(hit) = cache.lookup::<String>("k").unwrap() else { panic!("it is kept") };
    assert_eq!((hit.value.as_str(), hit.stale), ("old", true));
}

pub fn a_slot_taken_twice_by_one_thread_is_an_error(rig: &Rig) {
    let cache = rig.cache();
    let slot = slot(&cache, "k");
    let twice = cache.entry("k").begin::<String>().unwrap_err();
    let load = cache.get_or_load("k", never::<String>).unwrap_err();
    let many = cache.entries(["k"]).get_or_load_many(|_| never::<[(String, u8); 0]>()).unwrap_err();
    let kinds = [twice, load, many].map(|error| error.kind());
    assert_eq!(kinds, [ErrorKind::Reentrant; 3]);
    assert!(slot.set("value").unwrap());
}

pub fn a_slot_may_be_set_by_another_thread(rig: &Rig) {
    let cache = rig.cache();
    let moved = slot(&cache, "k");
    thread::spawn(move || assert!(moved.set("value").unwrap())).join().unwrap();
    assert_eq!(hit(&cache, "k"), "value");
    let moved = slot(&cache, "l");
    thread::spawn(move || drop(moved)).join().unwrap();
    assert!(slot(&cache, "l").set("value").unwrap());
}

pub fn a_slot_outlives_its_handle(rig: &Rig) {
    let cache = rig.cache();
    let slot = slot(&cache, "k");
    drop(cache);
    assert!(slot.set("value").unwrap());
    assert_eq!(hit(&rig.cache(), "k"), "value");
}

pub fn a_slot_keeps_its_schema(rig: &Rig) {
    let cache = rig.cache();
    let two = cache.with_schema(2);
    cache.set("k", "of schema 0").unwrap();
    let slot = slot(&two, "k");
    assert_eq!(slot.previous::<String>(), None);
    assert!(slot.set("of schema 2").unwrap());
    assert_eq!(hit(&two, "k"), "of schema 2");
    assert_eq!(cache.get::<String>("k").unwrap(), None);
}

pub fn a_slot_may_say_that_there_is_no_value(rig: &Rig) {
    let cache = rig.cache();
    assert!(slot(&cache, "k").set(&None::<u8>).unwrap());
    assert!(matches!(cache.lookup::<u8>("k").unwrap(), Lookup::Negative(_)));
    let begun = cache.entry("k").begin::<Option<u8>>().unwrap();
    assert!(matches!(begun, Begun::Hit(None)));
    assert!(slot(&cache, "k").set("value").unwrap(), "to a type that has no none it is absent");
    let skips = cache.entry("l").skip_negative().begin::<u8>().unwrap();
    let Begun::Slot(skips) = skips else { panic!("nothing is there") };
    assert!(!skips.set(&None::<u8>).unwrap());
    assert!(!cache.exists("l").unwrap());
}
