//! What servers count, under the same names whatever the server.

use std::time::Duration;

use serde::Serialize;

use crate::server::address::{Address, System};
use crate::server::redis::keys_of;
use crate::server::{Facts, number};

/// A server's numbers; what it does not tell is `None`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Numbers {
    pub version: String,
    #[serde(rename = "uptime_seconds", serialize_with = "seconds")]
    pub uptime: Option<Duration>,
    /// Entries in the database that the address names.
    pub entries: Option<u64>,
    #[serde(rename = "memory_bytes")]
    pub memory: Option<u64>,
    /// 0 is no limit.
    #[serde(rename = "max_memory_bytes")]
    pub max_memory: Option<u64>,
    #[serde(rename = "eviction_policy")]
    pub policy: Option<String>,
    pub hits: Option<u64>,
    pub misses: Option<u64>,
    pub evicted: Option<u64>,
    pub expired: Option<u64>,
    pub clients: Option<u64>,
    pub commands: Option<u64>,
}

fn seconds<S: serde::Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs()).serialize(to)
}

pub fn name(system: System) -> &'static str {
    match system {
        System::Redis => "redis",
        System::Memcached => "memcached",
    }
}

impl Numbers {
    pub fn read(address: &Address, facts: &Facts) -> Self {
        match address.system {
            System::Redis => Self::of_redis(facts, address.db),
            System::Memcached => Self::of_memcached(facts),
        }
    }

    fn of_redis(facts: &Facts, db: u32) -> Self {
        let number = |name| number(facts, name);
        Self {
            version: text(facts, "redis_version"),
            uptime: number("uptime_in_seconds").map(Duration::from_secs),
            entries: keys_of(facts, db),
            memory: number("used_memory"),
            max_memory: number("maxmemory"),
            policy: facts.get("maxmemory_policy").cloned(),
            hits: number("keyspace_hits"),
            misses: number("keyspace_misses"),
            evicted: number("evicted_keys"),
            expired: number("expired_keys"),
            clients: number("connected_clients"),
            commands: number("total_commands_processed"),
        }
    }

    fn of_memcached(facts: &Facts) -> Self {
        let number = |name| number(facts, name);
        let commands = ["cmd_get", "cmd_set", "cmd_touch", "cmd_meta"].map(number);
        Self {
            version: text(facts, "version"),
            uptime: number("uptime").map(Duration::from_secs),
            entries: number("curr_items"),
            memory: number("bytes"),
            max_memory: number("limit_maxbytes"),
            policy: None,
            hits: number("get_hits"),
            misses: number("get_misses"),
            evicted: number("evictions"),
            expired: number("expired_unfetched").zip(number("get_expired")).map(|(a, b)| a + b),
            clients: number("curr_connections"),
            commands: Some(commands.into_iter().flatten().sum()),
        }
    }

    /// Hits among all reads; `None` before the first.
    pub fn hit_rate(&self) -> Option<f64> {
        let (hits, misses) = self.hits.zip(self.misses)?;
        (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64)
    }

    /// Both together, as far as both are known.
    pub fn and(&self, other: &Self) -> Self {
        let sum = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a + b);
        Self {
            version: self.version.clone(),
            uptime: self.uptime.zip(other.uptime).map(|(a, b)| a.min(b)),
            entries: sum(self.entries, other.entries),
            memory: sum(self.memory, other.memory),
            max_memory: sum(self.max_memory, other.max_memory),
            policy: self.policy.clone(),
            hits: sum(self.hits, other.hits),
            misses: sum(self.misses, other.misses),
            evicted: sum(self.evicted, other.evicted),
            expired: sum(self.expired, other.expired),
            clients: sum(self.clients, other.clients),
            commands: sum(self.commands, other.commands),
        }
    }
}

fn text(facts: &Facts, name: &str) -> String {
    facts.get(name).cloned().unwrap_or_default()
}
