//! The facade of the crate `metrics`, with a recorder of this test's own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit, with_local_recorder,
};
use yokedcache::Cache;

type Values = Arc<Mutex<BTreeMap<String, f64>>>;

#[derive(Default)]
struct Notes {
    counters: Values,
    gauges: Values,
    described: Mutex<BTreeMap<String, Option<Unit>>>,
}

struct Note(Values, String);

impl Note {
    fn set(&self, value: f64) {
        self.0.lock().unwrap().insert(self.1.clone(), value);
    }
}

impl CounterFn for Note {
    fn increment(&self, _: u64) {
        panic!("what is counted already is not added to");
    }
    fn absolute(&self, value: u64) {
        self.set(value as f64);
    }
}

impl GaugeFn for Note {
    fn increment(&self, _: f64) {
        panic!("levels are set");
    }
    fn decrement(&self, _: f64) {
        panic!("levels are set");
    }
    fn set(&self, value: f64) {
        Note::set(self, value);
    }
}

fn series(key: &Key) -> String {
    let labels: BTreeSet<String> =
        key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
    format!("{}[{}]", key.name(), Vec::from_iter(labels).join(", "))
}

impl Recorder for Notes {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        assert!(!help.is_empty() && name.as_str().ends_with("_total"));
        self.described.lock().unwrap().insert(name.as_str().into(), unit);
    }
    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.described.lock().unwrap().insert(name.as_str().into(), unit);
    }
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        panic!("none is published");
    }
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Note(self.counters.clone(), series(key))))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(Note(self.gauges.clone(), series(key))))
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("none is published");
    }
}

fn noted(values: &Values, name: &str) -> f64 {
    let values = values.lock().unwrap();
    *values.get(name).unwrap_or_else(|| panic!("no {name} in {values:?}"))
}

#[test]
fn any_exporter_sees_counters_levels_and_quantiles() {
    let cache = Cache::memory(10);
    let notes = Notes::default();
    for round in 1..=2 {
        cache.set("a", &1).unwrap();
        cache.get::<i32>("a").unwrap();
        cache.get::<i32>("b").unwrap();
        with_local_recorder(&notes, || cache.stats().named("users").publish());
        let counter = |series: &str| noted(&notes.counters, series);
        assert_eq!(counter("yokedcache_hits_total[cache=users]"), f64::from(round));
        let absent = "yokedcache_misses_total[cache=users, cause=absent]";
        assert_eq!(counter(absent), f64::from(round));
        let gets = "yokedcache_operations_total[cache=users, operation=get]";
        assert_eq!(counter(gets), f64::from(2 * round));
    }
    let gauge = |series: &str| noted(&notes.gauges, series);
    assert_eq!(gauge("yokedcache_backend_entries[backend=memory, cache=users, part=]"), 1.0);
    let quantile = |quantile: &str| {
        let labels = format!("[cache=users, operation=get, quantile={quantile}]");
        gauge(&format!("yokedcache_operation_duration_seconds{labels}"))
    };
    let all = ["0.5", "0.9", "0.99", "0.999", "1"].map(quantile);
    assert!(all.is_sorted() && all[0] > 0.0 && all[4] < 60.0, "{all:?}");
}

#[test]
fn metrics_are_described_with_their_units() {
    let notes = Notes::default();
    with_local_recorder(&notes, || Cache::memory(10).stats().publish());
    let described = notes.described.lock().unwrap();
    let unit = |name: &str| described[name];
    assert_eq!(unit("yokedcache_read_bytes_total"), Some(Unit::Bytes));
    assert_eq!(unit("yokedcache_backend_bytes"), Some(Unit::Bytes));
    assert_eq!(unit("yokedcache_uptime_seconds"), Some(Unit::Seconds));
    assert_eq!(unit("yokedcache_hits_total"), Some(Unit::Count));
}

#[test]
fn without_a_recorder_nothing_happens() {
    Cache::memory(10).stats().publish();
}
