//! How often which times were taken.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::ser::{Serialize, SerializeStruct, Serializer};

/// An octave, from a power of two up to the next, has so many buckets of the same width.
const PER_OCTAVE: u64 = 1 << OCTAVE_BITS;
const OCTAVE_BITS: u32 = 4;
/// Times from two to this power of nanoseconds on, some 18 minutes, share the last bucket.
const TOP_BITS: u32 = 40;
const BUCKETS: usize = ((TOP_BITS - OCTAVE_BITS + 1) as usize) << OCTAVE_BITS;

/// Times in buckets that widen with them, so that a percentile is right within 3.2 % up to 18 minutes.
///
/// ```
/// use std::time::Duration;
/// use yokedcache::monitoring::Histogram;
///
/// let mut times = Histogram::default();
/// assert_eq!(times.percentile(99.0), None);
/// for millis in 1..=100 {
///     times.record(Duration::from_millis(millis), 1);
/// }
/// let p99 = times.percentile(99.0).unwrap();
/// assert!(p99.abs_diff(Duration::from_millis(99)) < Duration::from_millis(4));
/// assert_eq!(times.max(), Some(Duration::from_millis(100)));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Empty as long as nothing is recorded.
    buckets: Vec<u64>,
    count: u64,
    sum: u64,
    max: u64,
}

/// The bucket of a time.
fn bucket(nanos: u64) -> usize {
    let nanos = nanos.min((1 << TOP_BITS) - 1);
    if nanos < PER_OCTAVE {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - OCTAVE_BITS;
    ((u64::from(shift) << OCTAVE_BITS) + (nanos >> shift)) as usize
}

/// The first and the last time of a bucket.
fn bounds(bucket: usize) -> (u64, u64) {
    let bucket = bucket as u64;
    let shift = (bucket >> OCTAVE_BITS).saturating_sub(1);
    let first = (bucket - (shift << OCTAVE_BITS)) << shift;
    (first, first + (1 << shift) - 1)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Histogram {
    /// Adds a time that was taken so many times.
    pub fn record(&mut self, time: Duration, times: u64) {
        if times == 0 {
            return;
        }
        let time = nanos(time);
        self.buckets.resize(BUCKETS, 0);
        self.buckets[bucket(time)] += times;
        self.count += times;
        self.sum = self.sum.saturating_add(time.saturating_mul(times));
        self.max = self.max.max(time);
    }

    /// Adds what another one has.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.buckets.resize(BUCKETS, 0);
        for (mine, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += more;
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// How many times are in it.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// The longest; `None` if there is none.
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.max))
    }

    /// The time that `percent` of them (0 to 100) do not exceed, within 3.2 %; `None` if there is none.
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let rank = percent.clamp(0.0, 100.0) * self.count as f64 / 100.0;
        // A product that lies above the whole number it stands for is not the next one.
        let rank = (rank * (1.0 - 4.0 * f64::EPSILON)).ceil() as u64;
        let rank = rank.clamp(1, self.count.max(1));
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        let (first, last) = bounds(at);
        let middle = first + (last - first) / 2;
        // The last bucket has no end.
        let time = if at == BUCKETS - 1 { self.max } else { middle.min(self.max) };
        Some(Duration::from_nanos(time))
    }

    /// The buckets that are not empty, from the shortest times on: the longest time that belongs in
    /// each, and how many are in it.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let all = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        all.map(|(at, count)| (Duration::from_nanos(bounds(at).1), *count))
    }

    /// How many are at most as long as each of these times, which ascend. One that shares a bucket
    /// with longer ones may count as longer.
    pub(super) fn cumulative<'t>(&self, times: &'t [Duration]) -> impl Iterator<Item = u64> + 't
    where
        Self: 't,
    {
        let counted: Vec<u64> = times.iter().map(|time| self.up_to(nanos(*time))).collect();
        counted.into_iter()
    }

    fn up_to(&self, time: u64) -> u64 {
        let whole = (0..BUCKETS - 1).take_while(|at| bounds(*at).1 <= time).count();
        self.buckets.iter().take(whole).sum()
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count)
            .field("p50", &self.percentile(50.0))
            .field("p99", &self.percentile(99.0))
            .field("max", &self.max())
            .finish_non_exhaustive()
    }
}

/// The count and some percentiles, in seconds.
impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = |percent| self.percentile(percent).map(|time| time.as_secs_f64());
        let mut fields = serializer.serialize_struct("Histogram", 7)?;
        fields.serialize_field("count", &self.count)?;
        fields.serialize_field("sum_seconds", &self.sum().as_secs_f64())?;
        fields.serialize_field("p50_seconds", &seconds(50.0))?;
        fields.serialize_field("p90_seconds", &seconds(90.0))?;
        fields.serialize_field("p99_seconds", &seconds(99.0))?;
        fields.serialize_field("p99_9_seconds", &seconds(99.9))?;
        fields.serialize_field("max_seconds", &self.max().map(|time| time.as_secs_f64()))?;
        fields.end()
    }
}

/// A histogram that many threads add to.
#[derive(Debug)]
pub(super) struct Recorder {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

impl Recorder {
    pub(super) fn new() -> Self {
        let buckets = [const { AtomicU64::new(0) }; BUCKETS];
        Self { buckets, sum: AtomicU64::new(0), max: AtomicU64::new(0) }
    }

    pub(super) fn record(&self, time: Duration, times: u64) {
        let time = nanos(time);
        self.buckets[bucket(time)].fetch_add(times, Ordering::Relaxed);
        self.sum.fetch_add(time.saturating_mul(times), Ordering::Relaxed);
        self.max.fetch_max(time, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> Histogram {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let buckets: Vec<u64> = self.buckets.iter().map(load).collect();
        let count = buckets.iter().sum();
        Histogram { buckets, count, sum: load(&self.sum), max: load(&self.max) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_lie_side_by_side() {
        let mut next = 0;
        for at in 0..BUCKETS {
            let (first, last) = bounds(at);
            assert_eq!(first, next, "bucket {at}");
            assert_eq!((bucket(first), bucket(last)), (at, at));
            next = last + 1;
        }
        assert_eq!(next, 1 << TOP_BITS);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    /// Times of all sizes alike.
    fn time() -> impl Strategy<Value = u64> {
        (0..TOP_BITS, any::<u64>()).prop_map(|(bits, random)| (1 << bits) | (random % (1 << bits)))
    }

    fn exact(sorted: &[u64], percent: f64) -> u64 {
        let rank = (percent * sorted.len() as f64 / 100.0 * (1.0 - 1e-15)).ceil() as usize;
        sorted[rank.clamp(1, sorted.len()) - 1]
    }

    fn of(times: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        times.iter().for_each(|time| histogram.record(Duration::from_nanos(*time), 1));
        histogram
    }

    proptest! {
        #[test]
        fn percentiles_are_right_within_their_bound(
            mut times in prop::collection::vec(time(), 1..300),
            percents in prop::collection::vec(0.0..=100.0, 1..10),
        ) {
            let histogram = of(&times);
            times.sort_unstable();
            for percent in percents.into_iter().chain([0.0, 50.0, 90.0, 99.0, 99.9, 100.0]) {
                let exact = exact(&times, percent);
                let found = nanos(histogram.percentile(percent).unwrap());
                let error = found.abs_diff(exact) as f64 / exact as f64;
                prop_assert!(error <= 0.032, "p{percent}: {found} instead of {exact}");
            }
            prop_assert_eq!(histogram.count(), times.len() as u64);
            prop_assert_eq!(nanos(histogram.sum()), times.iter().sum::<u64>());
            prop_assert_eq!(histogram.max().map(nanos), times.last().copied());
        }

        #[test]
        fn merged_ones_are_one_of_all(
            one in prop::collection::vec(time(), 0..50),
            other in prop::collection::vec(time(), 0..50),
        ) {
            let mut merged = of(&one);
            merged.merge(&of(&other));
            prop_assert_eq!(merged, of(&[one, other].concat()));
        }

        #[test]
        fn a_recorder_records_as_a_histogram_does(times in prop::collection::vec(time(), 1..50)) {
            let recorder = Recorder::new();
            times.iter().for_each(|time| recorder.record(Duration::from_nanos(*time), 1));
            prop_assert_eq!(recorder.snapshot(), of(&times));
        }

        #[test]
        fn cumulative_counts_miss_only_what_shares_a_bucket(
            times in prop::collection::vec(time(), 1..100),
            limit in time(),
        ) {
            let counted = of(&times).cumulative(&[Duration::from_nanos(limit)]).next().unwrap();
            let most = times.iter().filter(|time| **time <= limit).count() as u64;
            let least = times.iter().filter(|time| **time < limit - limit / 16).count() as u64;
            prop_assert!((least..=most).contains(&counted), "{counted} in {least}..={most}");
        }
    }

    #[test]
    fn an_empty_one_knows_nothing() {
        let histogram = of(&[]);
        assert_eq!((histogram.percentile(50.0), histogram.max()), (None, None));
        assert_eq!(Recorder::new().snapshot().percentile(50.0), None);
    }

    #[test]
    fn what_is_longer_than_the_last_bucket_is_as_long_as_the_longest() {
        let day = Duration::from_secs(86_400);
        assert_eq!(of(&[1, nanos(day)]).percentile(100.0), Some(day));
    }

    #[test]
    fn a_percentile_that_is_a_whole_number_of_times_is_the_last_of_them() {
        for count in 1..=1_000_u64 {
            for tenths in 1..=1_000_u64 {
                let below = (count * tenths).div_ceil(1_000);
                let mut histogram = Histogram::default();
                histogram.record(Duration::from_nanos(1), below);
                histogram.record(Duration::from_secs(1), count - below);
                let found = histogram.percentile(tenths as f64 / 10.0);
                assert_eq!(found, Some(Duration::from_nanos(1)), "p{tenths}/10 of {count}");
            }
        }
    }

    #[test]
    fn a_time_taken_many_times_is_recorded_in_one_go() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::from_nanos(8), 3);
        assert_eq!(histogram, of(&[8, 8, 8]));
    }
}
