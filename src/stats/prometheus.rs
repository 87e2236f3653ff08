//! The text format of Prometheus.

use std::fmt::Write;
use std::time::Duration;

use super::Stats;
use super::family::{Family, Labels, Sample, Source, Value, families};
use super::histogram::Histogram;

/// The limits of the buckets in nanoseconds: 1, 2.5 and 5 of each power of ten.
const BUCKETS: [Duration; 24] = {
    let mut buckets = [Duration::ZERO; 24];
    let (mut at, mut ten) = (0, 100);
    while at < buckets.len() {
        buckets[at] = Duration::from_nanos(ten * 5 / 2);
        buckets[at + 1] = Duration::from_nanos(ten * 5);
        buckets[at + 2] = Duration::from_nanos(ten * 10);
        (at, ten) = (at + 3, ten * 10);
    }
    buckets
};

impl Stats {
    /// The metrics of this cache in the text format of Prometheus (version 0.0.4, which is also what
    /// most other collectors read). No I/O.
    ///
    /// For several caches in one answer see [`to_prometheus`]. What each metric means is told
    /// [there](crate::monitoring).
    ///
    /// ```
    /// # fn main() -> yokedcache::Result<()> {
    /// let cache = yokedcache::Cache::memory(10);
    /// cache.set("a", &1)?;
    /// let text = cache.stats().named("users").to_prometheus();
    /// assert!(text.contains("yokedcache_sets_total{cache=\"users\"} 1\n"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_prometheus(&self) -> String {
        to_prometheus(std::slice::from_ref(self))
    }
}

/// The metrics of several caches in the text format of Prometheus.
///
/// They had better be [named](Stats::named): those of the same name, or of none, are only numbered
/// (`#2`).
///
/// ```
/// # fn main() -> yokedcache::Result<()> {
/// use yokedcache::monitoring::to_prometheus;
///
/// # let (users, orders) = (yokedcache::Cache::memory(10), yokedcache::Cache::memory(10));
/// let text = to_prometheus(&[users.stats().named("users"), orders.stats().named("orders")]);
/// assert_eq!(text.matches("# TYPE yokedcache_hits_total counter").count(), 1);
/// # Ok(())
/// # }
/// ```
pub fn to_prometheus(caches: &[Stats]) -> String {
    let sources = Source::of(caches);
    let mut text = String::new();
    for family in families(&sources) {
        // Writing to a string does not fail.
        let _ = write_family(&mut text, &family);
    }
    text
}

fn write_family(text: &mut String, family: &Family<'_>) -> std::fmt::Result {
    let name = family.name();
    let kind = match family.samples.first().map(|sample| sample.value) {
        Some(Value::Gauge(_)) => "gauge",
        Some(Value::Histogram(_)) => "histogram",
        Some(Value::Counter(_)) | None => "counter",
    };
    writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", family.help)?;
    for Sample { labels, value } in &family.samples {
        match value {
            Value::Counter(count) => write_line(text, &name, labels, count)?,
            Value::Gauge(level) => write_line(text, &name, labels, level)?,
            Value::Histogram(times) => write_histogram(text, &name, labels, times)?,
        }
    }
    Ok(())
}

fn write_histogram(
    text: &mut String,
    name: &str,
    labels: &Labels<'_>,
    times: &Histogram,
) -> std::fmt::Result {
    let bucket = format!("{name}_bucket");
    let within = |limit: &str| -> String {
        let mut all: Vec<(&str, &str)> = labels.clone();
        all.push(("le", limit));
        label_set(&all)
    };
    for (limit, count) in BUCKETS.iter().zip(times.cumulative(&BUCKETS)) {
        writeln!(text, "{bucket}{} {count}", within(&limit.as_secs_f64().to_string()))?;
    }
    writeln!(text, "{bucket}{} {}", within("+Inf"), times.count())?;
    write_line(text, &format!("{name}_sum"), labels, times.sum().as_secs_f64())?;
    write_line(text, &format!("{name}_count"), labels, times.count())
}

fn write_line(
    text: &mut String,
    name: &str,
    labels: &[(&str, &str)],
    value: impl std::fmt::Display,
) -> std::fmt::Result {
    writeln!(text, "{name}{} {value}", label_set(labels))
}

fn label_set(labels: &[(&str, &str)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
