//! Everything at once: many threads on four servers whose network misbehaves, and which die, come
//! back empty and stand still. No value is ever another key's, no call is late, nothing panics.
//!
//! Eight seconds unless `YC_STORM` says how many; longer where a slow machine has done little by
//! then.
#![cfg(feature = "memcached")]

mod support;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{MemcachedFleet, Plan, Proxy, wait_until};
use yokedcache::{Cache, Error, Memcached};

const LIMIT: Duration = Duration::from_millis(500);
/// How long a call takes at most where the machine is slow, too.
const MOST: Duration = Duration::from_secs(4);
/// How many calls at least are to succeed, and how many to fail.
const ENOUGH: (u64, u64) = (2_000, 5);
const THREADS: u64 = 8;
const KEYS: u64 = 200;

/// Numbers that look random; the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

fn key(number: u64) -> String {
    format!("key-{number}-{}", "k".repeat(number as usize % 7))
}

/// A value that tells whose it is, short or long.
fn value(key: &str, dice: &mut Dice) -> String {
    let length = if dice.roll(20) == 0 { 20_000 } else { dice.roll(200) as usize };
    format!("{key}|{}", "x".repeat(length))
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
        self.late += u64::from(took > MOST);
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

/// Makes trouble until the time is over and enough was done, and then no more.
fn trouble(
    fleet: &MemcachedFleet,
    proxies: &[Proxy],
    seconds: u64,
    calls: &Calls,
) -> BTreeMap<&'static str, u64> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut done = BTreeMap::new();
    let end = Instant::now() + Duration::from_secs(seconds);
    let never = end + Duration::from_secs(300);
    while Instant::now() < end || !calls.are_enough() && Instant::now() < never {
        let (which, other) = (dice.roll(4) as usize, dice.roll(4) as usize);
        let server = &fleet.servers[which];
        // Something else may go wrong elsewhere meanwhile.
        let both = dice.roll(3) == 0;
        if both {
            proxies[other].set(Plan::Random(dice.roll(1_000_000)));
            *done.entry("spells of bad network").or_default() += 1;
        }
        match dice.roll(7) {
            0 => {
                server.kill();
                thread::sleep(Duration::from_millis(dice.roll(1_000)));
                server.start_again();
                *done.entry("kills").or_default() += 1;
            }
            1 => {
                server.restart();
                *done.entry("restarts").or_default() += 1;
            }
            2 => {
                server.stop();
                thread::sleep(Duration::from_millis(100 + dice.roll(1_200)));
                server.cont();
                *done.entry("stops").or_default() += 1;
            }
            3 => {
                proxies[which].set(Plan::Refuse);
                proxies[which].drop_connections();
                thread::sleep(Duration::from_millis(dice.roll(300)));
                *done.entry("resets").or_default() += 1;
            }
            _ => {
                proxies[which].set(Plan::Random(dice.roll(1_000_000)));
                thread::sleep(Duration::from_millis(300 + dice.roll(500)));
                *done.entry("spells of bad network").or_default() += 1;
            }
        }
        proxies[which].set(Plan::Pass);
        proxies[other].set(Plan::Pass);
        thread::sleep(Duration::from_millis(dice.roll(200)));
    }
    done
}

fn storm(binary: bool, seconds: u64) {
    let fleet = MemcachedFleet::start(4);
    let proxies: Vec<Proxy> =
        fleet.servers.iter().map(|server| Proxy::to(&server.addr())).collect();
    let hosts: Vec<String> = proxies.iter().map(Proxy::addr).collect();
    let memcached = Memcached::builder(&format!("memcached://{}", hosts.join(",")))
        .timeout(LIMIT)
        .pool_size(4)
        .binary(binary)
        .build()
        .unwrap();
    let cache = Cache::builder(memcached).key_prefix("storm").build().unwrap();
    let (stop, tallies) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let calls = Calls::default();
    let troubles = thread::scope(|scope| {
        for seed in 0..THREADS {
            let (cache, stop, calls, tallies) = (&cache, &stop, &calls, &tallies);
            scope.spawn(move || {
                let tally = work(cache, seed + 1, stop, calls);
                tallies.lock().unwrap().push(tally);
            });
        }
        let troubles = trouble(&fleet, &proxies, seconds, &calls);
        stop.store(true, Ordering::Relaxed);
        troubles
    });
    let tallies = tallies.into_inner().unwrap();
    assert_eq!(tallies.len() as u64, THREADS, "no thread panicked");
    let (mut done, mut failed) = (BTreeMap::new(), BTreeMap::new());
    for tally in &tallies {
        tally.done.iter().for_each(|(what, n)| *done.entry(*what).or_insert(0) += n);
        tally.failed.iter().for_each(|(what, n)| *failed.entry(what).or_insert(0) += n);
    }
    let longest = tallies.iter().map(|tally| tally.longest).max().unwrap();
    let late = tallies.iter().map(|tally| tally.late).sum::<u64>();
    let protocol = if binary { "binary" } else { "meta" };
    println!(
        "{protocol}: {seconds} s of {troubles:?}\ndone {done:?}\nfailed {failed:?}\n\
         longest {longest:?}, late {late}"
    );
    let wrong: Vec<&String> = tallies.iter().flat_map(|tally| &tally.wrong).collect();
    assert!(wrong.is_empty(), "values of other keys: {wrong:?}");
    assert_eq!(late, 0, "late calls");
    assert!(done.values().sum::<u64>() > ENOUGH.0, "{done:?}");
    assert!(failed.values().sum::<u64>() > ENOUGH.1, "there was a storm");
    // When it is over it is over.
    wait_until("it is calm again", || {
        (0..KEYS).all(|number| cache.entry(key(number)).strict().set("calm").is_ok())
    });
    let calm = cache.with_timeout(Duration::from_secs(30));
    assert!((0..KEYS).all(|number| calm.get::<String>(key(number)).unwrap().unwrap() == "calm"));
}

#[test]
fn in_a_storm_nothing_is_mixed_up_and_nothing_hangs() {
    let seconds = std::env::var("YC_STORM").map_or(8, |seconds| seconds.parse().unwrap());
    // The other protocol for a quarter of the time.
    storm(false, seconds - seconds / 4);
    storm(true, seconds / 4);
}
