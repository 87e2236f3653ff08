//! The text for Prometheus, read as strictly as its own parsers do.

use std::collections::{BTreeMap, BTreeSet};

use std::time::Duration;

use proptest::prelude::*;
use yokedcache::monitoring::{Operation, to_prometheus};
use yokedcache::{Cache, ErrorKind, Fallback, Memory, Route, Tiered};

use super::recorder::Recorder;

type Labels = BTreeMap<String, String>;

/// Series by name and labels.
type Series = BTreeMap<(String, Labels), f64>;

/// Reads the text; refuses all that the format forbids.
fn parse(text: &str) -> (BTreeMap<String, String>, Series) {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line ends, too");
    let (mut kinds, mut series, mut helped) = (BTreeMap::new(), Series::new(), None);
    let mut family = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(is_name(name) && !help.is_empty() && !help.contains('\\'), "{line}");
            helped = Some(name.to_owned());
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(helped.take().as_deref(), Some(name), "help comes first");
            let told = kinds.insert(name.to_owned(), kind.to_owned());
            assert_eq!(told, None, "{name} is told in one piece");
            family = name.to_owned();
        } else {
            let (name, labels, value) = sample(line);
            let base = match kinds[&family].as_str() {
                "histogram" => {
                    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end))
                }
                _ => Some(name.as_str()),
            };
            assert_eq!(base, Some(&*family), "{line}");
            let new = series.insert((name, labels), value).is_none();
            assert!(new, "twice: {line}");
        }
    }
    (kinds, series)
}

fn is_name(name: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(first)
        && name.bytes().all(|byte| first(byte) || byte.is_ascii_digit())
}

fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, more) = rest.split_once("=\"").unwrap();
            assert!(is_name(label) && !label.starts_with("__"), "{line}");
            let (value, more) = quoted(more);
            assert!(labels.insert(label.into(), value).is_none(), "twice: {label}");
            match more.strip_prefix(',') {
                Some(more) => rest = more,
                None => {
                    rest = more.strip_prefix('}').unwrap();
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ').unwrap();
    assert!(!value.contains(char::is_whitespace), "{line}");
    (name.into(), labels, value.parse().unwrap())
}

/// The value up to its closing quote, without escapes, and what follows.
fn quoted(text: &str) -> (String, &str) {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match chars.next().unwrap().1 {
                'n' => '\n',
                char @ ('\\' | '"') => char,
                char => panic!("\\{char} is no escape"),
            }),
            char => value.push(char),
        }
    }
    panic!("no closing quote: {text}")
}

fn labels<const N: usize>(labels: [(&str, &str); N]) -> Labels {
    labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn used() -> Cache {
    let cache = Cache::memory(100);
    cache.set("a", "12345").unwrap();
    cache.get::<String>("a").unwrap();
    cache.get::<String>("b").unwrap();
    cache.clear().unwrap();
    cache
}

#[test]
fn counters_end_in_total_and_units_are_seconds_and_bytes() {
    let (kinds, series) = parse(&used().stats().to_prometheus());
    for (name, kind) in &kinds {
        assert!(name.starts_with("yokedcache_"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} {kind}");
        assert!(["counter", "gauge", "histogram"].contains(&kind.as_str()), "{name} {kind}");
    }
    let value = |name: &str, of: Labels| series[&(name.to_owned(), of)];
    assert_eq!(value("yokedcache_hits_total", labels([])), 1.0);
    assert_eq!(value("yokedcache_misses_total", labels([("cause", "absent")])), 1.0);
    assert_eq!(value("yokedcache_read_bytes_total", labels([])), 7.0);
    assert_eq!(value("yokedcache_operations_total", labels([("operation", "get")])), 2.0);
    let part = [("backend", "memory"), ("part", "")];
    assert_eq!(value("yokedcache_backend_entries", labels(part)), 0.0);
    let left = [part[0], part[1], ("reason", "invalidated")];
    assert_eq!(value("yokedcache_backend_removals_total", labels(left)), 1.0);
    let uptime = value("yokedcache_uptime_seconds", labels([]));
    assert!(uptime > 0.0 && uptime < 3600.0);
}

#[test]
fn every_counter_of_the_statistics_is_told() {
    let stats = used().stats();
    let json = serde_json::to_value(&stats).unwrap();
    let counters = json.as_object().unwrap().iter().filter(|(_, value)| value.is_u64());
    let (_, series) = parse(&stats.to_prometheus());
    for (name, value) in counters {
        let name = match name.as_str() {
            "bytes_read" => "read_bytes",
            "bytes_written" => "written_bytes",
            name => name,
        };
        let told = series[&(format!("yokedcache_{name}_total"), Labels::new())];
        assert_eq!(told, value.as_f64().unwrap(), "{name}");
    }
}

#[test]
fn histograms_are_cumulative_and_complete() {
    let cache = Cache::memory(10);
    let nap = Duration::from_millis(3);
    (0..5)
        .for_each(|key| cache.get_or_compute(key.to_string(), || std::thread::sleep(nap)).unwrap());
    let stats = cache.stats();
    let (kinds, series) = parse(&stats.to_prometheus());
    assert_eq!(kinds["yokedcache_operation_duration_seconds"], "histogram");
    let of = |name: &str| -> Vec<(Labels, f64)> {
        let name = format!("yokedcache_operation_duration_seconds_{name}");
        let ours = |labels: &Labels| labels["operation"] == "load";
        let found = series.iter().filter(|((found, labels), _)| *found == name && ours(labels));
        found.map(|((_, labels), value)| (labels.clone(), *value)).collect()
    };
    let mut buckets: Vec<(f64, f64)> = of("bucket")
        .into_iter()
        .map(|(labels, count)| (labels["le"].parse().unwrap(), count))
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!((10..=30).contains(&buckets.len()), "{}", buckets.len());
    assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{buckets:?}");
    assert_eq!(buckets.last(), Some(&(f64::INFINITY, 5.0)));
    let up_to = |le: f64| buckets.iter().find(|bucket| bucket.0 == le).unwrap().1;
    assert_eq!((up_to(0.0025), up_to(10.0)), (0.0, 5.0));
    assert_eq!(of("count")[0].1, 5.0);
    let sum = of("sum")[0].1;
    assert_eq!(sum, stats.operations[Operation::Load].latency.sum().as_secs_f64());
    assert!(sum >= 0.015);
}

#[test]
fn operations_that_were_not_used_have_no_histogram() {
    let (_, series) = parse(&used().stats().to_prometheus());
    let told: BTreeSet<&str> = series
        .keys()
        .filter(|(name, _)| name == "yokedcache_operation_duration_seconds_count")
        .map(|(_, labels)| labels["operation"].as_str())
        .collect();
    assert_eq!(told, BTreeSet::from(["get", "invalidate", "set"]));
}

#[test]
fn several_caches_are_one_text() {
    let caches = [used().stats().named("users"), used().stats().named("orders")];
    let (_, series) = parse(&to_prometheus(&caches));
    for cache in ["users", "orders"] {
        let hits = ("yokedcache_hits_total".to_owned(), labels([("cache", cache)]));
        assert_eq!(series[&hits], 1.0);
    }
    assert!(series.keys().all(|(_, labels)| labels.contains_key("cache")));
    assert_eq!(parse(&to_prometheus(&[])), Default::default());
    let (_, series) = parse(&to_prometheus(&[used().stats(), used().stats()]));
    for of in [labels([]), labels([("cache", "#2")])] {
        assert_eq!(series[&("yokedcache_hits_total".to_owned(), of)], 1.0);
    }
}

fn memory() -> Memory {
    Memory::builder().build().unwrap()
}

#[test]
fn backends_are_told_by_their_places_and_nothing_twice() {
    let tiers = Tiered::new(memory(), memory()).unwrap();
    let route = Route::builder(memory()).route("say \"\\\n", tiers).build().unwrap();
    let cache = Cache::builder(route).build().unwrap();
    cache.set("k", &1).unwrap();
    let (_, series) = parse(&cache.stats().to_prometheus());
    let entries: Vec<(&str, f64)> = series
        .iter()
        .filter(|((name, _), _)| name == "yokedcache_backend_entries")
        .map(|((_, labels), value)| (labels["part"].as_str(), *value))
        .collect();
    assert_eq!(entries.len(), 3, "{entries:?}");
    assert_eq!(entries.iter().map(|(_, count)| count).sum::<f64>(), 1.0);
    assert!(entries.iter().any(|(part, _)| *part == "say \"\\\n/near"), "{entries:?}");
}

#[test]
fn parts_of_the_same_name_stay_apart() {
    let mut stats = used().stats();
    for part in ["same", "same", "same#2", "same"] {
        let mut child = yokedcache::BackendStats::new("server");
        child.entries = Some(2);
        stats.backend.push(part, child);
    }
    let (_, series) = parse(&stats.to_prometheus());
    let parts: Vec<&str> = series
        .keys()
        .filter(|(name, _)| name == "yokedcache_backend_entries")
        .map(|(_, labels)| labels["part"].as_str())
        .collect();
    assert_eq!(parts, ["same", "same#2", "same#2#2", "same#3"]);
}

proptest! {
    #[test]
    fn names_may_be_anything(name in any::<String>()) {
        let (_, series) = parse(&Cache::memory(10).stats().named(&name).to_prometheus());
        let told = |labels: &Labels| labels.get("cache").cloned().unwrap_or_default();
        prop_assert!(series.keys().all(|(_, labels)| told(labels) == name));
    }
}

#[test]
fn wrappers_tell_which_side_serves() {
    let primary = Recorder::new();
    let fallback = Fallback::builder(primary.clone(), memory())
        .failure_threshold(1)
        .reset_timeout(Duration::from_secs(3600))
        .build()
        .unwrap();
    let tiered = Tiered::new(memory(), fallback).unwrap();
    let cache = Cache::builder(tiered).build().unwrap();
    let state = |name: &str, part: &str| {
        let (_, series) = parse(&cache.stats().to_prometheus());
        let of = |labels: &Labels| labels["part"] == part;
        let found = series.iter().find(|((found, labels), _)| found == name && of(labels));
        *found.unwrap().1
    };
    assert_eq!(state("yokedcache_backend_breaker_state", "far"), 0.0);
    assert_eq!(state("yokedcache_backend_near_on", ""), 1.0);
    primary.set_failing(Some(ErrorKind::Unavailable));
    assert!(cache.invalidate_tags(["t"]).unwrap().pending);
    assert_eq!(state("yokedcache_backend_breaker_state", "far"), 2.0);
    assert_eq!(state("yokedcache_backend_pending", "far"), 1.0);
}
