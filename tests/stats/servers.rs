//! The same over servers, and what they say of themselves.

#[cfg(feature = "redis")]
#[test]
fn each_call_over_redis_moves_its_counters_and_no_other() {
    use super::support::RedisServer;

    let server = RedisServer::start(&[]);
    let redis = yokedcache::Redis::open(server.url()).unwrap();
    let cache = yokedcache::Cache::builder(redis).key_prefix("stats").build().unwrap();
    super::counters::check(&cache);
}

#[cfg(feature = "redis")]
#[test]
fn statistics_of_redis_cost_no_round_trip() {
    use super::support::RedisServer;

    let server = RedisServer::start(&[]);
    let redis = yokedcache::Redis::open(server.url()).unwrap();
    let cache = yokedcache::Cache::builder(redis).key_prefix("stats").build().unwrap();
    cache.set("k", &1).unwrap();
    let processed = || -> u64 { server.info("stats")["total_commands_processed"].parse().unwrap() };
    let asking = processed();
    let step = processed() - asking;
    let before = processed();
    let stats = cache.stats();
    assert_eq!(processed() - before, step, "but for this test's own");
    assert_eq!((stats.backend.connections, stats.backend.entries), (Some(1), None));
    assert!(stats.backend.removals.is_none(), "nothing is claimed of what is not known");
}

#[cfg(feature = "memcached")]
#[test]
fn each_call_over_memcached_moves_its_counters_and_no_other() {
    use super::support::MemcachedServer;

    let server = MemcachedServer::start(&[]);
    let memcached = yokedcache::Memcached::open(server.url()).unwrap();
    let cache = yokedcache::Cache::builder(memcached).key_prefix("stats").build().unwrap();
    super::counters::check(&cache);
    let text = cache.stats().to_prometheus();
    let line = format!("part=\"{}\",reason=\"evicted\"}} 0", server.addr());
    assert!(text.contains(&line), "{text}");
    let told = text.matches("yokedcache_backend_entries{").count();
    assert_eq!(told, 1, "of the server, and not of the sum over all servers again: {text}");
}

#[cfg(feature = "memcached")]
#[test]
fn servers_that_hang_are_waited_for_within_one_limit_for_all() {
    use std::time::{Duration, Instant};

    use super::support::MemcachedServer;
    use yokedcache::{Cache, Memcached, Memory, Route};

    let servers = [(); 4].map(|()| MemcachedServer::start(&[]));
    let mut route = Route::builder(Memory::builder().build().unwrap());
    for (server, name) in servers.iter().zip(["a", "b", "c", "d"]) {
        route = route.route(name, Memcached::open(server.url()).unwrap());
    }
    let cache = Cache::builder(route.build().unwrap()).key_prefix("stats").build().unwrap();
    assert!(cache.stats().backend.children.iter().all(|(_, part)| part.entries.is_some()));
    servers.iter().for_each(MemcachedServer::stop);
    let limit = Duration::from_secs(2);
    let started = Instant::now();
    let stats = cache.with_timeout(limit).stats();
    let took = started.elapsed();
    servers.iter().for_each(MemcachedServer::cont);
    assert!(took < 3 * limit, "{took:?}");
    let known = stats.backend.children.iter().filter(|(_, part)| part.entries.is_some());
    assert_eq!(known.count(), 1, "what does no I/O is told all the same");
}
