//! A program that watches its cache and replaces the backend under it while it runs: a small memory
//! by a larger one when much is evicted, and by Redis when no memory is large enough.
//!
//! `cargo run --example adaptive`, or with a server at hand
//! `cargo run --features redis --example adaptive redis://localhost`

use yokedcache::{Backend, Cache, Event, Memory, Result, Switch};

const FIRST_SIZE: usize = 100;
/// The most entries this process is to hold.
const LARGEST: usize = 1_600;
const READS: u64 = 4_000;

/// How many pages are asked for in each round.
const ROUNDS: [u64; 9] = [80, 80, 300, 300, 1_200, 1_200, 6_000, 6_000, 6_000];

/// A cache whose backend is chosen by how it does.
struct Adaptive {
    cache: Cache,
    switch: Switch,
    place: Place,
    seen: Seen,
}

/// Where the entries are.
#[derive(Clone, Copy)]
enum Place {
    Memory(usize),
    Server,
}

/// What had been counted when it was looked at last.
#[derive(Clone, Copy, Default)]
struct Seen {
    hits: u64,
    misses: u64,
    failures: u64,
    evicted: u64,
}

/// How it did since then.
struct Report {
    hit_rate: f64,
    evicted: u64,
    failures: u64,
}

impl Adaptive {
    fn new() -> Result<Self> {
        let switch = Switch::new(memory(FIRST_SIZE)?);
        // A prefix, so that a server that others use, too, may take the memory's place.
        let builder = Cache::builder(switch.clone()).key_prefix("adaptive");
        let cache = builder.on_event(tell).build()?;
        Ok(Self { cache, switch, place: Place::Memory(FIRST_SIZE), seen: Seen::default() })
    }

    fn report(&mut self) -> Report {
        let stats = self.cache.stats();
        // The switch itself counts nothing: what counts is the backend it has now.
        let evicted = stats.backend.children.iter().map(|(_, current)| current.evicted).sum();
        let (hits, misses, failures) = (stats.hits, stats.misses.total(), stats.failures);
        let before = std::mem::replace(&mut self.seen, Seen { hits, misses, failures, evicted });
        let (hits, misses) = (hits - before.hits, misses - before.misses);
        Report {
            hit_rate: hits as f64 / (hits + misses).max(1) as f64,
            evicted: evicted - before.evicted,
            failures: failures - before.failures,
        }
    }

    /// Replaces the backend if it did badly. The new one begins empty: what it held before may have
    /// missed invalidations.
    fn adapt(&mut self, report: &Report) -> Result<()> {
        let next = match self.place {
            Place::Server if report.failures > 0 => Place::Memory(LARGEST),
            Place::Memory(size) if report.evicted > READS / 20 => {
                if size < LARGEST {
                    Place::Memory((size * 4).min(LARGEST))
                } else {
                    Place::Server
                }
            }
            _ => return Ok(()),
        };
        let Some(backend) = open(next)? else {
            println!("      there is nothing larger to go to");
            return Ok(());
        };
        match self.switch.switch_to(backend) {
            // The new one has evicted nothing so far.
            Ok(()) => (self.place, self.seen.evicted) = (next, 0),
            // It could not be cleared, so nothing was changed.
            Err(error) => println!("      it stays as it is: {error}"),
        }
        Ok(())
    }
}

fn memory(max_size: usize) -> Result<Memory> {
    Memory::builder().max_size(max_size).build()
}

fn open(place: Place) -> Result<Option<Box<dyn Backend>>> {
    match place {
        Place::Memory(size) => Ok(Some(Box::new(memory(size)?))),
        Place::Server => server(),
    }
}

/// The server named on the command line, if there is one.
#[cfg(feature = "redis")]
fn server() -> Result<Option<Box<dyn Backend>>> {
    let Some(url) = std::env::args().nth(1) else { return Ok(None) };
    Ok(Some(Box::new(yokedcache::Redis::open(&url)?)))
}

#[cfg(not(feature = "redis"))]
fn server() -> Result<Option<Box<dyn Backend>>> {
    Ok(None)
}

fn tell(event: &Event) {
    println!("      {event}");
}

fn main() -> Result<()> {
    let mut adaptive = Adaptive::new()?;
    println!("round  pages  backend   hit rate  evicted  failures");
    let mut random: u64 = 1;
    for (round, pages) in (1..).zip(ROUNDS) {
        for _ in 0..READS {
            // The same in each run, and as good as chance here.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let page = (random >> 33) % pages;
            adaptive.cache.get_or_compute(page.to_string(), || format!("page {page}"))?;
        }
        let report = adaptive.report();
        let place = match adaptive.place {
            Place::Memory(size) => size.to_string(),
            Place::Server => "Redis".to_owned(),
        };
        let Report { hit_rate, evicted, failures } = report;
        println!(
            "{round:>5}  {pages:>5}  {place:<8}  {:>7.1}%  {evicted:>7}  {failures:>8}",
            hit_rate * 100.0
        );
        adaptive.adapt(&report)?;
    }
    Ok(())
}
