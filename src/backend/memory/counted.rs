//! How many entries left a shard, and why.

use super::slot::Reason;
use crate::stats::Removals;

/// What made room necessary.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    Entries,
    Bytes,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted(Removals);

impl Counted {
    /// An entry left. Evictions are counted [by limit](Self::evicted_for).
    pub(super) fn add(&mut self, reason: Reason) {
        let Self(removals) = self;
        match reason {
            Reason::Expired => removals.expired += 1,
            Reason::Replaced => removals.replaced += 1,
            Reason::Deleted => removals.deleted += 1,
            Reason::Invalidated => removals.invalidated += 1,
            Reason::Evicted => {}
        }
    }

    pub(super) fn evicted_for(&mut self, limit: Limit) {
        match limit {
            Limit::Entries => self.0.size += 1,
            Limit::Bytes => self.0.bytes += 1,
        }
    }

    pub(super) fn add_to(&self, sums: &mut Removals) {
        let Self(removals) = self;
        sums.expired += removals.expired;
        sums.size += removals.size;
        sums.bytes += removals.bytes;
        sums.replaced += removals.replaced;
        sums.deleted += removals.deleted;
        sums.invalidated += removals.invalidated;
    }
}
