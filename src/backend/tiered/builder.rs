//! Settings of tiers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::Tiered;
use super::near::Near;
use crate::backend::Backend;
use crate::backend::memory::Memory;
use crate::error::{Error, ErrorKind, Result};

/// Settings of a [`Tiered`] backend.
pub struct TieredBuilder {
    near: Memory,
    far: Box<dyn Backend>,
    bound: Duration,
    near_ttl: Option<Duration>,
    strict: bool,
}

const BOUND: Duration = Duration::from_millis(500);
const SHORTEST_BOUND: Duration = Duration::from_millis(10);
const LONGEST_BOUND: Duration = Duration::from_secs(60);

impl TieredBuilder {
    pub(super) fn new(near: Memory, far: Box<dyn Backend>) -> Self {
        Self { near, far, bound: BOUND, near_ttl: None, strict: false }
    }

    /// How old the knowledge may be by which the near tier serves, where changes are heard of.
    /// Default 500 ms; all processes that share entries use the same.
    ///
    /// Usually a change is heard of within a millisecond. The bound holds where connections hang: a
    /// sign of life is sent to each server three times within it, and every process that listens
    /// hears of those of all others.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses less than 10 ms and more than a minute.
    pub fn bound(mut self, bound: Duration) -> Self {
        self.bound = bound;
        self
    }

    /// The longest an entry stays near. Default: as long as it lives where changes are heard of, one
    /// second where not.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses zero.
    pub fn near_ttl(mut self, ttl: Duration) -> Self {
        self.near_ttl = Some(ttl);
        self
    }

    /// Makes deletes and invalidations wait until no process can serve the value any more: for the
    /// [`bound`](Self::bound), or [`near_ttl`](Self::near_ttl) where no changes are heard of.
    /// Default: no.
    ///
    /// A call with less time than that does its work and returns
    /// [`Timeout`](ErrorKind::Timeout).
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// The backend.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a setting out of range. No I/O is done;
    /// listening begins when a cache is built over it.
    pub fn build(self) -> Result<Tiered> {
        let Self { near, far, bound, near_ttl, strict } = self;
        let refused = |what| Err(Error::new(ErrorKind::InvalidArgument, what));
        if !(SHORTEST_BOUND..=LONGEST_BOUND).contains(&bound) {
            return refused("the bound of a near tier is from 10 ms to a minute");
        }
        if near_ttl.is_some_and(|ttl| ttl.is_zero()) {
            return refused("near_ttl is 0");
        }
        let exact = !far.about().can.shared;
        let near = Arc::new(Near::new(near, bound, exact));
        let (ears, attaching) = (RwLock::new(None), Mutex::new(()));
        Ok(Tiered { far, near, ears, attaching, near_ttl, strict })
    }
}

impl fmt::Debug for TieredBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TieredBuilder")
            .field("far", &self.far)
            .field("bound", &self.bound)
            .field("near_ttl", &self.near_ttl)
            .field("strict", &self.strict)
            .finish_non_exhaustive()
    }
}
