//! The doctor: each illness by its right name, and no other.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::support::{
    MemcachedFleet, MemcachedServer, Plan, Proxy, RedisCluster, RedisSentinels, RedisServer,
    TlsFront, free_port, in_time, wait_until,
};
use super::{PASSWORD, at, bare, redis, the_only_client};

/// What the doctor found.
struct Diagnosis(Vec<(String, String, String)>);

impl Diagnosis {
    fn of(url: &str) -> Self {
        Self::with(url, "5s", None)
    }

    /// Of a server that is well: while this machine is busy its calls are slow, and its time, told
    /// late and in whole seconds, seems to be another.
    fn calm(url: &str) -> Self {
        in_time(|| {
            let found = Self::of(url);
            let busy = |check: &&str| ["latency", "clock"].contains(check);
            (!found.which("warn").iter().any(busy)).then_some(found)
        })
    }

    fn with(url: &str, timeout: &str, code: Option<i32>) -> Self {
        let ran = at(url).args(&["--json", "doctor", "--timeout", timeout]);
        let report = ran.json();
        let text = |check: &Value, name: &str| check[name].as_str().unwrap_or_default().to_owned();
        let checks = report["checks"].as_array().unwrap().iter();
        let checks = checks.map(|check| {
            let found = format!("{}; {}", text(check, "found"), text(check, "advice"));
            (text(check, "verdict"), text(check, "check"), found)
        });
        let found = Self(checks.collect());
        let expected = i32::from(!found.which("fail").is_empty());
        assert_eq!(ran.code, code.unwrap_or(expected), "{ran:?}");
        found
    }

    /// The checks with this verdict.
    fn which(&self, verdict: &str) -> Vec<&str> {
        let such = self.0.iter().filter(|(found, ..)| found == verdict);
        let mut names: Vec<&str> = such.map(|(_, check, _)| check.as_str()).collect();
        names.dedup();
        names
    }

    /// Only this check has failed, and it says so.
    #[track_caller]
    fn fails_only(&self, check: &str, words: &str) -> &Self {
        assert_eq!(self.which("fail"), [check], "{:?}", self.0);
        self.says(check, words)
    }

    #[track_caller]
    fn says(&self, check: &str, words: &str) -> &Self {
        let such =
            |(_, name, text): &&(String, String, String)| name == check && text.contains(words);
        assert!(self.0.iter().any(|found| such(&found)), "{check}: {words}: {:?}", self.0);
        self
    }

    #[track_caller]
    fn skips(&self, checks: &[&str]) -> &Self {
        let skipped = self.which("skip");
        assert!(checks.iter().all(|check| skipped.contains(check)), "{:?}", self.0);
        self
    }

    #[track_caller]
    fn is_well(&self) -> &Self {
        assert!(self.which("fail").is_empty() && self.which("skip").is_empty(), "{:?}", self.0);
        self
    }
}

#[test]
fn a_healthy_server_passes_everything() {
    let limits =
        [("requirepass", PASSWORD), ("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")];
    let server = RedisServer::start(&limits);
    let url = format!("{}?key_prefix=shop", server.url());
    let found = Diagnosis::calm(&url);
    found.is_well();
    assert!(found.which("warn").is_empty(), "{:?}", found.0);
    let ran = in_time(|| {
        let ran = at(&url).run("doctor").ends(0);
        let busy = ["too slow for a cache", "apart from this machine's"];
        (!busy.iter().any(|words| ran.out.contains(words))).then_some(ran)
    });
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines[0], "VERDICT   CHECK           FOUND");
    assert!(lines[1..].iter().all(|line| line.starts_with("pass      ")), "{ran:?}");
    assert_eq!(ran.err, "16 passed, 0 to think about, 0 failed, 0 skipped\n");
    // What was stored to see whether it may be stored has gone.
    at(&url).run("keys").says("");
}

#[test]
fn nothing_that_listens() {
    let found = Diagnosis::of(&format!("redis://127.0.0.1:{}?key_prefix=shop", free_port()));
    found.fails_only("tcp", "nothing listens there").skips(&[
        "tls",
        "protocol",
        "login",
        "permissions",
    ]);
    let table = at(&format!("redis://127.0.0.1:{}", free_port())).run("doctor").ends(1).out;
    let skipped = table.lines().find(|line| line.starts_with("skip")).unwrap();
    assert!(skipped.contains("needs tcp: tls, protocol, login, version"), "{table}");
}

#[test]
fn a_server_that_never_ends_its_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}?key_prefix=shop", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                // The first question is answered, the next one has an answer without end.
                let mut asked = [0; 1024];
                assert!(stream.read(&mut asked).unwrap() > 0);
                stream.write_all(b"+PONG\r\n").unwrap();
                drop(stream.read(&mut asked));
                // The other end has an end.
                while stream.write_all(b"$1000000\r\n").is_ok() {
                    thread::sleep(Duration::from_millis(100));
                }
            });
        }
    });
    let started = Instant::now();
    Diagnosis::with(&url, "2s", None).fails_only("login", "no answer in time");
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_memcached_that_does_not_tell_its_numbers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("memcached://{}?key_prefix=shop", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut answers = stream.try_clone().unwrap();
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let answer = if line == "version" { "VERSION 1.6.0\r\n" } else { "ERROR\r\n" };
                answers.write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    let found = Diagnosis::with(&url, "5s", Some(1));
    found.says("version", "not told: ERROR").skips(&["memory", "eviction", "connections"]);
}

#[test]
fn an_unknown_host() {
    let found = Diagnosis::of("redis://no-such-host.invalid?key_prefix=shop");
    found.fails_only("dns", "is the host's name right").skips(&["tcp", "permissions"]);
}

#[test]
fn a_black_hole() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    proxy.set(Plan::Hold);
    Diagnosis::with(&proxy.url(), "300ms", None).fails_only("protocol", "no answer within 300ms");
    // One that does not even let us connect: a queue that is full.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let timeout = Duration::from_millis(300);
    let mut held = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, timeout) {
        held.push(stream);
    }
    let found = Diagnosis::with(&format!("redis://{address}"), "300ms", None);
    found.fails_only("tcp", "look at firewalls");
}

#[test]
fn a_wrong_password_or_none() {
    let (server, _) = redis();
    let found = Diagnosis::of(&format!("redis://:{PASSWORD}x@{}", server.addr()));
    found.fails_only("login", "the password is wrong").skips(&["memory", "permissions"]);
    let found = Diagnosis::of(&format!("redis://{}", server.addr()));
    found.fails_only("login", "none is given");
    let open = RedisServer::start(&[]);
    let found = Diagnosis::of(&format!("redis://:{PASSWORD}@{}", open.addr()));
    found.fails_only("login", "leave it out");
}

#[test]
fn tls_on_one_side_only() {
    let plain = RedisServer::start(&[]);
    let found = Diagnosis::of(&format!("rediss://{}?ssl_cert_reqs=none", plain.addr()));
    found.fails_only("tls", "the server does not speak TLS");
    let tls = RedisServer::tls();
    let found = Diagnosis::of(&tls.url().replace("rediss", "redis"));
    found.fails_only("protocol", "the server speaks TLS, and the address does not");
    let plain = MemcachedServer::start(&[]);
    let found = Diagnosis::of(&format!("memcacheds://{}?ssl_cert_reqs=none", plain.addr()));
    found.fails_only("tls", "the server does not speak TLS");
    let front = TlsFront::to(&plain.addr());
    let found = Diagnosis::of(&format!("memcached://{}", front.addr()));
    found.fails_only("protocol", "the server speaks TLS, and the address does not");
}

#[test]
fn certificates() {
    let server = RedisServer::tls();
    let with = |ca: std::path::PathBuf| format!("{}?ssl_ca_certs={}", server.url(), ca.display());
    let found = Diagnosis::of(&with(server.ca()));
    found.is_well().says("tls", "the certificate is good for");
    Diagnosis::of(&with(server.other_ca())).fails_only("tls", "its authority is not trusted here");
    let url = with(server.ca()).replace("127.0.0.1", "localhost");
    let found = Diagnosis::of(&url);
    assert!(found.which("fail").is_empty() || found.which("fail") == ["tls"], "{:?}", found.0);
    let found = Diagnosis::of(&format!("{}?ssl_cert_reqs=none", server.url()));
    found.is_well().says("tls", "any certificate is taken");
    let mutual = RedisServer::mutual_tls();
    let found = Diagnosis::of(&format!("{}?ssl_ca_certs={}", mutual.url(), mutual.ca().display()));
    assert_eq!(found.which("fail").len(), 1, "{:?}", found.0);
}

/// Two servers, of which the second speaks TLS with a certificate that ends then, and has its files in
/// the directory of the first; and the address of the second.
fn ending(end: Duration) -> ([RedisServer; 2], String) {
    let first = RedisServer::start(&[]);
    let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
    let key = rcgen::KeyPair::generate().unwrap();
    let path = |name: &str| first.dir().join(name).display().to_string();
    std::fs::write(path("c.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(path("c.key"), key.serialize_pem()).unwrap();
    let (port, certificate) = (free_port(), path("c.pem"));
    let second = RedisServer::start(&[
        ("tls-port", &port.to_string()),
        ("tls-auth-clients", "no"),
        ("tls-ca-cert-file", &certificate),
        ("tls-cert-file", &certificate),
        ("tls-key-file", &path("c.key")),
    ]);
    ([first, second], format!("rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}"))
}

#[test]
fn a_certificate_that_has_ended_or_soon_will() {
    const DAY: Duration = Duration::from_secs(86_400);
    let (_servers, url) = ending(DAY * 365 * 52);
    Diagnosis::of(&url).fails_only("tls", "renew it").says("tls", "xpired");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (_servers, url) = ending(now + DAY * 10 + DAY / 2);
    let found = Diagnosis::of(&url);
    found.is_well().says("tls", "the certificate ends in 10d");
    assert!(found.which("warn").contains(&"tls"), "{:?}", found.0);
    let (_servers, url) = ending(now + DAY * 90);
    assert!(Diagnosis::of(&url).which("pass").contains(&"tls"));
}

#[test]
fn a_replica() {
    let master = RedisServer::start(&[]);
    let replica = RedisServer::start(&[("replicaof", &format!("127.0.0.1 {}", master.port()))]);
    wait_until("the replica follows", || {
        replica.info("replication").get("master_link_status").is_some_and(|link| link == "up")
    });
    let found = Diagnosis::of(replica.url());
    found.fails_only("role", "use its master's address").says("role", &master.addr());
    Diagnosis::of(master.url()).is_well().says("role", "master, 1 replica");
}

#[test]
fn a_full_memory_without_eviction() {
    let server = RedisServer::start(&[("maxmemory-policy", "noeviction")]);
    server.command(&["SET", "x", "y"]);
    server.command(&["CONFIG", "SET", "maxmemory", "100"]);
    let found = Diagnosis::of(server.url());
    assert_eq!(found.which("fail"), ["memory", "permissions"], "{:?}", found.0);
    found
        .says("memory", "writes are refused")
        .says("permissions", "OOM")
        .says("eviction", "allkeys-lru");
}

#[test]
fn a_slow_network() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    proxy.set(Plan::Delay(Duration::from_millis(15)));
    let found = Diagnosis::of(&proxy.url());
    found.is_well().says("latency", "too slow for a cache");
    assert!(found.which("warn").contains(&"latency"), "{:?}", found.0);
}

#[test]
fn a_user_without_rights() {
    let server = RedisServer::acl("shop", PASSWORD, "~shop:* +@read +ping +info");
    let found = Diagnosis::of(&format!("{}?key_prefix=shop", server.url()));
    found.fails_only("permissions", "set: ").says("permissions", "NOPERM");
    let rules = "~shop:* +@read +@write +@scripting +ping";
    let server = RedisServer::acl("shop", PASSWORD, rules);
    let found = Diagnosis::of(&format!("{}?key_prefix=shop", server.url()));
    assert!(found.which("fail").is_empty(), "{:?}", found.0);
    found.says("version", "allow the user INFO").skips(&["memory", "role"]);
}

#[test]
fn what_is_kept_on_disk() {
    let server = RedisServer::start(&[("save", "3600 1")]);
    let found = Diagnosis::of(server.url());
    found.is_well().says("persistence", "comes back");
    assert!(found.which("warn").contains(&"persistence"), "{:?}", found.0);
}

#[test]
fn too_many_clients() {
    let server = RedisServer::start(&[("maxclients", "1")]);
    let _taken = the_only_client(&server);
    Diagnosis::of(server.url()).fails_only("protocol", "as many clients as it takes");
    let server = RedisServer::start(&[("maxclients", "12")]);
    let found = Diagnosis::of(&format!("{}?connection_pool_size=20", server.url()));
    found.is_well().says("connections", "no room for a full pool");
}

#[test]
fn something_else_that_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            use std::io::Write;
            let _ = (&stream).write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    Diagnosis::of(&format!("redis://127.0.0.1:{port}")).fails_only("protocol", "no redis server");
    let memcached = MemcachedServer::start(&[]);
    let found = Diagnosis::of(&format!("redis://{}", memcached.addr()));
    found.fails_only("protocol", "is the port right?");
    let redis = RedisServer::start(&[]);
    let found = Diagnosis::of(&format!("memcached://{}", redis.addr()));
    found.fails_only("protocol", "is the port right?");
}

#[test]
fn memcached() {
    let server = MemcachedServer::start(&[]);
    let found = Diagnosis::calm(&format!("{}?key_prefix=shop", server.url()));
    found.is_well();
    assert!(found.which("warn").is_empty(), "{:?}", found.0);
    let full = MemcachedServer::start(&["-M"]);
    Diagnosis::of(full.url()).is_well().says("eviction", "start it without -M");
    let login = MemcachedServer::plain_auth("shop", PASSWORD);
    Diagnosis::of(login.url()).is_well().says("login", "with user and password");
    let found = Diagnosis::of(&format!("memcached://{}", login.addr()));
    found.fails_only("login", "none is given");
    let found = Diagnosis::of(&format!("memcached://shop:{PASSWORD}x@{}", login.addr()));
    found.fails_only("login", "the password is wrong");
    let sasl = MemcachedServer::sasl("shop", PASSWORD);
    let found =
        Diagnosis::of(&format!("memcached://shop:{PASSWORD}@{}?protocol=binary", sasl.addr()));
    assert!(found.which("fail").is_empty(), "{:?}", found.0);
    found.says("permissions", "not possible here: list keys").skips(&["memory"]);
}

#[test]
fn one_server_of_a_fleet_is_down() {
    let fleet = MemcachedFleet::start(2);
    let url = fleet.url(&[]);
    Diagnosis::of(&url).is_well();
    fleet.servers[1].kill();
    let found = Diagnosis::of(&url);
    found.fails_only("tcp", "nothing listens there").skips(&["permissions"]);
    let table = at(&url).run("doctor").ends(1).out;
    assert!(table.starts_with("VERDICT   CHECK           SERVER"), "{table}");
}

#[test]
fn a_cluster() {
    let cluster = RedisCluster::start();
    let found = Diagnosis::of(&cluster.url());
    found.says("cluster", "16384 of 16384 slots served");
    assert!(found.which("fail").is_empty(), "{:?}", found.0);
    let alone = RedisServer::start(&[]);
    let found = Diagnosis::of(&alone.url().replace("redis://", "redis+cluster://"));
    found.says("cluster", "cluster support disabled");
    // Some keys would work at one node alone, so trying one proves nothing.
    for master in cluster.masters() {
        let found = Diagnosis::of(cluster.nodes()[master].url());
        found.fails_only("cluster", "use redis+cluster://").skips(&["permissions"]);
    }
}

#[test]
fn a_login_is_used_wherever_the_cache_takes_one_from() {
    let (server, _) = redis();
    let url = format!("redis://{}", server.addr());
    Diagnosis::of(&format!("{url}?password={PASSWORD}&key_prefix=shop")).is_well();
    let beside = || at(&url).var("YOKEDCACHE_REDIS_PASSWORD", PASSWORD);
    beside().run("doctor").ends(0);
    beside().run("stats").ends(0);
    let sized = beside().var("YOKEDCACHE_REDIS_POOL_SIZE", "77").run("doctor").ends(0).out;
    assert!(sized.contains("a pool here has up to 77"), "{sized}");
}

#[test]
fn sentinels_that_want_a_login() {
    let sentinels = RedisSentinels::start();
    for sentinel in sentinels.sentinels() {
        sentinel.command(&["ACL", "SETUSER", "default", "resetpass", &format!(">{PASSWORD}")]);
    }
    let url = sentinels.url();
    Diagnosis::of(&format!("{url}?sentinel_password={PASSWORD}")).is_well();
    at(&format!("{url}?sentinel_password={PASSWORD}")).run("stats").ends(0);
    assert_eq!(Diagnosis::of(&url).which("fail"), ["sentinels"]);
}

#[test]
fn sentinels() {
    let sentinels = RedisSentinels::start();
    let found = Diagnosis::of(&sentinels.url());
    found.is_well().says("sentinels", &sentinels.master_addr());
    let found =
        Diagnosis::of(&sentinels.url().replace("/main", "/other").replace("/mymaster", "/other"));
    assert_eq!(found.which("fail"), ["sentinels"], "{:?}", found.0);
}

#[test]
fn no_configuration_and_no_server() {
    let ran = bare().run("--json doctor").ends(1).json();
    assert_eq!(ran["checks"][0]["verdict"], serde_json::json!("fail"));
    let found = Diagnosis::of("memory://?max_size=10");
    found.says("key prefix", "use a server");
    assert!(found.which("fail").is_empty(), "{:?}", found.0);
}

#[test]
fn the_end_of_a_certificate_is_read_as_openssl_reads_it() {
    let server = RedisServer::tls();
    let pem = server.ca().with_file_name("server.pem");
    let told =
        Command::new("openssl").args(["x509", "-noout", "-enddate", "-in"]).arg(&pem).output();
    // Where there is no openssl there is nothing to compare with.
    let Ok(told) = told else { return };
    let told = String::from_utf8(told.stdout).unwrap();
    let year: u64 = told.trim_end_matches(" GMT\n").rsplit(' ').next().unwrap().parse().unwrap();
    let found = Diagnosis::of(&format!("{}?ssl_ca_certs={}", server.url(), server.ca().display()));
    let (_, _, text) = found.0.iter().find(|(_, check, _)| check == "tls").unwrap();
    let days: u64 =
        text.split("good for ").nth(1).unwrap().split('d').next().unwrap().parse().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let end = 1970.0 + (now.as_secs() / 86_400 + days) as f64 / 365.2425;
    assert!((end - year as f64 - 0.5).abs() <= 0.52, "{told}: {text}");
}
