//! When a certificate ends: the one field of it that an operator must know in time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version of a certificate, which may be left out.
const VERSION: u8 = 0xa0;

/// The end of a certificate in DER; `None` if it cannot be found.
pub fn end(der: &[u8]) -> Option<SystemTime> {
    let (_, certificate, _) = element(der)?;
    let (_, mut rest, _) = element(certificate)?;
    if *rest.first()? == VERSION {
        rest = element(rest)?.2;
    }
    // The serial number, the algorithm of the signature and the issuer come before the validity.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (tag, validity, _) = element(rest)?;
    let (_, _, after_begin) = element(validity)?;
    let (kind, text, _) = element(after_begin)?;
    if tag == SEQUENCE { moment(kind, std::str::from_utf8(text).ok()?) } else { None }
}

/// An element's tag and content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`.
fn moment(kind: u8, text: &str) -> Option<SystemTime> {
    let (year, rest) = match kind {
        UTC_TIME => {
            let year: i64 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let days = days_before(year, part(0)?, part(2)?);
    let seconds = days * 86_400 + part(4)? * 3600 + part(6)? * 60 + part(8)?;
    Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// Days from 1970 to a date: years begin in March, so that the odd day is the last of one.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(kind: u8, text: &str) -> Option<u64> {
        Some(moment(kind, text)?.duration_since(UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn moments_are_counted_from_1970() {
        assert_eq!(unix(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(unix(UTC_TIME, "240229235959Z"), Some(1_709_251_199));
        assert_eq!(unix(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
        assert_eq!(unix(UTC_TIME, "24"), None);
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for der in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x02\x01\x05"] {
            assert_eq!(end(der), None);
        }
    }
}
