//! What is known of the near tier.

use std::time::{Duration, Instant};

use super::near::Near;
use crate::backend::health::{NearHealth, NearState};
use crate::backend::{Backend, Call, HealthWarning};

impl Near {
    pub(super) fn health(&self) -> NearHealth {
        let state = match (self.is_capped(), self.is_on()) {
            (true, _) => NearState::Capped,
            (false, true) => NearState::On,
            (false, false) => NearState::Off,
        };
        let why = if state == NearState::On { None } else { self.why() };
        let last_sign = self.last_sign().map(|sign| Instant::now().duration_since(sign));
        let entries = self.memory.stats(Call::Unlimited).entries;
        NearHealth { state, why, last_sign: last_sign.map(whole_micros), entries }
    }
}

fn whole_micros(time: Duration) -> Duration {
    Duration::from_micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// What follows for who runs it.
pub(super) fn warning(near: &NearHealth) -> Option<HealthWarning> {
    let why = near.why.as_ref().map_or(String::new(), |why| format!(" ({why})"));
    match near.state {
        NearState::On => None,
        NearState::Off => {
            let text = format!(
                "the near tier is not used, as changes are not heard of at the moment{why}: each read \
                 goes to the far tier. It comes back by itself when the server can be reached"
            );
            Some(HealthWarning::trouble("near-off", text))
        }
        NearState::Capped => {
            let text = format!(
                "the near tier keeps entries for a short time only, as the far one does not tell of \
                 changes{why}: other processes' invalidations are seen that much later. On Redis let the \
                 user run CLIENT and SUBSCRIBE, and do without replica reads"
            );
            Some(HealthWarning::new("near-capped", text))
        }
    }
}
