//! Reading a key, and the right to fill it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use super::lies::{Lies, Standing};
use super::script;
use super::seal::millis;
use super::stamp::{content_id, fresh_token, fresh_write_id, head, is_of_value};
use super::talk::{Answers, Job, Talk};
use crate::backend::envelope::{self, Envelope, Opened};
use crate::backend::remote::stored;
use crate::backend::{
    Ask, Cause, CodecId, Entry, Found, Grant, Lease, Life, More, Name, Read, TagVersion, Tags,
    Token, Want,
};
use crate::error::{Error, ErrorKind, Result};

/// How soon a caller asks again whether somebody else's load is done.
const ASK_AGAIN: Duration = Duration::from_millis(5);
/// How much of an entry is read by somebody who does not want its value. It is also what the
/// scripts show of what they find.
const HEAD: &str = "4095";
const HEAD_BYTES: usize = 4096;

/// The work on one key that is read.
pub(super) struct Reading<'a> {
    key: &'a str,
    stored: Cow<'a, str>,
    want: &'a Want<'a>,
    out: &'a mut Read,
    state: State,
    /// The value is read although only the rest is wanted: the rest is long.
    whole: bool,
    /// The right asked for.
    token: u128,
    cause: Cause,
}

enum State {
    /// Reads what is there, with the tags it last had.
    Look,
    /// Reads tags it turned out to have.
    Judge(Lies),
    /// Puts a placeholder where nothing was, or where this was.
    Acquire(Bytes),
    /// Makes the records that the tags of a load did not have.
    MakeTags,
    /// Takes a placeholder away again: the load's tags cannot be read.
    Abandon(Error),
    /// Asks to be the one who refreshes what is there.
    Guard(Lies),
    /// Gives a bare number an identity.
    Identify(Lies, u128),
    Renew,
    /// Puts the idle end off: of what was seen, with these bytes in its place if it has to tell when
    /// it ends at the latest.
    Slide(Bytes, Option<Vec<u8>>, u64),
    Done,
}

impl<'a> Reading<'a> {
    pub(super) fn new(name: Name<'a>, want: &'a Want<'a>, out: &'a mut Read) -> Self {
        let state = match want.lease {
            // Nothing is there, most likely: the caller has looked.
            Ask::Own { .. } => State::Acquire(Bytes::new()),
            Ask::Renew { .. } => State::Renew,
            _ => State::Look,
        };
        Self {
            key: name.as_str(),
            stored: stored::key(name.as_str()),
            want,
            out,
            state,
            whole: !want.head_only,
            token: if matches!(want.lease, Ask::No) { 0 } else { fresh_token() },
            cause: Cause::Absent,
        }
    }

    fn lease_tags(&self) -> &'a Tags {
        match self.want.lease {
            Ask::Own { tags, .. } | Ask::Take { tags, .. } | Ask::Renew { tags, .. } => tags,
            Ask::No | Ask::Watch { .. } => const { &Tags::NONE },
        }
    }

    fn hold_ms(&self) -> u64 {
        match self.want.lease {
            Ask::Own { hold, .. } | Ask::Take { hold, .. } | Ask::Renew { hold, .. } => {
                millis(hold)
            }
            Ask::No | Ask::Watch { .. } => 1,
        }
    }

    /// Asks for the versions of the tags a load will carry, before its loader runs.
    fn ask_lease_tags(&self, talk: &mut Talk<'_>) {
        for tag in self.lease_tags().iter() {
            match talk.redis.tags.version(tag, Some(Duration::ZERO)) {
                Some(_) => talk.want_tag(tag),
                None => talk.make_tag(tag, Some(Duration::ZERO)),
            }
        }
    }

    /// The versions of the load's tags: `None` if a record has to be made first.
    fn lease_versions(&self, talk: &Talk<'_>) -> Result<Option<Arc<[TagVersion]>>> {
        let mut seen = Vec::with_capacity(self.lease_tags().len());
        let before = match self.want.lease {
            Ask::Renew { lease, .. } => lease.seen.as_deref().unwrap_or_default(),
            _ => &[],
        };
        for tag in self.lease_tags().iter() {
            // What was read before the loader began judges it.
            let known = before.iter().find(|(seen, _)| &**seen == tag).map(|(_, version)| *version);
            let version = match known {
                Some(version) => Some(version),
                None => talk.tag_now(tag)?,
            };
            match version {
                Some(version) => seen.push((tag.into(), version)),
                None => return Ok(None),
            }
        }
        Ok(Some(seen.into()))
    }

    fn lease(&self, talk: &Talk<'_>, id: u128, seen: Arc<[TagVersion]>) -> Grant {
        let mut lease = Lease::new(talk.redis.origin, id);
        lease.seen = Some(seen);
        Grant::Granted(Box::new(lease))
    }

    fn finish(&mut self, read: Read) -> bool {
        *self.out = read;
        self.state = State::Done;
        true
    }

    fn miss(&mut self, cause: Cause, grant: Grant) -> bool {
        self.finish(Read::Miss(cause, grant))
    }

    fn go(&mut self, state: State) -> bool {
        self.state = state;
        false
    }

    fn hear_look(&mut self, talk: &mut Talk<'_>, answers: &mut Answers<'_>) -> Result<bool> {
        let bytes = match answers.bytes() {
            Ok(bytes) => bytes,
            // Another type of value lies there: not a value for us.
            Err(error) if error.kind() == ErrorKind::WrongType => {
                return Ok(self.miss(Cause::Undecodable, Grant::None));
            }
            Err(error) => return Err(error),
        };
        let left_ms = if self.asks_life() { Some(number(&answers.next()?)) } else { None };
        // An empty string is nothing of ours.
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
            return Ok(self.nothing(Cause::Absent, Bytes::new()));
        };
        let cut = !self.whole && bytes.len() == HEAD_BYTES;
        let lies = Lies::new(self.key, bytes, self.whole, left_ms);
        let more_is_needed = match lies.opened {
            Opened::Damaged => true,
            // Its version is all of its content.
            Opened::Foreign(_) => self.want.token,
            Opened::Value(_) | Opened::Placeholder(_) => false,
        };
        if cut && more_is_needed {
            self.whole = true;
            return Ok(self.go(State::Look));
        }
        talk.redis.tags.note_tags(self.key, &lies.tags());
        if !lies.can_be_judged(talk) {
            return Ok(self.go(State::Judge(lies)));
        }
        self.judge(talk, lies)
    }

    fn judge(&mut self, talk: &Talk<'_>, lies: Lies) -> Result<bool> {
        Ok(match lies.standing(talk)? {
            Standing::Loading => self.somebody_loads(),
            Standing::Dead(cause) => self.nothing(cause, lies.seen),
            Standing::Fresh => self.found(talk, lies, false),
            Standing::Stale => self.found(talk, lies, true),
        })
    }

    fn somebody_loads(&mut self) -> bool {
        let grant = match self.want.lease {
            Ask::Own { .. } | Ask::Take { .. } => Grant::Busy { ask_again_in: ASK_AGAIN },
            _ => Grant::None,
        };
        self.miss(Cause::Absent, grant)
    }

    /// There is no entry; `seen` lies there all the same.
    fn nothing(&mut self, cause: Cause, seen: Bytes) -> bool {
        self.cause = cause;
        match self.want.lease {
            Ask::Own { .. } | Ask::Take { .. } => self.go(State::Acquire(seen)),
            Ask::No | Ask::Watch { .. } | Ask::Renew { .. } => self.miss(cause, Grant::None),
        }
    }

    fn found(&mut self, talk: &Talk<'_>, lies: Lies, stale: bool) -> bool {
        match self.want.lease {
            Ask::Take { .. } => return self.go(State::Acquire(first_18(&lies.seen))),
            Ask::Own { stale_too: true, .. } if stale => return self.go(State::Guard(lies)),
            _ => {}
        }
        let is_bare = matches!(&lies.opened, Opened::Foreign(entry) if entry.codec == CodecId::INT);
        // A quiet reader changes nothing, and makes do with the content.
        if self.want.token && is_bare && !self.want.quiet {
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
    fn slide(&self, talk: &Talk<'_>, lies: &Lies, stale: bool) -> Option<State> {
        let idle = self.want.slide.filter(|_| !stale && !self.want.quiet).map(millis)?;
        let mut envelope = match &lies.opened {
            Opened::Value(envelope) => envelope.clone(),
            Opened::Foreign(entry) if entry.codec == CodecId::INT => {
                Envelope::new(entry.clone(), fresh_write_id(false), talk.now_ms)
            }
            _ => return None,
        };
        let seen = lies.seen.clone();
        if let Some(cap) = envelope.cap {
            return Some(State::Slide(
                seen,
                None,
                idle.min(cap.saturating_sub(talk.now_ms)).max(1),
            ));
        }
        // Until now its end was the server's business only. From now on that is the idle end.
        let left = lies.left_ms.and_then(|left| u64::try_from(left).ok());
        envelope.cap = Some(left.map_or(u64::MAX, |left| talk.now_ms.saturating_add(left)));
        let px = left.map_or(idle, |left| idle.min(left)).max(1);
        Some(State::Slide(seen, Some(envelope.seal(self.key)), px))
    }

    /// What was found, as asked for.
    fn hit(&self, talk: &Talk<'_>, lies: Lies, stale: bool, grant: Grant) -> Found {
        let want = self.want;
        let lease = !matches!(want.lease, Ask::No);
        let more = (want.meta || want.token || lease).then(|| {
            let life = life_left(&lies, talk.now_ms);
            let token = match &lies.opened {
                Opened::Value(envelope) => Some(envelope.write_id),
                Opened::Foreign(_) => Some(content_id(&lies.seen)),
                Opened::Placeholder(_) | Opened::Damaged => None,
            };
            let token = token.map(|id| Token::new(talk.redis.origin, id));
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
            entry.value = Bytes::new().into();
        }
        Found { stale, more, ..Found::new(entry) }
    }

    fn asks_life(&self) -> bool {
        self.want.meta || self.want.slide.is_some()
    }

    fn hear_acquire(&mut self, talk: &mut Talk<'_>, answers: &mut Answers<'_>) -> Result<bool> {
        let done = match answers.done() {
            Err(error) if error.kind() == ErrorKind::WrongType => {
                return Ok(self.miss(Cause::Undecodable, Grant::None));
            }
            done => done?,
        };
        match done {
            None => Ok(self.acquired(talk)),
            Some(Some(there)) => match envelope::open_head(self.key, &there) {
                Opened::Placeholder(_) => Ok(self.somebody_loads()),
                _ => Ok(self.go(State::Look)),
            },
            Some(None) => Ok(self.go(State::Acquire(Bytes::new()))),
        }
    }

    /// The placeholder is ours: the load may begin once its tags have versions.
    fn acquired(&mut self, talk: &Talk<'_>) -> bool {
        match self.lease_versions(talk) {
            Ok(Some(seen)) => {
                let grant = self.lease(talk, self.token, seen);
                self.miss(self.cause, grant)
            }
            Ok(None) => self.go(State::MakeTags),
            Err(error) => self.go(State::Abandon(error)),
        }
    }

    fn hear_guard(
        &mut self,
        lies: Lies,
        talk: &mut Talk<'_>,
        answers: &mut Answers<'_>,
    ) -> Result<bool> {
        let won = matches!(answers.next()?, Value::Okay);
        let id = lies.envelope().map(|envelope| envelope.write_id);
        let grant = match (won, id) {
            (true, Some(id)) => match self.lease_versions(talk)? {
                Some(seen) => self.lease(talk, id, seen),
                // A record was lost since it was remembered. The guard ends by itself.
                None => Grant::None,
            },
            _ => Grant::Busy { ask_again_in: ASK_AGAIN },
        };
        let found = self.hit(talk, lies, true, grant);
        Ok(self.finish(Read::Hit(found)))
    }

    fn hear_renew(&mut self, talk: &mut Talk<'_>, answers: &mut Answers<'_>) -> Result<bool> {
        let Ask::Renew { lease, .. } = self.want.lease else {
            return Ok(self.miss(Cause::Absent, Grant::None));
        };
        let held = if is_of_value(lease.id) {
            let there = answers.bytes()?.unwrap_or_default();
            answers.next()?;
            *there == head(lease.id)
        } else {
            answers.done()?.is_none()
        };
        let grant = match self.lease_versions(talk)? {
            Some(seen) if held && lease.origin == talk.redis.origin => {
                self.lease(talk, lease.id, seen)
            }
            _ => Grant::None,
        };
        Ok(self.miss(Cause::Absent, grant))
    }

    fn hear_or_fail(&mut self, talk: &mut Talk<'_>, answers: &mut Answers<'_>) -> Result<bool> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Look => self.hear_look(talk, answers),
            State::Judge(lies) => self.judge(talk, lies),
            State::Acquire(_) => self.hear_acquire(talk, answers),
            State::MakeTags => Ok(self.acquired(talk)),
            State::Abandon(error) => Err(error),
            State::Guard(lies) => self.hear_guard(lies, talk, answers),
            State::Identify(mut lies, id) => match answers.done() {
                // Without room for it the content has to do.
                Err(error) if error.kind() == ErrorKind::Full => {
                    let found = self.hit(talk, lies, false, Grant::None);
                    Ok(self.finish(Read::Hit(found)))
                }
                Err(error) => Err(error),
                Ok(None) => {
                    if let Opened::Foreign(entry) = lies.opened {
                        lies.opened = Opened::Value(Envelope::new(entry, id, talk.now_ms));
                    }
                    let found = self.hit(talk, lies, false, Grant::None);
                    Ok(self.finish(Read::Hit(found)))
                }
                Ok(Some(_)) => Ok(self.go(State::Look)),
            },
            State::Renew => self.hear_renew(talk, answers),
            // The value is read; that it was not put off is no reason to withhold it.
            State::Slide(..) | State::Done => Ok(self.finish_as_is()),
        }
    }
}

impl Job for Reading<'_> {
    fn ask(&mut self, talk: &mut Talk<'_>) {
        let name = &*self.stored;
        let key = name.as_bytes();
        match &self.state {
            State::Look => {
                if self.whole {
                    talk.batch.push(name, &[b"GET", key]);
                } else {
                    talk.batch.push(name, &[b"GETRANGE", key, b"0", HEAD.as_bytes()]);
                }
                if self.asks_life() {
                    talk.batch.push(name, &[b"PTTL", key]);
                }
                talk.want_last_tags(self.key);
            }
            State::Judge(lies) => lies.want_tags(talk),
            State::Acquire(seen) => {
                let (new, hold) = (head(self.token), self.hold_ms().to_string());
                talk.batch.call(&script::ACQUIRE, name, &[&new, hold.as_bytes(), seen, b""]);
                self.ask_lease_tags(talk);
            }
            State::MakeTags => {
                for tag in self.lease_tags().iter() {
                    talk.make_tag(tag, Some(Duration::ZERO));
                }
            }
            State::Abandon(_) => {
                talk.batch.call(&script::SWAP, name, &[&head(self.token), b"UNLINK"]);
            }
            State::Guard(_) => {
                let (guard, hold) = (stored::guard(self.key), self.hold_ms().to_string());
                let words: [&[u8]; 6] =
                    [b"SET", guard.as_bytes(), b"1", b"NX", b"PX", hold.as_bytes()];
                talk.batch.push_once(&guard, &words);
                self.ask_lease_tags(talk);
            }
            State::Identify(lies, id) => {
                if let Opened::Foreign(entry) = &lies.opened {
                    let new = Envelope::new(entry.clone(), *id, talk.now_ms).seal(self.key);
                    talk.batch.call(&script::SWAP, name, &[&lies.seen, b"SET", &new, b"KEEP"]);
                }
            }
            State::Renew => {
                let Ask::Renew { lease, .. } = self.want.lease else { return };
                let (seen, hold) = (head(lease.id), self.hold_ms().to_string());
                if is_of_value(lease.id) {
                    let guard = stored::guard(self.key);
                    talk.batch.push(name, &[b"GETRANGE", key, b"0", b"17"]);
                    let words: [&[u8]; 3] = [b"PEXPIRE", guard.as_bytes(), hold.as_bytes()];
                    talk.batch.push(&guard, &words);
                } else {
                    let args: [&[u8]; 3] = [&seen, b"PEXPIRE", hold.as_bytes()];
                    talk.batch.call(&script::SWAP, name, &args);
                }
                for tag in self.lease_tags().iter() {
                    talk.make_tag(tag, Some(Duration::ZERO));
                }
            }
            State::Slide(seen, new, px) => {
                let px = px.to_string();
                let px = px.as_bytes();
                match new {
                    Some(new) => talk.batch.call(&script::SWAP, name, &[seen, b"SET", new, px]),
                    None => talk.batch.call(&script::SWAP, name, &[seen, b"PEXPIRE", px]),
                }
            }
            State::Done => {}
        }
    }

    fn hear(&mut self, talk: &mut Talk<'_>, answers: &mut Answers<'_>) -> bool {
        match self.hear_or_fail(talk, answers) {
            Ok(done) => done,
            Err(error) => self.finish(Read::Failed(error)),
        }
    }

    fn fail(&mut self, error: Error) {
        if !matches!(self.state, State::Slide(..) | State::Done) {
            *self.out = Read::Failed(error);
        }
    }
}

/// What [`script::ACQUIRE`] compares with.
fn first_18(seen: &Bytes) -> Bytes {
    seen.slice(..seen.len().min(18))
}

fn number(value: &Value) -> i64 {
    super::wire::number(Some(value)).unwrap_or(-1)
}

/// The times of what lies there.
fn life_left(lies: &Lies, now_ms: u64) -> Life {
    let from_now = |end: u64| Duration::from_millis(end.saturating_sub(now_ms));
    let left = lies.left_ms.and_then(|left| u64::try_from(left).ok()).map(Duration::from_millis);
    let Some(envelope) = lies.envelope() else { return Life { hard: left, ..Life::FOREVER } };
    let (hard, idle) = match envelope.cap {
        Some(cap) => ((cap != u64::MAX).then(|| from_now(cap)), left),
        None => (left, None),
    };
    let age = Some(Duration::from_millis(now_ms.saturating_sub(envelope.created)));
    Life { age, soft: envelope.soft.map(from_now), hard, idle }
}
