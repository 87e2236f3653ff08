//! Stamps: the write ids of values and the tokens of placeholders, in one space.

use super::unique;
use crate::backend::envelope;

/// Which bits of a stamp tell what it is of: a value or a placeholder, tagged or not.
const OF_VALUE: u128 = 1;
const TAGGED: u128 = 2;

/// A token for a placeholder that nobody else has.
pub(crate) fn fresh_token() -> u128 {
    unique() & !OF_VALUE
}

/// A write id for a value that no other has.
pub(crate) fn fresh_write_id(tagged: bool) -> u128 {
    let id = unique() | OF_VALUE;
    if tagged { id | TAGGED } else { id & !TAGGED }
}

/// The bits of a value's stamp that tell what it is of.
pub(crate) fn kind_of(tagged: bool) -> u128 {
    if tagged { OF_VALUE | TAGGED } else { OF_VALUE }
}

pub(crate) fn is_of_value(stamp: u128) -> bool {
    stamp & OF_VALUE != 0
}

pub(crate) fn is_tagged(stamp: u128) -> bool {
    stamp & TAGGED != 0
}

/// The first 18 bytes of what has this stamp.
pub(crate) fn head(stamp: u128) -> [u8; 18] {
    let mut bytes = envelope::placeholder(stamp);
    if is_of_value(stamp) {
        bytes[1] = b'V';
    }
    bytes
}

/// The id with the kind of another one: a new value in place of one with the same tags.
pub(crate) fn of_the_kind(id: u128, other: u128) -> u128 {
    const KIND: u128 = OF_VALUE | TAGGED;
    (id & !KIND) | (other & KIND)
}

/// The version of another program's value: its content. Written again with the same bytes it is
/// the same version.
pub(crate) fn content_id(bytes: &[u8]) -> u128 {
    let (low, high) =
        (twox_hash::XxHash3_64::oneshot(bytes), twox_hash::XxHash3_64::oneshot_with_seed(1, bytes));
    (u128::from(high) << 64 | u128::from(low)) & !OF_VALUE
}
