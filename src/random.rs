//! Random numbers for spreading things: ends of entries, early refreshes, pauses. Not for secrets.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// The step of SplitMix64, which visits every state before it repeats one.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A source that many threads share. The same seed gives the same numbers to one thread.
#[derive(Debug)]
pub(crate) struct Random(AtomicU64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// Evenly distributed, from 0 up to and without 1.
    pub(crate) fn unit(&self) -> f64 {
        // 53 bits are what a float holds.
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// SplitMix64.
    fn next(&self) -> u64 {
        let mut mixed = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl Default for Random {
    /// A seed of its own: a hasher with random keys is what the standard library has for that.
    fn default() -> Self {
        Self::seeded(RandomState::new().hash_one(0u8))
    }
}

/// A number that no other call in this or another process is likely to get. No secret.
///
/// The keys of a hasher are random; a forked process has those of its parent, so it is told apart.
pub(crate) fn unlikely() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    RandomState::new().hash_one((call, std::process::id(), SystemTime::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_its_numbers_spread() {
        let draw = |seed| {
            let random = Random::seeded(seed);
            (0..10_000).map(|_| random.unit()).collect::<Vec<f64>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let mean = draw(7).iter().sum::<f64>() / 10_000.0;
        assert!((0.49..0.51).contains(&mean), "{mean}");
        assert!(draw(7).iter().all(|unit| (0.0..1.0).contains(unit)));
    }
    #[test]
    fn unlikely_numbers_do_not_come_twice() {
        let drawn: std::collections::HashSet<u64> = (0..10_000).map(|_| unlikely()).collect();
        assert_eq!(drawn.len(), 10_000);
    }
}
