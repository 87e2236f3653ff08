//! Changing a key.

mod acting;
mod storing;

use std::borrow::Cow;

use crate::backend::envelope::Opened;
use crate::backend::remote::exchange::Limits;
use crate::backend::remote::in_turns;
use crate::backend::remote::lies::{Lies, Standing};
use crate::backend::remote::seal::{Sealed, end_in};
use crate::backend::remote::stamp::{fresh_write_id, is_of_value, is_tagged};
use crate::backend::remote::store::{Added, Addend, Becomes, Expect, Look, Store, Swapped};
use crate::backend::remote::talk::{Answers, Job, Talk, drive};
use crate::backend::{Cause, Change, CodecId, Entry, Life, NotDone, Token, When, Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::number;

/// What is looked at before it is changed is looked at whole.
const ALL: Look = Look { whole: true, life: true };

/// Carries out writes in order; several to one key one after the other.
pub(crate) fn write<S: Store>(store: &S, limits: Limits, writes: &[Write<'_>], out: &mut [Wrote]) {
    in_turns(writes, out, |writes, out| {
        let jobs = writes.iter().zip(out);
        let mut jobs: Vec<Writing<'_, S>> =
            jobs.map(|(write, out)| Writing::new(store, write, out)).collect();
        drive(store, limits, &mut jobs, false);
    });
}

/// The work on one key that is changed.
pub(crate) struct Writing<'a, S: Store> {
    key: &'a str,
    stored: Cow<'a, str>,
    when: &'a When,
    change: &'a Change,
    out: &'a mut Wrote,
    state: State<S::Seen>,
    /// The versions an entry is stored under, in the order of its tags.
    versions: Vec<u64>,
    write_id: u128,
    /// It has been stored once, and this is its version.
    stored_as: Option<u128>,
    /// The end was moved of something newer than what was judged.
    moved_newer: bool,
}

enum State<S> {
    /// Decides what to begin with.
    Begin,
    /// Makes the records of tags that have none, or nobody knows.
    MakeTags,
    /// Stores the entry under the versions known, and reads them.
    Store,
    /// Stores it again under the versions it should have.
    Restore,
    /// Reads what is there.
    Look,
    /// Reads the tags of what is there.
    Judge(Lies<S>),
    /// Does it to what was judged.
    Act(Lies<S>, Standing),
    /// Makes a counter where there is none, on servers that cannot.
    Create,
    /// One command that says it all.
    Once,
    /// Reads the tags of what was removed, to say whether it was alive.
    Removed(Lies<S>),
    /// Takes back what was added, as it was too much.
    TakeBack(Error),
    /// Removes what is newer than what was judged: its end was moved, and nobody knows where it was.
    Undo(S, NotDone),
    /// Removes the older value: the server has no room for the new one.
    Drop(Error),
    Done,
}

impl<'a, S: Store> Writing<'a, S> {
    pub(crate) fn new(store: &S, write: &'a Write<'_>, out: &'a mut Wrote) -> Self {
        let tagged = matches!(&write.change, Change::Put(entry, _) if !entry.tags.is_empty());
        Self {
            key: write.key.as_str(),
            stored: store.name_of(write.key.as_str()),
            when: &write.when,
            change: &write.change,
            out,
            state: State::Begin,
            versions: Vec::new(),
            write_id: fresh_write_id(tagged),
            stored_as: None,
            moved_newer: false,
        }
    }

    fn go(&mut self, state: State<S::Seen>) -> bool {
        self.state = state;
        false
    }

    fn finish(&mut self, wrote: Wrote) -> bool {
        *self.out = wrote;
        self.state = State::Done;
        true
    }

    fn not(&mut self, why: NotDone) -> bool {
        self.finish(Wrote::Not(why))
    }

    fn put(&self) -> Option<(&'a Entry, &'a Life)> {
        match self.change {
            Change::Put(entry, life) => Some((entry, life)),
            _ => None,
        }
    }

    /// Where the work begins.
    fn first(&mut self, talk: &Talk<'_, S>) -> Result<State<S::Seen>> {
        let own = |origin| origin == talk.store.origin();
        if let Some((entry, life)) = self.put() {
            talk.store.sealing().check(entry, life)?;
        }
        match (self.when, self.change) {
            (When::Version(token), _) if !own(token.origin) => {
                *self.out = Wrote::Not(NotDone::Changed);
                return Ok(State::Done);
            }
            (When::Lease(lease), _) if !own(lease.origin) => {
                *self.out = Wrote::Not(NotDone::Overtaken);
                return Ok(State::Done);
            }
            (When::Lease(lease), Change::Put(entry, _)) => {
                let seen = lease.seen.as_deref().unwrap_or_default();
                let version = |tag: &str| seen.iter().find(|(seen, _)| &**seen == tag);
                let versions: Option<Vec<u64>> = entry
                    .tags
                    .iter()
                    .map(|tag| version(tag).map(|(_, version)| *version))
                    .collect();
                let Some(versions) = versions else {
                    let what = "a tag was not named when the load began";
                    return Err(Error::new(ErrorKind::InvalidTag, what));
                };
                self.versions = versions;
                return Ok(State::Store);
            }
            (_, Change::Put(entry, life)) => {
                let known = |tag: &str| talk.store.memory().version(tag, life.hard);
                let versions: Option<Vec<u64>> = entry.tags.iter().map(known).collect();
                let Some(versions) = versions else { return Ok(State::MakeTags) };
                self.versions = versions;
                return Ok(self.with_tags());
            }
            (When::Version(_), Change::Remove) if self.looks_first() => return Ok(State::Look),
            (When::Version(_), Change::Expire(_)) | (When::Present, Change::Remove) => {
                return Ok(State::Look);
            }
            (When::Absent, _)
            | (When::Present | When::Version(_) | When::Lease(_), Change::Add { .. })
            | (When::Lease(_), Change::Expire(_))
            | (When::Always | When::Present | When::Version(_), Change::Release) => {
                return Err(Error::unsupported(S::NAME, "this change under this condition"));
            }
            _ => {}
        }
        Ok(State::Once)
    }

    /// Whether the entry must be looked at before it is swapped: whether it is alive only its tags
    /// know, and what another program wrote is its own version.
    fn looks_first(&self) -> bool {
        matches!(self.when, When::Version(Token { id, .. }) if is_tagged(*id) || !is_of_value(*id))
    }

    /// What comes when the versions to write under are known.
    fn with_tags(&self) -> State<S::Seen> {
        match self.stored_as {
            Some(_) => State::Restore,
            None if self.looks_first() => State::Look,
            None => State::Store,
        }
    }

    fn hear_swap(
        &self,
        talk: &Talk<'_, S>,
        answers: &mut Answers<'_, S::Reply>,
    ) -> Result<Swapped<S::Seen>> {
        talk.store.hear_swap(self.key, answers)
    }

    fn ask_once(&mut self, talk: &mut Talk<'_, S>) {
        let (store, name) = (talk.store, &*self.stored);
        match (self.when, self.change) {
            (When::Version(Token { id, .. }), Change::Remove) => {
                store.swap(&mut talk.batch, name, Expect::Id(*id), Becomes::Gone);
            }
            (When::Lease(lease), Change::Remove) => {
                store.swap(&mut talk.batch, name, Expect::Id(lease.id), Becomes::Gone);
                self.ask_unguard(talk);
            }
            (When::Lease(lease), Change::Release) => {
                // Whether it was overtaken, those who joined the load want to know.
                let becomes = if is_of_value(lease.id) { Becomes::Same } else { Becomes::Gone };
                store.swap(&mut talk.batch, name, Expect::Id(lease.id), becomes);
                self.ask_unguard(talk);
                let seen = lease.seen.as_deref().unwrap_or_default();
                seen.iter().for_each(|(tag, _)| talk.want_tag(tag));
            }
            (_, Change::Remove) => {
                store.delete(&mut talk.batch, name);
                talk.want_last_tags(self.key);
            }
            (_, Change::Expire(life)) => {
                let until = Becomes::Until(end_in(*life));
                store.swap(&mut talk.batch, name, Expect::Present, until);
                talk.want_last_tags(self.key);
            }
            (_, Change::Add { by, from, life }) => {
                let first = from.checked_add(*by);
                let text = first.unwrap_or_default().to_string();
                let Sealed { bytes, end, .. } = self.counter(talk, &text, life);
                let addend = Addend { by: *by, first, new: &bytes, end };
                if !store.add(&mut talk.batch, name, &addend) {
                    store.look(&mut talk.batch, name, ALL);
                    talk.want_last_tags(self.key);
                    self.state = State::Look;
                }
            }
            _ => {}
        }
    }

    fn hear_once(
        &mut self,
        talk: &mut Talk<'_, S>,
        answers: &mut Answers<'_, S::Reply>,
    ) -> Result<bool> {
        match (self.when, self.change) {
            (When::Version(_), _) => Ok(match self.hear_swap(talk, answers)? {
                Swapped::Done(_) => self.finish(Wrote::Done(None)),
                swapped => self.not(changed_or_absent(&swapped)),
            }),
            (When::Lease(lease), change) => {
                let held = matches!(self.hear_swap(talk, answers)?, Swapped::Done(_));
                let mut same = true;
                if let Change::Release = change {
                    for (tag, version) in lease.seen.as_deref().unwrap_or_default() {
                        same &= talk.tag_now(tag)? == Some(*version);
                    }
                }
                Ok(match held && same {
                    true => self.finish(Wrote::Done(None)),
                    false => self.not(NotDone::Overtaken),
                })
            }
            (_, Change::Remove) => {
                let there = talk.store.hear_delete(self.key, answers)?;
                let Some(lies) = there else { return Ok(self.not(NotDone::Absent)) };
                if lies.can_be_judged(talk) {
                    return Ok(self.removed(talk, &lies));
                }
                Ok(self.go(State::Removed(lies)))
            }
            (_, Change::Add { by, from, .. }) => {
                Ok(match talk.store.hear_add(*by, from.checked_add(*by), answers)? {
                    Added::Sum(sum) => self.finish(Wrote::Number(sum)),
                    Added::Beyond => self.go(State::TakeBack(number::overflow())),
                    Added::Nothing => {
                        number::add(None, *from, *by)?;
                        self.go(State::Begin)
                    }
                    Added::There => self.go(State::Look),
                })
            }
            _ => match self.hear_swap(talk, answers)? {
                Swapped::Done(_) => Ok(self.finish(Wrote::Done(None))),
                Swapped::Nothing => Ok(self.not(NotDone::Absent)),
                Swapped::There(lies) => self.weigh(talk, lies),
                Swapped::Other => Ok(self.go(State::Look)),
            },
        }
    }

    /// What was removed counts if it was alive; where that cannot be told it was.
    fn removed(&mut self, talk: &Talk<'_, S>, lies: &Lies<S::Seen>) -> bool {
        talk.store.memory().note_tags(self.key, &crate::Tags::NONE);
        match lies.standing(talk) {
            Ok(Standing::Loading | Standing::Stale) => self.not(NotDone::Absent),
            Ok(Standing::Dead(cause)) if cause != Cause::Corrupt => self.not(NotDone::Absent),
            _ => self.finish(Wrote::Done(None)),
        }
    }

    fn hear_look(
        &mut self,
        talk: &mut Talk<'_, S>,
        answers: &mut Answers<'_, S::Reply>,
    ) -> Result<bool> {
        let Some(lies) = talk.store.hear_look(self.key, ALL, answers)? else {
            return Ok(match (self.when, self.change) {
                (When::Absent, _) => self.go(State::Begin),
                (When::Always, Change::Add { by, from, .. }) => {
                    number::add(None, *from, *by)?;
                    self.go(State::Create)
                }
                _ => self.not(NotDone::Absent),
            });
        };
        if self.looks_first() && self.put().is_some() {
            // The versions read together with the entry: what comes later invalidates the new one.
            if !self.note_versions(talk)? {
                return Ok(self.go(State::MakeTags));
            }
        }
        if let (Change::Add { by, from, .. }, Opened::Foreign(entry)) = (self.change, &lies.opened)
        {
            number::add(Some(entry), *from, *by)?;
            if !S::VERSIONS_ALL && entry.codec != CodecId::INT {
                let what =
                    format!("the stored value is not a whole number as {} writes it", S::NAME);
                return Err(Error::new(ErrorKind::WrongType, what));
            } else if !S::VERSIONS_ALL {
                // The server could not add to it, and we could: it was changed since.
                return Ok(self.go(State::Begin));
            }
        }
        self.judge_or_ask(talk, lies)
    }

    fn hear_or_fail(
        &mut self,
        talk: &mut Talk<'_, S>,
        answers: &mut Answers<'_, S::Reply>,
    ) -> Result<bool> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Begin | State::Done => Ok(true),
            State::Drop(error) | State::TakeBack(error) => Err(error),
            State::Undo(_, why) => Ok(self.not(why)),
            State::MakeTags => self.hear_made_tags(talk),
            State::Store => self.hear_store(talk, answers),
            State::Create => self.hear_create(talk, answers),
            State::Restore => match self.hear_swap(talk, answers)? {
                Swapped::Done(seen) => self.stored(talk, seen.as_ref()),
                // Under the old versions it was no entry: somebody else may have added one.
                Swapped::Nothing if matches!(self.when, When::Absent) => Ok(self.go(State::Begin)),
                _ if matches!(self.when, When::Absent) => Ok(self.not(NotDone::Exists)),
                // Another write came after ours, which was there for a moment.
                _ => Ok(self.finish(Wrote::Done(None))),
            },
            State::Look => self.hear_look(talk, answers),
            State::Judge(lies) => self.judge(talk, lies, true),
            State::Act(lies, standing) => self.hear_act(&lies, &standing, talk, answers),
            State::Once => self.hear_once(talk, answers),
            State::Removed(lies) => Ok(self.removed(talk, &lies)),
        }
    }
}

impl<S: Store> Job<S> for Writing<'_, S> {
    fn ask(&mut self, talk: &mut Talk<'_, S>) {
        if let State::Begin = self.state {
            match self.first(talk) {
                Ok(state) => self.state = state,
                Err(error) => {
                    self.finish(Wrote::Failed(error));
                }
            }
        }
        let (store, name) = (talk.store, &*self.stored);
        match &self.state {
            State::MakeTags => {
                let Some((entry, life)) = self.put() else { return };
                entry.tags.iter().for_each(|tag| talk.make_tag(tag, life.hard));
            }
            State::Store => self.ask_store(talk),
            State::Restore => {
                let (Some(Sealed { bytes, end, .. }), Some(id)) = (self.seal(talk), self.stored_as)
                else {
                    return;
                };
                store.swap(&mut talk.batch, name, Expect::Id(id), Becomes::Value(&bytes, end));
                self.ask_tags_now(talk);
            }
            State::Create => {
                let Change::Add { by, from, life } = self.change else { return };
                let first = from.saturating_add(*by).to_string();
                let Sealed { bytes, end, .. } = self.counter(talk, &first, life);
                let becomes = Becomes::Value(&bytes, end);
                store.swap(&mut talk.batch, name, Expect::NothingYet, becomes);
                S::not_again(&mut talk.batch);
            }
            State::Look => {
                store.look(&mut talk.batch, name, ALL);
                talk.want_last_tags(self.key);
                self.ask_tags_now(talk);
            }
            State::Judge(lies) | State::Removed(lies) => lies.want_tags(talk),
            State::Act(lies, standing) => self.ask_act(talk, lies, standing),
            State::Once => self.ask_once(talk),
            State::Undo(seen, _) => {
                store.swap(&mut talk.batch, name, Expect::Seen(seen), Becomes::Gone);
            }
            State::TakeBack(_) => {
                let Change::Add { by, .. } = self.change else { return };
                store.take_back(&mut talk.batch, name, *by);
            }
            State::Drop(_) => {
                let expect = match self.when {
                    When::Always | When::Present => Expect::Any,
                    When::Version(Token { id, .. }) => Expect::Id(*id),
                    When::Lease(lease) => Expect::Id(lease.id),
                    When::Absent => return,
                };
                store.swap(&mut talk.batch, name, expect, Becomes::Gone);
            }
            State::Begin | State::Done => {}
        }
    }

    fn hear(&mut self, talk: &mut Talk<'_, S>, answers: &mut Answers<'_, S::Reply>) -> bool {
        let stores = self.put().is_some() && !matches!(self.state, State::Drop(_));
        match self.hear_or_fail(talk, answers) {
            Ok(done) => done,
            // The older value does not stay because there is no room for the newer one.
            Err(error)
                if stores
                    && matches!(error.kind(), ErrorKind::Full | ErrorKind::TooLarge)
                    && !matches!(self.when, When::Absent) =>
            {
                self.go(State::Drop(error))
            }
            Err(error) => self.finish(Wrote::Failed(error)),
        }
    }

    fn fail(&mut self, error: Error) {
        self.finish(Wrote::Failed(error));
    }
}

fn changed_or_absent<S>(swapped: &Swapped<S>) -> NotDone {
    match swapped {
        Swapped::Nothing => NotDone::Absent,
        Swapped::There(lies) if matches!(lies.opened, Opened::Placeholder(_)) => NotDone::Absent,
        _ => NotDone::Changed,
    }
}
