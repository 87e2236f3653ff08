//! Many threads change and delete their keys while the primary comes and goes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use yokedcache::{BreakerState, Cache, ErrorKind, Event, Fallback, Memory};

use crate::eventually;
use crate::faulty::{Faulty, Mode};

const THREADS: usize = 8;
const TURNS: usize = 200;
/// By then all has happened, or will not.
const MOST_TURNS: usize = 10_000;
const KEYS: u64 = 4;

/// A plain generator: the same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % sides
    }
}

/// Its values grow. None below what was deleted, or stored and not refused, may ever be read again.
fn worker(cache: &Cache, thread: usize, over: &AtomicBool, hits: &AtomicUsize) {
    let mut dice = Dice(thread as u64 + 1);
    let mut least: HashMap<String, u64> = HashMap::new();
    let mut next = 0;
    while !over.load(Ordering::Relaxed) {
        let key = format!("{thread}:{}", dice.roll(KEYS));
        let tag = format!("of {key}");
        match dice.roll(10) {
            0..3 => {
                next += 1;
                if cache.entry(&key).tags([&tag]).set(&next).unwrap() {
                    least.insert(key, next);
                }
            }
            3..5 => {
                if cache.delete(&key).is_ok() {
                    least.insert(key, next + 1);
                }
            }
            5 => {
                if cache.invalidate_tags([&tag]).is_ok() {
                    least.insert(key, next + 1);
                }
            }
            _ => {
                if let Some(value) = cache.get::<u64>(&key).unwrap() {
                    hits.fetch_add(1, Ordering::Relaxed);
                    let least = least.get(&key).copied().unwrap_or(0);
                    assert!(value >= least, "{key} is {value}, and all below {least} is gone");
                }
            }
        }
        std::thread::sleep(Duration::from_micros(dice.roll(60)));
    }
}

#[test]
fn nothing_deleted_is_read_again_while_the_primary_comes_and_goes() {
    let primary = Faulty::new();
    let fallback = Fallback::builder(primary.clone(), Memory::builder().build().unwrap())
        .failure_threshold(3)
        .reset_timeout(Duration::from_millis(1))
        .journal_limit(24)
        .build()
        .unwrap();
    let [opened, closed, overflowed] = [(); 3].map(|()| std::sync::Arc::new(AtomicUsize::new(0)));
    let counts = [opened.clone(), closed.clone(), overflowed.clone()];
    let cache = Cache::builder(fallback.clone())
        .on_event(move |event| {
            let count = match event {
                Event::Opened { .. } => &counts[0],
                Event::Closed { .. } => &counts[1],
                _ => &counts[2],
            };
            count.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();

    let (over, hits) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cache, over, hits) = (&cache, &over, &hits);
            scope.spawn(move || worker(cache, thread, over, hits));
        }
        let mut dice = Dice(99);
        // However much the others get done in one: until all has happened that is to be survived.
        let all_happened =
            || overflowed.load(Ordering::Relaxed) > 0 && hits.load(Ordering::Relaxed) > 1000;
        for _ in (0..).take_while(|turn| *turn < TURNS || *turn < MOST_TURNS && !all_happened()) {
            let fault = match dice.roll(3) {
                0 => Mode::Down(ErrorKind::Unavailable),
                1 => Mode::Ending("1"),
                _ => Mode::Late,
            };
            primary.set(fault);
            eventually("it opens", || fallback.state() != BreakerState::Closed);
            std::thread::sleep(Duration::from_micros(dice.roll(2000)));
            primary.up();
            eventually("it closes", || fallback.state() == BreakerState::Closed);
            std::thread::sleep(Duration::from_micros(dice.roll(2000)));
        }
        over.store(true, Ordering::Relaxed);
    });
    let [opened, closed, overflowed] =
        [opened, closed, overflowed].map(|count| count.load(Ordering::Relaxed));
    println!("opened {opened} times, overflowed {overflowed} times, {hits:?} hits");
    assert!(opened >= TURNS && closed >= TURNS - 1, "opened {opened}, closed {closed} times");
    assert!(overflowed > 0 && hits.into_inner() > 1000);
}
