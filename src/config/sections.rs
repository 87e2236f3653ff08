//! The settings, as they are written down. Each is named as in an address, or as its builder's method.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::values::{Address, Lifetime, Real, Secret, Size, Time};

/// A section of settings that may all be absent.
macro_rules! section {
    ($(#[$about:meta])* $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(super) struct $name {
            $(
                #[serde(skip_serializing_if = "Option::is_none")]
                pub(super) $field: Option<$type>,
            )*
        }
    };
}

/// The same with the settings that all backends over a network have.
macro_rules! remote_section {
    ($(#[$about:meta])* $name:ident { $($field:ident: $type:ty,)* }) => {
        section! {
            $(#[$about])*
            $name {
                $($field: $type,)*
                pool_size: u32,
                idle_timeout: Time,
                socket_timeout: Time,
                socket_connect_timeout: Time,
                retry_on_timeout: bool,
                health_check_interval: Time,
                tcp_nodelay: bool,
                socket_keepalive: bool,
                socket_keepalive_idle: Time,
                socket_keepalive_interval: Time,
                socket_keepalive_count: u32,
                ssl_ca_certs: String,
                ssl_certfile: String,
                ssl_keyfile: String,
                ssl_check_hostname: bool,
                ssl_cert_reqs: CertReqs,
            }
        }
    };
}

section! {
    /// What is set of the cache itself.
    CacheSettings {
        key_prefix: String,
        default_ttl: Lifetime,
        negative_ttl: Lifetime,
        skip_negative: bool,
        ttl_jitter: Time,
        sliding: Time,
        stale_for: Time,
        retry_after: Time,
        refresh_at: Real,
        refresh_by_chance: Real,
        lease: Time,
        loader_threads: usize,
        loader_queue: usize,
        seed: u64,
        timeout: Time,
        strict: bool,
        codec: CodecName,
        compression: CompressionName,
        compression_above: Size,
    }
}

section! {
    MemorySettings {
        max_size: usize,
        max_bytes: Size,
        cleanup_interval: Time,
    }
}

remote_section! {
    RedisSettings {
        url: Address,
        host: String,
        port: u16,
        username: String,
        password: Secret,
        sentinel_username: String,
        sentinel_password: Secret,
        db: u32,
        client_name: String,
        read_from_replicas: bool,
        plain: bool,
        guard_restarts: String,
    }
}

remote_section! {
    MemcachedSettings {
        url: Address,
        servers: Vec<Server>,
        username: String,
        password: Secret,
        distribution: DistributionName,
        ketama: bool,
        ketama_weighted: bool,
        protocol: Protocol,
        binary: bool,
        eject: bool,
        plain: bool,
        split: bool,
    }
}

/// A backend with its settings: one field, named as the backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Node {
    Memory(MemorySettings),
    Redis(Box<RedisSettings>),
    Memcached(Box<MemcachedSettings>),
    Tiered(Box<TieredSettings>),
    Fallback(Box<FallbackSettings>),
    Route(Box<RouteSettings>),
}

impl Node {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Redis(_) => "redis",
            Self::Memcached(_) => "memcached",
            Self::Tiered(_) => "tiered",
            Self::Fallback(_) => "fallback",
            Self::Route(_) => "route",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TieredSettings {
    #[serde(default)]
    pub(super) near: MemorySettings,
    pub(super) far: Node,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bound: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) near_ttl: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) strict: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FallbackSettings {
    pub(super) primary: Node,
    pub(super) secondary: Node,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure_threshold: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reset_timeout: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secondary_ttl: Option<Lifetime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) journal_limit: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) journal_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) strict: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trial_timeout: Option<Time>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteSettings {
    pub(super) default: Node,
    #[serde(default)]
    pub(super) routes: BTreeMap<String, Node>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delimiter: Option<char>,
}

/// A server, with its weight or without.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Server(pub(super) Address, pub(super) u32);

/// One of a few words.
macro_rules! words {
    ($($name:ident { $($word:ident),* })*) => {
        $(
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
            #[serde(rename_all = "snake_case")]
            pub(super) enum $name { $($word),* }
        )*
    };
}

words! {
    CodecName { Json, Msgpack }
    CompressionName { None, Lz4, Zstd }
    CertReqs { Required, None }
    DistributionName { KetamaWeighted, Ketama, Modulo }
    Protocol { Meta, Binary }
}
