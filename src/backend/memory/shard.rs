//! One part of the store: entries in order of use, with their timers, tags and rights to fill.
//!
//! A pure structure. Whoever holds it has locked it, tells it the time, and drops what it hands
//! out after unlocking.

use std::ops::Range;

use bytes::Bytes;
use hashlink::linked_hash_map::RawEntryMut;
use hashlink::{DefaultHashBuilder, LinkedHashMap};
use smol_str::SmolStr;

use super::counted::{Counted, Limit};
use super::index::{Roster, TagIndex};
use super::lease::{Leases, Request};
use super::slot::{Gone, Place, Presence, Reason, Slot, weight};
use super::wheel::{Step, Wheel};
use crate::backend::{
    Ask, Cause, Change, CodecId, Entry, Found, Grant, Life, More, NotDone, Origin, Over, Read,
    Tags, Token, Want, When, Wrote,
};
use crate::clock::{self, NEVER, Tick};
use crate::number;

/// How many timers one search for an expired entry may move.
const STEPS_PER_SEARCH: usize = 1024;
/// A shard with at most this many entries is moved to a smaller table in one go.
const FEW: usize = 64;
/// How many entries one eviction may spare because they were read.
const SPARED: usize = 1024;

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

    /// Makes a change if its condition holds.
    pub(super) fn write(
        &mut self,
        place: Place<'_>,
        when: &When,
        change: Change,
        now: Tick,
        out: &mut Wrote,
    ) -> Option<Gone> {
        if let (Change::Release, When::Lease(lease)) = (&change, when) {
            let held = self.leases.holds(place.key, lease, self.origin, now);
            self.leases.release(place.key, lease);
            *out = if held { Wrote::Done(None) } else { Wrote::Not(NotDone::Overtaken) };
            return None;
        }
        if let Some(unmet) = self.unmet(place, when, now) {
            *out = Wrote::Not(unmet);
            return None;
        }
        match change {
            Change::Put(entry, life) => {
                self.leases.overtake(place.key);
                self.put(place, entry, &life, now, out)
            }
            Change::Remove => {
                self.leases.overtake(place.key);
                self.remove(place, now, out)
            }
            Change::Expire(life) => {
                *out = self.expire(place, life, now);
                None
            }
            Change::Add { by, from, life } => self.add(place, by, from, &life, now, out),
            Change::Release => {
                *out = Wrote::Not(NotDone::Overtaken);
                None
            }
        }
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

    fn unmet(&mut self, place: Place<'_>, when: &When, now: Tick) -> Option<NotDone> {
        let live = |slot: &&Slot| slot.is_live(now);
        match when {
            When::Always => None,
            When::Absent => self.slot(place).filter(live).map(|_| NotDone::Exists),
            When::Present => self.slot(place).filter(live).is_none().then_some(NotDone::Absent),
            When::Version(token) => match self.slot(place).filter(|slot| !slot.is_expired(now)) {
                None => Some(NotDone::Absent),
                Some(slot) => {
                    let same = token.origin == self.origin && token.id == u128::from(slot.version);
                    (!same).then_some(NotDone::Changed)
                }
            },
            When::Lease(lease) => (!self.leases.holds(place.key, lease, self.origin, now))
                .then_some(NotDone::Overtaken),
        }
    }

    fn put(
        &mut self,
        place: Place<'_>,
        entry: Entry,
        life: &Life,
        now: Tick,
        out: &mut Wrote,
    ) -> Option<Gone> {
        let version = self.next_version();
        *out = Wrote::Done(Some(Token::new(self.origin, u128::from(version))));
        self.bytes += weight(place.key, &entry);
        match self.entries.raw_entry_mut().from_key_hashed_nocheck(place.hash, place.key) {
            RawEntryMut::Occupied(mut found) => {
                found.to_back();
                let (key, slot) = found.into_key_value();
                let expired = slot.is_expired(now);
                let reason = if expired { Reason::Expired } else { Reason::Replaced };
                self.counted.add(reason);
                let old = std::mem::replace(&mut slot.entry, entry);
                slot.set_life(life, now);
                slot.version = version;
                self.wheel.schedule(slot.id, slot.end);
                if old.tags != slot.entry.tags {
                    self.tags.remove(slot.id, &old.tags);
                    self.tags.add(slot.id, &slot.entry.tags);
                }
                self.bytes -= weight(place.key, &old);
                Some(Gone { key: key.clone(), entry: old, reason })
            }
            RawEntryMut::Vacant(vacant) => {
                let key = SmolStr::new(place.key);
                let id = self.roster.add(key.clone());
                let mut slot = Slot {
                    entry,
                    written: now,
                    soft: NEVER,
                    end: NEVER,
                    cap: NEVER,
                    version,
                    id,
                    marked: false,
                };
                slot.set_life(life, now);
                if slot.end != NEVER {
                    self.wheel.schedule(id, slot.end);
                }
                self.tags.add(id, &slot.entry.tags);
                vacant.insert_hashed_nocheck(place.hash, key, slot);
                None
            }
        }
    }

    fn remove(&mut self, place: Place<'_>, now: Tick, out: &mut Wrote) -> Option<Gone> {
        let found = self.entries.raw_entry_mut().from_key_hashed_nocheck(place.hash, place.key);
        let RawEntryMut::Occupied(found) = found else {
            *out = Wrote::Not(NotDone::Absent);
            return None;
        };
        let (key, slot) = found.remove_entry();
        let live = slot.is_live(now);
        *out = if live { Wrote::Done(None) } else { Wrote::Not(NotDone::Absent) };
        let reason = if slot.is_expired(now) { Reason::Expired } else { Reason::Deleted };
        Some(self.forget(key, slot, reason))
    }

    /// A value kept when stale stays so for as long after its new end as after the old.
    fn expire(&mut self, place: Place<'_>, life: Option<std::time::Duration>, now: Tick) -> Wrote {
        let Some(slot) = self.slot_mut(place).filter(|slot| slot.is_live(now)) else {
            return Wrote::Not(NotDone::Absent);
        };
        let end = clock::after(now, life);
        let slides = slot.end != slot.cap;
        if slot.soft == NEVER {
            slot.cap = end;
        } else {
            slot.cap = end.saturating_add(slot.cap.saturating_sub(slot.soft));
            slot.soft = end;
        }
        // Who slides the entry goes on sliding it: its idle end stays.
        slot.end = if slides { slot.end.min(slot.cap) } else { slot.cap };
        let (id, end, version) = (slot.id, slot.end, slot.version);
        self.wheel.schedule(id, end);
        self.leases.overtake(place.key);
        Wrote::Done(Some(Token::new(self.origin, u128::from(version))))
    }

    fn add(
        &mut self,
        place: Place<'_>,
        by: i64,
        from: i64,
        life: &Life,
        now: Tick,
        out: &mut Wrote,
    ) -> Option<Gone> {
        let live = self.slot(place).filter(|slot| slot.is_live(now));
        let exists = live.is_some();
        let sum = match number::add(live.map(|slot| &slot.entry), from, by) {
            Ok(sum) => sum,
            Err(error) => {
                *out = Wrote::Failed(error);
                return None;
            }
        };
        let text = sum.to_string();
        let gone = if exists {
            self.renumber(place, text)
        } else {
            self.put(place, Entry::new(text, CodecId::INT), life, now, out)
        };
        self.leases.overtake(place.key);
        *out = Wrote::Number(sum);
        gone
    }

    /// Puts another number into an entry that keeps everything else. The old value goes out: what
    /// it was decoded to may run code of the user's when it is dropped.
    fn renumber(&mut self, place: Place<'_>, text: String) -> Option<Gone> {
        let version = self.next_version();
        let found = self.entries.raw_entry_mut().from_key_hashed_nocheck(place.hash, place.key);
        let RawEntryMut::Occupied(mut found) = found else { return None };
        found.to_back();
        let (key, slot) = found.into_key_value();
        self.bytes = self.bytes + text.len() - slot.entry.value.bytes().len();
        let entry = slot.entry.clone();
        slot.entry.value = text.into();
        slot.version = version;
        self.counted.add(Reason::Replaced);
        Some(Gone { key: key.clone(), entry, reason: Reason::Replaced })
    }

    /// Takes the bookkeeping of an entry away that is no longer in the map.
    fn forget(&mut self, key: SmolStr, slot: Slot, reason: Reason) -> Gone {
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
    pub(super) fn pop_least_recent(&mut self, limit: Limit) -> Option<Gone> {
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
    pub(super) fn pop_expired(&mut self, now: Tick) -> Option<Gone> {
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
    pub(super) fn sweep(&mut self, now: Tick, most: usize, gone: &mut Vec<Gone>) -> bool {
        for _ in 0..most {
            match self.wheel.step(now) {
                Step::Expired(id) => gone.extend(self.forget_id(id, Reason::Expired)),
                Step::Moved => {}
                Step::Idle => return true,
            }
        }
        false
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

    /// Removes those of these entries whose tags `hit` says so of.
    pub(super) fn remove_where(
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
    pub(super) fn remove_keys(&mut self, keys: &[&SmolStr], gone: &mut Vec<Gone>) {
        for key in keys {
            if let Some((key, slot)) = self.entries.remove_entry(key.as_str()) {
                gone.push(self.forget(key, slot, Reason::Invalidated));
            }
        }
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

    /// If the table is far too large for the few entries left, moves them to a new one and hands
    /// out the old to be dropped. Entries keep their numbers: a walk may be under way. Numbers
    /// begin anew only when no entry is left that a walk would have to meet.
    pub(super) fn compacted(&mut self) -> Option<Leftovers> {
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

type Entries = LinkedHashMap<SmolStr, Slot, DefaultHashBuilder>;
/// What compaction leaves to be dropped.
pub(super) type Leftovers = (Entries, Option<(Roster, Wheel)>);
