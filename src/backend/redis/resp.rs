//! Reading replies: RESP2, as every server since Redis 1.2 speaks it.
//!
//! The redis crate has a parser, too. It clears eight kilobytes for each reply and keeps the state
//! of half-read ones, which is most of what a small get costs; here a reply that does not come to its
//! end ends the connection.

use std::io::{self, Read};

use redis::Value;

use crate::backend::remote::buffer::{Buffer, unexpected};

/// The longest string servers send.
const LONGEST: usize = 512 << 20;
/// `CLUSTER SLOTS` nests four deep.
const DEEPEST: usize = 16;
/// More values than any reply to us has.
const MOST_VALUES: usize = 1 << 20;
/// Room made for what a server only announced.
const ROOM: usize = 1024;

/// What was received and not yet used.
pub(super) struct Reader(Buffer);

/// The first line of a reply.
enum Head {
    Done(Value),
    Bulk(usize),
    Array(usize),
}

impl Reader {
    pub(super) fn new() -> Self {
        Self(Buffer::new())
    }

    /// Waits until there is something to read.
    pub(super) fn wait(&mut self, stream: &mut impl Read) -> io::Result<()> {
        self.0.wait(stream)
    }

    /// Whether all that was received has been used. After the last answer that was asked for
    /// anything else means that server and client are out of step.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next reply.
    ///
    /// # Errors
    /// `InvalidData` for what is none, and those of the stream.
    pub(super) fn value(&mut self, stream: &mut impl Read) -> io::Result<Value> {
        self.nested(stream, 0, &mut 0)
    }

    fn nested(
        &mut self,
        stream: &mut impl Read,
        depth: usize,
        count: &mut usize,
    ) -> io::Result<Value> {
        *count += 1;
        match self.head(stream)? {
            Head::Done(value) => Ok(value),
            Head::Bulk(length) => Ok(Value::BulkString(self.0.text(stream, length)?)),
            Head::Array(_) if depth == DEEPEST || *count > MOST_VALUES => Err(unexpected()),
            Head::Array(length) => {
                let mut values = Vec::with_capacity(length.min(ROOM));
                for _ in 0..length {
                    if *count > MOST_VALUES {
                        return Err(unexpected());
                    }
                    values.push(self.nested(stream, depth + 1, count)?);
                }
                Ok(Value::Array(values))
            }
        }
    }

    fn head(&mut self, stream: &mut impl Read) -> io::Result<Head> {
        self.0.wait(stream)?;
        if !self.0.first().is_some_and(|kind| b"+-:$*".contains(&kind)) {
            return Err(unexpected());
        }
        let line = self.0.line(stream)?;
        read_head(self.0.get(line)).ok_or_else(unexpected)
    }
}

fn read_head(line: &[u8]) -> Option<Head> {
    let (kind, rest) = line.strip_suffix(b"\r\n")?.split_first()?;
    let text = || std::str::from_utf8(rest).ok();
    let length = |most: usize| match number(rest)? {
        -1 => Some(None),
        length => usize::try_from(length).ok().filter(|length| *length <= most).map(Some),
    };
    Some(match kind {
        b'+' if rest == b"OK" => Head::Done(Value::Okay),
        b'+' => Head::Done(Value::SimpleString(text()?.to_owned())),
        b':' => Head::Done(Value::Int(number(rest)?)),
        // What an error is called and says, the crate takes apart.
        b'-' => Head::Done(redis::parse_redis_value(line).ok()?),
        b'$' => length(LONGEST)?.map_or(Head::Done(Value::Nil), Head::Bulk),
        b'*' => length(usize::MAX >> 1)?.map_or(Head::Done(Value::Nil), Head::Array),
        _ => return None,
    })
}

fn number(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', digits) => (true, digits),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0i64, |sum, byte| {
        let digit = i64::from(byte.wrapping_sub(b'0'));
        let shifted = sum.checked_mul(10).filter(|_| byte.is_ascii_digit())?;
        if negative { shifted.checked_sub(digit) } else { shifted.checked_add(digit) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Hands out its bytes in pieces.
    struct Pieces<'a> {
        left: &'a [u8],
        most: usize,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.left.len().min(self.most).min(buffer.len());
            buffer[..count].copy_from_slice(&self.left[..count]);
            self.left = &self.left[count..];
            Ok(count)
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            Just(Value::Okay),
            any::<i64>().prop_map(Value::Int),
            "[a-zA-Z ]{0,9}"
                .prop_filter("the crate has a word for it", |text| text != "OK")
                .prop_map(Value::SimpleString),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::BulkString),
        ];
        leaf.prop_recursive(3, 20, 5, |inner| {
            prop::collection::vec(inner, 0..5).prop_map(Value::Array)
        })
    }

    fn write(value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Nil => out.extend(b"$-1\r\n"),
            Value::Okay => out.extend(b"+OK\r\n"),
            Value::Int(number) => out.extend(format!(":{number}\r\n").bytes()),
            Value::SimpleString(text) => out.extend(format!("+{text}\r\n").bytes()),
            Value::BulkString(bytes) => {
                out.extend(format!("${}\r\n", bytes.len()).bytes());
                out.extend(bytes);
                out.extend(b"\r\n");
            }
            Value::Array(values) => {
                out.extend(format!("*{}\r\n", values.len()).bytes());
                values.iter().for_each(|value| write(value, out));
            }
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn replies_are_read_in_order_whatever_pieces_they_come_in(
            sent in prop::collection::vec(value(), 1..6), most in 1..50usize,
        ) {
            let mut bytes = Vec::new();
            sent.iter().for_each(|value| write(value, &mut bytes));
            let (mut stream, mut reader) = (Pieces { left: &bytes, most }, Reader::new());
            for value in &sent {
                prop_assert_eq!(&reader.value(&mut stream).unwrap(), value);
            }
            let end = reader.value(&mut stream).unwrap_err();
            prop_assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        }

        #[test]
        fn the_crates_parser_agrees(bytes in prop::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'$'), Just(b'*'), Just(b':'), Just(b'+'),
                        Just(b'-'), Just(b'0'), Just(b'1'), Just(b'2'), any::<u8>()], 0..40))
        {
            let ours = Reader::new().value(&mut Pieces { left: &bytes, most: 7 });
            if let Ok(value) = ours {
                // It may go on to complain of what follows the reply.
                if let Ok(theirs) = redis::parse_redis_value(&bytes) {
                    prop_assert_eq!(value, theirs);
                }
            }
        }

        #[test]
        fn what_a_server_announces_takes_no_memory(length in 1..i64::MAX, array in any::<bool>()) {
            let kind = if array { '*' } else { '$' };
            let head = format!("{kind}{length}\r\n");
            let mut stream = Pieces { left: head.as_bytes(), most: 9 };
            prop_assert!(Reader::new().value(&mut stream).is_err());
        }
    }

    #[test]
    fn long_strings_and_lines_are_read_whole() {
        let mut bytes = Vec::new();
        let long = Value::BulkString(vec![7; 100_000]);
        let values = [long.clone(), Value::Int(1), long, Value::SimpleString("x".repeat(40_000))];
        values.iter().for_each(|value| write(value, &mut bytes));
        let (mut stream, mut reader) = (Pieces { left: &bytes, most: 60_000 }, Reader::new());
        for value in &values {
            assert_eq!(&reader.value(&mut stream).unwrap(), value);
        }
    }

    #[test]
    fn errors_keep_their_code() {
        let mut reader = Reader::new();
        let line = b"-MOVED 3999 127.0.0.1:6381\r\n";
        let Ok(Value::ServerError(error)) = reader.value(&mut &line[..]) else { panic!() };
        assert_eq!((error.code(), error.details()), ("MOVED", Some("3999 127.0.0.1:6381")));
        for garbage in
            ["hello\r\n", "$x\r\n", "$-2\r\n", "$3\r\nabcd\r\n", ":\r\n", ":1a\r\n", "$1\n1\r\n"]
        {
            let error = Reader::new().value(&mut garbage.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{garbage:?}");
        }
        let deep = "*1\r\n".repeat(1_000_000);
        assert!(Reader::new().value(&mut deep.as_bytes()).is_err());
    }
}
