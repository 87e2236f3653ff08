//! What a cache and its backend counted.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::Serialize;

use crate::backend::Cause;

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
    /// What the backend counted.
    pub backend: BackendStats,
}

impl Stats {
    /// Hits among all reads, from 0 to 1; `None` before the first read.
    pub fn hit_rate(&self) -> Option<f64> {
        let reads = self.hits + self.misses.total();
        (reads > 0).then(|| self.hits as f64 / reads as f64)
    }
}

/// Reads that found nothing, by [`Cause`].
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
        self.absent
            + self.expired
            + self.invalidated
            + self.corrupt
            + self.other_version
            + self.undecodable
            + self.down
    }
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
    /// Connections open to a server; `None` where there is no server.
    pub connections: Option<u64>,
    /// Those of them that nobody is using.
    pub idle_connections: Option<u64>,
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

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Hit,
    NegativeHit,
    Absent,
    Expired,
    Invalidated,
    Corrupt,
    OtherVersion,
    Undecodable,
    Down,
    Set,
    Delete,
    Invalidation,
    Load,
    LoadError,
    Coalesced,
    Stale,
    Refresh,
    RefreshDropped,
    Overtaken,
    Failure,
}

const KINDS: usize = Count::Failure as usize + 1;
const STRIPES: usize = 16;

impl From<Cause> for Count {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Absent => Self::Absent,
            Cause::Expired => Self::Expired,
            Cause::Invalidated => Self::Invalidated,
            Cause::Corrupt => Self::Corrupt,
            Cause::OtherVersion => Self::OtherVersion,
            Cause::Undecodable => Self::Undecodable,
            Cause::Down => Self::Down,
        }
    }
}

/// Counters in stripes, so that threads do not pass one cache line around.
#[derive(Debug, Default)]
pub(crate) struct Counters([Stripe; STRIPES]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe([AtomicU64; KINDS]);

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
}

#[inline]
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let mut stripe = STRIPE.get();
    if stripe == usize::MAX {
        stripe = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
        STRIPE.set(stripe);
    }
    stripe
}

impl Counters {
    #[inline]
    pub(crate) fn add(&self, count: Count) {
        self.add_many(count, 1);
    }

    #[inline]
    pub(crate) fn add_many(&self, count: Count, many: u64) {
        self.0[stripe()].0[count as usize].fetch_add(many, Ordering::Relaxed);
    }

    fn sum(&self, count: Count) -> u64 {
        self.0.iter().map(|stripe| stripe.0[count as usize].load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn snapshot(&self, backend: BackendStats) -> Stats {
        let negative_hits = self.sum(Count::NegativeHit);
        Stats {
            hits: self.sum(Count::Hit) + negative_hits,
            negative_hits,
            misses: Misses {
                absent: self.sum(Count::Absent),
                expired: self.sum(Count::Expired),
                invalidated: self.sum(Count::Invalidated),
                corrupt: self.sum(Count::Corrupt),
                other_version: self.sum(Count::OtherVersion),
                undecodable: self.sum(Count::Undecodable),
                down: self.sum(Count::Down),
            },
            sets: self.sum(Count::Set),
            deletes: self.sum(Count::Delete),
            invalidations: self.sum(Count::Invalidation),
            loads: self.sum(Count::Load),
            load_errors: self.sum(Count::LoadError),
            coalesced: self.sum(Count::Coalesced),
            stale: self.sum(Count::Stale),
            refreshes: self.sum(Count::Refresh),
            refreshes_dropped: self.sum(Count::RefreshDropped),
            overtaken: self.sum(Count::Overtaken),
            failures: self.sum(Count::Failure),
            backend,
        }
    }
}
