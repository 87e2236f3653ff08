//! One load per key and process: who leads, and what those who join get.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use crate::backend::{Entry, Life};
use crate::sync::{Condvar, Mutex, MutexGuard, ThreadId, current, wait_until};

const SHARDS: usize = 16;

type Shard = HashMap<Box<str>, Arc<Flight>>;

/// The loads under way, by full key.
pub(crate) struct Flights {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    /// How many there are: mostly none, and then nobody looks further.
    count: AtomicUsize,
}

/// A load under way.
#[derive(Debug)]
pub(crate) struct Flight {
    runner: Mutex<Runner>,
    /// Who comes from now on may come after an invalidation that the fill does not know of.
    closed: AtomicBool,
    /// This process changed or invalidated the key since the load began.
    overtaken: AtomicBool,
    landed: Mutex<Option<Landing>>,
    landing: Condvar,
}

/// Who runs the loader.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Runner {
    /// This thread.
    Thread(ThreadId),
    /// A thread that is on its way: somebody waits for it.
    Soon,
    /// Nobody yet, and nobody waits: who needs the value now begins another load.
    Whenever,
}

/// How a load ended, for those who joined it.
#[derive(Clone, Debug)]
pub(crate) enum Landing {
    /// The value was stored.
    Value(Entry, Life),
    /// The backend could not be asked whether something overtook the load. Good for those who could
    /// not ask it either: one value for all who wait is better than a stampede to the source.
    Unsure(Entry, Life),
    /// Nothing to share: overtaken, skipped, or the leader found what others can read themselves.
    Again,
    /// The loader failed.
    Failed,
}

/// Whether a caller leads the load of a key.
pub(crate) enum Role {
    Leads(Leader),
    /// Another thread does.
    Joins(Joined),
    /// The calling thread leads it already.
    Reenters,
}

/// The side of those who join.
#[derive(Debug)]
pub(crate) struct Joined {
    flight: Arc<Flight>,
    /// Its value was on its way into the cache already.
    late: bool,
}

/// The leader's side. Dropped on the way, by a panic say, it sends those who joined to try again.
#[derive(Debug)]
pub(crate) struct Leader {
    flights: Arc<Flights>,
    key: Box<str>,
    flight: Arc<Flight>,
}

/// Who shows one load shows no others.
impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Flights {
    pub(crate) fn new() -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shards, hasher: RandomState::new(), count: AtomicUsize::new(0) }
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        self.shards[self.hasher.hash_one(key) as usize % SHARDS].lock()
    }

    /// Joins the load of a key, or begins one. One that waits for a thread is not waited for: who
    /// needs the value begins another in its place, all others leave it where it is.
    pub(crate) fn enter(self: &Arc<Self>, key: &str, needs_it: bool) -> Role {
        let mut flights = self.shard(key);
        if let Some(flight) = flights.get(key) {
            let runner = *flight.runner.lock();
            match runner {
                Runner::Thread(thread) if thread == current().id() => return Role::Reenters,
                Runner::Whenever if needs_it => {}
                _ => {
                    let late = flight.closed.load(SeqCst);
                    return Role::Joins(Joined { flight: flight.clone(), late });
                }
            }
        }
        let flight = Arc::new(Flight {
            runner: Mutex::new(Runner::Thread(current().id())),
            closed: AtomicBool::new(false),
            overtaken: AtomicBool::new(false),
            landed: Mutex::new(None),
            landing: Condvar::new(),
        });
        match flights.insert(key.into(), flight.clone()) {
            None => _ = self.count.fetch_add(1, SeqCst),
            Some(instead_of) => instead_of.end(Landing::Again),
        }
        Role::Leads(Leader { flights: self.clone(), key: key.into(), flight })
    }

    /// This process is about to change a key: what is being loaded for it is old.
    #[inline]
    pub(crate) fn overtake(&self, key: &str) {
        if self.count.load(SeqCst) > 0
            && let Some(flight) = self.shard(key).get(key)
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

impl Landing {
    /// What a caller may share, who was answered by the backend or not.
    pub(crate) fn shared(&self, answered: bool) -> Option<(&Entry, &Life)> {
        match self {
            Self::Value(entry, life) => Some((entry, life)),
            Self::Unsure(entry, life) if !answered => Some((entry, life)),
            Self::Unsure(..) | Self::Again | Self::Failed => None,
        }
    }

    /// The same without knowing whether it was overtaken.
    pub(crate) fn unsure(self) -> Self {
        match self {
            Self::Value(entry, life) => Self::Unsure(entry, life),
            other => other,
        }
    }
}

impl Flight {
    /// Tells all who wait, unless they were told.
    fn end(&self, landing: Landing) {
        self.landed.lock().get_or_insert(landing);
        self.landing.notify_all();
    }

    fn wait(&self, deadline: Instant) -> Option<Landing> {
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

impl Joined {
    /// Waits for the end of the load; `None` if the deadline comes first. Who came late is given
    /// nothing: the value may be older than an invalidation before that.
    pub(crate) fn wait(self, deadline: Instant) -> Option<Landing> {
        let landing = self.flight.wait(deadline)?;
        Some(if self.late { Landing::Again } else { landing })
    }
}

impl Leader {
    /// Leaves the load to the thread that [starts](Self::start) it.
    pub(crate) fn hand_over(&self, runner: Runner) {
        let _flights = self.flights.shard(&self.key);
        *self.flight.runner.lock() = runner;
    }

    /// The calling thread takes the load over, unless a caller who would not wait has begun another.
    pub(crate) fn start(&self) -> bool {
        let flights = self.flights.shard(&self.key);
        let ours = self.is_in(&flights);
        if ours {
            *self.flight.runner.lock() = Runner::Thread(current().id());
        }
        ours
    }

    fn is_in(&self, flights: &Shard) -> bool {
        flights.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight))
    }

    /// Lets nobody else share the value; before a fill is sent.
    pub(crate) fn close(&self) {
        let _flights = self.flights.shard(&self.key);
        self.flight.closed.store(true, SeqCst);
    }

    /// Whether this process changed or invalidated the key since the load began.
    pub(crate) fn is_overtaken(&self) -> bool {
        self.flight.overtaken.load(SeqCst)
    }

    /// Ends the load. Those who wait are told once nobody finds it under way any more.
    pub(crate) fn land(self, landing: Landing) {
        let landing = if self.is_overtaken() { Landing::Again } else { landing };
        self.flight.landed.lock().get_or_insert(landing);
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let mut flights = self.flights.shard(&self.key);
        if self.is_in(&flights) {
            flights.remove(&self.key);
            self.flights.count.fetch_sub(1, SeqCst);
        }
        drop(flights);
        self.flight.end(Landing::Again);
    }
}
