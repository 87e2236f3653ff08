//! The page about troubles has each error word for word.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use yokedcache::{Cache, Cause, Error, ErrorKind, Lookup};

use super::support::{
    MemcachedServer, Plan, Proxy, RedisCluster, RedisServer, free_port, wait_until,
};
use super::{PASSWORD, the_only_client};

fn strict(url: &str) -> Cache {
    let config = yokedcache::config::Config::from_url(url).unwrap();
    config.builder().unwrap().key_prefix("shop").strict().build().unwrap()
}

/// The error of storing something there.
fn error(url: &str) -> Error {
    strict(url).entry("k").tag("t").set("v").unwrap_err()
}

/// The page has the error, with other names for the server.
#[track_caller]
fn the_page_has(error: &Error, kind: ErrorKind, server: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string().replace(server, "HOST:PORT");
    let page = include_str!("../../docs/troubleshooting.md");
    assert!(page.contains(&format!("`{text}`")), "not in the page: `{text}`");
}

#[test]
fn refused() {
    let server = format!("127.0.0.1:{}", free_port());
    the_page_has(&error(&format!("redis://{server}")), ErrorKind::Unavailable, &server);
    the_page_has(&error(&format!("memcached://{server}")), ErrorKind::Unavailable, &server);
}

#[test]
fn a_name_without_address() {
    let error = error("redis://no-such-host.invalid");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // What follows is the system's, and differs.
    let begin = "redis no-such-host.invalid:6379: failed to lookup address information: ";
    assert!(error.to_string().starts_with(begin), "{error}");
    let page = include_str!("../../docs/troubleshooting.md");
    assert!(page.contains("`redis HOST:PORT: failed to lookup address information: ...`"));
}

#[test]
fn logins() {
    let server = RedisServer::start(&[("requirepass", PASSWORD)]);
    let addr = server.addr();
    the_page_has(&error(&format!("redis://{addr}")), ErrorKind::Denied, &addr);
    the_page_has(&error(&format!("redis://:x@{addr}")), ErrorKind::Denied, &addr);
    let server = RedisServer::acl("shop", PASSWORD, "~shop:* +@read");
    the_page_has(&error(server.url()), ErrorKind::Denied, &server.addr());
    let server = MemcachedServer::plain_auth("shop", PASSWORD);
    let addr = server.addr();
    the_page_has(&error(&format!("memcached://{addr}")), ErrorKind::Denied, &addr);
    the_page_has(&error(&format!("memcached://shop:x@{addr}")), ErrorKind::Denied, &addr);
}

#[test]
fn tls() {
    let plain = RedisServer::start(&[]);
    let addr = plain.addr();
    the_page_has(
        &error(&format!("rediss://{addr}?ssl_cert_reqs=none&socket_timeout=1")),
        ErrorKind::Timeout,
        &addr,
    );
    let server = RedisServer::tls();
    let addr = server.addr();
    the_page_has(&error(&format!("redis://{addr}")), ErrorKind::Unavailable, &addr);
    let url = format!("rediss://{addr}?ssl_ca_certs={}", server.other_ca().display());
    the_page_has(&error(&url), ErrorKind::Unavailable, &addr);
}

#[test]
fn no_answer_in_time() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    proxy.set(Plan::Hold);
    let url = format!("{}?socket_timeout=0.3", proxy.url());
    the_page_has(&error(&url), ErrorKind::Timeout, &proxy.addr());
}

#[test]
fn a_pool_that_is_exhausted() {
    let server = RedisServer::start(&[]);
    let cache = strict(&format!("{}?connection_pool_size=1&socket_timeout=1", server.url()));
    cache.set("k", "v").unwrap();
    server.stop();
    let (taken, wait) = channel();
    let first = thread::spawn({
        let cache = cache.with_timeout(Duration::from_secs(60));
        move || {
            taken.send(()).unwrap();
            cache.set("k", "v")
        }
    });
    wait.recv().unwrap();
    // Time enough to take the connection.
    thread::sleep(Duration::from_secs(1));
    let second = cache.set("k", "v").unwrap_err();
    server.cont();
    first.join().unwrap().unwrap();
    the_page_has(&second, ErrorKind::Timeout, &server.addr());
}

#[test]
fn too_many_clients() {
    let server = RedisServer::start(&[("maxclients", "1")]);
    let _taken = the_only_client(&server);
    the_page_has(&error(server.url()), ErrorKind::Unavailable, &server.addr());
}

#[test]
fn no_memory_left() {
    let server = RedisServer::start(&[("maxmemory-policy", "noeviction")]);
    server.command(&["SET", "x", "y"]);
    server.command(&["CONFIG", "SET", "maxmemory", "100"]);
    the_page_has(&error(server.url()), ErrorKind::Full, &server.addr());
}

#[test]
fn a_replica_takes_no_writes() {
    let master = RedisServer::start(&[]);
    let replica = RedisServer::start(&[("replicaof", &format!("127.0.0.1 {}", master.port()))]);
    wait_until("the replica follows", || {
        replica.info("replication").get("master_link_status").is_some_and(|link| link == "up")
    });
    the_page_has(&error(replica.url()), ErrorKind::Unavailable, &replica.addr());
}

#[test]
fn clusters() {
    let cluster = RedisCluster::start();
    let slot = cluster.slot_of("shop:k");
    let owner = cluster.owner(slot);
    let other = cluster.masters().into_iter().find(|node| *node != owner).unwrap();
    let url = format!("redis://{}", cluster.nodes()[other].addr());
    let moved = strict(&url).set("k", "v").unwrap_err();
    let text = moved.to_string().replace(&slot.to_string(), "SLOT");
    let moved = Error::new(moved.kind(), text);
    the_page_has(&moved, ErrorKind::Unavailable, &cluster.nodes()[owner].addr());
    let port = free_port().to_string();
    let node = RedisServer::start(&[("cluster-enabled", "yes"), ("cluster-port", &port)]);
    the_page_has(&error(node.url()), ErrorKind::Unavailable, &node.addr());
    let alone = RedisServer::start(&[]);
    let url = format!("redis+cluster://{}", alone.addr());
    let found = error(&url);
    the_page_has(&found, found.kind(), &alone.addr());
}

#[test]
fn a_value_that_is_too_large() {
    let server = MemcachedServer::start(&[]);
    let cache = strict(server.url());
    let error = cache.set("k", &"x".repeat(2 << 20)).unwrap_err();
    the_page_has(&error, ErrorKind::TooLarge, &server.addr());
}

#[test]
fn a_value_of_another_type_is_a_miss_with_a_cause() {
    let cache = Cache::memory(10);
    cache.set("k", "one").unwrap();
    assert_eq!(cache.get::<u32>("k").unwrap(), None);
    assert_eq!(cache.lookup::<u32>("k").unwrap(), Lookup::Miss(Cause::Undecodable));
    assert_eq!(cache.stats().misses.undecodable, 2);
}

#[test]
fn other_prefixes_and_other_tags_are_other_entries() {
    let server = RedisServer::start(&[]);
    let open =
        |prefix: &str| Cache::open(&format!("{}?key_prefix={prefix}", server.url())).unwrap();
    let (shop, store) = (open("shop"), open("store"));
    shop.entry("k").tag("users").set("v").unwrap();
    assert_eq!(store.lookup::<String>("k").unwrap(), Lookup::Miss(Cause::Absent));
    store.invalidate_tags(["users"]).unwrap();
    shop.invalidate_tags(["user"]).unwrap();
    assert_eq!(shop.get::<String>("k").unwrap().as_deref(), Some("v"));
    shop.invalidate_tags(["users"]).unwrap();
    assert_eq!(shop.lookup::<String>("k").unwrap(), Lookup::Miss(Cause::Invalidated));
}
