//! What a backend is, and how long a call to it may take.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// A backend's name and what it can do. It may change while a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct About {
    /// The word for it in errors, logs and statistics.
    pub name: &'static str,
    /// What it can do.
    pub can: Can,
}

impl About {
    /// A backend of this name with these capabilities.
    pub fn new(name: &'static str, can: Can) -> Self {
        Self { name, can }
    }
}

/// What a backend can do. What it cannot is answered with
/// [`Unsupported`](ErrorKind::Unsupported), or emulated by the cache where that is possible.
///
/// [`new`](Self::new) says no to everything; set what holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Can {
    /// Entries carry tags, and tags can be invalidated.
    pub tags: bool,
    /// Keys can be listed, searched, and removed by pattern.
    pub scan: bool,
    /// Reads give a [`Token`](super::Token), and writes under
    /// [`When::Version`](super::When::Version) are atomic.
    pub versions: bool,
    /// [`Ask::Own`](super::Ask::Own) and its kin are honoured. Without, a load is overtaken only by
    /// what the same cache deletes or invalidates before its loader returns: what others do, or what
    /// comes while the value is being stored, does not keep an old value out.
    pub leases: bool,
    /// [`Change::Add`](super::Change::Add) is atomic. Without it the cache adds by compare-and-swap.
    pub add: bool,
    /// Other processes see the entries.
    pub shared: bool,
    /// How long after an invalidation another process may still be served the old value.
    pub lag: Duration,
    /// Entries live longer than they are told to by less than this.
    pub ttl_step: Duration,
    /// The largest value in bytes, where there is a limit.
    pub max_value: Option<usize>,
}

impl Can {
    /// Nothing beyond get, set and delete with lifetimes exact to the millisecond.
    pub fn new() -> Self {
        Self {
            tags: false,
            scan: false,
            versions: false,
            leases: false,
            add: false,
            shared: false,
            lag: Duration::ZERO,
            ttl_step: Duration::from_millis(1),
            max_value: None,
        }
    }

    /// What two backends that stand in for each other can do together.
    pub fn and(self, other: Self) -> Self {
        Self {
            tags: self.tags && other.tags,
            scan: self.scan && other.scan,
            versions: self.versions && other.versions,
            leases: self.leases && other.leases,
            add: self.add && other.add,
            shared: self.shared || other.shared,
            lag: self.lag.max(other.lag),
            ttl_step: self.ttl_step.max(other.ttl_step),
            max_value: match (self.max_value, other.max_value) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }
    }
}

impl Default for Can {
    fn default() -> Self {
        Self::new()
    }
}

/// How long a call may take, pool wait, connecting, writing, reading and retrying together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// As long as the backend's own settings say.
    #[default]
    Unlimited,
    /// So long, counted from when the backend starts to work.
    Within(Duration),
    /// Until this instant.
    Until(Instant),
}

impl Call {
    /// The same limit as an instant, so that several steps share it.
    pub fn armed(self) -> Self {
        match self {
            Self::Within(time) => {
                Instant::now().checked_add(time).map_or(Self::Unlimited, Self::Until)
            }
            armed => armed,
        }
    }

    /// What is left of it; `None` where there is no limit.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout) when nothing is left.
    pub fn left(self) -> Result<Option<Duration>> {
        match self {
            Self::Unlimited => Ok(None),
            Self::Within(time) => Ok(Some(time)),
            Self::Until(end) => match end.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => Ok(Some(left)),
                _ => Err(Error::new(ErrorKind::Timeout, "the deadline of the call has passed")),
            },
        }
    }

    /// A part of what is left, for the first of several places to try.
    pub fn share(self, part: f64) -> Self {
        match self.left() {
            Ok(None) => Self::Unlimited,
            Ok(Some(left)) => Self::Within(left.mul_f64(part.clamp(0.0, 1.0))),
            Err(_) => self,
        }
    }
}
