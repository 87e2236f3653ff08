//! TLS, sentinels and clusters: who the servers are, and what happens when they change places.
#![cfg(feature = "redis")]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{RedisCluster, RedisSentinels, RedisServer, in_time, wait_until};
use yokedcache::{Backend, Cache, ErrorKind, Redis, Result};

fn cache(redis: Redis) -> Cache {
    Cache::builder(redis).key_prefix("p").build().unwrap()
}

fn open(url: &str) -> Cache {
    let redis = Redis::builder(url).timeout(Duration::from_secs(2)).pool_size(4);
    cache(redis.build().unwrap())
}

/// A get that does not hide an outage.
fn get(cache: &Cache, key: &str) -> Result<Option<String>> {
    cache.entry(key).strict().get()
}

fn set(cache: &Cache, key: &str, value: &str) -> Result<bool> {
    cache.entry(key).strict().set(value)
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use yokedcache::TlsSettings;

    fn connects(url: String) -> Result<Option<String>> {
        get(&cache(Redis::open(&url)?), "k")
    }

    fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
        result.unwrap_err().kind()
    }

    #[test]
    fn only_whom_we_trust_and_under_its_name() {
        let server = RedisServer::tls();
        let (url, ca) = (server.url(), server.ca().display().to_string());
        let other = server.other_ca().display().to_string();
        assert!(connects(format!("{url}?ssl_ca_certs={ca}")).is_ok());
        let named = format!("rediss://localhost:{}?ssl_ca_certs={ca}", server.port());
        assert!(connects(named).is_ok());
        // Another authority, the system's, and a name the certificate does not have.
        assert_eq!(kind(connects(format!("{url}?ssl_ca_certs={other}"))), ErrorKind::Unavailable);
        let other_name = format!("rediss://127.0.0.2:{}?ssl_ca_certs={ca}", server.port());
        let refused = connects(other_name.clone()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        // Less is checked only where it is asked for by name.
        let unchecked = |what: &str| format!("{url}?ssl_ca_certs={other}&{what}");
        assert_eq!(kind(connects(unchecked("ssl_check_hostname=false"))), ErrorKind::Unavailable);
        assert!(connects(unchecked("ssl_cert_reqs=none")).is_ok());
        let insecure = TlsSettings::new().danger_accept_any_certificate();
        assert!(get(&cache(Redis::builder(url).tls(insecure).build().unwrap()), "k").is_ok());
    }

    #[test]
    fn both_sides_prove_themselves() {
        let server = RedisServer::mutual_tls();
        let (url, ca) = (server.url(), server.ca());
        let tls = TlsSettings::new().ca_file(&ca);
        let alone = cache(Redis::builder(url).tls(tls.clone()).build().unwrap());
        assert_eq!(kind(get(&alone, "k")), ErrorKind::Unavailable);
        let with = tls.client_certificate(server.client_cert(), server.client_key());
        let cache = cache(Redis::builder(url).tls(with).build().unwrap());
        assert!(set(&cache, "k", "v").unwrap());
        assert_eq!(get(&cache, "k").unwrap().as_deref(), Some("v"));
    }

    #[test]
    fn a_server_without_tls_is_no_server() {
        let server = RedisServer::start(&[]);
        let insecure = TlsSettings::new().danger_accept_any_certificate();
        let url = format!("rediss://{}?socket_timeout=0.5", server.addr());
        let cache = cache(Redis::builder(&url).tls(insecure).build().unwrap());
        let started = Instant::now();
        assert!(get(&cache, "k").unwrap_err().is_transient());
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn files_that_are_none_are_refused_when_building() {
        for parameter in ["ssl_ca_certs=/nowhere.pem", "ssl_certfile=/a&ssl_keyfile=/b"] {
            let error = Redis::open(&format!("rediss://localhost?{parameter}")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{parameter}");
        }
        for url in [
            "rediss://localhost?ssl_certfile=/a",
            "redis://localhost?ssl_cert_reqs=none",
            "rediss://localhost?ssl_cert_reqs=optional",
            "rediss://localhost?ssl_check_hostname=maybe",
        ] {
            assert_eq!(Redis::open(url).unwrap_err().kind(), ErrorKind::InvalidArgument, "{url}");
        }
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_when_building() {
    let bad = [
        "redis://localhost?timeout=5",
        "redis://localhost?db=3",
        "redis://localhost?socket_timeout=0",
        "redis://localhost?socket_timeout=-1",
        "redis://localhost?socket_timeout=soon",
        "redis://localhost?connection_pool_size=0",
        "redis://localhost?connection_pool_size=-1",
        "redis://localhost?retry_on_timeout=perhaps",
        "redis://localhost?client_name=two%20words",
        "redis://localhost?read_from_replicas=true",
        "redis+cluster://localhost?plain=x",
    ];
    for url in bad {
        assert_eq!(Redis::open(url).unwrap_err().kind(), ErrorKind::InvalidArgument, "{url}");
    }
    assert!(Redis::builder("redis://localhost").pool_size(0).build().is_err());
    assert!(Redis::builder("redis://localhost").username("u").build().is_err());
    assert!(Redis::builder("redis+cluster://localhost").db(1).build().is_err());
    let all = "redis://u:p@localhost/2?connection_pool_size=3&socket_timeout=1.5&\
               socket_connect_timeout=1&retry_on_timeout=true&health_check_interval=30&\
               socket_keepalive=true&socket_keepalive_idle=60&socket_keepalive_interval=5&\
               socket_keepalive_count=2&idle_timeout=60&client_name=me&plain=false";
    assert!(Redis::open(all).is_ok());
}

#[test]
fn the_database_and_the_name_are_those_asked_for() {
    let server = RedisServer::start(&[]);
    let cache = open(&format!("{}/3?client_name=shop", server.url()));
    set(&cache, "k", "v").unwrap();
    assert!(server.command(&["CLIENT", "LIST"]).as_str().contains("name=shop"));
    assert_eq!(server.command(&["EXISTS", "p:k"]).int(), 0);
    let mut resp = server.resp();
    resp.command(&["SELECT", "3"]).expect_ok();
    assert_eq!(resp.command(&["EXISTS", "p:k"]).int(), 1);
}

#[test]
fn a_failover_is_followed_and_no_write_is_lost_to_the_old_master() {
    let sentinels = RedisSentinels::start();
    let cache = open(&sentinels.url());
    set(&cache, "k", "before").unwrap();
    let (stop, accepted) = (AtomicBool::new(false), AtomicUsize::new(0));
    let longest = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            while !stop.load(Ordering::Relaxed) {
                if set(&cache, "w", "x").is_ok() {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
                thread::sleep(Duration::from_millis(1));
            }
            longest
        });
        thread::sleep(Duration::from_millis(200));
        sentinels.failover();
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    println!("{} writes, the longest gap {longest:?}", accepted.into_inner());
    // What is accepted from now on is on the new master.
    for n in 0..50 {
        let value = format!("after {n}");
        assert!(set(&cache, "k", &value).unwrap());
        let stored = sentinels.master().command(&["GETRANGE", "p:k", "0", "-1"]);
        assert!(String::from_utf8_lossy(stored.bytes()).contains(&value), "{n}");
    }
}

#[test]
fn the_death_of_a_master_costs_what_the_sentinels_take() {
    let sentinels = RedisSentinels::start();
    let cache = open(&sentinels.url());
    set(&cache, "k", "v").unwrap();
    let old = sentinels.kill_master();
    let killed = Instant::now();
    // Dead or not, no call takes longer than it may.
    let mut found = None;
    while found.is_none() {
        let started = Instant::now();
        if set(&cache, "k", "again").is_ok() {
            found = Some(killed.elapsed());
        }
        assert!(started.elapsed() < Duration::from_secs(6));
        assert!(killed.elapsed() < Duration::from_secs(120));
        thread::sleep(Duration::from_millis(5));
    }
    sentinels.wait_moved(old);
    println!(
        "written again {:?} after the kill; sentinels agreed by {:?}",
        found,
        killed.elapsed()
    );
    assert_eq!(get(&cache, "k").unwrap().as_deref(), Some("again"));
    cache.invalidate_pattern("*").unwrap();
    assert_eq!(get(&cache, "k").unwrap(), None);
}

#[test]
fn without_sentinels_calls_fail_at_once() {
    let dead = support::free_port();
    let cache = open(&format!("redis+sentinel://127.0.0.1:{dead}/mymaster"));
    in_time(|| {
        let started = Instant::now();
        for _ in 0..3 {
            assert_eq!(get(&cache, "k").unwrap_err().kind(), ErrorKind::Unavailable);
        }
        (started.elapsed() < Duration::from_millis(1_500)).then_some(())
    });
}

#[test]
fn a_name_that_no_sentinel_knows_is_an_error_that_says_so() {
    let sentinels = RedisSentinels::start();
    let url = sentinels.url().replace("mymaster", "yours");
    let error = get(&open(&url), "k").unwrap_err();
    assert!(error.to_string().contains("yours"), "{error}");
}

/// A key in each slot asked for.
fn key_in(cluster: &RedisCluster, slot: u16) -> String {
    (0..).map(|n| format!("k{n}")).find(|key| cluster.slot_of(&format!("p:{key}")) == slot).unwrap()
}

#[test]
fn moved_slots_are_followed_and_the_map_is_learnt() {
    let cluster = RedisCluster::start();
    let cache = open(&cluster.url());
    set(&cache, "k", "v").unwrap();
    let slot = cluster.slot_of("p:k");
    let (from, masters) = (cluster.owner(slot), cluster.masters());
    let to = *masters.iter().find(|index| **index != from).unwrap();
    cluster.migrate(slot, to);
    assert_eq!(get(&cache, "k").unwrap().as_deref(), Some("v"));
    assert!(format!("{cache:?}").len() < 10_000, "it shows its masters, and not its slots");
    cluster.reset_stats();
    for _ in 0..10 {
        assert_eq!(get(&cache, "k").unwrap().as_deref(), Some("v"));
    }
    assert_eq!(cluster.nodes()[to].commandstats()["get"], 10, "no detours any more");
}

#[test]
fn keys_of_a_slot_on_the_move_are_found_on_either_side() {
    let cluster = RedisCluster::start();
    let cache = open(&cluster.url());
    let slot = cluster.slot_of("p:{tag}");
    let keys: Vec<String> = (0..20).map(|n| format!("{{tag}}{n}")).collect();
    for key in &keys {
        cache.entry(key).tag("{tag}t").set(key).unwrap();
    }
    let from = cluster.owner(slot);
    let to = *cluster.masters().iter().find(|index| **index != from).unwrap();
    cluster.migrate_begin(slot, to);
    cluster.migrate_keys(slot, to, 10);
    for key in &keys {
        assert_eq!(get(&cache, key).unwrap().as_ref(), Some(key));
    }
    let found = cache.get_many::<String>(&keys).unwrap();
    assert!(found.iter().zip(&keys).all(|(found, key)| found.as_ref() == Some(key)), "{found:?}");
    // Writes, loads and deletes of keys that are here, there, and nowhere.
    for n in 0..30 {
        let key = format!("{{tag}}{n}");
        assert!(set(&cache, &key, "w").unwrap());
        assert!(cache.delete(&key).unwrap());
        let loaded = cache.entry(&key).tag("{tag}t").get_or_compute(|| "loaded".to_owned());
        assert_eq!(loaded.unwrap(), "loaded");
        assert_eq!(get(&cache, &key).unwrap().as_deref(), Some("loaded"));
    }
    cache.invalidate_tags(["{tag}t"]).unwrap();
    assert_eq!(cache.get_many::<String>(&keys).unwrap().into_iter().flatten().count(), 0);
    // While a slot is on the move a walk over all keys promises nothing, and says so.
    let short = cache.with_timeout(Duration::from_secs(1));
    assert_eq!(short.invalidate_pattern("*").unwrap_err().kind(), ErrorKind::Unavailable);
    cluster.migrate_keys(slot, to, 1000);
    cluster.migrate_end(slot, to);
    cluster.wait_ok();
    cache.invalidate_pattern("*").unwrap();
    assert_eq!(cache.keys("*").unwrap(), Vec::<String>::new());
}

#[test]
fn a_promoted_replica_is_found() {
    let cluster = RedisCluster::start();
    let cache = open(&cluster.url());
    let slot = cluster.slot_of("p:k");
    set(&cache, "k", "v").unwrap();
    // Asked to step down.
    cluster.failover(slot);
    let asked = Instant::now();
    while get(&cache, "k").is_err() {
        assert!(asked.elapsed() < Duration::from_secs(10));
    }
    assert!(set(&cache, "k", "w").unwrap());
    // Killed.
    let master = cluster.owner(slot);
    cluster.kill(master);
    let killed = Instant::now();
    while set(&cache, "k", "x").is_err() {
        assert!(killed.elapsed() < Duration::from_secs(120));
        thread::sleep(Duration::from_millis(10));
    }
    println!("written again {:?} after the kill", killed.elapsed());
    assert_eq!(get(&cache, "k").unwrap().as_deref(), Some("x"));
    cache.clear().unwrap();
    assert_eq!(get(&cache, "k").unwrap(), None);
}

#[test]
fn replicas_answer_reads_where_that_is_wanted() {
    let cluster = RedisCluster::start();
    let url = format!("{}?read_from_replicas=true", cluster.url());
    let redis = Redis::open(&url).unwrap();
    assert_eq!(redis.about().can.lag, Duration::MAX, "a weaker promise, and it says so");
    assert_eq!(Redis::open(&cluster.url()).unwrap().about().can.lag, Duration::ZERO);
    let cache = cache(redis);
    for n in 0..30 {
        set(&cache, &format!("k{n}"), "v").unwrap();
    }
    wait_until("all is replicated", || {
        (0..30).all(|n| get(&cache, &format!("k{n}")).is_ok_and(|found| found.is_some()))
    });
    cluster.reset_stats();
    for n in 0..30 {
        assert_eq!(get(&cache, &format!("k{n}")).unwrap().as_deref(), Some("v"));
    }
    let masters = cluster.masters();
    let gets =
        |index: usize| cluster.nodes()[index].commandstats().get("get").copied().unwrap_or(0);
    let by_masters: u64 = masters.iter().map(|index| gets(*index)).sum();
    let all: u64 = (0..cluster.nodes().len()).map(gets).sum();
    assert_eq!((by_masters, all), (0, 30));
}

#[test]
fn any_seed_will_do() {
    let cluster = RedisCluster::start();
    let (dead, alive) = (support::free_port(), cluster.nodes()[4].port());
    let cache = open(&format!("redis+cluster://127.0.0.1:{dead},127.0.0.1:{alive}"));
    for slot in [0, 8000, 16383] {
        let key = key_in(&cluster, slot);
        assert!(set(&cache, &key, "v").unwrap());
    }
    let no_cluster = RedisServer::start(&[]);
    let error = get(&open(&format!("redis+cluster://{}", no_cluster.addr())), "k").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Backend | ErrorKind::Unavailable), "{error}");
}

#[test]
fn more_keys_than_go_at_once() {
    let server = RedisServer::start(&[]);
    let cluster = RedisCluster::start();
    for url in [server.url().to_owned(), cluster.url()] {
        let cache = open(&url);
        let keys: Vec<String> = (0..5_000).map(|n| format!("k{n}")).collect();
        assert!(cache.set_many(keys.iter().map(|key| (key, key))).unwrap().is_empty());
        let found = cache.get_many::<String>(&keys).unwrap();
        assert!(found.iter().zip(&keys).all(|(found, key)| found.as_ref() == Some(key)));
        let large = "x".repeat(300_000);
        let few = keys.iter().take(20);
        assert!(cache.set_many(few.map(|key| (key, &large))).unwrap().is_empty());
        let found = cache.get_many::<String>(&keys[..30]).unwrap();
        for (index, found) in found.iter().enumerate() {
            let own = if index < 20 { &large } else { &keys[index] };
            assert_eq!(found.as_ref(), Some(own));
        }
        assert_eq!(cache.keys("*").unwrap().len(), 5_000);
        assert_eq!(cache.delete_many(&keys).unwrap(), 5_000);
    }
}

#[test]
fn after_a_failover_the_first_batch_finds_all_its_keys() {
    let cluster = RedisCluster::start();
    let cache = open(&cluster.url());
    let keys: Vec<String> = (0..300).map(|n| format!("k{n}")).collect();
    assert!(cache.set_many(keys.iter().map(|key| (key, key))).unwrap().is_empty());
    wait_until("all is replicated", || {
        let held = |index: usize| cluster.nodes()[index].command(&["DBSIZE"]).int();
        (0..cluster.nodes().len()).map(held).sum::<i64>() == 2 * keys.len() as i64
    });
    let slot = cluster.slot_of("p:k0");
    let master = cluster.owner(slot);
    cluster.kill(master);
    cluster.wait_moved(slot, master);
    let found = cache.get_many::<String>(&keys).unwrap();
    let missing = found.iter().filter(|found| found.is_none()).count();
    assert_eq!(missing, 0, "of {}", keys.len());
}

#[test]
fn a_slot_without_a_server_is_the_trouble_of_its_keys_only() {
    let cluster = RedisCluster::start();
    let cache = open(&cluster.url());
    let keys: Vec<String> = (0..20).map(|n| format!("k{n}")).collect();
    cache.set_many(keys.iter().map(|key| (key, key))).unwrap();
    let slot = cluster.slot_of("p:k0");
    cluster.forget(slot);
    // A cache that never saw the slot anywhere.
    for cache in [&cache, &open(&cluster.url())] {
        let found = cache.get_many::<String>(&keys).unwrap();
        assert_eq!(found[0], None);
        let of_others = found.iter().zip(&keys).skip(1);
        for (found, key) in of_others {
            let same = cluster.slot_of(&format!("p:{key}")) == slot;
            assert_eq!(found.is_some(), !same, "{key}");
        }
        assert_eq!(get(cache, "k0").unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

#[test]
fn one_connection_is_enough_for_a_slot_on_the_move() {
    let cluster = RedisCluster::start();
    let redis = Redis::builder(&cluster.url()).pool_size(1).timeout(Duration::from_secs(2));
    let cache = cache(redis.build().unwrap());
    let slot = cluster.slot_of("p:{m}");
    let from = cluster.owner(slot);
    let to = *cluster.masters().iter().find(|index| **index != from).unwrap();
    let there = (0..).map(|n| format!("x{n}"));
    let there =
        there.into_iter().find(|key| cluster.owner(cluster.slot_of(&format!("p:{key}"))) == to);
    let there = there.unwrap();
    cluster.migrate_begin(slot, to);
    for _ in 0..3 {
        // One is asked for at the new server, one lives there anyway.
        let failed = cache.set_many([("{m}1", "v"), (there.as_str(), "v"), ("{m}2", "v")]).unwrap();
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!(cache.delete_many(["{m}1", there.as_str(), "{m}2"]).unwrap(), 3);
    }
}

#[test]
fn what_a_promoted_replica_did_not_hear_of_is_deleted_again() {
    let sentinels = RedisSentinels::start();
    let cache = open(&sentinels.url());
    let master = || sentinels.master();
    for key in ["deleted", "tagged", "other", "kept"] {
        cache.entry(key).tag(format!("t-{key}")).set(key).unwrap();
    }
    let names = ["p:deleted", "p:tagged", "p:t-tagged#t", "p:other"];
    let raw = names.map(|name| master().command(&["GET", name]).bytes().to_vec());
    cache.delete("deleted").unwrap();
    cache.invalidate_tags(["t-tagged"]).unwrap();
    cache.invalidate_pattern("oth*").unwrap();
    sentinels.failover();
    // The replica has heard of everything, as nothing was in its way: it forgets it again.
    for (name, raw) in names.iter().zip(&raw) {
        master().command(&[b"SET", name.as_bytes(), raw]).expect_ok();
    }
    wait_until("the failover is noticed", || get(&cache, "kept").is_ok());
    for key in ["deleted", "tagged", "other"] {
        assert_eq!(get(&cache, key).unwrap(), None, "{key}");
    }
    assert_eq!(get(&cache, "kept").unwrap().as_deref(), Some("kept"));
}

#[test]
fn what_cannot_be_repeated_yet_does_not_slow_everything_down() {
    let cluster = RedisCluster::start();
    let limit = Duration::from_millis(800);
    let redis = Redis::builder(&cluster.url()).timeout(limit).build().unwrap();
    let cache = cache(redis);
    let slot = cluster.slot_of("p:k0");
    let other = (1..)
        .map(|n| format!("k{n}"))
        .find(|key| cluster.owner(cluster.slot_of(&format!("p:{key}"))) != cluster.owner(slot));
    let other = other.unwrap();
    set(&cache, &other, "v").unwrap();
    cache.invalidate_pattern("nothing*").unwrap();
    // A walk over all keys has to wait while a slot is on the move.
    let moving = cluster.slot_of(&format!("p:{other}"));
    let to = *cluster.masters().iter().find(|index| **index != cluster.owner(moving)).unwrap();
    cluster.failover(slot);
    cluster.migrate_begin(moving, to);
    let started = Instant::now();
    for _ in 0..200 {
        let call = Instant::now();
        drop(get(&cache, &other));
        assert!(call.elapsed() < limit * 6, "{:?}", call.elapsed());
        thread::sleep(Duration::from_millis(5));
    }
    // If each waited as long as it may, it would be minutes.
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
}
