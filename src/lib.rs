//! A blocking cache for programs that have threads and no async runtime.
//!
//! ```
//! use std::time::Duration;
//! use yokedcache::Cache;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cache = Cache::memory(10_000);
//!
//! cache.set("user:1", "Ann")?;
//! let name: Option<String> = cache.get("user:1")?;
//!
//! let name: String = cache
//!     .entry("user:2")
//!     .ttl(Duration::from_secs(60))
//!     .tags(["users"])
//!     .get_or_load(|| Ok::<_, std::io::Error>("Bob".to_owned()))??;
//!
//! cache.invalidate_tags(["users"])?;
//! cache.invalidate_pattern("user:*")?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Cache`] is the typed front over a [`Backend`]: values are anything `serde` knows, keys are
//! strings, and entries have a [time to live](Ttl), tags, and a place in the order of use.
//! [`Memory`] keeps entries in this process, `Redis` on a server, behind sentinels or in a cluster,
//! `Memcached` on one server or many. A backend of your own needs five methods; see [`backend`].
//!
//! Wrappers are backends around others: [`Tiered`] keeps a memory in front of a server, [`Fallback`] lets
//! another backend stand in while one is away, [`Switch`] replaces one while the program runs, [`Route`]
//! deals keys out, [`DualWrite`] migrates.
//!
//! # Pages
//!
//! | page | what it tells |
//! |---|---|
//! | [Choosing a policy](choosing_a_policy) | how long entries should live and when to refresh them |
//! | [Configuration](configuration) | how a cache is made of an address, of environment variables or of a file |
//! | [Health checks](health_checks) | what to ask for the probes of an orchestrator, and what each warning means |
//! | [Monitoring](monitoring) | what a cache counts and times, and how Prometheus and others get it |
//! | [Migration](migration) | how entries come from one cache to another, into a file and back |
//! | `command_line` (with the feature `cli`) | the program `yokedcache` |
//! | `troubleshooting` (with the feature `cli`) | what errors of common faults say, what is behind them, and what to do |
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `fuzzy` (default) | `Cache::fuzzy_search` and `Cache::search` |
//! | `msgpack` | the codec `MessagePack` |
//! | `compression` | compression of large values with lz4 or zstd |
//! | `redis` | the backend `Redis`: one server, sentinels, a cluster |
//! | `memcached` | the backend `Memcached`: one server, or many that share the keys |
//! | `tls` | TLS for both, by rustls |
//! | `metrics` | `Stats::publish`, for the exporters of the crate `metrics` |
//! | `config` | configuration files in YAML, TOML and JSON |
//! | `cli` | the program `yokedcache` |

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

mod args;
pub mod backend;
mod cache;
mod clock;
mod codec;
pub mod config;
mod error;
mod flight;
#[cfg(feature = "fuzzy")]
mod fuzzy;
mod key;
mod migrate;
mod nearest;
mod number;
mod pattern;
mod pool;
mod random;
#[cfg(all(test, shuttle))]
mod schedules;
mod stats;
mod streak;
mod sync;
mod tag;
mod value;

#[cfg(feature = "memcached")]
pub use backend::memcached::{Distribution, Memcached, MemcachedBuilder};
pub use backend::memory::{Memory, Reason};
#[cfg(feature = "redis")]
pub use backend::redis::{Redis, RedisBuilder};
#[cfg(all(feature = "tls", any(feature = "redis", feature = "memcached")))]
pub use backend::remote::tls::TlsSettings;
pub use backend::{
    Backend, BreakerState, Cause, Divergence, DualMode, DualWrite, Event, Fallback,
    FallbackBuilder, Health, HealthStatus, HealthWarning, Removed, Route, RouteBuilder, Switch,
    Tags, Tiered, TieredBuilder, Token,
};
pub use cache::{
    Begun, Cache, CacheBuilder, DryRun, Entries, EntryRef, Freshness, Hit, Load, Loaded, Loader,
    Lock, LockGuard, Lookup, Slot, Ttl, Typed,
};
#[cfg(feature = "fuzzy")]
pub use cache::{Match, Search};
pub use clock::{Clock, ManualClock};
#[cfg(feature = "compression")]
pub use codec::Compression;
#[cfg(feature = "msgpack")]
pub use codec::MessagePack;
pub use codec::{Codec, Json, Reader};
pub use erased_serde;
pub use error::{Error, ErrorKind, Result};
pub use key::MAX_KEY;
pub use migrate::{
    Difference, Differs, Export, FaultKind, FileFault, Import, Incomplete, Migration, Phase,
    Progress, Report, Skip, Skipped, Verified,
};
pub use pattern::Pattern;
pub use stats::{BackendStats, Misses, Stats};
pub use tag::{And, Either, MAX_TAGS};

#[doc = include_str!("../docs/metrics.md")]
pub mod monitoring {
    pub use crate::stats::{Histogram, Operation, Operations, Removals, Timing, to_prometheus};
}

#[doc = include_str!("../docs/choosing-a-policy.md")]
pub mod choosing_a_policy {}

#[doc = include_str!("../docs/health.md")]
pub mod health_checks {}

#[doc = include_str!("../docs/migration.md")]
pub mod migration {}
#[doc = include_str!("../docs/configuration.md")]
pub mod configuration {}

#[cfg(feature = "cli")]
#[doc = include_str!("../docs/cli.md")]
pub mod command_line {}

#[cfg(feature = "cli")]
#[doc = include_str!("../docs/troubleshooting.md")]
pub mod troubleshooting {}

/// Keeps the tour in the README true.
#[cfg(all(
    doctest,
    feature = "config",
    feature = "fuzzy",
    feature = "memcached",
    feature = "redis"
))]
#[doc = include_str!("../README.md")]
struct Readme;
