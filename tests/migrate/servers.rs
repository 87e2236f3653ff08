//! What lies beside entries on a server, and what is asked of it.

use std::time::{Duration, Instant};

use super::fixture::{HOUR, dump, fill, memory, noise, over};
use super::support::{Plan, Proxy, RedisServer, in_time, wait_until};
use yokedcache::{Begun, Cache, Redis, Skip};

fn redis(server: &RedisServer, prefix: &str) -> Cache {
    over(Redis::open(server.url()).unwrap(), prefix)
}

#[test]
fn records_rights_and_other_programs_keys_stay_where_they_are() {
    let server = RedisServer::start(&[]);
    let (from, to) = (redis(&server, "a"), over(memory(), "b"));
    from.entry("tagged").ttl(HOUR).tags(["t", "u"]).set(&1).unwrap();
    // Somebody is loading a key, refreshing another, and has a lock.
    let slot = from.entry("loading").begin::<String>().unwrap();
    assert!(matches!(slot, Begun::Slot(_)));
    let lock = from.lock("lock", HOUR);
    let guard = lock.try_lock().unwrap();
    server.command(&["SET", "other:program", "x"]).expect_ok();
    server.command(&["RPUSH", "a:list", "x"]);
    server.command(&["SET", "a:foreign", "{\"a\":1}"]).expect_ok();
    server.command(&["SET", "a:damaged", "\u{c1}"]).expect_ok();
    server.command(&[&b"SET"[..], b"a:damaged", b"\xC1Vnothing"]).expect_ok();
    let report = from.migrate_to(&to).verify().run().unwrap();
    assert_eq!(report.skipped, 2, "{:?}", report.skips);
    let why = |key: &str| report.skips.iter().find(|skip| skip.key == key).map(|skip| &skip.why);
    assert_eq!(why("list"), Some(&Skip::Undecodable));
    assert_eq!(why("damaged"), Some(&Skip::Corrupt));
    assert_eq!(report.verified.as_ref().unwrap().unreadable, 2);
    let keys: Vec<String> =
        dump(&to, "b:").into_keys().filter(|key| !key.contains("lock")).collect();
    assert_eq!(keys, ["foreign", "tagged"]);
    let foreign: serde_json::Value = to.get("foreign").unwrap().unwrap();
    assert_eq!(foreign["a"], 1);
    drop(guard);
}

#[test]
fn a_dry_run_only_reads_on_a_server() {
    let server = RedisServer::start(&[]);
    let (from, to) = (over(memory(), "a"), redis(&server, "b"));
    fill(&from, 500);
    to.exists("warm").unwrap();
    server.reset_stats();
    assert_eq!(from.migrate_to(&to).dry_run().run().unwrap().copied, 500);
    let asked = server.commandstats();
    for writing in ["set", "evalsha", "eval", "del", "unlink", "pexpire", "expire"] {
        assert!(!asked.contains_key(writing), "{asked:?}");
    }
    assert_eq!(server.command(&["DBSIZE"]).int(), 0);
}

#[test]
fn an_entry_costs_a_server_as_much_as_two_writes() {
    let server = RedisServer::start(&[]);
    let (from, to) = (over(memory(), "a"), redis(&server, "b"));
    for n in 0..1_000 {
        from.entry(format!("{n}")).ttl(HOUR).set("v").unwrap();
    }
    to.exists("warm").unwrap();
    server.reset_stats();
    from.migrate_to(&to).run().unwrap();
    let asked = server.commandstats();
    let scripts = asked["evalsha"];
    assert!((2_000..2_010).contains(&scripts), "a right and a fill each: {asked:?}");
}

#[test]
fn a_plain_target_takes_what_it_can_keep() {
    let server = RedisServer::start(&[]);
    let plain = Redis::builder(server.url()).plain(true).build().unwrap();
    let (from, to) = (over(memory(), "a"), over(plain, "b"));
    from.entry("json").ttl(HOUR).set(&vec![1, 2]).unwrap();
    from.set("number", &7).unwrap();
    from.entry("tagged").tag("t").set("x").unwrap();
    from.entry("stale").ttl(HOUR).stale_for(HOUR).set("x").unwrap();
    from.set_bytes("bytes", noise(10)).unwrap();
    let report = from.migrate_to(&to).run().unwrap();
    assert_eq!((report.copied, report.reasons["unsupported"]), (3, 2), "{:?}", report.skips);
    assert_eq!(server.command(&["GET", "b:json"]).as_str(), "[1,2]");
    assert_eq!(server.command(&["GET", "b:number"]).as_str(), "7");
    let left = server.command(&["PTTL", "b:json"]).int();
    assert!(left > 0 && left <= HOUR.as_millis() as i64);
    // And back: another program's values are JSON.
    let back = over(memory(), "c");
    let report = to.migrate_to(&back).run().unwrap();
    assert_eq!(report.copied, 3);
    assert_eq!(back.get::<Vec<i32>>("json").unwrap(), Some(vec![1, 2]));
    let slack = Duration::from_secs(60);
    assert!(dump(&back, "c:")["json"].ends[1].unwrap() > HOUR - slack);
}

#[test]
fn what_is_no_value_at_the_target_stays_and_stops_nothing() {
    let server = RedisServer::start(&[]);
    let (from, to) = (over(memory(), "a"), redis(&server, "b"));
    server.command(&["RPUSH", "b:k", "x"]);
    from.set("k", "v").unwrap();
    assert_eq!(from.migrate_to(&to).dry_run().run().unwrap().there, 1);
    in_time(|| {
        let begun = Instant::now();
        assert_eq!(from.migrate_to(&to).run().unwrap().there, 1);
        let report = from.migrate_to(&to).overwrite().run().unwrap();
        assert_eq!(report.reasons["refused"], 1, "{report:?}");
        (begun.elapsed() < Duration::from_secs(2)).then_some(())
    });
    assert_eq!(server.command(&["LLEN", "b:k"]).int(), 1);
}

#[test]
#[cfg(feature = "memcached")]
fn what_cannot_be_replaced_stays() {
    let server = super::support::MemcachedServer::start(&[]);
    let to = over(yokedcache::Memcached::open(server.url()).unwrap(), "b");
    let from = over(memory(), "a");
    from.set("k", &"x".repeat(3_000_000)).unwrap();
    to.set("k", "older").unwrap();
    let report = from.migrate_to(&to).overwrite().run().unwrap();
    assert_eq!(report.reasons["too_large"], 1, "{report:?}");
    assert_eq!(to.get::<String>("k").unwrap().as_deref(), Some("older"));
}

#[test]
fn a_target_within_the_source_is_refused_also_by_two_caches_of_one_server() {
    let server = RedisServer::start(&[]);
    let (from, within) = (redis(&server, "a"), redis(&server, "a:b"));
    from.set("k", "v").unwrap();
    for to in [&within, &redis(&server, "a")] {
        let refused = from.migrate_to(to).overwrite().run().unwrap_err();
        assert_eq!(refused.error().kind(), yokedcache::ErrorKind::InvalidArgument);
    }
    assert_eq!(from.keys("*").unwrap(), ["k"]);
    let other = RedisServer::start(&[]);
    assert_eq!(from.migrate_to(&redis(&other, "a:b")).run().unwrap().copied, 1);
    assert_eq!(other.command(&["DBSIZE"]).int(), 1, "and nothing beside it");
}

#[test]
fn a_target_within_the_source_is_refused_though_it_is_away_at_first() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    let (from, to) = (redis(&server, "a"), over(Redis::open(&proxy.url()).unwrap(), "a:b"));
    from.set("k", "v").unwrap();
    proxy.set(Plan::Refuse);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_until("it was tried", || proxy.connections() > 0);
            proxy.set(Plan::Pass);
        });
        let refused = from.migrate_to(&to).overwrite().run().unwrap_err();
        assert_eq!(refused.error().kind(), yokedcache::ErrorKind::InvalidArgument, "{refused}");
    });
    assert_eq!(from.keys("*").unwrap(), ["k"]);
}
