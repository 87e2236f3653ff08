//! The typed front.

use std::convert::Infallible;
use std::fmt;
use std::iter::empty;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

mod batch;
mod builder;
mod core;
mod door;
mod entry;
mod freshness;
mod health;
mod invalidate;
mod load;
mod loader;
mod lock;
mod look;
mod lookup;
mod many;
mod memoize;
mod policy;
#[cfg(feature = "fuzzy")]
mod search;
mod store;
mod ttl;
mod typed;
mod under;

pub use builder::CacheBuilder;
pub use entry::EntryRef;
pub use freshness::Freshness;
pub use invalidate::DryRun;
pub use load::{Begun, Load, Loaded, Slot};
pub use loader::Loader;
pub use lock::{Lock, LockGuard};
pub use lookup::{Hit, Lookup};
pub use many::Entries;
#[cfg(feature = "fuzzy")]
pub use search::{Match, Search};
pub use ttl::Ttl;
pub use typed::Typed;

use self::core::Core;
use self::policy::Policy;
use crate::backend::{Backend, Token};
use crate::error::Result;
use crate::key::with_name;
use crate::pool::Pool;
use crate::stats::Stats;

/// A cache for any value `serde` knows, over any [`Backend`].
///
/// A `Cache` is one pointer and cheap to clone. Clones and [namespaces](Self::namespace) share
/// entries, statistics and threads, and may be used from any number of threads at once.
///
/// Calls on one key have two forms: short ones here, and [`entry`](Self::entry) with settings for
/// one call.
///
/// ```
/// use std::time::Duration;
/// use yokedcache::Cache;
///
/// # fn main() -> yokedcache::Result<()> {
/// let cache = Cache::memory(10_000);
/// cache.set("user:1", "Ann")?;
/// assert_eq!(cache.get::<String>("user:1")?.as_deref(), Some("Ann"));
///
/// cache.entry("user:2").ttl(Duration::from_secs(60)).tags(["users"]).set("Bob")?;
/// cache.invalidate_tags(["users"])?;
/// assert!(!cache.exists("user:2")?);
/// # Ok(())
/// # }
/// ```
///
/// # When the backend is down
///
/// Reads miss with the cause [`Down`](crate::Cause::Down), calls that store answer `false`, loads
/// run their loader. Deletes, invalidations, counters and swaps return the error: an invalidation
/// that did not happen is never `Ok`. [`strict`](CacheBuilder::strict) makes all of them errors.
#[derive(Clone)]
pub struct Cache(Arc<View>);

/// A handle: the shared parts, a namespace, and settings.
#[derive(Clone, Debug)]
struct View {
    core: Arc<Core>,
    pool: Arc<Pool>,
    prefix: Box<str>,
    policy: Policy,
}

// Nothing in a cache is left half done by a panic: locks are released, flights land.
impl UnwindSafe for Cache {}
impl RefUnwindSafe for Cache {}

impl Cache {
    /// A cache in this process's memory for at most so many entries (at least one), the least
    /// recently used removed first.
    ///
    /// [`Memory::builder`](crate::Memory::builder) has more settings.
    ///
    /// # Panics
    /// If the system refuses the sweeper's thread. [`Memory::builder`](crate::Memory::builder)
    /// returns that as an error.
    pub fn memory(max_size: usize) -> Self {
        let memory = crate::Memory::builder().max_size(max_size.max(1)).build();
        memory.and_then(|memory| Self::builder(memory).build()).expect("a thread can be started")
    }

    /// Settings for a cache over a backend.
    pub fn builder(backend: impl Backend) -> CacheBuilder {
        CacheBuilder::new(Box::new(backend))
    }

    fn with(&self, change: impl FnOnce(&mut View)) -> Self {
        let mut view = View::clone(&self.0);
        change(&mut view);
        Self(Arc::new(view))
    }

    /// The part of the cache whose keys and tags begin with `name` and a colon.
    ///
    /// `cache.namespace("eu").get("x")` is `cache.get("eu:x")`, and its tag `t` is the tag `eu:t`.
    /// Clearing it, or a pattern in it, reaches nothing else; clearing the parent clears it too.
    /// Characters of globs have no meaning in `name`.
    ///
    /// ```
    /// # fn main() -> yokedcache::Result<()> {
    /// let cache = yokedcache::Cache::memory(10);
    /// let eu = cache.namespace("eu");
    /// eu.set("x", &1)?;
    /// assert_eq!(cache.get("eu:x")?, Some(1));
    /// eu.clear()?;
    /// assert!(!cache.exists("eu:x")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn namespace(&self, name: &str) -> Self {
        self.with(|view| view.prefix = [&view.prefix, name, ":"].concat().into())
    }

    /// A handle whose entries live so long unless they say otherwise.
    pub fn with_ttl(&self, ttl: impl Into<Ttl>) -> Self {
        let ttl = self.0.policy.fresh.ttl_or_default(ttl.into());
        self.with(|view| view.policy.fresh.ttl = ttl)
    }

    /// A handle whose calls end after so long at most.
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        self.with(|view| view.policy.timeout = Some(timeout))
    }

    /// A handle for another version of the values' types: entries of other versions are misses,
    /// and only deleting and invalidating reach them. Handles of version 0, the default, replace
    /// and expire them, too.
    ///
    /// ```
    /// # fn main() -> yokedcache::Result<()> {
    /// let old = yokedcache::Cache::memory(10).with_schema(1);
    /// let new = old.with_schema(2);
    /// old.set("k", "one field")?;
    /// assert_eq!(new.get::<String>("k")?, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_schema(&self, version: u32) -> Self {
        self.with(|view| view.policy.schema = version)
    }

    /// A handle for values of one type.
    pub fn typed<T>(&self) -> Typed<T> {
        Typed::new(self.clone())
    }

    /// One key, with settings for one call.
    ///
    /// ```
    /// use std::time::Duration;
    /// # fn main() -> yokedcache::Result<()> {
    /// # let cache = yokedcache::Cache::memory(10);
    /// let entry = cache.entry(format!("report:{}", 7)).ttl(Duration::from_secs(5)).tag("reports");
    /// entry.set("...")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn entry<K: AsRef<str>>(&self, key: K) -> EntryRef<'_, K> {
        EntryRef::new(&self.0, key)
    }

    /// The value, or `None` if there is none, whatever the reason. One round trip.
    ///
    /// Stored bytes that do not decode as `T` are a miss. [`lookup`](Self::lookup) tells why.
    ///
    /// # Errors
    /// [`InvalidKey`](crate::ErrorKind::InvalidKey).
    #[inline]
    pub fn get<T: DeserializeOwned>(&self, key: impl AsRef<str>) -> Result<Option<T>> {
        let View { core, prefix, policy, .. } = &*self.0;
        with_name(prefix, key.as_ref(), |name| core.get(policy, name))
    }

    /// The stored bytes, undecoded (but decompressed). One round trip.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    #[inline]
    pub fn get_bytes(&self, key: impl AsRef<str>) -> Result<Option<Bytes>> {
        let View { core, prefix, policy, .. } = &*self.0;
        with_name(prefix, key.as_ref(), |name| core.get_bytes(policy, name))
    }

    /// The value behind a shared pointer.
    ///
    /// Over memory the value is decoded once and then shared by all who ask for the same type,
    /// until the entry is changed; other backends decode it each time. What is shared does not
    /// count towards [`max_bytes`](crate::backend::memory::MemoryBuilder::max_bytes).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_arc<T>(&self, key: impl AsRef<str>) -> Result<Option<Arc<T>>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.entry(key).get_arc()
    }

    /// The value, without counting or refreshing anything: the entry's place in the order of use,
    /// its sliding end and the hit counter stay as they are.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn peek<T: DeserializeOwned>(&self, key: impl AsRef<str>) -> Result<Option<T>> {
        self.entry(key).peek()
    }

    /// The value with its times, or why there is none.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn lookup<T: DeserializeOwned>(&self, key: impl AsRef<str>) -> Result<Lookup<T>> {
        self.entry(key).lookup()
    }

    /// The value with its version, for [`swap`](Self::swap).
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`Unsupported`](crate::ErrorKind::Unsupported) where the backend
    /// has no versions.
    pub fn get_versioned<T: DeserializeOwned>(
        &self,
        key: impl AsRef<str>,
    ) -> Result<Option<(T, Token)>> {
        self.entry(key).get_versioned()
    }

    /// Stores a value. One round trip. False if the backend is down.
    ///
    /// `None` is stored as the knowledge that there is no value.
    ///
    /// # Errors
    /// [`InvalidKey`](crate::ErrorKind::InvalidKey); [`Encode`](crate::ErrorKind::Encode);
    /// [`TooLarge`](crate::ErrorKind::TooLarge), and then the older value is gone.
    pub fn set<T: Serialize + ?Sized>(&self, key: impl AsRef<str>, value: &T) -> Result<bool> {
        self.entry(key).set(value)
    }

    /// Stores bytes as they are, to be read with [`get_bytes`](Self::get_bytes).
    ///
    /// Memory keeps the bytes it is given: a slice of a larger buffer keeps all of that.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn set_bytes(&self, key: impl AsRef<str>, bytes: impl Into<Bytes>) -> Result<bool> {
        self.entry(key).set_bytes(bytes)
    }

    /// Stores a value if there is none; whether it did. Of several callers at once one gets true.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn add<T: Serialize + ?Sized>(&self, key: impl AsRef<str>, value: &T) -> Result<bool> {
        self.entry(key).add(value)
    }

    /// Stores a value if there is one already; whether it did.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn replace<T: Serialize + ?Sized>(&self, key: impl AsRef<str>, value: &T) -> Result<bool> {
        self.entry(key).replace(value)
    }

    /// Stores a value if the entry is still the one that was read; whether it did.
    ///
    /// Deleting and adding the entry again, even with the same value, makes it another one.
    ///
    /// ```
    /// # fn main() -> yokedcache::Result<()> {
    /// # let cache = yokedcache::Cache::memory(10);
    /// cache.set("list", &vec![1])?;
    /// let Some((mut list, version)) = cache.get_versioned::<Vec<i32>>("list")? else {
    ///     return Ok(());
    /// };
    /// list.push(2);
    /// assert!(cache.swap("list", version, &list)?);
    /// assert!(!cache.swap("list", version, &list)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`set`](Self::set); an outage is an error.
    pub fn swap<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<str>,
        version: Token,
        value: &T,
    ) -> Result<bool> {
        self.entry(key).swap(version, value)
    }

    /// Removes an entry; whether there was one, of whatever schema. An outage is an error.
    ///
    /// # Errors
    /// [`InvalidKey`](crate::ErrorKind::InvalidKey).
    pub fn delete(&self, key: impl AsRef<str>) -> Result<bool> {
        self.entry(key).delete()
    }

    /// Whether there is an entry, the knowledge that there is no value included. Counts and
    /// refreshes nothing.
    ///
    /// # Errors
    /// [`InvalidKey`](crate::ErrorKind::InvalidKey).
    pub fn exists(&self, key: impl AsRef<str>) -> Result<bool> {
        self.entry(key).exists()
    }

    /// What is left of an entry's time: [`Ttl::After`] or [`Ttl::Never`]; `None` if there is no
    /// entry. Counts and refreshes nothing.
    ///
    /// # Errors
    /// [`InvalidKey`](crate::ErrorKind::InvalidKey).
    pub fn ttl(&self, key: impl AsRef<str>) -> Result<Option<Ttl>> {
        self.entry(key).ttl_left()
    }

    /// Gives an entry a new time to live from now on; whether there was one. Value and tags stay.
    /// A time in the past deletes it.
    ///
    /// # Errors
    /// [`InvalidKey`](crate::ErrorKind::InvalidKey), [`InvalidTtl`](crate::ErrorKind::InvalidTtl);
    /// an outage is an error.
    pub fn expire(&self, key: impl AsRef<str>, ttl: impl Into<Ttl>) -> Result<bool> {
        self.entry(key).expire(ttl)
    }

    /// Gives an entry the default time to live from now on; whether there was one.
    ///
    /// # Errors
    /// As [`expire`](Self::expire).
    pub fn touch(&self, key: impl AsRef<str>) -> Result<bool> {
        self.entry(key).expire(Ttl::Default)
    }

    /// Adds to a counter and returns it. An absent one counts as 0 (see
    /// [`initial`](EntryRef::initial)) and gets the time to live; an existing one keeps its own.
    ///
    /// # Errors
    /// [`WrongType`](crate::ErrorKind::WrongType) if the value is not a whole number,
    /// [`Overflow`](crate::ErrorKind::Overflow); the value is left as it was. An outage is an error.
    pub fn increment(&self, key: impl AsRef<str>, by: i64) -> Result<i64> {
        self.entry(key).increment(by)
    }

    /// Subtracts from a counter and returns it.
    ///
    /// # Errors
    /// As [`increment`](Self::increment).
    pub fn decrement(&self, key: impl AsRef<str>, by: i64) -> Result<i64> {
        self.entry(key).decrement(by)
    }

    /// The value, loaded and stored if there is none. See [`EntryRef::get_or_load`].
    ///
    /// # Errors
    /// The outer one is the cache's, the inner one the loader's.
    pub fn get_or_load<T, E>(
        &self,
        key: impl AsRef<str>,
        loader: impl FnOnce() -> Result<T, E>,
    ) -> Result<Result<T, E>>
    where
        T: Serialize + DeserializeOwned,
    {
        let view = &*self.0;
        view.get_or_load(&view.policy, key.as_ref(), empty::<&str>(), loader)
    }

    /// The value, computed and stored if there is none. See [`EntryRef::get_or_load`].
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load), but for the loader's.
    pub fn get_or_compute<T>(&self, key: impl AsRef<str>, compute: impl FnOnce() -> T) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
    {
        let Ok(value) = self.get_or_load(key, || Ok::<_, Infallible>(compute()))?;
        Ok(value)
    }

    /// What the cache and its backend counted, and how long calls took: see
    /// [monitoring](crate::monitoring). Costs a visit to each shard in memory, a round trip to each
    /// server of Memcached, and no I/O on Redis.
    pub fn stats(&self) -> Stats {
        let core = &self.0.core;
        core.counters.snapshot(core.backend.stats(self.0.policy.call().armed()))
    }

    /// The backend underneath.
    pub fn backend(&self) -> &dyn Backend {
        &*self.0.core.backend
    }

    /// Stops the backend's threads and closes its connections, as dropping the last handle does.
    pub fn close(&self) {
        self.0.core.backend.close();
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let View { core, prefix, policy, .. } = &*self.0;
        f.debug_struct("Cache")
            .field("backend", &core.backend)
            .field("prefix", prefix)
            .field("policy", policy)
            .finish_non_exhaustive()
    }
}
