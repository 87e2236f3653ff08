//! Memcached as its users and its other clients see it: round trips, names, what is stored, other
//! programs' values, servers set up in odd ways, and invalidations that come at the worst moment.
#![cfg(feature = "memcached")]

mod entries;
mod invalidation;
mod names;
mod servers;
#[path = "../support/mod.rs"]
mod support;
mod trips;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use support::{MemcachedFleet, MemcachedServer, batches_and_locks, in_time, wait_until};
use yokedcache::{Cache, Cause, ErrorKind, Loaded, Lookup, Memcached, Pattern, Ttl};

const HOUR: Duration = Duration::from_secs(3600);

fn cache(url: &str, prefix: &str) -> Cache {
    Cache::builder(Memcached::open(url).unwrap()).key_prefix(prefix).build().unwrap()
}

fn strict(url: &str) -> Cache {
    let backend = Memcached::open(url).unwrap();
    Cache::builder(backend).key_prefix("strict").strict().build().unwrap()
}
