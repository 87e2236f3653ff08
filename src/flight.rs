//! One load per key and process: who leads, and what those who join get.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use crate::backend::Entry;
use crate::sync::{Condvar, Mutex, ThreadId, current, wait_until};

const SHARDS: usize = 16;

/// The loads under way, by full key.
#[derive(Debug)]
pub(crate) struct Flights {
    shards: [Mutex<HashMap<Box<str>, Arc<Flight>>>; SHARDS],
    hasher: RandomState,
    /// How many there are: mostly none, and then nobody looks further.
    count: AtomicUsize,
}

/// A load under way.
#[derive(Debug)]
pub(crate) struct Flight {
    leader: ThreadId,
    /// Who comes from now on may come after an invalidation that the fill does not know of.
    closed: AtomicBool,
    /// This process changed or invalidated the key since the load began.
    overtaken: AtomicBool,
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
    /// Another thread does, and its value may be shared.
    Joins(Arc<Flight>),
    /// Another thread does, and is storing already: wait for it, and look.
    Waits(Arc<Flight>),
    /// The calling thread leads it already.
    Reenters,
}

/// The leader's side. Dropped on the way, by a panic say, it sends those who joined to try again.
pub(crate) struct Leader<'a> {
    flights: &'a Flights,
    key: &'a str,
    flight: Arc<Flight>,
}

impl Flights {
    pub(crate) fn new() -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shards, hasher: RandomState::new(), count: AtomicUsize::new(0) }
    }

    fn shard(&self, key: &str) -> &Mutex<HashMap<Box<str>, Arc<Flight>>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    /// Joins the load of a key, or begins one.
    pub(crate) fn enter<'a>(&'a self, key: &'a str) -> Role<'a> {
        let mut flights = self.shard(key).lock();
        if let Some(flight) = flights.get(key) {
            return match flight.closed.load(SeqCst) {
                _ if flight.leader == current().id() => Role::Reenters,
                true => Role::Waits(flight.clone()),
                false => Role::Joins(flight.clone()),
            };
        }
        let flight = Arc::new(Flight {
            leader: current().id(),
            closed: AtomicBool::new(false),
            overtaken: AtomicBool::new(false),
            landed: Mutex::new(None),
            landing: Condvar::new(),
        });
        flights.insert(key.into(), flight.clone());
        self.count.fetch_add(1, SeqCst);
        Role::Leads(Leader { flights: self, key, flight })
    }

    /// This process is about to change a key: what is being loaded for it is old.
    #[inline]
    pub(crate) fn overtake(&self, key: &str) {
        if self.count.load(SeqCst) > 0
            && let Some(flight) = self.shard(key).lock().get(key)
        {
            flight.overtaken.store(true, SeqCst);
        }
    }

    /// This process is about to invalidate by pattern or tag. Which loads that means only the
    /// backend knows; not to share the others' values costs no more than a read.
    pub(crate) fn overtake_all(&self) {
        if self.count.load(SeqCst) > 0 {
            for shard in &self.shards {
                shard.lock().values().for_each(|flight| flight.overtaken.store(true, SeqCst));
            }
        }
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
    /// Lets nobody else share the value; before a fill is sent.
    pub(crate) fn close(&self) {
        let _flights = self.flights.shard(self.key).lock();
        self.flight.closed.store(true, SeqCst);
    }

    /// Whether this process changed or invalidated the key since the load began.
    pub(crate) fn is_overtaken(&self) -> bool {
        self.flight.overtaken.load(SeqCst)
    }

    /// Ends the load.
    pub(crate) fn land(self, landing: Landing) {
        let landing = if self.is_overtaken() { Landing::Again } else { landing };
        self.flight.landed.lock().get_or_insert(landing);
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        self.flights.shard(self.key).lock().remove(self.key);
        self.flights.count.fetch_sub(1, SeqCst);
        self.flight.landed.lock().get_or_insert(Landing::Again);
        self.flight.landing.notify_all();
    }
}
