//! The backend with what a cache does around every call to it: counting, and what becomes of a
//! call that the backend fails.

use std::fmt;
use std::slice;
use std::sync::Arc;

use super::policy::Policy;
use crate::backend::{About, Backend, Cause, Grant, Name, Read, Tags, Want, When, Write, Wrote};
use crate::clock::Clock;
use crate::codec::Format;
use crate::error::{Error, ErrorKind, Result};
use crate::flight::Flights;
use crate::random::Random;
use crate::stats::{Count, Counters, Operation};
use crate::streak::Streak;

/// What all handles of a cache share.
pub(crate) struct Core {
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) format: Format,
    pub(crate) clock: Clock,
    pub(crate) counters: Counters,
    pub(crate) flights: Arc<Flights>,
    pub(crate) random: Random,
    /// The backend.
    pub(crate) failing: Streak,
    /// Loaders whose older values are served instead.
    pub(crate) loaders_failing: Streak,
    /// Loaded values that could not be stored.
    pub(crate) fills_failing: Streak,
}

/// Handles, slots and loads show it: without its counters and the loads of other keys.
impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl Core {
    /// Reads one entry, stale ones included.
    #[inline]
    pub(crate) fn read(&self, policy: &Policy, name: Name<'_>, want: &Want<'_>) -> Result<Read> {
        let mut read = Read::Unanswered;
        self.read_into(policy, name, want, &mut read)?;
        Ok(read)
    }

    /// The same into a place of the caller's: an answer is large to move.
    #[inline]
    pub(crate) fn read_into(
        &self,
        policy: &Policy,
        name: Name<'_>,
        want: &Want<'_>,
        read: &mut Read,
    ) -> Result<()> {
        let (names, out) = (slice::from_ref(&name), slice::from_mut(read));
        let done = self.ask(Operation::of_read(want), policy, names, want, out);
        self.answered(policy, done, read)
    }

    /// One answer of a read: an outage is a miss, unless the caller is strict.
    #[inline]
    pub(crate) fn answered(
        &self,
        policy: &Policy,
        done: Result<()>,
        read: &mut Read,
    ) -> Result<()> {
        if done.is_ok() && matches!(read, Read::Hit(_) | Read::Miss(..)) {
            self.answers();
            return Ok(());
        }
        self.failed(policy, done, read)
    }

    #[cold]
    fn failed(&self, policy: &Policy, done: Result<()>, read: &mut Read) -> Result<()> {
        let down = Read::Miss(Cause::Down, Grant::None);
        let error = match (done, std::mem::replace(read, down)) {
            (Err(error), _) | (_, Read::Failed(error)) => error,
            (Ok(()), _) => unanswered(),
        };
        self.note(&error);
        if error.is_outage() && !policy.strict { Ok(()) } else { Err(error) }
    }

    /// Makes one change. Every failure is an error here: what it means to the caller differs.
    pub(crate) fn write(&self, policy: &Policy, write: Write<'_>) -> Result<Wrote> {
        if !matches!(write.when, When::Lease(_)) {
            self.flights.overtake(write.key.as_str());
        }
        let mut wrote = Wrote::Unanswered;
        let done = self.tell_one(policy, write, &mut wrote);
        self.wrote(done, wrote)
    }

    /// One answer of a write.
    pub(crate) fn wrote(&self, done: Result<()>, wrote: Wrote) -> Result<Wrote> {
        let error = match (done, wrote) {
            (Err(error), _) | (_, Wrote::Failed(error)) => error,
            (Ok(()), Wrote::Unanswered) => unanswered(),
            (Ok(()), wrote) => {
                self.answers();
                return Ok(wrote);
            }
        };
        self.note(&error);
        Err(error)
    }

    /// Counts a failure, and logs the first of a streak.
    pub(crate) fn note(&self, error: &Error) {
        if !error.is_outage() {
            return;
        }
        self.counters.add(Count::Failure);
        if let Some(more) = self.failing.on() {
            log::warn!("yokedcache: {} fails: {error}{more}", self.backend.about().name);
        }
    }

    #[inline]
    fn answers(&self) {
        if let Some(failed) = self.failing.over() {
            log::info!("yokedcache: the backend answers again after {failed} failed calls");
        }
    }

    /// A loader succeeded.
    #[inline]
    pub(super) fn loader_answers(&self) {
        if let Some(failed) = self.loaders_failing.over() {
            log::info!("yokedcache: loaders succeed again after {failed} failed ones");
        }
    }

    /// Refuses tags on a backend without them.
    pub(crate) fn need_tags(&self, tags: &Tags) -> Result<()> {
        if tags.is_empty() {
            return Ok(());
        }
        let About { name, can } = self.backend.about();
        if can.tags { Ok(()) } else { Err(Error::unsupported(name, "tags")) }
    }

    pub(crate) fn need_versions(&self) -> Result<()> {
        let About { name, can } = self.backend.about();
        if can.versions { Ok(()) } else { Err(Error::unsupported(name, "compare-and-swap")) }
    }

    pub(crate) fn need_scan(&self) -> Result<()> {
        let About { name, can } = self.backend.about();
        if can.scan { Ok(()) } else { Err(Error::unsupported(name, "listing keys")) }
    }
}

pub(crate) fn unanswered() -> Error {
    Error::new(ErrorKind::Backend, "the backend gave no fitting answer")
}
