//! Names on the servers, and lists of them.

use super::*;

/// Keys made to be taken for something else on the way to the server.
fn hostile() -> Vec<String> {
    let mut keys: Vec<String> = [
        "x\r\ndelete victim\r\n",
        "x\nflush_all",
        "x 0 0 1\r\ny\r\n",
        "victim v\r\nmd victim",
        " victim",
        "victim ",
        "\0",
        "a\0victim",
        "\u{7f}",
        "a\tb",
        "b64 b",
        "kl\u{e9}\u{1f980}",
        "%0d%0a",
        "dmljdGlt",
        "k#t",
        "k#g",
        "k#k",
        "k#d",
    ]
    .map(Into::into)
    .into();
    for length in [186, 187, 246, 247, 248, 249, 250, 251, 1000, 60_000] {
        keys.push("x".repeat(length));
        keys.push(format!(" {}", "y".repeat(length)));
        keys.push(format!("{length}{}", "\u{e9}".repeat(length / 2)));
    }
    keys
}

#[test]
fn a_key_reaches_its_own_entry_and_no_other() {
    let servers = [MemcachedServer::start(&[]), MemcachedServer::sasl("u", "p")];
    for (server, binary) in servers.iter().zip([false, true]) {
        let memcached = Memcached::builder(server.url()).binary(binary).build().unwrap();
        let cache = Cache::builder(memcached).key_prefix("").build().unwrap();
        let victims = ["victim", "x", "v"];
        for victim in victims {
            cache.set(victim, "alive").unwrap();
        }
        let keys = hostile();
        for key in &keys {
            assert_eq!(cache.get::<String>(key).unwrap(), None, "{key:?}");
            assert!(!cache.delete(key).unwrap());
            assert!(cache.add(key, &1).unwrap());
            assert_eq!(cache.increment(key, 4).unwrap(), 5);
            assert!(cache.replace(key, key).unwrap());
            assert!(cache.expire(key, HOUR).unwrap() && cache.exists(key).unwrap());
            let (value, version) = cache.get_versioned::<String>(key).unwrap().unwrap();
            assert!(value == *key && cache.swap(key, version, key).unwrap());
            cache.entry(format!("{key}.")).tag(key).set("tagged").unwrap();
            cache.invalidate_tags([key]).unwrap();
            assert_eq!(cache.get::<String>(format!("{key}.")).unwrap(), None);
            cache.entry(format!("{key}.")).tag(key).get_or_compute(|| key.clone()).unwrap();
        }
        let found = cache.get_many::<String>(&keys).unwrap();
        assert!(found.iter().zip(&keys).all(|(found, key)| found.as_ref() == Some(key)));
        if !binary {
            let mut all = cache.keys("*").unwrap();
            let mut expected: Vec<String> = victims.map(Into::into).into();
            for key in &keys {
                expected.extend([key.clone(), format!("{key}.")]);
            }
            all.sort();
            expected.sort();
            assert_eq!(all, expected);
            for key in &keys {
                let exactly = Pattern::regex(&format!("^{}$", regex_escape(key))).unwrap();
                assert_eq!(cache.invalidate_pattern(exactly).unwrap().entries, Some(1), "{key:?}");
                assert!(!cache.exists(key).unwrap() && cache.exists(format!("{key}.")).unwrap());
            }
        }
        for victim in victims {
            assert_eq!(cache.get::<String>(victim).unwrap().as_deref(), Some("alive"));
        }
    }
}

fn regex_escape(text: &str) -> String {
    text.chars().map(|c| format!("\\x{{{:x}}}", c as u32)).collect()
}

#[test]
fn where_keys_are_not_listed_patterns_are_refused_by_name() {
    for args in [&["-X"][..], &["-o", "no_lru_crawler"]] {
        let server = MemcachedServer::start(args);
        let cache = cache(server.url(), "x");
        cache.set("k", "v").unwrap();
        let errors = [
            cache.keys("*").unwrap_err(),
            cache.invalidate_pattern("k*").unwrap_err(),
            cache.clear().unwrap_err(),
            cache.invalidate_tags_all(["a"]).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("crawler"), "{error}");
        }
        assert!(cache.exists("k").unwrap());
        let health = cache.detailed_health_check();
        assert!(health.is_up() && health.children[0].1.warnings[0].code == "no-listing");
    }
}

#[test]
fn clearing_takes_exactly_its_own_and_placeholders_are_not_listed() {
    let fleet = MemcachedFleet::start(3);
    let url = fleet.url(&[1, 2, 3]);
    let (shop, shops) = (cache(&url, "shop"), cache(&url, "shops"));
    for cache in [&shop, &shops] {
        cache.set_many((0..500).map(|n| (format!("k{n}"), n))).unwrap();
        cache.entry("tagged").tag("t").set("v").unwrap();
    }
    fleet.servers[0].set_raw(b"shop", b"another program's", 0, 0);
    let (started, wait_started) = channel();
    let (finish, wait_finish) = channel::<()>();
    thread::scope(|scope| {
        let shop = &shop;
        let load = scope.spawn(move || {
            shop.get_or_compute("loading", || {
                started.send(()).unwrap();
                wait_finish.recv().unwrap();
                "old".to_owned()
            })
        });
        wait_started.recv().unwrap();
        assert_eq!(shop.keys("*").unwrap().len(), 501);
        assert!(shop.keys("loading").unwrap().is_empty());
        shop.clear().unwrap();
        finish.send(()).unwrap();
        assert_eq!(load.join().unwrap().unwrap(), "old");
    });
    assert!(shop.keys("*").unwrap().is_empty() && !shop.exists("loading").unwrap());
    assert_eq!(shops.keys("*").unwrap().len(), 501);
    assert_eq!(shops.get::<String>("tagged").unwrap().as_deref(), Some("v"));
    let left: Vec<String> = fleet.servers.iter().flat_map(MemcachedServer::keys).collect();
    assert!(left.iter().all(|key| key.starts_with("shops:") || key == "shop"), "{left:?}");
}

#[test]
fn several_may_list_keys_at_the_same_time() {
    let server = MemcachedServer::start(&[]);
    let caches: Vec<Cache> = (0..4).map(|_| cache(server.url(), "w")).collect();
    caches[0].set_many((0..20_000).map(|n| (format!("k{n}"), n))).unwrap();
    thread::scope(|scope| {
        for cache in &caches {
            scope.spawn(|| {
                for _ in 0..3 {
                    assert_eq!(cache.keys("*").unwrap().len(), 20_000);
                }
            });
        }
    });
    // While keys are handed out nothing is held: the callback may list them itself.
    let mut pages = 0;
    caches[0]
        .scan("*", |_| {
            pages += 1;
            assert_eq!(caches[0].keys("k1999?").unwrap().len(), 10);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert!(pages > 1);
}
