//! Copies entries from one backend to another: a load on the one, whose source is the other.
//!
//! A copy asks for the right to fill before it reads what it fills in, and names the entry's tags
//! when it asks. So whatever changes the key at the target meanwhile overtakes it: a write, a
//! removal, an invalidation of the key's pattern or of one of the tags. An invalidation that reaches
//! the source first and the target afterwards leaves no older value: a copy that read the source
//! before had its right before, too, and loses it or is removed.

use std::time::{Duration, Instant};

use super::{
    Ask, Backend, Call, Can, Cause, Change, Entry, Found, Grant, Lease, Name, NotDone, Over, Read,
    Tags, Want, When, Write, Wrote,
};
use crate::error::{Error, ErrorKind, Result};

/// How long a right that nobody gives back keeps others from the key.
pub(crate) const HOLD: Duration = Duration::from_secs(10);

/// The whole entry, with what is left of its life. No near tier and no replica answers who asks for a
/// version: what they still have of a value that was changed must not live on in another backend.
pub(crate) const WHOLE: Want<'_> = Want { meta: true, quiet: true, token: true, ..Want::VALUE };
/// Everything but the value, to learn the tags.
pub(crate) const HEAD: Want<'_> = Want { head_only: true, ..WHOLE };

/// What became of one key.
#[derive(Debug)]
pub(crate) enum Copied {
    /// The source has no entry.
    Nothing(Cause),
    /// The target has one already.
    There,
    /// It has it now, a value of so many bytes.
    Stored(usize),
    /// Somebody else holds the right to fill it.
    Busy(Duration),
    /// The key was changed meanwhile.
    Overtaken,
    /// The right to fill it had ended by the time the value was there.
    Late,
    /// Its tags were other ones by the time the value was read.
    Retagged,
    /// The target did not take it.
    Failed(Error),
}

/// What a copy is about.
pub(crate) struct Copy<'c> {
    pub(crate) from: &'c dyn Backend,
    pub(crate) from_call: Call,
    pub(crate) to: &'c dyn Backend,
    pub(crate) to_call: Call,
    /// Whether what the target has is replaced: nobody sees it from when the copy begins.
    pub(crate) replaces: bool,
    /// What tags are called at the target; `None` for some that cannot be there.
    pub(crate) rename: &'c dyn Fn(&Tags) -> Option<Tags>,
}

/// A key as the source calls it, and as the target does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) from: Name<'a>,
    pub(crate) to: Name<'a>,
}

/// Keys whose rights are asked for together, with these tags: all that their entries will have at the
/// target.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    pub(crate) tags: Tags,
    pub(crate) pairs: Vec<Pair<'a>>,
}

/// A right obtained at the target.
struct Held<'g> {
    at: usize,
    pair: Pair<'g>,
    tags: &'g Tags,
    lease: Box<Lease>,
}

/// Copies what the target lacks, in two reads of the source, and a read and a write of the target.
///
/// # Errors
/// If the source cannot be read: nothing was copied then.
pub(super) fn copy(
    call: Call,
    from: &dyn Backend,
    to: &dyn Backend,
    names: &[Name<'_>],
) -> Result<Vec<Copied>> {
    let heads = look(call, from, names)?;
    copy_looked_at(call, from, to, names, &heads)
}

/// The same where the source has been looked at already: a read of it less.
pub(super) fn copy_looked_at(
    call: Call,
    from: &dyn Backend,
    to: &dyn Backend,
    names: &[Name<'_>],
    heads: &[Option<Tags>],
) -> Result<Vec<Copied>> {
    let there: Vec<usize> = (0..names.len()).filter(|at| heads[*at].is_some()).collect();
    let tags = heads.iter().flatten().fold(Tags::NONE, |all, tags| all.and(tags));
    let same = |at: &usize| Pair { from: names[*at], to: names[*at] };
    let pairs: Vec<Pair<'_>> = there.iter().map(same).collect();
    let rename = &|tags: &Tags| Some(tags.clone());
    let copy = Copy { from, from_call: call, to, to_call: call, replaces: false, rename };
    let mut copied: Vec<Copied> = names.iter().map(|_| Copied::Nothing(Cause::Absent)).collect();
    for (at, became) in there.into_iter().zip(copy.run(&[Group { tags, pairs }])?) {
        copied[at] = became;
    }
    Ok(copied)
}

/// The tags of each entry that is there.
pub(super) fn look(
    call: Call,
    from: &dyn Backend,
    names: &[Name<'_>],
) -> Result<Vec<Option<Tags>>> {
    let heads = read(call, from, names, &HEAD)?;
    heads.into_iter().map(|head| Ok(hit(head)?.ok().map(|found| found.entry.tags))).collect()
}

/// The same of keys that others may be copying: waits for them. `may_lack` tells for what reason the
/// target may be left without a key.
///
/// # Errors
/// If another key that the source has could not be copied, in time.
pub(super) fn copy_surely(
    call: Call,
    from: &dyn Backend,
    to: &dyn Backend,
    names: &[Name<'_>],
    may_lack: &dyn Fn(&Error) -> bool,
) -> Result<u64> {
    let call = bounded(call);
    let mut left = names.to_vec();
    let mut stored = 0;
    while !left.is_empty() {
        let mut pause = None;
        let mut again = Vec::new();
        for (name, copied) in left.iter().zip(copy(call, from, to, &left)?) {
            match copied {
                Copied::Nothing(_) | Copied::There => {}
                Copied::Stored(_) => stored += 1,
                Copied::Overtaken | Copied::Late | Copied::Retagged => again.push(*name),
                Copied::Busy(ask_again_in) => {
                    again.push(*name);
                    pause = pause.max(Some(ask_again_in));
                }
                Copied::Failed(error) if may_lack(&error) => {}
                Copied::Failed(error) => return Err(error),
            }
        }
        left = again;
        if !left.is_empty() {
            call.left()?;
            std::thread::sleep(pause.unwrap_or_default());
        }
    }
    Ok(stored)
}

/// Who died with a right has lost it by then.
fn bounded(call: Call) -> Call {
    match call.armed() {
        Call::Unlimited => Call::Within(2 * HOLD).armed(),
        armed => armed,
    }
}

impl Copy<'_> {
    /// Copies keys: a read of the target for each group, a read of the source, and a write of the
    /// target. What became of the keys comes in the order of the groups.
    ///
    /// # Errors
    /// If the source cannot be read: nothing was copied then.
    pub(crate) fn run(&self, groups: &[Group<'_>]) -> Result<Vec<Copied>> {
        let begun = Instant::now();
        let mut copied = Vec::new();
        let mut held = Vec::new();
        let mut away = None;
        for group in groups {
            if let Some(error) = &away {
                // Each further question would take all of a call's time.
                copied.extend(failed(group, error));
            } else {
                away = self.acquire(group, &mut held, &mut copied);
            }
        }
        self.fill(held, begun, &mut copied)?;
        Ok(copied)
    }

    /// Asks for the rights to a group; the error, if the target is away.
    fn acquire<'g>(
        &self,
        group: &'g Group<'g>,
        held: &mut Vec<Held<'g>>,
        copied: &mut Vec<Copied>,
    ) -> Option<Error> {
        let Group { tags, pairs } = group;
        let lease = match self.replaces {
            true => Ask::Take { hold: HOLD, tags },
            false => Ask::Own { hold: HOLD, over: Over::Nothing, tags },
        };
        let want = Want { head_only: true, quiet: true, lease, ..Want::VALUE };
        let wanted: Vec<Name<'_>> = pairs.iter().map(|pair| pair.to).collect();
        let answers = match read(self.to_call, self.to, &wanted, &want) {
            Ok(answers) => answers,
            Err(error) => {
                copied.extend(failed(group, &error));
                return error.is_outage().then_some(error);
            }
        };
        for (pair, answer) in pairs.iter().zip(answers) {
            match granted(answer).map_err(|became| self.kept(became)) {
                Ok(lease) => {
                    held.push(Held { at: copied.len(), pair: *pair, tags, lease });
                    copied.push(Copied::Overtaken);
                }
                Err(became) => copied.push(became),
            }
        }
        None
    }

    /// What is no value stays, and cannot be replaced.
    fn kept(&self, became: Copied) -> Copied {
        match became {
            Copied::Nothing(Cause::Undecodable) if self.replaces => {
                let what = "what the target has under the key is no value";
                Copied::Failed(Error::new(ErrorKind::WrongType, what))
            }
            Copied::Nothing(Cause::Undecodable) => Copied::There,
            Copied::Nothing(_) => Copied::Failed(unanswered()),
            became => became,
        }
    }

    fn fill(&self, held: Vec<Held<'_>>, begun: Instant, copied: &mut [Copied]) -> Result<()> {
        let names: Vec<Name<'_>> = held.iter().map(|held| held.pair.from).collect();
        let (found, trouble) = match read(self.from_call, self.from, &names, &WHOLE) {
            Ok(found) => (found, None),
            Err(error) => (names.iter().map(|_| Read::Unanswered).collect(), Some(error)),
        };
        let mut filled = Vec::with_capacity(held.len());
        let mut writes = Vec::with_capacity(held.len());
        for (Held { at, pair, tags, lease }, read) in held.into_iter().zip(found) {
            // What is not filled is given back.
            let change = self.filling(read, tags).unwrap_or_else(|became| {
                copied[at] = became;
                Change::Release
            });
            filled.push((at, size(&change)));
            writes.push(Write::new(pair.to, When::Lease(lease), change));
        }
        for ((at, size), wrote) in filled.into_iter().zip(tell(self.to_call, self.to, writes)) {
            if let Some(size) = size {
                copied[at] = match wrote {
                    Wrote::Done(_) => Copied::Stored(size),
                    Wrote::Failed(error) => Copied::Failed(error),
                    // Nobody can tell what took the right away.
                    _ if begun.elapsed() >= HOLD => Copied::Late,
                    _ => Copied::Overtaken,
                };
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    /// The fill, if there is one.
    fn filling(&self, read: Read, leased: &Tags) -> Result<Change, Copied> {
        let mut found = match hit(read) {
            Ok(Ok(found)) => found,
            Ok(Err(cause)) => return Err(Copied::Nothing(cause)),
            Err(error) => return Err(Copied::Failed(error)),
        };
        fits(&found.entry, self.to.about().can).map_err(Copied::Failed)?;
        let tags = (self.rename)(&found.entry.tags);
        let named = |tags: &Tags| tags.iter().all(|tag| leased.contains(tag));
        found.entry.tags = tags.filter(named).ok_or(Copied::Retagged)?;
        let life = found.more.map(|more| more.life).unwrap_or_default();
        Ok(Change::Put(found.entry, life))
    }
}

fn failed<'g>(group: &'g Group<'_>, error: &'g Error) -> impl Iterator<Item = Copied> + 'g {
    group.pairs.iter().map(|_| Copied::Failed(error.clone()))
}

/// Refuses a value that is larger than a backend takes.
pub(crate) fn fits(entry: &Entry, can: Can) -> Result<()> {
    let size = entry.value.bytes().len();
    if can.max_value.is_none_or(|most| size <= most) {
        return Ok(());
    }
    let what = format!("the value has {size} bytes, more than the target takes");
    Err(Error::new(ErrorKind::TooLarge, what))
}

/// The right, or what became of the key instead.
fn granted(answer: Read) -> Result<Box<Lease>, Copied> {
    let grant = match answer {
        Read::Miss(cause, Grant::None) => return Err(Copied::Nothing(cause)),
        Read::Miss(_, grant) => grant,
        Read::Hit(Found { more: Some(more), .. }) => match more.grant {
            Grant::None => return Err(Copied::There),
            grant => grant,
        },
        Read::Hit(_) => return Err(Copied::There),
        Read::Unanswered => Grant::None,
        Read::Failed(error) => return Err(Copied::Failed(error)),
    };
    match grant {
        Grant::Granted(lease) => Ok(lease),
        Grant::Busy { ask_again_in, .. } => Err(Copied::Busy(ask_again_in)),
        Grant::None => Err(Copied::Failed(unanswered())),
    }
}

/// How many bytes the value has, if a change stores one.
pub(crate) fn size(change: &Change) -> Option<usize> {
    match change {
        Change::Put(entry, _) => Some(entry.value.bytes().len()),
        _ => None,
    }
}

/// The entry, or why there is none.
pub(crate) fn hit(read: Read) -> Result<Result<Found, Cause>> {
    match read {
        // A wrapper whose backend is away knows nothing of the key.
        Read::Miss(Cause::Down, _) => Err(Error::new(ErrorKind::Unavailable, "a backend is away")),
        Read::Unanswered => Err(unanswered()),
        Read::Hit(found) => Ok(Ok(found)),
        Read::Miss(cause, _) => Ok(Err(cause)),
        Read::Failed(error) => Err(error),
    }
}

/// Reads keys, if there are any.
pub(crate) fn read(
    call: Call,
    backend: &dyn Backend,
    names: &[Name<'_>],
    want: &Want<'_>,
) -> Result<Vec<Read>> {
    let mut out: Vec<Read> = names.iter().map(|_| Read::Unanswered).collect();
    if !names.is_empty() {
        backend.read(call, names, want, &mut out)?;
    }
    Ok(out)
}

/// Makes changes, if there are any; a failure of all is one of each.
pub(crate) fn tell(call: Call, backend: &dyn Backend, mut writes: Vec<Write<'_>>) -> Vec<Wrote> {
    let mut out: Vec<Wrote> = writes.iter().map(|_| Wrote::Unanswered).collect();
    if !writes.is_empty() {
        write(call, backend, &mut writes, &mut out);
    }
    out
}

/// The same in place.
pub(super) fn write(
    call: Call,
    backend: &dyn Backend,
    writes: &mut [Write<'_>],
    out: &mut [Wrote],
) {
    let done = backend.write(call, writes, out);
    for wrote in out {
        if let Err(error) = &done {
            *wrote = Wrote::Failed(error.clone());
        } else if let Wrote::Unanswered = wrote {
            *wrote = Wrote::Failed(unanswered());
        }
    }
}

/// Why a removal did not happen, if it did not.
pub(super) fn not_removed(wrote: Wrote) -> Option<Error> {
    match wrote {
        Wrote::Done(_) | Wrote::Not(NotDone::Absent) => None,
        Wrote::Failed(error) => Some(error),
        _ => Some(unanswered()),
    }
}

pub(super) fn unanswered() -> Error {
    Error::new(ErrorKind::Backend, "a side of a pair of backends gave no fitting answer")
}
