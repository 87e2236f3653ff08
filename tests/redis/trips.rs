//! What each operation costs in round trips and commands.

use super::*;

/// How often the server read something from a client meanwhile. A batch of a few kilobytes is read at
/// once: each is a round trip. It is asked over one connection, as the end of one is read, too.
fn trips(resp: &mut Resp, work: impl FnOnce()) -> u64 {
    let mut reads = || {
        let info = resp.command(&["INFO", "stats"]);
        let line =
            info.as_str().lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    // The two looks themselves: one counts before it is answered, the other after.
    let before = reads();
    work();
    reads() - before - 1
}

#[test]
fn each_operation_takes_the_round_trips_it_claims() {
    let server = RedisServer::start(&[]);
    let cache = cache(&server, "trips");
    let keys: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
    let entry = |key: &'static str| cache.entry(key).ttl(HOUR).tags(["a", "b"]);
    // A connection is made, the scripts are known, and so are the tags.
    let warm_up = || {
        entry("tagged").set(&"v").unwrap();
        entry("tagged").get_or_compute(|| "v".to_owned()).unwrap();
        for key in ["plain", "other"] {
            cache.set(key, "v").unwrap();
            cache.expire(key, HOUR).unwrap();
            cache.replace(key, "w").unwrap();
            cache.add(key, "v").unwrap();
        }
        let (_, version) = cache.get_versioned::<String>("plain").unwrap().unwrap();
        cache.swap("plain", version, "x").unwrap();
        cache.increment("n", 1).unwrap();
        cache.delete("gone").unwrap();
        entry("warm").get_or_compute(|| 1.5).unwrap();
        cache.set_many(keys.iter().map(|key| (key, "v"))).unwrap();
    };
    warm_up();
    let mut resp = server.resp();
    let mut check = |what: &str, most: u64, work: &dyn Fn()| {
        let took = trips(&mut resp, work);
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
    check("expire", 1, &|| assert!(cache.expire("plain", HOUR).unwrap()));
    check("expire, tagged", 2, &|| assert!(cache.expire("tagged", HOUR).unwrap()));
    check("replace", 1, &|| assert!(cache.replace("plain", "w").unwrap()));
    check("add", 1, &|| assert!(cache.add("new", "w").unwrap()));
    check("add over an entry, whose schema is looked at", 2, &|| {
        assert!(!cache.entry("new").add("w").unwrap())
    });
    check("increment", 1, &|| assert_eq!(cache.increment("n", 1).unwrap(), 2));
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
fn an_untagged_get_is_one_get_and_nothing_else() {
    let server = RedisServer::start(&[]);
    let cache = cache(&server, "one");
    cache.set("k", "v").unwrap();
    server.reset_stats();
    for _ in 0..10 {
        cache.get::<String>("k").unwrap().unwrap();
    }
    let mut stats = server.commandstats();
    stats.retain(|name, _| name != "info" && !name.starts_with("config"));
    assert_eq!(stats.into_iter().collect::<Vec<_>>(), [("get".to_owned(), 10)]);
}

#[test]
fn invalidating_a_tag_costs_the_same_however_many_entries_have_it() {
    let server = RedisServer::start(&[]);
    let cache = cache(&server, "many");
    for n in 0..2_000 {
        cache.entry(format!("k{n}")).tag("t").set(&"v").unwrap();
    }
    server.reset_stats();
    let took = trips(&mut server.resp(), || _ = cache.invalidate_tags(["t"]).unwrap());
    assert_eq!(took, 1);
    let mut stats = server.commandstats();
    stats.retain(|name, _| name != "info" && !name.starts_with("config"));
    assert_eq!(stats.into_iter().collect::<Vec<_>>(), [("set".to_owned(), 1)]);
    assert_eq!(cache.get::<String>("k7").unwrap(), None);
    assert_eq!(cache.lookup::<String>("k7").unwrap().cause(), Some(Cause::Invalidated));
}

#[test]
fn get_many_is_one_round_trip_to_each_node_of_a_cluster() {
    let cluster = RedisCluster::start();
    let cache = Cache::builder(Redis::open(&cluster.url()).unwrap()).build().unwrap();
    let keys: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
    cache.set_many(keys.iter().map(|key| (key, "v"))).unwrap();
    cluster.reset_stats();
    let masters: Vec<&RedisServer> =
        cluster.masters().into_iter().map(|index| &cluster.nodes()[index]).collect();
    let reads = |server: &RedisServer| {
        server.info("stats")["total_reads_processed"].parse::<u64>().unwrap()
    };
    let before: Vec<u64> = masters.iter().map(|server| reads(server)).collect();
    assert_eq!(cache.get_many::<String>(&keys).unwrap().into_iter().flatten().count(), 100);
    // Servers of a cluster also read what the others say; clients' commands are counted apart.
    let gets: u64 = cluster.commandstats()["get"];
    assert_eq!(gets, 100);
    for (server, before) in masters.iter().zip(before) {
        assert!(reads(server) - before < 40, "about 33 keys each, in one go");
    }
}
