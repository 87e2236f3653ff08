//! Statistics through the facade of the crate `metrics`.

use metrics::{Label, Unit};

use super::Stats;
use super::family::{Family, Labels, Sample, Source, Value, families};
use super::histogram::Histogram;

/// The quantiles published of each histogram; the last is the longest time.
const QUANTILES: [&str; 5] = ["0.5", "0.9", "0.99", "0.999", "1"];

impl Stats {
    /// Gives the metrics of this cache to the recorder of the crate `metrics`, whichever exporter the
    /// program has installed. No I/O of its own; without a recorder nothing happens.
    ///
    /// Names and labels are those of [`to_prometheus`](Self::to_prometheus). Counters are set, not
    /// added to: call it as often as the exporter is asked, every ten seconds say. The facade has no
    /// way to take a histogram over: times are gauges with the label `quantile`, over all calls since
    /// the cache was built.
    ///
    /// ```
    /// # fn main() -> yokedcache::Result<()> {
    /// let cache = yokedcache::Cache::memory(10);
    /// cache.set("a", &1)?;
    /// cache.stats().named("users").publish();
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish(&self) {
        families(&Source::of([self])).iter().for_each(publish);
    }
}

fn publish(family: &Family<'_>) {
    let name = family.name();
    describe(&name, family);
    for Sample { labels, value } in &family.samples {
        let labels = owned(labels);
        match value {
            Value::Counter(count) => metrics::counter!(name.clone(), labels).absolute(*count),
            Value::Gauge(level) => metrics::gauge!(name.clone(), labels).set(*level),
            Value::Histogram(times) => publish_quantiles(&name, &labels, times),
        }
    }
}

fn publish_quantiles(name: &str, labels: &[Label], times: &Histogram) {
    for quantile in QUANTILES {
        let Some(time) = quantile.parse().ok().and_then(|part: f64| times.percentile(part * 100.0))
        else {
            continue;
        };
        let mut labels = labels.to_vec();
        labels.push(Label::new("quantile", quantile));
        metrics::gauge!(name.to_owned(), labels).set(time.as_secs_f64());
    }
}

fn describe(name: &str, family: &Family<'_>) {
    let unit = match name {
        _ if name.ends_with("_seconds") => Unit::Seconds,
        _ if name.ends_with("bytes") || name.ends_with("bytes_total") => Unit::Bytes,
        _ => Unit::Count,
    };
    let name = name.to_owned();
    match family.samples.first().map(|sample| sample.value) {
        Some(Value::Counter(_)) => metrics::describe_counter!(name, unit, family.help),
        Some(_) => metrics::describe_gauge!(name, unit, family.help),
        None => {}
    }
}

fn owned(labels: &Labels<'_>) -> Vec<Label> {
    labels.iter().map(|(name, value)| Label::new(*name, value.to_string())).collect()
}
