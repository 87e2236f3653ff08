//! The meta protocol: text, one line a command and one an answer, values beside them.

use std::io::{self, Read};

use super::batch::{Command, Item, Mode, Op, Reply, Stamp};
use super::name::Wire;
use crate::backend::remote::buffer::{Buffer, unexpected};
use crate::error::{Error, ErrorKind, Result};

/// The longest value servers can be set up for.
const LONGEST: usize = 1 << 30;

/// Writes a command.
pub(super) fn write(out: &mut Vec<u8>, wire: &Wire<'_>, op: Op<'_>, opaque: u32) {
    let verb: &[u8] = match op {
        Op::Get { .. } | Op::Same(_) | Op::Touch { .. } => b"mg ",
        Op::Store { .. } => b"ms ",
        Op::Delete(_) => b"md ",
        Op::Add { .. } | Op::Subtract { .. } => b"ma ",
    };
    out.extend_from_slice(verb);
    wire.write(out);
    if let Op::Store { bytes, .. } = op {
        flag(out, "", bytes.len() as u64);
    }
    if wire.encoded {
        out.extend_from_slice(b" b");
    }
    match op {
        Op::Get { more: false } => out.extend_from_slice(b" v"),
        Op::Get { more: true } => out.extend_from_slice(b" v c t"),
        Op::Same(_) => out.extend_from_slice(b" c"),
        Op::Touch { until, .. } => {
            out.extend_from_slice(b" c");
            flag(out, "T", until.into());
        }
        Op::Store { mode, until, .. } => {
            out.extend_from_slice(b" c");
            flag(out, "T", until.into());
            match mode {
                Mode::Always => {}
                Mode::IfAbsent => out.extend_from_slice(b" ME"),
                Mode::IfPresent => out.extend_from_slice(b" MR"),
                Mode::IfStill(Stamp { cas, .. }) => flag(out, "C", cas),
            }
        }
        Op::Delete(stamp) => {
            if let Some(Stamp { cas, .. }) = stamp {
                flag(out, "C", cas);
            }
        }
        Op::Subtract { by } => {
            out.extend_from_slice(b" v MD");
            flag(out, "D", by);
        }
        Op::Add { by, first, until } => {
            out.extend_from_slice(b" v");
            flag(out, "D", by);
            flag(out, "J", first);
            flag(out, "N", until.into());
        }
    }
    flag(out, "O", opaque.into());
    out.extend_from_slice(b"\r\n");
    if let Op::Store { bytes, .. } = op {
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
    }
}

/// A word with a number in it, after a blank.
fn flag(out: &mut Vec<u8>, name: &str, number: u64) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = number;
    while at == digits.len() || left > 0 {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

/// The first line of an answer.
#[derive(Debug, Default)]
struct Head {
    cas: Option<u64>,
    left: Option<i64>,
}

/// Reads the answer to a command. `process` is that of the server.
///
/// # Errors
/// `InvalidData` for what is none, or is the answer to something else, and those of the stream.
pub(super) fn read(
    command: &Command,
    process: u64,
    buffer: &mut Buffer,
    stream: &mut impl Read,
) -> io::Result<Reply> {
    let line = buffer.line(stream)?;
    let line = buffer.get(line).strip_suffix(b"\r\n").ok_or_else(unexpected)?;
    let (word, rest) = match line.iter().position(|byte| *byte == b' ') {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, &b""[..]),
    };
    let stamp = |head: &Head| head.cas.map(|cas| Stamp { process, cas });
    Ok(match word {
        b"VA" => {
            let (length, rest) = match rest.iter().position(|byte| *byte == b' ') {
                Some(at) => (&rest[..at], &rest[at + 1..]),
                None => (rest, &b""[..]),
            };
            let head = read_flags(rest, command.opaque)?;
            let length = number(length).and_then(|length| usize::try_from(length).ok());
            let length = length.filter(|length| *length <= LONGEST).ok_or_else(unexpected)?;
            let stamp = stamp(&head);
            let value = buffer.text(stream, length)?.into();
            Reply::Item(Item { value, stamp, left: head.left })
        }
        b"HD" => Reply::Done(stamp(&read_flags(rest, command.opaque)?)),
        b"EN" | b"NF" => read_flags(rest, command.opaque).map(|_| Reply::Missing)?,
        b"NS" => read_flags(rest, command.opaque).map(|_| Reply::NotStored)?,
        b"EX" => read_flags(rest, command.opaque).map(|_| Reply::Changed)?,
        b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR" => refusal(line),
        _ => return Err(unexpected()),
    })
}

fn read_flags(flags: &[u8], opaque: u32) -> io::Result<Head> {
    let mut head = Head::default();
    let mut ours = false;
    for flag in flags.split(|byte| *byte == b' ') {
        let Some((kind, text)) = flag.split_first() else { continue };
        match kind {
            b'c' => head.cas = Some(number(text).ok_or_else(unexpected)?).filter(|cas| *cas != 0),
            b't' if text == b"-1" => head.left = Some(-1),
            b't' => {
                let left = number(text).and_then(|left| i64::try_from(left).ok());
                head.left = Some(left.ok_or_else(unexpected)?);
            }
            b'O' => ours = number(text) == Some(opaque.into()),
            _ => {}
        }
    }
    // The answer to something else would be somebody else's value.
    if ours { Ok(head) } else { Err(unexpected()) }
}

fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, byte| {
        let digit = u64::from(byte.wrapping_sub(b'0'));
        sum.checked_mul(10).filter(|_| byte.is_ascii_digit())?.checked_add(digit)
    })
}

/// Hears whether a login was right; if not, why.
pub(super) fn hear_login(buffer: &mut Buffer, stream: &mut impl Read) -> io::Result<Option<Error>> {
    let line = buffer.line(stream)?;
    Ok(match buffer.get(line).trim_ascii_end() {
        b"STORED" => None,
        line if line.starts_with(b"CLIENT_ERROR") => {
            Some(Error::new(ErrorKind::Denied, "memcached refuses the login"))
        }
        line => Some(error(line)),
    })
}

/// The next of the statistics asked for; none when they are at their end.
pub(super) fn fact(
    buffer: &mut Buffer,
    stream: &mut impl Read,
) -> io::Result<Result<Option<(String, String)>>> {
    let line = buffer.line(stream)?;
    let line = buffer.get(line).trim_ascii_end();
    if line == b"END" {
        return Ok(Ok(None));
    }
    let Some(fact) = line.strip_prefix(b"STAT ") else { return Ok(Err(error(line))) };
    let fact = String::from_utf8_lossy(fact);
    let (name, value) = fact.split_once(' ').unwrap_or((&fact, ""));
    Ok(Ok(Some((name.to_owned(), value.to_owned()))))
}

fn error(line: &[u8]) -> Error {
    match refusal(line) {
        Reply::Refused(error) | Reply::Hangs(error) => error,
        _ => Error::new(ErrorKind::Backend, "memcached says what was not asked"),
    }
}

/// What an error line means. It may come instead of the answer to any command.
pub(super) fn refusal(line: &[u8]) -> Reply {
    let text = String::from_utf8_lossy(line);
    let error = |kind| Error::new(kind, format!("memcached says {text}"));
    match line {
        b"CLIENT_ERROR cannot increment or decrement non-numeric value" => Reply::NoNumber,
        b"SERVER_ERROR object too large for cache" => Reply::Refused(error(ErrorKind::TooLarge)),
        _ if is_about(&text, "out of memory") => Reply::Refused(error(ErrorKind::Full)),
        _ if is_about(&text, "unauthenticated") => Reply::Hangs(error(ErrorKind::Denied)),
        _ if is_about(&text, "too many open connections") => {
            Reply::Hangs(error(ErrorKind::Unavailable))
        }
        _ => Reply::Hangs(error(ErrorKind::Backend)),
    }
}

fn is_about(text: &str, what: &str) -> bool {
    text.to_ascii_lowercase().contains(what)
}
