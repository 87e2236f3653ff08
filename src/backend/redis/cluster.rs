//! A cluster's map: which master, and which replicas, each slot lives on.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use redis::Value;

use super::batch::Batch;
use super::repeat::Promoted;
use super::slot::SLOTS;
use super::topology::{Maker, Topology};
use super::wire::{Role, Server, number, text};
use crate::backend::remote::exchange::Limits;
use crate::backend::remote::net::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::streak::Streak;

/// The map is not asked for more often than this because something went wrong.
const BETWEEN_REFRESHES: Duration = Duration::from_millis(100);
/// How long one server is waited for when others may know the map, too.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Cluster {
    /// Asked for the map while nothing else is known, and when nobody else answers.
    seeds: Vec<Arc<Server>>,
    maker: Maker,
    map: RwLock<Arc<Map>>,
    /// When the map was asked for last; held while it is.
    asked: Mutex<Option<Instant>>,
    /// It was to be asked for, and was not, as that had just been done.
    due: AtomicBool,
    turn: AtomicUsize,
    replica_reads: bool,
    promoted: Promoted,
    /// How often the set of masters changed.
    shape: AtomicU64,
    /// How often a server answered for a slot that is not its own yet.
    detours: AtomicU64,
}

/// No lock is held while it is used: it is replaced, not changed.
#[derive(Clone, Default)]
struct Map {
    /// The masters in the last answer; those below may have been named by others since.
    listed: Vec<Endpoint>,
    masters: HashMap<Endpoint, Arc<Server>>,
    replicas: HashMap<Endpoint, Arc<Server>>,
    slots: Vec<Option<Arc<Owners>>>,
}

/// Without its 16,384 slots.
impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("masters", &self.masters)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Owners {
    master: Arc<Server>,
    replicas: Vec<Arc<Server>>,
}

impl Cluster {
    pub(super) fn new(
        seeds: Vec<Endpoint>,
        maker: Maker,
        replica_reads: bool,
        promoted: Promoted,
    ) -> Self {
        let make = |seed| maker.make(seed, Role::Any);
        Self {
            seeds: seeds.into_iter().map(make).collect(),
            maker,
            map: RwLock::default(),
            asked: Mutex::default(),
            due: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
            replica_reads,
            promoted,
            shape: AtomicU64::new(0),
            detours: AtomicU64::new(0),
        }
    }

    fn map(&self) -> Arc<Map> {
        self.map.read().clone()
    }

    /// The server for commands to a slot.
    pub(super) fn owner(&self, slot: u16, until: Instant, replicas: bool) -> Result<Arc<Server>> {
        if self.due.load(Ordering::Relaxed) {
            self.suspect(until);
        }
        let known = |map: &Map| map.slots.get(usize::from(slot)).cloned().flatten();
        let mut owners = known(&self.map());
        if owners.is_none() {
            self.refresh(until, self.map().slots.is_empty())?;
            owners = known(&self.map());
        }
        let Some(owners) = owners else {
            let what = format!("no server of the redis cluster has slot {slot}");
            return Err(Error::new(ErrorKind::Unavailable, what));
        };
        if replicas && self.replica_reads && !owners.replicas.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % owners.replicas.len();
            return Ok(owners.replicas[turn].clone());
        }
        Ok(owners.master.clone())
    }

    /// Whether a slot lives on this server, as far as we know.
    pub(super) fn is_owner(&self, slot: u16, server: &Arc<Server>) -> bool {
        let map = self.map();
        let owners = map.slots.get(usize::from(slot)).and_then(Option::as_ref);
        owners.is_some_and(|owners| Arc::ptr_eq(&owners.master, server))
    }

    /// Whether any slot lives on this server, as far as we know.
    pub(super) fn serves(&self, server: &Arc<Server>) -> bool {
        self.map().has_slots(server.endpoint())
    }

    /// How often a server answered for a slot that is not its own yet; counted before it does.
    pub(super) fn detours(&self) -> u64 {
        self.detours.load(Ordering::Acquire)
    }

    /// The server that answers for a slot for the time being.
    pub(super) fn stand_in(&self, endpoint: &Endpoint) -> Arc<Server> {
        self.detours.fetch_add(1, Ordering::AcqRel);
        self.server_at(endpoint)
    }

    /// The server at an address some server named.
    fn server_at(&self, endpoint: &Endpoint) -> Arc<Server> {
        if let Some(server) = self.map().masters.get(endpoint) {
            return server.clone();
        }
        let mut map = self.map.write();
        let mut new = Map::clone(&map);
        let server = new.master(endpoint, &self.maker);
        *map = Arc::new(new);
        server
    }

    /// A server told where a slot lives now.
    pub(super) fn moved(&self, slot: u16, endpoint: &Endpoint) {
        let mut map = self.map.write();
        let known = map.slots.get(usize::from(slot)).and_then(Option::as_ref);
        if known.is_some_and(|owners| owners.master.endpoint() == endpoint) {
            return;
        }
        let mut new = Map::clone(&map);
        // Before anything it answers is used.
        if !map.has_slots(endpoint) {
            self.shape.fetch_add(1, Ordering::AcqRel);
        }
        let master = new.master(endpoint, &self.maker);
        if let Some(owners) = new.slots.get_mut(usize::from(slot)) {
            *owners = Some(Arc::new(Owners { master, replicas: Vec::new() }));
        }
        *map = Arc::new(new);
    }

    /// Something is not as it was: asks for the map.
    pub(super) fn suspect(&self, until: Instant) {
        match self.refresh(until, false) {
            Ok(asked) => self.due.store(!asked, Ordering::Relaxed),
            Err(error) => {
                static FAILING: Streak = Streak::new();
                if let Some(more) = FAILING.on() {
                    log::debug!("yokedcache: no map of the redis cluster: {error}{more}");
                }
            }
        }
    }

    /// Asks for the map, one caller at a time. False if it was asked for just now.
    fn refresh(&self, until: Instant, wait: bool) -> Result<bool> {
        let mut asked = match wait {
            true => match self.asked.try_lock_until(until) {
                Some(asked) => asked,
                None => {
                    let what = "the redis cluster was still being asked when the time was up";
                    return Err(Error::new(ErrorKind::Timeout, what));
                }
            },
            false => match self.asked.try_lock() {
                Some(asked) => asked,
                None => return Ok(false),
            },
        };
        if wait && !self.map().slots.is_empty() {
            return Ok(true);
        }
        if !wait && asked.is_some_and(|asked| asked.elapsed() < BETWEEN_REFRESHES) {
            return Ok(false);
        }
        let mut last = Error::new(ErrorKind::Unavailable, "the redis cluster has no servers");
        for server in self.to_ask() {
            let now = Instant::now();
            if now >= until {
                break;
            }
            let limits = Limits { until: until.min(now + PATIENCE), retry_late: false };
            let mut batch = Batch::new(false);
            batch.push("", &[b"CLUSTER", b"SLOTS"]);
            match Topology::run_at(&server, &mut batch, limits) {
                Ok(values) => match self.read(&server, values) {
                    Ok(map) => {
                        self.replace(map);
                        *asked = Some(Instant::now());
                        return Ok(true);
                    }
                    Err(error) => last = error,
                },
                Err(error) => last = error,
            }
        }
        *asked = Some(Instant::now());
        Err(last)
    }

    fn replace(&self, new: Map) {
        let mut map = self.map.write();
        // A slot that moves leaves its master behind; one that is taken over does not.
        let left = map.listed.iter().any(|master| !new.listed.contains(master));
        if left {
            self.promoted.store(true, Ordering::Release);
        }
        if left || map.listed.len() != new.listed.len() {
            self.shape.fetch_add(1, Ordering::AcqRel);
        }
        *map = Arc::new(new);
    }

    /// Those who may know the map: the servers known and the seeds, beginning with another one
    /// each time.
    fn to_ask(&self) -> Vec<Arc<Server>> {
        let map = self.map();
        let mut all: Vec<Arc<Server>> = map.masters.values().cloned().collect();
        all.sort_by(|a, b| a.endpoint().cmp(b.endpoint()));
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % all.len().max(1);
        all.rotate_left(first);
        let seeds = self.seeds.iter();
        all.extend(seeds.filter(|seed| !map.masters.contains_key(seed.endpoint())).cloned());
        all
    }

    /// A map from the answer to `CLUSTER SLOTS`: ranges, each with its master and its replicas.
    fn read(&self, from: &Arc<Server>, values: Vec<Value>) -> Result<Map> {
        let ranges = match values.into_iter().next() {
            Some(Value::Array(ranges)) => ranges,
            Some(Value::ServerError(error)) => {
                return Err(super::wire::refused(from.endpoint(), &error));
            }
            _ => Vec::new(),
        };
        let old = self.map();
        let mut map = Map { slots: vec![None; usize::from(SLOTS)], ..Map::default() };
        for range in &ranges {
            let Value::Array(range) = range else { continue };
            let (Some(first), Some(last)) = (number(range.first()), number(range.get(1))) else {
                continue;
            };
            let mut servers = range.iter().skip(2).filter_map(|server| address(server, from));
            let Some(master) = servers.next() else { continue };
            let keep = |old: &HashMap<Endpoint, Arc<Server>>, endpoint: Endpoint, role| {
                old.get(&endpoint).cloned().unwrap_or_else(|| self.maker.make(endpoint, role))
            };
            let master = keep(&old.masters, master, Role::Any);
            map.masters.insert(master.endpoint().clone(), master.clone());
            let replicas: Vec<_> = servers
                .filter(|_| self.replica_reads)
                .map(|endpoint| keep(&old.replicas, endpoint, Role::Replica))
                .collect();
            for replica in &replicas {
                map.replicas.insert(replica.endpoint().clone(), replica.clone());
            }
            let owners = Arc::new(Owners { master, replicas });
            let slots = usize::try_from(first).ok().zip(usize::try_from(last).ok());
            let slots = slots.and_then(|(first, last)| map.slots.get_mut(first..=last));
            if let Some(slots) = slots {
                slots.fill(Some(owners));
            }
        }
        map.listed = map.masters.keys().cloned().collect();
        if map.masters.is_empty() {
            let what = format!("redis {} knows no slots of a cluster", from.endpoint());
            return Err(Error::new(ErrorKind::Unavailable, what));
        }
        Ok(map)
    }

    /// A number that grows with each change of who the masters are.
    pub(super) fn shape(&self) -> u64 {
        self.shape.load(Ordering::Acquire)
    }

    /// The masters that have slots.
    pub(super) fn masters(&self, until: Instant) -> Result<Vec<Arc<Server>>> {
        if !self.refresh(until, false)? && self.map().slots.is_empty() {
            self.refresh(until, true)?;
        }
        let map = self.map();
        if map.slots.iter().any(Option::is_none) {
            let what = "some slots of the redis cluster have no server";
            return Err(Error::new(ErrorKind::Unavailable, what));
        }
        let mut masters: Vec<_> = map.masters.values().cloned().collect();
        masters.sort_by(|a, b| a.endpoint().cmp(b.endpoint()));
        Ok(masters)
    }

    pub(super) fn known(&self) -> Vec<Arc<Server>> {
        let map = self.map();
        let mut known: Vec<_> =
            map.masters.values().chain(map.replicas.values()).cloned().collect();
        known.sort_by(|a, b| a.endpoint().cmp(b.endpoint()));
        known
    }
}

impl Map {
    fn has_slots(&self, endpoint: &Endpoint) -> bool {
        self.slots.iter().flatten().any(|owners| owners.master.endpoint() == endpoint)
    }

    fn master(&mut self, endpoint: &Endpoint, maker: &Maker) -> Arc<Server> {
        let new = || maker.make(endpoint.clone(), Role::Any);
        self.masters.entry(endpoint.clone()).or_insert_with(new).clone()
    }
}

/// A server in the answer to `CLUSTER SLOTS`; one without a name is the one that answered.
fn address(server: &Value, from: &Arc<Server>) -> Option<Endpoint> {
    let Value::Array(server) = server else { return None };
    let port = u16::try_from(number(server.get(1))?).ok()?;
    let host = text(server.first()).filter(|host| !host.is_empty() && *host != "?");
    match (host, from.endpoint()) {
        (Some(host), _) => Some(Endpoint::tcp(host, port)),
        (None, Endpoint::Tcp { host, .. }) => Some(Endpoint::Tcp { host: host.clone(), port }),
        (None, Endpoint::Unix(_)) => None,
    }
}
