//! Listing and invalidating by pattern and tag.

use std::ops::ControlFlow;

use super::core::unanswered;
use super::{Cache, View};
use crate::backend::{
    Cause, Change, Found, Name, NotDone, Read, Removed, Scope, Want, When, Write, Wrote,
};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Names;
use crate::pattern::Pattern;
use crate::stats::Count;

/// How many entries a walk over all keys reads at once.
const PAGE: usize = 512;

impl Cache {
    /// Removes every entry with at least one of these tags.
    ///
    /// Once this returns, nobody who begins a read gets a value that was stored, or whose load had
    /// begun, before the call. Tags are those of this namespace. Naming none removes nothing.
    ///
    /// ```
    /// # fn main() -> yokedcache::Result<()> {
    /// # let cache = yokedcache::Cache::memory(10);
    /// cache.entry("user:1").tags(["users", "eu"]).set("Ann")?;
    /// cache.entry("user:2").tags(["users", "us"]).set("Bob")?;
    /// assert_eq!(cache.dry_run().invalidate_tags(["eu"])?, ["user:1"]);
    /// assert_eq!(cache.invalidate_tags(["eu"])?.entries, Some(1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`InvalidTag`](ErrorKind::InvalidTag); [`Unsupported`](ErrorKind::Unsupported) where the
    /// backend has no tags. An outage is always an error: call again.
    pub fn invalidate_tags(&self, tags: impl IntoIterator<Item: AsRef<str>>) -> Result<Removed> {
        let tags = self.0.tags(tags)?;
        if tags.is_empty() {
            return Ok(Removed::counted(0));
        }
        self.0.core.invalidate(&self.0.policy, &Scope::AnyTag(&tags.to_vec()))
    }

    /// Removes every entry that has all of these tags. Otherwise as
    /// [`invalidate_tags`](Self::invalidate_tags); on remote backends it costs a visit to every key.
    ///
    /// # Errors
    /// As there.
    pub fn invalidate_tags_all(
        &self,
        tags: impl IntoIterator<Item: AsRef<str>>,
    ) -> Result<Removed> {
        let tags = self.0.tags(tags)?;
        if tags.is_empty() {
            return Ok(Removed::counted(0));
        }
        let tags = tags.to_vec();
        let removed = self.0.core.invalidate(&self.0.policy, &Scope::AllTags(&tags));
        match removed {
            Err(error) if error.kind() == ErrorKind::Unsupported => self.remove_each(&tags),
            removed => removed,
        }
    }

    /// The same for a backend that knows no "all of": look at every entry, remove by version.
    fn remove_each(&self, tags: &[Name<'_>]) -> Result<Removed> {
        let View { core, policy, .. } = &*self.0;
        core.need_versions()?;
        core.flights.overtake_all();
        let mut removed = 0;
        self.0.each_found(&Pattern::all(), &mut |name, found| {
            if !has_all(found, tags) {
                return Ok(());
            }
            let token = found.more.as_ref().and_then(|more| more.token).ok_or_else(unanswered)?;
            let write = Write::new(name, When::Version(token), Change::Remove);
            match core.write(policy, write)? {
                Wrote::Done(_) => removed += 1,
                Wrote::Not(NotDone::Absent | NotDone::Changed) => {}
                _ => return Err(unanswered()),
            }
            Ok(())
        })?;
        core.counters.add(Count::Invalidation);
        Ok(Removed::counted(removed))
    }

    /// Removes every entry whose key matches: a Redis glob as a string, or a [`Pattern`].
    ///
    /// The pattern sees keys of this namespace, without it. Entries stored and loads begun before
    /// the call are gone when it returns.
    ///
    /// ```
    /// use yokedcache::Pattern;
    /// # fn main() -> yokedcache::Result<()> {
    /// # let cache = yokedcache::Cache::memory(10);
    /// cache.set("user:1", "Ann")?;
    /// cache.set("users:1", "all")?;
    /// assert_eq!(cache.invalidate_pattern("user:*")?.entries, Some(1));
    /// assert_eq!(cache.invalidate_pattern(Pattern::regex(r"^users:\d$")?)?.entries, Some(1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`InvalidPattern`](ErrorKind::InvalidPattern); [`Unsupported`](ErrorKind::Unsupported) where
    /// the backend cannot list keys. An outage is always an error: call again.
    pub fn invalidate_pattern<P: TryInto<Pattern>>(&self, pattern: P) -> Result<Removed>
    where
        Error: From<P::Error>,
    {
        let pattern = pattern.try_into()?.within(&self.0.prefix);
        self.0.core.need_scan()?;
        self.0.core.invalidate(&self.0.policy, &Scope::Keys(&pattern))
    }

    /// Removes every entry of this namespace, nested ones included, and nothing else.
    ///
    /// # Errors
    /// As [`invalidate_pattern`](Self::invalidate_pattern), and
    /// [`Unsupported`](ErrorKind::Unsupported) for a cache without a key prefix on a backend that
    /// other programs use, too.
    pub fn clear(&self) -> Result<Removed> {
        self.0.may_clear()?;
        self.invalidate_pattern(Pattern::all())
    }

    /// What these calls would remove, removing nothing.
    ///
    /// ```
    /// # fn main() -> yokedcache::Result<()> {
    /// # let cache = yokedcache::Cache::memory(10);
    /// cache.set("user:1", "Ann")?;
    /// assert_eq!(cache.dry_run().invalidate_pattern("user:*")?, ["user:1"]);
    /// assert!(cache.exists("user:1")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn dry_run(&self) -> DryRun<'_> {
        DryRun(self)
    }

    /// The keys that match, sorted, each once. The pattern sees keys without the namespace, and
    /// so do you.
    ///
    /// [`scan`](Self::scan) does not hold all of them at once.
    ///
    /// # Errors
    /// [`InvalidPattern`](ErrorKind::InvalidPattern); [`Unsupported`](ErrorKind::Unsupported) where
    /// the backend cannot list keys; any failure of the backend.
    pub fn keys<P: TryInto<Pattern>>(&self, pattern: P) -> Result<Vec<String>>
    where
        Error: From<P::Error>,
    {
        let mut keys = Vec::new();
        self.scan(pattern, |page| {
            keys.extend(page.iter().map(|key| key.to_string()));
            ControlFlow::Continue(())
        })?;
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    /// Hands out the keys that match, page by page, until `page` breaks. `page` may use the cache.
    /// A key may come twice.
    ///
    /// # Errors
    /// As [`keys`](Self::keys).
    pub fn scan<P: TryInto<Pattern>>(
        &self,
        pattern: P,
        mut page: impl FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()>
    where
        Error: From<P::Error>,
    {
        let View { core, prefix, policy, .. } = &*self.0;
        let pattern = pattern.try_into()?.within(prefix);
        core.need_scan()?;
        core.scan(policy, &pattern, &mut |full| {
            let keys = full.iter().map(|key| &key[prefix.len()..]);
            page(&keys.filter(|key| !key.is_empty()).collect::<Vec<_>>())
        })
    }
}

/// The names of what a call would remove. Made by [`Cache::dry_run`].
///
/// Each method names live entries, of whatever schema, sorted, and costs a visit to every key
/// of the namespace.
#[derive(Clone, Copy, Debug)]
#[must_use = "a dry run does nothing until it is told what to try"]
pub struct DryRun<'c>(&'c Cache);

impl DryRun<'_> {
    /// See [`Cache::invalidate_tags`].
    ///
    /// # Errors
    /// As there.
    pub fn invalidate_tags(
        &self,
        tags: impl IntoIterator<Item: AsRef<str>>,
    ) -> Result<Vec<String>> {
        let tags = self.0.0.tags(tags)?;
        let tags = tags.to_vec();
        self.named(|found| tags.iter().any(|tag| found.entry.tags.contains(tag.as_str())))
    }

    /// See [`Cache::invalidate_tags_all`].
    ///
    /// # Errors
    /// As there.
    pub fn invalidate_tags_all(
        &self,
        tags: impl IntoIterator<Item: AsRef<str>>,
    ) -> Result<Vec<String>> {
        let tags = self.0.0.tags(tags)?;
        let tags = tags.to_vec();
        self.named(|found| !tags.is_empty() && has_all(found, &tags))
    }

    fn named(&self, hit: impl Fn(&Found) -> bool) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        self.0.0.each_found(&Pattern::all(), &mut |name, found| {
            if hit(found) {
                keys.push(name.rest().to_owned());
            }
            Ok(())
        })?;
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    /// See [`Cache::invalidate_pattern`].
    ///
    /// # Errors
    /// As there.
    pub fn invalidate_pattern<P: TryInto<Pattern>>(&self, pattern: P) -> Result<Vec<String>>
    where
        Error: From<P::Error>,
    {
        self.0.keys(pattern)
    }

    /// See [`Cache::clear`].
    ///
    /// # Errors
    /// As there.
    pub fn clear(&self) -> Result<Vec<String>> {
        self.0.0.may_clear()?;
        self.0.keys(Pattern::all())
    }
}

fn has_all(found: &Found, tags: &[Name<'_>]) -> bool {
    tags.iter().all(|tag| found.entry.tags.contains(tag.as_str()))
}

impl View {
    fn tags<S: AsRef<str>>(&self, tags: impl IntoIterator<Item = S>) -> Result<Names> {
        let tags = Names::new(&self.prefix, tags, ErrorKind::InvalidTag)?;
        let about = self.core.backend.about();
        if about.can.tags { Ok(tags) } else { Err(Error::unsupported(about.name, "tags")) }
    }

    fn may_clear(&self) -> Result<()> {
        if self.prefix.is_empty() && self.core.backend.about().can.shared {
            let what = "a cache without a key prefix on a shared backend cannot be cleared: it \
                        would take the entries of other programs, too";
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        Ok(())
    }

    /// Shows the head of each live entry, of whatever schema, whose key matches, with tags and version; a page of keys
    /// is read at once.
    pub(super) fn each_found(
        &self,
        pattern: &Pattern,
        each: &mut dyn FnMut(Name<'_>, &Found) -> Result<()>,
    ) -> Result<()> {
        let core = &*self.core;
        core.need_scan()?;
        let mut result = Ok(());
        core.scan(&self.policy, &pattern.within(&self.prefix), &mut |full| {
            for keys in full.chunks(PAGE) {
                result = self.heads(keys, each);
                if result.is_err() {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        result
    }

    fn heads(
        &self,
        keys: &[&str],
        each: &mut dyn FnMut(Name<'_>, &Found) -> Result<()>,
    ) -> Result<()> {
        let names: Vec<_> = keys.iter().map(|key| Name::new(key, self.prefix.len())).collect();
        let token = self.core.backend.about().can.versions;
        let want = Want { head_only: true, meta: true, quiet: true, token, ..Want::VALUE };
        let out = self.core.ask_about(&self.policy, &names, &want)?;
        for (name, read) in names.into_iter().zip(out) {
            match read {
                Read::Hit(found) => each(name, &found)?,
                Read::Failed(error) => return Err(error),
                Read::Unanswered | Read::Miss(Cause::Down, _) => return Err(unanswered()),
                Read::Miss(..) => {}
            }
        }
        Ok(())
    }
}
