//! Times in buckets, each a thirty-second part of the power of two it lies in.

use std::time::Duration;

const PARTS: usize = 32;
const BUCKETS: usize = 64 * PARTS;

#[derive(Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], max: Duration::ZERO }
    }
}

fn bucket(nanos: u64) -> usize {
    let power = nanos.max(1).ilog2() as usize;
    match power {
        0..=5 => nanos as usize,
        _ => (power - 4) * PARTS + (nanos >> (power - 5)) as usize - PARTS,
    }
}

/// The largest number of nanoseconds in a bucket.
fn limit(bucket: usize) -> u64 {
    if bucket < 2 * PARTS {
        return bucket as u64;
    }
    let power = bucket / PARTS + 4;
    let part = (bucket % PARTS + PARTS + 1) as u64;
    part.checked_shl(power as u32 - 5).map_or(u64::MAX, |limit| limit - 1)
}

impl Histogram {
    pub fn record(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)] += 1;
        self.max = self.max.max(time);
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub fn and(&self, other: &Self) -> Self {
        let sums = self.buckets.iter().zip(&other.buckets).map(|(a, b)| a + b);
        Self { buckets: sums.collect(), max: self.max.max(other.max) }
    }

    /// The time within which so many of a hundred calls were done, to 3 %.
    pub fn percentile(&self, percent: f64) -> Duration {
        let wanted = (self.count() as f64 * percent / 100.0).ceil() as u64;
        let mut seen = 0;
        for (at, many) in self.buckets.iter().enumerate() {
            seen += many;
            if seen >= wanted && seen > 0 {
                return Duration::from_nanos(limit(at)).min(self.max);
            }
        }
        self.max
    }

    /// How many calls took up to each power of two of microseconds, and more than the one before;
    /// with their share.
    pub fn bars(&self) -> Vec<(Duration, u64, f64)> {
        let mut bars: Vec<(Duration, u64, f64)> = Vec::new();
        let total = self.count().max(1) as f64;
        for (at, many) in self.buckets.iter().enumerate().filter(|(_, many)| **many > 0) {
            let micros = limit(at).div_ceil(1000).next_power_of_two();
            let upper = Duration::from_micros(micros);
            match bars.last_mut() {
                Some((limit, calls, _)) if *limit == upper => *calls += many,
                _ => bars.push((upper, *many, 0.0)),
            }
        }
        bars.iter_mut().for_each(|(_, calls, share)| *share = *calls as f64 / total);
        bars
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_hold_what_they_say() {
        let mut last = 0;
        for nanos in (0..100_000).chain((17..63).flat_map(|p| [(1 << p) - 1, 1 << p, (1 << p) + 1]))
        {
            let at = bucket(nanos);
            assert!(at >= last || nanos < 100_000, "{nanos}");
            assert!(nanos <= limit(at), "{nanos}");
            assert!(at == 0 || nanos > limit(at - 1), "{nanos}");
            last = at;
        }
    }

    #[test]
    fn percentiles_are_off_by_a_thirtieth_at_most() {
        let mut histogram = Histogram::default();
        (1..=10_000).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        for percent in [1.0, 50.0, 99.0, 99.9, 100.0] {
            let exact = percent * 100.0;
            let found = histogram.percentile(percent).as_secs_f64() * 1e6;
            assert!(found >= exact && found <= exact * 1.04, "{percent}: {found}");
        }
        assert_eq!(histogram.bars().iter().map(|(_, calls, _)| calls).sum::<u64>(), 10_000);
    }
}
