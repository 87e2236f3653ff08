//! What goes wrong between a cache and its Memcached servers, one thing at a time: the deadline
//! holds, the error is typed, the next caller gets its own value, and after healing calls work again
//! within a second.
#![cfg(feature = "memcached")]

mod answers;
mod fleet;
mod limits;
mod network;
#[path = "../support/mod.rs"]
mod support;

use std::fmt::Debug;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use support::{MemcachedFleet, MemcachedServer, Plan, Proxy, wait_until};
use yokedcache::{Cache, Cause, Error, ErrorKind, Memcached, MemcachedBuilder, Result};

/// How long a call may take.
const LIMIT: Duration = Duration::from_millis(300);
/// How long after healing calls work again.
const HEALED: Duration = Duration::from_secs(1);

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

/// Calls, and sees that the call ends in time.
#[track_caller]
fn timed<T>(call: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = call();
    let took = started.elapsed();
    assert!(took < LIMIT * 2, "{took:?}");
    result
}

#[track_caller]
fn expect<T: Debug>(result: Result<T>, kinds: &[ErrorKind]) -> Error {
    let error = result.unwrap_err();
    assert!(kinds.contains(&error.kind()), "{error:?}");
    error
}

fn value_of(key: &str) -> String {
    format!("the value of {key}").repeat(1 + key.len() % 5)
}

const KEYS: [&str; 6] = ["a", "bb", "ccc", "dddd", "eeeee", "ffffff"];

/// What is found is the key's own value.
#[track_caller]
fn is_own(key: &str, found: Option<String>) {
    assert!(found.is_none_or(|value| value == value_of(key)), "{key} has another's value");
}

fn get(cache: &Cache, key: &str) -> Result<Option<String>> {
    cache.entry(key).strict().get::<String>()
}

fn set(cache: &Cache, key: &str) -> Result<bool> {
    cache.entry(key).strict().set(&value_of(key))
}

/// Tries until it works, for as long as healing may take.
#[track_caller]
fn heals(mut works: impl FnMut() -> bool) {
    let healed = Instant::now();
    while !works() {
        assert!(healed.elapsed() < HEALED, "it works again within a second");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The whole drill: everything works, breaks, and works again.
#[track_caller]
fn drill(cache: &Cache, kinds: &[ErrorKind], break_it: impl FnOnce(), heal: impl FnOnce()) {
    for key in KEYS {
        assert!(cache.set(key, &value_of(key)).unwrap());
    }
    break_it();
    // Several threads, so that each connection of the pool meets the fault.
    let failed = thread::scope(|scope| {
        let callers = KEYS.map(|key| {
            scope.spawn(move || {
                let mut failed = 0;
                for _ in 0..4 {
                    match timed(|| get(cache, key)) {
                        Ok(found) => is_own(key, found),
                        Err(error) => {
                            expect::<()>(Err(error), kinds);
                            failed += 1;
                        }
                    }
                }
                failed
            })
        });
        callers.into_iter().map(|caller| caller.join().unwrap()).sum::<usize>()
    });
    assert!(failed > 0, "it was to break");
    heal();
    works_again(cache);
}

/// Everything works within a second, and goes on to.
#[track_caller]
fn works_again(cache: &Cache) {
    heals(|| {
        KEYS.iter().all(|key| {
            timed(|| get(cache, key)).is_ok_and(|found| {
                is_own(key, found.clone());
                found.is_some() || set(cache, key).is_ok()
            })
        })
    });
    for key in KEYS.repeat(20) {
        assert!(set(cache, key).unwrap());
        assert_eq!(get(cache, key).unwrap(), Some(value_of(key)));
    }
}

/// What callers who are not strict see of it, and what must be an error all the same.
#[track_caller]
fn outage(cache: &Cache, kinds: &[ErrorKind], binary: bool) {
    assert_eq!(timed(|| cache.get::<String>("a")).unwrap(), None);
    let lookup = timed(|| cache.lookup::<String>("a")).unwrap();
    assert_eq!(lookup.cause(), Some(Cause::Down));
    assert_eq!(timed(|| cache.get_many::<String>(["a", "bb"])).unwrap(), [None, None]);
    assert!(!timed(|| cache.set("a", "v")).unwrap());
    assert!(!timed(|| cache.entry("a").tag("t").set("v")).unwrap());
    assert!(!timed(|| cache.add("a", "v")).unwrap());
    let failed = timed(|| cache.set_many([("a", "v"), ("bb", "v")])).unwrap();
    assert_eq!(failed.len(), 2);
    let loaded = timed(|| cache.get_or_compute("a", || "loaded".to_owned()));
    assert_eq!(loaded.unwrap(), "loaded");
    expect(timed(|| cache.entry("a").strict().set("v")), kinds);
    expect(timed(|| cache.entry("a").strict().get_or_compute(|| "v".to_owned())), kinds);
    expect(timed(|| cache.delete("a")), kinds);
    expect(timed(|| cache.delete_many(["a", "bb"])), kinds);
    expect(timed(|| cache.increment("n", 1)), kinds);
    expect(timed(|| cache.invalidate_tags(["t"])), kinds);
    if !binary {
        expect(timed(|| cache.invalidate_tags_all(["t", "u"])), kinds);
        expect(timed(|| cache.invalidate_pattern("*")), kinds);
        expect(timed(|| cache.clear()), kinds);
        expect(timed(|| cache.keys("*")), kinds);
    }
    // Neither of these fails, and neither waits longer.
    assert!(!timed(|| cache.detailed_health_check()).is_up());
    timed(|| cache.stats());
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

const DOWN: &[ErrorKind] = &[ErrorKind::Unavailable];
const LATE: &[ErrorKind] = &[ErrorKind::Timeout, ErrorKind::Unavailable];
