//! An entry in its place: with its times, its version, and its part in the books.

use smol_str::SmolStr;

use crate::backend::{Entry, Life};
use crate::clock::{self, NEVER, Tick};

/// What a read touches comes first, and so shares a cache line or two.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Slot {
    pub(super) entry: Entry,
    /// Gone from here on; at most `cap`, earlier while nobody slides it.
    pub(super) end: Tick,
    /// Stale from here on.
    pub(super) soft: Tick,
    /// Read since it came to its place in the order of use.
    pub(super) marked: bool,
    pub(super) id: u32,
    pub(super) version: u64,
    pub(super) written: Tick,
    pub(super) cap: Tick,
}

/// A key and its hash.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) key: &'a str,
    pub(super) hash: u64,
}

/// An entry that left the shard.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) key: SmolStr,
    pub(super) entry: Entry,
    pub(super) reason: Reason,
}

/// What an entry is to who lists keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Live,
    Stale,
    Gone,
}

/// Why an entry left a memory backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Its time had come.
    Expired,
    /// Room was needed.
    Evicted,
    /// Another value was stored under its key.
    Replaced,
    /// It was deleted by key.
    Deleted,
    /// It was invalidated by pattern or tag, or cleared.
    Invalidated,
}

impl Gone {
    /// What it counted for in the bytes of its shard.
    pub(super) fn weight(&self) -> usize {
        weight(&self.key, &self.entry)
    }
}

impl Slot {
    pub(super) fn is_timed(&self) -> bool {
        self.soft.min(self.end) != NEVER
    }

    pub(super) fn is_expired(&self, now: Tick) -> bool {
        self.end <= now
    }

    pub(super) fn is_live(&self, now: Tick) -> bool {
        self.end.min(self.soft) > now
    }

    pub(super) fn presence(&self, now: Tick) -> Presence {
        match () {
            () if self.is_live(now) => Presence::Live,
            () if self.is_expired(now) => Presence::Gone,
            () => Presence::Stale,
        }
    }

    pub(super) fn life(&self, now: Tick) -> Life {
        Life {
            age: clock::left(self.written, now),
            soft: clock::left(now, self.soft),
            hard: clock::left(now, self.cap),
            idle: if self.end == self.cap { None } else { clock::left(now, self.end) },
        }
    }

    pub(super) fn set_life(&mut self, life: &Life, now: Tick) {
        self.written = clock::before(now, life.age);
        self.soft = clock::after(now, life.soft);
        self.cap = clock::after(now, life.hard);
        self.end = clock::after(now, life.idle).min(self.cap);
    }
}

/// What an entry counts for in the bytes of its shard.
pub(super) fn weight(key: &str, entry: &Entry) -> usize {
    key.len() + entry.value.bytes().len() + entry.tags.iter().map(str::len).sum::<usize>()
}
