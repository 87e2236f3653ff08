//! Settings of a cache.

use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::freshness::{End, Freshness};
use super::policy::Policy;
use super::ttl::Ttl;
use super::{Cache, View};
use crate::backend::{Attached, Backend, Event, Events};
use crate::clock::Clock;
use crate::codec::{Codec, Compression, Format, Json};
use crate::error::{Error, ErrorKind, Result};
use crate::flight::Flights;
use crate::key::MAX_KEY;
use crate::pool::Pool;
use crate::random::Random;
use crate::stats::Counters;
use crate::streak::Streak;

/// The prefix of caches on backends that other programs use, too.
const SHARED_PREFIX: &str = "yokedcache";

/// Settings of a [`Cache`].
///
/// ```
/// use std::time::Duration;
/// use yokedcache::{Cache, Memory};
///
/// # fn main() -> yokedcache::Result<()> {
/// let cache = Cache::builder(Memory::builder().max_size(1_000).build()?)
///     .key_prefix("shop")
///     .default_ttl(Duration::from_secs(300))
///     .ttl_jitter(Duration::from_secs(30))
///     .build()?;
/// # cache.set("k", &1)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CacheBuilder {
    backend: Box<dyn Backend>,
    prefix: Option<String>,
    codec: Arc<dyn Codec>,
    compression: Option<Compression>,
    clock: Clock,
    seed: Option<u64>,
    threads: usize,
    queue: usize,
    events: Events,
    policy: Policy,
}

/// Loads that a cache runs on threads of its own at once, and how many refreshes wait for them.
const THREADS: usize = 16;
const QUEUE: usize = 1024;

impl CacheBuilder {
    pub(super) fn new(backend: Box<dyn Backend>) -> Self {
        Self {
            backend,
            prefix: None,
            codec: Arc::new(Json),
            compression: None,
            clock: Clock::system(),
            seed: None,
            threads: THREADS,
            queue: QUEUE,
            events: Events::default(),
            policy: Policy::new(),
        }
    }

    /// What all keys and tags begin with, before a colon: the cache's identity.
    ///
    /// Programs that share entries use the same prefix, others different ones. Default: none in
    /// memory, `yokedcache` on a shared backend. `""` is no prefix; on a shared backend
    /// [`clear`](Cache::clear) is then refused.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses prefixes that leave no room for keys.
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// How long entries live that do not say. Default: never ending.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses zero and moments in the past.
    pub fn default_ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.policy.fresh.ttl = self.policy.fresh.ttl_or_default(ttl.into());
        self
    }

    /// How long the knowledge that there is no value lives. Default: as long as values.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses zero and moments in the past.
    pub fn negative_ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.policy.fresh.negative_ttl = ttl.into();
        self
    }

    /// Shortens each time to live by a random part of this, evenly spread, so that entries stored
    /// together do not expire together. Default: none.
    pub fn ttl_jitter(mut self, most: Duration) -> Self {
        self.policy.fresh.jitter = most;
        self
    }

    /// Ends entries that were not read for so long; their time to live stays the latest end.
    /// Default: off.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses zero.
    pub fn sliding(mut self, idle: Duration) -> Self {
        self.policy.fresh.sliding = Some(idle);
        self
    }

    /// How long entries live, are kept when stale, and when they are refreshed, in place of all that
    /// was said of it before. Default: [`Freshness::new`].
    ///
    /// # Errors
    /// [`build`](Self::build) refuses what is out of range.
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.policy.fresh = freshness;
        self
    }

    /// How long a load keeps the right to store its value, and other processes wait for it. Default: 30
    /// seconds on a shared backend, so long they wait for a process that died; else five minutes.
    ///
    /// Threads of this cache wait as long as the loader runs (or a [`Slot`](crate::Slot) is held),
    /// within their [timeout](Self::timeout): it is not dead.
    ///
    /// What a loader returns later goes to its caller and is not stored, unless it
    /// [renews](crate::Load::renew) the lease. Processes that share entries use the same: one with a
    /// shorter lease takes keys from others that are still at work.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses zero.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.policy.lease = Some(lease);
        self
    }

    /// How many loads run at once on threads of the cache's own: refreshes in the background and
    /// loads with a time limit, of all its [loaders](Cache::loader). Threads start when needed and end
    /// after half a minute without work. Default: 16.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses zero.
    pub fn loader_threads(mut self, most: usize) -> Self {
        self.threads = most;
        self
    }

    /// How many refreshes may wait for a thread. One more is dropped and counted in
    /// [`Stats`](crate::Stats::refreshes_dropped): the next caller asks for it again. Default: 1,024.
    pub fn loader_queue(mut self, most: usize) -> Self {
        self.queue = most;
        self
    }

    /// Makes jitter and refreshes by chance the same in each run, for tests. Default: they differ.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// How long a call may take. Default: what the backend is set to; waiting for another's load,
    /// on a thread or in a process, ends after a minute.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.policy.timeout = Some(timeout);
        self
    }

    /// Makes an outage an error of every call. Default: reads miss, stores answer false and loads
    /// run their loader.
    pub fn strict(mut self) -> Self {
        self.policy.strict = true;
        self
    }

    /// How values are encoded. Default [`Json`].
    ///
    /// # Errors
    /// [`build`](Self::build) refuses numbers below
    /// [`CodecId::USER`](crate::backend::CodecId::USER) for codecs of your own.
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.codec = Arc::new(codec);
        self
    }

    /// Compresses large values. Default: none. What is stored compressed is always readable.
    #[cfg(feature = "compression")]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// Where [`Ttl::At`] takes the wall time from. Default: the system.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// A function told when a backend around others changes its state: a fallback opens or closes, a
    /// near tier goes off or on. Default: none; the log has them, too.
    ///
    /// It runs on the thread that made or noticed the change, with no lock held, and had better be
    /// quick. A panic in it is caught and logged.
    pub fn on_event(mut self, handler: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.events = Events::to(handler);
        self
    }

    /// The cache.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) or [`InvalidTtl`](ErrorKind::InvalidTtl) for
    /// a setting that is out of range, and what the backend refuses. No I/O is done here.
    pub fn build(self) -> Result<Cache> {
        self.check()?;
        let Self { backend, codec, compression, clock, policy, threads, queue, .. } = self;
        let random = self.seed.map_or_else(Random::default, Random::seeded);
        let shared = backend.about().can.shared;
        let prefix = self.prefix.unwrap_or_else(|| if shared { SHARED_PREFIX } else { "" }.into());
        let prefix = if prefix.is_empty() { prefix } else { prefix + ":" };
        backend.attach(&Attached::new(&prefix, &self.events))?;
        let core = Core {
            backend,
            format: Format::new(codec, compression)?,
            clock,
            counters: Counters::new(),
            flights: Arc::new(Flights::new()),
            random,
            failing: Streak::new(),
            loaders_failing: Streak::new(),
            fills_failing: Streak::new(),
        };
        let (core, pool) = (Arc::new(core), Arc::new(Pool::new(threads, queue)));
        Ok(Cache(Arc::new(View { core, pool, prefix: prefix.into(), policy })))
    }

    /// Refuses settings out of range.
    pub(crate) fn check(&self) -> Result<()> {
        self.policy.check()?;
        if self.threads == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "no threads for loaders"));
        }
        let fresh = &self.policy.fresh;
        for ttl in [fresh.ttl, fresh.negative_ttl] {
            if fresh.end(ttl, &self.clock)? == End::Past {
                return Err(Error::new(ErrorKind::InvalidTtl, "a default end in the past"));
            }
        }
        let length = self.prefix.as_ref().map_or(0, String::len);
        if length > MAX_KEY / 2 {
            let what = format!("the key prefix has {length} bytes, {} at most", MAX_KEY / 2);
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        Ok(())
    }
}
