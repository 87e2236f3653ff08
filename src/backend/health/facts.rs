//! What is known of a node, by subject. What is not known is `None`.

use std::time::Duration;

use serde::Serialize;

use super::json::{error, maybe_error, maybe_ms, ms};
use crate::backend::{BreakerState, Divergence, DualMode};
use crate::error::Error;

/// How long each step took of storing, reading and deleting an entry, each a round trip. A step that
/// failed, or was not tried, is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Latencies {
    /// Storing it.
    #[serde(rename = "set_ms", serialize_with = "maybe_ms")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<Duration>,
    /// Reading it.
    #[serde(rename = "get_ms", serialize_with = "maybe_ms")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub get: Option<Duration>,
    /// Deleting it.
    #[serde(rename = "delete_ms", serialize_with = "maybe_ms")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete: Option<Duration>,
}

/// What a server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ServerHealth {
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How long it has been running.
    #[serde(rename = "uptime_ms", serialize_with = "maybe_ms")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime: Option<Duration>,
    /// Bytes of memory in use; on Memcached those of entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_memory: Option<u64>,
    /// The most bytes it may use; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<u64>,
    /// What it evicts when these are used up, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eviction_policy: Option<String>,
    /// Entries evicted since it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evicted: Option<u64>,
    /// Entries removed since then because their time had come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired: Option<u64>,
    /// Clients connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<u64>,
    /// Whether it keeps its data over a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_persistent: Option<bool>,
    /// Its clock beside ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockOffset>,
}

/// A server's clock beside this machine's, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ClockOffset {
    /// How far it is ahead of ours; negative if it is behind.
    pub ahead_ms: f64,
    /// How far that may be off: half of the round trip, and a second more where the server tells
    /// whole seconds only.
    pub error_ms: f64,
}

impl ClockOffset {
    /// How far apart the clocks are at least.
    pub fn at_least(&self) -> Duration {
        Duration::from_secs_f64((self.ahead_ms.abs() - self.error_ms).max(0.0) / 1000.0)
    }
}

/// The pool of connections to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PoolHealth {
    /// The most connections there may be.
    pub size: u32,
    /// Connections callers are using.
    pub in_use: u32,
    /// Places that nobody is using, each with a connection or none yet.
    pub idle: u32,
    /// Callers that wait for a connection.
    pub waiting: u32,
}

impl PoolHealth {
    /// Whether a caller would have to wait now.
    pub fn is_exhausted(&self) -> bool {
        // Who waits while there may be more is given a place in a moment.
        let is_full = self.in_use.saturating_add(self.idle) >= self.size;
        self.in_use >= self.size || self.waiting > 0 && is_full
    }
}

/// A server that is known to be down: calls to it fail at once until it is tried again.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CoolDown {
    /// How long it has been down.
    #[serde(rename = "since_ms", serialize_with = "ms")]
    pub since: Duration,
    /// When a caller tries it again; zero if the next one does.
    #[serde(rename = "retry_in_ms", serialize_with = "ms")]
    pub retry_in: Duration,
    /// What went wrong last.
    #[serde(serialize_with = "error")]
    pub last_error: Error,
}

/// A server with its master or its replicas.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ReplicationHealth {
    /// `master` or `replica`.
    pub role: &'static str,
    /// Of a replica: whether it hears from its master.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_link_up: Option<bool>,
    /// Of a replica: how long ago it heard from its master, in whole seconds.
    #[serde(rename = "last_heard_ms", serialize_with = "maybe_ms")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heard: Option<Duration>,
    /// How many bytes of changes a replica has not heard of; of a master that of the replica that is
    /// farthest behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_bytes: Option<u64>,
    /// Replicas connected to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u64>,
}

/// The sentinels that name the master.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SentinelHealth {
    /// What the master is called there.
    pub service: String,
    /// Its address; `None` while none was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// Sentinels that are known.
    pub sentinels: usize,
    /// Those of them that answer.
    pub reachable: usize,
}

/// What the first server of a cluster that answers says of it (`CLUSTER INFO`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClusterHealth {
    /// `ok` or `fail`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Slots, of 16,384, whose server is up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots_ok: Option<u64>,
    /// Slots that belong to a server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots_assigned: Option<u64>,
    /// Servers it knows, replicas included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_nodes: Option<u64>,
}

/// The breaker of a [`Fallback`](crate::Fallback).
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct BreakerHealth {
    /// Whether the primary serves.
    pub state: BreakerState,
    /// How long it has not; `None` while it does.
    #[serde(rename = "since_ms", serialize_with = "maybe_ms")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Duration>,
    /// Failures in a row so far, while it serves.
    pub failures: u32,
    /// Why it was given up, the last time.
    #[serde(serialize_with = "maybe_error", skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Error>,
    /// Why it did not serve again when it was tried last, in this outage.
    #[serde(serialize_with = "maybe_error", skip_serializing_if = "Option::is_none")]
    pub last_trial_error: Option<Error>,
    /// When it is tried next.
    #[serde(rename = "retry_in_ms", serialize_with = "maybe_ms")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_in: Option<Duration>,
    /// Deletes, changes and invalidations noted for it.
    pub pending: usize,
    /// Whether more was to be noted than there was room for: it is cleared before it serves again.
    pub is_overflowed: bool,
}

/// The near tier of a [`Tiered`](crate::Tiered).
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct NearHealth {
    /// Whether it is used.
    pub state: NearState,
    /// Why it is not, or for a short time only.
    #[serde(serialize_with = "maybe_error", skip_serializing_if = "Option::is_none")]
    pub why: Option<Error>,
    /// How long ago it was last certain that all changes had been heard of.
    #[serde(rename = "last_sign_ms", serialize_with = "maybe_ms")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sign: Option<Duration>,
    /// Entries in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
}

/// Whether a near tier is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NearState {
    /// Changes are heard of.
    On,
    /// Not at the moment: it is empty and not used.
    Off,
    /// They cannot be: it keeps entries for a short time only.
    Capped,
}

/// How far a [`DualWrite`](crate::DualWrite) is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DualWriteHealth {
    /// Which side is read, and which are written.
    pub mode: DualMode,
    /// How the sides differed where they were compared.
    pub divergence: Divergence,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_grows_for_who_waits_is_not_exhausted() {
        let pool = |in_use, idle, waiting| PoolHealth { size: 4, in_use, idle, waiting };
        for pool in [pool(0, 0, 1), pool(3, 0, 1), pool(2, 2, 0)] {
            assert!(!pool.is_exhausted(), "{pool:?}");
        }
        for pool in [pool(4, 0, 0), pool(4, 0, 2), pool(3, 1, 2)] {
            assert!(pool.is_exhausted(), "{pool:?}");
        }
    }
}
