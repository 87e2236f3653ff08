//! The binary protocol: frames of fixed heads. For servers that want a login by SASL, which the text
//! protocols do not have.

use std::io::{self, Read};

use super::batch::{Command, Item, Mode, Op, Reply, Stamp};
use super::name::Wire;
use crate::backend::remote::buffer::{Buffer, unexpected};
use crate::error::{Error, ErrorKind, Result};

const REQUEST: u8 = 0x80;
const RESPONSE: u8 = 0x81;

const GET: u8 = 0x00;
const SET: u8 = 0x01;
const ADD: u8 = 0x02;
const REPLACE: u8 = 0x03;
const DELETE: u8 = 0x04;
const INCREMENT: u8 = 0x05;
const VERSION: u8 = 0x0b;
const STAT: u8 = 0x10;
const TOUCH: u8 = 0x1c;
const SASL_AUTH: u8 = 0x21;

const OK: u16 = 0x00;
const NOT_FOUND: u16 = 0x01;
const EXISTS: u16 = 0x02;
const TOO_LARGE: u16 = 0x03;
const NOT_STORED: u16 = 0x05;
const NO_NUMBER: u16 = 0x06;
const DENIED: u16 = 0x20;
const FULL: u16 = 0x82;
const BUSY: u16 = 0x85;
const LATER: u16 = 0x86;

/// The longest answer there is: a value and what is around it.
const LONGEST: usize = 1 << 30;

/// What a command is called.
pub(super) fn opcode(op: &Op<'_>) -> u8 {
    match op {
        Op::Get { .. } | Op::Quiet | Op::Same(_) => GET,
        Op::Touch { .. } => TOUCH,
        Op::Store { mode: Mode::Always | Mode::IfStill(_), .. } => SET,
        Op::Store { mode: Mode::IfAbsent, .. } => ADD,
        Op::Store { mode: Mode::IfPresent, .. } => REPLACE,
        Op::Delete(_) => DELETE,
        Op::Add { .. } | Op::Subtract { .. } => INCREMENT,
    }
}

/// Writes a command.
pub(super) fn write(out: &mut Vec<u8>, wire: &Wire<'_>, op: Op<'_>, opaque: u32) {
    let (mut extras, mut value): (Vec<u8>, &[u8]) = (Vec::new(), b"");
    let cas = match op {
        Op::Store { mode: Mode::IfStill(Stamp { cas, .. }), .. } => cas,
        Op::Delete(Some(Stamp { cas, .. })) => cas,
        _ => 0,
    };
    match op {
        Op::Get { .. } | Op::Quiet | Op::Same(_) | Op::Delete(_) => {}
        Op::Touch { until, .. } => extras.extend(until.to_be_bytes()),
        Op::Store { bytes, until, .. } => {
            extras.extend([0; 4]);
            extras.extend(until.to_be_bytes());
            value = bytes;
        }
        // Modulo 2^64, as servers add: below 0 they would not go.
        Op::Subtract { by } => {
            extras.extend(by.wrapping_neg().to_be_bytes());
            extras.extend([0; 8]);
            // Nothing is made where nothing is.
            extras.extend([0xff; 4]);
        }
        Op::Add { by, first, until } => {
            extras.extend(by.to_be_bytes());
            extras.extend(first.to_be_bytes());
            extras.extend(until.to_be_bytes());
        }
    }
    frame(out, opcode(&op), &extras, wire.raw.as_bytes(), value, opaque, cas);
}

fn frame(
    out: &mut Vec<u8>,
    opcode: u8,
    extras: &[u8],
    key: &[u8],
    value: &[u8],
    opaque: u32,
    cas: u64,
) {
    // Names have at most 250 bytes, and what is larger than a server takes is not sent.
    let (key_length, extras_length) = (key.len() as u16, extras.len() as u8);
    let body = (extras.len() + key.len() + value.len()) as u32;
    out.extend([REQUEST, opcode]);
    out.extend(key_length.to_be_bytes());
    out.extend([extras_length, 0, 0, 0]);
    out.extend(body.to_be_bytes());
    out.extend(opaque.to_be_bytes());
    out.extend(cas.to_be_bytes());
    for part in [extras, key, value] {
        out.extend_from_slice(part);
    }
}

/// Asks who is there.
pub(super) fn version(out: &mut Vec<u8>) {
    frame(out, VERSION, b"", b"", b"", 0, 0);
}

/// Asks for statistics; an empty one ends them.
pub(super) fn stats(out: &mut Vec<u8>, which: &str) {
    frame(out, STAT, b"", which.as_bytes(), b"", 0, 0);
}

/// Logs in.
pub(super) fn login(out: &mut Vec<u8>, user: &str, password: &str) {
    let message = format!("\0{user}\0{password}");
    frame(out, SASL_AUTH, b"", b"PLAIN", message.as_bytes(), 0, 0);
}

/// An answer as it came.
pub(super) struct Frame {
    status: u16,
    opaque: u32,
    cas: u64,
    extras: usize,
    key: usize,
    body: Vec<u8>,
}

impl Frame {
    pub(super) fn read(buffer: &mut Buffer, stream: &mut impl Read) -> io::Result<Self> {
        let head = buffer.exact(stream, 24)?;
        let at = |from: usize, to: usize| {
            head[from..to].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let (extras, key, length) = (at(4, 5) as usize, at(2, 4) as usize, at(8, 12) as usize);
        if head[0] != RESPONSE || length > LONGEST || extras + key > length {
            return Err(unexpected());
        }
        let body = buffer.exact(stream, length)?;
        let (status, opaque) = (at(6, 8) as u16, at(12, 16) as u32);
        Ok(Self { status, opaque, cas: at(16, 24), extras, key, body })
    }

    fn key(&self) -> &[u8] {
        &self.body[self.extras..self.extras + self.key]
    }

    fn value(&self) -> &[u8] {
        &self.body[self.extras + self.key..]
    }

    /// What the server refuses, if it does.
    pub(super) fn refusal(&self) -> Option<Error> {
        let kind = match self.status {
            OK => return None,
            DENIED => ErrorKind::Denied,
            TOO_LARGE => ErrorKind::TooLarge,
            FULL => ErrorKind::Full,
            BUSY | LATER => ErrorKind::Unavailable,
            _ => ErrorKind::Backend,
        };
        let text = String::from_utf8_lossy(self.value());
        Some(Error::new(kind, format!("memcached says {text} (status {})", self.status)))
    }
}

/// The next of the statistics asked for; none when they are at their end.
pub(super) fn fact(
    buffer: &mut Buffer,
    stream: &mut impl Read,
) -> io::Result<Result<Option<(String, String)>>> {
    let frame = Frame::read(buffer, stream)?;
    if let Some(error) = frame.refusal() {
        return Ok(Err(error));
    }
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let there = !frame.key().is_empty();
    Ok(Ok(there.then(|| (text(frame.key()), text(frame.value())))))
}

/// Reads the answer to a command. `process` is that of the server, if it numbers entries.
///
/// # Errors
/// `InvalidData` for what is none, or is the answer to something else, and those of the stream.
pub(super) fn read(
    command: &Command,
    process: u64,
    buffer: &mut Buffer,
    stream: &mut impl Read,
) -> io::Result<Reply> {
    let frame = Frame::read(buffer, stream)?;
    if frame.opaque != command.opaque {
        return Err(unexpected());
    }
    let stamp = (frame.cas != 0).then_some(Stamp { process, cas: frame.cas });
    let conditional = command.only.is_some();
    Ok(match (frame.status, command.opcode()) {
        (OK, GET) if command.same.is_some() => Reply::Done(stamp),
        (OK, GET) => {
            let value = bytes::Bytes::from(frame.body).slice(frame.extras + frame.key..);
            Reply::Item(Item { value, stamp, left: None })
        }
        (OK, INCREMENT) => {
            let number = frame.value().try_into().map(u64::from_be_bytes);
            Reply::Number(number.map_err(|_| unexpected())?)
        }
        (OK, _) => Reply::Done(stamp),
        (NOT_FOUND, REPLACE) => Reply::NotStored,
        (NOT_FOUND, _) => Reply::Missing,
        (EXISTS, _) if conditional => Reply::Changed,
        (EXISTS | NOT_STORED, _) => Reply::NotStored,
        (NO_NUMBER, _) => Reply::NoNumber,
        _ => match frame.refusal() {
            Some(error) if matches!(error.kind(), ErrorKind::TooLarge | ErrorKind::Full) => {
                Reply::Refused(error)
            }
            Some(error) => Reply::Hangs(error),
            None => return Err(unexpected()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::batch::{Batch, Transport};
    use super::super::fleet::Fleet;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn garbage_is_never_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..100), marked in any::<bool>()) {
            let mut batch = Batch::new(Fleet::nowhere(Transport::Binary));
            batch.push("k", Op::Get { more: true });
            let bytes = if marked { [&[RESPONSE][..], &bytes].concat() } else { bytes };
            let read = read(batch.command(0), 4, &mut Buffer::new(), &mut &bytes[..]);
            prop_assert!(!matches!(read, Ok(Reply::Item(_))));
        }
    }

    #[test]
    fn an_answer_is_that_to_the_command() {
        let mut batch = Batch::new(Fleet::nowhere(Transport::Binary));
        batch.push("k", Op::Get { more: true });
        let opaque = batch.command(0).opaque;
        let answer = |opaque: u32| {
            let mut bytes = vec![RESPONSE, GET, 0, 0, 4, 0, 0, 0, 0, 0, 0, 5];
            bytes.extend(opaque.to_be_bytes());
            bytes.extend(9u64.to_be_bytes());
            bytes.extend([0, 0, 0, 0, b'x']);
            bytes
        };
        let read = |bytes: &[u8]| read(batch.command(0), 4, &mut Buffer::new(), &mut &bytes[..]);
        assert!(read(&answer(opaque ^ 1)).is_err());
        let Reply::Item(item) = read(&answer(opaque)).unwrap() else { panic!("a value") };
        assert_eq!((&*item.value, item.stamp), (&b"x"[..], Some(Stamp { process: 4, cas: 9 })));
    }
}
