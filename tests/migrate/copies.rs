//! What is copied, what is left out, and what is only looked at.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::custom::Sorted;
use super::faulty::Faulty;
use super::fixture::{HOUR, dump, fill, memory, over};
use super::support::in_time;
use yokedcache::{Cache, ErrorKind, ManualClock, Memory, Pattern, Phase, Skip, Ttl};

#[test]
fn keys_and_tags_go_from_one_prefix_to_the_other() {
    let (shop, blog) = (over(memory(), "shop"), over(memory(), "blog"));
    shop.entry("user:1").tags(["users"]).set("Ann").unwrap();
    assert_eq!(shop.migrate_to(&blog).run().unwrap().copied, 1);
    assert_eq!(blog.get::<String>("user:1").unwrap().as_deref(), Some("Ann"));
    assert_eq!(blog.invalidate_tags(["users"]).unwrap().entries, Some(1));
    assert_eq!(shop.get::<String>("user:1").unwrap().as_deref(), Some("Ann"), "it is copied");
}

#[test]
fn a_namespace_goes_alone_and_lands_where_it_is_told() {
    let (from, to) = (over(memory(), "a"), over(memory(), "b"));
    from.set("outside", &1).unwrap();
    from.namespace("eu").entry("x").tag("t").set(&1).unwrap();
    from.namespace("eu").namespace("de").set("y", &2).unwrap();
    let report = from.namespace("eu").migrate_to(&to.namespace("asia")).run().unwrap();
    assert_eq!((report.looked_at, report.copied), (2, 2));
    assert_eq!(to.keys("*").unwrap(), ["asia:de:y", "asia:x"]);
    assert_eq!(to.invalidate_tags(["asia:t"]).unwrap().entries, Some(1));
}

#[test]
fn an_entry_with_a_tag_outside_the_namespace_is_left_out() {
    let (from, to) = (over(memory(), "a"), over(memory(), "b"));
    from.entry("eu:x").tag("everywhere").set(&1).unwrap();
    let skipped = RefCell::new(Vec::new());
    let migration = from.namespace("eu").migrate_to(&to);
    let note = |key: &str, why: &Skip| skipped.borrow_mut().push((key.to_owned(), why.clone()));
    let report = migration.on_skip(note).run().unwrap();
    assert_eq!((report.copied, report.skipped, report.reasons["tag"]), (0, 1, 1));
    assert_eq!(*skipped.borrow(), [("x".to_owned(), Skip::Tag)]);
    assert_eq!((report.skips[0].key.as_str(), &report.skips[0].why), ("x", &Skip::Tag));
    assert!(to.keys("*").unwrap().is_empty());
}

#[test]
fn entries_may_move_within_one_cache_but_not_into_themselves() {
    let cache = over(memory(), "a");
    cache.namespace("eu").set("x", &1).unwrap();
    for to in [cache.clone(), cache.with_schema(3), cache.namespace("eu")] {
        let refused = cache.migrate_to(&to).run().unwrap_err();
        assert_eq!(refused.error().kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(cache.namespace("eu").migrate_to(&cache).run().unwrap().copied, 1);
    assert_eq!(cache.keys("*").unwrap(), ["eu:x", "x"]);
}

#[test]
fn what_the_target_has_stays() {
    let (from, to) = (over(memory(), "a"), over(memory(), "b"));
    from.set("k", "older").unwrap();
    from.set("new", "n").unwrap();
    to.entry("k").ttl(HOUR).set("newer").unwrap();
    let report = from.migrate_to(&to).run().unwrap();
    assert_eq!((report.looked_at, report.copied, report.there), (2, 1, 1));
    assert_eq!(to.get::<String>("k").unwrap().as_deref(), Some("newer"));
}

#[test]
fn overwriting_replaces_what_is_different_and_nothing_else() {
    let (from, to) = (over(memory(), "a"), over(Faulty::new(), "b"));
    for key in ["same", "value", "tags", "missing"] {
        from.entry(key).ttl(HOUR).tag("t").set(key).unwrap();
    }
    to.entry("same").ttl(2 * HOUR).tag("t").set("same").unwrap();
    to.entry("value").ttl(2 * HOUR).tag("t").set("other").unwrap();
    to.entry("tags").ttl(2 * HOUR).tag("u").set("tags").unwrap();
    let report = from.migrate_to(&to).overwrite().dry_run().run().unwrap();
    assert_eq!((report.copied, report.there), (3, 1));
    assert_eq!(to.get::<String>("value").unwrap().as_deref(), Some("other"));

    let report = from.migrate_to(&to).overwrite().run().unwrap();
    assert_eq!((report.looked_at, report.copied, report.there), (4, 3, 1));
    let lies = dump(&to, "b:");
    assert!(lies["same"].ends[1].unwrap() > HOUR, "it was left as it was");
    assert!(lies["value"].ends[1].unwrap() <= HOUR);
    assert_eq!(to.get::<String>("value").unwrap().as_deref(), Some("value"));
    assert!(lies["tags"].tags.contains("t") && !lies["tags"].tags.contains("u"));
    assert_eq!(from.migrate_to(&to).overwrite().run().unwrap().there, 4);
}

#[test]
fn a_pattern_sees_keys_without_the_namespace() {
    let (from, to) = (over(memory(), "user"), over(memory(), "b"));
    for key in ["user:1", "user:2", "users", "post:1"] {
        from.set(key, key).unwrap();
    }
    assert_eq!(from.migrate_to(&to).pattern("user:*").run().unwrap().copied, 2);
    assert_eq!(to.keys("*").unwrap(), ["user:1", "user:2"]);
    let regex = Pattern::regex("^post:[0-9]$").unwrap();
    assert_eq!(from.migrate_to(&to).pattern(regex).run().unwrap().copied, 1);
    let refused = from.migrate_to(&to).pattern("[").run().unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::InvalidPattern);
}

#[test]
fn settings_out_of_range_are_refused_before_anything_is_asked() {
    let (source, target) = (Faulty::new(), Faulty::new());
    let (from, to) = (over(source.clone(), "a"), over(target.clone(), "b"));
    let refused = |migration: yokedcache::Migration<'_>| {
        assert_eq!(migration.run().unwrap_err().error().kind(), ErrorKind::InvalidArgument);
    };
    refused(from.migrate_to(&to).batch_size(0));
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused(from.migrate_to(&to).rate_limit(rate));
    }
    assert_eq!((source.calls(), target.calls()), (vec![], vec![]));
}

#[test]
fn a_source_that_cannot_list_keys_is_refused_before_the_target_is_asked() {
    let (source, target) = (Faulty::new(), Faulty::new());
    source.change_can(|can| can.scan = false);
    let (from, to) = (over(source.clone(), "a"), over(target.clone(), "b"));
    from.set("k", &1).unwrap();
    for refused in [
        from.migrate_to(&to).run().unwrap_err(),
        from.migrate_to(&to).dry_run().verify().run().unwrap_err(),
    ] {
        assert_eq!(refused.error().kind(), ErrorKind::Unsupported);
        assert!(refused.to_string().contains("faulty"), "{refused}");
    }
    assert_eq!(target.calls(), Vec::<String>::new());
}

#[test]
fn a_dry_run_writes_nothing_and_counts_what_would_be() {
    let target = Faulty::new();
    let (from, to) = (over(memory(), "a"), over(target.clone(), "b"));
    fill(&from, 100);
    to.set("key:0000000", "there").unwrap();
    target.calls();
    let report = from.migrate_to(&to).dry_run().run().unwrap();
    assert!(report.dry_run);
    assert_eq!((report.looked_at, report.copied, report.there), (100, 99, 1));
    let calls = target.calls();
    assert!(!calls.is_empty() && calls.iter().all(|call| call == "look"), "{calls:?}");
    assert_eq!(to.keys("*").unwrap(), ["key:0000000"]);
    let report = from.migrate_to(&to).run().unwrap();
    assert_eq!((report.copied, report.there), (99, 1), "no right was taken, either");
}

#[test]
fn a_target_without_tags_or_rights_takes_the_rest() {
    let (from, to) = (over(memory(), "a"), over(Sorted::new(), "b"));
    from.entry("tagged").tag("t").set(&1).unwrap();
    from.entry("plain").ttl(HOUR).set("p").unwrap();
    from.set("there", "older").unwrap();
    to.set("there", "newer").unwrap();
    let report = from.migrate_to(&to).run().unwrap();
    assert_eq!((report.copied, report.there, report.skipped), (1, 1, 1));
    let (key, why) = (&report.skips[0].key, &report.skips[0].why);
    assert!(key == "tagged" && matches!(why, Skip::Unsupported(why) if why.contains("tags")));
    assert_eq!(to.keys("*").unwrap(), ["plain", "there"]);
    assert!(matches!(to.ttl("plain").unwrap(), Some(Ttl::After(left)) if left <= HOUR));
    assert_eq!(to.get::<String>("there").unwrap().as_deref(), Some("newer"));
    let report = from.migrate_to(&to).dry_run().run().unwrap();
    assert_eq!((report.there, report.skipped), (2, 1), "a dry run knows, too");
    from.migrate_to(&to).overwrite().run().unwrap();
    assert_eq!(to.get::<String>("there").unwrap().as_deref(), Some("older"));
}

#[test]
fn values_too_large_for_the_target_are_left_out() {
    let small = Memory::builder().max_bytes(5_000).build().unwrap();
    let (from, to) = (over(memory(), "a"), over(small, "b"));
    from.set("large", &"x".repeat(10_000)).unwrap();
    from.set("small", "s").unwrap();
    let report = from.migrate_to(&to).run().unwrap();
    assert_eq!((report.copied, report.reasons["too_large"]), (1, 1));
    assert_eq!(to.keys("*").unwrap(), ["small"]);

    let target = Faulty::new();
    target.change_can(|can| can.max_value = Some(100));
    let to = over(target, "b");
    let report = from.migrate_to(&to).run().unwrap();
    assert_eq!((report.copied, report.reasons["too_large"]), (1, 1));
}

#[test]
fn a_key_too_long_under_the_new_prefix_is_left_out() {
    let (from, to) = (over(memory(), "a"), over(memory(), &"p".repeat(1_000)));
    from.set("k".repeat(65_000), &1).unwrap();
    from.set("k", &1).unwrap();
    let report = from.migrate_to(&to).run().unwrap();
    assert_eq!((report.copied, report.reasons["key"]), (1, 1));
}

#[test]
fn times_to_live_go_on_where_they_were() {
    let clock = ManualClock::new();
    let memory = || Memory::builder().clock(&clock).build().unwrap();
    let build = |prefix| Cache::builder(memory()).key_prefix(prefix).clock(&clock).build().unwrap();
    let (from, to) = (build("a"), build("b"));
    let seconds = Duration::from_secs;
    from.entry("k").ttl(seconds(100)).set(&1).unwrap();
    from.entry("over").ttl(seconds(10)).set(&1).unwrap();
    from.entry("stale").ttl(seconds(20)).stale_for(seconds(50)).set(&1).unwrap();
    from.entry("gone").ttl(seconds(20)).stale_for(seconds(5)).set(&1).unwrap();
    from.entry("ever").set(&1).unwrap();
    from.entry("slides").sliding(seconds(60)).set(&1).unwrap();
    clock.advance(seconds(40));
    let report = from.migrate_to(&to).verify().run().unwrap();
    assert!(report.is_complete() && report.copied == 4, "{report:?}");
    let lies = dump(&to, "b:");
    let ends = |key: &str| lies[key].ends.map(|end| end.map(|end| end.as_secs()));
    assert_eq!(ends("k"), [None, Some(60), None]);
    assert_eq!(ends("stale"), [Some(0), Some(30), None]);
    assert_eq!(ends("ever"), [None, None, None]);
    assert_eq!(ends("slides"), [None, None, Some(20)]);
    assert!(lies["stale"].stale);
    assert_eq!(to.get::<i32>("stale").unwrap(), None, "to plain reads it is absent");
    clock.advance(seconds(30));
    assert!(!dump(&to, "b:").contains_key("stale"), "and gone when its grace is over");
}

#[test]
fn it_tells_how_far_it_is_and_stops_when_told() {
    let (from, to) = (over(memory(), "a"), over(memory(), "b"));
    fill(&from, 1_000);
    let told = RefCell::new(Vec::new());
    let migration = from.migrate_to(&to).batch_size(100).verify();
    let report = migration
        .on_progress(|progress| {
            told.borrow_mut().push((progress.phase, progress.looked_at, progress.total));
            ControlFlow::Continue(())
        })
        .run()
        .unwrap();
    assert!(report.is_complete());
    let told = told.into_inner();
    let of = |phase| told.iter().filter(move |told| told.0 == phase);
    for phase in [Phase::Copying, Phase::Verifying] {
        let counts: Vec<u64> = of(phase).map(|told| told.1).collect();
        assert!(counts.len() >= 10 && counts.is_sorted(), "{phase:?} {counts:?}");
        assert_eq!(*counts.last().unwrap(), 1_000);
    }
    assert!(told.iter().all(|told| told.2 == Some(1_000)));

    let to = over(memory(), "b");
    let report = from
        .migrate_to(&to)
        .batch_size(100)
        .verify()
        .on_progress(|progress| match progress.looked_at {
            300.. => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
        .run()
        .unwrap();
    assert!(report.stopped && !report.is_complete() && report.verified.is_none());
    assert_eq!((report.looked_at, report.copied), (300, 300));
    let report = from.migrate_to(&to).verify().run().unwrap();
    assert_eq!((report.copied, report.there), (700, 300), "the next one goes on");
    assert!(report.is_complete());
}

#[test]
fn a_flag_stops_it_in_the_middle_of_a_wait() {
    let (from, to) = (over(memory(), "a"), over(memory(), "b"));
    fill(&from, 100);
    let stop = &AtomicBool::new(false);
    let (tell, told) = channel();
    let begun = Instant::now();
    let report = std::thread::scope(|scope| {
        scope.spawn(move || {
            told.recv().unwrap();
            std::thread::sleep(Duration::from_millis(300));
            stop.store(true, Ordering::Relaxed);
        });
        let migration = from.migrate_to(&to).rate_limit(0.01).on_progress(|progress| {
            if progress.copied == 1 {
                // Nobody listens any more at its end.
                let _ = tell.send(());
            }
            ControlFlow::Continue(())
        });
        migration.stop_flag(stop).run().unwrap()
    });
    assert!(report.stopped && report.copied == 1);
    assert!(begun.elapsed() < Duration::from_secs(30), "the next is due after a hundred");
}

#[test]
fn a_rate_is_kept_on_average_and_evenly() {
    let from = over(memory(), "a");
    fill(&from, 300);
    in_time(|| {
        let (to, last) = (over(memory(), "b"), Cell::new(0));
        let report = from
            .migrate_to(&to)
            .rate_limit(200.0)
            .on_progress(|progress| {
                let before = last.replace(progress.looked_at);
                assert!(progress.looked_at - before <= 20, "no bursts");
                // One batch may be ahead of its time.
                let most = progress.elapsed.as_secs_f64() * 200.0 + 20.0;
                assert!(progress.looked_at as f64 <= most, "{progress:?}");
                ControlFlow::Continue(())
            })
            .run()
            .unwrap();
        assert_eq!(report.copied, 300);
        let seconds = report.elapsed.as_secs_f64();
        assert!(seconds >= 1.4, "{seconds}");
        (seconds < 3.0).then_some(())
    });
}

#[test]
fn large_values_make_small_batches() {
    let target = Faulty::new();
    let (from, to) = (over(memory(), "a"), over(target.clone(), "b"));
    for n in 0..100 {
        from.set_bytes(format!("{n}"), vec![7; 1 << 20]).unwrap();
    }
    assert_eq!(from.migrate_to(&to).run().unwrap().bytes, 100 << 20);
    let largest = target.largest_batches();
    assert!(largest[0] <= 64 && largest[1..].iter().all(|keys| *keys <= 16), "{largest:?}");
}

#[test]
fn a_report_is_json() {
    let (from, to) = (over(memory(), "a"), over(Sorted::new(), "b"));
    from.entry("tagged").tag("t").set(&1).unwrap();
    let report = from.migrate_to(&to).verify().run().unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["skipped"], 1);
    assert_eq!(json["skips"][0]["why"]["reason"], "unsupported");
    assert_eq!(json["reasons"]["unsupported"], 1);
    assert_eq!(json["verified"]["differences"][0]["what"], "missing");
}
