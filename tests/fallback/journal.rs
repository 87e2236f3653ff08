//! What is noted when there is too much of it, and when the process dies.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use yokedcache::{BreakerState, ErrorKind, Fallback};

use crate::faulty::{Faulty, Mode};
use crate::{SOON, Site, eventually, settings};

/// A path of its own, removed in the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("yokedcache-fallback-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn an_item_is_noted_once() {
    let site = Site::new(|settings| settings);
    site.fails();
    for _ in 0..3 {
        site.cache.delete("a").unwrap();
        site.cache.invalidate_tags(["a", "b"]).unwrap();
        site.cache.invalidate_pattern("a*").unwrap();
        site.cache.set("a", "v").unwrap();
    }
    assert_eq!(site.fallback.pending(), 5);
}

#[test]
fn keys_are_told_together() {
    let site = Site::new(|settings| settings.reset_timeout(SOON));
    site.fails();
    site.cache.delete_many((0..600).map(|number| number.to_string())).unwrap();
    site.primary.calls();
    site.recovers();
    assert_eq!(site.primary.asked("remove"), 3, "601 of them, 256 at once");
}

#[test]
fn a_journal_that_overflows_clears_the_namespace_and_nothing_else() {
    let primary = Faulty::new();
    let fallback = settings(&primary).journal_limit(10).reset_timeout(SOON).build().unwrap();
    let events = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = events.clone();
    let cache = yokedcache::Cache::builder(fallback.clone())
        .key_prefix("shop")
        .on_event(move |event| told.lock().unwrap().push(event.to_string()))
        .build()
        .unwrap();
    (0..50).for_each(|number| primary.put(&format!("shop:{number}"), "old"));
    primary.put("other", "theirs");
    primary.down();
    for number in 0..40 {
        cache.delete(number.to_string()).unwrap();
        assert!(fallback.pending() <= 10);
    }
    primary.up();
    eventually("it closes", || fallback.state() == BreakerState::Closed);
    for number in 0..50 {
        assert_eq!(cache.get::<String>(number.to_string()).unwrap(), None);
    }
    assert!(primary.has("other"));
    let overflowed = |told: &String| told.contains("more was invalidated than can be noted");
    assert_eq!(events.lock().unwrap().iter().filter(|told| overflowed(told)).count(), 1);
}

#[test]
fn what_is_deleted_while_the_namespace_is_cleared_is_told_after_it() {
    let site = Site::new(|settings| settings.journal_limit(2).reset_timeout(SOON));
    let (arrived, (go_on, gone_on)) = (channel(), channel::<()>());
    let once = std::sync::Mutex::new(Some((arrived.0, gone_on)));
    site.primary.after(move |what| {
        let held = once.lock().unwrap().take_if(|_| what.starts_with("invalidate keys"));
        if let Some((arrived, gone_on)) = held {
            arrived.send(()).unwrap();
            let _ = gone_on.recv_timeout(Duration::from_secs(120));
        }
    });
    site.fails();
    site.cache.delete_many(["a", "b", "c"]).unwrap();
    site.primary.up();
    arrived.1.recv_timeout(Duration::from_secs(120)).unwrap();
    // Everything is gone, and somebody who has been under way for long stores something.
    site.primary.put("k", "late");
    site.cache.delete("k").unwrap();
    go_on.send(()).unwrap();
    site.closes();
    assert_eq!(site.get("k"), None);
}

#[test]
fn what_the_primary_refuses_for_good_is_carried_out_by_clearing() {
    let site = Site::new(|settings| settings.reset_timeout(SOON));
    site.primary.put("k", "old");
    site.fails();
    site.cache.delete("k").unwrap();
    let primary = site.primary.clone();
    site.primary.before(move |what| {
        let refused = what.starts_with("remove");
        primary.set(if refused { Mode::Down(ErrorKind::Backend) } else { Mode::Up });
    });
    site.recovers();
    assert!(site.primary.asked("invalidate keys ") >= 1);
    assert_eq!(site.get("k"), None);
}

/// A fallback that a process leaves when it is killed: nothing of it runs any more.
fn killed(site: Site) -> Faulty {
    let primary = site.primary.clone();
    // Its thread sleeps for an hour.
    std::mem::forget(site);
    primary
}

#[test]
fn a_process_that_dies_leaves_what_it_noted_to_the_next() {
    let place = Place::new();
    let site = Site::new(|settings| settings.journal_path(&place.0));
    for key in ["a", "b", "c", "dd", "e"] {
        site.cache.entry(key).tags([format!("of {key}")]).set("old").unwrap();
    }
    site.fails();
    site.cache.delete("a").unwrap();
    site.cache.set("b", "new").unwrap();
    site.cache.invalidate_tags(["of c"]).unwrap();
    site.cache.invalidate_pattern("d[c-e]").unwrap();
    let primary = killed(site);

    primary.up();
    let fallback = settings(&primary).journal_path(&place.0).build().unwrap();
    assert_eq!((fallback.state(), fallback.pending()), (BreakerState::Open, 5));
    std::thread::sleep(SOON * 4);
    assert_eq!(fallback.state(), BreakerState::Open, "no cache is known yet");
    let site = Site::over(primary, fallback);
    site.closes();
    for key in ["a", "b", "c", "dd"] {
        assert_eq!(site.get(key), None, "{key}");
    }
    assert_eq!(site.get("e").as_deref(), Some("old"));
    assert_eq!(place.text().lines().count(), 1, "all is carried out");
    eventually("both are told", || site.told().len() == 2);
    assert!(site.told()[0].contains("an earlier process"), "{:?}", site.told());
}

#[test]
fn what_a_dead_process_noted_is_told_before_the_primary_serves() {
    let place = Place::new();
    let site = Site::new(|settings| settings.journal_path(&place.0));
    site.primary.put("k", "old");
    site.fails();
    site.cache.delete("k").unwrap();
    let primary = killed(site);

    let fallback = settings(&primary).reset_timeout(SOON).journal_path(&place.0).build().unwrap();
    let site = Site::over(primary, fallback);
    assert_eq!(site.get("k"), None);
    std::thread::sleep(SOON * 4);
    assert_ne!(site.fallback.state(), BreakerState::Closed, "the primary is still down");
    site.recovers();
    assert_eq!(site.get("k"), None);
}

#[test]
fn an_overflow_survives_the_process() {
    let place = Place::new();
    let site = Site::new(|settings| settings.journal_path(&place.0).journal_limit(3));
    (0..9).for_each(|number| site.primary.put(&format!("k{number}"), "old"));
    site.fails();
    site.cache.delete_many((0..9).map(|number| format!("k{number}"))).unwrap();
    let primary = killed(site);
    primary.up();
    let fallback = settings(&primary).journal_path(&place.0).build().unwrap();
    let site = Site::over(primary, fallback);
    site.closes();
    assert_eq!(site.cache.keys("*").unwrap(), [""; 0]);
}

#[test]
fn a_broken_journal_is_refused() {
    let place = Place::new();
    std::fs::write(&place.0, "{\"yokedcache_journal\":1}\nnonsense\n").unwrap();
    let error = settings(&Faulty::new()).journal_path(&place.0).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let told = error.to_string();
    assert!(told.contains("line 2") && told.contains(place.0.to_str().unwrap()), "{told}");
    let device = settings(&Faulty::new()).journal_path("/dev/full").build().unwrap_err();
    assert_eq!(device.kind(), ErrorKind::InvalidArgument);
    let nowhere = settings(&Faulty::new()).journal_path(place.0.join("x")).build().unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_fallback_without_an_outage_leaves_an_empty_journal() {
    let place = Place::new();
    let site = Site::new(|settings| settings.journal_path(&place.0));
    site.cache.set("k", "v").unwrap();
    site.cache.delete("k").unwrap();
    drop(site);
    let fallback: Fallback = settings(&Faulty::new()).journal_path(&place.0).build().unwrap();
    assert_eq!((fallback.state(), fallback.pending()), (BreakerState::Closed, 0));
}
