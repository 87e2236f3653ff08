//! What a Redis server is asked to look at and change an entry: the words and the scripts.

use std::borrow::Cow;
use std::vec;

use bytes::Bytes;
use redis::Value;

use super::batch::Batch;
use super::wire::{self, number};
use super::{Redis, script};
use crate::backend::envelope::Opened;
use crate::backend::remote::exchange::Limits;
use crate::backend::remote::lies::Lies;
use crate::backend::remote::seal::{Sealing, millis};
use crate::backend::remote::stamp::{content_id, head};
use crate::backend::remote::store::{Added, Addend, Becomes, End, Expect, Look, Store, Swapped};
use crate::backend::remote::talk::{Answers, Life, Need, missing};
use crate::backend::remote::{stored, tags};
use crate::backend::{Name, Origin};
use crate::error::{Error, ErrorKind, Result};

/// How much of an entry is read by somebody who does not want its value. It is also what the
/// scripts show of what they find.
const HEAD: &str = "4095";
const HEAD_BYTES: usize = 4096;
/// How many keys one MGET asks for: the server does nothing else meanwhile.
const KEYS_AT_ONCE: usize = 500;

impl Store for Redis {
    type Batch = Batch;
    type Reply = Value;
    /// What a script compares with: the first 18 bytes of ours, all of another program's.
    type Seen = Bytes;

    const NAME: &'static str = "redis";
    const VERSIONS_ALL: bool = false;

    fn origin(&self) -> Origin {
        self.origin
    }

    fn memory(&self) -> &tags::Memory {
        &self.tags
    }

    fn sealing(&self) -> Sealing {
        Sealing::default()
    }

    fn name_of<'k>(&self, key: &'k str) -> Cow<'k, str> {
        if self.names.plain { Cow::Borrowed(key) } else { stored::key(key) }
    }

    fn batch(&self) -> Batch {
        Batch::new(self.topology.is_cluster())
    }

    fn clear(batch: &mut Batch) {
        batch.clear();
    }

    fn length(batch: &Batch) -> usize {
        batch.len()
    }

    fn run(&self, batch: &mut Batch, limits: Limits, replicas: bool) -> Vec<Result<Value>> {
        self.topology.run(batch, limits, replicas)
    }

    fn along(&self, batch: &mut Batch) {
        if let Some(home) = self.guard.as_ref().and_then(|guard| guard.to_touch()) {
            batch.push(home, &[b"GET", home.as_bytes()]);
        }
    }

    fn ask_tag(&self, batch: &mut Batch, name: &str, need: Need) {
        let key = name.as_bytes();
        let px = match need.life {
            Some(Life::For(life)) => millis(life).to_string(),
            Some(Life::Ever) | None => String::new(),
        };
        if need.make {
            let record = tags::record(tags::fresh());
            let mut words: Vec<&[u8]> = vec![b"SET", key, &record, b"NX"];
            if !px.is_empty() {
                words.extend([&b"PX"[..], px.as_bytes()]);
            }
            batch.push_once(name, &words);
        }
        if need.life.is_some() {
            batch.call(&script::EXTEND, name, &[px.as_bytes()]);
        }
        batch.push(name, &[b"GET", key]);
    }

    fn hear_tag(&self, need: Need, answers: &mut Answers<'_, Value>) -> Result<Option<u64>> {
        if need.make {
            value(answers)?;
        }
        if need.life.is_some() {
            value(answers)?;
        }
        Ok(match value(answers)? {
            Value::BulkString(record) => tags::version(&record),
            _ => None,
        })
    }

    fn renew_tag(&self, batch: &mut Batch, name: &str, record: &[u8]) {
        batch.push_once(name, &[b"SET", name.as_bytes(), record, b"XX", b"KEEPTTL"]);
    }

    fn hear_renewed(&self, answers: &mut Answers<'_, Value>) -> Result<bool> {
        Ok(matches!(value(answers)?, Value::Okay))
    }

    fn ask_values(&self, batch: &mut Batch, keys: &[Name<'_>]) {
        if let [key] = keys {
            let name = self.name_of(key.as_str());
            return batch.push(&name, &[b"GET", name.as_bytes()]);
        }
        for keys in keys.chunks(KEYS_AT_ONCE) {
            let names: Vec<Cow<'_, str>> =
                keys.iter().map(|key| self.name_of(key.as_str())).collect();
            let mut words: Vec<&[u8]> = Vec::with_capacity(names.len() + 1);
            words.push(b"MGET");
            words.extend(names.iter().map(|name| name.as_bytes()));
            batch.push("", &words);
        }
    }

    fn hear_values(
        &self,
        keys: usize,
        mut replies: vec::IntoIter<Result<Value>>,
        each: &mut dyn FnMut(Result<Option<Bytes>>),
    ) {
        let mut left = keys;
        while left > 0 {
            let names = left.min(KEYS_AT_ONCE);
            each_value(replies.next().unwrap_or_else(|| Err(missing())), names, each);
            left -= names;
        }
    }

    fn look(&self, batch: &mut Batch, name: &str, look: Look) {
        let key = name.as_bytes();
        if look.whole {
            batch.push(name, &[b"GET", key]);
        } else {
            batch.push(name, &[b"GETRANGE", key, b"0", HEAD.as_bytes()]);
        }
        if look.life {
            batch.push(name, &[b"PTTL", key]);
        }
    }

    fn hear_look(
        &self,
        key: &str,
        look: Look,
        answers: &mut Answers<'_, Value>,
    ) -> Result<Option<Lies<Bytes>>> {
        let there = value(answers)?;
        let left = if look.life { Some(value(answers)?) } else { None };
        let left_ms = left.map(|left| number(Some(&left)).unwrap_or(-1));
        Ok(lies(self, key, there, look.whole, left_ms))
    }

    fn swap(&self, batch: &mut Batch, name: &str, expect: Expect<'_, Bytes>, becomes: Becomes<'_>) {
        let key = name.as_bytes();
        let px = match becomes {
            Becomes::Value(_, end) | Becomes::Until(end) => px(end),
            Becomes::Gone | Becomes::Same => String::new(),
        };
        let px = px.as_bytes();
        let action: &[&[u8]] = match becomes {
            Becomes::Value(new, _) => &[b"SET", new, px],
            Becomes::Until(End::Never) => &[b"PERSIST"],
            Becomes::Until(_) => &[b"PEXPIRE", px],
            Becomes::Gone => &[b"UNLINK"],
            Becomes::Same => &[b"EXISTS"],
        };
        match (expect, becomes) {
            (Expect::Any, Becomes::Value(new, _)) if px.is_empty() => {
                return batch.push(name, &[b"SET", key, new]);
            }
            (Expect::Any, Becomes::Value(new, _)) => {
                return batch.push(name, &[b"SET", key, new, b"PX", px]);
            }
            (Expect::Any, _) => {
                let words: Vec<&[u8]> =
                    [action[0], key].into_iter().chain(action[1..].iter().copied()).collect();
                return batch.push(name, &words);
            }
            (Expect::Nothing, Becomes::Value(new, _)) => {
                batch.call(&script::ACQUIRE, name, &[new, px, b"", b""]);
            }
            (Expect::NothingYet, Becomes::Value(new, _)) => {
                batch.call(&script::ACQUIRE, name, &[new, px, b"", b"1"]);
            }
            // What has no value to put there cannot want nothing to be there.
            (Expect::Present | Expect::Nothing | Expect::NothingYet, _) => {
                batch.call(&script::PRESENT, name, action);
            }
            (Expect::Id(id), _) => {
                batch.call(&script::SWAP, name, &[&[&head(id)[..]], action].concat());
            }
            (Expect::Seen(seen), _) => {
                batch.call(&script::SWAP, name, &[&[&seen[..]], action].concat());
            }
        }
        if matches!(becomes, Becomes::Value(new, _) if new.first() != Some(&0xC1)) {
            // Sent again a bare number would not know itself for what was stored.
            batch.not_again();
        }
    }

    fn hear_swap(&self, key: &str, answers: &mut Answers<'_, Value>) -> Result<Swapped<Bytes>> {
        Ok(match value(answers)? {
            Value::Okay | Value::Int(1) => Swapped::Done(None),
            there => lies(self, key, there, false, None).map_or(Swapped::Nothing, Swapped::There),
        })
    }

    fn not_again(batch: &mut Batch) {
        batch.not_again();
    }

    fn delete(&self, batch: &mut Batch, name: &str) {
        batch.call(&script::DELETE, name, &[]);
    }

    fn hear_delete(
        &self,
        key: &str,
        answers: &mut Answers<'_, Value>,
    ) -> Result<Option<Lies<Bytes>>> {
        Ok(lies(self, key, value(answers)?, false, None))
    }

    fn add(&self, batch: &mut Batch, name: &str, addend: &Addend<'_>) -> bool {
        let first = addend.first.map_or(String::new(), |first| first.to_string());
        let (by, px) = (addend.by.to_string(), px(addend.end));
        let args: [&[u8]; 4] = [by.as_bytes(), first.as_bytes(), px.as_bytes(), addend.new];
        batch.call_once(&script::ADD, name, &args);
        true
    }

    fn hear_add(&self, _: i64, _: Option<i64>, answers: &mut Answers<'_, Value>) -> Result<Added> {
        let Value::BulkString(text) = value(answers)? else { return Ok(Added::There) };
        match text.split_first() {
            Some((b'+', sum)) => {
                let sum = std::str::from_utf8(sum).ok().and_then(|sum| sum.parse().ok());
                let no_sum = || Error::new(ErrorKind::Backend, "not a sum");
                Ok(Added::Sum(sum.ok_or_else(no_sum)?))
            }
            Some((b'!', b"")) => Ok(Added::Nothing),
            _ => Ok(Added::There),
        }
    }

    fn id_of(lies: &Lies<Bytes>) -> Option<u128> {
        match &lies.opened {
            Opened::Value(envelope) => Some(envelope.write_id),
            Opened::Foreign(_) => Some(content_id(&lies.seen)),
            Opened::Placeholder(_) | Opened::Damaged => None,
        }
    }

    fn id_stored(stamp: Option<u128>, _: Option<&Bytes>) -> Option<u128> {
        stamp
    }
}

/// The next answer; what the server refused is an error.
fn value(answers: &mut Answers<'_, Value>) -> Result<Value> {
    match answers.reply()? {
        Value::ServerError(error) => Err(wire::refusal(&error)),
        value => Ok(value),
    }
}

/// What lies there, if anything does. An empty string is nothing of ours.
fn lies(
    redis: &Redis,
    key: &str,
    there: Value,
    whole: bool,
    left_ms: Option<i64>,
) -> Option<Lies<Bytes>> {
    let Value::BulkString(bytes) = there else { return None };
    let bytes = Bytes::from(bytes);
    if bytes.is_empty() {
        return None;
    }
    let seen = if bytes[0] == 0xC1 { bytes.slice(..bytes.len().min(18)) } else { bytes.clone() };
    let whole = whole || bytes.len() < HEAD_BYTES;
    let opened = redis.open(key, &bytes, whole);
    Some(Lies { opened, seen, whole, left_ms })
}

/// An end as the commands have it: empty for ever.
pub(super) fn px(end: End) -> String {
    match end {
        End::Never => String::new(),
        End::After(ms) => ms.to_string(),
        End::AsBefore(_) => "KEEP".into(),
    }
}

/// Hands out the values in the answer to a GET, or to an MGET of so many names.
fn each_value(reply: Result<Value>, names: usize, each: &mut dyn FnMut(Result<Option<Bytes>>)) {
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
