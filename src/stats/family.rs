//! The numbers of caches as metrics: what Prometheus and the `metrics` facade are both told.

use std::collections::HashSet;
use std::iter::once;

use super::histogram::Histogram;
use super::{BackendStats, Removals, Stats};
use crate::backend::BreakerState;

/// What all names begin with.
const PREFIX: &str = "yokedcache_";

/// Metrics of one name.
pub(super) struct Family<'s> {
    name: &'static str,
    pub(super) help: &'static str,
    pub(super) samples: Vec<Sample<'s>>,
}

pub(super) struct Sample<'s> {
    pub(super) labels: Labels<'s>,
    pub(super) value: Value<'s>,
}

pub(super) type Labels<'s> = Vec<(&'static str, &'s str)>;

#[derive(Clone, Copy)]
pub(super) enum Value<'s> {
    Counter(u64),
    Gauge(f64),
    Histogram(&'s Histogram),
}

type Counter = (&'static str, &'static str, fn(&Stats) -> u64);

const COUNTERS: [Counter; 14] = [
    ("sets_total", "Values stored, counters aside.", |stats| stats.sets),
    ("deletes_total", "Entries deleted by key.", |stats| stats.deletes),
    ("invalidations_total", "Calls that invalidated tags or a pattern, or cleared.", |stats| {
        stats.invalidations
    }),
    ("loads_total", "Loaders run.", |stats| stats.loads),
    ("load_errors_total", "Loaders that failed or panicked.", |stats| stats.load_errors),
    ("coalesced_total", "Calls that shared the load of another thread.", |stats| stats.coalesced),
    ("stale_total", "Loads answered with an older value.", |stats| stats.stale),
    ("refreshes_total", "Refreshes left to a thread of the cache.", |stats| stats.refreshes),
    ("refreshes_dropped_total", "Refreshes for which there was no room.", |stats| {
        stats.refreshes_dropped
    }),
    (
        "overtaken_total",
        "Loaded values not stored: something changed the key meanwhile.",
        |stats| stats.overtaken,
    ),
    ("failures_total", "Calls that the backend failed.", |stats| stats.failures),
    ("read_bytes_total", "Bytes of values that came from the backend, as stored.", |stats| {
        stats.bytes_read
    }),
    ("written_bytes_total", "Bytes of values that were stored.", |stats| stats.bytes_written),
    ("negative_hits_total", "Hits that found the knowledge that there is no value.", |stats| {
        stats.negative_hits
    }),
];

type Level = (&'static str, &'static str, fn(&BackendStats) -> Option<u64>);

const LEVELS: [Level; 5] = [
    ("backend_entries", "Entries held.", |stats| stats.entries),
    ("backend_bytes", "Bytes held.", |stats| stats.bytes),
    ("backend_tag_links", "Pairs of entry and tag in a tag index.", |stats| stats.tag_links),
    ("backend_connections", "Connections open to the server.", |stats| stats.connections),
    ("backend_idle_connections", "Connections that nobody is using.", |stats| {
        stats.idle_connections
    }),
];

/// What each wrapper tells of itself, whatever is inside it.
const STATES: [Level; 3] = [
    (
        "backend_breaker_state",
        "0 the primary serves, 1 it is being tried, 2 it is left alone.",
        |stats| {
            stats.breaker.map(|state| match state {
                BreakerState::Closed => 0,
                BreakerState::HalfOpen => 1,
                BreakerState::Open => 2,
            })
        },
    ),
    ("backend_pending", "Changes noted for a primary until it serves again.", |stats| {
        stats.pending
    }),
    ("backend_near_on", "Whether the near tier is in use, 1 or 0.", |stats| {
        stats.near_on.map(u64::from)
    }),
];

type Removal = (&'static str, fn(&Removals) -> u64);

const REMOVALS: [Removal; 6] = [
    ("expired", |removals| removals.expired),
    ("size", |removals| removals.size),
    ("bytes", |removals| removals.bytes),
    ("replaced", |removals| removals.replaced),
    ("deleted", |removals| removals.deleted),
    ("invalidated", |removals| removals.invalidated),
];

impl Family<'_> {
    pub(super) fn name(&self) -> String {
        [PREFIX, self.name].concat()
    }
}

/// A cache, and the backends in it with their places.
pub(super) struct Source<'s> {
    stats: &'s Stats,
    /// The label `cache`, unless it is empty.
    name: String,
    parts: Vec<(String, &'s BackendStats)>,
}

impl<'s> Source<'s> {
    /// Caches with their names, which are numbered if they are the same.
    pub(super) fn of(all: impl IntoIterator<Item = &'s Stats>) -> Vec<Self> {
        let mut seen = HashSet::new();
        let named = |stats: &'s Stats| {
            let name = unique(&mut seen, stats.name.clone().unwrap_or_default());
            let mut parts = Vec::new();
            flatten(&stats.backend, String::new(), &mut HashSet::new(), &mut parts);
            Self { stats, name, parts }
        };
        all.into_iter().map(named).collect()
    }

    fn sample<'a>(
        &'a self,
        labels: impl IntoIterator<Item = (&'static str, &'a str)>,
        value: Value<'a>,
    ) -> Sample<'a> {
        let cache = Some(("cache", &*self.name)).filter(|(_, name)| !name.is_empty());
        Sample { labels: cache.into_iter().chain(labels).collect(), value }
    }
}

/// The name, with a number if there was the same before: a metric with the same labels twice is none.
fn unique(seen: &mut HashSet<String>, name: String) -> String {
    let numbered = (2..).map(|number: u32| format!("{name}#{number}"));
    let mut free = once(name.clone()).chain(numbered).filter(|name| !seen.contains(name));
    let name = free.next().unwrap_or_default();
    drop(free);
    seen.insert(name.clone());
    name
}

/// Backends and their places, each a path.
fn flatten<'s>(
    stats: &'s BackendStats,
    path: String,
    seen: &mut HashSet<String>,
    out: &mut Vec<(String, &'s BackendStats)>,
) {
    let path = unique(seen, path);
    for (part, child) in &stats.children {
        let below = if path.is_empty() { part.clone() } else { format!("{path}/{part}") };
        flatten(child, below, seen, out);
    }
    out.push((path, stats));
}

/// All there is to tell of these caches.
pub(super) fn families<'s>(all: &'s [Source<'s>]) -> Vec<Family<'s>> {
    let family = |name, help, samples: &dyn Fn(&'s Source<'s>) -> Vec<Sample<'s>>| Family {
        name,
        help,
        samples: all.iter().flat_map(samples).collect(),
    };
    let one = |name, help, value: &dyn Fn(&'s Stats) -> Value<'s>| {
        family(name, help, &|source| vec![source.sample([], value(source.stats))])
    };
    let mut families = vec![
        one(
            "hits_total",
            "Reads that found a value, or the knowledge that there is none.",
            &|of| Value::Counter(of.hits),
        ),
        family("misses_total", "Reads that found nothing, by cause.", &misses),
    ];
    families.extend(
        COUNTERS.map(|(name, help, count)| one(name, help, &|of| Value::Counter(count(of)))),
    );
    families.extend([
        one("uptime_seconds", "Time since the cache was built.", &|of| {
            Value::Gauge(of.uptime.as_secs_f64())
        }),
        family("operations_total", "Calls by kind.", &operations),
        family("operation_duration_seconds", "How long calls took.", &durations),
    ]);
    families.extend(LEVELS.map(|(name, help, level)| family(name, help, &|of| levels(of, level))));
    families.extend(STATES.map(|(name, help, state)| family(name, help, &|of| states(of, state))));
    families.push(family("backend_removals_total", "Entries that left, by reason.", &removals));
    families.retain(|family| !family.samples.is_empty());
    families
}

fn misses<'s>(source: &'s Source<'s>) -> Vec<Sample<'s>> {
    let by_cause = source.stats.misses.by_cause();
    let sample = |(cause, count)| source.sample([("cause", cause)], Value::Counter(count));
    by_cause.into_iter().map(sample).collect()
}

fn operations<'s>(source: &'s Source<'s>) -> Vec<Sample<'s>> {
    let all = source.stats.operations.iter();
    all.map(|(operation, timing)| {
        source.sample([("operation", operation.as_str())], Value::Counter(timing.calls))
    })
    .collect()
}

/// Of operations the program uses: the others would be many lines of zeros.
fn durations<'s>(source: &'s Source<'s>) -> Vec<Sample<'s>> {
    let used = source.stats.operations.iter().filter(|(_, timing)| timing.latency.count() > 0);
    used.map(|(operation, timing)| {
        source.sample([("operation", operation.as_str())], Value::Histogram(&timing.latency))
    })
    .collect()
}

fn place<'s>((path, stats): &'s (String, &'s BackendStats)) -> [(&'static str, &'s str); 2] {
    [("backend", stats.name), ("part", path)]
}

/// A number of a backend, unless those inside it tell it: sums over all series would count it twice.
fn levels<'s>(source: &'s Source<'s>, level: fn(&BackendStats) -> Option<u64>) -> Vec<Sample<'s>> {
    let told_inside =
        |stats: &BackendStats| stats.children.iter().any(|(_, child)| tells(child, level));
    let parts = source.parts.iter().filter(|(_, stats)| !told_inside(stats));
    parts
        .filter_map(|part| Some(source.sample(place(part), Value::Gauge(level(part.1)? as f64))))
        .collect()
}

fn states<'s>(source: &'s Source<'s>, state: fn(&BackendStats) -> Option<u64>) -> Vec<Sample<'s>> {
    let parts = source.parts.iter();
    let sample = |part| Some(source.sample(place(part), Value::Gauge(state(part.1)? as f64)));
    parts.filter_map(sample).collect()
}

fn tells(stats: &BackendStats, level: fn(&BackendStats) -> Option<u64>) -> bool {
    level(stats).is_some() || stats.children.iter().any(|(_, child)| tells(child, level))
}

fn removals<'s>(source: &'s Source<'s>) -> Vec<Sample<'s>> {
    let parts = source.parts.iter();
    parts
        .flat_map(|part| {
            reasons(part.1).into_iter().map(move |(reason, count)| {
                let labels = place(part).into_iter().chain(once(("reason", reason)));
                source.sample(labels, Value::Counter(count))
            })
        })
        .collect()
}

/// Reasons where they are known. A server that only counts what it evicted says so itself.
fn reasons(stats: &BackendStats) -> Vec<(&'static str, u64)> {
    match &stats.removals {
        Some(removals) => REMOVALS.map(|(reason, count)| (reason, count(removals))).into(),
        None if stats.entries.is_some() && stats.children.is_empty() => {
            vec![("evicted", stats.evicted)]
        }
        None => Vec::new(),
    }
}
