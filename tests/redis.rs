//! Redis as its users and its other clients see it: round trips, what is stored, other programs'
//! values, eviction, and invalidations that come at the worst moment.
#![cfg(feature = "redis")]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use support::{RedisCluster, RedisServer, Resp, batches_and_locks, in_time};
use yokedcache::{Cache, Cause, ErrorKind, Loaded, Lookup, Redis, Ttl};

const HOUR: Duration = Duration::from_secs(3600);

fn cache(server: &RedisServer, prefix: &str) -> Cache {
    Cache::builder(Redis::open(server.url()).unwrap()).key_prefix(prefix).build().unwrap()
}

/// How often the server read something from a client meanwhile. A batch of a few kilobytes is read at
/// once: each is a round trip. It is asked over one connection, as the end of one is read, too.
fn trips(resp: &mut Resp, work: impl FnOnce()) -> u64 {
    let mut reads = || {
        let info = resp.command(&["INFO", "stats"]);
        let line =
            info.as_str().lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    // The two looks themselves: one counts before it is answered, the other after.
    let before = reads();
    work();
    reads() - before - 1
}

#[test]
fn each_operation_takes_the_round_trips_it_claims() {
    let server = RedisServer::start(&[]);
    let cache = cache(&server, "trips");
    let keys: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
    let entry = |key: &'static str| cache.entry(key).ttl(HOUR).tags(["a", "b"]);
    // A connection is made, the scripts are known, and so are the tags.
    let warm_up = || {
        entry("tagged").set(&"v").unwrap();
        entry("tagged").get_or_compute(|| "v".to_owned()).unwrap();
        for key in ["plain", "other"] {
            cache.set(key, "v").unwrap();
            cache.expire(key, HOUR).unwrap();
            cache.replace(key, "w").unwrap();
            cache.add(key, "v").unwrap();
        }
        let (_, version) = cache.get_versioned::<String>("plain").unwrap().unwrap();
        cache.swap("plain", version, "x").unwrap();
        cache.increment("n", 1).unwrap();
        cache.delete("gone").unwrap();
        entry("warm").get_or_compute(|| 1.5).unwrap();
        cache.set_many(keys.iter().map(|key| (key, "v"))).unwrap();
    };
    warm_up();
    let mut resp = server.resp();
    let mut check = |what: &str, most: u64, work: &dyn Fn()| {
        let took = trips(&mut resp, work);
        assert_eq!(took, most, "{what}");
    };
    let get = |key: &str| cache.get::<String>(key).unwrap();
    check("get", 1, &|| assert!(get("plain").is_some()));
    check("get of nothing", 1, &|| assert!(get("nothing").is_none()));
    check("get of a tagged entry", 1, &|| assert!(get("tagged").is_some()));
    check("set", 1, &|| assert!(cache.set("plain", "v").unwrap()));
    check("set with tags", 1, &|| assert!(entry("tagged").set("v").unwrap()));
    check("set with tags, another key", 1, &|| assert!(entry("tagged2").set("v").unwrap()));
    check("exists", 1, &|| assert!(cache.exists("plain").unwrap()));
    check("exists, tagged", 1, &|| assert!(cache.exists("tagged").unwrap()));
    check("ttl", 1, &|| assert!(matches!(cache.ttl("tagged").unwrap(), Some(Ttl::After(_)))));
    check("expire", 1, &|| assert!(cache.expire("plain", HOUR).unwrap()));
    check("expire, tagged", 2, &|| assert!(cache.expire("tagged", HOUR).unwrap()));
    check("replace", 1, &|| assert!(cache.replace("plain", "w").unwrap()));
    check("add", 1, &|| assert!(cache.add("new", "w").unwrap()));
    check("add over an entry, whose schema is looked at", 2, &|| {
        assert!(!cache.entry("new").add("w").unwrap())
    });
    check("increment", 1, &|| assert_eq!(cache.increment("n", 1).unwrap(), 2));
    check("delete", 1, &|| assert!(cache.delete("new").unwrap()));
    check("delete, tagged", 1, &|| assert!(cache.delete("tagged2").unwrap()));
    check("get_many of 100", 1, &|| {
        assert_eq!(cache.get_many::<String>(&keys).unwrap().into_iter().flatten().count(), 100);
    });
    check("delete_many of 10", 1, &|| assert_eq!(cache.delete_many(&keys[..10]).unwrap(), 10));
    check("get_or_load of what is there", 1, &|| {
        entry("tagged").get_or_compute(|| -> String { panic!("it is there") }).unwrap();
    });
    check("get_or_load", 3, &|| {
        entry("loaded").get_or_compute(|| "v".to_owned()).unwrap();
    });
    batches_and_locks(&cache, &mut check);
    check("get_versioned and swap", 2, &|| {
        let (_, version) = cache.get_versioned::<String>("plain").unwrap().unwrap();
        assert!(cache.swap("plain", version, "y").unwrap());
    });
    check("invalidate_tags", 1, &|| {
        cache.invalidate_tags(["a", "b"]).unwrap();
    });
    check("set after an invalidation", 1, &|| assert!(entry("tagged").set("v").unwrap()));
    assert_eq!(cache.get::<String>("tagged").unwrap().as_deref(), Some("v"));
}

#[test]
fn an_untagged_get_is_one_get_and_nothing_else() {
    let server = RedisServer::start(&[]);
    let cache = cache(&server, "one");
    cache.set("k", "v").unwrap();
    server.reset_stats();
    for _ in 0..10 {
        cache.get::<String>("k").unwrap().unwrap();
    }
    let mut stats = server.commandstats();
    stats.retain(|name, _| name != "info" && !name.starts_with("config"));
    assert_eq!(stats.into_iter().collect::<Vec<_>>(), [("get".to_owned(), 10)]);
}

#[test]
fn invalidating_a_tag_costs_the_same_however_many_entries_have_it() {
    let server = RedisServer::start(&[]);
    let cache = cache(&server, "many");
    for n in 0..2_000 {
        cache.entry(format!("k{n}")).tag("t").set(&"v").unwrap();
    }
    server.reset_stats();
    let took = trips(&mut server.resp(), || _ = cache.invalidate_tags(["t"]).unwrap());
    assert_eq!(took, 1);
    let mut stats = server.commandstats();
    stats.retain(|name, _| name != "info" && !name.starts_with("config"));
    assert_eq!(stats.into_iter().collect::<Vec<_>>(), [("set".to_owned(), 1)]);
    assert_eq!(cache.get::<String>("k7").unwrap(), None);
    assert_eq!(cache.lookup::<String>("k7").unwrap().cause(), Some(Cause::Invalidated));
}

#[test]
fn get_many_is_one_round_trip_to_each_node_of_a_cluster() {
    let cluster = RedisCluster::start();
    let cache = Cache::builder(Redis::open(&cluster.url()).unwrap()).build().unwrap();
    let keys: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
    cache.set_many(keys.iter().map(|key| (key, "v"))).unwrap();
    cluster.reset_stats();
    let masters: Vec<&RedisServer> =
        cluster.masters().into_iter().map(|index| &cluster.nodes()[index]).collect();
    let reads = |server: &RedisServer| {
        server.info("stats")["total_reads_processed"].parse::<u64>().unwrap()
    };
    let before: Vec<u64> = masters.iter().map(|server| reads(server)).collect();
    assert_eq!(cache.get_many::<String>(&keys).unwrap().into_iter().flatten().count(), 100);
    // Servers of a cluster also read what the others say; clients' commands are counted apart.
    let gets: u64 = cluster.commandstats()["get"];
    assert_eq!(gets, 100);
    for (server, before) in masters.iter().zip(before) {
        assert!(reads(server) - before < 40, "about 33 keys each, in one go");
    }
}

#[test]
fn other_programs_values_are_read_and_ours_are_told_apart() {
    let server = RedisServer::start(&[]);
    let cache = cache(&server, "p");
    let say = |words: &[&str]| server.command(words);
    say(&["SET", "p:json", r#"{"name":"Ann","age":7}"#]).expect_ok();
    let value: serde_json::Value = cache.get("json").unwrap().unwrap();
    assert_eq!(value["name"], "Ann");
    // Counters are the same to both.
    say(&["SET", "p:n", "41"]).expect_ok();
    assert_eq!(cache.increment("n", 1).unwrap(), 42);
    say(&["INCRBY", "p:n", "8"]);
    assert_eq!(cache.get::<i64>("n").unwrap(), Some(50));
    cache.set("m", &7).unwrap();
    assert_eq!(say(&["INCR", "p:m"]).int(), 8);
    assert_eq!(cache.get::<i64>("m").unwrap(), Some(8));
    // What is no value of ours is a miss with its cause, and left alone.
    say(&["LPUSH", "p:list", "x"]);
    assert_eq!(cache.lookup::<String>("list").unwrap().cause(), Some(Cause::Undecodable));
    assert_eq!(cache.increment("list", 1).unwrap_err().kind(), ErrorKind::WrongType);
    say(&["SET", "p:text", "not json"]).expect_ok();
    assert_eq!(cache.lookup::<String>("text").unwrap().cause(), Some(Cause::Undecodable));
    assert_eq!(cache.get_bytes("text").unwrap().unwrap(), "not json");
    // A value found under another key is not the value of that key.
    cache.set("mine", "secret").unwrap();
    say(&["COPY", "p:mine", "p:yours"]);
    assert_eq!(cache.lookup::<String>("yours").unwrap().cause(), Some(Cause::Corrupt));
    assert!(!cache.exists("yours").unwrap() && !cache.keys("*").unwrap().contains(&"yours".into()));
    assert!(cache.add("yours", "own").unwrap(), "it is nothing to anybody");
    assert_eq!(cache.get::<String>("mine").unwrap().as_deref(), Some("secret"));
    // Damage is a miss, too.
    say(&["SETRANGE", "p:mine", "40", "xyz"]);
    assert_eq!(cache.lookup::<String>("mine").unwrap().cause(), Some(Cause::Corrupt));
    assert!(cache.set("mine", "again").unwrap());
    assert_eq!(cache.get::<String>("mine").unwrap().as_deref(), Some("again"));
}

#[test]
fn plain_mode_writes_what_other_programs_read() {
    let server = RedisServer::start(&[]);
    let redis = Redis::builder(server.url()).plain(true).build().unwrap();
    let cache = Cache::builder(redis).key_prefix("p").build().unwrap();
    let say = |words: &[&str]| server.command(words);
    cache.entry("user").ttl(HOUR).set(&("Ann", 7)).unwrap();
    assert_eq!(say(&["GET", "p:user"]).as_str(), r#"["Ann",7]"#);
    let ttl = say(&["PTTL", "p:user"]).int();
    assert!((3_500_000..=3_600_000).contains(&ttl), "{ttl}");
    assert_eq!(cache.get::<(String, u8)>("user").unwrap(), Some(("Ann".into(), 7)));
    assert_eq!(cache.increment("n", 5).unwrap(), 5);
    assert_eq!(say(&["GET", "p:n"]).as_str(), "5");
    cache.set_bytes("raw", "as is").unwrap();
    assert_eq!(say(&["GET", "p:raw"]).as_str(), "as is");
    assert_eq!(cache.get_bytes("raw").unwrap().unwrap(), "as is");
    assert_eq!(cache.get_or_compute("none", || None::<u8>).unwrap(), None);
    assert_eq!(say(&["GET", "p:none"]).as_str(), "null");
    assert!(matches!(cache.lookup::<u8>("none").unwrap(), Lookup::Negative(_)));
    assert!(cache.add("new", &1.5).unwrap() && !cache.add("new", &2.5).unwrap());
    assert!(cache.replace("new", &2.5).unwrap() && !cache.replace("newer", &2.5).unwrap());
    assert!(cache.expire("new", HOUR).unwrap() && !cache.expire("newer", HOUR).unwrap());
    assert!(cache.expire("new", Ttl::Never).unwrap());
    assert_eq!(cache.ttl("new").unwrap(), Some(Ttl::Never));
    assert!(cache.delete("new").unwrap() && !cache.delete("new").unwrap());
    assert_eq!(cache.get_or_compute("loaded", || "x".to_owned()).unwrap(), "x");
    assert_eq!(say(&["GET", "p:loaded"]).as_str(), r#""x""#);
    assert_eq!(cache.keys("l*").unwrap(), ["loaded"]);
    assert_eq!(cache.invalidate_pattern("l*").unwrap().entries, Some(1));
    // What has no place in a plain value is refused, not dropped.
    let refused = [
        cache.entry("k").tag("t").set("v").unwrap_err(),
        cache.entry("k").ttl(HOUR).stale_for(HOUR).set("v").unwrap_err(),
        cache.entry("k").sliding(HOUR).set("v").unwrap_err(),
        cache.with_schema(2).set("k", "v").unwrap_err(),
        cache.get_versioned::<String>("k").unwrap_err(),
        cache.invalidate_tags(["t"]).unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    assert!(!cache.exists("k").unwrap());
}

#[test]
fn namespaces_with_glob_characters_take_exactly_their_own() {
    let server = RedisServer::start(&[]);
    let (odd, plain) = (cache(&server, "a[b]*?"), cache(&server, "ab"));
    for cache in [&odd, &plain] {
        for key in ["user:1", "user:2", "users:1", "u[s]*", "x#t", "y#k", "z"] {
            cache.entry(key).tag("t").set(&"v").unwrap();
        }
    }
    server.command(&["SET", "a[b]*?", "of nobody"]).expect_ok();
    server.command(&["SET", "another:user:1", "of nobody"]).expect_ok();
    let keys =
        |cache: &Cache| -> BTreeSet<String> { cache.keys("*").unwrap().into_iter().collect() };
    let all = keys(&plain);
    assert_eq!(all.len(), 7);
    assert_eq!(odd.keys("x#t").unwrap(), ["x#t"]);
    assert_eq!(odd.dry_run().invalidate_pattern("user:*").unwrap(), ["user:1", "user:2"]);
    assert_eq!(odd.invalidate_pattern("user:*").unwrap().entries, Some(2));
    assert_eq!(odd.invalidate_pattern("u\\[s\\]\\*").unwrap().entries, Some(1));
    assert_eq!(odd.invalidate_pattern("*#[tk]").unwrap().entries, Some(2));
    let left: Vec<String> = keys(&odd).into_iter().collect();
    assert_eq!(left, ["users:1", "z"]);
    // The tag's record is no key, whatever the pattern: its entries are alive.
    assert_eq!(odd.get::<String>("z").unwrap().as_deref(), Some("v"));
    assert_eq!(keys(&plain), all);
    assert_eq!(odd.clear().unwrap().entries, Some(2));
    assert_eq!(keys(&plain), all);
    assert!(keys(&odd).is_empty());
    let stored = server.command(&["KEYS", "*"]);
    let of_odd = |name: &str| name.starts_with("a[b]*?:");
    assert!(!stored.array().iter().any(|name| of_odd(name.as_str())), "records went, too");
    assert_eq!(server.command(&["GET", "a[b]*?"]).as_str(), "of nobody");
    assert_eq!(server.command(&["GET", "another:user:1"]).as_str(), "of nobody");
}

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

/// Runs a load that something comes between its beginning and its end.
fn load_overtaken_by(cache: &Cache, overtake: impl FnOnce()) {
    let (started, wait_started) = channel();
    let (finish, wait_finish) = channel::<()>();
    thread::scope(|scope| {
        let load = scope.spawn(move || {
            let old = cache.entry("k").tag("t").get_or_compute(|| {
                started.send(()).unwrap();
                wait_finish.recv().unwrap();
                "old".to_owned()
            });
            assert_eq!(old.unwrap(), "old", "its own caller keeps it");
        });
        wait_started.recv().unwrap();
        overtake();
        finish.send(()).unwrap();
        load.join().unwrap();
    });
    let now = cache.get::<String>("k").unwrap();
    assert!(now.is_none() || now.as_deref() == Some("new"), "{now:?}");
}

#[test]
fn a_load_is_overtaken_by_whatever_touches_its_key() {
    let server = RedisServer::start(&[]);
    let (mine, theirs) = (cache(&server, "o"), cache(&server, "o"));
    let say = |words: &[&str]| drop(server.command(words));
    let overtakes: [&dyn Fn(); 12] = [
        &|| _ = theirs.delete("k").unwrap(),
        &|| _ = theirs.set("k", "new").unwrap(),
        &|| _ = theirs.add("k", "new").unwrap(),
        &|| _ = theirs.invalidate_tags(["t"]).unwrap(),
        &|| _ = theirs.invalidate_tags_all(["t"]).unwrap(),
        &|| _ = theirs.invalidate_tags_all(["t", "unheard of"]).unwrap(),
        &|| _ = theirs.invalidate_pattern("k*").unwrap(),
        &|| _ = theirs.clear().unwrap(),
        &|| say(&["DEL", "o:k"]),
        &|| say(&["SET", "o:k", "\"new\""]),
        // The tag's record is lost, to eviction perhaps.
        &|| say(&["DEL", "o:t#t"]),
        &|| say(&["FLUSHALL"]),
    ];
    for (index, overtake) in overtakes.iter().enumerate() {
        mine.clear().unwrap();
        load_overtaken_by(&mine, overtake);
        assert_eq!(mine.stats().overtaken, index as u64 + 1, "overtake {index}");
    }
}

#[test]
fn a_load_is_overtaken_in_the_middle_of_a_scan() {
    let server = RedisServer::start(&[]);
    let (mine, theirs) = (cache(&server, "s"), cache(&server, "s"));
    theirs.set_many((0..3_000).map(|n| (format!("fill{n}"), "v"))).unwrap();
    for _ in 0..20 {
        mine.set_many((0..2_000).map(|n| (format!("x{n}"), "v"))).unwrap();
        let (started, wait_started) = channel();
        thread::scope(|scope| {
            let load = scope.spawn(|| {
                // It ends while the scan is under way.
                mine.get_or_compute("k", || {
                    started.send(()).unwrap();
                    thread::sleep(Duration::from_millis(2));
                    "old".to_owned()
                })
            });
            wait_started.recv().unwrap();
            theirs.invalidate_pattern("[kx]*").unwrap();
            assert_eq!(theirs.get::<String>("k").unwrap(), None);
            load.join().unwrap().unwrap();
        });
        assert_eq!(mine.get::<String>("k").unwrap(), None);
    }
}

#[test]
fn two_processes_load_once_and_the_other_takes_the_value() {
    let server = RedisServer::start(&[]);
    let runs = AtomicUsize::new(0);
    let caches: Vec<Cache> = (0..4).map(|_| cache(&server, "l")).collect();
    thread::scope(|scope| {
        for cache in &caches {
            scope.spawn(|| {
                for round in 0..20 {
                    let value = cache.entry(format!("k{round}")).tag("t").get_or_compute(|| {
                        runs.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(5));
                        format!("value {round}")
                    });
                    assert_eq!(value.unwrap(), format!("value {round}"));
                }
            });
        }
    });
    assert_eq!(runs.into_inner(), 20);
}

#[test]
fn a_stale_entry_is_refreshed_by_one_and_not_resurrected() {
    let server = RedisServer::start(&[]);
    let (mine, theirs) = (cache(&server, "r"), cache(&server, "r"));
    let soon = Duration::from_millis(50);
    let store = |value: &str| {
        mine.entry("k").tag("t").ttl(soon).stale_for(HOUR).set(value).unwrap();
        thread::sleep(soon * 2);
    };
    let refresh = |overtake: &dyn Fn()| {
        let entry = mine.entry("k").tag("t").ttl(HOUR).stale_for(HOUR);
        let loaded = entry.load_with(|load| {
            assert_eq!(load.previous::<String>().as_deref(), Some("stale"));
            overtake();
            Ok::<_, yokedcache::Error>(Loaded::Value("refreshed".to_owned()))
        });
        assert_eq!(loaded.unwrap().unwrap().as_deref(), Some("refreshed"));
    };
    store("stale");
    refresh(&|| {});
    assert_eq!(theirs.get::<String>("k").unwrap().as_deref(), Some("refreshed"));
    store("stale");
    // The guard of the first refresh is gone: the second one is not kept waiting.
    for overtake in [
        &(|| _ = theirs.delete("k").unwrap()) as &dyn Fn(),
        &|| _ = theirs.invalidate_tags(["t"]).unwrap(),
        &|| _ = theirs.clear().unwrap(),
    ] {
        refresh(overtake);
        assert_eq!(theirs.lookup::<String>("k").unwrap().into_value(), None, "not resurrected");
        store("stale");
    }
}

#[test]
fn counters_keep_every_bit_of_64() {
    let server = RedisServer::start(&[]);
    let cache = cache(&server, "c");
    let large = (1 << 53) + 1;
    cache.set("n", &large).unwrap();
    assert_eq!(cache.increment("n", 2).unwrap(), large + 2);
    assert_eq!(cache.entry("m").initial(i64::MAX - 1).increment(1).unwrap(), i64::MAX);
    assert_eq!(cache.increment("m", 1).unwrap_err().kind(), ErrorKind::Overflow);
    assert_eq!(cache.get::<i64>("m").unwrap(), Some(i64::MAX));
    let there = cache.entry("n").initial(i64::MAX);
    assert_eq!(there.increment(1).unwrap(), large + 3, "the initial value is for absent ones");
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
fn what_is_released_unstored_is_shared_only_if_nothing_overtook_it() {
    let server = RedisServer::start(&[]);
    let (mine, theirs) = (cache(&server, "sk"), cache(&server, "sk"));
    let overtakes: [&(dyn Fn() + Sync); 2] =
        [&|| _ = theirs.invalidate_tags(["t"]).unwrap(), &|| _ = theirs.delete("k").unwrap()];
    for stale in [false, true] {
        for overtake in overtakes {
            let soon = Duration::from_millis(30);
            if stale {
                mine.entry("k").tag("t").ttl(soon).stale_for(HOUR).set("stale").unwrap();
                thread::sleep(soon * 2);
            }
            let (started, wait_started) = channel();
            let (finish, wait_finish) = channel::<()>();
            thread::scope(|scope| {
                let mine = &mine;
                let old = scope.spawn(move || {
                    mine.entry("k").tag("t").load_with(|_| {
                        started.send(()).unwrap();
                        wait_finish.recv().unwrap();
                        Ok::<_, yokedcache::Error>(Loaded::Skip("old".to_owned()))
                    })
                });
                wait_started.recv().unwrap();
                overtake();
                let late = scope.spawn(|| mine.get_or_compute("k", || "new".to_owned()).unwrap());
                thread::sleep(Duration::from_millis(50));
                finish.send(()).unwrap();
                assert_eq!(old.join().unwrap().unwrap().unwrap().as_deref(), Some("old"));
                assert_eq!(late.join().unwrap(), "new", "stale: {stale}");
            });
            mine.delete("k").unwrap();
        }
    }
}

#[test]
fn all_of_some_tags_reaches_long_headers_and_refreshes_under_way() {
    let server = RedisServer::start(&[]);
    let (mine, theirs) = (cache(&server, "all"), cache(&server, "all"));
    let long = ["a".repeat(40_000), "b".repeat(40_000)];
    mine.entry("long").tags(&long).set("v").unwrap();
    assert!(mine.exists("long").unwrap());
    assert_eq!(mine.keys("*").unwrap(), ["long"]);
    assert_eq!(theirs.invalidate_tags_all(&long).unwrap().entries, Some(1));
    assert_eq!(mine.get::<String>("long").unwrap(), None);
    // A refresh will carry the tags; the stale entry it began from does not.
    let soon = Duration::from_millis(30);
    mine.entry("k").ttl(soon).stale_for(HOUR).set("stale").unwrap();
    thread::sleep(soon * 2);
    let refreshed = mine.entry("k").tags(["a", "b"]).load_with(|_| {
        _ = theirs.invalidate_tags_all(["a", "b"])?;
        Ok::<_, yokedcache::Error>(Loaded::Value("old".to_owned()))
    });
    assert_eq!(refreshed.unwrap().unwrap().as_deref(), Some("old"));
    assert_eq!(mine.get::<String>("k").unwrap(), None);
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
fn an_entry_slides_whoever_stored_it() {
    let server = RedisServer::start(&[]);
    let cache = cache(&server, "sl");
    let idle = Duration::from_millis(600);
    in_time(|| {
        server.command(&["FLUSHALL"]).expect_ok();
        let mut read = Instant::now();
        cache.entry("long").ttl(HOUR).set("v").unwrap();
        cache.set("for ever", "v").unwrap();
        cache.set("bare", &7).unwrap();
        cache.entry("counter").sliding(idle).ttl(HOUR).increment(7).unwrap();
        cache.entry("short").ttl(idle * 2).set("v").unwrap();
        server.command(&["SET", "sl:foreign", "{}"]).expect_ok();
        for _ in 0..8 {
            thread::sleep(idle / 3);
            let (before, now) = (read, Instant::now());
            let get = |key| cache.entry(key).sliding(idle).get::<serde_json::Value>().unwrap();
            let found = ["long", "for ever", "bare", "counter", "foreign"].map(get);
            get("short");
            if before.elapsed() >= idle {
                return None;
            }
            assert!(found.iter().all(Option::is_some), "{found:?}");
            read = now;
        }
        Some(())
    });
    assert_eq!(cache.get::<String>("short").unwrap(), None, "its end is the latest");
    assert_eq!(server.command(&["PTTL", "sl:foreign"]).int(), -1, "not ours to end");
    thread::sleep(idle * 2);
    for key in ["long", "for ever", "bare", "counter"] {
        assert!(!cache.exists(key).unwrap(), "{key} was not read");
    }
}

#[test]
fn looking_never_rewrites_what_others_wrote() {
    let server = RedisServer::start(&[]);
    let cache = cache(&server, "q");
    cache.increment("n", 41).unwrap();
    cache.dry_run().invalidate_tags(["t"]).unwrap();
    cache.dry_run().invalidate_pattern("*").unwrap();
    cache.invalidate_tags_all(["t"]).unwrap();
    cache.keys("*").unwrap();
    cache.lookup::<i64>("n").unwrap();
    cache.with_schema(1).add("n", &1).unwrap();
    cache.increment("m", 41).unwrap();
    cache.peek::<i64>("m").unwrap();
    assert_eq!(server.command(&["INCR", "q:m"]).int(), 42);
}

#[test]
fn odd_values_of_other_programs_cost_no_endless_round() {
    let server = RedisServer::start(&[]);
    let cache = cache(&server, "odd").with_timeout(Duration::from_secs(2));
    let say = |words: &[&str]| server.command(words);
    say(&["SET", "odd:empty", ""]).expect_ok();
    say(&["SET", "odd:zeros", "007"]).expect_ok();
    say(&["SET", "odd:minus", "-0"]).expect_ok();
    say(&["LPUSH", "odd:list", "x"]);
    server.reset_stats();
    // An empty string is nothing.
    assert!(!cache.exists("empty").unwrap());
    assert_eq!(cache.get_bytes("empty").unwrap(), None);
    assert_eq!(cache.get_or_compute("empty", || "v".to_owned()).unwrap(), "v");
    assert_eq!(cache.get::<String>("empty").unwrap().as_deref(), Some("v"));
    for key in ["zeros", "minus", "list"] {
        assert_eq!(cache.increment(key, 1).unwrap_err().kind(), ErrorKind::WrongType, "{key}");
    }
    assert_eq!(say(&["GET", "odd:zeros"]).as_str(), "007");
    assert_eq!(cache.get_or_compute("list", || "v".to_owned()).unwrap(), "v");
    assert_eq!(say(&["LLEN", "odd:list"]).int(), 1, "left alone");
    let commands: u64 = server.commandstats().values().sum();
    assert!(commands < 100, "{commands}");
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
