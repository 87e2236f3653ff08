//! What goes wrong between a cache and its Memcached servers, one thing at a time: the deadline
//! holds, the error is typed, the next caller gets its own value, and after healing calls work again
//! soon.
#![cfg(feature = "memcached")]

mod answers;
#[path = "../faults/mod.rs"]
mod faults;
mod fleet;
mod limits;
mod network;
#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use faults::*;
use support::{MemcachedFleet, MemcachedServer, Plan, Proxy, in_time, wait_until};
use yokedcache::{Cache, Cause, Error, ErrorKind, Memcached, MemcachedBuilder};

/// Whether the binary protocol is spoken.
const BOTH: [bool; 2] = [false, true];

fn memcached(url: &str) -> MemcachedBuilder {
    Memcached::builder(url).timeout(LIMIT).pool_size(4)
}

fn cache_of(memcached: MemcachedBuilder) -> Cache {
    Cache::builder(memcached.build().unwrap()).key_prefix("f").build().unwrap()
}

fn cache(url: &str, binary: bool) -> Cache {
    cache_of(memcached(url).binary(binary))
}

fn behind_proxy(binary: bool) -> (MemcachedServer, Proxy, Cache) {
    let server = MemcachedServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    let cache = cache(&url_of(&proxy), binary);
    (server, proxy, cache)
}

fn url_of(proxy: &Proxy) -> String {
    format!("memcached://{}", proxy.addr())
}

fn faulty(plan: Plan, kinds: &[ErrorKind]) {
    for binary in BOTH {
        let (_server, proxy, cache) = behind_proxy(binary);
        drill(&cache, kinds, || proxy.set(plan), || proxy.set(Plan::Pass));
    }
}
