//! Memcached servers: whole, one of them down, and with options that take something away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use yokedcache::{Cache, ErrorKind, Health, HealthStatus, Memcached};

use crate::support::{MemcachedFleet, MemcachedServer, Plan, Proxy, wait_until};
use crate::{LONG_LIMIT, PATIENCE, codes, part, timed, warning, within_one_limit};

fn cache(url: &str) -> Cache {
    let memcached = Memcached::builder(url).timeout(PATIENCE).build().unwrap();
    Cache::builder(memcached).key_prefix("h").build().unwrap()
}

fn check(url: &str) -> Health {
    check_on_time(&cache(url))
}

/// The clock of a server ticks when the server gets a processor, and may be seconds late on a busy
/// machine.
fn check_on_time(cache: &Cache) -> Health {
    let mut health = cache.detailed_health_check();
    wait_until("its clock is right", || {
        health = cache.detailed_health_check();
        !codes(&health).contains(&"clock-skew")
    });
    health
}

#[test]
fn each_server_of_a_fleet_tells_all() {
    let fleet = MemcachedFleet::start(3);
    let health = check(&fleet.url(&[1, 2, 3]));
    assert_eq!((health.status(), codes(&health)), (HealthStatus::Up, vec![]));
    assert_eq!(health.children.len(), 3);
    for server in &fleet.servers {
        let there = part(&health, &server.addr());
        let probe = there.probe.unwrap();
        assert!(probe.set.is_some() && probe.get.is_some() && probe.delete.is_some());
        let said = there.server.as_deref().unwrap();
        let stats = server.stats("");
        assert_eq!(said.version.as_ref(), stats.get("version"));
        assert_eq!(said.max_memory.unwrap().to_string(), stats["limit_maxbytes"]);
        assert_eq!((said.eviction_policy.as_deref(), said.evicted), (Some("lru"), Some(0)));
        assert_eq!(said.is_persistent, Some(false));
        assert!(said.clients.unwrap() >= 1 && said.uptime.unwrap() < Duration::from_secs(60));
        let clock = said.clock.unwrap();
        assert!(
            clock.error_ms >= 1000.0 && clock.at_least() <= Duration::from_secs(1),
            "{clock:?}"
        );
        assert!(server.keys().is_empty(), "nothing is left");
        assert_eq!(there.pool.unwrap().size, 10);
    }
}

#[test]
fn one_that_is_down_or_hangs_takes_nothing_from_the_others() {
    let fleet = MemcachedFleet::start(3);
    let cache = cache(&fleet.url(&[]));
    assert!(cache.detailed_health_check().is_up());
    fleet.servers[0].kill();
    fleet.servers[1].stop();
    let limited = cache.with_timeout(LONG_LIMIT);
    let health = within_one_limit(|| limited.detailed_health_check());
    assert_eq!(health.status(), HealthStatus::Degraded);
    let errors: Vec<_> = health
        .children
        .iter()
        .map(|(_, server)| server.error.as_ref().map(|error| error.kind()))
        .collect();
    assert_eq!(errors, [Some(ErrorKind::Unavailable), Some(ErrorKind::Timeout), None]);
    assert!(part(&health, &fleet.servers[0].addr()).cool_down.is_some());
    assert!(part(&health, &fleet.servers[2].addr()).is_up());
    fleet.servers[1].cont();
    fleet.servers[1].kill();
    fleet.servers[2].kill();
    assert_eq!(timed(|| cache.detailed_health_check()).status(), HealthStatus::Down);
    assert!(cache.is_live());
    fleet.servers.iter().for_each(MemcachedServer::start_again);
    wait_until("all are up again", || cache.detailed_health_check().is_up());
}

#[test]
fn where_others_stand_in_each_server_is_still_asked_itself() {
    let fleet = MemcachedFleet::start(2);
    let memcached =
        Memcached::builder(&fleet.url(&[])).timeout(PATIENCE).eject(true).build().unwrap();
    let cache = Cache::builder(memcached).key_prefix("h").build().unwrap();
    fleet.servers[0].kill();
    let health = cache.detailed_health_check();
    assert!(!part(&health, &fleet.servers[0].addr()).is_up());
    assert!(part(&health, &fleet.servers[1].addr()).is_up());
    wait_until("another stands in", || cache.health_check().is_ok());
}

#[test]
fn with_all_connections_in_use_the_check_takes_one_of_its_own() {
    let server = MemcachedServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    let url = format!("memcached://{}", proxy.addr());
    let memcached = Memcached::builder(&url).pool_size(1).timeout(PATIENCE);
    let cache = Cache::builder(memcached.build().unwrap()).key_prefix("h").build().unwrap();
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
            let pool = part(&health, &proxy.addr()).pool.unwrap();
            (pool.waiting, pool.in_use) == (2, 1) && !codes(&health).contains(&"clock-skew")
        });
        stop.store(true, Ordering::Relaxed);
        health
    });
    assert!(proxy.connections() > 1, "it took one beside the pool");
    assert_eq!((health.status(), codes(&health)), (HealthStatus::Degraded, vec!["pool-exhausted"]));
    let there = part(&health, &proxy.addr());
    assert!(there.server.is_some() && there.latency.unwrap() >= Duration::from_millis(50));
    assert!(cache.detailed_health_check().is_up());
}

#[test]
fn options_that_take_something_away_are_told() {
    for (option, code) in [("-M", "noeviction"), ("-C", "no-cas"), ("-X", "no-listing")] {
        let server = MemcachedServer::start(&[option]);
        let health = check(server.url());
        assert_eq!((health.status(), codes(&health)), (HealthStatus::Up, vec![code]), "{option}");
        assert!(warning(&health, code).text.contains(option));
    }
}

#[test]
fn the_binary_protocol_tells_the_same() {
    let server = MemcachedServer::start(&["-M"]);
    let health = check(&format!("{}?protocol=binary", server.url()));
    let told = vec!["no-listing", "noeviction"];
    assert_eq!((health.status(), codes(&health)), (HealthStatus::Up, told));
    let there = part(&health, &server.addr());
    assert!(there.probe.unwrap().delete.is_some());
    let said = there.server.as_deref().unwrap();
    assert!(said.version.is_some() && said.max_memory.is_some() && said.clock.is_some());
}

#[test]
fn where_the_prefix_leaves_no_room_for_a_name_no_entry_is_tried() {
    let server = MemcachedServer::start(&[]);
    let memcached = Memcached::builder(server.url()).plain(true).timeout(PATIENCE).build().unwrap();
    let cache = Cache::builder(memcached).key_prefix("p".repeat(240)).build().unwrap();
    assert!(cache.set("k", "v").unwrap());
    let health = check_on_time(&cache);
    assert_eq!((health.status(), codes(&health)), (HealthStatus::Up, vec![]));
    let there = part(&health, &server.addr());
    assert!(there.probe.is_none() && there.latency.is_some() && there.server.is_some());
    server.kill();
    assert_eq!(cache.detailed_health_check().status(), HealthStatus::Down);
}

#[test]
fn a_wrong_password_is_said_and_not_shown() {
    let server = MemcachedServer::plain_auth("ann", "secret");
    let health = check(&server.url().replace("secret", "sekret"));
    assert_eq!(health.error.as_ref().unwrap().kind(), ErrorKind::Denied);
    let shown = format!("{health:?} {}", serde_json::to_string(&health).unwrap());
    assert!(!shown.contains("sekret") && !shown.contains("secret"), "{shown}");
}
