//! From settings to backends and caches.

use super::fault::Fault;
use super::give::{given, number, set, time, within};
use super::sections::{
    CacheSettings, CodecName, CompressionName, FallbackSettings, MemorySettings, Node,
    RouteSettings, TieredSettings,
};
use crate::backend::memory::Memory;
use crate::backend::{Backend, Fallback, Route, Tiered};
use crate::cache::{Cache, CacheBuilder, Freshness};
use crate::codec::Json;
use crate::error::Result;

impl Node {
    pub(super) fn build(&self) -> Result<Box<dyn Backend>, Fault> {
        let built = match self {
            Self::Memory(memory) => memory.build().map(boxed),
            #[cfg(feature = "redis")]
            Self::Redis(redis) => super::redis::build(redis),
            #[cfg(not(feature = "redis"))]
            Self::Redis(_) => Err(lacks("redis")),
            #[cfg(feature = "memcached")]
            Self::Memcached(memcached) => super::memcached::build(memcached),
            #[cfg(not(feature = "memcached"))]
            Self::Memcached(_) => Err(lacks("memcached")),
            Self::Tiered(tiered) => tiered.build(),
            Self::Fallback(fallback) => fallback.build(),
            Self::Route(route) => route.build(),
        };
        built.map_err(|fault| within(fault, self.name()))
    }
}

pub(super) fn boxed(backend: impl Backend) -> Box<dyn Backend> {
    Box::new(backend)
}

impl MemorySettings {
    fn build(&self) -> Result<Memory, Fault> {
        let Self { max_size, max_bytes, cleanup_interval } = self;
        let memory = Memory::builder();
        let memory = given(memory, *max_size, |memory, entries| memory.max_size(entries));
        let memory = given(memory, *max_bytes, |memory, bytes| memory.max_bytes(bytes.0));
        let interval = time(*cleanup_interval);
        let memory = given(memory, interval, |memory, time| memory.cleanup_interval(time));
        Ok(memory.build()?)
    }
}

impl TieredSettings {
    fn build(&self) -> Result<Box<dyn Backend>, Fault> {
        let Self { near, far, bound, near_ttl, strict } = self;
        let near = near.build().map_err(|fault| within(fault, "near"))?;
        let far = far.build().map_err(|fault| within(fault, "far"))?;
        let tiered = Tiered::builder(near, far);
        let tiered = given(tiered, time(*bound), |tiered, bound| tiered.bound(bound));
        let tiered = given(tiered, time(*near_ttl), |tiered, ttl| tiered.near_ttl(ttl));
        let tiered = if *strict == Some(true) { tiered.strict() } else { tiered };
        Ok(boxed(tiered.build()?))
    }
}

impl FallbackSettings {
    fn build(&self) -> Result<Box<dyn Backend>, Fault> {
        let Self { primary, secondary, failure_threshold, reset_timeout, .. } = self;
        let Self { secondary_ttl, journal_limit, journal_path, strict, trial_timeout, .. } = self;
        let primary = primary.build().map_err(|fault| within(fault, "primary"))?;
        let secondary = secondary.build().map_err(|fault| within(fault, "secondary"))?;
        let built = Fallback::builder(primary, secondary);
        let built = given(built, *failure_threshold, |built, calls| built.failure_threshold(calls));
        let built = given(built, time(*reset_timeout), |built, time| built.reset_timeout(time));
        let built = given(built, *secondary_ttl, |built, ttl| built.secondary_ttl(ttl.limit()));
        let built = given(built, *journal_limit, |built, items| built.journal_limit(items));
        let built = given(built, journal_path.as_ref(), |built, path| built.journal_path(path));
        let built = given(built, time(*trial_timeout), |built, time| built.trial_timeout(time));
        let built = if *strict == Some(true) { built.strict() } else { built };
        Ok(boxed(built.build()?))
    }
}

impl RouteSettings {
    fn build(&self) -> Result<Box<dyn Backend>, Fault> {
        let Self { default, routes, delimiter } = self;
        let built = Route::builder(default.build().map_err(|fault| within(fault, "default"))?);
        let mut built = given(built, *delimiter, |built, delimiter| built.delimiter(delimiter));
        for (route, node) in routes {
            let here = |fault: Fault| within(within(fault, route), "routes");
            built = built.route(route.as_str(), node.build().map_err(here)?);
        }
        Ok(boxed(built.build()?))
    }
}

impl CacheSettings {
    /// A cache's settings over a backend.
    pub(super) fn builder(&self, backend: Box<dyn Backend>) -> Result<CacheBuilder, Fault> {
        let built = Cache::builder(backend).freshness(self.freshness()?);
        let built = set(built, "key_prefix", self.key_prefix.as_ref(), CacheBuilder::key_prefix)?;
        let built = set(built, "lease", time(self.lease), CacheBuilder::lease)?;
        let built =
            set(built, "loader_threads", self.loader_threads, CacheBuilder::loader_threads)?;
        let built = given(built, self.loader_queue, CacheBuilder::loader_queue);
        let built = given(built, self.seed, CacheBuilder::seed);
        if time(self.timeout).is_some_and(|time| time.is_zero()) {
            let what = "no call ends in no time; left out, it is the backend's";
            return Err(within(Fault::new(what), "timeout"));
        }
        let built = given(built, time(self.timeout), CacheBuilder::timeout);
        let built = if self.strict == Some(true) { built.strict() } else { built };
        self.compressed(self.encoded(built)?)
    }

    fn freshness(&self) -> Result<Freshness, Fault> {
        if self.refresh_at.is_some() && self.refresh_by_chance.is_some() {
            let what = "refresh_at and refresh_by_chance are two ways to do one thing: one of them";
            return Err(within(Fault::new(what), "refresh_by_chance"));
        }
        let fresh = given(Freshness::new(), self.default_ttl, Freshness::ttl);
        let fresh = given(fresh, self.negative_ttl, Freshness::negative_ttl);
        let fresh = given(fresh, time(self.ttl_jitter), Freshness::jitter);
        let fresh = set(fresh, "sliding", time(self.sliding), Freshness::sliding)?;
        let fresh = given(fresh, time(self.stale_for), Freshness::stale_for);
        let fresh = given(fresh, time(self.retry_after), Freshness::retry_after);
        let fresh = set(fresh, "refresh_at", number(self.refresh_at), Freshness::refresh_at)?;
        let by_chance = number(self.refresh_by_chance);
        let fresh = set(fresh, "refresh_by_chance", by_chance, Freshness::refresh_by_chance)?;
        Ok(if self.skip_negative == Some(true) { fresh.skip_negative() } else { fresh })
    }

    fn encoded(&self, built: CacheBuilder) -> Result<CacheBuilder, Fault> {
        match self.codec {
            None => Ok(built),
            Some(CodecName::Json) => Ok(built.codec(Json)),
            #[cfg(feature = "msgpack")]
            Some(CodecName::Msgpack) => Ok(built.codec(crate::codec::MessagePack)),
            #[cfg(not(feature = "msgpack"))]
            Some(CodecName::Msgpack) => Err(within(lacks("msgpack"), "codec")),
        }
    }

    fn compressed(&self, built: CacheBuilder) -> Result<CacheBuilder, Fault> {
        match self.compression {
            None | Some(CompressionName::None) => match self.compression_above {
                None => Ok(built),
                Some(_) => Err(within(
                    Fault::new("has no effect without compression"),
                    "compression_above",
                )),
            },
            #[cfg(not(feature = "compression"))]
            Some(_) => Err(within(lacks("compression"), "compression")),
            #[cfg(feature = "compression")]
            Some(name) => {
                let compression = match name {
                    CompressionName::Zstd => crate::codec::Compression::zstd(),
                    _ => crate::codec::Compression::lz4(),
                };
                let above = |compression: crate::codec::Compression, size: super::values::Size| {
                    compression.above(size.0)
                };
                Ok(built.compression(given(compression, self.compression_above, above)))
            }
        }
    }
}

/// The error of a setting that needs a feature this program was built without.
#[cfg(not(all(
    feature = "redis",
    feature = "memcached",
    feature = "msgpack",
    feature = "compression"
)))]
fn lacks(feature: &str) -> Fault {
    Fault::new(format!("needs the feature {feature}, which this program was built without"))
}
