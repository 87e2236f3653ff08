//! The primary while it serves, and what becomes of a call that it fails.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::journal::Item;
use super::state::Noted;
use super::{Shared, is_fault};
use crate::backend::{Call, Change, Name, Read, Removed, Scope, Want, When, Write, Wrote};
use crate::error::{Error, Result};
use crate::pattern::Pattern;

/// What may be done again with a write that failed; backends take entries out of those they get.
enum Again {
    /// A removal must not be lost.
    Removal(When),
    /// To repeat it changes nothing.
    Repeat(Change),
    No,
}

impl Shared {
    pub(super) fn read_first(
        self: &Arc<Self>,
        call: Call,
        keys: &[Name<'_>],
        want: &Want<'_>,
        out: &mut [Read],
    ) -> Result<()> {
        let call = in_time(call)?;
        let done = self.primary.read(call.share(self.part), keys, want, out);
        let Some(error) = fault(&done, out, read_error) else {
            self.answered();
            return done;
        };
        let Some(Noted { session, .. }) = self.failed(&error, false, Vec::new()) else {
            return done;
        };
        if done.is_err() {
            out.fill_with(Read::default);
            return session.read(call, keys, want, out);
        }
        let failed: Vec<usize> =
            (0..out.len()).filter(|&at| has_fault(&out[at], read_error)).collect();
        let names: Vec<Name<'_>> = failed.iter().map(|&at| keys[at]).collect();
        let mut answers: Vec<Read> = names.iter().map(|_| Read::Unanswered).collect();
        if session.read(call, &names, want, &mut answers).is_ok() {
            failed.into_iter().zip(answers).for_each(|(at, answer)| out[at] = answer);
        }
        Ok(())
    }

    pub(super) fn write_first(
        self: &Arc<Self>,
        call: Call,
        writes: &mut [Write<'_>],
        out: &mut [Wrote],
    ) -> Result<()> {
        let call = in_time(call)?;
        let mut again: Vec<Again> = writes.iter().map(|write| self.again(write)).collect();
        let done = self.primary.write(call.share(self.part), writes, out);
        let Some(error) = fault(&done, out, write_error) else {
            self.answered();
            return done;
        };
        if let Err(error) = done {
            out.fill_with(|| Wrote::Failed(error.clone()));
        }
        let keys: Vec<Name<'_>> = writes.iter().map(|write| write.key).collect();
        self.remove_again(call, &keys, &again, out);

        let late = to_do_again(&keys, &again, out);
        let any_lost = late.iter().any(|&at| matches!(again[at], Again::Removal(_)));
        let items = late.iter().map(|&at| Item::removal(&keys[at])).collect();
        let Some(noted) = self.failed(&error, any_lost, items) else { return Ok(()) };
        if late.is_empty() {
            return Ok(());
        }
        let mut second: Vec<Write<'_>> = Vec::with_capacity(late.len());
        for &at in &late {
            let (when, change) = std::mem::replace(&mut again[at], Again::No).write();
            second.push(Write::new(keys[at], when, change));
        }
        let mut answers: Vec<Wrote> = second.iter().map(|_| Wrote::Unanswered).collect();
        self.write_noted(noted, call, &mut second, &mut answers);
        late.into_iter().zip(answers).for_each(|(at, answer)| out[at] = answer);
        Ok(())
    }

    /// What may be done again with a write. A value is kept only if this call may be the one failure
    /// too many: to keep it is not free.
    fn again(&self, write: &Write<'_>) -> Again {
        let may_open = || {
            let failures = self.failures.load(Ordering::Relaxed);
            failures.saturating_add(1) >= self.settings.threshold
        };
        match (&write.when, &write.change) {
            (When::Always | When::Present | When::Version(_), Change::Remove) => {
                Again::Removal(write.when.clone())
            }
            (When::Always, Change::Expire(_)) => Again::Repeat(write.change.clone()),
            (When::Always, Change::Put(..)) if may_open() => Again::Repeat(write.change.clone()),
            _ => Again::No,
        }
    }

    /// Repeats the removals that failed, once: a connection may have been old.
    fn remove_again(&self, call: Call, keys: &[Name<'_>], again: &[Again], out: &mut [Wrote]) {
        let mut failed = Vec::new();
        let mut removals = Vec::new();
        for (at, again) in again.iter().enumerate() {
            if let (Again::Removal(when), true) = (again, has_fault(&out[at], write_error)) {
                failed.push(at);
                removals.push(Write::new(keys[at], when.clone(), Change::Remove));
            }
        }
        // Once it is given up only the thread may tell it anything.
        if removals.is_empty() || !self.is_closed() {
            return;
        }
        let mut answers: Vec<Wrote> = removals.iter().map(|_| Wrote::Unanswered).collect();
        if self.primary.write(call.share(self.part), &mut removals, &mut answers).is_ok() {
            failed.into_iter().zip(answers).for_each(|(at, answer)| out[at] = answer);
        }
    }

    pub(super) fn invalidate_first(
        self: &Arc<Self>,
        call: Call,
        what: &Scope<'_>,
    ) -> Result<Removed> {
        let call = in_time(call)?;
        let try_it = || self.primary.invalidate(call.share(self.part), what);
        let done = match try_it() {
            Err(error) if is_fault(&error) && self.is_closed() => try_it(),
            done => done,
        };
        match done {
            Err(error) if is_fault(&error) => {
                match self.failed(&error, true, Item::of_scope(what)) {
                    Some(noted) => self.invalidate_noted(noted, call, what),
                    None => Err(error),
                }
            }
            done => {
                self.answered();
                done
            }
        }
    }

    pub(super) fn scan_first(
        self: &Arc<Self>,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        let done = self.primary.scan(call, what, page);
        match &done {
            Err(error) if is_fault(error) => {
                self.failed(error, false, Vec::new());
            }
            _ => self.answered(),
        }
        done
    }
}

impl Again {
    fn write(self) -> (When, Change) {
        match self {
            Self::Removal(when) => (when, Change::Remove),
            Self::Repeat(change) => (When::Always, change),
            Self::No => (When::Always, Change::Release),
        }
    }
}

/// The failed writes to be done again. One that a later write to its key has overtaken is not.
fn to_do_again(keys: &[Name<'_>], again: &[Again], out: &[Wrote]) -> Vec<usize> {
    let (mut due, mut overtaken) = (Vec::new(), HashSet::new());
    for at in (0..keys.len()).rev() {
        if !has_fault(&out[at], write_error) {
            overtaken.insert(keys[at].as_str());
            continue;
        }
        match again[at] {
            Again::Removal(_) => due.push(at),
            Again::Repeat(_) if !overtaken.contains(keys[at].as_str()) => due.push(at),
            Again::Repeat(_) | Again::No => {}
        }
    }
    due.reverse();
    due
}

/// The call with its end as an instant: what follows shares it.
fn in_time(call: Call) -> Result<Call> {
    let call = call.armed();
    // A call that comes too late says nothing about the primary.
    call.left()?;
    Ok(call)
}

/// A transport fault of the call or of one of its slots.
fn fault<T>(done: &Result<()>, out: &[T], error: impl Fn(&T) -> Option<&Error>) -> Option<Error> {
    match done {
        Ok(()) => out.iter().filter_map(error).find(|error| is_fault(error)).cloned(),
        Err(error) => is_fault(error).then(|| error.clone()),
    }
}

fn has_fault<T>(slot: &T, error: impl Fn(&T) -> Option<&Error>) -> bool {
    error(slot).is_some_and(is_fault)
}

fn read_error(read: &Read) -> Option<&Error> {
    if let Read::Failed(error) = read { Some(error) } else { None }
}

fn write_error(wrote: &Wrote) -> Option<&Error> {
    if let Wrote::Failed(error) = wrote { Some(error) } else { None }
}
