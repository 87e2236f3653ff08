//! A tour of the cache on a Redis server.
//!
//! `cargo run --example redis --features redis [URL]`; the URL is `redis://127.0.0.1:6379` unless
//! another is given: also one of a cluster, of sentinels, or with settings, as in
//! `redis://:secret@host/0?socket_timeout=0.5`. All keys begin with `yokedcache-tour`, and are
//! removed at the end.

use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, io, process, thread};

use serde::{Deserialize, Serialize};
use yokedcache::{Cache, Error, ErrorKind, Redis, Result};

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize, Deserialize)]
struct User {
    name: String,
    visits: u32,
}

/// What a cache is for: it takes a while.
fn ask_the_database(name: &str) -> io::Result<User> {
    thread::sleep(Duration::from_millis(40));
    Ok(User { name: name.into(), visits: 7 })
}

fn open(url: &str) -> Result<Cache> {
    // Building does no I/O: connections are made by the calls that need them.
    let redis = Redis::builder(url).pool_size(8).timeout(Duration::from_secs(2)).build()?;
    // Of its own for each run: two tours at a time do not meet.
    let prefix = format!("yokedcache-tour-{}", process::id());
    Cache::builder(redis).key_prefix(prefix).default_ttl(10 * MINUTE).build()
}

fn values(cache: &Cache) -> Result<()> {
    let ann = User { name: "Ann".into(), visits: 1 };
    cache.entry("user:1").ttl(MINUTE).tags(["users", "team:red"]).set(&ann)?;
    println!("user:1 is {:?}", cache.get::<User>("user:1")?);
    println!("  lives for {:?}", cache.ttl("user:1")?);
    Ok(())
}

fn loads(cache: &Cache) -> Result<()> {
    for attempt in ["first", "again"] {
        let started = Instant::now();
        let user = cache.entry("user:2").tags(["users"]).get_or_load(|| ask_the_database("Bob"))?;
        // The outer error was the cache's, the inner one is the database's.
        match user {
            Ok(user) => println!("user:2, {attempt}: {} in {:?}", user.name, started.elapsed()),
            Err(error) => println!("user:2, {attempt}: the database says {error}"),
        }
    }
    Ok(())
}

fn invalidation(cache: &Cache) -> Result<()> {
    // One round trip, however many entries have the tag.
    cache.invalidate_tags(["team:red"])?;
    println!("after invalidate_tags(team:red) user:1 is {:?}", cache.lookup::<User>("user:1")?);
    cache.set_many((1..=3).map(|page| (format!("page:{page}"), "<html>")))?;
    let removed = cache.invalidate_pattern("page:[12]")?;
    let left = cache.keys("page:*")?;
    let removed = removed.entries.unwrap_or(0);
    println!("invalidate_pattern(page:[12]) removed {removed}, left {left:?}");
    Ok(())
}

fn counters_and_namespaces(cache: &Cache) -> Result<()> {
    // In one step on the server, whoever else counts.
    cache.increment("visits", 1)?;
    println!("visits: {}", cache.increment("visits", 41)?);
    let drafts = cache.namespace("drafts");
    drafts.set("page:1", "a draft")?;
    println!("drafts: {:?}, the cache: {:?}", drafts.keys("*")?, cache.keys("drafts:*")?);
    Ok(())
}

fn state(cache: &Cache) -> Result<()> {
    let stats = cache.stats();
    println!("{} hits, {} misses, {} loads", stats.hits, stats.misses.total(), stats.loads);
    println!("{} connections", stats.backend.connections.unwrap_or(0));
    let health = cache.detailed_health_check();
    for (server, health) in &health.children {
        println!("{server} is up: {}, answers in {:?}", health.is_up(), health.latency);
        health.warnings.iter().for_each(|warning| println!("  warning: {warning}"));
    }
    Ok(())
}

fn tour(url: &str) -> Result<()> {
    // Strict: an outage is an error. Otherwise reads miss, stores answer false, and loads run
    // their loaders, so a program goes on without its cache.
    let cache = open(url)?;
    cache.entry("hello").strict().set("world")?;
    let toured = values(&cache)
        .and_then(|()| loads(&cache))
        .and_then(|()| invalidation(&cache))
        .and_then(|()| counters_and_namespaces(&cache))
        .and_then(|()| state(&cache));
    let removed = cache.clear()?;
    println!("clear() removed {} entries", removed.entries.unwrap_or(0));
    toured
}

fn hint(error: &Error) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Timeout => {
            Some("No server answers there. Start one with `redis-server`, or name another's URL.")
        }
        ErrorKind::Denied => Some("Name user and password in the URL: redis://user:password@host"),
        _ => None,
    }
}

fn main() -> ExitCode {
    let url = env::args().nth(1).unwrap_or("redis://127.0.0.1:6379".into());
    let Err(error) = tour(&url) else { return ExitCode::SUCCESS };
    eprintln!("{error}");
    hint(&error).into_iter().for_each(|hint| eprintln!("{hint}"));
    ExitCode::from(1)
}
