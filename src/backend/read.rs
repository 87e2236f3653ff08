//! What a reader asks for and is answered.

use std::time::Duration;

use super::entry::{Entry, Life};
use super::token::{Lease, Token};
use crate::error::Error;
use crate::tag::Tags;

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
    /// The stored [`Value`](super::Value) made [shared](super::Value::share), where values live in this process.
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

    /// Whether the value is all that is wanted, and a trace may be left.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        let more = self.head_only | self.meta | self.token | self.share | self.quiet;
        !more && self.slide.is_none() && matches!(self.lease, Ask::No)
    }
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
    /// To fill if nothing changed meanwhile; any number of readers may hold it. A server that keeps
    /// no record of its readers gives none.
    Watch {
        /// The tags the fill will carry.
        tags: &'a Tags,
    },
    /// To be the one who loads a missing key.
    Own {
        /// How long others are to wait for the fill.
        hold: Duration,
        /// What may be there all the same.
        over: Over,
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

/// What may be there when a right is asked for.
///
/// A value stays until it is replaced by the fill: who does not get the right uses it meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Over {
    /// Nothing: a value, stale or not, is the answer, and no right is given.
    #[default]
    Nothing,
    /// A stale value, to be refreshed.
    Stale,
    /// Any value, to be refreshed early.
    Fresh,
    /// As [`Stale`](Self::Stale), and the right of this [holder](Grant::Busy), who is taken for dead,
    /// or refreshes what the caller cannot use. The right to load what is missing backends need not
    /// take away if it ends by a clock of their own.
    Dead(u64),
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
        /// Who: the same until the right is renewed or goes to another.
        by: u64,
    },
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
