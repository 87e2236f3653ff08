//! Wrappers over real servers.

use std::time::Duration;

use yokedcache::backend::health::NearState;
use yokedcache::{
    BreakerState, Cache, ErrorKind, Fallback, HealthStatus, Memory, Redis, Switch, Tiered,
};

use crate::redis::{HEALTHY, cache};
use crate::support::{Plan, Proxy, RedisServer, wait_until};
use crate::{LIMIT, LONG_LIMIT, PATIENCE, codes, part, timed, warning, within_one_limit};

fn memory() -> Memory {
    Memory::builder().build().unwrap()
}

fn redis(url: &str) -> Redis {
    Redis::builder(url).timeout(PATIENCE).build().unwrap()
}

#[test]
fn a_near_tier_tells_its_signs_of_life_and_why_it_is_off() {
    let server = RedisServer::start(&HEALTHY);
    let proxy = Proxy::to(&server.addr());
    let bound = Duration::from_millis(300);
    let tiers = Tiered::builder(memory(), redis(&proxy.url())).bound(bound).build().unwrap();
    let cache = Cache::builder(tiers).key_prefix("h").build().unwrap();
    let short = cache.with_timeout(LIMIT);
    let near = || short.detailed_health_check().near.unwrap();
    wait_until("it is on", || near().state == NearState::On);
    cache.set("k", "v").unwrap();
    // What is still heard of its own write takes it out again.
    wait_until("an entry is near", || {
        cache.get::<String>("k").unwrap();
        near().entries == Some(1)
    });
    let mut on = cache.detailed_health_check();
    // A busy machine may be late with a sign of life.
    wait_until("all is well", || {
        on = cache.detailed_health_check();
        on.is_up() && on.near.as_ref().unwrap().last_sign.unwrap() < bound
    });
    assert!(codes(&on).is_empty() && on.near.unwrap().why.is_none());

    proxy.set(Plan::Hold);
    wait_until("it is off", || near().state == NearState::Off);
    wait_until("it is known why", || near().why.is_some());
    let off = timed(|| short.detailed_health_check());
    let told = off.near.as_ref().unwrap();
    assert!(told.last_sign.unwrap() >= bound);
    assert!(warning(&off, "near-off").degrades);
    assert_eq!(off.status(), HealthStatus::Down, "all reads go to the far tier, which hangs");
    assert!(cache.is_live(), "the listener tries again");
    proxy.set(Plan::Pass);
    wait_until("it is on again", || near().state == NearState::On);
    wait_until("all is well", || cache.detailed_health_check().is_up());
    cache.close();
    assert!(cache.is_live());
}

#[test]
fn a_near_tier_that_was_just_built_is_not_in_trouble() {
    let server = RedisServer::start(&HEALTHY);
    for _ in 0..20 {
        let bound = Duration::from_secs(10);
        let tiers = Tiered::builder(memory(), redis(server.url())).bound(bound).build().unwrap();
        let cache = Cache::builder(tiers).key_prefix("h").build().unwrap();
        let health = cache.detailed_health_check();
        assert!(health.is_up() && codes(&health).is_empty(), "{health:?}");
    }
    // One that cannot come on says so at once.
    let down = redis("redis://127.0.0.1:1");
    let tiers = Tiered::builder(memory(), down).bound(Duration::from_secs(10)).build().unwrap();
    let cache = Cache::builder(tiers).key_prefix("h").build().unwrap();
    assert_eq!(timed(|| cache.detailed_health_check()).status(), HealthStatus::Down);
}

#[test]
fn a_server_that_will_not_tell_of_changes_caps_the_near_tier() {
    let server = RedisServer::acl("app", "secret", "~* &* +@all -client|tracking");
    let tiers = Tiered::new(memory(), redis(server.url())).unwrap();
    let cache = Cache::builder(tiers).key_prefix("h").build().unwrap();
    let near = || cache.detailed_health_check().near.unwrap();
    wait_until("it is capped", || near().state == NearState::Capped);
    assert_eq!(near().why.unwrap().kind(), ErrorKind::Denied);
    let health = cache.detailed_health_check();
    assert!(!warning(&health, "near-capped").degrades && health.is_up());
    assert!(cache.is_live(), "a listener that has nothing to hear has not died");
}

#[test]
fn a_tree_of_wrappers_is_told_from_the_root_to_the_server() {
    let server = RedisServer::start(&HEALTHY);
    let tiers = Tiered::new(memory(), redis(server.url())).unwrap();
    let fallback = Fallback::builder(tiers, memory())
        .failure_threshold(1)
        .reset_timeout(Duration::from_secs(3600))
        .build()
        .unwrap();
    let cache = Cache::builder(Switch::new(fallback.clone())).key_prefix("h").build().unwrap();
    wait_until("all is well", || cache.detailed_health_check().is_up());
    server.stop();
    // The levels share it.
    let limited = cache.with_timeout(LONG_LIMIT);
    let health = within_one_limit(|| limited.detailed_health_check());
    assert_eq!(health.status(), HealthStatus::Degraded, "the secondary can serve");
    assert_eq!(part(&health, &server.addr()).error.as_ref().unwrap().kind(), ErrorKind::Timeout);
    for _ in 0..3 {
        let _ = cache.with_timeout(LIMIT).delete("k");
    }
    assert_eq!(fallback.state(), BreakerState::Open);
    let health = cache.with_timeout(LIMIT).detailed_health_check();
    let paths: Vec<_> = health
        .all_warnings()
        .into_iter()
        .map(|(path, warning)| (path.join("/"), warning.code))
        .collect();
    assert!(paths.contains(&("current".to_owned(), "breaker-open")), "{paths:?}");
    assert!(part(&health, "current").breaker.as_ref().unwrap().pending > 0);
    timed(|| cache.health_check()).unwrap();
    assert!(cache.is_live());
    server.cont();
}

#[test]
fn certificates_that_are_not_verified_are_told() {
    let server = RedisServer::tls();
    for (parameters, told) in [
        (format!("ssl_ca_certs={}", server.ca().display()), false),
        ("ssl_cert_reqs=none".to_owned(), true),
        (format!("ssl_ca_certs={}&ssl_check_hostname=false", server.ca().display()), true),
    ] {
        let cache = cache(&format!("{}?{parameters}", server.url()));
        let health = cache.detailed_health_check();
        assert!(health.is_up(), "{:?}", health.error);
        assert_eq!(codes(&health).contains(&"tls-unverified"), told, "{parameters}");
    }
}
