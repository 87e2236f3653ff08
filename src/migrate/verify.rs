//! Compares two caches.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::listing::listed;
use super::renaming::Renaming;
use super::report::{Difference, Differs, NAMED, Verified};
use super::run::Run;
use crate::Cache;
use crate::backend::copying::{WHOLE, hit, read};
use crate::backend::{Cause, Entry, Found, Life, Name, Packing, Tags};
use crate::codec::packing::unpack;
use crate::error::Result;
use crate::pattern::Pattern;

/// How much the ends of an entry and its copy may differ beyond the backends' granularity and the
/// time it took: clocks of processes and servers are not one.
const SLACK: Duration = Duration::from_millis(100);

/// Whether two entries have the same value of the same form. How it is packed is no matter.
pub(super) fn is_same_value(ours: &Entry, theirs: &Entry) -> bool {
    ours.codec == theirs.codec && ours.schema == theirs.schema && is_same_content(ours, theirs)
}

fn is_same_content(ours: &Entry, theirs: &Entry) -> bool {
    let (a, b) = (ours.value.bytes(), theirs.value.bytes());
    if ours.packing == theirs.packing && (ours.packing == Packing::None || a == b) {
        return a == b;
    }
    match (unpack(a, ours.packing), unpack(b, theirs.packing)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

pub(super) struct Comparison<'c> {
    pub(super) from: &'c Cache,
    pub(super) to: &'c Cache,
    pub(super) renaming: Renaming,
    /// How long copying took at most: ends may have moved so far.
    pub(super) took: Duration,
}

/// What a comparison of one key found.
enum Compared {
    Same,
    Differs(Differs),
    Unreadable,
    Gone,
}

impl Comparison<'_> {
    /// Goes through all keys of the source.
    pub(super) fn run(&self, pattern: &Pattern, run: &mut Run<'_, '_>) -> Result<ControlFlow<()>> {
        run.report().verified = Some(Verified::default());
        let mut batch: Vec<String> = Vec::new();
        let flow = listed(self.from, pattern, run, &mut |run, keys| {
            batch.extend(keys.iter().map(|key| (*key).to_owned()));
            if batch.len() < run.most() {
                return Ok(ControlFlow::Continue(()));
            }
            self.batch(&std::mem::take(&mut batch), run)
        })?;
        if flow.is_break() {
            return Ok(flow);
        }
        self.batch(&batch, run)
    }

    fn batch(&self, keys: &[String], run: &mut Run<'_, '_>) -> Result<ControlFlow<()>> {
        if keys.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let mut left: Vec<&str> = keys.iter().map(String::as_str).collect();
        // A difference may be a write under way: it is looked at once more.
        for is_last in [false, true] {
            if run.keep_pace(left.len()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let Some(found) = run.insist(|| self.compare(&left))? else {
                return Ok(ControlFlow::Break(()));
            };
            let mut again = Vec::new();
            for (key, found) in left.into_iter().zip(found) {
                match found {
                    Compared::Differs(_) if !is_last => again.push(key),
                    found => note(self.renaming.rest(key), found, run),
                }
            }
            left = again;
            if left.is_empty() {
                break;
            }
        }
        run.looked_at(keys.len() as u64);
        Ok(run.tell())
    }

    fn compare(&self, keys: &[&str]) -> Result<Vec<Compared>> {
        let renamed: Vec<Option<String>> = keys.iter().map(|key| self.renaming.name(key)).collect();
        let (space, to_space) = self.renaming.spaces();
        let ours: Vec<Name<'_>> = keys.iter().map(|key| Name::new(key, space)).collect();
        let names = renamed.iter().flatten();
        let theirs: Vec<Name<'_>> = names.map(|name| Name::new(name, to_space)).collect();
        let begun = Instant::now();
        let ours = read(self.from.call(), self.from.backend(), &ours, &WHOLE)?;
        let mut theirs = read(self.to.call(), self.to.backend(), &theirs, &WHOLE)?.into_iter();
        let can = |cache: &Cache| cache.backend().about().can;
        let step = can(self.from).ttl_step.max(can(self.to).ttl_step);
        let tolerance = step + self.took + begun.elapsed() + SLACK;
        let mut found = Vec::with_capacity(keys.len());
        for (ours, renamed) in ours.into_iter().zip(&renamed) {
            let theirs = match renamed {
                Some(_) => hit(theirs.next().unwrap_or_default())?,
                None => Err(Cause::Absent),
            };
            found.push(match (hit(ours)?, theirs) {
                (Ok(ours), Ok(theirs)) => self.judge(ours, theirs, tolerance),
                (Ok(ours), Err(_)) if ends_within(&life(&ours), tolerance) => Compared::Gone,
                (Ok(_), Err(_)) => Compared::Differs(Differs::Missing),
                (Err(Cause::Corrupt | Cause::Undecodable | Cause::OtherVersion), _) => {
                    Compared::Unreadable
                }
                (Err(_), _) => Compared::Gone,
            });
        }
        Ok(found)
    }

    fn judge(&self, ours: Found, theirs: Found, tolerance: Duration) -> Compared {
        let tags = self.renaming.tags(&ours.entry.tags);
        let differs = match (&ours.entry, &theirs.entry) {
            (ours, theirs) if ours.codec != theirs.codec => Differs::Codec,
            (ours, theirs) if ours.schema != theirs.schema => Differs::Schema,
            (ours, theirs) if !is_same_content(ours, theirs) => Differs::Value,
            (_, theirs) if !tags.is_some_and(|tags| is_same_set(&tags, &theirs.tags)) => {
                Differs::Tags
            }
            _ if !is_same_life(&life(&ours), &life(&theirs), tolerance) => Differs::Life,
            _ => return Compared::Same,
        };
        Compared::Differs(differs)
    }
}

fn note(key: &str, found: Compared, run: &mut Run<'_, '_>) {
    let Some(verified) = &mut run.report().verified else { return };
    let what = match found {
        Compared::Gone => return,
        Compared::Unreadable => {
            verified.unreadable += 1;
            return;
        }
        Compared::Same => {
            verified.compared += 1;
            verified.same += 1;
            return;
        }
        Compared::Differs(what) => what,
    };
    verified.compared += 1;
    match what {
        Differs::Missing => verified.missing += 1,
        _ => verified.different += 1,
    }
    if verified.differences.len() < NAMED {
        verified.differences.push(Difference { key: key.into(), what });
    }
}

fn life(found: &Found) -> Life {
    found.more.as_ref().map(|more| more.life).unwrap_or_default()
}

/// Whether an entry may be gone by now, or its copy sooner.
fn ends_within(life: &Life, tolerance: Duration) -> bool {
    [life.hard, life.idle].into_iter().flatten().any(|end| end <= tolerance)
}

pub(super) fn is_same_set(ours: &Tags, theirs: &Tags) -> bool {
    ours.len() == theirs.len() && ours.iter().all(|tag| theirs.contains(tag))
}

fn is_same_life(ours: &Life, theirs: &Life, tolerance: Duration) -> bool {
    let same = |ours: Option<Duration>, theirs: Option<Duration>| match (ours, theirs) {
        (Some(ours), Some(theirs)) => ours.abs_diff(theirs) <= tolerance,
        (ours, theirs) => ours == theirs,
    };
    same(ours.soft, theirs.soft) && same(ours.hard, theirs.hard) && same(ours.idle, theirs.idle)
}
