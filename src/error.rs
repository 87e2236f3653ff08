//! The one error type of the crate.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong, and whether trying again can help.
///
/// An error is one pointer and cheap to clone: all keys of a failed batch hold
/// the same one. Neither `Debug` nor `Display` ever shows a value or a password.
///
/// ```
/// use yokedcache::{Cache, ErrorKind};
///
/// let error = Cache::memory(10).set("", &1).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidKey);
/// assert!(!error.is_transient());
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    what: Cow<'static, str>,
    source: Option<Source>,
}

/// The kinds of [`Error`], for callers who decide by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The key is empty or, with its namespace, longer than [`MAX_KEY`](crate::MAX_KEY) bytes.
    InvalidKey,
    /// A tag is empty or too long, or there are more than [`MAX_TAGS`](crate::MAX_TAGS) of them.
    InvalidTag,
    /// A time to live of zero.
    InvalidTtl,
    /// A glob or regular expression that cannot be read.
    InvalidPattern,
    /// A setting or argument outside its range.
    InvalidArgument,
    /// A configuration file or an environment variable that cannot be used.
    InvalidConfig,
    /// The value could not be serialised.
    Encode,
    /// The stored value is of another type than the operation needs; it is left as it was.
    WrongType,
    /// A counter would leave the range of `i64`; it is left as it was.
    Overflow,
    /// The value is larger than the backend takes.
    TooLarge,
    /// The backend cannot do this, and it cannot be emulated.
    Unsupported,
    /// The deadline of the call has passed.
    Timeout,
    /// The backend could not be reached or did not answer properly.
    Unavailable,
    /// The backend refused the credentials, or the user may not do this.
    Denied,
    /// The backend has no room and may not evict to make some.
    Full,
    /// Another thread's load of this key failed.
    LoadFailed,
    /// A loader asked for the key it is loading, or an event handler would change a wrapper that is
    /// being changed.
    Reentrant,
    /// A file cannot be read or written, or is not what it should be.
    File,
    /// Anything a backend says that fits nowhere else.
    Backend,
}

impl Error {
    /// An error of this kind with a sentence for people.
    ///
    /// Backends outside this crate use it; keep values and secrets out of `what`.
    pub fn new(kind: ErrorKind, what: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner { kind, what: what.into(), source: None }))
    }

    /// The same with the error that caused it, kept for [`source`](std::error::Error::source).
    pub fn with_source(
        kind: ErrorKind,
        what: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner { kind, what: what.into(), source: Some(source.into()) }))
    }

    /// The error of a backend that lacks `feature`.
    pub fn unsupported(backend: &str, feature: &str) -> Self {
        Self::new(ErrorKind::Unsupported, format!("{backend} does not support {feature}"))
    }

    /// The error of a thread that the operating system does not start.
    pub(crate) fn no_thread(error: std::io::Error) -> Self {
        Self::with_source(ErrorKind::Backend, "cannot start a thread", error)
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later: the backend was not reached, not in time, or had no
    /// room.
    pub fn is_transient(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::Full)
    }

    /// Whether the backend failed, whatever it was asked: what a cache that is not
    /// [strict](crate::CacheBuilder::strict) answers with a miss, or with false.
    pub fn is_outage(&self) -> bool {
        self.is_transient() || self.0.kind == ErrorKind::Denied
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Error");
        shown.field("kind", &self.0.kind).field("what", &self.0.what);
        if let Some(source) = &self.0.source {
            shown.field("source", source);
        }
        shown.finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Lets a [`Pattern`](crate::Pattern) stand where something convertible into one is asked for.
impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
