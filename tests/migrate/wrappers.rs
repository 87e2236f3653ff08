//! Wrappers as sides: what is copied is what lasts, and nothing older.

use std::time::Duration;

use super::faulty::{Faulty, away};
use super::fixture::{memory, over};
use yokedcache::{BreakerState, Cache, ErrorKind, Fallback, FaultKind};

const KEYS: u64 = 1_000;

fn numbers(cache: &Cache) {
    for n in 0..KEYS {
        cache.set(format!("{n}"), &n).unwrap();
    }
}

fn fallback(first: &Faulty, reset: Duration) -> Fallback {
    Fallback::builder(first.clone(), memory()).reset_timeout(reset).build().unwrap()
}

#[test]
fn a_secondary_that_stands_in_is_no_source() {
    let first = Faulty::new();
    let from = over(fallback(&first, Duration::from_secs(60)), "a");
    numbers(&from);
    let mut reads = 0;
    first.hooked(move |call| {
        reads += u32::from(call == "look");
        if reads > 3 { Err(away()) } else { Ok(()) }
    });
    let failed = from.migrate_to(&over(memory(), "b")).batch_size(100).run().unwrap_err();
    assert_eq!(failed.error().kind(), ErrorKind::Unavailable);
    assert_eq!((failed.report().copied, failed.report().skipped), (300, 0));
    // It stands in from the beginning now.
    let failed = from.migrate_to(&over(memory(), "b")).run().unwrap_err();
    assert_eq!(failed.error().kind(), ErrorKind::Unavailable);
    let mut file = Vec::new();
    let failed = from.export(&mut file).run().unwrap_err();
    assert_eq!(failed.error().kind(), ErrorKind::Unavailable);
    let cut = over(memory(), "c").import(&file[..]).run().unwrap_err();
    assert_eq!(cut.fault().unwrap().kind, FaultKind::CutOff);
}

#[test]
fn a_secondary_that_stands_in_is_no_target() {
    let (from, first) = (over(memory(), "a"), Faulty::new());
    numbers(&from);
    let fallback = fallback(&first, Duration::from_millis(50));
    let to = over(fallback.clone(), "b");
    let mut writes = 0;
    first.hooked(move |call| {
        writes += u32::from(call == "write");
        if writes > 2 { Err(away()) } else { Ok(()) }
    });
    let failed = from.migrate_to(&to).batch_size(100).run().unwrap_err();
    assert_eq!(failed.error().kind(), ErrorKind::Unavailable);
    let copied = failed.report().copied;
    assert!(copied < KEYS, "{failed}");
    first.hooked(|_| Ok(()));
    while fallback.state() != BreakerState::Closed {
        let _ = to.exists("warm");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(to.keys("*").unwrap().len() as u64 >= copied, "what was counted is there");
    let report = from.migrate_to(&to).verify().run().unwrap();
    assert!(report.is_complete() && report.copied + report.there == KEYS, "{report:?}");
}

#[test]
#[cfg(feature = "memcached")]
fn a_near_tier_does_not_answer_for_a_source() {
    use super::fixture::HOUR;
    use super::support::MemcachedServer;
    use yokedcache::{Memcached, Switch, Tiered};

    let server = MemcachedServer::start(&[]);
    let far = || Memcached::open(server.url()).unwrap();
    let switch = Switch::new(Tiered::builder(memory(), far()).near_ttl(HOUR).build().unwrap());
    let (from, other) = (over(switch.clone(), "a"), over(far(), "a"));
    other.entry("k").tag("old").set("older").unwrap();
    let read = || from.get::<String>("k").unwrap().unwrap();
    assert_eq!(read(), "older");
    other.entry("k").tag("new").set("newer").unwrap();
    assert_eq!(read(), "older", "for as long as was agreed");

    let to = over(memory(), "b");
    assert_eq!(from.migrate_to(&to).run().unwrap().copied, 1);
    assert_eq!(to.get::<String>("k").unwrap().as_deref(), Some("newer"));
    let mut file = Vec::new();
    from.export(&mut file).run().unwrap();
    assert!(String::from_utf8(file).unwrap().contains("newer"));
    switch.switch_to_warm(memory(), Duration::from_secs(5)).unwrap();
    assert_eq!(read(), "newer");
}
