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
        Op::Get { .. } | Op::Quiet | Op::Same(_) | Op::Touch { .. } => b"mg ",
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
        Op::Quiet => out.extend_from_slice(b" v q"),
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
        // Modulo 2^64, as servers add: below 0 they would not go.
        Op::Subtract { by } => {
            out.extend_from_slice(b" v");
            flag(out, "D", by.wrapping_neg());
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

/// Makes a quiet command, written last, one that is answered in any case: it then ends those before.
pub(super) fn speak_up(out: &mut [u8]) {
    let at = out.iter().rposition(|byte| *byte == b'q').unwrap_or_default();
    if out.get(at..at + 3) == Some(b"q O") {
        // Show the name: that costs a few bytes.
        out[at] = b'k';
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
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    kind: Kind,
    opaque: Option<u64>,
    cas: Option<u64>,
    left: Option<i64>,
}

#[derive(Clone, Debug, Default)]
enum Kind {
    /// A value of this length follows.
    Value(usize),
    Done,
    #[default]
    Missing,
    NotStored,
    Changed,
    Error(Reply),
}

/// What is known of quiet commands whose answers are being read.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    /// The last of them, which is answered in any case.
    loud: Option<u32>,
    /// The beginning of an answer to a later one, which came instead of one that says nothing.
    early: Option<Head>,
    /// An error. It does not tell which command it answers, so it counts for all from there on.
    doubt: Option<Error>,
}

impl Quiet {
    /// Commands were written of which this is the last.
    pub(super) fn begin(&mut self, last: Option<&Command>) {
        *self = Self { loud: last.map(|command| command.opaque), ..Self::default() };
    }

    /// Whether nothing is left to be said.
    pub(super) fn is_over(&self) -> bool {
        self.early.is_none() && self.doubt.is_none()
    }
}

/// Reads the answer to a command. `process` is that of the server.
///
/// # Errors
/// `InvalidData` for what is none, or is the answer to something else, and those of the stream.
pub(super) fn read(
    command: &Command,
    process: u64,
    quiet: &mut Quiet,
    buffer: &mut Buffer,
    stream: &mut impl Read,
) -> io::Result<Reply> {
    if let Some(error) = &quiet.doubt {
        return Ok(Reply::Hangs(error.clone()));
    }
    let head = match quiet.early.take() {
        Some(head) => head,
        None => read_head(buffer, stream)?,
    };
    if let Kind::Error(reply) = head.kind {
        return Ok(match reply {
            Reply::Refused(error) | Reply::Hangs(error) if command.quiet => {
                quiet.doubt = Some(error.clone());
                Reply::Hangs(error)
            }
            reply => reply,
        });
    }
    if head.opaque != Some(command.opaque.into()) {
        if command.quiet && quiet.loud != Some(command.opaque) {
            quiet.early = Some(head);
            return Ok(Reply::Missing);
        }
        // The answer to something else would be somebody else's value.
        return Err(unexpected());
    }
    let stamp = head.cas.map(|cas| Stamp { process, cas });
    Ok(match head.kind {
        Kind::Value(length) => {
            let value = buffer.text(stream, length)?.into();
            Reply::Item(Item { value, stamp, left: head.left })
        }
        Kind::Done => Reply::Done(stamp),
        Kind::Missing => Reply::Missing,
        Kind::NotStored => Reply::NotStored,
        Kind::Changed => Reply::Changed,
        Kind::Error(reply) => reply,
    })
}

fn read_head(buffer: &mut Buffer, stream: &mut impl Read) -> io::Result<Head> {
    let line = buffer.line(stream)?;
    let line = buffer.get(line).strip_suffix(b"\r\n").ok_or_else(unexpected)?;
    let (word, rest) = split_word(line);
    let (kind, flags) = match word {
        b"VA" => {
            let (length, rest) = split_word(rest);
            let length = number(length).and_then(|length| usize::try_from(length).ok());
            let length = length.filter(|length| *length <= LONGEST).ok_or_else(unexpected)?;
            (Kind::Value(length), rest)
        }
        b"HD" => (Kind::Done, rest),
        b"EN" | b"NF" => (Kind::Missing, rest),
        b"NS" => (Kind::NotStored, rest),
        b"EX" => (Kind::Changed, rest),
        b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR" => (Kind::Error(refusal(line)), &b""[..]),
        _ => return Err(unexpected()),
    };
    read_flags(flags, kind)
}

fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|byte| *byte == b' ') {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, b""),
    }
}

fn read_flags(flags: &[u8], kind: Kind) -> io::Result<Head> {
    let mut head = Head { kind, ..Head::default() };
    for flag in flags.split(|byte| *byte == b' ') {
        let Some((kind, text)) = flag.split_first() else { continue };
        match kind {
            b'c' => head.cas = Some(number(text).ok_or_else(unexpected)?).filter(|cas| *cas != 0),
            b't' if text == b"-1" => head.left = Some(-1),
            b't' => {
                let left = number(text).and_then(|left| i64::try_from(left).ok());
                head.left = Some(left.ok_or_else(unexpected)?);
            }
            b'O' => head.opaque = number(text),
            _ => {}
        }
    }
    Ok(head)
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
        line => Some(error(line)?),
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
    let Some(fact) = line.strip_prefix(b"STAT ") else { return error(line).map(Err) };
    let fact = String::from_utf8_lossy(fact);
    let (name, value) = fact.split_once(' ').unwrap_or((&fact, ""));
    Ok(Ok(Some((name.to_owned(), value.to_owned()))))
}

/// What an error line says where no command was sent; any other line is none.
pub(super) fn error(line: &[u8]) -> io::Result<Error> {
    let word = line.split(|byte| *byte == b' ').next();
    if !matches!(word, Some(b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR")) {
        return Err(unexpected());
    }
    match refusal(line) {
        Reply::Refused(error) | Reply::Hangs(error) => Ok(error),
        _ => Err(unexpected()),
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

#[cfg(test)]
mod tests {
    use super::super::batch::{Batch, Transport};
    use super::super::fleet::Fleet;
    use super::*;
    use proptest::prelude::*;

    /// Reads the answers to `quiet` commands and a last one that is not.
    fn read_all(batch: &Batch, bytes: &[u8]) -> io::Result<Vec<Reply>> {
        let (mut stream, mut buffer, mut quiet) = (bytes, Buffer::new(), Quiet::default());
        quiet.begin(Some(batch.command(batch.len() - 1)));
        let read = |index| read(batch.command(index), 4, &mut quiet, &mut buffer, &mut stream);
        (0..batch.len()).map(read).collect()
    }

    fn batch(quiet: usize) -> Batch {
        let mut batch = Batch::new(Fleet::nowhere(Transport::Meta));
        (0..quiet).for_each(|n| batch.push(&format!("k{n}"), Op::Quiet));
        batch.push("last", Op::Get { more: true });
        batch
    }

    proptest! {
        #[test]
        fn garbage_is_never_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200), quiet in 0..3usize) {
            _ = read_all(&batch(quiet), &bytes);
            for start in ["VA ", "HD ", "EN O", "VA 99999999999 O", "SERVER_ERROR "] {
                _ = read_all(&batch(quiet), &[start.as_bytes(), &bytes].concat());
            }
        }

        #[test]
        fn silence_means_that_there_is_none(there in prop::collection::vec(any::<bool>(), 0..20)) {
            let batch = batch(there.len());
            let mut bytes = Vec::new();
            for (index, _) in there.iter().enumerate().filter(|(_, there)| **there) {
                let opaque = batch.command(index).opaque;
                bytes.extend(format!("VA 2 O{opaque}\r\nv{}\r\n", index % 10).bytes());
            }
            let opaque = batch.command(there.len()).opaque;
            bytes.extend(format!("EN O{opaque}\r\n").bytes());
            let replies = read_all(&batch, &bytes).unwrap();
            for (index, there) in there.iter().enumerate() {
                match &replies[index] {
                    Reply::Item(item) => prop_assert!(*there && item.value[1] == b'0' + (index % 10) as u8),
                    Reply::Missing => prop_assert!(!there),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }

    #[test]
    fn an_answer_to_something_else_is_none() {
        let batch = batch(0);
        let opaque = batch.command(0).opaque;
        for line in ["VA 1\r\nx\r\n", "VA 1 O1\r\nx\r\n", "EN\r\n", "MN\r\n", "STORED\r\n"] {
            if line.contains("O1") && opaque == 1 {
                continue;
            }
            assert!(read_all(&batch, line.as_bytes()).is_err(), "{line}");
        }
        let right = format!("VA 1 c7 t-1 O{opaque}\r\nx\r\n");
        let Reply::Item(item) = &read_all(&batch, right.as_bytes()).unwrap()[0] else { panic!() };
        assert_eq!((item.stamp, item.left), (Some(Stamp { process: 4, cas: 7 }), Some(-1)));
    }
}
