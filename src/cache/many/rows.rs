//! The keys of one batch, and how far the load of each is.

use std::collections::HashMap;
use std::iter::{Empty, empty};
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::{Entry, Life, Name, Read, Tags, Write};
use crate::cache::core::{Core, unanswered};
use crate::cache::load::{
    Claim, Fill, Filling, Loaded, Offer, Quest, Seat, Step, Taking, Task, deadline, is_late, late,
    load_failed, reentrant, wait_to_ask_again,
};
use crate::cache::look::reading;
use crate::cache::policy::Policy;
use crate::error::{Error, Result};
use crate::flight::{Joined, Landing, Leader, Role};
use crate::stats::Count;

/// The keys of one call, each once.
pub(super) struct Rows<'a, T> {
    core: &'a Core,
    policy: &'a Policy,
    /// When the call ends; once its loader has run, as long after that.
    ends: Option<Instant>,
    all: Vec<Row<'a, T>>,
    by_key: HashMap<&'a str, usize>,
}

/// One key of a call.
pub(super) struct Row<'a, T> {
    task: Task<'a>,
    /// Where it was asked for first.
    pub(super) first: usize,
    taken: Taken<'a, T>,
    offer: Offer,
    quest: Quest,
    claim: Claim,
    state: State,
}

/// The answer, and the entry it came from for those who ask twice.
struct Taken<'a, T> {
    seat: Seat<'a, T, Empty<&'static str>>,
    entry: Option<Entry>,
}

enum State {
    /// It has its answer, or will not get one.
    Done,
    /// Nothing is decided.
    Open,
    /// This call loads it.
    Ours(Leader),
    /// Another thread does.
    Others(Joined),
    /// Another process does.
    Elsewhere,
}

impl<'a, T> Taken<'a, T> {
    fn new(core: &'a Core) -> Self {
        Self { seat: Seat::new(core, empty(), false), entry: None }
    }
}

impl<T: DeserializeOwned> Taking for Taken<'_, T> {
    fn accept(&mut self, entry: &Entry, life: &Life, stale: bool, tier: u8) -> bool {
        let accepted = self.seat.accept(entry, life, stale, tier);
        if accepted {
            self.entry = Some(entry.clone());
        }
        accepted
    }

    fn wants_life(&self) -> bool {
        false
    }

    fn tags(&mut self, _: &str) -> Result<Tags> {
        Ok(Tags::NONE)
    }
}

impl<'a, T: Serialize + DeserializeOwned> Rows<'a, T> {
    pub(super) fn new(
        core: &'a Core,
        policy: &'a Policy,
        names: &[Name<'a>],
        tags: &Tags,
    ) -> Result<Self> {
        policy.check()?;
        core.need_tags(tags)?;
        let mut rows = Self {
            core,
            policy,
            ends: policy.ends(),
            all: Vec::with_capacity(names.len()),
            by_key: HashMap::with_capacity(names.len()),
        };
        for (first, name) in names.iter().enumerate() {
            let row = rows.all.len();
            if *rows.by_key.entry(name.rest()).or_insert(row) == row {
                rows.all.push(Row {
                    task: Task { core, policy, name: *name },
                    first,
                    taken: Taken::new(core),
                    offer: Offer::Nothing,
                    quest: Quest::new(Offer::Nothing),
                    claim: Claim::new(tags.clone(), Offer::Nothing),
                    state: State::Open,
                });
            }
        }
        Ok(rows)
    }

    /// Looks what is there.
    pub(super) fn look(&mut self) -> Result<()> {
        let names: Vec<Name<'_>> = self.all.iter().map(|row| row.task.name).collect();
        let reads = self.core.read_many(self.policy, &names, &reading(self.policy))?;
        for (row, mut read) in self.all.iter_mut().zip(reads) {
            let (offer, count) = row.task.offer(&mut read, &mut row.taken);
            self.core.counters.add(count);
            row.offer = offer;
            if let Offer::Fresh | Offer::Early(_) = offer {
                row.state = State::Done;
            }
        }
        Ok(())
    }

    /// Takes the lead where nobody has it.
    pub(super) fn arrive(&mut self) -> Result<()> {
        for row in self.all.iter_mut().filter(|row| matches!(row.state, State::Open)) {
            let needs_it = !row.offer.is_answer();
            row.state = match self.core.flights.enter(row.task.name.as_str(), needs_it) {
                Role::Leads(leader) => State::Ours(leader),
                _ if row.offer.is_answer() => {
                    row.task.count_served(row.offer);
                    State::Done
                }
                Role::Reenters => return Err(reentrant()),
                Role::Joins(joined) => State::Others(joined),
            };
            let tags = std::mem::take(&mut row.claim.tags);
            row.claim = Claim::new(tags, row.offer);
            row.quest = Quest::new(row.offer);
        }
        Ok(())
    }

    /// Obtains the right to store what is to be loaded. What others load is not waited for yet: they
    /// may wait for this call.
    pub(super) fn claim(&mut self) -> Result<()> {
        let asks = |row: &&mut Row<'a, T>| row.is_ours() && row.offer != Offer::Down;
        let mut open: Vec<&mut Row<'a, T>> = self.all.iter_mut().filter(asks).collect();
        while let Some(first) = open.first() {
            let (task, quest, tags) = (first.task, first.quest.clone(), first.claim.tags.clone());
            let (mut now, later): (Vec<_>, Vec<_>) =
                open.into_iter().partition(|row| row.quest.asks_as(&quest));
            open = later;
            let names: Vec<Name<'_>> = now.iter().map(|row| row.task.name).collect();
            let policy = self.ends.map_or(*self.policy, |ends| self.policy.until(ends));
            let reads = self.core.read_each(&policy, &names, &quest.want(task, &tags, false))?;
            let mut failed = None;
            for (row, mut read) in now.drain(..).zip(reads) {
                // Who got a right keeps it in mind, whatever happens to the others.
                match self.core.answered(self.policy, Ok(()), &mut read) {
                    Err(error) => failed = Some(error),
                    Ok(()) if row.hear(read) => {}
                    Ok(()) => open.push(row),
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Those this call loads.
    pub(super) fn missing(&self) -> impl Iterator<Item = &Row<'a, T>> {
        self.all.iter().filter(|row| row.is_ours())
    }

    /// Stores what was loaded, and ends the loads.
    pub(super) fn store(
        &mut self,
        loaded: impl IntoIterator<Item = (String, T)>,
        started: Instant,
    ) -> Result<()> {
        let fills = match self.take(loaded) {
            Ok(fills) => fills,
            Err(error) => {
                self.give_up();
                return Err(error);
            }
        };
        let (mut ends, mut writes) = (Vec::new(), Vec::new());
        for (row, fill) in self.all.iter_mut().zip(fills).filter(|(row, _)| row.is_ours()) {
            if let State::Ours(leader) = std::mem::replace(&mut row.state, State::Done) {
                // From here on nobody joins: who comes now may come after an invalidation.
                leader.close();
                let (write, filling) = row.write(&leader, fill, started);
                let writes_one = write.is_some();
                writes.extend(write);
                ends.push((row, leader, filling, writes_one));
            }
        }
        let wrote = self.core.write_many(self.policy, &mut writes);
        let all_failed = |error: Error| writes.iter().map(|_| Err(error.clone())).collect();
        let mut wrote = wrote.unwrap_or_else(all_failed).into_iter();
        let (mut landings, mut releases, mut refused) = (Vec::new(), Vec::new(), None);
        for (row, leader, filling, writes_one) in ends {
            let wrote = if writes_one { wrote.next() } else { None };
            let (landing, result) = match (filling, wrote) {
                (Ok(filling), Some(wrote)) => row.task.filled(&mut row.claim, filling, wrote),
                (Err(landing), _) => (landing, Ok(false)),
                (Ok(_), None) => (Landing::Again, Err(unanswered())),
            };
            releases.extend(row.task.releasing(&mut row.claim));
            landings.push((leader, landing));
            refused = refused.or(result.err());
        }
        // Whether these were stored is not known. If not, nobody is to wait for them.
        let _ = self.core.write_many(&self.policy.in_short(), &mut releases);
        landings.into_iter().for_each(|(leader, landing)| leader.land(landing));
        refused.map_or(Ok(()), Err)
    }

    /// Takes what was loaded as answers; and what is to become of it.
    fn take(&mut self, loaded: impl IntoIterator<Item = (String, T)>) -> Result<Vec<Option<Fill>>> {
        let mut fills: Vec<Option<Fill>> = Vec::with_capacity(self.all.len());
        for row in &mut self.all {
            if row.is_ours() {
                // What the loader leaves out there is not.
                row.taken = Taken::new(self.core);
            }
            fills.push(None);
        }
        for (key, value) in loaded {
            let Some(at) = self.by_key.get(key.as_str()) else { continue };
            let row = &mut self.all[*at];
            if row.is_ours() {
                let seat = &mut row.taken.seat;
                let (fill, entry) =
                    seat.take_loaded(row.task, &mut row.claim, Loaded::Value(value))?;
                row.taken.entry = Some(entry);
                fills[*at] = Some(fill);
            }
        }
        Ok(fills)
    }

    /// The loader failed; whether what was there before does for all it was to load.
    pub(super) fn keep(&mut self) -> bool {
        let kept = |row: &Row<'a, T>| row.taken.entry.is_some();
        let all = self.missing().all(kept);
        for row in self.all.iter_mut().filter(|row| row.is_ours() && kept(row)) {
            row.task.put_off(&mut row.claim);
        }
        self.give_up();
        all
    }

    /// Ends the loads without values.
    fn give_up(&mut self) {
        self.core.counters.add(Count::LoadError);
        let (mut leaders, mut releases) = (Vec::new(), Vec::new());
        for row in self.all.iter_mut().filter(|row| row.is_ours()) {
            if let State::Ours(leader) = std::mem::replace(&mut row.state, State::Done) {
                leader.close();
                releases.extend(row.task.releasing(&mut row.claim));
                leaders.push(leader);
            }
        }
        let _ = self.core.write_many(self.policy, &mut releases);
        leaders.into_iter().for_each(|leader| leader.land(Landing::Failed));
    }

    /// The loader has run, and its time is not the cache's.
    pub(super) fn begin_anew(&mut self) {
        self.ends = self.policy.ends();
    }

    /// Waits for what others load.
    pub(super) fn wait(&mut self) -> Result<()> {
        let deadline = self.ends.unwrap_or_else(|| deadline(None));
        self.all.iter_mut().try_for_each(|row| row.wait(deadline))
    }

    /// The value of the key asked for at this place.
    pub(super) fn value(&mut self, at: usize, name: &Name<'_>) -> Option<T> {
        let row = &mut self.all[*self.by_key.get(name.rest())?];
        let mut seat = Seat::new(self.core, empty::<&str>(), false);
        if row.first == at {
            std::mem::swap(&mut seat, &mut row.taken.seat);
        } else {
            seat.accept(row.taken.entry.as_ref()?, &Life::FOREVER, false, 0);
        }
        seat.answer().ok()
    }
}

impl<'a, T: Serialize + DeserializeOwned> Row<'a, T> {
    fn is_ours(&self) -> bool {
        matches!(self.state, State::Ours(_))
    }

    /// Hears whether the right to store is this call's; false if it has to ask for something else.
    fn hear(&mut self, read: Read) -> bool {
        match self.quest.hear(self.task, &mut self.claim, &mut self.taken, read) {
            Step::Ours => {}
            Step::Answered => self.state = State::Done,
            Step::Again => return false,
            Step::Busy(_) => self.state = State::Elsewhere,
        }
        true
    }

    /// What is written to end the load, and how to land.
    fn write(
        &mut self,
        leader: &Leader,
        fill: Option<Fill>,
        started: Instant,
    ) -> (Option<Write<'a>>, Result<Filling, Landing>) {
        if leader.is_overtaken() {
            self.claim.lose_unfenced();
        }
        let landed = |landing| (None, Err(landing));
        match fill {
            Some(Fill::Store(change)) => {
                let change = self.task.with_cost(change, started);
                match self.task.filling(&mut self.claim, change) {
                    Ok((write, filling)) => (Some(write), Ok(filling)),
                    Err(landing) => landed(landing),
                }
            }
            Some(Fill::Share(entry)) => landed(self.task.release(&mut self.claim, entry)),
            // Who waits for what the loader left out looks for itself.
            Some(Fill::Kept | Fill::Failed) | None => {
                (self.task.releasing(&mut self.claim), Err(Landing::Again))
            }
        }
    }

    /// Waits for another's load of this key.
    fn wait(&mut self, deadline: Instant) -> Result<()> {
        let mut quest = Quest::new(Offer::Nothing);
        loop {
            let (task, taken) = (self.task, &mut self.taken);
            match std::mem::replace(&mut self.state, State::Elsewhere) {
                State::Done | State::Open | State::Ours(_) => {
                    self.state = State::Done;
                    return Ok(());
                }
                State::Others(joined) => match joined.wait(deadline).ok_or_else(late)? {
                    Landing::Failed => return Err(load_failed()),
                    // If not that, it may have become another's, or be there by now.
                    landing if task.joins(&landing, self.offer, taken) => {
                        self.state = State::Done;
                        continue;
                    }
                    _ => {}
                },
                State::Elsewhere => {}
            }
            let leader = match task.core.flights.enter(task.name.as_str(), true) {
                Role::Reenters => return Err(reentrant()),
                Role::Joins(joined) => {
                    self.state = State::Others(joined);
                    continue;
                }
                Role::Leads(leader) => leader,
            };
            let want = quest.want(task, &self.claim.tags, false);
            let read = task.core.read(&task.policy.until(deadline), task.name, &want)?;
            if is_late(&read, deadline) {
                return Err(late());
            }
            match quest.hear(task, &mut self.claim, &mut self.taken, read) {
                Step::Answered => self.state = State::Done,
                Step::Busy(pause) => {
                    drop(leader);
                    wait_to_ask_again(pause, deadline)?;
                }
                // There is no loader left to run, and what cannot be used is others'.
                Step::Ours | Step::Again => {
                    task.give_back(&mut self.claim, false);
                    return Err(load_failed());
                }
            }
        }
    }
}

/// Gives the rights back that were not used: after an error or a panic.
impl<T> Drop for Row<'_, T> {
    fn drop(&mut self) {
        self.task.give_back(&mut self.claim, false);
    }
}
