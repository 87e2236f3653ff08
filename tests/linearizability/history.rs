//! What happened, with times that mean the same in every process.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use yokedcache::{Error, ErrorKind};

/// Nanoseconds since this machine was started.
pub type Nanos = u64;

pub fn now() -> Nanos {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// From before a call began to after it had returned, and in which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub begin: Nanos,
    pub end: Nanos,
    pub by: Place,
}

/// A process, by its number.
pub type Place = u8;

/// None in particular.
pub const ANYWHERE: Place = Place::MAX;

/// A few of a few tags, one bit each.
pub type TagSet = u8;

/// What an invalidation removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// These keys, one bit each.
    Keys(u64),
    AnyTag(TagSet),
    AllTags(TagSet),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A set, or an add that stored. One that failed may still take effect: it never ends.
    Write { key: u8, value: u64, tags: TagSet, span: Span },
    /// An add that said that it stored nothing.
    Refused { key: u8, value: u64, span: Span },
    /// A run of a loader. A tag protects what is loaded from the moment it was named. It is stored
    /// for sure since the cache said so, which is never, as a rule.
    Load { key: u8, value: u64, began: Nanos, tags: Vec<(TagSet, Nanos)>, stored: Nanos, by: Place },
    /// A value that was given to a caller whose own loader did not make it.
    Read { key: u8, value: u64, span: Span },
    /// An invalidation that returned.
    Invalidate { reach: Reach, span: Span },
}

impl Event {
    /// The key it is about, unless it is about many.
    pub fn key(&self) -> Option<u8> {
        match self {
            Event::Write { key, .. }
            | Event::Refused { key, .. }
            | Event::Load { key, .. }
            | Event::Read { key, .. } => Some(*key),
            Event::Invalidate { .. } => None,
        }
    }

    /// Of a load its begin.
    pub fn span(&self) -> Span {
        match self {
            Event::Load { began, by, .. } => Span { begin: *began, end: *began, by: *by },
            Event::Write { span, .. } | Event::Refused { span, .. } => *span,
            Event::Read { span, .. } | Event::Invalidate { span, .. } => *span,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub operations: u64,
    pub misses: u64,
    pub errors: u64,
    /// Loads of others that came to nothing while this caller waited for them. Nothing is promised
    /// of those.
    pub forsaken: u64,
    pub overtaken: u64,
    pub stale: u64,
    pub refreshes: u64,
    /// For the eyes of whoever sees the test fail.
    pub first_error: Option<String>,
}

impl Tally {
    fn fail(&mut self, error: &Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| format!("{error:?}"));
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct History {
    pub events: Vec<Event>,
    pub tally: Tally,
}

impl History {
    pub fn merge(&mut self, other: History) {
        self.events.extend(other.events);
        let (own, other) = (&mut self.tally, other.tally);
        own.operations += other.operations;
        own.misses += other.misses;
        own.errors += other.errors;
        own.forsaken += other.forsaken;
        own.overtaken += other.overtaken;
        own.stale += other.stale;
        own.refreshes += other.refreshes;
        own.first_error = own.first_error.take().or(other.first_error);
    }
}

/// Writes down what one thread does, and what others do for it.
pub struct Recorder {
    history: Mutex<History>,
    pub place: Place,
    next_value: AtomicU64,
}

impl Recorder {
    /// `id` is this thread's among those of all processes.
    pub fn new(id: u64, place: Place) -> Recorder {
        Recorder { history: Mutex::default(), place, next_value: AtomicU64::new((id + 1) << 40) }
    }

    /// A value nobody else writes.
    pub fn value(&self) -> u64 {
        self.next_value.fetch_add(1, Ordering::Relaxed)
    }

    pub fn note(&self, event: Event) {
        self.history.lock().unwrap().events.push(event);
    }

    pub fn tally(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.history.lock().unwrap().tally);
    }

    /// Times a call. An error is counted, and `None`.
    pub fn call<T>(&self, call: impl FnOnce() -> yokedcache::Result<T>) -> (Span, Option<T>) {
        let begin = now();
        let result = call();
        let span = Span { begin, end: now(), by: self.place };
        self.tally(|tally| {
            tally.operations += 1;
            match &result {
                Err(error) if error.kind() == ErrorKind::LoadFailed => tally.forsaken += 1,
                Err(error) => tally.fail(error),
                Ok(_) => {}
            }
        });
        (span, result.ok())
    }

    pub fn take(&self) -> History {
        std::mem::take(&mut self.history.lock().unwrap())
    }
}
