//! What a write does to an entry, if its condition holds.

use std::time::Duration;

use hashlink::linked_hash_map::RawEntryMut;
use smol_str::SmolStr;

use super::Shard;
use crate::backend::memory::slot::{Gone, Place, Reason, Slot, weight};
use crate::backend::{Change, CodecId, Entry, Life, NotDone, Token, When, Wrote};
use crate::clock::{self, NEVER, Tick};
use crate::number;

impl Shard {
    /// Makes a change if its condition holds.
    pub(in crate::backend::memory) fn write(
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
    fn expire(&mut self, place: Place<'_>, life: Option<Duration>, now: Tick) -> Wrote {
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
}
