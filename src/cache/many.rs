//! Loading many keys at once.

use std::collections::HashMap;
use std::fmt;
use std::iter::{Empty, empty};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::core::{Core, unanswered};
use super::load::{
    Claim, Fill, Filling, Loaded, Offer, Quest, Seat, Step, Taking, Task, deadline, late,
    load_failed, reentrant,
};
use super::look::reading;
use super::policy::Policy;
use super::{Cache, Freshness, Ttl, View};
use crate::backend::{Entry, Life, Name, Read, Tags, Write};
use crate::error::{Error, Result};
use crate::flight::{Flight, Landing, Leader, Role};
use crate::stats::Count;

/// Many keys with settings for one call. Made by [`Cache::entries`] and [`Cache::entries_by`].
#[must_use = "entries do nothing until they are told what to do"]
pub struct Entries<'c, I, K, G = Empty<&'static str>> {
    view: &'c View,
    ids: Vec<I>,
    /// The key of an id.
    key: K,
    tags: G,
    policy: Policy,
}

impl Cache {
    /// Many keys, to be loaded together.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = yokedcache::Cache::memory(10);
    /// cache.set("a", &1)?;
    /// let values = cache.entries(["a", "b", "c"]).get_or_load_many(|missing| {
    ///     assert_eq!(missing, ["b", "c"]);
    ///     Ok::<_, std::io::Error>([("b".to_owned(), 2)]) // there is no "c"
    /// })??;
    /// assert_eq!(values, [Some(1), Some(2), None]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn entries(
        &self,
        keys: impl IntoIterator<Item: Into<String>>,
    ) -> Entries<'_, String, impl Fn(&String) -> String> {
        self.entries_by(keys.into_iter().map(Into::into), String::clone)
    }

    /// The same by ids of your own, with a function that makes keys of them.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = yokedcache::Cache::memory(10);
    /// # let db = HashMap::from([(1, "Ann".to_owned()), (2, "Bob".to_owned())]);
    /// let users = cache
    ///     .entries_by([2, 1, 2], |id: &u64| format!("user:{id}"))
    ///     .tags(["users"])
    ///     .get_or_load_many(|missing| {
    ///         let found = missing.iter().map(|id| (**id, db[*id].clone()));
    ///         Ok::<_, std::io::Error>(found.collect::<Vec<_>>())
    ///     })??;
    /// assert_eq!(users[2].as_deref(), Some("Bob"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn entries_by<I, K: Fn(&I) -> S, S: Into<String>>(
        &self,
        ids: impl IntoIterator<Item = I>,
        key: K,
    ) -> Entries<'_, I, K> {
        let ids = ids.into_iter().collect();
        Entries { view: &self.0, ids, key, tags: empty(), policy: self.0.policy }
    }
}

impl<'c, I, K, S, G> Entries<'c, I, K, G>
where
    K: Fn(&I) -> S,
    S: Into<String>,
    G: IntoIterator<Item: AsRef<str>>,
{
    /// Tags what is stored, in place of tags named before.
    pub fn tags<H: IntoIterator<Item: AsRef<str>>>(self, tags: H) -> Entries<'c, I, K, H> {
        let Self { view, ids, key, policy, .. } = self;
        Entries { view, ids, key, tags, policy }
    }

    /// See [`EntryRef::freshness`](crate::EntryRef::freshness). Batches are not refreshed early.
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.policy.fresh = freshness.or(&self.view.policy.fresh);
        self
    }

    /// See [`Freshness::ttl`]. Default: as the cache is set.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.policy.fresh.ttl = self.view.policy.fresh.ttl_or_default(ttl.into());
        self
    }

    /// How long the call may take. Default: as the cache is set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.policy.timeout = Some(timeout);
        self
    }

    /// See [`CacheBuilder::lease`](crate::CacheBuilder::lease). Default: as the cache is set.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.policy.lease = Some(lease);
        self
    }

    /// The values in the order asked for; what is missing is loaded by one call of `loader`, which
    /// is given the ids that are, each once.
    ///
    /// The loader returns pairs of id and value, in any order. What it leaves out is `None` and is
    /// not stored; to store that there is no value let the values be `Option`s. Ids it was not asked
    /// for are passed over. Keys may repeat.
    ///
    /// Each key is a load of its own to everybody else, as [`get_or_load`](crate::Cache::get_or_load)
    /// has them: those that others are loading are not given to this loader, and waited for once its
    /// own values are stored. One round trip a node if all is there, three if not: to look, to
    /// claim, to store.
    ///
    /// # Errors
    /// As [`get_or_load`](crate::EntryRef::get_or_load).
    /// [`LoadFailed`](crate::ErrorKind::LoadFailed), too, if another's load came to nothing, or was
    /// overtaken: this call's own values are stored, and asking again loads the rest.
    pub fn get_or_load_many<T, E, L>(
        self,
        loader: impl FnOnce(&[&I]) -> Result<L, E>,
    ) -> Result<Result<Vec<Option<T>>, E>>
    where
        T: Serialize + DeserializeOwned,
        L: IntoIterator<Item = (I, T)>,
    {
        let Self { view, ids, key, tags, policy } = self;
        let keys: Vec<String> = ids.iter().map(|id| key(id).into()).collect();
        let names = view.names(&keys)?;
        let names = names.to_vec();
        if names.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let tags = Tags::within(&view.prefix, tags)?;
        let mut rows: Rows<'_, T> = Rows::new(&view.core, &policy, &names, &tags)?;
        rows.look()?;
        rows.arrive()?;
        rows.claim()?;
        let missing: Vec<&I> = rows.missing().map(|row| &ids[row.first]).collect();
        if !missing.is_empty() {
            view.core.counters.add(Count::Load);
            let started = Instant::now();
            match loader(&missing) {
                Ok(loaded) => {
                    let loaded = loaded.into_iter().map(|(id, value)| (key(&id).into(), value));
                    rows.store(loaded, started)?;
                }
                Err(error) if !rows.keep() => return Ok(Err(error)),
                Err(_) => {}
            }
        }
        rows.wait()?;
        Ok(Ok(names.iter().enumerate().map(|(at, name)| rows.value(at, name)).collect()))
    }
}

impl<I, K, G> fmt::Debug for Entries<'_, I, K, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").field("ids", &self.ids.len()).finish_non_exhaustive()
    }
}

/// The keys of one call, each once.
struct Rows<'a, T> {
    core: &'a Core,
    policy: &'a Policy,
    all: Vec<Row<'a, T>>,
    by_key: HashMap<&'a str, usize>,
    deadline: Instant,
}

/// One key of a call.
struct Row<'a, T> {
    task: Task<'a>,
    /// Where it was asked for first.
    first: usize,
    taken: Taken<'a, T>,
    offer: Offer,
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
    Others(Arc<Flight>),
    /// Another process does.
    Elsewhere,
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
    fn new(core: &'a Core, policy: &'a Policy, names: &[Name<'a>], tags: &Tags) -> Result<Self> {
        let mut rows = Self {
            core,
            policy,
            all: Vec::with_capacity(names.len()),
            by_key: HashMap::with_capacity(names.len()),
            deadline: deadline(policy.timeout),
        };
        for (first, name) in names.iter().enumerate() {
            let row = rows.all.len();
            if *rows.by_key.entry(name.rest()).or_insert(row) == row {
                rows.all.push(Row {
                    task: Task { core, policy, name: *name },
                    first,
                    taken: Taken { seat: Seat::new(core, empty(), false), entry: None },
                    offer: Offer::Nothing,
                    claim: Claim::new(tags.clone(), Offer::Nothing),
                    state: State::Open,
                });
            }
        }
        if let Some(row) = rows.all.first() {
            row.task.check(&row.claim)?;
        }
        Ok(rows)
    }

    /// Looks what is there.
    fn look(&mut self) -> Result<()> {
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
    fn arrive(&mut self) -> Result<()> {
        for row in self.all.iter_mut().filter(|row| matches!(row.state, State::Open)) {
            row.state = match self.core.flights.enter(row.task.name.as_str()) {
                Role::Leads(leader) => State::Ours(leader),
                _ if row.offer.is_answer() => {
                    row.task.count_served(row.offer);
                    State::Done
                }
                Role::Reenters => return Err(reentrant()),
                Role::Joins(flight) | Role::Waits(flight) => State::Others(flight),
            };
            let tags = std::mem::take(&mut row.claim.tags);
            row.claim = Claim::new(tags, row.offer);
        }
        Ok(())
    }

    /// Obtains the right to store what is to be loaded.
    fn claim(&mut self) -> Result<()> {
        for offer in [Offer::Nothing, Offer::Stale] {
            let ours = |row: &&mut Row<'a, T>| row.is_ours() && row.offer == offer;
            let mut rows: Vec<&mut Row<'a, T>> = self.all.iter_mut().filter(ours).collect();
            let Some(first) = rows.first() else { continue };
            let (task, tags) = (first.task, first.claim.tags.clone());
            let names: Vec<Name<'_>> = rows.iter().map(|row| row.task.name).collect();
            let want = Quest::new(offer).want(task, &tags, false);
            let reads = self.core.read_many(self.policy, &names, &want)?;
            for (row, read) in rows.iter_mut().zip(reads) {
                row.claim(read, self.deadline)?;
            }
        }
        Ok(())
    }

    /// Those this call loads.
    fn missing(&self) -> impl Iterator<Item = &Row<'a, T>> {
        self.all.iter().filter(|row| row.is_ours())
    }

    /// Stores what was loaded, and ends the loads.
    fn store(
        &mut self,
        loaded: impl IntoIterator<Item = (String, T)>,
        started: Instant,
    ) -> Result<()> {
        let mut fills: Vec<Option<Fill>> = self.all.iter().map(|_| None).collect();
        for (key, value) in loaded {
            let Some(at) = self.by_key.get(key.as_str()) else { continue };
            let row = &mut self.all[*at];
            if row.is_ours() {
                let seat = &mut row.taken.seat;
                let fill = seat.take_loaded(row.task, &mut row.claim, Loaded::Value(value))?;
                row.taken.entry = fill.entry().cloned();
                fills[*at] = Some(fill);
            }
        }
        let mut ends = Vec::new();
        let mut writes = Vec::new();
        for (row, fill) in self.all.iter_mut().zip(fills) {
            if let State::Ours(leader) = std::mem::replace(&mut row.state, State::Done) {
                // From here on nobody joins: who comes now may come after an invalidation.
                leader.close();
                let (write, filling) = row.write(&leader, fill, started);
                let at = write.map(|write| {
                    writes.push(write);
                    writes.len() - 1
                });
                ends.push((row, leader, filling, at));
            }
        }
        let wrote = self.core.write_many(self.policy, &mut writes);
        let all_failed = |error: Error| writes.iter().map(|_| Err(error.clone())).collect();
        let mut wrote = wrote.unwrap_or_else(all_failed).into_iter();
        let mut refused = None;
        for (row, leader, filling, at) in ends {
            let wrote = at.and_then(|_| wrote.next());
            let (landing, result) = match (filling, wrote) {
                (Ok(filling), Some(wrote)) => row.task.filled(&mut row.claim, filling, wrote),
                (Err(landing), _) => (landing, Ok(false)),
                (Ok(_), None) => (Landing::Again, Err(unanswered())),
            };
            leader.land(landing);
            refused = refused.or(result.err());
        }
        refused.map_or(Ok(()), Err)
    }

    /// The loader failed; whether what was there before does for all it was to load.
    fn keep(&mut self) -> bool {
        self.core.counters.add(Count::LoadError);
        let mut all = true;
        for row in self.all.iter_mut().filter(|row| row.is_ours()) {
            if let State::Ours(leader) = std::mem::replace(&mut row.state, State::Done) {
                leader.close();
                let kept = row.taken.entry.is_some();
                all &= kept;
                if kept {
                    row.task.put_off(&mut row.claim);
                } else {
                    row.task.give_back(&mut row.claim, false);
                }
                leader.land(Landing::Failed);
            }
        }
        all
    }

    /// Waits for what others load.
    fn wait(&mut self) -> Result<()> {
        let deadline = self.deadline;
        self.all.iter_mut().try_for_each(|row| row.wait(deadline))
    }

    /// The value of the key asked for at this place.
    fn value(&mut self, at: usize, name: &Name<'_>) -> Option<T> {
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

    /// Hears whether the right to store is this call's.
    fn claim(&mut self, read: Read, deadline: Instant) -> Result<()> {
        let mut quest = Quest::new(self.offer);
        let ours = match quest.hear(self.task, &mut self.claim, &mut self.taken, read) {
            Step::Ours => true,
            Step::Answered => false,
            Step::Again => {
                self.task.obtain(&mut self.claim, self.offer, &mut self.taken, deadline)?
            }
            Step::Busy(_) => {
                self.state = State::Elsewhere;
                return Ok(());
            }
        };
        if !ours {
            self.state = State::Done;
        }
        Ok(())
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
                State::Others(flight) => match flight.wait(deadline).ok_or_else(late)? {
                    Landing::Failed => return Err(load_failed()),
                    // If not that, it may have become another's, or be there by now.
                    landing => {
                        if task.joins(landing, self.offer, taken) {
                            self.state = State::Done;
                            continue;
                        }
                    }
                },
                State::Elsewhere => {}
            }
            let leader = match task.core.flights.enter(task.name.as_str()) {
                Role::Reenters => return Err(reentrant()),
                Role::Joins(flight) | Role::Waits(flight) => {
                    self.state = State::Others(flight);
                    continue;
                }
                Role::Leads(leader) => leader,
            };
            let want = quest.want(task, &self.claim.tags, false);
            let read = task.core.read(task.policy, task.name, &want)?;
            match quest.hear(task, &mut self.claim, &mut self.taken, read) {
                Step::Answered => self.state = State::Done,
                Step::Again => {}
                Step::Busy(pause) => {
                    drop(leader);
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(late());
                    }
                    thread::sleep(pause.min(left));
                }
                // There is no loader left to run.
                Step::Ours => {
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
