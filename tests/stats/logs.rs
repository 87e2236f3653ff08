//! A fault that goes on does not fill the log.

use std::cell::RefCell;
use std::sync::Once;
use std::time::Duration;

use log::{Level, Log, Metadata, Record};
use yokedcache::{Cache, ErrorKind, ManualClock, Memory};

use super::recorder::Recorder;

thread_local! {
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what each thread logs for itself.
struct Keeper;

impl Log for Keeper {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &Record<'_>) {
        let _ = LINES.try_with(|lines| {
            lines.borrow_mut().push((record.level(), record.args().to_string()));
        });
    }
    fn flush(&self) {}
}

/// What this thread logs meanwhile.
fn logged(action: impl FnOnce()) -> Vec<(Level, String)> {
    static SET: Once = Once::new();
    SET.call_once(|| {
        log::set_logger(&Keeper).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
    LINES.take();
    action();
    LINES.take()
}

#[test]
fn an_outage_is_one_line_and_its_end_another_that_counts() {
    let backend = Recorder::new();
    let cache = Cache::builder(backend.clone()).build().unwrap();
    let lines = logged(|| {
        backend.set_failing(Some(ErrorKind::Unavailable));
        for _ in 0..500 {
            cache.get::<i32>("k").unwrap();
            cache.set("k", &1).unwrap();
        }
        backend.set_failing(None);
        (0..500).for_each(|_| _ = cache.get::<i32>("k").unwrap());
    });
    let [(Level::Warn, first), (Level::Info, last)] = &lines[..] else { panic!("{lines:?}") };
    assert!(first.contains("memory fails: "), "{first}");
    assert_eq!(last, "yokedcache: the backend answers again after 1000 failed calls");
}

#[test]
fn a_backend_that_fails_every_other_call_does_not_fill_the_log() {
    let backend = Recorder::new();
    let cache = Cache::builder(backend.clone()).build().unwrap();
    let lines = logged(|| {
        for call in 0..1000 {
            backend.set_failing((call % 2 == 0).then_some(ErrorKind::Unavailable));
            cache.get::<i32>("k").unwrap();
        }
    });
    // One pair each ten seconds.
    assert!(lines.len() <= 4, "{} lines", lines.len());
}

#[test]
fn a_loader_that_fails_again_and_again_is_one_line_until_one_succeeds() {
    let clock = ManualClock::new();
    let memory = Memory::builder().clock(&clock).build().unwrap();
    let cache = Cache::builder(memory).build().unwrap();
    let minute = Duration::from_secs(60);
    for key in 0..100 {
        cache.entry(key.to_string()).ttl(minute).stale_for(minute).set(&1).unwrap();
    }
    clock.advance(minute);
    let entry = |key: i32| cache.entry(key.to_string()).ttl(minute).stale_for(minute);
    let lines = logged(|| {
        for key in 0..100 {
            assert_eq!(entry(key).get_or_load(|| Err("no")).unwrap(), Ok(1));
        }
        assert_eq!(cache.get_or_compute("other", || 2).unwrap(), 2);
    });
    let [(Level::Warn, first), (Level::Info, last)] = &lines[..] else { panic!("{lines:?}") };
    assert!(first.contains("a loader failed"), "{first}");
    assert_eq!(last, "yokedcache: loaders succeed again after 100 failed ones");
}

#[test]
fn a_listener_that_panics_each_time_is_one_line() {
    let panics = |_: &str, _: &_, _| panic!("a listener of this test");
    let memory = Memory::builder().max_size(1).eviction_listener(panics).build().unwrap();
    let cache = Cache::builder(memory).build().unwrap();
    let lines = logged(|| (0..50).for_each(|key| _ = cache.set(key.to_string(), &key).unwrap()));
    let [(Level::Error, line)] = &lines[..] else { panic!("{lines:?}") };
    assert!(line.contains("eviction listener"), "{line}");
}

#[test]
fn values_that_cannot_be_stored_after_a_load_are_one_line() {
    let backend = Recorder::new();
    let cache = Cache::builder(backend.clone()).build().unwrap();
    let lines = logged(|| {
        for key in 0..50 {
            backend.set_failing(None);
            let load = || {
                backend.set_failing(Some(ErrorKind::Unavailable));
                key
            };
            assert_eq!(cache.get_or_compute(key.to_string(), load).unwrap(), key);
        }
    });
    let unstored = lines.iter().filter(|(_, line)| line.contains("a loaded value was not stored"));
    assert_eq!(unstored.count(), 1, "{lines:?}");
}
