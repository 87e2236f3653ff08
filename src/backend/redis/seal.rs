//! Entries as bytes to store, and how long for.

use std::time::Duration;

use super::lies::Lies;
use crate::backend::envelope::{self, Envelope};
use crate::backend::{CodecId, Entry, Life, Packing};

/// Bytes to store, and for how long.
pub(super) struct Sealed {
    pub(super) bytes: Vec<u8>,
    pub(super) px: String,
    /// Its write id, unless it is a bare number.
    pub(super) id: Option<u128>,
}

/// The milliseconds until an end as a command has them; empty for ever.
pub(super) fn px(end: Option<Duration>) -> String {
    end.map(millis).filter(|ms| *ms < LONGEST).map_or(String::new(), |ms| ms.to_string())
}

/// When the server is to remove an entry of this life.
fn end(life: &Life) -> Option<Duration> {
    match (life.hard, life.idle) {
        (Some(hard), Some(idle)) => Some(hard.min(idle)),
        (hard, idle) => hard.or(idle),
    }
}

/// Whether an entry is a whole number and nothing else needs to be said of it.
pub(super) fn is_bare(entry: &Entry, life: &Life) -> bool {
    let plain = entry.codec == CodecId::INT && entry.packing == Packing::None;
    let nothing_else = entry.tags.is_empty() && entry.schema == 0 && entry.cost_ms == 0;
    let is_number = envelope::is_whole_number(entry.value.bytes());
    plain && nothing_else && is_number && life.soft.is_none() && life.idle.is_none()
}

pub(super) fn seal(
    key: &str,
    entry: &Entry,
    life: &Life,
    versions: &[u64],
    id: u128,
    now_ms: u64,
) -> Sealed {
    let px = px(end(life));
    if is_bare(entry, life) {
        return Sealed { bytes: entry.value.bytes().to_vec(), px, id: None };
    }
    let at = |after: Duration| now_ms.saturating_add(millis(after));
    let mut envelope = Envelope::new(entry.clone(), id, now_ms);
    envelope.soft = life.soft.map(at);
    envelope.cap = life.idle.map(|_| life.hard.map_or(u64::MAX, at));
    envelope.tag_versions = versions.to_vec();
    Sealed { bytes: envelope.seal(key), px, id: Some(id) }
}

/// What an entry is replaced by for its end to move, if that takes more than telling the server,
/// and how long it lives then; empty for ever.
pub(super) fn moved_end(
    key: &str,
    lies: &Lies,
    life: Option<Duration>,
    now_ms: u64,
) -> (Option<Vec<u8>>, String) {
    let new = life.map(millis).filter(|ms| *ms < LONGEST);
    let text = |ms: Option<u64>| ms.map_or(String::new(), |ms| ms.max(1).to_string());
    let left = lies.left_ms.and_then(|left| u64::try_from(left).ok());
    let envelope = match lies.envelope() {
        Some(envelope) if envelope.soft.is_some() || envelope.cap.is_some() => envelope,
        _ => return (None, text(new)),
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
                None => left.map(|left| now_ms.saturating_add(left)),
            };
            let grace = end.map(|end| end.saturating_sub(soft));
            new.zip(grace).map(|(new, grace)| new.saturating_add(grace))
        }
    };
    let px = match envelope.cap {
        None => hard,
        Some(_) => {
            moved.cap = Some(hard.map_or(u64::MAX, |hard| now_ms.saturating_add(hard)));
            // Its idle end stays.
            match (left, hard) {
                (Some(left), Some(hard)) => Some(left.min(hard)),
                (left, hard) => left.or(hard),
            }
        }
    };
    (Some(moved.seal(key)), text(px))
}

/// Whole milliseconds, at least one, rounded up; capped where Redis would not take more.
pub(super) fn millis(time: Duration) -> u64 {
    let ms = time.as_nanos().div_ceil(1_000_000);
    u64::try_from(ms).unwrap_or(u64::MAX).clamp(1, LONGEST)
}

/// Thirty thousand years: what lives longer lives for ever.
const LONGEST: u64 = 1_000_000_000_000_000;
