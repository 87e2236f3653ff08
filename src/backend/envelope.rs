//! How an entry is written where only bytes can be stored.
//!
//! ```text
//! C1 'V'  write id[16]  codec  flags  created[8]  [soft[8]] [cap[8]] [idle[8]]
//!         [schema[4]] [cost[4]]
//!         [tags: count[2], then each: length[2], name, version[8]]
//!         checksum of all that[4]  checksum of the body[8]  body
//! C1 'P'  token[16]                                   a placeholder: somebody is loading
//! ```
//!
//! Numbers are little endian, times are milliseconds since 1970. No JSON, MessagePack or text
//! begins with `C1`, so what other programs wrote is told apart. The first 18 bytes say what lies
//! under a key to somebody who swaps it. The first checksum begins from the key, so a value found
//! under another key is damaged; the second begins from the first.

use bytes::Bytes;
use twox_hash::XxHash3_64;

use super::{CodecId, Entry, Packing, Tags};
use crate::key::MAX_KEY;
use crate::tag::MAX_TAGS;

/// The first byte.
const MARK: u8 = 0xC1;
/// The second byte: what it is, in the first version of the format.
const VALUE: u8 = b'V';
const PLACEHOLDER: u8 = b'P';

const PACKING: u8 = 0b11;
const SOFT: u8 = 1 << 2;
const CAP: u8 = 1 << 3;
const SCHEMA: u8 = 1 << 4;
const COST: u8 = 1 << 5;
const TAGS: u8 = 1 << 6;
const IDLE: u8 = 1 << 7;

/// An entry with what a store of plain bytes cannot keep beside it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Envelope {
    /// The entry.
    pub entry: Entry,
    /// Random for each write, so that a swap knows what it replaces.
    pub write_id: u128,
    /// When it was written, in milliseconds since 1970.
    pub created: u64,
    /// When it turns stale.
    pub soft: Option<u64>,
    /// When it is gone at the latest, where the store does not tell: `u64::MAX` if never.
    pub cap: Option<u64>,
    /// How long it lives after it was read, if it slides.
    pub idle: Option<u64>,
    /// The versions its tags had, in the order of the entry's tags.
    pub tag_versions: Vec<u64>,
}

impl Envelope {
    /// An envelope without a soft end and tags.
    pub fn new(entry: Entry, write_id: u128, created: u64) -> Self {
        let (soft, cap, idle, tag_versions) = (None, None, None, Vec::new());
        Self { entry, write_id, created, soft, cap, idle, tag_versions }
    }

    /// The bytes to store under `key`.
    ///
    /// # Panics
    /// If there are not as many tag versions as tags.
    pub fn seal(&self, key: &str) -> Vec<u8> {
        let Entry { value, codec, packing, schema, tags, cost_ms } = &self.entry;
        assert_eq!(tags.len(), self.tag_versions.len(), "each tag has a version");
        let body = value.bytes();
        let mut out = Vec::with_capacity(64 + body.len());
        out.extend([MARK, VALUE]);
        out.extend(self.write_id.to_le_bytes());
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = packing_bits(*packing)
            | flag(self.soft.is_some(), SOFT)
            | flag(self.cap.is_some(), CAP)
            | flag(self.idle.is_some(), IDLE)
            | flag(*schema != 0, SCHEMA)
            | flag(*cost_ms != 0, COST)
            | flag(!tags.is_empty(), TAGS);
        out.extend([codec.0, flags]);
        out.extend(self.created.to_le_bytes());
        let times = [self.soft, self.cap, self.idle];
        out.extend(times.into_iter().flatten().flat_map(u64::to_le_bytes));
        let small = [*schema, *cost_ms].into_iter().filter(|number| *number != 0);
        out.extend(small.flat_map(u32::to_le_bytes));
        if !tags.is_empty() {
            // Both are checked at the boundary, far below what 16 bits hold.
            out.extend((tags.len() as u16).to_le_bytes());
            for (tag, version) in tags.iter().zip(&self.tag_versions) {
                out.extend((tag.len() as u16).to_le_bytes());
                out.extend(tag.as_bytes());
                out.extend(version.to_le_bytes());
            }
        }
        let sum = header_sum(key, &out);
        out.extend((sum as u32).to_le_bytes());
        out.extend(body_sum(sum, body).to_le_bytes());
        out.extend_from_slice(body);
        out
    }
}

/// What stored bytes are.
#[derive(Clone, Debug)]
pub enum Opened {
    /// An entry of ours.
    Value(Envelope),
    /// The token of somebody who is loading.
    Placeholder(u128),
    /// Another program's value: a whole number, or text for the plain codec.
    Foreign(Entry),
    /// Ours once: damaged, cut off, from under another key, or of a later format.
    Damaged,
}

/// The bytes of a placeholder.
pub fn placeholder(token: u128) -> [u8; 18] {
    let mut bytes = [0; 18];
    bytes[..2].copy_from_slice(&[MARK, PLACEHOLDER]);
    bytes[2..].copy_from_slice(&token.to_le_bytes());
    bytes
}

/// Reads what is stored under `key`. The value shares the bytes given.
pub fn open(key: &str, stored: &Bytes) -> Opened {
    open_up_to(key, stored, true)
}

/// Reads the beginning of what is stored under `key`, up to the value and perhaps some of it. The
/// value is cut off where the beginning ends, and not checked.
pub fn open_head(key: &str, beginning: &Bytes) -> Opened {
    open_up_to(key, beginning, false)
}

fn open_up_to(key: &str, stored: &Bytes, whole: bool) -> Opened {
    match stored.get(..2) {
        Some([MARK, VALUE]) => {
            open_value(key, stored, whole).map_or(Opened::Damaged, Opened::Value)
        }
        Some([MARK, PLACEHOLDER]) => match <[u8; 16]>::try_from(&stored[2..]) {
            Ok(token) => Opened::Placeholder(u128::from_le_bytes(token)),
            Err(_) => Opened::Damaged,
        },
        _ if stored.first() == Some(&MARK) => Opened::Damaged,
        _ if is_whole_number(stored) => Opened::Foreign(Entry::new(stored.clone(), CodecId::INT)),
        _ => Opened::Foreign(Entry::new(stored.clone(), CodecId::FOREIGN)),
    }
}

fn open_value(key: &str, stored: &Bytes, whole: bool) -> Option<Envelope> {
    let mut left = &stored[2..];
    let write_id = u128::from_le_bytes(take(&mut left)?);
    let [codec, flags] = take(&mut left)?;
    let packing = packing_of(flags)?;
    let created = u64::from_le_bytes(take(&mut left)?);
    let soft = optional(flags & SOFT, &mut left)?.map(u64::from_le_bytes);
    let cap = optional(flags & CAP, &mut left)?.map(u64::from_le_bytes);
    let idle = optional(flags & IDLE, &mut left)?.map(u64::from_le_bytes);
    let schema = optional(flags & SCHEMA, &mut left)?.map_or(0, u32::from_le_bytes);
    let cost_ms = optional(flags & COST, &mut left)?.map_or(0, u32::from_le_bytes);
    let (tags, tag_versions) =
        if flags & TAGS == 0 { Default::default() } else { take_tags(&mut left)? };
    let header = &stored[..stored.len() - left.len()];
    let expected = header_sum(key, header);
    if u32::from_le_bytes(take(&mut left)?) != expected as u32 {
        return None;
    }
    let sum = take(&mut left).map(u64::from_le_bytes);
    if whole && sum != Some(body_sum(expected, left)) {
        return None;
    }
    let entry = Entry {
        packing,
        schema,
        cost_ms,
        tags,
        ..Entry::new(stored.slice_ref(left), CodecId(codec))
    };
    Some(Envelope { entry, write_id, created, soft, cap, idle, tag_versions })
}

fn take<const N: usize>(left: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = left.split_first_chunk()?;
    *left = rest;
    Some(*taken)
}

/// A field that is there if its flag is; `None` if it should be and is not.
fn optional<const N: usize>(flag: u8, left: &mut &[u8]) -> Option<Option<[u8; N]>> {
    if flag == 0 { Some(None) } else { take(left).map(Some) }
}

fn take_tags(left: &mut &[u8]) -> Option<(Tags, Vec<u64>)> {
    let count = u16::from_le_bytes(take(left)?);
    if usize::from(count) > MAX_TAGS {
        return None;
    }
    let (mut names, mut versions) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let length = usize::from(u16::from_le_bytes(take(left)?));
        let (name, rest) = left.split_at_checked(length)?;
        *left = rest;
        names.push(std::str::from_utf8(name).ok()?);
        versions.push(u64::from_le_bytes(take(left)?));
    }
    let tags = Tags::new(names);
    (tags.len() == versions.len()).then_some((tags, versions))
}

fn header_sum(key: &str, header: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(key.as_bytes()), header)
}

/// Begins from the header's, so that it covers that, too.
fn body_sum(header_sum: u64, body: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(header_sum, body)
}

fn packing_bits(packing: Packing) -> u8 {
    match packing {
        Packing::None => 0,
        Packing::Lz4 => 1,
        Packing::Zstd => 2,
    }
}

fn packing_of(flags: u8) -> Option<Packing> {
    [Packing::None, Packing::Lz4, Packing::Zstd].get(usize::from(flags & PACKING)).copied()
}

/// As INCR would leave it: no plus sign, no leading zero, no blank.
pub(crate) fn is_whole_number(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [] => false,
        [b'0'] => text.len() == 1,
        [first, ..] => *first != b'0',
    };
    canonical && digits.len() <= 20 && digits.iter().all(u8::is_ascii_digit)
}

const _: () = assert!(MAX_KEY <= u16::MAX as usize, "a tag's length has 16 bits");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn envelope() -> impl Strategy<Value = Envelope> {
        let entry = (
            prop::collection::vec(any::<u8>(), 0..300),
            any::<u8>(),
            0..3u8,
            prop_oneof![Just(0u32), any::<u32>()],
            prop_oneof![Just(0u32), any::<u32>()],
            prop::collection::btree_map(".{1,8}", any::<u64>(), 0..4),
        );
        let end = any::<Option<u64>>;
        let times = (any::<u128>(), any::<u64>(), end(), end(), end());
        (entry, times).prop_map(|((body, codec, packing, schema, cost_ms, tags), times)| {
            let (write_id, created, soft, cap, idle) = times;
            let entry = Entry {
                packing: packing_of(packing).unwrap(),
                schema,
                cost_ms,
                tags: Tags::new(tags.keys()),
                ..Entry::new(body, CodecId(codec))
            };
            let tag_versions = tags.into_values().collect();
            Envelope { soft, cap, idle, tag_versions, ..Envelope::new(entry, write_id, created) }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn an_envelope_comes_back_as_it_was_sealed(envelope in envelope(), key in ".{0,20}") {
            let stored = Bytes::from(envelope.seal(&key));
            let Opened::Value(opened) = open(&key, &stored) else { panic!("a value") };
            let (read, sealed) = (&opened.entry, &envelope.entry);
            prop_assert_eq!(read.value.bytes(), sealed.value.bytes());
            prop_assert_eq!((read.codec, read.packing), (sealed.codec, sealed.packing));
            prop_assert_eq!((read.schema, read.cost_ms), (sealed.schema, sealed.cost_ms));
            prop_assert_eq!(&read.tags, &sealed.tags);
            prop_assert_eq!(&opened.tag_versions, &envelope.tag_versions);
            prop_assert_eq!((opened.write_id, opened.created), (envelope.write_id, envelope.created));
            let times = |envelope: &Envelope| (envelope.soft, envelope.cap, envelope.idle);
            prop_assert_eq!(times(&opened), times(&envelope));
            // The beginning alone tells the same but for the value.
            let beginning = stored.slice(..stored.len() - read.value.bytes().len());
            let Opened::Value(head) = open_head(&key, &beginning) else { panic!("a value") };
            prop_assert_eq!((head.write_id, &head.tag_versions), (opened.write_id, &opened.tag_versions));
            prop_assert_eq!((head.entry.codec, &head.entry.tags), (read.codec, &read.tags));
        }

        #[test]
        fn a_changed_byte_another_key_or_a_cut_is_seen(
            envelope in envelope(), at in any::<prop::sample::Index>(), change in 1..=255u8,
        ) {
            let stored = envelope.seal("key");
            prop_assert!(matches!(open("yek", &stored.clone().into()), Opened::Damaged));
            prop_assert!(matches!(open_head("yek", &stored.clone().into()), Opened::Damaged));
            let cut = stored[..at.index(stored.len())].to_vec();
            prop_assert!(!matches!(open("key", &cut.into()), Opened::Value(_)));
            let mut garbled = stored;
            let at = at.index(garbled.len());
            garbled[at] ^= change;
            prop_assert!(!matches!(open("key", &garbled.into()), Opened::Value(_)));
        }

        #[test]
        fn garbage_never_panics_and_is_no_value(
            bytes in prop::collection::vec(any::<u8>(), 0..200), marked in any::<bool>(),
        ) {
            let bytes = if marked { [&[MARK, VALUE][..], &bytes].concat() } else { bytes };
            prop_assert!(!matches!(open("key", &bytes.into()), Opened::Value(_)));
        }
    }

    #[test]
    fn placeholders_and_foreign_values_are_told_apart() {
        let open = |bytes: &[u8]| open("k", &Bytes::copy_from_slice(bytes));
        assert!(matches!(open(&placeholder(7)), Opened::Placeholder(7)));
        assert!(matches!(open(&placeholder(7)[..17]), Opened::Damaged));
        assert!(matches!(open(&[MARK, b'W', 0]), Opened::Damaged));
        let codec = |bytes: &[u8]| match open(bytes) {
            Opened::Foreign(entry) => entry.codec,
            other => panic!("{other:?}"),
        };
        for number in ["0", "7", "-7", "18446744073709551615"] {
            assert_eq!(codec(number.as_bytes()), CodecId::INT, "{number}");
        }
        for text in
            ["", "-", "-0", "07", "+7", " 7", "7 ", "7.0", "\"7\"", "{}", "123456789012345678901"]
        {
            assert_eq!(codec(text.as_bytes()), CodecId::FOREIGN, "{text}");
        }
    }
}
