//! Each setting of Memcached has its effect.

use std::thread;
use std::time::{Duration, Instant};

use yokedcache::{Cache, Distribution, ErrorKind, Memcached};

use crate::support::{MemcachedFleet, MemcachedServer, Plan, Proxy, TlsFront, wait_until};
use crate::{cache_of, refusal_of};

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// A cache with these settings in its section.
fn memcached(fields: &str) -> Cache {
    let fields: Vec<String> = fields.lines().map(|line| format!("\n  {line}")).collect();
    cache_of(&format!("strict: true\nkey_prefix: m\nmemcached:{}", fields.concat()))
}

fn refusal(fields: &str) -> String {
    let fields: Vec<String> = fields.lines().map(|line| format!("  {line}\n")).collect();
    refusal_of(&format!("memcached:\n{}", fields.concat()))
}

/// Three servers.
struct Fleet(Vec<MemcachedServer>);

impl Fleet {
    fn new() -> Self {
        Self((0..3).map(|_| MemcachedServer::start(&[])).collect())
    }

    fn servers(&self) -> String {
        let names: Vec<String> = self.0.iter().map(MemcachedServer::addr).collect();
        format!(
            "servers: [{}]",
            names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
        )
    }

    /// At which server each key is stored by a cache.
    fn places(&self, cache: &Cache) -> Vec<usize> {
        let keys: Vec<String> = (0..60).map(|key| format!("k{key}")).collect();
        keys.iter().for_each(|key| assert!(cache.set(key, &1).unwrap()));
        let at = |key: &String| {
            let stored = format!("m:{key}");
            self.0.iter().position(|server| server.get_raw(stored.as_bytes()).is_some()).unwrap()
        };
        let places = keys.iter().map(at).collect();
        cache.delete_many(&keys).unwrap();
        places
    }

    /// The same by settings in code.
    fn places_by(&self, distribution: Distribution) -> Vec<usize> {
        let at = |index: usize| self.0[index].addr();
        let builder = Memcached::builder(&format!("memcached://{}", at(0)));
        let builder = builder.server(at(1), 1).server(at(2), 1).distribution(distribution);
        self.places(&Cache::builder(builder.build().unwrap()).key_prefix("m").build().unwrap())
    }
}

#[test]
fn url_and_servers_say_where_the_servers_are() {
    let fleet = Fleet::new();
    let all = fleet.places(&memcached(&fleet.servers()));
    assert!((0..3).all(|server| all.contains(&server)));
    let url = format!("url: memcached://{},{}", fleet.0[0].addr(), fleet.0[1].addr());
    assert!(fleet.places(&memcached(&url)).iter().all(|server| *server < 2));
    let one_more = format!("{url}\nservers: [{:?}]", fleet.0[2].addr());
    assert_eq!(fleet.places(&memcached(&one_more)), all);
}

#[test]
fn servers_may_have_weights() {
    let fleet = Fleet::new();
    let at = |index: usize| fleet.0[index].addr();
    let servers = format!("servers: [[{:?}, 50], {:?}, [{:?}, 1]]", at(0), at(1), at(2));
    let places = fleet.places(&memcached(&servers));
    assert!(places.iter().filter(|server| **server == 0).count() > 45, "{places:?}");
    assert_eq!(
        refusal("servers: [[a, 0]]"),
        "e.memcached: memcached: a weight is from 1 to 1000000"
    );
}

#[test]
fn distribution_and_the_ketama_switches_say_where_keys_go() {
    let fleet = Fleet::new();
    let [weighted, ketama, modulo] =
        [Distribution::KetamaWeighted, Distribution::Ketama, Distribution::Modulo]
            .map(|distribution| fleet.places_by(distribution));
    assert!(weighted != ketama && ketama != modulo && modulo != weighted);
    for (fields, places) in [
        ("", &weighted),
        ("distribution: ketama_weighted", &weighted),
        ("distribution: ketama", &ketama),
        ("distribution: modulo", &modulo),
        ("ketama: true", &ketama),
        ("ketama: false", &modulo),
        ("ketama_weighted: true", &weighted),
        ("ketama_weighted: false\nketama: true", &ketama),
        ("behaviors: {ketama: yes, tcp_nodelay: yes}", &ketama),
        ("behaviors: {ketama_weighted: true}", &weighted),
    ] {
        let cache = memcached(&format!("{}\n{fields}", fleet.servers()));
        assert_eq!(&fleet.places(&cache), places, "{fields}");
    }
}

#[test]
fn username_and_password_log_in() {
    let server = MemcachedServer::plain_auth("ann", "word");
    let at = format!("servers: [{:?}]", server.addr());
    assert!(memcached(&format!("{at}\nusername: ann\npassword: word")).set("k", &1).unwrap());
    let denied = memcached(&format!("{at}\nusername: ann\npassword: other")).set("k", &1);
    assert_eq!(denied.unwrap_err().kind(), ErrorKind::Denied);
    let what = "e.memcached: memcached: a user without a password";
    assert_eq!(refusal(&format!("{at}\nusername: ann")), what);
}

#[test]
fn protocol_and_binary_choose_the_protocol() {
    let server = MemcachedServer::sasl("ann", "word");
    let at = format!("servers: [{:?}]\nusername: ann\npassword: word", server.addr());
    for (fields, works) in [
        ("binary: true", true),
        ("protocol: binary", true),
        ("binary: true\nprotocol: binary", true),
        ("protocol: meta", false),
        ("binary: false", false),
    ] {
        let stored = memcached(&format!("{at}\n{fields}\nsocket_timeout: 1")).set("k", &1);
        assert_eq!(stored.is_ok(), works, "{fields}");
    }
    let what = "e.memcached: binary and protocol disagree";
    assert_eq!(refusal("servers: [a]\nbinary: true\nprotocol: meta"), what);
}

#[test]
fn eject_lets_other_servers_stand_in() {
    let fleet = Fleet::new();
    let caches = ["eject: true", "eject: false"].map(|fields| {
        let cache = memcached(&format!("{}\n{fields}\nsocket_timeout: 2", fleet.servers()));
        fleet.places(&cache);
        cache
    });
    fleet.0[1].kill();
    let stored =
        |cache: &Cache| (0..60).filter(|key| cache.set(format!("k{key}"), &1).is_ok()).count();
    let [ejecting, other] = caches;
    wait_until("others stand in", || stored(&ejecting) == 60);
    let begun = Instant::now();
    while begun.elapsed() < ms(1500) {
        assert!(stored(&other) < 60);
    }
}

#[test]
fn plain_stores_what_other_programs_read() {
    let server = MemcachedServer::start(&[]);
    for (fields, is_plain) in [("plain: true", true), ("plain: false", false)] {
        memcached(&format!("url: {}\n{fields}", server.url())).set("k", "v").unwrap();
        let stored = server.get_raw(b"m:k").unwrap();
        assert_eq!(stored == b"\"v\"", is_plain, "{fields}");
    }
}

#[test]
fn split_stores_what_is_larger_than_a_server_takes() {
    let server = MemcachedServer::start(&[]);
    let large = "v".repeat(3 << 20);
    for (fields, stored) in [("split: true", true), ("split: false", false)] {
        let cache = memcached(&format!("url: {}\n{fields}", server.url()));
        assert_eq!(cache.set("k", &large).is_ok(), stored, "{fields}");
    }
}

#[test]
fn pool_size_and_socket_timeout_are_memcacheds_too() {
    let server = MemcachedServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    proxy.set(Plan::Delay(ms(20)));
    let of = |timeout: &str| {
        let fields = format!("servers: [{:?}]\npool_size: 3{timeout}", proxy.addr());
        memcached(&fields)
    };
    let cache = of("");
    // All at once, so that more would be made if they could.
    wait_until("the pool is full", || {
        thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| cache.get::<u8>("k").unwrap());
            }
        });
        let connections = cache.stats().backend.connections;
        assert!(connections <= Some(3), "{connections:?}");
        connections == Some(3)
    });
    let cache = of("\nsocket_timeout: 400ms");
    proxy.set(Plan::Hold);
    let begun = Instant::now();
    cache.get::<u8>("k").unwrap_err();
    // It is five seconds where nothing is said.
    assert!((ms(390)..ms(4500)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[test]
fn ssl_settings_are_memcacheds_too() {
    let server = MemcachedServer::start(&[]);
    let front = TlsFront::to(&server.addr());
    for (ca, works) in [(front.ca(), true), (front.other_ca(), false)] {
        let url = format!("url: memcacheds://{}\nssl_ca_certs: {}", front.addr(), ca.display());
        assert_eq!(memcached(&url).set("k", &1).is_ok(), works);
        assert!(memcached(&format!("{url}\nssl_cert_reqs: none")).set("k", &1).is_ok());
    }
}

#[test]
fn an_address_has_weights_and_settings() {
    let fleet = MemcachedFleet::start(2);
    let cache = Cache::open(&format!("{}?pool_size=2&key_prefix=u", fleet.url(&[1, 3]))).unwrap();
    assert!(cache.set("k", &1).unwrap());
    assert_eq!(cache.keys("*").unwrap(), ["k"]);
}
