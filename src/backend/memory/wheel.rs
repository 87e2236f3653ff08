//! A hierarchical timing wheel: which entry expires next, in constant time at any size.
//!
//! Seven levels of 64 slots; a slot of level 0 is a millisecond wide, of level n 64 times one of
//! level n - 1. A timer sits on the level of the highest bits in which its end differs from the
//! wheel's time, and moves down a level when its slot comes up: at most six moves in its life.
//! Slots are doubly linked lists through `links`, which is indexed by the entries' ids.

use crate::clock::{NEVER, Tick};

const LEVELS: usize = 7;
const SLOTS: usize = 64;
const BITS: u32 = 6;
const NANOS_PER_STEP: u64 = 1_000_000;
const NIL: u32 = u32::MAX;
/// Ends from here on, 139 years, need no timer.
const HORIZON: u64 = 1 << (BITS * LEVELS as u32);

#[derive(Debug)]
pub(super) struct Wheel {
    /// Milliseconds; every timer before it has been handed out or waits in `draining`.
    elapsed: u64,
    heads: [[u32; SLOTS]; LEVELS],
    occupied: [u64; LEVELS],
    /// The slot whose timers are being handed out or moved down, one a step.
    draining: Option<Slot>,
    links: Vec<Link>,
    scheduled: usize,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    end: Tick,
    previous: u32,
    next: u32,
    slot: Option<Slot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    level: u8,
    index: u8,
}

/// One step of work.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This entry has expired and is off the wheel.
    Expired(u32),
    /// A timer moved down. There may be more to do.
    Moved,
    /// Nothing is due.
    Idle,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self {
            elapsed: 0,
            heads: [[NIL; SLOTS]; LEVELS],
            occupied: [0; LEVELS],
            draining: None,
            links: Vec::new(),
            scheduled: 0,
        }
    }

    /// How many timers run.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.scheduled
    }

    /// Sets the timer of an entry, in place of an earlier one; [`NEVER`] only takes that away.
    pub(super) fn schedule(&mut self, id: u32, end: Tick) {
        self.cancel(id);
        // Rounded up: what the wheel hands out has expired to the nanosecond.
        let due = end.div_ceil(NANOS_PER_STEP);
        if end == NEVER || due >= HORIZON {
            return;
        }
        let id_index = id as usize;
        if self.links.len() <= id_index {
            let unused = Link { end: NEVER, previous: NIL, next: NIL, slot: None };
            self.links.resize(id_index + 1, unused);
        }
        self.links[id_index].end = end;
        self.push(id, due);
        self.scheduled += 1;
    }

    /// Takes the timer of an entry away.
    pub(super) fn cancel(&mut self, id: u32) {
        if self.links.get(id as usize).is_some_and(|link| link.slot.is_some()) {
            self.unlink(id);
            self.scheduled -= 1;
        }
    }

    /// The earliest time at which a step may find something: a lower bound of all ends.
    pub(super) fn next_due(&self) -> Tick {
        if self.scheduled == 0 {
            return NEVER;
        }
        if self.draining.is_some() {
            return 0;
        }
        self.first_slot().map_or(NEVER, |slot| self.start(slot).saturating_mul(NANOS_PER_STEP))
    }

    /// Does one bounded piece of work.
    pub(super) fn step(&mut self, now: Tick) -> Step {
        if self.scheduled == 0 {
            self.elapsed = self.elapsed.max(now / NANOS_PER_STEP);
            return Step::Idle;
        }
        let Some(slot) = self.draining.or_else(|| self.advance(now)) else { return Step::Idle };
        let id = self.heads[usize::from(slot.level)][usize::from(slot.index)];
        self.unlink(id);
        let end = self.links[id as usize].end;
        if end <= now {
            self.scheduled -= 1;
            return Step::Expired(id);
        }
        self.push(id, end.div_ceil(NANOS_PER_STEP));
        Step::Moved
    }

    /// Moves the wheel's time to the first slot that has come up, if one has, and starts on it.
    fn advance(&mut self, now: Tick) -> Option<Slot> {
        let now = now / NANOS_PER_STEP;
        let due = self.first_slot().filter(|slot| self.start(*slot) <= now);
        let until = due.map_or(now, |slot| self.start(slot));
        self.elapsed = self.elapsed.max(until);
        self.draining = due;
        due
    }

    /// Lower levels come up first: all of a level lies before the next occupied slot above it.
    fn first_slot(&self) -> Option<Slot> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let index = self.occupied[level].trailing_zeros() as u8;
        Some(Slot { level: level as u8, index })
    }

    /// When a slot begins. All bits above its level are those of `elapsed`.
    fn start(&self, slot: Slot) -> u64 {
        let shift = BITS * u32::from(slot.level);
        let above = self.elapsed >> (shift + BITS) << (shift + BITS);
        above | u64::from(slot.index) << shift
    }

    fn push(&mut self, id: u32, due: u64) {
        let due = due.max(self.elapsed);
        let differing = (due ^ self.elapsed) | (SLOTS as u64 - 1);
        let level = (63 - differing.leading_zeros()) / BITS;
        let index = (due >> (BITS * level)) as usize % SLOTS;
        let head = &mut self.heads[level as usize][index];
        let next = std::mem::replace(head, id);
        self.occupied[level as usize] |= 1 << index;
        if let Some(next) = self.links.get_mut(next as usize) {
            next.previous = id;
        }
        let link = &mut self.links[id as usize];
        link.previous = NIL;
        link.next = next;
        link.slot = Some(Slot { level: level as u8, index: index as u8 });
    }

    fn unlink(&mut self, id: u32) {
        let Link { previous, next, slot, .. } = self.links[id as usize];
        let Some(slot) = slot else { return };
        let (level, index) = (usize::from(slot.level), usize::from(slot.index));
        match self.links.get_mut(previous as usize) {
            Some(previous) => previous.next = next,
            None => self.heads[level][index] = next,
        }
        if let Some(next) = self.links.get_mut(next as usize) {
            next.previous = previous;
        }
        self.links[id as usize].slot = None;
        if self.heads[level][index] == NIL {
            self.occupied[level] &= !(1 << index);
            if self.draining == Some(slot) {
                self.draining = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const MS: u64 = NANOS_PER_STEP;

    fn expired(wheel: &mut Wheel, now: Tick) -> Vec<u32> {
        let mut ids = Vec::new();
        loop {
            match wheel.step(now) {
                Step::Expired(id) => ids.push(id),
                Step::Moved => {}
                Step::Idle => break,
            }
        }
        ids.sort_unstable();
        ids
    }

    #[test]
    fn a_timer_comes_up_at_its_millisecond() {
        let mut wheel = Wheel::new();
        wheel.schedule(0, 5 * MS);
        assert!(expired(&mut wheel, 5 * MS - 1).is_empty());
        assert_eq!(expired(&mut wheel, 5 * MS), [0]);
        assert_eq!((wheel.len(), wheel.next_due()), (0, NEVER));
    }

    #[test]
    fn a_slot_being_drained_is_finished_before_later_ones() {
        let mut wheel = Wheel::new();
        for id in 0..100 {
            wheel.schedule(id, (4096 + u64::from(id)) * MS);
        }
        // Some steps into the cascade a nearer timer arrives and the clock moves on.
        let early = (0..10).filter(|_| wheel.step(4096 * MS) != Step::Moved).count();
        wheel.schedule(200, 4097 * MS);
        assert_eq!(early + expired(&mut wheel, 4200 * MS).len(), 101);
    }

    proptest! {
        /// Against a sorted map: the same timers come up at the same times, whatever happens.
        #[test]
        fn the_wheel_agrees_with_a_sorted_map(
            script in prop::collection::vec((0u32..40, 0u8..4, 0u32..31, any::<u32>()), 1..300)
        ) {
            let mut wheel = Wheel::new();
            let mut model: BTreeMap<u32, Tick> = BTreeMap::new();
            let mut now = 0;
            for (id, action, magnitude, noise) in script {
                let distance = (u64::from(noise) % (1 << magnitude).max(1)) * MS / 7;
                match action {
                    0 | 1 => {
                        wheel.schedule(id, now + distance);
                        model.insert(id, now + distance);
                    }
                    2 => {
                        wheel.cancel(id);
                        model.remove(&id);
                    }
                    _ => {
                        now += distance;
                        // Handed out late by less than a millisecond, never early.
                        let handed_out = expired(&mut wheel, now);
                        for id in &handed_out {
                            prop_assert!(model.remove(id).is_some_and(|end| end <= now));
                        }
                        prop_assert!(model.values().all(|end| end.div_ceil(MS) > now / MS));
                        prop_assert!(wheel.next_due() > now / MS * MS || model.is_empty());
                    }
                }
                prop_assert!(model.values().all(|end| wheel.next_due() <= end.div_ceil(MS) * MS));
                prop_assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
