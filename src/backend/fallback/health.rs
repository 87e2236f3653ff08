//! Who serves, since when, why, and what the primary has not heard of.

use std::time::Instant;

use super::{Fallback, Shared};
use crate::backend::health::{BreakerHealth, of_parts};
use crate::backend::{Backend, BreakerState, Call, Health, HealthWarning, Name};

impl Fallback {
    /// Both are asked, whoever serves. The breaker is not told what they answer.
    pub(super) fn examine(&self, call: Call, probe: Name<'_>) -> Health {
        let mut health = of_parts(self, call, probe, |_| true);
        let breaker = self.shared().breaker_health();
        if breaker.state != BreakerState::Closed {
            health.warn(self.shared().warning(&breaker));
        }
        health.breaker = Some(breaker);
        health
    }
}

impl Shared {
    fn breaker_health(&self) -> BreakerHealth {
        let state = self.state.lock();
        let now = Instant::now();
        let breaker = &state.breaker;
        BreakerHealth {
            state: breaker.state(),
            since: breaker.since().map(|since| now.duration_since(since)),
            failures: breaker.failures(),
            last_error: state.last_error.clone(),
            last_trial_error: state.last_trial_error.clone(),
            retry_in: breaker.due().map(|due| due.saturating_duration_since(now)),
            pending: state.journal.len(),
            is_overflowed: state.session.is_some() && state.overflowed,
        }
    }

    fn warning(&self, breaker: &BreakerHealth) -> HealthWarning {
        let (primary, secondary) = (self.name(), self.secondary.about().name);
        let since = breaker.since.unwrap_or_default();
        let last = breaker.last_trial_error.as_ref().or(breaker.last_error.as_ref());
        let why = last.map_or(String::new(), |why| format!(" ({why})"));
        let text = format!(
            "{secondary} stands in for {primary} since {since:.1?}{why}; {} invalidations are noted. Bring \
             {primary} back: it is tried by itself, and told what it missed",
            breaker.pending
        );
        HealthWarning::trouble("breaker-open", text)
    }
}
