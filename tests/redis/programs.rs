//! Other programs' values, and what is stored for them to read.

use super::*;

#[test]
fn other_programs_values_are_read_and_ours_are_told_apart() {
    let server = RedisServer::start(&[]);
    let cache = cache(&server, "p");
    let say = |words: &[&str]| server.command(words);
    say(&["SET", "p:json", r#"{"name":"Ann","age":7}"#]).expect_ok();
    let value: serde_json::Value = cache.get("json").unwrap().unwrap();
    assert_eq!(value["name"], "Ann");
    // Counters are the same to both.
    say(&["SET", "p:n", "41"]).expect_ok();
    assert_eq!(cache.increment("n", 1).unwrap(), 42);
    say(&["INCRBY", "p:n", "8"]);
    assert_eq!(cache.get::<i64>("n").unwrap(), Some(50));
    cache.set("m", &7).unwrap();
    assert_eq!(say(&["INCR", "p:m"]).int(), 8);
    assert_eq!(cache.get::<i64>("m").unwrap(), Some(8));
    // What is no value of ours is a miss with its cause, and left alone.
    say(&["LPUSH", "p:list", "x"]);
    assert_eq!(cache.lookup::<String>("list").unwrap().cause(), Some(Cause::Undecodable));
    assert_eq!(cache.increment("list", 1).unwrap_err().kind(), ErrorKind::WrongType);
    say(&["SET", "p:text", "not json"]).expect_ok();
    assert_eq!(cache.lookup::<String>("text").unwrap().cause(), Some(Cause::Undecodable));
    assert_eq!(cache.get_bytes("text").unwrap().unwrap(), "not json");
    // A value found under another key is not the value of that key.
    cache.set("mine", "secret").unwrap();
    say(&["COPY", "p:mine", "p:yours"]);
    assert_eq!(cache.lookup::<String>("yours").unwrap().cause(), Some(Cause::Corrupt));
    assert!(!cache.exists("yours").unwrap() && !cache.keys("*").unwrap().contains(&"yours".into()));
    assert!(cache.add("yours", "own").unwrap(), "it is nothing to anybody");
    assert_eq!(cache.get::<String>("mine").unwrap().as_deref(), Some("secret"));
    // Damage is a miss, too.
    say(&["SETRANGE", "p:mine", "40", "xyz"]);
    assert_eq!(cache.lookup::<String>("mine").unwrap().cause(), Some(Cause::Corrupt));
    assert!(cache.set("mine", "again").unwrap());
    assert_eq!(cache.get::<String>("mine").unwrap().as_deref(), Some("again"));
}

#[test]
fn plain_mode_writes_what_other_programs_read() {
    let server = RedisServer::start(&[]);
    let redis = Redis::builder(server.url()).plain(true).build().unwrap();
    let cache = Cache::builder(redis).key_prefix("p").build().unwrap();
    let say = |words: &[&str]| server.command(words);
    cache.entry("user").ttl(HOUR).set(&("Ann", 7)).unwrap();
    assert_eq!(say(&["GET", "p:user"]).as_str(), r#"["Ann",7]"#);
    let ttl = say(&["PTTL", "p:user"]).int();
    assert!((3_500_000..=3_600_000).contains(&ttl), "{ttl}");
    assert_eq!(cache.get::<(String, u8)>("user").unwrap(), Some(("Ann".into(), 7)));
    assert_eq!(cache.increment("n", 5).unwrap(), 5);
    assert_eq!(say(&["GET", "p:n"]).as_str(), "5");
    cache.set_bytes("raw", "as is").unwrap();
    assert_eq!(say(&["GET", "p:raw"]).as_str(), "as is");
    assert_eq!(cache.get_bytes("raw").unwrap().unwrap(), "as is");
    assert_eq!(cache.get_or_compute("none", || None::<u8>).unwrap(), None);
    assert_eq!(say(&["GET", "p:none"]).as_str(), "null");
    assert!(matches!(cache.lookup::<u8>("none").unwrap(), Lookup::Negative(_)));
    assert!(cache.add("new", &1.5).unwrap() && !cache.add("new", &2.5).unwrap());
    assert!(cache.replace("new", &2.5).unwrap() && !cache.replace("newer", &2.5).unwrap());
    assert!(cache.expire("new", HOUR).unwrap() && !cache.expire("newer", HOUR).unwrap());
    assert!(cache.expire("new", Ttl::Never).unwrap());
    assert_eq!(cache.ttl("new").unwrap(), Some(Ttl::Never));
    assert!(cache.delete("new").unwrap() && !cache.delete("new").unwrap());
    assert_eq!(cache.get_or_compute("loaded", || "x".to_owned()).unwrap(), "x");
    assert_eq!(say(&["GET", "p:loaded"]).as_str(), r#""x""#);
    assert_eq!(cache.keys("l*").unwrap(), ["loaded"]);
    assert_eq!(cache.invalidate_pattern("l*").unwrap().entries, Some(1));
    // What has no place in a plain value is refused, not dropped.
    let refused = [
        cache.entry("k").tag("t").set("v").unwrap_err(),
        cache.entry("k").ttl(HOUR).stale_for(HOUR).set("v").unwrap_err(),
        cache.entry("k").sliding(HOUR).set("v").unwrap_err(),
        cache.with_schema(2).set("k", "v").unwrap_err(),
        cache.get_versioned::<String>("k").unwrap_err(),
        cache.invalidate_tags(["t"]).unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    assert!(!cache.exists("k").unwrap());
}

#[test]
fn namespaces_with_glob_characters_take_exactly_their_own() {
    let server = RedisServer::start(&[]);
    let (odd, plain) = (cache(&server, "a[b]*?"), cache(&server, "ab"));
    for cache in [&odd, &plain] {
        for key in ["user:1", "user:2", "users:1", "u[s]*", "x#t", "y#k", "z"] {
            cache.entry(key).tag("t").set(&"v").unwrap();
        }
    }
    server.command(&["SET", "a[b]*?", "of nobody"]).expect_ok();
    server.command(&["SET", "another:user:1", "of nobody"]).expect_ok();
    let keys =
        |cache: &Cache| -> BTreeSet<String> { cache.keys("*").unwrap().into_iter().collect() };
    let all = keys(&plain);
    assert_eq!(all.len(), 7);
    assert_eq!(odd.keys("x#t").unwrap(), ["x#t"]);
    assert_eq!(odd.dry_run().invalidate_pattern("user:*").unwrap(), ["user:1", "user:2"]);
    assert_eq!(odd.invalidate_pattern("user:*").unwrap().entries, Some(2));
    assert_eq!(odd.invalidate_pattern("u\\[s\\]\\*").unwrap().entries, Some(1));
    assert_eq!(odd.invalidate_pattern("*#[tk]").unwrap().entries, Some(2));
    let left: Vec<String> = keys(&odd).into_iter().collect();
    assert_eq!(left, ["users:1", "z"]);
    // The tag's record is no key, whatever the pattern: its entries are alive.
    assert_eq!(odd.get::<String>("z").unwrap().as_deref(), Some("v"));
    assert_eq!(keys(&plain), all);
    assert_eq!(odd.clear().unwrap().entries, Some(2));
    assert_eq!(keys(&plain), all);
    assert!(keys(&odd).is_empty());
    let stored = server.command(&["KEYS", "*"]);
    let of_odd = |name: &str| name.starts_with("a[b]*?:");
    assert!(!stored.array().iter().any(|name| of_odd(name.as_str())), "records went, too");
    assert_eq!(server.command(&["GET", "a[b]*?"]).as_str(), "of nobody");
    assert_eq!(server.command(&["GET", "another:user:1"]).as_str(), "of nobody");
}

#[test]
fn counters_keep_every_bit_of_64() {
    let server = RedisServer::start(&[]);
    let cache = cache(&server, "c");
    let large = (1 << 53) + 1;
    cache.set("n", &large).unwrap();
    assert_eq!(cache.increment("n", 2).unwrap(), large + 2);
    assert_eq!(cache.entry("m").initial(i64::MAX - 1).increment(1).unwrap(), i64::MAX);
    assert_eq!(cache.increment("m", 1).unwrap_err().kind(), ErrorKind::Overflow);
    assert_eq!(cache.get::<i64>("m").unwrap(), Some(i64::MAX));
    let there = cache.entry("n").initial(i64::MAX);
    assert_eq!(there.increment(1).unwrap(), large + 3, "the initial value is for absent ones");
}

#[test]
fn looking_never_rewrites_what_others_wrote() {
    let server = RedisServer::start(&[]);
    let cache = cache(&server, "q");
    cache.increment("n", 41).unwrap();
    cache.dry_run().invalidate_tags(["t"]).unwrap();
    cache.dry_run().invalidate_pattern("*").unwrap();
    cache.invalidate_tags_all(["t"]).unwrap();
    cache.keys("*").unwrap();
    cache.lookup::<i64>("n").unwrap();
    cache.with_schema(1).add("n", &1).unwrap();
    cache.increment("m", 41).unwrap();
    cache.peek::<i64>("m").unwrap();
    assert_eq!(server.command(&["INCR", "q:m"]).int(), 42);
}

#[test]
fn odd_values_of_other_programs_cost_no_endless_round() {
    let server = RedisServer::start(&[]);
    let cache = cache(&server, "odd").with_timeout(Duration::from_secs(2));
    let say = |words: &[&str]| server.command(words);
    say(&["SET", "odd:empty", ""]).expect_ok();
    say(&["SET", "odd:zeros", "007"]).expect_ok();
    say(&["SET", "odd:minus", "-0"]).expect_ok();
    say(&["LPUSH", "odd:list", "x"]);
    server.reset_stats();
    // An empty string is nothing.
    assert!(!cache.exists("empty").unwrap());
    assert_eq!(cache.get_bytes("empty").unwrap(), None);
    assert_eq!(cache.get_or_compute("empty", || "v".to_owned()).unwrap(), "v");
    assert_eq!(cache.get::<String>("empty").unwrap().as_deref(), Some("v"));
    for key in ["zeros", "minus", "list"] {
        assert_eq!(cache.increment(key, 1).unwrap_err().kind(), ErrorKind::WrongType, "{key}");
    }
    assert_eq!(say(&["GET", "odd:zeros"]).as_str(), "007");
    assert_eq!(cache.get_or_compute("list", || "v".to_owned()).unwrap(), "v");
    assert_eq!(say(&["LLEN", "odd:list"]).int(), 1, "left alone");
    let commands: u64 = server.commandstats().values().sum();
    assert!(commands < 100, "{commands}");
}
