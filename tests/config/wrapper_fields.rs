//! Each setting of the backends around others has its effect, and they stand in one another.

use std::fs;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use yokedcache::{Cache, Cause, ErrorKind, Event, Lookup, Ttl};

use crate::support::{MemcachedServer, Plan, Process, Proxy, RedisServer, in_time, wait_until};
use crate::{cache_of, config_of, refusal_of};

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

fn lines(fields: &str) -> String {
    fields.lines().map(|line| format!("\n  {line}")).collect()
}

fn tiered(far: &str, fields: &str) -> Cache {
    cache_of(&format!("tiered:\n  far: {far}{}", lines(fields)))
}

/// How many entries each part holds.
fn held(cache: &Cache) -> Vec<(String, Option<u64>)> {
    let parts = cache.stats().backend.children;
    parts.into_iter().map(|(part, held)| (part, held.entries)).collect()
}

#[test]
fn near_and_far_are_the_tiers() {
    let cache = tiered("{backend: memory, memory: {max_size: 9}}", "near: {max_size: 4}");
    (0..30).for_each(|key| assert!(cache.set(format!("{key}"), &1).unwrap()));
    (0..30).for_each(|key| assert!(cache.get::<u8>(format!("{key}")).is_ok()));
    assert_eq!(held(&cache), [("near".into(), Some(4)), ("far".into(), Some(9))]);
}

#[test]
fn bound_and_near_ttl_are_how_old_what_near_serves_may_be() {
    let (redis, memcached) = (RedisServer::start(&[]), MemcachedServer::start(&[]));
    let of_redis = format!("{{url: {}}}", redis.url());
    let of_memcached = format!("{{url: {}}}", memcached.url());
    for (far, fields, lag) in [
        (&of_redis, "bound: 250ms", 250),
        (&of_redis, "bound: 2", 2000),
        (&of_memcached, "near_ttl: 300ms", 300),
        (&of_memcached, "near_ttl: 5s", 5000),
    ] {
        assert_eq!(tiered(far, fields).backend().about().can.lag, ms(lag), "{fields}");
    }
    let cache = tiered(&of_memcached, "near_ttl: 100ms");
    cache.set("k", &1).unwrap();
    assert_eq!(cache.get("k").unwrap(), Some(1));
    let other = cache_of(&format!("url: {}", memcached.url()));
    other.set("k", &2).unwrap();
    sleep(ms(150));
    assert_eq!(cache.get("k").unwrap(), Some(2));
}

#[test]
fn a_strict_tier_waits_until_nobody_serves_what_was_deleted() {
    let time_of_a_delete = |fields| {
        let cache = tiered("{url: \"memory://\"}", fields);
        cache.set("k", &1).unwrap();
        let begun = Instant::now();
        assert!(cache.delete("k").unwrap());
        begun.elapsed()
    };
    assert!(time_of_a_delete("near_ttl: 300ms\nstrict: true") >= ms(290));
    in_time(|| (time_of_a_delete("near_ttl: 300ms") < ms(290)).then_some(()));
}

/// A fallback whose primary can be away.
struct Site {
    proxy: Proxy,
    cache: Cache,
    events: Arc<Mutex<Vec<String>>>,
    _server: RedisServer,
}

impl Site {
    fn new(fields: &str) -> Self {
        let server = RedisServer::start(&[]);
        let proxy = Proxy::to(&server.addr());
        let primary = format!("primary: {{redis: {{url: {}, socket_timeout: 5}}}}", proxy.url());
        let secondary = "secondary: {backend: memory, memory: {max_size: 100}}";
        let config =
            config_of(&format!("fallback:{}", lines(&format!("{primary}\n{secondary}\n{fields}"))));
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = events.clone();
        let note = move |event: &Event| told.lock().unwrap().push(event.to_string());
        let cache = config.builder().unwrap().on_event(note).key_prefix("f").build().unwrap();
        Self { proxy, cache, events, _server: server }
    }

    fn told(&self, what: &str) -> bool {
        self.events.lock().unwrap().iter().any(|event| event.contains(what))
    }

    fn is_open(&self) -> bool {
        self.told("is given up")
    }

    /// The primary goes away and is given up.
    fn fails(&self) {
        self.proxy.set(Plan::Refuse);
        self.proxy.drop_connections();
        wait_until("it is given up", || {
            let _ = self.cache.set("first", &1);
            self.is_open()
        });
    }

    fn serves_again(&self) -> bool {
        self.told("serves again")
    }
}

#[test]
fn primary_and_secondary_are_the_sides() {
    let site = Site::new("");
    assert!(site.cache.set("k", &1).unwrap());
    assert_eq!(held(&site.cache)[1], ("secondary".into(), Some(0)));
    site.fails();
    assert!(site.cache.set("k", &2).unwrap());
    assert_eq!(held(&site.cache)[1], ("secondary".into(), Some(2)));
}

#[test]
fn failure_threshold_is_how_many_failures_open_it() {
    for failures in [1, 4] {
        let site = Site::new(&format!("failure_threshold: {failures}"));
        site.proxy.set(Plan::Refuse);
        let lost = |_: &u32| {
            let lookup = site.cache.lookup::<u8>("k").unwrap();
            matches!(lookup, Lookup::Miss(Cause::Down))
        };
        // The one that opens it is answered by the secondary.
        assert_eq!((0..20).take_while(lost).count(), failures - 1);
    }
}

#[test]
fn reset_timeout_is_when_the_primary_is_tried_again() {
    let (soon, late) = (Site::new("reset_timeout: 50ms"), Site::new("reset_timeout: 1h"));
    for site in [&soon, &late] {
        site.fails();
        site.proxy.set(Plan::Pass);
    }
    wait_until("it serves again", || soon.cache.get::<u8>("k").is_ok() && soon.serves_again());
    sleep(ms(200));
    late.cache.get::<u8>("k").unwrap();
    assert!(!late.serves_again());
}

#[test]
fn trial_timeout_is_how_long_a_trial_may_take() {
    for (fields, recovers) in [("trial_timeout: 5s", true), ("trial_timeout: 50ms", false)] {
        let site = Site::new(&format!("reset_timeout: 50ms\n{fields}"));
        site.fails();
        site.proxy.set(Plan::Delay(ms(150)));
        let begun = Instant::now();
        while !site.serves_again()
            && begun.elapsed() < if recovers { ms(120_000) } else { ms(2500) }
        {
            let _ = site.cache.get::<u8>("k");
            sleep(ms(10));
        }
        assert_eq!(site.serves_again(), recovers, "{fields}");
    }
}

#[test]
fn secondary_ttl_bounds_what_is_stored_in_an_outage() {
    for (fields, most) in
        [("secondary_ttl: 100", Some(100)), ("secondary_ttl: never", None), ("", Some(300))]
    {
        let site = Site::new(fields);
        site.fails();
        site.cache.set("k", &1).unwrap();
        match site.cache.ttl("k").unwrap().unwrap() {
            Ttl::After(left) => {
                let most = Duration::from_secs(most.unwrap());
                assert!(left <= most && left + ms(30_000) > most, "{fields}: {left:?}");
            }
            _ => assert_eq!(most, None, "{fields}"),
        }
    }
}

#[test]
fn journal_limit_is_how_much_is_noted() {
    for (fields, overflows) in [("journal_limit: 3", true), ("journal_limit: 100", false)] {
        let site = Site::new(fields);
        site.fails();
        (0..20).for_each(|key| assert!(site.cache.delete(format!("{key}")).is_ok()));
        assert_eq!(site.told("than can be noted"), overflows, "{fields}");
    }
}

#[test]
fn journal_path_is_where_it_is_written_down() {
    let directory = Process::new_dir();
    let path = directory.join("journal");
    let site = Site::new(&format!("journal_path: {}", path.display()));
    site.fails();
    site.cache.delete("deleted").unwrap();
    let written = fs::read_to_string(&path).unwrap();
    assert!(written.contains("\"deleted\""), "{written}");
    drop(site);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_strict_fallback_tells_of_deletes_that_the_primary_misses() {
    for (fields, told) in [("strict: true", true), ("strict: false", false)] {
        let site = Site::new(fields);
        site.fails();
        match site.cache.delete("k") {
            Ok(_) => assert!(!told, "{fields}"),
            Err(error) => assert!(told && error.kind() == ErrorKind::Unavailable, "{error:?}"),
        }
    }
}

#[test]
fn routes_take_their_keys_and_default_the_others() {
    let of = |fields: &str| {
        let cache = cache_of(&format!(
            "route:\n  default: {{memory: {{max_size: 3}}}}\n  routes:\n    session: {{url: \
             \"memory://?max_size=2\"}}\n    user: {{backend: memory}}{}",
            lines(fields)
        ));
        for number in 0..9 {
            for key in ["session:", "session/", "user:", "other:"] {
                cache.set(format!("{key}{number}"), &1).unwrap();
            }
        }
        held(&cache).into_iter().map(|(part, held)| (part, held.unwrap())).collect::<Vec<_>>()
    };
    let parts = |session, user, default| {
        [
            ("session".to_owned(), session),
            ("user".to_owned(), user),
            ("default".to_owned(), default),
        ]
    };
    assert_eq!(of(""), parts(2, 9, 3));
    assert_eq!(of("delimiter: /"), parts(2, 0, 3));
}

#[test]
fn backends_stand_within_one_another() {
    let server = RedisServer::start(&[]);
    let cache = cache_of(&format!(
        "key_prefix: n\nbackend: route\nroute:\n  default:\n    backend: fallback\n    fallback:\n      \
         primary:\n        tiered:\n          near: {{max_size: 5}}\n          far: {{url: \"{}?\
         client_name=far\"}}\n      secondary: {{url: \"memory://\"}}\n  routes:\n    local: {{memory: }}",
        server.url()
    ));
    cache.set("k", &1).unwrap();
    cache.set("local:k", &2).unwrap();
    assert_eq!(server.command(&["GET", "n:k"]).as_str(), "1");
    assert!(server.command(&["GET", "n:local:k"]).is_nil());
    assert!(server.command(&["CLIENT", "LIST"]).as_str().contains("name=far"));
    let parts = held(&cache);
    assert_eq!(parts[0], ("local".into(), Some(1)));
}

#[test]
fn what_a_backend_within_another_refuses_is_said_with_its_path() {
    for (fields, what) in [
        ("tiered:\n  far: {memory: {max_size: 0}}", "e.tiered.far.memory: max_size is 0"),
        ("tiered:\n  near: {max_size: 0}\n  far: {memory: }", "e.tiered.near: max_size is 0"),
        (
            "fallback:\n  primary: {memory: }\n  secondary: {memory: }\n  journal_limit: 0",
            "e.fallback: journal_limit is 0",
        ),
        ("fallback:\n  primary: {memory: }", "e.fallback.secondary: is missing"),
        (
            "route:\n  default: {memory: }\n  routes:\n    a: {redis: {url: \"redis://h\", pool_size: 0}}",
            "e.route.routes.a.redis: redis: a pool has 1 to 65535 connections",
        ),
        (
            "route:\n  default: {memory: }\n  routes:\n    a: {redis: {url: \"redis://h\", pol_size: 0}}",
            "e.route.routes.a.redis.pol_size: no such field; did you mean pool_size?",
        ),
        (
            "route:\n  default: {memory: }\n  routes:\n    a: 5",
            "e.route.routes.a: expected fields, found a whole number",
        ),
        (
            "route:\n  default: {memory: }\n  routes: [a]",
            "e.route.routes: expected fields, found a list",
        ),
        (
            "tiered:\n  far: {memory: }\n  nearttl: 5",
            "e.tiered.nearttl: no such field; did you mean near_ttl?",
        ),
    ] {
        assert_eq!(refusal_of(fields), what, "{fields}");
    }
}
