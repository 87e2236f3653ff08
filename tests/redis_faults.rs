//! What goes wrong between a cache and its server, one thing at a time: the deadline holds, the error
//! is typed, the next caller gets its own value, and after healing calls work again soon.
#![cfg(feature = "redis")]

mod faults;
mod support;

use std::thread;
use std::time::{Duration, Instant};

use faults::*;
use support::{Plan, Proxy, RedisCluster, RedisServer, in_time, wait_until};
use yokedcache::{Cache, ErrorKind, Redis};

fn redis(url: &str) -> Redis {
    Redis::builder(url).timeout(LIMIT).pool_size(4).build().unwrap()
}

fn cache(url: &str) -> Cache {
    Cache::builder(redis(url)).key_prefix("f").build().unwrap()
}

fn behind_proxy() -> (RedisServer, Proxy, Cache) {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    let cache = cache(&proxy.url());
    (server, proxy, cache)
}

fn faulty(plan: Plan, kinds: &[ErrorKind]) {
    let (_server, proxy, cache) = behind_proxy();
    drill(&cache, kinds, || proxy.set(plan), || proxy.set(Plan::Pass));
}

#[test]
fn refused() {
    let server = RedisServer::start(&[]);
    let cache = cache(server.url());
    drill(&cache, DOWN, || server.kill(), || server.start_again());
    server.kill();
    outage(&cache, DOWN, true);
    // Once it is known, it costs next to nothing.
    in_time(|| {
        let started = Instant::now();
        for _ in 0..1_000 {
            assert_eq!(cache.get::<String>("a").unwrap(), None);
        }
        (started.elapsed() < Duration::from_millis(500)).then_some(())
    });
}

#[test]
fn reset_when_connecting() {
    let (_server, proxy, cache) = behind_proxy();
    let break_it = || {
        proxy.set(Plan::Refuse);
        proxy.drop_connections();
    };
    drill(&cache, DOWN, break_it, || proxy.set(Plan::Pass));
}

#[test]
fn black_hole() {
    faulty(Plan::Hold, LATE);
    let (_server, proxy, cache) = behind_proxy();
    proxy.set(Plan::Hold);
    outage(&cache, LATE, true);
}

#[test]
fn a_byte_now_and_then() {
    faulty(Plan::Drip { every: LIMIT / 7 }, LATE);
}

#[test]
fn late_answers() {
    faulty(Plan::Delay(LIMIT * 3), LATE);
}

#[test]
fn reset_in_the_middle_of_an_answer() {
    faulty(Plan::CutAfter(7), DOWN);
}

#[test]
fn truncated_answers() {
    faulty(Plan::Truncate(9), DOWN);
}

#[test]
fn answers_that_are_none() {
    faulty(Plan::Garbage, DOWN);
}

#[test]
fn a_connection_half_closed() {
    let (_server, proxy, cache) = behind_proxy();
    cache.set("a", &value_of("a")).unwrap();
    proxy.set(Plan::HalfClose);
    for _ in 0..20 {
        // Each answer arrives, and its connection is not used again.
        let found = well(|| timed(|| cache.entry("a").strict().get::<String>()));
        assert_eq!(found, Some(value_of("a")));
        thread::sleep(Duration::from_millis(12));
    }
}

#[test]
fn a_large_value_stalls_half_way() {
    let (server, proxy, cache) = behind_proxy();
    let large = bytes::Bytes::from(vec![b'x'; 12 << 20]);
    cache.set("a", "small").unwrap();
    proxy.set(Plan::StallWrites(100_000));
    expect(timed(|| cache.entry("a").strict().set_bytes(large)), LATE);
    // The connection it stalled on is nobody's any more; a new one takes as many bytes.
    assert!(well(|| timed(|| cache.entry("bb").strict().set("v"))));
    proxy.set(Plan::Pass);
    heals(|| get(&cache, "a").is_ok());
    goes_on(&cache, 10);
    // What was given up does not arrive later.
    thread::sleep(Duration::from_millis(100));
    assert!(server.command(&["STRLEN", "f:a"]).int() < 1_000);
}

#[test]
fn killed_and_started_again() {
    let server = RedisServer::start(&[]);
    let cache = cache(server.url());
    for round in 0..3 {
        for key in KEYS {
            well(|| cache.entry(key).strict().set(&value_of(key)));
        }
        server.restart();
        let started = Instant::now();
        let first = loop {
            match timed(|| cache.entry("a").strict().get::<String>()) {
                Ok(found) => break found,
                Err(error) => {
                    expect::<()>(Err(error), LATE);
                    assert!(started.elapsed() < HEALED, "round {round}");
                }
            }
        };
        assert_eq!(first, None, "it came back empty");
    }
    // All connections of the pool were dead, and nobody noticed: no call failed because of it.
    cache.set("a", &value_of("a")).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| drop(cache.get::<String>("a").unwrap())));
        }
    });
    server.restart();
    thread::sleep(Duration::from_millis(600));
    goes_on(&cache, 1);
}

#[test]
fn stopped_for_longer_than_the_deadline() {
    let server = RedisServer::start(&[]);
    let cache = cache(server.url());
    drill(&cache, LATE, || server.stop(), || server.cont());
    // A value somebody gave up on is not stored when the server wakes up, unless it was read whole.
    server.stop();
    let large = bytes::Bytes::from(vec![b'y'; 12 << 20]);
    expect(timed(|| cache.entry("large").strict().set_bytes(large)), LATE);
    server.cont();
    wait_until("it answers", || cache.entry("a").strict().get::<String>().is_ok());
    thread::sleep(Duration::from_millis(100));
    assert!(!cache.exists("large").unwrap());
}

#[test]
fn credentials() {
    let server = RedisServer::acl("ann", "open@sesame/1", "~f:* +@all -@dangerous");
    let at = |login: &str| format!("redis://{login}{}", server.addr());
    let right = cache(&at("ann:open%40sesame%2F1@"));
    let right = right.with_timeout(PATIENCE);
    assert!(right.set("a", &value_of("a")).unwrap());
    assert_eq!(right.get::<String>("a").unwrap(), Some(value_of("a")));
    right.entry("t").tag("t").set("v").unwrap();
    right.invalidate_tags(["t"]).unwrap();
    assert_eq!(right.get::<String>("t").unwrap(), None);
    assert_eq!(right.keys("*").unwrap(), ["a"]);
    assert!(right.detailed_health_check().is_up());
    for login in ["ann:wrong@", "bob:open%40sesame%2F1@", ":open%40sesame%2F1@", ""] {
        let cache = cache(&at(login)).with_timeout(PATIENCE);
        let error =
            expect(timed(|| cache.entry("a").strict().get::<String>()), &[ErrorKind::Denied]);
        assert!(!error.is_transient());
        outage(&cache, &[ErrorKind::Denied], true);
        let shown = format!("{error} {error:?} {cache:?}");
        assert!(!shown.contains("sesame") && !shown.contains("wrong"), "{shown}");
    }
    // Another prefix is not the user's.
    let elsewhere =
        Cache::builder(redis(&at("ann:open%40sesame%2F1@"))).key_prefix("g").build().unwrap();
    let elsewhere = elsewhere.with_timeout(PATIENCE);
    expect(elsewhere.entry("a").strict().set("v"), &[ErrorKind::Denied]);
    expect(elsewhere.delete("a"), &[ErrorKind::Denied]);
}

#[test]
fn a_server_without_room() {
    let server = RedisServer::start(&[]);
    let cache = cache(server.url()).with_timeout(PATIENCE);
    cache.set("a", &value_of("a")).unwrap();
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).expect_ok();
    expect(timed(|| cache.entry("bb").strict().set("v")), &[ErrorKind::Full]);
    assert!(!timed(|| cache.set("bb", "v")).unwrap());
    expect(timed(|| cache.increment("n", 1)), &[ErrorKind::Full]);
    assert_eq!(cache.get::<String>("a").unwrap(), Some(value_of("a")), "reads go on");
    assert!(cache.delete("a").unwrap());
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).expect_ok();
    assert!(timed(|| cache.set("a", "v")).unwrap());
}

#[test]
fn a_replica_takes_no_writes() {
    let (master, server) = (RedisServer::start(&[]), RedisServer::start(&[]));
    let cache = cache(server.url()).with_timeout(PATIENCE);
    cache.set("a", &value_of("a")).unwrap();
    let port = master.port().to_string();
    server.command(&["REPLICAOF", "127.0.0.1", &port]).expect_ok();
    expect(timed(|| cache.entry("a").strict().set("v")), DOWN);
    expect(timed(|| cache.delete("a")), DOWN);
    expect(timed(|| cache.invalidate_tags(["t"])), DOWN);
    server.command(&["REPLICAOF", "NO", "ONE"]).expect_ok();
    assert!(timed(|| cache.entry("a").strict().set("v")).unwrap());
}

#[test]
fn no_more_clients() {
    let server = RedisServer::start(&[]);
    let cache = cache(server.url()).with_timeout(PATIENCE);
    let mut resp = server.resp();
    resp.command(&["CONFIG", "SET", "maxclients", "1"]).expect_ok();
    expect(timed(|| cache.entry("a").strict().get::<String>()), DOWN);
    outage(&cache, DOWN, true);
    resp.command(&["CONFIG", "SET", "maxclients", "100"]).expect_ok();
    heals(|| timed(|| cache.entry("a").strict().set("v")).is_ok());
}

#[test]
fn a_server_that_loads_its_data() {
    let server = RedisServer::start(&[("enable-debug-command", "yes"), ("key-load-delay", "1000")]);
    let cache = cache(server.url());
    for n in 0..1_500 {
        cache.set(format!("fill{n}"), "v").unwrap();
    }
    well(|| cache.entry("a").strict().set(&value_of("a")));
    in_time(|| {
        thread::scope(|scope| {
            let reload = scope.spawn(|| server.command(&["DEBUG", "RELOAD"]));
            let mut refused = 0;
            while !reload.is_finished() {
                match timed(|| cache.entry("a").strict().get::<String>()) {
                    Ok(found) => is_own("a", found),
                    Err(error) => {
                        expect::<()>(Err(error), LATE);
                        refused += 1;
                    }
                }
                thread::sleep(Duration::from_millis(20));
            }
            reload.join().unwrap().expect_ok();
            (refused > 0).then_some(())
        })
    });
    heals(|| timed(|| get(&cache, "a")).is_ok());
    assert_eq!(well(|| cache.entry("a").strict().get::<String>()), Some(value_of("a")));
}

#[test]
fn a_cluster_that_is_down() {
    let cluster = RedisCluster::start_with(&[("cluster-require-full-coverage", "yes")]);
    let cache = cache(&cluster.url());
    for key in KEYS {
        well(|| cache.entry(key).strict().set(&value_of(key)));
    }
    // A slot without a server is the whole cluster's trouble.
    cluster.forget(7);
    wait_until("the cluster is down", || cache.entry("a").strict().get::<String>().is_err());
    expect(timed(|| cache.entry("a").strict().get::<String>()), LATE);
    outage(&cache, LATE, true);
    let some = cluster.masters()[0];
    cluster.nodes()[some].command(&["CLUSTER", "ADDSLOTS", "7"]).expect_ok();
    cluster.wait_ok();
    let found = |key| timed(|| get(&cache, key));
    heals(|| KEYS.iter().all(|key| found(key).is_ok_and(|found| found == Some(value_of(key)))));
}

#[test]
fn one_node_of_a_cluster_hangs_and_the_others_work() {
    let cluster = RedisCluster::start();
    let cache = cache(&cluster.url());
    for key in KEYS {
        well(|| cache.entry(key).strict().set(&value_of(key)));
    }
    let owners = KEYS.map(|key| cluster.owner(cluster.slot_of(&format!("f:{key}"))));
    let hung = owners[0];
    cluster.nodes()[hung].stop();
    for _ in 0..3 {
        for (key, owner) in KEYS.iter().zip(owners) {
            match timed(|| cache.entry(key).strict().get::<String>()) {
                Ok(found) => assert_eq!(found, Some(value_of(key))),
                Err(error) => {
                    assert_eq!(owner, hung, "{key}: {error}");
                    expect::<()>(Err(error), LATE);
                }
            }
        }
        // Of a batch only the keys of that node are missing, whichever is asked first, and at the
        // first try.
        let expected: Vec<Option<String>> = KEYS
            .iter()
            .zip(owners)
            .map(|(key, owner)| (owner != hung).then(|| value_of(key)))
            .collect();
        let found = unhurried(&cache, |cache| cache.get_many::<String>(KEYS)).unwrap();
        assert_eq!(found, expected);
    }
    cluster.nodes()[hung].cont();
    let healed = Instant::now();
    let works = || KEYS.iter().all(|key| cache.entry(key).strict().set(&value_of(key)).is_ok());
    while !works() {
        // The servers themselves may be electing a new master.
        assert!(healed.elapsed() < HEALED * 3);
        thread::sleep(Duration::from_millis(20));
    }
    for key in KEYS {
        assert_eq!(well(|| cache.entry(key).strict().get::<String>()), Some(value_of(key)));
    }
}

#[test]
fn a_pool_exhausted_by_slow_callers() {
    let (_server, proxy, cache) = behind_proxy();
    for key in KEYS {
        well(|| cache.entry(key).strict().set(&value_of(key)));
    }
    proxy.set(Plan::Delay(LIMIT / 3));
    // Sixteen callers, four connections: some wait too long for their turn, none for longer.
    thread::scope(|scope| {
        for index in 0..16 {
            let cache = &cache;
            scope.spawn(move || {
                let key = KEYS[index % KEYS.len()];
                for _ in 0..3 {
                    match timed(|| cache.entry(key).strict().get::<String>()) {
                        Ok(found) => assert_eq!(found, Some(value_of(key))),
                        Err(error) => drop(expect::<()>(Err(error), LATE)),
                    }
                }
            });
        }
    });
    proxy.set(Plan::Pass);
    heals(|| timed(|| get(&cache, "a")).is_ok());
    assert_eq!(well(|| cache.entry("a").strict().get::<String>()), Some(value_of("a")));
}

#[test]
fn a_late_command_is_sent_again_where_that_is_wanted() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    let redis = Redis::builder(&proxy.url()).timeout(LIMIT * 4).retry_on_timeout(true);
    let cache = Cache::builder(redis.build().unwrap()).key_prefix("f").build().unwrap();
    cache.set("a", "v").unwrap();
    cache.set("n", &1).unwrap();
    let heal_soon = |call: &dyn Fn()| {
        thread::scope(|scope| {
            proxy.set(Plan::Hold);
            scope.spawn(|| {
                thread::sleep(LIMIT);
                // What was held is lost; new connections work.
                proxy.drop_connections();
                proxy.set(Plan::Pass);
            });
            call();
        });
    };
    heal_soon(&|| {
        assert_eq!(cache.entry("a").strict().get::<String>().unwrap().as_deref(), Some("v"));
    });
    heal_soon(&|| {
        // Not one that would count twice.
        expect(cache.increment("n", 1), LATE);
    });
    assert!(cache.get::<i64>("n").unwrap() <= Some(2));
}

#[test]
fn what_a_restart_brings_back_is_not_served_where_it_is_guarded_against() {
    let server = RedisServer::start(&[]);
    let guarded = || {
        let redis = Redis::builder(server.url()).timeout(PATIENCE).guard_restarts("f");
        Cache::builder(redis.build().unwrap()).key_prefix("f").build().unwrap()
    };
    let (mine, theirs, unguarded) =
        (guarded(), guarded(), cache(server.url()).with_timeout(PATIENCE));
    let works = |cache: &Cache, key: &str, value: &str| {
        heals(|| cache.entry(key).strict().set(value).is_ok());
    };
    works(&mine, "kept", "v");
    works(&theirs, "deleted", "v");
    mine.entry("tagged").tag("t").set("v").unwrap();
    assert_eq!(theirs.get::<String>("kept").unwrap().as_deref(), Some("v"), "nothing restarted");
    server.command(&["SET", "another:k", "v"]).expect_ok();
    server.command(&["SAVE"]).expect_ok();
    mine.delete("deleted").unwrap();
    mine.invalidate_tags(["t"]).unwrap();
    server.restart();
    // Without the guard what was deleted is back.
    assert_eq!(unguarded.get::<String>("deleted").unwrap().as_deref(), Some("v"));
    for cache in [&mine, &theirs] {
        for _ in 0..20 {
            assert_eq!(cache.get::<String>("deleted").unwrap(), None);
            assert_eq!(cache.get::<String>("tagged").unwrap(), None);
            thread::sleep(Duration::from_millis(5));
        }
    }
    works(&mine, "kept", "w");
    assert_eq!(theirs.get::<String>("kept").unwrap().as_deref(), Some("w"));
    assert_eq!(server.command(&["GET", "another:k"]).as_str(), "v", "others' keys stay");
    // A clear of the namespace is no restart.
    mine.clear().unwrap();
    works(&mine, "kept", "x");
    assert_eq!(guarded().get::<String>("kept").unwrap().as_deref(), Some("x"));
}

#[test]
fn a_load_whose_fill_met_an_outage_keeps_nobody_waiting_for_ever() {
    let (server, proxy, cache) = behind_proxy();
    let others = self::cache(server.url());
    let value = timed(|| {
        cache.get_or_compute("k", || {
            proxy.set(Plan::Hold);
            "loaded".to_owned()
        })
    });
    assert_eq!(value.unwrap(), "loaded");
    proxy.drop_connections();
    proxy.set(Plan::Pass);
    // Another process waits as long as it may, and takes over from one it hears nothing more of.
    let own = || "own".to_owned();
    let late = timed(|| others.entry("k").timeout(LIMIT).get_or_compute(own));
    expect(late, &[ErrorKind::Timeout]);
    let patient = others.entry("k").timeout(PATIENCE).lease(LIMIT);
    assert_eq!(patient.get_or_compute(own).unwrap(), "own");
}

#[test]
fn waiting_for_who_asks_the_servers_ends_in_time() {
    let silent: Vec<Proxy> = (0..6)
        .map(|_| {
            let proxy = Proxy::to("127.0.0.1:1");
            proxy.set(Plan::Hold);
            proxy
        })
        .collect();
    let hosts: Vec<String> = silent.iter().map(Proxy::addr).collect();
    let hosts = hosts.join(",");
    for url in [format!("redis+cluster://{hosts}"), format!("redis+sentinel://{hosts}/main")] {
        let redis = Redis::builder(&url).timeout(MOST + LIMIT).build().unwrap();
        let cache = Cache::builder(redis).build().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| cache.get::<String>("a"));
            thread::sleep(Duration::from_millis(50));
            let short = cache.with_timeout(LIMIT);
            expect(timed(|| short.entry("a").strict().get::<String>()), LATE);
        });
    }
}

#[test]
fn a_password_set_right_again_works_soon() {
    let server = RedisServer::start(&[]);
    let url = format!("redis://:one@{}", server.addr());
    server.command(&["CONFIG", "SET", "requirepass", "one"]).expect_ok();
    let redis = Redis::builder(&url).timeout(PATIENCE).build().unwrap();
    let cache = Cache::builder(redis).build().unwrap();
    assert!(cache.set("a", "v").unwrap());
    let mut admin = server.resp();
    admin.command(&["AUTH", "one"]).expect_ok();
    server.kill();
    expect(cache.entry("a").strict().get::<String>(), DOWN);
    server.start_again();
    server.command(&["CONFIG", "SET", "requirepass", "two"]).expect_ok();
    thread::sleep(Duration::from_millis(500));
    let mut admin = server.resp();
    admin.command(&["AUTH", "two"]).expect_ok();
    for _ in 0..3 {
        expect(cache.entry("a").strict().get::<String>(), &[ErrorKind::Denied]);
    }
    admin.command(&["CONFIG", "SET", "requirepass", "one"]).expect_ok();
    heals(|| get(&cache, "a").is_ok());
}

#[test]
fn a_server_that_repeats_a_login_is_not_quoted() {
    let server = RedisServer::start(&[("rename-command", "AUTH login")]);
    let url = format!("redis://bob:hunter2secret@{}", server.addr());
    let cache = cache(&url).with_timeout(PATIENCE);
    let error = expect(cache.entry("a").strict().get::<String>(), &[ErrorKind::Denied]);
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    let error = Redis::open("redis://u:12?topsecret@h").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("topsecret"), "{error:?}");
}

/// A server that answers each command with the same bytes, again and again if that is wanted.
fn impostor(answer: &'static [u8], endless: bool) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while client.read(&mut buffer).is_ok_and(|read| read > 0) {
                    let until = Instant::now() + Duration::from_secs(5);
                    while client.write_all(answer).is_ok() && endless && Instant::now() < until {}
                }
            });
        }
    });
    url
}

#[test]
fn an_answer_without_end_ends_at_the_deadline() {
    let cache = cache(&impostor(b":1\r\n:1\r\n:1\r\n", true));
    drop(timed(|| cache.get_many::<i64>(KEYS)));
    for answer in [&b"*1000000000\r\n"[..], b"$400000000\r\n"] {
        let cache = self::cache(&impostor(answer, true));
        expect(timed(|| cache.entry("a").strict().get::<i64>()), LATE);
    }
}

#[test]
fn more_answers_than_questions_end_the_connection() {
    let cache = cache(&impostor(b"$1\r\n1\r\n$1\r\n2\r\n", false)).with_timeout(PATIENCE);
    for _ in 0..5 {
        // The second one is nobody's.
        assert_eq!(cache.get::<i64>("a").unwrap(), Some(1));
    }
}
