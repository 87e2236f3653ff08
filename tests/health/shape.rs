//! The JSON: what a dashboard or an orchestrator reads.

use serde_json::{Value, json};
use yokedcache::{Cache, Fallback, Memory, Redis};

use crate::redis::{HEALTHY, cache, server_of};
use crate::support::{RedisServer, free_port};

/// Replaces what differs from run to run: numbers by 0, versions, addresses and sentences by words.
fn normalised(value: &mut Value) {
    match value {
        Value::Number(number) => *number = 0.into(),
        Value::Array(items) => items.iter_mut().for_each(normalised),
        Value::Object(fields) => {
            for (name, field) in fields {
                match (name.as_str(), &field) {
                    ("text" | "version", Value::String(_)) => *field = json!("..."),
                    ("part", Value::String(part)) if part.contains(':') => {
                        *field = json!("host:port")
                    }
                    _ => normalised(field),
                }
            }
        }
        _ => {}
    }
}

fn shown(cache: &Cache) -> Value {
    let mut value = serde_json::to_value(cache.detailed_health_check()).unwrap();
    normalised(&mut value);
    value
}

#[test]
fn a_server_as_json() {
    let server = RedisServer::start(&HEALTHY);
    let expected = json!({
        "name": "redis", "status": "up", "latency_ms": 0, "warnings": [],
        "children": [{
            "part": "host:port", "name": "redis", "status": "up", "latency_ms": 0, "warnings": [],
            "probe": {"set_ms": 0, "get_ms": 0, "delete_ms": 0},
            "server": {
                "version": "...", "uptime_ms": 0, "used_memory": 0, "max_memory": 0,
                "eviction_policy": "allkeys-lru", "evicted": 0, "expired": 0, "clients": 0,
                "is_persistent": false, "clock": {"ahead_ms": 0, "error_ms": 0},
            },
            "pool": {"size": 0, "in_use": 0, "idle": 0, "waiting": 0},
            "replication": {"role": "master", "replicas": 0},
            "children": [],
        }],
    });
    assert_eq!(shown(&cache(server.url())), expected);
}

#[test]
fn an_outage_as_json() {
    let redis = Redis::open(&format!("redis://127.0.0.1:{}", free_port())).unwrap();
    let fallback = Fallback::builder(redis, Memory::builder().build().unwrap())
        .failure_threshold(1)
        .reset_timeout(std::time::Duration::from_secs(3600))
        .build()
        .unwrap();
    let cache = Cache::builder(fallback).key_prefix("h").build().unwrap();
    cache.delete("k").unwrap();
    let error = json!({"kind": "Unavailable", "text": "..."});
    let expected = json!({
        "name": "fallback", "status": "degraded", "latency_ms": 0,
        "warnings": [{"code": "breaker-open", "text": "...", "degrades": true}],
        "breaker": {
            "state": "open", "since_ms": 0, "failures": 0, "last_error": error, "retry_in_ms": 0,
            "pending": 0, "is_overflowed": false,
        },
        "children": [
            {
                "part": "primary", "name": "redis", "status": "down", "error": error, "warnings": [],
                "children": [{
                    "part": "host:port", "name": "redis", "status": "down", "error": error,
                    "warnings": [], "children": [],
                    "pool": {"size": 0, "in_use": 0, "idle": 0, "waiting": 0},
                    "cool_down": {"since_ms": 0, "retry_in_ms": 0, "last_error": error},
                }],
            },
            {
                "part": "secondary", "name": "memory", "status": "up", "latency_ms": 0,
                "warnings": [], "children": [],
            },
        ],
    });
    assert_eq!(shown(&cache), expected);
}

#[test]
fn times_are_milliseconds() {
    let server = RedisServer::start(&HEALTHY);
    let health = cache(server.url()).detailed_health_check();
    let value = serde_json::to_value(&health).unwrap();
    let there = server_of(&health);
    let uptime = there.server.as_deref().unwrap().uptime.unwrap();
    let child = &value["children"][0];
    assert_eq!(child["server"]["uptime_ms"].as_f64(), Some(uptime.as_millis() as f64));
    let micros = there.probe.unwrap().get.unwrap().as_micros() as f64;
    assert_eq!(child["probe"]["get_ms"].as_f64(), Some(micros / 1000.0));
}
