//! Whole numbers as they are stored: decimal text, under every codec.

use crate::backend::{CodecId, Entry};
use crate::error::{Error, ErrorKind, Result};

/// Adds to the number in an entry, or to `from` where there is none.
pub(crate) fn add(entry: Option<&Entry>, from: i64, by: i64) -> Result<i64> {
    let number = entry.map_or(Ok(from), parse)?;
    number.checked_add(by).ok_or_else(overflow)
}

fn parse(entry: &Entry) -> Result<i64> {
    let wrong = || Error::new(ErrorKind::WrongType, "the stored value is not a whole number");
    if !matches!(entry.codec, CodecId::INT | CodecId::FOREIGN) {
        return Err(wrong());
    }
    let text = std::str::from_utf8(entry.value.bytes()).map_err(|_| wrong())?;
    // Memcached leaves blanks behind a number that became shorter.
    let text = text.trim_end_matches(' ');
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    text.parse().map_err(|_| overflow())
}

pub(crate) fn overflow() -> Error {
    Error::new(ErrorKind::Overflow, "the counter would leave the range of a 64-bit integer")
}
