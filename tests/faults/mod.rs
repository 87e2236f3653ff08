//! What goes wrong between a cache and its server, one thing at a time: the deadline holds, the error
//! is typed, the next caller gets its own value, and after healing calls work again soon.

// Each test binary uses a part.
#![allow(dead_code)]

use std::cell::Cell;
use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

use yokedcache::{Cache, Cause, Error, ErrorKind, Result};

/// How long a call may take.
pub const LIMIT: Duration = Duration::from_millis(500);
/// How long it takes at most where the machine is slow, too.
pub const MOST: Duration = Duration::from_secs(2);
/// How long after healing calls work again: within a second, or a few where the machine is slow.
pub const HEALED: Duration = Duration::from_secs(3);
/// For calls that nothing goes wrong with.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// For calls one server hangs in, which takes all of it: the others answer within it on a slow machine,
/// too, at the first try.
pub const UNHURRIED: Duration = Duration::from_secs(2);
/// So many calls of a few hundred may be made again.
const FEW: usize = 5;

pub const DOWN: &[ErrorKind] = &[ErrorKind::Unavailable];
pub const LATE: &[ErrorKind] = &[ErrorKind::Timeout, ErrorKind::Unavailable];

/// Calls, and sees that the call ends in time.
#[track_caller]
pub fn timed<T>(call: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = call();
    let took = started.elapsed();
    assert!(took < MOST, "{took:?}");
    result
}

/// Calls with [`UNHURRIED`], and sees that the call takes less than twice that.
#[track_caller]
pub fn unhurried<T>(cache: &Cache, call: impl FnOnce(&Cache) -> T) -> T {
    let cache = cache.with_timeout(UNHURRIED);
    let started = Instant::now();
    let result = call(&cache);
    let took = started.elapsed();
    assert!(took < UNHURRIED * 2, "{took:?}");
    result
}

/// A call to a server that is well. A busy machine may hold one up now and then, for longer than the
/// deadline: that is made again.
#[track_caller]
pub fn well<T>(call: impl Fn() -> Result<T>) -> T {
    match call() {
        Err(error) if error.kind() == ErrorKind::Timeout => call().unwrap(),
        result => result.unwrap(),
    }
}

#[track_caller]
pub fn expect<T: Debug>(result: Result<T>, kinds: &[ErrorKind]) -> Error {
    let error = result.unwrap_err();
    assert!(kinds.contains(&error.kind()), "{error:?}");
    error
}

pub fn value_of(key: &str) -> String {
    format!("the value of {key}").repeat(1 + key.len() % 5)
}

pub const KEYS: [&str; 6] = ["a", "bb", "ccc", "dddd", "eeeee", "ffffff"];

/// What is found is the key's own value.
#[track_caller]
pub fn is_own(key: &str, found: Option<String>) {
    assert!(found.is_none_or(|value| value == value_of(key)), "{key} has another's value");
}

pub fn get(cache: &Cache, key: &str) -> Result<Option<String>> {
    cache.entry(key).strict().get::<String>()
}

pub fn set(cache: &Cache, key: &str) -> Result<bool> {
    cache.entry(key).strict().set(&value_of(key))
}

/// Tries until it works, for as long as healing may take.
#[track_caller]
pub fn heals(mut works: impl FnMut() -> bool) {
    let healed = Instant::now();
    loop {
        let works = works();
        // Late counts even if it works.
        assert!(healed.elapsed() < HEALED, "it works again soon");
        if works {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The whole drill: everything works, breaks, and works again.
#[track_caller]
pub fn drill(cache: &Cache, kinds: &[ErrorKind], break_it: impl FnOnce(), heal: impl FnOnce()) {
    for key in KEYS {
        assert!(well(|| set(cache, key)));
    }
    break_it();
    // Several threads, so that each connection of the pool meets the fault.
    let errors: Vec<Error> = thread::scope(|scope| {
        let callers = KEYS.map(|key| {
            scope.spawn(move || {
                let calls = (0..4).map(|_| timed(|| get(cache, key)));
                calls
                    .filter_map(|call| call.map(|found| is_own(key, found)).err())
                    .collect::<Vec<_>>()
            })
        });
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    let of_a_kind = errors.iter().filter(|error| kinds.contains(&error.kind())).count();
    assert!(of_a_kind > 0, "it was to break");
    // A busy machine may be late for one or another.
    let others = errors.iter().filter(|error| !kinds.contains(&error.kind()));
    let others: Vec<&Error> = others.collect();
    let late = others.iter().all(|error| error.kind() == ErrorKind::Timeout);
    assert!(late && others.len() <= 2, "{others:?}");
    heal();
    works_again(cache);
}

/// Everything works soon, and goes on to.
#[track_caller]
pub fn works_again(cache: &Cache) {
    heals(|| {
        KEYS.iter().all(|key| {
            timed(|| get(cache, key)).is_ok_and(|found| {
                is_own(key, found.clone());
                found.is_some() || set(cache, key).is_ok()
            })
        })
    });
    goes_on(cache, 20);
}

/// Each call works, so many times over, and few or none of them are made again.
#[track_caller]
pub fn goes_on(cache: &Cache, times: usize) {
    let (started, tries) = (Instant::now(), Cell::new(0));
    let keys = KEYS.repeat(times);
    for key in &keys {
        let found = well(|| {
            tries.set(tries.get() + 1);
            assert!(set(cache, key)?);
            get(cache, key)
        });
        assert_eq!(found, Some(value_of(key)));
    }
    assert!(tries.get() <= keys.len() + FEW, "{} tries for {} keys", tries.get(), keys.len());
    assert!(started.elapsed() < LIMIT * 20, "{:?}", started.elapsed());
}

/// What callers who are not strict see of it, and what must be an error all the same.
#[track_caller]
pub fn outage(cache: &Cache, kinds: &[ErrorKind], lists_keys: bool) {
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
    if lists_keys {
        expect(timed(|| cache.invalidate_tags_all(["t", "u"])), kinds);
        expect(timed(|| cache.invalidate_pattern("*")), kinds);
        expect(timed(|| cache.clear()), kinds);
        expect(timed(|| cache.keys("*")), kinds);
    }
    // Neither of these fails, and neither waits longer.
    assert!(!timed(|| cache.detailed_health_check()).is_up());
    timed(|| cache.stats());
}
