//! Each setting of Redis has its effect.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use yokedcache::{Cache, ErrorKind, Ttl};

use crate::support::{Plan, Proxy, RedisCluster, RedisServer, in_time, wait_until};
use crate::{cache_of, refusal_of};

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// A cache at this address with these settings in its section.
fn redis(url: &str, fields: &str) -> Cache {
    let fields: Vec<String> = fields.lines().map(|line| format!("\n  {line}")).collect();
    cache_of(&format!("strict: true\nredis:\n  url: {url}{}", fields.concat()))
}

fn refusal(fields: &str) -> String {
    let fields: Vec<String> = fields.lines().map(|line| format!("  {line}\n")).collect();
    refusal_of(&format!("redis:\n{}", fields.concat()))
}

/// What a call to this cache takes that fails for want of time.
fn time_of_a_failure(cache: &Cache) -> Duration {
    let begun = Instant::now();
    cache.get::<u8>("k").unwrap_err();
    begun.elapsed()
}

#[test]
fn url_or_host_and_port_say_where_the_server_is() {
    let server = RedisServer::start(&[]);
    redis(server.url(), "").set("k", &1).unwrap();
    let port = server.port();
    let cache = cache_of(&format!("redis:\n  host: 127.0.0.1\n  port: {port}"));
    assert_eq!(cache.get("k").unwrap(), Some(1));
    let cache = cache_of(&format!("backend: redis\nredis:\n  redis_url: {}", server.url()));
    assert_eq!(cache.get("k").unwrap(), Some(1));
    assert_eq!(refusal("port: 6379"), "e.redis: no server is named: url, or host and port");
    assert_eq!(
        refusal("host: h\nport: 70000"),
        "e.redis.port: expected a whole number from 0 to 65535, found a whole number"
    );
    assert_eq!(refusal("host: h\nport: 0"), "e.redis: redis: a port is a number from 1 to 65535");
}

#[test]
fn db_is_the_database() {
    let server = RedisServer::start(&[]);
    redis(server.url(), "db: 3").set("k", &1).unwrap();
    assert_eq!(server.command(&["DBSIZE"]).int(), 0);
    let mut connection = server.resp();
    connection.command(&["SELECT", "3"]).expect_ok();
    assert_eq!(connection.command(&["DBSIZE"]).int(), 1);
}

#[test]
fn username_and_password_log_in() {
    let server = RedisServer::acl("ann", "p@ss", "~* +@all");
    let at = format!("redis://{}", server.addr());
    redis(&at, "username: ann\npassword: p@ss").set("k", &1).unwrap();
    let denied = redis(&at, "username: ann\npassword: other").set("k", &1).unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Denied);
    assert_eq!(
        refusal("url: redis://h\nusername: ann"),
        "e.redis: redis: a user without a password"
    );
}

#[test]
fn sentinel_username_and_password_log_in_at_sentinels() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let heard = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut said = [0; 1000];
        let length = stream.read(&mut said).unwrap();
        String::from_utf8_lossy(&said[..length]).into_owned()
    });
    let fields = "sentinel_username: guard\nsentinel_password: halt\nsocket_timeout: 1";
    let cache = redis(&format!("redis+sentinel://{at}/main"), fields);
    cache.get::<u8>("k").unwrap_err();
    let said = heard.join().unwrap();
    assert!(said.contains("AUTH") && said.contains("guard") && said.contains("halt"), "{said}");
    let what = "e.redis.sentinel_username: a user without a password: sentinel_password";
    assert_eq!(refusal("url: redis+sentinel://h/main\nsentinel_username: guard"), what);
}

#[test]
fn client_name_is_seen_by_the_server() {
    let server = RedisServer::start(&[]);
    redis(server.url(), "client_name: shop-1").set("k", &1).unwrap();
    let cache = redis(server.url(), "client_name: shop-2");
    cache.set("k", &1).unwrap();
    let clients = server.command(&["CLIENT", "LIST"]);
    assert!(clients.as_str().contains("name=shop-2 "), "{}", clients.as_str());
}

#[test]
fn read_from_replicas_lets_a_clusters_replicas_answer() {
    let cluster = RedisCluster::start();
    let of = |fields| redis(&cluster.url(), fields).backend().about().can.lag;
    assert_eq!(of("read_from_replicas: true"), Duration::MAX);
    assert_eq!(of("read_from_replicas: false"), Duration::ZERO);
    let what = "e.redis: redis: only a cluster's replicas can be read from";
    assert_eq!(refusal("url: redis://h\nread_from_replicas: true"), what);
}

#[test]
fn plain_stores_what_other_programs_read() {
    let server = RedisServer::start(&[]);
    redis(server.url(), "plain: true\nkey_prefix: p").set("k", "v").unwrap();
    assert_eq!(server.command(&["GET", "p:k"]).as_str(), "\"v\"");
    redis(server.url(), "plain: false\nkey_prefix: p").set("k", "v").unwrap();
    assert_ne!(server.command(&["GET", "p:k"]).bytes(), b"\"v\"");
}

#[test]
fn guard_restarts_clears_what_another_server_held() {
    let server = RedisServer::start(&[]);
    redis(server.url(), "key_prefix: shop").set("old", &1).unwrap();
    let guarded = redis(server.url(), "key_prefix: shop\nguard_restarts: shop");
    wait_until("the first use has cleared", || guarded.set("new", &1).is_ok());
    assert_eq!(guarded.get::<u8>("old").unwrap(), None);
}

#[test]
fn key_prefix_and_default_ttl_may_stand_in_the_section() {
    let server = RedisServer::start(&[]);
    let cache = redis(server.url(), "key_prefix: in\ndefault_ttl: 100");
    cache.set("k", &1).unwrap();
    assert!((1..=100).contains(&server.command(&["TTL", "in:k"]).int()));
    assert!(matches!(cache.ttl("k").unwrap(), Some(Ttl::After(left)) if left <= ms(100_000)));
}

#[test]
fn pool_size_bounds_connections() {
    let server = RedisServer::start(&[]);
    for (fields, most) in [("pool_size: 2", 2), ("connection_pool_size: 5", 5)] {
        let proxy = Proxy::to(&server.addr());
        proxy.set(Plan::Delay(ms(20)));
        let cache = redis(&proxy.url(), fields);
        // All at once, so that more would be made if they could.
        wait_until("the pool is full", || {
            thread::scope(|scope| {
                for _ in 0..12 {
                    scope.spawn(|| cache.get::<u8>("k").unwrap());
                }
            });
            let connections = cache.stats().backend.connections;
            assert!(connections <= Some(most), "{fields}: {connections:?}");
            connections == Some(most)
        });
        assert_eq!(proxy.connections(), most, "{fields}");
    }
}

#[test]
fn idle_timeout_is_no_zero() {
    let server = RedisServer::start(&[]);
    redis(server.url(), "idle_timeout: 1s").set("k", &1).unwrap();
    assert_eq!(refusal("url: redis://h\nidle_timeout: 0"), "e.redis: redis: idle_timeout is 0");
}

#[test]
fn socket_timeout_bounds_a_call() {
    let server = RedisServer::start(&[]);
    for (fields, least, most) in
        [("socket_timeout: 0.2", 190, 1500), ("socket_timeout: 2s", 1900, 4500)]
    {
        let cache = redis(server.url(), fields);
        wait_until("it is connected", || cache.set("k", &1).is_ok());
        in_time(|| {
            server.stop();
            let took = time_of_a_failure(&cache);
            server.cont();
            assert!(took >= ms(least), "{fields}: {took:?}");
            (took < ms(most)).then_some(())
        });
    }
}

/// A port at which connections are neither made nor refused.
struct Full {
    _listener: Socket,
    _waiting: Vec<TcpStream>,
    port: u16,
}

impl Full {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        listener.listen(0).unwrap();
        let at = listener.local_addr().unwrap().as_socket().unwrap();
        let soon = || TcpStream::connect_timeout(&at, ms(100)).ok();
        let waiting: Vec<TcpStream> = std::iter::from_fn(soon).take(50).collect();
        assert!(waiting.len() < 50, "the port takes any number of connections");
        Self { _listener: listener, _waiting: waiting, port: at.port() }
    }
}

#[test]
fn socket_connect_timeout_bounds_how_long_connecting_takes() {
    let full = Full::new();
    let url = format!("redis://127.0.0.1:{}", full.port);
    for (fields, least, most) in
        [("socket_connect_timeout: 200ms", 150, 950), ("socket_connect_timeout: 2", 1900, 4500)]
    {
        in_time(|| {
            let took = time_of_a_failure(&redis(&url, fields));
            assert!(took >= ms(least), "{fields}: {took:?}");
            (took < ms(most)).then_some(())
        });
    }
}

#[test]
fn retry_on_timeout_asks_again_on_another_connection() {
    let server = RedisServer::start(&[]);
    for (fields, connections) in [("retry_on_timeout: true", 2), ("retry_on_timeout: false", 1)] {
        let proxy = Proxy::to(&server.addr());
        let cache = redis(&proxy.url(), &format!("socket_timeout: 1\n{fields}"));
        cache.set("k", &1).unwrap();
        proxy.set(Plan::Hold);
        cache.get::<u8>("k").unwrap_err();
        // The proxy counts one when it comes to accept it.
        wait_until("they are counted", || proxy.connections() >= connections);
        assert_eq!(proxy.connections(), connections, "{fields}");
    }
}

#[test]
fn health_check_interval_is_when_an_idle_connection_is_asked() {
    let server = RedisServer::start(&[]);
    for (fields, asked) in
        [("health_check_interval: 1ms", true), ("health_check_interval: 1h", false)]
    {
        let cache = redis(server.url(), fields);
        cache.set("k", &1).unwrap();
        server.reset_stats();
        thread::sleep(ms(50));
        cache.get::<u8>("k").unwrap();
        assert_eq!(server.commandstats().contains_key("ping"), asked, "{fields}");
    }
}

/// When the kernel sends its next sign of life to this port, in hundredths of a second.
#[cfg(target_os = "linux")]
fn keepalive_of(port: u16) -> Option<u64> {
    let (to, sockets) = (format!(":{port:04X}"), fs::read_to_string("/proc/net/tcp").unwrap());
    let lines = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let timers = lines.filter(|words| words[2].ends_with(&to)).map(|words| words[5]);
    let mut times = timers.filter_map(|timer| timer.strip_prefix("02:"));
    times.next().map(|time| u64::from_str_radix(time, 16).unwrap())
}

#[test]
#[cfg(target_os = "linux")]
fn socket_keepalive_and_its_idle_time_are_the_sockets() {
    for (fields, least, most) in [
        ("socket_keepalive: true", 1, 6_001),
        ("socket_keepalive_idle: 1000", 90_000, 100_001),
        ("socket_keepalive: false", 0, 0),
    ] {
        let server = RedisServer::start(&[("tcp-keepalive", "0")]);
        let cache = redis(server.url(), fields);
        cache.set("k", &1).unwrap();
        if most == 0 {
            assert_eq!(keepalive_of(server.port()), None, "{fields}");
            continue;
        }
        let mut time = None;
        // While the kernel waits for something else it does not tell.
        wait_until("the kernel tells", || {
            time = keepalive_of(server.port());
            time.is_some()
        });
        assert!((least..most).contains(&time.unwrap()), "{fields}: {time:?}");
    }
}

#[test]
fn socket_keepalive_interval_and_count_have_ranges() {
    let server = RedisServer::start(&[]);
    let fields = "socket_keepalive_interval: 20\nsocket_keepalive_count: 5\ntcp_nodelay: false";
    redis(server.url(), fields).set("k", &1).unwrap();
    let interval = "e.redis: redis: keepalive times are from 1 to 32,767 seconds";
    assert_eq!(refusal("url: redis://h\nsocket_keepalive_interval: 0.5"), interval);
    let count = "e.redis: redis: socket_keepalive_count is from 1 to 127";
    assert_eq!(refusal("url: redis://h\nsocket_keepalive_count: 128"), count);
}

#[test]
fn ssl_ca_certs_are_whom_a_server_is_believed_from() {
    let server = RedisServer::tls();
    let trusting = |path: std::path::PathBuf| {
        redis(server.url(), &format!("ssl_ca_certs: {}", path.display())).set("k", &1)
    };
    assert!(trusting(server.ca()).unwrap());
    assert_eq!(trusting(server.other_ca()).unwrap_err().kind(), ErrorKind::Unavailable);
    let what = "e.redis: redis: settings for TLS, and an address without";
    assert_eq!(refusal("url: redis://h\nssl_ca_certs: x.pem"), what);
}

#[test]
fn ssl_cert_reqs_says_whether_a_server_has_to_prove_itself() {
    let server = RedisServer::tls();
    let ca = format!("ssl_ca_certs: {}", server.other_ca().display());
    for (fields, let_in) in [
        ("ssl_cert_reqs: none", true),
        ("ssl_cert_reqs: required", false),
        ("ssl_check_hostname: false", false),
    ] {
        let stored = redis(server.url(), &format!("{ca}\n{fields}")).set("k", &1);
        assert_eq!(stored.is_ok(), let_in, "{fields}");
    }
}

/// Passes on what comes to a name that certificates of tests do not have.
#[cfg(target_os = "linux")]
fn front_of(server: &RedisServer) -> String {
    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let at = format!("rediss://{}", listener.local_addr().unwrap());
    let to = server.addr();
    // Ends with the process.
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(&to).unwrap();
            let ways = [
                (client.try_clone(), server.try_clone()),
                (server.try_clone(), client.try_clone()),
            ];
            for (from, to) in ways {
                let (mut from, mut to) = (from.unwrap(), to.unwrap());
                thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    at
}

#[test]
#[cfg(target_os = "linux")]
fn ssl_check_hostname_says_whether_a_certificate_has_to_be_for_the_host() {
    let server = RedisServer::tls();
    let at = front_of(&server);
    let ca = format!("ssl_ca_certs: {}", server.ca().display());
    for (fields, let_in) in
        [("ssl_check_hostname: false", true), ("ssl_check_hostname: true", false)]
    {
        let stored = redis(&at, &format!("{ca}\n{fields}")).set("k", &1);
        assert_eq!(stored.is_ok(), let_in, "{fields}: {:?}", stored.err());
    }
}

#[test]
fn ssl_certfile_and_keyfile_prove_who_we_are() {
    let server = RedisServer::mutual_tls();
    let ca = format!("ssl_ca_certs: {}", server.ca().display());
    redis(server.url(), &ca).set("k", &1).unwrap_err();
    let (certificate, key) = (server.client_cert(), server.client_key());
    let ours = format!("ssl_certfile: {}\nssl_keyfile: {}", certificate.display(), key.display());
    redis(server.url(), &format!("{ca}\n{ours}")).set("k", &1).unwrap();
    let half = format!("url: {}\n{ca}\nssl_certfile: x.pem", server.url());
    assert_eq!(refusal(&half), "e.redis: redis: ssl_certfile and ssl_keyfile go together");
}
