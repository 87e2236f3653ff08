//! A cache into a file.

use std::fmt;
use std::io::Write;
use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime};

use super::file::{Header, Line, Writer};
use super::listing::{listed, total};
use super::pace::Sizing;
use super::primary::Primary;
use super::report::{Incomplete, Phase, Report, Skip};
use super::run::Run;
use super::settings::{Settings, shared_settings};
use crate::Cache;
use crate::backend::copying::{WHOLE, hit, read};
use crate::backend::{Cause, Found, Name, Read};
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;

/// Settings of an export. Made by [`Cache::export`].
#[must_use = "an export does nothing until it is run"]
pub struct Export<'a> {
    from: Cache,
    to: Box<dyn Write + 'a>,
    settings: Settings<'a>,
}

shared_settings!(Export);

impl fmt::Debug for Export<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<'a> Export<'a> {
    pub(super) fn new(from: Cache, to: impl Write + 'a) -> Self {
        Self { from, to: Box::new(to), settings: Settings::new() }
    }

    /// Writes the file, and flushes it at the end.
    ///
    /// If it is stopped, or fails, the last line is missing, and an import says so.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) and
    /// [`InvalidPattern`](ErrorKind::InvalidPattern) for a setting, and
    /// [`Unsupported`](ErrorKind::Unsupported) where the backend cannot list its keys, before anything
    /// is written. [`File`](ErrorKind::File) if the file cannot be written; any failure of the backend
    /// that lasts for several seconds.
    pub fn run(mut self) -> Result<Report, Incomplete> {
        let mut run = Run::new(&mut self.settings, Phase::Exporting);
        let done = write(&self.from, self.to, &mut run);
        run.finish(done)
    }
}

fn write(from: &Cache, to: Box<dyn Write + '_>, run: &mut Run<'_, '_>) -> Result<()> {
    let pattern = run.check()?;
    from.need_scan()?;
    run.expect(total(from));
    let begun = Instant::now();
    let created = from.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let created = u64::try_from(created.as_millis()).unwrap_or(u64::MAX);
    let header = Header::new(from.prefix(), created);
    let out = Writer::new(to, &header)?;
    let sizing = Sizing::new(run.most());
    let primary = Primary::new(from);
    let mut export = Exporting { from, primary, out, sizing, keys: Vec::new(), begun };
    let flow = listed(from, &pattern, run, &mut |run, keys| export.take(keys, run))?;
    if flow.is_break() || export.flush(run)?.is_break() {
        return Ok(());
    }
    export.out.end()
}

struct Exporting<'e> {
    from: &'e Cache,
    primary: Primary<'e>,
    out: Writer<Box<dyn Write + 'e>>,
    sizing: Sizing,
    keys: Vec<String>,
    /// The ends of entries are counted from here.
    begun: Instant,
}

impl Exporting<'_> {
    fn take(&mut self, keys: &[&str], run: &mut Run<'_, '_>) -> Result<ControlFlow<()>> {
        for key in keys {
            self.keys.push((*key).to_owned());
            if self.keys.len() >= self.sizing.now() && self.flush(run)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn flush(&mut self, run: &mut Run<'_, '_>) -> Result<ControlFlow<()>> {
        let keys = std::mem::take(&mut self.keys);
        if run.keep_pace(keys.len()).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let Some((since, found)) = run.insist(|| self.read(&keys))? else {
            return Ok(ControlFlow::Break(()));
        };
        let (mut values, mut bytes) = (0, 0);
        for (key, found) in keys.iter().zip(found) {
            let key = &key[self.from.prefix().len()..];
            match found {
                Ok(found) => match self.entry(key, &found, since)? {
                    Some(size) => {
                        (values, bytes) = (values + 1, bytes + size as u64);
                        run.copied(size);
                    }
                    None => run.skip(key, Skip::Tag),
                },
                Err(cause) => run.skip(key, super::copier::missing(cause)),
            }
        }
        self.sizing.note(values, bytes);
        Ok(run.tell())
    }

    /// The entries, and how long after the beginning: what they have left is not counted too high.
    fn read(&self, keys: &[String]) -> Result<(Duration, Vec<Result<Found, Cause>>)> {
        let since = self.begun.elapsed();
        let space = self.from.prefix().len();
        let names: Vec<Name<'_>> = keys.iter().map(|key| Name::new(key, space)).collect();
        let found: Vec<Read> = read(self.from.call(), self.from.backend(), &names, &WHOLE)?;
        self.primary.check()?;
        Ok((since, found.into_iter().map(hit).collect::<Result<_>>()?))
    }

    /// Writes a line; how many bytes the value has, if its tags lie in the namespace.
    fn entry(&mut self, key: &str, found: &Found, since: Duration) -> Result<Option<usize>> {
        let prefix = self.from.prefix();
        let tag = |tag: &str| tag.strip_prefix(prefix).map(str::to_owned);
        let Some(tags) = found.entry.tags.iter().map(tag).collect() else { return Ok(None) };
        let life = found.more.as_ref().map(|more| more.life).unwrap_or_default();
        self.out.entry(&Line::new(key, &found.entry, tags, &life, since))?;
        Ok(Some(found.entry.value.bytes().len()))
    }
}
