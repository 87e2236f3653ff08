//! Throughput of the memory backend beside other caches: one run, one machine, one loop.
//!
//! `cargo bench --bench memory` prints millions of operations a second, all threads together.
//! `YC_BENCH_QUICK=1` is a short form that shows only that it runs; so is every call without
//! `--bench`, such as `cargo test --benches`.
//!
//! What is the same for all: the keys and the order they come in, drawn beforehand; the borrowed
//! key of a get; the values, which are clones of shared [`Bytes`]; the number of operations. Each
//! cache has its own default hasher: moka and mini-moka the standard library's, the others a faster
//! one. A second moka with the hasher of `quick_cache` shows what that makes of the difference.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mini_moka::sync::ConcurrentCacheExt;
use quick_cache::DefaultHashBuilder;
use yokedcache::Cache;

const KEYS: usize = 100_000;
const VALUE_BYTES: usize = 100;
/// Threads that clone one value pass its counter around, which would hide the caches: keys take
/// their values from so many.
const VALUES: usize = 1024;
const ZIPF_EXPONENT: f64 = 0.99;
const THREADS: [usize; 3] = [1, 2, 8];
/// Twice the keys: the others divide their capacity among shards or admit by estimates, and would
/// evict some of the keys at once the number.
const ROOMY: usize = 2 * KEYS;
const TIGHT: usize = KEYS / 10;
const MINUTE: Duration = Duration::from_secs(60);

const ROWS: [Row; 5] = [
    Row { name: "get hit, Zipf", work: Work::Get, draw: Draw::Zipf, capacity: ROOMY, ttl: None },
    Row {
        name: "get hit, uniform",
        work: Work::Get,
        draw: Draw::Uniform,
        capacity: ROOMY,
        ttl: None,
    },
    Row {
        name: "90% get 10% set, Zipf",
        work: Work::Mixed,
        draw: Draw::Zipf,
        capacity: ROOMY,
        ttl: None,
    },
    Row {
        name: "read-through at 10%",
        work: Work::ReadThrough,
        draw: Draw::Zipf,
        capacity: TIGHT,
        ttl: None,
    },
    Row {
        name: "set, TTL 60 s (1)",
        work: Work::Set,
        draw: Draw::Uniform,
        capacity: ROOMY,
        ttl: Some(MINUTE),
    },
];

struct Row {
    name: &'static str,
    work: Work,
    draw: Draw,
    capacity: usize,
    ttl: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq)]
enum Work {
    Get,
    /// Every tenth operation is a set.
    Mixed,
    /// A get, and a set where it misses.
    ReadThrough,
    Set,
}

#[derive(Clone, Copy)]
enum Draw {
    Zipf,
    Uniform,
}

/// What the threads of one round do.
struct Load<'a> {
    work: Work,
    keys: &'a [String],
    values: &'a [Bytes],
    /// Which keys to use, for each thread.
    picks: &'a [Vec<u32>],
    /// How many operations each thread does.
    operations: usize,
}

impl Load<'_> {
    fn all_operations(&self) -> usize {
        self.operations * self.picks.len()
    }
}

struct Outcome {
    elapsed: Duration,
    hits: usize,
}

/// A cache under test. The loops are default methods: they are compiled anew for each cache, with
/// its calls inlined as in a program that has only this one.
trait Contender: Sync {
    #[expect(clippy::ptr_arg, reason = "mini-moka looks up by the owned type only")]
    fn get(&self, key: &String) -> Option<Bytes>;
    #[expect(clippy::ptr_arg, reason = "as for `get`")]
    fn set(&self, key: &String, value: Bytes);
    /// Does what the cache has put off.
    fn settle(&self) {}

    fn warm(&self, keys: &[String], values: &[Bytes]) {
        for (key, value) in keys.iter().zip(values.iter().cycle()) {
            self.set(key, value.clone());
        }
        self.settle();
    }

    /// The work of one thread; returns the hits.
    fn work(&self, load: &Load<'_>, picks: &[u32]) -> usize {
        let picks = picks.iter().cycle().take(load.operations).map(|pick| *pick as usize);
        let get = |pick: usize| black_box(self.get(&load.keys[pick])).is_some();
        let set = |pick: usize| self.set(&load.keys[pick], load.values[pick % VALUES].clone());
        match load.work {
            Work::Get => picks.filter(|pick| get(*pick)).count(),
            Work::Mixed => {
                let hit = |(step, pick)| {
                    if step % 10 == 9 {
                        set(pick);
                        false
                    } else {
                        get(pick)
                    }
                };
                picks.enumerate().map(hit).filter(|hit| *hit).count()
            }
            Work::ReadThrough => {
                let hit = |pick: &usize| {
                    let hit = get(*pick);
                    if !hit {
                        set(*pick);
                    }
                    hit
                };
                picks.filter(hit).count()
            }
            Work::Set => {
                picks.for_each(set);
                0
            }
        }
    }

    /// All threads at once, from the first start to the last end.
    fn round(&self, load: &Load<'_>) -> Outcome {
        let barrier = Barrier::new(load.picks.len());
        let one = |picks| {
            barrier.wait();
            let start = Instant::now();
            let hits = self.work(load, picks);
            (start, Instant::now(), hits)
        };
        let parts: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> =
                load.picks.iter().map(|picks| scope.spawn(move || one(picks))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let start = parts.iter().map(|part| part.0).min().expect("a thread");
        let end = parts.iter().map(|part| part.1).max().expect("a thread");
        Outcome { elapsed: end - start, hits: parts.iter().map(|part| part.2).sum() }
    }
}

impl Contender for Cache {
    fn get(&self, key: &String) -> Option<Bytes> {
        self.get_bytes(key).expect("a valid key")
    }

    fn set(&self, key: &String, value: Bytes) {
        self.set_bytes(key, value).expect("a valid key");
    }
}

impl<S> Contender for moka::sync::Cache<String, Bytes, S>
where
    S: BuildHasher + Clone + Send + Sync + 'static,
{
    fn get(&self, key: &String) -> Option<Bytes> {
        self.get(key)
    }

    fn set(&self, key: &String, value: Bytes) {
        self.insert(key.clone(), value);
    }

    fn settle(&self) {
        self.run_pending_tasks();
    }
}

impl Contender for mini_moka::sync::Cache<String, Bytes> {
    fn get(&self, key: &String) -> Option<Bytes> {
        self.get(key)
    }

    fn set(&self, key: &String, value: Bytes) {
        self.insert(key.clone(), value);
    }

    fn settle(&self) {
        self.sync();
    }
}

impl Contender for quick_cache::sync::Cache<String, Bytes> {
    fn get(&self, key: &String) -> Option<Bytes> {
        self.get(key)
    }

    fn set(&self, key: &String, value: Bytes) {
        self.insert(key.clone(), value);
    }
}

/// Ours first; the ratio is to the second.
const NAMES: [&str; 5] = ["yokedcache", "moka", "moka (2)", "quick_cache", "mini-moka"];

fn contenders(row: &Row) -> [Box<dyn Contender>; 5] {
    [
        Box::new(ours(row)),
        Box::new(moka(row, RandomState::new())),
        Box::new(moka(row, DefaultHashBuilder::default())),
        Box::new(quick_cache::sync::Cache::new(row.capacity)),
        Box::new(mini_moka(row)),
    ]
}

fn ours(row: &Row) -> Cache {
    let cache = Cache::memory(row.capacity);
    match row.ttl {
        Some(ttl) => cache.with_ttl(ttl),
        None => cache,
    }
}

fn moka<S>(row: &Row, hasher: S) -> moka::sync::Cache<String, Bytes, S>
where
    S: BuildHasher + Clone + Send + Sync + 'static,
{
    let builder = moka::sync::Cache::builder().max_capacity(row.capacity as u64);
    match row.ttl {
        Some(ttl) => builder.time_to_live(ttl).build_with_hasher(hasher),
        None => builder.build_with_hasher(hasher),
    }
}

fn mini_moka(row: &Row) -> mini_moka::sync::Cache<String, Bytes> {
    let builder = mini_moka::sync::Cache::builder().max_capacity(row.capacity as u64);
    match row.ttl {
        Some(ttl) => builder.time_to_live(ttl).build(),
        None => builder.build(),
    }
}

/// Steele, Lea and Flood's `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly from 0 to 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.fraction() * limit as f64) as usize
    }
}

/// Draws keys by rank: the sums of the weights up to each rank, and which key has the rank. Ranks
/// are shuffled, so that the popular keys do not lie side by side in memory.
struct Zipf {
    sums: Vec<f64>,
    keys: Vec<u32>,
}

impl Zipf {
    fn new() -> Self {
        let weight = |rank| 1.0 / (rank as f64).powf(ZIPF_EXPONENT);
        let add = |sum: &mut f64, rank| {
            *sum += weight(rank);
            Some(*sum)
        };
        let sums = (1..=KEYS).scan(0.0, add).collect();
        let mut keys: Vec<_> = (0..KEYS as u32).collect();
        let mut random = Random(7);
        for last in (1..KEYS).rev() {
            keys.swap(last, random.below(last + 1));
        }
        Self { sums, keys }
    }

    fn draw(&self, random: &mut Random) -> u32 {
        let at = random.fraction() * self.sums[KEYS - 1];
        self.keys[self.sums.partition_point(|sum| *sum < at).min(KEYS - 1)]
    }
}

/// Everything that is prepared, so that it is not measured.
struct Inputs {
    keys: Vec<String>,
    values: Vec<Bytes>,
    zipf: Vec<Vec<u32>>,
    uniform: Vec<Vec<u32>>,
}

impl Inputs {
    fn new(picks: usize) -> Self {
        let zipf = Zipf::new();
        let draw = |draw: &dyn Fn(&mut Random) -> u32| {
            let thread = |seed| {
                let mut random = Random(seed);
                (0..picks).map(|_| draw(&mut random)).collect()
            };
            (1..=THREADS[THREADS.len() - 1] as u64).map(thread).collect()
        };
        Self {
            keys: (0..KEYS).map(|number| format!("user:profile:{number:08}")).collect(),
            values: (0..VALUES).map(|number| vec![number as u8; VALUE_BYTES].into()).collect(),
            zipf: draw(&|random| zipf.draw(random)),
            uniform: draw(&|random| random.below(KEYS) as u32),
        }
    }

    fn load(&self, row: &Row, threads: usize) -> Load<'_> {
        let Self { keys, values, zipf, uniform } = self;
        let picks = match row.draw {
            Draw::Zipf => zipf,
            Draw::Uniform => uniform,
        };
        Load { work: row.work, keys, values, picks: &picks[..threads], operations: 1024 }
    }
}

/// How much to do.
struct Plan {
    rounds: usize,
    /// How long a round of ours takes.
    round: Duration,
    /// After so many a thread begins its keys again.
    picks: usize,
}

impl Plan {
    fn new() -> Self {
        let asked = |argument| std::env::args().any(|given| given == argument);
        let quick = std::env::var_os("YC_BENCH_QUICK").is_some();
        if quick || asked("--test") || !asked("--bench") {
            Self { rounds: 2, round: Duration::from_millis(20), picks: 1 << 15 }
        } else {
            Self { rounds: 7, round: Duration::from_millis(150), picks: 1 << 20 }
        }
    }

    /// Finds the number of operations that takes one cache so long as a round should.
    fn calibrate(&self, contender: &dyn Contender, load: &mut Load<'_>) {
        let mut elapsed = contender.round(load).elapsed;
        while elapsed < self.round / 4 {
            load.operations *= 2;
            elapsed = contender.round(load).elapsed;
        }
        let scale = self.round.as_secs_f64() / elapsed.as_secs_f64();
        load.operations = (load.operations as f64 * scale).max(1.0) as usize;
    }

    /// The caches take turns, so that a slow moment of the machine slows down all of them.
    fn measure(&self, contenders: &[Box<dyn Contender>], load: &mut Load<'_>) -> Vec<Figure> {
        self.calibrate(&*contenders[0], load);
        let mut rounds: Vec<Vec<Outcome>> = contenders.iter().map(|_| Vec::new()).collect();
        // One more than counts: in the first each cache comes to its steady state.
        for _ in 0..=self.rounds {
            for (contender, outcomes) in contenders.iter().zip(&mut rounds) {
                outcomes.push(contender.round(load));
            }
        }
        rounds.iter().map(|outcomes| Figure::new(&outcomes[1..], load)).collect()
    }
}

/// The result for one cache.
struct Figure {
    /// Millions of operations a second.
    mops: f64,
    hit_ratio: f64,
}

impl Figure {
    fn new(outcomes: &[Outcome], load: &Load<'_>) -> Self {
        let mut times: Vec<_> = outcomes.iter().map(|outcome| outcome.elapsed).collect();
        times.sort_unstable();
        let median = times[times.len() / 2];
        let operations = load.all_operations();
        let hits: usize = outcomes.iter().map(|outcome| outcome.hits).sum();
        if load.work == Work::Get {
            assert_eq!(hits, operations * outcomes.len(), "every key is there");
        }
        Self {
            mops: operations as f64 / median.as_secs_f64() / 1e6,
            hit_ratio: hits as f64 / (operations * outcomes.len()) as f64,
        }
    }
}

fn print_header() {
    println!("{KEYS} keys, values of {VALUE_BYTES} bytes; millions of operations a second\n");
    print!("{:<22} {:>7}", "", "threads");
    NAMES.iter().for_each(|name| print!(" {name:>11}"));
    println!(" {:>10}", "ours/moka");
}

fn print_figures(row: &Row, threads: usize, figures: &[Figure]) {
    print!("{:<22} {threads:>7}", row.name);
    figures.iter().for_each(|figure| print!(" {:>11.2}", figure.mops));
    let ratio = figures[0].mops / figures[1].mops;
    println!(" {ratio:>10.2}{}", if ratio < 1.0 { "  SLOWER" } else { "" });
    if row.work == Work::ReadThrough {
        print!("{:<22} {:>7}", "  hit ratio", "");
        figures.iter().for_each(|figure| print!(" {:>11.3}", figure.hit_ratio));
        println!();
    }
}

fn main() {
    let plan = Plan::new();
    let inputs = Inputs::new(plan.picks);
    print_header();
    let mut alone = Vec::new();
    for row in &ROWS {
        let contenders = contenders(row);
        contenders.iter().for_each(|contender| contender.warm(&inputs.keys, &inputs.values));
        for threads in THREADS {
            let figures = plan.measure(&contenders, &mut inputs.load(row, threads));
            print_figures(row, threads, &figures);
            if threads == 1 && row.work == Work::Get {
                alone.push(1e3 / figures[0].mops);
            }
        }
    }
    println!("\n(1) quick_cache has no TTL: a plain insert.");
    println!("(2) with the hasher of quick_cache in place of the standard library's.");
    println!(
        "\nyokedcache, one thread, {KEYS} entries: {:.0} ns a get by Zipf, {:.0} ns evenly",
        alone[0], alone[1]
    );
}
