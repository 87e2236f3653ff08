//! Everything a call may set for itself.

use std::time::{Duration, Instant};

use super::freshness::Freshness;
use super::load::instant_after;
use crate::backend::Call;
use crate::error::{Error, ErrorKind, Result};

/// The settings of a call. Views hold the defaults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) fresh: Freshness,
    pub(crate) timeout: Option<Duration>,
    /// How long a load keeps its right to store.
    pub(crate) lease: Option<Duration>,
    pub(crate) schema: u32,
    pub(crate) strict: bool,
    pub(crate) initial: i64,
}

/// How long a load keeps its right to store. A caller's timeout does not shorten it: the time a
/// loader takes is not the cache's. Where others share the entries they wait so long for a process that
/// died.
const LEASE: Duration = Duration::from_secs(300);
const LEASE_SHARED: Duration = Duration::from_secs(30);

/// How long a right that may be lost is given back at most.
const SHORT: Duration = Duration::from_millis(50);

impl Policy {
    pub(crate) fn new() -> Self {
        let fresh = Freshness::new();
        Self { fresh, timeout: None, lease: None, schema: 0, strict: false, initial: 0 }
    }

    #[inline]
    pub(crate) fn call(&self) -> Call {
        self.timeout.map_or(Call::Unlimited, Call::Within)
    }

    /// When a call that begins now ends, if it is limited.
    #[inline]
    pub(crate) fn ends(&self) -> Option<Instant> {
        self.timeout.map(instant_after)
    }

    /// The same for a further question in a call that ends then.
    pub(crate) fn until(&self, end: Instant) -> Self {
        let left = || end.saturating_duration_since(Instant::now());
        Self { timeout: self.timeout.map(|timeout| timeout.min(left())), ..*self }
    }

    /// The same for a call that is not worth waiting for.
    pub(crate) fn in_short(&self) -> Self {
        let timeout = Some(self.timeout.map_or(SHORT, |timeout| timeout.min(SHORT)));
        Self { timeout, ..*self }
    }

    /// The lease of a load, on a backend that others share or not.
    pub(crate) fn lease(&self, shared: bool) -> Duration {
        self.lease.unwrap_or(if shared { LEASE_SHARED } else { LEASE })
    }

    /// Refuses settings out of range.
    pub(crate) fn check(&self) -> Result<()> {
        if self.lease == Some(Duration::ZERO) {
            return Err(Error::new(ErrorKind::InvalidArgument, "a lease of zero"));
        }
        self.fresh.check()
    }
}
