//! Reads of the new side, which is filled from the old one.
//!
//! The answer is always the new side's own, asked for again once the missing entry was
//! [copied](crate::backend::copying) there: so values, versions and rights to fill come from one place. Only
//! a plain read of a key that could not be copied, because somebody else is filling it, is answered
//! by the old side. That is right: what the old side has is never older than the last write or
//! invalidation that was acknowledged (see [`writing`](super::writing)), and the read had begun
//! before it looked there.
//!
//! One limit remains. If the new side evicts a value, or its time is over, before the call that wrote
//! it has returned, a read in that very moment may put the value before it in its place.

use crate::backend::copying::{copy_looked_at, look, read, tell};
use crate::backend::{
    Ask, Backend, Call, Cause, Change, Grant, Lease, Name, Read, Want, When, Write,
};
use crate::error::Result;

/// Reads from `new`, and fills what it misses from `old` before.
pub(super) fn read_filled(
    call: Call,
    (old, new): (&dyn Backend, &dyn Backend),
    names: &[Name<'_>],
    want: &Want<'_>,
    out: &mut [Read],
) -> Result<()> {
    new.read(call, names, want, out)?;
    // Who keeps a right for longer is not looking for a value.
    if let Ask::Renew { .. } = want.lease {
        return Ok(());
    }
    let mut missed: Vec<usize> = (0..names.len()).filter(|at| is_missed(&out[*at])).collect();
    let wanted = pick(names, &missed);
    // Without the old side the new one's answer stands: a miss is never wrong.
    let Ok(mut heads) = look(call, old, &wanted) else { return Ok(()) };
    let mut there = heads.iter().map(Option::is_some);
    missed.retain(|_| there.next() == Some(true));
    if missed.is_empty() {
        return Ok(());
    }
    heads.retain(Option::is_some);
    let wanted = pick(names, &missed);
    give_back(call, new, names, &missed, out);
    let _ = copy_looked_at(call, old, new, &wanted, &heads);
    answer_again(call, (old, new), &wanted, want, &missed, out)
}

fn is_missed(read: &Read) -> bool {
    matches!(read, Read::Miss(cause, _) if *cause != Cause::Down)
}

fn pick<'a>(names: &[Name<'a>], places: &[usize]) -> Vec<Name<'a>> {
    places.iter().map(|at| names[*at]).collect()
}

/// Gives the rights back that the caller was given because the entry was missing.
fn give_back(
    call: Call,
    new: &dyn Backend,
    names: &[Name<'_>],
    missed: &[usize],
    out: &mut [Read],
) {
    let releases = missed.iter().filter_map(|at| {
        let lease = When::Lease(granted(&mut out[*at])?);
        Some(Write::new(names[*at], lease, Change::Release))
    });
    let releases: Vec<Write<'_>> = releases.collect();
    tell(call, new, releases);
}

fn granted(read: &mut Read) -> Option<Box<Lease>> {
    match read {
        Read::Miss(_, grant @ Grant::Granted(_)) => match std::mem::take(grant) {
            Grant::Granted(lease) => Some(lease),
            _ => None,
        },
        _ => None,
    }
}

fn answer_again(
    call: Call,
    (old, new): (&dyn Backend, &dyn Backend),
    wanted: &[Name<'_>],
    want: &Want<'_>,
    missed: &[usize],
    out: &mut [Read],
) -> Result<()> {
    let answers = read(call, new, wanted, want)?;
    for (at, answer) in missed.iter().zip(answers) {
        out[*at] = answer;
    }
    let plain = matches!(want.lease, Ask::No);
    let left: Vec<usize> =
        missed.iter().copied().filter(|at| plain && is_missed(&out[*at])).collect();
    let names: Vec<Name<'_>> =
        missed.iter().zip(wanted).filter(|(at, _)| left.contains(at)).map(|(_, n)| *n).collect();
    let Ok(answers) = read(call, old, &names, want) else { return Ok(()) };
    for (at, answer) in left.into_iter().zip(answers) {
        if let Read::Hit(_) = answer {
            out[at] = answer;
        }
    }
    Ok(())
}
