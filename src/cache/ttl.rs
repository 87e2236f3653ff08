//! How long entries live.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use crate::backend::Life;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// When an entry ends.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use yokedcache::{Cache, ErrorKind, Ttl};
///
/// # fn main() -> yokedcache::Result<()> {
/// let cache = Cache::memory(10);
/// cache.entry("a").ttl(Duration::from_secs(60)).set(&1)?;
/// cache.entry("b").ttl(Ttl::At(SystemTime::now() + Duration::from_secs(60))).set(&1)?;
/// cache.entry("c").ttl(Ttl::Never).set(&1)?;
///
/// let zero = cache.entry("d").ttl(Duration::ZERO).set(&1).unwrap_err();
/// assert_eq!(zero.kind(), ErrorKind::InvalidTtl);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ttl {
    /// As the cache is set; never, unless it is set.
    #[default]
    Default,
    /// Only by eviction, deletion or invalidation.
    Never,
    /// So long after it was stored. Zero is an error, not "for ever".
    After(Duration),
    /// At a moment of wall time. One in the past removes the older value and stores nothing.
    At(SystemTime),
}

impl From<Duration> for Ttl {
    fn from(duration: Duration) -> Self {
        Self::After(duration)
    }
}

/// Everything a call may set for itself. Views hold the defaults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) ttl: Ttl,
    pub(crate) negative_ttl: Ttl,
    pub(crate) skip_negative: bool,
    pub(crate) stale_for: Duration,
    pub(crate) sliding: Option<Duration>,
    pub(crate) jitter: Duration,
    pub(crate) timeout: Option<Duration>,
    pub(crate) schema: u32,
    pub(crate) strict: bool,
    pub(crate) initial: i64,
}

impl Policy {
    /// What `ttl` means here.
    pub(crate) fn ttl_or_default(&self, ttl: Ttl) -> Ttl {
        if ttl == Ttl::Default { self.ttl } else { ttl }
    }

    /// The end of an entry stored now.
    pub(crate) fn end(&self, ttl: Ttl, clock: &Clock) -> Result<End> {
        match self.ttl_or_default(ttl) {
            Ttl::Default | Ttl::Never => Ok(End::Never),
            Ttl::After(Duration::ZERO) => Err(zero("a time to live")),
            Ttl::After(left) => Ok(End::After(left)),
            Ttl::At(end) => match end.duration_since(clock.wall()) {
                Ok(left) if !left.is_zero() => Ok(End::After(left)),
                _ => Ok(End::Past),
            },
        }
    }

    /// The life of an entry stored now; `None` if it would be over already.
    pub(crate) fn life(&self, ttl: Ttl, clock: &Clock) -> Result<Option<Life>> {
        if self.sliding == Some(Duration::ZERO) {
            return Err(zero("a sliding time to live"));
        }
        let ttl = match self.end(ttl, clock)? {
            End::Past => return Ok(None),
            End::Never => return Ok(Some(Life { idle: self.sliding, ..Life::FOREVER })),
            End::After(ttl) => jittered(ttl, self.jitter),
        };
        let stale = !self.stale_for.is_zero();
        Ok(Some(Life {
            soft: stale.then_some(ttl),
            hard: Some(ttl.saturating_add(self.stale_for)),
            idle: self.sliding,
            ..Life::FOREVER
        }))
    }
}

/// A [`Ttl`] seen from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Past,
    After(Duration),
    Never,
}

fn zero(what: &str) -> Error {
    Error::new(ErrorKind::InvalidTtl, format!("{what} of zero; use Ttl::Never for no end"))
}

/// Evenly from `ttl - jitter` to `ttl`, never below a millisecond unless `ttl` is.
fn jittered(ttl: Duration, jitter: Duration) -> Duration {
    let most = jitter.min(ttl.saturating_sub(Duration::from_millis(1)));
    if most.is_zero() {
        return ttl;
    }
    // A hasher with random keys is the random number the standard library has.
    let random = RandomState::new().hash_one(0u8);
    ttl - most.mul_f64(random as f64 / u64::MAX as f64)
}
