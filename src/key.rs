//! Names: keys and tags with the namespace they live in.

use std::cell::Cell;

use crate::error::{Error, ErrorKind, Result};

/// The longest key or tag, its namespace included, in bytes.
pub const MAX_KEY: usize = u16::MAX as usize;

/// A full key or tag as a backend gets it: the namespace and what the caller named, in one string.
///
/// The mapping is injective: `as_str()` alone tells two names apart, and a backend that stores
/// under it is right.
///
/// ```
/// use yokedcache::backend::Name;
///
/// let name = Name::new("shop:user:1", "shop:".len());
/// assert_eq!((name.as_str(), name.space(), name.rest()), ("shop:user:1", "shop:", "user:1"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name<'a> {
    full: &'a str,
    space: usize,
}

impl<'a> Name<'a> {
    /// A name whose first `space` bytes are its namespace.
    ///
    /// # Panics
    /// If `space` is not a character boundary of `full`.
    pub fn new(full: &'a str, space: usize) -> Self {
        assert!(full.is_char_boundary(space), "a namespace ends at a character boundary");
        Self { full, space }
    }

    /// The whole name: what to store under.
    #[inline]
    pub fn as_str(&self) -> &'a str {
        self.full
    }

    /// The namespace with its closing colon, or nothing.
    pub fn space(&self) -> &'a str {
        &self.full[..self.space]
    }

    /// The name without its namespace: what the caller wrote.
    pub fn rest(&self) -> &'a str {
        &self.full[self.space..]
    }
}

/// Calls `f` with `prefix` and `key` put together, after checking them.
///
/// The string is built in a buffer of the thread: a namespace costs a copy, not an allocation.
#[inline]
pub(crate) fn with_name<R>(
    prefix: &str,
    key: &str,
    f: impl FnOnce(Name<'_>) -> Result<R>,
) -> Result<R> {
    check(prefix, key, ErrorKind::InvalidKey)?;
    if prefix.is_empty() {
        return f(Name { full: key, space: 0 });
    }
    let mut buffer = BUFFER.take();
    buffer.clear();
    buffer.push_str(prefix);
    buffer.push_str(key);
    let result = f(Name { full: &buffer, space: prefix.len() });
    if buffer.capacity() <= KEPT {
        BUFFER.set(buffer);
    }
    result
}

/// The largest buffer a thread keeps between calls.
const KEPT: usize = 1024;

thread_local! {
    // Taken out while in use: a call inside a call finds an empty one and is right, only slower.
    static BUFFER: Cell<String> = const { Cell::new(String::new()) };
}

/// Refuses a key or tag that is empty or too long.
#[inline]
pub(crate) fn check(prefix: &str, name: &str, kind: ErrorKind) -> Result<()> {
    if name.is_empty() || prefix.len() + name.len() > MAX_KEY {
        return Err(refused(prefix, name, kind));
    }
    Ok(())
}

#[cold]
fn refused(prefix: &str, name: &str, kind: ErrorKind) -> Error {
    let what = if kind == ErrorKind::InvalidTag { "tag" } else { "key" };
    if name.is_empty() {
        return Error::new(kind, format!("the {what} is empty"));
    }
    let long = prefix.len() + name.len();
    Error::new(kind, format!("the {what} has {long} bytes with its namespace, {MAX_KEY} at most"))
}

/// Many names under one prefix, in one string: what a batch is made of.
#[derive(Debug)]
pub(crate) struct Names {
    text: String,
    ends: Vec<usize>,
    space: usize,
}

impl Names {
    pub(crate) fn new<S: AsRef<str>>(
        prefix: &str,
        names: impl IntoIterator<Item = S>,
        kind: ErrorKind,
    ) -> Result<Self> {
        let mut all = Self { text: String::new(), ends: Vec::new(), space: prefix.len() };
        for name in names {
            check(prefix, name.as_ref(), kind)?;
            all.text.push_str(prefix);
            all.text.push_str(name.as_ref());
            all.ends.push(all.text.len());
        }
        Ok(all)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(crate) fn to_vec(&self) -> Vec<Name<'_>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let spans = starts.zip(&self.ends);
        spans
            .map(|(start, &end)| Name { full: &self.text[start..end], space: self.space })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Different (namespace, key) pairs under one root never share a stored name.
        #[test]
        fn the_mapping_is_injective(a in ".{1,12}", b in ".{1,12}", prefix in "([a-z:]{1,4}:)?") {
            let full = |key: &str| with_name(&prefix, key, |name| {
                assert_eq!((name.space(), name.rest()), (prefix.as_str(), key));
                Ok(name.as_str().to_owned())
            });
            prop_assert_eq!(full(&a).unwrap() == full(&b).unwrap(), a == b);
        }
    }

    #[test]
    fn a_call_inside_a_call_has_a_buffer_of_its_own() {
        let outer = with_name("a:", "x", |outer| {
            with_name("b:", "y", |inner| Ok(format!("{} {}", outer.as_str(), inner.as_str())))
        });
        assert_eq!(outer.unwrap(), "a:x b:y");
    }

    #[test]
    fn names_of_a_batch_keep_their_order() {
        let names = Names::new("p:", ["b", "a", "b"], ErrorKind::InvalidKey).unwrap();
        let full: Vec<_> = names.to_vec().iter().map(Name::as_str).collect();
        assert_eq!(full, ["p:b", "p:a", "p:b"]);
    }
}
