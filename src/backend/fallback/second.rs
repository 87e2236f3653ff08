//! The secondary while it stands in: what the primary misses is noted before it is done there.

use std::sync::Arc;

use super::Shared;
use super::journal::Item;
use super::state::Noted;
use crate::backend::{Call, Change, Removed, Scope, Write, Wrote};
use crate::error::{Error, ErrorKind, Result};

impl Shared {
    /// Notes the writes, if the primary does not serve.
    pub(super) fn note_writes(self: &Arc<Self>, writes: &[Write<'_>]) -> Option<Noted> {
        if self.is_closed() {
            return None;
        }
        self.note(writes.iter().filter_map(Item::of_write).collect())
    }

    /// Notes the invalidation, if the primary does not serve.
    pub(super) fn note_scope(self: &Arc<Self>, what: &Scope<'_>) -> Option<Noted> {
        if self.is_closed() {
            return None;
        }
        self.note(Item::of_scope(what))
    }

    /// Makes changes that were noted. What was not written down may be forgotten, and a strict caller
    /// takes no promise for a removal.
    pub(super) fn write_noted(
        &self,
        Noted { session, kept }: Noted,
        call: Call,
        writes: &mut [Write<'_>],
        out: &mut [Wrote],
    ) {
        let what = |write: &Write<'_>| {
            (matches!(write.change, Change::Remove), Item::of_write(write).is_some())
        };
        let kinds: Vec<(bool, bool)> = writes.iter().map(what).collect();
        if let Err(error) = session.write(call, writes, out) {
            out.fill_with(|| Wrote::Failed(error.clone()));
        }
        for ((is_removal, is_noted), out) in kinds.into_iter().zip(out) {
            match &kept {
                Err(error) if is_noted => *out = Wrote::Failed(error.clone()),
                _ if is_removal && self.settings.strict => *out = Wrote::Failed(self.deferred()),
                _ => {}
            }
        }
    }

    /// Carries out an invalidation that was noted.
    pub(super) fn invalidate_noted(
        &self,
        Noted { session, kept }: Noted,
        call: Call,
        what: &Scope<'_>,
    ) -> Result<Removed> {
        let removed = session.invalidate(call, what);
        kept?;
        let mut removed = removed?;
        if self.settings.strict {
            return Err(self.deferred());
        }
        removed.pending = true;
        Ok(removed)
    }

    fn deferred(&self) -> Error {
        let what = format!("noted; will be carried out when {} answers", self.name());
        Error::new(ErrorKind::Unavailable, what)
    }
}
