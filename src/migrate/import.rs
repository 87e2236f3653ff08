//! A file into a cache.

use std::collections::HashMap;
use std::fmt;
use std::io::BufRead;
use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime};

use super::copier::Copier;
use super::file::{FaultKind, Header, Next, Reader, left};
use super::pump::Pump;
use super::renaming::Renaming;
use super::report::{Incomplete, Phase, Report, Skip};
use super::run::Run;
use super::settings::{Settings, shared_settings, writing_settings};
use crate::Cache;
use crate::backend::{
    About, Backend, Call, Can, Cause, Entry, Found, Grant, Life, More, Name, Read, Removed, Scope,
    Want, Write, Wrote,
};
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Error, Result};
use crate::pattern::Pattern;

/// How many bytes of values are held before they are stored.
const BUDGET: usize = 8 << 20;

/// Settings of an import. Made by [`Cache::import`].
#[must_use = "an import does nothing until it is run"]
pub struct Import<'a> {
    to: Cache,
    from: Box<dyn BufRead + 'a>,
    keep_ttl: bool,
    settings: Settings<'a>,
}

shared_settings!(Import);
writing_settings!(Import);

impl fmt::Debug for Import<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Import");
        shown.field("keep_ttl", &self.keep_ttl).field("settings", &self.settings);
        shown.finish_non_exhaustive()
    }
}

impl<'a> Import<'a> {
    pub(super) fn new(to: Cache, from: impl BufRead + 'a) -> Self {
        Self { to, from: Box::new(from), keep_ttl: false, settings: Settings::new() }
    }

    /// Gives entries the time they had left at the export, from now on. Default: the time since the
    /// export counts, by the wall clocks of the two machines, and what has expired since is left out.
    pub fn keep_ttl(mut self) -> Self {
        self.keep_ttl = true;
        self
    }

    /// Stores what the file has, as it is read: of a file that turns out to be damaged, what comes
    /// before the damage is stored.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) and
    /// [`InvalidPattern`](ErrorKind::InvalidPattern) for a setting, before anything is read;
    /// [`File`](ErrorKind::File) for a file that cannot be read, is none of ours, of an unknown version,
    /// damaged or cut off, with the [line](Incomplete::fault); any failure of the backend that lasts
    /// for several seconds.
    pub fn run(mut self) -> Result<Report, Incomplete> {
        let mut run = Run::new(&mut self.settings, Phase::Importing);
        let importing = Importing { to: &self.to, keep_ttl: self.keep_ttl };
        let done = importing.read(self.from, &mut run);
        run.finish(done)
    }
}

struct Importing<'i> {
    to: &'i Cache,
    keep_ttl: bool,
}

impl Importing<'_> {
    fn read(&self, from: Box<dyn BufRead + '_>, run: &mut Run<'_, '_>) -> Result<()> {
        let pattern = run.check()?;
        let (mut reader, header) = Reader::new(from)?;
        let renaming = Renaming::new("", self.to.prefix());
        let copier = Copier::new(self.to, renaming.clone(), Call::Unlimited, run.most())
            .with(run.is_dry(), run.overwrites());
        let mut pump = Pump::new(renaming, copier);
        let mut lines = Lines::default();
        let ended = loop {
            let line = match reader.next() {
                Ok(Next::Entry(line)) => line,
                Ok(Next::End) => break Ok(()),
                Err(error) => break Err(error),
            };
            let Some(entry) = line.entry() else { break Err(reader.fault(FaultKind::Damaged)) };
            if !pattern.matches(&line.key) {
                continue;
            }
            let flow = match line.life(self.since(&header)) {
                Some(life) => lines.take(&line.key, (entry, life), &mut pump, run)?,
                None => {
                    run.skip(&line.key, Skip::Gone);
                    ControlFlow::Continue(())
                }
            };
            if flow.is_break() {
                return Ok(());
            }
        };
        // What came before the damage is good.
        let _ = pump.end(&lines, run)?;
        ended
    }

    /// How much of their lives entries have had since the file was written.
    fn since(&self, header: &Header) -> Duration {
        if self.keep_ttl {
            return Duration::ZERO;
        }
        let now = self.to.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(Duration::from_millis(header.created))
    }
}

/// The entries of some lines, as a source of copies.
#[derive(Debug, Default)]
struct Lines {
    /// What was left of their lives when they came.
    entries: HashMap<String, (Entry, Life, Instant)>,
    bytes: usize,
}

impl Lines {
    fn take(
        &mut self,
        key: &str,
        entry: (Entry, Life),
        pump: &mut Pump<'_>,
        run: &mut Run<'_, '_>,
    ) -> Result<ControlFlow<()>> {
        self.bytes += entry.0.value.bytes().len();
        self.entries.insert(key.to_owned(), (entry.0, entry.1, Instant::now()));
        let mut flow = pump.take(self, key, run)?;
        if flow.is_continue() && self.bytes >= BUDGET {
            flow = pump.flush(self, run)?;
        }
        if pump.is_empty() {
            self.entries.retain(|key, _| pump.busy().any(|busy| busy == key));
            self.bytes = 0;
        }
        Ok(flow)
    }
}

impl Backend for Lines {
    fn about(&self) -> About {
        About::new("file", Can::new())
    }

    fn read(&self, _: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        for (key, out) in keys.iter().zip(out) {
            *out = match self.entries.get(key.as_str()) {
                Some((entry, life, came)) => match left(life, came.elapsed()) {
                    Some(life) => {
                        let more = want.meta.then(|| Box::new(More { life, ..More::default() }));
                        Read::Hit(Found { more, ..Found::new(entry.clone()) })
                    }
                    None => Read::Miss(Cause::Expired, Grant::None),
                },
                None => Read::Miss(Cause::Absent, Grant::None),
            };
        }
        Ok(())
    }

    fn write(&self, _: Call, _: &mut [Write<'_>], _: &mut [Wrote]) -> Result<()> {
        Err(Error::unsupported("file", "changes"))
    }

    fn invalidate(&self, _: Call, _: &Scope<'_>) -> Result<Removed> {
        Err(Error::unsupported("file", "invalidation"))
    }

    fn scan(
        &self,
        _: Call,
        _: &Pattern,
        _: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        Err(Error::unsupported("file", "listing keys"))
    }
}
