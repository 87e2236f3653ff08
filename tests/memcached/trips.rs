//! What travels between a cache and its servers.

use super::*;

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
    let mut check = |what: &str, most: u64, work: &dyn Fn()| {
        let took = relay.trips(work);
        assert_eq!(took as u64, most, "{what}");
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
    batches_and_locks(&cache, &mut check);
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
