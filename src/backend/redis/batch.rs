//! Commands on their way to the servers.

use std::borrow::Cow;
use std::ops::Range;

use redis::Value;

use super::script::{Known, Source};
use super::slot;
use crate::error::Result;

/// The answer to one command. What the server refused is an `Ok` until somebody reads it.
pub(super) type Reply = Result<Value>;

/// Commands packed one after the other.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    commands: Vec<Command>,
    /// Whether somebody asks for slots.
    clustered: bool,
}

/// One command of a batch.
#[derive(Clone, Copy)]
struct Command {
    end: usize,
    slot: u16,
    /// The script it calls by hash, and where its arguments begin.
    script: Option<(&'static Source, usize)>,
    /// It must not be sent again when it is not known whether it was carried out.
    once: bool,
    /// A server did not know its script: it is sent with the script in full.
    spelled: bool,
    /// It follows an `ASKING`.
    asking: bool,
}

impl Batch {
    pub(super) fn new(clustered: bool) -> Self {
        Self { bytes: Vec::new(), commands: Vec::new(), clustered }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.commands.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    /// Adds a command that may be sent again. Its slot is that of `key`.
    pub(super) fn push(&mut self, key: &str, words: &[&[u8]]) {
        self.pack(words);
        self.commands.push(Command {
            end: self.bytes.len(),
            slot: if self.clustered { slot::of(key.as_bytes()) } else { 0 },
            script: None,
            once: false,
            spelled: false,
            asking: false,
        });
    }

    /// Adds a command that is sent once only.
    pub(super) fn push_once(&mut self, key: &str, words: &[&[u8]]) {
        self.push(key, words);
        self.not_again();
    }

    /// Adds a call of a script, which may be sent again.
    pub(super) fn call(&mut self, script: &'static Known, key: &str, args: &[&[u8]]) {
        let start = self.bytes.len();
        let head: [&[u8]; 4] = [b"EVALSHA", script.hash.as_bytes(), b"1", key.as_bytes()];
        self.push(key, &[&head, args].concat());
        // After the number of words, `EVALSHA` and the hash.
        let counted = self.bytes[start..].iter().position(|byte| *byte == b'\n').unwrap_or(0) + 1;
        let arguments = start + counted + "$7\r\nEVALSHA\r\n$40\r\n\r\n".len() + script.hash.len();
        if let Some(command) = self.commands.last_mut() {
            command.script = Some((script, arguments));
        }
    }

    /// The same, sent once only.
    pub(super) fn call_once(&mut self, script: &'static Known, key: &str, args: &[&[u8]]) {
        self.call(script, key, args);
        self.not_again();
    }

    /// Sends the command added last once only.
    pub(super) fn not_again(&mut self) {
        if let Some(command) = self.commands.last_mut() {
            command.once = true;
        }
    }

    /// As an array of bulk strings. Values may be large: they are copied once, to here.
    fn pack(&mut self, words: &[&[u8]]) {
        let room = words.iter().map(|word| word.len() + 16).sum();
        self.bytes.reserve(room);
        self.head(b'*', words.len());
        for word in words {
            self.head(b'$', word.len());
            self.bytes.extend_from_slice(word);
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    fn head(&mut self, kind: u8, length: usize) {
        self.bytes.push(kind);
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut left = length;
        while at == digits.len() || left > 0 {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
        }
        self.bytes.extend_from_slice(&digits[at..]);
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub(super) fn slot(&self, index: usize) -> u16 {
        self.commands[index].slot
    }

    pub(super) fn is_once(&self, index: usize) -> bool {
        self.commands[index].once
    }

    pub(super) fn is_script(&self, index: usize) -> bool {
        self.commands[index].script.is_some()
    }

    /// Sends a command's script in full from now on.
    pub(super) fn spell_out(&mut self, index: usize) {
        self.commands[index].spelled = true;
    }

    /// Lets a command follow an `ASKING`, or not any more.
    pub(super) fn ask(&mut self, index: usize, asking: bool) {
        self.commands[index].asking = asking;
    }

    pub(super) fn is_asking(&self, index: usize) -> bool {
        self.commands[index].asking
    }

    fn span(&self, index: usize) -> Range<usize> {
        let start = if index == 0 { 0 } else { self.commands[index - 1].end };
        start..self.commands[index].end
    }

    pub(super) fn size(&self, index: usize) -> usize {
        self.span(index).len()
    }

    /// The bytes of these commands.
    pub(super) fn bytes(&self, indices: &[usize]) -> Cow<'_, [u8]> {
        let (Some(&first), Some(&last)) = (indices.first(), indices.last()) else {
            return Cow::Borrowed(&[]);
        };
        let as_packed = |command: &Command| !command.spelled && !command.asking;
        let together = last - first + 1 == indices.len();
        if together && self.commands[first..=last].iter().all(as_packed) {
            return Cow::Borrowed(&self.bytes[self.span(first).start..self.span(last).end]);
        }
        let mut out = Vec::new();
        for &index in indices {
            if self.commands[index].asking {
                out.extend_from_slice(b"*1\r\n$6\r\nASKING\r\n");
            }
            self.write(index, &mut out);
        }
        Cow::Owned(out)
    }

    fn write(&self, index: usize, out: &mut Vec<u8>) {
        let (span, command) = (self.span(index), &self.commands[index]);
        let Some((source, arguments)) = command.script.filter(|_| command.spelled) else {
            return out.extend_from_slice(&self.bytes[span]);
        };
        let head = &self.bytes[span.clone()];
        let counted = head.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        out.extend_from_slice(&head[..counted]);
        let code = source.code;
        out.extend(format!("$4\r\nEVAL\r\n${}\r\n{code}\r\n", code.len()).bytes());
        out.extend_from_slice(&self.bytes[arguments..span.end]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::script;
    use super::*;

    #[test]
    fn a_script_is_spelled_out_with_the_same_arguments() {
        let mut batch = Batch::new(true);
        batch.push("foo", &[b"GET", b"foo"]);
        batch.call(&script::SWAP, "bar", &[b"seen", b"UNLINK"]);
        assert_eq!(&*batch.bytes(&[0]), b"*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n");
        let called = String::from_utf8(batch.bytes(&[1]).to_vec()).unwrap();
        let hash = &script::SWAP.hash;
        let tail = "$1\r\n1\r\n$3\r\nbar\r\n$4\r\nseen\r\n$6\r\nUNLINK\r\n";
        assert_eq!(called, format!("*6\r\n$7\r\nEVALSHA\r\n$40\r\n{hash}\r\n{tail}"));
        batch.spell_out(1);
        let spelled = String::from_utf8(batch.bytes(&[1]).to_vec()).unwrap();
        let code = script::SWAP.code;
        assert_eq!(spelled, format!("*6\r\n$4\r\nEVAL\r\n${}\r\n{code}\r\n{tail}", code.len()));
        assert_eq!((batch.slot(0), batch.slot(1)), (12182, 5061));
    }
}
