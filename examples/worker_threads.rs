//! A pool of threads that share one cache in front of a slow database.
//!
//! A thousand jobs ask for fifty users. However the threads race, each user is looked up once: of
//! those who ask for a missing key at the same time one loads, and the others wait for its answer.
//!
//! `cargo run --example worker_threads`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use serde::{Deserialize, Serialize};
use yokedcache::{Cache, Typed};

const WORKERS: usize = 8;
const JOBS: u64 = 1_000;
const USERS: u64 = 50;
const LOOKUP_TIME: Duration = Duration::from_millis(10);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
}

/// Stands for something behind a network.
#[derive(Debug, Default)]
struct Database {
    lookups: AtomicU64,
}

impl Database {
    fn find(&self, id: u64) -> Result<User, String> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        thread::sleep(LOOKUP_TIME);
        if id < USERS {
            Ok(User { id, name: format!("user number {id}") })
        } else {
            Err(format!("there is no user {id}"))
        }
    }
}

/// What the workers use: a clone costs two pointers, and all clones share the entries.
#[derive(Clone)]
struct Users {
    cached: Typed<User>,
    database: Arc<Database>,
}

impl Users {
    fn new(cache: &Cache, database: Arc<Database>) -> Self {
        // The namespace keeps other parts of the program from ever meeting these keys.
        let cached = cache.namespace("user").with_ttl(Duration::from_secs(60)).typed();
        Self { cached, database }
    }

    fn get(&self, id: u64) -> Result<User, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.cached.get_or_load(id.to_string(), || self.database.find(id))??)
    }
}

fn worker(users: Users, jobs: Receiver<u64>, found: Sender<User>) -> JoinHandle<u64> {
    thread::spawn(move || {
        let mut failed = 0;
        for id in jobs {
            match users.get(id) {
                Ok(user) => failed += u64::from(found.send(user).is_err()),
                Err(_) => failed += 1,
            }
        }
        failed
    })
}

/// Runs all jobs; how many were answered with the right user, and how many failed.
fn run(users: &Users) -> (u64, u64) {
    let (jobs, todo) = crossbeam_channel::unbounded();
    let (done, found) = crossbeam_channel::unbounded();
    let workers: Vec<_> =
        (0..WORKERS).map(|_| worker(users.clone(), todo.clone(), done.clone())).collect();
    // The workers hold clones; with these gone, the channels end when the work does.
    drop((todo, done));
    let sent = (0..JOBS).filter(|job| jobs.send(job * 7 % USERS).is_ok()).count();
    drop(jobs);
    let right = found.iter().filter(|user| user.name.ends_with(&format!(" {}", user.id))).count();
    let failed: u64 = workers.into_iter().map(|worker| worker.join().unwrap_or(JOBS)).sum();
    (right as u64, failed + JOBS - sent as u64)
}

fn main() {
    let cache = Cache::memory(10_000);
    let database = Arc::new(Database::default());
    let users = Users::new(&cache, database.clone());

    let started = Instant::now();
    let (answered, failed) = run(&users);
    let took = started.elapsed();

    let stats = cache.stats();
    println!("{JOBS} jobs for {USERS} users, {WORKERS} workers, {LOOKUP_TIME:?} a lookup");
    println!("answered   {answered:>6}   failed {failed}");
    println!("time       {:>6.0?}   without a cache {:?} at least", took, uncached_time());
    println!("lookups    {:>6}", database.lookups.load(Ordering::Relaxed));
    println!("loads      {:>6}", stats.loads);
    println!("hits       {:>6}", stats.hits);
    println!("misses     {:>6}", stats.misses.total());
    println!("coalesced  {:>6}   waited for another worker's load", stats.coalesced);
    println!("entries    {:>6}", stats.backend.entries.unwrap_or(0));

    // A namespace is a prefix: the same entry, seen from the cache as a whole.
    println!("user:7 is {:?}", cache.get::<User>("user:7").ok().flatten());
}

fn uncached_time() -> Duration {
    LOOKUP_TIME * JOBS as u32 / WORKERS as u32
}
