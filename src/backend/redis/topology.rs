//! Which server a command goes to, and what is done when it was the wrong one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use redis::{ServerError, Value};

use super::batch::{Batch, Reply};
use super::cluster::Cluster;
use super::sentinel::Sentinel;
use super::slot;
use super::wire::{Hello, Role, Server};
use crate::backend::remote::exchange::{Limits, Lost, Part, exchange};
use crate::backend::remote::net::{Endpoint, Net};
use crate::backend::remote::node::{Node, Pooling};
use crate::error::{Error, ErrorKind, Result};

/// How often a command is sent to where the servers say, before we take them to be confused.
const DETOURS: usize = 16;
/// How often we wait for servers to sort out who is who.
const PATIENCE: u32 = 3;
/// More attempts than it takes to hit a slot of any master.
const NAMES: u32 = 1 << 20;
const PAUSE: Duration = Duration::from_millis(15);

/// Makes servers of the same kind.
#[derive(Clone, Debug)]
pub(super) struct Maker {
    pub(super) net: Arc<Net>,
    pub(super) hello: Hello,
    pub(super) pooling: Pooling,
}

impl Maker {
    pub(super) fn make(&self, endpoint: Endpoint, role: Role) -> Arc<Server> {
        let hello = Hello { role, ..self.hello.clone() };
        Arc::new(Node::new(endpoint, self.net.clone(), hello, &self.pooling))
    }
}

/// How the servers are arranged.
#[derive(Debug)]
pub(super) enum Topology {
    One(Arc<Server>),
    Sentinel(Sentinel),
    Cluster(Cluster),
}

/// A batch dealt out to servers.
struct Parts {
    parts: Vec<Part<Hello>>,
    /// Commands that go nowhere, and why.
    nowhere: Vec<(usize, Error)>,
}

impl Parts {
    fn one(server: Arc<Server>, commands: Vec<usize>) -> Self {
        Self { parts: vec![Part::new(server, commands)], nowhere: Vec::new() }
    }

    fn add(&mut self, server: Arc<Server>, index: usize) {
        let known = self.parts.iter().position(|part| Arc::ptr_eq(&part.server, &server));
        let at = known.unwrap_or_else(|| {
            self.parts.push(Part::new(server, Vec::new()));
            self.parts.len() - 1
        });
        self.parts[at].commands.push(index);
    }
}

/// What becomes of a command after an answer.
enum Verdict {
    Final,
    /// It is sent again at once, perhaps to a server named.
    Elsewhere(Option<Endpoint>),
    /// It is sent again after a pause, if there was not too much of that.
    Later,
}

impl Topology {
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Carries out the commands of a batch, each where its slot lives. One answer each.
    pub(super) fn run(&self, batch: &mut Batch, limits: Limits, replicas: bool) -> Vec<Reply> {
        let all = (0..batch.len()).collect();
        let mut parts = match self.parts(batch, all, &BTreeMap::new(), limits, replicas) {
            Ok(parts) => parts,
            Err(error) => return vec![Err(error); batch.len()],
        };
        exchange(batch, &mut parts.parts, limits);
        if let [part] = &mut parts.parts[..]
            && parts.nowhere.is_empty()
            && part.replies.iter().all(is_plain)
        {
            let replies = std::mem::take(&mut part.replies).into_iter();
            return replies.map(|reply| reply.map_err(Lost::into_error)).collect();
        }
        self.see_through(batch, limits, parts)
    }

    /// Looks at the answers, and goes where they point until none points elsewhere.
    fn see_through(&self, batch: &mut Batch, limits: Limits, mut parts: Parts) -> Vec<Reply> {
        let unanswered =
            || Err(Error::new(ErrorKind::Unavailable, "no server answers for the key"));
        let mut replies: Vec<Reply> = (0..batch.len()).map(|_| unanswered()).collect();
        let mut waited = 0;
        for _ in 0..DETOURS {
            let (mut todo, mut asked) = (Vec::new(), BTreeMap::new());
            let mut later = false;
            for (index, error) in parts.nowhere {
                replies[index] = Err(error);
            }
            for Part { server, commands, replies: got, .. } in parts.parts {
                for (index, reply) in commands.into_iter().zip(got) {
                    match self.judge(&server, batch, index, &reply, limits) {
                        Verdict::Final => {}
                        Verdict::Elsewhere(ask) => {
                            todo.push(index);
                            asked.extend(ask.map(|endpoint| (index, endpoint)));
                        }
                        Verdict::Later => {
                            later = true;
                            todo.push(index);
                        }
                    }
                    replies[index] = reply.map_err(Lost::into_error);
                }
            }
            waited += u32::from(later);
            if todo.is_empty() || waited > PATIENCE || Instant::now() >= limits.until {
                break;
            }
            if later {
                let left = limits.until.saturating_duration_since(Instant::now());
                thread::sleep((PAUSE * waited).min(left));
            }
            todo.sort_unstable();
            // A replica that does not answer as it should leaves it to the master.
            parts = match self.parts(batch, todo, &asked, limits, false) {
                Ok(parts) => parts,
                Err(_) => break,
            };
            exchange(batch, &mut parts.parts, limits);
        }
        replies
    }

    /// Which commands go where.
    ///
    /// # Errors
    /// If none can go anywhere.
    fn parts(
        &self,
        batch: &mut Batch,
        todo: Vec<usize>,
        asked: &BTreeMap<usize, Endpoint>,
        limits: Limits,
        replicas: bool,
    ) -> Result<Parts> {
        let cluster = match self {
            Self::One(server) => return Ok(Parts::one(server.clone(), todo)),
            Self::Sentinel(sentinel) => {
                return Ok(Parts::one(sentinel.master(limits.until)?, todo));
            }
            Self::Cluster(cluster) => cluster,
        };
        let mut parts = Parts { parts: Vec::new(), nowhere: Vec::new() };
        for index in todo {
            let asking = asked.get(&index);
            batch.ask(index, asking.is_some());
            let server = match asking {
                Some(endpoint) => Ok(cluster.stand_in(endpoint)),
                None => cluster.owner(batch.slot(index), limits.until, replicas),
            };
            match server {
                Ok(server) => parts.add(server, index),
                Err(error) => parts.nowhere.push((index, error)),
            }
        }
        Ok(parts)
    }

    fn judge(
        &self,
        server: &Arc<Server>,
        batch: &mut Batch,
        index: usize,
        reply: &Result<Value, Lost>,
        limits: Limits,
    ) -> Verdict {
        let error = match reply {
            Ok(Value::ServerError(error)) => error,
            Ok(_) => return Verdict::Final,
            Err(lost) => {
                let moved = self.has_moved(server, batch.slot(index), limits.until);
                return match lost {
                    Lost::NotSent(error) if moved && error.kind() != ErrorKind::Denied => {
                        Verdict::Elsewhere(None)
                    }
                    _ => Verdict::Final,
                };
            }
        };
        match (error.code(), self) {
            ("NOSCRIPT", _) if batch.is_script(index) => {
                batch.spell_out(index);
                Verdict::Elsewhere(None)
            }
            ("MOVED", Self::Cluster(cluster)) => match redirection(error, server) {
                Some((slot, endpoint)) => {
                    cluster.moved(slot, &endpoint);
                    cluster.suspect(limits.until);
                    Verdict::Elsewhere(None)
                }
                None => Verdict::Final,
            },
            ("ASK", Self::Cluster(_)) => match redirection(error, server) {
                Some((_, endpoint)) => Verdict::Elsewhere(Some(endpoint)),
                None => Verdict::Final,
            },
            ("TRYAGAIN", Self::Cluster(_)) => Verdict::Later,
            ("CLUSTERDOWN" | "READONLY", Self::Cluster(_)) | ("READONLY", Self::Sentinel(_)) => {
                self.has_moved(server, batch.slot(index), limits.until);
                Verdict::Later
            }
            _ => Verdict::Final,
        }
    }

    /// A server does not answer as it should: whether another one has its place now.
    fn has_moved(&self, server: &Arc<Server>, slot: u16, until: Instant) -> bool {
        match self {
            Self::One(_) => false,
            Self::Sentinel(sentinel) => sentinel.suspect(server, until),
            Self::Cluster(cluster) => {
                cluster.suspect(until);
                !cluster.is_owner(slot, server)
            }
        }
    }

    /// The servers that hold entries, each part of them once.
    pub(super) fn masters(&self, until: Instant) -> Result<Vec<Arc<Server>>> {
        match self {
            Self::One(server) => Ok(vec![server.clone()]),
            Self::Sentinel(sentinel) => Ok(vec![sentinel.master(until)?]),
            Self::Cluster(cluster) => cluster.masters(until),
        }
    }

    /// A number that grows with each change of who the masters are, before any answer of the new one
    /// is used.
    pub(super) fn shape(&self) -> u64 {
        match self {
            Self::One(_) => 0,
            Self::Sentinel(sentinel) => sentinel.shape(),
            Self::Cluster(cluster) => cluster.shape(),
        }
    }

    /// Whether a slot lives on this server, as far as we know.
    pub(super) fn owns(&self, server: &Arc<Server>, slot: u16) -> bool {
        match self {
            Self::One(_) | Self::Sentinel(_) => true,
            Self::Cluster(cluster) => cluster.is_owner(slot, server),
        }
    }

    /// Whether any slot lives on this server, as far as we know.
    pub(super) fn serves(&self, server: &Arc<Server>) -> bool {
        match self {
            Self::One(_) | Self::Sentinel(_) => true,
            Self::Cluster(cluster) => cluster.serves(server),
        }
    }

    /// The first of names, by number, that lives on this server; none if none does.
    pub(super) fn own_name(
        &self,
        server: &Arc<Server>,
        name: impl Fn(u32) -> String,
    ) -> Option<String> {
        // One that only takes its first slots over: no name would be found.
        if !self.serves(server) {
            return None;
        }
        let slot = |number| slot::of(name(number).as_bytes());
        // Braces in a prefix put all its names into one slot.
        let vary = (1..4).any(|number| slot(number) != slot(0));
        if !vary && !self.owns(server, slot(0)) {
            return None;
        }
        (0..NAMES).find(|number| self.owns(server, slot(*number))).map(&name)
    }

    /// A server does not behave as a master: those who know are asked.
    pub(super) fn doubt(&self, server: &Arc<Server>, until: Instant) {
        match self {
            Self::One(_) => {}
            Self::Sentinel(sentinel) => drop(sentinel.suspect(server, until)),
            Self::Cluster(cluster) => cluster.suspect(until),
        }
    }

    /// How often a server answered that is not the master of the slot; counted before it does.
    pub(super) fn detours(&self) -> u64 {
        match self {
            Self::One(_) | Self::Sentinel(_) => 0,
            Self::Cluster(cluster) => cluster.detours(),
        }
    }

    /// The servers known, without asking anybody.
    pub(super) fn known(&self) -> Vec<Arc<Server>> {
        match self {
            Self::One(server) => vec![server.clone()],
            Self::Sentinel(sentinel) => sentinel.known().into_iter().collect(),
            Self::Cluster(cluster) => cluster.known(),
        }
    }

    /// Carries out commands at one server, whatever their slots.
    pub(super) fn run_at(
        server: &Arc<Server>,
        batch: &mut Batch,
        limits: Limits,
    ) -> Result<Vec<Value>> {
        loop {
            let commands: Vec<usize> = (0..batch.len()).collect();
            let mut parts = [Part::new(server.clone(), commands)];
            exchange(batch, &mut parts, limits);
            let [part] = parts;
            let got: Result<Vec<Value>, Lost> = part.replies.into_iter().collect();
            let got = got.map_err(Lost::into_error)?;
            let unknown = |value: &Value| matches!(value, Value::ServerError(error) if error.code() == "NOSCRIPT");
            let mut again = false;
            for index in
                got.iter().enumerate().filter(|(_, value)| unknown(value)).map(|(at, _)| at)
            {
                again |= batch.is_script(index);
                batch.spell_out(index);
            }
            if !again {
                return Ok(got);
            }
        }
    }
}

/// An answer that needs no judging.
fn is_plain(reply: &Result<Value, Lost>) -> bool {
    matches!(reply, Ok(value) if !matches!(value, Value::ServerError(_)))
}

/// The slot and address in `MOVED 3999 127.0.0.1:6381`; without a host it is the one that answered.
fn redirection(error: &ServerError, from: &Arc<Server>) -> Option<(u16, Endpoint)> {
    let (slot, address) = error.details()?.split_once(' ')?;
    let (host, port) = address.trim().rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let own = match from.endpoint() {
        Endpoint::Tcp { host, .. } => host.clone(),
        Endpoint::Unix(_) => "127.0.0.1".into(),
    };
    let host = if host.is_empty() { own } else { host.into() };
    Some((slot.parse().ok()?, Endpoint::Tcp { host, port: port.parse().ok()? }))
}
