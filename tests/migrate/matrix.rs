//! Entries of all kinds through all kinds of servers.

use std::time::Duration;

use super::fixture::{HOUR, assert_same, dump, fill, memory, noise};
use super::support::{MemcachedServer, RedisCluster, RedisSentinels, RedisServer};
use yokedcache::{Backend, Cache, Memcached, Redis, Report, Tiered};

const KEYS: usize = 2_000;

fn over(backend: impl Backend, prefix: &str) -> Cache {
    let cache = Cache::builder(backend).key_prefix(prefix).strict();
    #[cfg(feature = "compression")]
    let cache = cache.compression(yokedcache::Compression::lz4());
    cache.build().unwrap()
}

#[track_caller]
fn migrated(from: &Cache, to: &Cache, keys: usize) -> Report {
    let report = from.migrate_to(to).verify().run().unwrap();
    assert!(report.is_complete(), "{:?} {:?}", report.verified, report.skips.first());
    let keys = keys as u64;
    assert_eq!((report.looked_at, report.copied, report.skipped), (keys, keys, 0), "{report:?}");
    assert_eq!(report.verified.as_ref().unwrap().same, keys);
    report
}

#[test]
fn entries_of_all_kinds_are_the_same_after_a_tour_of_all_servers() {
    let (redis, cluster) = (RedisServer::start(&[]), RedisCluster::start());
    let memcached = MemcachedServer::start(&["-m", "256"]);
    let split = Memcached::builder(memcached.url()).split_large_values(true).build().unwrap();
    let begin = over(memory(), "begin");
    fill(&begin, KEYS);
    begin.entry("large").tag("all").ttl(HOUR).set_bytes(noise(3 << 20)).unwrap();
    begin.entry("slow").ttl(HOUR).get_or_compute(slow_value).unwrap();
    let keys = KEYS + 2;
    let tour = [
        over(Redis::open(redis.url()).unwrap(), "on-redis"),
        over(split, "m"),
        over(Redis::open(&cluster.url()).unwrap(), "somewhere:else"),
        over(memory(), "end"),
    ];
    let mut from = &begin;
    for to in &tour {
        migrated(from, to, keys);
        from = to;
    }
    let (first, last) = (dump(&begin, "begin:"), dump(&tour[3], "end:"));
    assert_eq!(first.len(), keys);
    assert!(first["key:0000006"].stale && first["key:0000002"].value.is_empty());
    assert!(first["slow"].cost >= 20);
    #[cfg(feature = "compression")]
    assert_ne!(first["key:0000005"].packing, yokedcache::backend::Packing::None);
    // Twice to the second and back: the granularity of Memcached, and how long it all took, on a slow
    // machine, too.
    assert_same(&first, &last, Duration::from_secs(60));
    // What was copied is as good as what was stored there.
    for cache in &tour {
        assert_eq!(cache.increment("key:0000003", 2_000).unwrap(), 1_003);
        cache.invalidate_tags(["even"]).unwrap();
        assert_eq!(cache.get::<String>("key:0000001").unwrap(), None);
        assert_eq!(cache.get::<String>("key:0000011").unwrap().as_deref(), Some("11"));
        assert!(cache.invalidate_pattern("key:*").is_ok());
        assert_eq!(cache.keys("*").unwrap(), ["large", "slow"]);
    }
}

fn slow_value() -> String {
    std::thread::sleep(Duration::from_millis(25));
    "slow".into()
}

#[test]
fn wrappers_and_sentinels_are_left_and_reached() {
    let (sentinels, redis) = (RedisSentinels::start(), RedisServer::start(&[]));
    let far = Redis::open(&sentinels.url()).unwrap();
    let tiered = Tiered::builder(memory(), far).build().unwrap();
    let (begin, tiered) = (over(memory(), "a"), over(tiered, "b"));
    let plain = over(Redis::open(redis.url()).unwrap(), "c");
    fill(&begin, 200);
    migrated(&begin, &tiered, 200);
    migrated(&tiered, &plain, 200);
    assert_same(&dump(&begin, "a:"), &dump(&plain, "c:"), Duration::from_secs(60));
    assert_eq!(tiered.get::<String>("key:0000000").unwrap().as_deref(), Some("value 0"));
}
