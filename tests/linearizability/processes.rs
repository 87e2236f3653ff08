//! The worker processes: this binary again, which plays over a server and leaves its history in a
//! file.

use std::collections::hash_map::RandomState;
use std::env;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::BufWriter;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use yokedcache::{Cache, Memcached, Memory, Redis, Tiered};

use crate::history::History;
use crate::support::{Again, Process, orders, tell, wait_until};
use crate::unfenced::Unfenced;
use crate::{PROCESSES, THREADS, cache, worker};

/// What the processes share.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Kind {
    Redis,
    RedisUnfenced,
    Memcached,
    MemcachedUnfenced,
    /// With a near tier, which serves what is known to be true so many milliseconds ago.
    TieredRedis {
        bound: u64,
        strict: bool,
    },
    TieredMemcached {
        near_ttl: u64,
    },
}

impl Kind {
    fn cache(self, url: &str) -> Cache {
        match self {
            Kind::Redis => cache(Redis::open(url).unwrap()),
            Kind::RedisUnfenced => cache(Unfenced(Redis::open(url).unwrap())),
            Kind::Memcached => cache(Memcached::open(url).unwrap()),
            Kind::MemcachedUnfenced => cache(Unfenced(Memcached::open(url).unwrap())),
            Kind::TieredRedis { bound, strict } => {
                let tiers = Tiered::builder(near(), Redis::open(url).unwrap());
                let tiers = tiers.bound(Duration::from_millis(bound));
                cache(if strict { tiers.strict() } else { tiers }.build().unwrap())
            }
            Kind::TieredMemcached { near_ttl } => {
                let tiers = Tiered::builder(near(), Memcached::open(url).unwrap());
                cache(tiers.near_ttl(Duration::from_millis(near_ttl)).build().unwrap())
            }
        }
    }
}

fn near() -> Memory {
    Memory::builder().max_size(10_000).build().unwrap()
}

/// What a worker is to do.
#[derive(Serialize, Deserialize)]
struct Task<'a> {
    kind: Kind,
    url: &'a str,
    file: &'a Path,
    process: u8,
    operations: u64,
    seed: u64,
}

const TASK: &str = "YC_TASK";

/// Nobody else does anything meanwhile.
pub fn alone_there(_: &AtomicBool) -> History {
    History::default()
}

/// Lets all processes play at once, and somebody else until they are done; what happened.
pub fn play(
    kind: Kind,
    url: &str,
    operations: u64,
    meanwhile: impl FnOnce(&AtomicBool) -> History + Send,
) -> History {
    let (dir, seed) = (Process::new_dir(), RandomState::new().hash_one(()));
    let files: Vec<_> = (0..PROCESSES).map(|i| dir.join(format!("{i}.json"))).collect();
    let mut workers: Vec<_> = files
        .iter()
        .zip(0..)
        .map(|(file, process)| {
            let operations = operations / PROCESSES;
            start(&Task { kind, url, file, process, operations, seed })
        })
        .collect();
    for (_, ready) in &workers {
        assert_eq!(ready.recv().unwrap().as_deref(), Some("ready"));
    }
    workers.iter_mut().for_each(|(worker, _)| worker.say("go"));
    let done = AtomicBool::new(false);
    let mut history = thread::scope(|scope| {
        let other = scope.spawn(|| meanwhile(&done));
        let well = workers.iter_mut().all(|(worker, _)| worker.wait().success());
        done.store(true, Ordering::Relaxed);
        let others = other.join().unwrap();
        assert!(well, "a worker failed: see above");
        others
    });
    for file in files {
        history.merge(serde_json::from_slice(&fs::read(file).unwrap()).unwrap());
    }
    fs::remove_dir_all(dir).unwrap();
    history
}

fn start(task: &Task<'_>) -> (Again, Receiver<Option<String>>) {
    let (said, hear) = channel();
    let task = serde_json::to_string(task).unwrap();
    let hear_it = move |line| drop(said.send(line));
    (Again::start("processes::worker", &[(TASK, &task)], hear_it), hear)
}

/// Not a test: a worker process, if there is a task for it.
#[test]
fn worker() {
    let Ok(task) = env::var(TASK) else { return };
    let task: Task<'_> = serde_json::from_str(&task).unwrap();
    let cache = task.kind.cache(task.url);
    // Connected, so that all begin at once.
    wait_until("the server answers", || cache.get::<u64>("k0").is_ok());
    let orders = orders();
    tell("ready");
    orders.recv().unwrap();
    let first = u64::from(task.process) * THREADS;
    let each = task.operations / THREADS;
    let goes_on = |done| done < each;
    let history = worker::play(&cache, task.process, first, THREADS, &goes_on, task.seed);
    let file = BufWriter::new(File::create(task.file).unwrap());
    serde_json::to_writer(file, &history).unwrap();
}
