//! What was invalidated in an outage is never served after it; and what else callers see.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use yokedcache::backend::{Backend, Can};
use yokedcache::{
    Begun, BreakerState, Cache, ErrorKind, Fallback, ManualClock, Memory, Pattern, Ttl,
};

use crate::faulty::{Faulty, Mode};
use crate::{SOON, Site, eventually, settings};

#[test]
fn a_delete_that_fails_twice_opens_it_at_once() {
    let site = Site::new(|settings| settings.failure_threshold(1000));
    site.primary.put("k", "old");
    site.primary.down();
    assert!(!site.cache.delete("k").unwrap(), "the secondary had none");
    assert_eq!(site.primary.calls(), ["remove k", "remove k"]);
    assert_eq!((site.fallback.state(), site.fallback.pending()), (BreakerState::Open, 1));
    assert_eq!(site.get("k"), None);
    assert_eq!(site.primary.calls(), [""; 0], "the primary must not serve the old value");
}

#[test]
fn a_delete_that_fails_once_is_repeated_and_done() {
    let site = Site::new(|settings| settings.failure_threshold(1000));
    site.primary.put("k", "old");
    site.primary.set(Mode::Ending("k"));
    let primary = site.primary.clone();
    let calls = Mutex::new(0);
    site.primary.before(move |_| {
        *calls.lock().unwrap() += 1;
        if *calls.lock().unwrap() == 2 {
            primary.up();
        }
    });
    assert!(site.cache.delete("k").unwrap());
    assert_eq!((site.fallback.state(), site.fallback.pending()), (BreakerState::Closed, 0));
    assert!(!site.primary.has("k"));
}

#[test]
fn a_tag_a_pattern_and_a_clear_that_fail_open_it_and_say_that_they_are_pending() {
    type Invalidate = fn(&Cache) -> yokedcache::Result<yokedcache::Removed>;
    let ways: [Invalidate; 4] = [
        |cache| cache.invalidate_tags(["t", "u"]),
        |cache| cache.invalidate_tags_all(["t"]),
        |cache| cache.invalidate_pattern("k*"),
        Cache::clear,
    ];
    for invalidate in ways {
        let site = Site::new(|settings| settings.failure_threshold(1000).reset_timeout(SOON));
        site.cache.entry("k").tags(["t", "u"]).set("old").unwrap();
        assert!(!invalidate(&site.cache).unwrap().pending);
        site.cache.entry("k").tags(["t", "u"]).set("old").unwrap();
        site.primary.calls();
        site.primary.down();
        assert!(invalidate(&site.cache).unwrap().pending);
        assert_ne!(site.fallback.state(), BreakerState::Closed);
        assert_eq!(site.get("k"), None);
        assert!(site.primary.has("k"));
        site.recovers();
        assert_eq!(site.get("k"), None);
        assert!(!site.primary.has("k"));
    }
}

#[test]
fn of_a_batch_of_deletes_only_those_that_failed_are_repeated_and_noted() {
    let site = Site::new(|settings| settings.failure_threshold(1000));
    site.cache.set_many([("a", "1"), ("b", "2"), ("c", "3")]).unwrap();
    site.primary.calls();
    site.primary.set(Mode::Ending("b"));
    let deleted = site.cache.delete_many(["a", "b", "c"]).unwrap();
    assert_eq!(deleted, 2);
    assert_eq!(site.primary.calls(), ["remove a b c", "remove b"]);
    assert_eq!((site.fallback.state(), site.fallback.pending()), (BreakerState::Open, 1));
}

#[test]
fn a_strict_fallback_says_that_it_is_not_done_and_does_it_later_all_the_same() {
    let site = Site::new(|settings| settings.strict().reset_timeout(SOON));
    site.primary.put("k", "old");
    site.primary.put("l", "old");
    site.primary.down();
    for _ in 0..2 {
        let errors =
            [site.cache.delete("k").unwrap_err(), site.cache.invalidate_pattern("l*").unwrap_err()];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert_eq!(error.to_string(), "noted; will be carried out when faulty answers");
        }
    }
    assert!(site.cache.set("m", "new").unwrap(), "a store is no invalidation");
    assert_eq!(site.fallback.pending(), 3);
    site.recovers();
    assert_eq!(["k", "l"].map(|key| site.get(key)), [None, None]);
}

/// Whatever changes a key in an outage: the primary's older value does not come back.
#[test]
fn what_changed_in_an_outage_is_not_undone_by_the_way_back() {
    let changes: [fn(&Cache); 8] = [
        |cache| assert!(cache.set("k", &2).unwrap()),
        |cache| assert!(cache.add("k", &2).unwrap()),
        |cache| assert_eq!(cache.increment("k", 1).unwrap(), 1),
        |cache| assert!(!cache.replace("k", &2).unwrap()),
        |cache| assert!(!cache.expire("k", Duration::from_secs(1)).unwrap()),
        |cache| assert!(!cache.delete("k").unwrap()),
        |cache| drop(cache.set_many([("k", 2)]).unwrap()),
        |cache| drop(cache.lock("k", Duration::from_secs(1)).try_lock().unwrap()),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let site = Site::new(|settings| settings.reset_timeout(SOON));
        site.cache.set("k", &1).unwrap();
        site.fails();
        change(&site.cache);
        site.recovers();
        // The lock has a key of its own.
        let left = site.cache.get::<i32>("k").unwrap();
        assert_eq!(left, (number == 7).then_some(1), "change {number}");
    }
}

#[test]
fn a_load_is_stored_only_where_it_began() {
    let site = Site::new(|settings| settings.reset_timeout(SOON));
    // From the primary into the secondary.
    let Begun::Slot(slot) = site.cache.entry("a").begin::<String>().unwrap() else { panic!() };
    site.fails();
    assert!(!slot.set("loaded").unwrap());
    assert_eq!(site.get("a"), None);
    // From the secondary into the primary.
    let Begun::Slot(slot) = site.cache.entry("b").begin::<String>().unwrap() else { panic!() };
    site.recovers();
    assert!(!slot.set("loaded").unwrap());
    assert_eq!(site.get("b"), None);
    // From one outage into the next.
    site.fails();
    let Begun::Slot(slot) = site.cache.entry("c").begin::<String>().unwrap() else { panic!() };
    site.recovers();
    site.fails();
    assert!(!slot.set("loaded").unwrap());
    assert_eq!(site.get("c"), None);
}

#[test]
fn a_load_of_the_primary_is_overtaken_by_a_delete_of_the_outage() {
    let site = Site::new(|settings| settings.reset_timeout(SOON));
    let Begun::Slot(slot) = site.cache.entry("k").begin::<String>().unwrap() else { panic!() };
    site.fails();
    site.cache.delete("k").unwrap();
    site.recovers();
    assert!(!slot.set("read before the delete").unwrap());
    assert_eq!(site.get("k"), None);
}

/// A call of the primary that is held until it is told to go on.
struct Held {
    arrived: Receiver<()>,
    go_on: Sender<()>,
}

impl Held {
    /// Holds the first call about this, before it does anything or when all is done.
    fn first(primary: &Faulty, about: &'static str, after: bool) -> Self {
        let ((told, arrived), (go_on, gone_on)) = (channel(), channel());
        let once = Mutex::new(Some((told, gone_on)));
        let hook = move |what: &str| {
            if !what.contains(about) {
                return;
            }
            let held = once.lock().unwrap().take();
            if let Some((told, gone_on)) = held {
                told.send(()).unwrap();
                let _: Result<(), _> = gone_on.recv_timeout(Duration::from_secs(120));
            }
        };
        if after {
            primary.after(hook)
        } else {
            primary.before(hook)
        }
        Self { arrived, go_on }
    }

    fn arrives(&self) {
        self.arrived.recv_timeout(Duration::from_secs(120)).unwrap();
    }

    fn goes_on(self) {
        self.go_on.send(()).unwrap();
    }
}

#[test]
fn what_is_deleted_while_the_primary_is_told_is_told_to_it_too() {
    let site = Site::new(|settings| settings.reset_timeout(SOON));
    ["a", "b"].iter().for_each(|key| site.primary.put(key, "old"));
    let held = Held::first(&site.primary, "remove", true);
    site.fails();
    site.cache.delete("a").unwrap();
    site.primary.up();
    held.arrives();
    assert_eq!(site.fallback.state(), BreakerState::HalfOpen);
    // It was removed, and somebody who has been under way for long stores it again.
    assert!(!site.primary.has("a"));
    site.primary.put("a", "late");
    site.cache.delete("a").unwrap();
    site.cache.delete("b").unwrap();
    assert_eq!(site.fallback.state(), BreakerState::HalfOpen);
    held.goes_on();
    site.closes();
    assert_eq!(["a", "b"].map(|key| site.get(key)), [None, None]);
}

#[test]
fn the_secondary_serves_until_the_primary_has_been_told_everything() {
    let site = Site::new(|settings| settings.reset_timeout(SOON));
    site.primary.put("k", "old");
    site.fails();
    site.cache.delete("k").unwrap();
    let held = Held::first(&site.primary, "remove", false);
    site.primary.up();
    held.arrives();
    assert!(site.primary.has("k"));
    assert_eq!(site.get("k"), None);
    held.goes_on();
    site.closes();
    assert_eq!(site.get("k"), None);
}

/// The probe is the last moment before the journal is looked at.
#[test]
fn what_is_deleted_during_the_trial_is_not_forgotten() {
    let site = Site::new(|settings| settings.reset_timeout(SOON));
    site.primary.put("k", "old");
    site.fails();
    let held = Held::first(&site.primary, "~probe", true);
    site.primary.up();
    held.arrives();
    site.cache.delete("k").unwrap();
    held.goes_on();
    site.closes();
    assert_eq!(site.get("k"), None);
}

#[test]
fn a_delete_under_way_when_it_opens_does_not_disturb_the_outage() {
    let site = Arc::new(Site::new(|settings| settings.reset_timeout(SOON)));
    site.primary.put("k", "old");
    let held = Held::first(&site.primary, "remove k", false);
    let theirs = site.clone();
    let deleting = std::thread::spawn(move || theirs.cache.delete("k").unwrap());
    held.arrives();
    // Others have found out meanwhile; the delete is not sent to the primary a second time.
    site.fails();
    site.primary.calls();
    held.goes_on();
    deleting.join().unwrap();
    assert_eq!(site.primary.asked("remove k"), 0);
    assert_eq!(site.fallback.pending(), 2);
    site.recovers();
    assert_eq!(site.get("k"), None);
}

#[test]
fn an_outage_sees_nothing_of_the_one_before() {
    let primary = Faulty::new();
    let secondary = Faulty::new();
    let fallback = Fallback::builder(primary.clone(), secondary.clone())
        .failure_threshold(1)
        .reset_timeout(SOON)
        .build()
        .unwrap();
    let site = Site::over(primary, fallback);
    site.fails();
    site.cache.entry("k").tags(["t"]).set("of the first outage").unwrap();
    // What is left there cannot be removed.
    secondary.set(Mode::Invalidations(ErrorKind::Unavailable));
    site.recovers();
    eventually("it is tried", || secondary.asked("invalidate keys ~") >= 1);
    secondary.up();
    site.cache.delete("k").unwrap();
    site.fails();
    assert_eq!(site.get("k"), None);
    assert_eq!(site.cache.keys("*").unwrap(), [""; 0]);
    site.recovers();
}

#[test]
fn what_an_outage_left_in_the_secondary_is_removed() {
    let primary = Faulty::new();
    let secondary = Arc::new(Memory::builder().build().unwrap());
    let fallback =
        Fallback::builder(primary.clone(), secondary.clone()).reset_timeout(SOON).build().unwrap();
    let site = Site::over(primary, fallback);
    site.fails();
    site.cache.set("k", "v").unwrap();
    let entries = || secondary.stats(Default::default()).entries;
    assert_eq!(entries(), Some(1));
    site.recovers();
    eventually("it is empty", || entries() == Some(0));
}

#[test]
fn entries_of_an_outage_do_not_live_long() {
    let clock = ManualClock::new();
    let secondary = Memory::builder().clock(&clock).build().unwrap();
    let primary = Faulty::new();
    let minute = Duration::from_secs(60);
    let fallback = Fallback::builder(primary.clone(), secondary)
        .secondary_ttl(minute)
        .reset_timeout(minute * 60)
        .build()
        .unwrap();
    let site = Site::over(primary, fallback);
    site.fails();
    site.cache.entry("for ever").ttl(Ttl::Never).set("v").unwrap();
    site.cache.entry("long").ttl(minute * 5).stale_for(minute * 5).set("v").unwrap();
    site.cache.entry("short").ttl(minute / 2).set("v").unwrap();
    site.cache.entry("given a new end").ttl(minute / 2).set("v").unwrap();
    assert!(site.cache.expire("given a new end", Ttl::Never).unwrap());
    site.cache.increment("counter", 1).unwrap();
    for key in ["for ever", "long", "given a new end", "counter"] {
        assert_eq!(site.cache.ttl(key).unwrap(), Some(Ttl::After(minute)), "{key}");
    }
    clock.advance(minute / 2);
    assert_eq!(site.get("short"), None);
    assert!(site.get("long").is_some());
    clock.advance(minute / 2);
    for key in ["for ever", "long", "given a new end", "counter"] {
        assert!(!site.cache.exists(key).unwrap(), "{key}");
    }
}

#[test]
fn a_list_begun_with_the_one_does_not_end_with_the_other() {
    let site = Site::new(|settings| settings);
    site.cache.set_many([("a", "1"), ("b", "2")]).unwrap();
    let error = site
        .cache
        .scan("*", |_| {
            site.fails();
            site.primary.up();
            std::ops::ControlFlow::Continue(())
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(site.cache.keys("*").unwrap(), [""; 0]);
    site.cache.set("c", "3").unwrap();
    assert_eq!(site.cache.keys("*").unwrap(), ["c"]);
}

#[test]
fn keys_that_cannot_be_listed_any_more_are_those_of_the_secondary() {
    let site = Site::new(|settings| settings.failure_threshold(2));
    site.cache.set("a", "1").unwrap();
    site.primary.down();
    assert_eq!(site.cache.keys("*").unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(site.cache.keys("*").unwrap(), [""; 0]);
}

#[test]
fn names_tags_and_patterns_are_as_before_in_an_outage() {
    let primary = Faulty::new();
    let fallback = settings(&primary).build().unwrap();
    let site = Site::over(primary.clone(), fallback.clone());
    // A second cache whose names lie within those of the first.
    let shop = Cache::builder(fallback).key_prefix("shop").build().unwrap();
    site.fails();
    shop.entry("user:1").tags(["users"]).set("Ann").unwrap();
    site.cache.entry("shop:user:2").tags(["shop:users"]).set("Bob").unwrap();
    site.cache.set("user:1", "Cid").unwrap();
    assert_eq!(site.get("shop:user:1").as_deref(), Some("Ann"), "it is one name");
    assert_eq!(shop.keys("user:*").unwrap(), ["user:1", "user:2"]);
    assert_eq!(shop.keys(Pattern::regex(r"^user:\d$").unwrap()).unwrap().len(), 2);
    assert_eq!(site.cache.keys("*").unwrap(), ["shop:user:1", "shop:user:2", "user:1"]);
    assert_eq!(shop.dry_run().invalidate_tags(["users"]).unwrap(), ["user:1", "user:2"]);
    assert_eq!(shop.invalidate_tags(["users"]).unwrap().entries, Some(2));
    shop.set("user:3", "Dan").unwrap();
    assert_eq!(site.cache.clear().unwrap().entries, Some(2));
}

#[test]
fn a_cache_that_comes_in_an_outage_is_part_of_it() {
    let primary = Faulty::new();
    let fallback = settings(&primary).reset_timeout(SOON).build().unwrap();
    let shop = Cache::builder(fallback.clone()).key_prefix("shop").build().unwrap();
    primary.put("shop:k", "old");
    primary.put("late", "old");
    primary.down();
    shop.delete("k").unwrap();
    let site = Site::over(primary, fallback);
    site.cache.delete("late").unwrap();
    shop.set("l", "new").unwrap();
    assert_eq!(site.get("shop:l").as_deref(), Some("new"));
    assert_eq!(site.cache.clear().unwrap().entries, Some(1));
    site.recovers();
    assert_eq!((site.get("shop:k"), site.get("late")), (None, None));
}

#[test]
fn a_primary_that_cannot_be_cleared_is_refused() {
    let build = |change: fn(&mut Can), prefix: &str| {
        let primary = Faulty::over(Memory::builder().build().unwrap(), change);
        let fallback = settings(&primary).build().unwrap();
        Cache::builder(fallback).key_prefix(prefix).build().map(drop).map_err(|error| error.kind())
    };
    assert_eq!(build(|can| can.scan = false, "shop"), Err(ErrorKind::Unsupported));
    assert_eq!(build(|can| can.shared = true, ""), Err(ErrorKind::InvalidArgument));
    assert_eq!(build(|can| can.shared = true, "shop"), Ok(()));
}

#[test]
fn it_can_what_both_can() {
    let (primary, secondary) = (
        Faulty::over(Memory::builder().build().unwrap(), |can| can.shared = true),
        Faulty::over(Memory::builder().build().unwrap(), |can| can.leases = false),
    );
    let about = Fallback::builder(primary, secondary).build().unwrap().about();
    assert_eq!(about.name, "fallback");
    assert!(about.can.shared && about.can.tags && !about.can.leases);
}

#[test]
fn health_tells_who_serves() {
    let site = Site::new(|settings| settings);
    let healthy = site.cache.detailed_health_check();
    assert!(healthy.warnings.is_empty() && healthy.is_up());
    site.fails();
    let health = site.cache.detailed_health_check();
    assert!(health.error.is_none() && !health.is_up(), "it answers; the primary does not");
    let [warning] = &*health.warnings else { panic!("{health:?}") };
    assert_eq!((warning.code, warning.degrades), ("breaker-open", true));
    let text = &warning.text;
    assert!(text.starts_with("memory stands in for faulty since "), "{text}");
    assert!(text.contains("; 1 invalidations are noted"), "{text}");
    let parts: Vec<_> =
        health.children.iter().map(|(part, child)| (&**part, child.is_up())).collect();
    assert_eq!(parts, [("primary", false), ("secondary", true)]);
}

#[test]
fn of_a_chain_the_first_that_can_be_reached_serves() {
    let backends = [(); 3].map(|()| Faulty::new());
    let [first, second, third] = backends.clone();
    let fallback = Fallback::chain(first, vec![Box::new(second), Box::new(third)]).unwrap();
    let site = Site::over(backends[0].clone(), fallback);
    backends[1].down();
    site.fails();
    // The delete that opened the first opened the second, too.
    backends.iter().for_each(|backend| drop(backend.calls()));
    assert!(site.cache.set("k", "v").unwrap());
    assert_eq!(site.get("k").as_deref(), Some("v"));
    assert_eq!(backends.each_ref().map(|backend| backend.calls().len()), [0, 0, 2]);
}
