//! Writes an export line by line.

use std::hash::Hasher;
use std::io::Write;

use serde::Serialize;
use twox_hash::XxHash3_64;

use super::line::{End, Header, Line};
use super::{SUM, SUM_END, failed};
use crate::error::{Error, ErrorKind, Result};

pub(in crate::migrate) struct Writer<W> {
    out: W,
    sum: XxHash3_64,
    entries: u64,
    line: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub(in crate::migrate) fn new(out: W, header: &Header) -> Result<Self> {
        let mut writer = Self { out, sum: XxHash3_64::new(), entries: 0, line: Vec::new() };
        writer.write(header)?;
        Ok(writer)
    }

    pub(in crate::migrate) fn entry(&mut self, line: &Line<'_>) -> Result<()> {
        self.entries += 1;
        self.write(line)
    }

    /// Ends the file. Without this it counts as cut off.
    pub(in crate::migrate) fn end(mut self) -> Result<()> {
        self.write(&End { entries: self.entries })?;
        self.out.flush().map_err(|error| failed("the export cannot be written", error))
    }

    fn write(&mut self, line: &impl Serialize) -> Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)
            .map_err(|error| Error::with_source(ErrorKind::Encode, "not a line of JSON", error))?;
        // The sum goes in before the last brace.
        self.line.pop();
        self.sum.write(&self.line);
        let begun = self.line.len();
        self.line.extend_from_slice(SUM);
        self.line.extend_from_slice(format!("{:016x}", self.sum.finish()).as_bytes());
        self.line.extend_from_slice(SUM_END);
        self.line.push(b'\n');
        self.sum.write(&self.line[begun..]);
        self.out
            .write_all(&self.line)
            .map_err(|error| failed("the export cannot be written", error))
    }
}
