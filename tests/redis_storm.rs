//! A storm over a cluster whose network misbehaves, whose nodes die and whose slots move.
//!
//! Six seconds unless `YC_STORM` says how many; longer where a slow machine has done little by then.
#![cfg(feature = "redis")]

mod storm;
mod support;

use storm::{Dice, KEYS, LIMIT, key, storm};
use support::{Plan, Proxy, RedisCluster, wait_until};
use yokedcache::{Cache, Redis};

/// Has the cluster itself send its clients through the proxies.
fn announce(cluster: &RedisCluster, proxies: &[Proxy]) {
    for (node, proxy) in cluster.nodes().iter().zip(proxies) {
        let port = proxy.addr().rsplit(':').next().unwrap().to_owned();
        node.command(&["CONFIG", "SET", "cluster-announce-port", &port]).expect_ok();
    }
}

/// Whether each slot has a master that all know, and each master a replica that can take over.
fn is_well(cluster: &RedisCluster) -> bool {
    let says = |section: &[&str], line: &str| {
        cluster.nodes().iter().all(|node| {
            let answer = node.try_command(section);
            answer.is_ok_and(|answer| answer.as_str().lines().any(|found| found.contains(line)))
        })
    };
    let replicated = || {
        cluster.nodes().iter().all(|node| {
            let info = node.info("replication");
            info.get("master_link_status").is_none_or(|status| status == "up")
        })
    };
    says(&["CLUSTER", "INFO"], "cluster_state:ok")
        && says(&["CLUSTER", "INFO"], "cluster_slots_ok:16384")
        && replicated()
}

/// A dead master, a slot that moves, and three spells of bad network in turn.
fn trouble(cluster: &RedisCluster, proxies: &[Proxy], round: u64, dice: &mut Dice) -> &'static str {
    match round % 5 {
        0 => {
            let masters = cluster.masters();
            let victim = masters[dice.index(masters.len())];
            cluster.kill(victim);
            dice.sleep(500, 2_000);
            cluster.start_again(victim);
            announce(cluster, proxies);
            wait_until("the cluster is well again", || is_well(cluster));
            cluster.wait_ok();
            "kills"
        }
        1 => {
            let slot = cluster.slot_of(&format!("storm:{}", key(dice.roll(KEYS))));
            let from = cluster.owner(slot);
            let others: Vec<usize> =
                cluster.masters().into_iter().filter(|index| *index != from).collect();
            cluster.migrate(slot, others[dice.index(others.len())]);
            "slots moved"
        }
        _ => {
            let which = dice.index(proxies.len());
            proxies[which].set(Plan::Random(dice.roll(1_000_000)));
            dice.sleep(300, 500);
            proxies[which].set(Plan::Pass);
            "spells of bad network"
        }
    }
}

#[test]
fn in_a_storm_nothing_is_mixed_up_and_nothing_hangs() {
    let cluster = RedisCluster::start();
    let proxies: Vec<Proxy> = cluster.nodes().iter().map(|node| Proxy::to(&node.addr())).collect();
    announce(&cluster, &proxies);
    let announced = |node: &support::RedisServer| {
        let nodes = node.command(&["CLUSTER", "NODES"]).as_str().to_owned();
        proxies.iter().all(|proxy| nodes.contains(&proxy.addr()))
    };
    wait_until("all know the proxies", || cluster.nodes().iter().all(announced));
    let seeds: Vec<String> = proxies.iter().map(Proxy::addr).collect();
    let redis = Redis::builder(&format!("redis+cluster://{}", seeds.join(",")))
        .timeout(LIMIT)
        .pool_size(4)
        .build()
        .unwrap();
    let cache = Cache::builder(redis).key_prefix("storm").build().unwrap();
    let mut round = 0;
    storm("cluster", &cache, storm::seconds(6), |dice, troubles| {
        round += 1;
        *troubles.entry(trouble(&cluster, &proxies, round, dice)).or_default() += 1;
    });
}
