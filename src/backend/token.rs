//! Versions of entries and rights to fill keys, and which backend they are of.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A tag's full name and the version it had.
pub type TagVersion = (Box<str>, u64);

/// The right to fill a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// Which backend gave it.
    pub origin: Origin,
    /// Which one it is.
    pub id: u128,
    /// The versions of tags it was given under, for backends that keep any.
    pub seen: Option<Arc<[TagVersion]>>,
}

impl Lease {
    /// A right given by the backend with this origin.
    pub fn new(origin: Origin, id: u128) -> Self {
        Self { origin, id, seen: None }
    }
}

/// The version of an entry as somebody read it, to write back under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Token {
    /// Which backend it came from.
    pub origin: Origin,
    /// Which version it is.
    pub id: u128,
}

impl Token {
    /// A version at the backend with this origin.
    pub fn new(origin: Origin, id: u128) -> Self {
        Self { origin, id }
    }
}

/// Tells one backend instance from another: a token or lease counts only where it came from.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin(u64);

impl Origin {
    /// An origin no other backend of this process has.
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({})", self.0)
    }
}
