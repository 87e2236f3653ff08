//! What a cache asks of its backend, and how long that took.

use std::ops::Index;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::histogram::Histogram;
use crate::backend::{Ask, Change, Want};

/// A kind of call that is counted and timed.
///
/// All but [`Load`](Self::Load) are calls of a cache to its backend, however they came about: a load
/// that misses is a `Get`, a `Lease`, a `Load` and, when its value is stored, a `Set`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Operation {
    /// Reading one key.
    Get,
    /// Reading many keys at once.
    GetMany,
    /// Storing a value.
    Set,
    /// Storing many values at once.
    SetMany,
    /// Deleting one key.
    Delete,
    /// Deleting many keys at once.
    DeleteMany,
    /// Adding to a counter.
    Increment,
    /// Giving an entry a new time to live.
    Expire,
    /// Asking for the right to load, keeping it, or giving it back.
    Lease,
    /// Invalidating tags or a pattern, or clearing.
    Invalidate,
    /// Listing keys; what the caller did with each page is not part of it.
    Scan,
    /// Running a loader of the caller's; with [`begin`](crate::EntryRef::begin), all from there to the
    /// setting of the slot.
    Load,
}

pub(super) const OPERATIONS: usize = Operation::Load as usize + 1;

impl Operation {
    /// All of them.
    pub const ALL: [Self; OPERATIONS] = [
        Self::Get,
        Self::GetMany,
        Self::Set,
        Self::SetMany,
        Self::Delete,
        Self::DeleteMany,
        Self::Increment,
        Self::Expire,
        Self::Lease,
        Self::Invalidate,
        Self::Scan,
        Self::Load,
    ];

    /// Its name, as in JSON and in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetMany => "get_many",
            Self::Set => "set",
            Self::SetMany => "set_many",
            Self::Delete => "delete",
            Self::DeleteMany => "delete_many",
            Self::Increment => "increment",
            Self::Expire => "expire",
            Self::Lease => "lease",
            Self::Invalidate => "invalidate",
            Self::Scan => "scan",
            Self::Load => "load",
        }
    }

    /// A read of one key.
    #[inline]
    pub(crate) fn of_read(want: &Want<'_>) -> Self {
        if matches!(want.lease, Ask::No) { Self::Get } else { Self::Lease }
    }

    /// A read of many.
    pub(crate) fn of_reads(want: &Want<'_>) -> Self {
        if matches!(want.lease, Ask::No) { Self::GetMany } else { Self::Lease }
    }

    /// A write of one key.
    pub(crate) fn of_write(change: &Change) -> Self {
        match change {
            Change::Put(..) => Self::Set,
            Change::Remove => Self::Delete,
            Change::Add { .. } => Self::Increment,
            Change::Expire(_) => Self::Expire,
            Change::Release => Self::Lease,
        }
    }

    /// A write of many, some of which may be removals of what could not be stored.
    pub(crate) fn of_writes<'c>(mut changes: impl Iterator<Item = &'c Change>) -> Self {
        let first = changes.next().map_or(Self::Set, Self::of_write);
        let stores = first == Self::Set || changes.any(|change| matches!(change, Change::Put(..)));
        match first {
            _ if stores => Self::SetMany,
            Self::Delete => Self::DeleteMany,
            other => other,
        }
    }
}

/// The calls of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Timing {
    /// How many were made. Exact.
    pub calls: u64,
    /// How long they took: after a call that took microseconds or more that of the next one; after a
    /// quicker one that of one in 64 on average, which stands for those since the one before.
    ///
    /// Its count lags behind [`calls`](Self::calls) by less than a hundred for each thread.
    pub latency: Histogram,
}

/// The calls of each kind.
///
/// ```
/// # fn main() -> yokedcache::Result<()> {
/// use yokedcache::monitoring::Operation;
///
/// let cache = yokedcache::Cache::memory(10);
/// cache.get::<i32>("a")?;
/// let operations = cache.stats().operations;
/// assert_eq!(operations[Operation::Get].calls, 1);
/// assert!(operations[Operation::Get].latency.percentile(99.0).is_some());
/// assert_eq!(operations[Operation::Set].latency.percentile(99.0), None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Operations(pub(super) [Timing; OPERATIONS]);

impl Operations {
    /// All kinds, those of which no call was made included.
    pub fn iter(&self) -> impl Iterator<Item = (Operation, &Timing)> {
        Operation::ALL.into_iter().zip(&self.0)
    }
}

impl Index<Operation> for Operations {
    type Output = Timing;

    fn index(&self, operation: Operation) -> &Timing {
        &self.0[operation as usize]
    }
}

/// An object with a field for each kind.
impl Serialize for Operations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(OPERATIONS))?;
        for (operation, timing) in self.iter() {
            map.serialize_entry(operation.as_str(), timing)?;
        }
        map.end()
    }
}
