//! Compression of large values, kept only where it makes them smaller.

use bytes::Bytes;

use crate::backend::Packing;
use crate::error::{Error, ErrorKind, Result};

/// The longest value that is unpacked, in bytes: what Redis takes at most.
#[cfg(feature = "compression")]
const LONGEST: usize = 512 << 20;
/// The length in front of packed bytes.
#[cfg(feature = "compression")]
const PREFIX: usize = size_of::<u32>();

/// Which values are compressed, and how. Needs the feature `compression`.
///
/// A compressed value is kept only if it is smaller than the plain one.
#[cfg(feature = "compression")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    packing: Packing,
    threshold: usize,
}

#[cfg(feature = "compression")]
impl Compression {
    /// lz4: several hundred megabytes a second, about half the size of JSON text.
    pub fn lz4() -> Self {
        Self { packing: Packing::Lz4, threshold: 1024 }
    }

    /// zstd at level 3: slower than lz4 and smaller.
    pub fn zstd() -> Self {
        Self { packing: Packing::Zstd, threshold: 1024 }
    }

    /// Leaves values shorter than this as they are. Default 1,024 bytes.
    pub fn above(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    fn pack(self, bytes: &[u8]) -> Option<Vec<u8>> {
        let wanted = (self.threshold..=LONGEST).contains(&bytes.len());
        let packed = wanted.then(|| compress(bytes, self.packing)).flatten()?;
        (packed.len() < bytes.len()).then_some(packed)
    }
}

/// There is none without the feature.
#[cfg(not(feature = "compression"))]
#[derive(Clone, Copy, Debug)]
pub enum Compression {}

/// Packs a value as a cache is told to.
pub(crate) fn pack(bytes: Bytes, compression: Option<Compression>) -> (Bytes, Packing) {
    match compression {
        #[cfg(feature = "compression")]
        Some(compression) => match compression.pack(&bytes) {
            Some(packed) => (packed.into(), compression.packing),
            None => (bytes, Packing::None),
        },
        #[cfg(not(feature = "compression"))]
        Some(never) => match never {},
        None => (bytes, Packing::None),
    }
}

/// The plain bytes.
///
/// # Errors
/// If they are damaged, claim to be longer than they can be, or need the feature `compression`.
pub(crate) fn unpack(packed: &Bytes, packing: Packing) -> Result<Bytes> {
    match packing {
        Packing::None => Ok(packed.clone()),
        #[cfg(feature = "compression")]
        packing => decompress(packed, packing).map(Bytes::from).ok_or_else(damaged),
        #[cfg(not(feature = "compression"))]
        _ => Err(damaged()),
    }
}

fn damaged() -> Error {
    Error::new(ErrorKind::Backend, "the compressed value cannot be read")
}

#[cfg(feature = "compression")]
fn compress(bytes: &[u8], packing: Packing) -> Option<Vec<u8>> {
    let body = match packing {
        Packing::Lz4 => lz4_flex::block::compress(bytes),
        Packing::Zstd => zstd::bulk::compress(bytes, zstd::DEFAULT_COMPRESSION_LEVEL).ok()?,
        Packing::None => return None,
    };
    let length = u32::try_from(bytes.len()).ok()?;
    Some([&length.to_le_bytes()[..], &body].concat())
}

/// The claimed length is believed only as far as the format could reach it: a few damaged bytes
/// must not make us ask for half a gigabyte.
#[cfg(feature = "compression")]
fn decompress(packed: &[u8], packing: Packing) -> Option<Vec<u8>> {
    use std::io::Read;

    let (length, body) = packed.split_first_chunk::<PREFIX>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > LONGEST {
        return None;
    }
    let bytes = match packing {
        // lz4 cannot make more than 255 bytes of one.
        Packing::Lz4 if length > body.len().saturating_mul(255) => return None,
        Packing::Lz4 => lz4_flex::block::decompress(body, length).ok()?,
        Packing::Zstd => {
            let mut bytes = Vec::new();
            let decoder = zstd::stream::read::Decoder::new(body).ok()?;
            decoder.take(length as u64 + 1).read_to_end(&mut bytes).ok()?;
            bytes
        }
        Packing::None => return None,
    };
    (bytes.len() == length).then_some(bytes)
}

#[cfg(all(test, feature = "compression"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_packed_only_above_the_threshold_and_if_smaller() {
        for compression in [Compression::lz4().above(100), Compression::zstd().above(100)] {
            let text = Bytes::from(vec![b'a'; 1000]);
            let (packed, packing) = pack(text.clone(), Some(compression));
            assert!(packed.len() < 100 && packing != Packing::None);
            assert_eq!(unpack(&packed, packing).unwrap(), text);
            assert_eq!(pack(text.slice(..99), Some(compression)).1, Packing::None);
            assert_eq!(pack(noise(1000), Some(compression)).1, Packing::None);
        }
    }

    fn noise(length: usize) -> Bytes {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn a_claimed_length_is_not_believed() {
        for compression in [Compression::lz4(), Compression::zstd()] {
            let (packed, packing) = pack(vec![7; 5000].into(), Some(compression));
            for claimed in [0u32, 4999, 5001, 1 << 28, u32::MAX] {
                let forged = [&claimed.to_le_bytes()[..], &packed[PREFIX..]].concat();
                assert!(unpack(&forged.into(), packing).is_err(), "{packing:?} {claimed}");
            }
        }
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_or_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            let _ = unpack(&bytes, Packing::Lz4);
            let _ = unpack(&bytes, Packing::Zstd);
        }
    }
}
