//! What a cache counts and times, and how it tells.

mod counters;
mod json;
mod logs;
mod odd;
mod prometheus;
#[cfg(feature = "metrics")]
mod publish;
mod servers;

#[path = "../recorder/mod.rs"]
mod recorder;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use yokedcache::{Cache, Stats};

/// All whole numbers of a cache's own statistics, by the path of their names in JSON.
fn counts(stats: &Stats) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    collect(&serde_json::to_value(stats).unwrap(), "", &mut counts);
    counts.retain(|name, _| !name.contains(".latency."));
    counts
}

fn collect(value: &Value, path: &str, counts: &mut BTreeMap<String, i64>) {
    if let Some(fields) = value.as_object() {
        for (name, value) in fields {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            collect(value, &path, counts);
        }
    } else if let Some(count) = value.as_i64() {
        counts.insert(path.into(), count);
    }
}

/// What moved while something was done, and by how much: `hits+1 bytes_read+5`.
fn moved(cache: &Cache, action: impl FnOnce(&Cache)) -> String {
    let before = counts(&cache.stats());
    action(cache);
    let after = counts(&cache.stats());
    let moved = after.iter().filter_map(|(name, count)| {
        let by = count - before[name];
        (by != 0).then(|| format!("{name}{by:+}"))
    });
    moved.collect::<Vec<_>>().join(" ")
}
