//! Entries as bytes to store, and how long for.

use std::time::Duration;

use super::lies::Lies;
use super::plain;
use super::store::End;
use crate::backend::envelope::{self, Envelope};
use crate::backend::{CodecId, Entry, Life, Packing};
use crate::error::Result;

/// What a store cannot keep beside an entry and its envelope has to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sealing {
    /// When it ends.
    pub(crate) ends: bool,
    /// The same once it is replaced by one that is to end when it would have: what servers tell of
    /// that is too coarse to be told them again and again.
    pub(crate) coarse: bool,
    /// Numbers beyond those that are signed: servers add to them, and begin again at 0.
    pub(crate) unsigned: bool,
    /// Nothing at all: entries are stored as other programs would, and this is what the backend is
    /// called in errors.
    pub(crate) plain: Option<&'static str>,
}

/// Bytes to store, and for how long.
pub(crate) struct Sealed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: End,
}

/// An end as servers are told it.
pub(crate) fn end_in(time: Option<Duration>) -> End {
    End::after(time.map(millis).filter(|ms| *ms < LONGEST))
}

/// When the server is to remove an entry of this life.
fn end(life: &Life) -> Option<Duration> {
    match (life.hard, life.idle) {
        (Some(hard), Some(idle)) => Some(hard.min(idle)),
        (hard, idle) => hard.or(idle),
    }
}

impl Sealing {
    /// Whether an entry can be stored.
    pub(crate) fn check(self, entry: &Entry, life: &Life) -> Result<()> {
        self.plain.map_or(Ok(()), |name| plain::text(name, entry, life).map(drop))
    }

    /// Whether an entry is a whole number and nothing else needs to be said of it.
    pub(crate) fn is_bare(self, entry: &Entry, life: &Life) -> bool {
        let plain = entry.codec == CodecId::INT && entry.packing == Packing::None;
        let nothing_else = entry.tags.is_empty() && entry.schema == 0 && entry.cost_ms == 0;
        let text = entry.value.bytes();
        let fits = || std::str::from_utf8(text).is_ok_and(|text| text.parse::<i64>().is_ok());
        let is_number = envelope::is_whole_number(text) && (!self.unsigned || fits());
        let ends = life.soft.is_some() || life.idle.is_some() || self.ends && life.hard.is_some();
        plain && nothing_else && is_number && !ends
    }

    pub(crate) fn seal(
        self,
        key: &str,
        entry: &Entry,
        life: &Life,
        versions: &[u64],
        id: u128,
        now_ms: u64,
    ) -> Sealed {
        let end = end_in(end(life));
        if let Some(Ok(text)) = self.plain.map(|name| plain::text(name, entry, life)) {
            return Sealed { bytes: text.to_vec(), end };
        }
        if self.is_bare(entry, life) {
            return Sealed { bytes: entry.value.bytes().to_vec(), end };
        }
        let at = |after: Duration| now_ms.saturating_add(millis(after));
        let mut envelope = Envelope::new(entry.clone(), id, now_ms);
        envelope.soft = life.soft.map(at);
        envelope.cap = match (life.idle, life.hard) {
            (Some(_), hard) => Some(hard.map_or(u64::MAX, at)),
            (None, hard) => hard.filter(|_| self.ends).map(at),
        };
        envelope.idle = life.idle.map(millis);
        envelope.tag_versions = versions.to_vec();
        Sealed { bytes: envelope.seal(key), end }
    }

    /// Whether an entry is replaced for its end to move: its envelope tells of it, or has to.
    pub(crate) fn tells_end(self, envelope: &Envelope) -> bool {
        self.ends || envelope.soft.is_some() || envelope.cap.is_some()
    }

    /// What an entry is replaced by for its end to move, if that takes more than telling the server,
    /// and when it ends then.
    pub(crate) fn moved_end<S>(
        self,
        key: &str,
        lies: &Lies<S>,
        life: Option<Duration>,
        now_ms: u64,
    ) -> (Option<Vec<u8>>, End) {
        let new = life.map(millis).filter(|ms| *ms < LONGEST);
        let envelope = match lies.envelope() {
            Some(envelope) if self.tells_end(envelope) => envelope,
            _ => return (None, End::after(new)),
        };
        let mut moved = envelope.clone();
        let hard = match envelope.soft {
            None => new,
            // It stays stale for as long after its new end as after the old.
            Some(soft) => {
                moved.soft = new.map(|new| now_ms.saturating_add(new));
                let end = match envelope.cap {
                    Some(u64::MAX) => None,
                    Some(cap) => Some(cap),
                    None => lies.left().map(|left| now_ms.saturating_add(left)),
                };
                let grace = end.map(|end| end.saturating_sub(soft));
                new.zip(grace).map(|(new, grace)| new.saturating_add(grace))
            }
        };
        let idle = lies.idle_left();
        if envelope.cap.is_some() || self.ends {
            let end = hard.map(|hard| now_ms.saturating_add(hard));
            moved.cap = end.or(idle.map(|_| u64::MAX));
        }
        // Its idle end stays.
        let end = match (idle, hard) {
            (Some(idle), Some(hard)) => Some(idle.min(hard)),
            (idle, hard) => idle.or(hard),
        };
        (Some(moved.seal(key)), End::after(end.map(|ms| ms.max(1))))
    }
}

/// Whole milliseconds, at least one, rounded up; capped where Redis would not take more.
pub(crate) fn millis(time: Duration) -> u64 {
    let ms = time.as_nanos().div_ceil(1_000_000);
    u64::try_from(ms).unwrap_or(u64::MAX).clamp(1, LONGEST)
}

/// Thirty thousand years: what lives longer lives for ever.
const LONGEST: u64 = 1_000_000_000_000_000;
