//! Names as servers take them: up to 250 bytes, no blanks and no control characters.
//!
//! Most names go as they are, bytes beyond ASCII, too, as other clients send them. Names with other
//! characters go in base64, which servers undo. Names too long for that are cut off and end in a
//! digest; what is stored under one begins with the whole name, so that no value is taken for that
//! of another name, and so that a search finds it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use twox_hash::XxHash3_64;

use crate::backend::remote::stored::DIGEST;

/// The longest name a server takes.
const MOST: usize = 250;
/// The longest one whose base64 is no longer than that.
const MOST_ENCODED: usize = 186;
/// So much of a name is left when it is cut off.
const KEPT: usize = 150;

/// A name on its way to a server.
#[derive(Debug)]
pub(super) struct Wire<'n> {
    /// The name as the server stores it, and as other clients would send it.
    pub(super) raw: Cow<'n, str>,
    /// It has to go in base64 where the protocol is text.
    pub(super) encoded: bool,
    /// It was cut off.
    pub(super) cut: bool,
}

impl<'n> Wire<'n> {
    pub(super) fn new(name: &'n str) -> Self {
        let encoded = !goes_as_it_is(name);
        let cut = name.len() > if encoded { MOST_ENCODED } else { MOST };
        if !cut {
            return Self { raw: Cow::Borrowed(name), encoded, cut };
        }
        let kept = up_to(name, KEPT);
        let (high, low) = (
            XxHash3_64::oneshot(name.as_bytes()),
            XxHash3_64::oneshot_with_seed(1, name.as_bytes()),
        );
        let raw = format!("{kept}#{high:016x}{low:016x}{DIGEST}");
        let encoded = encoded && !goes_as_it_is(&raw);
        Self { raw: Cow::Owned(raw), encoded, cut }
    }

    /// Adds the name as the text protocol has it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if self.encoded {
            out.extend_from_slice(STANDARD.encode(self.raw.as_bytes()).as_bytes());
        } else {
            out.extend_from_slice(self.raw.as_bytes());
        }
    }
}

/// Whether it has no blanks and no control characters. It looks at all bytes: several at a time.
fn goes_as_it_is(name: &str) -> bool {
    name.bytes().fold(true, |fine, byte| fine & (byte > b' ') & (byte != 0x7f))
}

/// Whether a stored name is one that was cut off.
pub(super) fn is_cut(raw: &str) -> bool {
    raw.ends_with(DIGEST)
}

/// What is left of a name that was cut off.
pub(super) fn beginning(raw: &str) -> &str {
    let kept = raw.len().saturating_sub(32 + 1 + DIGEST.len());
    up_to(raw, kept)
}

fn up_to(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or_default()]
}

const MARK: [u8; 2] = [0xC1, b'K'];

/// What a stored text begins with if its name was cut off.
pub(super) fn wrapping(name: &str) -> Vec<u8> {
    // Names are at most twice as long as a key, and one with its mark may not fit 16 bits.
    let length = (name.len() as u32).to_le_bytes();
    [&MARK, &length[..], name.as_bytes()].concat()
}

/// The name and the rest of what such a text is.
pub(super) fn take_apart(stored: &Bytes) -> Option<(&str, Bytes)> {
    let rest = stored.strip_prefix(&MARK)?;
    let (length, rest) = rest.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((std::str::from_utf8(name).ok()?, stored.slice_ref(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        Wire::new(name).write(&mut out);
        out
    }

    proptest! {
        #[test]
        fn every_name_is_one_that_servers_take(name in ".{1,300}") {
            let sent = sent(&name);
            prop_assert!(sent.len() <= MOST, "{}", sent.len());
            prop_assert!(sent.iter().all(|byte| *byte > b' ' && *byte != 0x7f));
        }

        #[test]
        fn two_names_are_two_on_the_server(a in "[a\u{e9} \n]{1,300}", b in "[a\u{e9} \n]{1,300}") {
            let raw = |name| Wire::new(name).raw.into_owned();
            prop_assert_eq!(raw(&a) == raw(&b), a == b);
        }

        #[test]
        fn what_is_stored_under_a_cut_name_tells_the_name(name in ".{1,300}", text in ".{0,9}") {
            let stored = Bytes::from([&wrapping(&name), text.as_bytes()].concat());
            let (found, rest) = take_apart(&stored).unwrap();
            prop_assert_eq!(found, name);
            prop_assert_eq!(&*rest, text.as_bytes());
        }
    }

    #[test]
    fn names_go_as_they_are_where_they_can() {
        for name in ["a", "caf\u{e9}", "~", &"x".repeat(250)] {
            assert_eq!(sent(name), name.as_bytes());
        }
        assert_eq!(sent("a b"), b"YSBi");
        assert_eq!(Wire::new("a\r\nb").raw, "a\r\nb");
        let long = "x".repeat(251);
        let wire = Wire::new(&long);
        assert!(wire.cut && is_cut(&wire.raw) && beginning(&wire.raw) == &long[..150]);
        assert!(!Wire::new("a#d#k").cut);
    }

    #[test]
    fn what_tells_no_name_is_none() {
        for stored in [&b""[..], b"x", b"\xC1K", b"\xC1K\x05\0\0\0ab", b"\xC1K\x01\0\0\0\xff"] {
            assert!(take_apart(&Bytes::copy_from_slice(stored)).is_none());
        }
    }
}
