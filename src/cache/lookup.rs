//! The honest answer of a read.

use std::time::Duration;

use crate::backend::{Cause, Life};

/// What a read found, and if nothing, why.
///
/// ```
/// use yokedcache::{Cache, Cause, Lookup};
///
/// # fn main() -> yokedcache::Result<()> {
/// let cache = Cache::memory(10);
/// assert!(matches!(cache.lookup::<String>("user:1")?, Lookup::Miss(Cause::Absent)));
///
/// cache.set("user:1", "Ann")?;
/// let Lookup::Hit(hit) = cache.lookup::<String>("user:1")? else { unreachable!() };
/// assert_eq!((hit.value.as_str(), hit.ttl_left, hit.stale), ("Ann", None, false));
///
/// assert!(matches!(cache.lookup::<u8>("user:1")?, Lookup::Miss(Cause::Undecodable)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup<T> {
    /// A value.
    Hit(Hit<T>),
    /// The knowledge that there is no value, and its times.
    Negative(Life),
    /// Nothing.
    Miss(Cause),
}

impl<T> Lookup<T> {
    /// The value, if there is one.
    pub fn into_value(self) -> Option<T> {
        match self {
            Self::Hit(hit) => Some(hit.value),
            Self::Negative(_) | Self::Miss(_) => None,
        }
    }

    /// Why nothing was found.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Miss(cause) => Some(*cause),
            Self::Hit(_) | Self::Negative(_) => None,
        }
    }
}

/// A value found, with what is known about it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hit<T> {
    /// The value.
    pub value: T,
    /// How long ago it was stored, where the backend knows.
    pub age: Option<Duration>,
    /// How long it still lives: until it turns stale, or is gone if it is stale already. `None`
    /// means without end.
    pub ttl_left: Option<Duration>,
    /// Which level of a tiered cache it came from: 0 is the nearest.
    pub tier: u8,
    /// Past its time to live, and kept for loaders that revalidate.
    pub stale: bool,
}

/// How long an entry still lives to a reader who does not take stale values.
pub(super) fn ttl_left(life: &Life, stale: bool) -> Option<Duration> {
    let soft = if stale { None } else { life.soft };
    [soft, life.hard, life.idle].into_iter().flatten().min()
}
