//! Loading without a closure.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Arrival, Claim, Fill, Patience, Taking, Task, deadline};
use crate::backend::Name;
use crate::cache::core::Core;
use crate::cache::policy::Policy;
use crate::cache::ttl::Ttl;
use crate::error::Result;
use crate::flight::Leader;
use crate::stats::{Count, Operation};

/// What [`begin`](crate::EntryRef::begin) found.
#[derive(Debug)]
pub enum Begun<T> {
    /// The value.
    Hit(T),
    /// There is none: the caller is to provide it.
    Slot(Slot),
}

/// The right to store the value of a key, and the duty not to keep others waiting.
///
/// Dropped without a value, the next caller may load. While it is held other threads of the cache wait,
/// each within its timeout, and other processes for its lease.
#[derive(Debug)]
#[must_use = "others wait for the value until the slot is set or dropped"]
pub struct Slot(Box<Duty>);

// As a cache: dropped on the way, by a panic say, it frees the key.
impl UnwindSafe for Slot {}
impl RefUnwindSafe for Slot {}

#[derive(Debug)]
struct Duty {
    core: Arc<Core>,
    policy: Policy,
    key: Box<str>,
    space: usize,
    claim: Claim,
    leader: Option<Leader>,
    started: Instant,
}

impl Task<'_> {
    /// The slot, unless there is an answer.
    pub(in crate::cache) fn begin(
        self,
        core: &Arc<Core>,
        taking: &mut dyn Taking,
    ) -> Result<Option<Slot>> {
        let deadline = deadline(self.policy.timeout);
        let (leader, offer) = match self.arrive(taking, Patience::until(deadline))? {
            Arrival::Answered => return Ok(None),
            Arrival::Leads(leader, offer) => (leader, offer),
        };
        let claim = Claim::new(taking.tags(self.name.space())?, offer);
        let mut duty = Duty {
            core: core.clone(),
            policy: *self.policy,
            key: self.name.as_str().into(),
            space: self.name.space().len(),
            claim,
            leader: Some(leader),
            started: Instant::now(),
        };
        core.need_tags(&duty.claim.tags)?;
        if !self.obtain(&mut duty.claim, offer, taking, deadline)? {
            return Ok(None);
        }
        core.counters.add(Count::Load);
        Ok(Some(Slot(Box::new(duty))))
    }
}

impl Duty {
    fn on<R>(&mut self, f: impl FnOnce(Task<'_>, &mut Claim) -> R) -> R {
        let Self { core, policy, key, space, claim, .. } = self;
        f(Task { core, policy, name: Name::new(key, *space) }, claim)
    }
}

impl Slot {
    /// The key, without its namespace.
    pub fn key(&self) -> &str {
        &self.0.key[self.0.space..]
    }

    /// The value that is to be replaced, if there is one of this type.
    pub fn previous<T: DeserializeOwned>(&self) -> Option<T> {
        self.0.core.format.value(self.0.claim.previous.as_ref()?)
    }

    /// See [`Load::tag`](crate::Load::tag).
    ///
    /// # Errors
    /// As there.
    pub fn tag(&mut self, tag: &str) -> Result<()> {
        self.0.on(|task, claim| task.tag(claim, tag))
    }

    /// See [`Load::renew`](crate::Load::renew).
    ///
    /// # Errors
    /// As there.
    pub fn renew(&mut self) -> Result<bool> {
        self.0.on(|task, claim| task.renew(claim))
    }

    /// Stores the value; false if it was not: something overtook it, its lease is over, or the cache
    /// is down. One round trip.
    ///
    /// # Errors
    /// As [`Cache::set`](crate::Cache::set), but that a stale value stays.
    pub fn set<T: Serialize + ?Sized>(self, value: &T) -> Result<bool> {
        self.set_for(value, Ttl::Default)
    }

    /// Stores the value for so long.
    ///
    /// # Errors
    /// As [`Cache::set`](crate::Cache::set).
    pub fn set_for<T: Serialize + ?Sized>(
        mut self,
        value: &T,
        ttl: impl Into<Ttl>,
    ) -> Result<bool> {
        let ttl = ttl.into();
        if ttl != Ttl::Default {
            let fresh = &mut self.0.policy.fresh;
            (fresh.ttl, fresh.negative_ttl) = (ttl, ttl);
        }
        let Some(leader) = self.0.leader.take() else { return Ok(false) };
        let started = self.0.started;
        self.0.core.counters.timed(Operation::Load, started.elapsed());
        self.0.on(|task, claim| {
            let change = task.core.encode(task.policy, value, claim.tags.clone());
            let fill = change.map(|change| Fill::Store(task.with_cost(change, started)));
            task.finish(claim, leader, fill)
        })
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        // The right first: who is told that the load is over gets it.
        self.on(|task, claim| task.give_back(claim, false));
        drop(self.leader.take());
    }
}
