//! What is stored: lives, sizes, numbers, and other programs' values.

use super::*;

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
    let store = || {
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
        }
    };
    let told = in_time(|| {
        let began = Instant::now();
        store();
        let keys = ["sub", "second", "month", "more", "year", "ages", "odd"];
        let there = keys.map(|key| cache.get::<String>(key).unwrap());
        let told = now();
        thread::sleep(Duration::from_millis(700));
        let second = cache.exists("second").unwrap();
        if began.elapsed() >= Duration::from_secs(1) {
            return None;
        }
        assert_eq!(there, keys.map(|key| Some(key.to_owned())));
        assert!(second, "it is not cut short");
        Some(told)
    });
    for (key, end) in told {
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
    wait_until("short lives are over", || {
        !cache.exists("sub").unwrap() && !cache.exists("second").unwrap()
    });
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
    // Invalidations find what is in pieces.
    let text = "large".repeat(300_000);
    for key in &keys {
        mine.entry(key).tags(["a", "b"]).set(&text).unwrap();
    }
    assert_eq!(theirs.invalidate_tags_all(["a", "b"]).unwrap().entries, Some(3));
    assert!(keys.iter().all(|key| !mine.exists(key).unwrap()));
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
    let mut last = 1;
    wait_until("it has begun again", || {
        let before = std::mem::replace(&mut last, cache.decrement("short", 1).unwrap());
        last > before
    });
    // Of another program's number that has no sign nothing is lost either.
    server.set_raw(b"n:theirs", b"18446744073709551610", 0, 0);
    for by in [1, 10, 1 << 40, i64::MAX] {
        assert_eq!(cache.increment("theirs", by).unwrap_err().kind(), ErrorKind::Overflow, "{by}");
        assert_eq!(server.get_raw(b"n:theirs").unwrap(), b"18446744073709551610");
    }
    // A tagged entry holds its number in an envelope.
    cache.entry("tagged").tag("t").ttl(HOUR).set(&5).unwrap();
    assert_eq!(cache.increment("tagged", 1).unwrap(), 6);
    cache.invalidate_tags(["t"]).unwrap();
    assert_eq!(cache.increment("tagged", 1).unwrap(), 1);
}

#[test]
fn a_sliding_reader_gives_newer_entries_no_longer_life() {
    let server = MemcachedServer::start(&[]);
    let (mine, theirs) = (cache(server.url(), "e"), cache(server.url(), "e"));
    let (day, life) = (Duration::from_secs(24 * 3600), Duration::from_secs(2));
    let keys: Vec<String> = (0..400).map(|n| format!("k{n}")).collect();
    for key in &keys {
        let running = AtomicBool::new(true);
        thread::scope(|scope| {
            // It meets entries that are newer than what it has just read.
            scope.spawn(|| {
                while running.load(Ordering::Relaxed) {
                    mine.entry(key).sliding(day).get::<String>().unwrap();
                }
            });
            for n in 0..8u64 {
                theirs.entry(key).ttl(day * 2).set(&format!("{n}")).unwrap();
                // Time enough to be slid once, and to be about to be slid again.
                thread::sleep(Duration::from_micros(n * 97 % 500));
            }
            theirs.entry(key).ttl(life).set("the last").unwrap();
            running.store(false, Ordering::Relaxed);
        });
    }
    wait_until("all have come to their ends", || {
        keys.iter().all(|key| !theirs.exists(key).unwrap())
    });
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
