//! Reading values and nothing else: what most reads are.

use bytes::Bytes;

use super::exchange::Limits;
use super::lies::{Lies, Standing};
use super::reading::Reading;
use super::store::Store;
use super::talk::{Talk, drive};
use crate::backend::envelope::{Envelope, Opened};
use crate::backend::{Cause, Entry, Found, Grant, Name, Read, Tags, Want};
use crate::error::{ErrorKind, Result};

/// Reads values and nothing else: what most reads are. What takes more than a round trip, entries
/// with tags nobody expected, is read again by the general way.
pub(crate) fn read_values<S: Store>(
    store: &S,
    limits: Limits,
    keys: &[Name<'_>],
    want: &Want<'_>,
    out: &mut [Read],
) {
    let mut talk = Talk::new(store);
    store.ask_values(&mut talk.batch, keys);
    let mut hints: Vec<(usize, Tags)> = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        let hint = store.memory().tags_of(key.as_str());
        if !hint.is_empty() {
            hint.iter().for_each(|tag| talk.want_tag(tag));
            hints.push((index, hint));
        }
    }
    let mut hints = hints.into_iter().peekable();
    let (mut index, mut again) = (0, Vec::new());
    let replies = talk.exchange(limits, false).into_iter();
    store.hear_values(keys.len(), replies, &mut |value| {
        let hint = hints.next_if(|(at, _)| *at == index).map(|(_, hint)| hint);
        match judged(&talk, keys[index], value, hint) {
            Some(read) => out[index] = read,
            None => again.push(index),
        }
        index += 1;
    });
    if again.is_empty() {
        return;
    }
    let slots = out.iter_mut().enumerate().filter(|(at, _)| again.binary_search(at).is_ok());
    let mut jobs: Vec<Reading<'_, S>> =
        slots.map(|(index, out)| Reading::new(store, keys[index], want, out)).collect();
    drive(store, limits, &mut jobs, false);
}

/// What a reader of a value is answered; `None` if its tags are to be read first.
fn judged<S: Store>(
    talk: &Talk<'_, S>,
    key: Name<'_>,
    value: Result<Option<Bytes>>,
    hint: Option<Tags>,
) -> Option<Read> {
    let bytes = match value {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Some(Read::Miss(Cause::Absent, Grant::None)),
        Err(error) if error.kind() == ErrorKind::WrongType => {
            return Some(Read::Miss(Cause::Undecodable, Grant::None));
        }
        Err(error) => return Some(Read::Failed(error)),
    };
    let opened = talk.store.open(key.as_str(), &bytes, true);
    let lies = Lies { opened, seen: (), whole: true, left_ms: None };
    let tags = lies.tags();
    if tags != hint.unwrap_or_default() {
        talk.store.memory().note_tags(key.as_str(), &tags);
    }
    lies.can_be_judged(talk).then(|| answer(lies, talk))
}

/// The answer to a reader who wants the value and nothing else.
fn answer<S: Store>(lies: Lies<()>, talk: &Talk<'_, S>) -> Read {
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
