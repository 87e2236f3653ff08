//! Memory: nothing to ask, nothing to wait for, nothing touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use yokedcache::{Cache, HealthStatus, Memory};

#[test]
fn memory_is_up() {
    let cache = Cache::memory(10);
    assert!(cache.health_check().unwrap() < Duration::from_secs(60));
    let health = cache.detailed_health_check();
    assert_eq!((health.name, health.status()), ("memory", HealthStatus::Up));
    assert!(health.is_up() && health.latency.is_some() && health.error.is_none());
    assert!(health.warnings.is_empty() && health.children.is_empty());
}

#[test]
fn a_check_evicts_nothing_and_counts_nowhere() {
    let left = Arc::new(AtomicUsize::new(0));
    let count = left.clone();
    let memory = Memory::builder()
        .max_size(1)
        .eviction_listener(move |_, _, _| _ = count.fetch_add(1, Ordering::SeqCst))
        .build()
        .unwrap();
    let cache = Cache::builder(memory).build().unwrap();
    cache.set("k", "v").unwrap();
    let before = cache.stats();
    cache.health_check().unwrap();
    cache.detailed_health_check();
    let mut after = cache.stats();
    after.uptime = before.uptime;
    assert_eq!(after, before);
    assert_eq!((cache.exists("k").unwrap(), left.load(Ordering::SeqCst)), (true, 0));
}

#[test]
fn nobodys_entry_is_asked_for() {
    let cache = Cache::memory(10).namespace("eu");
    for key in ["health", "~health"] {
        cache.set(key, "mine").unwrap();
    }
    assert!(cache.detailed_health_check().is_up());
    assert_eq!(cache.get::<String>("~health").unwrap().as_deref(), Some("mine"));
}

#[test]
fn a_namespace_that_is_too_long_for_a_key_is_told() {
    let cache = Cache::memory(10).namespace(&"n".repeat(yokedcache::MAX_KEY));
    let error = cache.health_check().unwrap_err();
    assert_eq!(error.kind(), yokedcache::ErrorKind::InvalidKey);
    let health = cache.detailed_health_check();
    assert_eq!(health.status(), HealthStatus::Down);
    assert_eq!(health.error.unwrap().kind(), yokedcache::ErrorKind::InvalidKey);
}

#[test]
fn what_is_not_known_is_not_in_the_json() {
    let mut health = Cache::memory(10).detailed_health_check();
    health.latency = Some(Duration::from_micros(1_500));
    let shown = serde_json::to_value(&health).unwrap();
    let expected = json!({
        "name": "memory", "status": "up", "latency_ms": 1.5, "warnings": [], "children": []
    });
    assert_eq!(shown, expected);
}
