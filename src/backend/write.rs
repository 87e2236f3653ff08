//! What changes entries, and what became of it.

use std::time::Duration;

use super::entry::{Entry, Life};
use super::token::{Lease, Token};
use crate::error::Error;
use crate::key::Name;
use crate::pattern::Pattern;

/// One change to one key.
#[derive(Debug)]
#[non_exhaustive]
pub struct Write<'a> {
    /// Which key.
    pub key: Name<'a>,
    /// Under which condition.
    pub when: When,
    /// What to do.
    pub change: Change,
}

impl<'a> Write<'a> {
    /// A change to a key under a condition.
    pub fn new(key: Name<'a>, when: When, change: Change) -> Self {
        Self { key, when, change }
    }
}

/// The condition of a write. Expired entries count as absent, stale ones too unless it says
/// otherwise.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum When {
    /// None.
    Always,
    /// Only if there is no entry.
    Absent,
    /// Only if there is one.
    Present,
    /// Only if the entry is the one read, stale or not.
    Version(Token),
    /// Only if nothing overtook the right to fill.
    Lease(Box<Lease>),
}

/// What a write does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Change {
    /// Stores an entry. An age in its life, that of a copy, may be kept or not.
    Put(Entry, Life),
    /// Gives the entry a new end (none, if `None`), from now; value, tags and version stay (a version
    /// that a server numbers may be another one where the entry is kept when stale, or slides). A
    /// soft end moves there, and the hard end stays as far behind it as it was. An idle end stays.
    Expire(Option<Duration>),
    /// Removes the entry.
    Remove,
    /// Gives the right of [`When::Lease`] back.
    Release,
    /// Adds to a whole number.
    Add {
        /// How much.
        by: i64,
        /// What an absent entry counts as.
        from: i64,
        /// The life of an entry created; an existing one keeps its own.
        life: Life,
    },
}

/// What became of a write.
#[derive(Debug, Default)]
pub enum Wrote {
    /// The backend did not get to it. Slots start so.
    #[default]
    Unanswered,
    /// Done, with the new version where the backend has versions.
    Done(Option<Token>),
    /// Done, and the number is this now.
    Number(i64),
    /// The condition did not hold, or there was no entry to remove or to give a new end to. A stale
    /// entry is removed, and counts as none; otherwise nothing was changed.
    Not(NotDone),
    /// This key failed; others may not have.
    Failed(Error),
}

/// Why a write's condition did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotDone {
    /// There is no entry.
    Absent,
    /// There is one already.
    Exists,
    /// It is another version.
    Changed,
    /// The right to fill was lost.
    Overtaken,
}

/// What to invalidate.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Scope<'a> {
    /// The keys of a set.
    Keys(&'a Pattern),
    /// Entries with at least one of these tags.
    AnyTag(&'a [Name<'a>]),
    /// Entries with all of these tags. With none named: nothing. Refused, the cache emulates it by
    /// looking at every key that `scan` names: stale entries and leases are not reached then.
    AllTags(&'a [Name<'a>]),
}

/// What an invalidation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Removed {
    /// How many entries went, where that is known; stale and expired ones may count.
    pub entries: Option<u64>,
    /// It is only noted so far and will be carried out when the backend can be reached.
    pub pending: bool,
}

impl Removed {
    /// So many entries are gone.
    pub fn counted(entries: u64) -> Self {
        Self { entries: Some(entries), pending: false }
    }
}
