//! The backends there are, and what their settings are called.

use super::fields::fields;
use super::sections::{
    FallbackSettings, MemcachedSettings, MemorySettings, RedisSettings, RouteSettings,
    TieredSettings,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Memory,
    Redis,
    Memcached,
    Tiered,
    Fallback,
    Route,
}

impl Kind {
    pub(super) const ALL: [Self; 6] =
        [Self::Memory, Self::Redis, Self::Memcached, Self::Tiered, Self::Fallback, Self::Route];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Memcached => "memcached",
            Self::Tiered => "tiered",
            Self::Fallback => "fallback",
            Self::Route => "route",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().map(Self::name)
    }

    /// Whether it is around other backends.
    pub(super) fn is_wrapper(self) -> bool {
        matches!(self, Self::Tiered | Self::Fallback | Self::Route)
    }

    /// The names of its settings.
    pub(super) fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Memory => fields::<MemorySettings>(),
            Self::Redis => fields::<RedisSettings>(),
            Self::Memcached => fields::<MemcachedSettings>(),
            Self::Tiered => fields::<TieredSettings>(),
            Self::Fallback => fields::<FallbackSettings>(),
            Self::Route => fields::<RouteSettings>(),
        }
    }

    /// Other names of settings, and the ones they stand for.
    pub(super) fn aliases(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Redis => &[("redis_url", "url"), ("connection_pool_size", "pool_size")],
            Self::Memcached => &[("connection_pool_size", "pool_size")],
            _ => &[],
        }
    }

    /// The settings that name a server.
    pub(super) fn address_fields(self) -> &'static [&'static str] {
        match self {
            Self::Redis => &["url", "host", "port"],
            Self::Memcached => &["url", "servers"],
            _ => &[],
        }
    }

    /// Of what kind a backend with this address is.
    pub(super) fn of_scheme(scheme: &str) -> Option<Self> {
        match scheme.split_once('+').map_or(scheme, |(first, _)| first) {
            "memory" => Some(Self::Memory),
            "redis" | "rediss" | "valkey" | "valkeys" | "unix" => Some(Self::Redis),
            "memcached" | "memcache" | "memcacheds" => Some(Self::Memcached),
            _ => None,
        }
    }
}
