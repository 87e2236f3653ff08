//! What the servers say of themselves.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Instant;

use super::Memcached;
use super::batch::Transport;
use super::binary;
use super::fleet::Server;
use super::wire::{Session, fact};
use crate::backend::health::{self, Health, HealthWarning};
use crate::backend::remote::buffer::unexpected;
use crate::backend::remote::exchange::Limits;
use crate::backend::remote::net;
use crate::backend::remote::node::Link;
use crate::backend::remote::share;
use crate::backend::{Call, Name};
use crate::error::Result;
use crate::stats::BackendStats;

type Facts = BTreeMap<String, String>;

impl Memcached {
    /// Asks for a key, and each server for its state.
    pub(super) fn examine(&self, call: Call, probe: Name<'_>) -> Health {
        let call = self.armed(call);
        let servers = self.fleet.servers();
        let answered = health::read(self, share(call, servers.len() + 1), probe);
        let mut health = Health::new("memcached", answered);
        for (index, server) in servers.iter().enumerate() {
            let started = Instant::now();
            let facts = self
                .limits(share(call, servers.len() - index))
                .and_then(|limits| facts(self, server, limits, "settings"));
            let mut child = Health::new(
                "memcached",
                facts.as_ref().map(|_| started.elapsed()).map_err(Clone::clone),
            );
            child.warnings = facts.map(|facts| warnings(&facts)).unwrap_or_default();
            health.children.push((server.endpoint().to_string(), child));
        }
        health
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
        let mut stats = BackendStats::new("memcached");
        let (mut all, mut idle) = (0, 0);
        let mut sums = (Some(0), Some(0));
        let call = self.armed(call);
        let servers = self.fleet.servers();
        for (index, server) in servers.iter().enumerate() {
            let mut child = BackendStats::new("memcached");
            let (connections, unused) = server.connections();
            (all, idle) = (all + u64::from(connections), idle + u64::from(unused));
            child.connections = Some(connections.into());
            child.idle_connections = Some(unused.into());
            let facts = self
                .limits(share(call, servers.len() - index))
                .and_then(|limits| facts(self, server, limits, ""));
            let facts = facts.unwrap_or_default();
            let number = |name: &str| facts.get(name).and_then(|value| value.parse().ok());
            (child.entries, child.bytes) = (number("curr_items"), number("bytes"));
            child.evicted = number("evictions").unwrap_or_default();
            sums.0 = sums.0.zip(child.entries).map(|(a, b): (u64, u64)| a + b);
            sums.1 = sums.1.zip(child.bytes).map(|(a, b): (u64, u64)| a + b);
            stats.evicted += child.evicted;
            stats.push(&server.endpoint().to_string(), child);
        }
        (stats.entries, stats.bytes) = sums;
        (stats.connections, stats.idle_connections) = (Some(all), Some(idle));
        stats
    }
}

/// Statistics of a server, by name.
fn facts(memcached: &Memcached, server: &Server, limits: Limits, which: &str) -> Result<Facts> {
    let transport = memcached.fleet.transport();
    let mut line = server.line(limits.until)?;
    let asked = line.link(limits.until).and_then(|link| {
        ask(transport, link, which)
            .map_err(|error| net::failed("memcached", server.endpoint(), error))
    });
    match &asked {
        Ok(_) => line.done(),
        Err(error) => line.failed(error),
    }
    asked
}

fn ask(transport: Transport, link: &mut Link<Session>, which: &str) -> io::Result<Facts> {
    let mut out = Vec::new();
    match transport {
        Transport::Meta if which.is_empty() => out.extend_from_slice(b"stats\r\n"),
        Transport::Meta => out.extend(format!("stats {which}\r\n").bytes()),
        Transport::Binary => binary::stats(&mut out, which),
    }
    link.stream.write_all(&out)?;
    link.stream.flush()?;
    let mut facts = Facts::new();
    let (buffer, stream) = (link.session.buffer(), &mut link.stream);
    while let Some((name, value)) = fact(transport, buffer, stream)?.map_err(io::Error::other)? {
        facts.insert(name, value);
    }
    if buffer.is_empty() { Ok(facts) } else { Err(unexpected()) }
}

/// Settings that weaken the promises.
fn warnings(settings: &Facts) -> Vec<HealthWarning> {
    let is = |name: &str, value: &str| settings.get(name).is_some_and(|found| found == value);
    let mut warnings = Vec::new();
    let mut warn = |when: bool, code: &'static str, what: &'static str| {
        if when {
            warnings.push(HealthWarning::new(code, what));
        }
    };
    warn(
        is("cas_enabled", "no"),
        "no-cas",
        "the server does not number entries (-C): loads are not stored, nothing can be swapped",
    );
    warn(
        is("evictions", "off"),
        "noeviction",
        "the server evicts nothing (-M): when its memory is full, nothing is stored any more",
    );
    warn(
        is("dump_enabled", "no") || is("lru_crawler", "no"),
        "no-listing",
        "the server does not list its keys (-X or no_lru_crawler): patterns, clear and search fail",
    );
    warnings
}
