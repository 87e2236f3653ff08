//! Many entries through all kinds of servers: alone in its process, as it looks at that one's memory.
//!
//! `YC_KEYS=1000000` in release mode for the figures in the documentation.
#![cfg(all(feature = "redis", feature = "memcached"))]

mod support;

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use support::{Again, MemcachedServer, RedisCluster, RedisServer, orders, tell};
use yokedcache::backend::{Found, Name, Read, Want};
use yokedcache::{Cache, Memcached, Memory, Redis, Report};

const HOUR: Duration = Duration::from_secs(3600);
const FROM: &str = "YC_MIGRATE_FROM";
const TO: &str = "YC_MIGRATE_TO";

fn keys() -> usize {
    std::env::var("YC_KEYS").map_or(5_000, |keys| keys.parse().unwrap())
}

fn memory(prefix: &str) -> Cache {
    let memory = Memory::builder().max_size(2 * keys() + 10_000).build().unwrap();
    Cache::builder(memory).key_prefix(prefix).strict().build().unwrap()
}

fn redis(url: &str, prefix: &str) -> Cache {
    Cache::builder(Redis::open(url).unwrap()).key_prefix(prefix).strict().build().unwrap()
}

fn memcached(url: &str, prefix: &str) -> Cache {
    Cache::builder(Memcached::open(url).unwrap()).key_prefix(prefix).strict().build().unwrap()
}

/// A process that copies from Redis to Memcached, until it is killed.
#[test]
#[ignore = "is started by another test"]
fn child() {
    let (Ok(from), Ok(to)) = (std::env::var(FROM), std::env::var(TO)) else { return };
    let _orders = orders();
    let enough = Cell::new(keys() as u64 / 3);
    let (from, to) = (redis(&from, "r"), memcached(&to, "m"));
    let migration = from.migrate_to(&to).on_progress(|progress| {
        if progress.copied >= enough.get() {
            enough.set(u64::MAX);
            tell("under way");
            // It is to be killed before it is done, however few keys there are.
            loop {
                std::thread::park();
            }
        }
        ControlFlow::Continue(())
    });
    let _ = migration.run();
    tell("done");
}

#[test]
fn many_entries_are_the_same_after_a_tour_of_all_servers() {
    let keys = keys();
    let (server, cluster) = (RedisServer::start(&[]), RedisCluster::start());
    let slabs = MemcachedServer::start(&["-m", "1024"]);
    let begin = memory("begin");
    for n in 0..keys {
        let entry =
            begin.entry(format!("key:{n:07}")).ttl(HOUR + Duration::from_secs(n as u64 % 1_000));
        let value = format!("value {n}");
        match n % 3 {
            0 => entry.set(&value),
            1 => entry.tags(["all", ["a", "b", "c", "d"][n % 4]]).set(&value),
            _ => entry.tag(format!("user:{}", n / 30)).set(&value),
        }
        .unwrap();
    }
    let on_redis = redis(server.url(), "r");
    leg("memory to Redis", keys, 0, || run(&begin, &on_redis));

    let (said, heard) = channel();
    let env = [(FROM, server.url()), (TO, slabs.url())];
    let mut child = Again::start("child", &env, move |line| drop(said.send(line)));
    let word = heard.recv_timeout(Duration::from_secs(600)).unwrap();
    assert_eq!(word.as_deref(), Some("under way"));
    child.kill();
    let on_memcached = memcached(slabs.url(), "m");
    let report = leg("Redis to Memcached, the rest", keys, 0, || run(&on_redis, &on_memcached));
    let there = report.there as usize;
    assert!((keys / 3..keys).contains(&there), "{there} of {keys} were there");

    let on_cluster = redis(&cluster.url(), "c");
    // Names are kept while Memcached lists them.
    let names = keys / 4;
    leg("Memcached to Redis Cluster", keys, names, || run(&on_memcached, &on_cluster));
    let end = memory("end");
    leg("Redis Cluster to memory", keys, usize::MAX, || run(&on_cluster, &end));
    compare(&begin, &end, keys);
    leg("comparing memory with memory", keys, 0, || {
        begin.migrate_to(&end).dry_run().run().unwrap()
    });
}

fn run(from: &Cache, to: &Cache) -> Report {
    let report = from.migrate_to(to).run().unwrap();
    assert!(report.is_complete() && report.skipped == 0, "{report:?}");
    report
}

/// Prints the figures of a part, and checks them: it may need so many KiB beyond its batches.
fn leg(name: &str, keys: usize, more: usize, work: impl FnOnce() -> Report) -> Report {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let (before, begun) = (kib("VmRSS:"), Instant::now());
    let report = work();
    let (took, grown) = (begun.elapsed(), kib("VmHWM:").saturating_sub(before));
    assert_eq!(report.looked_at, report.copied + report.there);
    assert!(report.looked_at >= keys as u64, "{report:?}");
    let rate = report.looked_at as f64 / took.as_secs_f64();
    println!(
        "{name}: {} copied, {} there, {took:.1?}, {rate:.0} keys/s, peak memory + {grown} KiB",
        report.copied, report.there
    );
    assert!(grown < 32 << 10 || grown as usize - (32 << 10) < more, "{grown} KiB");
    report
}

fn kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn compare(begin: &Cache, end: &Cache, keys: usize) {
    for from in (0..keys).step_by(1_000) {
        let names: Vec<String> =
            (from..keys.min(from + 1_000)).map(|n| format!("key:{n:07}")).collect();
        let (ours, theirs) = (read(begin, "begin:", &names), read(end, "end:", &names));
        for (name, (a, b)) in names.iter().zip(ours.into_iter().zip(theirs)) {
            assert_eq!(a.entry.value.bytes(), b.entry.value.bytes(), "{name}");
            let tags = |found: &Found, prefix: &str| {
                let tags = found.entry.tags.iter().map(|tag| tag[prefix.len()..].to_owned());
                tags.collect::<Vec<_>>()
            };
            assert_eq!(tags(&a, "begin:"), tags(&b, "end:"), "{name}");
            let left = |found: Found| found.more.unwrap().life.hard.unwrap();
            // A copy goes on for as long as its batch took, and Memcached counts in seconds.
            assert!(left(a).abs_diff(left(b)) < Duration::from_secs(30), "{name}");
        }
    }
    assert_eq!(end.keys("*").unwrap().len(), keys);
}

fn read(cache: &Cache, prefix: &str, names: &[String]) -> Vec<Found> {
    let full: Vec<String> = names.iter().map(|name| format!("{prefix}{name}")).collect();
    let names: Vec<Name> = full.iter().map(|name| Name::new(name, prefix.len())).collect();
    let mut out: Vec<Read> = names.iter().map(|_| Read::Unanswered).collect();
    let mut want = Want::VALUE;
    (want.meta, want.quiet) = (true, true);
    cache.backend().read(Default::default(), &names, &want, &mut out).unwrap();
    let found = |read| match read {
        Read::Hit(found) => found,
        other => panic!("{other:?}"),
    };
    out.into_iter().map(found).collect()
}
