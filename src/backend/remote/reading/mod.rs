//! Reading a key, and the right to fill it.

mod filling;

use std::borrow::Cow;
use std::time::Duration;

use crate::backend::envelope::{Envelope, Opened};
use crate::backend::remote::lies::{Lies, Standing};
use crate::backend::remote::seal::millis;
use crate::backend::remote::stamp::{fresh_token, fresh_write_id, head, is_of_value};
use crate::backend::remote::store::{Becomes, End, Expect, Look, Store, Swapped};
use crate::backend::remote::stored;
use crate::backend::remote::talk::{Answers, Job, Talk};
use crate::backend::{
    Ask, Cause, CodecId, Entry, Found, Grant, Life, More, Name, Over, Read, Tags, Token, Want,
};
use crate::error::{Error, ErrorKind, Result};

/// The work on one key that is read.
pub(crate) struct Reading<'a, S: Store> {
    key: &'a str,
    stored: Cow<'a, str>,
    want: &'a Want<'a>,
    out: &'a mut Read,
    state: State<S::Seen>,
    /// The value is read although only the rest is wanted: the rest is long.
    whole: bool,
    /// The right asked for.
    token: u128,
    cause: Cause,
}

enum State<S> {
    /// Reads what is there, with the tags it last had.
    Look,
    /// Reads tags it turned out to have.
    Judge(Lies<S>),
    /// Puts a placeholder where nothing was, or where this was.
    Acquire(Option<S>),
    /// Makes the records that the tags of a load did not have; the placeholder is there.
    MakeTags(u128),
    /// Takes a placeholder away again: the load's tags cannot be read, or nothing would tell it from
    /// another.
    Abandon(Option<u128>, Result<()>),
    /// Asks to be the one who refreshes what is there.
    Guard(Lies<S>, bool),
    /// Gives the guard back: nothing can be made of it.
    Unguard,
    /// Gives a bare number an identity.
    Identify(Lies<S>, u128),
    Renew,
    /// Puts the idle end off: of what was seen, with these bytes in its place if it has to tell when
    /// it ends at the latest.
    Slide(S, Option<Vec<u8>>, u64),
    /// The end of something newer was moved, and nobody knows where it was: looks at it, and removes it.
    Undo(Option<S>),
    Done,
}

impl<'a, S: Store> Reading<'a, S> {
    pub(crate) fn new(store: &S, name: Name<'a>, want: &'a Want<'a>, out: &'a mut Read) -> Self {
        let state = match want.lease {
            // The caller has looked, and saw nothing.
            Ask::Own { over: Over::Nothing, .. } if store.fences() => State::Acquire(None),
            Ask::Renew { .. } => State::Renew,
            _ => State::Look,
        };
        Self {
            key: name.as_str(),
            stored: store.name_of(name.as_str()),
            want,
            out,
            state,
            whole: !want.head_only,
            token: if matches!(want.lease, Ask::No) { 0 } else { fresh_token() },
            cause: Cause::Absent,
        }
    }

    fn finish(&mut self, read: Read) -> bool {
        *self.out = read;
        self.state = State::Done;
        true
    }

    fn miss(&mut self, cause: Cause, grant: Grant) -> bool {
        self.finish(Read::Miss(cause, grant))
    }

    fn go(&mut self, state: State<S::Seen>) -> bool {
        self.state = state;
        false
    }

    fn how(&self) -> Look {
        Look { whole: self.whole, life: self.want.meta || self.want.slide.is_some() }
    }

    fn hear_look(
        &mut self,
        talk: &mut Talk<'_, S>,
        answers: &mut Answers<'_, S::Reply>,
    ) -> Result<bool> {
        let lies = match talk.store.hear_look(self.key, self.how(), answers) {
            // Another type of value lies there: not a value for us.
            Err(error) if error.kind() == ErrorKind::WrongType => {
                return Ok(self.miss(Cause::Undecodable, Grant::None));
            }
            lies => lies?,
        };
        let Some(lies) = lies else {
            return Ok(self.nothing(talk.store.fences(), Cause::Absent, None));
        };
        let more_is_needed = match lies.opened {
            Opened::Damaged => true,
            // Its version may be all of its content.
            Opened::Foreign(_) => self.want.token,
            Opened::Value(_) | Opened::Placeholder(_) => false,
        };
        if !lies.whole && more_is_needed {
            self.whole = true;
            return Ok(self.go(State::Look));
        }
        talk.store.memory().note_tags(self.key, &lies.tags());
        if !lies.can_be_judged(talk) {
            return Ok(self.go(State::Judge(lies)));
        }
        self.judge(talk, lies)
    }

    fn judge(&mut self, talk: &Talk<'_, S>, lies: Lies<S::Seen>) -> Result<bool> {
        Ok(match lies.standing(talk)? {
            Standing::Loading => match lies.opened {
                Opened::Placeholder(by) => self.somebody_loads(by, lies.seen),
                _ => self.miss(Cause::Absent, Grant::None),
            },
            Standing::Dead(cause) => self.nothing(talk.store.fences(), cause, Some(lies.seen)),
            Standing::Fresh => self.found(talk, lies, false),
            Standing::Stale => self.found(talk, lies, true),
        })
    }

    /// There is no entry; `seen` lies there all the same.
    fn nothing(&mut self, fences: bool, cause: Cause, seen: Option<S::Seen>) -> bool {
        self.cause = cause;
        match self.want.lease {
            Ask::Own { .. } | Ask::Take { .. } if fences => self.go(State::Acquire(seen)),
            _ => self.miss(cause, Grant::None),
        }
    }

    fn found(&mut self, talk: &Talk<'_, S>, lies: Lies<S::Seen>, stale: bool) -> bool {
        match self.want.lease {
            _ if !talk.store.fences() => {}
            Ask::Take { .. } => return self.go(State::Acquire(Some(lies.seen))),
            Ask::Own { over: Over::Stale | Over::Dead(_), .. } if stale => {
                return self.go(State::Guard(lies, stale));
            }
            // What another program wrote is replaced by nobody who only wants it younger.
            Ask::Own { over: Over::Fresh, .. }
                if S::id_of(&lies).is_some_and(is_of_value)
                    && self.may_refresh(&lies, talk.now_ms) =>
            {
                return self.go(State::Guard(lies, stale));
            }
            _ => {}
        }
        if self.want.token && !self.want.quiet && S::id_of(&lies).is_none() {
            let error = Error::unsupported(S::NAME, "versions on a server that numbers nothing");
            return self.finish(Read::Failed(error));
        }
        let is_bare = matches!(&lies.opened, Opened::Foreign(entry) if entry.codec == CodecId::INT);
        // A quiet reader changes nothing, and makes do with the content.
        if self.want.token && is_bare && !self.want.quiet && !S::VERSIONS_ALL {
            return self.go(State::Identify(lies, fresh_write_id(false)));
        }
        let slide = self.slide(talk, &lies, stale);
        let found = self.hit(talk, lies, stale, Grant::None);
        *self.out = Read::Hit(found);
        match slide {
            Some(slide) => self.go(slide),
            None => self.finish_as_is(),
        }
    }

    fn finish_as_is(&mut self) -> bool {
        self.state = State::Done;
        true
    }

    /// How the idle end is put off, if it is. Another program's value is left alone.
    fn slide(
        &self,
        talk: &Talk<'_, S>,
        lies: &Lies<S::Seen>,
        stale: bool,
    ) -> Option<State<S::Seen>> {
        let slides = !stale && !self.want.quiet && !talk.is_plain();
        let idle = self.want.slide.filter(|_| slides).map(millis)?;
        let mut envelope = match &lies.opened {
            Opened::Value(envelope) => envelope.clone(),
            Opened::Foreign(entry) if entry.codec == CodecId::INT => {
                Envelope::new(entry.clone(), fresh_write_id(false), talk.now_ms)
            }
            _ => return None,
        };
        let seen = lies.seen.clone();
        let left = match envelope.cap {
            Some(cap) => (cap != u64::MAX).then(|| cap.saturating_sub(talk.now_ms)),
            None => lies.left(),
        };
        let ms = left.map_or(idle, |left| idle.min(left)).max(1);
        if envelope.cap.is_some() && envelope.idle == Some(idle) {
            return Some(State::Slide(seen, None, ms));
        }
        // Until now its end was the server's business only. From now on that is the idle end.
        envelope.cap = Some(left.map_or(u64::MAX, |left| talk.now_ms.saturating_add(left)));
        envelope.idle = Some(idle);
        Some(State::Slide(seen, Some(envelope.seal(self.key)), ms))
    }

    /// What was found, as asked for.
    fn hit(&self, talk: &Talk<'_, S>, lies: Lies<S::Seen>, stale: bool, grant: Grant) -> Found {
        let want = self.want;
        let lease = !matches!(want.lease, Ask::No);
        let more = (want.meta || want.token || lease).then(|| {
            let life = life_left(&lies, talk.now_ms);
            let token = S::id_of(&lies).map(|id| Token::new(talk.store.origin(), id));
            Box::new(More { life, token, grant })
        });
        let mut entry = match lies.opened {
            Opened::Value(Envelope { entry, .. }) | Opened::Foreign(entry) => entry,
            Opened::Placeholder(_) | Opened::Damaged => Entry::new("", CodecId::FOREIGN),
        };
        if !want.meta {
            entry.tags = Tags::NONE;
        }
        if want.head_only {
            entry.value = "".into();
        }
        Found { stale, more, ..Found::new(entry) }
    }

    /// The value is read; that its end was not put off is no reason to withhold it.
    fn hear_slide(
        &mut self,
        talk: &Talk<'_, S>,
        answers: &mut Answers<'_, S::Reply>,
    ) -> Result<bool> {
        Ok(match talk.store.hear_swap(self.key, answers) {
            Ok(Swapped::Other) => self.go(State::Undo(None)),
            _ => self.finish_as_is(),
        })
    }

    fn hear_undo(
        &mut self,
        talk: &Talk<'_, S>,
        answers: &mut Answers<'_, S::Reply>,
    ) -> Result<bool> {
        let look = Look { whole: false, life: false };
        Ok(match talk.store.hear_look(self.key, look, answers) {
            Ok(Some(lies)) => self.go(State::Undo(Some(lies.seen))),
            _ => self.finish_as_is(),
        })
    }

    fn hear_or_fail(
        &mut self,
        talk: &mut Talk<'_, S>,
        answers: &mut Answers<'_, S::Reply>,
    ) -> Result<bool> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Look => self.hear_look(talk, answers),
            State::Judge(lies) => self.judge(talk, lies),
            State::Acquire(_) => self.hear_acquire(talk, answers),
            State::MakeTags(id) => Ok(self.acquired(talk, id)),
            State::Abandon(_, why) => why.map(|()| self.miss(self.cause, Grant::None)),
            State::Guard(lies, stale) => self.hear_guard(lies, stale, talk, answers),
            State::Identify(mut lies, id) => match talk.store.hear_swap(self.key, answers) {
                // Without room for it the content has to do.
                Err(error) if error.kind() == ErrorKind::Full => {
                    let found = self.hit(talk, lies, false, Grant::None);
                    Ok(self.finish(Read::Hit(found)))
                }
                Err(error) => Err(error),
                Ok(Swapped::Done(_)) => {
                    if let Opened::Foreign(entry) = lies.opened {
                        lies.opened = Opened::Value(Envelope::new(entry, id, talk.now_ms));
                    }
                    let found = self.hit(talk, lies, false, Grant::None);
                    Ok(self.finish(Read::Hit(found)))
                }
                Ok(_) => Ok(self.go(State::Look)),
            },
            State::Renew => self.hear_renew(talk, answers),
            State::Slide(_, None, _) => self.hear_slide(talk, answers),
            State::Slide(..) => Ok(self.finish_as_is()),
            State::Undo(None) => self.hear_undo(talk, answers),
            State::Undo(Some(_)) | State::Unguard | State::Done => Ok(self.finish_as_is()),
        }
    }
}

impl<S: Store> Job<S> for Reading<'_, S> {
    fn ask(&mut self, talk: &mut Talk<'_, S>) {
        let name = &*self.stored;
        let (store, batch) = (talk.store, &mut talk.batch);
        match &self.state {
            State::Look => {
                store.look(batch, name, self.how());
                talk.want_last_tags(self.key);
            }
            State::Judge(lies) => lies.want_tags(talk),
            State::Acquire(seen) => {
                let expect = seen.as_ref().map_or(Expect::Nothing, Expect::Seen);
                let new = head(self.token);
                let hold = End::After(self.hold_ms());
                store.swap(batch, name, expect, Becomes::Value(&new, hold));
                self.ask_lease_tags(talk);
            }
            State::MakeTags(_) => {
                for tag in self.lease_tags().iter() {
                    talk.make_tag(tag, Some(Duration::ZERO));
                }
            }
            State::Abandon(id, _) => {
                let expect = id.map_or(Expect::Any, Expect::Id);
                store.swap(batch, name, expect, Becomes::Gone);
            }
            State::Guard(..) => {
                let (guard, new) = (stored::guard(self.key), head(self.token));
                let hold = End::After(self.hold_ms());
                let expect = match self.want.lease {
                    Ask::Own { over: Over::Dead(_), .. } => Expect::Any,
                    _ => Expect::Nothing,
                };
                store.swap(batch, &guard, expect, Becomes::Value(&new, hold));
                self.ask_lease_tags(talk);
            }
            State::Identify(lies, id) => {
                if let Opened::Foreign(entry) = &lies.opened {
                    let new = Envelope::new(entry.clone(), *id, talk.now_ms).seal(self.key);
                    let becomes = Becomes::Value(&new, End::AsBefore(lies.left()));
                    store.swap(batch, name, Expect::Seen(&lies.seen), becomes);
                }
            }
            State::Renew => {
                let Ask::Renew { lease, .. } = self.want.lease else { return };
                let new = head(self.token);
                let hold = Becomes::Value(&new, End::After(self.hold_ms()));
                if is_of_value(lease.id) {
                    store.look(batch, name, Look { whole: false, life: false });
                    store.swap(batch, &stored::guard(self.key), Expect::Any, hold);
                } else {
                    store.swap(batch, name, Expect::Id(lease.id), hold);
                }
                for tag in self.lease_tags().iter() {
                    talk.make_tag(tag, Some(Duration::ZERO));
                }
            }
            State::Slide(seen, new, ms) => {
                let end = End::After(*ms);
                let becomes =
                    new.as_ref().map_or(Becomes::Until(end), |new| Becomes::Value(new, end));
                store.swap(batch, name, Expect::Seen(seen), becomes);
            }
            State::Unguard => {
                store.swap(batch, &stored::guard(self.key), Expect::Any, Becomes::Gone);
            }
            State::Undo(None) => store.look(batch, name, Look { whole: false, life: false }),
            State::Undo(Some(seen)) => {
                store.swap(batch, name, Expect::Seen(seen), Becomes::Gone);
            }
            State::Done => {}
        }
    }

    fn hear(&mut self, talk: &mut Talk<'_, S>, answers: &mut Answers<'_, S::Reply>) -> bool {
        match self.hear_or_fail(talk, answers) {
            Ok(done) => done,
            Err(error) => self.finish(Read::Failed(error)),
        }
    }

    fn fail(&mut self, error: Error) {
        let found = matches!(self.out, Read::Hit(_));
        if !found {
            *self.out = Read::Failed(error);
        }
    }
}

/// The times of what lies there.
fn life_left<S>(lies: &Lies<S>, now_ms: u64) -> Life {
    let from_now = |end: u64| Duration::from_millis(end.saturating_sub(now_ms));
    let left = lies.left();
    let Some(envelope) = lies.envelope() else {
        return Life { hard: left.map(Duration::from_millis), ..Life::FOREVER };
    };
    let hard = match envelope.cap {
        Some(cap) => (cap != u64::MAX).then(|| from_now(cap)),
        None => left.map(Duration::from_millis),
    };
    let idle = lies.idle_left().map(Duration::from_millis);
    let age = Some(Duration::from_millis(now_ms.saturating_sub(envelope.created)));
    Life { age, soft: envelope.soft.map(from_now), hard, idle }
}
