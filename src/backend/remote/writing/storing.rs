//! Storing an entry under the versions its tags have.

use super::{State, Writing, changed_or_absent};
use crate::backend::remote::seal::Sealed;
use crate::backend::remote::stamp::is_of_value;
use crate::backend::remote::store::{Becomes, Expect, Store, Swapped};
use crate::backend::remote::stored;
use crate::backend::remote::talk::{Answers, Talk};
use crate::backend::{NotDone, Token, When, Wrote};
use crate::error::Result;

impl<S: Store> Writing<'_, S> {
    /// The entry as stored.
    pub(super) fn seal(&self, talk: &Talk<'_, S>) -> Option<Sealed> {
        let (entry, life) = self.put()?;
        let sealing = talk.store.sealing();
        Some(sealing.seal(self.key, entry, life, &self.versions, self.write_id, talk.now_ms))
    }

    pub(super) fn ask_tags_now(&self, talk: &mut Talk<'_, S>) {
        if let Some((entry, _)) = self.put() {
            entry.tags.iter().for_each(|tag| talk.want_tag(tag));
        }
    }

    pub(super) fn ask_store(&self, talk: &mut Talk<'_, S>) {
        let Some(Sealed { bytes, end, .. }) = self.seal(talk) else { return };
        let expect = match self.when {
            When::Always => Expect::Any,
            When::Absent => Expect::NothingYet,
            When::Present => Expect::Present,
            When::Version(Token { id, .. }) => Expect::Id(*id),
            When::Lease(lease) => Expect::Id(lease.id),
        };
        talk.store.swap(&mut talk.batch, &self.stored, expect, Becomes::Value(&bytes, end));
        if let When::Lease(_) = self.when {
            self.ask_unguard(talk);
            // The records were made before anybody knew how long the entry would live.
            if let Some((entry, life)) = self.put() {
                entry.tags.iter().for_each(|tag| talk.want_tag_for(tag, life.hard));
            }
        }
        self.ask_tags_now(talk);
    }

    /// A refresh is over: the next one may begin.
    pub(super) fn ask_unguard(&self, talk: &mut Talk<'_, S>) {
        if let When::Lease(lease) = self.when
            && is_of_value(lease.id)
        {
            let guard = stored::guard(self.key);
            talk.store.swap(&mut talk.batch, &guard, Expect::Any, Becomes::Gone);
        }
    }

    pub(super) fn hear_store(
        &mut self,
        talk: &mut Talk<'_, S>,
        answers: &mut Answers<'_, S::Reply>,
    ) -> Result<bool> {
        let swapped = self.hear_swap(talk, answers)?;
        if let Swapped::Done(seen) = swapped {
            return self.stored(talk, seen.as_ref());
        }
        Ok(match (self.when, swapped) {
            (When::Lease(_), _) => self.not(NotDone::Overtaken),
            (When::Version(_), swapped) => self.not(changed_or_absent(&swapped)),
            (When::Present, Swapped::Nothing) => self.not(NotDone::Absent),
            (_, Swapped::There(lies)) => return self.weigh(talk, lies),
            (_, Swapped::Other) => self.go(State::Look),
            _ => self.go(State::Store),
        })
    }

    /// It is stored, as this.
    pub(super) fn stored(
        &mut self,
        talk: &mut Talk<'_, S>,
        seen: Option<&S::Seen>,
    ) -> Result<bool> {
        let (Some((entry, life)), sealing) = (self.put(), talk.store.sealing()) else {
            return Ok(self.finish(Wrote::Done(None)));
        };
        let stamp = (!sealing.is_bare(entry, life)).then_some(self.write_id);
        self.stored_as = S::id_stored(stamp, seen);
        self.verify(talk)
    }

    /// It is stored: whether under the versions its tags had when it was.
    pub(super) fn verify(&mut self, talk: &mut Talk<'_, S>) -> Result<bool> {
        let Some((entry, _)) = self.put() else { return Ok(self.finish(Wrote::Done(None))) };
        talk.store.memory().note_tags(self.key, &entry.tags);
        let mut now = Vec::with_capacity(entry.tags.len());
        for tag in entry.tags.iter() {
            now.push(talk.tag_now(tag)?);
        }
        if now.iter().zip(&self.versions).all(|(now, then)| *now == Some(*then)) {
            let token = self.stored_as.map(|id| Token::new(talk.store.origin(), id));
            return Ok(self.finish(Wrote::Done(token)));
        }
        // What is stored is invalid, as it should be where the fill, or the entry read, was older
        // than the invalidation.
        match self.when {
            When::Lease(_) => return Ok(self.not(NotDone::Overtaken)),
            When::Version(_) if self.looks_first() => return Ok(self.not(NotDone::Changed)),
            _ => {}
        }
        match now.into_iter().collect::<Option<Vec<u64>>>() {
            Some(now) => {
                self.versions = now;
                Ok(self.go(State::Restore))
            }
            None => Ok(self.go(State::MakeTags)),
        }
    }

    /// Takes the versions read in this round to write under; false if one is missing.
    pub(super) fn note_versions(&mut self, talk: &Talk<'_, S>) -> Result<bool> {
        let Some((entry, _)) = self.put() else { return Ok(true) };
        let now: Result<Option<Vec<u64>>> =
            entry.tags.iter().map(|tag| talk.tag_now(tag)).collect();
        let now = now?;
        let known = now.is_some();
        self.versions = now.unwrap_or_default();
        Ok(known)
    }

    pub(super) fn hear_made_tags(&mut self, talk: &Talk<'_, S>) -> Result<bool> {
        // One removed between the two is made once more.
        let next = if self.note_versions(talk)? { self.with_tags() } else { State::MakeTags };
        Ok(self.go(next))
    }
}
