//! Memcached as its users and its other clients see it: round trips, names, what is stored, other
//! programs' values, servers set up in odd ways, and invalidations that come at the worst moment.
#![cfg(feature = "memcached")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use support::{MemcachedFleet, MemcachedServer};
use yokedcache::{Cache, Cause, ErrorKind, Loaded, Lookup, Memcached, Pattern, Ttl};

const HOUR: Duration = Duration::from_secs(3600);

fn cache(url: &str, prefix: &str) -> Cache {
    Cache::builder(Memcached::open(url).unwrap()).key_prefix(prefix).build().unwrap()
}

fn strict(url: &str) -> Cache {
    let backend = Memcached::open(url).unwrap();
    Cache::builder(backend).key_prefix("strict").strict().build().unwrap()
}

/// Between a client and a server, to count what the client sends: a batch of a few kilobytes comes in
/// one piece, so that each piece is a round trip.
struct Relay {
    addr: String,
    pieces: Arc<AtomicUsize>,
}

impl Relay {
    fn to(server: &MemcachedServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (addr, pieces) = (listener.local_addr().unwrap().to_string(), Arc::default());
        let (to, counted) = (server.addr(), Arc::clone(&pieces));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(&to).unwrap();
                let (back, front) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let counted = Arc::clone(&counted);
                thread::spawn(move || relay(client, server, Some(&counted)));
                thread::spawn(move || relay(back, front, None));
            }
        });
        Self { addr, pieces }
    }

    fn trips(&self, work: impl FnOnce()) -> usize {
        let before = self.pieces.load(Ordering::SeqCst);
        work();
        self.pieces.load(Ordering::SeqCst) - before
    }
}

fn relay(mut from: TcpStream, mut to: TcpStream, count: Option<&AtomicUsize>) {
    from.set_nodelay(true).unwrap();
    to.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 1 << 20];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if let Some(count) = count {
            count.fetch_add(1, Ordering::SeqCst);
        }
        if to.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

#[test]
fn each_operation_takes_the_round_trips_it_claims() {
    let server = MemcachedServer::start(&[]);
    let relay = Relay::to(&server);
    let cache = cache(&format!("memcached://{}", relay.addr), "trips");
    let keys: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
    let entry = |key: &'static str| cache.entry(key).ttl(HOUR).tags(["a", "b"]);
    // A connection is made, and the tags are known.
    entry("tagged").set(&"v").unwrap();
    entry("tagged").set(&"v").unwrap();
    cache.set("plain", "v").unwrap();
    cache.increment("n", 1).unwrap();
    cache.set_many(keys.iter().map(|key| (key, "v"))).unwrap();
    let check = |what: &str, most: usize, work: &dyn Fn()| {
        let took = relay.trips(work);
        assert_eq!(took, most, "{what}");
    };
    let get = |key: &str| cache.get::<String>(key).unwrap();
    check("get", 1, &|| assert!(get("plain").is_some()));
    check("get of nothing", 1, &|| assert!(get("nothing").is_none()));
    check("get of a tagged entry", 1, &|| assert!(get("tagged").is_some()));
    check("set", 1, &|| assert!(cache.set("plain", "v").unwrap()));
    check("set with tags", 1, &|| assert!(entry("tagged").set("v").unwrap()));
    check("set with tags, another key", 1, &|| assert!(entry("tagged2").set("v").unwrap()));
    check("exists", 1, &|| assert!(cache.exists("plain").unwrap()));
    check("exists, tagged", 1, &|| assert!(cache.exists("tagged").unwrap()));
    check("ttl", 1, &|| assert!(matches!(cache.ttl("tagged").unwrap(), Some(Ttl::After(_)))));
    check("expire", 2, &|| assert!(cache.expire("plain", HOUR).unwrap()));
    check("expire, tagged", 2, &|| assert!(cache.expire("tagged", HOUR).unwrap()));
    check("replace", 2, &|| assert!(cache.replace("plain", "w").unwrap()));
    check("add", 1, &|| assert!(cache.add("new", "w").unwrap()));
    check("add over an entry, whose schema is looked at", 2, &|| {
        assert!(!cache.entry("new").add("w").unwrap())
    });
    check("increment", 1, &|| assert_eq!(cache.increment("n", 1).unwrap(), 2));
    check("decrement", 2, &|| assert_eq!(cache.decrement("n", 1).unwrap(), 1));
    check("delete", 1, &|| assert!(cache.delete("new").unwrap()));
    check("delete, tagged", 1, &|| assert!(cache.delete("tagged2").unwrap()));
    check("get_many of 100", 1, &|| {
        assert_eq!(cache.get_many::<String>(&keys).unwrap().into_iter().flatten().count(), 100);
    });
    check("delete_many of 10", 1, &|| assert_eq!(cache.delete_many(&keys[..10]).unwrap(), 10));
    check("get_or_load of what is there", 1, &|| {
        entry("tagged").get_or_compute(|| -> String { panic!("it is there") }).unwrap();
    });
    check("get_or_load", 3, &|| {
        entry("loaded").get_or_compute(|| "v".to_owned()).unwrap();
    });
    check("get_versioned and swap", 2, &|| {
        let (_, version) = cache.get_versioned::<String>("plain").unwrap().unwrap();
        assert!(cache.swap("plain", version, "y").unwrap());
    });
    check("invalidate_tags", 1, &|| {
        cache.invalidate_tags(["a", "b"]).unwrap();
    });
    check("set after an invalidation", 1, &|| assert!(entry("tagged").set("v").unwrap()));
    assert_eq!(cache.get::<String>("tagged").unwrap().as_deref(), Some("v"));
}

#[test]
fn get_many_is_one_round_trip_to_each_server() {
    let fleet = MemcachedFleet::start(4);
    let relays: Vec<Relay> = fleet.servers.iter().map(Relay::to).collect();
    let hosts: Vec<&str> = relays.iter().map(|relay| &*relay.addr).collect();
    let cache = cache(&format!("memcached://{}", hosts.join(",")), "m");
    let keys: Vec<String> = (0..200).map(|n| format!("k{n}")).collect();
    cache.set_many(keys.iter().map(|key| (key, key))).unwrap();
    let before: Vec<usize> =
        relays.iter().map(|relay| relay.pieces.load(Ordering::SeqCst)).collect();
    let found = cache.get_many::<String>(&keys).unwrap();
    assert!(found.iter().zip(&keys).all(|(found, key)| found.as_ref() == Some(key)));
    for (relay, before) in relays.iter().zip(before) {
        assert_eq!(relay.pieces.load(Ordering::SeqCst) - before, 1);
    }
}

#[test]
fn what_is_not_there_is_told_from_what_is_in_batches_of_any_size() {
    let fleet = MemcachedFleet::start(2);
    for url in
        [fleet.servers[0].url(), &fleet.url(&[]), &format!("{}?protocol=binary", fleet.url(&[]))]
    {
        let cache = cache(url, "q");
        let keys: Vec<String> = (0..3_500).map(|n| format!("k{n}")).collect();
        for every in [1, 2, 7, 1_000, 5_000] {
            cache.delete_many(&keys).unwrap();
            let there = keys.iter().enumerate().filter(|(n, _)| n % every == every / 2);
            cache.set_many(there.map(|(n, key)| (key, n))).unwrap();
            for size in [2, 3, 999, 1_000, 1_001, 3_500] {
                let found = cache.get_many::<usize>(&keys[..size]).unwrap();
                let expected = (0..size).map(|n| (n % every == every / 2).then_some(n));
                assert!(found.into_iter().eq(expected), "{size} keys, one in {every} there");
            }
        }
    }
}

/// Keys made to be taken for something else on the way to the server.
fn hostile() -> Vec<String> {
    let mut keys: Vec<String> = [
        "x\r\ndelete victim\r\n",
        "x\nflush_all",
        "x 0 0 1\r\ny\r\n",
        "victim v\r\nmd victim",
        " victim",
        "victim ",
        "\0",
        "a\0victim",
        "\u{7f}",
        "a\tb",
        "b64 b",
        "kl\u{e9}\u{1f980}",
        "%0d%0a",
        "dmljdGlt",
        "k#t",
        "k#g",
        "k#k",
        "k#d",
    ]
    .map(Into::into)
    .into();
    for length in [186, 187, 246, 247, 248, 249, 250, 251, 1000, 60_000] {
        keys.push("x".repeat(length));
        keys.push(format!(" {}", "y".repeat(length)));
        keys.push(format!("{length}{}", "\u{e9}".repeat(length / 2)));
    }
    keys
}

#[test]
fn a_key_reaches_its_own_entry_and_no_other() {
    let servers = [MemcachedServer::start(&[]), MemcachedServer::sasl("u", "p")];
    for (server, binary) in servers.iter().zip([false, true]) {
        let memcached = Memcached::builder(server.url()).binary(binary).build().unwrap();
        let cache = Cache::builder(memcached).key_prefix("").build().unwrap();
        let victims = ["victim", "x", "v"];
        for victim in victims {
            cache.set(victim, "alive").unwrap();
        }
        let keys = hostile();
        for key in &keys {
            assert_eq!(cache.get::<String>(key).unwrap(), None, "{key:?}");
            assert!(!cache.delete(key).unwrap());
            assert!(cache.add(key, &1).unwrap());
            assert_eq!(cache.increment(key, 4).unwrap(), 5);
            assert!(cache.replace(key, key).unwrap());
            assert!(cache.expire(key, HOUR).unwrap() && cache.exists(key).unwrap());
            let (value, version) = cache.get_versioned::<String>(key).unwrap().unwrap();
            assert!(value == *key && cache.swap(key, version, key).unwrap());
            cache.entry(format!("{key}.")).tag(key).set("tagged").unwrap();
            cache.invalidate_tags([key]).unwrap();
            assert_eq!(cache.get::<String>(format!("{key}.")).unwrap(), None);
            cache.entry(format!("{key}.")).tag(key).get_or_compute(|| key.clone()).unwrap();
        }
        let found = cache.get_many::<String>(&keys).unwrap();
        assert!(found.iter().zip(&keys).all(|(found, key)| found.as_ref() == Some(key)));
        if !binary {
            let mut all = cache.keys("*").unwrap();
            let mut expected: Vec<String> = victims.map(Into::into).into();
            for key in &keys {
                expected.extend([key.clone(), format!("{key}.")]);
            }
            all.sort();
            expected.sort();
            assert_eq!(all, expected);
            for key in &keys {
                let exactly = Pattern::regex(&format!("^{}$", regex_escape(key))).unwrap();
                assert_eq!(cache.invalidate_pattern(exactly).unwrap().entries, Some(1), "{key:?}");
                assert!(!cache.exists(key).unwrap() && cache.exists(format!("{key}.")).unwrap());
            }
        }
        for victim in victims {
            assert_eq!(cache.get::<String>(victim).unwrap().as_deref(), Some("alive"));
        }
    }
}

fn regex_escape(text: &str) -> String {
    text.chars().map(|c| format!("\\x{{{:x}}}", c as u32)).collect()
}

#[test]
fn lives_are_told_as_servers_take_them() {
    let server = MemcachedServer::start(&[]);
    let cache = cache(server.url(), "t");
    let now = || {
        let time = server.stats("")["time"].parse::<i64>().unwrap();
        // The list of keys tells ends as dates.
        let all = server.command("lru_crawler metadump all");
        let ends = all.lines().filter_map(|line| {
            let (key, rest) = line.strip_prefix("key=t%3A")?.split_once(" exp=")?;
            Some((key.to_owned(), rest.split(' ').next()?.parse::<i64>().unwrap()))
        });
        ends.map(|(key, end)| (key, if end < 0 { end } else { end - time })).collect::<Vec<_>>()
    };
    let day = 24 * 3600;
    for (key, life) in [
        ("sub", Duration::from_millis(300)),
        ("second", Duration::from_secs(1)),
        ("month", Duration::from_secs(30 * day)),
        ("more", Duration::from_secs(31 * day)),
        ("year", Duration::from_secs(365 * day)),
        ("ages", Duration::from_secs(365_000 * day)),
        ("odd", Duration::MAX),
    ] {
        cache.entry(key).ttl(life).set(key).unwrap();
        assert_eq!(cache.get::<String>(key).unwrap().as_deref(), Some(key));
    }
    for (key, end) in now() {
        let expected = match &*key {
            "sub" | "second" => 1..=2,
            "month" => 30 * day..=30 * day + 2,
            "more" => 31 * day..=31 * day + 2,
            "year" => 365 * day..=365 * day + 2,
            _ => {
                assert_eq!(end, -1, "{key}: for ever");
                continue;
            }
        };
        assert!(expected.contains(&(end as u64)), "{key}: {end}");
    }
    thread::sleep(Duration::from_millis(700));
    assert!(cache.exists("second").unwrap(), "it is not cut short");
    thread::sleep(Duration::from_millis(2300));
    assert!(!cache.exists("sub").unwrap() && !cache.exists("second").unwrap());
    assert!(cache.expire("month", Duration::from_secs(40 * day)).unwrap());
    let Some(Ttl::After(left)) = cache.ttl("month").unwrap() else { panic!("an end") };
    assert!(left > Duration::from_secs(39 * day) && left <= Duration::from_secs(40 * day + 2));
    assert_eq!(
        cache.entry("k").ttl(Duration::ZERO).set("v").unwrap_err().kind(),
        ErrorKind::InvalidTtl
    );
}

#[test]
fn a_value_that_is_too_large_leaves_no_older_one_behind() {
    let server = MemcachedServer::start(&[]);
    let cache = cache(server.url(), "big");
    let big = vec![b'x'; 1_100_000];
    let too_large = |done: yokedcache::Result<bool>| {
        assert_eq!(done.unwrap_err().kind(), ErrorKind::TooLarge);
    };
    for round in ["first", "the server's limit is known"] {
        cache.set_bytes("k", "older").unwrap();
        too_large(cache.set_bytes("k", big.clone()));
        assert_eq!(cache.get_bytes("k").unwrap(), None, "{round}");
        cache.set_bytes("k", "older").unwrap();
        too_large(cache.entry("k").tag("t").set_bytes(big.clone()));
        assert_eq!(cache.get_bytes("k").unwrap(), None, "{round}");
        // One that is not to be replaced stays.
        cache.set("k", "older").unwrap();
        let text = String::from_utf8(big.clone()).unwrap();
        too_large(cache.add("k", &text));
        assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("older"), "{round}");
        too_large(cache.replace("k", &text));
        assert_eq!(cache.get::<String>("k").unwrap(), None, "{round}");
        let loaded = cache.get_or_compute("loaded", || text.clone()).unwrap();
        assert_eq!(loaded.len(), big.len(), "its caller has it");
        assert!(!cache.exists("loaded").unwrap());
    }
    // In a batch it fails alone.
    let values = [("a", vec![1u8]), ("k", big.clone()), ("b", vec![2])];
    let set = cache.set_many(values.iter().map(|(key, value)| (*key, value)));
    let failed: Vec<String> = set.unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(failed, ["k"]);
    assert_eq!(cache.get::<Vec<u8>>("b").unwrap(), Some(vec![2]));
    // A larger server takes it.
    let larger = MemcachedServer::start(&["-I", "2m"]);
    let cache = self::cache(larger.url(), "big");
    assert!(cache.set_bytes("k", big.clone()).unwrap());
    assert_eq!(cache.get_bytes("k").unwrap().unwrap(), big);
}

#[test]
fn large_values_are_stored_in_pieces_if_asked_for() {
    let fleet = MemcachedFleet::start(3);
    let url = fleet.url(&[1, 2, 3]);
    let (mine, theirs) = (cache(&format!("{url}?split=true"), "p"), cache(&url, "p"));
    let value: Vec<u8> = (0..2_100_000u32).map(|n| (n % 251) as u8).collect();
    let long = "k".repeat(1000);
    for key in ["k", "a b", &long] {
        assert!(mine.entry(key).tag("t").set_bytes(value.clone()).unwrap());
        assert!(mine.get_bytes(key).unwrap().is_some_and(|read| read == value));
        assert!(theirs.get_bytes(key).unwrap().is_some_and(|read| read == value), "by anybody");
        assert_eq!(
            theirs.entry(key).set_bytes(value.clone()).unwrap_err().kind(),
            ErrorKind::TooLarge
        );
        assert!(!mine.exists(key).unwrap(), "nor the older one");
        let text = "large".repeat(300_000);
        assert!(mine.entry(key).tag("t").add(&text).unwrap());
        assert!(!mine.add(key, &1).unwrap() && mine.replace(key, &text).unwrap());
        let (read, version) = mine.get_versioned::<String>(key).unwrap().unwrap();
        assert!(read == text && mine.swap(key, version, &text).unwrap());
        assert!(!mine.swap(key, version, &text).unwrap());
        assert!(mine.delete(key).unwrap() && mine.get_bytes(key).unwrap().is_none());
        assert_eq!(mine.get_or_compute(key, || text.clone()).unwrap(), text);
        assert_eq!(mine.get_or_compute(key, || -> String { panic!("there") }).unwrap(), text);
    }
    let mut keys = vec!["a b".to_owned(), "k".to_owned(), long];
    keys.sort();
    assert_eq!(mine.keys("*").unwrap(), keys, "pieces are no keys");
    // A piece that is lost loses the value, and nothing else is told for it.
    let piece =
        |server: &MemcachedServer| server.keys().into_iter().find(|key| key.ends_with("#p"));
    mine.clear().unwrap();
    assert!(fleet.servers.iter().all(|server| server.keys().is_empty()));
    mine.set_bytes("k", value.clone()).unwrap();
    let (server, lost) =
        fleet.servers.iter().find_map(|server| Some((server, piece(server)?))).unwrap();
    server.command(&format!("delete {lost}"));
    let lookup = mine.lookup::<String>("k").unwrap();
    assert!(matches!(lookup, Lookup::Miss(Cause::Corrupt)));
    assert_eq!(mine.get_or_compute("k", || 1).unwrap(), 1, "it is loaded anew");
}

#[test]
fn other_programs_values_are_read_and_ours_are_told_apart() {
    let server = MemcachedServer::start(&[]);
    let cache = cache(server.url(), "f");
    server.set_raw(b"f:json", br#"{"a": 1}"#, 0, 0);
    server.set_raw(b"f:number", b"41", 2, 0);
    server.set_raw(b"f:padded", b"9  ", 0, 0);
    server.set_raw(b"f:text", b"no json", 16, 0);
    server.set_raw(b"f:empty", b"", 0, 0);
    assert_eq!(cache.get::<serde_json::Value>("json").unwrap().unwrap()["a"], 1);
    assert_eq!(cache.get::<u8>("number").unwrap(), Some(41));
    assert_eq!(cache.get::<u8>("padded").unwrap(), Some(9));
    assert_eq!(cache.get_bytes("text").unwrap().unwrap(), "no json");
    let lookup = cache.lookup::<String>("text").unwrap();
    assert!(matches!(lookup, Lookup::Miss(Cause::Undecodable)));
    assert!(matches!(cache.lookup::<String>("empty").unwrap(), Lookup::Miss(Cause::Absent)));
    assert!(cache.add("empty", "ours").unwrap());
    // Numbers are anybody's.
    assert_eq!(cache.increment("number", 1).unwrap(), 42);
    assert_eq!(server.command("incr f:number 8").trim_end(), "50");
    assert_eq!(cache.get::<u8>("number").unwrap(), Some(50));
    assert_eq!(cache.increment("new", 7).unwrap(), 7);
    assert_eq!(server.command("incr f:new 1").trim_end(), "8");
    server.command("decr f:new 1");
    server.command("incr f:new 5");
    server.command("decr f:new 4");
    assert_eq!(cache.get::<u8>("new").unwrap(), Some(8), "padded with a blank by now");
    let (value, version) = cache.get_versioned::<u8>("new").unwrap().unwrap();
    server.command("incr f:new 1");
    assert!(value == 8 && !cache.swap("new", version, &1).unwrap(), "its version tells");
    // What is damaged, or another key's, is a miss with its cause.
    cache.set("a", "of a").unwrap();
    let stored = server.get_raw(b"f:a").unwrap();
    server.set_raw(b"f:b", &stored, 0, 0);
    server.set_raw(b"f:a", &stored[..stored.len() - 1], 0, 0);
    for key in ["a", "b"] {
        let lookup = cache.lookup::<String>(key).unwrap();
        assert!(matches!(lookup, Lookup::Miss(Cause::Corrupt)), "{key}");
        assert!(!cache.exists(key).unwrap() && cache.add(key, "new").unwrap());
    }
}

#[test]
fn counters_have_signs_and_limits_and_keep_their_ends() {
    let server = MemcachedServer::start(&[]);
    let cache = cache(server.url(), "n");
    assert_eq!(cache.decrement("low", 3).unwrap(), -3);
    assert_eq!(cache.increment("low", 5).unwrap(), 2);
    assert_eq!(server.command("incr n:low 1").trim_end().parse(), Ok(3), "it has no sign any more");
    cache.set("high", &(i64::MAX - 1)).unwrap();
    assert_eq!(cache.increment("high", 1).unwrap(), i64::MAX);
    for by in [1, 1 << 40, i64::MAX] {
        assert_eq!(cache.increment("high", by).unwrap_err().kind(), ErrorKind::Overflow, "{by}");
        assert_eq!(cache.get::<i64>("high").unwrap(), Some(i64::MAX));
    }
    // Rewritten again and again, it still ends when it should.
    let life = Duration::from_secs(2);
    cache.entry("short").ttl(life).increment(1).unwrap();
    let started = Instant::now();
    while cache.decrement("short", 1).unwrap() < 0 {
        assert!(started.elapsed() < life * 3, "it ought to have begun again");
        if cache.get::<i64>("short").unwrap().is_none() {
            break;
        }
    }
    // Of another program's number that has no sign nothing is lost either.
    server.set_raw(b"n:theirs", b"18446744073709551610", 0, 0);
    for by in [1, 10, 1 << 40, i64::MAX] {
        assert_eq!(cache.increment("theirs", by).unwrap_err().kind(), ErrorKind::Overflow, "{by}");
        assert_eq!(server.get_raw(b"n:theirs").unwrap(), b"18446744073709551610");
    }
    // A tagged entry holds its number in an envelope.
    cache.entry("tagged").tag("t").ttl(life).set(&5).unwrap();
    assert_eq!(cache.increment("tagged", 1).unwrap(), 6);
    cache.invalidate_tags(["t"]).unwrap();
    assert_eq!(cache.increment("tagged", 1).unwrap(), 1);
}

#[test]
fn a_server_that_numbers_nothing_serves_and_fences_nothing() {
    let server = MemcachedServer::start(&["-C"]);
    let cache = cache(server.url(), "c");
    assert!(cache.set("k", "v").unwrap() && cache.delete("k").unwrap());
    assert_eq!(cache.get_or_compute("k", || 1.5).unwrap(), 1.5);
    assert!(!cache.exists("k").unwrap(), "nothing would tell its fill from an overtaken one");
    assert_eq!(cache.get_or_compute("k", || 2.5).unwrap(), 2.5, "and nobody waits for it");
    assert_eq!(cache.increment("n", 2).unwrap(), 2);
    assert_eq!(cache.decrement("n", 1).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(cache.get_versioned::<i64>("n").unwrap_err().kind(), ErrorKind::Unsupported);
    let soon = Duration::from_millis(30);
    cache.entry("stale").ttl(soon).stale_for(HOUR).set("stale").unwrap();
    server.set_raw(b"c:odd", b"no json", 0, 0);
    thread::sleep(soon * 2);
    let started = Instant::now();
    for key in ["stale", "odd"] {
        assert_eq!(cache.get_or_compute(key, || "new".to_owned()).unwrap(), "new", "{key}");
    }
    assert!(started.elapsed() < Duration::from_secs(2), "nobody waits for himself");
    assert_eq!(cache.get::<i64>("n").unwrap(), Some(2));
    cache.entry("t").tag("t").set("v").unwrap();
    self::cache(server.url(), "c").invalidate_tags(["t"]).unwrap();
    assert_eq!(cache.get::<String>("t").unwrap(), None);
    assert!(cache.entry("t").tag("t").set("v").unwrap(), "under a version that is old by now");
    assert_eq!(cache.get::<String>("t").unwrap().as_deref(), Some("v"));
    assert!(
        cache
            .health_check()
            .unwrap()
            .children
            .iter()
            .any(|(_, child)| child.warnings[0].contains("-C"))
    );
}

#[test]
fn where_keys_are_not_listed_patterns_are_refused_by_name() {
    for args in [&["-X"][..], &["-o", "no_lru_crawler"]] {
        let server = MemcachedServer::start(args);
        let cache = cache(server.url(), "x");
        cache.set("k", "v").unwrap();
        let errors = [
            cache.keys("*").unwrap_err(),
            cache.invalidate_pattern("k*").unwrap_err(),
            cache.clear().unwrap_err(),
            cache.invalidate_tags_all(["a"]).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("crawler"), "{error}");
        }
        assert!(cache.exists("k").unwrap());
        let health = cache.health_check().unwrap();
        assert!(health.is_up() && health.children[0].1.warnings[0].contains("crawler"));
    }
}

#[test]
fn clearing_takes_exactly_its_own_and_placeholders_are_not_listed() {
    let fleet = MemcachedFleet::start(3);
    let url = fleet.url(&[1, 2, 3]);
    let (shop, shops) = (cache(&url, "shop"), cache(&url, "shops"));
    for cache in [&shop, &shops] {
        cache.set_many((0..500).map(|n| (format!("k{n}"), n))).unwrap();
        cache.entry("tagged").tag("t").set("v").unwrap();
    }
    fleet.servers[0].set_raw(b"shop", b"another program's", 0, 0);
    let (started, wait_started) = channel();
    let (finish, wait_finish) = channel::<()>();
    thread::scope(|scope| {
        let shop = &shop;
        let load = scope.spawn(move || {
            shop.get_or_compute("loading", || {
                started.send(()).unwrap();
                wait_finish.recv().unwrap();
                "old".to_owned()
            })
        });
        wait_started.recv().unwrap();
        assert_eq!(shop.keys("*").unwrap().len(), 501);
        assert!(shop.keys("loading").unwrap().is_empty());
        shop.clear().unwrap();
        finish.send(()).unwrap();
        assert_eq!(load.join().unwrap().unwrap(), "old");
    });
    assert!(shop.keys("*").unwrap().is_empty() && !shop.exists("loading").unwrap());
    assert_eq!(shops.keys("*").unwrap().len(), 501);
    assert_eq!(shops.get::<String>("tagged").unwrap().as_deref(), Some("v"));
    let left: Vec<String> = fleet.servers.iter().flat_map(MemcachedServer::keys).collect();
    assert!(left.iter().all(|key| key.starts_with("shops:") || key == "shop"), "{left:?}");
}

#[test]
fn several_may_list_keys_at_the_same_time() {
    let server = MemcachedServer::start(&[]);
    let caches: Vec<Cache> = (0..4).map(|_| cache(server.url(), "w")).collect();
    caches[0].set_many((0..20_000).map(|n| (format!("k{n}"), n))).unwrap();
    thread::scope(|scope| {
        for cache in &caches {
            scope.spawn(|| {
                for _ in 0..3 {
                    assert_eq!(cache.keys("*").unwrap().len(), 20_000);
                }
            });
        }
    });
    // While keys are handed out nothing is held: the callback may list them itself.
    let mut pages = 0;
    caches[0]
        .scan("*", |_| {
            pages += 1;
            assert_eq!(caches[0].keys("k1999?").unwrap().len(), 10);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert!(pages > 1);
}

fn load_overtaken_by(cache: &Cache, overtake: impl FnOnce()) {
    let (started, wait_started) = channel();
    let (finish, wait_finish) = channel::<()>();
    thread::scope(|scope| {
        let load = scope.spawn(move || {
            let old = cache.entry("k").tag("t").get_or_compute(|| {
                started.send(()).unwrap();
                wait_finish.recv().unwrap();
                "old".to_owned()
            });
            assert_eq!(old.unwrap(), "old", "its own caller keeps it");
        });
        wait_started.recv().unwrap();
        overtake();
        finish.send(()).unwrap();
        load.join().unwrap();
    });
    let now = cache.get::<String>("k").unwrap();
    assert!(now.is_none() || now.as_deref() == Some("new"), "{now:?}");
}

#[test]
fn a_load_is_overtaken_by_whatever_touches_its_key() {
    let server = MemcachedServer::start(&[]);
    let (mine, theirs) = (cache(server.url(), "o"), cache(server.url(), "o"));
    let say = |line: &str| drop(server.command(line));
    let overtakes: [&dyn Fn(); 13] = [
        &|| _ = theirs.delete("k").unwrap(),
        &|| _ = theirs.set("k", "new").unwrap(),
        &|| _ = theirs.add("k", "new").unwrap(),
        &|| _ = theirs.invalidate_tags(["t"]).unwrap(),
        &|| _ = theirs.invalidate_tags_all(["t"]).unwrap(),
        &|| _ = theirs.invalidate_tags_all(["t", "unheard of"]).unwrap(),
        &|| _ = theirs.invalidate_pattern("k*").unwrap(),
        &|| _ = theirs.clear().unwrap(),
        &|| say("delete o:k"),
        &|| server.set_raw(b"o:k", b"\"new\"", 0, 0),
        // The tag's record is lost, to eviction perhaps.
        &|| say("delete o:t#t"),
        &|| say("flush_all"),
        // Another process under the same address numbers entries from 1 again.
        &|| {
            server.restart();
            (0..20).for_each(|_| server.set_raw(b"o:k", b"\"new\"", 0, 0));
        },
    ];
    for (index, overtake) in overtakes.iter().enumerate() {
        mine.clear().unwrap();
        load_overtaken_by(&mine, overtake);
        assert_eq!(mine.stats().overtaken, index as u64 + 1, "overtake {index}");
    }
}

#[test]
fn no_load_outlives_an_invalidation_by_pattern() {
    let server = MemcachedServer::start(&[]);
    let (mine, theirs) = (cache(server.url(), "s"), cache(server.url(), "s"));
    theirs.set_many((0..20_000).map(|n| (format!("fill{n}"), "v"))).unwrap();
    let running = AtomicBool::new(true);
    thread::scope(|scope| {
        // Values of several sizes, so that entries change their place in the server.
        let others = scope.spawn(|| {
            for n in (0..).take_while(|_| running.load(Ordering::Relaxed)) {
                theirs.set(format!("fill{}", n % 20_000), &"v".repeat(n * 37 % 2000)).unwrap();
            }
        });
        for round in 0..40 {
            let loads: Vec<_> = (0..4)
                .map(|key| {
                    let (mine, (started, wait)) = (&mine, channel());
                    let load = scope.spawn(move || {
                        mine.get_or_compute(format!("k{key}"), || {
                            started.send(()).unwrap();
                            thread::sleep(Duration::from_millis(round % 10));
                            "old".repeat(key * 300 + 1)
                        })
                        .unwrap();
                    });
                    wait.recv().unwrap();
                    load
                })
                .collect();
            theirs.invalidate_pattern("k*").unwrap();
            let seen: Vec<_> = (0..4).map(|key| theirs.get::<String>(format!("k{key}"))).collect();
            assert!(seen.into_iter().all(|seen| seen.unwrap().is_none()), "round {round}");
            loads.into_iter().for_each(|load| load.join().unwrap());
            assert_eq!(mine.keys("k*").unwrap(), [""; 0], "round {round}");
        }
        running.store(false, Ordering::Relaxed);
        others.join().unwrap();
    });
}

#[test]
fn a_stale_entry_is_refreshed_by_one_and_not_resurrected() {
    let server = MemcachedServer::start(&[]);
    let (mine, theirs) = (cache(server.url(), "r"), cache(server.url(), "r"));
    let soon = Duration::from_millis(50);
    let store = |value: &str| {
        mine.entry("k").tag("t").ttl(soon).stale_for(HOUR).set(value).unwrap();
        thread::sleep(soon * 2);
    };
    let refresh = |overtake: &dyn Fn()| {
        let entry = mine.entry("k").tag("t").ttl(soon).stale_for(HOUR);
        let loaded = entry.load_with(|load| {
            assert_eq!(load.previous::<String>().as_deref(), Some("stale"));
            overtake();
            Ok::<_, yokedcache::Error>(Loaded::Value("refreshed".to_owned()))
        });
        assert_eq!(loaded.unwrap().unwrap().as_deref(), Some("refreshed"));
    };
    store("stale");
    refresh(&|| {});
    assert_eq!(theirs.get::<String>("k").unwrap().as_deref(), Some("refreshed"));
    thread::sleep(soon * 2);
    store("stale");
    // The guard of the first refresh is gone: the second one is not kept waiting.
    for overtake in [
        &(|| _ = theirs.delete("k").unwrap()) as &dyn Fn(),
        &|| _ = theirs.invalidate_tags(["t"]).unwrap(),
        &|| _ = theirs.clear().unwrap(),
    ] {
        refresh(overtake);
        assert_eq!(theirs.lookup::<String>("k").unwrap().into_value(), None, "not resurrected");
        store("stale");
    }
}

#[test]
fn records_of_tags_outlive_what_has_them() {
    let server = MemcachedServer::start(&[]);
    let cache = cache(server.url(), "tl");
    cache.entry("k").tag("load").ttl(HOUR).get_or_compute(|| 1.5).unwrap();
    cache.entry("k").tag("set").ttl(HOUR).set(&1).unwrap();
    cache
        .entry("m")
        .tag("late")
        .load_with(|load| {
            load.tag("later")?;
            Ok::<_, yokedcache::Error>(Loaded::Value(1))
        })
        .unwrap()
        .unwrap();
    cache.invalidate_tags(["set"]).unwrap();
    for tag in ["load", "set", "later"] {
        assert_eq!(server.command(&format!("mg tl:{tag}#t t")).trim_end(), "HD t-1", "{tag}");
    }
}

#[test]
fn what_an_entry_has_left_to_live_is_its_own() {
    let server = MemcachedServer::start(&[]);
    let (mine, theirs) = (cache(server.url(), "e"), cache(server.url(), "e"));
    let day = Duration::from_secs(24 * 3600);
    let left = || {
        let answer = server.command("mg e:k t");
        answer.trim_end().strip_prefix("HD t").map(|left| left.parse::<i64>().unwrap())
    };
    // Whoever moves an end meets newer entries, which end when they should, or are gone.
    let running = AtomicBool::new(true);
    thread::scope(|scope| {
        let others: Vec<_> = [0, 1]
            .map(|sliding| {
                let (mine, running) = (&mine, &running);
                scope.spawn(move || {
                    while running.load(Ordering::Relaxed) {
                        match sliding {
                            0 => _ = mine.entry("k").sliding(day).get::<u64>().unwrap(),
                            _ => _ = mine.expire("none", day).unwrap(),
                        }
                    }
                })
            })
            .into();
        for n in 0..2_000u64 {
            theirs.entry("k").ttl(Duration::from_secs(2)).set(&format!("{n}")).unwrap();
        }
        running.store(false, Ordering::Relaxed);
        others.into_iter().for_each(|other| other.join().unwrap());
    });
    // The last reader may have slid the last entry, whose end is then in its envelope.
    if left().is_some_and(|left| left > 5) {
        thread::sleep(Duration::from_millis(3_500));
        assert_eq!(mine.get::<String>("k").unwrap(), None);
    }
}

#[test]
fn logins_are_shown_to_servers_and_to_nobody_else() {
    let (text, sasl) =
        (MemcachedServer::plain_auth("ann", "secret"), MemcachedServer::sasl("ann", "secret"));
    for (server, protocol) in [(&text, "meta"), (&sasl, "binary")] {
        let url = format!("{}?protocol={protocol}", server.url());
        let backend = Memcached::open(&url).unwrap();
        assert!(!format!("{backend:?} {:?}", Memcached::builder(&url)).contains("secret"));
        let cache = Cache::builder(backend).key_prefix("a").build().unwrap();
        assert!(cache.set("k", "v").unwrap(), "{protocol}");
        assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("v"));
        assert!(cache.health_check().unwrap().is_up());
        // A server that wants none is not shown it: it would keep it as an entry.
        let open = MemcachedServer::start(&[]);
        let shown = format!("memcached://ann:secret@{}?protocol={protocol}", open.addr());
        assert_eq!(strict(&shown).get::<String>("k").unwrap_err().kind(), ErrorKind::Denied);
        assert!(open.get_raw(b"auth").is_none() && open.keys().is_empty());
        for url in [url.replace("ann:secret@", ""), url.replace(":secret@", ":sekret@")] {
            let error = strict(&url).get::<String>("k").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
            assert!(!format!("{error} {error:?}").contains("sekret"));
        }
    }
}

#[test]
fn a_socket_and_tls_are_ways_to_a_server() {
    let server = MemcachedServer::unix();
    let cache = cache(server.url(), "u");
    assert!(cache.set("k", "v").unwrap());
    assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("v"));
    #[cfg(feature = "tls")]
    {
        let server = MemcachedServer::start(&[]);
        let front = support::TlsFront::to(&server.addr());
        let url = format!("memcacheds://{}", front.addr());
        let cache = strict(&format!("{url}?ssl_ca_certs={}", front.ca().display()));
        assert!(cache.set("k", "v").unwrap());
        assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("v"));
        assert_eq!(cache.keys("*").unwrap(), ["k"]);
        let other = format!("{url}?ssl_ca_certs={}", front.other_ca().display());
        let error = strict(&other).get::<String>("k").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}

#[test]
fn plain_mode_writes_what_other_programs_read() {
    let server = MemcachedServer::start(&[]);
    let memcached = Memcached::builder(server.url()).plain(true).build().unwrap();
    let cache = Cache::builder(memcached).key_prefix("p").build().unwrap();
    let raw = |key: &str| String::from_utf8(server.get_raw(key.as_bytes()).unwrap()).unwrap();
    cache.entry("user").ttl(HOUR).set(&("Ann", 7)).unwrap();
    assert_eq!(raw("p:user"), r#"["Ann",7]"#);
    assert_eq!(cache.get::<(String, u8)>("user").unwrap(), Some(("Ann".into(), 7)));
    assert_eq!(cache.increment("n", 5).unwrap(), 5);
    assert_eq!((cache.decrement("n", 7).unwrap(), &*raw("p:n")), (-2, "-2"));
    cache.entry("ends").ttl(HOUR).increment(5).unwrap();
    assert_eq!((cache.decrement("ends", 1).unwrap(), raw("p:ends").trim_end()), (4, "4"));
    assert_eq!(cache.entry("ends").sliding(HOUR).get::<u8>().unwrap(), Some(4));
    assert_eq!(raw("p:ends"), "4");
    cache.set_bytes("blank", "5 ").unwrap();
    assert_eq!(cache.get_bytes("blank").unwrap().unwrap(), "5 ");
    server.command("decr p:blank 1");
    assert_eq!((cache.decrement("blank", 1).unwrap(), &*raw("p:blank")), (3, "3"));
    cache.set_bytes("x#d", "v").unwrap();
    assert_eq!(cache.keys("x*").unwrap(), ["x#d"]);
    assert_eq!(cache.invalidate_pattern("x*").unwrap().entries, Some(1));
    cache.set_bytes("raw", "as is").unwrap();
    assert_eq!(raw("p:raw"), "as is");
    cache.set_bytes("none at all", "").unwrap();
    assert_eq!(cache.get_bytes("none at all").unwrap().unwrap(), "");
    cache.set_bytes("marked#t", b"\xc1P looks like ours".to_vec()).unwrap();
    assert_eq!(cache.get_bytes("marked#t").unwrap().unwrap(), &b"\xc1P looks like ours"[..]);
    assert_eq!(cache.get_or_compute("none", || None::<u8>).unwrap(), None);
    assert_eq!(raw("p:none"), "null");
    assert!(matches!(cache.lookup::<u8>("none").unwrap(), Lookup::Negative(_)));
    assert!(cache.add("new", &1.5).unwrap() && !cache.add("new", &2.5).unwrap());
    assert!(cache.replace("new", &2.5).unwrap() && !cache.replace("newer", &2.5).unwrap());
    assert!(cache.expire("new", HOUR).unwrap() && !cache.expire("newer", HOUR).unwrap());
    assert!(cache.expire("new", Ttl::Never).unwrap());
    assert_eq!(cache.ttl("new").unwrap(), Some(Ttl::Never));
    let (_, version) = cache.get_versioned::<f64>("new").unwrap().unwrap();
    server.set_raw(b"p:new", b"3.5", 0, 0);
    assert!(!cache.swap("new", version, &4.5).unwrap());
    assert!(cache.delete("new").unwrap() && !cache.delete("new").unwrap());
    assert_eq!(cache.get_or_compute("loaded", || "x".to_owned()).unwrap(), "x");
    assert_eq!(raw("p:loaded"), r#""x""#);
    assert_eq!(cache.keys("l*").unwrap(), ["loaded"]);
    assert_eq!(cache.invalidate_pattern("l*").unwrap().entries, Some(1));
    // What has no place in a plain value is refused, not dropped.
    let long = "k".repeat(249);
    let refused = [
        cache.entry("k").tag("t").set("v").unwrap_err(),
        cache.entry("k").ttl(HOUR).stale_for(HOUR).set("v").unwrap_err(),
        cache.entry("k").sliding(HOUR).set("v").unwrap_err(),
        cache.with_schema(2).set("k", "v").unwrap_err(),
        cache.invalidate_tags(["t"]).unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    assert_eq!(cache.set(&long, "v").unwrap_err().kind(), ErrorKind::InvalidKey);
    assert!(!cache.exists("k").unwrap());
}

#[test]
fn bad_addresses_are_refused_and_no_password_shown() {
    for url in [
        "localhost:11211",
        "",
        "memcache//h",
        "http://h",
        "memcached://",
        "memcached://h:0",
        "memcached://h:x",
        "memcached://h,h",
        "memcached://h,h:11211",
        "memcached://h;weight=0",
        "memcached://h;weight=-1",
        "memcached://h;wait=1",
        "memcached://h;weight=9999999999",
        "memcached://h,,i",
        "memcached://h/0",
        "memcached://secret@h",
        "memcached://:secret@h",
        "memcached://u:sec%20ret@h",
        "memcached://u:sec#ret@h",
        "memcached://u:sec?ret@h",
        "memcached://h?distribution=ring",
        "memcached://h?protocol=ascii",
        "memcached://h?eject=perhaps",
        "memcached://h?timeout=5",
        "memcached://h?socket_timeout=0",
        "memcached://h?connection_pool_size=0",
        "memcached+unix://relative",
        "memcached://[::1",
    ] {
        let error = Memcached::open(url).err().unwrap_or_else(|| panic!("{url}"));
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{url}");
        assert!(!format!("{error} {error:?}").contains("sec"), "{error:?}");
    }
    for url in [
        "memcached://h",
        "memcache://h:1;weight=3,[::1]:7,i",
        "memcached://u:p%40%2F@h?protocol=meta&ketama=true&tcp_nodelay=true&eject=true",
        "memcached+unix:///run/m%20c.sock",
    ] {
        Memcached::open(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    }
}

#[test]
fn servers_tell_what_they_hold() {
    let fleet = MemcachedFleet::start(2);
    let cache = cache(&fleet.url(&[]), "st");
    cache.set_many((0..100).map(|n| (format!("k{n}"), n))).unwrap();
    let stats = cache.stats().backend;
    assert_eq!((stats.name, stats.entries, stats.children.len()), ("memcached", Some(100), 2));
    assert!(stats.bytes.unwrap() > 1000 && stats.connections == Some(2));
    assert!(stats.children.iter().all(|(_, child)| child.entries.unwrap() > 10));
    fleet.servers[1].kill();
    let stats = cache.stats().backend;
    assert_eq!(stats.entries, None, "nobody knows");
    assert!(stats.children[0].1.entries.is_some());
    let health = cache.health_check().unwrap();
    let up: Vec<bool> = health.children.iter().map(|(_, child)| child.is_up()).collect();
    assert_eq!((health.is_up(), &*up), (false, &[true, false][..]));
}

/// What the other process does, for the test below.
#[test]
#[ignore = "run by the test of two processes"]
fn another_process() {
    let Ok(url) = std::env::var("YC_OTHER") else { return };
    let cache = cache(&url, "d");
    match &*std::env::var("YC_DO").unwrap() {
        "set" => {
            for n in 0..50 {
                cache.entry(format!("k{n}")).tags(["a", &format!("t{n}")]).set(&n).unwrap();
            }
        }
        "invalidate" => _ = cache.invalidate_tags(["a"]).unwrap(),
        "see nothing" => assert!((0..50).all(|n| !cache.exists(format!("k{n}")).unwrap())),
        other => panic!("{other}"),
    }
}

#[test]
fn tags_set_in_one_process_are_invalidated_in_another() {
    let fleet = MemcachedFleet::start(3);
    let url = fleet.url(&[2, 1, 1]);
    let elsewhere = |what: &str| {
        let mut other = Command::new(std::env::current_exe().unwrap());
        other.args(["--exact", "another_process", "--ignored"]);
        let output = other.env("YC_OTHER", &url).env("YC_DO", what).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    let cache = cache(&url, "d");
    elsewhere("set");
    assert_eq!(cache.get::<i32>("k7").unwrap(), Some(7));
    elsewhere("invalidate");
    assert!((0..50).all(|n| cache.get::<i32>(format!("k{n}")).unwrap().is_none()));
    elsewhere("set");
    assert_eq!(cache.get::<i32>("k7").unwrap(), Some(7));
    cache.invalidate_tags(["a"]).unwrap();
    elsewhere("see nothing");
}
