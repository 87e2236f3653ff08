//! Which keys an operation is about: Redis globs and regular expressions.

use std::sync::Arc;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

mod glob;

use glob::Glob;

/// A set of keys: a Redis glob, a regular expression, or all.
///
/// Globs have the semantics of Redis' `MATCH`, byte by byte and over the whole key:
///
/// | written | matches |
/// |---|---|
/// | `*` | any run of bytes, also none |
/// | `?` | any one byte (an accented letter has two or more) |
/// | `[a-cx]` | one byte of the class; a range may be written backwards |
/// | `[^a-c]` | one byte that is not in it |
/// | `\*` | the next byte as it is, inside classes too |
///
/// Redis takes an unclosed class or a final backslash silently, and finds something nobody asked
/// for. Here they are [`InvalidPattern`](ErrorKind::InvalidPattern), as is an empty pattern.
///
/// A regular expression is searched for anywhere in the key (anchor it with `^` and `$`) and sees
/// the key without its namespace.
///
/// ```
/// use yokedcache::Pattern;
///
/// # fn main() -> yokedcache::Result<()> {
/// let users = Pattern::glob("user:[0-9]*")?;
/// assert!(users.matches("user:17") && !users.matches("users:17"));
/// assert!(Pattern::regex(r"^user:\d+$")?.matches("user:17"));
/// assert!(Pattern::glob("user:[0-9").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Pattern {
    /// Literal: glob characters in a namespace mean themselves.
    space: Box<str>,
    rest: Rest,
    stale_too: bool,
}

#[derive(Clone, Debug)]
enum Rest {
    All,
    Glob(Arc<Glob>),
    Regex(Regex),
}

impl Pattern {
    /// Every key.
    pub fn all() -> Self {
        Self { space: "".into(), rest: Rest::All, stale_too: false }
    }

    /// The keys that match a Redis glob.
    ///
    /// # Errors
    /// [`InvalidPattern`](ErrorKind::InvalidPattern) for an empty glob, an unclosed class, or a
    /// backslash at the end.
    pub fn glob(glob: &str) -> Result<Self> {
        let rest = if glob == "*" { Rest::All } else { Rest::Glob(Arc::new(Glob::parse(glob)?)) };
        Ok(Self { space: "".into(), rest, stale_too: false })
    }

    /// The keys in which a regular expression is found.
    ///
    /// # Errors
    /// [`InvalidPattern`](ErrorKind::InvalidPattern), with the reason as its source.
    pub fn regex(regex: &str) -> Result<Self> {
        let regex = Regex::new(regex).map_err(|error| {
            Error::with_source(ErrorKind::InvalidPattern, "not a regular expression", error)
        })?;
        Ok(Self { space: "".into(), rest: Rest::Regex(regex), stale_too: false })
    }

    /// The keys that begin with `prefix`, taken literally.
    pub fn prefix(prefix: &str) -> Self {
        Self { space: prefix.into(), rest: Rest::All, stale_too: false }
    }

    /// A glob that matches this text and nothing else.
    ///
    /// ```
    /// use yokedcache::Pattern;
    ///
    /// let folder = Pattern::glob(&format!("{}/*", Pattern::escape("[old]*")));
    /// assert!(folder.is_ok_and(|folder| folder.matches("[old]*/x") && !folder.matches("o/x")));
    /// ```
    pub fn escape(text: &str) -> String {
        let mut glob = String::with_capacity(text.len());
        for character in text.chars() {
            if matches!(character, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
                glob.push('\\');
            }
            glob.push(character);
        }
        glob
    }

    /// The same pattern for the keys of a namespace, whose characters mean themselves.
    pub fn within(&self, space: &str) -> Self {
        let (rest, stale_too) = (self.rest.clone(), self.stale_too);
        Self { space: [space, &self.space].concat().into(), rest, stale_too }
    }

    /// The same set, of which a [listing](crate::Backend::scan) also names the keys that are absent to
    /// readers, but have an entry: a stale one, or one that cannot be read. A removal takes those
    /// along anyway.
    ///
    /// ```
    /// use std::time::Duration;
    /// use yokedcache::{Cache, ManualClock, Memory, Pattern};
    ///
    /// # fn main() -> yokedcache::Result<()> {
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder(Memory::builder().clock(&clock).build()?).build()?;
    /// cache.entry("k").ttl(Duration::from_secs(1)).stale_for(Duration::from_secs(60)).set(&1)?;
    /// clock.advance(Duration::from_secs(2));
    /// assert!(cache.keys("k*")?.is_empty());
    /// assert_eq!(cache.keys(Pattern::glob("k*")?.with_stale())?, ["k"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_stale(mut self) -> Self {
        self.stale_too = true;
        self
    }

    /// Whether a listing names the keys of [stale entries](Self::with_stale), too.
    pub fn lists_stale(&self) -> bool {
        self.stale_too
    }

    /// The literal part every match begins with.
    pub fn literal_prefix(&self) -> &str {
        &self.space
    }

    /// A Redis glob for the full keys of the set, each perhaps followed by something.
    #[cfg(feature = "redis")]
    pub(crate) fn match_glob(&self) -> String {
        let mut glob = Self::escape(&self.space);
        if let Rest::Glob(rest) = &self.rest {
            glob.push_str(&rest.text);
        }
        glob.push('*');
        glob
    }

    /// Whether it is all keys of its namespace.
    #[cfg(any(feature = "redis", feature = "memcached"))]
    pub(crate) fn is_all(&self) -> bool {
        matches!(self.rest, Rest::All)
    }

    /// The same in text, to be compared, written down and read back.
    pub(crate) fn parts(&self) -> Parts {
        let rest = match &self.rest {
            Rest::All => Text::All,
            Rest::Glob(glob) => Text::Glob(glob.text.clone()),
            Rest::Regex(regex) => Text::Regex(regex.as_str().into()),
        };
        Parts { space: self.space.clone(), rest }
    }

    /// Whether a full key belongs to the set.
    pub fn matches(&self, full_key: &str) -> bool {
        let Some(rest) = full_key.strip_prefix(&*self.space) else { return false };
        match &self.rest {
            Rest::All => true,
            Rest::Glob(glob) => glob.matches(rest.as_bytes()),
            Rest::Regex(regex) => regex.is_match(rest),
        }
    }
}

impl TryFrom<&str> for Pattern {
    type Error = Error;

    fn try_from(glob: &str) -> Result<Self> {
        Self::glob(glob)
    }
}

impl TryFrom<&String> for Pattern {
    type Error = Error;

    fn try_from(glob: &String) -> Result<Self> {
        Self::glob(glob)
    }
}

impl TryFrom<String> for Pattern {
    type Error = Error;

    fn try_from(glob: String) -> Result<Self> {
        Self::glob(&glob)
    }
}

impl From<&Pattern> for Pattern {
    fn from(pattern: &Pattern) -> Self {
        pattern.clone()
    }
}

/// A pattern in text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parts {
    space: Box<str>,
    rest: Text,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Text {
    All,
    Glob(Box<str>),
    Regex(Box<str>),
}

impl Parts {
    /// All keys that begin so.
    pub(crate) fn prefix(prefix: &str) -> Self {
        Self { space: prefix.into(), rest: Text::All }
    }

    /// The literal part every match begins with.
    pub(crate) fn space(&self) -> &str {
        &self.space
    }

    /// The pattern that these are the parts of.
    ///
    /// # Errors
    /// As [`Pattern::glob`] and [`Pattern::regex`], for parts that no pattern gave.
    pub(crate) fn pattern(&self) -> Result<Pattern> {
        let pattern = match &self.rest {
            Text::All => Pattern::all(),
            Text::Glob(glob) => Pattern::glob(glob)?,
            Text::Regex(regex) => Pattern::regex(regex)?,
        };
        Ok(pattern.within(&self.space))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn globs_match_as_redis_matches_them() {
        #[rustfmt::skip]
        let table: &[(&str, &[&str], &[&str])] = &[
            ("user:*",     &["user:1", "user:"],          &["users:1", "user", "xuser:1"]),
            ("*",          &["a", "a*b"],                 &[]),
            ("**a",        &["a", "ba"],                  &["b"]),
            ("h?llo",      &["hello", "h*llo"],           &["hllo", "heello"]),
            ("?",          &["a"],                        &["é"]),
            ("??",         &["é"],                        &["a"]),
            ("h[ae]llo",   &["hello", "hallo"],           &["hillo"]),
            ("h[^e]llo",   &["hallo", "h^llo"],           &["hello"]),
            ("h[a-b]llo",  &["hallo", "hbllo"],           &["hcllo", "h-llo"]),
            ("h[b-a]llo",  &["hallo", "hbllo"],           &["hcllo"]),
            ("[^]",        &["x"],                        &["xy"]),
            ("[]",         &[],                           &["]", "["]),
            (r"[\]]",      &["]"],                        &["\\"]),
            (r"[\^a]",     &["^", "a"],                   &["b"]),
            ("[a^]",       &["^", "a"],                   &["b"]),
            (r"\*",        &["*"],                        &["a"]),
            (r"a\?b",      &["a?b"],                      &["axb"]),
            ("a*b*c",      &["abc", "aXbYc", "abcbc"],    &["acb", "abcd"]),
            ("*a*a*a*",    &["aaa", "xaxaxax"],           &["aa"]),
        ];
        for (glob, matching, others) in table {
            let pattern = Pattern::glob(glob).unwrap();
            for key in *matching {
                assert!(pattern.matches(key), "{glob} should match {key}");
            }
            for key in *others {
                assert!(!pattern.matches(key), "{glob} should not match {key}");
            }
        }
    }

    proptest! {
        #[test]
        fn escaped_text_matches_itself_and_nothing_else(a in r"[a*?\[\]\\^-]{1,5}", b in r"[a*?\[\]\\^-]{1,5}") {
            let pattern = Pattern::glob(&Pattern::escape(&a)).unwrap();
            prop_assert_eq!(pattern.matches(&b), a == b);
            prop_assert!(pattern.matches(&a));
        }
    }

    #[test]
    fn malformed_patterns_are_typed_errors() {
        for glob in ["", "[", "a[b", "[^", "[a-", r"a\", r"[\", r"[a\]"] {
            let error = Pattern::glob(glob).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidPattern, "{glob}");
        }
        assert_eq!(Pattern::regex("(").unwrap_err().kind(), ErrorKind::InvalidPattern);
    }

    #[test]
    fn a_namespace_is_literal() {
        let pattern = Pattern::glob("k*").unwrap().within("a[b]*:");
        assert!(pattern.matches("a[b]*:k1"));
        assert!(!pattern.matches("ab:k1") && !pattern.matches("a[b]*:x"));
        assert_eq!(pattern.literal_prefix(), "a[b]*:");
    }

    #[test]
    fn a_pattern_comes_back_from_its_parts() {
        let patterns = [
            Pattern::all(),
            Pattern::prefix("a[b]*:"),
            Pattern::glob(r"k[^a-c]\*?*").unwrap().within("n:").within("a[b]*:"),
            Pattern::regex("^k\"\\d+$").unwrap().within("n:"),
        ];
        for pattern in patterns {
            let text = serde_json::to_string(&pattern.parts()).unwrap();
            let parts: Parts = serde_json::from_str(&text).unwrap();
            assert_eq!(parts, pattern.parts());
            let again = parts.pattern().unwrap();
            assert_eq!(again.literal_prefix(), pattern.literal_prefix());
            for key in ["k", "n:kd*x", "a[b]*:n:kd*x", "a[b]*:n:kax", "n:k\"17", "n:k17", "a[b]*:"]
            {
                assert_eq!(again.matches(key), pattern.matches(key), "{text} {key}");
            }
        }
        let broken: Parts = serde_json::from_str(r#"{"space":"","rest":{"glob":"["}}"#).unwrap();
        assert_eq!(broken.pattern().unwrap_err().kind(), ErrorKind::InvalidPattern);
    }

    /// Redis' stringmatchlen told as a plain recursion, slow and obvious.
    fn reference(glob: &[u8], text: &[u8]) -> bool {
        match glob.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|taken| reference(rest, &text[taken..])),
            Some((b'?', rest)) => !text.is_empty() && reference(rest, &text[1..]),
            Some((b'\\', rest)) => {
                text.first() == rest.first() && reference(&rest[1..], &text[1..])
            }
            Some((b'[', rest)) => {
                let (members, rest) = reference_class(rest);
                !text.is_empty() && members.contains(&text[0]) && reference(rest, &text[1..])
            }
            Some((byte, rest)) => text.first() == Some(byte) && reference(rest, &text[1..]),
        }
    }

    fn reference_class(mut glob: &[u8]) -> (Vec<u8>, &[u8]) {
        let negated = glob[0] == b'^';
        glob = &glob[usize::from(negated)..];
        let mut members = Vec::new();
        while glob[0] != b']' {
            if glob[0] == b'\\' {
                members.push(glob[1]);
                glob = &glob[2..];
            } else if glob.len() >= 3 && glob[1] == b'-' {
                members.extend(glob[0].min(glob[2])..=glob[0].max(glob[2]));
                glob = &glob[3..];
            } else {
                members.push(glob[0]);
                glob = &glob[1..];
            }
        }
        if negated {
            members = (0..=255).filter(|byte| !members.contains(byte)).collect();
        }
        (members, &glob[1..])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn globs_agree_with_the_reference(glob in r"[ab*?\[\]\\^-]{1,9}", text in r"[ab\]^-]{1,8}") {
            if let Ok(pattern) = Pattern::glob(&glob) {
                prop_assert_eq!(pattern.matches(&text), reference(glob.as_bytes(), text.as_bytes()));
            }
        }
    }
}
