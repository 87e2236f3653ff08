//! When a backend is given up and when it is tried again: a state machine without lock, clock and
//! thread.

use std::time::{Duration, Instant};

/// Whether a [`Fallback`](crate::Fallback)'s primary serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerState {
    /// The primary serves.
    Closed,
    /// It is left alone until the next trial; the secondary serves.
    Open,
    /// It is being tried, and told what it missed; the secondary serves.
    HalfOpen,
}

#[derive(Debug)]
pub(super) struct Breaker {
    /// Failures in a row that are one too many.
    threshold: u32,
    /// How long the backend is left alone.
    reset: Duration,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed {
        failures: u32,
    },
    Open {
        since: Instant,
        /// When it is tried; never, if the clock does not reach so far.
        due: Option<Instant>,
    },
    HalfOpen {
        since: Instant,
    },
}

impl Breaker {
    pub(super) fn closed(threshold: u32, reset: Duration) -> Self {
        Self { threshold, reset, phase: Phase::Closed { failures: 0 } }
    }

    /// Open, with a trial at once.
    pub(super) fn open_at_first(threshold: u32, reset: Duration, now: Instant) -> Self {
        Self { threshold, reset, phase: Phase::Open { since: now, due: Some(now) } }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Failures in a row so far, while closed.
    pub(super) fn failures(&self) -> u32 {
        match self.phase {
            Phase::Closed { failures } => failures,
            _ => 0,
        }
    }

    /// Since when it has not been closed.
    pub(super) fn since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Closed { .. } => None,
            Phase::Open { since, .. } | Phase::HalfOpen { since } => Some(since),
        }
    }

    /// When the next trial is due; `None` if none is.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open { due, .. } => due,
            _ => None,
        }
    }

    /// The backend answered a call.
    pub(super) fn answered(&mut self) {
        if let Phase::Closed { failures } = &mut self.phase {
            *failures = 0;
        }
    }

    /// It failed one; true if that was one too many.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        let Phase::Closed { failures } = &mut self.phase else { return false };
        *failures = failures.saturating_add(1);
        *failures >= self.threshold && self.open(now)
    }

    /// Gives the backend up at once; true if it was not already.
    pub(super) fn open(&mut self, now: Instant) -> bool {
        let closed = matches!(self.phase, Phase::Closed { .. });
        if closed {
            self.phase = Phase::Open { since: now, due: now.checked_add(self.reset) };
        }
        closed
    }

    /// Begins a trial; true if one was due.
    pub(super) fn try_it(&mut self, now: Instant) -> bool {
        let Phase::Open { since, due: Some(due) } = self.phase else { return false };
        if due > now {
            return false;
        }
        self.phase = Phase::HalfOpen { since };
        true
    }

    /// The trial failed: the backend is left alone as long again.
    pub(super) fn trial_failed(&mut self, now: Instant) {
        if let Phase::HalfOpen { since } = self.phase {
            self.phase = Phase::Open { since, due: now.checked_add(self.reset) };
        }
    }

    /// The trial went well; since when it had not been closed.
    pub(super) fn close(&mut self) -> Option<Instant> {
        let Phase::HalfOpen { since } = self.phase else { return None };
        self.phase = Phase::Closed { failures: 0 };
        Some(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RESET: Duration = Duration::from_secs(60);

    #[test]
    fn failures_in_a_row_open_it() {
        let now = Instant::now();
        let mut breaker = Breaker::closed(3, RESET);
        assert!(!breaker.failed(now) && !breaker.failed(now));
        breaker.answered();
        assert!(!breaker.failed(now) && !breaker.failed(now));
        assert_eq!((breaker.state(), breaker.failures()), (BreakerState::Closed, 2));
        assert!(breaker.failed(now));
        assert_eq!((breaker.state(), breaker.due()), (BreakerState::Open, Some(now + RESET)));
        assert!(!breaker.failed(now) && !breaker.open(now), "it is open already");
    }

    #[test]
    fn a_trial_waits_for_its_time_and_closes_it_or_does_not() {
        let now = Instant::now();
        let mut breaker = Breaker::closed(1, RESET);
        assert!(breaker.open(now));
        let early = RESET - Duration::from_nanos(1);
        assert!(!breaker.try_it(now + early));
        assert!(breaker.try_it(now + RESET) && !breaker.try_it(now + RESET));
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.trial_failed(now + RESET);
        assert_eq!((breaker.state(), breaker.due()), (BreakerState::Open, Some(now + RESET * 2)));
        assert_eq!(breaker.close(), None, "only a trial closes it");
        assert!(breaker.try_it(now + RESET * 2));
        assert_eq!(breaker.close(), Some(now));
        assert_eq!((breaker.state(), breaker.failures()), (BreakerState::Closed, 0));
    }

    #[test]
    fn a_reset_beyond_the_clock_is_never() {
        let now = Instant::now();
        let mut breaker = Breaker::closed(1, Duration::MAX);
        assert!(breaker.failed(now));
        assert!(!breaker.try_it(now + RESET * 1_000_000));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Answer,
        Fail,
        Open,
        Try,
        TrialFails,
        Close,
        Wait(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            1 => Just(Step::Answer),
            4 => Just(Step::Fail),
            1 => Just(Step::Open),
            3 => Just(Step::Try),
            1 => Just(Step::TrialFails),
            1 => Just(Step::Close),
            2 => (0..=60u8).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// The same told as three variables: failures in a row, open since, next trial.
        #[test]
        fn it_agrees_with_a_plain_model(steps in prop::collection::vec(step(), 0..60), threshold in 1..5u32) {
            let mut now = Instant::now();
            let mut breaker = Breaker::closed(threshold, RESET);
            let (mut row, mut since, mut due, mut trying) = (0, None, None, false);
            for step in steps {
                match step {
                    Step::Answer => {
                        breaker.answered();
                        row = 0;
                    }
                    Step::Fail | Step::Open => {
                        let opened = match step {
                            Step::Open => breaker.open(now),
                            _ => breaker.failed(now),
                        };
                        row += 1;
                        let opens = since.is_none() && (row >= threshold || matches!(step, Step::Open));
                        prop_assert_eq!(opened, opens);
                        if opens {
                            (since, due) = (Some(now), Some(now + RESET));
                        }
                    }
                    Step::Try => {
                        let tries = !trying && due.is_some_and(|due| due <= now);
                        prop_assert_eq!(breaker.try_it(now), tries);
                        trying |= tries;
                    }
                    Step::TrialFails => {
                        breaker.trial_failed(now);
                        if trying {
                            (due, trying) = (Some(now + RESET), false);
                        }
                    }
                    Step::Close => {
                        let closed = breaker.close();
                        prop_assert_eq!(closed, since.filter(|_| trying));
                        if trying {
                            (row, since, due, trying) = (0, None, None, false);
                        }
                    }
                    Step::Wait(seconds) => now += Duration::from_secs(seconds.into()),
                }
                let state = match (since, trying) {
                    (None, _) => BreakerState::Closed,
                    (Some(_), false) => BreakerState::Open,
                    (Some(_), true) => BreakerState::HalfOpen,
                };
                prop_assert_eq!((breaker.state(), breaker.since()), (state, since));
                if since.is_none() {
                    prop_assert_eq!(breaker.failures(), row);
                }
            }
        }
    }
}
