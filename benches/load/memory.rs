//! Over memory.
//!
//! A turn of a hit is many gets, so that looking at the clock does not count. Values are numbers,
//! which are decoded in no time: of larger ones the decoding would hide what loading adds.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::rounds::{Contender, Plan, Row, median, ratio, row};
use super::{run, unreachable};
use yokedcache::Cache;

const FEW: usize = 1_000;
const MANY: usize = 100_000;
/// Gets in a turn.
const GETS: usize = 256;
/// After so many the picks begin again.
const PICKS: usize = 1 << 18;
const COLD: usize = 10_000;
const THREADS: usize = 8;
const BUSY: Duration = Duration::from_micros(100);

type Moka = moka::sync::Cache<String, u64>;
type Quick = quick_cache::sync::Cache<String, u64>;

const fn hits(
    name: &'static str,
    threads: usize,
    contenders: for<'a> fn(&'a Arena) -> Vec<Contender<'a>>,
) -> Row<Arena> {
    Row { operations: GETS, ..row(name, threads, contenders) }
}

const HITS: [Row<Arena>; 8] = [
    hits("hit, 1,000 numbers", 1, Arena::hits_of_few),
    hits("hit, 1,000 numbers", 2, Arena::hits_of_few),
    hits("hit, 1,000 numbers", THREADS, Arena::hits_of_few),
    hits("hit, 100,000 numbers", 1, Arena::hits_of_many),
    hits("hit, 100,000 numbers", 2, Arena::hits_of_many),
    hits("hit, 100,000 numbers", THREADS, Arena::hits_of_many),
    hits("hit, 1,000 texts", 1, Arena::hits_of_texts),
    hits("hit, 1,000 texts", THREADS, Arena::hits_of_texts),
];

const SAME: Row<Arena> =
    Row { operations: THREADS, ..row("all at one cold key", THREADS, Arena::one_cold_key) };
const DIFFERENT: Row<Arena> = row("10,000 cold keys", THREADS, Arena::cold_keys);

struct Arena {
    keys: Vec<String>,
    /// Which keys to ask for, as parts of all.
    picks: Vec<f64>,
    /// Loaders run at the one cold key, and rounds, for each contender.
    tallies: [Tally; 4],
}

#[derive(Default)]
struct Tally {
    runs: AtomicUsize,
    rounds: AtomicUsize,
}

impl Arena {
    fn new() -> Self {
        let mut state = 7_u64;
        let mut draw = || {
            // Knuth's MMIX; the upper bits are the good ones.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        Self {
            keys: (0..MANY).map(|number| format!("user:profile:{number:08}")).collect(),
            picks: (0..PICKS).map(|_| draw()).collect(),
            tallies: Default::default(),
        }
    }

    /// Somebody who gets many keys in a turn.
    fn getter<'a>(
        &'a self,
        name: &'static str,
        keys: usize,
        get: impl Fn(&str) + Sync + 'a,
    ) -> Contender<'a> {
        // Drawn beforehand: not part of what is measured.
        let picks: Vec<u32> = self.picks.iter().map(|part| (part * keys as f64) as u32).collect();
        Contender::new(name, move |turn| {
            let from = turn * GETS % PICKS;
            for pick in &picks[from..from + GETS] {
                get(&self.keys[*pick as usize]);
            }
        })
    }

    fn hits(&self, keys: usize) -> Vec<Contender<'_>> {
        let (ours, moka, quick) =
            (Cache::memory(2 * keys), Moka::new(2 * keys as u64), Quick::new(2 * keys));
        for (key, value) in self.keys[..keys].iter().zip(0_u64..) {
            ours.set(key, &value).expect("a valid key");
            moka.insert(key.clone(), value);
            quick.insert(key.clone(), value);
        }
        moka.run_pending_tasks();
        let plain = ours.clone();
        vec![
            self.getter("get_or_load", keys, move |key| {
                let found = ours.get_or_load(key, unreachable::<u64>);
                black_box(found.expect("an answer").expect("a value"));
            }),
            self.getter("get", keys, move |key| {
                black_box(plain.get::<u64>(key).expect("an answer").expect("a value"));
            }),
            self.getter("moka", keys, move |key| {
                black_box(moka.get_with_by_ref(key, || unreachable!("every key is there")));
            }),
            self.getter("quick_cache", keys, move |key| {
                let Ok(value) = quick.get_or_insert_with(key, unreachable);
                black_box(value);
            }),
        ]
    }

    fn hits_of_few(&self) -> Vec<Contender<'_>> {
        self.hits(FEW)
    }

    fn hits_of_many(&self) -> Vec<Contender<'_>> {
        self.hits(MANY)
    }

    fn hits_of_texts(&self) -> Vec<Contender<'_>> {
        let (ours, text) = (Cache::memory(2 * FEW), "v".repeat(100));
        for key in &self.keys[..FEW] {
            ours.set(key, &text).expect("a valid key");
        }
        let plain = ours.clone();
        vec![
            self.getter("get_or_load", FEW, move |key| {
                let found = ours.get_or_load(key, unreachable::<String>);
                black_box(found.expect("an answer").expect("a value"));
            }),
            self.getter("get", FEW, move |key| {
                black_box(plain.get::<String>(key).expect("an answer").expect("a value"));
            }),
        ]
    }

    /// Somebody whom all threads ask for one key that is not there.
    fn cold<'a>(
        &'a self,
        (name, tally): (&'static str, &'a Tally),
        load: impl Fn(&str, &dyn Fn() -> u64) -> u64 + Sync + 'a,
    ) -> Contender<'a> {
        Contender::elsewhere(name, move |threads, length| {
            let (mut spent, mut rounds) = (Duration::ZERO, 0);
            while spent < length {
                let key = format!("cold{}", tally.rounds.fetch_add(1, Relaxed));
                let loader = || {
                    tally.runs.fetch_add(1, Relaxed);
                    keep_busy();
                    7
                };
                spent += at_once(threads, |_| assert_eq!(load(&key, &loader), 7));
                rounds += 1;
            }
            f64::from(rounds) / spent.as_secs_f64()
        })
    }

    fn one_cold_key(&self) -> Vec<Contender<'_>> {
        let (ours, moka, quick) = (Cache::memory(COLD), Moka::new(COLD as u64), Quick::new(COLD));
        let [a, b, c, d] = &self.tallies;
        vec![
            self.cold(("get_or_load", a), move |key, loader| {
                ours.get_or_compute(key, loader).expect("an answer")
            }),
            self.cold(("moka", b), move |key, loader| moka.get_with_by_ref(key, loader)),
            self.cold(("quick_cache", c), move |key, loader| {
                let Ok(value) = quick.get_or_insert_with(key, || Ok::<_, Infallible>(loader()));
                value
            }),
            // What the machine can do: the loader alone, once for each round.
            self.cold(("one thread", d), {
                let turn = AtomicUsize::new(0);
                move |_, loader| match turn.fetch_add(1, Relaxed) % THREADS {
                    0 => loader(),
                    _ => 7,
                }
            }),
        ]
    }

    /// Somebody who loads all keys, each once.
    fn filler<'a>(
        &'a self,
        name: &'static str,
        empty: impl Fn() + 'a,
        load: impl Fn(&str) + Sync + 'a,
    ) -> Contender<'a> {
        Contender::elsewhere(name, move |threads, _| {
            empty();
            let part = COLD / threads;
            let spent = at_once(threads, |thread| {
                self.keys[thread * part..][..part].iter().for_each(|key| load(key));
            });
            (part * threads) as f64 / spent.as_secs_f64()
        })
    }

    fn cold_keys(&self) -> Vec<Contender<'_>> {
        let size = 2 * COLD;
        let ours = &*Box::leak(Box::new(Cache::memory(size)));
        let moka = &*Box::leak(Box::new(Moka::new(size as u64)));
        let quick = &*Box::leak(Box::new(Quick::new(size)));
        let each = |forget: &dyn Fn(&str)| self.keys[..COLD].iter().for_each(|key| forget(key));
        vec![
            self.filler(
                "get_or_load",
                move || each(&|key| _ = ours.delete(key)),
                move |key| _ = black_box(ours.get_or_compute(key, || 7_u64)),
            ),
            self.filler(
                "moka",
                move || {
                    each(&|key| moka.invalidate(key));
                    moka.run_pending_tasks();
                },
                move |key| _ = black_box(moka.get_with_by_ref(key, || 7)),
            ),
            self.filler(
                "quick_cache",
                move || each(&|key| _ = quick.remove(key)),
                move |key| {
                    _ = black_box(quick.get_or_insert_with(key, || Ok::<_, Infallible>(7)));
                },
            ),
        ]
    }
}

fn keep_busy() {
    let started = Instant::now();
    while started.elapsed() < BUSY {}
}

/// From the first start to the last end of what the threads do at once.
fn at_once(threads: usize, work: impl Fn(usize) + Sync) -> Duration {
    let (barrier, work) = (&Barrier::new(threads), &work);
    let one = move |thread| {
        barrier.wait();
        let start = Instant::now();
        work(thread);
        (start, Instant::now())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        let times: Vec<_> =
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        let start = times.iter().map(|time| time.0).min().expect("a thread");
        times.iter().map(|time| time.1).max().expect("a thread") - start
    })
}

pub fn run_rows(plan: &Plan) {
    let arena = Arena::new();
    let mut most = f64::NAN;
    for row in &HITS {
        if let Some(rates) = run(plan, &arena, row) {
            most = most.max(1.0 / ratio(&rates[0], &rates[1]));
        }
    }
    println!("  a hit by get_or_load takes at most {most:.2} times a get");
    if let Some(rates) = run(plan, &arena, &SAME) {
        for (rates, tally) in rates.iter().zip(&arena.tallies) {
            let micros = 1e6 * THREADS as f64 / median(rates.iter().copied());
            let (runs, rounds) = (tally.runs.load(Relaxed), tally.rounds.load(Relaxed));
            println!("  {micros:.0} us until all have it; {runs} loaders run in {rounds} rounds");
        }
    }
    run(plan, &arena, &DIFFERENT);
}
