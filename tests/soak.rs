//! Long runs: what a cache holds stays bounded, and a mass of entries that end at once stalls
//! nobody.
//!
//! The short form runs with the other tests. The long one is `YC_SOAK=1 cargo test --release --test
//! soak -- --nocapture`; its figures of resident memory mean most when each test runs in a process
//! of its own, since an allocator keeps what an earlier test freed.

use std::hint::black_box;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use yokedcache::{BackendStats, Cache, Memory, Ttl};

const MAX_SIZE: u64 = 10_000;
const SHARED_TAGS: u64 = 100;
const VALUE: [u8; 64] = [7; 64];
/// More than any key, value and two tags of these tests take together.
const ENTRY_BYTES: u64 = 128;

fn is_long() -> bool {
    std::env::var_os("YC_SOAK").is_some()
}

/// One test at a time: each looks at the memory of the whole process, or at its own latency.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Resident memory in KiB, where the system tells it.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

fn print_resident(when: &str) -> Option<u64> {
    let resident = resident();
    match resident {
        Some(kib) => println!("  {when:<24} {:>8.1} MiB resident", kib as f64 / 1024.0),
        None => println!("  {when:<24} resident memory is not known here"),
    }
    resident
}

fn stats(cache: &Cache) -> BackendStats {
    cache.stats().backend
}

/// Entries, tag links and bytes.
fn held(cache: &Cache) -> (u64, u64, u64) {
    let stats = stats(cache);
    let count = |count: Option<u64>| count.expect("memory counts");
    (count(stats.entries), count(stats.tag_links), count(stats.bytes))
}

/// Inserts `count` times and looks at the bounds after each tenth.
fn soak(what: &str, max_entries: u64, count: u64, insert: impl Fn(&Cache, u64)) -> Cache {
    println!("{what}: {count} inserts");
    let cache = Cache::memory(MAX_SIZE as usize);
    let mut residents = Vec::new();
    for tenth in 1..=10 {
        (count * (tenth - 1) / 10..count * tenth / 10).for_each(|number| insert(&cache, number));
        let (entries, links, bytes) = held(&cache);
        assert!(entries <= max_entries, "{entries} entries");
        assert!(links <= 2 * entries, "{links} links of {entries} entries");
        assert!(bytes <= ENTRY_BYTES * entries, "{bytes} bytes of {entries} entries");
        if [1, 5, 10].contains(&tenth) {
            residents.push(print_resident(&format!("after {}", count * tenth / 10)));
        }
    }
    if is_long()
        && let (Some(early), Some(late)) = (residents[0], residents[2])
    {
        assert!(late <= early + early / 5 + 16 * 1024, "from {early} KiB to {late} KiB");
    }
    cache
}

fn inserts() -> u64 {
    if is_long() { 10_000_000 } else { 300_000 }
}

/// One of the shared tags and one of its own.
fn tags(number: u64) -> [String; 2] {
    [format!("shared:{}", number % SHARED_TAGS), format!("own:{number}")]
}

fn is_empty(cache: &Cache) -> bool {
    held(cache) == (0, 0, 0)
}

fn wait_until_empty(cache: &Cache) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_empty(cache) {
        assert!(Instant::now() < deadline, "{:?} are left", held(cache));
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn inserts_far_beyond_max_size_stay_bounded() {
    let _alone = alone();
    let cache = soak("distinct keys", MAX_SIZE, inserts(), |cache, number| {
        let entry = cache.entry(format!("key:{number}")).tags(tags(number));
        assert!(entry.set_bytes(&VALUE[..]).unwrap());
    });
    assert_eq!(held(&cache).0, MAX_SIZE);
    assert_eq!(stats(&cache).evicted, inserts() - MAX_SIZE);
    cache.clear().unwrap();
    assert!(is_empty(&cache), "{:?} are left", held(&cache));
}

#[test]
fn inserts_that_soon_expire_stay_bounded() {
    let _alone = alone();
    let cache = soak("distinct keys that expire", MAX_SIZE, inserts(), |cache, number| {
        // Some end before they would be evicted, some after.
        let ttl = Duration::from_millis(1 + number % 256);
        let entry = cache.entry(format!("key:{number}")).tags(tags(number)).ttl(ttl);
        assert!(entry.set_bytes(&VALUE[..]).unwrap());
    });
    wait_until_empty(&cache);
    let stats = stats(&cache);
    println!("  {} expired, {} were evicted", stats.expired, stats.evicted);
    assert_eq!(stats.expired + stats.evicted, inserts());
}

#[test]
fn overwriting_with_other_tags_and_times_stays_bounded() {
    const KEYS: u64 = 1_000;
    let _alone = alone();
    let cache = soak("the same keys again and again", KEYS, inserts(), |cache, number| {
        let entry = cache.entry(format!("key:{}", number % KEYS)).tags(tags(number));
        let ttl = match number % 3 {
            0 => Ttl::Never,
            1 => Ttl::After(Duration::from_millis(1 + number % 64)),
            _ => Ttl::After(Duration::from_secs(60 + number % 3600)),
        };
        assert!(entry.ttl(ttl).set_bytes(&VALUE[..]).unwrap());
    });
    cache.invalidate_tags((0..SHARED_TAGS).map(|tag| format!("shared:{tag}"))).unwrap();
    assert!(is_empty(&cache), "{:?} are left", held(&cache));
}

/// Counts of latencies, in sixteen steps an octave.
struct Latencies {
    counts: Vec<u64>,
    max: Duration,
}

impl Latencies {
    const STEPS: u64 = 16;

    fn new() -> Self {
        Self { counts: vec![0; 64 * Self::STEPS as usize], max: Duration::ZERO }
    }

    fn add(&mut self, latency: Duration) {
        let nanos = (latency.as_nanos() as u64).max(Self::STEPS);
        let octave = u64::from(nanos.ilog2());
        let step = (nanos >> (octave - 4)) % Self::STEPS;
        self.counts[(octave * Self::STEPS + step) as usize] += 1;
        self.max = self.max.max(latency);
    }

    fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The upper end of the step in which this part of all latencies is reached.
    fn quantile(&self, part: f64) -> Duration {
        let rank = (self.count() as f64 * part).ceil() as u64;
        let mut seen = 0;
        let reached = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        let at = reached.unwrap_or(0) as u64;
        let (octave, step) = (at / Self::STEPS, at % Self::STEPS);
        Duration::from_nanos((Self::STEPS + step + 1) << octave.saturating_sub(4)).min(self.max)
    }

    fn print(&self, when: &str) {
        let quantiles = [0.5, 0.99, 0.999].map(|part| self.quantile(part));
        let ([p50, p99, p999], max) = (quantiles, self.max);
        let reads = self.count();
        println!(
            "  {when:<7} {reads:>9} reads: p50 {p50:?}, p99 {p99:?}, p99.9 {p999:?}, max {max:?}"
        );
    }
}

const BEFORE: u8 = 0;
const DURING: u8 = 1;
const OVER: u8 = 2;
const STAYING: u64 = 1_000;

/// Nothing is stored that has ended already.
fn set(cache: &Cache, prefix: &str, number: u64, ttl: Ttl) -> bool {
    let entry = cache.entry(format!("{prefix}:{number}")).ttl(ttl);
    entry.set_bytes(&VALUE[..]).unwrap()
}

/// Inserts those that stay and those that end, all of these at the moment that is returned; nothing if
/// this took more than `lead` times as long as it seemed to: some ended before the rest was inserted.
fn fill(count: u64, lead: u32) -> Option<(Cache, SystemTime)> {
    let memory = Memory::builder()
        .max_size(2 * count as usize)
        .cleanup_interval(Duration::from_millis(50))
        .build()
        .unwrap();
    let cache = Cache::builder(memory).build().unwrap();
    let start = Instant::now();
    assert!((0..STAYING).all(|number| set(&cache, "staying", number, Ttl::Never)));
    let all = start.elapsed().mul_f64(count as f64 / STAYING as f64);
    let moment = SystemTime::now() + lead * all + Duration::from_millis(500);
    let all_set = (0..count).all(|number| set(&cache, "ending", number, Ttl::At(moment)));
    let held = held(&cache).0;
    if SystemTime::now() >= moment {
        return None;
    }
    assert!(all_set);
    assert_eq!(held, count + STAYING);
    Some((cache, moment))
}

/// Reads staying keys.
struct Reader {
    keys: Vec<String>,
    /// Before the sweep and during it.
    latencies: [Latencies; 2],
}

impl Reader {
    fn new() -> Self {
        let keys = (0..STAYING).map(|number| format!("staying:{number}")).collect();
        Self { keys, latencies: [Latencies::new(), Latencies::new()] }
    }

    fn read_until_over(&mut self, cache: &Cache, phase: &AtomicU8) {
        let mut random = 1u64;
        loop {
            let now = phase.load(Ordering::Relaxed);
            if now == OVER {
                return;
            }
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = &self.keys[((random >> 33) % STAYING) as usize];
            let start = Instant::now();
            let value = black_box(cache.get_bytes(key));
            self.latencies[usize::from(now)].add(start.elapsed());
            assert!(value.unwrap().is_some(), "{key} stays");
        }
    }
}

/// Sets the phases; how long after the moment the last entry was freed.
fn watch(cache: &Cache, phase: &AtomicU8, moment: SystemTime, count: u64) -> Duration {
    thread::sleep(moment.duration_since(SystemTime::now()).unwrap_or_default());
    let start = Instant::now();
    phase.store(DURING, Ordering::Relaxed);
    // Rarely: to count, it locks what the reader locks.
    while stats(cache).expired < count && start.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(20));
    }
    phase.store(OVER, Ordering::Relaxed);
    start.elapsed()
}

#[test]
fn a_million_entries_that_expire_at_once_do_not_stall_reads() {
    let _alone = alone();
    let count = if is_long() { 1_000_000 } else { 100_000 };
    println!("{count} entries that expire at once");
    print_resident("before");
    let mut reader = Reader::new();
    let filled = [3, 6, 12, 24, 48].into_iter().find_map(|lead| fill(count, lead));
    let (cache, moment) = filled.expect("a machine that inserts before they end");
    print_resident("full");
    let phase = AtomicU8::new(BEFORE);
    let swept = thread::scope(|scope| {
        scope.spawn(|| reader.read_until_over(&cache, &phase));
        watch(&cache, &phase, moment, count)
    });
    // The sweeper has counted the last entry, but not yet shrunk its table. What is freed then is
    // the allocator's, which need not give it back to the system.
    thread::sleep(Duration::from_millis(200));
    print_resident("swept");
    println!("  swept within {swept:?} of the moment, the sweeper's interval included");
    let [before, during] = reader.latencies;
    before.print("before");
    during.print("during");
    assert_eq!((held(&cache).0, stats(&cache).expired), (STAYING, count));
    if is_long() {
        assert!(during.quantile(0.999) < Duration::from_millis(5));
    }
}
