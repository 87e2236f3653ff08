//! Copies a batch of keys: what becomes of each.
//!
//! Where the target gives rights to fill a key, a copy is a load there whose source is the other side
//! (see [`copying`](crate::backend::copying)): what changes the key meanwhile overtakes it. Where it
//! gives none, an entry is added if there is none.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::pace::Sizing;
use super::primary::Primary;
use super::renaming::Renaming;
use super::report::Skip;
use super::verify::{is_same_set, is_same_value};
use crate::Cache;
use crate::backend::copying::{
    Copied, Copy, Group, HEAD, Pair, WHOLE, fits, hit, read, size, tell,
};
use crate::backend::{
    Backend, Call, Cause, Change, Found, Name, NotDone, Read, Tags, Want, When, Write, Wrote,
};
use crate::error::{Error, ErrorKind, Result};

/// How many tags rights to fill are asked for with: the right to each key remembers all of them, and
/// each further request is a round trip.
const TAGS_AT_ONCE: usize = 32;

/// What became of a key.
#[derive(Debug)]
pub(super) enum Became {
    Copied(usize),
    There,
    Overtaken,
    Skipped(Skip),
    /// Somebody else is loading it.
    Busy,
    /// One of the two sides failed.
    Failed(Error),
}

pub(super) struct Copier<'c> {
    to: &'c Cache,
    renaming: Renaming,
    from_call: Call,
    dry_run: bool,
    overwrite: bool,
    sizing: Sizing,
    /// The target had most of the batch before: it is asked first.
    looks_first: bool,
    /// How long it took at most from when entries were read until they were stored.
    longest: Duration,
    primaries: Vec<Primary<'c>>,
}

/// A key on its way.
struct Work<'k> {
    at: usize,
    pair: Pair<'k>,
    /// The tags it will have at the target.
    tags: Tags,
}

impl<'c> Copier<'c> {
    pub(super) fn new(to: &'c Cache, renaming: Renaming, from_call: Call, most: usize) -> Self {
        let sizing = Sizing::new(most);
        let (dry_run, overwrite, looks_first) = (false, false, false);
        let longest = Duration::ZERO;
        let primaries = vec![Primary::new(to)];
        Self {
            to,
            renaming,
            from_call,
            dry_run,
            overwrite,
            sizing,
            looks_first,
            longest,
            primaries,
        }
    }

    /// The source is a cache, too.
    pub(super) fn from(mut self, from: &'c Cache) -> Self {
        self.primaries.push(Primary::new(from));
        self
    }

    pub(super) fn with(self, dry_run: bool, overwrite: bool) -> Self {
        Self { dry_run, overwrite, ..self }
    }

    /// How much later ends of entries may have come out.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// Copies keys of the source, given by their full names.
    pub(super) fn copy(&mut self, from: &dyn Backend, keys: &[&str]) -> Vec<Became> {
        let done = self.check().map(|()| self.copy_batch(from, keys));
        // Only now is it known that nothing stood in meanwhile.
        match done.and_then(|became| self.check().map(|()| became)) {
            Ok(became) => became,
            Err(error) => keys.iter().map(|_| Became::Failed(error.clone())).collect(),
        }
    }

    fn check(&self) -> Result<()> {
        self.primaries.iter().try_for_each(Primary::check)
    }

    fn copy_batch(&mut self, from: &dyn Backend, keys: &[&str]) -> Vec<Became> {
        let renamed: Vec<Option<String>> = keys.iter().map(|key| self.renaming.name(key)).collect();
        let mut became: Vec<Option<Became>> = keys.iter().map(|_| None).collect();
        let (space, to_space) = self.renaming.spaces();
        let mut work = Vec::with_capacity(keys.len());
        for (at, (key, renamed)) in keys.iter().zip(&renamed).enumerate() {
            match renamed {
                Some(renamed) => {
                    let (from, to) = (Name::new(key, space), Name::new(renamed, to_space));
                    work.push(Work { at, pair: Pair { from, to }, tags: Tags::NONE });
                }
                None => became[at] = Some(Became::Skipped(Skip::Key)),
            }
        }
        if self.overwrite {
            self.replace(from, work, &mut became);
        } else {
            self.fill(from, work, &mut became);
        }
        self.learn(&became);
        let lost = || Became::Failed(Error::new(ErrorKind::Backend, "a key was not dealt with"));
        became.into_iter().map(|became| became.unwrap_or_else(lost)).collect()
    }

    fn learn(&mut self, became: &[Option<Became>]) {
        let there = became.iter().filter(|became| matches!(became, Some(Became::There))).count();
        self.looks_first = there > became.len() / 2;
    }

    /// Copies what the target lacks.
    fn fill<'k>(
        &mut self,
        from: &dyn Backend,
        mut work: Vec<Work<'k>>,
        became: &mut [Option<Became>],
    ) {
        if self.dry_run || self.looks_first {
            let to = self.to.backend();
            work = look(
                self.to.call(),
                to,
                work,
                &LOOK,
                |work| work.pair.to,
                became,
                |_, read| match hit(read) {
                    Ok(Ok(_) | Err(Cause::Undecodable)) => Err(Became::There),
                    Ok(Err(_)) => Ok(None),
                    Err(error) => Err(Became::of(error)),
                },
            );
        }
        let source = |work: &Work<'k>| work.pair.from;
        work = look(self.from_call, from, work, &HEAD, source, became, |_, read| {
            self.tags_of(read).map(Some)
        });
        self.deal_with(from, work, became);
    }

    /// Copies what is not the same at the target.
    fn replace(
        &mut self,
        from: &dyn Backend,
        mut work: Vec<Work<'_>>,
        became: &mut [Option<Became>],
    ) {
        while !work.is_empty() {
            let later = work.split_off(self.sizing.now().min(work.len()));
            let places: Vec<usize> = work.iter().map(|work| work.at).collect();
            let different = self.compare(from, work, became);
            self.deal_with(from, different, became);
            if let Some(error) = all_failed(&places, became) {
                return fail(&later, &error, became);
            }
            work = later;
        }
    }

    fn compare<'k>(
        &mut self,
        from: &dyn Backend,
        work: Vec<Work<'k>>,
        became: &mut [Option<Became>],
    ) -> Vec<Work<'k>> {
        let theirs: Vec<Name<'_>> = work.iter().map(|work| work.pair.to).collect();
        let theirs = match read(self.to.call(), self.to.backend(), &theirs, &WHOLE) {
            Ok(theirs) => theirs,
            Err(error) => {
                fail(&work, &error, became);
                return Vec::new();
            }
        };
        let (mut theirs, mut seen) = (theirs.into_iter(), (0, 0));
        let can = self.to.backend().about().can;
        let source = |work: &Work<'k>| work.pair.from;
        let different = look(self.from_call, from, work, &WHOLE, source, became, |_, read| {
            let ours = match &read {
                Read::Hit(found) => Some(found.entry.clone()),
                _ => None,
            };
            let there = hit(theirs.next().unwrap_or_default()).map_err(Became::of)?;
            let tags = self.tags_of(read)?;
            if let Some(ours) = &ours {
                seen = (seen.0 + 1, seen.1 + ours.value.bytes().len() as u64);
            }
            match (ours, there) {
                (Some(ours), Ok(Found { entry, .. }))
                    if is_same_set(&entry.tags, &tags) && is_same_value(&ours, &entry) =>
                {
                    Err(Became::There)
                }
                // What cannot be copied takes nothing away.
                (Some(ours), _) => fits(&ours, can).map(|()| Some(tags)).map_err(Became::of),
                (None, _) => Ok(Some(tags)),
            }
        });
        self.sizing.note(seen.0, seen.1);
        different
    }

    /// The tags of an entry of the source, as the target will call them.
    fn tags_of(&self, read: Read) -> Result<Tags, Became> {
        match hit(read) {
            Ok(Ok(found)) => self.target_tags(&found.entry.tags),
            Ok(Err(cause)) => Err(Became::Skipped(missing(cause))),
            Err(error) => Err(Became::of(error)),
        }
    }

    fn target_tags(&self, tags: &Tags) -> Result<Tags, Became> {
        let about = self.to.backend().about();
        if !tags.is_empty() && !about.can.tags {
            return Err(Became::of(Error::unsupported(about.name, "tags")));
        }
        self.renaming.tags(tags).ok_or(Became::Skipped(Skip::Tag))
    }

    fn deal_with(
        &mut self,
        from: &dyn Backend,
        mut work: Vec<Work<'_>>,
        became: &mut [Option<Became>],
    ) {
        if self.dry_run {
            work.iter().for_each(|work| became[work.at] = Some(Became::Copied(0)));
            return;
        }
        while !work.is_empty() {
            let later = work.split_off(self.sizing.now().min(work.len()));
            let places: Vec<usize> = work.iter().map(|work| work.at).collect();
            let begun = Instant::now();
            if self.to.backend().about().can.leases {
                self.copy_all(from, work, became);
            } else {
                self.add(from, work, became);
            }
            self.longest = self.longest.max(begun.elapsed());
            if let Some(error) = all_failed(&places, became) {
                return fail(&later, &error, became);
            }
            let sizes = places.iter().filter_map(|at| match became[*at] {
                Some(Became::Copied(size)) => Some(size as u64),
                _ => None,
            });
            let (values, bytes) = sizes.fold((0, 0), |(n, sum), size| (n + 1, sum + size));
            self.sizing.note(values, bytes);
            work = later;
        }
    }

    fn copy_all(&self, from: &dyn Backend, work: Vec<Work<'_>>, became: &mut [Option<Became>]) {
        let to = self.to.backend();
        let copy = Copy {
            from,
            from_call: self.from_call,
            to,
            to_call: self.to.call(),
            replaces: self.overwrite,
            rename: &|tags| self.renaming.tags(tags),
        };
        let (work, groups) = groups(work, !to.about().can.shared);
        match copy.run(&groups) {
            Ok(copied) => {
                for (work, copied) in work.iter().zip(copied) {
                    became[work.at] = Some(copied.into());
                }
            }
            Err(error) => fail(&work, &error, became),
        }
    }

    /// Copies to a target that gives no rights.
    fn add(&self, from: &dyn Backend, work: Vec<Work<'_>>, became: &mut [Option<Became>]) {
        let names: Vec<Name<'_>> = work.iter().map(|work| work.pair.from).collect();
        let found = match read(self.from_call, from, &names, &WHOLE) {
            Ok(found) => found,
            Err(error) => return fail(&work, &error, became),
        };
        let (mut writes, mut places) = (Vec::new(), Vec::new());
        for (work, found) in work.iter().zip(found) {
            match self.addition(found) {
                Ok(change) => {
                    if self.overwrite {
                        self.to.overtake(work.pair.to.as_str());
                    }
                    let when = if self.overwrite { When::Always } else { When::Absent };
                    places.push((work.at, size(&change).unwrap_or_default()));
                    writes.push(Write::new(work.pair.to, when, change));
                }
                Err(outcome) => became[work.at] = Some(outcome),
            }
        }
        let wrote = tell(self.to.call(), self.to.backend(), writes);
        for ((at, size), wrote) in places.into_iter().zip(wrote) {
            became[at] = Some(match wrote {
                Wrote::Done(_) => Became::Copied(size),
                Wrote::Not(NotDone::Exists) => Became::There,
                Wrote::Failed(error) => Became::of(error),
                _ => Became::Overtaken,
            });
        }
    }

    fn addition(&self, found: Read) -> Result<Change, Became> {
        let mut found = match hit(found) {
            Ok(Ok(found)) => found,
            Ok(Err(cause)) => return Err(Became::Skipped(missing(cause))),
            Err(error) => return Err(Became::of(error)),
        };
        found.entry.tags = self.target_tags(&found.entry.tags)?;
        fits(&found.entry, self.to.backend().about().can).map_err(Became::of)?;
        let life = found.more.map(|more| more.life).unwrap_or_default();
        Ok(Change::Put(found.entry, life))
    }
}

/// Only whether there is something.
const LOOK: Want<'_> = Want { head_only: true, quiet: true, ..Want::VALUE };

/// Reads keys, and keeps those on their way for which `judge` says so, with their tags.
fn look<'k>(
    call: Call,
    backend: &dyn Backend,
    work: Vec<Work<'k>>,
    want: &Want<'_>,
    name: impl Fn(&Work<'k>) -> Name<'k>,
    became: &mut [Option<Became>],
    mut judge: impl FnMut(&Work<'k>, Read) -> Result<Option<Tags>, Became>,
) -> Vec<Work<'k>> {
    let names: Vec<Name<'_>> = work.iter().map(name).collect();
    let answers = match read(call, backend, &names, want) {
        Ok(answers) => answers,
        Err(error) => {
            fail(&work, &error, became);
            return Vec::new();
        }
    };
    let mut left = Vec::with_capacity(work.len());
    for (mut work, answer) in work.into_iter().zip(answers) {
        match judge(&work, answer) {
            Ok(tags) => {
                work.tags = tags.unwrap_or(work.tags);
                left.push(work);
            }
            Err(outcome) => became[work.at] = Some(outcome),
        }
    }
    left
}

/// Why all of these failed, if they did: then a side is away, and the rest need not wait for it, too.
fn all_failed(places: &[usize], became: &[Option<Became>]) -> Option<Error> {
    let mut error = None;
    for at in places {
        let Some(Became::Failed(why)) = &became[*at] else { return None };
        error = Some(why.clone());
    }
    error.filter(Error::is_outage)
}

fn fail(work: &[Work<'_>], error: &Error, became: &mut [Option<Became>]) {
    for work in work {
        became[work.at] = Some(Became::of(error.clone()));
    }
}

/// Deals keys out to requests for rights, each with the tags that are named then.
///
/// A server judges a fill by the tags it carries, so keys with different ones go together. In this
/// process an invalidation of one tag takes away all rights that were given with it: there only keys
/// with the same tags go together, which costs nothing.
fn groups<'k>(mut work: Vec<Work<'k>>, exact: bool) -> (Vec<Work<'k>>, Vec<Group<'k>>) {
    work.sort_by(|a, b| a.tags.iter().cmp(b.tags.iter()));
    let mut groups = Vec::new();
    let mut left = &work[..];
    while let Some(first) = left.first() {
        let mut names: HashSet<&str> = first.tags.iter().collect();
        let mut count = 0;
        for next in left {
            let new = next.tags.iter().filter(|tag| !names.contains(tag)).count();
            let fits = match exact {
                _ if first.tags.is_empty() => next.tags.is_empty(),
                true => next.tags == first.tags,
                false => new == 0 || names.len() + new <= TAGS_AT_ONCE,
            };
            if !fits {
                break;
            }
            names.extend(next.tags.iter());
            count += 1;
        }
        let (now, later) = left.split_at(count);
        let pairs = now.iter().map(|work| work.pair).collect();
        groups.push(Group { tags: Tags::new(names), pairs });
        left = later;
    }
    (work, groups)
}

pub(super) fn missing(cause: Cause) -> Skip {
    match cause {
        Cause::Corrupt => Skip::Corrupt,
        Cause::Undecodable | Cause::OtherVersion => Skip::Undecodable,
        _ => Skip::Gone,
    }
}

impl Became {
    fn of(error: Error) -> Self {
        let why = error.to_string();
        Self::Skipped(match error.kind() {
            ErrorKind::TooLarge => Skip::TooLarge(why),
            ErrorKind::Unsupported => Skip::Unsupported(why),
            ErrorKind::InvalidTag => Skip::Tag,
            ErrorKind::InvalidKey => Skip::Key,
            ErrorKind::Backend => return Self::Failed(error),
            _ if error.is_outage() => return Self::Failed(error),
            _ => Skip::Refused(why),
        })
    }
}

impl From<Copied> for Became {
    fn from(copied: Copied) -> Self {
        match copied {
            Copied::Nothing(cause) => Self::Skipped(missing(cause)),
            Copied::There => Self::There,
            Copied::Stored(size) => Self::Copied(size),
            // With other tags by now: it is copied with those.
            Copied::Busy(_) | Copied::Retagged => Self::Busy,
            Copied::Overtaken => Self::Overtaken,
            Copied::Late => Self::Skipped(Skip::Late),
            Copied::Failed(error) => Self::of(error),
        }
    }
}
