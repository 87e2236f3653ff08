//! Plain values: as other programs write them, nothing of ours around them.

use std::time::Duration;

use bytes::Bytes;

use crate::backend::envelope::is_whole_number;
use crate::backend::{CodecId, Entry, Found, Life, More, Packing, Want};
use crate::error::{Error, Result};

/// Another program's value.
pub(crate) fn entry(bytes: Bytes) -> Entry {
    let codec = match &*bytes {
        b"null" => CodecId::NEGATIVE,
        text if is_whole_number(text) => CodecId::INT,
        _ => CodecId::FOREIGN,
    };
    Entry::new(bytes, codec)
}

/// It as asked for, with what it has left to live.
pub(crate) fn found(bytes: Bytes, left: Option<Duration>, want: &Want<'_>) -> Found {
    let mut entry = entry(bytes);
    if want.head_only {
        entry.value = Bytes::new().into();
    }
    let life = Life::new(left);
    let more = want.meta.then(|| Box::new(More { life, ..More::default() }));
    Found { more, ..Found::new(entry) }
}

/// What is written of an entry, if that is all there is to it.
pub(crate) fn text<'e>(backend: &str, entry: &'e Entry, life: &Life) -> Result<&'e [u8]> {
    let lacks = |what: &str| Err(Error::unsupported(backend, what));
    match entry.codec {
        _ if entry.schema != 0 => lacks("schema versions"),
        _ if entry.packing != Packing::None => lacks("compressed values"),
        _ if !entry.tags.is_empty() => lacks("tags"),
        _ if life.soft.is_some() => lacks("values kept when stale"),
        _ if life.idle.is_some() => lacks("sliding ends"),
        CodecId::NEGATIVE => Ok(b"null"),
        CodecId::RAW | CodecId::JSON | CodecId::INT | CodecId::FOREIGN => Ok(entry.value.bytes()),
        _ => lacks("codecs other than JSON"),
    }
}
