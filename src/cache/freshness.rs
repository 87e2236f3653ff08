//! How long entries live, and what happens around their ends.

use std::time::Duration;

use super::ttl::Ttl;
use crate::backend::Life;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::random::Random;

/// How long entries live, how long they are kept when stale, and when they are refreshed.
///
/// One value holds the whole policy, for a [cache](crate::CacheBuilder::freshness), an
/// [entry](crate::EntryRef::freshness) or a [loader](crate::Loader::freshness). Nothing of it is
/// needed for a plain [`get_or_load`](crate::Cache::get_or_load): by default entries live for ever,
/// are gone at their end, and are never refreshed early.
/// [Choosing a policy](crate::choosing_a_policy) tells what is good for what.
///
/// ```
/// use std::time::Duration;
/// use yokedcache::{Cache, Freshness};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let minute = Duration::from_secs(60);
/// let rates = Freshness::new()
///     .ttl(5 * minute)
///     .stale_for(60 * minute) // kept for an hour more, in case the source fails
///     .refresh_at(0.8); // anew after four minutes, if somebody asks
///
/// let cache = Cache::memory(10_000);
/// let rate: f64 = cache.entry("rate:eur").freshness(rates).get_or_load(|| "1.08".parse())??;
/// # assert_eq!(rate, 1.08);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Freshness {
    pub(crate) ttl: Ttl,
    pub(crate) negative_ttl: Ttl,
    pub(crate) skip_negative: bool,
    pub(crate) stale_for: Duration,
    pub(crate) retry_after: Duration,
    pub(crate) sliding: Option<Duration>,
    pub(crate) jitter: Duration,
    pub(crate) early: Early,
}

/// When an entry is refreshed before its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Early {
    Never,
    /// From this part of its life on.
    At(f64),
    /// At random, the likelier the nearer its end is and the longer it took to load.
    XFetch(f64),
}

impl Freshness {
    /// Entries that live for ever, or as the cache is set.
    pub const fn new() -> Self {
        Self {
            ttl: Ttl::Default,
            negative_ttl: Ttl::Default,
            skip_negative: false,
            stale_for: Duration::ZERO,
            retry_after: Duration::from_secs(30),
            sliding: None,
            jitter: Duration::ZERO,
            early: Early::Never,
        }
    }

    /// How long what is stored lives. Default: as the cache is set; never ending, unless it is.
    ///
    /// # Errors
    /// Calls that store refuse zero.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// How long the knowledge that there is no value lives. Default: as long as values.
    ///
    /// # Errors
    /// Calls that store refuse zero.
    pub fn negative_ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.negative_ttl = ttl.into();
        self
    }

    /// Stores nothing where there is no value. Default: the knowledge is stored.
    pub fn skip_negative(mut self) -> Self {
        self.skip_negative = true;
        self
    }

    /// Keeps the value for so long after its time to live. Default: zero.
    ///
    /// To plain reads a stale value is absent. Loads serve it while another caller loads, and if
    /// the loader fails; [`lookup_or_load`](crate::EntryRef::lookup_or_load) tells that it is stale.
    /// After that time it is gone, and a loader's error is the caller's.
    pub fn stale_for(mut self, grace: Duration) -> Self {
        self.stale_for = grace;
        self
    }

    /// How long a loader is left alone after it failed while there was a value to serve instead.
    /// Default: 30 seconds. Zero: the next caller tries again.
    ///
    /// All processes that share the entry leave it alone, as far as the backend has leases; without,
    /// the next caller tries again.
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = pause;
        self
    }

    /// Ends the entry if it is not read for so long; its time to live stays the latest end. Readers
    /// keep it alive if they slide it themselves. Default: off.
    ///
    /// # Errors
    /// Calls that store refuse zero.
    pub fn sliding(mut self, idle: Duration) -> Self {
        self.sliding = Some(idle);
        self
    }

    /// Shortens each time to live by a random part of this, evenly spread, so that entries stored
    /// together do not expire together. Default: none.
    pub fn jitter(mut self, most: Duration) -> Self {
        self.jitter = most;
        self
    }

    /// Refreshes an entry that is asked for after this part of its life, from 0 to 1 (0.8 is usual).
    ///
    /// One load runs, all others get the value that is there. Entries without end have no parts. On a
    /// server an entry is not refreshed early by a load that brings tags it does not have.
    /// Default: off. Reads ask for the entry's times, too: on Redis one more command in the same
    /// round trip.
    ///
    /// # Errors
    /// Loads refuse parts outside 0 to 1.
    pub fn refresh_at(mut self, part: f64) -> Self {
        self.early = Early::At(part);
        self
    }

    /// Refreshes entries at random before they end, the likelier the nearer the end is and the longer
    /// the value took to load (XFetch): callers that ask often hardly ever meet an expired entry, and
    /// do not refresh in step.
    ///
    /// `beta` is 1 as a rule; larger refreshes earlier, zero never. Default: off. One load runs, all
    /// others get the value that is there. Loads are taken to cost a millisecond at least.
    ///
    /// # Errors
    /// Loads refuse negative numbers and those that are none.
    pub fn refresh_by_chance(mut self, beta: f64) -> Self {
        self.early = Early::XFetch(beta);
        self
    }

    /// Whether entries are refreshed before their end.
    #[inline]
    pub(crate) fn is_early(&self) -> bool {
        self.early != Early::Never
    }

    /// Whether a stale value will do where there is no better one.
    #[inline]
    pub(crate) fn takes_stale(&self) -> bool {
        !self.stale_for.is_zero()
    }

    /// Whether older values are served where a loader fails.
    pub(crate) fn takes_old(&self) -> bool {
        self.takes_stale() || self.is_early()
    }

    /// Refuses settings out of range.
    pub(crate) fn check(&self) -> Result<()> {
        let nothing = Ttl::After(Duration::ZERO);
        if self.ttl == nothing || self.negative_ttl == nothing {
            return Err(zero("a time to live"));
        }
        if self.sliding == Some(Duration::ZERO) {
            return Err(zero("a sliding time to live"));
        }
        let what = match self.early {
            Early::At(part) if !(0.0..=1.0).contains(&part) => {
                format!("{part} is no part of a life, from 0 to 1")
            }
            Early::XFetch(beta) if beta.is_nan() || beta < 0.0 => {
                format!("a chance of {beta} is none: it is 0 or more")
            }
            Early::Never | Early::At(_) | Early::XFetch(_) => return Ok(()),
        };
        Err(Error::new(ErrorKind::InvalidArgument, what))
    }

    /// Where this says nothing, what `other` says.
    pub(crate) fn or(self, other: &Self) -> Self {
        let ttl = if self.ttl == Ttl::Default { other.ttl } else { self.ttl };
        let negative_ttl =
            if self.negative_ttl == Ttl::Default { other.negative_ttl } else { self.negative_ttl };
        Self { ttl, negative_ttl, ..self }
    }

    /// Whether a live entry is to be refreshed now.
    pub(crate) fn is_due(&self, life: &Life, cost_ms: u32, random: &Random) -> bool {
        let Some(left) = [life.soft, life.hard].into_iter().flatten().min() else { return false };
        match (self.early, life.age) {
            (Early::Never, _) | (Early::At(_), None) => false,
            (Early::At(part), Some(age)) => age >= (age + left).mul_f64(part),
            (Early::XFetch(0.0), _) => false,
            (Early::XFetch(beta), _) => {
                // From 0 without it up to 1: its logarithm is finite, and the chance never certain
                // but for an infinite beta.
                let chance = 1.0 - random.unit();
                let ahead = f64::from(cost_ms.max(1)) / 1000.0 * beta * -chance.ln();
                beta.is_infinite() || ahead >= left.as_secs_f64()
            }
        }
    }

    /// The life of an entry stored now; `None` if it would be over already.
    pub(crate) fn life(&self, ttl: Ttl, clock: &Clock, random: &Random) -> Result<Option<Life>> {
        self.check()?;
        let ttl = match self.end(ttl, clock)? {
            End::Past => return Ok(None),
            End::Never => return Ok(Some(Life { idle: self.sliding, ..Life::FOREVER })),
            End::After(ttl) => jittered(ttl, self.jitter, random),
        };
        let stale = !self.stale_for.is_zero();
        Ok(Some(Life {
            soft: stale.then_some(ttl),
            hard: Some(ttl.saturating_add(self.stale_for)),
            idle: self.sliding,
            ..Life::FOREVER
        }))
    }

    /// What `ttl` means here.
    pub(crate) fn ttl_or_default(&self, ttl: Ttl) -> Ttl {
        if ttl == Ttl::Default { self.ttl } else { ttl }
    }

    /// The end of an entry stored now.
    pub(crate) fn end(&self, ttl: Ttl, clock: &Clock) -> Result<End> {
        match self.ttl_or_default(ttl) {
            Ttl::Default | Ttl::Never => Ok(End::Never),
            Ttl::After(Duration::ZERO) => Err(zero("a time to live")),
            Ttl::After(left) => Ok(End::After(left)),
            Ttl::At(end) => match end.duration_since(clock.wall()) {
                Ok(left) if !left.is_zero() => Ok(End::After(left)),
                _ => Ok(End::Past),
            },
        }
    }
}

impl Default for Freshness {
    fn default() -> Self {
        Self::new()
    }
}

/// A [`Ttl`] seen from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Past,
    After(Duration),
    Never,
}

fn zero(what: &str) -> Error {
    Error::new(ErrorKind::InvalidTtl, format!("{what} of zero; use Ttl::Never for no end"))
}

/// Evenly from `ttl - jitter` to `ttl`, never below a millisecond unless `ttl` is.
fn jittered(ttl: Duration, jitter: Duration, random: &Random) -> Duration {
    let most = jitter.min(ttl.saturating_sub(Duration::from_millis(1)));
    if most.is_zero() { ttl } else { ttl - most.mul_f64(random.unit()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST_MS: u32 = 100;

    /// How often of 10,000 times an entry is refreshed with so long to live.
    fn rate(beta: f64, left_ms: u64) -> f64 {
        let random = Random::seeded(1);
        let life = Life::new(Some(Duration::from_millis(left_ms)));
        let fresh = Freshness::new().refresh_by_chance(beta);
        let due = (0..10_000).filter(|_| fresh.is_due(&life, COST_MS, &random)).count();
        due as f64 / 10_000.0
    }

    #[test]
    fn xfetch_refreshes_as_often_as_its_formula_says() {
        assert_eq!(rate(0.0, 1), 0.0);
        assert_eq!(rate(f64::INFINITY, 1_000_000), 1.0);
        // P(-ln(u) * cost * beta >= left) = exp(-left / (cost * beta)).
        for (beta, left_ms) in [(1.0, 10), (1.0, 100), (1.0, 300), (2.0, 100), (0.5, 100)] {
            let expected = (-(left_ms as f64) / (f64::from(COST_MS) * beta)).exp();
            let seen = rate(beta, left_ms);
            assert!((seen - expected).abs() < 0.02, "{beta} {left_ms}: {seen}, not {expected}");
        }
    }

    #[test]
    fn a_part_of_a_life_counts_from_its_beginning_to_its_soft_end() {
        let (random, fresh) = (Random::seeded(1), Freshness::new().refresh_at(0.8));
        let at = |age_ms, left_ms| Life {
            age: Some(Duration::from_millis(age_ms)),
            soft: Some(Duration::from_millis(left_ms)),
            ..Life::new(Some(Duration::from_secs(3600)))
        };
        assert!(!fresh.is_due(&at(799, 201), 1, &random));
        assert!(fresh.is_due(&at(800, 200), 1, &random));
        assert!(!fresh.is_due(&Life::FOREVER, 1, &random), "no end, no parts");
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let bad = [
            Freshness::new().refresh_at(1.1),
            Freshness::new().refresh_at(-0.1),
            Freshness::new().refresh_at(f64::NAN),
            Freshness::new().refresh_by_chance(-1.0),
            Freshness::new().refresh_by_chance(f64::NAN),
        ];
        for fresh in bad {
            assert_eq!(fresh.check().unwrap_err().kind(), ErrorKind::InvalidArgument, "{fresh:?}");
        }
        Freshness::new().refresh_at(1.0).check().unwrap();
        Freshness::new().refresh_by_chance(f64::INFINITY).check().unwrap();
    }
}
