//! What lies under a key.

use std::time::Duration;

use crate::tag::Tags;
use crate::value::Value;

/// What is stored under a key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// The encoded value.
    pub value: Value,
    /// How it is encoded.
    pub codec: CodecId,
    /// How the encoded bytes are packed.
    pub packing: Packing,
    /// The version of the value's type, for programs that changed it; 0 unless asked for.
    pub schema: u32,
    /// Its tags.
    pub tags: Tags,
    /// How long the value took to load, in milliseconds; 0 if it was simply stored.
    pub cost_ms: u32,
}

impl Entry {
    /// The same with this value in place of its own, and no tags.
    #[inline]
    pub(crate) fn untagged(&self, value: Value) -> Self {
        Self { value, tags: Tags::NONE, ..*self }
    }

    /// An untagged entry.
    pub fn new(value: impl Into<Value>, codec: CodecId) -> Self {
        Self {
            value: value.into(),
            codec,
            packing: Packing::None,
            schema: 0,
            tags: Tags::NONE,
            cost_ms: 0,
        }
    }
}

/// How a value is encoded. Numbers from [`USER`](Self::USER) on belong to codecs of your own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodecId(pub u8);

impl CodecId {
    /// Bytes as the caller gave them.
    pub const RAW: Self = Self(0);
    /// JSON text.
    pub const JSON: Self = Self(1);
    /// MessagePack.
    pub const MSGPACK: Self = Self(2);
    /// A whole number in decimal text, under every codec.
    pub const INT: Self = Self(3);
    /// The knowledge that there is no value; no bytes.
    pub const NEGATIVE: Self = Self(4);
    /// Written by another program: a whole number in decimal text, or else JSON.
    pub const FOREIGN: Self = Self(5);
    /// The first number for codecs outside this crate.
    pub const USER: u8 = 128;
}

/// How encoded bytes are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Packing {
    /// As they are.
    #[default]
    None,
    /// An lz4 block after the unpacked length (four bytes, little endian).
    Lz4,
    /// A zstd frame after the unpacked length (four bytes, little endian).
    Zstd,
}

/// An entry's times, as distances from the moment of the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Life {
    /// How long ago it was written.
    pub age: Option<Duration>,
    /// When it turns stale: still there for a look-up and a loader that revalidates, absent for
    /// everybody else.
    pub soft: Option<Duration>,
    /// When it is gone; never, if `None`.
    pub hard: Option<Duration>,
    /// Gone earlier if not read for so long by somebody who [slides](super::Want::slide) it.
    pub idle: Option<Duration>,
}

impl Life {
    /// A life without end.
    pub const FOREVER: Self = Self { age: None, soft: None, hard: None, idle: None };

    /// A life that ends after `hard`.
    pub fn new(hard: Option<Duration>) -> Self {
        Self { hard, ..Self::FOREVER }
    }
}
