//! The tags of an entry.

use std::iter::{Chain, Map, Once, once};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::key;

/// The most tags an entry may have.
pub const MAX_TAGS: usize = 256;

/// The full names of an entry's tags, each once. A cheap clone; an untagged entry holds nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
// One thin pointer: each entry holds one, and most are null.
pub struct Tags(Option<Arc<Box<[Box<str>]>>>);

impl Tags {
    /// No tags.
    pub const NONE: Self = Self(None);

    /// The tags with these full names, repetitions dropped.
    pub fn new<S: AsRef<str>>(full_names: impl IntoIterator<Item = S>) -> Self {
        let mut tags: Vec<Box<str>> = Vec::new();
        for name in full_names {
            if !tags.iter().any(|tag| **tag == *name.as_ref()) {
                tags.push(name.as_ref().into());
            }
        }
        Self((!tags.is_empty()).then(|| Arc::new(tags.into())))
    }

    /// Tags in a namespace, checked.
    pub(crate) fn within<S: AsRef<str>>(
        prefix: &str,
        names: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let mut names = names.into_iter().peekable();
        if names.peek().is_none() {
            return Ok(Self::NONE);
        }
        let names = key::Names::new(prefix, names.take(MAX_TAGS + 1), ErrorKind::InvalidTag)?;
        let names = names.to_vec();
        check_count(names.len())?;
        Ok(Self::new(names.iter().map(key::Name::as_str)))
    }

    /// Both sets together, checked.
    pub(crate) fn joined(&self, more: &Self) -> Result<Self> {
        let all = self.and(more);
        check_count(all.len())?;
        Ok(all)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.as_deref().map_or(0, |tags| tags.len())
    }

    /// The full names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.as_deref().map_or(&[][..], |tags| tags).iter().map(|tag| &**tag)
    }

    /// Whether the tag with this full name is among them.
    pub fn contains(&self, full_name: &str) -> bool {
        self.iter().any(|tag| tag == full_name)
    }

    /// Both sets together.
    pub fn and(&self, more: &Self) -> Self {
        if more.is_empty() { self.clone() } else { Self::new(self.iter().chain(more.iter())) }
    }
}

/// Refuses more tags than an entry may have.
fn check_count(count: usize) -> Result<()> {
    if count > MAX_TAGS {
        let what = format!("an entry has {MAX_TAGS} tags at most");
        return Err(Error::new(ErrorKind::InvalidTag, what));
    }
    Ok(())
}

/// Tags and one more, of whatever type of string each is. Made by
/// [`EntryRef::tag`](crate::EntryRef::tag).
#[derive(Clone, Debug)]
pub struct And<G, S>(pub(crate) G, pub(crate) S);

/// A string of one of two types.
#[derive(Clone, Debug)]
pub enum Either<A, B> {
    /// The first type.
    One(A),
    /// The second type.
    Other(B),
}

impl<A: AsRef<str>, B: AsRef<str>> AsRef<str> for Either<A, B> {
    fn as_ref(&self) -> &str {
        match self {
            Self::One(tag) => tag.as_ref(),
            Self::Other(tag) => tag.as_ref(),
        }
    }
}

impl<G: IntoIterator, S> IntoIterator for And<G, S> {
    type Item = Either<G::Item, S>;
    type IntoIter =
        Chain<Map<G::IntoIter, fn(G::Item) -> Either<G::Item, S>>, Once<Either<G::Item, S>>>;

    fn into_iter(self) -> Self::IntoIter {
        let one: fn(G::Item) -> Self::Item = Either::One;
        self.0.into_iter().map(one).chain(once(Either::Other(self.1)))
    }
}
