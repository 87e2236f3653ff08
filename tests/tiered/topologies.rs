//! Masters that change.

use std::thread;
use std::time::{Duration, Instant};

use crate::server::{Process, wait_gone};
use crate::support::{RedisCluster, RedisSentinels, RedisServer, Reply, wait_until};

const BOUND: Duration = Duration::from_millis(500);

fn process(url: &str) -> Process {
    Process::start(url, |tiers| tiers.bound(BOUND))
}

/// Once it is on again, `there` changes a value that is near `here`, and is heard.
fn hear_of_each_other(here: &Process, there: &Process) {
    for n in 0..20 {
        let key = format!("again{n}");
        wait_until("it can be written", || there.cache.entry(&key).strict().set("old").is_ok());
        here.warm(&key);
        wait_until("it can be deleted", || there.cache.entry(&key).strict().delete().is_ok());
        wait_gone(here, &key, "old");
    }
}

#[test]
fn at_the_start_it_is_on_once() {
    let cluster = RedisCluster::start();
    let sentinels = RedisSentinels::start();
    for url in [cluster.url(), sentinels.url()] {
        // Longer than a server stands still on a busy machine, and a further sign of life in it.
        let bound = 6 * BOUND;
        let here = Process::start_off(&url, |tiers| tiers.bound(bound));
        here.wait_on();
        thread::sleep(bound / 2);
        assert_eq!(here.told.all(), ["on"]);
        hear_of_each_other(&here, &process(&url));
    }
}

#[test]
fn a_failover_by_sentinels() {
    let sentinels = RedisSentinels::start();
    let (here, there) = (process(&sentinels.url()), process(&sentinels.url()));
    here.cache.set("k", "old").unwrap();
    here.warm("k");
    sentinels.failover();
    wait_until("it is written", || there.cache.entry("k").strict().set("new").is_ok());
    let written = Instant::now();
    while written.elapsed() < 2 * BOUND {
        let began = Instant::now();
        let stale = here.cache.get::<String>("k").ok().flatten().as_deref() == Some("old");
        assert!(!stale || began < written + BOUND, "{:?} after", began - written);
    }
    wait_until("it is on again", || here.told.all().ends_with(&["off", "on"]));
    hear_of_each_other(&here, &there);
}

#[test]
fn a_slot_that_moves_and_its_keys_are_near() {
    let cluster = RedisCluster::start();
    let (here, there) = (Process::patient(&cluster.url()), process(&cluster.url()));
    let slot = cluster.slot_of("p:{s}");
    let keys: Vec<String> = (0..6).map(|n| format!("{{s}}{n}")).collect();
    for key in &keys {
        here.cache.set(key, "old").unwrap();
        here.warm(key);
    }
    let from = cluster.owner(slot);
    let to = *cluster.masters().iter().find(|master| **master != from).unwrap();
    let delete = |key: &String| {
        assert!(there.cache.delete(key).unwrap());
        wait_gone(&here, key, "old");
    };
    cluster.migrate_begin(slot, to);
    delete(&keys[0]);
    cluster.migrate_keys(slot, to, 3);
    // What the other one answers meanwhile is not kept near.
    let (stayed, gone): (Vec<&String>, Vec<_>) = keys[1..].iter().partition(|key| {
        cluster.nodes()[from].command(&["EXISTS", &format!("p:{key}")]) == Reply::Int(1)
    });
    assert!(!stayed.is_empty() && !gone.is_empty());
    stayed.iter().for_each(|key| wait_until("it is near", || here.is_near(key)));
    for key in gone.iter().chain(&gone) {
        assert_eq!(here.get(key).as_deref(), Some("old"));
        assert!(!here.is_near(key));
    }
    delete(&keys[1]);
    delete(&keys[2]);
    while cluster.migrate_keys(slot, to, 100) > 0 {}
    delete(&keys[3]);
    cluster.migrate_end(slot, to);
    delete(&keys[4]);
    here.warm(&keys[5]);
    delete(&keys[5]);
    assert_eq!(here.told.all(), ["on"], "both were heard of all the time");
}

#[test]
fn a_replica_that_takes_over() {
    let cluster = RedisCluster::start();
    let (here, there) = (process(&cluster.url()), process(&cluster.url()));
    here.cache.set("k", "old").unwrap();
    here.warm("k");
    cluster.failover(cluster.slot_of("p:k"));
    wait_until("it is written", || there.cache.entry("k").strict().set("new").is_ok());
    let written = Instant::now();
    while written.elapsed() < 2 * BOUND {
        let began = Instant::now();
        let stale = here.cache.get::<String>("k").ok().flatten().as_deref() == Some("old");
        assert!(!stale || began < written + BOUND, "{:?} after", began - written);
    }
    here.wait_on();
    hear_of_each_other(&here, &there);
}

/// A server without slots joins and is given its first: nobody listens to it yet.
#[test]
fn a_master_that_is_new() {
    let cluster = RedisCluster::start();
    let (here, there) = (process(&cluster.url()), process(&cluster.url()));
    let key = "{s}0";
    here.cache.set(key, "old").unwrap();
    here.warm(key);
    let slot = cluster.slot_of("p:{s}");
    let new = cluster.replica(slot);
    let node = &cluster.nodes()[new];
    node.command(&["CLUSTER", "RESET", "SOFT"]).expect_ok();
    let bus = node.command(&["CONFIG", "GET", "cluster-port"]);
    let (port, bus) = (node.port().to_string(), bus.array()[1].as_str());
    let meet = ["CLUSTER", "MEET", "127.0.0.1", &port, bus];
    cluster.nodes()[cluster.owner(slot)].command(&meet).expect_ok();
    wait_until("all know it as a master", || {
        let knows = |node: &RedisServer| {
            let nodes = node.command(&["CLUSTER", "NODES"]);
            let is_new = |line: &&str| line.contains(&format!(":{port}@"));
            let line = nodes.as_str().lines().find(is_new);
            line.is_some_and(|line| line.contains("master") && !line.contains("handshake"))
        };
        cluster.nodes().iter().all(knows)
    });
    cluster.wait_ok();
    cluster.migrate(slot, new);
    assert!(there.cache.delete(key).unwrap());
    wait_gone(&here, key, "old");
    for n in 0..10 {
        let key = format!("{{s}}{n}");
        wait_until("it can be written", || there.cache.entry(&key).strict().set("old").is_ok());
        here.warm(&key);
        wait_until("it can be deleted", || there.cache.entry(&key).strict().delete().is_ok());
        wait_gone(&here, &key, "old");
    }
}
