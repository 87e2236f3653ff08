//! What the servers say of themselves, and whether they keep an entry. Four round trips to each.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Memcached;
use super::batch::{Batch, Mode, Op, Reply, Transport};
use super::binary;
use super::fleet::Server;
use super::store;
use super::wire::{Session, fact};
use crate::backend::health::{Health, HealthWarning, ServerHealth};
use crate::backend::remote::at_once::at_once;
use crate::backend::remote::buffer::unexpected;
use crate::backend::remote::exchange::{Limits, Lost, Part, exchange};
use crate::backend::remote::facts::Facts;
use crate::backend::remote::health::{
    Trial, clock, not_written, of_servers, our_side, ours, unverified, warnings,
};
use crate::backend::remote::net;
use crate::backend::remote::node::Link;
use crate::backend::remote::store::End;
use crate::backend::remote::{at_most, share, stored, unique};
use crate::backend::{Call, Name};
use crate::error::{Error, ErrorKind, Result};
use crate::stats::BackendStats;

const NAME: &str = "memcached";
/// How long what is stored for a trial lives at most, in milliseconds.
const KEPT: End = End::After(5_000);
/// The servers' clocks tick once a second, and began with whole seconds.
const COARSE: u64 = 2_000_000;

impl Memcached {
    /// Asks each server for its state, all at the same time.
    pub(super) fn examine(&self, call: Call, probe: Name<'_>) -> Health {
        let call = at_most(call, self.timeout);
        let servers = self.fleet.servers();
        let examined = at_once(servers, call, |server, call| match self.limits(call) {
            Ok(limits) => self.visit_server(server, limits, probe.space()),
            Err(error) => Health::new(NAME, Err(error)),
        });
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

    fn visit_server(&self, server: &Arc<Server>, limits: Limits, space: &str) -> Health {
        // An answer that is late is what is to be told.
        let limits = Limits { retry_late: false, ..limits };
        let pool = server.pool_health();
        let mut trial = Trial::default();
        let is_full = pool.is_exhausted();
        let answered =
            if is_full { Ok(None) } else { self.try_entry(server, limits, space, &mut trial) };
        // With all connections in use the statistics, on one of their own, are the sign of life.
        let asked = answered.and_then(|took| match question(self, server, limits, is_full) {
            Ok(told) => Ok((took, Some(told))),
            Err(error) => took.map(|took| (Some(took), None)).ok_or(error),
        });
        let (answered, told) = match asked {
            Ok((took, told)) => {
                let trip = told.as_ref().map(|(_, trip, _)| *trip);
                (Ok(took.or(trip).unwrap_or_default()), told)
            }
            Err(error) => (Err(error), None),
        };
        let mut health = Health::new(NAME, answered);
        let latencies = trial.latencies;
        health.probe = Some(latencies).filter(|latencies| *latencies != Default::default());
        health.warnings = trial.warnings;
        if let Some((facts, trip, ended)) = told {
            self.weigh(&mut health, &facts, trip, ended);
        }
        our_side(&mut health, server, pool);
        health
    }

    /// Stores, reads and deletes an entry at this server, whoever its name belongs to.
    fn try_entry(
        &self,
        server: &Arc<Server>,
        limits: Limits,
        space: &str,
        trial: &mut Trial,
    ) -> Result<Option<Duration>> {
        let name = stored::beat(space, unique(), 0, 0);
        let store = Op::Store { mode: Mode::Always, bytes: b"1", until: store::until(KEPT) };
        let stored = match self.ask_one(server, limits, &name, store)? {
            (Reply::Refused(error) | Reply::Hangs(error), _) => {
                trial.warnings.push(not_written(&error));
                false
            }
            (_, took) => {
                trial.latencies.set = Some(took);
                true
            }
        };
        let get = Op::Get { more: false };
        let took = match self.ask_one(server, limits, &name, get)? {
            (Reply::Refused(error) | Reply::Hangs(error), _) => return Err(error),
            (_, took) => took,
        };
        trial.latencies.get = Some(took);
        if stored {
            match self.ask_one(server, limits, &name, Op::Delete(None))? {
                (Reply::Refused(error) | Reply::Hangs(error), _) => {
                    trial.warnings.push(not_written(&error));
                }
                (_, took) => trial.latencies.delete = Some(took),
            }
        }
        Ok(Some(took))
    }

    fn ask_one(
        &self,
        server: &Arc<Server>,
        limits: Limits,
        name: &str,
        op: Op<'_>,
    ) -> Result<(Reply, Duration)> {
        let mut batch = Batch::new(self.fleet.clone());
        batch.push(name, op);
        let mut parts = [Part::new(server.clone(), vec![0])];
        let started = Instant::now();
        exchange(&batch, &mut parts, limits);
        let [Part { mut replies, .. }] = parts;
        let nothing = || Error::new(ErrorKind::Backend, "memcached gave no answer");
        let reply = replies.pop().ok_or_else(nothing)?.map_err(Lost::into_error)?;
        Ok((reply, started.elapsed()))
    }

    fn weigh(&self, health: &mut Health, facts: &[Facts; 2], trip: Duration, ended: u64) {
        let [stats, settings] = facts;
        let server = ServerHealth {
            version: stats.owned("version"),
            uptime: stats.seconds("uptime"),
            used_memory: stats.number("bytes"),
            max_memory: stats.number("limit_maxbytes"),
            eviction_policy: settings.text("evictions").map(|evictions| match evictions {
                "off" => "noeviction".to_owned(),
                _ => "lru".to_owned(),
            }),
            evicted: stats.number("evictions"),
            clients: stats.number("curr_connections"),
            is_persistent: settings.text("memory_file").map(|file| file != "(null)"),
            clock: stats.number("time").map(|time| clock(time * 1_000_000, COARSE, trip, ended)),
            ..ServerHealth::default()
        };
        let also = match self.fleet.transport() {
            Transport::Meta => ", and times to live of over a month",
            Transport::Binary => ", and so do all times to live over the binary protocol",
        };
        health.warnings.extend(warnings(&server, also));
        health.warnings.extend(unable(settings));
        health.server = Some(Box::new(server));
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
                .and_then(|limits| facts(self, server, limits, [""]));
            let [facts] = facts.unwrap_or_default();
            (child.entries, child.bytes) = (facts.number("curr_items"), facts.number("bytes"));
            child.evicted = facts.number("evictions").unwrap_or_default();
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

/// Statistics and settings of a server, how long it took to tell them, and when it had.
fn question(
    memcached: &Memcached,
    server: &Server,
    limits: Limits,
    apart: bool,
) -> Result<([Facts; 2], Duration, u64)> {
    let which = ["", "settings"];
    if !apart {
        let started = Instant::now();
        let told = facts(memcached, server, limits, which)?;
        return Ok((told, started.elapsed(), ours()));
    }
    let mut link = server.apart(limits.until)?;
    link.stream.set_deadline(limits.until);
    let started = Instant::now();
    let told = ask(memcached.fleet.transport(), &mut link, which);
    let told = told.map_err(|error| net::failed(NAME, server.endpoint(), error))?;
    Ok((told, started.elapsed(), ours()))
}

/// Statistics of a server by name, each kind asked for; one round trip.
fn facts<const N: usize>(
    memcached: &Memcached,
    server: &Server,
    limits: Limits,
    which: [&str; N],
) -> Result<[Facts; N]> {
    let transport = memcached.fleet.transport();
    let mut line = server.line(limits.until)?;
    let asked = line.link(limits.until).and_then(|link| {
        ask(transport, link, which).map_err(|error| net::failed(NAME, server.endpoint(), error))
    });
    match &asked {
        Ok(_) => line.done(),
        Err(error) => line.failed(error),
    }
    asked
}

fn ask<const N: usize>(
    transport: Transport,
    link: &mut Link<Session>,
    which: [&str; N],
) -> io::Result<[Facts; N]> {
    let mut out = Vec::new();
    for which in which {
        match transport {
            Transport::Meta if which.is_empty() => out.extend_from_slice(b"stats\r\n"),
            Transport::Meta => out.extend(format!("stats {which}\r\n").bytes()),
            Transport::Binary => binary::stats(&mut out, which),
        }
    }
    link.stream.write_all(&out)?;
    link.stream.flush()?;
    let (buffer, stream) = (link.session.buffer(), &mut link.stream);
    let mut all = [(); N].map(|()| Facts::default());
    for facts in &mut all {
        while let Some((name, value)) =
            fact(transport, buffer, stream)?.map_err(io::Error::other)?
        {
            facts.insert(name, value);
        }
    }
    if buffer.is_empty() { Ok(all) } else { Err(unexpected()) }
}

/// What a server was told not to do.
fn unable(settings: &Facts) -> Vec<HealthWarning> {
    let mut warnings = Vec::new();
    if settings.is("cas_enabled", "no") {
        warnings.push(HealthWarning::new(
            "no-cas",
            "the server does not number entries (-C): loads are not stored, nothing can be swapped. \
             Start it without -C",
        ));
    }
    if settings.is("dump_enabled", "no") || settings.is("lru_crawler", "no") {
        warnings.push(HealthWarning::new(
            "no-listing",
            "the server does not list its keys (-X, or no_lru_crawler, which turns its crawler off): \
             patterns, clear and search fail. Start it without",
        ));
    }
    warnings
}
