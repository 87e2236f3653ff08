//! A tour of the cache on two Memcached servers, one of them three times as large as the other.
//!
//! `cargo run --example memcached --features memcached` starts both on free ports of this machine,
//! shows what their operator sees, also when one of them is gone, and stops them at the end.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use yokedcache::{Cache, Memcached, Result};

const MINUTE: Duration = Duration::from_secs(60);
const PAGES: u32 = 1000;

#[derive(Debug, Serialize, Deserialize)]
struct User {
    name: String,
    visits: u32,
}

/// A server of ours, which ends with the tour.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start() -> io::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let process = Command::new("memcached")
            .args(["-l", "127.0.0.1", "-p", &address.port().to_string()])
            // Only root has to name somebody.
            .args(["-u", "nobody"])
            .stdin(Stdio::null())
            .spawn()?;
        let server = Self { process, address: address.to_string() };
        let started = Instant::now();
        while let Err(error) = server.answers() {
            if started.elapsed() > Duration::from_secs(5) {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    fn answers(&self) -> io::Result<()> {
        let mut connection = TcpStream::connect(&self.address)?;
        connection.write_all(b"mn\r\n")?;
        connection.read_exact(&mut [0; 4])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn open(servers: [&Server; 2]) -> Result<Cache> {
    // In an address it is memcached://HOST:PORT;weight=3,HOST:PORT. Building does no I/O:
    // connections are made by the calls that need them.
    let [large, small] = servers.map(|server| &server.address);
    let memcached = Memcached::builder(&format!("memcached://{large};weight=3"))
        .server(small, 1)
        .pool_size(8)
        .timeout(Duration::from_secs(2))
        .build()?;
    Cache::builder(memcached).key_prefix("tour").default_ttl(10 * MINUTE).build()
}

fn heading(what: &str) {
    println!("\n{what}");
}

fn fleet(cache: &Cache) -> Result<()> {
    heading("A fleet: keys lie where libmemcached would put them");
    // One round trip, all servers at the same time.
    let failed = cache.set_many((0..PAGES).map(|page| (format!("page:{page}"), "<html>")))?;
    println!("  stored {} pages", PAGES as usize - failed.len());
    for (server, stats) in &cache.stats().backend.children {
        println!("  {server} has {} of them", stats.entries.unwrap_or(0));
    }
    Ok(())
}

fn tags(cache: &Cache) -> Result<()> {
    heading("Tags: one round trip to invalidate, however many entries have them");
    let ann = User { name: "Ann".into(), visits: 1 };
    cache.entry("user:1").ttl(MINUTE).tags(["users", "team:red"]).set(&ann)?;
    println!("  user:1 is {:?}", cache.get::<User>("user:1")?);
    println!("  lives for {:?}", cache.ttl("user:1")?);
    cache.invalidate_tags(["team:red"])?;
    println!("  after invalidate_tags(team:red): {:?}", cache.lookup::<User>("user:1")?);
    Ok(())
}

/// What a cache is for: it takes a while.
fn ask_the_database(name: &str) -> io::Result<User> {
    thread::sleep(Duration::from_millis(40));
    Ok(User { name: name.into(), visits: 7 })
}

fn loads(cache: &Cache) -> Result<()> {
    heading("Loads: one caller of all programs asks the database");
    for attempt in ["first", "again"] {
        let started = Instant::now();
        let user = cache.entry("user:2").tags(["users"]).get_or_load(|| ask_the_database("Bob"))?;
        // The outer error was the cache's, the inner one is the database's.
        match user {
            Ok(user) => println!("  {attempt}: {} in {:?}", user.name, started.elapsed()),
            Err(error) => println!("  {attempt}: the database says {error}"),
        }
    }
    Ok(())
}

fn counters(cache: &Cache) -> Result<()> {
    heading("Counters: in one step on the server, whoever else counts");
    println!("  visits: {}", cache.increment("visits", 1)?);
    println!("  and 41 more: {}", cache.increment("visits", 41)?);
    println!("  and 50 fewer: {}", cache.decrement("visits", 50)?);
    Ok(())
}

fn patterns(cache: &Cache) -> Result<()> {
    heading("Patterns: a walk over the keys of all servers");
    let removed = cache.invalidate_pattern("page:*[02468]")?;
    println!("  invalidate_pattern(page:*[02468]) removed {}", removed.entries.unwrap_or(0));
    let left = cache.keys("page:*")?;
    println!("  {} are left", left.len());
    Ok(())
}

/// What the operator sees.
fn state(cache: &Cache) -> Result<()> {
    let stats = cache.stats();
    let misses = stats.misses.total();
    println!("  {} hits, {misses} misses, {} failures", stats.hits, stats.failures);
    println!("  {:<22} {:>7} {:>9} {:>7} {:>11}", "", "entries", "bytes", "evicted", "connections");
    let known = |number: Option<u64>| number.map_or("?".into(), |number| number.to_string());
    for (server, stats) in &stats.backend.children {
        println!(
            "  {server:<22} {:>7} {:>9} {:>7} {:>11}",
            known(stats.entries),
            known(stats.bytes),
            stats.evicted,
            known(stats.connections)
        );
    }
    let health = cache.detailed_health_check();
    println!("  {}", if health.is_up() { "all are up" } else { "not all are up" });
    for (server, health) in &health.children {
        match (&health.error, health.latency) {
            (Some(error), _) => println!("  {server} is down: {error}"),
            (None, latency) => println!("  {server} answers in {:?}", latency.unwrap_or_default()),
        }
        health.warnings.iter().for_each(|warning| println!("  warning: {warning}"));
    }
    Ok(())
}

fn found(cache: &Cache) -> Result<usize> {
    let pages = cache.get_many::<String>((0..PAGES).map(|page| format!("page:{page}")))?;
    Ok(pages.iter().flatten().count())
}

/// What is left of the cache when a server is gone.
fn outage(cache: &Cache, small: Server) -> Result<()> {
    heading("What the operator sees");
    println!("  {} pages are found", found(cache)?);
    state(cache)?;

    heading("The same without the small server: its keys are misses, and nobody waits for it");
    drop(small);
    println!("  {} pages are found", found(cache)?);
    let started = Instant::now();
    println!("  {} pages are found, in {:?}", found(cache)?, started.elapsed());
    state(cache)?;

    // Strict calls tell an outage from a miss. So does a call that cannot do what it is for.
    let misses =
        (0..PAGES).find_map(|page| cache.entry(format!("page:{page}")).strict().get_bytes().err());
    misses.iter().for_each(|error| println!("  a strict read: {error}"));
    cache.clear().err().iter().for_each(|error| println!("  clear(): {error}"));
    Ok(())
}

fn tour(large: &Server, small: Server) -> Result<()> {
    let cache = open([large, &small])?;
    fleet(&cache)?;
    tags(&cache)?;
    loads(&cache)?;
    counters(&cache)?;
    patterns(&cache)?;
    outage(&cache, small)
}

fn main() -> ExitCode {
    let (large, small) = match (Server::start(), Server::start()) {
        (Ok(large), Ok(small)) => (large, small),
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("memcached does not start: {error}. Is it installed?");
            return ExitCode::from(1);
        }
    };
    let Err(error) = tour(&large, small) else { return ExitCode::SUCCESS };
    eprintln!("{error}");
    ExitCode::from(1)
}
