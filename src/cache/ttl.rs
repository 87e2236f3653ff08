//! When an entry ends.

use std::time::{Duration, SystemTime};

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
