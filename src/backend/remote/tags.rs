//! Versions of tags, as records and as remembered.
//!
//! A tag's version is 64 random bits under a name of its own. Entries hold the versions they were
//! written under; another version, or none, means that the tag was invalidated since.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use super::recent::Recent;
use super::{random, wall_ms};
use crate::backend::envelope::Opened;
use crate::backend::{Name, Tags};

/// How many keys' tags and how many tags' versions are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("not 0");
/// The shortest life of a tag's record.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The bytes of a record.
pub(crate) fn record(version: u64) -> [u8; 10] {
    let mut bytes = [0xC1, b'T', 0, 0, 0, 0, 0, 0, 0, 0];
    bytes[2..].copy_from_slice(&version.to_le_bytes());
    bytes
}

/// The version in a record.
pub(crate) fn version(record: &[u8]) -> Option<u64> {
    let version = record.strip_prefix(&[0xC1, b'T'])?;
    Some(u64::from_le_bytes(version.try_into().ok()?))
}

/// A version nobody ever had.
pub(crate) fn fresh() -> u64 {
    u64::from_le_bytes(random())
}

/// How long the record of a tag lives whose entries live so long: an entry whose tag's record is
/// gone is a miss.
pub(crate) fn life(entry: Option<Duration>) -> Option<Duration> {
    entry.map(|entry| entry.saturating_mul(2).max(DAY))
}

/// An entry is refreshed by who takes it for stale; clocks may differ so much.
const SKEW_MS: u64 = 5_000;

/// Whether what lies there may be an entry with all of these tags, or be replaced by one that was
/// loaded before: a placeholder, or a stale entry. Which tags those will name is not known.
pub(crate) fn may_have_all(opened: &Opened, tags: &[Name<'_>]) -> bool {
    let Opened::Value(envelope) = opened else { return matches!(opened, Opened::Placeholder(_)) };
    let soon = wall_ms().saturating_add(SKEW_MS);
    let stale = envelope.soft.is_some_and(|soft| soft <= soon);
    stale || tags.iter().all(|tag| envelope.entry.tags.contains(tag.as_str()))
}

/// What this process remembers. It is used to ask and to write, never to judge what was read.
#[derive(Debug)]
pub(crate) struct Memory {
    /// The tags a key last had: they are asked for together with it.
    keys: Recent<Tags>,
    versions: Recent<Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    version: u64,
    /// The record lives at least so long; `None` if that is not known.
    until: Option<Instant>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self { keys: Recent::new(REMEMBERED), versions: Recent::new(REMEMBERED) }
    }

    pub(crate) fn tags_of(&self, key: &str) -> Tags {
        self.keys.get(key).unwrap_or_default()
    }

    pub(crate) fn note_tags(&self, key: &str, tags: &Tags) {
        if tags.is_empty() {
            self.keys.forget(key);
        } else {
            self.keys.put(key, tags.clone());
        }
    }

    /// The version to write under, if its record outlives an entry of this life.
    pub(crate) fn version(&self, tag: &str, entry: Option<Duration>) -> Option<u64> {
        let known = self.versions.get(tag)?;
        let end = match entry {
            Some(life) => Instant::now().checked_add(life),
            None => None,
        };
        let enough = match (known.until, end) {
            (Some(until), Some(end)) => until >= end,
            (Some(until), None) => until >= far_off(),
            (None, _) => false,
        };
        enough.then_some(known.version)
    }

    /// A version was read.
    pub(crate) fn note_version(&self, tag: &str, version: Option<u64>) {
        match version {
            None => self.versions.forget(tag),
            Some(version) => {
                // Another version may be that of another record, with a life of its own.
                let known = self.versions.get(tag).filter(|known| known.version == version);
                let until = known.and_then(|known| known.until);
                self.versions.put(tag, Known { version, until });
            }
        }
    }

    /// We gave a record another version and left it its life.
    pub(crate) fn note_renewed(&self, tag: &str, version: u64) {
        let until = self.versions.get(tag).and_then(|known| known.until);
        self.versions.put(tag, Known { version, until });
    }

    /// The record lives so long at least: for ever, if `None`.
    pub(crate) fn note_life(&self, tag: &str, version: u64, life: Option<Duration>) {
        let until = life.and_then(|life| Instant::now().checked_add(life));
        let until = Some(until.unwrap_or_else(|| far_off() + DAY));
        self.versions.put(tag, Known { version, until });
    }
}

/// Beyond this a record lives for ever.
fn far_off() -> Instant {
    Instant::now() + DAY * 365 * 50
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_its_version_and_nothing_else_is_one() {
        assert_eq!(version(&record(7)), Some(7));
        for bytes in [&b""[..], b"7", &record(7)[..9], b"\xC1V12345678"] {
            assert_eq!(version(bytes), None);
        }
    }

    #[test]
    fn a_version_is_used_while_its_record_outlives_the_entry() {
        let memory = Memory::new();
        let hour = Some(Duration::from_secs(3600));
        memory.note_version("t", Some(1));
        assert_eq!(memory.version("t", hour), None, "nobody knows how long it lives");
        memory.note_life("t", 1, life(hour));
        assert_eq!(memory.version("t", hour), Some(1));
        assert_eq!(memory.version("t", Some(DAY * 2)), None);
        assert_eq!(memory.version("t", None), None);
        memory.note_life("t", 1, None);
        memory.note_renewed("t", 2);
        assert_eq!(memory.version("t", None), Some(2));
        memory.note_version("t", Some(3));
        assert_eq!(memory.version("t", hour), None, "another record, perhaps");
        memory.note_version("t", None);
        assert_eq!(memory.version("t", hour), None);
    }
}
