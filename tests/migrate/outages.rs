//! Sides that fail in the middle, processes that are stopped or killed, and what a second run does.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::faulty::{Faulty, away};
use super::fixture::{assert_same, dump, fill, memory, over};
use super::support::{Again, Plan, Proxy, RedisServer, orders, tell};
use yokedcache::{Cache, Error, ErrorKind, Redis};

const KEYS: usize = 2_000;

fn redis(url: &str, prefix: &str) -> Cache {
    let redis = Redis::builder(url).timeout(Duration::from_secs(10)).build().unwrap();
    over(redis, prefix)
}

#[test]
fn a_target_that_goes_away_is_an_error_with_counts_and_the_next_run_completes() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    let (from, to) = (over(memory(), "a"), redis(&proxy.url(), "b"));
    fill(&from, KEYS);
    let failed = from
        .migrate_to(&to)
        .batch_size(100)
        .on_progress(|progress| {
            if progress.looked_at == 600 {
                proxy.set(Plan::Refuse);
                proxy.drop_connections();
            }
            ControlFlow::Continue(())
        })
        .run()
        .unwrap_err();
    assert!(failed.error().is_outage(), "{failed}");
    assert_eq!((failed.report().looked_at, failed.report().copied), (600, 600));
    assert!(failed.to_string().contains("600 of them copied"), "{failed}");
    let as_error: Error = failed.into();
    assert!(as_error.is_outage());

    proxy.set(Plan::Pass);
    let report = from.migrate_to(&to).verify().run().unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.there, report.copied), (600, KEYS as u64 - 600));
    assert_same(&dump(&from, "a:"), &dump(&to, "b:"), Duration::from_secs(60));
}

#[test]
fn a_short_outage_of_either_side_costs_time_and_nothing_else() {
    for source_fails in [true, false] {
        let (source, target) = (Faulty::new(), Faulty::new());
        let (from, to) = (over(source.clone(), "a"), over(target.clone(), "b"));
        fill(&from, KEYS);
        let failing = if source_fails { source } else { target };
        let mut calls = 0;
        failing.hooked(move |_| {
            calls += 1;
            if calls % 7 == 0 && calls < 25 { Err(away()) } else { Ok(()) }
        });
        let report = from.migrate_to(&to).batch_size(500).run().unwrap();
        assert_eq!(report.looked_at, report.copied + report.there, "{report:?}");
        assert!(report.looked_at >= KEYS as u64);
        assert_same(&dump(&from, "a:"), &dump(&to, "b:"), Duration::from_secs(60));
    }
}

#[test]
fn a_refused_login_is_not_tried_again() {
    let target = Faulty::new();
    let (from, to) = (over(memory(), "a"), over(target.clone(), "b"));
    fill(&from, 10);
    target.hooked(|_| Err(Error::new(ErrorKind::Denied, "not you")));
    let failed = from.migrate_to(&to).run().unwrap_err();
    assert_eq!((failed.error().kind(), failed.report().looked_at), (ErrorKind::Denied, 0));
    let calls = target.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
}

#[test]
fn a_server_without_room_stops_it() {
    let server = RedisServer::start(&[("maxmemory", "3mb"), ("maxmemory-policy", "noeviction")]);
    let (from, to) = (over(memory(), "a"), redis(server.url(), "b"));
    for n in 0..5_000 {
        from.set(format!("{n}"), &"x".repeat(1_000)).unwrap();
    }
    let failed = from.migrate_to(&to).run().unwrap_err();
    assert_eq!(failed.error().kind(), ErrorKind::Full);
    assert!(failed.report().copied > 100, "{failed}");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).expect_ok();
    let report = from.migrate_to(&to).verify().run().unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert!(report.there >= failed.report().copied);
}

#[test]
fn a_resumed_run_reads_no_values_of_what_is_there() {
    let source = Faulty::new();
    let (from, to) = (over(source.clone(), "a"), over(memory(), "b"));
    fill(&from, KEYS);
    from.migrate_to(&to).run().unwrap();
    source.calls();
    let report = from.migrate_to(&to).run().unwrap();
    assert_eq!(report.there, KEYS as u64);
    let calls = source.calls();
    assert!(!calls.contains(&"read".into()) && calls.len() <= 3, "{calls:?}");
}

const URL: &str = "YC_MIGRATE_URL";

/// A process that migrates slowly, to be killed.
#[test]
#[ignore = "is started by another test"]
fn child() {
    let Ok(url) = std::env::var(URL) else { return };
    let _orders = orders();
    let (from, to) = (redis(&url, "a"), redis(&url, "b"));
    let said = Cell::new(false);
    let migration = from.migrate_to(&to).rate_limit(2_000.0).on_progress(|progress| {
        if progress.copied >= 500 && !said.replace(true) {
            tell("under way");
            // It is killed before it is done, however fast it is.
            loop {
                std::thread::park();
            }
        }
        ControlFlow::Continue(())
    });
    let _ = migration.run();
    tell("done");
}

#[test]
fn after_a_process_was_killed_the_next_one_completes() {
    let server = RedisServer::start(&[]);
    let (from, to) = (redis(server.url(), "a"), redis(server.url(), "b"));
    fill(&from, KEYS);
    let (said, heard) = channel();
    let mut child = Again::start("outages::child", &[(URL, server.url())], move |line| {
        let _ = said.send(line);
    });
    let first = heard.recv_timeout(Duration::from_secs(120)).unwrap();
    assert_eq!(first.as_deref(), Some("under way"));
    child.kill();
    let there = dump(&to, "b:");
    assert!((500..KEYS - 100).contains(&there.len()), "{}", there.len());
    // As if it had been killed in the middle of a batch: others are kept from a key for a while.
    let missing = dump(&from, "a:").into_keys().find(|key| !there.contains_key(key)).unwrap();
    let (name, right) = (format!("b:{missing}"), [&[0xC1, b'P'][..], &[7; 16]].concat());
    server.command(&[b"SET", name.as_bytes(), &right, b"PX", b"5000"]).expect_ok();

    let report = from.migrate_to(&to).verify().run().unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.there, report.skipped), (there.len() as u64, 0));
    assert_same(&dump(&from, "a:"), &dump(&to, "b:"), Duration::from_secs(60));
}

#[test]
fn a_target_that_hangs_is_asked_once_for_a_batch() {
    for overwrite in [false, true] {
        let target = Faulty::new();
        let (from, to) = (over(memory(), "a"), over(target.clone(), "b"));
        for n in 0..300 {
            from.entry(format!("{n}")).tag(format!("own:{n}")).set(&n).unwrap();
        }
        target.hooked(|call| if call == "ask" { Err(away()) } else { Ok(()) });
        let migration = from.migrate_to(&to);
        let migration = if overwrite { migration.overwrite() } else { migration };
        assert!(migration.run().unwrap_err().error().is_outage());
        let asked = target.calls().iter().filter(|call| *call == "ask").count();
        assert_eq!(asked, 6, "the first time and five times again");
    }
}
