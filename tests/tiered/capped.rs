//! Where changes are not heard of.

use std::thread;
use std::time::{Duration, Instant};

use yokedcache::{Cache, Redis, Tiered};

use crate::far::memory;
use crate::server::Process;
use crate::support::{RedisServer, in_time, wait_until};

const CAP: Duration = Duration::from_millis(400);

/// Changed behind its back, a value is served for the cap at most, and near until then.
fn is_capped(cache: &Cache, change: impl Fn()) {
    assert_eq!(cache.backend().about().can.lag, CAP);
    in_time(|| is_served_for_the_cap(cache, &change));
    // Its own changes it never serves late.
    cache.entry("k").set("old").unwrap();
    cache.get::<String>("k").unwrap();
    cache.delete("k").unwrap();
    assert_eq!(cache.get::<String>("k").unwrap(), None);
}

fn is_served_for_the_cap(cache: &Cache, change: impl Fn()) -> Option<()> {
    cache.set("k", "old").unwrap();
    let get = || cache.get::<String>("k").unwrap();
    thread::sleep(Duration::from_millis(20));
    let asked = Instant::now();
    assert_eq!(get().as_deref(), Some("old"));
    let filled = Instant::now();
    change();
    let near = get();
    if asked.elapsed() >= CAP {
        return None;
    }
    assert_eq!(near.as_deref(), Some("old"), "it is near");
    thread::sleep((filled + CAP).saturating_duration_since(Instant::now()));
    assert_eq!(get(), None);
    Some(())
}

fn refused(rules: &str) {
    let server = RedisServer::acl("app", "secret", rules);
    let here = Process::start_off(server.url(), |tiers| tiers.near_ttl(CAP));
    wait_until("it is told", || here.told.all() == ["capped"]);
    here.wait_on();
    is_capped(&here.cache, || {
        server.command(&["DEL", "p:k"]);
    });
}

#[test]
fn a_server_that_will_not_track() {
    refused("~* &* +@all -client|tracking");
}

#[test]
fn a_channel_that_is_not_ours_to_hear() {
    refused("~* resetchannels +@all");
}

/// One who may only read has no signs of life to give.
#[test]
fn a_user_who_may_only_read() {
    let rules = "~* &* +@all -@write";
    let server = RedisServer::acl("app", "secret", rules);
    let here = Process::start_off(server.url(), |tiers| tiers.near_ttl(CAP));
    wait_until("it is told", || here.told.all() == ["capped"]);
    here.wait_on();
    assert_eq!(here.cache.backend().about().can.lag, CAP);
}

#[test]
fn replicas_that_answer() {
    let server = RedisServer::start(&[]);
    let url = format!("redis+cluster://{}", server.addr());
    let redis = Redis::builder(&url).read_from_replicas(true).build().unwrap();
    let tiers = Tiered::builder(memory(), redis).near_ttl(CAP).build().unwrap();
    let cache = Cache::builder(tiers).build().unwrap();
    assert_eq!(cache.backend().about().can.lag, Duration::MAX);
}

#[cfg(feature = "memcached")]
#[test]
fn memcached() {
    let server = crate::support::MemcachedServer::start(&[]);
    let far = || yokedcache::Memcached::open(server.url()).unwrap();
    let tiers = Tiered::builder(memory(), far()).near_ttl(CAP).build().unwrap();
    let cache = Cache::builder(tiers).key_prefix("p").build().unwrap();
    let other = Cache::builder(far()).key_prefix("p").build().unwrap();
    is_capped(&cache, || assert!(other.delete("k").unwrap()));
}
