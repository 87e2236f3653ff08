//! Times, sizes, numbers and values as people read and write them.

use std::time::Duration;

/// A time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Never,
    After(Duration),
}

const UNITS: [(&str, f64); 6] =
    [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];

/// Clocks end somewhere, and nobody means more.
const LONGEST: Duration = Duration::from_secs(1000 * 365 * 86_400);

/// Reads a time: seconds, or numbers with units, as in `1h30m`.
pub fn time(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no time: 2, 0.5, 500ms, 5m, 1h30m");
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = &rest[..letters];
        let factor = match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, factor)) => *factor,
            None if unit.is_empty() && rest.is_empty() && digits == text.len() => 1.0,
            None => return Err(bad()),
        };
        seconds += number * factor;
        rest = &rest[letters..];
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time > LONGEST => Err(format!("{text:?} is longer than a thousand years")),
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(bad()),
    }
}

/// A time that was measured: three digits and a unit.
pub fn measured(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (number, unit) = match seconds {
        s if s < 1e-3 => (s * 1e6, "us"),
        s if s < 1.0 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    let digits = match number {
        n if n < 10.0 => 2,
        n if n < 100.0 => 1,
        _ => 0,
    };
    format!("{number:.digits$}{unit}")
}

/// A time that is left, or has passed: its two largest units.
pub fn lasting(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 10 {
        return measured(time);
    }
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h")];
    let parts = parts.into_iter().chain([(seconds / 60 % 60, "m"), (seconds % 60, "s")]);
    let parts = parts.skip_while(|(number, _)| *number == 0).take(2);
    let shown: Vec<_> =
        parts.filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    shown.concat()
}

/// A number of bytes.
pub fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut number = bytes as f64;
    let mut unit = 0;
    while number >= 1024.0 && unit + 1 < units.len() {
        number /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if number < 10.0 => format!("{number:.2} {}", units[unit]),
        _ => format!("{number:.1} {}", units[unit]),
    }
}

/// A whole number with commas.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `1 key`, `2 keys`.
pub fn many(number: u64, one: &str, more: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { more })
}

/// Whether a terminal might obey it: control characters, and those that turn the direction of writing, so
/// that one key looks like another.
fn commands(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

/// Text that may go to a terminal as it is: nothing that commands it but line ends and tabs.
pub fn is_harmless(text: &str) -> bool {
    !text.chars().any(|c| commands(c) && c != '\n' && c != '\t')
}

/// Text in which whatever a terminal might obey is escaped.
pub fn escaped(text: &str) -> String {
    if !text.contains(commands) {
        return text.to_owned();
    }
    text.chars().fold(String::new(), |mut out, c| {
        if commands(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        out
    })
}

/// Parameters of addresses whose values may be shown. Others may be a password, its name mistyped.
const HARMLESS: [&str; 8] = [
    "binary",
    "db",
    "default_ttl",
    "key_prefix",
    "pool_size",
    "protocol",
    "socket_timeout",
    "ssl_ca_certs",
];

/// An address as it may be shown, good or bad: without what stands before its host, and without the
/// values of parameters that may be passwords.
pub fn shown_address(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}***@{}", without_parameters(host)),
        None => scheme + &without_parameters(rest),
    }
}

/// The same in sentences with addresses in them. A password may have blanks and quotes in it: what stands
/// before the last @ is hidden, up to the next address.
pub fn without_secrets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let near = &after[..after.find("://").unwrap_or(after.len())];
        let host = near.rfind('@').map_or(0, |at| at + 1);
        if host > 0 {
            out.push_str("***@");
        }
        let after = &after[host..];
        let end = after.find(|c: char| c.is_whitespace() || "\"'`".contains(c));
        let address = after[..end.unwrap_or(after.len())].trim_end_matches([':', ';', ',', '.']);
        out.push_str(&without_parameters(address));
        rest = &after[address.len()..];
    }
    out.push_str(rest);
    out
}

fn without_parameters(address: &str) -> String {
    let Some((path, query)) = address.split_once('?') else { return address.to_owned() };
    let shown = query.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if !HARMLESS.contains(&name) => format!("{name}=***"),
        _ => parameter.to_owned(),
    });
    format!("{path}?{}", shown.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_units() {
        let ms = Duration::from_millis;
        for (text, time_) in [
            ("2", ms(2_000)),
            ("0.5", ms(500)),
            ("500ms", ms(500)),
            ("1h30m", ms(5_400_000)),
            ("2d", ms(172_800_000)),
            ("1.5s", ms(1_500)),
        ] {
            assert_eq!(time(text), Ok(time_), "{text}");
        }
        for text in [
            "", "0", "0s", "-1", "5x", "1h30", "m", "1e9", "nan", "5 m", "1.2.3", "9e9", "9000000d",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_shown_short() {
        for (micros, shown) in [(7, "7.00us"), (1_234, "1.23ms"), (45_600, "45.6ms")] {
            assert_eq!(measured(Duration::from_micros(micros)), shown);
        }
        for (seconds, shown) in
            [(0, "0.00us"), (12, "12s"), (287, "4m47s"), (3_600, "1h"), (90_061, "1d1h")]
        {
            assert_eq!(lasting(Duration::from_secs(seconds)), shown);
        }
    }

    #[test]
    fn sizes_and_numbers_are_shown_short() {
        assert_eq!(
            (size(512), size(1536), size(26_000_000)),
            ("512 B".into(), "1.50 KiB".into(), "24.8 MiB".into())
        );
        assert_eq!(
            (count(7), count(1_247), count(12_345_678)),
            ("7".into(), "1,247".into(), "12,345,678".into())
        );
    }

    #[test]
    fn no_part_of_an_address_before_its_host_is_shown() {
        for (text, shown) in [
            ("redis://h:1/2", "redis://h:1/2"),
            ("redis://u:pw@h:1", "redis://***@h:1"),
            ("at redis://:p@w@h, and so on", "at redis://***@h, and so on"),
            (
                "\"rediss://u:pw@h\" and memcached://a:b@c",
                "\"rediss://***@h\" and memcached://***@c",
            ),
            ("unix:///r.sock?password=pw&db=1", "unix:///r.sock?password=***&db=1"),
            ("redis://u:a/b?c@h", "redis://***@h"),
            ("redis://u:p w@h fails", "redis://***@h fails"),
            ("redis://u:p'w@h", "redis://***@h"),
            ("redis://h?pasword=pw&key_prefix=k", "redis://h?pasword=***&key_prefix=k"),
            ("redis://h?p%61ssword=pw: no", "redis://h?p%61ssword=***: no"),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
        for (address, shown) in [
            ("u:pw@h:1", "***@h:1"),
            ("redis://u:p://w@h", "redis://***@h"),
            ("redis://u:p w@h/1?key_prefix=a b", "redis://***@h/1?key_prefix=a b"),
            ("h?password=pw", "h?password=***"),
        ] {
            assert_eq!(shown_address(address), shown);
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(escaped("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
        assert_eq!(escaped("a\u{202e}b\u{e4}"), "a\\u{202e}b\u{e4}");
        assert!(!is_harmless("a\u{202e}b") && is_harmless("\u{e4}"));
        assert!(is_harmless("a\tb\n") && !is_harmless("\u{1b}[2J"));
    }
}
