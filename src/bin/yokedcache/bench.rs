//! Throughput and latency of a cache, under a namespace of its own.

mod worker;

use std::collections::BTreeMap;
use std::process;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};
use yokedcache::Cache;
use yokedcache::monitoring::Histogram;

use crate::exit::{Exit, Failure, Outcome};
use crate::open::Target;
use crate::output::{Cell, Out};
use crate::ping::ms;
use crate::stop::Stop;
use crate::words::{self, count, measured};
use worker::{Load, Tally};

#[derive(Args)]
pub struct Bench {
    /// Threads, each a call after the other
    #[arg(long, short, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1024))]
    threads: u64,
    /// How long it measures
    #[arg(long, short, default_value = "5s", value_parser = words::time)]
    duration: Duration,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=LARGEST))]
    value_size: u64,
    /// Keys it uses
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=MOST_KEYS))]
    keys: u64,
    /// The share of reads among the calls, 0 to 1; the rest are writes
    #[arg(long, default_value_t = 0.9)]
    ratio: f64,
}

/// Entries outlive the measurement by this, should nobody be left to remove them.
const GRACE: Duration = Duration::from_secs(120);
/// What is told of each kind of call.
const PERCENTS: [f64; 4] = [50.0, 90.0, 99.0, 99.9];
/// The largest value any server takes.
const LARGEST: u64 = 512 << 20;
/// Their names are kept in memory.
const MOST_KEYS: u64 = 10_000_000;
/// Keys stored or removed at once.
const PAGE: usize = 500;

pub fn run(bench: &Bench, target: &Target, out: Out) -> Outcome {
    if !(0.0..=1.0).contains(&bench.ratio) {
        return Err(Failure::usage("--ratio is from 0 (writes only) to 1 (reads only)"));
    }
    let stop = Stop::on_ctrl_c();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = format!("~bench-{}-{}", process::id(), now.as_millis());
    let cache = target.cache.namespace(&name).with_ttl(bench.duration + GRACE);
    let keys: Vec<String> = (0..bench.keys).map(|number| format!("{number}")).collect();
    out.aside(format!("{} keys under {}{name}:", count(bench.keys), target.prefix))?;
    let measured =
        prepare(&cache, &keys, bench, &stop).map(|()| measure(&cache, &keys, bench, &stop));
    clean_up(&cache, &keys)?;
    let (tally, took) = measured?;
    report(bench, &tally, took, out)
}

fn prepare(cache: &Cache, keys: &[String], bench: &Bench, stop: &Stop) -> Outcome<()> {
    let value = worker::value(bench.value_size as usize);
    for key in keys {
        if stop.is_asked() {
            break;
        }
        cache.set_bytes(key, value.clone())?;
    }
    Ok(())
}

fn measure(cache: &Cache, keys: &[String], bench: &Bench, stop: &Stop) -> (Tally, Duration) {
    let started = Instant::now();
    let load = Load {
        cache,
        keys,
        value: worker::value(bench.value_size as usize),
        ratio: bench.ratio,
        until: started + bench.duration,
        stop,
    };
    let mut tally = Tally::default();
    thread::scope(|scope| {
        let begin = |seed| {
            let load = &load;
            thread::Builder::new().spawn_scoped(scope, move || load.run(seed))
        };
        let threads: Vec<_> = (0..bench.threads).map(begin).collect();
        for thread in threads {
            match thread {
                // A thread that panicked has said so, and counts nothing.
                Ok(thread) => tally.add(&thread.join().unwrap_or_default()),
                Err(error) => tally.add(&Tally::failed(&format!("no more threads: {error}"))),
            }
        }
    });
    (tally, started.elapsed())
}

fn clean_up(cache: &Cache, keys: &[String]) -> Outcome<()> {
    for page in keys.chunks(PAGE) {
        cache.delete_many(page)?;
    }
    Ok(())
}

fn report(bench: &Bench, tally: &Tally, took: Duration, out: Out) -> Outcome {
    let kinds = [("get", &tally.reads), ("set", &tally.writes)];
    let mut all = tally.reads.clone();
    all.merge(&tally.writes);
    let per_second = |histogram: &Histogram| histogram.count() as f64 / took.as_secs_f64();
    out.document(&json!({
        "threads": bench.threads, "keys": bench.keys, "value_bytes": bench.value_size,
        "seconds": (took.as_secs_f64() * 1e3).round() / 1e3, "errors": tally.errors,
        "get": described(&tally.reads, took), "set": described(&tally.writes, took),
        "all": described(&all, took),
    }))?;
    let mut rows = Vec::new();
    for (name, histogram) in kinds.into_iter().chain([("all", &all)]) {
        if histogram.count() == 0 {
            continue;
        }
        let mut row = vec![Cell::from(name), Cell::right(count(histogram.count()))];
        row.push(Cell::right(count(per_second(histogram).round() as u64)));
        let times = PERCENTS.map(|percent| histogram.percentile(percent)).into_iter();
        let times = times.chain([histogram.max()]).flatten();
        row.extend(times.map(|time| Cell::right(measured(time))));
        rows.push(row);
    }
    out.table(&["CALL", "COUNT", "PER SECOND", "P50", "P90", "P99", "P99.9", "MAX"], rows)?;
    if !out.quiet {
        out.say("")?;
        out.table(&["UP TO", "CALLS", ""], bars(&all))?;
    }
    if tally.errors > 0 {
        out.aside(format!("{} calls failed: {}", count(tally.errors), tally.first_error))?;
        return Ok(Exit::No);
    }
    Ok(Exit::Done)
}

/// How many calls took up to each power of two of microseconds, and more than the one before.
fn bars(histogram: &Histogram) -> Vec<Vec<Cell>> {
    let mut bars: BTreeMap<u64, u64> = BTreeMap::new();
    for (longest, calls) in histogram.buckets() {
        let micros = longest.as_nanos().div_ceil(1000) as u64;
        *bars.entry(micros.next_power_of_two()).or_default() += calls;
    }
    let bar = |(micros, calls): (u64, u64)| {
        let bar = "#".repeat((calls as f64 / histogram.count() as f64 * 40.0).round() as usize);
        let limit = measured(Duration::from_micros(micros));
        vec![Cell::right(limit), Cell::right(count(calls)), bar.into()]
    };
    bars.into_iter().map(bar).collect()
}

fn described(histogram: &Histogram, took: Duration) -> Value {
    if histogram.count() == 0 {
        return json!({"count": 0});
    }
    let at = |percent| histogram.percentile(percent).map(ms);
    json!({
        "count": histogram.count(),
        "per_second": (histogram.count() as f64 / took.as_secs_f64()).round(),
        "p50_ms": at(50.0), "p90_ms": at(90.0), "p99_ms": at(99.0), "p999_ms": at(99.9),
        "max_ms": histogram.max().map(ms),
    })
}
