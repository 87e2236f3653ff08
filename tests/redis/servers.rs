//! Servers that evict, are full, forget, or are set up in ways that weaken the promises.

use super::*;

#[test]
fn an_evicting_server_never_serves_what_was_invalidated() {
    let server = RedisServer::start(&[("maxmemory", "3mb"), ("maxmemory-policy", "allkeys-lru")]);
    let cache = cache(&server, "e");
    let filler = "x".repeat(1000);
    let (mut served, mut lost) = (0, 0);
    for round in 0..30 {
        let tags: Vec<String> = (0..20).map(|n| format!("t{n}")).collect();
        for (n, tag) in tags.iter().enumerate() {
            cache.entry(format!("k{n}")).tag(tag).set(&(round * 2)).unwrap();
        }
        for tag in &tags {
            cache.invalidate_tags([tag]).unwrap();
        }
        // Evicts records, entries, or both.
        for n in 0..400 {
            cache.set(format!("fill{round}-{n}"), &filler).unwrap();
        }
        for n in 0..tags.len() {
            assert_eq!(cache.get::<i32>(format!("k{n}")).unwrap(), None, "round {round}");
        }
        for (n, tag) in tags.iter().enumerate() {
            cache.entry(format!("k{n}")).tag(tag).set(&(round * 2 + 1)).unwrap();
        }
        for n in 0..200 {
            cache.set(format!("more{round}-{n}"), &filler).unwrap();
        }
        for n in 0..tags.len() {
            match cache.get::<i32>(format!("k{n}")).unwrap() {
                None => lost += 1,
                Some(value) => {
                    assert_eq!(value, round * 2 + 1, "the newest or nothing");
                    served += 1;
                }
            }
        }
    }
    let evicted: u64 = server.info("stats")["evicted_keys"].parse().unwrap();
    assert!(evicted > 1_000 && served > 0, "{evicted} evicted, {served} served, {lost} lost");
}

#[test]
fn a_full_server_refuses_values_and_takes_invalidations() {
    let server = RedisServer::start(&[("maxmemory-policy", "noeviction")]);
    let cache = cache(&server, "f");
    cache.entry("tagged").tag("t").set("v").unwrap();
    cache.set("k", "old").unwrap();
    cache.set("other", "old").unwrap();
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).expect_ok();
    let strict = cache.entry("k").strict().set("new").unwrap_err();
    assert_eq!((strict.kind(), strict.is_transient()), (ErrorKind::Full, true));
    assert_eq!(cache.get::<String>("k").unwrap(), None, "the older value is not the newest");
    assert!(!cache.set("other", "new").unwrap());
    assert_eq!(cache.get::<String>("other").unwrap(), None);
    assert_eq!(cache.get_or_compute("l", || "loaded".to_owned()).unwrap(), "loaded");
    cache.invalidate_tags(["t"]).unwrap();
    assert!(!cache.exists("tagged").unwrap());
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).expect_ok();
    assert_eq!(cache.get::<String>("tagged").unwrap(), None);
    assert!(cache.set("k", "new").unwrap());
}

#[test]
fn health_tells_what_weakens_the_promises() {
    let server = RedisServer::start(&[("maxmemory", "50mb"), ("maxmemory-policy", "allkeys-lru")]);
    let cache = cache(&server, "h");
    let health = cache.detailed_health_check();
    assert!(health.is_up() && health.latency.is_some());
    assert_eq!(health.children.len(), 1);
    assert!(health.children[0].1.warnings.is_empty(), "{health:?}");
    server.command(&["CONFIG", "SET", "save", "60 1"]).expect_ok();
    server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).expect_ok();
    let warnings = &cache.detailed_health_check().children[0].1.warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let stats = cache.stats().backend;
    assert_eq!((stats.connections, stats.children.len()), (Some(1), 1));
    server.kill();
    let health = cache.detailed_health_check();
    assert!(!health.is_up());
    assert_eq!(health.error.unwrap().kind(), ErrorKind::Unavailable);
}

#[test]
fn records_of_tags_outlive_what_has_them() {
    let server = RedisServer::start(&[]);
    let cache = cache(&server, "tl");
    let left = |name: &str| server.command(&["PTTL", name]).int();
    let day = 24 * HOUR.as_millis() as i64;
    cache.entry("k").tag("load").ttl(HOUR * 100).get_or_compute(|| 1.5).unwrap();
    assert!(left("tl:load#t") > 199 * HOUR.as_millis() as i64);
    cache.entry("k").tag("set").ttl(HOUR).set(&1).unwrap();
    assert!((day - 60_000..=day).contains(&left("tl:set#t")));
    assert!(cache.expire("k", HOUR * 48).unwrap());
    assert!(left("tl:set#t") > 95 * HOUR.as_millis() as i64);
    assert!(cache.expire("k", Ttl::Never).unwrap());
    assert_eq!((left("tl:k"), left("tl:set#t")), (-1, -1));
    // An invalidation keeps the life of the record.
    cache.entry("k").tag("week").ttl(HOUR * 24 * 7).set(&1).unwrap();
    cache.invalidate_tags(["week"]).unwrap();
    assert!(left("tl:week#t") > 13 * day);
}

#[test]
fn no_answer_goes_to_another_job() {
    use yokedcache::Backend;
    use yokedcache::backend::{Call, Change, Life, Name, Origin, Token, When, Write, Wrote};
    let server = RedisServer::start(&[]);
    let redis = Redis::open(server.url()).unwrap();
    let name = |key| Name::new(key, 0);
    let add = |by| Change::Add { by, from: 0, life: Life::FOREVER };
    let stranger = || When::Version(Token::new(Origin::unique(), 1));
    let mut writes = [
        Write::new(name("v"), stranger(), Change::Release),
        Write::new(name("a"), When::Always, add(10)),
        Write::new(name("w"), When::Absent, Change::Release),
        Write::new(name("b"), When::Always, add(20)),
        Write::new(name("x"), When::Present, add(1)),
        Write::new(name("c"), When::Always, add(30)),
    ];
    let mut out: Vec<Wrote> = writes.iter().map(|_| Wrote::Unanswered).collect();
    redis.write(Call::Unlimited, &mut writes, &mut out).unwrap();
    let numbers: Vec<i64> = out
        .iter()
        .filter_map(|wrote| match wrote {
            Wrote::Number(number) => Some(*number),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, [10, 20, 30]);
    assert!(!out.iter().any(|wrote| matches!(wrote, Wrote::Unanswered)));
    // Several changes to one key are made in their order, also where scripts are not known yet.
    for plain in [false, true] {
        server.command(&["SCRIPT", "FLUSH"]).expect_ok();
        let redis = Redis::builder(server.url()).plain(plain).build().unwrap();
        let mut writes = [
            Write::new(name("o"), When::Always, add(1)),
            Write::new(name("o"), When::Always, Change::Remove),
            Write::new(name("o"), When::Always, add(5)),
        ];
        let mut out = [const { Wrote::Unanswered }; 3];
        redis.write(Call::Unlimited, &mut writes, &mut out).unwrap();
        assert!(matches!(out[2], Wrote::Number(5)), "{out:?}");
        server.command(&["DEL", "o"]);
    }
}
