//! When the primary is given up, and when it is tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use yokedcache::backend::{
    Backend, Call, Change, CodecId, Entry, Life, Name, Read, Want, When, Write, Wrote,
};
use yokedcache::{BreakerState, Cache, Cause, ErrorKind, Fallback, Lookup, Memory};

use crate::faulty::{Faulty, Mode};
use crate::{SOON, Site, eventually, settings};

fn is_down(lookup: &Lookup<String>) -> bool {
    matches!(lookup, Lookup::Miss(Cause::Down))
}

#[test]
fn so_many_failures_in_a_row_open_it_and_the_last_is_answered_by_the_secondary() {
    let site = Site::new(|settings| settings.failure_threshold(5));
    site.primary.down();
    for _ in 0..4 {
        assert!(is_down(&site.cache.lookup("k").unwrap()));
        assert_eq!(site.fallback.state(), BreakerState::Closed);
    }
    assert!(!is_down(&site.cache.lookup("k").unwrap()), "the secondary knows that there is none");
    assert_eq!(site.fallback.state(), BreakerState::Open);
    assert_eq!(site.primary.calls().len(), 5);
    site.cache.set("k", "v").unwrap();
    assert_eq!(site.get("k").as_deref(), Some("v"));
    assert_eq!(site.primary.calls(), [""; 0], "it is left alone");
}

#[test]
fn a_value_stored_by_the_call_that_opens_it_is_kept() {
    let site = Site::new(|settings| settings.failure_threshold(2).reset_timeout(SOON));
    site.primary.put("k", "old");
    site.primary.set(Mode::Down(ErrorKind::Timeout));
    assert!(
        !site.cache.set("k", "new").unwrap(),
        "below the threshold the answer is the primary's"
    );
    assert!(site.cache.set("k", "newer").unwrap());
    assert_eq!(site.get("k").as_deref(), Some("newer"));
    site.recovers();
    assert_eq!(site.get("k"), None, "the older value does not come back");
}

#[test]
fn a_write_of_a_batch_is_not_repeated_after_a_later_one_to_its_key() {
    let site = Site::new(|settings| settings);
    let key = Name::new("k", 0);
    let put = Change::Put(Entry::new("1", CodecId::INT), Life::FOREVER);
    // The first write of the batch fails, the second does not.
    site.primary.set(Mode::First);
    let mut out = [Wrote::Unanswered, Wrote::Unanswered];
    let remove = Write::new(key, When::Always, Change::Remove);
    let mut batch = [Write::new(key, When::Always, put), remove];
    site.fallback.write(Call::Unlimited, &mut batch, &mut out).unwrap();
    assert!(matches!(out, [Wrote::Failed(_), Wrote::Not(_)]), "{out:?}");
    assert_eq!(site.fallback.state(), BreakerState::Open);
    assert_eq!(site.get("k"), None);
}

#[test]
fn only_what_says_that_the_primary_was_not_reached_counts() {
    let site = Site::new(|settings| settings.failure_threshold(2));
    for kind in [ErrorKind::Full, ErrorKind::Denied, ErrorKind::Backend, ErrorKind::WrongType] {
        site.primary.set(Mode::Down(kind));
        for _ in 0..5 {
            let _ = site.cache.get::<String>("k");
            let _ = site.cache.set("k", "v");
            assert_eq!(site.cache.delete("k").unwrap_err().kind(), kind);
            assert_eq!(site.cache.invalidate_pattern("k*").unwrap_err().kind(), kind);
        }
        assert_eq!((site.fallback.state(), site.fallback.pending()), (BreakerState::Closed, 0));
    }
}

#[test]
fn an_answer_in_between_starts_the_count_anew() {
    let site = Site::new(|settings| settings.failure_threshold(3));
    for _ in 0..4 {
        site.primary.down();
        site.get("k");
        site.get("k");
        site.primary.set(Mode::Down(ErrorKind::Full));
        site.get("k");
    }
    assert_eq!(site.fallback.state(), BreakerState::Closed);
    site.primary.down();
    (0..3).for_each(|_| drop(site.get("k")));
    assert_eq!(site.fallback.state(), BreakerState::Open);
}

#[test]
fn a_failed_slot_counts_and_the_others_keep_their_answers() {
    let site = Site::new(|settings| settings.failure_threshold(2));
    site.cache.set_many([("a", "1"), ("b", "2")]).unwrap();
    site.primary.set(Mode::Ending("b"));
    for state in [BreakerState::Closed, BreakerState::Open] {
        let got = site.cache.get_many::<String>(["a", "b"]).unwrap();
        assert_eq!(got, [Some("1".into()), None]);
        assert_eq!(site.fallback.state(), state);
    }
}

#[test]
fn a_call_that_comes_too_late_says_nothing_about_the_primary() {
    let site = Site::new(|settings| settings);
    let mut out = [Read::Unanswered];
    let past = Call::Until(Instant::now());
    let error = site.fallback.read(past, &[Name::new("k", 0)], &Want::VALUE, &mut out).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(site.fallback.state(), BreakerState::Closed);
    assert_eq!(site.primary.calls(), [""; 0]);
}

#[test]
fn the_secondary_has_time_left() {
    for (is_remote, part) in [(false, 0.9), (true, 0.5)] {
        let primary = Faulty::new();
        let secondary =
            Faulty::over(Memory::builder().build().unwrap(), |can| can.shared = is_remote);
        let fallback = Fallback::builder(primary.clone(), secondary).build().unwrap();
        let read = |call| {
            let mut out = [Read::Unanswered];
            fallback.read(call, &[Name::new("k", 0)], &Want::VALUE, &mut out).unwrap();
        };
        read(Call::Unlimited);
        assert_eq!(primary.last_call(), Call::Unlimited);
        let whole = Duration::from_secs(1000);
        read(Call::Within(whole));
        let Ok(Some(left)) = primary.last_call().left() else { panic!("it has a limit") };
        let (least, most) = (whole.mul_f64(part - 0.05), whole.mul_f64(part));
        assert!(left <= most && left > least, "{left:?}");
    }
}

#[test]
fn a_trial_that_fails_leaves_it_open_and_the_next_closes_it() {
    let site = Site::new(|settings| settings.reset_timeout(SOON));
    site.primary.put("k", "v");
    site.fails();
    site.primary.calls();
    eventually("it is tried three times", || site.primary.asked("~probe") >= 3);
    assert_ne!(site.fallback.state(), BreakerState::Closed);
    site.recovers();
    assert_eq!(site.get("k").as_deref(), Some("v"));
}

#[test]
fn a_primary_that_panics_when_tried_is_tried_again() {
    let site = Site::new(|settings| settings.reset_timeout(SOON));
    site.fails();
    site.primary.calls();
    site.primary.set(Mode::Panics);
    eventually("it is tried twice", || site.primary.asked("~probe") >= 2);
    site.recovers();
    assert_eq!(site.fallback.pending(), 0);
}

#[test]
fn a_primary_that_panics_in_the_middle_of_what_it_missed_is_told_again() {
    let site = Site::new(|settings| settings.reset_timeout(SOON));
    site.primary.put("k", "old");
    site.fails();
    site.cache.delete("k").unwrap();
    let panicked = Arc::new(AtomicBool::new(false));
    let once = panicked.clone();
    site.primary.before(move |what| {
        if what.starts_with("remove") && !once.swap(true, Ordering::Relaxed) {
            panic!("in the middle");
        }
    });
    site.recovers();
    assert!(panicked.load(Ordering::Relaxed));
    assert_eq!(site.get("k"), None);
}

#[test]
fn openings_and_closings_are_told_in_order() {
    let site = Site::new(|settings| settings.reset_timeout(SOON));
    for _ in 0..3 {
        site.fails();
        site.recovers();
    }
    eventually("six events", || site.told().len() == 6);
    for pair in site.told().chunks(2) {
        assert!(pair[0].contains("given up") && pair[1].contains("serves again"), "{pair:?}");
        assert!(pair[1].contains("; 1 invalidations"), "{pair:?}");
    }
}

#[test]
fn dropping_the_last_handle_in_an_outage_ends_the_thread_and_lets_go() {
    let site = Site::new(|settings| settings);
    site.fails();
    let (primary, began) = (site.primary.weak(), Instant::now());
    drop(site);
    assert!(primary.upgrade().is_none(), "nobody holds the primary any more");
    assert!(began.elapsed() < Duration::from_secs(60), "the thread waits for an hour by itself");
}

#[test]
fn an_event_handler_may_hold_the_last_handle() {
    let primary = Faulty::new();
    let fallback = settings(&primary).reset_timeout(SOON).build().unwrap();
    let weak = primary.weak();
    let held = Arc::new(std::sync::Mutex::new(None::<Cache>));
    let theirs = held.clone();
    let cache = Cache::builder(fallback)
        .on_event(move |event| {
            if matches!(event, yokedcache::Event::Closed { .. }) {
                drop(theirs.lock().unwrap().take());
            }
        })
        .build()
        .unwrap();
    primary.down();
    cache.delete("k").unwrap();
    *held.lock().unwrap() = Some(cache);
    primary.up();
    drop(primary);
    eventually("the last handle is gone", || weak.upgrade().is_none());
}

#[test]
fn a_closed_cache_tries_no_more() {
    let site = Site::new(|settings| settings.reset_timeout(SOON));
    site.primary.down();
    site.fails();
    site.cache.close();
    site.primary.calls();
    site.primary.up();
    std::thread::sleep(SOON * 6);
    assert_eq!(site.primary.calls(), [""; 0]);
    assert_eq!(site.fallback.state(), BreakerState::Open);
}

#[test]
fn settings_out_of_range_are_refused() {
    let settings = || settings(&Faulty::new());
    for builder in [
        settings().failure_threshold(0),
        settings().journal_limit(0),
        settings().reset_timeout(Duration::ZERO),
        settings().secondary_ttl(Duration::ZERO),
        settings().trial_timeout(Duration::ZERO),
    ] {
        assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    let nothing = Fallback::chain(Faulty::new(), Vec::new());
    assert_eq!(nothing.unwrap_err().kind(), ErrorKind::InvalidArgument);
}
