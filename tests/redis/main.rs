//! Redis as its users and its other clients see it: round trips, what is stored, other programs'
//! values, eviction, and invalidations that come at the worst moment.
#![cfg(feature = "redis")]

mod loads;
mod programs;
mod servers;
#[path = "../support/mod.rs"]
mod support;
mod trips;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use support::{RedisCluster, RedisServer, Resp, batches_and_locks, in_time};
use yokedcache::{Cache, Cause, ErrorKind, Loaded, Lookup, Redis, Ttl};

const HOUR: Duration = Duration::from_secs(3600);

fn cache(server: &RedisServer, prefix: &str) -> Cache {
    Cache::builder(Redis::open(server.url()).unwrap()).key_prefix(prefix).build().unwrap()
}
