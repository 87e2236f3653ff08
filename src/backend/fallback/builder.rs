//! Settings of a fallback.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::breaker::Breaker;
use super::file::JournalFile;
use super::journal::{Append, Journal};
use super::recovery::Recovery;
use super::state::State;
use super::{Fallback, Handle, Settings, Shared};
use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};

/// Settings of a [`Fallback`].
#[derive(Debug)]
pub struct FallbackBuilder {
    primary: Arc<dyn Backend>,
    secondary: Arc<dyn Backend>,
    reset: Duration,
    limit: usize,
    path: Option<PathBuf>,
    settings: Settings,
}

impl FallbackBuilder {
    pub(super) fn new(primary: impl Backend, secondary: impl Backend) -> Self {
        Self {
            primary: Arc::new(primary),
            secondary: Arc::new(secondary),
            reset: Duration::from_secs(60),
            limit: 10_000,
            path: None,
            settings: Settings {
                threshold: 5,
                cap: Duration::from_secs(300),
                strict: false,
                trial: Duration::from_secs(1),
            },
        }
    }

    /// How many calls in a row the primary has to fail before it is given up. Default 5.
    ///
    /// Only what says that it was not reached or did not answer in time counts. A delete or an
    /// invalidation that fails, and fails again when it is repeated at once, is always one too many.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses 0.
    pub fn failure_threshold(mut self, failures: u32) -> Self {
        self.settings.threshold = failures;
        self
    }

    /// How long the primary is left alone before it is tried again. Default 60 seconds.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses zero.
    pub fn reset_timeout(mut self, time: Duration) -> Self {
        self.reset = time;
        self
    }

    /// How long an entry stored in an outage lives at most, whatever its time to live. Default five
    /// minutes; [`Duration::MAX`] is no limit.
    ///
    /// What others change at the primary meanwhile is not seen here: this bounds for how long.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses zero.
    pub fn secondary_ttl(mut self, time: Duration) -> Self {
        self.settings.cap = time;
        self
    }

    /// How many different deletes, changes and invalidations are noted in an outage. Default 10,000.
    ///
    /// One too many, and the primary's entries of the attached caches are cleared before it serves
    /// again. An item takes about 100 bytes and its name.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses 0.
    pub fn journal_limit(mut self, items: usize) -> Self {
        self.limit = items;
        self
    }

    /// A file in which what the primary misses is written down, so that a process that dies in an
    /// outage leaves it to the next with the same path, which begins with it. Default: none.
    ///
    /// A line is written before the call returns, and not synced: it survives the process, not the
    /// machine. No two processes may use one file.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses a file that cannot be opened, or is not a journal it can read.
    pub fn journal_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Deletes and invalidations that the primary misses are errors
    /// ([`Unavailable`](ErrorKind::Unavailable)), though they are noted and carried out later all the
    /// same. Default: they are Ok, and [`Removed::pending`](crate::Removed::pending) tells.
    pub fn strict(mut self) -> Self {
        self.settings.strict = true;
        self
    }

    /// How long the primary may take to answer when it is tried. Default one second. Each step of
    /// telling it what it missed, 256 keys or tags or a page of a pattern, has five times as long.
    ///
    /// A [strict](crate::TieredBuilder::strict) primary waits within a step until no other process
    /// serves what it removed: it never serves again if a step is not longer than the wait.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses zero.
    pub fn trial_timeout(mut self, time: Duration) -> Self {
        self.settings.trial = time;
        self
    }

    /// The backend.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a setting out of range, and for a journal
    /// that cannot be used.
    pub fn build(self) -> Result<Fallback> {
        self.check()?;
        let Self { primary, secondary, reset, limit, path, settings } = self;
        let state = State {
            breaker: Breaker::closed(settings.threshold, reset),
            journal: Journal::new(limit),
            file: None,
            behind: false,
            session: None,
            opening: None,
            last_error: None,
            last_trial_error: None,
            overflowed: false,
            replayed: 0,
            recovery: Recovery::default(),
        };
        let shared = Shared {
            // A remote one needs time for itself.
            part: if secondary.about().can.shared { 0.5 } else { 0.9 },
            primary,
            secondary,
            settings,
            epoch: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            state: Mutex::new(state),
            audience: Default::default(),
        };
        if let Some(path) = path {
            shared.go_on_with(&path, reset)?;
        }
        Ok(Fallback(Arc::new(Handle(Arc::new(shared)))))
    }

    fn check(&self) -> Result<()> {
        let settings = &self.settings;
        let times = [
            (self.reset, "reset_timeout"),
            (settings.cap, "secondary_ttl"),
            (settings.trial, "trial_timeout"),
        ];
        let counts =
            [(settings.threshold == 0, "failure_threshold"), (self.limit == 0, "journal_limit")];
        let times = times.map(|(time, name)| (time.is_zero(), name));
        match times.into_iter().chain(counts).find(|(is_zero, _)| *is_zero) {
            Some((_, name)) => Err(Error::new(ErrorKind::InvalidArgument, format!("{name} is 0"))),
            None => Ok(()),
        }
    }
}

impl Shared {
    /// Takes over what an earlier process noted and did not carry out: the primary does not serve
    /// before that is done. Which names may be touched is known when a cache is attached.
    fn go_on_with(&self, path: &Path, reset: Duration) -> Result<()> {
        let (file, items) = JournalFile::open(path)?;
        let mut state = self.state.lock();
        state.file = Some(file);
        if items.is_empty() {
            return Ok(());
        }
        for item in items {
            // It was noted once: it is not dropped for a smaller limit.
            if state.journal.append(item.clone()) == Append::Full {
                state.journal.append_beyond(item);
            }
        }
        let what = format!("an earlier process left {} unfinished", path.display());
        state.breaker = Breaker::open_at_first(self.settings.threshold, reset, Instant::now());
        state.recovery.waits_for_a_cache = true;
        self.open(&mut state, Error::new(ErrorKind::Unavailable, what));
        Ok(())
    }
}
