//! Time: the monotonic clock that lifetimes hang on, and a manual one for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A point on a [`Clock`]: nanoseconds since the clock was made.
pub(crate) type Tick = u64;

/// The tick that never comes.
pub(crate) const NEVER: Tick = Tick::MAX;

/// Where a memory backend and its cache take the time from.
///
/// The default follows the operating system's monotonic clock: setting the wall clock forwards or
/// back neither expires an entry nor keeps one. A clock is a cheap clone; clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    started: Instant,
    wall: SystemTime,
    by_hand: Option<Arc<AtomicU64>>,
}

impl Clock {
    /// The monotonic clock of the operating system.
    pub fn system() -> Self {
        Self { started: Instant::now(), wall: SystemTime::now(), by_hand: None }
    }

    #[inline]
    pub(crate) fn now(&self) -> Tick {
        match &self.by_hand {
            None => saturating_nanos(self.started.elapsed()),
            Some(ticks) => ticks.load(Ordering::Acquire),
        }
    }

    /// The wall time this clock shows, for lifetimes that end at a date.
    pub(crate) fn wall(&self) -> SystemTime {
        match &self.by_hand {
            None => SystemTime::now(),
            Some(ticks) => self.wall + Duration::from_nanos(ticks.load(Ordering::Acquire)),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

/// A clock that stands still until it is told to move, for tests of lifetimes.
///
/// It moves lifetimes only. Deadlines of calls stay on real time. Give the same clock to each
/// [`Memory`](crate::Memory) and to the cache over it.
///
/// ```
/// use std::time::Duration;
/// use yokedcache::{Cache, ManualClock, Memory};
///
/// # fn main() -> yokedcache::Result<()> {
/// let clock = ManualClock::new();
/// let memory = Memory::builder().clock(&clock).build()?;
/// let cache = Cache::builder(memory).clock(&clock).build()?;
///
/// cache.entry("k").ttl(Duration::from_millis(10)).set("v")?;
/// clock.advance(Duration::from_millis(9));
/// assert!(cache.exists("k")?);
/// clock.advance(Duration::from_millis(1));
/// assert!(!cache.exists("k")?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Clock);

impl ManualClock {
    /// A clock that shows the present moment and stays there.
    pub fn new() -> Self {
        Self(Clock { by_hand: Some(Arc::default()), ..Clock::system() })
    }

    /// Moves the clock and all its clones forwards.
    pub fn advance(&self, by: Duration) {
        if let Some(ticks) = &self.0.by_hand {
            let by = saturating_nanos(by);
            let _ = ticks.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
                Some(now.saturating_add(by))
            });
        }
    }

    /// The wall time the clock shows, for [`Ttl::At`](crate::Ttl::At).
    pub fn wall(&self) -> SystemTime {
        self.0.wall()
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl From<&ManualClock> for Clock {
    fn from(manual: &ManualClock) -> Self {
        manual.0.clone()
    }
}

impl From<&Clock> for Clock {
    fn from(clock: &Clock) -> Self {
        clock.clone()
    }
}

/// The end of a lifetime that starts now; a lifetime past the clock's range (584 years) never ends.
pub(crate) fn after(now: Tick, life: Option<Duration>) -> Tick {
    life.map_or(NEVER, |life| now.saturating_add(saturating_nanos(life)))
}

/// The tick so long ago; the clock's first at the earliest.
pub(crate) fn before(now: Tick, age: Option<Duration>) -> Tick {
    age.map_or(now, |age| now.saturating_sub(saturating_nanos(age)))
}

/// What is left until `end`: `None` where there is no end.
pub(crate) fn left(now: Tick, end: Tick) -> Option<Duration> {
    (end != NEVER).then(|| Duration::from_nanos(end.saturating_sub(now)))
}

fn saturating_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
