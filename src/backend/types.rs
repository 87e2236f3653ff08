//! What travels between a cache and its backend.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::key::Name;
use crate::pattern::Pattern;
use crate::tag::Tags;
use crate::value::Value;

/// A backend's name and what it can do. It may change while a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct About {
    /// The word for it in errors, logs and statistics.
    pub name: &'static str,
    /// What it can do.
    pub can: Can,
}

impl About {
    /// A backend of this name with these capabilities.
    pub fn new(name: &'static str, can: Can) -> Self {
        Self { name, can }
    }
}

/// What a backend can do. What it cannot is answered with
/// [`Unsupported`](ErrorKind::Unsupported), or emulated by the cache where that is possible.
///
/// [`new`](Self::new) says no to everything; set what holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Can {
    /// Entries carry tags, and tags can be invalidated.
    pub tags: bool,
    /// Keys can be listed, searched, and removed by pattern.
    pub scan: bool,
    /// Reads give a [`Token`], and writes under [`When::Version`] are atomic.
    pub versions: bool,
    /// [`Ask::Own`] and its kin are honoured. Without, a value whose load an invalidation overtook
    /// is stored all the same: in that backend promises about invalidation hold for plain writes.
    pub leases: bool,
    /// [`Change::Add`] is atomic. Without it the cache adds by compare-and-swap.
    pub add: bool,
    /// Other processes see the entries.
    pub shared: bool,
    /// How long after an invalidation another process may still be served the old value.
    pub lag: Duration,
    /// Lifetimes are rounded up to a multiple of this.
    pub ttl_step: Duration,
    /// The largest value in bytes, where there is a limit.
    pub max_value: Option<usize>,
}

impl Can {
    /// Nothing beyond get, set and delete with lifetimes exact to the millisecond.
    pub fn new() -> Self {
        Self {
            tags: false,
            scan: false,
            versions: false,
            leases: false,
            add: false,
            shared: false,
            lag: Duration::ZERO,
            ttl_step: Duration::from_millis(1),
            max_value: None,
        }
    }

    /// What two backends that stand in for each other can do together.
    pub fn and(self, other: Self) -> Self {
        Self {
            tags: self.tags && other.tags,
            scan: self.scan && other.scan,
            versions: self.versions && other.versions,
            leases: self.leases && other.leases,
            add: self.add && other.add,
            shared: self.shared || other.shared,
            lag: self.lag.max(other.lag),
            ttl_step: self.ttl_step.max(other.ttl_step),
            max_value: match (self.max_value, other.max_value) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }
    }
}

impl Default for Can {
    fn default() -> Self {
        Self::new()
    }
}

/// How long a call may take, pool wait, connecting, writing, reading and retrying together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// As long as the backend's own settings say.
    #[default]
    Unlimited,
    /// So long, counted from when the backend starts to work.
    Within(Duration),
    /// Until this instant.
    Until(Instant),
}

impl Call {
    /// The same limit as an instant, so that several steps share it.
    pub fn armed(self) -> Self {
        match self {
            Self::Within(time) => {
                Instant::now().checked_add(time).map_or(Self::Unlimited, Self::Until)
            }
            armed => armed,
        }
    }

    /// What is left of it; `None` where there is no limit.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout) when nothing is left.
    pub fn left(self) -> Result<Option<Duration>> {
        match self {
            Self::Unlimited => Ok(None),
            Self::Within(time) => Ok(Some(time)),
            Self::Until(end) => match end.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => Ok(Some(left)),
                _ => Err(Error::new(ErrorKind::Timeout, "the deadline of the call has passed")),
            },
        }
    }

    /// A part of what is left, for the first of several places to try.
    pub fn share(self, part: f64) -> Self {
        match self.left() {
            Ok(None) => Self::Unlimited,
            Ok(Some(left)) => Self::Within(left.mul_f64(part.clamp(0.0, 1.0))),
            Err(_) => self,
        }
    }
}

/// What is stored under a key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// The encoded value.
    pub value: Value,
    /// How it is encoded.
    pub codec: CodecId,
    /// How the encoded bytes are packed.
    pub packing: Packing,
    /// The version of the value's type, for programs that changed it; 0 unless asked for.
    pub schema: u32,
    /// Its tags.
    pub tags: Tags,
    /// How long the value took to load, in milliseconds; 0 if it was simply stored.
    pub cost_ms: u32,
}

impl Entry {
    /// An untagged entry.
    pub fn new(value: impl Into<Value>, codec: CodecId) -> Self {
        Self {
            value: value.into(),
            codec,
            packing: Packing::None,
            schema: 0,
            tags: Tags::NONE,
            cost_ms: 0,
        }
    }
}

/// How a value is encoded. Numbers from [`USER`](Self::USER) on belong to codecs of your own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodecId(pub u8);

impl CodecId {
    /// Bytes as the caller gave them.
    pub const RAW: Self = Self(0);
    /// JSON text.
    pub const JSON: Self = Self(1);
    /// MessagePack.
    pub const MSGPACK: Self = Self(2);
    /// A whole number in decimal text, under every codec.
    pub const INT: Self = Self(3);
    /// The knowledge that there is no value; no bytes.
    pub const NEGATIVE: Self = Self(4);
    /// Written by another program: a whole number in decimal text, or else JSON.
    pub const FOREIGN: Self = Self(5);
    /// The first number for codecs outside this crate.
    pub const USER: u8 = 128;
}

/// How encoded bytes are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Packing {
    /// As they are.
    #[default]
    None,
    /// An lz4 block after the unpacked length (four bytes, little endian).
    Lz4,
    /// A zstd frame after the unpacked length (four bytes, little endian).
    Zstd,
}

/// An entry's times, as distances from the moment of the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Life {
    /// How long ago it was written.
    pub age: Option<Duration>,
    /// When it turns stale: still there for a loader that fails, absent for everybody else.
    pub soft: Option<Duration>,
    /// When it is gone; never, if `None`.
    pub hard: Option<Duration>,
    /// Gone earlier if not read for so long by somebody who [slides](Want::slide) it.
    pub idle: Option<Duration>,
}

impl Life {
    /// A life without end.
    pub const FOREVER: Self = Self { age: None, soft: None, hard: None, idle: None };

    /// A life that ends after `hard`.
    pub fn new(hard: Option<Duration>) -> Self {
        Self { hard, ..Self::FOREVER }
    }
}

/// What a reader wants beside the value.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Want<'a> {
    /// Everything but the value, which may come empty.
    pub head_only: bool,
    /// Times and tags: [`More::life`] and [`Entry::tags`].
    pub meta: bool,
    /// A [`Token`] to write back under.
    pub token: bool,
    /// The stored [`Value`] made [shared](Value::share), where values live in this process.
    pub share: bool,
    /// Leave no trace: no recency, no sliding.
    pub quiet: bool,
    /// Put the idle end of a fresh entry so far off, within its hard end, whether it had one or not.
    pub slide: Option<Duration>,
    /// The right to fill the key.
    pub lease: Ask<'a>,
}

impl Want<'_> {
    /// The value and nothing else.
    pub const VALUE: Self = Self {
        head_only: false,
        meta: false,
        token: false,
        share: false,
        quiet: false,
        slide: None,
        lease: Ask::No,
    };
}

/// Which right to fill a key a reader asks for.
///
/// A right ends when anything else changes the key: a write, a removal, an invalidation of the
/// key's pattern or of one of the tags named here.
#[derive(Clone, Copy, Debug, Default)]
pub enum Ask<'a> {
    /// None.
    #[default]
    No,
    /// To fill if nothing changed meanwhile; any number of readers may hold it.
    Watch {
        /// The tags the fill will carry.
        tags: &'a Tags,
    },
    /// To be the one who loads a missing key.
    Own {
        /// How long others are to wait for the fill.
        hold: Duration,
        /// Also when a stale value is there.
        stale_too: bool,
        /// The tags the fill will carry.
        tags: &'a Tags,
    },
    /// The same whatever lies under the key: what is there cannot be used.
    Take {
        /// How long others are to wait for the fill.
        hold: Duration,
        /// The tags the fill will carry.
        tags: &'a Tags,
    },
    /// To keep a right for longer, and with more tags.
    Renew {
        /// The right held.
        lease: &'a Lease,
        /// How long others are to wait from now on.
        hold: Duration,
        /// The tags the fill will carry, old and new.
        tags: &'a Tags,
    },
}

/// The answer for one key.
#[derive(Debug, Default)]
pub enum Read {
    /// The backend did not get to it. Slots start so.
    #[default]
    Unanswered,
    /// There is an entry, perhaps stale.
    Hit(Found),
    /// There is none.
    Miss(Cause, Grant),
    /// This key failed; others may not have.
    Failed(Error),
}

/// An entry found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Found {
    /// The entry; its tags only if [`Want::meta`] was set.
    pub entry: Entry,
    /// Past its soft end.
    pub stale: bool,
    /// Which level of a tiered cache it came from: 0 is the nearest.
    pub tier: u8,
    /// What was asked for beside the value.
    pub more: Option<Box<More>>,
}

impl Found {
    /// A fresh entry from the nearest level.
    #[inline]
    pub fn new(entry: Entry) -> Self {
        Self { entry, stale: false, tier: 0, more: None }
    }
}

/// What a reader asked for beside the value.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct More {
    /// Its times, if [`Want::meta`] was set.
    pub life: Life,
    /// Its version, if [`Want::token`] was set.
    pub token: Option<Token>,
    /// The right asked for.
    pub grant: Grant,
}

/// Whether a right to fill was given.
#[derive(Clone, Debug, Default)]
pub enum Grant {
    /// None was asked for, or the one to renew is lost.
    #[default]
    None,
    /// Yes.
    Granted(Box<Lease>),
    /// Somebody else is loading.
    Busy {
        /// A good time to ask again.
        ask_again_in: Duration,
    },
}

/// A tag's full name and the version it had.
pub type TagVersion = (Box<str>, u64);

/// The right to fill a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// Which backend gave it.
    pub origin: Origin,
    /// Which one it is.
    pub id: u128,
    /// The versions of tags it was given under, for backends that keep any.
    pub seen: Option<Arc<[TagVersion]>>,
}

impl Lease {
    /// A right given by the backend with this origin.
    pub fn new(origin: Origin, id: u128) -> Self {
        Self { origin, id, seen: None }
    }
}

/// The version of an entry as somebody read it, to write back under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Token {
    /// Which backend it came from.
    pub origin: Origin,
    /// Which version it is.
    pub id: u128,
}

impl Token {
    /// A version at the backend with this origin.
    pub fn new(origin: Origin, id: u128) -> Self {
        Self { origin, id }
    }
}

/// Tells one backend instance from another: a token or lease counts only where it came from.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin(u64);

impl Origin {
    /// An origin no other backend of this process has.
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({})", self.0)
    }
}

/// Why a read found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// Never stored, deleted, evicted, or expired and freed since.
    Absent,
    /// Its time had come.
    Expired,
    /// One of its tags was invalidated.
    Invalidated,
    /// The stored bytes are damaged or were not written for this key.
    Corrupt,
    /// Written under another schema version.
    OtherVersion,
    /// There, but not readable as the type asked for, or written by a codec not at hand.
    Undecodable,
    /// The backend could not be asked.
    Down,
}

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
    /// Stores an entry, written now whatever the age in its life.
    Put(Entry, Life),
    /// Gives the entry a new end (none, if `None`), from now; value, tags and version stay. A soft
    /// end moves there, and the hard end stays as far behind it as it was; an idle end goes.
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
    /// Entries with all of these tags. With none named: nothing.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer is written for each key read: its size is part of the cost of a get.
    #[test]
    fn answers_stay_small() {
        assert!(size_of::<Entry>() <= 56, "{}", size_of::<Entry>());
        assert!(size_of::<Read>() <= 72, "{}", size_of::<Read>());
    }
}
