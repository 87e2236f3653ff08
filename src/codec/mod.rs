//! From values to bytes and back.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(feature = "msgpack")]
mod msgpack;
pub(crate) mod packing;
mod probe;

#[cfg(feature = "msgpack")]
pub use msgpack::MessagePack;
pub use packing::Compression;

use crate::backend::{CodecId, Entry, Packing};
use crate::error::{Error, ErrorKind, Result};
use probe::Shape;

/// Takes a value from a deserialiser: what a [`Codec`] calls with its own.
pub type Reader<'r> =
    dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> Result<(), erased_serde::Error> + 'r;

/// How values become bytes.
///
/// The cache's own codecs are [`Json`] and, with the feature `msgpack`, `MessagePack`. Two kinds of
/// values pass every codec by: whole numbers are stored as decimal text, so that counters and other
/// programs agree, and `None` is stored as the knowledge that there is no value.
///
/// A codec of your own takes a number from [`CodecId::USER`] on and works on erased values:
///
/// ```
/// use yokedcache::backend::CodecId;
/// use yokedcache::{Cache, Codec, Error, ErrorKind, Memory, Reader, Result, erased_serde};
///
/// /// JSON for people.
/// #[derive(Debug)]
/// struct Pretty;
///
/// impl Codec for Pretty {
///     fn id(&self) -> CodecId {
///         CodecId(CodecId::USER)
///     }
///     fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
///         serde_json::to_writer_pretty(out, value)
///             .map_err(|error| Error::with_source(ErrorKind::Encode, "not JSON", error))
///     }
///     fn decode(
///         &self,
///         bytes: &[u8],
///         read: &mut Reader<'_>,
///     ) -> Result<(), erased_serde::Error> {
///         let mut json = serde_json::Deserializer::from_slice(bytes);
///         read(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json))
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let cache = Cache::builder(Memory::builder().build()?).codec(Pretty).build()?;
/// cache.set("k", &["a", "b"])?;
/// assert_eq!(cache.get_bytes("k")?.as_deref(), Some(&b"[\n  \"a\",\n  \"b\"\n]"[..]));
/// # Ok(())
/// # }
/// ```
pub trait Codec: Any + fmt::Debug + Send + Sync {
    /// The number stored with each value, by which a reader knows who wrote it.
    fn id(&self) -> CodecId;

    /// Appends the encoded value.
    ///
    /// # Errors
    /// [`Encode`](ErrorKind::Encode) if the value has no form in this codec.
    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()>;

    /// Hands a deserialiser over the bytes to `read`.
    ///
    /// # Errors
    /// What `read` says.
    fn decode(&self, bytes: &[u8], read: &mut Reader<'_>) -> Result<(), erased_serde::Error>;
}

/// JSON text, the default codec. NaN and infinities become `null`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl Codec for Json {
    fn id(&self) -> CodecId {
        CodecId::JSON
    }

    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
        serde_json::to_writer(out, value).map_err(refused)
    }

    fn decode(&self, bytes: &[u8], read: &mut Reader<'_>) -> Result<(), erased_serde::Error> {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        read(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json))
    }
}

impl<T> Decoded<T> {
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Decoded<U> {
        match self {
            Self::Value(value) => Decoded::Value(f(value)),
            Self::Negative => Decoded::Negative,
            Self::Undecodable => Decoded::Undecodable,
            Self::Corrupt => Decoded::Corrupt,
        }
    }
}

/// The codec and compression of a cache.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    codec: Arc<dyn Codec>,
    compression: Option<Compression>,
}

/// What a stored entry says to somebody who wants a `T`.
pub(crate) enum Decoded<T> {
    Value(T),
    /// There is no value, and that is known.
    Negative,
    /// Bytes of another type or an unknown codec.
    Undecodable,
    /// Damaged bytes.
    Corrupt,
}

impl Format {
    pub(crate) fn new(codec: Arc<dyn Codec>, compression: Option<Compression>) -> Result<Self> {
        if codec.id().0 < CodecId::USER && !is_ours(&*codec) {
            let what = format!("codec numbers of your own begin at {}", CodecId::USER);
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        Ok(Self { codec, compression })
    }

    /// The entry for a value.
    pub(crate) fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Entry> {
        match probe::shape(value) {
            Shape::None => Ok(Entry::new(bytes::Bytes::new(), CodecId::NEGATIVE)),
            Shape::Integer(digits) => Ok(Entry::new(digits, CodecId::INT)),
            Shape::Other => {
                let mut bytes = Vec::new();
                self.write(value, &mut bytes)?;
                // What a growing buffer reserved beyond the value would be held as long as it.
                if bytes.capacity() > bytes.len() + bytes.len() / 8 + 16 {
                    bytes.shrink_to_fit();
                }
                Ok(self.raw(bytes, self.codec.id()))
            }
        }
    }

    /// The entry for bytes encoded already.
    pub(crate) fn raw(&self, bytes: impl Into<bytes::Bytes>, codec: CodecId) -> Entry {
        let (bytes, packing) = packing::pack(bytes.into(), self.compression);
        Entry { packing, ..Entry::new(bytes, codec) }
    }

    /// JSON and MessagePack are called directly: going through erased values costs twice the time.
    fn write<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<()> {
        match self.codec.id() {
            CodecId::JSON => serde_json::to_writer(out, value).map_err(refused),
            #[cfg(feature = "msgpack")]
            CodecId::MSGPACK => msgpack::write(value, out),
            _ => self.codec.encode(&value, out),
        }
    }

    /// The value in an entry.
    #[inline]
    pub(crate) fn decode<T: DeserializeOwned>(&self, entry: &Entry) -> Decoded<T> {
        if entry.codec == CodecId::NEGATIVE {
            return Decoded::Negative;
        }
        if entry.packing == Packing::None {
            return self.read(entry.codec, entry.value.bytes());
        }
        match packing::unpack(entry.value.bytes(), entry.packing) {
            Ok(bytes) => self.read(entry.codec, &bytes),
            Err(_) => Decoded::Corrupt,
        }
    }

    /// The value, if there is one of this type.
    pub(crate) fn value<T: DeserializeOwned>(&self, entry: &Entry) -> Option<T> {
        match self.decode(entry) {
            Decoded::Value(value) => Some(value),
            Decoded::Negative | Decoded::Undecodable | Decoded::Corrupt => None,
        }
    }

    fn read<T: DeserializeOwned>(&self, codec: CodecId, bytes: &[u8]) -> Decoded<T> {
        let value = match codec {
            // Decimal text is JSON, and foreign values are read as JSON.
            CodecId::JSON | CodecId::INT | CodecId::FOREIGN => serde_json::from_slice(bytes).ok(),
            #[cfg(feature = "msgpack")]
            CodecId::MSGPACK => msgpack::read(bytes),
            id if id == self.codec.id() => read_erased(&*self.codec, bytes),
            _ => None,
        };
        value.map_or(Decoded::Undecodable, Decoded::Value)
    }
}

/// Whether a codec is one of this crate's, not one that took its number.
fn is_ours(codec: &dyn Codec) -> bool {
    let codec: &dyn Any = codec;
    #[cfg(feature = "msgpack")]
    if codec.is::<MessagePack>() {
        return true;
    }
    codec.is::<Json>()
}

fn read_erased<T: DeserializeOwned>(codec: &dyn Codec, bytes: &[u8]) -> Option<T> {
    let mut value = None;
    let read = codec.decode(bytes, &mut |from| {
        value = Some(erased_serde::deserialize(from)?);
        Ok(())
    });
    read.ok().and(value)
}

/// What the knowledge that there is no value is to an optional type.
pub(crate) fn absent_value<T: DeserializeOwned>() -> Option<T> {
    serde_json::from_str("null").ok()
}

fn refused(error: serde_json::Error) -> Error {
    Error::with_source(ErrorKind::Encode, "the value has no form in JSON", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Numbered(u8);

    impl Codec for Numbered {
        fn id(&self) -> CodecId {
            CodecId(self.0)
        }
        fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
            Json.encode(value, out)
        }
        fn decode(&self, bytes: &[u8], read: &mut Reader<'_>) -> Result<(), erased_serde::Error> {
            Json.decode(bytes, read)
        }
    }

    #[test]
    fn numbers_below_128_are_ours() {
        for number in [0, 1, 2, 3, 4, 5, 127] {
            let error = Format::new(Arc::new(Numbered(number)), None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
        assert!(Format::new(Arc::new(Numbered(128)), None).is_ok());
        assert!(Format::new(Arc::new(Json), None).is_ok());
    }

    #[test]
    fn a_value_holds_no_more_than_its_bytes() {
        let format = Format::new(Arc::new(Json), None).unwrap();
        let entry = format.encode(&vec![1234; 1000]).unwrap();
        let bytes = entry.value.bytes().clone();
        drop(entry);
        let held = bytes.try_into_mut().unwrap().capacity();
        assert!(held <= 5001 + 5001 / 8 + 16, "{held}");
    }
}
