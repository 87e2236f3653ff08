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

impl Redis {
    /// Asks each server for its state, all at the same time.
    pub(super) fn examine(&self, call: Call, probe: Name<'_>) -> Health {
        let call = at_most(call, self.timeout);
        let (servers, unknown) = self.servers(call);
        let examined = at_once(&servers, call, |server, call| match self.limits(call) {
            Ok(limits) => Visit::new(self, server, limits).pay(probe.space()),
            Err(error) => (Health::new(NAME, Err(error)), None),
        });
        let (nodes, clusters): (Vec<_>, Vec<_>) = examined.into_iter().unzip();
        let names = servers.iter().map(|server| server.endpoint().to_string());
        let nowhere = || Error::new(ErrorKind::Unavailable, "no redis server is known");
        let mut health =
            of_servers(NAME, names.zip(nodes).collect(), || unknown.unwrap_or_else(nowhere));
        health.cluster = clusters.into_iter().flatten().next();
        health.warnings.extend(health.cluster.as_ref().and_then(broken));
        if let Topology::Sentinel(sentinel) = &*self.topology {
            let sentinels = self.ask_sentinels(sentinel, call);
            health.warnings.extend(unwatched(&sentinels));
            health.sentinel = Some(sentinels);
        }
        self.weigh(&mut health, &servers);
        health
    }

    /// The servers, and why not all of them are known. Half of the time is left to ask them.
    fn servers(&self, call: Call) -> (Vec<Arc<Server>>, Option<Error>) {
        let asked = self.limits(share(call, 2));
        let unknown = asked.and_then(|limits| self.topology.masters(limits.until)).err();
        (self.topology.known(), unknown)
    }

    fn ask_sentinels(&self, sentinel: &Sentinel, call: Call) -> SentinelHealth {
        let call = at_most(call, PATIENCE);
        let answers = |server: &Arc<Server>, call| {
            let mut batch = Batch::new(false);
            batch.push("", &[b"PING"]);
            let asked = self.limits(call).and_then(|limits| {
                Topology::run_at(server, &mut batch, Limits { retry_late: false, ..limits })
            });
            asked.is_ok_and(|said| !matches!(said[..], [Value::ServerError(_)]))
        };
        let answered = at_once(sentinel.sentinels(), call, answers);
        SentinelHealth {
            service: sentinel.service().to_owned(),
            master: sentinel.known().map(|master| master.endpoint().to_string()),
            sentinels: answered.len(),
            reachable: answered.into_iter().filter(|answers| *answers).count(),
        }
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
