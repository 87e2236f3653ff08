//! What the lines of an export say.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::{FORMAT, VERSION};
use crate::backend::{CodecId, Entry, Life, Packing, Tags};

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(PartialEq))]
pub(in crate::migrate) struct Header {
    format: String,
    version: u32,
    /// What all keys began with where they came from.
    prefix: String,
    /// When the export began, in milliseconds since 1970: the ends of entries are counted from then.
    pub(in crate::migrate) created: u64,
    /// The version of the library that wrote it.
    library: String,
}

impl Header {
    pub(in crate::migrate) fn new(prefix: &str, created: u64) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            prefix: prefix.into(),
            created,
            library: env!("CARGO_PKG_VERSION").into(),
        }
    }
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::migrate) struct End {
    /// How many lines are entries.
    pub(in crate::migrate) entries: u64,
}

/// An entry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::migrate) struct Line<'l> {
    /// Without the prefix.
    #[serde(borrow)]
    pub(in crate::migrate) key: Cow<'l, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'l, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    codec: Codec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    packing: Option<Pack>,
    #[serde(default, skip_serializing_if = "is_zero")]
    schema: u32,
    /// Without the prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    cost: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    soft: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hard: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idle: Option<u64>,
    /// Checked before the line is looked at.
    #[serde(default, skip_serializing)]
    #[allow(dead_code)]
    sum: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Codec {
    Raw,
    Json,
    Msgpack,
    Int,
    Negative,
    Foreign,
    #[serde(untagged)]
    Number(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Pack {
    Lz4,
    Zstd,
}

const CODECS: [(CodecId, Codec); 6] = [
    (CodecId::RAW, Codec::Raw),
    (CodecId::JSON, Codec::Json),
    (CodecId::MSGPACK, Codec::Msgpack),
    (CodecId::INT, Codec::Int),
    (CodecId::NEGATIVE, Codec::Negative),
    (CodecId::FOREIGN, Codec::Foreign),
];

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl<'l> Line<'l> {
    /// The line of an entry, whose tags are given without the prefix.
    pub(in crate::migrate) fn new(
        key: &'l str,
        entry: &'l Entry,
        tags: Vec<String>,
        life: &Life,
        since: Duration,
    ) -> Self {
        let codec = CODECS.iter().find(|(id, _)| *id == entry.codec);
        let bytes = entry.value.bytes();
        let is_text = entry.packing == Packing::None && entry.codec != CodecId::MSGPACK;
        let text = is_text.then(|| std::str::from_utf8(bytes).ok()).flatten();
        let ms = |end: Duration| millis(end.saturating_add(since));
        Self {
            key: key.into(),
            text: text.map(Into::into),
            base64: text.is_none().then(|| BASE64.encode(bytes)),
            codec: codec.map_or(Codec::Number(entry.codec.0), |(_, codec)| *codec),
            packing: match entry.packing {
                Packing::None => None,
                Packing::Lz4 => Some(Pack::Lz4),
                Packing::Zstd => Some(Pack::Zstd),
            },
            schema: entry.schema,
            tags,
            cost: entry.cost_ms,
            soft: life.soft.map(ms),
            hard: life.hard.map(ms),
            idle: life.idle.map(ms),
            sum: String::new(),
        }
    }

    /// The entry; `None` if the line has no value, or two.
    pub(in crate::migrate) fn entry(&self) -> Option<Entry> {
        let bytes = match (&self.text, &self.base64) {
            (Some(text), None) => text.as_bytes().to_vec(),
            (None, Some(base64)) => BASE64.decode(base64).ok()?,
            _ => return None,
        };
        let id = CODECS.iter().find(|(_, codec)| *codec == self.codec);
        let codec = match (id, self.codec) {
            (Some((id, _)), _) => *id,
            (None, Codec::Number(number)) => CodecId(number),
            (None, _) => return None,
        };
        Some(Entry {
            packing: match self.packing {
                None => Packing::None,
                Some(Pack::Lz4) => Packing::Lz4,
                Some(Pack::Zstd) => Packing::Zstd,
            },
            schema: self.schema,
            tags: Tags::new(&self.tags),
            cost_ms: self.cost,
            ..Entry::new(bytes, codec)
        })
    }

    /// What is left of its life so long after the export; `None` if it is over.
    pub(in crate::migrate) fn life(&self, since: Duration) -> Option<Life> {
        let end = |ms: Option<u64>| ms.map(Duration::from_millis);
        let (soft, hard, idle) = (end(self.soft), end(self.hard), end(self.idle));
        left(&Life { soft, hard, idle, ..Life::FOREVER }, since)
    }
}

/// What is left of a life later; `None` if it is over.
pub(in crate::migrate) fn left(life: &Life, later: Duration) -> Option<Life> {
    let alive = |end: Option<Duration>| match end {
        None => Some(None),
        Some(end) => end.checked_sub(later).filter(|left| !left.is_zero()).map(Some),
    };
    let soft = life.soft.map(|soft| soft.saturating_sub(later));
    Some(Life { soft, hard: alive(life.hard)?, idle: alive(life.idle)?, ..*life })
}

/// Whole milliseconds, rounded up: what is left is left.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
