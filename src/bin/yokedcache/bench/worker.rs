//! One thread of a measurement.

use std::time::Instant;

use yokedcache::Cache;
use yokedcache::monitoring::Histogram;

use crate::stop::Stop;

/// What all threads do.
pub struct Load<'l> {
    pub cache: &'l Cache,
    pub keys: &'l [String],
    pub value: Vec<u8>,
    pub ratio: f64,
    pub until: Instant,
    pub stop: &'l Stop,
}

/// What a thread counted.
#[derive(Default)]
pub struct Tally {
    pub reads: Histogram,
    pub writes: Histogram,
    pub errors: u64,
    pub first_error: String,
}

impl Tally {
    pub fn failed(error: &str) -> Self {
        Self { errors: 1, first_error: error.to_owned(), ..Self::default() }
    }

    pub fn add(&mut self, other: &Self) {
        self.reads.merge(&other.reads);
        self.writes.merge(&other.writes);
        self.errors += other.errors;
        if self.first_error.is_empty() {
            self.first_error.clone_from(&other.first_error);
        }
    }
}

impl Load<'_> {
    pub fn run(&self, seed: u64) -> Tally {
        let mut tally = Tally::default();
        let mut random = Random(seed + 1);
        let mut started = Instant::now();
        while started < self.until && !self.stop.is_asked() {
            let key = &self.keys[(random.next() % self.keys.len() as u64) as usize];
            let is_read = (random.next() >> 11) as f64 / (1u64 << 53) as f64 <= self.ratio;
            let done = match is_read && self.ratio > 0.0 {
                true => self.cache.get_bytes(key).map(drop),
                false => self.cache.set_bytes(key, self.value.clone()).map(drop),
            };
            let ended = Instant::now();
            match done {
                Ok(()) if is_read => tally.reads.record(ended - started, 1),
                Ok(()) => tally.writes.record(ended - started, 1),
                Err(error) => {
                    tally.errors += 1;
                    if tally.first_error.is_empty() {
                        tally.first_error = error.to_string();
                    }
                }
            }
            started = ended;
        }
        tally
    }
}

/// Bytes that no compression makes smaller.
pub fn value(size: usize) -> Vec<u8> {
    let mut random = Random(7);
    (0..size).map(|_| random.next() as u8).collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}
