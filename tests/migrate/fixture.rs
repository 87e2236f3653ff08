//! Entries of all kinds, and what lies in a cache.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use yokedcache::backend::{CodecId, Name, Packing, Read, Want};
use yokedcache::{Backend, Cache, Memory, Pattern};

pub const HOUR: Duration = Duration::from_secs(3600);

/// An entry as it lies in a cache, with keys and tags as callers name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lies {
    pub value: Vec<u8>,
    pub codec: CodecId,
    pub packing: Packing,
    pub schema: u32,
    pub cost: u32,
    pub tags: BTreeSet<String>,
    pub stale: bool,
    /// What is left until it is stale, gone, and gone if nobody reads it.
    pub ends: [Option<Duration>; 3],
}

pub fn memory() -> Memory {
    Memory::builder().max_size(2_000_000).build().unwrap()
}

pub fn over(backend: impl Backend, prefix: &str) -> Cache {
    Cache::builder(backend).key_prefix(prefix).strict().build().unwrap()
}

/// All that lies in a cache of this prefix, stale entries included.
pub fn dump(cache: &Cache, prefix: &str) -> BTreeMap<String, Lies> {
    let keys = cache.keys(Pattern::all().with_stale()).unwrap();
    let mut all = BTreeMap::new();
    for keys in keys.chunks(500) {
        let full: Vec<String> = keys.iter().map(|key| format!("{prefix}{key}")).collect();
        let names: Vec<Name> = full.iter().map(|key| Name::new(key, prefix.len())).collect();
        let mut out: Vec<Read> = names.iter().map(|_| Read::Unanswered).collect();
        let mut want = Want::VALUE;
        (want.meta, want.quiet) = (true, true);
        cache.backend().read(Default::default(), &names, &want, &mut out).unwrap();
        for (key, read) in keys.iter().zip(out) {
            let Read::Hit(found) = read else { panic!("{key} is listed, and {read:?}") };
            let (entry, life) = (found.entry, found.more.unwrap().life);
            let tag = |tag: &str| tag.strip_prefix(prefix).unwrap().to_owned();
            let lies = Lies {
                value: entry.value.bytes().to_vec(),
                codec: entry.codec,
                packing: entry.packing,
                schema: entry.schema,
                cost: entry.cost_ms,
                tags: entry.tags.iter().map(tag).collect(),
                stale: found.stale,
                ends: [life.soft, life.hard, life.idle],
            };
            all.insert(key.clone(), lies);
        }
    }
    all
}

/// Checks that two are the same, with ends apart by less than this.
#[track_caller]
pub fn assert_same(a: &BTreeMap<String, Lies>, b: &BTreeMap<String, Lies>, apart: Duration) {
    let keys = |all: &BTreeMap<String, Lies>| all.keys().cloned().collect::<BTreeSet<_>>();
    let (left, right) = (keys(a), keys(b));
    let lost: Vec<_> = left.symmetric_difference(&right).take(5).collect();
    assert!(lost.is_empty(), "{} and {} entries; {lost:?}", a.len(), b.len());
    for (key, a) in a {
        let b = &b[key];
        for (a, b) in a.ends.iter().zip(&b.ends) {
            let near = match (a, b) {
                (Some(a), Some(b)) => a.abs_diff(*b) < apart,
                (a, b) => a == b,
            };
            assert!(near, "{key}: {a:?} and {b:?}");
        }
        assert!(*a == Lies { ends: a.ends, ..b.clone() }, "{key} is not the same");
    }
}

/// Stores so many entries, in turn of each kind.
pub fn fill(cache: &Cache, keys: usize) {
    let random = noise(2_000);
    for n in 0..keys {
        let entry = cache.entry(format!("key:{n:07}"));
        match n % 10 {
            0 => entry.ttl(HOUR).set(&format!("value {n}")),
            1 => entry.ttl(2 * HOUR).tags(["all", ["even", "odd"][n / 10 % 2]]).set(&n.to_string()),
            2 => entry.negative_ttl(HOUR).set(&None::<u32>),
            3 => entry.ttl(HOUR).set(&(n as i64 - 1_000)),
            4 => entry.set_bytes(random[n % 1_000..][..n % 900].to_vec()),
            5 => entry.ttl(HOUR).set(&"compressible ".repeat(200 + n % 100)),
            6 => entry.ttl(Duration::from_millis(1)).stale_for(HOUR).tag("all").set(&n.to_string()),
            7 => entry.ttl(3 * HOUR).sliding(HOUR).set(&vec![n; 10]),
            8 => cache
                .with_schema(7)
                .entry(format!("key:{n:07}"))
                .ttl(HOUR)
                .tag(format!("own:{n}"))
                .set(&n.to_string()),
            _ => entry.ttl(HOUR).stale_for(HOUR).set(&["some", "text"]),
        }
        .unwrap();
    }
    std::thread::sleep(Duration::from_millis(5));
}

/// Bytes that cannot be compressed.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}
