//! Graceful degradation: another backend stands in while one cannot be reached.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::audience::Audience;
use super::{
    About, Attached, Backend, Call, Health, Name, Read, Removed, Scope, Want, Write, Wrote,
};
use crate::error::{Error, ErrorKind, Result};
use crate::pattern::Pattern;
use crate::stats::BackendStats;

mod breaker;
mod builder;
mod file;
mod first;
mod health;
mod journal;
mod recovery;
mod second;
mod session;
mod state;

pub use breaker::BreakerState;
pub use builder::FallbackBuilder;
use state::State;

/// A backend and another that stands in for it while it cannot be reached.
///
/// A clone is a handle to the same fallback. While the breaker is closed every call goes to the
/// primary. It opens after some failures in a row ([`failure_threshold`]), or at once when a delete
/// or an invalidation fails twice, and then the secondary serves. A thread (`yokedcache-fallback`)
/// tries the primary again ([`reset_timeout`]) and tells it what it missed; only then does it serve
/// again.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// # use std::ops::ControlFlow;
/// # use std::time::Duration;
/// # use yokedcache::backend::*;
/// # use yokedcache::{Error, ErrorKind, Pattern, Result};
/// use yokedcache::{BreakerState, Cache, Fallback, Memory};
/// # /// A server far away, which can be cut off.
/// # #[derive(Clone, Debug)]
/// # struct Far { memory: Arc<Memory>, is_cut: Arc<AtomicBool> }
/// # impl Far {
/// #     fn reached(&self) -> Result<&Memory> {
/// #         match self.is_cut.load(Ordering::Relaxed) {
/// #             true => Err(Error::new(ErrorKind::Unavailable, "cut off")),
/// #             false => Ok(&*self.memory),
/// #         }
/// #     }
/// # }
/// # impl Backend for Far {
/// #     fn about(&self) -> About { About::new("far", self.memory.about().can) }
/// #     fn read(&self, call: Call, keys: &[Name], want: &Want, out: &mut [Read]) -> Result<()> {
/// #         self.reached()?.read(call, keys, want, out)
/// #     }
/// #     fn write(&self, call: Call, writes: &mut [Write], out: &mut [Wrote]) -> Result<()> {
/// #         self.reached()?.write(call, writes, out)
/// #     }
/// #     fn invalidate(&self, call: Call, what: &Scope) -> Result<Removed> {
/// #         self.reached()?.invalidate(call, what)
/// #     }
/// #     fn scan(&self, call: Call, what: &Pattern, page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>) -> Result<()> {
/// #         self.reached()?.scan(call, what, page)
/// #     }
/// # }
///
/// # fn main() -> Result<()> {
/// # let memory = Arc::new(Memory::builder().build()?);
/// # let is_cut = Arc::new(AtomicBool::new(false));
/// # let far = Far { memory, is_cut: is_cut.clone() };
/// let fallback = Fallback::builder(far, Memory::builder().max_size(1_000).build()?)
/// #   .reset_timeout(Duration::from_millis(500))
///     .build()?;
/// let cache = Cache::builder(fallback.clone()).build()?;
/// cache.entry("user:1").tags(["users"]).set("Ann")?;
///
/// is_cut.store(true, Ordering::Relaxed);
/// assert!(cache.invalidate_tags(["users"])?.pending);
/// assert_eq!(fallback.state(), BreakerState::Open);
/// cache.set("user:2", "Bob")?;
/// assert_eq!(cache.get::<String>("user:2")?.as_deref(), Some("Bob"));
///
/// is_cut.store(false, Ordering::Relaxed);
/// while fallback.state() != BreakerState::Closed {
///     std::thread::sleep(Duration::from_millis(5));
/// }
/// assert_eq!(cache.get::<String>("user:1")?, None);
/// # Ok(())
/// # }
/// ```
///
/// # What is promised
///
/// **In this process** an invalidation that returned Ok holds through an outage and after it. What the
/// primary misses is noted before the call returns: deletes and invalidations, and every other change
/// as the removal of its key, so that an older value does not come back. All of it is carried out
/// before the primary serves again. The caller is told: [`Removed::pending`](crate::Removed::pending),
/// or with [`strict`](FallbackBuilder::strict) an error. If more is missed than can be noted
/// ([`journal_limit`]), the primary's entries of the attached caches are cleared instead; a cache over
/// a primary where that cannot be done is not built.
///
/// The secondary begins each outage with none of the last one's entries, and keeps an entry for
/// [`secondary_ttl`] at most.
///
/// # What is not
///
/// - **Other processes** that still reach the primary are served the old value until this one has told
///   it. What they invalidate there meanwhile is served here from the secondary, up to
///   [`secondary_ttl`].
/// - **A process that dies** in an outage takes what it noted with it, unless there is a
///   [`journal_path`](FallbackBuilder::journal_path) and another process begins with it. Else old values
///   are served until their time to live ends. Dropping the last handle in an outage is the same.
/// - **Counters** begin anew in an outage, and again after it. **Locks** held before are lost, and those
///   taken in an outage are of this process alone if the secondary is memory.
/// - **A load** whose right to fill is of the one backend is not stored in the other.
/// - **Values stored** in an outage are not copied to the primary.
/// - **A failure below the threshold** is the caller's: a read misses, a store answers no.
/// - Over a [`Call`](crate::backend::Call) with a deadline the primary gets half of the time if the
///   secondary is remote, 0.9 of it if not, so that the secondary has some left. Calls that are too
///   short for a healthy primary count as failures.
/// - Changes made by others are not told ([`Backend::listen`]): tiers belong inside a fallback, not around
///   it.
/// - **A primary of several servers** is given up as a whole, and tried with one key: with one of them
///   down it comes and goes. A [`Route`](crate::Route) over fallbacks gives up a part. A route as the
///   secondary sends all of an outage to its default.
///
/// # What it costs
///
/// | | closed | open |
/// |---|---|---|
/// | read | the primary's, an atomic load or two, and two looks at the clock where there is a deadline | the secondary's, a lock, a string or two for each name |
/// | write, invalidation | the same, and an allocation | the secondary's, a lock, a note of about 100 bytes and the name; with a journal path a write to the file |
/// | a failed delete or invalidation | repeated once, then as in the next column | |
///
/// The way back costs the primary one read, a batch for each 256 keys or tags that were noted, and
/// for each pattern what that costs.
///
/// [`failure_threshold`]: FallbackBuilder::failure_threshold
/// [`reset_timeout`]: FallbackBuilder::reset_timeout
/// [`secondary_ttl`]: FallbackBuilder::secondary_ttl
/// [`journal_limit`]: FallbackBuilder::journal_limit
#[derive(Clone, Debug)]
pub struct Fallback(Arc<Handle>);

/// What the handles share: the last one ends the thread, which has no handle.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[derive(Debug)]
struct Shared {
    primary: Arc<dyn Backend>,
    secondary: Arc<dyn Backend>,
    /// What part of a call's time the primary gets.
    part: f64,
    settings: Settings,
    /// Counts openings and closings: even, and the primary serves. Changed under the lock of the state,
    /// looked at without.
    epoch: AtomicU64,
    /// The breaker's failures in a row, to be looked at without its lock.
    failures: AtomicU32,
    state: Mutex<State>,
    audience: Audience,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    threshold: u32,
    cap: Duration,
    strict: bool,
    trial: Duration,
}

/// Whether an error says that the backend was not reached, or did not answer.
fn is_fault(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable)
}

impl Fallback {
    /// Settings for a fallback from `primary` to `secondary`.
    pub fn builder(primary: impl Backend, secondary: impl Backend) -> FallbackBuilder {
        FallbackBuilder::new(primary, secondary)
    }

    /// Backends of which each stands in for the one before it, with default settings.
    ///
    /// It is a fallback whose secondary is a fallback, and so on: each has a journal and a thread of
    /// its own.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if `rest` is empty.
    pub fn chain(first: impl Backend, mut rest: Vec<Box<dyn Backend>>) -> Result<Self> {
        let Some(mut last) = rest.pop() else {
            return Err(Error::new(ErrorKind::InvalidArgument, "nothing to fall back to"));
        };
        while let Some(before) = rest.pop() {
            last = Box::new(Self::builder(before, last).build()?);
        }
        Self::builder(first, last).build()
    }

    /// Whether the primary serves.
    pub fn state(&self) -> BreakerState {
        self.shared().state.lock().breaker.state()
    }

    /// How many deletes, changes and invalidations are noted for the primary.
    pub fn pending(&self) -> usize {
        self.shared().state.lock().journal.len()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }
}

impl Shared {
    /// The primary's name.
    fn name(&self) -> &'static str {
        self.primary.about().name
    }

    /// Takes the names of a new cache into account.
    fn attached(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let Some(session) = &state.session else { return };
        // Names may belong to another root now: they begin anew.
        if session.roots() != self.roots() {
            state.session = Some(self.new_session());
        }
        state.recovery.waits_for_a_cache = false;
        state.recovery.ensure(self);
    }

    fn moved(&self) -> Error {
        let what = format!("{} was given up or came back while its keys were listed", self.name());
        Error::new(ErrorKind::Unavailable, what)
    }
}

impl Backend for Fallback {
    fn about(&self) -> About {
        let Shared { primary, secondary, .. } = &**self.shared();
        About::new("fallback", primary.about().can.and(secondary.about().can))
    }

    #[inline]
    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        match self.shared().standing_in() {
            None => self.shared().read_first(call, keys, want, out),
            Some(session) => session.read(call, keys, want, out),
        }
    }

    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        match self.shared().note_writes(writes) {
            None => self.shared().write_first(call, writes, out),
            Some(noted) => {
                self.shared().write_noted(noted, call, writes, out);
                Ok(())
            }
        }
    }

    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        match self.shared().note_scope(what) {
            None => self.shared().invalidate_first(call, what),
            Some(noted) => self.shared().invalidate_noted(noted, call, what),
        }
    }

    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        let shared = self.shared();
        loop {
            let epoch = shared.epoch.load(Ordering::Acquire);
            let (mut has_begun, mut has_enough) = (false, false);
            let page = &mut |keys: &[&str]| {
                has_begun = true;
                let go_on = page(keys);
                has_enough = go_on.is_break();
                go_on
            };
            let done = match shared.standing_in() {
                None => shared.scan_first(call, what, page),
                Some(session) => session.scan(call, what, page),
            };
            let is_over = epoch != shared.epoch.load(Ordering::Acquire);
            match done {
                Ok(()) if has_enough || !is_over => return Ok(()),
                _ if is_over && !has_begun => {}
                // Who began with the one backend must not end with the other.
                Ok(()) => return Err(shared.moved()),
                Err(error) => return Err(error),
            }
        }
    }

    fn stats(&self, call: Call) -> BackendStats {
        let breaker = Some(self.state());
        let pending = Some(self.pending() as u64);
        BackendStats { breaker, pending, ..super::stats_inside(self, call) }
    }

    fn children(&self, each: &mut dyn FnMut(&str, &dyn Backend)) {
        each("primary", &*self.shared().primary);
        each("secondary", &*self.shared().secondary);
    }

    fn health(&self, call: Call, probe: Name<'_>) -> Health {
        self.examine(call, probe)
    }

    fn threads(&self, each: &mut dyn FnMut(&str, bool)) {
        let runs = self.shared().state.lock().recovery.runs();
        runs.into_iter().for_each(|runs| each(recovery::THREAD, runs));
        self.children(&mut |_, child| child.threads(each));
    }

    fn attach(&self, cache: &Attached<'_>) -> Result<()> {
        let Shared { primary, secondary, audience, .. } = &**self.shared();
        primary.attach(cache)?;
        secondary.attach(cache)?;
        // Else a journal that overflows could not be kept.
        let alone = Audience::default();
        alone.join(cache);
        alone.may_clear(&**primary)?;
        audience.join(cache);
        self.shared().attached();
        Ok(())
    }

    fn close(&self) {
        self.shared().stop();
        self.children(&mut |_, child| child.close());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::memory::Memory;
    use crate::cache::Cache;
    use file::JournalFile;

    /// A secondary alone: its primary is never reached.
    #[derive(Debug)]
    struct Unreachable;

    impl Unreachable {
        fn error() -> Error {
            Error::new(ErrorKind::Unavailable, "never reached")
        }
    }

    impl Backend for Unreachable {
        fn about(&self) -> About {
            About::new("unreachable", Memory::builder().build().unwrap().about().can)
        }
        fn read(&self, _: Call, _: &[Name<'_>], _: &Want<'_>, _: &mut [Read]) -> Result<()> {
            Err(Self::error())
        }
        fn write(&self, _: Call, _: &mut [Write<'_>], _: &mut [Wrote]) -> Result<()> {
            Err(Self::error())
        }
        fn invalidate(&self, _: Call, _: &Scope<'_>) -> Result<Removed> {
            Err(Self::error())
        }
        fn scan(
            &self,
            _: Call,
            _: &Pattern,
            _: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
        ) -> Result<()> {
            Err(Self::error())
        }
    }

    #[test]
    fn what_cannot_be_written_down_is_an_error_and_written_later() {
        let path = std::env::temp_dir().join(format!("yokedcache-{}", crate::random::unlikely()));
        let memory = Memory::builder().build().unwrap();
        let fallback = Fallback::builder(Unreachable, memory).journal_path(&path).build().unwrap();
        let cache = Cache::builder(fallback.clone()).build().unwrap();
        cache.delete("a").unwrap();

        let state = || fallback.shared().state.lock();
        let unwritable = JournalFile::read_only(&path);
        let writable = state().file.replace(unwritable).unwrap();
        assert_eq!(cache.delete("b").unwrap_err().kind(), ErrorKind::Backend);
        assert_eq!(cache.invalidate_tags(["t"]).unwrap_err().kind(), ErrorKind::Backend);
        assert_eq!(cache.set("c", "v").unwrap_err().kind(), ErrorKind::Backend);
        assert_eq!(fallback.pending(), 4, "they are noted all the same");

        state().file = Some(writable);
        cache.delete("b").unwrap();
        assert_eq!(fallback.pending(), 4);
        let (_, mut written) = JournalFile::open(&path).unwrap();
        written.dedup();
        assert_eq!(written.len(), 4, "{written:?}");
        std::fs::remove_file(&path).unwrap();
    }
}
