//! Everything at once: many threads on a cluster whose network misbehaves, whose nodes die and whose
//! slots move. No value is ever another key's, no call is late, nothing panics.
//!
//! Six seconds unless `YC_STORM` says how many; longer where a slow machine has done little by then.
#![cfg(feature = "redis")]

mod support;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{Plan, Proxy, RedisCluster, wait_until};
use yokedcache::{Cache, Error, Redis};

const LIMIT: Duration = Duration::from_millis(500);
/// How long a call takes at most where the machine is slow, too.
const MOST: Duration = Duration::from_secs(4);
/// How many calls at least are to succeed.
const ENOUGH: u64 = 2_000;
const THREADS: u64 = 8;
const KEYS: u64 = 200;

/// Numbers that look random; the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

fn key(number: u64) -> String {
    format!("key-{number}-{}", "k".repeat(number as usize % 7))
}

/// A value that tells whose it is, short or long.
fn value(key: &str, dice: &mut Dice) -> String {
    let length = if dice.roll(20) == 0 { 20_000 } else { dice.roll(200) as usize };
    format!("{key}|{}", "x".repeat(length))
}

#[derive(Default)]
struct Tally {
    done: BTreeMap<&'static str, u64>,
    failed: BTreeMap<String, u64>,
    wrong: Vec<String>,
    longest: Duration,
    late: u64,
}

impl Tally {
    fn note<T>(
        &mut self,
        what: &'static str,
        call: impl FnOnce() -> Result<T, Error>,
    ) -> Option<T> {
        let started = Instant::now();
        let result = call();
        let took = started.elapsed();
        self.longest = self.longest.max(took);
        self.late += u64::from(took > MOST);
        match result {
            Ok(value) => {
                *self.done.entry(what).or_default() += 1;
                Some(value)
            }
            Err(error) => {
                assert!(error.is_outage(), "{what}: {error:?}");
                *self.failed.entry(format!("{:?}", error.kind())).or_default() += 1;
                None
            }
        }
    }

    fn own(&mut self, key: &str, found: Option<String>) {
        if let Some(found) = found
            && found.split('|').next() != Some(key)
        {
            self.wrong.push(format!("{key}: {}", &found[..found.len().min(50)]));
        }
    }
}

/// One thread's calls until it is told to stop.
fn work(cache: &Cache, seed: u64, stop: &AtomicBool, done: &AtomicU64) -> Tally {
    let (mut dice, mut tally) = (Dice(seed * 7919 + 1), Tally::default());
    let mut told = 0;
    while !stop.load(Ordering::Relaxed) {
        let now = tally.done.values().sum::<u64>();
        done.fetch_add(now - std::mem::replace(&mut told, now), Ordering::Relaxed);
        let key = key(dice.roll(KEYS));
        let entry = || cache.entry(&key).strict();
        match dice.roll(12) {
            0..3 => {
                let found = tally.note("get", || entry().get::<String>());
                tally.own(&key, found.flatten());
            }
            3 | 4 => {
                let value = value(&key, &mut dice);
                tally.note("set", || entry().set(&value));
            }
            5 => {
                let value = value(&key, &mut dice);
                let tag = format!("t{}", dice.roll(5));
                tally.note("set with a tag", || entry().tag(tag).set(&value));
            }
            6 => {
                let keys: Vec<String> = (0..30).map(|_| self::key(dice.roll(KEYS))).collect();
                let found = tally.note("get_many", || cache.get_many::<String>(&keys));
                for (key, found) in keys.iter().zip(found.unwrap_or_default()) {
                    tally.own(key, found);
                }
            }
            7 => {
                let value = value(&key, &mut dice);
                let load = || entry().tag("t1").get_or_compute(|| value.clone());
                let found = tally.note("load", load);
                tally.own(&key, found);
            }
            8 => drop(tally.note("delete", || cache.delete(&key))),
            9 => drop(tally.note("invalidate", || cache.invalidate_tags(["t1", "t2"]))),
            10 => {
                let counter = format!("n{}", dice.roll(10));
                tally.note("increment", || cache.increment(counter, 1));
            }
            _ => {
                let swap = || {
                    let Some((old, version)) = entry().get_versioned::<String>()? else {
                        return Ok(None);
                    };
                    entry().swap(version, &old)?;
                    Ok(Some(old))
                };
                // Two calls.
                let before = (tally.longest, tally.late);
                let found = tally.note("swap", swap);
                (tally.longest, tally.late) = before;
                tally.own(&key, found.flatten());
            }
        }
    }
    tally
}

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

/// Makes trouble until the time is over and enough was done, and then no more.
fn trouble(
    cluster: &RedisCluster,
    proxies: &[Proxy],
    seconds: u64,
    calls: &AtomicU64,
) -> BTreeMap<&'static str, u64> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut done = BTreeMap::new();
    let end = Instant::now() + Duration::from_secs(seconds);
    let never = end + Duration::from_secs(300);
    let enough = || calls.load(Ordering::Relaxed) > ENOUGH || Instant::now() > never;
    let mut round = 0;
    while Instant::now() < end || !enough() {
        round += 1;
        let which = dice.roll(proxies.len() as u64) as usize;
        match round % 5 {
            0 => {
                let running: Vec<usize> = cluster.masters();
                let victim = running[dice.roll(running.len() as u64) as usize];
                cluster.kill(victim);
                thread::sleep(Duration::from_millis(500 + dice.roll(2_000)));
                cluster.start_again(victim);
                announce(cluster, proxies);
                wait_until("the cluster is well again", || is_well(cluster));
                cluster.wait_ok();
                *done.entry("kills").or_default() += 1;
            }
            1 => {
                let slot = cluster.slot_of(&format!("storm:{}", key(dice.roll(KEYS))));
                let from = cluster.owner(slot);
                let others: Vec<usize> =
                    cluster.masters().into_iter().filter(|index| *index != from).collect();
                cluster.migrate(slot, others[dice.roll(others.len() as u64) as usize]);
                *done.entry("slots moved").or_default() += 1;
            }
            _ => {
                proxies[which].set(Plan::Random(dice.roll(1_000_000)));
                thread::sleep(Duration::from_millis(300 + dice.roll(500)));
                proxies[which].set(Plan::Pass);
                *done.entry("spells of bad network").or_default() += 1;
            }
        }
    }
    done
}

#[test]
fn in_a_storm_nothing_is_mixed_up_and_nothing_hangs() {
    let seconds = std::env::var("YC_STORM").map_or(6, |seconds| seconds.parse().unwrap());
    let cluster = RedisCluster::start();
    let proxies: Vec<Proxy> = cluster.nodes().iter().map(|node| Proxy::to(&node.addr())).collect();
    // Clients are sent through the proxies, by the cluster itself.
    for (node, proxy) in cluster.nodes().iter().zip(&proxies) {
        let port = proxy.addr().rsplit(':').next().unwrap().to_owned();
        node.command(&["CONFIG", "SET", "cluster-announce-port", &port]).expect_ok();
    }
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
    let (stop, tallies) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let done = AtomicU64::new(0);
    let troubles = thread::scope(|scope| {
        for seed in 0..THREADS {
            let (cache, stop, done, tallies) = (&cache, &stop, &done, &tallies);
            scope.spawn(move || {
                let tally = work(cache, seed + 1, stop, done);
                tallies.lock().unwrap().push(tally);
            });
        }
        let troubles = trouble(&cluster, &proxies, seconds, &done);
        stop.store(true, Ordering::Relaxed);
        troubles
    });
    let tallies = tallies.into_inner().unwrap();
    assert_eq!(tallies.len() as u64, THREADS, "no thread panicked");
    let (mut done, mut failed) = (BTreeMap::new(), BTreeMap::new());
    for tally in &tallies {
        tally.done.iter().for_each(|(what, n)| *done.entry(*what).or_insert(0) += n);
        tally.failed.iter().for_each(|(what, n)| *failed.entry(what).or_insert(0) += n);
    }
    let longest = tallies.iter().map(|tally| tally.longest).max().unwrap();
    println!("{seconds} s of {troubles:?}\ndone {done:?}\nfailed {failed:?}\nlongest {longest:?}");
    let wrong: Vec<&String> = tallies.iter().flat_map(|tally| &tally.wrong).collect();
    assert!(wrong.is_empty(), "values of other keys: {wrong:?}");
    assert_eq!(tallies.iter().map(|tally| tally.late).sum::<u64>(), 0, "late calls");
    assert!(done.values().sum::<u64>() > ENOUGH, "{done:?}");
    // When it is over it is over.
    wait_until("it is calm again", || {
        (0..KEYS).all(|number| cache.entry(key(number)).strict().set("calm").is_ok())
    });
    let calm = cache.with_timeout(Duration::from_secs(30));
    assert!((0..KEYS).all(|number| calm.get::<String>(key(number)).unwrap().unwrap() == "calm"));
}
