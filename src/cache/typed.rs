//! A handle for values of one type.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Cache, EntryRef, Lookup, Ttl};
use crate::error::{Error, Result};

/// A cache whose values are all of one type, so that no call needs to name it.
///
/// ```
/// use yokedcache::{Cache, Typed};
///
/// struct Service {
///     names: Typed<String>,
/// }
///
/// # fn main() -> yokedcache::Result<()> {
/// let cache = Cache::memory(10);
/// let service = Service { names: cache.namespace("name").typed() };
/// service.names.set("1", &"Ann".to_owned())?;
/// assert_eq!(service.names.get("1")?.as_deref(), Some("Ann"));
/// # Ok(())
/// # }
/// ```
pub struct Typed<T> {
    cache: Cache,
    of: PhantomData<fn() -> T>,
}

impl<T> Typed<T> {
    pub(super) fn new(cache: Cache) -> Self {
        Self { cache, of: PhantomData }
    }

    /// The cache underneath, for everything that has nothing to do with the type.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// See [`Cache::entry`].
    pub fn entry<K: AsRef<str>>(&self, key: K) -> EntryRef<'_, K> {
        self.cache.entry(key)
    }

    /// See [`Cache::delete`].
    ///
    /// # Errors
    /// As there.
    pub fn delete(&self, key: impl AsRef<str>) -> Result<bool> {
        self.cache.delete(key)
    }

    /// See [`Cache::expire`].
    ///
    /// # Errors
    /// As there.
    pub fn expire(&self, key: impl AsRef<str>, ttl: impl Into<Ttl>) -> Result<bool> {
        self.cache.expire(key, ttl)
    }
}

impl<T: Serialize> Typed<T> {
    /// See [`Cache::set`].
    ///
    /// # Errors
    /// As there.
    pub fn set(&self, key: impl AsRef<str>, value: &T) -> Result<bool> {
        self.cache.set(key, value)
    }

    /// See [`Cache::add`].
    ///
    /// # Errors
    /// As there.
    pub fn add(&self, key: impl AsRef<str>, value: &T) -> Result<bool> {
        self.cache.add(key, value)
    }

    /// See [`Cache::set_many`].
    ///
    /// # Errors
    /// As there.
    pub fn set_many<K: AsRef<str>>(
        &self,
        values: impl IntoIterator<Item = (K, T)>,
    ) -> Result<Vec<(String, Error)>> {
        self.cache.set_many(values)
    }
}

impl<T: DeserializeOwned> Typed<T> {
    /// See [`Cache::get`].
    ///
    /// # Errors
    /// As there.
    pub fn get(&self, key: impl AsRef<str>) -> Result<Option<T>> {
        self.cache.get(key)
    }

    /// See [`Cache::lookup`].
    ///
    /// # Errors
    /// As there.
    pub fn lookup(&self, key: impl AsRef<str>) -> Result<Lookup<T>> {
        self.cache.lookup(key)
    }

    /// See [`Cache::get_many`].
    ///
    /// # Errors
    /// As there.
    pub fn get_many(&self, keys: impl IntoIterator<Item: AsRef<str>>) -> Result<Vec<Option<T>>> {
        self.cache.get_many(keys)
    }
}

impl<T: Serialize + DeserializeOwned> Typed<T> {
    /// See [`Cache::get_or_load`].
    ///
    /// # Errors
    /// As there.
    pub fn get_or_load<E>(
        &self,
        key: impl AsRef<str>,
        loader: impl FnOnce() -> Result<T, E>,
    ) -> Result<Result<T, E>> {
        self.cache.get_or_load(key, loader)
    }

    /// See [`Cache::get_or_compute`].
    ///
    /// # Errors
    /// As there.
    pub fn get_or_compute(&self, key: impl AsRef<str>, compute: impl FnOnce() -> T) -> Result<T> {
        self.cache.get_or_compute(key, compute)
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> Typed<T> {
    /// See [`Cache::get_arc`].
    ///
    /// # Errors
    /// As there.
    pub fn get_arc(&self, key: impl AsRef<str>) -> Result<Option<Arc<T>>> {
        self.cache.get_arc(key)
    }
}

impl<T> Clone for Typed<T> {
    fn clone(&self) -> Self {
        Self::new(self.cache.clone())
    }
}

impl<T> fmt::Debug for Typed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Typed").field(&self.cache).finish()
    }
}
