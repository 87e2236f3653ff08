//! What becomes of a cache when its server dies: memory stands in, and what was invalidated meanwhile
//! is gone when the server is back.
//!
//! `cargo run --example fallback --features redis` starts a redis-server on a free port of this
//! machine, stops and kills it, and starts it again.

mod server;

use std::error::Error;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use server::Server;
use yokedcache::{BreakerState, Cache, Event, Fallback, Memory, Redis};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const MINUTE: Duration = Duration::from_secs(60);

fn open(url: &str) -> Result<(Fallback, Cache)> {
    let redis = Redis::builder(url).timeout(Duration::from_millis(200)).build()?;
    let memory = Memory::builder().max_size(10_000).build()?;
    let fallback =
        Fallback::builder(redis, memory).reset_timeout(Duration::from_millis(300)).build()?;
    let cache = Cache::builder(fallback.clone())
        .key_prefix("yokedcache-fallback")
        .default_ttl(MINUTE)
        .on_event(|event: &Event| println!("  event: {event}"))
        .build()?;
    Ok((fallback, cache))
}

fn look(cache: &Cache, keys: &[&str]) -> Result<()> {
    for key in keys {
        let began = Instant::now();
        let found: Option<String> = cache.get(key)?;
        println!("  {key}: {found:?}, in {:?}", began.elapsed());
    }
    Ok(())
}

fn wait_for(fallback: &Fallback, state: BreakerState) {
    while fallback.state() != state {
        thread::sleep(Duration::from_millis(10));
    }
}

fn run() -> Result<()> {
    let mut server = Server::start()?;
    let (fallback, cache) = open(&server.url())?;
    let keys = ["ann", "bob", "eve"];

    println!("The server is there");
    for key in keys {
        cache.entry(key).tags(["people"]).set(&format!("{key}, stored on the server"))?;
    }
    look(&cache, &keys)?;

    println!("It hangs: the first delete that fails gives it up, and is carried out later");
    server.pause()?;
    cache.delete("ann")?;
    println!("  {:?}, {} to be carried out", fallback.state(), fallback.pending());
    cache.set("bob", "bob, stored while it hung")?;
    let removed = cache.invalidate_tags(["strangers"])?;
    println!("  an invalidation is pending: {}", removed.pending);
    look(&cache, &keys)?;

    println!(
        "It goes on, with all it had: ann stays deleted, and the older bob does not come back"
    );
    server.resume()?;
    wait_for(&fallback, BreakerState::Closed);
    look(&cache, &keys)?;

    println!("It is killed: reads miss, loads load, and soon memory serves");
    server.kill()?;
    for turn in 1..=8 {
        let value = cache.get_or_compute("eve", || format!("eve, loaded in turn {turn}"))?;
        println!("  {value}, {:?}", fallback.state());
    }

    println!("It is started again, empty");
    server.start_again()?;
    wait_for(&fallback, BreakerState::Closed);
    look(&cache, &keys)?;
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(1)
        }
    }
}
