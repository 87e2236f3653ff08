//! One load per key and process: who leads, and what those who join get.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Instant;

use crate::backend::Entry;
use crate::sync::{Condvar, Mutex, ThreadId, current, wait_until};

const SHARDS: usize = 16;

/// The loads under way, by full key.
#[derive(Debug)]
pub(crate) struct Flights {
    shards: [Mutex<HashMap<Box<str>, Arc<Flight>>>; SHARDS],
    hasher: RandomState,
}

/// A load under way.
#[derive(Debug)]
pub(crate) struct Flight {
    leader: ThreadId,
    landed: Mutex<Option<Landing>>,
    landing: Condvar,
}

/// How a load ended, for those who joined it.
#[derive(Clone, Debug)]
pub(crate) enum Landing {
    /// The value was stored, or the backend is down and there is no better one.
    Value(Entry),
    /// Nothing to share: overtaken, skipped, or the leader found what others can read themselves.
    Again,
    /// The loader failed.
    Failed,
}

/// Whether a caller leads the load of a key.
pub(crate) enum Role<'a> {
    Leads(Leader<'a>),
    Joins(Arc<Flight>),
    /// The calling thread leads it already.
    Reenters,
}

/// The leader's side. Dropped on the way, by a panic say, it sends those who joined to try again.
pub(crate) struct Leader<'a> {
    flights: &'a Flights,
    key: &'a str,
    flight: Arc<Flight>,
    closed: bool,
}

impl Flights {
    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }

    fn shard(&self, key: &str) -> &Mutex<HashMap<Box<str>, Arc<Flight>>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    /// Joins the load of a key, or begins one.
    pub(crate) fn enter<'a>(&'a self, key: &'a str) -> Role<'a> {
        let mut flights = self.shard(key).lock();
        if let Some(flight) = flights.get(key) {
            let own = flight.leader == current().id();
            return if own { Role::Reenters } else { Role::Joins(flight.clone()) };
        }
        let flight = Arc::new(Flight {
            leader: current().id(),
            landed: Mutex::new(None),
            landing: Condvar::new(),
        });
        flights.insert(key.into(), flight.clone());
        Role::Leads(Leader { flights: self, key, flight, closed: false })
    }
}

impl Flight {
    /// Waits for the end of the load; `None` if the deadline comes first.
    pub(crate) fn wait(&self, deadline: Instant) -> Option<Landing> {
        let mut landed = self.landed.lock();
        loop {
            if landed.is_some() {
                return landed.clone();
            }
            let (guard, timed_out) = wait_until(&self.landing, landed, deadline);
            landed = guard;
            if timed_out {
                return landed.clone();
            }
        }
    }
}

impl Leader<'_> {
    /// Lets nobody else join. Before a fill is sent: who comes later may come after an invalidation
    /// that the fill does not know of.
    pub(crate) fn close(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            self.flights.shard(self.key).lock().remove(self.key);
        }
    }

    /// Ends the load.
    pub(crate) fn land(mut self, landing: Landing) {
        self.close();
        self.tell(landing);
    }

    fn tell(&self, landing: Landing) {
        self.flight.landed.lock().get_or_insert(landing);
        self.flight.landing.notify_all();
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        self.close();
        self.tell(Landing::Again);
    }
}
