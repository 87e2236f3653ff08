//! Changing a key.

use std::borrow::Cow;

use bytes::Bytes;

use super::lies::{Lies, Standing};
use super::script;
use super::seal::{Sealed, is_bare, moved_end, px, seal};
use super::stamp::{content_id, fresh_write_id, head, is_of_value, is_tagged, of_the_kind};
use super::talk::{Answers, Job, Talk};
use crate::backend::envelope::{self, Envelope, Opened};
use crate::backend::remote::stored;
use crate::backend::{Cause, Change, CodecId, Entry, Life, NotDone, Token, When, Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::number;

/// The work on one key that is changed.
pub(super) struct Writing<'a> {
    key: &'a str,
    stored: Cow<'a, str>,
    when: &'a When,
    change: &'a Change,
    out: &'a mut Wrote,
    state: State,
    /// The versions an entry is stored under, in the order of its tags.
    versions: Vec<u64>,
    write_id: u128,
    /// It has been stored once, under versions that turned out to be old.
    stored_once: bool,
}

enum State {
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
    Judge(Lies),
    /// Does it to what was judged.
    Act(Lies, Standing),
    /// One command that says it all.
    Once,
    /// Reads the tags of what was removed, to say whether it was alive.
    Removed(Lies),
    /// Removes the older value: the server has no room for the new one.
    Drop(Error),
    Done,
}

impl<'a> Writing<'a> {
    pub(super) fn new(write: &'a Write<'_>, out: &'a mut Wrote) -> Self {
        let tagged = matches!(&write.change, Change::Put(entry, _) if !entry.tags.is_empty());
        Self {
            key: write.key.as_str(),
            stored: stored::key(write.key.as_str()),
            when: &write.when,
            change: &write.change,
            out,
            state: State::Begin,
            versions: Vec::new(),
            write_id: fresh_write_id(tagged),
            stored_once: false,
        }
    }

    fn go(&mut self, state: State) -> bool {
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
    fn first(&mut self, talk: &Talk<'_>) -> Result<State> {
        let own = |origin| origin == talk.redis.origin;
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
                let known = |tag: &str| talk.redis.tags.version(tag, life.hard);
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
                return Err(Error::unsupported("redis", "this change under this condition"));
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
    fn with_tags(&self) -> State {
        match self.stored_once {
            true => State::Restore,
            false if self.looks_first() => State::Look,
            false => State::Store,
        }
    }

    /// The entry as stored.
    fn seal(&self, talk: &Talk<'_>) -> Option<Sealed> {
        let (entry, life) = self.put()?;
        Some(seal(self.key, entry, life, &self.versions, self.write_id, talk.now_ms))
    }

    /// A new counter as stored.
    fn counter(&self, talk: &Talk<'_>, number: String, life: &Life) -> Sealed {
        let entry = Entry::new(number, CodecId::INT);
        seal(self.key, &entry, life, &[], self.write_id, talk.now_ms)
    }

    fn ask_tags_now(&self, talk: &mut Talk<'_>) {
        if let Some((entry, _)) = self.put() {
            entry.tags.iter().for_each(|tag| talk.want_tag(tag));
        }
    }

    fn ask_store(&self, talk: &mut Talk<'_>) {
        let Some(Sealed { bytes, px, id }) = self.seal(talk) else { return };
        let (name, px) = (&*self.stored, px.as_bytes());
        match self.when {
            When::Always => {
                let key = name.as_bytes();
                if px.is_empty() {
                    talk.batch.push(name, &[b"SET", key, &bytes]);
                } else {
                    talk.batch.push(name, &[b"SET", key, &bytes, b"PX", px]);
                }
            }
            When::Absent => talk.batch.call(&script::ACQUIRE, name, &[&bytes, px, b"", b"1"]),
            When::Present => talk.batch.call(&script::PRESENT, name, &[b"SET", &bytes, px]),
            When::Version(Token { id, .. }) => {
                talk.batch.call(&script::SWAP, name, &[&head(*id), b"SET", &bytes, px]);
            }
            When::Lease(lease) => {
                talk.batch.call(&script::SWAP, name, &[&head(lease.id), b"SET", &bytes, px]);
            }
        }
        if id.is_none() && !matches!(self.when, When::Always) {
            // Sent again a bare number would not know itself for what was stored.
            talk.batch.not_again();
        }
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
    fn ask_unguard(&self, talk: &mut Talk<'_>) {
        if let When::Lease(lease) = self.when
            && is_of_value(lease.id)
        {
            let guard = stored::guard(self.key);
            talk.batch.push(&guard, &[b"UNLINK", guard.as_bytes()]);
        }
    }

    fn hear_store(&mut self, talk: &mut Talk<'_>, answers: &mut Answers<'_>) -> Result<bool> {
        if matches!(self.when, When::Always) {
            answers.next()?;
            return self.verify(talk);
        }
        let Some(there) = answers.done()? else { return self.verify(talk) };
        match self.when {
            When::Lease(_) => Ok(self.not(NotDone::Overtaken)),
            When::Version(_) => Ok(self.not(changed_or_absent(there.as_ref()))),
            _ => match there {
                None if matches!(self.when, When::Present) => Ok(self.not(NotDone::Absent)),
                None => Ok(self.go(State::Store)),
                Some(there) => self.weigh(talk, there),
            },
        }
    }

    /// Something is in the way, or may not be: judges it by its beginning.
    fn weigh(&mut self, talk: &mut Talk<'_>, there: Bytes) -> Result<bool> {
        let lies = Lies::new(self.key, there, false, None);
        if matches!(lies.opened, Opened::Damaged) || self.needs_whole(&lies) {
            return Ok(self.go(State::Look));
        }
        self.judge_or_ask(talk, lies)
    }

    /// Whether what is there has to be changed and stored again.
    fn needs_whole(&self, lies: &Lies) -> bool {
        let ends = |envelope: &Envelope| envelope.soft.is_some() || envelope.cap.is_some();
        match self.change {
            Change::Expire(_) => lies.envelope().is_some_and(ends),
            Change::Add { .. } => true,
            Change::Put(..) | Change::Remove | Change::Release => false,
        }
    }

    fn judge_or_ask(&mut self, talk: &mut Talk<'_>, lies: Lies) -> Result<bool> {
        if !lies.can_be_judged(talk) {
            return Ok(self.go(State::Judge(lies)));
        }
        self.judge(talk, lies, false)
    }

    /// Decides what to do about what lies there. `after`: its tags were read after it was.
    fn judge(&mut self, talk: &Talk<'_>, lies: Lies, after: bool) -> Result<bool> {
        let standing = lies.standing(talk)?;
        if standing == Standing::Dead(Cause::Invalidated) && !after {
            // Its tags may have been read before it was: it may be newer than they, and alive.
            return Ok(self.go(State::Judge(lies)));
        }
        let there = standing == Standing::Fresh;
        if let (true, Change::Add { by, from, .. }) = (there, self.change) {
            // What is no number is left alone.
            number::add(lies.envelope().map(|envelope| &envelope.entry), *from, *by)?;
        }
        Ok(match self.when {
            When::Absent if there => self.not(NotDone::Exists),
            When::Present if !there => self.not(NotDone::Absent),
            When::Always if !there && matches!(self.change, Change::Expire(_)) => {
                self.not(NotDone::Absent)
            }
            When::Version(token) => {
                let id = match &lies.opened {
                    Opened::Value(envelope) => envelope.write_id,
                    Opened::Foreign(_) => content_id(&lies.seen),
                    Opened::Placeholder(_) | Opened::Damaged => 0,
                };
                match standing {
                    Standing::Fresh | Standing::Stale if id == token.id => {
                        self.go(State::Act(lies, standing))
                    }
                    Standing::Fresh | Standing::Stale => self.not(NotDone::Changed),
                    Standing::Loading | Standing::Dead(_) => self.not(NotDone::Absent),
                }
            }
            _ => self.go(State::Act(lies, standing)),
        })
    }

    fn ask_act(&self, talk: &mut Talk<'_>, lies: &Lies, standing: &Standing) {
        let (name, seen) = (&*self.stored, &*lies.seen);
        match self.change {
            Change::Put(..) => {
                let Some(Sealed { bytes, px, .. }) = self.seal(talk) else { return };
                if matches!(self.when, When::Absent) {
                    let seen = &seen[..seen.len().min(18)];
                    talk.batch.call(&script::ACQUIRE, name, &[&bytes, px.as_bytes(), seen, b"1"]);
                } else {
                    let args: [&[u8]; 4] = [seen, b"SET", &bytes, px.as_bytes()];
                    talk.batch.call(&script::SWAP, name, &args);
                }
                self.ask_tags_now(talk);
            }
            Change::Remove | Change::Release => {
                talk.batch.call(&script::SWAP, name, &[seen, b"UNLINK"]);
            }
            Change::Expire(life) => {
                let (new, px) = moved_end(self.key, lies, *life, talk.now_ms);
                lies.tags().iter().for_each(|tag| talk.want_tag_for(tag, *life));
                match new {
                    Some(new) => {
                        let args: [&[u8]; 4] = [seen, b"SET", &new, px.as_bytes()];
                        talk.batch.call(&script::SWAP, name, &args);
                    }
                    None if px.is_empty() => {
                        talk.batch.call(&script::SWAP, name, &[seen, b"PERSIST"]);
                    }
                    None => {
                        let args: [&[u8]; 3] = [seen, b"PEXPIRE", px.as_bytes()];
                        talk.batch.call(&script::SWAP, name, &args);
                    }
                }
            }
            Change::Add { by, from, life } => {
                let live = matches!(standing, Standing::Fresh);
                let (new, px) = match (live, lies.envelope()) {
                    (true, Some(envelope)) => {
                        let sum = number::add(Some(&envelope.entry), *from, *by);
                        let mut envelope = envelope.clone();
                        envelope.entry.value = sum.unwrap_or_default().to_string().into();
                        envelope.write_id = of_the_kind(self.write_id, envelope.write_id);
                        (envelope.seal(self.key), "KEEP".to_owned())
                    }
                    _ => {
                        let first = number::add(None, *from, *by).unwrap_or_default();
                        let Sealed { bytes, px, .. } = self.counter(talk, first.to_string(), life);
                        (bytes, px)
                    }
                };
                talk.batch.call_once(&script::SWAP, name, &[seen, b"SET", &new, px.as_bytes()]);
            }
        }
    }

    fn hear_act(
        &mut self,
        lies: &Lies,
        standing: &Standing,
        talk: &mut Talk<'_>,
        answers: &mut Answers<'_>,
    ) -> Result<bool> {
        if let Some(there) = answers.done()? {
            // Somebody was faster. Who came with a version has lost; the others look again.
            return match self.when {
                When::Version(_) => Ok(self.not(changed_or_absent(there.as_ref()))),
                _ => Ok(self.go(State::Begin)),
            };
        }
        match self.change {
            Change::Put(..) => self.verify(talk),
            Change::Add { by, from, .. } => {
                let live = *standing == Standing::Fresh;
                let entry = lies.envelope().filter(|_| live).map(|envelope| &envelope.entry);
                let sum = number::add(entry, *from, *by)?;
                Ok(self.finish(Wrote::Number(sum)))
            }
            Change::Expire(_) => {
                let id = lies.envelope().map(|envelope| envelope.write_id);
                let token = id.map(|id| Token::new(talk.redis.origin, id));
                Ok(self.finish(Wrote::Done(token)))
            }
            Change::Remove | Change::Release => Ok(self.finish(Wrote::Done(None))),
        }
    }

    /// It is stored: whether under the versions its tags had when it was.
    fn verify(&mut self, talk: &mut Talk<'_>) -> Result<bool> {
        let Some((entry, _)) = self.put() else { return Ok(self.finish(Wrote::Done(None))) };
        talk.redis.tags.note_tags(self.key, &entry.tags);
        let mut now = Vec::with_capacity(entry.tags.len());
        for tag in entry.tags.iter() {
            now.push(talk.tag_now(tag)?);
        }
        if now.iter().zip(&self.versions).all(|(now, then)| *now == Some(*then)) {
            let id = self.seal_id();
            let token = id.map(|id| Token::new(talk.redis.origin, id));
            return Ok(self.finish(Wrote::Done(token)));
        }
        // What is stored is invalid, as it should be where the fill, or the entry read, was older
        // than the invalidation.
        match self.when {
            When::Lease(_) => return Ok(self.not(NotDone::Overtaken)),
            When::Version(_) if self.looks_first() => return Ok(self.not(NotDone::Changed)),
            _ => {}
        }
        self.stored_once = true;
        match now.into_iter().collect::<Option<Vec<u64>>>() {
            Some(now) => {
                self.versions = now;
                Ok(self.go(State::Restore))
            }
            None => Ok(self.go(State::MakeTags)),
        }
    }

    fn seal_id(&self) -> Option<u128> {
        let (entry, life) = self.put()?;
        (!is_bare(entry, life)).then_some(self.write_id)
    }

    /// Takes the versions read in this round to write under; false if one is missing.
    fn note_versions(&mut self, talk: &Talk<'_>) -> Result<bool> {
        let Some((entry, _)) = self.put() else { return Ok(true) };
        let now: Result<Option<Vec<u64>>> =
            entry.tags.iter().map(|tag| talk.tag_now(tag)).collect();
        let now = now?;
        let known = now.is_some();
        self.versions = now.unwrap_or_default();
        Ok(known)
    }

    fn hear_made_tags(&mut self, talk: &Talk<'_>) -> Result<bool> {
        // One removed between the two is made once more.
        let next = if self.note_versions(talk)? { self.with_tags() } else { State::MakeTags };
        Ok(self.go(next))
    }

    fn ask_once(&self, talk: &mut Talk<'_>) {
        let name = &*self.stored;
        match (self.when, self.change) {
            (When::Version(Token { id, .. }), Change::Remove) => {
                talk.batch.call(&script::SWAP, name, &[&head(*id), b"UNLINK"]);
            }
            (When::Lease(lease), Change::Remove) => {
                talk.batch.call(&script::SWAP, name, &[&head(lease.id), b"UNLINK"]);
                self.ask_unguard(talk);
            }
            (When::Lease(lease), Change::Release) => {
                // Whether it was overtaken, those who joined the load want to know.
                if is_of_value(lease.id) {
                    talk.batch.push(name, &[b"GETRANGE", name.as_bytes(), b"0", b"17"]);
                } else {
                    talk.batch.call(&script::SWAP, name, &[&head(lease.id), b"UNLINK"]);
                }
                self.ask_unguard(talk);
                let seen = lease.seen.as_deref().unwrap_or_default();
                seen.iter().for_each(|(tag, _)| talk.want_tag(tag));
            }
            (_, Change::Remove) => {
                talk.batch.call(&script::DELETE, name, &[]);
                talk.want_last_tags(self.key);
            }
            (_, Change::Expire(life)) => {
                let px = px(*life);
                let action: &[&[u8]] =
                    if px.is_empty() { &[b"PERSIST"] } else { &[b"PEXPIRE", px.as_bytes()] };
                talk.batch.call(&script::PRESENT, name, action);
                talk.want_last_tags(self.key);
            }
            (_, Change::Add { by, from, life }) => {
                let first = from.checked_add(*by).map_or(String::new(), |sum| sum.to_string());
                let Sealed { bytes, px, .. } = self.counter(talk, first.clone(), life);
                let by = by.to_string();
                let args: [&[u8]; 4] = [by.as_bytes(), first.as_bytes(), px.as_bytes(), &bytes];
                talk.batch.call_once(&script::ADD, name, &args);
            }
            _ => {}
        }
    }

    fn hear_once(&mut self, talk: &mut Talk<'_>, answers: &mut Answers<'_>) -> Result<bool> {
        match (self.when, self.change) {
            (When::Version(_), _) => Ok(match answers.done()? {
                None => self.finish(Wrote::Done(None)),
                Some(there) => self.not(changed_or_absent(there.as_ref())),
            }),
            (When::Lease(lease), Change::Release) => {
                let held = if is_of_value(lease.id) {
                    answers.bytes()?.is_some_and(|there| *there == head(lease.id))
                } else {
                    answers.done()?.is_none()
                };
                let mut same = true;
                for (tag, version) in lease.seen.as_deref().unwrap_or_default() {
                    same &= talk.tag_now(tag)? == Some(*version);
                }
                Ok(match held && same {
                    true => self.finish(Wrote::Done(None)),
                    false => self.not(NotDone::Overtaken),
                })
            }
            (When::Lease(_), _) => Ok(match answers.done()? {
                None => self.finish(Wrote::Done(None)),
                Some(_) => self.not(NotDone::Overtaken),
            }),
            (_, Change::Remove) => {
                let there = answers.bytes()?.filter(|there| !there.is_empty());
                let Some(there) = there else { return Ok(self.not(NotDone::Absent)) };
                let lies = Lies::new(self.key, there, false, None);
                if lies.can_be_judged(talk) {
                    return Ok(self.removed(talk, &lies));
                }
                Ok(self.go(State::Removed(lies)))
            }
            (_, Change::Add { by, from, .. }) => match answers.bytes()? {
                Some(text) if text.first() == Some(&b'+') => self.added(&text[1..]),
                Some(text) if &*text == b"!" => {
                    number::add(None, *from, *by)?;
                    Ok(self.go(State::Begin))
                }
                _ => Ok(self.go(State::Look)),
            },
            _ => match answers.done()? {
                None => Ok(self.finish(Wrote::Done(None))),
                Some(None) => Ok(self.not(NotDone::Absent)),
                Some(Some(there)) => self.weigh(talk, there),
            },
        }
    }

    fn added(&mut self, text: &[u8]) -> Result<bool> {
        let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        let number = number.ok_or_else(|| Error::new(ErrorKind::Backend, "not a sum"))?;
        Ok(self.finish(Wrote::Number(number)))
    }

    /// What was removed counts if it was alive; where that cannot be told it was.
    fn removed(&mut self, talk: &Talk<'_>, lies: &Lies) -> bool {
        talk.redis.tags.note_tags(self.key, &crate::Tags::NONE);
        match lies.standing(talk) {
            Ok(Standing::Loading | Standing::Stale) => self.not(NotDone::Absent),
            Ok(Standing::Dead(cause)) if cause != Cause::Corrupt => self.not(NotDone::Absent),
            _ => self.finish(Wrote::Done(None)),
        }
    }

    fn hear_look(&mut self, talk: &mut Talk<'_>, answers: &mut Answers<'_>) -> Result<bool> {
        let bytes = answers.bytes()?;
        let left_ms = super::wire::number(Some(&answers.next()?));
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
            return Ok(match (self.when, self.change) {
                (When::Absent, _) | (When::Always, Change::Add { .. }) => self.go(State::Begin),
                _ => self.not(NotDone::Absent),
            });
        };
        let lies = Lies::new(self.key, bytes, true, left_ms);
        if self.looks_first() && self.put().is_some() {
            // The versions read together with the entry: what comes later invalidates the new one.
            if !self.note_versions(talk)? {
                return Ok(self.go(State::MakeTags));
            }
        }
        if let (Change::Add { by, from, .. }, Opened::Foreign(entry)) = (self.change, &lies.opened)
        {
            // The server could not add to it: says why. If we can, it was changed since.
            number::add(Some(entry), *from, *by)?;
            if entry.codec != CodecId::INT {
                let what = "the stored value is not a whole number as Redis writes it";
                return Err(Error::new(ErrorKind::WrongType, what));
            }
            return Ok(self.go(State::Begin));
        }
        self.judge_or_ask(talk, lies)
    }

    fn hear_or_fail(&mut self, talk: &mut Talk<'_>, answers: &mut Answers<'_>) -> Result<bool> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Begin | State::Done => Ok(true),
            State::Drop(error) => Err(error),
            State::MakeTags => self.hear_made_tags(talk),
            State::Store => self.hear_store(talk, answers),
            State::Restore => match answers.done()? {
                None => self.verify(talk),
                // Another write came after ours, which was there for a moment.
                Some(_) => Ok(self.finish(Wrote::Done(None))),
            },
            State::Look => self.hear_look(talk, answers),
            State::Judge(lies) => self.judge(talk, lies, true),
            State::Act(lies, standing) => self.hear_act(&lies, &standing, talk, answers),
            State::Once => self.hear_once(talk, answers),
            State::Removed(lies) => Ok(self.removed(talk, &lies)),
        }
    }
}

impl Job for Writing<'_> {
    fn ask(&mut self, talk: &mut Talk<'_>) {
        if let State::Begin = self.state {
            match self.first(talk) {
                Ok(state) => self.state = state,
                Err(error) => {
                    self.finish(Wrote::Failed(error));
                }
            }
        }
        let (name, key) = (&*self.stored, self.stored.as_bytes());
        match &self.state {
            State::MakeTags => {
                let Some((entry, life)) = self.put() else { return };
                entry.tags.iter().for_each(|tag| talk.make_tag(tag, life.hard));
            }
            State::Store => self.ask_store(talk),
            State::Restore => {
                let Some(Sealed { bytes, px, id: Some(id) }) = self.seal(talk) else { return };
                let args: [&[u8]; 4] = [&head(id), b"SET", &bytes, px.as_bytes()];
                talk.batch.call(&script::SWAP, name, &args);
                self.ask_tags_now(talk);
            }
            State::Look => {
                talk.batch.push(name, &[b"GET", key]);
                talk.batch.push(name, &[b"PTTL", key]);
                talk.want_last_tags(self.key);
                self.ask_tags_now(talk);
            }
            State::Judge(lies) | State::Removed(lies) => lies.want_tags(talk),
            State::Act(lies, standing) => self.ask_act(talk, lies, standing),
            State::Once => self.ask_once(talk),
            State::Drop(_) => match self.when {
                When::Always | When::Present => talk.batch.push(name, &[b"UNLINK", key]),
                When::Version(Token { id, .. }) => {
                    talk.batch.call(&script::SWAP, name, &[&head(*id), b"UNLINK"]);
                }
                When::Lease(lease) => {
                    talk.batch.call(&script::SWAP, name, &[&head(lease.id), b"UNLINK"]);
                }
                When::Absent => {}
            },
            State::Begin | State::Done => {}
        }
    }

    fn hear(&mut self, talk: &mut Talk<'_>, answers: &mut Answers<'_>) -> bool {
        let stores = self.put().is_some() && !matches!(self.state, State::Drop(_));
        match self.hear_or_fail(talk, answers) {
            Ok(done) => done,
            // The older value does not stay because there is no room for the newer one.
            Err(error)
                if stores
                    && error.kind() == ErrorKind::Full
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

fn changed_or_absent(there: Option<&Bytes>) -> NotDone {
    match there {
        None => NotDone::Absent,
        Some(there) if there.starts_with(&envelope::placeholder(0)[..2]) => NotDone::Absent,
        Some(_) => NotDone::Changed,
    }
}
