//! Servers that refuse: logins, connections, room.

use super::*;

#[test]
fn credentials() {
    let (text, sasl) = (
        MemcachedServer::plain_auth("ann", "open@sesame/1"),
        MemcachedServer::sasl("ann", "open@sesame/1"),
    );
    for (server, binary) in [(&text, false), (&sasl, true)] {
        let at = |login: &str| format!("memcached://{login}{}", server.addr());
        let right = cache(&at("ann:open%40sesame%2F1@"), binary).with_timeout(PATIENCE);
        assert!(right.set("a", &value_of("a")).unwrap());
        assert_eq!(right.get::<String>("a").unwrap(), Some(value_of("a")));
        assert!(right.detailed_health_check().is_up());
        for login in ["ann:wrongword@", "bob:open%40sesame%2F1@", ""] {
            let cache = cache(&at(login), binary).with_timeout(PATIENCE);
            let error = expect(timed(|| get(&cache, "a")), &[ErrorKind::Denied]);
            assert!(!error.is_transient());
            outage(&cache, &[ErrorKind::Denied], !binary);
            let mut shown =
                format!("{error} {error:?} {cache:?} {:?}", cache.detailed_health_check());
            shown += &format!("{:?} {:?}", cache.stats(), memcached(&at(login)));
            assert!(!shown.contains("sesame") && !shown.contains("wrongword"), "{shown}");
        }
        assert_eq!(right.get::<String>("a").unwrap(), Some(value_of("a")));
    }
}

#[test]
fn no_more_clients() {
    for binary in BOTH {
        let server = MemcachedServer::start(&["-c", "40"]);
        let cache = cache(server.url(), binary).with_timeout(PATIENCE);
        let mut taken = Vec::new();
        wait_until("all places are taken", || {
            let mut one = TcpStream::connect(server.addr()).unwrap();
            one.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut answer = [0; 8];
            let asked = one.write_all(b"mn\r\n").and_then(|()| one.read(&mut answer));
            let refused = !asked.is_ok_and(|read| answer[..read] == *b"MN\r\n");
            taken.push(one);
            refused
        });
        expect(timed(|| get(&cache, "a")), DOWN);
        outage(&cache, DOWN, !binary);
        drop(taken);
        works_again(&cache);
    }
}

#[test]
fn a_server_without_room() {
    for binary in BOTH {
        let server = MemcachedServer::start(&["-m", "8", "-M"]);
        let cache = cache(server.url(), binary).with_timeout(PATIENCE);
        set(&cache, "a").unwrap();
        set(&cache, "bb").unwrap();
        assert!(cache.entry("tagged").tag("t").set(&value_of("tagged")).unwrap());
        let large = "x".repeat(100_000);
        let full = (0..1_000)
            .find_map(|n| timed(|| cache.entry(format!("fill{n}")).strict().set(&large)).err());
        let error = expect::<()>(Err(full.expect("it is full")), &[ErrorKind::Full]);
        assert!(error.is_transient());
        assert!(!timed(|| cache.set("new", &large)).unwrap());
        let failed = timed(|| cache.set_many([("new", &large)])).unwrap();
        assert_eq!(failed[0].1.kind(), ErrorKind::Full);
        // Reads go on, and the older value is not served in place of the newer one.
        assert_eq!(get(&cache, "a").unwrap(), Some(value_of("a")));
        expect(timed(|| cache.entry("a").strict().set(&large)), &[ErrorKind::Full]);
        assert_eq!(get(&cache, "a").unwrap(), None);
        assert!(!timed(|| cache.set("bb", &large)).unwrap());
        assert_eq!(get(&cache, "bb").unwrap(), None);
        assert_eq!(get(&cache, "fill0").unwrap().as_ref(), Some(&large));
        // Nor in place of one that was loaded or swapped, or of one among many.
        set(&cache, "a").unwrap();
        let version = cache.get_versioned::<String>("a").unwrap().unwrap().1;
        expect(cache.entry("a").strict().swap(version, &large), &[ErrorKind::Full]);
        assert_eq!(get(&cache, "a").unwrap(), None);
        assert_eq!(timed(|| cache.get_or_compute("a", || large.clone())).unwrap(), large);
        assert_eq!(get(&cache, "a").unwrap(), None);
        set(&cache, "bb").unwrap();
        assert_eq!(cache.set_many([("bb", large.as_str()), ("ccc", "v")]).unwrap().len(), 1);
        assert_eq!(get(&cache, "bb").unwrap(), None);
        assert_eq!(get(&cache, "ccc").unwrap().as_deref(), Some("v"));
        // What is there may be removed and invalidated.
        assert_eq!(get(&cache, "tagged").unwrap(), Some(value_of("tagged")));
        cache.invalidate_tags(["t"]).unwrap();
        assert_eq!(get(&cache, "tagged").unwrap(), None);
        assert!(cache.delete("fill0").unwrap());
        // The server's own LRU thread may hold the oldest entry for a moment longer.
        wait_until("there is room", || cache.entry("a").strict().set(&large).is_ok());
        assert_eq!(get(&cache, "a").unwrap().as_ref(), Some(&large));
    }
}

#[test]
fn a_server_without_room_for_the_smallest_invalidates_all_the_same() {
    let server = MemcachedServer::start(&["-m", "8", "-M"]);
    let cache = cache(server.url(), false).with_timeout(PATIENCE);
    assert!(cache.entry("tagged").tag("t").set("v").unwrap());
    // All of it goes to the size a tag's record has.
    let record = server.get_raw(b"f:t#t").unwrap().len();
    assert!((0..500).any(|round| !fill_many(&server, record, round)), "it is full");
    expect(timed(|| cache.increment("n", 1)), &[ErrorKind::Full]);
    assert!(!timed(|| cache.entry("other").tag("u").set("v")).unwrap());
    assert_eq!(get(&cache, "tagged").unwrap().as_deref(), Some("v"));
    cache.invalidate_tags(["t"]).unwrap();
    assert_eq!(get(&cache, "tagged").unwrap(), None);
}

/// Stores a thousand small values more; false when there is no room.
fn fill_many(server: &MemcachedServer, length: usize, round: usize) -> bool {
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    let value = "r".repeat(length);
    let commands: String = (0..1_000)
        .map(|n| format!("ms x{round}-{n} {length} q\r\n{value}\r\n"))
        .chain(["mn\r\n".to_owned()])
        .collect();
    stream.write_all(commands.as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer == "MN\r\n"
}
