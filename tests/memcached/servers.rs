//! Servers set up in odd ways, and the ways to them.

use super::*;

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
    let cache = cache.with_timeout(Duration::from_secs(60));
    let soon = Duration::from_millis(30);
    cache.entry("stale").ttl(soon).stale_for(HOUR).set("stale").unwrap();
    server.set_raw(b"c:odd", b"no json", 0, 0);
    thread::sleep(soon * 2);
    let started = Instant::now();
    for key in ["stale", "odd"] {
        assert_eq!(cache.get_or_compute(key, || "new".to_owned()).unwrap(), "new", "{key}");
    }
    assert!(started.elapsed() < Duration::from_secs(20), "nobody waits for himself");
    assert_eq!(cache.get::<i64>("n").unwrap(), Some(2));
    cache.entry("t").tag("t").set("v").unwrap();
    self::cache(server.url(), "c").invalidate_tags(["t"]).unwrap();
    assert_eq!(cache.get::<String>("t").unwrap(), None);
    assert!(cache.entry("t").tag("t").set("v").unwrap(), "under a version that is old by now");
    assert_eq!(cache.get::<String>("t").unwrap().as_deref(), Some("v"));
    let health = cache.detailed_health_check();
    let codes: Vec<_> = health.all_warnings().iter().map(|(_, warning)| warning.code).collect();
    assert!(codes.contains(&"no-cas"), "{codes:?}");
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
        assert!(cache.detailed_health_check().is_up());
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
    let health = cache.detailed_health_check();
    let up: Vec<bool> = health.children.iter().map(|(_, child)| child.is_up()).collect();
    assert_eq!((health.is_up(), &*up), (false, &[true, false][..]));
}
