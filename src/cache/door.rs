//! The one way from a cache to its backend: each call is counted and timed here.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::core::Core;
use super::policy::Policy;
use crate::backend::{Change, Name, Read, Removed, Scope, Want, Write, Wrote};
use crate::error::Result;
use crate::pattern::Pattern;
use crate::stats::{Count, Operation};

impl Core {
    #[inline]
    pub(super) fn ask(
        &self,
        operation: Operation,
        policy: &Policy,
        names: &[Name<'_>],
        want: &Want<'_>,
        out: &mut [Read],
    ) -> Result<()> {
        let here = self.counters.here();
        let timer = here.start(operation);
        let done = self.backend.read(policy.call(), names, want, out);
        here.stop(timer);
        let bytes = |read: &Read| match read {
            Read::Hit(found) => found.entry.value.bytes().len(),
            _ => 0,
        };
        let bytes: usize = out.iter().map(bytes).sum();
        here.add_many(Count::BytesRead, bytes as u64);
        done
    }

    /// The same for keys that are not looked at on behalf of a reader, who would be told otherwise.
    pub(super) fn ask_about(
        &self,
        policy: &Policy,
        names: &[Name<'_>],
        want: &Want<'_>,
    ) -> Result<Vec<Read>> {
        let mut out: Vec<Read> = names.iter().map(|_| Read::Unanswered).collect();
        let done = self.ask(Operation::GetMany, policy, names, want, &mut out);
        done.inspect_err(|error| self.note(error))?;
        Ok(out)
    }

    pub(super) fn tell_one(
        &self,
        policy: &Policy,
        write: Write<'_>,
        out: &mut Wrote,
    ) -> Result<()> {
        let (operation, bytes) = (Operation::of_write(&write.change), size(&write.change));
        let here = self.counters.here();
        let timer = here.start(operation);
        let (writes, out) = (&mut [write], std::slice::from_mut(out));
        let done = self.backend.write(policy.call(), writes, out);
        here.stop(timer);
        here.add_many(Count::BytesWritten, stored(bytes, &out[0]));
        done
    }

    pub(super) fn tell_all(
        &self,
        policy: &Policy,
        writes: &mut [Write<'_>],
        out: &mut [Wrote],
    ) -> Result<()> {
        let operation = Operation::of_writes(writes.iter().map(|write| &write.change));
        // The backend takes the values out.
        let sizes: Vec<u64> = writes.iter().map(|write| size(&write.change)).collect();
        let here = self.counters.here();
        let timer = here.start(operation);
        let done = self.backend.write(policy.call(), writes, out);
        here.stop(timer);
        let bytes = sizes.into_iter().zip(out).map(|(bytes, wrote)| stored(bytes, wrote)).sum();
        here.add_many(Count::BytesWritten, bytes);
        done
    }

    pub(super) fn invalidate(&self, policy: &Policy, what: &Scope<'_>) -> Result<Removed> {
        self.flights.overtake_all();
        let here = self.counters.here();
        let timer = here.start(Operation::Invalidate);
        let removed = self.backend.invalidate(policy.call(), what);
        here.stop(timer);
        match &removed {
            Ok(_) => self.counters.add(Count::Invalidation),
            Err(error) => self.note(error),
        }
        removed
    }

    /// What `page` does takes the caller's time, and not the backend's.
    pub(super) fn scan(
        &self,
        policy: &Policy,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        let (started, mut elsewhere) = (Instant::now(), Duration::ZERO);
        let done = self.backend.scan(policy.call(), what, &mut |keys| {
            let left = Instant::now();
            let flow = page(keys);
            elsewhere += left.elapsed();
            flow
        });
        self.counters.timed(Operation::Scan, started.elapsed().saturating_sub(elsewhere));
        done.inspect_err(|error| self.note(error))
    }
}

/// The bytes of a value on its way.
fn size(change: &Change) -> u64 {
    match change {
        Change::Put(entry, _) => entry.value.bytes().len() as u64,
        _ => 0,
    }
}

fn stored(bytes: u64, wrote: &Wrote) -> u64 {
    if matches!(wrote, Wrote::Done(_)) { bytes } else { 0 }
}
