//! Failures that repeat with every call, told now and then.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// How often the log hears of failures that go on, in milliseconds.
const AGAIN: u64 = 60_000;
/// How soon it hears of new ones: what fails and answers by turns does not fill it.
const ANEW: u64 = 10_000;

/// Failures in a row. The first is logged, one a minute of those that go on, and the end of the row;
/// each line tells how many were not.
///
/// Where success is not to be seen the row just goes on.
#[derive(Debug, Default)]
pub(crate) struct Streak {
    failed: AtomicU64,
    unsaid: AtomicU64,
    /// The log knows of this row.
    said: AtomicBool,
    /// When it was last told, in milliseconds; 0 if never.
    said_at: AtomicU64,
}

/// How many failures were not logged, for the end of a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct More(u64);

impl fmt::Display for More {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            more => write!(f, " ({more} more since this was last logged)"),
        }
    }
}

impl Streak {
    pub(crate) const fn new() -> Self {
        Self {
            failed: AtomicU64::new(0),
            unsaid: AtomicU64::new(0),
            said: AtomicBool::new(false),
            said_at: AtomicU64::new(0),
        }
    }

    /// Counts a failure; whether it is to be logged, and how many were not.
    #[cold]
    pub(crate) fn on(&self) -> Option<More> {
        self.on_at(now())
    }

    /// Counts a success; of how many failures in a row the end is to be logged.
    #[inline]
    pub(crate) fn over(&self) -> Option<u64> {
        if self.failed.load(Ordering::Relaxed) == 0 { None } else { self.end() }
    }

    fn on_at(&self, now: u64) -> Option<More> {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        let pause = if self.said.load(Ordering::Relaxed) { AGAIN } else { ANEW };
        let last = self.said_at.load(Ordering::Relaxed);
        if last != 0 && now.saturating_sub(last) < pause {
            return None;
        }
        // One of several threads tells it.
        self.said_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        self.said.store(true, Ordering::Relaxed);
        Some(More(self.unsaid.swap(0, Ordering::Relaxed).saturating_sub(1)))
    }

    #[cold]
    fn end(&self) -> Option<u64> {
        let failed = self.failed.swap(0, Ordering::Relaxed);
        // What the log does not know of is told with what comes next.
        if failed == 0 || !self.said.swap(false, Ordering::Relaxed) {
            return None;
        }
        self.unsaid.store(0, Ordering::Relaxed);
        Some(failed)
    }
}

/// Milliseconds since some moment, and never 0.
fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_row_is_told_then_one_a_minute_and_the_end() {
        let streak = Streak::new();
        assert_eq!(streak.on_at(1), Some(More(0)));
        for now in 2..=60_000 {
            assert_eq!(streak.on_at(now), None);
        }
        assert_eq!(streak.on_at(60_001), Some(More(59_999)));
        assert_eq!(streak.on_at(60_002), None);
        assert_eq!(streak.over(), Some(60_002));
        assert_eq!(streak.over(), None);
    }

    #[test]
    fn what_fails_and_answers_by_turns_is_told_every_ten_seconds() {
        let streak = Streak::new();
        let mut lines = 0;
        for now in 1..=60_000 {
            lines += u32::from(streak.on_at(now).is_some());
            lines += u32::from(streak.over().is_some());
        }
        assert_eq!(lines, 12, "a failure and an end each");
    }

    #[test]
    fn what_was_not_told_of_one_row_is_told_with_the_next() {
        let streak = Streak::new();
        streak.on_at(1);
        streak.over();
        for now in 2..5 {
            assert_eq!(streak.on_at(now), None);
        }
        assert_eq!(streak.over(), None, "the log does not know of it");
        assert_eq!(streak.on_at(10_001), Some(More(3)));
        assert_eq!(streak.over(), Some(1));
    }

    #[test]
    fn a_line_ends_with_how_many_were_left_out() {
        assert_eq!(More(0).to_string(), "");
        assert_eq!(More(7).to_string(), " (7 more since this was last logged)");
    }
}
