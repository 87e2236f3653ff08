//! Settings of a cache.

use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Streak};
use super::ttl::{End, Policy, Ttl};
use super::{Cache, View};
use crate::backend::Backend;
use crate::clock::Clock;
use crate::codec::{Codec, Compression, Format, Json};
use crate::error::{Error, ErrorKind, Result};
use crate::flight::Flights;
use crate::key::MAX_KEY;
use crate::stats::Counters;

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
    policy: Policy,
}

impl CacheBuilder {
    pub(super) fn new(backend: Box<dyn Backend>) -> Self {
        let policy = Policy {
            ttl: Ttl::Never,
            negative_ttl: Ttl::Default,
            skip_negative: false,
            stale_for: Duration::ZERO,
            sliding: None,
            jitter: Duration::ZERO,
            timeout: None,
            schema: 0,
            strict: false,
            initial: 0,
        };
        let (codec, clock) = (Arc::new(Json), Clock::system());
        Self { backend, prefix: None, codec, compression: None, clock, policy }
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
        self.policy.ttl = self.policy.ttl_or_default(ttl.into());
        self
    }

    /// How long the knowledge that there is no value lives. Default: as long as values.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses zero and moments in the past.
    pub fn negative_ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.policy.negative_ttl = ttl.into();
        self
    }

    /// Shortens each time to live by a random part of this, evenly spread, so that entries stored
    /// together do not expire together. Default: none.
    pub fn ttl_jitter(mut self, most: Duration) -> Self {
        self.policy.jitter = most;
        self
    }

    /// Ends entries that were not read for so long; their time to live stays the latest end.
    /// Default: off.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses zero.
    pub fn sliding(mut self, idle: Duration) -> Self {
        self.policy.sliding = Some(idle);
        self
    }

    /// How long a call may take. Default: what the backend is set to; waiting for another thread's
    /// load ends after 30 seconds.
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

    /// The cache.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) or [`InvalidTtl`](ErrorKind::InvalidTtl) for
    /// a setting that is out of range. No I/O is done.
    pub fn build(self) -> Result<Cache> {
        let Self { backend, prefix, codec, compression, clock, policy } = self;
        for ttl in [policy.ttl, policy.negative_ttl] {
            if policy.end(ttl, &clock)? == End::Past {
                return Err(Error::new(ErrorKind::InvalidTtl, "a default end in the past"));
            }
        }
        policy.life(Ttl::Never, &clock)?;
        let shared = backend.about().can.shared;
        let prefix = prefix.unwrap_or_else(|| if shared { SHARED_PREFIX } else { "" }.into());
        if prefix.len() > MAX_KEY / 2 {
            let what =
                format!("the key prefix has {} bytes, {} at most", prefix.len(), MAX_KEY / 2);
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        let prefix = if prefix.is_empty() { prefix } else { prefix + ":" };
        let core = Core {
            backend,
            format: Format::new(codec, compression)?,
            clock,
            counters: Counters::default(),
            flights: Flights::new(),
            failing: Streak::default(),
        };
        Ok(Cache(Arc::new(View { core: Arc::new(core), prefix: prefix.into(), policy })))
    }
}
