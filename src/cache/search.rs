//! Search by a query with typing errors.

use std::cmp::Ordering;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::core::Core;
use super::look::usable;
use super::{Cache, View};
use crate::backend::{Entry, Name, Tags, Want};
use crate::error::{Error, ErrorKind, Result};
use crate::fuzzy::Scorer;
use crate::key::{self, Names};
use crate::pattern::Pattern;

/// The longest query: a score costs up to the square of it.
const LONGEST: usize = 256;

impl Cache {
    /// The keys most like `query`, best first: those that score at least 80, ten at most.
    ///
    /// As [`search`](Self::search) with nothing else said.
    ///
    /// ```
    /// # fn main() -> yokedcache::Result<()> {
    /// # let cache = yokedcache::Cache::memory(10);
    /// cache.set("user:alice", "Alice")?;
    /// cache.set("order:7", "...")?;
    /// let found = cache.fuzzy_search("alcie")?;
    /// assert_eq!(found[0].key, "user:alice");
    /// assert_eq!(found[0].value::<String>()?.as_deref(), Some("Alice"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Search::find`].
    pub fn fuzzy_search(&self, query: &str) -> Result<Vec<Match>> {
        self.search(query).find()
    }

    /// A search with settings.
    ///
    /// ```
    /// # fn main() -> yokedcache::Result<()> {
    /// # let cache = yokedcache::Cache::memory(10);
    /// # cache.entry("user:bob").tag("people").set("Bob")?;
    /// let found = cache.search("Bbo").threshold(60).limit(3).tag("people").ignore_case().find()?;
    /// # assert_eq!(found.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn search<'c>(&'c self, query: &'c str) -> Search<'c> {
        Search {
            view: &self.0,
            query,
            threshold: 80.0,
            limit: 10,
            tag: None,
            prefix: "",
            ignore_case: false,
        }
    }
}

/// A search being set up. Made by [`Cache::search`].
///
/// A key's score, from 0 to 100, is the similarity of the query to the part of the key it fits
/// best (`partial_ratio` of the Python package rapidfuzz). A query of several words scores the mean
/// of its words, weighted by length, or as a whole, whichever is more. Keys are compared without
/// their namespace.
///
/// A search visits every key of the namespace, a page at a time: some 0.3 microseconds a key in
/// memory, one round trip a thousand keys on Redis.
#[derive(Clone, Debug)]
#[must_use = "a search does nothing until it is told to find"]
pub struct Search<'c> {
    view: &'c View,
    query: &'c str,
    threshold: f64,
    limit: usize,
    tag: Option<&'c str>,
    prefix: &'c str,
    ignore_case: bool,
}

impl<'c> Search<'c> {
    /// The least score of a match, 0 to 100. Default 80.
    pub fn threshold(mut self, score: impl Into<f64>) -> Self {
        self.threshold = score.into();
        self
    }

    /// The most matches returned, at least 1. Default 10.
    pub fn limit(mut self, matches: usize) -> Self {
        self.limit = matches;
        self
    }

    /// Only entries with this tag. Costs reading the head of each entry of the namespace.
    pub fn tag(mut self, tag: &'c str) -> Self {
        self.tag = Some(tag);
        self
    }

    /// Only keys that begin so, literally.
    pub fn prefix(mut self, prefix: &'c str) -> Self {
        self.prefix = prefix;
        self
    }

    /// Takes capital and small letters for the same. Default: they differ.
    pub fn ignore_case(mut self) -> Self {
        self.ignore_case = true;
        self
    }

    /// The matches, best first; among equals those nearest to the query's length.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for an empty query or one of more than 256
    /// characters, a threshold outside 0 to 100, or a limit of 0;
    /// [`Unsupported`](ErrorKind::Unsupported) where the backend cannot list keys, or has no tags and
    /// one is named; any failure of the backend.
    pub fn find(self) -> Result<Vec<Match>> {
        let wanted = self.query.chars().count();
        if !(1..=LONGEST).contains(&wanted) {
            return Err(invalid(format!(
                "the query has {wanted} characters, 1 to {LONGEST} can be searched"
            )));
        }
        if !(0.0..=100.0).contains(&self.threshold) {
            return Err(invalid(format!("the threshold is {}, not 0 to 100", self.threshold)));
        }
        if self.limit == 0 {
            return Err(invalid("the limit is 0".into()));
        }
        let mut best = self.best()?;
        best.sort_by(|a, b| a.rank(b, wanted));
        let mut found = Vec::new();
        // Some may have left the cache, or be of another schema: the next best take their places.
        while found.len() < self.limit && !best.is_empty() {
            let missing = (self.limit - found.len()).min(best.len());
            found.extend(self.read(best.drain(..missing).collect())?);
        }
        Ok(found)
    }

    /// The best keys in no order, a few more than wanted.
    fn best(&self) -> Result<Vec<Candidate>> {
        let wanted = self.query.chars().count();
        let mut scorer = Scorer::new(self.query, self.ignore_case);
        let mut best: Vec<Candidate> = Vec::new();
        self.each_key(&mut |key| {
            let score = scorer.score(key);
            if score >= self.threshold {
                best.push(Candidate { key: key.into(), score });
            }
            // Now and then the worse half goes: memory is bounded, and a key costs O(1) of it.
            let kept = self.limit.max(64).saturating_mul(2);
            if best.len() >= kept.saturating_mul(2) {
                best.select_nth_unstable_by(kept, |a, b| a.rank(b, wanted));
                best.truncate(kept);
            }
        })?;
        best.sort_by(|a, b| a.key.cmp(&b.key));
        best.dedup_by(|a, b| a.key == b.key);
        Ok(best)
    }

    fn each_key(&self, each: &mut dyn FnMut(&str)) -> Result<()> {
        let View { core, prefix, policy, .. } = self.view;
        let pattern = Pattern::prefix(self.prefix);
        if let Some(tag) = self.tag {
            key::check(prefix, tag, ErrorKind::InvalidTag)?;
            let tag = [prefix, tag].concat();
            core.need_tags(&Tags::new([&tag]))?;
            return self.view.each_found(&pattern, &mut |name, found| {
                let Entry { schema, tags, .. } = &found.entry;
                if *schema == policy.schema && tags.contains(&tag) {
                    each(name.rest());
                }
                Ok(())
            });
        }
        core.need_scan()?;
        core.scan(policy, &pattern.within(prefix), &mut |full| {
            let keys = full.iter().map(|key| &key[prefix.len()..]);
            keys.filter(|key| !key.is_empty()).for_each(&mut *each);
            ControlFlow::Continue(())
        })
    }

    /// Fetches the values of the best. What left the cache meanwhile is left out.
    fn read(&self, best: Vec<Candidate>) -> Result<Vec<Match>> {
        let View { core, prefix, policy, .. } = self.view;
        let names = Names::new(prefix, best.iter().map(|found| &found.key), ErrorKind::InvalidKey)?;
        let names: Vec<Name<'_>> = names.to_vec();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let out = core.ask_about(policy, &names, &Want { quiet: true, ..Want::VALUE })?;
        let found = best.into_iter().zip(out).filter_map(|(Candidate { key, score }, mut read)| {
            let entry = usable(policy, &mut read).ok()?.entry.clone();
            Some(Match { key, score, entry, core: core.clone() })
        });
        Ok(found.collect())
    }
}

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, what)
}

struct Candidate {
    key: String,
    score: f64,
}

impl Candidate {
    fn rank(&self, other: &Self, wanted: usize) -> Ordering {
        let far = |key: &str| key.chars().count().abs_diff(wanted);
        let by_score = other.score.total_cmp(&self.score);
        by_score
            .then_with(|| far(&self.key).cmp(&far(&other.key)))
            .then_with(|| self.key.cmp(&other.key))
    }
}

/// An entry found by [`fuzzy_search`](Cache::fuzzy_search).
#[derive(Clone)]
#[non_exhaustive]
pub struct Match {
    /// Its key, without the namespace.
    pub key: String,
    /// How well it fits, from 0 to 100.
    pub score: f64,
    entry: Entry,
    core: Arc<Core>,
}

impl Match {
    /// Its value as it was found, decoded now; `None` if it is not a `T`.
    ///
    /// # Errors
    /// None so far.
    pub fn value<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        Ok(self.core.format.value(&self.entry))
    }
}

impl fmt::Debug for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Match").field("key", &self.key).field("score", &self.score).finish()
    }
}
