//! What a cache and its backend counted.

mod counters;
mod family;
mod histogram;
mod operation;
mod prometheus;
#[cfg(feature = "metrics")]
mod publish;
mod stripe;

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::backend::BreakerState;

pub(crate) use counters::{Count, Counters};
pub use histogram::Histogram;
pub use operation::{Operation, Operations, Timing};
pub use prometheus::to_prometheus;

/// What a cache counted since it was built, over all its namespaces and handles, and what its
/// backend holds.
///
/// ```
/// # fn main() -> yokedcache::Result<()> {
/// let cache = yokedcache::Cache::memory(10);
/// cache.set("a", &1)?;
/// cache.get::<i32>("a")?;
/// cache.get::<i32>("b")?;
/// let stats = cache.stats();
/// assert_eq!((stats.hits, stats.misses.absent, stats.hit_rate()), (1, 1, Some(0.5)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// What tells it from other caches of the program, if it was [named](Self::named).
    pub name: Option<String>,
    /// Since the cache was built; in JSON `uptime_seconds`.
    #[serde(rename = "uptime_seconds", serialize_with = "seconds")]
    pub uptime: Duration,
    /// Reads that found a value, or the knowledge that there is none.
    pub hits: u64,
    /// Those of the hits that found the knowledge that there is no value.
    pub negative_hits: u64,
    /// Reads that found nothing, by cause.
    pub misses: Misses,
    /// Values stored, by whatever call; counters do not count here.
    pub sets: u64,
    /// Entries deleted by key.
    pub deletes: u64,
    /// Calls that invalidated tags or patterns, or cleared.
    pub invalidations: u64,
    /// Loaders run.
    pub loads: u64,
    /// Those of the loaders that failed or panicked.
    pub load_errors: u64,
    /// Calls that shared another thread's load.
    pub coalesced: u64,
    /// Loads answered with the older value: a stale one while somebody else loads, or any because
    /// the loader failed.
    pub stale: u64,
    /// Refreshes left to a thread of the cache.
    pub refreshes: u64,
    /// Those for which there was no room.
    pub refreshes_dropped: u64,
    /// Loads that an invalidation or a write overtook: their values were not stored.
    pub overtaken: u64,
    /// Calls that the backend failed.
    pub failures: u64,
    /// Bytes of values that came from the backend, encoded and compressed as they are stored.
    pub bytes_read: u64,
    /// Bytes of values that were stored, counters aside.
    pub bytes_written: u64,
    /// Calls by kind, and how long they took.
    pub operations: Operations,
    /// What the backend counted.
    pub backend: BackendStats,
}

impl Stats {
    /// The same with a name, which metrics then carry as the label `cache`.
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Hits among all reads, from 0 to 1; `None` before the first read.
    pub fn hit_rate(&self) -> Option<f64> {
        let reads = self.hits + self.misses.total();
        (reads > 0).then(|| self.hits as f64 / reads as f64)
    }
}

/// Reads that found nothing, by [`Cause`](crate::Cause).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Misses {
    /// Never stored, deleted, evicted, or expired and freed since.
    pub absent: u64,
    /// Its time had come.
    pub expired: u64,
    /// One of its tags was invalidated.
    pub invalidated: u64,
    /// The stored bytes are damaged.
    pub corrupt: u64,
    /// Written under another schema version.
    pub other_version: u64,
    /// Not readable as the type asked for.
    pub undecodable: u64,
    /// The backend could not be asked.
    pub down: u64,
}

impl Misses {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.by_cause().iter().map(|(_, count)| count).sum()
    }

    fn by_cause(&self) -> [(&'static str, u64); 7] {
        [
            ("absent", self.absent),
            ("expired", self.expired),
            ("invalidated", self.invalidated),
            ("corrupt", self.corrupt),
            ("other_version", self.other_version),
            ("undecodable", self.undecodable),
            ("down", self.down),
        ]
    }
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// What a backend counted, and those inside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BackendStats {
    /// Its name.
    pub name: &'static str,
    /// Entries held, expired ones not yet freed included; `None` where it is not known.
    pub entries: Option<u64>,
    /// Bytes of keys, values and tag names held.
    pub bytes: Option<u64>,
    /// Pairs of entry and tag in a tag index.
    pub tag_links: Option<u64>,
    /// Entries removed because their time had come.
    pub expired: u64,
    /// Entries removed to make room.
    pub evicted: u64,
    /// Entries that left, by reason; `None` where it is not known.
    pub removals: Option<Removals>,
    /// Connections open to a server; `None` where there is no server.
    pub connections: Option<u64>,
    /// Those of them that nobody is using.
    pub idle_connections: Option<u64>,
    /// Whether the primary of a [fallback](crate::Fallback) serves.
    pub breaker: Option<BreakerState>,
    /// Deletes, changes and invalidations noted for a primary until it serves again.
    pub pending: Option<u64>,
    /// Whether the near tier of a [tiered](crate::Tiered) backend is in use.
    pub near_on: Option<bool>,
    /// The backends and servers inside, with the parts they play.
    pub children: Vec<(String, BackendStats)>,
}

impl BackendStats {
    /// Nothing counted yet.
    pub fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// Adds the statistics of a backend inside this one.
    pub fn push(&mut self, part: &str, child: Self) {
        self.children.push((part.into(), child));
    }
}

/// Entries that left a backend, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Removals {
    /// Their time had come.
    pub expired: u64,
    /// There were too many entries.
    pub size: u64,
    /// The entries had too many bytes.
    pub bytes: u64,
    /// Another value was stored under their key.
    pub replaced: u64,
    /// They were deleted by key.
    pub deleted: u64,
    /// They were invalidated by pattern or tag, or cleared.
    pub invalidated: u64,
}
