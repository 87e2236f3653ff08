//! What goes wrong between a cache and its Memcached servers, one thing at a time: the deadline
//! holds, the error is typed, the next caller gets its own value, and after healing calls work again
//! within a second.
#![cfg(feature = "memcached")]

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
    assert!(!timed(|| cache.health_check()).is_ok_and(|health| health.is_up()));
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

#[test]
fn refused() {
    for binary in BOTH {
        let server = MemcachedServer::start(&[]);
        let cache = cache(server.url(), binary);
        drill(&cache, DOWN, || server.kill(), || server.start_again());
        server.kill();
        outage(&cache, DOWN, binary);
        // Once it is known, it costs next to nothing.
        let started = Instant::now();
        for _ in 0..1_000 {
            assert_eq!(cache.get::<String>("a").unwrap(), None);
        }
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    }
}

#[test]
fn reset_when_connecting() {
    for binary in BOTH {
        let (_server, proxy, cache) = behind_proxy(binary);
        let break_it = || {
            proxy.set(Plan::Refuse);
            proxy.drop_connections();
        };
        drill(&cache, DOWN, break_it, || proxy.set(Plan::Pass));
    }
}

#[test]
fn black_hole() {
    faulty(Plan::Hold, LATE);
    for binary in BOTH {
        let (_server, proxy, cache) = behind_proxy(binary);
        proxy.set(Plan::Hold);
        outage(&cache, LATE, binary);
    }
}

#[test]
fn a_byte_now_and_then() {
    faulty(Plan::Drip { every: Duration::from_millis(40) }, LATE);
}

#[test]
fn late_answers() {
    faulty(Plan::Delay(LIMIT * 3), LATE);
}

#[test]
fn reset_in_the_middle_of_an_answer() {
    faulty(Plan::CutAfter(7), DOWN);
}

#[test]
fn truncated_answers() {
    faulty(Plan::Truncate(9), DOWN);
}

#[test]
fn answers_that_are_none() {
    // In the binary protocol they are too short for one.
    faulty(Plan::Garbage, LATE);
}

#[test]
fn a_value_cut_off_in_its_middle() {
    for plan in [Plan::CutAfter(50_000), Plan::Truncate(50_000)] {
        for binary in BOTH {
            let (_server, proxy, cache) = behind_proxy(binary);
            let large = "large".repeat(20_000);
            assert!(cache.set("large", &large).unwrap());
            set(&cache, "a").unwrap();
            proxy.set(plan);
            for _ in 0..10 {
                expect(timed(|| get(&cache, "large")), DOWN);
                // The greeting and a small value come through; a server that was found down meanwhile
                // is tried again soon.
                heals(|| {
                    timed(|| get(&cache, "a")).is_ok_and(|found| found == Some(value_of("a")))
                });
            }
            assert_eq!(cache.lookup::<String>("large").unwrap().cause(), Some(Cause::Down));
            proxy.set(Plan::Pass);
            heals(|| get(&cache, "large").is_ok_and(|found| found.as_ref() == Some(&large)));
        }
    }
}

#[test]
fn a_connection_half_closed() {
    // New ones get their greeting and no more.
    faulty(Plan::HalfClose, DOWN);
    for binary in BOTH {
        let (_server, proxy, cache) = behind_proxy(binary);
        set(&cache, "a").unwrap();
        for _ in 0..10 {
            proxy.set(Plan::HalfClose);
            // The answer arrives, and its connection is not used again.
            assert_eq!(timed(|| get(&cache, "a")).unwrap(), Some(value_of("a")));
            proxy.set(Plan::Pass);
            thread::sleep(Duration::from_millis(12));
            let before = proxy.connections();
            assert_eq!(timed(|| get(&cache, "a")).unwrap(), Some(value_of("a")));
            assert_eq!(proxy.connections(), before + 1);
        }
    }
}

#[test]
fn a_large_value_stalls_half_way() {
    for binary in BOTH {
        let server = MemcachedServer::start(&["-I", "16m", "-m", "256"]);
        let proxy = Proxy::to(&server.addr());
        let cache = cache(&url_of(&proxy), binary);
        let large = bytes::Bytes::from(vec![b'x'; 12 << 20]);
        heals(|| cache.set("a", "small").unwrap());
        proxy.set(Plan::StallWrites(100_000));
        expect(timed(|| cache.entry("a").strict().set_bytes(large)), LATE);
        // The connection it stalled on is nobody's any more; a new one takes as many bytes.
        assert!(timed(|| cache.entry("bb").strict().set("v")).unwrap());
        proxy.set(Plan::Pass);
        heals(|| get(&cache, "a").is_ok());
        for key in KEYS.repeat(10) {
            assert!(set(&cache, key).unwrap());
            assert_eq!(get(&cache, key).unwrap(), Some(value_of(key)));
        }
        // What was given up does not arrive later.
        thread::sleep(Duration::from_millis(100));
        assert!(server.get_raw(b"f:a").unwrap().len() < 1_000);
    }
}

#[test]
fn killed_and_started_again() {
    for binary in BOTH {
        let server = MemcachedServer::start(&[]);
        let cache = cache(server.url(), binary);
        for _ in 0..3 {
            for key in KEYS {
                set(&cache, key).unwrap();
            }
            server.restart();
            let mut first = None;
            heals(|| match timed(|| get(&cache, "a")) {
                Ok(found) => {
                    first = Some(found);
                    true
                }
                Err(error) => {
                    expect::<()>(Err(error), DOWN);
                    false
                }
            });
            assert_eq!(first, Some(None), "it came back empty");
        }
        // All connections of the pool were dead, and nobody noticed: no call failed because of it.
        set(&cache, "a").unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50).for_each(|_| drop(cache.get::<String>("a").unwrap())));
            }
        });
        server.restart();
        thread::sleep(Duration::from_millis(600));
        for key in KEYS {
            set(&cache, key).unwrap();
            assert_eq!(get(&cache, key).unwrap(), Some(value_of(key)));
        }
    }
}

/// The number the server has for an entry.
fn cas(server: &MemcachedServer, key: &str) -> u64 {
    let answer = server.command(&format!("mg f:{key} c"));
    let cas = answer.trim_end().rsplit(" c").next().and_then(|cas| cas.parse().ok());
    cas.unwrap_or_else(|| panic!("{answer}"))
}

/// Writes what others do, until the server's number of the entry is this one.
#[track_caller]
fn write_until(server: &MemcachedServer, key: &str, number: u64, write: impl Fn()) {
    for _ in 0..number {
        write();
        if cas(server, key) == number {
            return;
        }
    }
    panic!("the number {number} did not come again");
}

#[test]
fn a_lease_from_before_a_restart_fills_nothing_though_the_numbers_are_the_same() {
    for binary in BOTH {
        let server = MemcachedServer::start(&[]);
        let (cache, others) = (cache(server.url(), binary), cache(server.url(), binary));
        for n in 0..20 {
            cache.set(format!("warm{n}"), "v").unwrap();
        }
        let loaded = cache.get_or_compute("k", || {
            let number = cas(&server, "k");
            server.restart();
            heals(|| set(&others, "up").is_ok());
            write_until(&server, "k", number, || assert!(others.set("k", "theirs").unwrap()));
            "loaded".to_owned()
        });
        assert_eq!(loaded.unwrap(), "loaded");
        assert_eq!(others.get::<String>("k").unwrap().as_deref(), Some("theirs"));

        // The same with a placeholder of somebody else's, who is loading now.
        thread::scope(|scope| {
            let loaded = cache.get_or_compute("p", || {
                let number = cas(&server, "p");
                server.restart();
                heals(|| set(&others, "up").is_ok());
                while cas(&server, "up") + 1 < number {
                    set(&others, "up").unwrap();
                }
                let (others, server) = (&others, &server);
                scope.spawn(move || {
                    let slow = || {
                        thread::sleep(LIMIT);
                        "newer".to_owned()
                    };
                    assert_eq!(others.get_or_compute("p", slow).unwrap(), "newer");
                });
                wait_until("they are loading", || {
                    server.command("mg f:p c").starts_with("HD") && cas(server, "p") == number
                });
                "older".to_owned()
            });
            assert_eq!(loaded.unwrap(), "older");
        });
        assert_eq!(others.get::<String>("p").unwrap().as_deref(), Some("newer"));
    }
}

#[test]
fn a_version_from_before_a_restart_swaps_nothing_though_the_numbers_are_the_same() {
    for binary in BOTH {
        for tagged in [false, true] {
            let server = MemcachedServer::start(&[]);
            let cache = cache(server.url(), binary);
            let put = |value: &str| {
                let entry = cache.entry("k").strict();
                if tagged { entry.tag("t").set(value) } else { entry.set(value) }
            };
            for n in 0..20 {
                cache.set(format!("warm{n}"), "v").unwrap();
            }
            put("old").unwrap();
            let version = || cache.get_versioned::<String>("k").unwrap().unwrap().1;
            let (old, number) = (version(), cas(&server, "k"));
            server.restart();
            heals(|| put("new").is_ok());
            write_until(&server, "k", number, || assert!(put("new").unwrap()));
            assert!(!timed(|| cache.entry("k").strict().swap(old, "wrong")).unwrap());
            assert_eq!(get(&cache, "k").unwrap().as_deref(), Some("new"));
            // One from after it swaps.
            assert!(cache.entry("k").strict().swap(version(), "right").unwrap());
            assert_eq!(get(&cache, "k").unwrap().as_deref(), Some("right"));
        }
    }
}

#[test]
fn stopped_for_longer_than_the_deadline() {
    for binary in BOTH {
        let server = MemcachedServer::start(&["-I", "16m", "-m", "256"]);
        let cache = cache(server.url(), binary);
        drill(&cache, LATE, || server.stop(), || server.cont());
        server.stop();
        outage(&cache, LATE, binary);
        server.cont();
        works_again(&cache);
        // A value somebody gave up on is not stored when the server wakes up, unless it was read
        // whole.
        server.stop();
        let large = bytes::Bytes::from(vec![b'y'; 12 << 20]);
        expect(timed(|| cache.entry("large").strict().set_bytes(large)), LATE);
        server.cont();
        heals(|| get(&cache, "a").is_ok());
        thread::sleep(Duration::from_millis(100));
        assert!(!cache.exists("large").unwrap());
    }
}

#[test]
fn a_pool_exhausted_by_slow_callers() {
    for binary in BOTH {
        let (_server, proxy, cache) = behind_proxy(binary);
        for key in KEYS {
            set(&cache, key).unwrap();
        }
        proxy.set(Plan::Delay(LIMIT / 3));
        // Sixteen callers, four connections: some wait too long for their turn, none for longer.
        let (served, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for index in 0..16 {
                let (cache, served, refused) = (&cache, &served, &refused);
                scope.spawn(move || {
                    let key = KEYS[index % KEYS.len()];
                    for _ in 0..3 {
                        match timed(|| get(cache, key)) {
                            Ok(found) => {
                                assert_eq!(found, Some(value_of(key)));
                                served.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(error) => {
                                expect::<()>(Err(error), LATE);
                                refused.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
        });
        assert!(served.into_inner() > 0 && refused.into_inner() > 0);
        proxy.set(Plan::Pass);
        works_again(&cache);
    }
}

#[test]
fn a_late_command_is_sent_again_where_that_is_wanted() {
    for binary in BOTH {
        let server = MemcachedServer::start(&[]);
        let proxy = Proxy::to(&server.addr());
        let memcached = Memcached::builder(&url_of(&proxy)).timeout(LIMIT * 4).binary(binary);
        let cache = cache_of(memcached.retry_on_timeout(true));
        cache.set("a", "v").unwrap();
        cache.set("n", &1).unwrap();
        let heal_soon = |call: &dyn Fn()| {
            thread::scope(|scope| {
                proxy.set(Plan::Hold);
                scope.spawn(|| {
                    thread::sleep(LIMIT);
                    // What was held is lost; new connections work.
                    proxy.drop_connections();
                    proxy.set(Plan::Pass);
                });
                call();
            });
        };
        heal_soon(&|| assert_eq!(get(&cache, "a").unwrap().as_deref(), Some("v")));
        // Not one that would count twice.
        heal_soon(&|| drop(expect(cache.increment("n", 1), LATE)));
        assert!(cache.get::<i64>("n").unwrap() <= Some(2));
    }
}

#[test]
fn a_load_whose_fill_met_an_outage_keeps_nobody_waiting() {
    for binary in BOTH {
        let (server, proxy, cache) = behind_proxy(binary);
        let others = self::cache(server.url(), binary);
        let value = timed(|| {
            cache.get_or_compute("k", || {
                proxy.set(Plan::Hold);
                "loaded".to_owned()
            })
        });
        assert_eq!(value.unwrap(), "loaded");
        proxy.drop_connections();
        proxy.set(Plan::Pass);
        // Another process waits as long as it may, and then loads for itself.
        let loaded = timed(|| others.entry("k").timeout(LIMIT).get_or_compute(|| "own".to_owned()));
        assert_eq!(loaded.unwrap(), "own");
    }
}

/// Whether a server keeps something for a key. Its list of keys may leave one out that moves.
fn is_there(server: &MemcachedServer, key: &str) -> bool {
    server.get_raw(format!("f:{key}").as_bytes()).is_some()
}

const MANY: usize = 40;

/// Keys of four servers, and which server has each.
struct Dealt {
    fleet: MemcachedFleet,
    keys: Vec<String>,
    owners: Vec<usize>,
}

impl Dealt {
    fn new(cache: impl FnOnce(&str) -> Cache) -> (Dealt, Cache) {
        let fleet = MemcachedFleet::start(4);
        let cache = cache(&fleet.url(&[]));
        let keys: Vec<String> = (0..MANY).map(|n| format!("key{n}")).collect();
        keys.iter().for_each(|key| assert!(set(&cache, key).unwrap()));
        let owners = Dealt::who_has(&fleet, &keys);
        for server in 0..4 {
            assert!(owners.contains(&server), "each has some");
        }
        (Dealt { fleet, keys, owners }, cache)
    }

    fn who_has(fleet: &MemcachedFleet, keys: &[String]) -> Vec<usize> {
        let owner = |key: &String| (0..4).find(|server| is_there(&fleet.servers[*server], key));
        keys.iter().map(|key| owner(key).unwrap()).collect()
    }

    fn each(&self) -> impl Iterator<Item = (&String, usize)> {
        self.keys.iter().zip(self.owners.iter().copied())
    }

    fn keys_of(&self, server: usize) -> Vec<&String> {
        self.each().filter(|(_, owner)| *owner == server).map(|(key, _)| key).collect()
    }
}

/// Only the share of the server that is down is missing, to those who read and those who write.
#[track_caller]
fn misses_its_share(dealt: &Dealt, cache: &Cache, down: usize) {
    for (key, owner) in dealt.each() {
        let lookup = timed(|| cache.lookup::<String>(key)).unwrap();
        let strict = timed(|| get(cache, key));
        let stored = timed(|| cache.set(key, &value_of(key))).unwrap();
        let exists = timed(|| cache.exists(key));
        assert_eq!(stored, owner != down, "{key}");
        if owner == down {
            assert_eq!(lookup.cause(), Some(Cause::Down), "{key}");
            expect(strict, LATE);
            assert!(!exists.unwrap_or(false));
            expect(timed(|| set(cache, key)), LATE);
            expect(timed(|| cache.delete(key)), LATE);
            expect(timed(|| cache.increment(key, 1)), LATE);
        } else {
            assert_eq!(strict.unwrap(), Some(value_of(key)), "{key}");
            assert_eq!(lookup.into_value(), Some(value_of(key)), "{key}");
            assert!(exists.unwrap(), "{key}");
        }
    }
    let found = timed(|| cache.get_many::<String>(&dealt.keys)).unwrap();
    for ((key, owner), found) in dealt.each().zip(found) {
        assert_eq!(found, (owner != down).then(|| value_of(key)), "{key}");
    }
    let values = dealt.keys.iter().map(|key| (key, value_of(key)));
    let failed = timed(|| cache.set_many(values)).unwrap();
    let failed: Vec<&String> = failed.iter().map(|(key, _)| key).collect();
    assert_eq!(failed, dealt.keys_of(down));
    expect(timed(|| cache.delete_many([dealt.keys_of(down)[0]])), LATE);
}

/// A hundred calls to who is known to be down cost next to nothing.
#[track_caller]
fn costs_nothing(dealt: &Dealt, cache: &Cache, down: usize) {
    let key = dealt.keys_of(down)[0];
    let mut took: Vec<Duration> = (0..100)
        .map(|_| {
            let started = Instant::now();
            assert_eq!(cache.get::<String>(key).unwrap(), None);
            started.elapsed()
        })
        .collect();
    took.sort();
    assert!(took[50] < Duration::from_micros(500), "{:?}", took[50]);
    // Those who try, a few a second.
    assert!(took[95] < LIMIT / 10, "{:?}", took[95]);
}

#[test]
fn one_server_of_four_is_dead_and_the_others_work() {
    for binary in BOTH {
        let (dealt, cache) = Dealt::new(|url| cache(url, binary));
        let dead = dealt.owners[0];
        dealt.fleet.servers[dead].kill();
        for _ in 0..3 {
            misses_its_share(&dealt, &cache, dead);
        }
        costs_nothing(&dealt, &cache, dead);
        dealt.fleet.servers[dead].start_again();
        heals(|| dealt.keys.iter().all(|key| set(&cache, key).is_ok()));
        for key in &dealt.keys {
            assert_eq!(get(&cache, key).unwrap(), Some(value_of(key)));
        }
        assert_eq!(Dealt::who_has(&dealt.fleet, &dealt.keys), dealt.owners);
    }
}

#[test]
fn one_server_of_four_hangs_and_the_others_work() {
    for binary in BOTH {
        let (dealt, cache) = Dealt::new(|url| cache(url, binary));
        let hung = dealt.owners[0];
        dealt.fleet.servers[hung].stop();
        // Of a batch only the keys of that server are missing, whichever is asked first.
        for _ in 0..4 {
            let found = timed(|| cache.get_many::<String>(&dealt.keys)).unwrap();
            for ((key, owner), found) in dealt.each().zip(found) {
                assert_eq!(found, (owner != hung).then(|| value_of(key)), "{key}");
            }
        }
        misses_its_share(&dealt, &cache, hung);
        costs_nothing(&dealt, &cache, hung);
        for _ in 0..2 {
            // The one that hangs is told from those that work, also when it is tried again.
            thread::sleep(Duration::from_millis(500));
            let health = timed(|| cache.health_check()).unwrap();
            let up: Vec<bool> = health.children.iter().map(|(_, child)| child.is_up()).collect();
            assert_eq!(up, [0, 1, 2, 3].map(|server| server != hung));
            thread::sleep(Duration::from_millis(500));
            let stats = timed(|| cache.stats());
            let known = |server: &yokedcache::BackendStats| server.entries.is_some();
            let known: Vec<bool> =
                stats.backend.children.iter().map(|(_, child)| known(child)).collect();
            assert_eq!(known, [0, 1, 2, 3].map(|server| server != hung));
        }
        dealt.fleet.servers[hung].cont();
        heals(|| dealt.keys.iter().all(|key| set(&cache, key).is_ok()));
        for key in &dealt.keys {
            assert_eq!(get(&cache, key).unwrap(), Some(value_of(key)));
        }
    }
}

#[test]
fn four_servers_that_hang_take_no_longer_than_one() {
    for binary in BOTH {
        let (dealt, cache) = Dealt::new(|url| cache(url, binary));
        dealt.fleet.servers.iter().for_each(MemcachedServer::stop);
        let found = timed(|| cache.get_many::<String>(&dealt.keys)).unwrap();
        assert!(found.iter().all(Option::is_none));
        let values = || dealt.keys.iter().map(|key| (key, value_of(key)));
        assert_eq!(timed(|| cache.set_many(values())).unwrap().len(), MANY);
        expect(timed(|| cache.invalidate_tags(["t", "u", "v", "w"])), LATE);
        let ask_all: [&dyn Fn(); 2] = [&|| drop(cache.health_check()), &|| drop(cache.stats())];
        for ask in ask_all {
            // All are tried again.
            thread::sleep(Duration::from_millis(500));
            timed(ask);
        }
        dealt.fleet.servers.iter().for_each(MemcachedServer::cont);
        heals(|| dealt.keys.iter().all(|key| set(&cache, key).is_ok()));
        works_again(&cache);
    }
}

#[test]
fn a_tag_whose_server_is_down_vouches_for_nothing() {
    for binary in BOTH {
        let (dealt, cache) = Dealt::new(|url| cache(url, binary));
        let dead = 2;
        // A tag there, and a key somewhere else.
        let tag_of = |n: usize| format!("tag{n}");
        for n in 0..MANY {
            cache.entry(format!("probe{n}")).strict().tag(tag_of(n)).set("v").unwrap();
        }
        let server = &dealt.fleet.servers[dead];
        let there = (0..MANY).find(|n| is_there(server, &format!("{}#t", tag_of(*n))));
        let tag = tag_of(there.expect("a tag's record is there"));
        let key = dealt.keys.iter().find(|key| !is_there(server, key)).unwrap();
        let others = self::cache(&dealt.fleet.url(&[]), binary);
        cache.entry(key).strict().tag(&tag).set(&value_of(key)).unwrap();
        assert_eq!(get(&others, key).unwrap(), Some(value_of(key)));

        dealt.fleet.servers[dead].kill();
        for cache in [&cache, &others] {
            let lookup = timed(|| cache.lookup::<String>(key)).unwrap();
            assert_eq!(lookup.cause(), Some(Cause::Down));
            expect(timed(|| get(cache, key)), DOWN);
            expect(timed(|| cache.invalidate_tags([&tag])), DOWN);
            assert!(!timed(|| cache.entry("new").tag(&tag).set("v")).unwrap());
        }
        // It comes back empty: the entry is invalidated.
        dealt.fleet.servers[dead].start_again();
        for cache in [&cache, &others] {
            heals(|| get(cache, key).is_ok());
            assert_eq!(get(cache, key).unwrap(), None);
        }
        assert!(cache.entry(key).strict().tag(&tag).set(&value_of(key)).unwrap());
        assert_eq!(get(&others, key).unwrap(), Some(value_of(key)));
        others.invalidate_tags([&tag]).unwrap();
        assert_eq!(get(&cache, key).unwrap(), None);
    }
}

#[test]
fn others_stand_in_for_a_server_that_is_down_where_that_is_wanted() {
    for binary in BOTH {
        let (dealt, cache) = Dealt::new(|url| cache_of(memcached(url).binary(binary).eject(true)));
        let dead = dealt.owners[0];
        dealt.fleet.servers[dead].kill();
        // No call fails, be it the first.
        for key in &dealt.keys {
            assert!(timed(|| set(&cache, key)).unwrap());
            assert_eq!(timed(|| get(&cache, key)).unwrap(), Some(value_of(key)));
            timed(|| cache.increment(format!("{key}-n"), 1)).unwrap();
        }
        let found = timed(|| cache.get_many::<String>(&dealt.keys)).unwrap();
        for (key, found) in dealt.keys.iter().zip(found) {
            assert_eq!(found, Some(value_of(key)));
        }
        assert!(timed(|| cache.delete(dealt.keys_of(dead)[0])).unwrap());
        timed(|| set(&cache, dealt.keys_of(dead)[0])).unwrap();
        // Nobody else's keys have moved.
        let live: Vec<usize> = (0..4).filter(|server| *server != dead).collect();
        for (key, owner) in dealt.each() {
            let there = |server: &&usize| is_there(&dealt.fleet.servers[**server], key);
            let there: Vec<&usize> = live.iter().filter(there).collect();
            assert_eq!(there.len(), 1, "{key}");
            assert!(owner == dead || *there[0] == owner, "{key}");
        }
        // And they come back, to a server that is empty.
        dealt.fleet.servers[dead].start_again();
        let own = dealt.keys_of(dead);
        heals(|| own.iter().all(|key| get(&cache, key).unwrap().is_none()));
        own.iter().for_each(|key| assert!(set(&cache, key).unwrap()));
        assert!(own.iter().all(|key| is_there(&dealt.fleet.servers[dead], key)));
    }
}

#[test]
fn others_stand_in_for_a_server_that_hangs_once_that_is_known() {
    for binary in BOTH {
        let (dealt, cache) = Dealt::new(|url| cache_of(memcached(url).binary(binary).eject(true)));
        let hung = dealt.owners[0];
        dealt.fleet.servers[hung].stop();
        let own = dealt.keys_of(hung);
        heals(|| timed(|| set(&cache, own[0])).is_ok());
        let (mut stored, mut late) = (0, 0);
        for _ in 0..10 {
            for key in &own {
                match timed(|| set(&cache, key)) {
                    Ok(done) => stored += usize::from(done),
                    Err(error) => {
                        expect::<()>(Err(error), LATE);
                        late += 1;
                    }
                }
            }
        }
        // Now and then one tries whether it is back.
        assert!(stored > late * 5, "{stored} stored, {late} late");
        dealt.fleet.servers[hung].cont();
        heals(|| own.iter().all(|key| set(&cache, key).is_ok()));
        thread::sleep(Duration::from_millis(500));
        own.iter().for_each(|key| assert!(set(&cache, key).unwrap()));
        assert_eq!(get(&cache, own[0]).unwrap(), Some(value_of(own[0])));
    }
}

#[test]
fn credentials() {
    let (text, sasl) = (
        MemcachedServer::plain_auth("ann", "open@sesame/1"),
        MemcachedServer::sasl("ann", "open@sesame/1"),
    );
    for (server, binary) in [(&text, false), (&sasl, true)] {
        let at = |login: &str| format!("memcached://{login}{}", server.addr());
        let right = cache(&at("ann:open%40sesame%2F1@"), binary);
        assert!(right.set("a", &value_of("a")).unwrap());
        assert_eq!(right.get::<String>("a").unwrap(), Some(value_of("a")));
        assert!(right.health_check().unwrap().is_up());
        for login in ["ann:wrongword@", "bob:open%40sesame%2F1@", ""] {
            let cache = cache(&at(login), binary);
            let error = expect(timed(|| get(&cache, "a")), &[ErrorKind::Denied]);
            assert!(!error.is_transient());
            outage(&cache, &[ErrorKind::Denied], binary);
            let mut shown = format!("{error} {error:?} {cache:?} {:?}", cache.health_check());
            shown += &format!("{:?} {:?}", cache.stats(), memcached(&at(login)));
            assert!(!shown.contains("sesame") && !shown.contains("wrongword"), "{shown}");
        }
        assert_eq!(right.get::<String>("a").unwrap(), Some(value_of("a")));
    }
}

#[test]
fn no_more_clients() {
    for binary in BOTH {
        let server = MemcachedServer::start(&["-c", "40"]);
        let cache = cache(server.url(), binary);
        let mut taken = Vec::new();
        wait_until("all places are taken", || {
            let mut one = TcpStream::connect(server.addr()).unwrap();
            one.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut answer = [0; 8];
            let asked = one.write_all(b"mn\r\n").and_then(|()| one.read(&mut answer));
            let refused = !asked.is_ok_and(|read| answer[..read] == *b"MN\r\n");
            taken.push(one);
            refused
        });
        expect(timed(|| get(&cache, "a")), DOWN);
        outage(&cache, DOWN, binary);
        drop(taken);
        works_again(&cache);
    }
}

#[test]
fn a_server_without_room() {
    for binary in BOTH {
        let server = MemcachedServer::start(&["-m", "8", "-M"]);
        let cache = cache(server.url(), binary);
        set(&cache, "a").unwrap();
        set(&cache, "bb").unwrap();
        assert!(cache.entry("tagged").tag("t").set(&value_of("tagged")).unwrap());
        let large = "x".repeat(100_000);
        let full = (0..1_000)
            .find_map(|n| timed(|| cache.entry(format!("fill{n}")).strict().set(&large)).err());
        let error = expect::<()>(Err(full.expect("it is full")), &[ErrorKind::Full]);
        assert!(error.is_transient());
        assert!(!timed(|| cache.set("new", &large)).unwrap());
        let failed = timed(|| cache.set_many([("new", &large)])).unwrap();
        assert_eq!(failed[0].1.kind(), ErrorKind::Full);
        // Reads go on, and the older value is not served in place of the newer one.
        assert_eq!(get(&cache, "a").unwrap(), Some(value_of("a")));
        expect(timed(|| cache.entry("a").strict().set(&large)), &[ErrorKind::Full]);
        assert_eq!(get(&cache, "a").unwrap(), None);
        assert!(!timed(|| cache.set("bb", &large)).unwrap());
        assert_eq!(get(&cache, "bb").unwrap(), None);
        assert_eq!(get(&cache, "fill0").unwrap().as_ref(), Some(&large));
        // Nor in place of one that was loaded or swapped, or of one among many.
        set(&cache, "a").unwrap();
        let version = cache.get_versioned::<String>("a").unwrap().unwrap().1;
        expect(cache.entry("a").strict().swap(version, &large), &[ErrorKind::Full]);
        assert_eq!(get(&cache, "a").unwrap(), None);
        assert_eq!(timed(|| cache.get_or_compute("a", || large.clone())).unwrap(), large);
        assert_eq!(get(&cache, "a").unwrap(), None);
        set(&cache, "bb").unwrap();
        assert_eq!(cache.set_many([("bb", large.as_str()), ("ccc", "v")]).unwrap().len(), 1);
        assert_eq!(get(&cache, "bb").unwrap(), None);
        assert_eq!(get(&cache, "ccc").unwrap().as_deref(), Some("v"));
        // What is there may be removed and invalidated.
        assert_eq!(get(&cache, "tagged").unwrap(), Some(value_of("tagged")));
        cache.invalidate_tags(["t"]).unwrap();
        assert_eq!(get(&cache, "tagged").unwrap(), None);
        assert!(cache.delete("fill0").unwrap());
        assert!(timed(|| cache.entry("a").strict().set(&large)).unwrap());
        assert_eq!(get(&cache, "a").unwrap().as_ref(), Some(&large));
    }
}

#[test]
fn a_server_without_room_for_the_smallest_invalidates_all_the_same() {
    let server = MemcachedServer::start(&["-m", "8", "-M"]);
    let cache = cache(server.url(), false);
    assert!(cache.entry("tagged").tag("t").set("v").unwrap());
    // All of it goes to the size a tag's record has.
    let record = server.get_raw(b"f:t#t").unwrap().len();
    assert!((0..500).any(|round| !fill_many(&server, record, round)), "it is full");
    expect(timed(|| cache.increment("n", 1)), &[ErrorKind::Full]);
    assert!(!timed(|| cache.entry("other").tag("u").set("v")).unwrap());
    assert_eq!(get(&cache, "tagged").unwrap().as_deref(), Some("v"));
    cache.invalidate_tags(["t"]).unwrap();
    assert_eq!(get(&cache, "tagged").unwrap(), None);
}

/// Stores a thousand small values more; false when there is no room.
fn fill_many(server: &MemcachedServer, length: usize, round: usize) -> bool {
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    let value = "r".repeat(length);
    let commands: String = (0..1_000)
        .map(|n| format!("ms x{round}-{n} {length} q\r\n{value}\r\n"))
        .chain(["mn\r\n".to_owned()])
        .collect();
    stream.write_all(commands.as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer == "MN\r\n"
}

/// A server that says to each command what it is told to.
struct Fake {
    addr: String,
    connections: Arc<AtomicUsize>,
    answer: Arc<Mutex<Answer>>,
}

/// From the words of a command to the bytes of its answer.
type Answer = Box<dyn Fn(&[&str]) -> Vec<u8> + Send>;

impl Fake {
    fn start(answer: impl Fn(&[&str]) -> Vec<u8> + Send + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Box::new(answer)));
        let connections = Arc::new(AtomicUsize::new(0));
        let fake = Fake { addr, connections: connections.clone(), answer: answer.clone() };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::Relaxed);
                let answer = answer.clone();
                thread::spawn(move || Fake::serve(client, &answer));
            }
        });
        fake
    }

    fn serve(mut client: TcpStream, answer: &Mutex<Answer>) {
        client.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(client.try_clone().unwrap());
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            if let ["ms", _, length, ..] = words[..] {
                let mut data = vec![0; length.parse::<usize>().unwrap() + 2];
                if reader.read_exact(&mut data).is_err() {
                    return;
                }
            }
            let reply = match words[..] {
                ["stats"] => b"STAT pid 7\r\nSTAT time 900\r\nSTAT uptime 100\r\nEND\r\n".to_vec(),
                ["stats", "settings"] => b"STAT item_size_max 1048576\r\nEND\r\n".to_vec(),
                ["mn"] => b"MN\r\n".to_vec(),
                _ => answer.lock().unwrap()(&words),
            };
            if client.write_all(&reply).is_err() {
                return;
            }
            line.clear();
        }
    }

    fn says(&self, answer: impl Fn(&[&str]) -> Vec<u8> + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    fn url(&self) -> String {
        format!("memcached://{}", self.addr)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// The flag by which an answer is known to be that to a command.
fn opaque(words: &[&str]) -> u32 {
    let flag = words.iter().skip(2).find_map(|word| word.strip_prefix('O'));
    flag.expect("each command has an opaque").parse().unwrap()
}

/// What a server without entries says, which stores what it is given.
fn empty(words: &[&str]) -> Vec<u8> {
    let word = if words[0] == "mg" || words[0] == "md" { "EN" } else { "HD" };
    let word = if words[0] == "md" { "NF" } else { word };
    format!("{word} O{}\r\n", opaque(words)).into_bytes()
}

/// The number 1, to whoever asks.
fn one(words: &[&str]) -> Vec<u8> {
    format!("VA 1 c5 t-1 O{}\r\n1\r\n", opaque(words)).into_bytes()
}

#[test]
fn what_a_server_says_against_a_command_is_an_error_of_that_kind() {
    let lines: &[(&str, ErrorKind)] = &[
        ("SERVER_ERROR out of memory storing object", ErrorKind::Full),
        ("SERVER_ERROR Out of memory allocating new item", ErrorKind::Full),
        ("SERVER_ERROR out of memory reading request", ErrorKind::Full),
        ("SERVER_ERROR object too large for cache", ErrorKind::TooLarge),
        ("CLIENT_ERROR unauthenticated", ErrorKind::Denied),
        ("CLIENT_ERROR bad data chunk", ErrorKind::Backend),
        ("CLIENT_ERROR bad command line format", ErrorKind::Backend),
        ("SERVER_ERROR temporary failure", ErrorKind::Backend),
        ("ERROR", ErrorKind::Backend),
        ("ERROR Too many open connections", ErrorKind::Unavailable),
    ];
    for (line, kind) in lines {
        let fake = Fake::start(empty);
        let cache = cache(&fake.url(), false);
        assert!(timed(|| cache.entry("a").strict().set("v")).unwrap());
        assert_eq!(timed(|| get(&cache, "a")).unwrap(), None);
        fake.says(move |_| format!("{line}\r\n").into_bytes());
        for _ in 0..3 {
            let error = expect(timed(|| cache.entry("a").strict().set("v")), &[*kind]);
            assert!(error.to_string().contains("memcached"), "{error}");
            expect(timed(|| get(&cache, "a")), &[*kind]);
            expect(timed(|| cache.increment("n", 1)), &[*kind]);
            expect(timed(|| cache.invalidate_tags(["t"])), &[*kind]);
            expect(timed(|| cache.delete("a")), &[*kind]);
        }
        // An outage is a miss to those who are not strict, and nothing else is.
        let lookup = timed(|| cache.lookup::<String>("a"));
        let stored = timed(|| cache.set("a", "v"));
        match kind {
            ErrorKind::Full | ErrorKind::Denied | ErrorKind::Unavailable => {
                assert_eq!(lookup.unwrap().cause(), Some(Cause::Down), "{line}");
                assert!(!stored.unwrap(), "{line}");
            }
            _ => {
                expect(lookup, &[*kind]);
                expect(stored, &[*kind]);
            }
        }
        fake.says(empty);
        heals(|| timed(|| cache.entry("a").strict().set("v")).is_ok());
        assert_eq!(timed(|| get(&cache, "a")).unwrap(), None);
    }
}

#[test]
fn an_error_that_closes_a_connection_costs_nobody_else_an_answer() {
    let fake = Fake::start(empty);
    let cache = cache(&fake.url(), false);
    for _ in 0..5 {
        // Of a batch the first command is refused, and what follows is not looked at.
        fake.says(|words| match words[1] {
            "f:a" => b"CLIENT_ERROR bad data chunk\r\nERROR\r\n".to_vec(),
            _ => one(words),
        });
        let before = fake.connections();
        let found = timed(|| cache.get_many::<i64>(["a", "bb"]));
        assert!(found.is_err(), "{found:?}");
        fake.says(one);
        heals(|| timed(|| cache.entry("bb").strict().get::<i64>()).is_ok_and(|n| n == Some(1)));
        assert!(fake.connections() > before, "the connection was not used again");
    }
}

#[test]
fn an_answer_to_something_else_is_nobodys_value() {
    let replies: [Answer; 5] = [
        Box::new(|words| format!("VA 1 c5 t-1 O{}\r\n2\r\n", opaque(words) + 1_000).into_bytes()),
        Box::new(|words| format!("VA 1 c5 t-1 O{}\r\n2\r\n", opaque(words) + 77_000).into_bytes()),
        Box::new(|_| b"VA 1 c5 t-1\r\n2\r\n".to_vec()),
        Box::new(|_| b"VA 1 c5 t-1 O\r\n2\r\n".to_vec()),
        Box::new(|_| b"EN O99999999\r\n".to_vec()),
    ];
    for reply in replies {
        let fake = Fake::start(one);
        let cache = cache(&fake.url(), false);
        assert_eq!(timed(|| cache.get::<i64>("a")).unwrap(), Some(1));
        *fake.answer.lock().unwrap() = reply;
        for _ in 0..5 {
            expect(timed(|| cache.entry("a").strict().get::<i64>()), DOWN);
            assert_eq!(timed(|| cache.get_many::<i64>(["a", "bb"])).unwrap(), [None, None]);
            let lookup = timed(|| cache.lookup::<i64>("a")).unwrap();
            assert_eq!(lookup.cause(), Some(Cause::Down));
            expect(timed(|| cache.entry("a").strict().get_or_compute(|| 3)), DOWN);
            expect(timed(|| cache.increment("a", 1)), DOWN);
            expect(timed(|| cache.delete("a")), DOWN);
            thread::sleep(Duration::from_millis(20));
        }
        fake.says(one);
        heals(|| timed(|| cache.entry("a").strict().get::<i64>()).is_ok_and(|n| n == Some(1)));
    }
}

#[test]
fn answers_in_another_order_are_nobodys_values() {
    let held = Mutex::new(Vec::new());
    let fake = Fake::start(move |words| {
        // Each answer comes after that to the next command.
        let mut held = held.lock().unwrap();
        let own = format!("VA 1 O{}\r\n{}\r\n", opaque(words), words[1].len()).into_bytes();
        if held.is_empty() {
            *held = own;
            return Vec::new();
        }
        [own, std::mem::take(&mut held)].concat()
    });
    let cache = cache(&fake.url(), false);
    for _ in 0..10 {
        let found = timed(|| cache.get_many::<i64>(["a", "bb"])).unwrap();
        assert!(found[0].is_none_or(|n| n == 3) && found[1].is_none_or(|n| n == 4), "{found:?}");
        thread::sleep(Duration::from_millis(20));
    }
    fake.says(|words| format!("VA 1 O{}\r\n{}\r\n", opaque(words), words[1].len()).into_bytes());
    heals(|| timed(|| cache.get_many::<i64>(["a", "bb"])).unwrap() == [Some(3), Some(4)]);
}

#[test]
fn more_answers_than_questions_end_the_connection() {
    let fake = Fake::start(|words| {
        let again = format!("VA 1 O{}\r\n2\r\n", opaque(words) + 1).into_bytes();
        [one(words), again].concat()
    });
    let cache = cache(&fake.url(), false);
    for _ in 0..5 {
        // The second one is nobody's.
        assert_eq!(cache.get::<i64>("a").unwrap(), Some(1));
    }
    assert_eq!(fake.connections(), 5);
}

#[test]
fn answers_that_make_no_sense_are_errors() {
    for reply in [
        "VA 99999999999999999999 O%\r\n1\r\n",
        "VA -1 O%\r\n1\r\n",
        "VA x O%\r\n1\r\n",
        "VA\r\n",
        "VA 1 cx O%\r\n1\r\n",
        "VA 1 tx O%\r\n1\r\n",
        "VA 1 c O%\r\n1\r\n",
        "ZZ O%\r\n",
        "va 1 O%\r\n1\r\n",
        "VA 1 O%\n1\r\n",
        "\r\n",
        "VA 1 O%\r\n1xx",
    ] {
        let fake =
            Fake::start(move |words| reply.replace('%', &opaque(words).to_string()).into_bytes());
        let cache = cache(&fake.url(), false);
        for _ in 0..3 {
            expect(timed(|| cache.entry("a").strict().get::<i64>()), LATE);
            assert_eq!(timed(|| cache.get::<i64>("a")).unwrap(), None, "{reply:?}");
            thread::sleep(Duration::from_millis(20));
        }
        fake.says(one);
        heals(|| timed(|| cache.entry("a").strict().get::<i64>()).is_ok_and(|n| n == Some(1)));
    }
}

/// A server that answers each line with the same bytes without end, once it has greeted.
#[test]
fn an_answer_without_end_ends_at_the_deadline() {
    for (start, more) in [
        ("VA 1 O0\r\n1\r\n", "VA 1 O0\r\n1\r\n"),
        ("VA 900000000 O%\r\n", "xxxxxxxxxxxxxxxx"),
        ("VA ", "11111111111111111"),
        ("HD ", "f1 f1 f1 f1 f1 f1 "),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("memcached://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut reader = BufReader::new(client.try_clone().unwrap());
                    let mut line = String::new();
                    while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
                        let words: Vec<&str> = line.split_ascii_whitespace().collect();
                        if words[0] == "stats" {
                            client.write_all(b"END\r\n").unwrap();
                        } else {
                            let first = start.replace('%', &opaque(&words).to_string());
                            let more = more.repeat(1_000);
                            let until = Instant::now() + Duration::from_secs(5);
                            let mut going = client.write_all(first.as_bytes()).is_ok();
                            while going && Instant::now() < until {
                                going = client.write_all(more.as_bytes()).is_ok();
                                // Not faster than anybody could take it in.
                                thread::sleep(Duration::from_millis(1));
                            }
                            return;
                        }
                        line.clear();
                    }
                });
            }
        });
        let cache = cache(&url, false);
        assert_eq!(timed(|| cache.get_many::<i64>(KEYS)).unwrap(), [None; 6]);
        expect(timed(|| cache.entry("a").strict().get::<i64>()), LATE);
        expect(timed(|| cache.delete("a")), LATE);
    }
}

#[test]
fn a_greeting_that_is_none_is_an_error() {
    let greetings: &[(&'static [u8], &[ErrorKind])] = &[
        (b"ERROR\r\n", &[ErrorKind::Backend]),
        (b"SERVER_ERROR temporary failure\r\n", &[ErrorKind::Backend]),
        (b"CLIENT_ERROR unauthenticated\r\n", &[ErrorKind::Denied]),
        (b"ERROR Too many open connections\r\n", DOWN),
        (b"+OK\r\n", DOWN),
        (b"END\r\nEND\r\nEND\r\n", DOWN),
        (b"END\r\n", LATE),
        (b"STAT pid", LATE),
    ];
    for (greeting, kinds) in greetings.iter().copied() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("memcached://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            let mut open = Vec::new();
            for mut client in listener.incoming().flatten() {
                let _ = client.write_all(greeting);
                open.push(client);
            }
        });
        let cache = cache(&url, false);
        let kinds = [kinds, DOWN].concat();
        for _ in 0..5 {
            expect(timed(|| cache.entry("a").strict().get::<i64>()), &kinds);
            expect(timed(|| cache.delete("a")), &kinds);
        }
    }
}

/// A server of the binary protocol whose answers have these opaques: so much more than was asked.
fn binary_fake(off_by: u32, status: u16) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("memcached://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut head = [0; 24];
                while client.read_exact(&mut head).is_ok() {
                    let length = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
                    let mut body = vec![0; length as usize];
                    client.read_exact(&mut body).unwrap();
                    let asked = u32::from_be_bytes([head[12], head[13], head[14], head[15]]);
                    let (opcode, get, stat) = (head[1], 0x00, 0x10);
                    let (said, status) =
                        if opcode == stat { (asked, 0) } else { (asked + off_by, status) };
                    let body: &[u8] = if opcode == get { b"\0\0\0\x001" } else { b"" };
                    let mut answer = vec![0x81, opcode, 0, 0];
                    answer.extend([if opcode == get { 4 } else { 0 }, 0]);
                    answer.extend(status.to_be_bytes());
                    answer.extend((body.len() as u32).to_be_bytes());
                    answer.extend(said.to_be_bytes());
                    answer.extend(5u64.to_be_bytes());
                    answer.extend(body);
                    if client.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[test]
fn in_the_binary_protocol_likewise() {
    assert_eq!(cache(&binary_fake(0, 0), true).get::<i64>("a").unwrap(), Some(1));
    for off_by in [1, 77] {
        let cache = cache(&binary_fake(off_by, 0), true);
        for _ in 0..5 {
            expect(timed(|| cache.entry("a").strict().get::<i64>()), DOWN);
            assert_eq!(timed(|| cache.get::<i64>("a")).unwrap(), None);
            assert_eq!(timed(|| cache.get_many::<i64>(["a", "bb"])).unwrap(), [None, None]);
            expect(timed(|| cache.delete("a")), DOWN);
            thread::sleep(Duration::from_millis(20));
        }
    }
    for (status, kind) in [
        (0x82, ErrorKind::Full),
        (0x03, ErrorKind::TooLarge),
        (0x20, ErrorKind::Denied),
        (0x85, ErrorKind::Unavailable),
        (0x86, ErrorKind::Unavailable),
        (0x84, ErrorKind::Backend),
        (0x81, ErrorKind::Backend),
    ] {
        let cache = cache(&binary_fake(0, status), true);
        for _ in 0..3 {
            expect(timed(|| cache.entry("a").strict().get::<i64>()), &[kind]);
            expect(timed(|| cache.entry("a").strict().set("v")), &[kind]);
            expect(timed(|| cache.delete("a")), &[kind]);
        }
    }
}

#[test]
fn a_list_of_keys_cut_off_is_not_taken_for_all_of_them() {
    let (_server, proxy, cache) = behind_proxy(false);
    let keys: Vec<String> = (0..3_000).map(|n| format!("key{n}")).collect();
    let values = || keys.iter().map(|key| (key, "v"));
    assert!(cache.set_many(values()).unwrap().is_empty());
    assert_eq!(cache.keys("*").unwrap().len(), 3_000);
    for plan in [Plan::CutAfter(50_000), Plan::Truncate(50_000)] {
        proxy.set(plan);
        let all: [&dyn Fn() -> Option<Error>; 3] =
            [&|| cache.keys("*").err(), &|| cache.invalidate_pattern("*").err(), &|| {
                cache.clear().err()
            }];
        for call in all {
            let error = call().expect("it was cut off");
            expect::<()>(Err(error), LATE);
            thread::sleep(Duration::from_millis(100));
        }
        proxy.set(Plan::Pass);
        works_again(&cache);
        assert!(cache.set_many(values()).unwrap().is_empty());
    }
    cache.clear().unwrap();
    assert!(cache.keys("*").unwrap().is_empty());
}

#[test]
fn what_is_no_list_of_keys_is_an_error_of_that_kind() {
    let lists: &[(&str, &[ErrorKind])] = &[
        ("\x7f\0this is nothing\r\n", DOWN),
        ("key=f%3Aa exp=-1 la=1 cas=5 fetch=no cls=1 size=65\r\n\x7f\0nothing\r\nEND\r\n", DOWN),
        ("HD O5\r\n", DOWN),
        ("ERROR Too many open connections\r\n", DOWN),
        ("SERVER_ERROR out of memory\r\n", &[ErrorKind::Full]),
        ("CLIENT_ERROR unauthenticated\r\n", &[ErrorKind::Denied]),
        ("CLIENT_ERROR metadump not allowed\r\n", &[ErrorKind::Unsupported]),
        ("CLIENT_ERROR lru crawler disabled\r\n", &[ErrorKind::Unsupported]),
        ("ERROR\r\n", &[ErrorKind::Unsupported]),
        ("BUSY currently processing crawler request\r\n", LATE),
    ];
    for (list, kinds) in lists {
        let fake = Fake::start(move |words| match words[0] {
            "lru_crawler" => list.as_bytes().to_vec(),
            _ => empty(words),
        });
        let cache = cache(&fake.url(), false);
        for _ in 0..3 {
            for error in [
                timed(|| cache.keys("*")).map(drop).err(),
                timed(|| cache.invalidate_pattern("*")).map(drop).err(),
                timed(|| cache.clear()).map(drop).err(),
            ] {
                let error = error.unwrap_or_else(|| panic!("{list:?} was taken for a list"));
                assert!(kinds.contains(&error.kind()), "{list:?}: {error:?}");
            }
        }
        assert!(timed(|| cache.entry("a").strict().set("v")).unwrap());
    }
}

#[test]
fn a_password_is_not_left_with_a_server_that_wants_none() {
    let server = MemcachedServer::start(&[]);
    let cache = cache(&format!("memcached://ann:open%40sesame@{}", server.addr()), false);
    drop(timed(|| cache.set("a", "v")));
    assert_eq!(server.get_raw(b"auth"), None);
    let kept = server.keys().iter().map(|key| server.get_raw(key.as_bytes())).collect::<Vec<_>>();
    let kept = format!("{kept:?}");
    assert!(!kept.contains("sesame"), "{kept}");
}

#[test]
fn a_sign_of_life_that_does_not_come() {
    for binary in BOTH {
        for (plan, kinds) in [
            (Plan::Hold, LATE),
            (Plan::Delay(LIMIT), LATE),
            (Plan::CutAfter(2), DOWN),
            (Plan::Truncate(3), DOWN),
            (Plan::Garbage, LATE),
        ] {
            let server = MemcachedServer::start(&[]);
            let proxy = Proxy::to(&server.addr());
            let memcached = memcached(&url_of(&proxy)).binary(binary);
            let cache = cache_of(memcached.health_check_interval(Duration::ZERO));
            drill(&cache, kinds, || proxy.set(plan), || proxy.set(Plan::Pass));
            // One that is late, but not too late, is no harm to the answer after it.
            proxy.set(Plan::Delay(LIMIT / 6));
            for key in KEYS {
                assert_eq!(timed(|| get(&cache, key)).unwrap(), Some(value_of(key)));
            }
        }
    }
}
