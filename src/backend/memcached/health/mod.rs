//! What the servers are asked about their health, and what they count.

use std::sync::Arc;

use super::Memcached;
use super::batch::Transport;
use super::fleet::Server;
use crate::backend::health::{Health, HealthWarning};
use crate::backend::remote::at_once::at_once;
use crate::backend::remote::health::{of_servers, unverified};
use crate::backend::remote::{at_most, share};
use crate::backend::{Call, Name};
use crate::error::{Error, ErrorKind};
use crate::stats::BackendStats;

mod node;
mod said;

use node::Visit;

const NAME: &str = "memcached";

impl Memcached {
    /// Asks each server for its state, all at the same time.
    pub(super) fn examine(&self, call: Call, probe: Name<'_>) -> Health {
        let call = at_most(call, self.timeout);
        let servers = self.fleet.servers();
        let examined =
            at_once(servers, call, |server, call| self.visit_server(server, call, probe));
        let names = servers.iter().map(|server| server.endpoint().to_string());
        let nowhere = || Error::new(ErrorKind::Unavailable, "there are no servers");
        let mut health = of_servers(NAME, names.zip(examined).collect(), nowhere);
        if self.fleet.transport() == Transport::Binary {
            health.warn(HealthWarning::new(
                "no-listing",
                "the binary protocol does not list keys: patterns, clear and search fail. Use the meta \
                 protocol where no login by SASL is asked for",
            ));
        }
        if servers.iter().any(|server| !server.is_verified()) {
            health.warn(unverified());
        }
        health
    }

    fn visit_server(&self, server: &Arc<Server>, call: Call, probe: Name<'_>) -> Health {
        match self.limits(call) {
            Ok(limits) => Visit::new(self, server, limits).pay(probe.space()),
            Err(error) => Health::new(NAME, Err(error)),
        }
    }

    /// One limit for all servers together.
    fn armed(&self, call: Call) -> Call {
        match call {
            Call::Unlimited => Call::Within(self.timeout).armed(),
            call => call.armed(),
        }
    }

    /// What the servers counted; of one that does not answer nothing is known.
    pub(super) fn count(&self, call: Call) -> BackendStats {
        let mut stats = BackendStats::new(NAME);
        let (mut all, mut idle) = (0, 0);
        let mut sums = (Some(0), Some(0));
        let call = self.armed(call);
        let servers = self.fleet.servers();
        for (index, server) in servers.iter().enumerate() {
            let mut child = BackendStats::new(NAME);
            let (connections, unused) = server.connections();
            (all, idle) = (all + u64::from(connections), idle + u64::from(unused));
            child.connections = Some(connections.into());
            child.idle_connections = Some(unused.into());
            let facts = self
                .limits(share(call, servers.len() - index))
                .and_then(|limits| said::of(self, server, limits.until, [""]));
            let [facts] = facts.unwrap_or_default();
            (child.entries, child.bytes) = (facts.number("curr_items"), facts.number("bytes"));
            child.evicted = facts.number("evictions").unwrap_or_default();
            sums.0 = sums.0.zip(child.entries).map(|(a, b)| u64::saturating_add(a, b));
            sums.1 = sums.1.zip(child.bytes).map(|(a, b)| u64::saturating_add(a, b));
            stats.evicted = stats.evicted.saturating_add(child.evicted);
            stats.push(&server.endpoint().to_string(), child);
        }
        (stats.entries, stats.bytes) = sums;
        (stats.connections, stats.idle_connections) = (Some(all), Some(idle));
        stats
    }
}
