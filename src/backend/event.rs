//! What wrappers tell of changes of their state.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;

/// A change of state worth knowing: told to
/// [`CacheBuilder::on_event`](crate::CacheBuilder::on_event) and logged, once each.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A [`Fallback`](crate::Fallback) gave its primary up: the secondary serves.
    Opened {
        /// The primary's name.
        backend: &'static str,
        /// The failure that was one too many.
        error: Error,
    },
    /// The primary serves again: what was invalidated meanwhile has been carried out there.
    Closed {
        /// The primary's name.
        backend: &'static str,
        /// How long the secondary served.
        after: Duration,
        /// Deletes and invalidations carried out late.
        replayed: u64,
    },
    /// A fallback had to note more than its journal holds: the primary's namespace is cleared before
    /// it serves again.
    JournalOverflowed {
        /// The primary's name.
        backend: &'static str,
    },
    /// A [`Tiered`](crate::Tiered) does not hear of changes any more: its near tier is empty and
    /// not used.
    NearOff {
        /// Why.
        error: Error,
    },
    /// It hears of changes: its near tier is used.
    NearOn,
    /// The far tier cannot tell it of changes, or will not: its near tier keeps entries for a short
    /// time only.
    NearCapped {
        /// Why.
        error: Error,
    },
    /// A [`Switch`](crate::Switch) has another backend.
    Switched {
        /// The name of the one before.
        from: &'static str,
        /// The name of the one now.
        to: &'static str,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { backend, error } => {
                write!(f, "{backend} is given up for a while: {error}")
            }
            Self::Closed { backend, after, replayed } => write!(
                f,
                "{backend} serves again after {after:.1?}; {replayed} invalidations were carried out late"
            ),
            Self::JournalOverflowed { backend } => write!(
                f,
                "more was invalidated than can be noted: the namespace at {backend} will be cleared"
            ),
            Self::NearOff { error } => write!(f, "the near tier is off: {error}"),
            Self::NearOn => write!(f, "the near tier is on"),
            Self::NearCapped { error } => {
                write!(f, "the near tier keeps entries for a short time only: {error}")
            }
            Self::Switched { from, to } => write!(f, "{to} serves in place of {from}"),
        }
    }
}

impl Event {
    pub(super) fn level(&self) -> log::Level {
        match self {
            Self::Opened { .. }
            | Self::JournalOverflowed { .. }
            | Self::NearOff { .. }
            | Self::NearCapped { .. } => log::Level::Warn,
            _ => log::Level::Info,
        }
    }
}

type Handler = dyn Fn(&Event) + Send + Sync;

/// Where events go. A cheap clone.
#[derive(Clone, Default)]
pub struct Events(Option<Arc<Handler>>);

impl Events {
    /// To a function.
    pub fn to(handler: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(handler)))
    }

    /// Tells of an event. A panic of the function is caught and logged.
    pub fn tell(&self, event: &Event) {
        let Some(handler) = &self.0 else { return };
        if catch_unwind(AssertUnwindSafe(|| handler(event))).is_err() {
            log::error!("yokedcache: an event handler panicked");
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events(..)")
    }
}

/// The cache a backend is built into, as [`Backend::attach`](super::Backend::attach) is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attached<'a> {
    /// What all names of the cache begin with: its prefix and a colon, or nothing.
    pub space: &'a str,
    /// Where it wants to hear of changes of state.
    pub events: &'a Events,
}

impl<'a> Attached<'a> {
    /// A cache whose names begin with `space`.
    pub fn new(space: &'a str, events: &'a Events) -> Self {
        Self { space, events }
    }
}
