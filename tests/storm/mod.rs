//! Everything at once: many threads whose servers somebody makes trouble for. No value is ever another
//! key's, no call is late, nothing panics, and when it is over it is over.

use std::collections::BTreeMap;
use std::env;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use yokedcache::{Cache, Error};

use crate::support::wait_until;

/// Of every call.
pub const LIMIT: Duration = Duration::from_millis(500);
/// How many calls at least are to succeed, and how many to fail.
const ENOUGH: (u64, u64) = (2_000, 5);
const THREADS: u64 = 8;
pub const KEYS: u64 = 200;

/// Numbers that look random; the same for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    /// One of as many.
    pub fn index(&mut self, len: usize) -> usize {
        self.roll(len as u64) as usize
    }

    /// Sleeps between so many milliseconds and as many more.
    pub fn sleep(&mut self, ms: u64, more: u64) {
        thread::sleep(Duration::from_millis(ms + self.roll(more)));
    }
}

/// What went wrong, and how often.
pub type Troubles = BTreeMap<&'static str, u64>;

pub fn key(number: u64) -> String {
    format!("key-{number}-{}", "k".repeat(number as usize % 7))
}

/// A value that tells whose it is, short or long.
fn value(key: &str, dice: &mut Dice) -> String {
    let length = if dice.roll(20) == 0 { 20_000 } else { dice.roll(200) as usize };
    format!("{key}|{}", "x".repeat(length))
}

/// How long it lasts: as `YC_STORM` says, or so long.
pub fn seconds(usual: u64) -> u64 {
    env::var("YC_STORM").map_or(usual, |seconds| seconds.parse().expect("YC_STORM is a number"))
}

/// How long a call takes at most: a machine that does many things at once may be late to wake a thread,
/// one that is there for this alone is not.
fn most() -> Duration {
    LIMIT * if env::var_os("YC_STORM").is_some() { 2 } else { 4 }
}

#[derive(Default)]
struct Tally {
    done: BTreeMap<&'static str, u64>,
    failed: BTreeMap<String, u64>,
    wrong: Vec<String>,
    longest: Duration,
    late: u64,
}

impl Tally {
    fn note<T>(
        &mut self,
        what: &'static str,
        call: impl FnOnce() -> Result<T, Error>,
    ) -> Option<T> {
        let started = Instant::now();
        let result = call();
        let took = started.elapsed();
        self.longest = self.longest.max(took);
        self.late += u64::from(took > most());
        match result {
            Ok(value) => {
                *self.done.entry(what).or_default() += 1;
                Some(value)
            }
            Err(error) => {
                self.fail(what, &error);
                None
            }
        }
    }

    fn fail(&mut self, what: &'static str, error: &Error) {
        assert!(error.is_outage(), "{what}: {error:?}");
        *self.failed.entry(format!("{:?}", error.kind())).or_default() += 1;
    }

    fn own(&mut self, key: &str, found: Option<String>) {
        if let Some(found) = found
            && found.split('|').next() != Some(key)
        {
            self.wrong.push(format!("{key}: {}", &found[..found.len().min(50)]));
        }
    }
}

/// The calls of all threads so far.
#[derive(Default)]
struct Calls {
    done: AtomicU64,
    failed: AtomicU64,
}

impl Calls {
    fn are_enough(&self) -> bool {
        self.done.load(Ordering::Relaxed) > ENOUGH.0
            && self.failed.load(Ordering::Relaxed) > ENOUGH.1
    }
}

/// One thread's calls until it is told to stop.
fn work(cache: &Cache, seed: u64, stop: &AtomicBool, calls: &Calls) -> Tally {
    let (mut dice, mut tally) = (Dice(seed * 7919 + 1), Tally::default());
    let mut told = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let now = (tally.done.values().sum::<u64>(), tally.failed.values().sum::<u64>());
        calls.done.fetch_add(now.0 - told.0, Ordering::Relaxed);
        calls.failed.fetch_add(now.1 - told.1, Ordering::Relaxed);
        told = now;
        let key = key(dice.roll(KEYS));
        let entry = || cache.entry(&key).strict();
        match dice.roll(14) {
            0..3 => {
                let found = tally.note("get", || entry().get::<String>());
                tally.own(&key, found.flatten());
            }
            3 | 4 => {
                let value = value(&key, &mut dice);
                tally.note("set", || entry().set(&value));
            }
            5 => {
                let value = value(&key, &mut dice);
                let tag = format!("t{}", dice.roll(5));
                tally.note("set with a tag", || entry().tag(tag).set(&value));
            }
            6 => {
                let keys: Vec<String> = (0..30).map(|_| self::key(dice.roll(KEYS))).collect();
                let found = tally.note("get_many", || cache.get_many::<String>(&keys));
                for (key, found) in keys.iter().zip(found.unwrap_or_default()) {
                    tally.own(key, found);
                }
            }
            7 => {
                let value = value(&key, &mut dice);
                let load = || entry().tag("t1").get_or_compute(|| value.clone());
                let found = tally.note("load", load);
                tally.own(&key, found);
            }
            8 => drop(tally.note("delete", || cache.delete(&key))),
            9 => drop(tally.note("invalidate", || cache.invalidate_tags(["t1", "t2"]))),
            10 => {
                let counter = format!("n{}", dice.roll(10));
                tally.note("increment", || cache.increment(counter, 1));
            }
            11 => {
                let keys: Vec<String> = (0..20).map(|_| self::key(dice.roll(KEYS))).collect();
                let values: Vec<_> = keys.iter().map(|key| (key, value(key, &mut dice))).collect();
                let failed = tally.note("set_many", || cache.set_many(values));
                for (_, error) in failed.unwrap_or_default() {
                    tally.fail("set_many", &error);
                }
            }
            12 => {
                let value = value(&key, &mut dice);
                tally.note("add", || entry().add(&value));
            }
            _ => {
                let swap = || {
                    let Some((old, version)) = entry().get_versioned::<String>()? else {
                        return Ok(None);
                    };
                    entry().swap(version, &old)?;
                    Ok(Some(old))
                };
                // Two calls.
                let before = (tally.longest, tally.late);
                let found = tally.note("swap", swap);
                (tally.longest, tally.late) = before;
                tally.own(&key, found.flatten());
            }
        }
    }
    tally
}

/// Whatever happens, the threads are told that it is over.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Makes trouble until the time is over and enough was done.
fn trouble(seconds: u64, calls: &Calls, mut act: impl FnMut(&mut Dice, &mut Troubles)) -> Troubles {
    let (mut dice, mut troubles) = (Dice(0x9e37_79b9_7f4a_7c15), Troubles::new());
    let end = Instant::now() + Duration::from_secs(seconds);
    let never = end + Duration::from_secs(300);
    while Instant::now() < end || !calls.are_enough() && Instant::now() < never {
        act(&mut dice, &mut troubles);
    }
    troubles
}

/// Plays the storm; `act` makes some trouble and ends it again.
#[track_caller]
pub fn storm(what: &str, cache: &Cache, seconds: u64, act: impl FnMut(&mut Dice, &mut Troubles)) {
    let (stop, calls) = (AtomicBool::new(false), Calls::default());
    let (troubles, tallies) = thread::scope(|scope| {
        let (stop, calls) = (&stop, &calls);
        let work = |seed| scope.spawn(move || work(cache, seed, stop, calls));
        let threads: Vec<_> = (1..=THREADS).map(work).collect();
        let ends = Ends(stop);
        let troubles = trouble(seconds, calls, act);
        drop(ends);
        let tallies = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        (troubles, tallies.collect::<Vec<_>>())
    });
    let (mut done, mut failed) = (BTreeMap::new(), BTreeMap::new());
    for tally in &tallies {
        tally.done.iter().for_each(|(what, n)| *done.entry(*what).or_insert(0) += n);
        tally.failed.iter().for_each(|(what, n)| *failed.entry(what).or_insert(0) += n);
    }
    let longest = tallies.iter().map(|tally| tally.longest).max().unwrap_or_default();
    let late = tallies.iter().map(|tally| tally.late).sum::<u64>();
    println!(
        "{what}: {seconds} s of {troubles:?}\ndone {done:?}\nfailed {failed:?}\n\
         longest {longest:?}, late {late}"
    );
    let wrong: Vec<&String> = tallies.iter().flat_map(|tally| &tally.wrong).collect();
    assert!(wrong.is_empty(), "values of other keys: {wrong:?}");
    assert_eq!(late, 0, "late calls");
    assert!(calls.are_enough(), "there was a storm, and calls that came through");
    // A cluster may still let a replica take over that has not heard of the last writes.
    wait_until("it is calm again", || {
        let entry = |number| cache.entry(key(number)).strict();
        let are_set = (0..KEYS).all(|number| entry(number).set("calm").is_ok());
        let found = (0..KEYS).map(|number| entry(number).get::<String>().ok().flatten());
        are_set && found.filter(|found| found.as_deref() == Some("calm")).count() as u64 == KEYS
    });
}
