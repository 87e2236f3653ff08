//! What a server says of itself: `stats`, by name.

use std::io::{self, Write};
use std::time::Instant;

use super::super::Memcached;
use super::super::batch::Transport;
use super::super::binary;
use super::super::fleet::Server;
use super::super::wire::{Session, fact};
use super::NAME;
use crate::backend::health::{HealthWarning, ServerHealth};
use crate::backend::remote::buffer::unexpected;
use crate::backend::remote::facts::Facts;
use crate::backend::remote::health::clock;
use crate::backend::remote::net;
use crate::backend::remote::node::Link;
use crate::error::Result;

/// The servers' clocks tick once a second, and began with whole seconds. In microseconds.
const COARSE: u64 = 2_000_000;

/// Statistics of each kind asked for, over a connection of the pool. One round trip.
pub(super) fn of<const N: usize>(
    memcached: &Memcached,
    server: &Server,
    until: Instant,
    kinds: [&str; N],
) -> Result<[Facts; N]> {
    let transport = memcached.fleet.transport();
    let mut line = server.line(until)?;
    let asked = line.link(until).and_then(|link| {
        ask(transport, link, kinds).map_err(|error| net::failed(NAME, server.endpoint(), error))
    });
    match &asked {
        Ok(_) => line.done(),
        Err(error) => line.failed(error),
    }
    asked
}

/// The same over a connection of its own.
pub(super) fn apart<const N: usize>(
    memcached: &Memcached,
    server: &Server,
    until: Instant,
    kinds: [&str; N],
) -> Result<[Facts; N]> {
    let mut link = server.apart(until)?;
    link.stream.set_deadline(until);
    let told = ask(memcached.fleet.transport(), &mut link, kinds);
    told.map_err(|error| net::failed(NAME, server.endpoint(), error))
}

fn ask<const N: usize>(
    transport: Transport,
    link: &mut Link<Session>,
    kinds: [&str; N],
) -> io::Result<[Facts; N]> {
    let mut out = Vec::new();
    for kind in kinds {
        match transport {
            Transport::Meta if kind.is_empty() => out.extend_from_slice(b"stats\r\n"),
            Transport::Meta => out.extend(format!("stats {kind}\r\n").bytes()),
            Transport::Binary => binary::stats(&mut out, kind),
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

/// Statistics and settings as facts. `trip`: when they were asked for and when they had come, by our
/// clock.
pub(super) fn server([stats, settings]: &[Facts; 2], trip: (u64, u64)) -> ServerHealth {
    let time = stats.number("time").and_then(|seconds| seconds.checked_mul(1_000_000));
    ServerHealth {
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
        clock: time.map(|time| clock(time, COARSE, trip)),
        ..ServerHealth::default()
    }
}

/// What a server was told not to do.
pub(super) fn unable(settings: &Facts) -> Vec<HealthWarning> {
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
