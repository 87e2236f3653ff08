//! What was received and not yet used.

use std::io::{self, Read};
use std::ops::Range;

/// What is read at once. Longer texts are read straight to where they stay.
const SIZE: usize = 16 << 10;
/// The longest line.
const LONGEST_LINE: usize = 64 << 10;
/// Room made for what a server only announced.
const ROOM: usize = 1 << 20;

/// What was received and not yet used.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; SIZE].into(), start: 0, end: 0 }
    }

    /// Whether all that was received has been used. After the last answer that was asked for
    /// anything else means that server and client are out of step.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Waits until there is something to read.
    pub(crate) fn wait(&mut self, stream: &mut impl Read) -> io::Result<()> {
        if self.is_empty() { self.fill(stream) } else { Ok(()) }
    }

    pub(crate) fn first(&self) -> Option<u8> {
        self.bytes[self.start..self.end].first().copied()
    }

    /// Takes a line, with its end, as a range of the bytes received.
    ///
    /// # Errors
    /// `InvalidData` for one that is too long, and those of the stream.
    pub(crate) fn line(&mut self, stream: &mut impl Read) -> io::Result<Range<usize>> {
        let mut searched = 0;
        loop {
            let held = &self.bytes[self.start..self.end];
            if let Some(at) = held[searched..].iter().position(|byte| *byte == b'\n') {
                let start = self.start;
                self.start += searched + at + 1;
                return Ok(start..self.start);
            }
            searched = held.len();
            if searched > LONGEST_LINE {
                return Err(unexpected());
            }
            self.fill(stream)?;
        }
    }

    /// What is in a range just taken.
    pub(crate) fn get(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Takes so many bytes and the end of a line after them.
    ///
    /// # Errors
    /// `InvalidData` if no line ends there, and those of the stream.
    pub(crate) fn text(&mut self, stream: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
        if let Some(text) = self.bytes[self.start..self.end].get(..length + 2) {
            let text = text.strip_suffix(b"\r\n").map(<[u8]>::to_vec);
            self.start += length + 2;
            return text.ok_or_else(unexpected);
        }
        let mut text = self.exact(stream, length + 2)?;
        if !text.ends_with(b"\r\n") {
            return Err(unexpected());
        }
        text.truncate(length);
        Ok(text)
    }

    /// Takes so many bytes.
    ///
    /// # Errors
    /// Those of the stream.
    pub(crate) fn exact(&mut self, stream: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
        let held = &self.bytes[self.start..self.end];
        let held = &held[..held.len().min(length)];
        let mut taken = Vec::with_capacity(length.min(ROOM).max(held.len()));
        taken.extend_from_slice(held);
        self.start += held.len();
        let missing = length - taken.len();
        if missing > 0 && stream.take(missing as u64).read_to_end(&mut taken)? != missing {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(taken)
    }

    /// Reads more behind what is there.
    pub(crate) fn fill(&mut self, stream: &mut impl Read) -> io::Result<()> {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.bytes.len() {
            let mut longer = std::mem::take(&mut self.bytes).into_vec();
            longer.resize(longer.len() * 2, 0);
            self.bytes = longer.into();
        }
        match stream.read(&mut self.bytes[self.end..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.end += read;
                Ok(())
            }
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Buffer")
    }
}

/// The error for what is no answer.
pub(crate) fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what came is no answer")
}
