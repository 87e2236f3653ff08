//! The servers' own numbers. A process that has just begun has none to tell.

mod numbers;
mod prometheus;
mod through;
mod watch;

use std::time::Duration;

use clap::Args;
use serde_json::json;

pub use numbers::{Numbers, name};

use crate::exit::{Exit, Failure, Outcome};
use crate::open::Target;
use crate::output::{Cell, Out, Tone, fact};
use crate::server::reach::{PATIENCE, facts, holders};
use crate::words::{self, count, lasting, size};

#[derive(Args)]
pub struct Show {
    /// Goes on, a line at a time, until Ctrl-C
    #[arg(long, short, conflicts_with = "prometheus")]
    watch: bool,
    /// The time from one line to the next
    #[arg(long, short, default_value = "2s", value_parser = words::time)]
    interval: Duration,
    /// In the text format that Prometheus reads
    #[arg(long, conflicts_with = "json")]
    prometheus: bool,
}

/// A server and its numbers, or why there are none.
pub struct Server {
    pub place: String,
    pub system: &'static str,
    pub numbers: Result<Numbers, String>,
}

/// What servers say to those who may not ask.
const REFUSALS: [&str; 4] = ["NOAUTH", "WRONGPASS", "NOPERM", "refuses the login"];

pub fn run(show: &Show, target: &Target, out: Out) -> Outcome {
    if out.json && show.prometheus {
        return Err(Failure::usage("--prometheus is no JSON: without --json"));
    }
    if target.addresses.is_empty() {
        let what = "a memory cache lives in the process that uses it: there is no server to ask";
        return Err(Failure::new(Exit::Refused, "Unsupported", what));
    }
    if show.watch {
        return watch::run(target, show.interval, out);
    }
    let servers = ask(target)?;
    if show.prometheus {
        out.say(prometheus::text(&servers).trim_end())?;
    } else {
        document(&servers, out)?;
        table(&servers, out)?;
    }
    Ok(Exit::Done)
}

/// Asks each server. That none answers is an error.
pub fn ask(target: &Target) -> Outcome<Vec<Server>> {
    // Where a password is hidden from us only the cache itself can ask.
    if target.addresses.iter().any(|address| address.is_hidden) {
        return through::ask(target);
    }
    let within = target.timeout().unwrap_or(PATIENCE);
    let mut servers = Vec::new();
    for address in &target.addresses {
        let gone = |what| Failure::new(Exit::Unreachable, "Unavailable", what);
        for place in holders(address, within).map_err(gone)? {
            let facts = facts(address, &place, within);
            let numbers = facts.map(|facts| Numbers::read(address, &facts));
            let place = place.to_string();
            servers.push(Server { place, system: numbers::name(address.system), numbers });
        }
    }
    if_any(servers)
}

/// Servers, if one at least has told its numbers.
fn if_any(servers: Vec<Server>) -> Outcome<Vec<Server>> {
    if servers.iter().any(|server| server.numbers.is_ok()) {
        return Ok(servers);
    }
    let first = servers.iter().find_map(|server| {
        server
            .numbers
            .as_ref()
            .err()
            .map(|why| format!("{} {}: {why}", server.system, server.place))
    });
    let first = first.unwrap_or_default();
    Err(match REFUSALS.iter().any(|refusal| first.contains(refusal)) {
        true => Failure::new(Exit::Refused, "Denied", first),
        false => Failure::new(Exit::Unreachable, "Unavailable", first),
    })
}

fn document(servers: &[Server], out: Out) -> Outcome<()> {
    let each = servers.iter().map(|server| match &server.numbers {
        Ok(numbers) => json!({"server": server.place, "system": server.system,
            "numbers": numbers}),
        Err(why) => json!({"server": server.place, "system": server.system,
            "error": why}),
    });
    let each: Vec<_> = each.collect();
    out.document(&json!({"servers": each}))
}

fn table(servers: &[Server], out: Out) -> Outcome<()> {
    if let [Server { place, system, numbers: Ok(numbers) }] = servers {
        let mut rows = vec![fact("server", format!("{system} {} at {place}", numbers.version))];
        rows.extend(upright(numbers));
        out.table(&[], rows)?;
    } else {
        let head = ["SERVER", "ENTRIES", "MEMORY", "HIT RATE", "EVICTED", "EXPIRED", "CLIENTS"];
        out.table(&[&head[..], &["UPTIME"]].concat(), servers.iter().map(row).collect())?;
    }
    out.aside("all of it is the servers' count, over all their clients and prefixes")
}

fn upright(numbers: &Numbers) -> Vec<Vec<Cell>> {
    let rate = numbers.hit_rate().map_or("unknown".into(), |rate| format!("{:.1} %", rate * 100.0));
    let reads = numbers.hits.zip(numbers.misses);
    let reads = reads.map_or(String::new(), |(hits, misses)| {
        format!(" ({} hits, {} misses)", count(hits), count(misses))
    });
    let number = |number: Option<u64>| number.map_or("unknown".into(), count);
    let mut rows = vec![
        fact("uptime", numbers.uptime.map_or("unknown".into(), lasting)),
        fact("entries", number(numbers.entries)),
        fact("memory", memory(numbers)),
        fact("hit rate", rate + &reads),
        fact("evicted", number(numbers.evicted)),
        fact("expired", number(numbers.expired)),
        fact("clients", number(numbers.clients)),
        fact("commands", number(numbers.commands)),
    ];
    rows.extend(numbers.policy.as_ref().map(|policy| fact("eviction", policy)));
    rows
}

fn memory(numbers: &Numbers) -> String {
    let used = numbers.memory.map_or("unknown".into(), size);
    match numbers.max_memory {
        Some(0) => used + ", no limit",
        Some(most) => format!("{used} of {}", size(most)),
        None => used,
    }
}

fn row(server: &Server) -> Vec<Cell> {
    let place = Cell::from(&server.place);
    let numbers = match &server.numbers {
        Ok(numbers) => numbers,
        Err(why) => return vec![place, Cell::toned(why, Tone::Bad)],
    };
    let number = |number: Option<u64>| Cell::right(number.map(count).unwrap_or_default());
    let rate = numbers.hit_rate().map(|rate| format!("{:.1} %", rate * 100.0));
    vec![
        place,
        number(numbers.entries),
        Cell::right(memory(numbers)),
        Cell::right(rate.unwrap_or_default()),
        number(numbers.evicted),
        number(numbers.expired),
        number(numbers.clients),
        Cell::right(numbers.uptime.map(lasting).unwrap_or_default()),
    ]
}
