//! Copies entries from one backend to another: a load on the one, whose source is the other.
//!
//! A copy asks for the right to fill before it reads what it fills in, and names the entry's tags
//! when it asks. So whatever changes the key at the target meanwhile overtakes it: a write, a
//! removal, an invalidation of the key's pattern or of one of the tags. An invalidation that reaches
//! the source first and the target afterwards leaves no older value: a copy that read the source
//! before had its right before, too, and loses it or is removed.

use std::time::Duration;

use super::unanswered;
use crate::backend::{
    Ask, Backend, Call, Change, Found, Grant, Lease, Name, NotDone, Over, Read, Tags, Want, When,
    Write, Wrote,
};
use crate::error::{Error, Result};

/// How long a right that nobody gives back keeps others from the key.
pub(super) const HOLD: Duration = Duration::from_secs(10);

/// Everything but the value, to learn the tags.
const HEAD: Want<'_> = Want { head_only: true, meta: true, quiet: true, ..Want::VALUE };
/// The whole entry, with what is left of its life.
const WHOLE: Want<'_> = Want { meta: true, quiet: true, ..Want::VALUE };

/// What became of one key.
#[derive(Debug)]
pub(in crate::backend) enum Copied {
    /// The source has no entry.
    Nothing,
    /// The target has one already.
    There,
    /// It has it now.
    Stored,
    /// Somebody else holds the right to fill it.
    Busy(Duration),
    /// The key was changed meanwhile, or its tags were other ones by then.
    Overtaken,
    /// The target did not take it.
    Failed(Error),
}

/// A right obtained at the target.
struct Held<'a> {
    at: usize,
    name: Name<'a>,
    lease: Box<Lease>,
}

/// Copies what the target lacks, in two reads of the source, and a read and a write of the target.
///
/// # Errors
/// If one of the two cannot be read: nothing was copied then.
pub(in crate::backend) fn copy(
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
    let mut copied: Vec<Copied> = names.iter().map(|_| Copied::Nothing).collect();
    let there: Vec<usize> = (0..names.len()).filter(|at| heads[*at].is_some()).collect();
    if there.is_empty() {
        return Ok(copied);
    }
    let tags = heads.iter().flatten().fold(Tags::NONE, |all, tags| all.and(tags));
    let held = acquire(call, to, names, &there, &tags, &mut copied)?;
    fill(call, from, to, held, &tags, &mut copied)?;
    Ok(copied)
}

/// The tags of each entry that is there.
pub(super) fn look(
    call: Call,
    from: &dyn Backend,
    names: &[Name<'_>],
) -> Result<Vec<Option<Tags>>> {
    let heads = read(call, from, names, &HEAD)?;
    heads.into_iter().map(|head| Ok(hit(head)?.map(|found| found.entry.tags))).collect()
}

/// The same of keys that others may be copying: waits for them. `may_lack` tells for what reason the
/// target may be left without a key.
///
/// # Errors
/// If another key that the source has could not be copied, in time.
pub(in crate::backend) fn copy_surely(
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
                Copied::Nothing | Copied::There => {}
                Copied::Stored => stored += 1,
                Copied::Overtaken => again.push(*name),
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

fn acquire<'a>(
    call: Call,
    to: &dyn Backend,
    names: &[Name<'a>],
    there: &[usize],
    tags: &Tags,
    copied: &mut [Copied],
) -> Result<Vec<Held<'a>>> {
    let lease = Ask::Own { hold: HOLD, over: Over::Nothing, tags };
    let want = Want { head_only: true, quiet: true, lease, ..Want::VALUE };
    let wanted: Vec<Name<'a>> = there.iter().map(|at| names[*at]).collect();
    let mut held = Vec::new();
    for (at, answer) in there.iter().copied().zip(read(call, to, &wanted, &want)?) {
        copied[at] = match answer {
            Read::Hit(_) => Copied::There,
            Read::Miss(_, Grant::Granted(lease)) => {
                held.push(Held { at, name: names[at], lease });
                Copied::Overtaken
            }
            Read::Miss(_, Grant::Busy { ask_again_in, .. }) => Copied::Busy(ask_again_in),
            Read::Miss(_, Grant::None) | Read::Unanswered => Copied::Failed(unanswered()),
            Read::Failed(error) => Copied::Failed(error),
        };
    }
    Ok(held)
}

fn fill(
    call: Call,
    from: &dyn Backend,
    to: &dyn Backend,
    held: Vec<Held<'_>>,
    tags: &Tags,
    copied: &mut [Copied],
) -> Result<()> {
    let names: Vec<Name<'_>> = held.iter().map(|held| held.name).collect();
    let (found, trouble) = match read(call, from, &names, &WHOLE) {
        Ok(found) => (found, None),
        Err(error) => (names.iter().map(|_| Read::Unanswered).collect(), Some(error)),
    };
    let mut places = Vec::with_capacity(held.len());
    let mut writes = Vec::with_capacity(held.len());
    for (held, read) in held.into_iter().zip(found) {
        let change = filling(read, tags, &mut copied[held.at]);
        places.push(held.at);
        writes.push(Write::new(held.name, When::Lease(held.lease), change));
    }
    let puts: Vec<bool> =
        writes.iter().map(|write| matches!(write.change, Change::Put(..))).collect();
    for ((at, put), wrote) in places.into_iter().zip(puts).zip(tell(call, to, writes)) {
        if put {
            copied[at] = match wrote {
                Wrote::Done(_) => Copied::Stored,
                Wrote::Failed(error) => Copied::Failed(error),
                _ => Copied::Overtaken,
            };
        }
    }
    trouble.map_or(Ok(()), Err)
}

/// What is to be done with the right: the fill, or giving it back.
fn filling(read: Read, leased: &Tags, copied: &mut Copied) -> Change {
    match hit(read) {
        Ok(None) => *copied = Copied::Nothing,
        Err(error) => *copied = Copied::Failed(error),
        Ok(Some(found)) => {
            let life = found.more.map(|more| more.life).unwrap_or_default();
            if found.entry.tags.iter().all(|tag| leased.contains(tag)) {
                return Change::Put(found.entry, life);
            }
        }
    }
    Change::Release
}

fn hit(read: Read) -> Result<Option<Found>> {
    match read {
        Read::Hit(found) => Ok(Some(found)),
        Read::Miss(..) => Ok(None),
        Read::Failed(error) => Err(error),
        Read::Unanswered => Err(unanswered()),
    }
}

/// Reads keys, if there are any.
pub(super) fn read(
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
pub(super) fn tell(call: Call, backend: &dyn Backend, mut writes: Vec<Write<'_>>) -> Vec<Wrote> {
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
