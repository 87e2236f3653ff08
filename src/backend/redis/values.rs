//! Reading values and nothing else: what most reads are.

use std::borrow::Cow;

use bytes::Bytes;
use redis::Value;

use super::Redis;
use super::batch::Reply;
use super::lies::{Lies, Standing};
use super::read::Reading;
use super::talk::{Talk, missing};
use super::wire::{self, Limits};
use crate::backend::envelope::{Envelope, Opened};
use crate::backend::remote::stored;
use crate::backend::{Cause, Entry, Found, Grant, Name, Read, Tags, Want};
use crate::error::{ErrorKind, Result};

/// How many keys one MGET asks for: the server does nothing else meanwhile.
const KEYS_AT_ONCE: usize = 500;

impl Redis {
    /// Reads values and nothing else, on one server: what most reads are. What takes more than a round
    /// trip, entries with tags nobody expected, is read again by the general way.
    pub(super) fn read_values(
        &self,
        limits: Limits,
        keys: &[Name<'_>],
        want: &Want<'_>,
        out: &mut [Read],
    ) {
        let mut talk = Talk::new(self);
        for keys in keys.chunks(KEYS_AT_ONCE) {
            ask_values(&mut talk, keys);
        }
        let mut hints: Vec<(usize, Tags)> = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let hint = self.tags.tags_of(key.as_str());
            if !hint.is_empty() {
                hint.iter().for_each(|tag| talk.want_tag(tag));
                hints.push((index, hint));
            }
        }
        let mut hints = hints.into_iter().peekable();
        let (mut index, mut again) = (0, Vec::new());
        let replies = talk.exchange(limits);
        for (keys, reply) in keys.chunks(KEYS_AT_ONCE).zip(replies) {
            each_value(reply, keys.len(), &mut |value| {
                let hint = hints.next_if(|(at, _)| *at == index).map(|(_, hint)| hint);
                match self.value(&talk, keys[index % KEYS_AT_ONCE], value, hint) {
                    Some(read) => out[index] = read,
                    None => again.push(index),
                }
                index += 1;
            });
        }
        if again.is_empty() {
            return;
        }
        let slots = out.iter_mut().enumerate().filter(|(at, _)| again.binary_search(at).is_ok());
        let mut jobs: Vec<Reading<'_>> =
            slots.map(|(index, out)| Reading::new(keys[index], want, out)).collect();
        self.drive(limits, &mut jobs, false);
    }

    /// What a reader of a value is answered; `None` if its tags are to be read first.
    fn value(
        &self,
        talk: &Talk<'_>,
        key: Name<'_>,
        value: Result<Option<Bytes>>,
        hint: Option<Tags>,
    ) -> Option<Read> {
        let bytes = match value {
            Ok(Some(bytes)) if !bytes.is_empty() => bytes,
            Ok(_) => return Some(Read::Miss(Cause::Absent, Grant::None)),
            Err(error) if error.kind() == ErrorKind::WrongType => {
                return Some(Read::Miss(Cause::Undecodable, Grant::None));
            }
            Err(error) => return Some(Read::Failed(error)),
        };
        let lies = Lies::new(key.as_str(), bytes, true, None);
        let tags = lies.tags();
        if tags != hint.unwrap_or_default() {
            self.tags.note_tags(key.as_str(), &tags);
        }
        lies.can_be_judged(talk).then(|| judged(lies, talk))
    }
}

/// Asks for some values, all in one command.
fn ask_values(talk: &mut Talk<'_>, keys: &[Name<'_>]) {
    if let [key] = keys {
        let name = stored::key(key.as_str());
        return talk.batch.push(&name, &[b"GET", name.as_bytes()]);
    }
    let names: Vec<Cow<'_, str>> = keys.iter().map(|key| stored::key(key.as_str())).collect();
    let mut words: Vec<&[u8]> = Vec::with_capacity(names.len() + 1);
    words.push(b"MGET");
    words.extend(names.iter().map(|name| name.as_bytes()));
    talk.batch.push("", &words);
}

/// The answer to a reader who wants the value and nothing else.
fn judged(lies: Lies, talk: &Talk<'_>) -> Read {
    let stale = match lies.standing(talk) {
        Ok(Standing::Loading) => return Read::Miss(Cause::Absent, Grant::None),
        Ok(Standing::Dead(cause)) => return Read::Miss(cause, Grant::None),
        Ok(standing) => standing == Standing::Stale,
        Err(error) => return Read::Failed(error),
    };
    match lies.opened {
        Opened::Value(Envelope { entry, .. }) | Opened::Foreign(entry) => {
            let entry = Entry { tags: Tags::NONE, ..entry };
            Read::Hit(Found { stale, ..Found::new(entry) })
        }
        Opened::Placeholder(_) | Opened::Damaged => Read::Miss(Cause::Corrupt, Grant::None),
    }
}

/// Hands out the values in the answer to a GET, or to an MGET of so many names.
fn each_value(reply: Reply, names: usize, each: &mut dyn FnMut(Result<Option<Bytes>>)) {
    let error = match reply {
        Ok(Value::Array(values)) if values.len() == names => {
            return values.into_iter().for_each(|value| each(as_bytes(value)));
        }
        Ok(value) if names == 1 => return each(as_bytes(value)),
        Ok(Value::ServerError(error)) => wire::refusal(&error),
        Ok(_) => missing(),
        Err(error) => error,
    };
    (0..names).for_each(|_| each(Err(error.clone())));
}

fn as_bytes(value: Value) -> Result<Option<Bytes>> {
    match value {
        Value::BulkString(bytes) => Ok(Some(bytes.into())),
        Value::ServerError(error) => Err(wire::refusal(&error)),
        _ => Ok(None),
    }
}
