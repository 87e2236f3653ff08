//! A cache into another one.

use std::ops::ControlFlow;
use std::time::Duration;

use super::copier::Copier;
use super::listing::{listed, total};
use super::overlap::lies_within;
use super::pump::Pump;
use super::renaming::Renaming;
use super::report::{Incomplete, Phase, Report};
use super::run::Run;
use super::settings::{Settings, shared_settings, writing_settings};
use super::verify::Comparison;
use crate::Cache;
use crate::error::{Error, ErrorKind, Result};
use crate::pattern::Pattern;

/// Settings of a migration. Made by [`Cache::migrate_to`].
#[derive(Debug)]
#[must_use = "a migration does nothing until it is run"]
pub struct Migration<'a> {
    from: Cache,
    to: Cache,
    verify: bool,
    settings: Settings<'a>,
}

shared_settings!(Migration);
writing_settings!(Migration);

impl Migration<'_> {
    pub(super) fn new(from: Cache, to: Cache) -> Self {
        Self { from, to, verify: false, settings: Settings::new() }
    }

    /// Compares all entries afterwards: value, codec, schema, tags, and times within the granularity of
    /// the two backends. Default: they are not compared.
    ///
    /// A key that is not the same is looked at twice. What programs change meanwhile is a difference.
    /// With [`dry_run`](Self::dry_run) the two are compared as they are.
    pub fn verify(mut self) -> Self {
        self.verify = true;
        self
    }

    /// Copies, and compares if that was asked for.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a setting, and if the target lies within the
    /// source; [`InvalidPattern`](ErrorKind::InvalidPattern); [`Unsupported`](ErrorKind::Unsupported)
    /// where the source cannot list its keys. No entry has been copied then. Any
    /// failure of one of the two that lasts for several seconds, with what was done until then.
    pub fn run(mut self) -> Result<Report, Incomplete> {
        let mut run = Run::new(&mut self.settings, Phase::Copying);
        let done = migrate(&self.from, &self.to, self.verify, &mut run);
        run.finish(done)
    }
}

fn migrate(from: &Cache, to: &Cache, verify: bool, run: &mut Run<'_, '_>) -> Result<()> {
    let pattern = run.check()?;
    from.need_scan()?;
    let dry_run = run.is_dry();
    let Some(is_within) = run.insist(|| lies_within(to, from, dry_run))? else { return Ok(()) };
    if is_within {
        let what = "a cache cannot be migrated into itself, or into a namespace of its own";
        return Err(Error::new(ErrorKind::InvalidArgument, what));
    }
    run.expect(total(from));
    let renaming = Renaming::new(from.prefix(), to.prefix());
    let took = match copy(from, to, &pattern, &renaming, run)? {
        Some(took) => took,
        None => return Ok(()),
    };
    if verify {
        run.enter(Phase::Verifying);
        let comparison = Comparison { from, to, renaming, took };
        let _ = comparison.run(&pattern, run)?;
    }
    Ok(())
}

/// How much later ends of entries may have come out; `None` if it was told to stop.
fn copy(
    from: &Cache,
    to: &Cache,
    pattern: &Pattern,
    renaming: &Renaming,
    run: &mut Run<'_, '_>,
) -> Result<Option<Duration>> {
    let source = from.backend();
    let copier = Copier::new(to, renaming.clone(), from.call(), run.most())
        .from(from)
        .with(run.is_dry(), run.overwrites());
    let mut pump = Pump::new(renaming.clone(), copier);
    let flow = listed(from, pattern, run, &mut |run, keys| {
        for key in keys {
            if pump.take(source, key, run)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let stopped = flow.is_break() || pump.end(source, run)?.is_break();
    Ok((!stopped).then_some(pump.longest()))
}
