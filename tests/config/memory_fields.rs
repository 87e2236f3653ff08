//! Each setting of a memory has its effect.

use std::thread::sleep;
use std::time::Duration;

use yokedcache::ErrorKind;

use crate::cache_of;
use crate::support::wait_until;

#[test]
fn max_size_bounds_how_many_entries_are_held() {
    for (fields, most) in [("max_size: 7", 7), ("max_size: 12", 12)] {
        let cache = cache_of(&format!("memory:\n  {fields}"));
        (0..50).for_each(|key| assert!(cache.set(format!("{key}"), &1).unwrap()));
        assert_eq!(cache.stats().backend.entries, Some(most));
    }
}

#[test]
fn max_bytes_bounds_how_large_they_are() {
    let large = "v".repeat(2000);
    for (fields, fits) in
        [("max_bytes: 1KiB", false), ("max_bytes: 64 kB", true), ("max_bytes: 900", false)]
    {
        let cache = cache_of(&format!("memory:\n  {fields}"));
        match cache.set("k", &large) {
            Ok(stored) => assert!(stored && fits, "{fields}"),
            Err(error) => assert!(error.kind() == ErrorKind::TooLarge && !fits, "{fields}"),
        }
    }
}

#[test]
fn cleanup_interval_is_how_often_expired_entries_are_freed() {
    let of = |interval: &str| {
        let cache =
            cache_of(&format!("default_ttl: 10ms\nmemory:\n  cleanup_interval: {interval}"));
        cache.set("k", &1).unwrap();
        cache
    };
    let (soon, late, never) = (of("10ms"), of("1h"), of("0"));
    wait_until("it is freed", || soon.stats().backend.entries == Some(0));
    sleep(Duration::from_millis(50));
    for cache in [late, never] {
        assert_eq!(cache.stats().backend.entries, Some(1), "nobody asked for it");
    }
}
