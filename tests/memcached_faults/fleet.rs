//! Several servers, one of which is down.

use std::slice;

use super::*;

/// Whether a server keeps something for a key. Its list of keys may leave one out that moves.
fn is_there(server: &MemcachedServer, key: &str) -> bool {
    server.get_raw(format!("f:{key}").as_bytes()).is_some()
}

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
        let mut dealt = Dealt { fleet, keys: Vec::new(), owners: Vec::new() };
        // Forty or so: their ports say where keys go, and each is to have some.
        while dealt.keys.len() < 40 || (0..4).any(|server| dealt.keys_of(server).len() < 5) {
            let key = format!("key{}", dealt.keys.len());
            assert!(well(|| set(&cache, &key)));
            dealt.owners.extend(Dealt::who_has(&dealt.fleet, slice::from_ref(&key)));
            dealt.keys.push(key);
        }
        (dealt, cache)
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
        if owner == down {
            let lookup = timed(|| cache.lookup::<String>(key)).unwrap();
            assert_eq!(lookup.cause(), Some(Cause::Down), "{key}");
            expect(timed(|| get(cache, key)), LATE);
            assert!(!timed(|| cache.set(key, &value_of(key))).unwrap(), "{key}");
            assert!(!timed(|| cache.exists(key)).unwrap_or(false));
            expect(timed(|| set(cache, key)), LATE);
            expect(timed(|| cache.delete(key)), LATE);
            expect(timed(|| cache.increment(key, 1)), LATE);
        } else {
            assert_eq!(well(|| timed(|| get(cache, key))), Some(value_of(key)), "{key}");
            assert!(well(|| timed(|| set(cache, key))), "{key}");
            assert!(well(|| timed(|| cache.entry(key).strict().exists())), "{key}");
        }
    }
    finds_the_others(dealt, cache, down);
    let values = dealt.keys.iter().map(|key| (key, value_of(key)));
    let failed = unhurried(cache, |cache| cache.set_many(values)).unwrap();
    let failed: Vec<&String> = failed.iter().map(|(key, _)| key).collect();
    assert_eq!(failed, dealt.keys_of(down));
    expect(timed(|| cache.delete_many([dealt.keys_of(down)[0]])), LATE);
}

/// Of a batch only the keys of that server are missing, whichever is asked first. The first try counts:
/// soon it is known to be down, and takes nothing from anybody.
#[track_caller]
fn finds_the_others(dealt: &Dealt, cache: &Cache, down: usize) {
    let there = |(key, owner): (&String, usize)| (owner != down).then(|| value_of(key));
    let expected: Vec<_> = dealt.each().map(there).collect();
    let found = unhurried(cache, |cache| cache.get_many::<String>(&dealt.keys)).unwrap();
    assert_eq!(found, expected);
}

/// A hundred calls to who is known to be down cost next to nothing.
#[track_caller]
fn costs_nothing(dealt: &Dealt, cache: &Cache, down: usize) {
    let key = dealt.keys_of(down)[0];
    in_time(|| {
        let mut took: Vec<Duration> = (0..100)
            .map(|_| {
                let started = Instant::now();
                assert_eq!(cache.get::<String>(key).unwrap(), None);
                started.elapsed()
            })
            .collect();
        took.sort();
        // A few a second try.
        (took[50] < Duration::from_micros(500) && took[95] < LIMIT / 10).then_some(())
    });
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
            assert_eq!(well(|| get(&cache, key)), Some(value_of(key)));
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
        for _ in 0..4 {
            finds_the_others(&dealt, &cache, hung);
        }
        misses_its_share(&dealt, &cache, hung);
        costs_nothing(&dealt, &cache, hung);
        for _ in 0..2 {
            // The one that hangs is told from those that work, also when it is tried again.
            let expected = [0, 1, 2, 3].map(|server| server != hung);
            thread::sleep(Duration::from_millis(500));
            let health = unhurried(&cache, Cache::detailed_health_check);
            let up: Vec<bool> = health.children.iter().map(|(_, child)| child.is_up()).collect();
            assert_eq!(up, expected);
            thread::sleep(Duration::from_millis(500));
            let stats = unhurried(&cache, Cache::stats).backend;
            let known = stats.children.iter().map(|(_, child)| child.entries.is_some());
            assert_eq!(known.collect::<Vec<bool>>(), expected);
        }
        dealt.fleet.servers[hung].cont();
        heals(|| dealt.keys.iter().all(|key| set(&cache, key).is_ok()));
        for key in &dealt.keys {
            assert_eq!(well(|| get(&cache, key)), Some(value_of(key)));
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
        assert_eq!(timed(|| cache.set_many(values())).unwrap().len(), dealt.keys.len());
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
        let (dealt, cache) = Dealt::new(|url| cache(url, binary).with_timeout(PATIENCE));
        let dead = 2;
        // A tag there, and a key somewhere else.
        let server = &dealt.fleet.servers[dead];
        let there = (0..1_000).map(|n| format!("tag{n}")).find(|tag| {
            cache.entry("probe").strict().tag(tag).set("v").unwrap();
            is_there(server, &format!("{tag}#t"))
        });
        let tag = there.expect("a tag's record is there");
        let key = dealt.keys.iter().find(|key| !is_there(server, key)).unwrap();
        let others = self::cache(&dealt.fleet.url(&[]), binary).with_timeout(PATIENCE);
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
        let cache = cache.with_timeout(PATIENCE);
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
        own.iter().for_each(|key| assert!(well(|| set(&cache, key))));
        assert_eq!(well(|| get(&cache, own[0])), Some(value_of(own[0])));
    }
}
