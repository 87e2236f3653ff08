//! Entries with everything the backend knows of them, whatever their type.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use yokedcache::backend::{CodecId, Entry, Life, Name, Packing, Read, Want};
use yokedcache::{Cause, Error, ErrorKind};

use crate::exit::Outcome;
use crate::open::Target;
use crate::words::{Span, is_harmless, size};

/// An entry that was found.
pub struct Stored {
    pub entry: Entry,
    pub life: Life,
    pub tags: Vec<String>,
}

/// Reads entries without leaving a trace; head only where the values do not matter.
pub fn look(
    target: &Target,
    keys: &[&str],
    head_only: bool,
) -> Outcome<Vec<Result<Stored, Cause>>> {
    let full: Vec<String> = keys.iter().map(|key| target.prefix.clone() + key).collect();
    let names: Vec<Name<'_>> = full.iter().map(|key| Name::new(key, target.prefix.len())).collect();
    let mut out: Vec<Read> = names.iter().map(|_| Read::Unanswered).collect();
    let mut want = Want::VALUE;
    (want.meta, want.quiet, want.head_only) = (true, true, head_only);
    target.cache.backend().read(target.call(), &names, &want, &mut out)?;
    let found = out.into_iter().map(|read| one(target, read));
    Ok(found.collect::<Result<_, _>>()?)
}

fn one(target: &Target, read: Read) -> Result<Result<Stored, Cause>, Error> {
    match read {
        Read::Hit(found) if found.stale => Ok(Err(Cause::Expired)),
        Read::Hit(found) => {
            let tags = found.entry.tags.iter();
            let tags = tags.map(|tag| tag.strip_prefix(&target.prefix).unwrap_or(tag).to_owned());
            let tags = tags.collect();
            let life = found.more.map(|more| more.life).unwrap_or_default();
            Ok(Ok(Stored { entry: found.entry, life, tags }))
        }
        Read::Miss(cause, _) => Ok(Err(cause)),
        Read::Failed(error) => Err(error),
        Read::Unanswered => Err(Error::new(ErrorKind::Backend, "the backend gave no answer")),
    }
}

impl Stored {
    /// How long it still lives.
    pub fn left(&self) -> Span {
        let ends = [self.life.soft, self.life.hard, self.life.idle];
        ends.into_iter().flatten().min().map_or(Span::Never, Span::After)
    }

    /// The word for its type.
    pub fn kind(&self) -> &'static str {
        match self.entry.codec {
            CodecId::RAW => "bytes",
            CodecId::JSON => "json",
            CodecId::MSGPACK => "msgpack",
            CodecId::INT => "integer",
            CodecId::NEGATIVE => "none",
            CodecId::FOREIGN => "foreign",
            _ => "other",
        }
    }

    /// Its bytes, unpacked: packed ones the cache is asked for.
    pub fn bytes(&self, target: &Target, key: &str) -> Outcome<Vec<u8>> {
        if self.entry.packing == Packing::None {
            return Ok(self.entry.value.bytes().to_vec());
        }
        Ok(target.cache.get_bytes(key)?.unwrap_or_default().to_vec())
    }

    /// Its value, if that has a form in JSON.
    pub fn json(&self, target: &Target, key: &str, bytes: &[u8]) -> Outcome<Option<Value>> {
        Ok(match self.entry.codec {
            CodecId::NEGATIVE => Some(Value::Null),
            CodecId::JSON | CodecId::INT | CodecId::FOREIGN => serde_json::from_slice(bytes).ok(),
            CodecId::MSGPACK => target.cache.peek(key)?,
            _ => None,
        })
    }
}

/// Bytes in JSON: text where they are, else base64 under another name.
pub fn in_json(bytes: &[u8]) -> (&'static str, Value) {
    match std::str::from_utf8(bytes) {
        Ok(text) => ("value", text.into()),
        Err(_) => ("base64", BASE64_STANDARD.encode(bytes).into()),
    }
}

/// Bytes for a terminal: text if it is harmless there, else how many they are.
pub fn for_terminal(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if is_harmless(text) => text.to_owned(),
        _ => format!("<{} that are no text>", size(bytes.len() as u64)),
    }
}

/// A time to live in JSON: seconds, or null for one without end.
pub fn seconds(span: Span) -> Value {
    match span {
        Span::Never => Value::Null,
        Span::After(time) => rounded(time).into(),
    }
}

/// Seconds to the microsecond.
pub fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}
