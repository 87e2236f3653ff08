//! How often the two sides differ.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::copying::read;
use crate::backend::{Backend, Call, Entry, Name, Read, Want};
use crate::error::Result;
use crate::random::Random;

/// How often the old and the new side of a [`DualWrite`](crate::DualWrite) gave the same answer, and
/// how they differed, in keys compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Divergence {
    /// Both had the same value, or none.
    pub same: u64,
    /// Only the old side had an entry.
    pub missing_in_new: u64,
    /// Only the new side had one.
    pub missing_in_old: u64,
    /// Value, codec or schema differed.
    pub different: u64,
}

impl Divergence {
    /// Keys whose answers were not the same.
    pub fn differences(&self) -> u64 {
        self.missing_in_new + self.missing_in_old + self.different
    }
}

#[derive(Debug, Default)]
pub(super) struct Comparison {
    random: Random,
    same: AtomicU64,
    missing_in_new: AtomicU64,
    missing_in_old: AtomicU64,
    different: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Same,
    MissingInNew,
    MissingInOld,
    Different,
}

const QUIET: Want<'_> = Want { quiet: true, ..Want::VALUE };

impl Comparison {
    pub(super) fn counts(&self) -> Divergence {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Divergence {
            same: count(&self.same),
            missing_in_new: count(&self.missing_in_new),
            missing_in_old: count(&self.missing_in_old),
            different: count(&self.different),
        }
    }

    /// Whether this read is one of the part that is compared.
    pub(super) fn is_due(&self, part: f64) -> bool {
        self.random.unit() < part
    }

    /// Compares what the old side answered with what the new one has. What differs is read again from
    /// both before it counts: it may have been a write under way. Keys that could not be read do not
    /// count, and never cost the caller its answer.
    pub(super) fn compare(
        &self,
        call: Call,
        (old, new): (&dyn Backend, &dyn Backend),
        names: &[Name<'_>],
        (want, answers): (&Want<'_>, &[Read]),
    ) {
        let alike = Want { head_only: want.head_only, ..QUIET };
        let Ok(theirs) = read(call, new, names, &alike) else { return };
        let mut doubtful = Vec::new();
        for ((name, old), new) in names.iter().zip(answers).zip(&theirs) {
            match kind(old, new) {
                Some(Kind::Same) => self.count(Kind::Same),
                Some(_) => doubtful.push(*name),
                None => {}
            }
        }
        let _ = self.compare_again(call, old, new, &doubtful);
    }

    fn compare_again(
        &self,
        call: Call,
        old: &dyn Backend,
        new: &dyn Backend,
        names: &[Name<'_>],
    ) -> Result<()> {
        let (old, new) = (read(call, old, names, &QUIET)?, read(call, new, names, &QUIET)?);
        old.iter().zip(&new).filter_map(|(old, new)| kind(old, new)).for_each(|it| self.count(it));
        Ok(())
    }

    fn count(&self, kind: Kind) {
        let counter = match kind {
            Kind::Same => &self.same,
            Kind::MissingInNew => &self.missing_in_new,
            Kind::MissingInOld => &self.missing_in_old,
            Kind::Different => &self.different,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// How two answers differ; `None` if one of them is none.
fn kind(old: &Read, new: &Read) -> Option<Kind> {
    Some(match (old, new) {
        (Read::Hit(old), Read::Hit(new)) if is_same(&old.entry, &new.entry) => Kind::Same,
        (Read::Hit(_), Read::Hit(_)) => Kind::Different,
        (Read::Hit(_), Read::Miss(..)) => Kind::MissingInNew,
        (Read::Miss(..), Read::Hit(_)) => Kind::MissingInOld,
        (Read::Miss(..), Read::Miss(..)) => Kind::Same,
        _ => return None,
    })
}

fn is_same(old: &Entry, new: &Entry) -> bool {
    let form = |entry: &Entry| (entry.codec, entry.packing, entry.schema);
    form(old) == form(new) && old.value.bytes() == new.value.bytes()
}
