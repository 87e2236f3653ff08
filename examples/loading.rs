//! Loading what is missing: one run of the loader for a key however many threads ask for it, an
//! invalidation that wins over a load under way, many keys with one query, a slot for code that has
//! no closure, functions that remember, and a lock.
//!
//! `cargo run --example loading`

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use yokedcache::{Begun, Cache};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const MINUTE: Duration = Duration::from_secs(60);
const QUERY_TIME: Duration = Duration::from_millis(40);
const THREADS: usize = 8;

/// What the cache is for: it takes a while, and counts how often it was asked.
struct Database {
    users: Mutex<BTreeMap<u32, String>>,
    queries: AtomicU32,
}

impl Database {
    fn new() -> Self {
        let names = ["Ann", "Bob", "Eve", "Dan", "Joe"].map(str::to_owned);
        Self { users: Mutex::new((1..).zip(names).collect()), queries: AtomicU32::new(0) }
    }

    /// One query, however many ids.
    fn find(&self, ids: &[u32]) -> Vec<(u32, String)> {
        self.queries.fetch_add(1, Ordering::Relaxed);
        thread::sleep(QUERY_TIME);
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        ids.iter().filter_map(|id| Some((*id, users.get(id)?.clone()))).collect()
    }

    fn find_one(&self, id: u32) -> Result<String, String> {
        let found = self.find(&[id]).pop();
        found.map(|(_, name)| name).ok_or_else(|| format!("there is no user {id}"))
    }

    fn rename(&self, id: u32, name: &str) {
        self.users.lock().unwrap_or_else(PoisonError::into_inner).insert(id, name.to_owned());
    }

    /// How many there were since this was asked last.
    fn queries(&self) -> u32 {
        self.queries.swap(0, Ordering::Relaxed)
    }
}

fn heading(what: &str) {
    println!("\n{what}");
}

fn two_layers(cache: &Cache, database: &Database) -> Result<()> {
    heading("get_or_load: the outer error is the cache's, the inner one the loader's");
    for attempt in ["first", "again"] {
        let started = Instant::now();
        let name: String = cache.get_or_load("user:1", || database.find_one(1))??;
        println!("  {attempt}: {name} in {:?}", started.elapsed());
    }
    // Where they mean different things, one question mark will do.
    match cache.get_or_load("user:99", || database.find_one(99))? {
        Ok(name) => println!("  user:99 is {name}"),
        Err(error) => println!("  user:99: {error}, says the database; nothing is stored"),
    }
    println!("  {} queries", database.queries());
    Ok(())
}

fn shared(cache: &Cache, database: &Database) -> Result<()> {
    heading("Threads that ask for a key at once share one load");
    let together = Barrier::new(THREADS);
    let ask = || {
        together.wait();
        cache.get_or_load("user:2", || database.find_one(2))
    };
    let names = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(ask)).collect();
        let names = threads.into_iter().map(|thread| {
            Ok::<String, Box<dyn Error>>(thread.join().map_err(|_| "a thread panicked")???)
        });
        names.collect::<Result<Vec<_>>>()
    })?;
    println!("  {} threads got {:?}", names.len(), names[0]);
    println!("  {} query; {} waited for it", database.queries(), cache.stats().coalesced);
    Ok(())
}

/// The invalidation comes between the query and the end of the load.
fn overtaken(cache: &Cache, database: &Database) -> Result<()> {
    heading("An invalidation wins over a load under way");
    let (queried, invalidated) = (Barrier::new(2), Barrier::new(2));
    let slow_loader = || {
        let old = database.find_one(3);
        queried.wait();
        invalidated.wait();
        old
    };
    let entry = || cache.entry("user:3").tag("users");
    thread::scope(|scope| {
        let loading = scope.spawn(|| entry().get_or_load(slow_loader));
        queried.wait();
        database.rename(3, "Eva");
        let removed = cache.invalidate_tags(["users"]);
        invalidated.wait();
        let old: String = loading.join().map_err(|_| "the loader panicked")???;
        removed?;
        println!("  who was loading gets {old:?}, as before the change");
        println!("  in the cache there is {:?}", cache.get::<String>("user:3")?);
        Ok::<_, Box<dyn Error>>(())
    })?;
    let new: String = entry().get_or_load(|| database.find_one(3))??;
    println!("  who asks later gets {new:?}; {} overtaken", cache.stats().overtaken);
    println!("  {} queries", database.queries());
    Ok(())
}

fn many(cache: &Cache, database: &Database) -> Result<()> {
    heading("get_or_load_many: one query for all that are missing");
    let names = cache
        .entries_by([1, 2, 3, 4, 5, 6], |id: &u32| format!("user:{id}"))
        .tags(["users"])
        .get_or_load_many(|missing| {
            println!("  the loader is asked for {missing:?}");
            let ids: Vec<u32> = missing.iter().map(|id| **id).collect();
            Ok::<_, String>(database.find(&ids))
        })??;
    // There is no sixth.
    println!("  {names:?}");
    println!("  {} query", database.queries());
    Ok(())
}

fn slot(cache: &Cache, database: &Database) -> Result<()> {
    heading("begin: the value, or the right to store one, without a closure");
    cache.delete("user:1")?;
    for attempt in ["first", "again"] {
        match cache.entry("user:1").tag("users").begin::<String>()? {
            Begun::Hit(name) => println!("  {attempt}: a hit, {name:?}"),
            // Others wait until the slot is set, or dropped.
            Begun::Slot(slot) => {
                let name = database.find_one(1)?;
                println!("  {attempt}: a slot; {name:?} was stored: {}", slot.set(&name)?);
            }
        }
    }
    println!("  {} query", database.queries());
    Ok(())
}

fn memoized(cache: &Cache, database: &Database) -> Result<()> {
    heading("memoize: a function that remembers its results by its arguments");
    let greet = |(id, greeting): (u32, String)| {
        database.find_one(id).map(|name| format!("{greeting}, {name}!"))
    };
    let greet = cache.try_memoize("greet", MINUTE, greet);
    for greeting in ["Hello", "Hello", "Good night"] {
        println!("  {}", greet((4, greeting.to_owned()))??);
    }
    println!("  {} queries; stored as {:?}", database.queries(), cache.keys("greet*")?);
    Ok(())
}

fn locked(cache: &Cache) -> Result<()> {
    heading("lock: work that one of all threads and processes does at a time");
    let report = cache.lock("report", MINUTE);
    let guard = report.lock_within(MINUTE)?;
    println!("  held with the number {}", guard.fencing());
    println!("  meanwhile free for another: {}", report.try_lock()?.is_some());
    guard.unlock()?;
    if let Some(next) = report.try_lock()? {
        println!("  then with {}: what the lock protects can refuse smaller ones", next.fencing());
    }
    Ok(())
}

fn main() -> Result<()> {
    let cache = Cache::memory(1_000);
    let database = Database::new();
    println!("A query takes {QUERY_TIME:?}.");
    two_layers(&cache, &database)?;
    shared(&cache, &database)?;
    overtaken(&cache, &database)?;
    many(&cache, &database)?;
    slot(&cache, &database)?;
    memoized(&cache, &database)?;
    locked(&cache)
}
