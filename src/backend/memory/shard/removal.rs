//! How entries leave: one by one as they expire, are evicted or invalidated, with all that was
//! kept about them.

use hashlink::LinkedHashMap;
use smol_str::SmolStr;

use super::{Entries, Shard};
use crate::backend::Tags;
use crate::backend::memory::counted::Limit;
use crate::backend::memory::index::Roster;
use crate::backend::memory::slot::{Gone, Reason, Slot, weight};
use crate::backend::memory::wheel::{Step, Wheel};
use crate::clock::Tick;

/// How many timers one search for an expired entry may move.
const STEPS_PER_SEARCH: usize = 1024;
/// A shard with at most this many entries is moved to a smaller table in one go.
const FEW: usize = 64;
/// How many entries one eviction may spare because they were read.
const SPARED: usize = 1024;

impl Shard {
    /// Takes the bookkeeping of an entry away that is no longer in the map.
    pub(super) fn forget(&mut self, key: SmolStr, slot: Slot, reason: Reason) -> Gone {
        self.wheel.cancel(slot.id);
        self.tags.remove(slot.id, &slot.entry.tags);
        self.roster.remove(slot.id);
        self.bytes -= weight(&key, &slot.entry);
        self.counted.add(reason);
        Gone { key, entry: slot.entry, reason }
    }

    fn forget_id(&mut self, id: u32, reason: Reason) -> Option<Gone> {
        let key = self.roster.get(id)?.clone();
        let (key, slot) = self.entries.remove_entry(key.as_str())?;
        Some(self.forget(key, slot, reason))
    }

    /// Removes the entry used least recently, for this limit's sake.
    pub(in crate::backend::memory) fn pop_least_recent(&mut self, limit: Limit) -> Option<Gone> {
        for _ in 0..SPARED {
            let Some(mut front) = self.entries.front_entry().filter(|_| !self.exact) else { break };
            if !std::mem::take(&mut front.get_mut().marked) {
                break;
            }
            front.to_back();
        }
        let (key, slot) = self.entries.pop_front()?;
        self.counted.evicted_for(limit);
        Some(self.forget(key, slot, Reason::Evicted))
    }

    /// Removes an expired entry, if a bounded search finds one.
    pub(in crate::backend::memory) fn pop_expired(&mut self, now: Tick) -> Option<Gone> {
        for _ in 0..STEPS_PER_SEARCH {
            match self.wheel.step(now) {
                Step::Expired(id) => return self.forget_id(id, Reason::Expired),
                Step::Moved => {}
                Step::Idle => return None,
            }
        }
        None
    }

    /// Removes up to `most` expired entries; true when there is no more to do.
    pub(in crate::backend::memory) fn sweep(
        &mut self,
        now: Tick,
        most: usize,
        gone: &mut Vec<Gone>,
    ) -> bool {
        for _ in 0..most {
            match self.wheel.step(now) {
                Step::Expired(id) => gone.extend(self.forget_id(id, Reason::Expired)),
                Step::Moved => {}
                Step::Idle => return true,
            }
        }
        false
    }

    /// Removes those of these entries whose tags `hit` says so of.
    pub(in crate::backend::memory) fn remove_where(
        &mut self,
        ids: &[u32],
        hit: &dyn Fn(&Tags) -> bool,
        gone: &mut Vec<Gone>,
    ) {
        for id in ids {
            let Some(key) = self.roster.get(*id) else { continue };
            if self.entries.get(key.as_str()).is_some_and(|slot| hit(&slot.entry.tags)) {
                gone.extend(self.forget_id(*id, Reason::Invalidated));
            }
        }
    }

    /// Removes the entries with these keys.
    pub(in crate::backend::memory) fn remove_keys(
        &mut self,
        keys: &[&SmolStr],
        gone: &mut Vec<Gone>,
    ) {
        for key in keys {
            if let Some((key, slot)) = self.entries.remove_entry(key.as_str()) {
                gone.push(self.forget(key, slot, Reason::Invalidated));
            }
        }
    }

    /// If the table is far too large for the few entries left, moves them to a new one and hands
    /// out the old to be dropped. Entries keep their numbers: a walk may be under way. Numbers
    /// begin anew only when no entry is left that a walk would have to meet.
    pub(in crate::backend::memory) fn compacted(&mut self) -> Option<Leftovers> {
        if self.entries.len() > FEW || self.entries.capacity() <= 8 * FEW {
            return None;
        }
        let mut small = LinkedHashMap::with_hasher(self.entries.hasher().clone());
        while let Some((key, slot)) = self.entries.pop_front() {
            small.insert(key, slot);
        }
        let old = std::mem::replace(&mut self.entries, small);
        let numbers = self.entries.is_empty().then(|| {
            let wheel = std::mem::replace(&mut self.wheel, Wheel::new());
            (std::mem::take(&mut self.roster), wheel)
        });
        Some((old, numbers))
    }
}

/// What compaction leaves to be dropped.
pub(in crate::backend::memory) type Leftovers = (Entries, Option<(Roster, Wheel)>);
