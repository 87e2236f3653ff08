//! Loading many keys at once.

mod rows;

use std::fmt;
use std::iter::{Empty, empty};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::rows::Rows;
use super::policy::Policy;
use super::{Cache, Freshness, Ttl, View};
use crate::backend::Tags;
use crate::error::Result;
use crate::stats::{Count, Operation};

/// Many keys with settings for one call. Made by [`Cache::entries`] and [`Cache::entries_by`].
#[must_use = "entries do nothing until they are told what to do"]
pub struct Entries<'c, I, K, G = Empty<&'static str>> {
    view: &'c View,
    ids: Vec<I>,
    /// The key of an id.
    key: K,
    tags: G,
    policy: Policy,
}

impl Cache {
    /// Many keys, to be loaded together.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = yokedcache::Cache::memory(10);
    /// cache.set("a", &1)?;
    /// let values = cache.entries(["a", "b", "c"]).get_or_load_many(|missing| {
    ///     assert_eq!(missing, ["b", "c"]);
    ///     Ok::<_, std::io::Error>([("b".to_owned(), 2)]) // there is no "c"
    /// })??;
    /// assert_eq!(values, [Some(1), Some(2), None]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn entries(
        &self,
        keys: impl IntoIterator<Item: Into<String>>,
    ) -> Entries<'_, String, impl Fn(&String) -> String> {
        self.entries_by(keys.into_iter().map(Into::into), String::clone)
    }

    /// The same by ids of your own, with a function that makes keys of them.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = yokedcache::Cache::memory(10);
    /// # let db = HashMap::from([(1, "Ann".to_owned()), (2, "Bob".to_owned())]);
    /// let users = cache
    ///     .entries_by([2, 1, 2], |id: &u64| format!("user:{id}"))
    ///     .tags(["users"])
    ///     .get_or_load_many(|missing| {
    ///         let found = missing.iter().map(|id| (**id, db[*id].clone()));
    ///         Ok::<_, std::io::Error>(found.collect::<Vec<_>>())
    ///     })??;
    /// assert_eq!(users[2].as_deref(), Some("Bob"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn entries_by<I, K: Fn(&I) -> S, S: Into<String>>(
        &self,
        ids: impl IntoIterator<Item = I>,
        key: K,
    ) -> Entries<'_, I, K> {
        let ids = ids.into_iter().collect();
        Entries { view: &self.0, ids, key, tags: empty(), policy: self.0.policy }
    }
}

impl<'c, I, K, S, G> Entries<'c, I, K, G>
where
    K: Fn(&I) -> S,
    S: Into<String>,
    G: IntoIterator<Item: AsRef<str>>,
{
    /// Tags what is stored, in place of tags named before.
    pub fn tags<H: IntoIterator<Item: AsRef<str>>>(self, tags: H) -> Entries<'c, I, K, H> {
        let Self { view, ids, key, policy, .. } = self;
        Entries { view, ids, key, tags, policy }
    }

    /// See [`EntryRef::freshness`](crate::EntryRef::freshness). Batches are not refreshed early.
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.policy.fresh = freshness.or(&self.view.policy.fresh);
        self
    }

    /// See [`Freshness::ttl`]. Default: as the cache is set.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.policy.fresh.ttl = self.view.policy.fresh.ttl_or_default(ttl.into());
        self
    }

    /// How long the call may take. Default: as the cache is set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.policy.timeout = Some(timeout);
        self
    }

    /// See [`CacheBuilder::lease`](crate::CacheBuilder::lease). Default: as the cache is set.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.policy.lease = Some(lease);
        self
    }

    /// The values in the order asked for; what is missing is loaded by one call of `loader`, which
    /// is given the ids that are, each once.
    ///
    /// The loader returns pairs of id and value, in any order. What it leaves out is `None` and is
    /// not stored; to store that there is no value let the values be `Option`s. Ids it was not asked
    /// for are passed over. Keys may repeat.
    ///
    /// Each key is a load of its own to everybody else, as [`get_or_load`](crate::Cache::get_or_load)
    /// has them: those that others are loading are not given to this loader, and waited for once its
    /// own values are stored. One round trip a node if all is there, three if not: to look, to
    /// claim, to store.
    ///
    /// # Errors
    /// As [`get_or_load`](crate::EntryRef::get_or_load).
    /// [`LoadFailed`](crate::ErrorKind::LoadFailed), too, if another's load came to nothing, or was
    /// overtaken: this call's own values are stored, and asking again loads the rest.
    pub fn get_or_load_many<T, E, L>(
        self,
        loader: impl FnOnce(&[&I]) -> Result<L, E>,
    ) -> Result<Result<Vec<Option<T>>, E>>
    where
        T: Serialize + DeserializeOwned,
        L: IntoIterator<Item = (I, T)>,
    {
        let Self { view, ids, key, tags, policy } = self;
        let keys: Vec<String> = ids.iter().map(|id| key(id).into()).collect();
        let names = view.names(&keys)?;
        let names = names.to_vec();
        if names.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let tags = Tags::within(&view.prefix, tags)?;
        let mut rows: Rows<'_, T> = Rows::new(&view.core, &policy, &names, &tags)?;
        rows.look()?;
        rows.arrive()?;
        rows.claim()?;
        let missing: Vec<&I> = rows.missing().map(|row| &ids[row.first]).collect();
        if !missing.is_empty() {
            view.core.counters.add(Count::Load);
            let started = Instant::now();
            let timed = view.core.counters.time(Operation::Load);
            let loaded = loader(&missing);
            drop(timed);
            match loaded {
                Ok(loaded) => {
                    view.core.loader_answers();
                    let loaded = loaded.into_iter().map(|(id, value)| (key(&id).into(), value));
                    rows.store(loaded, started)?;
                }
                Err(error) if !rows.keep() => return Ok(Err(error)),
                Err(_) => {}
            }
            rows.begin_anew();
        }
        rows.wait()?;
        Ok(Ok(names.iter().enumerate().map(|(at, name)| rows.value(at, name)).collect()))
    }
}

impl<I, K, G> fmt::Debug for Entries<'_, I, K, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").field("ids", &self.ids.len()).finish_non_exhaustive()
    }
}
