//! What a caller who needs a value finds.

use std::time::{Duration, Instant};

use super::{Taking, Task, late, load_failed, reentrant};
use crate::backend::{Cause, CodecId, Found, Over, Read, Want};
use crate::cache::look::reading_to_load;
use crate::error::Result;
use crate::flight::{Landing, Leader, Role};
use crate::stats::Count;

/// What a caller who needs a value finds.
pub(in crate::cache) enum Arrival {
    /// Its answer.
    Answered,
    /// The load is its own.
    Leads(Leader, Offer),
}

/// How long a caller waits for another thread's load.
#[derive(Clone, Copy, Debug)]
pub(in crate::cache) struct Patience {
    /// Where it has nothing.
    pub(in crate::cache) deadline: Instant,
    /// Where it has a stale value, and would like a better one.
    pub(in crate::cache) better_by: Instant,
}

impl Patience {
    /// Of one who takes a stale value at once.
    pub(super) fn until(deadline: Instant) -> Self {
        Self { deadline, better_by: Instant::now() }
    }
}

/// What was there when a caller came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache) enum Offer {
    /// A fresh value.
    Fresh,
    /// One that is fresh, and is to be refreshed: this old, or whatever its age.
    Early(Option<Duration>),
    /// A stale one that will do for now.
    Stale,
    Nothing,
    /// The backend could not be asked. It is not asked again in this call.
    Down,
}

impl Offer {
    /// Whether the caller has an answer already.
    pub(in crate::cache) fn is_answer(self) -> bool {
        matches!(self, Self::Fresh | Self::Early(_) | Self::Stale)
    }

    /// What may be there when the right to load is asked for.
    pub(super) fn over(self) -> Over {
        match self {
            Self::Fresh | Self::Early(_) => Over::Fresh,
            Self::Stale => Over::Stale,
            Self::Nothing | Self::Down => Over::Nothing,
        }
    }
}

impl Task<'_> {
    /// What is asked of the backend beside the value.
    pub(in crate::cache) fn want(self, taking: &dyn Taking) -> Want<'static> {
        reading_to_load(self.policy, taking.wants_life())
    }

    /// Takes an answer from the cache or from another thread's load, or else the lead.
    pub(in crate::cache) fn arrive(
        self,
        taking: &mut dyn Taking,
        patience: Patience,
    ) -> Result<Arrival> {
        let read = self.core.read(self.policy, self.name, &self.want(taking))?;
        self.arrive_with(read, taking, patience)
    }

    /// The same with what was read already.
    pub(super) fn arrive_with(
        self,
        mut read: Read,
        taking: &mut dyn Taking,
        Patience { deadline, better_by }: Patience,
    ) -> Result<Arrival> {
        let Self { core, name, .. } = self;
        let want = self.want(taking);
        let (mut offer, count) = self.offer(&mut read, taking);
        core.counters.add(count);
        loop {
            if offer == Offer::Fresh {
                return Ok(Arrival::Answered);
            }
            match core.flights.enter(name.as_str(), !offer.is_answer()) {
                Role::Leads(leader) => return Ok(Arrival::Leads(leader, offer)),
                Role::Joins(joined) if offer == Offer::Stale && Instant::now() < better_by => {
                    match joined.wait(better_by.min(deadline)) {
                        Some(Landing::Again) => {}
                        Some(landing) if self.joins(&landing, offer, taking) => {
                            return Ok(Arrival::Answered);
                        }
                        _ => {
                            self.count_served(offer);
                            return Ok(Arrival::Answered);
                        }
                    }
                }
                _ if offer.is_answer() => {
                    self.count_served(offer);
                    return Ok(Arrival::Answered);
                }
                Role::Reenters => return Err(reentrant()),
                Role::Joins(joined) => match joined.wait(deadline).ok_or_else(late)? {
                    Landing::Failed => return Err(load_failed()),
                    landing if self.joins(&landing, offer, taking) => {
                        return Ok(Arrival::Answered);
                    }
                    _ => {}
                },
            }
            if Instant::now() >= deadline {
                return Err(late());
            }
            if offer == Offer::Down {
                continue;
            }
            read = core.read(&self.policy.until(deadline), name, &want)?;
            offer = self.offer(&mut read, taking).0;
        }
    }

    /// Takes the value of another thread's load, if this caller may have it.
    pub(in crate::cache) fn joins(
        self,
        landing: &Landing,
        offer: Offer,
        taking: &mut dyn Taking,
    ) -> bool {
        let Some((entry, life)) = landing.shared(offer != Offer::Down) else { return false };
        let known = entry.schema == self.policy.schema;
        let taken = known && taking.accept(entry, life, false, 0);
        self.core.counters.add_many(Count::Coalesced, u64::from(taken));
        taken
    }

    /// Offers what was found to the caller; and what to count.
    #[inline]
    pub(in crate::cache) fn offer(
        self,
        read: &mut Read,
        taking: &mut dyn Taking,
    ) -> (Offer, Count) {
        let found = match read {
            Read::Hit(found) if found.entry.schema == self.policy.schema => found,
            Read::Hit(_) => return (Offer::Nothing, Count::OtherVersion),
            Read::Miss(Cause::Down, _) => return (Offer::Down, Count::Down),
            Read::Miss(cause, _) => return (Offer::Nothing, (*cause).into()),
            Read::Unanswered | Read::Failed(_) => return (Offer::Nothing, Count::Absent),
        };
        if found.stale {
            let will_do = self.policy.fresh.takes_stale() && take(taking, found);
            return (if will_do { Offer::Stale } else { Offer::Nothing }, Count::Expired);
        }
        if !take(taking, found) {
            return (Offer::Nothing, Count::Undecodable);
        }
        let count = match found.entry.codec {
            CodecId::NEGATIVE => Count::NegativeHit,
            _ => Count::Hit,
        };
        match &found.more {
            Some(more) if self.is_due(found) => (Offer::Early(more.life.age), count),
            _ => (Offer::Fresh, count),
        }
    }

    fn is_due(self, found: &Found) -> bool {
        let life = found.more.as_ref().map(|more| &more.life);
        let Self { core, policy, .. } = self;
        life.is_some_and(|life| policy.fresh.is_due(life, found.entry.cost_ms, &core.random))
    }

    /// Counts an answer given while somebody else loads, or instead of a loader's error.
    pub(in crate::cache) fn count_served(self, offer: Offer) {
        self.core.counters.add_many(Count::Stale, u64::from(offer == Offer::Stale));
    }
}

/// Lets the caller take what was found.
#[inline]
pub(super) fn take(taking: &mut dyn Taking, found: &Found) -> bool {
    let life = found.more.as_ref().map(|more| more.life).unwrap_or_default();
    taking.accept(&found.entry, &life, found.stale, found.tier)
}
