//! Loads that something overtakes, and entries that are refreshed and slide.

use super::*;

/// Runs a load that something comes between its beginning and its end.
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
    let server = RedisServer::start(&[]);
    let (mine, theirs) = (cache(&server, "o"), cache(&server, "o"));
    let say = |words: &[&str]| drop(server.command(words));
    let overtakes: [&dyn Fn(); 12] = [
        &|| _ = theirs.delete("k").unwrap(),
        &|| _ = theirs.set("k", "new").unwrap(),
        &|| _ = theirs.add("k", "new").unwrap(),
        &|| _ = theirs.invalidate_tags(["t"]).unwrap(),
        &|| _ = theirs.invalidate_tags_all(["t"]).unwrap(),
        &|| _ = theirs.invalidate_tags_all(["t", "unheard of"]).unwrap(),
        &|| _ = theirs.invalidate_pattern("k*").unwrap(),
        &|| _ = theirs.clear().unwrap(),
        &|| say(&["DEL", "o:k"]),
        &|| say(&["SET", "o:k", "\"new\""]),
        // The tag's record is lost, to eviction perhaps.
        &|| say(&["DEL", "o:t#t"]),
        &|| say(&["FLUSHALL"]),
    ];
    for (index, overtake) in overtakes.iter().enumerate() {
        mine.clear().unwrap();
        load_overtaken_by(&mine, overtake);
        assert_eq!(mine.stats().overtaken, index as u64 + 1, "overtake {index}");
    }
}

#[test]
fn a_load_is_overtaken_in_the_middle_of_a_scan() {
    let server = RedisServer::start(&[]);
    let (mine, theirs) = (cache(&server, "s"), cache(&server, "s"));
    theirs.set_many((0..3_000).map(|n| (format!("fill{n}"), "v"))).unwrap();
    for _ in 0..20 {
        mine.set_many((0..2_000).map(|n| (format!("x{n}"), "v"))).unwrap();
        let (started, wait_started) = channel();
        thread::scope(|scope| {
            let load = scope.spawn(|| {
                // It ends while the scan is under way.
                mine.get_or_compute("k", || {
                    started.send(()).unwrap();
                    thread::sleep(Duration::from_millis(2));
                    "old".to_owned()
                })
            });
            wait_started.recv().unwrap();
            theirs.invalidate_pattern("[kx]*").unwrap();
            assert_eq!(theirs.get::<String>("k").unwrap(), None);
            load.join().unwrap().unwrap();
        });
        assert_eq!(mine.get::<String>("k").unwrap(), None);
    }
}

#[test]
fn two_processes_load_once_and_the_other_takes_the_value() {
    let server = RedisServer::start(&[]);
    let runs = AtomicUsize::new(0);
    let caches: Vec<Cache> = (0..4).map(|_| cache(&server, "l")).collect();
    thread::scope(|scope| {
        for cache in &caches {
            scope.spawn(|| {
                for round in 0..20 {
                    let value = cache.entry(format!("k{round}")).tag("t").get_or_compute(|| {
                        runs.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(5));
                        format!("value {round}")
                    });
                    assert_eq!(value.unwrap(), format!("value {round}"));
                }
            });
        }
    });
    assert_eq!(runs.into_inner(), 20);
}

#[test]
fn a_stale_entry_is_refreshed_by_one_and_not_resurrected() {
    let server = RedisServer::start(&[]);
    let (mine, theirs) = (cache(&server, "r"), cache(&server, "r"));
    let soon = Duration::from_millis(50);
    let store = |value: &str| {
        mine.entry("k").tag("t").ttl(soon).stale_for(HOUR).set(value).unwrap();
        thread::sleep(soon * 2);
    };
    let refresh = |overtake: &dyn Fn()| {
        let entry = mine.entry("k").tag("t").ttl(HOUR).stale_for(HOUR);
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
fn what_is_released_unstored_is_shared_only_if_nothing_overtook_it() {
    let server = RedisServer::start(&[]);
    let (mine, theirs) = (cache(&server, "sk"), cache(&server, "sk"));
    let overtakes: [&(dyn Fn() + Sync); 2] =
        [&|| _ = theirs.invalidate_tags(["t"]).unwrap(), &|| _ = theirs.delete("k").unwrap()];
    for stale in [false, true] {
        for overtake in overtakes {
            let soon = Duration::from_millis(30);
            if stale {
                mine.entry("k").tag("t").ttl(soon).stale_for(HOUR).set("stale").unwrap();
                thread::sleep(soon * 2);
            }
            let (started, wait_started) = channel();
            let (finish, wait_finish) = channel::<()>();
            thread::scope(|scope| {
                let mine = &mine;
                let old = scope.spawn(move || {
                    mine.entry("k").tag("t").load_with(|_| {
                        started.send(()).unwrap();
                        wait_finish.recv().unwrap();
                        Ok::<_, yokedcache::Error>(Loaded::Skip("old".to_owned()))
                    })
                });
                wait_started.recv().unwrap();
                overtake();
                let late = scope.spawn(|| mine.get_or_compute("k", || "new".to_owned()).unwrap());
                thread::sleep(Duration::from_millis(50));
                finish.send(()).unwrap();
                assert_eq!(old.join().unwrap().unwrap().unwrap().as_deref(), Some("old"));
                assert_eq!(late.join().unwrap(), "new", "stale: {stale}");
            });
            mine.delete("k").unwrap();
        }
    }
}

#[test]
fn all_of_some_tags_reaches_long_headers_and_refreshes_under_way() {
    let server = RedisServer::start(&[]);
    let (mine, theirs) = (cache(&server, "all"), cache(&server, "all"));
    let long = ["a".repeat(40_000), "b".repeat(40_000)];
    mine.entry("long").tags(&long).set("v").unwrap();
    assert!(mine.exists("long").unwrap());
    assert_eq!(mine.keys("*").unwrap(), ["long"]);
    assert_eq!(theirs.invalidate_tags_all(&long).unwrap().entries, Some(1));
    assert_eq!(mine.get::<String>("long").unwrap(), None);
    // A refresh will carry the tags; the stale entry it began from does not.
    let soon = Duration::from_millis(30);
    mine.entry("k").ttl(soon).stale_for(HOUR).set("stale").unwrap();
    thread::sleep(soon * 2);
    let refreshed = mine.entry("k").tags(["a", "b"]).load_with(|_| {
        _ = theirs.invalidate_tags_all(["a", "b"])?;
        Ok::<_, yokedcache::Error>(Loaded::Value("old".to_owned()))
    });
    assert_eq!(refreshed.unwrap().unwrap().as_deref(), Some("old"));
    assert_eq!(mine.get::<String>("k").unwrap(), None);
}

#[test]
fn an_entry_slides_whoever_stored_it() {
    let server = RedisServer::start(&[]);
    let cache = cache(&server, "sl");
    let idle = Duration::from_millis(600);
    in_time(|| {
        server.command(&["FLUSHALL"]).expect_ok();
        let mut read = Instant::now();
        cache.entry("long").ttl(HOUR).set("v").unwrap();
        cache.set("for ever", "v").unwrap();
        cache.set("bare", &7).unwrap();
        cache.entry("counter").sliding(idle).ttl(HOUR).increment(7).unwrap();
        cache.entry("short").ttl(idle * 2).set("v").unwrap();
        server.command(&["SET", "sl:foreign", "{}"]).expect_ok();
        for _ in 0..8 {
            thread::sleep(idle / 3);
            let (before, now) = (read, Instant::now());
            let get = |key| cache.entry(key).sliding(idle).get::<serde_json::Value>().unwrap();
            let found = ["long", "for ever", "bare", "counter", "foreign"].map(get);
            get("short");
            if before.elapsed() >= idle {
                return None;
            }
            assert!(found.iter().all(Option::is_some), "{found:?}");
            read = now;
        }
        Some(())
    });
    assert_eq!(cache.get::<String>("short").unwrap(), None, "its end is the latest");
    assert_eq!(server.command(&["PTTL", "sl:foreign"]).int(), -1, "not ours to end");
    thread::sleep(idle * 2);
    for key in ["long", "for ever", "bare", "counter"] {
        assert!(!cache.exists(key).unwrap(), "{key} was not read");
    }
}
