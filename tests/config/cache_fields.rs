//! Each setting of a cache has its effect.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread::sleep;
use std::time::{Duration, Instant};

use yokedcache::{Cache, ErrorKind, Ttl};

use crate::support::{RedisServer, wait_until};
use crate::{cache_of, refusal_of};

const MINUTE: Duration = Duration::from_secs(60);

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// A cache in memory with these settings.
fn memory(fields: &str) -> Cache {
    cache_of(&format!("backend: memory\n{fields}"))
}

fn ttl(cache: &Cache, key: &str) -> Option<Duration> {
    match cache.ttl(key).unwrap() {
        Some(Ttl::After(left)) => Some(left),
        _ => None,
    }
}

fn is_about(left: Option<Duration>, time: Duration) -> bool {
    left.is_some_and(|left| left <= time && left + MINUTE > time)
}

/// How often a loader runs in so many loads, each so long after the one before.
fn loads(cache: &Cache, times: u32, pause: Duration) -> u32 {
    let runs = AtomicU32::new(0);
    for _ in 0..times {
        let loaded = cache.get_or_load("k", || {
            runs.fetch_add(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>("v".to_owned())
        });
        assert_eq!(loaded.unwrap().unwrap(), "v");
        sleep(pause);
    }
    runs.into_inner()
}

#[test]
fn key_prefix_begins_all_keys() {
    let server = RedisServer::start(&[]);
    let cache = cache_of(&format!("url: {}\nkey_prefix: shop", server.url()));
    cache.set("k", &1).unwrap();
    assert_eq!(server.command(&["KEYS", "*"]).array()[0].as_str(), "shop:k");
}

#[test]
fn default_ttl_ends_entries_and_never_does_not() {
    for (written, time) in [("90m", 90), ("5400", 90), ("1h30m", 90), ("2h", 120), ("0.5h", 30)] {
        let cache = memory(&format!("default_ttl: {written}"));
        cache.set("k", &1).unwrap();
        assert!(is_about(ttl(&cache, "k"), MINUTE * time), "{written}");
    }
    let cache = memory("default_ttl: never");
    cache.set("k", &1).unwrap();
    assert_eq!(cache.ttl("k").unwrap(), Some(Ttl::Never));
}

#[test]
fn negative_ttl_ends_the_knowledge_that_there_is_no_value() {
    let cache = memory("default_ttl: 1h\nnegative_ttl: 20m");
    cache.set("none", &None::<u8>).unwrap();
    cache.set("some", &1).unwrap();
    assert!(is_about(ttl(&cache, "none"), MINUTE * 20));
    assert!(is_about(ttl(&cache, "some"), MINUTE * 60));
}

#[test]
fn skip_negative_stores_nothing_where_there_is_no_value() {
    for (fields, held) in [("skip_negative: true", 0), ("skip_negative: false", 1), ("", 1)] {
        let cache = memory(fields);
        cache.get_or_load("k", || Ok::<_, std::io::Error>(None::<u8>)).unwrap().unwrap();
        assert_eq!(cache.stats().backend.entries, Some(held), "{fields}");
    }
}

#[test]
fn ttl_jitter_spreads_ends_and_seed_makes_them_the_same_again() {
    let ends = |fields: &str| -> Vec<u64> {
        let cache = memory(&format!("default_ttl: 100d\n{fields}"));
        (0..20).for_each(|key| assert!(cache.set(format!("{key}"), &1).unwrap()));
        let hours = |key: u32| ttl(&cache, &key.to_string()).unwrap().as_secs().div_ceil(3600);
        (0..20).map(hours).collect()
    };
    assert!(ends("").iter().all(|end| *end == 2400));
    let spread = ends("ttl_jitter: 50d\nseed: 7");
    assert!(spread.iter().any(|end| *end < 2000) && spread.iter().all(|end| *end > 1199));
    assert_eq!(ends("ttl_jitter: 50d\nseed: 7"), spread);
    assert_ne!(ends("ttl_jitter: 50d\nseed: 8"), spread);
}

#[test]
fn sliding_ends_what_is_not_read() {
    for (fields, there) in [("sliding: 50ms", false), ("sliding: 1h", true), ("", true)] {
        let cache = memory(fields);
        cache.set("k", &1).unwrap();
        sleep(ms(120));
        assert_eq!(cache.get::<u8>("k").unwrap().is_some(), there, "{fields}");
    }
}

#[test]
fn stale_for_keeps_a_value_for_a_source_that_fails() {
    for (fields, stale) in [("stale_for: 1h", true), ("", false)] {
        let cache = memory(&format!("default_ttl: 20ms\n{fields}"));
        cache.set("k", "v").unwrap();
        sleep(ms(60));
        let loaded = cache.get_or_load("k", || Err::<String, _>(std::io::Error::other("down")));
        assert_eq!(loaded.unwrap().is_ok(), stale, "{fields}");
    }
}

#[test]
fn retry_after_leaves_a_source_that_failed_alone() {
    for (fields, runs) in [("", 1), ("retry_after: 1h", 1), ("retry_after: 0", 3)] {
        let cache = memory(&format!("default_ttl: 20ms\nstale_for: 1h\n{fields}"));
        cache.set("k", "v").unwrap();
        sleep(ms(60));
        let ran = AtomicU32::new(0);
        for _ in 0..3 {
            let loaded = cache.get_or_load("k", || {
                ran.fetch_add(1, Ordering::SeqCst);
                Err::<String, _>(std::io::Error::other("down"))
            });
            assert_eq!(loaded.unwrap().unwrap(), "v");
        }
        assert_eq!(ran.into_inner(), runs, "{fields}");
    }
}

#[test]
fn refresh_at_loads_anew_after_a_part_of_a_life() {
    let anew = memory("default_ttl: 10s\nrefresh_at: 0.001");
    assert_eq!(loads(&anew, 3, ms(50)), 3);
    assert_eq!(loads(&memory("default_ttl: 10s\nrefresh_at: 0.9"), 3, ms(50)), 1);
}

#[test]
fn refresh_by_chance_loads_anew_the_likelier_the_larger_it_is() {
    assert_eq!(loads(&memory("default_ttl: 10s\nrefresh_by_chance: 1e12"), 5, ms(1)), 5);
    assert_eq!(loads(&memory("default_ttl: 10s\nrefresh_by_chance: 0"), 5, ms(1)), 1);
}

#[test]
fn lease_is_how_long_a_load_may_store() {
    for (fields, stored) in [("lease: 20ms", false), ("lease: 1h", true)] {
        let cache = memory(fields);
        let slow = || {
            sleep(ms(100));
            Ok::<_, std::io::Error>("v".to_owned())
        };
        assert_eq!(cache.get_or_load("k", slow).unwrap().unwrap(), "v");
        assert_eq!(cache.get::<String>("k").unwrap().is_some(), stored, "{fields}");
    }
}

#[test]
fn loader_threads_bound_how_many_loads_run_at_once() {
    for (fields, most) in [("loader_threads: 1", 1), ("loader_threads: 3", 3)] {
        let cache = memory(fields);
        let (running, peak) = (AtomicU32::new(0), std::sync::Arc::new(AtomicU32::new(0)));
        let seen = peak.clone();
        let loader = cache.loader(move |_| {
            seen.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // As many as may run at once do, and one more would have time to come.
            wait_until("the others run", || seen.load(Ordering::SeqCst) >= most);
            sleep(ms(50));
            running.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(1)
        });
        (0..6).for_each(|key| assert!(loader.refresh(key.to_string()).unwrap()));
        assert!(cache.drain(MINUTE));
        assert_eq!(peak.load(Ordering::SeqCst), most, "{fields}");
    }
}

#[test]
fn loader_queue_bounds_how_many_loads_wait() {
    for (fields, dropped) in [("loader_queue: 2", true), ("loader_queue: 50", false)] {
        let cache = memory(&format!("loader_threads: 1\n{fields}"));
        let (go, gone) = channel::<()>();
        let gone = Mutex::new(gone);
        let loader = cache.loader(move |_| {
            let _ = gone.lock().unwrap().recv_timeout(MINUTE);
            Ok::<_, std::io::Error>(1)
        });
        let taken = (0..20).filter(|key| loader.refresh(key.to_string()).unwrap()).count();
        drop(go);
        assert_eq!(taken < 20, dropped, "{fields}");
        assert_eq!(cache.stats().refreshes_dropped > 0, dropped, "{fields}");
    }
}

#[test]
fn timeout_bounds_a_call_and_strict_makes_an_outage_an_error() {
    let server = RedisServer::start(&[]);
    let of = |fields: &str| cache_of(&format!("url: {}\n{fields}", server.url()));
    let (lenient, strict) = (of("timeout: 200ms"), of("timeout: 200ms\nstrict: true"));
    lenient.set("k", &1).unwrap();
    server.stop();
    for cache in [&lenient, &strict] {
        let begun = Instant::now();
        let read = cache.get::<u8>("k");
        // It is five seconds where nothing is said.
        assert!((ms(190)..ms(4500)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        match std::ptr::eq(cache, &lenient) {
            true => assert_eq!(read.unwrap(), None),
            false => assert_eq!(read.unwrap_err().kind(), ErrorKind::Timeout),
        }
    }
    server.cont();
}

#[test]
fn codec_is_how_values_are_encoded() {
    for (fields, bytes) in [
        ("codec: msgpack", &b"\x92\xa1a\xa1b"[..]),
        ("codec: json", b"[\"a\",\"b\"]"),
        ("", b"[\"a\",\"b\"]"),
    ] {
        let cache = memory(fields);
        cache.set("k", &["a", "b"]).unwrap();
        assert_eq!(cache.get_bytes("k").unwrap().as_deref(), Some(bytes), "{fields}");
    }
}

#[test]
fn compression_makes_what_is_stored_small_above_its_threshold() {
    let server = RedisServer::start(&[]);
    let value = "v".repeat(2000);
    for (fields, least, most) in [
        ("compression: lz4", 1, 500),
        ("compression: zstd", 1, 500),
        ("compression: none", 2000, 3000),
        ("", 2000, 3000),
        ("compression: lz4\ncompression_above: 4KiB", 2000, 3000),
        ("compression: lz4\ncompression_above: 100", 1, 500),
    ] {
        let cache = cache_of(&format!("url: {}\nkey_prefix: c\n{fields}", server.url()));
        cache.set("k", &value).unwrap();
        let length = server.command(&["STRLEN", "c:k"]).int();
        assert!((least..most).contains(&length), "{fields}: {length}");
        assert_eq!(cache.get("k").unwrap(), Some(value.clone()));
    }
    let what = "e.compression: expected one of none, lz4, zstd, found zlib";
    assert_eq!(refusal_of("url: memory://\ncompression: zlib"), what);
}
