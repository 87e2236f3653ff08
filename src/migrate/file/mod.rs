//! The file of an export: lines of JSON, each of which proves all that came before it.
//!
//! `docs/migration.md` describes it. Every line ends in `,"sum":"…"}` with the XXH3 of all bytes of
//! the file before that comma, so a damaged line is known before anything of it is used, and so is one
//! that is missing.

mod line;
mod reader;
mod writer;

use std::fmt;

pub(super) use line::{Header, Line};
pub(super) use reader::{Next, Reader};
pub(super) use writer::Writer;

use crate::error::{Error, ErrorKind};

/// What the first line calls the format.
const FORMAT: &str = "yokedcache-export";
/// The version written, and the only one read.
const VERSION: u32 = 1;
/// What the sum of a line begins and ends with, and how long it is.
const SUM: &[u8] = b",\"sum\":\"";
const SUM_END: &[u8] = b"\"}";
const SUM_DIGITS: usize = 16;

/// What is wrong with a file that is imported: the source of the [error](crate::Incomplete::error), and
/// told by [`Incomplete::fault`](crate::Incomplete::fault).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileFault {
    /// In which line, counted from 1.
    pub line: u64,
    /// What.
    pub kind: FaultKind,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// It does not begin as an export does.
    Foreign,
    /// It is an export of this version, which is not known.
    Version(u32),
    /// The line, or one before it that is missing, is not as it was written.
    Damaged,
    /// It ends before its last line.
    CutOff,
    /// Something follows its last line.
    Trailing,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line;
        match self.kind {
            FaultKind::Foreign => write!(f, "line {line}: this is no export of yokedcache"),
            FaultKind::Version(version) => {
                write!(f, "line {line}: an export of version {version}; {VERSION} is known")
            }
            FaultKind::Damaged => {
                write!(f, "line {line} is damaged, or lines before it are missing")
            }
            FaultKind::CutOff => write!(f, "line {line}: the file is cut off here"),
            FaultKind::Trailing => write!(f, "line {line}: something follows the end"),
        }
    }
}

impl std::error::Error for FileFault {}

impl From<FileFault> for Error {
    fn from(fault: FileFault) -> Self {
        Self::with_source(ErrorKind::File, fault.to_string(), fault)
    }
}

/// The error of a file that cannot be read or written.
fn failed(what: &'static str, error: std::io::Error) -> Error {
    Error::with_source(ErrorKind::File, format!("{what}: {error}"), error)
}
