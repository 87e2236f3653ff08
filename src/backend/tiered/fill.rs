//! Filling the near tier with what the far one answered.
//!
//! A ticket is taken before the far tier is asked: a watch of the near memory, which anything heard
//! of the key takes away, and two numbers, which a change of tags or of where answers come from
//! makes old.

use std::time::{Duration, Instant};

use super::near::Near;
use crate::backend::{
    Ask, Backend, Call, Change, Found, Grant, Lease, Life, Name, Read, Want, When, Write, Wrote,
};

/// How long a fill may take: the longest answer, and more.
const HOLD: Duration = Duration::from_secs(60);

/// The right to keep an answer that is still to come.
pub(super) struct Ticket {
    lease: Box<Lease>,
    turns: u64,
    covers: Option<u64>,
    taken: Instant,
}

impl Near {
    /// A ticket for a key; none if it is there already.
    pub(super) fn ticket(&self, key: Name<'_>, covers: Option<u64>) -> Option<Ticket> {
        let turns = self.turns();
        let tags = &crate::Tags::NONE;
        let lease = self.ask(key, Ask::Watch { tags })?;
        Some(Ticket { lease, turns, covers, taken: Instant::now() })
    }

    /// Asks the memory for a right.
    fn ask(&self, key: Name<'_>, lease: Ask<'_>) -> Option<Box<Lease>> {
        let want = Want { quiet: true, head_only: true, lease, ..Want::VALUE };
        let mut read = [Read::Unanswered];
        self.memory.read(Call::Unlimited, &[key], &want, &mut read).ok()?;
        let grant = match read {
            [Read::Miss(_, grant)] => grant,
            [Read::Hit(Found { more: Some(more), .. })] => more.grant,
            _ => Grant::None,
        };
        match grant {
            Grant::Granted(lease) => Some(lease),
            Grant::None | Grant::Busy { .. } => None,
        }
    }

    /// Keeps an answer of the far tier if nothing was heard since the ticket was taken.
    pub(super) fn fill(
        &self,
        key: Name<'_>,
        ticket: Ticket,
        read: &Read,
        covers: Option<u64>,
        cap: Option<Duration>,
    ) {
        let Ticket { mut lease, turns, covers: before, taken } = ticket;
        let late = (!self.exact).then(|| taken.elapsed());
        let kept = worth_keeping(read).filter(|_| covers == before);
        // An idle end ends nothing but what this tier may hold: nobody slides its entries.
        let kept = kept.map(|(found, life)| (found, Life { idle: cap, ..life }));
        let kept = kept.and_then(|(found, life)| Some((found, shortened(life, late)?)));
        let Some((found, life)) = kept else { return self.give_back(key, lease) };
        let tags = &found.entry.tags;
        if !tags.is_empty() {
            // First the right is made to hang on the tags, then it is seen whether that was in time.
            let renewed = self.ask(key, Ask::Renew { lease: &lease, hold: HOLD, tags });
            match renewed.filter(|_| self.turns() == turns) {
                Some(renewed) => lease = renewed,
                None => return self.give_back(key, lease),
            }
        }
        let put = Change::Put(found.entry.clone(), life);
        self.write(Write::new(key, When::Lease(lease), put));
    }

    fn give_back(&self, key: Name<'_>, lease: Box<Lease>) {
        self.write(Write::new(key, When::Lease(lease), Change::Release));
    }

    fn write(&self, write: Write<'_>) {
        let _ = self.memory.write(Call::Unlimited, &mut [write], &mut [Wrote::Unanswered]);
    }
}

/// An entry and its life, unless the far tier must be asked for it each time.
fn worth_keeping(read: &Read) -> Option<(&Found, Life)> {
    let Read::Hit(found) = read else { return None };
    let life = found.more.as_ref()?.life;
    (!found.stale && life.idle.is_none()).then_some((found, life))
}

/// What ages are rounded to on the way here.
const STEP: Duration = Duration::from_millis(1);

/// The life of an entry that took so long to come; none if it may have ended on the way.
fn shortened(life: Life, late: Option<Duration>) -> Option<Life> {
    let Some(by) = late else { return Some(life) };
    let shorter = |end: Option<Duration>| match end {
        Some(end) => end.checked_sub(by).filter(|left| !left.is_zero()).map(Some),
        None => Some(None),
    };
    // It is not to look older here than where it comes from: it would be refreshed in vain.
    let age = life.age.map(|age| age.saturating_sub(STEP));
    let [soft, hard, idle] = [shorter(life.soft)?, shorter(life.hard)?, shorter(life.idle)?];
    Some(Life { age, soft, hard, idle })
}
