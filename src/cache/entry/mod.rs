//! One key with settings for one call.

mod loading;

use std::iter::{Empty, empty};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::View;
use super::core::Core;
use super::freshness::{End, Freshness};
use super::look::{reading, usable};
use super::lookup::{Lookup, ttl_left};
use super::policy::Policy;
use super::ttl::Ttl;
use crate::backend::{Change, CodecId, Name, Read, Tags, Token, Want, When, Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::key::with_name;
use crate::tag::And;

/// One key, its tags, and settings for one call. Made by [`Cache::entry`](crate::Cache::entry).
///
/// ```
/// use std::time::Duration;
/// # fn main() -> yokedcache::Result<()> {
/// # let cache = yokedcache::Cache::memory(10);
/// cache.entry("user:1").ttl(Duration::from_secs(60)).tags(["users", "eu"]).set("Ann")?;
/// let name: String = cache
///     .entry("user:2")
///     .tag("users")
///     .get_or_load(|| std::fs::read_to_string("/nowhere").or(Ok::<_, std::io::Error>("Bob".into())))?
///     .expect("the loader's own result");
/// assert_eq!(name, "Bob");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "an entry does nothing until it is told what to do"]
pub struct EntryRef<'c, K, G = Empty<&'static str>> {
    view: &'c View,
    key: K,
    tags: G,
    policy: Policy,
}

impl<'c, K: AsRef<str>> EntryRef<'c, K> {
    #[inline]
    pub(super) fn new(view: &'c View, key: K) -> Self {
        Self { view, key, tags: empty(), policy: view.policy }
    }
}

impl<'c, K: AsRef<str>, G: IntoIterator<Item: AsRef<str>>> EntryRef<'c, K, G> {
    /// Tags what is stored, in place of tags named before.
    ///
    /// For a load, name the tags here and not afterwards: an invalidation that comes while the
    /// loader runs must find them.
    pub fn tags<H>(self, tags: H) -> EntryRef<'c, K, H>
    where
        H: IntoIterator<Item: AsRef<str>>,
    {
        EntryRef { view: self.view, key: self.key, tags, policy: self.policy }
    }

    /// Tags what is stored with one more tag.
    pub fn tag<S: AsRef<str>>(self, tag: S) -> EntryRef<'c, K, And<G, S>> {
        let tags = And(self.tags, tag);
        EntryRef { view: self.view, key: self.key, tags, policy: self.policy }
    }

    /// How long what is stored lives, is kept when stale, and when it is refreshed, in place of all
    /// that was said of it before. What it leaves open of times to live is as the cache is set.
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.policy.fresh = freshness.or(&self.view.policy.fresh);
        self
    }

    /// See [`Freshness::ttl`]. Default: as the cache is set.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.policy.fresh.ttl = self.view.policy.fresh.ttl_or_default(ttl.into());
        self
    }

    /// See [`Freshness::negative_ttl`]. Default: as the cache is set.
    pub fn negative_ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.policy.fresh.negative_ttl = match ttl.into() {
            Ttl::Default => self.view.policy.fresh.negative_ttl,
            ttl => ttl,
        };
        self
    }

    /// See [`Freshness::skip_negative`]. Default: as the cache is set.
    pub fn skip_negative(mut self) -> Self {
        self.policy.fresh = self.policy.fresh.skip_negative();
        self
    }

    /// See [`Freshness::stale_for`]. Default: as the cache is set.
    pub fn stale_for(mut self, grace: Duration) -> Self {
        self.policy.fresh = self.policy.fresh.stale_for(grace);
        self
    }

    /// See [`Freshness::sliding`]. Default: as the cache is set.
    pub fn sliding(mut self, idle: Duration) -> Self {
        self.policy.fresh = self.policy.fresh.sliding(idle);
        self
    }

    /// How long a load keeps the right to store its value, and other processes wait for it. See
    /// [`CacheBuilder::lease`](crate::CacheBuilder::lease). Default: as the cache is set.
    ///
    /// # Errors
    /// Loads refuse zero.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.policy.lease = Some(lease);
        self
    }

    /// How long the call may take. Default: as the cache is set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.policy.timeout = Some(timeout);
        self
    }

    /// Makes an outage an error of this call. Default: as the cache is set.
    pub fn strict(mut self) -> Self {
        self.policy.strict = true;
        self
    }

    /// What an absent counter counts as. Default 0.
    pub fn initial(mut self, number: i64) -> Self {
        self.policy.initial = number;
        self
    }

    /// Calls `f` with the checked, full key and the tags put aside for later.
    #[inline]
    fn on<R>(self, f: impl FnOnce(&Core, &Policy, Name<'_>) -> Result<R>) -> Result<R> {
        let Self { view, key, policy, .. } = self;
        with_name(&view.prefix, key.as_ref(), |name| f(&view.core, &policy, name))
    }

    fn on_tagged<R>(
        self,
        f: impl FnOnce(&Core, &Policy, Name<'_>, Tags) -> Result<R>,
    ) -> Result<R> {
        let Self { view, key, tags, policy } = self;
        with_name(&view.prefix, key.as_ref(), |name| {
            f(&view.core, &policy, name, Tags::within(&view.prefix, tags)?)
        })
    }

    /// See [`Cache::get`](crate::Cache::get).
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn get<T: DeserializeOwned>(self) -> Result<Option<T>> {
        self.on(Core::get)
    }

    /// See [`Cache::get_bytes`](crate::Cache::get_bytes).
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn get_bytes(self) -> Result<Option<Bytes>> {
        self.on(Core::get_bytes)
    }

    /// See [`Cache::get_arc`](crate::Cache::get_arc).
    ///
    /// # Errors
    /// As there.
    pub fn get_arc<T>(self) -> Result<Option<Arc<T>>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.on(|core, policy, name| {
            let mut read = core.read(policy, name, &Want { share: true, ..reading(policy) })?;
            Ok(core.look_arc(policy, &mut read).value())
        })
    }

    /// See [`Cache::peek`](crate::Cache::peek).
    ///
    /// # Errors
    /// As there.
    pub fn peek<T: DeserializeOwned>(self) -> Result<Option<T>> {
        self.on(|core, policy, name| {
            let mut read = core.read(policy, name, &Want { quiet: true, ..Want::VALUE })?;
            Ok(usable(policy, &mut read).ok().and_then(|found| core.format.value(&found.entry)))
        })
    }

    /// See [`Cache::lookup`](crate::Cache::lookup).
    ///
    /// # Errors
    /// As there.
    pub fn lookup<T: DeserializeOwned>(self) -> Result<Lookup<T>> {
        self.on(|core, policy, name| {
            let mut read = core.read(policy, name, &Want { meta: true, ..reading(policy) })?;
            Ok(core.look_at_all(policy, &mut read))
        })
    }

    /// See [`Cache::get_versioned`](crate::Cache::get_versioned).
    ///
    /// # Errors
    /// As there.
    pub fn get_versioned<T: DeserializeOwned>(self) -> Result<Option<(T, Token)>> {
        self.on(|core, policy, name| {
            core.need_versions()?;
            let mut read = core.read(policy, name, &Want { token: true, ..reading(policy) })?;
            let value = core.look(policy, &mut read).value();
            let token = match read {
                Read::Hit(found) => found.more.and_then(|more| more.token),
                _ => None,
            };
            Ok(value.zip(token))
        })
    }

    /// See [`Cache::exists`](crate::Cache::exists).
    ///
    /// # Errors
    /// As there.
    pub fn exists(self) -> Result<bool> {
        self.on(|core, policy, name| {
            let want = Want { head_only: true, quiet: true, ..Want::VALUE };
            Ok(usable(policy, &mut core.read(policy, name, &want)?).is_ok())
        })
    }

    /// See [`Cache::ttl`](crate::Cache::ttl).
    ///
    /// # Errors
    /// As there.
    pub fn ttl_left(self) -> Result<Option<Ttl>> {
        self.on(|core, policy, name| {
            let want = Want { head_only: true, quiet: true, meta: true, ..Want::VALUE };
            let mut read = core.read(policy, name, &want)?;
            let found = usable(policy, &mut read).ok();
            let life = found.map(|found| found.more.take().unwrap_or_default().life);
            Ok(life.map(|life| ttl_left(&life, false).map_or(Ttl::Never, Ttl::After)))
        })
    }

    /// See [`Cache::set`](crate::Cache::set).
    ///
    /// # Errors
    /// As there, and [`InvalidTtl`](ErrorKind::InvalidTtl), [`InvalidTag`](ErrorKind::InvalidTag),
    /// [`Unsupported`](ErrorKind::Unsupported) for tags.
    pub fn set<T: Serialize + ?Sized>(self, value: &T) -> Result<bool> {
        self.on_tagged(|core, policy, name, tags| {
            core.store(policy, name, When::Always, core.encode(policy, value, tags))
        })
    }

    /// See [`Cache::set_bytes`](crate::Cache::set_bytes).
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn set_bytes(self, bytes: impl Into<Bytes>) -> Result<bool> {
        self.on_tagged(|core, policy, name, tags| {
            let change = core.put(policy, core.format.raw(bytes, CodecId::RAW), tags);
            core.store(policy, name, When::Always, change)
        })
    }

    /// See [`Cache::add`](crate::Cache::add).
    ///
    /// # Errors
    /// As [`set`](Self::set).
    #[expect(clippy::should_implement_trait, reason = "the field's word for store-if-absent")]
    pub fn add<T: Serialize + ?Sized>(self, value: &T) -> Result<bool> {
        self.on_tagged(|core, policy, name, tags| {
            let change = core.encode(policy, value, tags)?;
            core.add(policy, name, change)
        })
    }

    /// See [`Cache::replace`](crate::Cache::replace).
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn replace<T: Serialize + ?Sized>(self, value: &T) -> Result<bool> {
        self.on_tagged(|core, policy, name, tags| {
            if core.is_of_another_schema(policy, name)? {
                return Ok(false);
            }
            core.store(policy, name, When::Present, core.encode(policy, value, tags))
        })
    }

    /// See [`Cache::swap`](crate::Cache::swap).
    ///
    /// # Errors
    /// As [`set`](Self::set); an outage is an error.
    pub fn swap<T: Serialize + ?Sized>(self, version: Token, value: &T) -> Result<bool> {
        self.on_tagged(|core, policy, name, tags| {
            core.need_versions()?;
            let strict = Policy { strict: true, ..*policy };
            core.store(&strict, name, When::Version(version), core.encode(policy, value, tags))
        })
    }

    /// See [`Cache::delete`](crate::Cache::delete).
    ///
    /// # Errors
    /// As there.
    pub fn delete(self) -> Result<bool> {
        self.on(|core, policy, name| core.delete(policy, name))
    }

    /// See [`Cache::expire`](crate::Cache::expire).
    ///
    /// # Errors
    /// As there.
    pub fn expire(self, ttl: impl Into<Ttl>) -> Result<bool> {
        let ttl = ttl.into();
        self.on(|core, policy, name| {
            let left = match policy.fresh.end(ttl, &core.clock)? {
                End::Past => return core.delete(policy, name),
                End::Never => None,
                End::After(left) => Some(left),
            };
            if core.is_of_another_schema(policy, name)? {
                return Ok(false);
            }
            let write = Write::new(name, When::Always, Change::Expire(left));
            Ok(matches!(core.write(policy, write)?, Wrote::Done(_)))
        })
    }

    /// See [`Cache::increment`](crate::Cache::increment).
    ///
    /// # Errors
    /// As there, and [`InvalidArgument`](ErrorKind::InvalidArgument) if tags were named: a counter
    /// that was stored with tags keeps them, but is not created with any.
    pub fn increment(self, by: i64) -> Result<i64> {
        self.on_tagged(|core, policy, name, tags| {
            if !tags.is_empty() {
                let what = "a counter is created without tags: set it with its tags first";
                return Err(Error::new(ErrorKind::InvalidArgument, what));
            }
            core.increment(policy, name, by)
        })
    }

    /// See [`Cache::decrement`](crate::Cache::decrement).
    ///
    /// # Errors
    /// As [`increment`](Self::increment).
    pub fn decrement(self, by: i64) -> Result<i64> {
        let by = by.checked_neg().ok_or_else(|| {
            Error::new(ErrorKind::Overflow, "the difference is out of the range of a counter")
        })?;
        self.increment(by)
    }
}
