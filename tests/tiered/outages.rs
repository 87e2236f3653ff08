//! Connections that are cut, hang, and come back.

use std::thread;
use std::time::{Duration, Instant};

use yokedcache::Redis;

use crate::server::Process;
use crate::support::{Plan, Proxy, RedisServer, wait_until};

const BOUND: Duration = Duration::from_millis(500);

fn process(url: &str) -> Process {
    let redis = Redis::builder(url).timeout(Duration::from_millis(100)).build().unwrap();
    let process = Process::over(redis, |tiers| tiers.bound(BOUND));
    process.wait_on();
    wait_until("it is told", || process.told.all() == ["on"]);
    process
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

fn comes_back(process: &Process, told: &[&str]) {
    wait_until("it is told", || process.told.all().len() == told.len());
    assert_eq!(process.told.all(), told);
    process.wait_on();
    wait_until("the new value is there", || {
        process.cache.get::<String>("k").ok().flatten().as_deref() == Some("new")
    });
    process.warm("k");
    assert_eq!(process.get("k").as_deref(), Some("new"));
}

#[test]
fn a_connection_that_is_cut() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    let (here, there) = (process(&proxy.url()), process(server.url()));
    here.cache.set("k", "old").unwrap();
    here.warm("k");
    proxy.set(Plan::Refuse);
    proxy.drop_connections();
    there.cache.set("k", "new").unwrap();
    never_stale(&here, Instant::now(), Instant::now() + 2 * BOUND);
    assert!(!here.tiers.is_near_on());
    assert_eq!(here.told.all(), ["on", "off"]);
    proxy.set(Plan::Pass);
    comes_back(&here, &["on", "off", "on"]);
}

#[test]
fn a_connection_that_hangs() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    let (here, there) = (process(&proxy.url()), process(server.url()));
    here.cache.set("k", "old").unwrap();
    here.warm("k");
    proxy.set(Plan::Hold);
    there.cache.set("k", "new").unwrap();
    let changed = Instant::now();
    assert_eq!(here.get("k").as_deref(), Some("old"), "nobody could tell");
    never_stale(&here, changed, changed + 3 * BOUND);
    assert!(!here.tiers.is_near_on());
    wait_until("it is told", || here.told.all().len() == 2);
    proxy.set(Plan::Pass);
    comes_back(&here, &["on", "off", "on"]);
}

/// What is heard is late, and signs of life as much: what is served is never older than the bound.
#[test]
fn a_connection_that_is_slow() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    let (here, there) = (process(&proxy.url()), process(server.url()));
    here.cache.set("k", "old").unwrap();
    here.warm("k");
    proxy.set(Plan::Delay(BOUND * 4 / 5));
    there.cache.set("k", "new").unwrap();
    let changed = Instant::now();
    never_stale(&here, changed, changed + 4 * BOUND);
    proxy.set(Plan::Pass);
    wait_until("the new value is there", || here.get("k").as_deref() == Some("new"));
}

#[test]
fn a_listener_that_the_server_hangs_up_on() {
    let server = RedisServer::start(&[]);
    let here = process(server.url());
    here.cache.set("k", "old").unwrap();
    here.warm("k");
    assert_eq!(server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).int(), 1);
    server.command(&["SET", "p:k", "\"new\""]).expect_ok();
    wait_until("it is told", || here.told.all().len() == 3);
    assert_eq!(here.told.all(), ["on", "off", "on"]);
    assert_ne!(here.cache.get_bytes("k").unwrap().as_deref(), Some(b"\"old\"".as_slice()));
}

#[test]
fn a_server_that_is_started_again() {
    let server = RedisServer::start(&[]);
    let here = process(server.url());
    here.cache.set("k", "old").unwrap();
    here.warm("k");
    server.restart();
    let restarted = Instant::now();
    never_stale(&here, restarted, restarted + BOUND * 2);
    server.command(&["DEL", "p:k"]);
    wait_until("it can be written", || here.cache.entry("k").strict().set("new").is_ok());
    comes_back(&here, &["on", "off", "on"]);
}

#[test]
fn a_server_that_comes_late() {
    let server = RedisServer::start(&[]);
    server.kill();
    let here = Process::start_off(server.url(), |tiers| tiers.bound(BOUND));
    thread::sleep(Duration::from_millis(100));
    assert!(!here.tiers.is_near_on());
    server.start_again();
    here.wait_on();
    wait_until("it is told", || here.told.all().len() > 1);
    assert_eq!(here.told.all(), ["off", "on"]);
}
