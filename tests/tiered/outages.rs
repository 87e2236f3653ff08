//! Connections that are cut, hang, and come back.

use std::thread;
use std::time::{Duration, Instant};

use yokedcache::Redis;

use crate::server::Process;
use crate::support::{Plan, Proxy, RedisServer, in_time, wait_until};

const BOUND: Duration = Duration::from_millis(500);

/// Its calls have enough time for a busy machine, where answers pass through a proxy.
fn process(url: &str) -> Process {
    let redis = Redis::builder(url).timeout(Duration::from_secs(2)).build().unwrap();
    let process = Process::over(redis, |tiers| tiers.bound(BOUND));
    process.wait_begun();
    process
}

fn set(process: &Process, value: &str) {
    wait_until("it is written", || process.cache.entry("k").strict().set(value).is_ok());
}

/// Off at least once, and on in the end. How often is up to the machine: each change is told once.
#[track_caller]
fn went_off_and_on(process: &Process) {
    let told = || process.told.all();
    wait_until("it is told", || told().len() > 2 && told().last() == Some(&"on"));
    let told = told();
    assert!(told.starts_with(&["on", "off", "on"]), "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0] != pair[1]), "{told:?}");
}

/// Reads until this, and has an older value only if the read began before the bound was over.
fn never_stale(process: &Process, changed: Instant, until: Instant) {
    while Instant::now() < until {
        let began = Instant::now();
        let stale = process.cache.get::<String>("k").ok().flatten().as_deref() == Some("old");
        assert!(!stale || began < changed + BOUND, "{:?} after", began - changed);
        thread::sleep(Duration::from_millis(1));
    }
}

fn comes_back(process: &Process) {
    went_off_and_on(process);
    process.wait_on();
    wait_until("the new value is there", || {
        process.cache.get::<String>("k").ok().flatten().as_deref() == Some("new")
    });
    process.warm("k");
    wait_until("it is served", || process.get("k").as_deref() == Some("new"));
}

#[test]
fn a_connection_that_is_cut() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    let (here, there) = (process(&proxy.url()), process(server.url()));
    set(&here, "old");
    here.warm("k");
    proxy.set(Plan::Refuse);
    proxy.drop_connections();
    set(&there, "new");
    never_stale(&here, Instant::now(), Instant::now() + 2 * BOUND);
    assert!(!here.tiers.is_near_on());
    wait_until("it is told", || here.told.all().last() == Some(&"off"));
    proxy.set(Plan::Pass);
    comes_back(&here);
}

#[test]
fn a_connection_that_hangs() {
    in_time(|| {
        let server = RedisServer::start(&[]);
        let proxy = Proxy::to(&server.addr());
        let (here, there) = (process(&proxy.url()), process(server.url()));
        set(&here, "old");
        here.warm("k");
        proxy.set(Plan::Hold);
        set(&there, "new");
        let changed = Instant::now();
        let near = here.get("k");
        if !here.tiers.is_near_on() {
            return None;
        }
        assert_eq!(near.as_deref(), Some("old"), "nobody could tell");
        never_stale(&here, changed, changed + 3 * BOUND);
        assert!(!here.tiers.is_near_on());
        wait_until("it is told", || here.told.all().last() == Some(&"off"));
        proxy.set(Plan::Pass);
        comes_back(&here);
        Some(())
    });
}

/// What is heard is late, and signs of life as much: what is served is never older than the bound.
#[test]
fn a_connection_that_is_slow() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    let (here, there) = (process(&proxy.url()), process(server.url()));
    set(&here, "old");
    here.warm("k");
    proxy.set(Plan::Delay(BOUND * 4 / 5));
    set(&there, "new");
    let changed = Instant::now();
    never_stale(&here, changed, changed + 4 * BOUND);
    proxy.set(Plan::Pass);
    wait_until("the new value is there", || here.get("k").as_deref() == Some("new"));
}

#[test]
fn a_listener_that_the_server_hangs_up_on() {
    let server = RedisServer::start(&[]);
    let here = process(server.url());
    set(&here, "old");
    here.warm("k");
    assert_eq!(server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).int(), 1);
    server.command(&["SET", "p:k", "\"new\""]).expect_ok();
    went_off_and_on(&here);
    assert_ne!(here.cache.get_bytes("k").unwrap().as_deref(), Some(b"\"old\"".as_slice()));
}

#[test]
fn a_server_that_is_started_again() {
    let server = RedisServer::start(&[]);
    let here = process(server.url());
    set(&here, "old");
    here.warm("k");
    server.restart();
    let restarted = Instant::now();
    never_stale(&here, restarted, restarted + BOUND * 2);
    server.command(&["DEL", "p:k"]);
    set(&here, "new");
    comes_back(&here);
}

#[test]
fn a_server_that_comes_late() {
    let server = RedisServer::start(&[]);
    server.kill();
    let here = Process::start_off(server.url(), |tiers| tiers.bound(BOUND));
    wait_until("it is told", || here.told.all() == ["off"]);
    thread::sleep(Duration::from_millis(100));
    assert!(!here.tiers.is_near_on());
    assert_eq!(here.told.all(), ["off"], "once");
    server.start_again();
    here.wait_on();
    wait_until("it is told", || here.told.all().len() > 1);
    assert!(here.told.all().starts_with(&["off", "on"]));
}
