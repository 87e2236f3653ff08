//! What is decided under the one lock: who serves, and what the primary misses.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::Shared;
use super::breaker::Breaker;
use super::file::JournalFile;
use super::journal::{Append, Item, Journal};
use super::recovery::Recovery;
use super::session::Session;
use crate::backend::Event;
use crate::error::{Error, Result};

#[derive(Debug)]
pub(super) struct State {
    pub(super) breaker: Breaker,
    pub(super) journal: Journal,
    pub(super) file: Option<JournalFile>,
    /// The file lacks something the journal has: it could not be written.
    pub(super) behind: bool,
    /// The secondary's names; there while the breaker is not closed.
    pub(super) session: Option<Arc<Session>>,
    /// Why the primary was given up, until somebody is told.
    pub(super) opening: Option<Error>,
    /// The same for as long as anybody may ask.
    pub(super) last_error: Option<Error>,
    /// Why the last trial of this outage failed.
    pub(super) last_trial_error: Option<Error>,
    pub(super) overflowed: bool,
    /// How much of the journal has been carried out since the opening.
    pub(super) replayed: u64,
    pub(super) recovery: Recovery,
}

/// Who serves a call that was noted.
pub(super) struct Noted {
    pub(super) session: Arc<Session>,
    /// Whether it is in the file, too, where there is one.
    pub(super) kept: Result<()>,
}

/// A closing: what is left to do when the primary serves again.
pub(super) struct Closing {
    pub(super) session: Arc<Session>,
    pub(super) after: Duration,
    pub(super) replayed: u64,
}

impl State {
    fn note(&mut self, item: Item, clearable: &dyn Fn() -> Vec<Box<str>>) -> Result<()> {
        match self.journal.append(item.clone()) {
            Append::Known if self.behind => self.write_down(&[]),
            Append::Known => Ok(()),
            Append::New => self.write_down(&[item]),
            Append::Full => {
                self.overflowed = true;
                let mut new = self.journal.collapse(&clearable());
                if self.journal.append(item.clone()) == Append::Full {
                    // The primary's namespaces are not known, and what is noted is never dropped.
                    self.journal.append_beyond(item.clone());
                    new.push(item);
                }
                self.write_down(&new)
            }
        }
    }

    /// Puts the clearing of namespaces in place of what the primary refuses to carry out.
    pub(super) fn clear_instead(&mut self, prefixes: &[Box<str>]) {
        self.journal.put_back();
        let new = self.journal.collapse(prefixes);
        if let Err(error) = self.write_down(&new) {
            log::warn!("yokedcache: {error}");
        }
    }

    fn write_down(&mut self, new: &[Item]) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let written = if self.behind {
            self.journal.items().try_for_each(|item| file.append(item))
        } else {
            new.iter().try_for_each(|item| file.append(item))
        };
        self.behind = written.is_err();
        written
    }
}

impl Shared {
    /// Whether the primary serves. One atomic load.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.epoch.load(Ordering::Acquire).is_multiple_of(2)
    }

    /// Who stands in for the primary, if it does not serve.
    #[inline]
    pub(super) fn standing_in(self: &Arc<Self>) -> Option<Arc<Session>> {
        if self.is_closed() {
            return None;
        }
        let mut state = self.state.lock();
        let session = state.session.clone()?;
        state.recovery.ensure(self);
        Some(session)
    }

    /// The primary answered a call.
    #[inline]
    pub(super) fn answered(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            let mut state = self.state.lock();
            state.breaker.answered();
            self.failures.store(state.breaker.failures(), Ordering::Relaxed);
        }
    }

    /// Notes what the primary misses, if it does not serve. Looking and noting are one step: else the
    /// primary could serve again in between, without what is noted then.
    pub(super) fn note(self: &Arc<Self>, items: Vec<Item>) -> Option<Noted> {
        if self.is_closed() {
            return None;
        }
        self.note_in(self.state.lock(), items)
    }

    /// The primary failed a call: one too many, or one that must not be lost, gives it up. Notes what
    /// it misses then.
    pub(super) fn failed(
        self: &Arc<Self>,
        error: &Error,
        at_once: bool,
        items: Vec<Item>,
    ) -> Option<Noted> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let opens = if at_once { state.breaker.open(now) } else { state.breaker.failed(now) };
        self.failures.store(state.breaker.failures(), Ordering::Relaxed);
        if opens {
            self.open(&mut state, error.clone());
        }
        self.note_in(state, items)
    }

    pub(super) fn open(&self, state: &mut State, error: Error) {
        (state.replayed, state.overflowed) = (0, false);
        state.last_error = Some(error.clone());
        (state.opening, state.last_trial_error) = (Some(error), None);
        state.session = Some(self.new_session());
        self.epoch.fetch_add(1, Ordering::Release);
    }

    pub(super) fn new_session(&self) -> Arc<Session> {
        Arc::new(Session::begin(self.secondary.clone(), self.roots(), self.settings.cap))
    }

    /// What the names of the caches begin with; used without a cache, with nothing.
    pub(super) fn roots(&self) -> Vec<Box<str>> {
        let spaces = self.audience.spaces();
        if spaces.is_empty() { vec!["".into()] } else { spaces }
    }

    fn note_in(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        items: Vec<Item>,
    ) -> Option<Noted> {
        let session = state.session.clone()?;
        let had_room = !state.overflowed;
        let mut kept = Ok(());
        for item in items {
            kept = kept.and(state.note(item, &|| self.clearable()));
        }
        state.recovery.ensure(self);
        let overflowed = had_room && state.overflowed;
        drop(state);
        if overflowed {
            self.audience.tell(&Event::JournalOverflowed { backend: self.primary.about().name });
        }
        Some(Noted { session, kept })
    }

    /// The beginnings of all names that the primary may be told to forget.
    pub(super) fn clearable(&self) -> Vec<Box<str>> {
        let is_shared = self.primary.about().can.shared;
        self.roots().into_iter().filter(|root| !is_shared || !root.is_empty()).collect()
    }

    /// Closes the breaker if nothing is left to carry out; else shows the next of it. Looking and
    /// closing are one step.
    pub(super) fn close_or_next(
        &self,
        most: usize,
    ) -> std::result::Result<Option<Closing>, Vec<Item>> {
        let mut state = self.state.lock();
        let done = state.journal.done();
        state.replayed += done as u64;
        if !state.journal.is_empty() {
            return Err(state.journal.take(most).to_vec());
        }
        let Some(since) = state.breaker.close() else { return Ok(None) };
        state.file.iter_mut().for_each(JournalFile::clear);
        (state.behind, state.opening, state.last_trial_error) = (false, None, None);
        let (session, replayed) = (state.session.take(), state.replayed);
        self.epoch.fetch_add(1, Ordering::Release);
        Ok(session.map(|session| Closing { session, after: since.elapsed(), replayed }))
    }
}
