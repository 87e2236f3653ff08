//! Invalidations that come at the worst moment, and from elsewhere.

use super::*;

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
    let server = MemcachedServer::start(&[]);
    let (mine, theirs) = (cache(server.url(), "o"), cache(server.url(), "o"));
    let say = |line: &str| drop(server.command(line));
    let overtakes: [&dyn Fn(); 13] = [
        &|| _ = theirs.delete("k").unwrap(),
        &|| _ = theirs.set("k", "new").unwrap(),
        &|| _ = theirs.add("k", "new").unwrap(),
        &|| _ = theirs.invalidate_tags(["t"]).unwrap(),
        &|| _ = theirs.invalidate_tags_all(["t"]).unwrap(),
        &|| _ = theirs.invalidate_tags_all(["t", "unheard of"]).unwrap(),
        &|| _ = theirs.invalidate_pattern("k*").unwrap(),
        &|| _ = theirs.clear().unwrap(),
        &|| say("delete o:k"),
        &|| server.set_raw(b"o:k", b"\"new\"", 0, 0),
        // The tag's record is lost, to eviction perhaps.
        &|| say("delete o:t#t"),
        &|| say("flush_all"),
        // Another process under the same address numbers entries from 1 again.
        &|| {
            server.restart();
            (0..20).for_each(|_| server.set_raw(b"o:k", b"\"new\"", 0, 0));
        },
    ];
    for (index, overtake) in overtakes.iter().enumerate() {
        mine.clear().unwrap();
        load_overtaken_by(&mine, overtake);
        assert_eq!(mine.stats().overtaken, index as u64 + 1, "overtake {index}");
    }
}

#[test]
fn no_load_outlives_an_invalidation_by_pattern() {
    let server = MemcachedServer::start(&[]);
    let (mine, theirs) = (cache(server.url(), "s"), cache(server.url(), "s"));
    theirs.set_many((0..20_000).map(|n| (format!("fill{n}"), "v"))).unwrap();
    let running = AtomicBool::new(true);
    thread::scope(|scope| {
        // Values of several sizes, so that entries change their place in the server.
        let others = scope.spawn(|| {
            for n in (0..).take_while(|_| running.load(Ordering::Relaxed)) {
                theirs.set(format!("fill{}", n % 20_000), &"v".repeat(n * 37 % 2000)).unwrap();
            }
        });
        for round in 0..40 {
            let loads: Vec<_> = (0..4)
                .map(|key| {
                    let (mine, (started, wait)) = (&mine, channel());
                    let load = scope.spawn(move || {
                        mine.get_or_compute(format!("k{key}"), || {
                            started.send(()).unwrap();
                            thread::sleep(Duration::from_millis(round % 10));
                            "old".repeat(key * 300 + 1)
                        })
                        .unwrap();
                    });
                    wait.recv().unwrap();
                    load
                })
                .collect();
            theirs.invalidate_pattern("k*").unwrap();
            let seen: Vec<_> = (0..4).map(|key| theirs.get::<String>(format!("k{key}"))).collect();
            assert!(seen.into_iter().all(|seen| seen.unwrap().is_none()), "round {round}");
            loads.into_iter().for_each(|load| load.join().unwrap());
            assert_eq!(mine.keys("k*").unwrap(), [""; 0], "round {round}");
        }
        running.store(false, Ordering::Relaxed);
        others.join().unwrap();
    });
}

#[test]
fn a_stale_entry_is_refreshed_by_one_and_not_resurrected() {
    let server = MemcachedServer::start(&[]);
    let (mine, theirs) = (cache(server.url(), "r"), cache(server.url(), "r"));
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
fn records_of_tags_outlive_what_has_them() {
    let server = MemcachedServer::start(&[]);
    let cache = cache(server.url(), "tl");
    cache.entry("k").tag("load").ttl(HOUR).get_or_compute(|| 1.5).unwrap();
    cache.entry("k").tag("set").ttl(HOUR).set(&1).unwrap();
    cache
        .entry("m")
        .tag("late")
        .load_with(|load| {
            load.tag("later")?;
            Ok::<_, yokedcache::Error>(Loaded::Value(1))
        })
        .unwrap()
        .unwrap();
    cache.invalidate_tags(["set"]).unwrap();
    for tag in ["load", "set", "later"] {
        assert_eq!(server.command(&format!("mg tl:{tag}#t t")).trim_end(), "HD t-1", "{tag}");
    }
}

#[test]
fn of_two_who_add_under_an_old_version_of_a_tag_one_wins() {
    let server = MemcachedServer::start(&[]);
    let [a, b, other] = [(); 3].map(|()| cache(server.url(), "add"));
    for cache in [&a, &b] {
        cache.entry("k").tag("t").set("v").unwrap();
    }
    for round in 0..500 {
        other.invalidate_tags(["t"]).unwrap();
        let start = std::sync::Barrier::new(2);
        let add = |cache: &Cache| {
            start.wait();
            cache.entry("k").tag("t").add("v").unwrap()
        };
        let won = thread::scope(|scope| {
            let first = scope.spawn(|| add(&a));
            u8::from(add(&b)) + u8::from(first.join().unwrap())
        });
        assert_eq!(won, 1, "round {round}");
    }
}

/// What the other process does, for the test below.
#[test]
#[ignore = "run by the test of two processes"]
fn another_process() {
    let Ok(url) = std::env::var("YC_OTHER") else { return };
    let cache = cache(&url, "d");
    match &*std::env::var("YC_DO").unwrap() {
        "set" => {
            for n in 0..50 {
                cache.entry(format!("k{n}")).tags(["a", &format!("t{n}")]).set(&n).unwrap();
            }
        }
        "invalidate" => _ = cache.invalidate_tags(["a"]).unwrap(),
        "see nothing" => assert!((0..50).all(|n| !cache.exists(format!("k{n}")).unwrap())),
        other => panic!("{other}"),
    }
}

#[test]
fn tags_set_in_one_process_are_invalidated_in_another() {
    let fleet = MemcachedFleet::start(3);
    let url = fleet.url(&[2, 1, 1]);
    let elsewhere = |what: &str| {
        let mut other = Command::new(std::env::current_exe().unwrap());
        other.args(["--exact", "invalidation::another_process", "--ignored"]);
        let output = other.env("YC_OTHER", &url).env("YC_DO", what).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    let cache = cache(&url, "d");
    elsewhere("set");
    assert_eq!(cache.get::<i32>("k7").unwrap(), Some(7));
    elsewhere("invalidate");
    assert!((0..50).all(|n| cache.get::<i32>(format!("k{n}")).unwrap().is_none()));
    elsewhere("set");
    assert_eq!(cache.get::<i32>("k7").unwrap(), Some(7));
    cache.invalidate_tags(["a"]).unwrap();
    elsewhere("see nothing");
}
