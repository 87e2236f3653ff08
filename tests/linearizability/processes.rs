//! The worker processes: this binary again, which plays over a server and leaves its history in a
//! file.

use std::collections::hash_map::RandomState;
use std::env;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::BufWriter;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use serde::{Deserialize, Serialize};
use yokedcache::{Cache, Memcached, Redis};

use crate::history::History;
use crate::support::{Again, Process, orders, tell};
use crate::unfenced::Unfenced;
use crate::{PROCESSES, THREADS, cache, worker};

/// What the processes share.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Kind {
    Redis,
    RedisUnfenced,
    Memcached,
    MemcachedUnfenced,
}

impl Kind {
    fn cache(self, url: &str) -> Cache {
        match self {
            Kind::Redis => cache(Redis::open(url).unwrap()),
            Kind::RedisUnfenced => cache(Unfenced(Redis::open(url).unwrap())),
            Kind::Memcached => cache(Memcached::open(url).unwrap()),
            Kind::MemcachedUnfenced => cache(Unfenced(Memcached::open(url).unwrap())),
        }
    }
}

/// What a worker is to do.
#[derive(Serialize, Deserialize)]
struct Task<'a> {
    kind: Kind,
    url: &'a str,
    file: &'a Path,
    process: u64,
    operations: u64,
    seed: u64,
}

const TASK: &str = "YC_TASK";

/// Lets all processes play at once; what happened.
pub fn play(kind: Kind, url: &str, operations: u64) -> History {
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
    for (worker, _) in &mut workers {
        assert!(worker.wait().success(), "a worker failed: see above");
    }
    let mut history = History::default();
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
    cache.get::<u64>("k0").unwrap();
    let orders = orders();
    tell("ready");
    orders.recv().unwrap();
    let first = task.process * THREADS;
    let history = worker::play(&cache, first, THREADS, task.operations, task.seed);
    let file = BufWriter::new(File::create(task.file).unwrap());
    serde_json::to_writer(file, &history).unwrap();
}
