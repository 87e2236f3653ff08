//! Numbers as they change, a line at a time.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Numbers, Server, ask};
use crate::exit::{Exit, Outcome};
use crate::open::Target;
use crate::output::Out;
use crate::stop::Stop;
use crate::words::{count, escaped, size};

/// Lines between two headings.
const PAGE: usize = 20;

/// What was told by whom, and when.
struct Told {
    at: Instant,
    by: Vec<String>,
    numbers: Numbers,
}

pub fn run(target: &Target, interval: Duration, out: Out) -> Outcome {
    let stop = Stop::on_ctrl_c();
    let mut last: Option<Told> = None;
    for line in 0.. {
        match ask(target) {
            Ok(servers) => {
                let told = Told::of(&servers);
                if line % PAGE == 0 {
                    head(out)?;
                }
                tell(&told, &Rates::between(last.as_ref(), &told), out)?;
                last = Some(told);
            }
            // Who looks on wants to see it come back; one that never answered is an error.
            Err(failure) if line > 0 => {
                out.record(&json!({"error": {"kind": failure.kind, "message": failure.message}}))?;
                out.say(format!("failed: {}", escaped(&failure.message)))?;
                // It may be another process that comes back.
                last = None;
            }
            Err(failure) => return Err(failure),
        }
        if !stop.sleep(interval) {
            break;
        }
    }
    Ok(Exit::Done)
}

impl Told {
    fn of(servers: &[Server]) -> Self {
        let answers = || servers.iter().filter_map(|it| Some((it, it.numbers.as_ref().ok()?)));
        let numbers = answers().map(|(_, numbers)| numbers.clone()).reduce(|a, b| a.and(&b));
        let by = answers().map(|(server, _)| server.place.clone()).collect();
        Self { at: Instant::now(), by, numbers: numbers.unwrap_or_default() }
    }
}

fn head(out: Out) -> Outcome<()> {
    let head = ["ENTRIES", "MEMORY", "HIT RATE", "OPS/S", "EVICTED/S", "EXPIRED/S"];
    out.say(laid_out(head.map(String::from), "CLIENTS"))
}

fn tell(Told { numbers, .. }: &Told, rates: &Rates, out: Out) -> Outcome<()> {
    out.record(&json!({"entries": numbers.entries, "memory_bytes": numbers.memory,
        "clients": numbers.clients, "hit_rate": rates.hit_rate,
        "commands_per_second": rates.commands, "evicted_per_second": rates.evicted,
        "expired_per_second": rates.expired}))?;
    out.say(shown(numbers, rates))
}

/// What happened in a second, since the line before; in the first line nothing is known.
#[derive(Default)]
struct Rates {
    hit_rate: Option<f64>,
    commands: Option<f64>,
    evicted: Option<f64>,
    expired: Option<f64>,
}

impl Rates {
    /// Sums over other servers tell nothing of what happened meanwhile.
    fn between(last: Option<&Told>, told: &Told) -> Self {
        let Some(last) = last.filter(|last| last.by == told.by) else { return Self::default() };
        let (before, numbers) = (&last.numbers, &told.numbers);
        let seconds = told.at.duration_since(last.at).as_secs_f64();
        // A server that was started again counts from 0.
        let more = |a: Option<u64>, b: Option<u64>| b?.checked_sub(a?);
        let rate = |a, b| Some((more(a, b)? as f64 / seconds * 10.0).round() / 10.0);
        let reads = more(before.hits, numbers.hits).zip(more(before.misses, numbers.misses));
        let hit_rate = reads.filter(|(hits, misses)| hits + misses > 0);
        Self {
            hit_rate: hit_rate.map(|(hits, misses)| hits as f64 / (hits + misses) as f64),
            commands: rate(before.commands, numbers.commands),
            evicted: rate(before.evicted, numbers.evicted),
            expired: rate(before.expired, numbers.expired),
        }
    }
}

fn shown(numbers: &Numbers, rates: &Rates) -> String {
    let rate = |rate: Option<f64>| rate.map_or("-".into(), |rate| count(rate.round() as u64));
    let number = |number: Option<u64>| number.map_or("-".into(), count);
    let line = [
        number(numbers.entries),
        numbers.memory.map_or("-".into(), size),
        rates.hit_rate.map_or("-".into(), |rate| format!("{:.1} %", rate * 100.0)),
        rate(rates.commands),
        rate(rates.evicted),
        rate(rates.expired),
    ];
    laid_out(line, &number(numbers.clients))
}

/// Columns of a fixed width: lines to come are not known yet.
fn laid_out(cells: [String; 6], last: &str) -> String {
    let cells = cells.map(|cell| format!("{cell:>10}"));
    format!("{}  {last:>8}", cells.join("  "))
}
