//! The names things are stored under.
//!
//! A key is stored under its full name. What the library keeps beside it ends in one of a few
//! marks: a tag's version in `#t`, the guard of a refresh in `#g`, whose entries they are in `#h`, a
//! piece of a large value in `#p`, a listener's sign of life in `#b`. A name too long for a server is
//! cut off and ends in `#d`. A key that itself ends in a mark gets `#k` behind it, so no two of them
//! share a stored name, and all lie under the prefix.

use std::borrow::Cow;

const TAG: &str = "#t";
const GUARD: &str = "#g";
const HOME: &str = "#h";
const PIECE: &str = "#p";
const BEAT: &str = "#b";
const KEY: &str = "#k";
/// What a name that was cut off ends in.
pub(crate) const DIGEST: &str = "#d";

/// Where a key's entry is stored.
pub(crate) fn key(full: &str) -> Cow<'_, str> {
    if is_marked(full) { Cow::Owned([full, KEY].concat()) } else { Cow::Borrowed(full) }
}

/// Where a tag's version is stored.
pub(crate) fn tag(full: &str) -> String {
    [full, TAG].concat()
}

/// Where it is noted who refreshes a stale entry.
pub(crate) fn guard(full: &str) -> String {
    [full, GUARD].concat()
}

/// Where it is noted which server the entries of a namespace belong to.
pub(crate) fn home(space: &str) -> String {
    [space, HOME].concat()
}

/// Where a piece of a value is stored that is too large for a server.
pub(crate) fn piece(full: &str, id: u128, number: u32) -> String {
    format!("{full}#{id:032x}.{number}{PIECE}")
}

/// Where a listener leaves its signs of life.
pub(crate) fn beat(space: &str, listener: u128, number: u64, salt: u32) -> String {
    format!("{space}~{listener:032x}.{number}.{salt}{BEAT}")
}

/// How names are stored, and which of them are keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    /// As they are, and without records beside them but for whose they are.
    pub(crate) plain: bool,
    /// Whether that is noted.
    pub(crate) guarded: bool,
}

impl Names {
    /// The key stored under a name, if it is one.
    pub(crate) fn key_of<'n>(&self, stored: &'n str) -> Option<&'n str> {
        match self.plain {
            true if self.guarded && is_home(stored) || is_beat(stored) => None,
            true => Some(stored),
            false => original(stored),
        }
    }
}

/// The tag whose version is stored here, if it is one.
pub(crate) fn tagged(stored: &str) -> Option<&str> {
    stored.strip_suffix(TAG)
}

/// The key whose entry is stored here; `None` for what is no entry of ours.
pub(crate) fn original(stored: &str) -> Option<&str> {
    if !is_marked(stored) {
        return Some(stored);
    }
    stored.strip_suffix(KEY).filter(|key| is_marked(key))
}

/// Whether it is such a note.
pub(crate) fn is_home(stored: &str) -> bool {
    stored.ends_with(HOME)
}

/// Whether it is a sign of life; other programs' keys that look like one are not ours to hide.
fn is_beat(stored: &str) -> bool {
    let sign = stored.strip_suffix(BEAT).and_then(|stored| stored.rsplit_once('~'));
    sign.is_some_and(|(_, sign)| sign.len() >= 36 && sign.split('.').count() == 3)
}

fn is_marked(name: &str) -> bool {
    [TAG, GUARD, HOME, PIECE, BEAT, KEY, DIGEST].iter().any(|mark| name.ends_with(mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stored_names_never_meet(a in "[ab#tghkdp]{1,6}", b in "[ab#tghkdp]{1,6}") {
            prop_assert_eq!(key(&a) == key(&b), a == b);
            for record in [tag(&b), guard(&b), home(&b), piece(&b, 7, 1), beat(&b, 7, 1, 0)] {
                prop_assert_ne!(&*key(&a), record.as_str());
                prop_assert_eq!(original(&record), None);
            }
            prop_assert_ne!(tag(&a), guard(&b));
            let stored = key(&a);
            prop_assert_eq!(original(&stored), Some(a.as_str()));
        }
    }

    #[test]
    fn signs_of_life_are_no_keys_where_others_names_are_kept_as_they_are() {
        let names = Names { plain: true, guarded: false };
        for (number, salt) in [(0, 0), (9, 12), (u64::MAX, u32::MAX)] {
            assert_eq!(names.key_of(&beat("shop:", 7, number, salt)), None);
        }
        assert_eq!(names.key_of("shop:~a.b.c#b"), Some("shop:~a.b.c#b"));
    }

    #[test]
    fn ordinary_keys_are_stored_as_they_are() {
        assert_eq!(key("shop:user:1"), "shop:user:1");
        assert_eq!(key("shop:a#t"), "shop:a#t#k");
        assert_eq!(original("shop:x#k"), None, "another program's");
    }
}
