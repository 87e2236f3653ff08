//! Times and sizes with their units.

use std::time::Duration;

/// The largest comes first.
const TIMES: &[(&str, u128)] = &[
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const SIZES: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
    ("", 1),
];

/// So many seconds.
pub(super) fn seconds(number: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number).ok()
}

/// `90`, `1.5s`, `500ms`, `1h30m`: numbers with units, larger ones first, or a number of seconds.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return text.parse().ok().and_then(seconds);
    }
    let (mut rest, mut total, mut before) = (text, 0u128, u128::MAX);
    while !rest.is_empty() {
        let (number, unit, behind) = part(rest)?;
        let (_, nanos) = TIMES.iter().find(|(name, _)| *name == unit)?;
        if *nanos >= before {
            return None;
        }
        total = total.checked_add(scaled(number, *nanos)?)?;
        (rest, before) = (behind, *nanos);
    }
    let seconds = u64::try_from(total / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, (total % 1_000_000_000) as u32))
}

/// `1024`, `64MiB`, `1.5 GB`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (number, unit, rest) = part(text)?;
    let (_, scale) = SIZES.iter().find(|(name, _)| *name == unit)?;
    let whole = rest.is_empty().then(|| scaled(number, u128::from(*scale)))??;
    u64::try_from(whole).ok()
}

/// A number, the letters behind it, and the rest.
fn part(text: &str) -> Option<(&str, &str, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (number, rest) = text.split_at(end.unwrap_or(text.len()));
    let rest = rest.trim_start();
    let end = rest.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    (!number.is_empty()).then(|| (number, unit, rest.trim_start()))
}

/// A number with a fraction, times this, if that is whole.
fn scaled(number: &str, scale: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u128 =
        if whole.is_empty() && !fraction.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(scale)?;
    if !fraction.is_empty() {
        let parts: u128 = fraction.parse().ok()?;
        let of = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let more = parts.checked_mul(scale)?;
        total = (more % of == 0).then(|| total.checked_add(more / of))??;
    }
    Some(total)
}

/// What [`duration`] reads back as the same.
pub(super) fn text_of_duration(time: Duration) -> String {
    let (mut left, mut text) = (time.as_nanos(), String::new());
    for (unit, nanos) in TIMES {
        if left >= *nanos {
            text += &format!("{}{unit}", left / nanos);
            left %= nanos;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// What [`bytes`] reads back as the same.
pub(super) fn text_of_bytes(size: usize) -> String {
    let binary = SIZES.iter().filter(|(unit, _)| unit.ends_with("iB"));
    for (unit, scale) in binary {
        let scale = usize::try_from(*scale).unwrap_or(usize::MAX);
        if size >= scale && size.is_multiple_of(scale) {
            return format!("{}{unit}", size / scale);
        }
    }
    format!("{size}B")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_have_units() {
        let ms = Duration::from_millis;
        for (text, time) in [
            ("0", Some(ms(0))),
            ("90", Some(ms(90_000))),
            ("0.25", Some(ms(250))),
            ("500ms", Some(ms(500))),
            ("1.5s", Some(ms(1_500))),
            ("1h30m", Some(ms(5_400_000))),
            ("1d 2h", Some(ms(93_600_000))),
            ("2 m", Some(ms(120_000))),
            ("", None),
            (".", None),
            ("-1s", None),
            ("5", Some(ms(5_000))),
            ("5x", None),
            ("5M", None),
            ("m5", None),
            ("30m1h", None),
            ("1m1m", None),
            ("1h30", None),
            ("0.1ns", None),
            ("99999999999999999d", None),
            ("99999999999999999999999999999999999999999999s", None),
        ] {
            assert_eq!(duration(text), time, "{text}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, size) in [
            ("0", Some(0)),
            ("1024", Some(1024)),
            ("64MiB", Some(64 << 20)),
            ("64MB", Some(64_000_000)),
            ("1.5 GiB", Some(3 << 29)),
            ("8kB", Some(8_000)),
            ("0.1B", None),
            ("64Mib", None),
            ("64 MiB x", None),
            ("", None),
            ("MiB", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(bytes(text), size, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds: u64, nanos in 0u32..1_000_000_000, size: usize) {
            let time = Duration::new(seconds, nanos);
            prop_assert_eq!(duration(&text_of_duration(time)), Some(time));
            prop_assert_eq!(bytes(&text_of_bytes(size)), Some(size as u64));
        }

        #[test]
        fn no_text_is_too_odd(text in ".*", digits in "[0-9.dhmsuniGMKB ]{0,40}") {
            for text in [text, digits] {
                let _ = (duration(&text), bytes(&text));
            }
        }
    }
}
