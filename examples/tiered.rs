//! Two programs with a near tier each over one Redis server: reads cost nothing, and what one of them
//! invalidates the other hears of.
//!
//! `cargo run --example tiered --features redis` starts a redis-server on a free port of this
//! machine, and stops it at the end; or uses the one that the variable `REDIS_URL` names. All keys
//! begin with `yokedcache-tiers`, and are removed at the end.

mod server;

use std::error::Error;
use std::process::{self, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use yokedcache::{Cache, Event, Lookup, Memory, Redis, Tiered};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const MINUTE: Duration = Duration::from_secs(60);

fn open(url: &str, name: &'static str) -> Result<Cache> {
    let near = Memory::builder().max_size(10_000).build()?;
    let tiers =
        Tiered::builder(near, Redis::open(url)?).bound(Duration::from_millis(500)).build()?;
    let prefix = format!("yokedcache-tiers-{}", process::id());
    let cache = Cache::builder(tiers)
        .key_prefix(prefix)
        .on_event(move |event: &Event| println!("  {name} is told: {event}"))
        .build()?;
    Ok(cache)
}

/// Where a value comes from: tier 0 is this process's memory.
fn look(name: &str, cache: &Cache) -> Result<Option<u8>> {
    let began = Instant::now();
    let found = cache.lookup::<String>("greeting")?;
    let took = began.elapsed();
    Ok(match found {
        Lookup::Hit(hit) => {
            println!("  {name} reads {:?} from tier {} in {took:?}", hit.value, hit.tier);
            Some(hit.tier)
        }
        _ => {
            println!("  {name} finds nothing, in {took:?}");
            None
        }
    })
}

fn show(url: &str) -> Result<()> {
    let (one, two) = (open(url, "one")?, open(url, "two")?);
    println!("Listening begins");
    thread::sleep(Duration::from_millis(300));

    println!("One stores a value with a tag, both read it twice");
    one.entry("greeting").ttl(MINUTE).tags(["texts"]).set("hello")?;
    for (name, cache) in [("one", &one), ("two", &two)] {
        thread::sleep(Duration::from_millis(20));
        look(name, cache)?;
        look(name, cache)?;
    }

    println!("Two stores another value; one hears of it");
    two.entry("greeting").ttl(MINUTE).tags(["texts"]).set("good morning")?;
    thread::sleep(Duration::from_millis(20));
    look("one", &one)?;
    look("one", &one)?;

    println!("One invalidates the tag; two hears of it");
    one.invalidate_tags(["texts"])?;
    thread::sleep(Duration::from_millis(20));
    look("two", &two)?;

    one.clear()?;
    Ok(())
}

fn main() -> ExitCode {
    match server::with_server(show) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(1)
        }
    }
}
