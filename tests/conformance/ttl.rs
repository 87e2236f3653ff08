//! How long entries live.

use std::time::Duration;

use yokedcache::{Cause, ErrorKind, Loaded, Lookup, Ttl};

use super::rig::Rig;

const DAY: Duration = Duration::from_secs(24 * 3600);

pub fn an_entry_lives_to_the_last_unit_before_its_end(rig: &Rig) {
    let cache = rig.cache();
    if !rig.is_exact() {
        cache.entry("k").ttl(rig.unit() * 2).set(&1).unwrap();
        assert!(cache.exists("k").unwrap());
        rig.pass(rig.unit() * 3);
        return assert!(!cache.exists("k").unwrap());
    }
    for end in [1, 2, 63, 64, 65, 999, 1000, 4096, 100_000_000] {
        let (end, unit) = (Duration::from_millis(end), Duration::from_millis(1));
        cache.entry("k").ttl(end).set(&1).unwrap();
        rig.pass(end - unit);
        assert_eq!(cache.get("k").unwrap(), Some(1), "one unit before {end:?}");
        rig.pass(unit);
        assert_eq!(cache.lookup::<i32>("k").unwrap().cause(), Some(Cause::Expired), "at {end:?}");
    }
}

pub fn the_default_ttl_applies(rig: &Rig) {
    let unit = rig.unit();
    let cache = rig.builder().default_ttl(unit).build().unwrap();
    cache.set("a", &1).unwrap();
    cache.entry("b").ttl(unit * 4).set(&1).unwrap();
    cache.entry("c").ttl(Ttl::Default).set(&1).unwrap();
    cache.with_ttl(unit * 4).set("d", &1).unwrap();
    cache.increment("e", 1).unwrap();
    rig.pass(unit * 2);
    let there = ["a", "b", "c", "d", "e"].map(|key| cache.exists(key).unwrap());
    assert_eq!(there, [false, true, false, true, false]);
}

pub fn never_ends_a_default_ttl(rig: &Rig) {
    let cache = rig.builder().default_ttl(rig.unit()).build().unwrap();
    cache.entry("k").ttl(Ttl::Never).set(&1).unwrap();
    assert_eq!(cache.ttl("k").unwrap(), Some(Ttl::Never));
    rig.pass(rig.unit() * 2);
    assert!(cache.exists("k").unwrap());
}

pub fn an_end_in_the_past_removes_the_older_value(rig: &Rig) {
    let cache = rig.cache();
    cache.set("k", "old").unwrap();
    let past = Ttl::At(rig.wall() - Duration::from_secs(1));
    assert!(!cache.entry("k").ttl(past).set("new").unwrap());
    assert_eq!(cache.get::<String>("k").unwrap(), None);
    let future = Ttl::At(rig.wall() + rig.unit() * 2);
    assert!(cache.entry("k").ttl(future).set("new").unwrap());
    assert!(cache.exists("k").unwrap());
    rig.pass(rig.unit() * 3);
    assert!(!cache.exists("k").unwrap());
    cache.set("k", "old").unwrap();
    assert!(cache.expire("k", past).unwrap());
    assert!(!cache.exists("k").unwrap());
}

pub fn a_ttl_of_zero_is_an_error_and_changes_nothing(rig: &Rig) {
    let cache = rig.cache();
    cache.set("k", "old").unwrap();
    let zero = Duration::ZERO;
    let errors = [
        cache.entry("k").ttl(zero).set("new").unwrap_err(),
        cache.entry("k").ttl(zero).add("new").unwrap_err(),
        cache.entry("k").sliding(zero).set("new").unwrap_err(),
        cache.entry("n").ttl(zero).increment(1).unwrap_err(),
        cache.expire("k", zero).unwrap_err(),
        cache.with_ttl(zero).set("k", "new").unwrap_err(),
        cache.entry("k").negative_ttl(zero).set(&None::<u8>).unwrap_err(),
        rig.builder().default_ttl(zero).build().unwrap_err(),
        rig.builder().negative_ttl(zero).build().unwrap_err(),
        rig.builder().sliding(zero).build().unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::InvalidTtl, "{error}");
    }
    assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("old"));
    assert!(!cache.exists("n").unwrap());
}

pub fn long_lives_are_kept(rig: &Rig) {
    let cache = rig.cache();
    for (key, ttl) in [("month", 31 * DAY), ("century", 36_500 * DAY), ("ages", Duration::MAX)] {
        cache.entry(key).ttl(ttl).set(&1).unwrap();
        rig.pass(rig.unit());
        assert_eq!(cache.get(key).unwrap(), Some(1), "{key}");
    }
    cache.set("forever", &1).unwrap();
    assert_eq!(cache.ttl("forever").unwrap(), Some(Ttl::Never));
    if rig.is_exact() {
        rig.pass(40_000 * DAY);
        let there = ["month", "century", "ages", "forever"].map(|key| cache.exists(key).unwrap());
        assert_eq!(there, [false, false, true, true]);
    }
}

pub fn expire_gives_a_new_end_and_keeps_value_and_tags(rig: &Rig) {
    let (cache, unit) = (rig.cache(), rig.unit());
    assert!(!cache.expire("absent", unit).unwrap());
    cache.entry("k").ttl(unit).set("v").unwrap();
    assert!(cache.expire("k", unit * 4).unwrap());
    rig.pass(unit * 2);
    assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("v"));
    assert!(cache.expire("k", Ttl::Never).unwrap());
    assert_eq!(cache.ttl("k").unwrap(), Some(Ttl::Never));
    assert!(cache.expire("k", unit).unwrap());
    rig.pass(unit * 2);
    assert!(!cache.exists("k").unwrap());
    assert!(!cache.expire("k", unit).unwrap(), "an expired entry is not there");
    if rig.can().tags {
        cache.entry("t").tag("tag").ttl(unit).set("v").unwrap();
        cache.expire("t", Ttl::Never).unwrap();
        cache.invalidate_tags(["tag"]).unwrap();
        assert!(!cache.exists("t").unwrap());
    }
}

pub fn touch_gives_the_default_end(rig: &Rig) {
    let unit = rig.unit();
    let cache = rig.builder().default_ttl(unit * 4).build().unwrap();
    cache.entry("k").ttl(unit).set("v").unwrap();
    assert!(cache.touch("k").unwrap());
    assert!(!cache.touch("absent").unwrap());
    rig.pass(unit * 2);
    assert!(cache.exists("k").unwrap());
}

pub fn ttl_tells_what_is_left(rig: &Rig) {
    let (cache, unit) = (rig.cache(), rig.unit());
    assert_eq!(cache.ttl("k").unwrap(), None);
    cache.entry("k").ttl(unit * 3).set(&1).unwrap();
    rig.pass(unit);
    let Some(Ttl::After(left)) = cache.ttl("k").unwrap() else { panic!("an end") };
    assert!(left <= unit * 2 + rig.can().ttl_step && !left.is_zero());
    if rig.is_exact() {
        assert_eq!(left, unit * 2);
    }
}

pub fn looking_does_not_slide(rig: &Rig) {
    let unit = rig.unit();
    let cache = rig.builder().default_ttl(unit * 100).sliding(unit * 2).build().unwrap();
    cache.set("k", &1).unwrap();
    for _ in 0..3 {
        cache.exists("k").unwrap();
        cache.peek::<i32>("k").unwrap();
        cache.ttl("k").unwrap();
        rig.pass(unit);
    }
    assert!(!cache.exists("k").unwrap());
    assert_eq!(cache.stats().hits, 0);
}

pub fn a_sliding_entry_ends_at_its_cap(rig: &Rig) {
    if !rig.is_exact() {
        return; // Half units are too short to wait for exactly.
    }
    let unit = rig.unit();
    let cache = rig.builder().default_ttl(unit * 5).sliding(unit).build().unwrap();
    cache.set("k", &1).unwrap();
    for half in 1..10 {
        rig.pass(unit / 2);
        assert_eq!(cache.get("k").unwrap(), Some(1), "read every half unit, after {half}");
    }
    rig.pass(unit / 2);
    assert_eq!(cache.get::<i32>("k").unwrap(), None, "the cap of five units");
    cache.set("k", &1).unwrap();
    rig.pass(unit);
    assert_eq!(cache.get::<i32>("k").unwrap(), None, "not read for a unit");
    cache.entry("k").ttl(Ttl::Never).set(&1).unwrap();
    rig.pass(unit / 2);
    assert_eq!(cache.get("k").unwrap(), Some(1));
    rig.pass(unit);
    assert_eq!(cache.get::<i32>("k").unwrap(), None, "without a cap, too");
}

pub fn jitter_spreads_ends_within_its_window(rig: &Rig) {
    let (ttl, jitter) = (Duration::from_secs(1000), Duration::from_secs(100));
    let cache = rig.builder().default_ttl(ttl).ttl_jitter(jitter).build().unwrap();
    let left: Vec<Duration> = (0..1000)
        .map(|number| {
            let key = format!("k{number}");
            cache.set(&key, &1).unwrap();
            let Some(Ttl::After(left)) = cache.ttl(&key).unwrap() else { panic!("an end") };
            left
        })
        .collect();
    let (least, most) = (left.iter().min().unwrap(), left.iter().max().unwrap());
    assert!(*most <= ttl && *least >= ttl - jitter - Duration::from_secs(10), "{least:?} {most:?}");
    assert!(*most - *least > jitter.mul_f64(0.9), "{least:?} to {most:?} is no spread");
    let below = left.iter().filter(|left| **left < ttl - jitter / 2).count();
    assert!((350..650).contains(&below), "{below} of 1000 in the lower half");
}

pub fn a_stale_entry_is_absent_to_all_but_lookup(rig: &Rig) {
    let (cache, unit) = (rig.cache(), rig.unit());
    let store = || cache.entry("k").ttl(unit).stale_for(unit * 6).set("old").unwrap();
    store();
    rig.pass(unit * 2);
    assert_eq!(cache.get::<String>("k").unwrap(), None);
    assert_eq!(cache.get_bytes("k").unwrap(), None);
    assert!(!cache.exists("k").unwrap());
    assert_eq!(cache.ttl("k").unwrap(), None);
    assert!(!cache.expire("k", unit).unwrap());
    assert!(!cache.replace("k", "new").unwrap());
    let Lookup::Hit(hit) = cache.lookup::<String>("k").unwrap() else { panic!("a stale hit") };
    assert!(
        hit.stale && hit.value == "old" && hit.ttl_left.unwrap() <= unit * 5 + rig.can().ttl_step
    );
    if rig.can().scan {
        assert!(cache.keys("*").unwrap().is_empty());
    }
    assert!(!cache.delete("k").unwrap());
    assert!(matches!(cache.lookup::<String>("k").unwrap(), Lookup::Miss(Cause::Absent)));
    store();
    rig.pass(unit * 2);
    assert!(cache.add("k", "new").unwrap());
    assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("new"));
    store();
    rig.pass(unit * 8);
    assert!(matches!(cache.lookup::<String>("k").unwrap(), Lookup::Miss(_)), "past its hard end");
}

pub fn expire_moves_the_stale_end_along(rig: &Rig) {
    let (cache, unit) = (rig.cache(), rig.unit());
    cache.entry("k").ttl(unit * 50).stale_for(unit * 50).set("v").unwrap();
    assert!(cache.expire("k", unit).unwrap());
    rig.pass(unit * 2);
    assert!(!cache.exists("k").unwrap());
    assert!(matches!(cache.lookup::<String>("k").unwrap(), Lookup::Hit(hit) if hit.stale));
}

pub fn negative_entries_have_a_ttl_of_their_own(rig: &Rig) {
    let unit = rig.unit();
    let cache = rig.builder().default_ttl(unit * 10).negative_ttl(unit).build().unwrap();
    cache.set("k", &None::<u8>).unwrap();
    cache.entry("l").negative_ttl(unit * 10).set(&None::<u8>).unwrap();
    let none =
        cache.entry("m").load_with(|_| Ok::<_, ErrorKind>(Loaded::<u8>::Negative(Ttl::Never)));
    assert_eq!(none.unwrap().unwrap(), None);
    rig.pass(unit * 2);
    let there = ["k", "l", "m"].map(|key| cache.exists(key).unwrap());
    assert_eq!(there, [false, true, true]);
    let load = |key: &str, loaded: Loaded<Option<u8>>| {
        let loaded = cache.entry(key).load_with(|_| Ok::<_, ErrorKind>(loaded)).unwrap();
        assert!(loaded.is_ok());
    };
    load("n", Loaded::Negative(Ttl::Default));
    load("o", Loaded::For(None, Ttl::Default));
    cache.entry("p").negative_ttl(Ttl::Default).set(&None::<u8>).unwrap();
    rig.pass(unit * 2);
    let there = ["n", "o", "p"].map(|key| cache.exists(key).unwrap());
    assert_eq!(there, [false, false, false], "the default of negatives, not of values");
}

pub fn a_touched_entry_goes_on_sliding(rig: &Rig) {
    let unit = rig.unit();
    let cache = rig.builder().default_ttl(unit * 100).sliding(unit * 2).build().unwrap();
    cache.set("k", &1).unwrap();
    assert!(cache.touch("k").unwrap());
    rig.pass(unit * 3);
    assert!(!cache.exists("k").unwrap());
}
