//! What a migration has done so far, whom it tells, and when it waits or stops.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::pace::Pace;
use super::report::{Incomplete, NAMED, Phase, Progress, Report, Skip, Skipped};
use super::settings::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::pattern::Pattern;

/// How long it waits without a look at whether to stop.
const SLICE: Duration = Duration::from_millis(20);
/// How often it tries again after an error.
pub(super) const RETRIES: u32 = 5;
/// How long before the first of these times; twice as long before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Run<'s, 'a> {
    settings: &'s mut Settings<'a>,
    report: Report,
    phase: Phase,
    looked_at: u64,
    total: Option<u64>,
    begun: Instant,
    pace: Option<Pace>,
}

impl<'s, 'a> Run<'s, 'a> {
    pub(super) fn new(settings: &'s mut Settings<'a>, phase: Phase) -> Self {
        let begun = Instant::now();
        let report = Report { dry_run: settings.dry_run, ..Report::default() };
        let pace = settings.rate.map(|rate| Pace::new(rate, begun));
        Self { settings, report, phase, looked_at: 0, total: None, begun, pace }
    }

    /// The pattern, once the settings have been checked.
    pub(super) fn check(&self) -> Result<Pattern> {
        self.settings.check()
    }

    pub(super) fn is_dry(&self) -> bool {
        self.settings.dry_run
    }

    pub(super) fn overwrites(&self) -> bool {
        self.settings.overwrite
    }

    pub(super) fn report(&mut self) -> &mut Report {
        &mut self.report
    }

    /// How many keys go together at most.
    pub(super) fn most(&self) -> usize {
        let most = self.settings.batch_size;
        self.pace.map_or(most, |pace| most.min(pace.most()))
    }

    pub(super) fn expect(&mut self, total: Option<u64>) {
        self.total = total;
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        (self.phase, self.looked_at) = (phase, 0);
    }

    pub(super) fn looked_at(&mut self, keys: u64) {
        self.looked_at += keys;
    }

    pub(super) fn copied(&mut self, bytes: usize) {
        self.settle();
        self.report.copied += 1;
        self.report.bytes += bytes as u64;
    }

    pub(super) fn there(&mut self) {
        self.settle();
        self.report.there += 1;
    }

    pub(super) fn overtaken(&mut self) {
        self.settle();
        self.report.overtaken += 1;
    }

    pub(super) fn skip(&mut self, key: &str, why: Skip) {
        self.settle();
        self.report.skipped += 1;
        *self.report.reasons.entry(why.reason()).or_default() += 1;
        if let Some(told) = &mut self.settings.on_skip {
            told(key, &why);
        }
        if self.report.skips.len() < NAMED {
            self.report.skips.push(Skipped { key: key.into(), why });
        }
    }

    fn settle(&mut self) {
        self.looked_at += 1;
        self.report.looked_at += 1;
    }

    /// Tells how far it is, and hears whether to stop.
    pub(super) fn tell(&mut self) -> ControlFlow<()> {
        let progress = Progress {
            phase: self.phase,
            looked_at: self.looked_at,
            copied: self.report.copied,
            there: self.report.there,
            skipped: self.report.skipped,
            bytes: self.report.bytes,
            total: self.total,
            elapsed: self.begun.elapsed(),
        };
        let told = self.settings.on_progress.as_mut();
        let flow = told.map_or(ControlFlow::Continue(()), |told| told(&progress));
        if flow.is_break() || self.settings.is_told_to_stop() {
            self.report.stopped = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Waits, unless it is told to stop meanwhile.
    pub(super) fn wait(&mut self, time: Duration) -> ControlFlow<()> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return ControlFlow::Continue(());
            }
            if left > SLICE {
                self.tell()?;
            }
            std::thread::sleep(left.min(SLICE));
        }
    }

    /// Waits until so many more keys may be looked at.
    pub(super) fn keep_pace(&mut self, keys: usize) -> ControlFlow<()> {
        let wait = self.pace.as_mut().map(|pace| pace.wait(keys, Instant::now()));
        self.wait(wait.unwrap_or_default())
    }

    /// Waits before it tries again, so many times so far: an error once that was often enough.
    pub(super) fn pause(&mut self, tried: u32, error: Error) -> Result<ControlFlow<()>> {
        if tried >= RETRIES || !may_pass(&error) {
            return Err(error);
        }
        log::debug!("yokedcache: a migration tries again: {error}");
        Ok(self.wait(FIRST_PAUSE * 2u32.pow(tried)))
    }

    /// Does something until it succeeds, as often as it may be tried; `None` if told to stop.
    pub(super) fn insist<T>(&mut self, mut work: impl FnMut() -> Result<T>) -> Result<Option<T>> {
        for tried in 0.. {
            match work() {
                Ok(done) => return Ok(Some(done)),
                Err(error) => {
                    if self.pause(tried, error)?.is_break() {
                        break;
                    }
                }
            }
        }
        Ok(None)
    }

    pub(super) fn finish(mut self, done: Result<()>) -> Result<Report, Incomplete> {
        self.report.elapsed = self.begun.elapsed();
        match done {
            Ok(()) => Ok(self.report),
            Err(error) => Err(Incomplete::new(error, self.report)),
        }
    }
}

/// Whether an error may be gone the next time.
fn may_pass(error: &Error) -> bool {
    error.is_transient() || error.kind() == ErrorKind::Backend
}
