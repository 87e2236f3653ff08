//! MessagePack.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, Reader};
use crate::backend::CodecId;
use crate::error::{Error, ErrorKind, Result};

/// MessagePack with field names: about half of JSON's size for numbers, and fields may be added.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagePack;

impl Codec for MessagePack {
    fn id(&self) -> CodecId {
        CodecId::MSGPACK
    }

    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
        write(value, out)
    }

    fn decode(&self, bytes: &[u8], read: &mut Reader<'_>) -> Result<(), erased_serde::Error> {
        let mut from = rmp_serde::Deserializer::from_read_ref(bytes);
        read(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut from))
    }
}

pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    rmp_serde::encode::write_named(out, value).map_err(|error| {
        Error::with_source(ErrorKind::Encode, "the value has no form in MessagePack", error)
    })
}

/// All of the bytes, or nothing: what follows a value was not written by us.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let mut left = bytes;
    let value = rmp_serde::from_read(&mut left).ok()?;
    left.is_empty().then_some(value)
}
