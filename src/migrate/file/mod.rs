//! The file of an export: lines of JSON, each of which proves all that came before it.
//!
//! `docs/migration.md` describes it. Every line ends in `,"sum":"…"}` with the XXH3 of all bytes of
//! the file before that comma, so a damaged line is known before anything of it is used, and so is one
//! that is missing.

mod line;
mod reader;
mod writer;

use std::fmt;

pub(super) use line::{Header, Line, left};
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::backend::{CodecId, Entry, Life, Packing, Tags};

    fn entries() -> impl Strategy<Value = (String, Entry, Life)> {
        let value = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..100),
            ".{0,40}".prop_map(String::into_bytes),
        ];
        let codec = prop_oneof![0..6u8, any::<u8>()];
        let form = (value, codec, 0..3usize, any::<u32>(), any::<u32>());
        let end = || prop::option::of((1..=u64::from(u32::MAX)).prop_map(Duration::from_millis));
        let tags = prop::collection::btree_set(".{1,8}", 0..4);
        (".{1,20}", form, tags, end(), end(), end()).prop_map(
            |(key, (value, codec, packing, schema, cost_ms), tags, soft, hard, idle)| {
                let packing = [Packing::None, Packing::Lz4, Packing::Zstd][packing];
                let (tags, codec) = (Tags::new(tags), CodecId(codec));
                let entry = Entry { packing, schema, cost_ms, tags, ..Entry::new(value, codec) };
                (key, entry, Life { soft, hard, idle, ..Life::FOREVER })
            },
        )
    }

    fn written(entries: &[(String, Entry, Life)], since: Duration) -> Vec<u8> {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, &Header::new("shop:", 17)).unwrap();
        for (key, entry, life) in entries {
            let tags = entry.tags.iter().map(str::to_owned).collect();
            writer.entry(&Line::new(key, entry, tags, life, since)).unwrap();
        }
        writer.end().unwrap();
        file
    }

    proptest! {
        #[test]
        fn entries_come_back_as_they_were_written(
            entries in prop::collection::vec(entries(), 0..5), since in 0..1_000u64,
        ) {
            let since = Duration::from_millis(since);
            let file = written(&entries, since);
            for line in file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok());
            }
            let (mut reader, header) = Reader::new(&file[..]).unwrap();
            prop_assert_eq!(header, Header::new("shop:", 17));
            for (key, entry, life) in &entries {
                let Next::Entry(line) = reader.next().unwrap() else { panic!("an entry") };
                prop_assert_eq!(&*line.key, key);
                let read = line.entry().unwrap();
                prop_assert_eq!(read.value.bytes(), entry.value.bytes());
                prop_assert_eq!((read.codec, read.packing), (entry.codec, entry.packing));
                prop_assert_eq!((read.schema, read.cost_ms), (entry.schema, entry.cost_ms));
                prop_assert_eq!(&read.tags, &entry.tags);
                prop_assert_eq!(line.life(since), Some(*life));
            }
            prop_assert!(matches!(reader.next().unwrap(), Next::End));
        }

        #[test]
        fn garbage_is_an_error_and_nothing_else(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Reader::new(&bytes[..]).is_err());
        }
    }

    #[test]
    fn what_has_expired_since_is_over_and_what_is_stale_stays() {
        let second = Duration::from_secs(1);
        let entry = Entry::new("v", CodecId::JSON);
        let life = Life { soft: Some(second), hard: Some(3 * second), ..Life::FOREVER };
        let line = Line::new("k", &entry, Vec::new(), &life, Duration::ZERO);
        let left = |since| line.life(since);
        let stale = Life { soft: Some(Duration::ZERO), hard: Some(second), ..Life::FOREVER };
        assert_eq!(left(2 * second), Some(stale));
        assert_eq!(left(3 * second), None);
        let idle = Life { idle: Some(second), ..Life::FOREVER };
        let line = Line::new("k", &entry, Vec::new(), &idle, Duration::ZERO);
        assert_eq!(line.life(second), None);
    }
}
