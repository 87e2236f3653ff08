//! Health as `serde` shows it: errors as kind and text, times as milliseconds.

use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::{
    BreakerHealth, ClusterHealth, CoolDown, DualWriteHealth, Health, HealthStatus, HealthWarning,
    Latencies, NearHealth, PoolHealth, ReplicationHealth, SentinelHealth, ServerHealth,
};
use crate::error::Error;

/// A time in milliseconds.
pub(super) fn ms<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // To the microsecond: clocks are not better.
    serializer.serialize_f64(time.as_micros() as f64 / 1000.0)
}

pub(super) fn maybe_ms<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => ms(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// An error as its kind and its text.
pub(super) fn error<S: Serializer>(error: &Error, serializer: S) -> Result<S::Ok, S::Error> {
    let mut shown = serializer.serialize_struct("Error", 2)?;
    shown.serialize_field("kind", &format!("{:?}", error.kind()))?;
    shown.serialize_field("text", &error.to_string())?;
    shown.end()
}

pub(super) fn maybe_error<S: Serializer>(
    there: &Option<Error>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match there {
        Some(there) => error(there, serializer),
        None => serializer.serialize_none(),
    }
}

/// One node: what is known of it, and its children, each with its part.
#[derive(Serialize)]
struct Shown<'h> {
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<&'h str>,
    name: &'static str,
    status: HealthStatus,
    #[serde(rename = "latency_ms", serialize_with = "maybe_ms")]
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Duration>,
    #[serde(serialize_with = "maybe_error", skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
    warnings: &'h [HealthWarning],
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<&'h Latencies>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<&'h ServerHealth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<&'h PoolHealth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cool_down: Option<&'h CoolDown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replication: Option<&'h ReplicationHealth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sentinel: Option<&'h SentinelHealth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'h ClusterHealth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<&'h BreakerHealth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    near: Option<&'h NearHealth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    migration: Option<&'h DualWriteHealth>,
    children: Vec<Shown<'h>>,
}

impl<'h> Shown<'h> {
    fn of(part: Option<&'h str>, health: &'h Health) -> Self {
        let children = health.children.iter();
        Self {
            part,
            name: health.name,
            status: health.status(),
            latency: health.latency,
            error: health.error.clone(),
            warnings: &health.warnings,
            probe: health.probe.as_ref(),
            server: health.server.as_deref(),
            pool: health.pool.as_ref(),
            cool_down: health.cool_down.as_ref(),
            replication: health.replication.as_ref(),
            sentinel: health.sentinel.as_ref(),
            cluster: health.cluster.as_ref(),
            breaker: health.breaker.as_ref(),
            near: health.near.as_ref(),
            migration: health.migration.as_ref(),
            children: children.map(|(part, child)| Self::of(Some(part), child)).collect(),
        }
    }
}

impl Serialize for Health {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shown::of(None, self).serialize(serializer)
    }
}
