//! Locks between threads and processes.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant, SystemTime};

use super::core::{Core, unanswered};
use super::policy::Policy;
use super::{Cache, View};
use crate::backend::{Change, CodecId, Entry, Life, Name, NotDone, Token, When, Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::key::with_name;
use crate::streak::Streak;

/// What the keys of locks, and of their numbers, begin with.
const LOCK: &str = "#lock:";
const FENCE: &str = "#fence:";

/// How soon, and how late at most, who waits for a lock tries again.
/// What lasts longer is as good as for ever.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A lock that one holder has at a time, among all that use the same backend and
/// [prefix](crate::CacheBuilder::key_prefix). Made by [`Cache::lock`].
///
/// It is a lease: a holder that dies, or is too slow, loses it when the time is over. So a lock alone
/// cannot keep a slow holder from acting late. What it acts on can: each holder gets a
/// [number](LockGuard::fencing) larger than all holders before it, and a store that remembers the
/// largest it has seen refuses smaller ones. (A server that comes back with older data, from a snapshot
/// or by a failover, may give a number twice.)
///
/// A lock takes two entries of the cache, the keys `#lock:` and `#fence:` with its name after
/// them, which [`keys`](Cache::keys) lists. [`clear`](Cache::clear), eviction, a restart or a failover of
/// the server that loses entries end it early, and so does whoever deletes it.
/// [`renew`](LockGuard::renew) tells. The server's clock ends it; over Memcached's binary protocol,
/// which tells no ends, it is the clock of each who looks.
///
/// ```
/// use std::time::Duration;
/// # fn main() -> yokedcache::Result<()> {
/// # let cache = yokedcache::Cache::memory(10);
/// let reports = cache.lock("reports", Duration::from_secs(30));
/// if let Some(guard) = reports.try_lock()? {
///     // Nobody else is here.
///     assert!(reports.try_lock()?.is_none());
///     guard.unlock()?;
/// }
/// let guard = reports.lock_within(Duration::from_secs(5))?;
/// # drop(guard);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Lock {
    view: View,
    name: Box<str>,
    lease: Duration,
}

/// A lock held. Dropped, it is given back.
#[derive(Debug)]
#[must_use = "the lock is given back when the guard is dropped"]
pub struct LockGuard {
    lock: Lock,
    /// The version of the entry that is ours; none once it is lost.
    held: Option<Token>,
    until: Instant,
    fencing: u64,
}

// As a cache: a panic leaves nothing half done, and the guard gives the lock back.
impl UnwindSafe for Lock {}
impl RefUnwindSafe for Lock {}
impl UnwindSafe for LockGuard {}
impl RefUnwindSafe for LockGuard {}

impl Cache {
    /// A lock of this name, for so long each time it is taken or renewed.
    ///
    /// See [`Lock`]. No I/O is done.
    pub fn lock(&self, name: impl AsRef<str>, lease: Duration) -> Lock {
        let mut view = View::clone(&self.0);
        // Who takes a lock must know whether it has it; and a schema is no other lock.
        (view.policy.strict, view.policy.schema) = (true, 0);
        Lock { view, name: name.as_ref().into(), lease }
    }
}

impl Lock {
    /// Takes the lock if it is free. One round trip if it is not, three if it is.
    ///
    /// # Errors
    /// [`InvalidKey`](ErrorKind::InvalidKey); [`InvalidTtl`](ErrorKind::InvalidTtl) for a lease of
    /// zero; [`Unsupported`](ErrorKind::Unsupported) on a backend without versions or atomic counters;
    /// if the backend fails, and then the lock may be taken until its lease is over.
    pub fn try_lock(&self) -> Result<Option<LockGuard>> {
        self.check()?;
        let began = Instant::now();
        let Some(held) = self.put(When::Absent)? else { return Ok(None) };
        let mut guard =
            LockGuard { lock: self.clone(), held: Some(held), until: began, fencing: 0 };
        guard.fencing = self.next_number()?;
        // Who was so slow that another came in between has the larger number, and not the lock.
        Ok(guard.renew()?.then_some(guard))
    }

    /// Waits for the lock, at most so long.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout) if it is not free in time; else as [`try_lock`](Self::try_lock).
    pub fn lock_within(&self, wait: Duration) -> Result<LockGuard> {
        let deadline = super::load::deadline(Some(wait));
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(guard) = self.try_lock()? {
                return Ok(guard);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::new(ErrorKind::Timeout, "the lock was not free in time"));
            }
            // All who wait would ask in step.
            let some = pause.mul_f64(0.75 + self.view.core.random.unit() / 2.0);
            std::thread::sleep(some.min(left));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn check(&self) -> Result<()> {
        if self.lease.is_zero() {
            return Err(Error::new(ErrorKind::InvalidTtl, "a lock for no time at all"));
        }
        // Numbers would come from entries: without atomic addition two holders could get one.
        if !self.view.core.backend.about().can.add {
            let name = self.view.core.backend.about().name;
            return Err(Error::unsupported(name, "locks: it has no atomic counters"));
        }
        self.view.core.need_versions()
    }

    fn on<R>(
        &self,
        kind: &str,
        f: impl FnOnce(&Core, &Policy, Name<'_>) -> Result<R>,
    ) -> Result<R> {
        let View { core, prefix, policy, .. } = &self.view;
        if self.name.is_empty() {
            return Err(Error::new(ErrorKind::InvalidKey, "the name of the lock is empty"));
        }
        with_name(prefix, &[kind, &self.name].concat(), |name| f(core, policy, name))
    }

    /// Stores the entry that says that the lock is taken; its version, if the condition held.
    fn put(&self, when: When) -> Result<Option<Token>> {
        self.on(LOCK, |core, policy, name| {
            let change = Change::Put(Entry::new("held", CodecId::RAW), Life::new(Some(self.lease)));
            match core.write(policy, Write::new(name, when, change))? {
                Wrote::Done(token) => token.map(Some).ok_or_else(unanswered),
                Wrote::Not(NotDone::Absent | NotDone::Exists | NotDone::Changed) => Ok(None),
                _ => Err(unanswered()),
            }
        })
    }

    /// A number larger than all before it. Where the last one was lost the time takes its place, in
    /// microseconds: so many locks a second nobody takes.
    fn next_number(&self) -> Result<u64> {
        let now = self.view.core.clock.wall().duration_since(SystemTime::UNIX_EPOCH);
        let micros = now.map_or(0, |now| i64::try_from(now.as_micros()).unwrap_or(i64::MAX / 2));
        self.on(FENCE, |core, policy, name| {
            let change = Change::Add { by: 1, from: micros, life: Life::FOREVER };
            match core.write(policy, Write::new(name, When::Always, change))? {
                Wrote::Number(number) => u64::try_from(number).map_err(|_| unanswered()),
                _ => Err(unanswered()),
            }
        })
    }
}

impl LockGuard {
    /// A number larger than that of every holder before this one. Hand it to what the lock protects.
    pub fn fencing(&self) -> u64 {
        self.fencing
    }

    /// How long the lock is certainly still held, unless somebody deletes it: zero once its lease is
    /// over. No I/O is done.
    pub fn left(&self) -> Duration {
        match self.held {
            Some(_) => self.until.saturating_duration_since(Instant::now()),
            None => Duration::ZERO,
        }
    }

    /// Holds the lock for another lease from now on; false if it is lost, and then for good. One
    /// round trip.
    ///
    /// # Errors
    /// If the backend fails, and then the lock counts as lost.
    pub fn renew(&mut self) -> Result<bool> {
        // Another version each time: who moves an end without one may move another holder's.
        let Some(held) = self.held.take() else { return Ok(false) };
        let began = Instant::now();
        self.held = self.lock.put(When::Version(held))?;
        self.until = began + self.lock.lease.min(FAR);
        Ok(self.held.is_some())
    }

    /// Gives the lock back; false if it was lost before. One round trip.
    ///
    /// # Errors
    /// If the backend fails, and then the lock is taken until its lease is over.
    pub fn unlock(mut self) -> Result<bool> {
        self.give_back()
    }

    fn give_back(&mut self) -> Result<bool> {
        let Some(held) = self.held.take() else { return Ok(false) };
        self.lock.on(LOCK, |core, policy, name| {
            let remove = Write::new(name, When::Version(held), Change::Remove);
            Ok(matches!(core.write(policy, remove)?, Wrote::Done(_)))
        })
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        static FAILING: Streak = Streak::new();
        if let Err(error) = self.give_back()
            && let Some(more) = FAILING.on()
        {
            log::debug!("yokedcache: a lock was not given back: {error}{more}");
        }
    }
}
