//! What others do is heard of. The bound is a minute here: nothing ends by it.

use std::thread;
use std::time::{Duration, Instant};

use yokedcache::{Lookup, Redis, Ttl};

use crate::far::Told;
use crate::server::{Process, reads, wait_gone};
use crate::support::{RedisServer, in_time, wait_until};

#[test]
fn what_is_near_is_not_asked_for() {
    let server = RedisServer::start(&[]);
    let here = Process::patient(server.url());
    here.cache.entry("k").tag("t").set("v").unwrap();
    here.cache.set("j", "w").unwrap();
    here.warm("k");
    here.warm("j");
    server.reset_stats();
    for _ in 0..10 {
        assert_eq!(here.get("k").as_deref(), Some("v"));
        assert_eq!(
            here.cache.get_many::<String>(["k", "j"]).unwrap().into_iter().flatten().count(),
            2
        );
        assert!(here.cache.exists("k").unwrap());
        assert!(here.cache.lookup::<String>("j").unwrap().into_value().is_some());
        let never = || -> Result<Option<String>, String> { panic!("it is there") };
        assert_eq!(here.cache.get_or_load("k", never).unwrap().unwrap().as_deref(), Some("v"));
    }
    assert_eq!(reads(&server), 0);
    // Its own writes it forgets.
    here.cache.set("k", "new").unwrap();
    assert_eq!(here.get("k").as_deref(), Some("new"));
    assert!(reads(&server) > 0);
}

#[test]
fn an_entry_lives_near_for_what_is_left_of_its_life() {
    in_time(|| {
        let server = RedisServer::start(&[]);
        let here = Process::patient(server.url());
        let (life, ms) = (Duration::from_secs(2), Duration::from_millis);
        let began = Instant::now();
        here.cache.entry("k").ttl(life).set("v").unwrap();
        let written = Instant::now();
        thread::sleep(ms(300));
        here.settle("k");
        here.get("k");
        let (left, near) = (here.cache.ttl("k").unwrap(), here.is_near("k"));
        if began.elapsed() >= life {
            return None;
        }
        let Some(Ttl::After(left)) = left else { panic!("it has an end") };
        assert!(left <= life - ms(299), "{left:?}");
        assert!(near);
        // The server is not there to tell of its end.
        server.kill();
        thread::sleep((written + life + ms(20)).saturating_duration_since(Instant::now()));
        assert_ne!(here.cache.get::<String>("k").ok().flatten().as_deref(), Some("v"));
        Some(())
    });
}

#[test]
fn that_there_is_nothing_is_near_too() {
    let server = RedisServer::start(&[]);
    let here = Process::patient(server.url());
    let nothing = || Ok::<Option<String>, String>(None);
    let load =
        || here.cache.entry("none").negative_ttl(Duration::from_secs(60)).get_or_load(nothing);
    assert_eq!(load().unwrap(), Ok(None));
    wait_until("it is near", || {
        // What is still heard of the load takes it out again.
        here.settle("none");
        let found = here.cache.lookup::<String>("none").unwrap();
        assert!(!matches!(found, Lookup::Hit(_)));
        server.reset_stats();
        let _ = here.cache.lookup::<String>("none").unwrap();
        reads(&server) == 0
    });
    assert_eq!(load().unwrap(), Ok(None));
    assert_eq!(reads(&server), 0);
}

#[test]
fn other_programs_are_heard_of() {
    let server = RedisServer::start(&[]);
    let here = Process::patient(server.url());
    let mut raw = server.resp();
    let changes: [&[&str]; 9] = [
        &["DEL", "p:k"],
        &["UNLINK", "p:k"],
        &["SET", "p:k", "7"],
        &["PEXPIRE", "p:k", "1"],
        &["EXPIRE", "p:k", "-1"],
        &["RENAME", "p:k", "q:k"],
        &["FLUSHALL"],
        &["FLUSHDB", "ASYNC"],
        &["EVAL", "return redis.call('DEL', KEYS[1])", "1", "p:k"],
    ];
    for change in changes {
        here.cache.set("k", "old").unwrap();
        here.warm("k");
        raw.command(change);
        wait_until(&format!("{change:?} is heard of"), || {
            here.cache.get_bytes("k").unwrap().as_deref() != Some(b"\"old\"".as_slice())
        });
    }
    // A longer life, too.
    here.cache.entry("k").ttl(Duration::from_secs(1000)).set("v").unwrap();
    here.warm("k");
    raw.command(&["PERSIST", "p:k"]);
    wait_until("the end is gone", || here.cache.ttl("k").unwrap() == Some(Ttl::Never));
    assert_eq!(here.told.all(), ["on"]);
}

#[test]
fn other_processes_are_heard_of() {
    let server = RedisServer::start(&[]);
    let here = Process::patient(server.url());
    let there = Process::patient(server.url());
    let cache = &there.cache;
    let changes: [(&str, &dyn Fn()); 8] = [
        ("delete", &|| {
            cache.delete("k").unwrap();
        }),
        ("set", &|| {
            cache.set("k", "new").unwrap();
        }),
        ("expire", &|| {
            cache.expire("k", Duration::from_millis(1)).unwrap();
        }),
        ("tag", &|| {
            cache.invalidate_tags(["t"]).unwrap();
        }),
        ("tags", &|| {
            cache.invalidate_tags_all(["t", "u"]).unwrap();
        }),
        ("pattern", &|| {
            cache.invalidate_pattern("k*").unwrap();
        }),
        ("clear", &|| {
            cache.clear().unwrap();
        }),
        ("batch", &|| {
            cache.delete_many(["j", "k"]).unwrap();
        }),
    ];
    for (what, change) in changes {
        here.cache.entry("k").tags(["t", "u"]).set("old").unwrap();
        here.warm("k");
        there.warm("k");
        change();
        wait_until(what, || here.get("k").as_deref() != Some("old"));
        assert_ne!(there.get("k").as_deref(), Some("old"), "{what}: its own");
    }
}

#[test]
fn names_that_look_like_records_are_heard_of() {
    let server = RedisServer::start(&[]);
    let here = Process::patient(server.url());
    let there = Process::patient(server.url());
    let sign = format!("~{:032x}.1.0#b", 7);
    for key in
        ["a#t", "x#b", "~", "~#b", &sign, "g#g", "d#d", "k#k", "#h", "ü:ß", "{a}b", "}{", "p:p:"]
    {
        here.cache.entry(key).tag("a#t").set("old").unwrap();
        here.warm(key);
        assert!(there.cache.delete(key).unwrap(), "{key}");
        wait_gone(&here, key, "old");
        here.cache.entry(key).tag("a#t").set("old").unwrap();
        here.warm(key);
        there.cache.invalidate_tags(["a#t"]).unwrap();
        wait_gone(&here, key, "old");
    }
}

#[test]
fn names_that_are_no_text_disturb_nothing() {
    let server = RedisServer::start(&[]);
    let here = Process::patient(server.url());
    here.cache.set("k", "old").unwrap();
    here.warm("k");
    let mut raw = server.resp();
    raw.command(&[b"MSET".as_slice(), b"p:\xff\xfe", b"1", b"p:\r\n", b"1"]).expect_ok();
    raw.command(&["SADD", "p:set", "x"]);
    raw.command(&["DEL", "p:k"]);
    wait_gone(&here, "k", "old");
    assert_eq!(here.told.all(), ["on"]);
}

#[test]
fn keys_shared_with_other_programs_are_heard_of() {
    let server = RedisServer::start(&[]);
    let redis = Redis::builder(server.url()).plain(true).build().unwrap();
    let here = Process::over(redis, |tiers| tiers.bound(crate::far::LONG));
    here.wait_on();
    let mut raw = server.resp();
    for key in ["k", "a#t", "x#b", "k#k"] {
        raw.command(&["SET", &format!("p:{key}"), "\"old\""]).expect_ok();
        here.warm(key);
        raw.command(&["SET", &format!("p:{key}"), "\"new\""]).expect_ok();
        wait_gone(&here, key, "old");
        assert_eq!(here.get(key).as_deref(), Some("new"));
    }
}

/// One that lies in another, one beside it, and all.
#[test]
fn caches_that_come_later_are_heard_of() {
    let server = RedisServer::start(&[]);
    let here = Process::patient(server.url());
    let told = Told::default();
    let other = crate::server::Process::patient(server.url());
    for prefix in ["p:q", "a", ""] {
        let cache = told.cache(here.tiers.clone(), prefix);
        here.wait_on();
        cache.set("k", "old").unwrap();
        let near =
            || matches!(cache.lookup::<String>("k").unwrap(), Lookup::Hit(hit) if hit.tier == 0);
        wait_until("it is near", near);
        let name = if prefix.is_empty() { "k".to_owned() } else { format!("{prefix}:k") };
        server.command(&["DEL", &name]);
        wait_until("it is heard of", || cache.get::<String>("k").unwrap().is_none());
        // The first goes on hearing.
        here.cache.set("first", "old").unwrap();
        here.warm("first");
        other.cache.delete("first").unwrap();
        wait_gone(&here, "first", "old");
    }
}
