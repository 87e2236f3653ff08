//! How fast keys are looked at, and how many at once.

use std::time::{Duration, Instant};

/// How much of a second a batch is at most, so that keys come evenly.
const PART: f64 = 0.1;
/// Time lost beyond that is not made up for by a burst.
const LAG: Duration = Duration::from_millis(250);
/// A year is as good as for ever, and clocks can still tell when it ends.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A rate of keys per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    rate: f64,
    begun: Instant,
    keys: f64,
}

impl Pace {
    pub(super) fn new(rate: f64, now: Instant) -> Self {
        Self { rate, begun: now, keys: 0.0 }
    }

    /// How many keys go together at most.
    pub(super) fn most(&self) -> usize {
        ((self.rate * PART) as usize).max(1)
    }

    /// How long to wait before so many more.
    pub(super) fn wait(&mut self, keys: usize, now: Instant) -> Duration {
        let time = Duration::try_from_secs_f64(self.keys / self.rate).unwrap_or(LONGEST);
        let due = self.begun + time.min(LONGEST);
        let late = now.saturating_duration_since(due);
        if late > LAG {
            (self.begun, self.keys) = (now, 0.0);
        }
        self.keys += keys as f64;
        due.saturating_duration_since(now)
    }
}

/// How many bytes of values a batch is to hold.
const BUDGET: u64 = 8 << 20;
/// How many keys the first batch has: nobody knows yet how large values are.
const FIRST: usize = 64;

/// How many entries are copied at once, by how large the last ones were.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizing {
    most: usize,
    now: usize,
}

impl Sizing {
    pub(super) fn new(most: usize) -> Self {
        Self { most, now: FIRST.min(most) }
    }

    pub(super) fn now(&self) -> usize {
        self.now
    }

    /// So many values had so many bytes.
    pub(super) fn note(&mut self, values: u64, bytes: u64) {
        if values == 0 {
            return;
        }
        let fit = BUDGET.saturating_mul(values) / bytes.max(1);
        let fit = usize::try_from(fit).unwrap_or(usize::MAX);
        self.now = fit.min(self.now.saturating_mul(2)).clamp(1, self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_at_the_rate_and_never_in_a_burst() {
        let begun = Instant::now();
        let mut pace = Pace::new(100.0, begun);
        assert_eq!(pace.most(), 10);
        let mut now = begun;
        for _ in 0..50 {
            now += pace.wait(10, now);
        }
        assert_eq!((now - begun).as_millis(), 4_900, "each batch waits for those before it");
        now += Duration::from_secs(60);
        assert_eq!(pace.wait(10, now), Duration::ZERO);
        assert_eq!(pace.wait(10, now).as_millis(), 100, "a minute lost is not made up for");
        assert_eq!(Pace::new(0.5, begun).most(), 1);
        let mut crawl = Pace::new(f64::MIN_POSITIVE, begun);
        crawl.wait(1, begun);
        assert_eq!(crawl.wait(1, begun), LONGEST);
    }

    #[test]
    fn batches_grow_while_values_are_small_and_shrink_at_once() {
        let mut sizing = Sizing::new(500);
        assert_eq!(sizing.now(), 64);
        sizing.note(64, 640);
        assert_eq!(sizing.now(), 128);
        sizing.note(0, 0);
        assert_eq!(sizing.now(), 128, "nothing was learnt");
        for _ in 0..5 {
            sizing.note(10, 100);
        }
        assert_eq!(sizing.now(), 500);
        sizing.note(500, 500 << 20);
        assert_eq!(sizing.now(), 8, "a value has a megabyte");
        sizing.note(1, 1 << 30);
        assert_eq!(sizing.now(), 1);
        assert_eq!(Sizing::new(3).now(), 3);
    }
}
