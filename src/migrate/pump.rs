//! Takes keys as they come, has them copied in batches, and settles what cannot be copied at once.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::copier::{Became, Copier};
use super::renaming::Renaming;
use super::report::Skip;
use super::run::Run;
use crate::backend::Backend;
use crate::backend::copying::HOLD;
use crate::error::Result;

/// How long a key is waited for that somebody else loads: longer than a migration that was killed
/// keeps it.
const PATIENCE: Duration = HOLD.saturating_add(Duration::from_secs(2));
/// How long before such keys are asked for again.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Pump<'p> {
    copier: Copier<'p>,
    renaming: Renaming,
    waiting: Vec<String>,
    /// What somebody else loads, and since when it is waited for.
    busy: Vec<(String, Instant)>,
}

impl<'p> Pump<'p> {
    pub(super) fn new(renaming: Renaming, copier: Copier<'p>) -> Self {
        Self { copier, renaming, waiting: Vec::new(), busy: Vec::new() }
    }

    /// How much later ends of entries may have come out.
    pub(super) fn longest(&self) -> Duration {
        self.copier.longest()
    }

    /// Whether all that came was dealt with, or is [busy](Self::busy).
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a key of the source; `Break` if it was told to stop.
    pub(super) fn take(
        &mut self,
        from: &dyn Backend,
        key: &str,
        run: &mut Run<'_, '_>,
    ) -> Result<ControlFlow<()>> {
        self.waiting.push(key.to_owned());
        if self.waiting.len() < run.most() {
            return Ok(ControlFlow::Continue(()));
        }
        self.flush(from, run)
    }

    /// Copies what has come so far.
    pub(super) fn flush(
        &mut self,
        from: &dyn Backend,
        run: &mut Run<'_, '_>,
    ) -> Result<ControlFlow<()>> {
        let keys = std::mem::take(&mut self.waiting);
        if keys.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        if run.keep_pace(keys.len()).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let now = Instant::now();
        let since: Vec<(&str, Instant)> = keys.iter().map(|key| (key.as_str(), now)).collect();
        if self.copy(from, &since, run)?.is_break() || run.tell().is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if self.busy.len() >= run.most() {
            return self.settle(from, run);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The keys that somebody else was loading when they were to be copied.
    pub(super) fn busy(&self) -> impl Iterator<Item = &str> {
        self.busy.iter().map(|(key, _)| key.as_str())
    }

    /// Copies the rest, and waits for what somebody else loads.
    pub(super) fn end(
        &mut self,
        from: &dyn Backend,
        run: &mut Run<'_, '_>,
    ) -> Result<ControlFlow<()>> {
        if self.flush(from, run)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.settle(from, run)
    }

    pub(super) fn settle(
        &mut self,
        from: &dyn Backend,
        run: &mut Run<'_, '_>,
    ) -> Result<ControlFlow<()>> {
        while !self.busy.is_empty() {
            if run.tell().is_break() || run.wait(PAUSE).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let busy = std::mem::take(&mut self.busy);
            let since: Vec<(&str, Instant)> =
                busy.iter().map(|(key, since)| (key.as_str(), *since)).collect();
            if self.copy(from, &since, run)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Copies keys, and again those where a side failed.
    fn copy(
        &mut self,
        from: &dyn Backend,
        keys: &[(&str, Instant)],
        run: &mut Run<'_, '_>,
    ) -> Result<ControlFlow<()>> {
        let mut left = keys.to_vec();
        for tried in 0.. {
            let names: Vec<&str> = left.iter().map(|(key, _)| *key).collect();
            let became = self.copier.copy(from, &names);
            let (mut again, mut trouble) = (Vec::new(), None);
            for ((key, since), became) in left.into_iter().zip(became) {
                match became {
                    Became::Failed(error) => {
                        // A right that could not be given back keeps us from the key, too.
                        again.push((key, Instant::now()));
                        trouble = Some(error);
                    }
                    became => self.note(key, since, became, run),
                }
            }
            let Some(error) = trouble else { break };
            match run.pause(tried, error) {
                Ok(ControlFlow::Continue(())) => left = again,
                Ok(ControlFlow::Break(())) => return Ok(ControlFlow::Break(())),
                // Others could be copied: it is these keys.
                Err(error) if !error.is_outage() && again.len() < keys.len() => {
                    for (key, _) in again {
                        let key = self.renaming.rest(key);
                        run.skip(key, Skip::Refused(error.to_string()));
                    }
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn note(&mut self, key: &str, since: Instant, became: Became, run: &mut Run<'_, '_>) {
        match became {
            Became::Copied(size) => run.copied(size),
            Became::There => run.there(),
            Became::Overtaken => run.overtaken(),
            Became::Skipped(why) => run.skip(self.renaming.rest(key), why),
            Became::Busy if since.elapsed() < PATIENCE => self.busy.push((key.to_owned(), since)),
            Became::Busy | Became::Failed(_) => {
                run.skip(self.renaming.rest(key), Skip::Busy);
            }
        }
    }
}
