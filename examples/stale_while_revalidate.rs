//! A loader that outlives the call: values that are refreshed before they end, served stale while a
//! thread of the cache loads and while the source is down, and limits to how long a caller waits.
//!
//! The cache's clock is set by hand, so that minutes pass at once; the source takes real time.
//!
//! `cargo run --example stale_while_revalidate`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use yokedcache::{Cache, Freshness, Loader, Lookup, ManualClock, Memory, Result};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

type Rates = Loader<String, String>;

/// A service somewhere else. It counts its answers, so that one can be told from the next.
#[derive(Default)]
struct Source {
    asked: AtomicU64,
    takes_ms: AtomicU64,
    is_down: AtomicBool,
}

impl Source {
    fn rate(&self, currency: &str) -> Result<String, String> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        thread::sleep(Duration::from_millis(self.takes_ms.load(Ordering::SeqCst)));
        match self.is_down.load(Ordering::SeqCst) {
            true => Err("the source is down".into()),
            false => Ok(format!("{currency} rate {asked}")),
        }
    }

    fn takes(&self, time: Duration) {
        self.takes_ms.store(time.as_millis() as u64, Ordering::SeqCst);
    }

    fn is_down(&self, down: bool) {
        self.is_down.store(down, Ordering::SeqCst);
    }
}

struct Tour {
    clock: ManualClock,
    cache: Cache,
    source: Arc<Source>,
    rates: Rates,
}

impl Tour {
    fn begin() -> Result<Self> {
        let clock = ManualClock::new();
        let memory = Memory::builder().clock(&clock).build()?;
        let cache = Cache::builder(memory).clock(&clock).build()?;
        let source = Arc::new(Source::default());
        source.takes(50 * MS);
        let policy = Freshness::new()
            .ttl(MINUTE)
            .refresh_at(0.8)
            .stale_for(60 * MINUTE)
            .retry_after(10 * SECOND);
        let asked = source.clone();
        let rates = cache.loader(move |currency| asked.rate(currency)).freshness(policy);
        Ok(Self { clock, cache, source, rates })
    }

    /// Asks, tells, and waits for what runs behind.
    fn ask(&self, when: &str, rates: &Rates, currency: &str) {
        let started = Instant::now();
        let answer = rates.lookup(currency);
        let took = started.elapsed().as_millis();
        self.cache.drain(10 * SECOND);
        let answer = match answer {
            Ok(Ok(Lookup::Hit(hit))) if hit.stale => format!("{}, stale", hit.value),
            Ok(Ok(Lookup::Hit(hit))) => hit.value,
            Ok(Ok(other)) => format!("{other:?}"),
            Ok(Err(error)) => format!("the loader's error: {error}"),
            Err(error) => format!("the cache's error: {:?}", error.kind()),
        };
        let asked = self.source.asked.load(Ordering::SeqCst);
        println!("  {when:<44} {answer:<37} {took:>4} ms  {asked:>5}");
    }

    /// Lets time pass, and asks.
    fn later(&self, by: Duration, when: &str) {
        self.clock.advance(by);
        self.ask(when, &self.rates, "eur");
    }
}

fn heading(what: &str) {
    println!("\n{what:<46} {:<37} {:>7}  {:>5}", "answer", "took", "asked");
}

/// Values live for a minute, and are refreshed when 48 seconds of it are over.
fn refreshed_early(tour: &Tour) {
    heading("refresh_at(0.8) of a minute");
    tour.later(Duration::ZERO, "nothing is there: the caller waits");
    tour.later(40 * SECOND, "40 s old");
    tour.later(10 * SECOND, "50 s old: refreshed behind");
    tour.later(Duration::ZERO, "at once again: the new one");
}

fn served_stale(tour: &Tour) {
    heading("stale_for(an hour)");
    tour.later(2 * MINUTE, "2 min old: refreshed behind");
    tour.later(Duration::ZERO, "at once again: the new one");
}

fn survives(tour: &Tour) {
    heading("The source fails, retry_after(10 s)");
    tour.source.is_down(true);
    tour.later(2 * MINUTE, "2 min old: asked behind, in vain");
    tour.later(5 * SECOND, "5 s later: it is left alone");
    tour.later(6 * SECOND, "11 s later: asked again");
    tour.later(2 * 60 * MINUTE, "2 h later: too old to be served");
    tour.source.is_down(false);
    tour.later(11 * SECOND, "it is up again: the caller waits");
}

fn limited(tour: &Tour) {
    heading("soft_limit(100 ms): to wait for a better one");
    let patient = tour.rates.clone().soft_limit(100 * MS);
    tour.clock.advance(2 * MINUTE);
    tour.ask("stale; the source takes 50 ms", &patient, "eur");
    tour.source.takes(300 * MS);
    tour.clock.advance(2 * MINUTE);
    tour.ask("stale; the source takes 300 ms", &patient, "eur");
    tour.ask("at once again: the new one", &patient, "eur");

    heading("hard_limit(100 ms): to wait at all");
    let hurried = tour.rates.clone().hard_limit(100 * MS);
    tour.ask("nothing is there", &hurried, "chf");
    tour.ask("again: what came late was not stored", &hurried, "chf");
    tour.ask("with keep_late()", &hurried.clone().keep_late(), "chf");
    tour.ask("again", &hurried, "chf");
}

fn main() -> Result<()> {
    let tour = Tour::begin()?;
    refreshed_early(&tour);
    served_stale(&tour);
    survives(&tour);
    limited(&tour);

    let stats = tour.cache.stats();
    println!("\nstats");
    println!("  loads      {:>3}", stats.loads);
    println!("  refreshes  {:>3}   one of them came too early after an error", stats.refreshes);
    println!("  errors     {:>3}", stats.load_errors);
    println!("  hits       {:>3}", stats.hits);
    println!("  stale      {:>3}   values served past their time to live", stats.stale);
    Ok(())
}
