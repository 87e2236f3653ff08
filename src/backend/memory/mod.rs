//! The backend in this process's memory.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

mod counted;
mod index;
mod lease;
mod shard;
mod slot;
mod store;
mod sweeper;
mod wheel;

pub use slot::Reason;

use super::{About, Backend, Call, Can, Entry, Name, Read, Removed, Scope, Want, Write, Wrote};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::pattern::Pattern;
use crate::stats::BackendStats;
use store::{Limits, Listener, Store};
use sweeper::Sweeper;

const NAME: &str = "memory";

/// Entries in this process's memory, the least recently used removed when it is full.
///
/// Every operation on a key takes constant time at any size, eviction and expiry included. Entries
/// past their time are never read, to the nanosecond; a thread named `yokedcache-sweeper` frees
/// them, a few at a time so that no caller waits for it.
///
/// Values are kept as their encoded bytes: what a caller does to a value it was given changes
/// nothing here.
///
/// ```
/// use std::time::Duration;
/// use yokedcache::{Cache, Memory};
///
/// # fn main() -> yokedcache::Result<()> {
/// let memory = Memory::builder()
///     .max_size(50_000)
///     .max_bytes(64 << 20)
///     .cleanup_interval(Duration::from_millis(500))
///     .eviction_listener(|key, _entry, reason| log::debug!("{key} left: {reason:?}"))
///     .build()?;
/// let cache = Cache::builder(memory).build()?;
/// cache.set("k", "v")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Memory {
    // Dropped first: the thread ends before its store does.
    sweeper: Sweeper,
    store: Arc<Store>,
}

impl Memory {
    /// Settings for a memory backend.
    pub fn builder() -> MemoryBuilder {
        MemoryBuilder::default()
    }

    /// Removes expired entries now, as the sweeper does at its interval.
    ///
    /// Reads never need it. Tests with a manual clock and no sweeper do.
    pub fn sweep(&self) {
        self.store.sweep(&|| false);
    }
}

impl Backend for Memory {
    fn about(&self) -> About {
        let mut can = Can::new();
        can.tags = true;
        can.scan = true;
        can.versions = true;
        can.leases = true;
        can.add = true;
        About::new(NAME, can)
    }

    #[inline]
    fn read(&self, _: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        for (key, out) in keys.iter().zip(out) {
            self.store.read(*key, want, out);
        }
        Ok(())
    }

    fn write(&self, _: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        for (write, out) in writes.iter_mut().zip(out) {
            self.store.write(write, out);
        }
        Ok(())
    }

    fn invalidate(&self, _: Call, what: &Scope<'_>) -> Result<Removed> {
        Ok(self.store.invalidate(what))
    }

    fn scan(
        &self,
        _: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        let _ = self.store.scan(what, page);
        Ok(())
    }

    fn stats(&self, _: Call) -> BackendStats {
        self.store.stats(NAME)
    }

    fn threads(&self, each: &mut dyn FnMut(&str, bool)) {
        self.sweeper.runs().into_iter().for_each(|runs| each(sweeper::THREAD, runs));
    }

    fn close(&self) {
        self.sweeper.stop();
    }
}

/// Settings of a [`Memory`] backend.
pub struct MemoryBuilder {
    max_size: usize,
    max_bytes: usize,
    cleanup_interval: Duration,
    clock: Clock,
    listener: Option<Listener>,
}

impl Default for MemoryBuilder {
    fn default() -> Self {
        Self {
            max_size: 10_000,
            max_bytes: usize::MAX,
            cleanup_interval: Duration::from_secs(1),
            clock: Clock::system(),
            listener: None,
        }
    }
}

impl MemoryBuilder {
    /// The most entries it holds. Default 10,000.
    ///
    /// Where room is needed, expired entries go first (a search for one does at most 1,024 steps of
    /// the timing wheel's work), then live ones.
    ///
    /// Up to 2,047 entries, or below 2 MiB of [`max_bytes`](Self::max_bytes), the order of eviction
    /// is exactly least recently used. Larger caches are sharded, and an entry read since it was
    /// last looked at for eviction is passed over (second chance).
    ///
    /// # Errors
    /// [`build`](Self::build) refuses 0.
    pub fn max_size(mut self, entries: usize) -> Self {
        self.max_size = entries;
        self
    }

    /// The most bytes its keys, values and tag names take together. Default: no limit.
    ///
    /// Bookkeeping (about 180 bytes an entry; 440 with a tag of its own and a time to live) and
    /// values decoded by [`get_arc`](crate::Cache::get_arc) are not counted. A value that would not fit into the
    /// empty cache is refused as [`TooLarge`](ErrorKind::TooLarge), and the older value is removed.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses 0.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// How often the sweeper frees expired entries. Default one second; zero starts no thread.
    pub fn cleanup_interval(mut self, interval: Duration) -> Self {
        self.cleanup_interval = interval;
        self
    }

    /// Where it takes the time from. Default: the system's monotonic clock.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// A function called for each entry that leaves, with its key, the entry and the reason.
    ///
    /// It runs on the thread that made the entry leave, with no lock held: it may use the cache.
    /// A panic in it is caught and logged. What it stores over an entry makes that one leave, too,
    /// and calls it again. Default: none.
    pub fn eviction_listener(
        mut self,
        listener: impl Fn(&str, &Entry, Reason) + Send + Sync + 'static,
    ) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// The backend.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a limit of 0;
    /// [`Backend`](ErrorKind::Backend) if the sweeper's thread cannot be started.
    pub fn build(self) -> Result<Memory> {
        for (limit, name) in [(self.max_size, "max_size"), (self.max_bytes, "max_bytes")] {
            if limit == 0 {
                return Err(Error::new(ErrorKind::InvalidArgument, format!("{name} is 0")));
            }
        }
        let limits = Limits { entries: self.max_size, bytes: self.max_bytes };
        let store = Arc::new(Store::new(limits, self.clock, self.listener));
        let sweeper = if self.cleanup_interval.is_zero() {
            Sweeper::idle()
        } else {
            Sweeper::start(store.clone(), self.cleanup_interval)?
        };
        Ok(Memory { sweeper, store })
    }
}

impl std::fmt::Debug for MemoryBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryBuilder")
            .field("max_size", &self.max_size)
            .field("max_bytes", &self.max_bytes)
            .field("cleanup_interval", &self.cleanup_interval)
            .finish_non_exhaustive()
    }
}
