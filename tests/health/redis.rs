//! One Redis server: whole, dead, hung, slow, full, with all connections in use.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use yokedcache::{Cache, ErrorKind, Health, HealthStatus, Redis, RedisBuilder};

use crate::support::{Plan, Proxy, RedisServer, free_port, in_time, wait_until};
use crate::{LIMIT, PATIENCE, codes, timed, warning};

/// What a server for a cache is told.
pub const HEALTHY: [(&str, &str); 2] =
    [("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")];

pub fn cache(url: &str) -> Cache {
    cache_with(url, |settings| settings)
}

pub fn cache_with(url: &str, settings: impl FnOnce(RedisBuilder) -> RedisBuilder) -> Cache {
    let redis = settings(Redis::builder(url).timeout(PATIENCE)).build().unwrap();
    Cache::builder(redis).key_prefix("h").build().unwrap()
}

pub fn server_of(health: &Health) -> &Health {
    let [(_, server)] = &health.children[..] else { panic!("{health:#?}") };
    server
}

#[test]
fn a_whole_server_tells_all() {
    let server = RedisServer::start(&HEALTHY);
    let cache = cache(server.url());
    cache.health_check().unwrap();
    server.reset_stats();
    let health = cache.detailed_health_check();
    assert_eq!((health.status(), codes(&health)), (HealthStatus::Up, vec![]));
    assert_eq!(health.children[0].0, server.addr());
    let there = server_of(&health);
    let probe = there.probe.unwrap();
    for step in [probe.set, probe.get, probe.delete, there.latency, health.latency] {
        assert!(step.unwrap() > Duration::ZERO && step.unwrap() < PATIENCE);
    }
    let said = there.server.as_deref().unwrap();
    let info = server.info("everything");
    assert_eq!(said.version.as_ref(), info.get("redis_version"));
    assert_eq!(said.eviction_policy.as_deref(), Some("allkeys-lru"));
    assert_eq!((said.max_memory, said.is_persistent), (Some(100 << 20), Some(false)));
    assert!(said.used_memory.unwrap() > 1 << 19 && said.clients.unwrap() >= 1);
    assert_eq!((said.evicted, said.expired), (Some(0), Some(0)));
    assert!(said.uptime.unwrap() < Duration::from_secs(60));
    let clock = said.clock.unwrap();
    assert!(clock.at_least() < Duration::from_millis(100), "{clock:?}");
    let pool = there.pool.unwrap();
    assert_eq!((pool.size, pool.in_use, pool.waiting, pool.is_exhausted()), (10, 0, 0, false));
    let replication = there.replication.as_ref().unwrap();
    assert_eq!((replication.role, replication.replicas), ("master", Some(0)));
    assert!(there.cool_down.is_none() && health.cluster.is_none() && health.sentinel.is_none());
}

#[test]
fn a_check_leaves_nothing_and_takes_the_trips_it_claims() {
    let server = RedisServer::start(&HEALTHY);
    let cache = cache(server.url());
    cache.set("mine", "v").unwrap();
    server.reset_stats();
    cache.detailed_health_check();
    let mut calls = server.commandstats();
    calls.retain(|name, _| !name.starts_with("config|resetstat"));
    let counts: Vec<_> = calls.iter().map(|(name, calls)| (name.as_str(), *calls)).collect();
    let expected =
        [("config|get", 2), ("get", 1), ("info", 1), ("set", 1), ("time", 1), ("unlink", 1)];
    assert_eq!(counts, expected);
    assert_eq!(server.command(&["DBSIZE"]).int(), 1);
    assert_eq!(cache.keys("*").unwrap(), ["mine"]);
    server.reset_stats();
    cache.health_check().unwrap();
    let calls = server.commandstats();
    let reads: Vec<_> = calls.iter().filter(|(name, _)| name.starts_with("get")).collect();
    assert!(matches!(reads[..], [(_, 1)]), "{calls:?}");
}

#[test]
fn a_probe_whose_delete_is_lost_goes_by_itself() {
    let server = RedisServer::acl("app", "secret", "~h:* &* +@all -unlink");
    let cache = cache(server.url());
    in_time(|| {
        let began = Instant::now();
        let health = cache.detailed_health_check();
        assert!(server_of(&health).probe.unwrap().delete.is_none());
        assert_eq!(warning(&health, "write-refused").code, "write-refused");
        let keys = server.command(&["KEYS", "*"]);
        let life = keys.array().first().map(|left| server.command(&["PTTL", left.as_str()]).int());
        if began.elapsed() >= Duration::from_secs(5) {
            return None;
        }
        assert_eq!(keys.array().len(), 1, "{keys:?}");
        assert!((1..=5_000).contains(&life.unwrap()), "{life:?}");
        Some(())
    });
    assert!(cache.keys("*").unwrap().is_empty(), "it is nobody's entry");
}

#[test]
fn a_dead_server_is_down_at_once() {
    let server = RedisServer::start(&HEALTHY);
    let cache = cache(server.url());
    assert!(cache.detailed_health_check().is_up());
    server.kill();
    assert_eq!(timed(|| cache.health_check()).unwrap_err().kind(), ErrorKind::Unavailable);
    let health = timed(|| cache.detailed_health_check());
    assert_eq!(health.status(), HealthStatus::Down);
    assert_eq!(health.error.as_ref().unwrap().kind(), ErrorKind::Unavailable);
    let there = server_of(&health);
    assert_eq!(there.error.as_ref().unwrap().kind(), ErrorKind::Unavailable);
    assert!(there.server.is_none() && there.probe.is_none() && there.latency.is_none());
    let pause = there.cool_down.as_ref().unwrap();
    assert!(pause.since < LIMIT * 16 && pause.retry_in < Duration::from_secs(1));
    assert_eq!(pause.last_error.kind(), ErrorKind::Unavailable);
    assert!(cache.is_live(), "no reason to restart the program");
    server.start_again();
    wait_until("it is up again", || cache.detailed_health_check().is_up());
    assert!(server_of(&cache.detailed_health_check()).cool_down.is_none());
}

#[test]
fn how_long_a_server_has_been_down_is_counted_from_the_first_failure() {
    let cache = cache(&format!("redis://127.0.0.1:{}", free_port()));
    let since = || server_of(&cache.detailed_health_check()).cool_down.as_ref().unwrap().since;
    since();
    thread::sleep(Duration::from_millis(700));
    assert!(since() >= Duration::from_millis(700), "trials in between begin nothing anew");
}

#[test]
fn a_hung_server_is_down_when_the_time_is_up() {
    let server = RedisServer::start(&HEALTHY);
    let cache = cache(server.url());
    assert!(cache.detailed_health_check().is_up());
    let short = cache.with_timeout(LIMIT);
    server.stop();
    let started = Instant::now();
    assert!(cache.is_live());
    assert!(started.elapsed() < PATIENCE / 2, "no server is waited for");
    let health = timed(|| short.detailed_health_check());
    assert_eq!(health.error.unwrap().kind(), ErrorKind::Timeout);
    assert_eq!(timed(|| short.health_check()).unwrap_err().kind(), ErrorKind::Timeout);
    server.cont();
    wait_until("it is up again", || cache.detailed_health_check().is_up());
}

#[test]
fn a_backend_with_less_time_takes_less() {
    let server = RedisServer::start(&HEALTHY);
    let cache = cache_with(server.url(), |settings| settings.timeout(LIMIT));
    server.stop();
    assert_eq!(timed(|| cache.detailed_health_check()).status(), HealthStatus::Down);
    server.cont();
}

#[test]
fn a_slow_network_is_measured_step_by_step() {
    let server = RedisServer::start(&HEALTHY);
    let proxy = Proxy::to(&server.addr());
    let cache = cache(&proxy.url());
    assert!(cache.detailed_health_check().is_up());
    let delay = Duration::from_millis(60);
    proxy.set(Plan::Delay(delay));
    let health = cache.detailed_health_check();
    assert!(health.is_up(), "slow is not broken");
    let there = server_of(&health);
    let probe = there.probe.unwrap();
    for step in [probe.set, probe.get, probe.delete] {
        assert!(step.unwrap() >= delay, "{probe:?}");
    }
    assert!(cache.health_check().unwrap() >= delay);
    let clock = there.server.as_deref().unwrap().clock.unwrap();
    assert!(clock.error_ms >= 30.0, "half of the trip may be wrong: {clock:?}");
}

#[test]
fn a_wrong_password_is_said_and_not_shown() {
    let server = RedisServer::start(&[("requirepass", "secret")]);
    let cache = cache(&server.url().replace("secret", "sekret"));
    assert_eq!(cache.health_check().unwrap_err().kind(), ErrorKind::Denied);
    let health = cache.detailed_health_check();
    assert_eq!(health.error.as_ref().unwrap().kind(), ErrorKind::Denied);
    let shown = format!("{health:?} {}", serde_json::to_string(&health).unwrap());
    assert!(!shown.contains("sekret") && !shown.contains("secret"), "{shown}");
    assert!(server_of(&health).cool_down.is_none(), "a server that refuses us is not down");
}

#[test]
fn settings_that_weaken_the_promises_are_told_with_what_to_do() {
    let server = RedisServer::start(&[]);
    let cache = cache(server.url());
    assert_eq!(codes(&cache.detailed_health_check()), ["no-maxmemory"]);
    for (setting, value) in [("save", "60 1"), ("maxmemory", "100mb")] {
        server.command(&["CONFIG", "SET", setting, value]).expect_ok();
    }
    let health = cache.detailed_health_check();
    assert_eq!(codes(&health), ["persistence", "noeviction"]);
    assert!(health.is_up(), "it is advice");
    assert!(warning(&health, "noeviction").text.contains("maxmemory-policy allkeys-lru"));
    assert_eq!(server_of(&health).server.as_deref().unwrap().is_persistent, Some(true));
}

#[test]
fn memory_that_is_used_up_degrades() {
    let server = RedisServer::start(&[("maxmemory", "3mb")]);
    let cache = cache(server.url());
    let mut n = 0;
    while cache.entry(format!("k{n}")).strict().set_bytes(vec![7; 10_000]).is_ok() {
        n += 1;
    }
    let health = cache.detailed_health_check();
    assert_eq!(codes(&health), ["out-of-memory", "noeviction", "memory-short"]);
    assert_eq!(health.status(), HealthStatus::Degraded, "what is there is served");
    assert!(warning(&health, "out-of-memory").text.contains("OOM"));
    let there = server_of(&health);
    assert!(there.probe.unwrap().set.is_none() && there.probe.unwrap().get.is_some());
    cache.health_check().unwrap();
}

#[test]
fn with_all_connections_in_use_the_check_takes_one_of_its_own() {
    let server = RedisServer::start(&HEALTHY);
    let proxy = Proxy::to(&server.addr());
    let settings = |redis: RedisBuilder| redis.pool_size(1);
    let cache = cache_with(&proxy.url(), settings);
    cache.set("k", "v").unwrap();
    proxy.set(Plan::Delay(Duration::from_millis(50)));
    assert_eq!(proxy.connections(), 1);
    let stop = AtomicBool::new(false);
    let health = thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    cache.get::<String>("k").unwrap();
                }
            });
        }
        let mut health = cache.detailed_health_check();
        wait_until("two wait", || {
            health = cache.detailed_health_check();
            // Not while one hands it to another.
            let pool = server_of(&health).pool.unwrap();
            (pool.waiting, pool.in_use) == (2, 1)
        });
        stop.store(true, Ordering::Relaxed);
        health
    });
    assert!(proxy.connections() > 1, "it took one beside the pool");
    assert_eq!((health.status(), codes(&health)), (HealthStatus::Degraded, vec!["pool-exhausted"]));
    let there = server_of(&health);
    let pool = there.pool.unwrap();
    assert_eq!((pool.size, pool.in_use, pool.idle), (1, 1, 0), "{pool:?}");
    assert!(there.probe.unwrap().delete.is_some() && there.server.is_some());
    assert!(cache.detailed_health_check().is_up());
    assert_eq!(server_of(&cache.detailed_health_check()).pool.unwrap().waiting, 0);
}
