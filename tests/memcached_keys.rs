//! Invalidating by pattern among many keys: alone in its process, as it looks at that one's memory.
#![cfg(feature = "memcached")]

mod support;

use std::time::Instant;

use support::MemcachedServer;
use yokedcache::{Cache, Memcached};

/// `YC_KEYS=1000000` for the figures in the README.
#[test]
fn a_pattern_among_many_keys_takes_little_memory() {
    let keys = std::env::var("YC_KEYS").map_or(100_000, |keys| keys.parse().unwrap());
    let server = MemcachedServer::start(&["-m", "1024"]);
    let memcached = Memcached::open(server.url()).unwrap();
    let cache = Cache::builder(memcached).key_prefix("many").build().unwrap();
    for from in (0..keys).step_by(1_000) {
        let upto = keys.min(from + 1_000);
        cache.set_many((from..upto).map(|n| (format!("key:{n:07}"), "v"))).unwrap();
    }
    let (before, started) = (peak_kib(), Instant::now());
    let doomed = keys / 1000;
    let removed = cache.invalidate_pattern("key:*000").unwrap();
    let (took, grown) = (started.elapsed(), peak_kib() - before);
    println!("{doomed} of {keys} keys removed in {took:?}, peak memory + {grown} KiB");
    assert_eq!(removed.entries, Some(doomed));
    assert!(grown < 4096, "{grown} KiB for {keys} keys");
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
