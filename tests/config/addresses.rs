//! A cache for every kind of address.

use std::time::Duration;

use yokedcache::config::Config;
use yokedcache::{Cache, Ttl};

use crate::support::{MemcachedServer, RedisSentinels, RedisServer, TlsFront};

fn works(url: &str) -> Cache {
    let cache = Cache::open(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    assert!(cache.set("k", &7).unwrap(), "{url}");
    assert_eq!(cache.get("k").unwrap(), Some(7), "{url}");
    cache
}

#[test]
fn every_scheme_makes_a_cache() {
    for url in [
        "memory://",
        "memory://?max_size=5&max_bytes=1MiB&cleanup_interval=0",
        "redis://h",
        "redis://[::1]:7/3",
        "rediss://u:p%40%3F@h?ssl_cert_reqs=none",
        "valkey://h",
        "valkeys://h?ssl_check_hostname=false&ssl_cert_reqs=none",
        "redis+cluster://a,b:7",
        "rediss+cluster://a,b?ssl_cert_reqs=none&read_from_replicas=true",
        "redis+sentinel://a,b:7/main/3",
        "rediss+sentinel://a/main?ssl_cert_reqs=none&sentinel_password=p",
        "redis+unix:///run/r.sock?db=3&password=p",
        "unix:///run/r.sock",
        "memcached://a,b:7;weight=3",
        "memcache://a",
        "memcacheds://u:p@a?ssl_cert_reqs=none",
        "memcached+tls://a?ssl_cert_reqs=none",
        "memcached+unix:///run/m.sock?protocol=binary",
    ] {
        let built = Config::from_url(url).and_then(|config| config.open());
        assert!(built.is_ok(), "{url}: {:?}", built.err());
    }
}

#[test]
fn settings_of_the_backend_and_of_the_cache_stand_behind_the_question_mark() {
    let server = RedisServer::start(&[]);
    let url = format!(
        "{}/3?key_prefix=a%20b&default_ttl=2m&client_name=me&socket_timeout=1.5&codec=msgpack&strict=1",
        server.url()
    );
    let cache = works(&url);
    let Some(Ttl::After(left)) = cache.ttl("k").unwrap() else { panic!("it ends") };
    assert!(left <= Duration::from_secs(120));
    let mut connection = server.resp();
    connection.command(&["SELECT", "3"]).expect_ok();
    assert_eq!(connection.command(&["EXISTS", "a b:k"]).int(), 1);
    let clients = server.command(&["CLIENT", "LIST"]);
    assert!(clients.as_str().contains("name=me"), "{}", clients.as_str());
}

#[test]
fn sockets_tls_and_sentinels_are_reached() {
    works(RedisServer::unix().url());
    works(MemcachedServer::unix().url());
    let tls = RedisServer::tls();
    works(&format!("{}?ssl_ca_certs={}", tls.url(), tls.ca().display()));
    let memcached = MemcachedServer::start(&[]);
    let front = TlsFront::to(&memcached.addr());
    works(&format!("memcached+tls://{}?ssl_ca_certs={}", front.addr(), front.ca().display()));
    works(&RedisSentinels::start().url());
}
