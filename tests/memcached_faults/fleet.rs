//! Several servers, one of which is down.

use super::*;

/// Whether a server keeps something for a key. Its list of keys may leave one out that moves.
fn is_there(server: &MemcachedServer, key: &str) -> bool {
    server.get_raw(format!("f:{key}").as_bytes()).is_some()
}

const MANY: usize = 40;

/// Keys of four servers, and which server has each.
struct Dealt {
    fleet: MemcachedFleet,
    keys: Vec<String>,
    owners: Vec<usize>,
}

impl Dealt {
    fn new(cache: impl FnOnce(&str) -> Cache) -> (Dealt, Cache) {
        let fleet = MemcachedFleet::start(4);
        let cache = cache(&fleet.url(&[]));
        let keys: Vec<String> = (0..MANY).map(|n| format!("key{n}")).collect();
        keys.iter().for_each(|key| assert!(set(&cache, key).unwrap()));
        let owners = Dealt::who_has(&fleet, &keys);
        for server in 0..4 {
            assert!(owners.contains(&server), "each has some");
        }
        (Dealt { fleet, keys, owners }, cache)
    }

    fn who_has(fleet: &MemcachedFleet, keys: &[String]) -> Vec<usize> {
        let owner = |key: &String| (0..4).find(|server| is_there(&fleet.servers[*server], key));
        keys.iter().map(|key| owner(key).unwrap()).collect()
    }

    fn each(&self) -> impl Iterator<Item = (&String, usize)> {
        self.keys.iter().zip(self.owners.iter().copied())
    }

    fn keys_of(&self, server: usize) -> Vec<&String> {
        self.each().filter(|(_, owner)| *owner == server).map(|(key, _)| key).collect()
    }
}

/// Only the share of the server that is down is missing, to those who read and those who write.
#[track_caller]
fn misses_its_share(dealt: &Dealt, cache: &Cache, down: usize) {
    for (key, owner) in dealt.each() {
        let lookup = timed(|| cache.lookup::<String>(key)).unwrap();
        let strict = timed(|| get(cache, key));
        let stored = timed(|| cache.set(key, &value_of(key))).unwrap();
        let exists = timed(|| cache.exists(key));
        assert_eq!(stored, owner != down, "{key}");
        if owner == down {
            assert_eq!(lookup.cause(), Some(Cause::Down), "{key}");
            expect(strict, LATE);
            assert!(!exists.unwrap_or(false));
            expect(timed(|| set(cache, key)), LATE);
            expect(timed(|| cache.delete(key)), LATE);
            expect(timed(|| cache.increment(key, 1)), LATE);
        } else {
            assert_eq!(strict.unwrap(), Some(value_of(key)), "{key}");
            assert_eq!(lookup.into_value(), Some(value_of(key)), "{key}");
            assert!(exists.unwrap(), "{key}");
        }
    }
    let found = timed(|| cache.get_many::<String>(&dealt.keys)).unwrap();
    for ((key, owner), found) in dealt.each().zip(found) {
        assert_eq!(found, (owner != down).then(|| value_of(key)), "{key}");
    }
    let values = dealt.keys.iter().map(|key| (key, value_of(key)));
    let failed = timed(|| cache.set_many(values)).unwrap();
    let failed: Vec<&String> = failed.iter().map(|(key, _)| key).collect();
    assert_eq!(failed, dealt.keys_of(down));
    expect(timed(|| cache.delete_many([dealt.keys_of(down)[0]])), LATE);
}

/// A hundred calls to who is known to be down cost next to nothing.
#[track_caller]
fn costs_nothing(dealt: &Dealt, cache: &Cache, down: usize) {
    let key = dealt.keys_of(down)[0];
    let mut took: Vec<Duration> = (0..100)
        .map(|_| {
            let started = Instant::now();
            assert_eq!(cache.get::<String>(key).unwrap(), None);
            started.elapsed()
        })
        .collect();
    took.sort();
    assert!(took[50] < Duration::from_micros(500), "{:?}", took[50]);
    // Those who try, a few a second.
    assert!(took[95] < LIMIT / 10, "{:?}", took[95]);
}

#[test]
fn one_server_of_four_is_dead_and_the_others_work() {
    for binary in BOTH {
        let (dealt, cache) = Dealt::new(|url| cache(url, binary));
        let dead = dealt.owners[0];
        dealt.fleet.servers[dead].kill();
        for _ in 0..3 {
            misses_its_share(&dealt, &cache, dead);
        }
        costs_nothing(&dealt, &cache, dead);
        dealt.fleet.servers[dead].start_again();
        heals(|| dealt.keys.iter().all(|key| set(&cache, key).is_ok()));
        for key in &dealt.keys {
            assert_eq!(get(&cache, key).unwrap(), Some(value_of(key)));
        }
        assert_eq!(Dealt::who_has(&dealt.fleet, &dealt.keys), dealt.owners);
    }
}

#[test]
fn one_server_of_four_hangs_and_the_others_work() {
    for binary in BOTH {
        let (dealt, cache) = Dealt::new(|url| cache(url, binary));
        let hung = dealt.owners[0];
        dealt.fleet.servers[hung].stop();
        // Of a batch only the keys of that server are missing, whichever is asked first.
        for _ in 0..4 {
            let found = timed(|| cache.get_many::<String>(&dealt.keys)).unwrap();
            for ((key, owner), found) in dealt.each().zip(found) {
                assert_eq!(found, (owner != hung).then(|| value_of(key)), "{key}");
            }
        }
        misses_its_share(&dealt, &cache, hung);
        costs_nothing(&dealt, &cache, hung);
        for _ in 0..2 {
            // The one that hangs is told from those that work, also when it is tried again.
            thread::sleep(Duration::from_millis(500));
            let health = timed(|| cache.detailed_health_check());
            let up: Vec<bool> = health.children.iter().map(|(_, child)| child.is_up()).collect();
            assert_eq!(up, [0, 1, 2, 3].map(|server| server != hung));
            thread::sleep(Duration::from_millis(500));
            let stats = timed(|| cache.stats());
            let known = |server: &yokedcache::BackendStats| server.entries.is_some();
            let known: Vec<bool> =
                stats.backend.children.iter().map(|(_, child)| known(child)).collect();
            assert_eq!(known, [0, 1, 2, 3].map(|server| server != hung));
        }
        dealt.fleet.servers[hung].cont();
        heals(|| dealt.keys.iter().all(|key| set(&cache, key).is_ok()));
        for key in &dealt.keys {
            assert_eq!(get(&cache, key).unwrap(), Some(value_of(key)));
        }
    }
}

#[test]
fn four_servers_that_hang_take_no_longer_than_one() {
    for binary in BOTH {
        let (dealt, cache) = Dealt::new(|url| cache(url, binary));
        dealt.fleet.servers.iter().for_each(MemcachedServer::stop);
        let found = timed(|| cache.get_many::<String>(&dealt.keys)).unwrap();
        assert!(found.iter().all(Option::is_none));
        let values = || dealt.keys.iter().map(|key| (key, value_of(key)));
        assert_eq!(timed(|| cache.set_many(values())).unwrap().len(), MANY);
        expect(timed(|| cache.invalidate_tags(["t", "u", "v", "w"])), LATE);
        let ask_all: [&dyn Fn(); 2] =
            [&|| drop(cache.detailed_health_check()), &|| drop(cache.stats())];
        for ask in ask_all {
            // All are tried again.
            thread::sleep(Duration::from_millis(500));
            timed(ask);
        }
        dealt.fleet.servers.iter().for_each(MemcachedServer::cont);
        heals(|| dealt.keys.iter().all(|key| set(&cache, key).is_ok()));
        works_again(&cache);
    }
}

#[test]
fn a_tag_whose_server_is_down_vouches_for_nothing() {
    for binary in BOTH {
        let (dealt, cache) = Dealt::new(|url| cache(url, binary));
        let dead = 2;
        // A tag there, and a key somewhere else.
        let tag_of = |n: usize| format!("tag{n}");
        for n in 0..MANY {
            cache.entry(format!("probe{n}")).strict().tag(tag_of(n)).set("v").unwrap();
        }
        let server = &dealt.fleet.servers[dead];
        let there = (0..MANY).find(|n| is_there(server, &format!("{}#t", tag_of(*n))));
        let tag = tag_of(there.expect("a tag's record is there"));
        let key = dealt.keys.iter().find(|key| !is_there(server, key)).unwrap();
        let others = self::cache(&dealt.fleet.url(&[]), binary);
        cache.entry(key).strict().tag(&tag).set(&value_of(key)).unwrap();
        assert_eq!(get(&others, key).unwrap(), Some(value_of(key)));

        dealt.fleet.servers[dead].kill();
        for cache in [&cache, &others] {
            let lookup = timed(|| cache.lookup::<String>(key)).unwrap();
            assert_eq!(lookup.cause(), Some(Cause::Down));
            expect(timed(|| get(cache, key)), DOWN);
            expect(timed(|| cache.invalidate_tags([&tag])), DOWN);
            assert!(!timed(|| cache.entry("new").tag(&tag).set("v")).unwrap());
        }
        // It comes back empty: the entry is invalidated.
        dealt.fleet.servers[dead].start_again();
        for cache in [&cache, &others] {
            heals(|| get(cache, key).is_ok());
            assert_eq!(get(cache, key).unwrap(), None);
        }
        assert!(cache.entry(key).strict().tag(&tag).set(&value_of(key)).unwrap());
        assert_eq!(get(&others, key).unwrap(), Some(value_of(key)));
        others.invalidate_tags([&tag]).unwrap();
        assert_eq!(get(&cache, key).unwrap(), None);
    }
}

#[test]
fn others_stand_in_for_a_server_that_is_down_where_that_is_wanted() {
    for binary in BOTH {
        let (dealt, cache) = Dealt::new(|url| cache_of(memcached(url).binary(binary).eject(true)));
        let dead = dealt.owners[0];
        dealt.fleet.servers[dead].kill();
        // No call fails, be it the first.
        for key in &dealt.keys {
            assert!(timed(|| set(&cache, key)).unwrap());
            assert_eq!(timed(|| get(&cache, key)).unwrap(), Some(value_of(key)));
            timed(|| cache.increment(format!("{key}-n"), 1)).unwrap();
        }
        let found = timed(|| cache.get_many::<String>(&dealt.keys)).unwrap();
        for (key, found) in dealt.keys.iter().zip(found) {
            assert_eq!(found, Some(value_of(key)));
        }
        assert!(timed(|| cache.delete(dealt.keys_of(dead)[0])).unwrap());
        timed(|| set(&cache, dealt.keys_of(dead)[0])).unwrap();
        // Nobody else's keys have moved.
        let live: Vec<usize> = (0..4).filter(|server| *server != dead).collect();
        for (key, owner) in dealt.each() {
            let there = |server: &&usize| is_there(&dealt.fleet.servers[**server], key);
            let there: Vec<&usize> = live.iter().filter(there).collect();
            assert_eq!(there.len(), 1, "{key}");
            assert!(owner == dead || *there[0] == owner, "{key}");
        }
        // And they come back, to a server that is empty.
        dealt.fleet.servers[dead].start_again();
        let own = dealt.keys_of(dead);
        heals(|| own.iter().all(|key| get(&cache, key).unwrap().is_none()));
        own.iter().for_each(|key| assert!(set(&cache, key).unwrap()));
        assert!(own.iter().all(|key| is_there(&dealt.fleet.servers[dead], key)));
    }
}

#[test]
fn others_stand_in_for_a_server_that_hangs_once_that_is_known() {
    for binary in BOTH {
        let (dealt, cache) = Dealt::new(|url| cache_of(memcached(url).binary(binary).eject(true)));
        let hung = dealt.owners[0];
        dealt.fleet.servers[hung].stop();
        let own = dealt.keys_of(hung);
        heals(|| timed(|| set(&cache, own[0])).is_ok());
        let (mut stored, mut late) = (0, 0);
        for _ in 0..10 {
            for key in &own {
                match timed(|| set(&cache, key)) {
                    Ok(done) => stored += usize::from(done),
                    Err(error) => {
                        expect::<()>(Err(error), LATE);
                        late += 1;
                    }
                }
            }
        }
        // Now and then one tries whether it is back.
        assert!(stored > late * 5, "{stored} stored, {late} late");
        dealt.fleet.servers[hung].cont();
        heals(|| own.iter().all(|key| set(&cache, key).is_ok()));
        thread::sleep(Duration::from_millis(500));
        own.iter().for_each(|key| assert!(set(&cache, key).unwrap()));
        assert_eq!(get(&cache, own[0]).unwrap(), Some(value_of(own[0])));
    }
}
