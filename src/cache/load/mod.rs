//! Loading what is missing, once.
//!
//! A caller [arrives](arriving): it finds an answer, waits for another thread's load, or leads one.
//! Who leads [claims](claim) the right to store, runs the loader, stores, and tells those who
//! joined. The machinery is compiled once: a load's types stay in the [`Frame`] of its caller, which
//! it reaches through the trait [`Loading`].

mod arriving;
mod claim;
mod frame;
mod slot;

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

pub(super) use arriving::{Arrival, Offer, Patience};
pub(super) use claim::{Claim, Filling, Quest, Step, is_late, wait_to_ask_again};
pub(super) use frame::{Answer, Frame, Seat};
pub use slot::{Begun, Slot};

use super::core::Core;
use super::policy::Policy;
use super::ttl::Ttl;
use crate::backend::{Change, Entry, Life, Name, Read, Tags};
use crate::error::{Error, ErrorKind, Result};
use crate::flight::{Landing, Leader};
use crate::stats::Count;

/// What a loader found, for [`load_with`](crate::EntryRef::load_with).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded<T> {
    /// A value, stored as the entry is set.
    Value(T),
    /// A value, stored for this long.
    For(T, Ttl),
    /// There is none, and that is stored for this long.
    Negative(Ttl),
    /// A value for the caller, not stored.
    Skip(T),
    /// [`Load::previous`] is still right: it is stored anew.
    NotModified,
}

/// A load under way, as its loader sees it.
#[derive(Debug)]
pub struct Load<'a> {
    task: Task<'a>,
    claim: Claim,
    /// The loader is at work; still so when it is dropped if it panicked.
    running: bool,
}

impl Load<'_> {
    /// The key, without its namespace.
    pub fn key(&self) -> &str {
        self.task.name.rest()
    }

    /// The value this load is to replace, if there is one of this type: a stale one, or one that is
    /// refreshed early.
    pub fn previous<T: DeserializeOwned>(&self) -> Option<T> {
        self.task.core.format.value(self.claim.previous.as_ref()?)
    }

    /// Tags what is loaded. Call it **before** reading the source the tag stands for: an
    /// invalidation of the tag from then on keeps the value from being stored. One round trip.
    ///
    /// # Errors
    /// [`InvalidTag`](ErrorKind::InvalidTag), also if there are [too many](crate::MAX_TAGS) by now: the
    /// tags stay as they were.
    pub fn tag(&mut self, tag: &str) -> Result<()> {
        self.task.tag(&mut self.claim, tag)
    }

    /// Keeps the right to store, and others waiting, for another [lease](crate::CacheBuilder::lease)
    /// from now on; false if it is lost: the value will not be stored. One round trip.
    ///
    /// # Errors
    /// If the backend fails.
    pub fn renew(&mut self) -> Result<bool> {
        self.task.renew(&mut self.claim)
    }
}

/// Gives the right back where it was not used: after an error or a panic.
impl Drop for Load<'_> {
    fn drop(&mut self) {
        if self.running {
            self.task.core.counters.add(Count::LoadError);
            self.task.leave_alone(&mut self.claim);
        }
        self.task.give_back(&mut self.claim, false);
    }
}

/// Who can take an answer.
pub(super) trait Taking {
    /// Takes a stored entry as the answer, if it is one to this caller.
    fn accept(&mut self, entry: &Entry, life: &Life, stale: bool, tier: u8) -> bool;
    /// Whether it needs to know the entry's times.
    fn wants_life(&self) -> bool;
    /// The tags named up front, checked.
    fn tags(&mut self, space: &str) -> Result<Tags>;
}

/// The caller's side of a load.
pub(super) trait Loading: Taking {
    /// Runs the loader and keeps its answer.
    fn run(&mut self, load: &mut Load<'_>) -> Result<Fill>;
    /// Whether anybody still wants the answer stored.
    fn is_wanted(&self) -> bool;
}

/// What a loader's answer asks for.
pub(super) enum Fill {
    /// This change, which stores the value.
    Store(Change),
    /// Nothing stored; those who wait may share it.
    Share(Entry),
    /// The loader failed, and the answer taken before it ran has to do.
    Kept,
    /// The loader failed.
    Failed,
}

/// How long others wait for a load where no timeout is set: longer than for a process that died.
const WAIT: Duration = Duration::from_secs(60);

/// When a caller stops to wait for others.
pub(super) fn deadline(wait: Option<Duration>) -> Instant {
    instant_after(wait.unwrap_or(WAIT))
}

/// The end of a time from now on; one past the clock's range is a year.
pub(super) fn instant_after(time: Duration) -> Instant {
    Instant::now() + time.min(Duration::from_secs(365 * 24 * 3600))
}

/// One key, to be loaded under one policy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task<'a> {
    pub(super) core: &'a Core,
    pub(super) policy: &'a Policy,
    pub(super) name: Name<'a>,
}

impl<'a> Task<'a> {
    /// A task whose policy is checked: bad settings are refused before anything is done.
    #[inline]
    pub(super) fn new(core: &'a Core, policy: &'a Policy, name: Name<'a>) -> Result<Self> {
        policy.check()?;
        Ok(Self { core, policy, name })
    }

    /// Answers from what was read, from another thread's load, or by loading. `ends` was taken
    /// before the read.
    pub(super) fn load(
        self,
        read: Read,
        loading: &mut dyn Loading,
        ends: Option<Instant>,
    ) -> Result<()> {
        let deadline = ends.unwrap_or_else(|| deadline(None));
        match self.arrive_with(read, loading, Patience::until(deadline))? {
            Arrival::Answered => Ok(()),
            Arrival::Leads(leader, offer) => self.lead(leader, offer, loading, deadline),
        }
    }

    /// Loads, stores, and tells those who joined.
    pub(super) fn lead(
        self,
        leader: Leader,
        offer: Offer,
        loading: &mut dyn Loading,
        deadline: Instant,
    ) -> Result<()> {
        let tags = loading.tags(self.name.space())?;
        let claim = Claim::new(tags, offer);
        let mut load = Load { task: self, claim, running: false };
        self.core.need_tags(&load.claim.tags)?;
        if !self.obtain(&mut load.claim, offer, loading, deadline)? {
            return Ok(());
        }
        self.core.counters.add(Count::Load);
        let started = Instant::now();
        load.running = true;
        let fill = loading.run(&mut load);
        load.running = false;
        if let Ok(Fill::Store(_) | Fill::Share(_)) = fill {
            self.core.loader_answers();
        }
        let fill = match fill {
            Ok(Fill::Store(Change::Put(entry, _))) if !loading.is_wanted() => {
                Ok(Fill::Share(entry))
            }
            Ok(Fill::Store(change)) => Ok(Fill::Store(self.with_cost(change, started))),
            fill => fill,
        };
        self.finish(&mut load.claim, leader, fill).map(drop)
    }

    /// The change with the time it took to come by the value. A bare number would not tell its age,
    /// which early refreshes need: some time it always took.
    pub(super) fn with_cost(self, change: Change, started: Instant) -> Change {
        let least = u32::from(self.policy.fresh.is_early());
        match change {
            Change::Put(entry, life) => {
                let cost_ms = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
                Change::Put(Entry { cost_ms: cost_ms.max(least), ..entry }, life)
            }
            other => other,
        }
    }

    /// Stores what was loaded and ends the load; whether it was stored.
    pub(super) fn finish(
        self,
        claim: &mut Claim,
        leader: Leader,
        fill: Result<Fill>,
    ) -> Result<bool> {
        // From here on nobody joins: who comes now may come after an invalidation.
        leader.close();
        if leader.is_overtaken() {
            claim.lose_unfenced();
        }
        let (landing, result) = match fill {
            Ok(Fill::Store(change)) => self.fill(claim, change),
            Ok(Fill::Share(entry)) => (self.release(claim, entry), Ok(false)),
            Ok(Fill::Kept) => {
                self.put_off(claim);
                (self.give_up(claim), Ok(false))
            }
            Ok(Fill::Failed) => (self.give_up(claim), Ok(false)),
            Err(error) => (self.give_up(claim), Err(error)),
        };
        leader.land(landing);
        result
    }

    /// Gives the right back before anybody is told, so that the next one gets it.
    fn give_up(self, claim: &mut Claim) -> Landing {
        self.give_back(claim, false);
        self.core.counters.add(Count::LoadError);
        Landing::Failed
    }
}

pub(super) fn late() -> Error {
    Error::new(ErrorKind::Timeout, "another load of this key did not end in time")
}

pub(super) fn load_failed() -> Error {
    Error::new(ErrorKind::LoadFailed, "another thread's load of this key failed")
}

pub(super) fn reentrant() -> Error {
    let what = "this thread is loading this key already: its loader asked for the key itself, or \
                waits for work (in rayon, say) that loads it";
    Error::new(ErrorKind::Reentrant, what)
}
