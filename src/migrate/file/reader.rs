//! Reads an export line by line.

use std::hash::Hasher;
use std::io::{BufRead, Read};

use serde::Deserialize;
use twox_hash::XxHash3_64;

use super::line::{End, Header, Line};
use super::{FORMAT, FaultKind, FileFault, SUM, SUM_DIGITS, SUM_END, VERSION, failed};
use crate::error::Result;

/// The longest first line: it names a prefix.
const LONGEST_HEADER: u64 = 1 << 20;
/// The longest line: a value of 512 MiB in base64, or in text with as much to escape.
const LONGEST: u64 = 1 << 30;

pub(in crate::migrate) struct Reader<R> {
    from: R,
    sum: XxHash3_64,
    /// How many lines were read.
    lines: u64,
    line: Vec<u8>,
}

/// What comes next.
#[derive(Debug)]
pub(in crate::migrate) enum Next<'l> {
    Entry(Line<'l>),
    End,
}

/// What the first line of every version says.
#[derive(Deserialize)]
struct Sign {
    format: String,
    version: u32,
}

impl<R: BufRead> Reader<R> {
    /// Begins with a file's first line.
    pub(in crate::migrate) fn new(from: R) -> Result<(Self, Header)> {
        let (sum, line) = (XxHash3_64::new(), Vec::new());
        let mut reader = Self { from, sum, lines: 0, line };
        let whole = reader.read_line(LONGEST_HEADER)?;
        // A later version may be written in another way from here on.
        let sign = serde_json::from_slice::<Sign>(&reader.line);
        match sign {
            Ok(sign) if sign.format != FORMAT => return Err(reader.fault(FaultKind::Foreign)),
            Ok(sign) if sign.version != VERSION => {
                return Err(reader.fault(FaultKind::Version(sign.version)));
            }
            Ok(_) if !whole => return Err(reader.fault(FaultKind::CutOff)),
            Err(_) if !whole && reader.looks_like_ours() => {
                return Err(reader.fault(FaultKind::CutOff));
            }
            Err(_) => return Err(reader.fault(FaultKind::Foreign)),
            Ok(_) => {}
        }
        reader.check()?;
        let header = serde_json::from_slice(&reader.line);
        let header = header.map_err(|_| reader.fault(FaultKind::Damaged))?;
        Ok((reader, header))
    }

    /// Whether what was read is the beginning of our first line, or nothing at all.
    fn looks_like_ours(&self) -> bool {
        let begins = format!("{{\"format\":\"{FORMAT}\"");
        self.line.starts_with(begins.as_bytes()) || begins.as_bytes().starts_with(&self.line)
    }

    /// The next line.
    pub(in crate::migrate) fn next(&mut self) -> Result<Next<'_>> {
        if !self.read_line(LONGEST)? {
            return Err(self.fault(FaultKind::CutOff));
        }
        self.check()?;
        let entries = self.lines - 2;
        if self.line.starts_with(b"{\"entries\":") {
            let end: Option<End> = serde_json::from_slice(&self.line).ok();
            if end.is_none_or(|end| end.entries != entries) {
                return Err(self.fault(FaultKind::Damaged));
            }
            return self.ends();
        }
        let damaged = FileFault { line: self.lines, kind: FaultKind::Damaged };
        match serde_json::from_slice(&self.line) {
            Ok(line) => Ok(Next::Entry(line)),
            Err(_) => Err(damaged.into()),
        }
    }

    /// The number of the line read last.
    pub(in crate::migrate) fn fault(&self, kind: FaultKind) -> crate::Error {
        FileFault { line: self.lines, kind }.into()
    }

    fn ends(&mut self) -> Result<Next<'static>> {
        let more =
            self.from.fill_buf().map_err(|error| failed("the file cannot be read", error))?;
        if more.is_empty() {
            return Ok(Next::End);
        }
        self.lines += 1;
        Err(self.fault(FaultKind::Trailing))
    }

    /// Reads a line; false if the file ends before it does, or it is longer than any.
    fn read_line(&mut self, longest: u64) -> Result<bool> {
        self.line.clear();
        self.lines += 1;
        let mut from = self.from.by_ref().take(longest);
        from.read_until(b'\n', &mut self.line)
            .map_err(|error| failed("the file cannot be read", error))?;
        Ok(self.line.last() == Some(&b'\n'))
    }

    /// Whether the line is as it was written, and all before it.
    fn check(&mut self) -> Result<()> {
        let said = said(&self.line);
        let Some((content, said)) = said else { return Err(self.fault(FaultKind::Damaged)) };
        self.sum.write(&self.line[..content]);
        if self.sum.finish() != said {
            return Err(self.fault(FaultKind::Damaged));
        }
        self.sum.write(&self.line[content..]);
        Ok(())
    }
}

/// Where the sum of a line begins, and what it is.
fn said(line: &[u8]) -> Option<(usize, u64)> {
    let line = line.strip_suffix(b"\n")?.strip_suffix(SUM_END)?;
    let digits = line.len().checked_sub(SUM_DIGITS)?;
    let (content, digits) = line.split_at(digits);
    let content = content.strip_suffix(SUM)?.len();
    // Written in one way only: no sign, no capital letter.
    let is_digit = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    let digits = digits.iter().all(is_digit).then(|| std::str::from_utf8(digits).ok())??;
    Some((content, u64::from_str_radix(digits, 16).ok()?))
}
