//! What the servers are asked about their health, and what follows.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::Redis;
use super::batch::Batch;
use super::sentinel::Sentinel;
use super::topology::Topology;
use super::wire::Server;
use crate::backend::health::{ClusterHealth, Health, HealthWarning, SentinelHealth};
use crate::backend::remote::at_once::at_once;
use crate::backend::remote::exchange::Limits;
use crate::backend::remote::health::{of_servers, unverified};
use crate::backend::remote::{at_most, share};
use crate::backend::{Call, Name};
use crate::error::{Error, ErrorKind};
use crate::stats::BackendStats;

mod info;
mod node;

use node::Visit;

const NAME: &str = "redis";
/// How long a sentinel is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// Who is asked.
enum Asked<'s> {
    Node(&'s Arc<Server>),
    Sentinel(&'s Arc<Server>),
}

enum Answer {
    Node(Box<Health>, Option<ClusterHealth>),
    /// Whether it answers.
    Sentinel(bool),
}

impl Asked<'_> {
    fn server(&self) -> &Server {
        match self {
            Self::Node(server) | Self::Sentinel(server) => server,
        }
    }
}

impl Redis {
    /// Asks each server for its state, and the sentinels for a sign of life, all at the same time.
    pub(super) fn examine(&self, call: Call, probe: Name<'_>) -> Health {
        let call = at_most(call, self.timeout);
        let (servers, unknown) = self.servers(call);
        let nodes = servers.iter().map(Asked::Node);
        let sentinels = self.sentinels().into_iter().flat_map(|all| all.sentinels());
        let all: Vec<Asked<'_>> = nodes.chain(sentinels.map(Asked::Sentinel)).collect();
        let answers = at_once(&all, call, |asked, call| self.ask(asked, call, probe));
        let (mut nodes, mut reachable) = (Vec::new(), 0);
        let mut cluster = None;
        for (asked, answer) in all.iter().zip(answers) {
            match answer {
                Answer::Node(health, told) => {
                    cluster = cluster.or(told);
                    nodes.push((asked.server().endpoint().to_string(), *health));
                }
                Answer::Sentinel(answers) => reachable += usize::from(answers),
            }
        }
        let nowhere = || Error::new(ErrorKind::Unavailable, "no redis server is known");
        let mut health = of_servers(NAME, nodes, || unknown.unwrap_or_else(nowhere));
        health.warnings.extend(cluster.as_ref().and_then(broken));
        health.cluster = cluster;
        health.sentinel = self.sentinels().map(|all| watch(all, reachable));
        health.warnings.extend(health.sentinel.as_ref().and_then(unwatched));
        self.weigh(&mut health, &servers);
        health
    }

    fn sentinels(&self) -> Option<&Sentinel> {
        match &*self.topology {
            Topology::Sentinel(sentinel) => Some(sentinel),
            Topology::One(_) | Topology::Cluster(_) => None,
        }
    }

    fn ask(&self, asked: &Asked<'_>, call: Call, probe: Name<'_>) -> Answer {
        match asked {
            Asked::Sentinel(server) => Answer::Sentinel(self.answers(server, call)),
            Asked::Node(server) => {
                let (health, cluster) = match self.limits(call) {
                    Ok(limits) => Visit::new(self, server, limits).pay(probe.space()),
                    Err(error) => (Health::new(NAME, Err(error)), None),
                };
                Answer::Node(Box::new(health), cluster)
            }
        }
    }

    /// Whether a sentinel does.
    fn answers(&self, sentinel: &Arc<Server>, call: Call) -> bool {
        let mut batch = Batch::new(false);
        batch.push("", &[b"PING"]);
        let said = self.limits(at_most(call, PATIENCE)).and_then(|limits| {
            Topology::run_at(sentinel, &mut batch, Limits { retry_late: false, ..limits })
        });
        said.is_ok_and(|said| !matches!(said[..], [Value::ServerError(_)]))
    }

    /// The servers, and why not all of them are known. Half of the time is left to ask them.
    fn servers(&self, call: Call) -> (Vec<Arc<Server>>, Option<Error>) {
        let asked = self.limits(share(call, 2));
        let unknown = asked.and_then(|limits| self.topology.masters(limits.until)).err();
        (self.topology.known(), unknown)
    }

    /// What follows from our own settings.
    fn weigh(&self, health: &mut Health, servers: &[Arc<Server>]) {
        if servers.iter().any(|server| !server.is_verified()) {
            health.warn(unverified());
        }
        if self.replica_reads {
            let text = "replicas answer reads, and lag behind their masters by an unknown time: what was \
                        invalidated may be served for as long. Switch read_from_replicas off where \
                        that is too much";
            health.warn(HealthWarning::new("replica-reads", text));
        }
    }

    pub(super) fn count(&self) -> BackendStats {
        let mut stats = BackendStats::new(NAME);
        let (mut all, mut idle) = (0, 0);
        for server in self.topology.known() {
            let mut child = BackendStats::new(NAME);
            let (connections, unused) = server.connections();
            (all, idle) = (all + u64::from(connections), idle + u64::from(unused));
            child.connections = Some(connections.into());
            child.idle_connections = Some(unused.into());
            stats.push(&server.endpoint().to_string(), child);
        }
        (stats.connections, stats.idle_connections) = (Some(all), Some(idle));
        stats
    }
}

fn watch(sentinel: &Sentinel, reachable: usize) -> SentinelHealth {
    SentinelHealth {
        service: sentinel.service().to_owned(),
        master: sentinel.known().map(|master| master.endpoint().to_string()),
        sentinels: sentinel.sentinels().len(),
        reachable,
    }
}

fn broken(cluster: &ClusterHealth) -> Option<HealthWarning> {
    let all = u64::from(super::slot::SLOTS);
    let is_whole = cluster.slots_ok.is_none_or(|slots| slots == all);
    if is_whole && cluster.state.as_deref().is_none_or(|state| state == "ok") {
        return None;
    }
    let text = format!(
        "the cluster's state is {}, and {} of {all} slots have a server that is up: keys in the others \
         cannot be read or invalidated. Bring the servers back, or promote replicas",
        cluster.state.as_deref().unwrap_or("unknown"),
        cluster.slots_ok.unwrap_or(0)
    );
    Some(HealthWarning::trouble("cluster-state", text))
}

fn unwatched(
    SentinelHealth { sentinels, reachable, .. }: &SentinelHealth,
) -> Option<HealthWarning> {
    if reachable == sentinels {
        return None;
    }
    let text = format!(
        "{reachable} of {sentinels} sentinels can be reached: without a majority no other master is \
         chosen when this one fails. Bring them back, or correct the address"
    );
    let is_majority = 2 * reachable > *sentinels;
    let warning = if is_majority { HealthWarning::new } else { HealthWarning::trouble };
    Some(warning("sentinels-unreachable", text))
}
