//! One part of the store: entries in order of use, with their timers, tags and rights to fill.
//!
//! A pure structure. Whoever holds it has locked it, tells it the time, and drops what it hands
//! out after unlocking.

mod changes;
mod removal;

use std::ops::Range;

use bytes::Bytes;
use hashlink::linked_hash_map::RawEntryMut;
use hashlink::{DefaultHashBuilder, LinkedHashMap};
use smol_str::SmolStr;

use super::counted::Counted;
use super::index::{Roster, TagIndex};
use super::lease::{Leases, Request};
use super::slot::{Gone, Place, Presence, Reason, Slot};
use super::wheel::Wheel;
use crate::backend::{Ask, Cause, Found, Grant, Life, More, Origin, Over, Read, Tags, Token, Want};
use crate::clock::{self, Tick};

#[derive(Debug)]
pub(super) struct Shard {
    /// The least recently used in front. Where `exact`, a read moves its entry to the back. Else
    /// it only marks it, and eviction moves marked entries to the back instead of removing them
    /// (second chance): a hit then touches one node, not its neighbours and the end of the list.
    entries: Entries,
    exact: bool,
    roster: Roster,
    tags: TagIndex,
    wheel: Wheel,
    leases: Leases,
    origin: Origin,
    /// Versions of this shard, in steps that keep them apart from other shards'.
    version: u64,
    version_step: u64,
    bytes: usize,
    pub(super) counted: Counted,
}

impl Shard {
    /// Shard `index` of `count`, all with the same hasher and origin.
    pub(super) fn new(
        hasher: DefaultHashBuilder,
        origin: Origin,
        index: usize,
        count: usize,
    ) -> Self {
        Self {
            entries: LinkedHashMap::with_hasher(hasher),
            exact: count == 1,
            roster: Roster::default(),
            tags: TagIndex::default(),
            wheel: Wheel::new(),
            leases: Leases::default(),
            origin,
            version: index as u64,
            version_step: count as u64,
            bytes: 0,
            counted: Counted::default(),
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn tag_links(&self) -> usize {
        self.tags.links()
    }

    pub(super) fn next_due(&self) -> Tick {
        self.wheel.next_due()
    }

    fn next_version(&mut self) -> u64 {
        self.version += self.version_step;
        self.version
    }

    /// Answers a read. `now` is asked only if a lifetime depends on it.
    #[inline]
    pub(super) fn read(
        &mut self,
        place: Place<'_>,
        want: &Want<'_>,
        now: impl Fn() -> Tick,
        out: &mut Read,
    ) -> Option<Gone> {
        let entries = self.entries.raw_entry_mut();
        let RawEntryMut::Occupied(mut found) =
            entries.from_key_hashed_nocheck(place.hash, place.key)
        else {
            *out = Read::Miss(Cause::Absent, self.grant(place.key, want.lease, false, &now));
            return None;
        };
        let slot = found.get_mut();
        if want.is_plain() && !slot.is_timed() {
            // What nearly every read is: the value, and no question of time.
            slot.marked = true;
            *out = Read::Hit(Found::new(slot.entry.untagged(slot.entry.value.clone())));
            if self.exact {
                found.to_back();
            }
            return None;
        }
        let mut stale = false;
        if slot.is_timed() || want.slide.is_some() {
            let now_tick = now();
            if slot.is_expired(now_tick) {
                let (key, slot) = found.remove_entry();
                let gone = self.forget(key, slot, Reason::Expired);
                *out = Read::Miss(Cause::Expired, self.grant(place.key, want.lease, false, &now));
                return Some(gone);
            }
            stale = slot.soft <= now_tick;
            if let Some(idle) = want.slide.filter(|_| !stale && !want.quiet) {
                slot.end = clock::after(now_tick, Some(idle)).min(slot.cap);
                self.wheel.schedule(slot.id, slot.end);
            }
        }
        if want.share {
            slot.entry.value.share();
        }
        let value = if want.head_only { Bytes::new().into() } else { slot.entry.value.clone() };
        let mut entry = slot.entry.untagged(value);
        if want.meta {
            entry.tags = slot.entry.tags.clone();
        }
        if !want.quiet && !slot.marked {
            slot.marked = true;
        }
        if self.exact && !want.quiet {
            found.to_back();
        }
        let rare = want.meta || want.token || !matches!(want.lease, Ask::No);
        let more = if rare { self.more(place, want, stale, &now) } else { None };
        *out = Read::Hit(Found { entry, stale, tier: 0, more });
        None
    }

    /// What a reader asked for beside the value. Kept apart: most ask for nothing.
    #[inline(never)]
    fn more(
        &mut self,
        place: Place<'_>,
        want: &Want<'_>,
        stale: bool,
        now: &impl Fn() -> Tick,
    ) -> Option<Box<More>> {
        let slot = self.slot(place)?;
        let life = if want.meta { slot.life(now()) } else { Life::FOREVER };
        let token = want.token.then(|| Token::new(self.origin, u128::from(slot.version)));
        let grant = match want.lease {
            Ask::Own { over: Over::Fresh, .. } => self.grant(place.key, want.lease, true, now),
            Ask::Own { over: Over::Stale | Over::Dead(_), .. } if stale => {
                self.grant(place.key, want.lease, true, now)
            }
            Ask::Take { .. } | Ask::Renew { .. } => self.grant(place.key, want.lease, false, now),
            _ => Grant::None,
        };
        Some(Box::new(More { life, token, grant }))
    }

    #[inline]
    fn grant(
        &mut self,
        key: &str,
        ask: Ask<'_>,
        over_value: bool,
        now: &impl Fn() -> Tick,
    ) -> Grant {
        if matches!(ask, Ask::No) {
            return Grant::None;
        }
        let fresh_id = u128::from(self.next_version());
        let request = Request { key, ask, over_value, origin: self.origin, fresh_id };
        self.leases.ask(&request, now())
    }

    fn slot(&self, place: Place<'_>) -> Option<&Slot> {
        let found = self.entries.raw_entry().from_key_hashed_nocheck(place.hash, place.key);
        found.map(|(_, slot)| slot)
    }

    fn slot_mut(&mut self, place: Place<'_>) -> Option<&mut Slot> {
        match self.entries.raw_entry_mut().from_key_hashed_nocheck(place.hash, place.key) {
            RawEntryMut::Occupied(found) => Some(found.into_mut()),
            RawEntryMut::Vacant(_) => None,
        }
    }

    /// Forgets rights to fill whose time is over.
    pub(super) fn sweep_leases(&mut self, now: Tick) {
        self.leases.sweep(now);
    }

    /// Takes the rights to fill away of which `hit` says so.
    pub(super) fn overtake_where(&mut self, hit: impl Fn(&str, &Tags) -> bool) {
        if !self.leases.is_empty() {
            self.leases.overtake_where(hit);
        }
    }

    /// The numbers of the entries with a tag.
    pub(super) fn tagged(&self, tag: &str) -> Vec<u32> {
        self.tags.members(tag).collect()
    }

    /// One more than the largest number ever in use here.
    pub(super) fn last_id(&self) -> u32 {
        self.roster.end()
    }

    /// The keys under these numbers, and what their entries are.
    pub(super) fn keys(&self, ids: Range<u32>, now: Tick) -> Vec<(SmolStr, Presence)> {
        let keys = ids.filter_map(|id| self.roster.get(id));
        let presence = |key: &SmolStr| {
            let slot = self.entries.get(key.as_str());
            slot.map_or(Presence::Gone, |slot| slot.presence(now))
        };
        keys.map(|key| (key.clone(), presence(key))).collect()
    }
}

type Entries = LinkedHashMap<SmolStr, Slot, DefaultHashBuilder>;
