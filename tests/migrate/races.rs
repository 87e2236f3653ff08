//! Programs use the target while entries are copied to it: what they do wins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::faulty::Faulty;
use super::fixture::{HOUR, memory, over};
#[cfg(feature = "memcached")]
use super::support::MemcachedServer;
#[cfg(feature = "redis")]
use super::support::{RedisCluster, RedisServer};
use yokedcache::{Begun, Cache, Report, Skip};

/// Copies `k`, its tag `t` and its neighbour `l` from a source; `meanwhile` happens once the value was
/// read there, and before it is stored at the target.
fn copy_while(
    to: &Cache,
    overwrite: bool,
    meanwhile: impl FnMut(&Cache) + Send + 'static,
) -> Report {
    let source = Faulty::new();
    let from = over(source.clone(), "from");
    from.entry("k").ttl(HOUR).tag("t").set("older").unwrap();
    from.entry("l").ttl(HOUR).set("neighbour").unwrap();
    let (target, mut meanwhile) = (to.clone(), meanwhile);
    let mut reads = 0;
    source.hooked(move |call| {
        reads += u32::from(call == "after read");
        // With overwrite the first one is a comparison.
        if call == "after read" && reads == 1 + u32::from(overwrite) {
            meanwhile(&target);
        }
        Ok(())
    });
    let migration = from.migrate_to(to);
    let migration = if overwrite { migration.overwrite() } else { migration };
    let report = migration.run().unwrap();
    assert!(reads_of(&source) >= 2);
    report
}

fn reads_of(source: &Faulty) -> usize {
    source.calls().iter().filter(|call| *call == "read" || *call == "look").count()
}

/// What programs do to the target, and what `k` is then.
type Deed = (&'static str, fn(&Cache), Option<&'static str>);

const DEEDS: [Deed; 7] = [
    ("delete", |cache| _ = cache.delete("k").unwrap(), None),
    ("tags", |cache| _ = cache.invalidate_tags(["t"]).unwrap(), None),
    ("tags, all of", |cache| _ = cache.invalidate_tags_all(["t"]).unwrap(), None),
    ("pattern", |cache| _ = cache.invalidate_pattern("k*").unwrap(), None),
    ("clear", |cache| _ = cache.clear().unwrap(), None),
    ("set", |cache| assert!(cache.set("k", "newer").unwrap()), Some("newer")),
    ("tagged set", |cache| assert!(cache.entry("k").tag("t").set("new").unwrap()), Some("new")),
];

fn what_programs_do_wins(to: &Cache) {
    for overwrite in [false, true] {
        for (deed, meanwhile, left) in DEEDS {
            to.clear().unwrap();
            if overwrite {
                to.entry("k").ttl(HOUR).tag("t").set("replaced").unwrap();
            }
            let report = copy_while(to, overwrite, meanwhile);
            let name = to.backend().about().name;
            assert_eq!(to.get::<String>("k").unwrap().as_deref(), left, "{deed} on {name}");
            assert_eq!(report.skipped, 0, "{deed} on {name}: {:?}", report.skips);
            let lost = if deed == "clear" { 2 } else { report.overtaken };
            assert!(report.overtaken >= 1 && report.overtaken == lost, "{deed}: {report:?}");
            if report.overtaken == 1 {
                let neighbour = to.get::<String>("l").unwrap();
                assert_eq!(neighbour.as_deref(), Some("neighbour"), "{deed} on {name}");
            }
            assert_eq!(report.looked_at, report.copied + report.overtaken);
        }
    }
}

#[test]
fn in_memory_what_programs_do_wins_and_touches_nothing_else() {
    let to = over(memory(), "to");
    what_programs_do_wins(&to);
    // An invalidation of one tag leaves copies of others alone.
    for meanwhile in [DEEDS[1].1, DEEDS[0].1] {
        to.clear().unwrap();
        assert_eq!(copy_while(&to, false, meanwhile).overtaken, 1);
        assert_eq!(to.get::<String>("l").unwrap().as_deref(), Some("neighbour"));
    }
}

#[test]
#[cfg(feature = "redis")]
fn on_redis_what_programs_do_wins() {
    let server = RedisServer::start(&[]);
    let to = over(yokedcache::Redis::open(server.url()).unwrap(), "to");
    what_programs_do_wins(&to);
    // An invalidation of one tag leaves copies of others alone.
    to.clear().unwrap();
    assert_eq!(copy_while(&to, false, DEEDS[1].1).overtaken, 1);
    assert_eq!(to.get::<String>("l").unwrap().as_deref(), Some("neighbour"));
}

#[test]
#[cfg(feature = "redis")]
fn on_a_cluster_what_programs_do_wins() {
    let servers = RedisCluster::start();
    what_programs_do_wins(&over(yokedcache::Redis::open(&servers.url()).unwrap(), "to"));
}

#[test]
#[cfg(feature = "memcached")]
fn on_memcached_what_programs_do_wins() {
    let server = MemcachedServer::start(&[]);
    what_programs_do_wins(&over(yokedcache::Memcached::open(server.url()).unwrap(), "to"));
}

#[test]
fn what_somebody_loads_is_waited_for() {
    let (from, to) = (over(memory(), "from"), over(memory(), "to"));
    from.set("k", "older").unwrap();
    let loader = to.clone();
    let loading = Arc::new(AtomicU32::new(0));
    let begun = loading.clone();
    let thread = std::thread::spawn(move || {
        let loaded = loader.get_or_compute("k", || {
            begun.store(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(300));
            "loaded".to_owned()
        });
        loaded.unwrap()
    });
    while loading.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    let report = from.migrate_to(&to).run().unwrap();
    assert_eq!((report.there, report.skipped), (1, 0), "{report:?}");
    assert_eq!(thread.join().unwrap(), "loaded");
    assert_eq!(to.get::<String>("k").unwrap().as_deref(), Some("loaded"));
}

#[test]
fn what_somebody_loads_for_too_long_is_left_out() {
    let (from, to) = (over(memory(), "from"), over(memory(), "to"));
    from.set("k", "older").unwrap();
    from.set("l", "other").unwrap();
    let begun = to.entry("k").begin::<String>().unwrap();
    assert!(matches!(begun, Begun::Slot(_)));
    let started = Instant::now();
    let report = from.migrate_to(&to).run().unwrap();
    assert_eq!((report.copied, &report.skips[0].why), (1, &Skip::Busy));
    let waited = started.elapsed();
    assert!((11..60).contains(&waited.as_secs()), "{waited:?}");
}

#[test]
fn tags_that_change_at_the_source_are_those_the_copy_is_fenced_by() {
    let source = Faulty::new();
    let (from, to) = (over(source.clone(), "from"), over(memory(), "to"));
    from.entry("k").tag("t").set("older").unwrap();
    let (changing, mut reads) = (from.clone(), 0);
    source.hooked(move |call| {
        reads += u32::from(call == "read");
        if call == "read" && reads == 1 {
            changing.entry("k").tag("u").set("newer").unwrap();
        }
        Ok(())
    });
    source.calls();
    assert_eq!(from.migrate_to(&to).run().unwrap().copied, 1);
    let reads = source.calls().iter().filter(|call| *call == "read").count();
    assert_eq!(reads, 2, "it was read again under a right that names its new tag");
    assert_eq!(to.get::<String>("k").unwrap().as_deref(), Some("newer"));
    assert_eq!(to.invalidate_tags(["u"]).unwrap().entries, Some(1));
}

#[test]
fn a_copy_that_outlives_its_right_is_told_and_the_next_run_makes_it() {
    let source = Faulty::new();
    let (from, to) = (over(source.clone(), "from"), over(memory(), "to"));
    from.set("k", "v").unwrap();
    let mut reads = 0;
    source.hooked(move |call| {
        reads += u32::from(call == "after read");
        if call == "after read" && reads == 1 {
            std::thread::sleep(Duration::from_millis(10_100));
        }
        Ok(())
    });
    let report = from.migrate_to(&to).run().unwrap();
    assert_eq!((report.overtaken, &report.skips[0].why), (0, &Skip::Late), "{report:?}");
    assert_eq!(from.migrate_to(&to).run().unwrap().copied, 1);
}

#[test]
#[cfg(feature = "redis")]
fn through_wrappers_what_programs_do_wins() {
    use yokedcache::{Fallback, Redis, Switch, Tiered};

    let server = RedisServer::start(&[]);
    let redis = || Redis::open(server.url()).unwrap();
    what_programs_do_wins(&over(Tiered::builder(memory(), redis()).build().unwrap(), "to"));
    what_programs_do_wins(&over(Fallback::builder(redis(), memory()).build().unwrap(), "to"));
    what_programs_do_wins(&over(Switch::new(redis()), "to"));
}
