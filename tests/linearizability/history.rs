//! What happened, with times that mean the same in every process.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Nanoseconds since this machine was started.
pub type Nanos = u64;

pub fn now() -> Nanos {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// From before a call began to after it had returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub begin: Nanos,
    pub end: Nanos,
}

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
    /// A run of a loader. A tag protects what is loaded from the moment it was named.
    Load { key: u8, value: u64, began: Nanos, tags: Vec<(TagSet, Nanos)> },
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
            Event::Load { began, .. } => Span { begin: *began, end: *began },
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
    pub overtaken: u64,
    /// For the eyes of whoever sees the test fail.
    pub first_error: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct History {
    pub events: Vec<Event>,
    pub tally: Tally,
}

impl History {
    pub fn merge(&mut self, other: History) {
        self.events.extend(other.events);
        let Tally { operations, misses, errors, overtaken, first_error } = other.tally;
        self.tally.operations += operations;
        self.tally.misses += misses;
        self.tally.errors += errors;
        self.tally.overtaken += overtaken;
        self.tally.first_error = self.tally.first_error.take().or(first_error);
    }
}

/// Writes down what one thread does, and what others do for it.
pub struct Recorder {
    history: Mutex<History>,
    next_value: AtomicU64,
}

impl Recorder {
    /// `id` is this thread's among those of all processes.
    pub fn new(id: u64) -> Recorder {
        Recorder { history: Mutex::default(), next_value: AtomicU64::new((id + 1) << 40) }
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
        let span = Span { begin, end: now() };
        self.tally(|tally| {
            tally.operations += 1;
            if let Err(error) = &result {
                tally.errors += 1;
                tally.first_error.get_or_insert_with(|| format!("{error:?}"));
            }
        });
        (span, result.ok())
    }

    pub fn take(&self) -> History {
        std::mem::take(&mut self.history.lock().unwrap())
    }
}
