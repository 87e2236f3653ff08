//! Whether a cache is there itself, or the secondary of a fallback stands in for it.
//!
//! What a secondary has is forgotten when the outage ends: a copy of it is not one of the cache, and a
//! copy in it is lost.

use crate::Cache;
use crate::backend::BreakerState;
use crate::error::{Error, ErrorKind, Result};
use crate::stats::BackendStats;

/// One side of a migration.
pub(super) struct Primary<'c> {
    cache: &'c Cache,
    /// Without one nothing ever stands in, and nobody need be asked.
    has_breaker: bool,
}

impl<'c> Primary<'c> {
    pub(super) fn new(cache: &'c Cache) -> Self {
        let has_breaker = any_breaker(&stats(cache), &|_| true);
        Self { cache, has_breaker }
    }

    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if something stands in.
    pub(super) fn check(&self) -> Result<()> {
        let is_away = |state| state != BreakerState::Closed;
        if self.has_breaker && any_breaker(&stats(self.cache), &is_away) {
            let what = "the primary of a fallback is away: what its secondary has does not last";
            return Err(Error::new(ErrorKind::Unavailable, what));
        }
        Ok(())
    }
}

fn stats(cache: &Cache) -> BackendStats {
    cache.backend().stats(cache.call())
}

fn any_breaker(stats: &BackendStats, judge: &dyn Fn(BreakerState) -> bool) -> bool {
    stats.breaker.is_some_and(judge)
        || stats.children.iter().any(|(_, child)| any_breaker(child, judge))
}
