//! Judging what lies under a key, and changing that.

use super::{State, Writing, changed_or_absent};
use crate::backend::envelope::{Envelope, Opened};
use crate::backend::remote::lies::{Lies, Standing};
use crate::backend::remote::seal::{Sealed, Sealing};
use crate::backend::remote::stamp::of_the_kind;
use crate::backend::remote::store::{Becomes, End, Expect, Store, Swapped};
use crate::backend::remote::talk::{Answers, Talk};
use crate::backend::{Cause, Change, CodecId, Entry, Life, NotDone, Token, When, Wrote};
use crate::error::Result;
use crate::number;

impl<S: Store> Writing<'_, S> {
    /// A new counter as stored.
    pub(super) fn counter(&self, talk: &Talk<'_, S>, number: &str, life: &Life) -> Sealed {
        let entry = Entry::new(number.to_owned(), CodecId::INT);
        let sealing = talk.store.sealing();
        sealing.seal(self.key, &entry, life, &[], self.write_id, talk.now_ms)
    }

    /// Something is in the way, or may not be: judges it.
    pub(super) fn weigh(&mut self, talk: &mut Talk<'_, S>, lies: Lies<S::Seen>) -> Result<bool> {
        let cut = !lies.whole && matches!(lies.opened, Opened::Damaged);
        let known = lies.whole && lies.left_ms.is_some();
        if cut || !known && self.needs_all(&lies) {
            return Ok(self.go(State::Look));
        }
        self.judge_or_ask(talk, lies)
    }

    /// Whether what is there has to be changed and stored again.
    pub(super) fn needs_all(&self, lies: &Lies<S::Seen>) -> bool {
        let ends = |envelope: &Envelope| envelope.soft.is_some() || envelope.cap.is_some();
        match self.change {
            Change::Expire(_) => lies.envelope().is_some_and(ends),
            Change::Add { .. } => true,
            Change::Put(..) | Change::Remove | Change::Release => false,
        }
    }

    pub(super) fn judge_or_ask(
        &mut self,
        talk: &mut Talk<'_, S>,
        lies: Lies<S::Seen>,
    ) -> Result<bool> {
        if !lies.can_be_judged(talk) {
            return Ok(self.go(State::Judge(lies)));
        }
        self.judge(talk, lies, false)
    }

    /// Decides what to do about what lies there. `after`: its tags were read after it was.
    pub(super) fn judge(
        &mut self,
        talk: &Talk<'_, S>,
        lies: Lies<S::Seen>,
        after: bool,
    ) -> Result<bool> {
        let standing = lies.standing(talk)?;
        if standing == Standing::Dead(Cause::Invalidated) && !after {
            // Its tags may have been read before it was: it may be newer than they, and alive.
            return Ok(self.go(State::Judge(lies)));
        }
        let there = standing == Standing::Fresh;
        if let (true, Change::Add { by, from, .. }) = (there, self.change) {
            // What is no number is left alone.
            number::add(lies.entry(), *from, *by)?;
        }
        if self.moved_newer {
            match self.when {
                // It is an entry: its end is moved as if we had come later.
                When::Always | When::Present if there => {}
                When::Version(_) => return Ok(self.go(State::Undo(lies.seen, NotDone::Changed))),
                _ => return Ok(self.go(State::Undo(lies.seen, NotDone::Absent))),
            }
        }
        Ok(match self.when {
            When::Absent if there => self.not(NotDone::Exists),
            When::Present if !there => self.not(NotDone::Absent),
            When::Always if !there && matches!(self.change, Change::Expire(_)) => {
                self.not(NotDone::Absent)
            }
            When::Version(token) => {
                let id = S::id_of(&lies);
                match standing {
                    Standing::Fresh | Standing::Stale if id == Some(token.id) => {
                        self.go(State::Act(lies, standing))
                    }
                    Standing::Fresh | Standing::Stale => self.not(NotDone::Changed),
                    Standing::Loading | Standing::Dead(_) => self.not(NotDone::Absent),
                }
            }
            _ => self.go(State::Act(lies, standing)),
        })
    }

    pub(super) fn ask_act(
        &self,
        talk: &mut Talk<'_, S>,
        lies: &Lies<S::Seen>,
        standing: &Standing,
    ) {
        let (store, now_ms) = (talk.store, talk.now_ms);
        let (new, end) = match self.change {
            Change::Put(..) => {
                let Some(Sealed { bytes, end, .. }) = self.seal(talk) else { return };
                (Some(bytes), end)
            }
            Change::Expire(life) => {
                lies.tags().iter().for_each(|tag| talk.want_tag_for(tag, *life));
                store.sealing().moved_end(self.key, lies, *life, now_ms)
            }
            Change::Add { by, from, life } => {
                let there = lies.entry().filter(|_| *standing == Standing::Fresh);
                let sum = number::add(there, *from, *by).unwrap_or_default().to_string();
                let (new, end) = match there {
                    Some(_) => self.summed(store.sealing(), lies, sum, now_ms),
                    None => {
                        let Sealed { bytes, end, .. } = self.counter(talk, &sum, life);
                        (bytes, end)
                    }
                };
                (Some(new), end)
            }
            Change::Remove | Change::Release => (None, End::Never),
        };
        let becomes = match (&new, self.change) {
            (Some(new), _) => Becomes::Value(new, end),
            (None, Change::Expire(_)) => Becomes::Until(end),
            (None, _) => Becomes::Gone,
        };
        store.swap(&mut talk.batch, &self.stored, Expect::Seen(&lies.seen), becomes);
        match self.change {
            Change::Put(..) => self.ask_tags_now(talk),
            Change::Add { .. } => S::not_again(&mut talk.batch),
            Change::Expire(_) | Change::Remove | Change::Release => {}
        }
    }

    /// What a number is replaced by, and when that ends.
    pub(super) fn summed(
        &self,
        sealing: Sealing,
        lies: &Lies<S::Seen>,
        sum: String,
        now_ms: u64,
    ) -> (Vec<u8>, End) {
        let left = lies.left();
        let mut envelope = match (lies.envelope(), left) {
            (Some(envelope), _) => envelope.clone(),
            (None, None) => return (sum.into_bytes(), End::Never),
            (None, _) if sealing.plain.is_some() => {
                return (sum.into_bytes(), End::AsBefore(left));
            }
            // Servers tell what is left in steps of their own. Rounded up at each turn it would
            // never end: from now on it is written down.
            (None, Some(_)) => Envelope::new(Entry::new("", CodecId::INT), self.write_id, now_ms),
        };
        if sealing.coarse && envelope.cap.is_none() {
            envelope.cap = left.map(|left| now_ms.saturating_add(left));
        }
        envelope.entry.value = sum.into();
        envelope.write_id = of_the_kind(self.write_id, envelope.write_id);
        (envelope.seal(self.key), End::AsBefore(left))
    }

    pub(super) fn hear_act(
        &mut self,
        lies: &Lies<S::Seen>,
        standing: &Standing,
        talk: &mut Talk<'_, S>,
        answers: &mut Answers<'_, S::Reply>,
    ) -> Result<bool> {
        let seen = match self.hear_swap(talk, answers)? {
            Swapped::Done(seen) => seen,
            // Servers that cannot move the end of this and no other entry have moved another's.
            Swapped::Other
                if matches!(self.change, Change::Expire(_))
                    && !lies
                        .envelope()
                        .is_some_and(|envelope| talk.store.sealing().tells_end(envelope)) =>
            {
                self.moved_newer = true;
                return Ok(self.go(State::Look));
            }
            // Somebody was faster. Who came with a version has lost; the others look again.
            swapped => {
                return match self.when {
                    When::Version(_) => Ok(self.not(changed_or_absent(&swapped))),
                    _ => Ok(self.go(State::Begin)),
                };
            }
        };
        match self.change {
            Change::Put(..) => self.stored(talk, seen.as_ref()),
            Change::Add { by, from, .. } => {
                let there = lies.entry().filter(|_| *standing == Standing::Fresh);
                let sum = number::add(there, *from, *by)?;
                Ok(self.finish(Wrote::Number(sum)))
            }
            Change::Expire(_) => {
                let stamp = lies.envelope().map(|envelope| envelope.write_id);
                let id = S::id_stored(stamp, seen.as_ref());
                let token = id.map(|id| Token::new(talk.store.origin(), id));
                Ok(self.finish(Wrote::Done(token)))
            }
            Change::Remove | Change::Release => Ok(self.finish(Wrote::Done(None))),
        }
    }

    pub(super) fn hear_create(
        &mut self,
        talk: &mut Talk<'_, S>,
        answers: &mut Answers<'_, S::Reply>,
    ) -> Result<bool> {
        let Change::Add { by, from, .. } = self.change else { return Ok(true) };
        Ok(match self.hear_swap(talk, answers)? {
            Swapped::Done(_) => {
                let first = number::add(None, *from, *by)?;
                self.finish(Wrote::Number(first))
            }
            _ => self.go(State::Begin),
        })
    }
}
