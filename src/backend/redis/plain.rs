//! Plain mode: values as other programs write them, nothing of ours around them.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use super::batch::Batch;
use super::store::px;
use super::wire::{self, number};
use super::{Redis, script};
use crate::backend::remote::exchange::Limits;
use crate::backend::remote::plain::{entry, found, text};
use crate::backend::remote::seal::end_in;
use crate::backend::{
    Ask, Call, Cause, Change, Grant, Name, NotDone, Read, Want, When, Write, Wrote,
};
use crate::error::{Error, ErrorKind, Result};
use crate::number;

impl Redis {
    pub(super) fn plain_read(
        &self,
        call: Call,
        keys: &[Name<'_>],
        want: &Want<'_>,
        out: &mut [Read],
    ) -> Result<()> {
        if !matches!(want.lease, Ask::No) {
            return Err(Error::unsupported("plain redis", "leases"));
        }
        let limits = self.limits(call)?;
        let mut batch = Batch::new(self.topology.is_cluster());
        for name in keys {
            let key = name.as_str();
            batch.push(key, &[b"GET", key.as_bytes()]);
            if want.meta {
                batch.push(key, &[b"PTTL", key.as_bytes()]);
            }
        }
        let mut replies = self.topology.run(&mut batch, limits, self.replica_reads).into_iter();
        let mut next = || answer(replies.next());
        for out in out {
            let value = next();
            let left = if want.meta { next() } else { Ok(Value::Nil) };
            *out = match (value, left) {
                (Err(error), _) if error.kind() == ErrorKind::WrongType => {
                    Read::Miss(Cause::Undecodable, Grant::None)
                }
                (Err(error), _) | (_, Err(error)) => Read::Failed(error),
                (Ok(Value::BulkString(bytes)), Ok(left)) => {
                    let left = number(Some(&left)).and_then(|left| u64::try_from(left).ok());
                    Read::Hit(found(bytes.into(), left.map(Duration::from_millis), want))
                }
                _ => Read::Miss(Cause::Absent, Grant::None),
            };
        }
        Ok(())
    }

    pub(super) fn plain_write(&self, limits: Limits, writes: &[Write<'_>], out: &mut [Wrote]) {
        let mut batch = Batch::new(self.topology.is_cluster());
        let mut asked = Vec::with_capacity(writes.len());
        for (write, out) in writes.iter().zip(out.iter_mut()) {
            let before = batch.len();
            if let Err(error) = ask(write, &mut batch) {
                *out = Wrote::Failed(error);
            }
            asked.push(batch.len() - before);
        }
        let mut replies = self.topology.run(&mut batch, limits, false).into_iter();
        for ((write, out), asked) in writes.iter().zip(out).zip(asked) {
            let values: Result<Vec<Value>> = (0..asked).map(|_| answer(replies.next())).collect();
            match values {
                Ok(values) if asked > 0 => *out = heard(write, &values),
                Ok(_) => {}
                Err(error) => *out = Wrote::Failed(error),
            }
        }
    }
}

fn answer(reply: Option<Result<Value>>) -> Result<Value> {
    match reply {
        Some(Ok(Value::ServerError(error))) => Err(wire::refusal(&error)),
        Some(reply) => reply,
        None => Err(Error::new(ErrorKind::Backend, "an answer is missing")),
    }
}

fn ask(write: &Write<'_>, batch: &mut Batch) -> Result<()> {
    let name = write.key.as_str();
    let key = name.as_bytes();
    match (&write.when, &write.change) {
        (When::Always | When::Absent | When::Present, Change::Put(entry, life)) => {
            let (value, px) = (text("plain redis", entry, life)?, px(end_in(life.hard)));
            let mut words: Vec<&[u8]> = vec![b"SET", key, value];
            if !px.is_empty() {
                words.extend([&b"PX"[..], px.as_bytes()]);
            }
            match write.when {
                When::Absent => words.push(b"NX"),
                When::Present => words.push(b"XX"),
                _ => {}
            }
            // A condition that we made true ourselves would look like somebody else's doing.
            match write.when {
                When::Absent => batch.push_once(name, &words),
                _ => batch.push(name, &words),
            }
        }
        (When::Always | When::Present, Change::Remove) => batch.push(name, &[b"UNLINK", key]),
        (When::Always | When::Present, Change::Expire(life)) => {
            let px = px(end_in(*life));
            if px.is_empty() {
                batch.push(name, &[b"PERSIST", key]);
                batch.push(name, &[b"EXISTS", key]);
            } else {
                batch.push(name, &[b"PEXPIRE", key, px.as_bytes()]);
            }
        }
        (When::Always, Change::Add { by, from, life }) => {
            let first = from.checked_add(*by).map_or(String::new(), |sum| sum.to_string());
            let (by, px) = (by.to_string(), px(end_in(life.hard)));
            let first = first.as_bytes();
            batch.call_once(&script::ADD, name, &[by.as_bytes(), first, px.as_bytes(), first]);
        }
        _ => return Err(Error::unsupported("plain redis", "this change under this condition")),
    }
    Ok(())
}

fn heard(write: &Write<'_>, values: &[Value]) -> Wrote {
    match (&write.change, values) {
        (Change::Put(..), [Value::Okay]) => Wrote::Done(None),
        (Change::Put(..), _) if matches!(write.when, When::Absent) => Wrote::Not(NotDone::Exists),
        (Change::Remove, [Value::Int(1)]) | (Change::Expire(_), [.., Value::Int(1)]) => {
            Wrote::Done(None)
        }
        (Change::Add { by, from, .. }, [Value::BulkString(text)]) => added(*by, *from, text),
        _ => Wrote::Not(NotDone::Absent),
    }
}

fn added(by: i64, from: i64, text: &[u8]) -> Wrote {
    let sum = text.strip_prefix(b"+").and_then(|sum| std::str::from_utf8(sum).ok()?.parse().ok());
    if let Some(sum) = sum {
        return Wrote::Number(sum);
    }
    let there = (text != b"!").then(|| entry(Bytes::copy_from_slice(text)));
    match number::add(there.as_ref(), from, by) {
        Err(error) => Wrote::Failed(error),
        // It was a number again by the time we looked.
        Ok(_) => Wrote::Failed(Error::new(ErrorKind::WrongType, "the counter changed its type")),
    }
}
