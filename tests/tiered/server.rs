//! Tiers over a real server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use yokedcache::{Cache, Redis, Tiered, TieredBuilder};

use crate::far::{LONG, Told, memory};
use crate::support::{RedisServer, wait_until};

/// A cache over a near tier and a server, as one of several processes has it.
pub struct Process {
    pub cache: Cache,
    pub tiers: Arc<Tiered>,
    pub told: Told,
    /// Its server alone.
    beside: Cache,
}

impl Process {
    /// One whose near tier is used long after the last sign of life: what ends an entry there was
    /// heard of.
    pub fn patient(url: &str) -> Self {
        Self::start(url, |tiers| tiers.bound(LONG))
    }

    /// One whose near tier is on.
    pub fn start(url: &str, settings: impl FnOnce(TieredBuilder) -> TieredBuilder) -> Self {
        let process = Self::start_off(url, settings);
        process.wait_begun();
        process
    }

    /// One that may wait for its server.
    pub fn start_off(url: &str, settings: impl FnOnce(TieredBuilder) -> TieredBuilder) -> Self {
        let redis = Redis::builder(url).timeout(Duration::from_secs(5)).build().unwrap();
        Self::over(redis, settings)
    }

    pub fn over(redis: Redis, settings: impl FnOnce(TieredBuilder) -> TieredBuilder) -> Self {
        let redis = Arc::new(redis);
        let tiers = settings(Tiered::builder(memory(), redis.clone())).build().unwrap();
        let (tiers, told) = (Arc::new(tiers), Told::default());
        let cache = told.cache(tiers.clone(), "p");
        let beside = Cache::builder(redis).key_prefix("p").strict().build().unwrap();
        Self { cache, tiers, told, beside }
    }

    /// Waits until the near tier is on, and that is all that was told.
    pub fn wait_begun(&self) {
        self.wait_on();
        wait_until("it is told", || self.told.begin());
    }

    pub fn wait_on(&self) {
        wait_until("the near tier is on", || self.tiers.is_near_on());
    }

    pub fn get(&self, key: &str) -> Option<String> {
        self.cache.get(key).unwrap()
    }

    /// Has an entry near, where it stays: what was still heard of its own writing is over.
    pub fn warm(&self, key: &str) {
        wait_until("the entry is near", || {
            self.is_near(key) && {
                self.settle(key);
                self.is_near(key)
            }
        });
    }

    /// Returns once all is heard of that was done to a key before. A server tells of changes in their
    /// order: who has heard of a later one has heard of these.
    pub fn settle(&self, key: &str) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // In the same slot of a cluster.
        let mark =
            if key.contains('{') { format!("{key}.mark") } else { format!("{{p:{key}}}.mark") };
        let change = || {
            let value = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
            wait_until("the mark is set", || self.beside.set(&mark, &value).is_ok());
            value
        };
        let before = change();
        wait_until("the mark is near", || {
            self.is_near(&mark) && self.get(&mark).as_deref() == Some(&*before)
        });
        let after = change();
        wait_until("that is heard of", || self.get(&mark).as_deref() == Some(&*after));
    }

    pub fn is_near(&self, key: &str) -> bool {
        let found = self.cache.lookup::<String>(key).unwrap();
        matches!(found, yokedcache::Lookup::Hit(hit) if hit.tier == 0)
    }
}

/// Waits until a value is not served any more.
#[track_caller]
pub fn wait_gone(process: &Process, key: &str, old: &str) {
    wait_until("the change is heard of", || process.get(key).as_deref() != Some(old));
}

/// How many commands that read entries a server was asked.
pub fn reads(server: &RedisServer) -> u64 {
    let stats = server.commandstats();
    let of = |name: &str| stats.get(name).copied().unwrap_or_default();
    ["get", "mget", "getrange", "evalsha", "eval", "pttl", "exists"].map(of).iter().sum()
}
