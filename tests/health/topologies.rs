//! Clusters and sentinels, with one of them missing.

use yokedcache::{Cache, Health, HealthStatus, Redis};

use crate::redis::{HEALTHY, server_of};
use crate::support::{RedisCluster, RedisSentinels, wait_until};
use crate::{LIMIT, LONG_LIMIT, PATIENCE, codes, part, timed, warning, within_one_limit};

fn cache(url: &str) -> Cache {
    let redis = Redis::builder(url).timeout(PATIENCE).build().unwrap();
    Cache::builder(redis).key_prefix("h").build().unwrap()
}

fn up(health: &Health) -> usize {
    health.children.iter().filter(|(_, node)| node.error.is_none()).count()
}

#[test]
fn each_master_of_a_cluster_is_tried_and_one_that_hangs_is_told() {
    let cluster =
        RedisCluster::start_with(&[&HEALTHY[..], &[("cluster-node-timeout", "60000")]].concat());
    let cache = cache(&cluster.url());
    let health = cache.detailed_health_check();
    assert_eq!((health.status(), codes(&health)), (HealthStatus::Up, vec![]), "{health:#?}");
    let told = health.cluster.as_ref().unwrap();
    assert_eq!((told.state.as_deref(), told.slots_ok), (Some("ok"), Some(16_384)));
    assert_eq!(told.known_nodes, Some(cluster.nodes().len() as u64));
    let masters = cluster.masters();
    assert_eq!(health.children.len(), masters.len());
    for (name, node) in &health.children {
        assert!(node.probe.unwrap().delete.is_some(), "{name} has slots of its own");
        assert!(node.cluster.is_none(), "it is said once");
    }
    let keys = |master: &usize| cluster.nodes()[*master].command(&["DBSIZE"]).int();
    assert_eq!(masters.iter().map(keys).sum::<i64>(), 0);

    let hung = &cluster.nodes()[masters[0]];
    let limited = cache.with_timeout(LONG_LIMIT);
    hung.stop();
    let health = within_one_limit(|| limited.detailed_health_check());
    hung.cont();
    assert_eq!(health.status(), HealthStatus::Degraded);
    assert_eq!(part(&health, &hung.addr()).status(), HealthStatus::Down);
    assert_eq!(up(&health), masters.len() - 1);
    for (name, node) in health.children.iter().filter(|(name, _)| *name != hung.addr()) {
        assert!(node.server.is_some() && node.latency.unwrap() < LONG_LIMIT, "{name}");
    }
}

#[test]
fn a_slot_that_is_on_its_way_to_another_master_is_no_outage() {
    let cluster = RedisCluster::start_with(&HEALTHY);
    let redis = Redis::builder(&cluster.url()).timeout(PATIENCE).build().unwrap();
    // All names of this prefix lie in one slot.
    let cache = Cache::builder(redis).key_prefix("{h}").build().unwrap();
    let slot = cluster.slot_of("{h}");
    let owner = cluster.nodes()[cluster.owner(slot)].addr();
    assert!(part(&cache.detailed_health_check(), &owner).probe.is_some());
    let to = cluster.masters().into_iter().find(|master| *master != cluster.owner(slot));
    cluster.migrate_begin(slot, to.unwrap());
    let health = cache.detailed_health_check();
    assert_eq!((health.status(), codes(&health)), (HealthStatus::Up, vec![]), "{health:#?}");
    assert!(part(&health, &owner).latency.is_some());
    cache.health_check().unwrap();
}

#[test]
fn a_cluster_without_some_of_its_slots_says_so() {
    let settings =
        [("cluster-require-full-coverage", "no"), ("cluster-replica-no-failover", "yes")];
    let cluster = RedisCluster::start_with(&[&HEALTHY[..], &settings].concat());
    let cache = cache(&cluster.url());
    assert!(cache.detailed_health_check().is_up());
    let dead = cluster.masters()[0];
    cluster.kill(dead);
    wait_until("the others have noticed", || {
        codes(&cache.detailed_health_check()).contains(&"cluster-state")
    });
    let health = timed(|| cache.detailed_health_check());
    assert_eq!(health.status(), HealthStatus::Degraded);
    assert!(warning(&health, "cluster-state").degrades);
    let told = health.cluster.as_ref().unwrap();
    assert!(told.slots_ok.unwrap() < 16_384, "{told:?}");
    assert_eq!(told.slots_assigned, Some(16_384));
}

#[test]
fn replicas_that_are_read_are_looked_at_and_never_written() {
    let cluster = RedisCluster::start_with(&HEALTHY);
    let redis = Redis::builder(&cluster.url()).read_from_replicas(true).build().unwrap();
    let cache = Cache::builder(redis).key_prefix("h").build().unwrap();
    let mut health = cache.detailed_health_check();
    // A server names the replicas it has heard from, which takes a while on a busy machine.
    wait_until("all are known", || {
        health = cache.detailed_health_check();
        health.children.len() == cluster.nodes().len()
    });
    assert_eq!((health.status(), codes(&health)), (HealthStatus::Up, vec!["replica-reads"]));
    let (masters, replicas): (Vec<_>, Vec<_>) =
        health.children.iter().partition(|(_, node)| node.probe.is_some());
    assert_eq!(masters.len(), cluster.masters().len());
    assert!(!replicas.is_empty());
    for (name, node) in replicas {
        let replication = node.replication.as_ref().unwrap();
        assert_eq!((replication.role, replication.is_link_up), ("replica", Some(true)), "{name}");
    }
}

#[test]
fn a_cluster_nobody_of_answers_is_down() {
    let cluster = RedisCluster::start_with(&HEALTHY);
    let url = cluster.url();
    drop(cluster);
    let health = timed(|| cache(&url).detailed_health_check());
    assert_eq!((health.status(), health.children.len()), (HealthStatus::Down, 0));
    assert_eq!(health.error.unwrap().kind(), yokedcache::ErrorKind::Unavailable);
}

#[test]
fn sentinels_name_the_master_and_are_counted() {
    let all = RedisSentinels::start();
    let cache = cache(&all.url());
    let reachable = |health: &Health| health.sentinel.as_ref().unwrap().reachable;
    // One has half a second to answer, which may take more than one attempt on a busy machine.
    let reached = |cache: &Cache, expected| {
        let mut health = None;
        wait_until("so many are reached", || {
            reachable(health.insert(timed(|| cache.detailed_health_check()))) == expected
        });
        health.unwrap()
    };
    let health = reached(&cache, 3);
    let told = health.sentinel.as_ref().unwrap();
    assert_eq!((told.service.as_str(), told.sentinels), ("mymaster", 3));
    assert_eq!(told.master, Some(all.master_addr()));
    assert_eq!(server_of(&health).replication.as_ref().unwrap().replicas, Some(1));
    assert_eq!(codes(&health), ["no-maxmemory"]);
    assert!(health.is_up() && cache.is_live());

    let master = all.master();
    for sentinel in all.sentinels() {
        let set = ["SENTINEL", "SET", "mymaster", "down-after-milliseconds", "600000"];
        sentinel.command(&set).expect_ok();
    }
    let short = cache.with_timeout(LIMIT);
    master.stop();
    // A master that hangs hides no sentinel.
    let health = reached(&short, 3);
    master.cont();
    assert_eq!(health.status(), HealthStatus::Down);

    all.sentinels()[0].stop();
    let health = reached(&cache, 2);
    assert!(
        health.is_up() && !warning(&health, "sentinels-unreachable").degrades,
        "a majority is there"
    );
    all.sentinels()[1].kill();
    let health = reached(&cache, 1);
    assert!(warning(&health, "sentinels-unreachable").degrades);
    assert_eq!(health.status(), HealthStatus::Degraded, "the master serves");
    all.sentinels()[0].cont();
}
