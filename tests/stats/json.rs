//! The names of the fields in JSON, which dashboards rely on.

use std::collections::BTreeSet;

use serde_json::Value;
use yokedcache::{Cache, Memory, Tiered};

fn names(value: &Value, path: &str, names_of: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            names(value, &format!("{path}.{name}"), names_of);
        }),
        _ => _ = names_of.insert(path.trim_start_matches('.').to_owned()),
    }
}

#[test]
fn field_names_stay_as_they_are() {
    let stats = serde_json::to_value(Cache::memory(10).stats()).unwrap();
    let mut found = BTreeSet::new();
    names(&stats, "", &mut found);
    let operations = [
        "get",
        "get_many",
        "set",
        "set_many",
        "delete",
        "delete_many",
        "increment",
        "expire",
        "lease",
        "invalidate",
        "scan",
        "load",
    ];
    let latency = [
        "count",
        "sum_seconds",
        "p50_seconds",
        "p90_seconds",
        "p99_seconds",
        "p99_9_seconds",
        "max_seconds",
    ];
    let mut expected: BTreeSet<String> = [
        "name",
        "uptime_seconds",
        "hits",
        "negative_hits",
        "misses.absent",
        "misses.expired",
        "misses.invalidated",
        "misses.corrupt",
        "misses.other_version",
        "misses.undecodable",
        "misses.down",
        "sets",
        "deletes",
        "invalidations",
        "loads",
        "load_errors",
        "coalesced",
        "stale",
        "refreshes",
        "refreshes_dropped",
        "overtaken",
        "failures",
        "bytes_read",
        "bytes_written",
        "backend.name",
        "backend.entries",
        "backend.bytes",
        "backend.tag_links",
        "backend.expired",
        "backend.evicted",
        "backend.removals.expired",
        "backend.removals.size",
        "backend.removals.bytes",
        "backend.removals.replaced",
        "backend.removals.deleted",
        "backend.removals.invalidated",
        "backend.connections",
        "backend.idle_connections",
        "backend.breaker",
        "backend.pending",
        "backend.near_on",
        "backend.children",
    ]
    .map(str::to_owned)
    .into();
    for operation in operations {
        expected.insert(format!("operations.{operation}.calls"));
        expected.extend(latency.map(|name| format!("operations.{operation}.latency.{name}")));
    }
    assert_eq!(found, expected);
}

#[test]
fn what_nobody_knows_is_null_and_times_are_seconds() {
    let cache = Cache::memory(10);
    cache.get::<i32>("k").unwrap();
    let stats = serde_json::to_value(cache.stats().named("users")).unwrap();
    assert_eq!(stats["name"], "users");
    assert_eq!(stats["operations"]["set"]["latency"]["p99_seconds"], Value::Null);
    let p50 = stats["operations"]["get"]["latency"]["p50_seconds"].as_f64().unwrap();
    assert!(p50 > 0.0 && p50 < 60.0, "{p50}");
}

#[test]
fn backends_inside_are_named_by_their_parts() {
    let memory = || Memory::builder().build().unwrap();
    let cache = Cache::builder(Tiered::new(memory(), memory()).unwrap()).build().unwrap();
    let stats = serde_json::to_value(cache.stats()).unwrap();
    let parts: Vec<&Value> =
        stats["backend"]["children"].as_array().unwrap().iter().map(|child| &child[0]).collect();
    assert_eq!(parts, ["near", "far"]);
}
