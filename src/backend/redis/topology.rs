//! Which server a command goes to, and what is done when it was the wrong one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use redis::{ServerError, Value};

use super::batch::{Batch, Reply};
use super::cluster::Cluster;
use super::sentinel::Sentinel;
use super::wire::{self, Hello, Limits, Lost, Part, Role, Server};
use crate::backend::remote::net::{Endpoint, Net};
use crate::backend::remote::node::{Node, Pooling};
use crate::error::{Error, ErrorKind, Result};

/// How often a command is sent to where the servers say, before we take them to be confused.
const DETOURS: usize = 16;
/// How often we wait for servers to sort out who is who.
const PATIENCE: usize = 3;
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
        let mut replies: Vec<Option<Reply>> = (0..batch.len()).map(|_| None).collect();
        let mut todo: Vec<usize> = (0..batch.len()).collect();
        let mut asked: BTreeMap<usize, Endpoint> = BTreeMap::new();
        let mut waited = 0;
        for turn in 0..DETOURS {
            // A replica that does not answer as it should leaves it to the master.
            let replicas = replicas && turn == 0;
            let mut parts = self.parts(batch, &todo, &asked, limits, replicas, &mut replies);
            wire::exchange(batch, &mut parts, limits);
            (todo, asked) = (Vec::new(), BTreeMap::new());
            let mut later = false;
            for Part { server, commands, replies: got, .. } in parts {
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
                    replies[index] = Some(reply.map_err(Lost::into_error));
                }
            }
            if todo.is_empty() || Instant::now() >= limits.until {
                break;
            }
            if later {
                waited += 1;
                if waited > PATIENCE {
                    break;
                }
                let left = limits.until.saturating_duration_since(Instant::now());
                thread::sleep((PAUSE * waited as u32).min(left));
            }
            todo.sort_unstable();
        }
        let unanswered =
            || Err(Error::new(ErrorKind::Unavailable, "no server answers for the key"));
        replies.into_iter().map(|reply| reply.unwrap_or_else(unanswered)).collect()
    }

    /// Which commands go where. For those that go nowhere the answer is the reason.
    fn parts(
        &self,
        batch: &Batch,
        todo: &[usize],
        asked: &BTreeMap<usize, Endpoint>,
        limits: Limits,
        replicas: bool,
        replies: &mut [Option<Reply>],
    ) -> Vec<Part> {
        let all_to = |server| vec![Part::new(server, todo.to_vec())];
        let cluster = match self {
            Self::One(server) => return all_to(server.clone()),
            Self::Sentinel(sentinel) => match sentinel.master(limits.until) {
                Ok(master) => return all_to(master),
                Err(error) => {
                    todo.iter().for_each(|index| replies[*index] = Some(Err(error.clone())));
                    return Vec::new();
                }
            },
            Self::Cluster(cluster) => cluster,
        };
        let mut parts: Vec<Part> = Vec::new();
        for &index in todo {
            let asking = asked.get(&index);
            let server = match asking {
                Some(endpoint) => Ok(cluster.server_at(endpoint)),
                None => cluster.owner(batch.slot(index), limits.until, replicas),
            };
            let server = match server {
                Ok(server) => server,
                Err(error) => {
                    replies[index] = Some(Err(error));
                    continue;
                }
            };
            let known = parts.iter().position(|part| Arc::ptr_eq(&part.server, &server));
            let at = known.unwrap_or_else(|| {
                parts.push(Part::new(server, Vec::new()));
                parts.len() - 1
            });
            parts[at].commands.push(index);
            if asking.is_some() {
                parts[at].asking.push(index);
            }
        }
        parts
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
            wire::exchange(batch, &mut parts, limits);
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
