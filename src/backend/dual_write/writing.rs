//! Writes and invalidations on both sides.
//!
//! The *leader* is the side that is read, and that decides about conditions; the *follower* is the
//! other one. What the follower holds must never be older than the last write or invalidation of the
//! key that was acknowledged: then either side can be trusted at any time.
//!
//! # Values
//!
//! A writer asks for the right to the key at the follower (at *a*), writes to the leader (at *l*),
//! and fills the same value in at the follower under that right (at *f*). If the right is refused or
//! lost it removes the key from the follower instead (at *f*, too). Say the follower ends with the
//! value of writer 1 while writer 2 was acknowledged and wrote to the leader later: *l1 < l2*. Writer
//! 2 touched the follower at *f2 > l2 > l1 > a1*. Was that before *f1*, it took the right away that
//! writer 1 held since *a1*, and writer 1 removed the key instead of filling it. Was it after *f1*,
//! writer 1's value was replaced or removed. So the follower ends with the value of a writer whom
//! nobody disturbed, or with nothing.
//!
//! A write that the leader refused changed nothing: the right is given back. One that failed may have
//! been made: the follower's copy goes, and if that fails, too, nobody was promised anything. But
//! after a write that the leader did, a removal that fails makes the write fail: the follower may be
//! left with the older value.
//!
//! Counters and new ends are decided by the leader alone: the follower's copy is removed. Where the
//! leader is not filled from the follower, what was removed there is copied again at once.
//!
//! # Invalidations
//!
//! Values move in two ways: a writer puts on the follower what the leader took; and where the new
//! side leads, what it misses is [copied](crate::backend::copying) from the old one. The source of a copy must
//! be invalidated before the last time that the target is, and the leader before the last time that
//! the follower is, or else a load that is overtaken at the leader only after its fill there leaves
//! its value at the follower. Where the new side leads and is filled, both hold for *new, old, new*:
//!
//! - A load that began before is refused by the new side after the first step. If it filled before,
//!   it held its right to the old side before that, and the second step takes it, or its value.
//! - A copy that read the old side before the second step held its right to the new side before it,
//!   and the third step takes that, or the value. One that reads it later finds nothing so old.
//!
//! Where the old side leads nothing is copied from the follower, and *old, new* would do for one
//! process. It is *new, old, new* all the same, so that processes may go from one mode to the other
//! one by one: they may read different sides, and no value that was invalidated is left on either.
//!
//! Where the new side leads nothing is ever copied from it to the old one, beyond what a writer
//! wrote itself: a value that can go round has no last place to be removed from.

use std::collections::HashSet;
use std::time::Duration;

use super::Both;
use crate::backend::copying::{HOLD, copy_surely, not_removed, read, tell, write};
use crate::backend::{
    Ask, Call, Change, Entry, Grant, Lease, Life, Name, NotDone, Over, Read, Removed, Scope, Tags,
    Want, When, Write, Wrote,
};
use crate::error::{Error, Result};

/// How long a write that is done waits for others who fill the key at the follower. One that failed
/// there may have left its right behind, for [`HOLD`].
const COPY: Duration = Duration::from_secs(1);

/// What a write of a turn means to the follower.
enum Part {
    /// It gets the same value, if the right to fill it is obtained.
    Put(Option<Box<Lease>>, Box<(Entry, Life)>),
    /// It loses the key, whatever is there.
    Remove,
    /// It loses the key if the leader did what it was told.
    RemoveIf,
    /// Its copy is out of date if the leader did what it was told.
    Changed,
    /// It does not matter.
    Nothing,
}

/// Writes of which no two are to one key.
struct Turn<'t, 'a> {
    both: &'t Both<'t>,
    writes: &'t mut [Write<'a>],
    out: &'t mut [Wrote],
    parts: Vec<Part>,
    /// What went wrong at the follower so that the leader's answer cannot be kept.
    trouble: Vec<Option<Error>>,
    /// Keys the follower may get a copy of when all is done.
    bare: Vec<Name<'a>>,
}

/// Makes changes on both sides. What follows on a change to the same key waits for the next turn.
pub(super) fn write_both(both: &Both<'_>, writes: &mut [Write<'_>], out: &mut [Wrote]) {
    let (mut writes, mut out) = (writes, out);
    while !writes.is_empty() {
        let alone = turn(writes);
        let (now, later) = std::mem::take(&mut writes).split_at_mut(alone);
        let (out_now, out_later) = std::mem::take(&mut out).split_at_mut(now.len());
        Turn::new(both, now, out_now).run();
        (writes, out) = (later, out_later);
    }
}

/// How many writes from the first on are to different keys.
fn turn(writes: &[Write<'_>]) -> usize {
    let mut keys = HashSet::with_capacity(writes.len());
    writes.iter().take_while(|write| keys.insert(write.key.as_str())).count()
}

/// Invalidates on both sides: see the top of this file for the order.
pub(super) fn invalidate_both(both: &Both<'_>, what: &Scope<'_>) -> Result<Removed> {
    let steps = [both.new, both.old, both.new].map(|side| side.invalidate(both.call, what));
    let mut pending = false;
    for step in &steps {
        pending |= step.as_ref().map_err(Clone::clone)?.pending;
    }
    let [new, old, _] = steps;
    let removed = if both.new_leads { new? } else { old? };
    Ok(Removed { pending, ..removed })
}

impl<'t, 'a> Turn<'t, 'a> {
    fn new(both: &'t Both<'t>, writes: &'t mut [Write<'a>], out: &'t mut [Wrote]) -> Self {
        let parts = writes.iter().map(part).collect();
        let trouble = writes.iter().map(|_| None).collect();
        Self { both, writes, out, parts, trouble, bare: Vec::new() }
    }

    fn run(mut self) {
        if let Err(error) = self.settle() {
            self.out.iter_mut().for_each(|out| *out = Wrote::Failed(error.clone()));
            return;
        }
        self.prepare();
        let names: Vec<Name<'a>> = self.writes.iter().map(|write| write.key).collect();
        write(self.both.call, self.both.leader(), self.writes, self.out);
        self.follow(&names);
        self.remove_again(&names);
        for (out, trouble) in self.out.iter_mut().zip(self.trouble) {
            if let Some(error) = trouble {
                *out = Wrote::Failed(error);
            }
        }
        if !self.both.fills && self.both.follower().about().can.leases {
            // A copy that is not made is missed, and no more.
            let (leader, follower) = (self.both.leader(), self.both.follower());
            let call = at_most(self.both.call, COPY);
            let _ = copy_surely(call, leader, follower, &self.bare, &|_| false);
        }
    }

    /// Shows a new side that decides about conditions what the old one has.
    fn settle(&self) -> Result<()> {
        if !self.both.fills {
            return Ok(());
        }
        let asking = self.writes.iter().filter(|write| depends(write));
        let names: Vec<Name<'a>> = asking.map(|write| write.key).collect();
        copy_surely(self.both.call, self.both.old, self.both.new, &names, &|_| false).map(drop)
    }

    /// What the follower is told before the leader: who is about to write, and what goes.
    fn prepare(&mut self) {
        let leases = self.both.follower().about().can.leases;
        if leases {
            self.acquire();
        }
        let goes = |(at, part): (usize, &Part)| match part {
            Part::Put(..) => (!leases).then_some(at),
            Part::Remove => (!self.both.new_leads).then_some(at),
            Part::RemoveIf => self.both.new_leads.then_some(at),
            Part::Changed | Part::Nothing => None,
        };
        let places: Vec<usize> = self.parts.iter().enumerate().filter_map(goes).collect();
        self.remove(self.both.new_leads, &places);
    }

    /// Asks the follower for the right to each key that gets a value.
    fn acquire(&mut self) {
        let puts: Vec<usize> =
            (0..self.parts.len()).filter(|at| matches!(self.parts[*at], Part::Put(..))).collect();
        let names: Vec<Name<'a>> = puts.iter().map(|at| self.writes[*at].key).collect();
        let tags = self.parts.iter().fold(Tags::NONE, |all, part| match part {
            Part::Put(_, copy) => all.and(&copy.0.tags),
            _ => all,
        });
        // A write that may be refused must not cost the follower what it has.
        let sure = puts.iter().all(|at| matches!(self.writes[*at].when, When::Always));
        let lease = match sure {
            true => Ask::Take { hold: HOLD, tags: &tags },
            false => Ask::Own { hold: HOLD, over: Over::Fresh, tags: &tags },
        };
        let want = Want { head_only: true, quiet: true, lease, ..Want::VALUE };
        let Ok(answers) = read(self.both.call, self.both.follower(), &names, &want) else { return };
        for (at, answer) in puts.into_iter().zip(answers) {
            if let Part::Put(lease, _) = &mut self.parts[at] {
                *lease = granted(answer);
            }
        }
    }

    /// Removes keys from one side; what fails is trouble.
    fn remove(&mut self, from_old: bool, places: &[usize]) -> Vec<bool> {
        let removals = places.iter().map(|at| remove(self.writes[*at].key)).collect();
        let side = if from_old { self.both.old } else { self.both.new };
        let wrote = tell(self.both.call, side, removals);
        let there = wrote.iter().map(|wrote| matches!(wrote, Wrote::Done(_))).collect();
        self.note(places, wrote);
        there
    }

    fn note(&mut self, places: &[usize], wrote: Vec<Wrote>) {
        for (at, wrote) in places.iter().zip(wrote) {
            if let Some(error) = not_removed(wrote) {
                self.trouble[*at] = Some(error);
            }
        }
    }

    /// Does at the follower what follows from the leader's answers.
    fn follow(&mut self, names: &[Name<'a>]) {
        let (mut places, mut kept) = (Vec::new(), Vec::new());
        let mut writes = Vec::new();
        for (at, part) in self.parts.iter_mut().enumerate() {
            let (write, keeps) = match following(part, &self.out[at], names[at]) {
                Some(follows) => follows,
                None => continue,
            };
            places.push(at);
            kept.push(keeps);
            writes.push(write);
        }
        let wrote = tell(self.both.call, self.both.follower(), writes);
        let mut lost = Vec::new();
        for ((at, keeps), wrote) in places.into_iter().zip(kept).zip(wrote) {
            match (keeps, &wrote) {
                (Follows::Fill, Wrote::Done(_)) | (Follows::Release, _) => {}
                (Follows::Fill, Wrote::Not(_)) => {
                    self.bare.push(names[at]);
                    lost.push(at);
                }
                (Follows::Fill, _) => lost.push(at),
                (Follows::Removal, _) => self.removed(at, wrote, names[at]),
            }
        }
        let from_old = self.both.new_leads;
        self.remove(from_old, &lost);
    }

    fn removed(&mut self, at: usize, wrote: Wrote, name: Name<'a>) {
        let did = matches!(self.out[at], Wrote::Done(_) | Wrote::Number(_));
        if did && matches!(self.parts[at], Part::Put(..) | Part::Changed) {
            self.bare.push(name);
        }
        // It was there for a reader, whom the new side would have been filled for.
        let was_there = matches!(wrote, Wrote::Done(_));
        if was_there
            && self.both.fills
            && matches!(self.parts[at], Part::Remove)
            && matches!(self.out[at], Wrote::Not(NotDone::Absent))
        {
            self.out[at] = Wrote::Done(None);
        }
        self.note(&[at], vec![wrote]);
    }

    /// The third step of a removal, where the second was the follower's.
    fn remove_again(&mut self, names: &[Name<'a>]) {
        if !self.both.fills {
            return;
        }
        let places: Vec<usize> =
            (0..names.len()).filter(|at| matches!(self.parts[*at], Part::Remove)).collect();
        self.remove(false, &places);
    }
}

/// What the follower is told of a write, and for what.
enum Follows {
    Fill,
    Release,
    Removal,
}

fn following<'a>(part: &mut Part, wrote: &Wrote, name: Name<'a>) -> Option<(Write<'a>, Follows)> {
    let under = |lease: Box<Lease>, change| Write::new(name, When::Lease(lease), change);
    match (part, wrote) {
        (Part::Put(lease, copy), Wrote::Done(_)) => Some(match lease.take() {
            Some(lease) => {
                let (entry, life) = (copy.0.clone(), copy.1);
                (under(lease, Change::Put(entry, life)), Follows::Fill)
            }
            None => (remove(name), Follows::Removal),
        }),
        (Part::Put(lease, _), Wrote::Not(_)) => {
            let lease = lease.take()?;
            Some((under(lease, Change::Release), Follows::Release))
        }
        (Part::RemoveIf | Part::Changed, Wrote::Not(_)) | (Part::Nothing, _) => None,
        _ => Some((remove(name), Follows::Removal)),
    }
}

fn part(write: &Write<'_>) -> Part {
    match (&write.when, &write.change) {
        (_, Change::Put(entry, life)) => Part::Put(None, Box::new((entry.clone(), *life))),
        (When::Always, Change::Remove) => Part::Remove,
        (_, Change::Remove) => Part::RemoveIf,
        (_, Change::Expire(_) | Change::Add { .. }) => Part::Changed,
        (_, Change::Release) => Part::Nothing,
    }
}

/// The call, or a shorter one.
fn at_most(call: Call, time: Duration) -> Call {
    match call.left() {
        Ok(left) if left.is_none_or(|left| left > time) => Call::Within(time).armed(),
        _ => call,
    }
}

/// Whether what a write does depends on what is there.
fn depends(write: &Write<'_>) -> bool {
    match (&write.when, &write.change) {
        (When::Lease(_), _) => false,
        (When::Always, change) => matches!(change, Change::Expire(_) | Change::Add { .. }),
        _ => true,
    }
}

fn remove(name: Name<'_>) -> Write<'_> {
    Write::new(name, When::Always, Change::Remove)
}

fn granted(read: Read) -> Option<Box<Lease>> {
    let grant = match read {
        Read::Hit(found) => found.more?.grant,
        Read::Miss(_, grant) => grant,
        Read::Unanswered | Read::Failed(_) => return None,
    };
    match grant {
        Grant::Granted(lease) => Some(lease),
        Grant::Busy { .. } | Grant::None => None,
    }
}
