//! What the servers say of themselves.

use std::sync::Arc;
use std::time::Instant;

use redis::Value;

use super::Redis;
use super::batch::Batch;
use super::topology::Topology;
use super::wire::{Server, refused, text};
use crate::backend::health::{self, Health, HealthWarning};
use crate::backend::remote::exchange::Limits;
use crate::backend::remote::share;
use crate::backend::{Call, Name};
use crate::stats::BackendStats;

impl Redis {
    /// Asks for a key, and each server for its state.
    pub(super) fn examine(&self, call: Call, probe: Name<'_>) -> Health {
        let call = match call {
            Call::Unlimited => Call::Within(self.timeout).armed(),
            call => call.armed(),
        };
        let servers = self.topology.known();
        let answered = health::read(self, share(call, servers.len() + 1), probe);
        let mut health = Health::new("redis", answered);
        // The probe may have found others.
        let servers = self.topology.known();
        for (index, server) in servers.iter().enumerate() {
            let child = match self.limits(share(call, servers.len() - index)) {
                Ok(limits) => examine(server, limits),
                Err(error) => Health::new("redis", Err(error)),
            };
            health.children.push((server.endpoint().to_string(), child));
        }
        health
    }

    pub(super) fn count(&self) -> BackendStats {
        let mut stats = BackendStats::new("redis");
        let (mut all, mut idle) = (0, 0);
        for server in self.topology.known() {
            let mut child = BackendStats::new("redis");
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

fn examine(server: &Arc<Server>, limits: Limits) -> Health {
    let started = Instant::now();
    let mut batch = Batch::new(false);
    batch.push("", &[b"PING"]);
    let answered = Topology::run_at(server, &mut batch, limits).and_then(|values| {
        match values.into_iter().next() {
            Some(Value::ServerError(error)) => Err(refused(server.endpoint(), &error)),
            _ => Ok(started.elapsed()),
        }
    });
    let up = answered.is_ok();
    let mut health = Health::new("redis", answered);
    if up {
        health.warnings = warnings(server, limits);
    }
    health
}

/// Settings that weaken the promises. Where we may not ask there is nothing to say.
fn warnings(server: &Arc<Server>, limits: Limits) -> Vec<HealthWarning> {
    let mut batch = Batch::new(false);
    for setting in ["save", "appendonly", "maxmemory", "maxmemory-policy"] {
        batch.push("", &[b"CONFIG", b"GET", setting.as_bytes()]);
    }
    let Ok(values) = Topology::run_at(server, &mut batch, limits) else { return Vec::new() };
    let setting = |index: usize| match values.get(index) {
        Some(Value::Array(pair)) => text(pair.get(1)).unwrap_or_default(),
        _ => "",
    };
    let mut warnings = Vec::new();
    if !setting(0).is_empty() || setting(1) == "yes" {
        warnings.push(HealthWarning::new(
            "persistence",
            "the server keeps its data over a restart: entries invalidated since the last snapshot \
             come back with it. For a cache: save \"\" and appendonly no",
        ));
    }
    if !matches!(setting(2), "" | "0") && setting(3) == "noeviction" {
        warnings.push(HealthWarning::new(
            "noeviction",
            "the server evicts nothing: when its memory is full, nothing is stored any more. For a \
             cache: maxmemory-policy allkeys-lru",
        ));
    }
    warnings
}
