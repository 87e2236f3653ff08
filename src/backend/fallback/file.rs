//! The journal on disk: a line of JSON for each item, after one that says what the file is.
//!
//! A line is written before the call that noted it returns, and not synced: it survives the process,
//! not the machine.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::journal::Item;
use crate::error::{Error, ErrorKind, Result};

/// The first line. Another format has another number.
const HEADER: &str = "{\"yokedcache_journal\":1}\n";

#[derive(Debug)]
pub(super) struct JournalFile {
    path: PathBuf,
    file: File,
    /// How long it is up to its last whole line.
    length: u64,
    /// Perhaps there is half a line behind that.
    torn: bool,
}

impl JournalFile {
    /// Opens the journal, or begins one; with what is noted there.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if it cannot be opened, or is no journal, or
    /// has a line that cannot be read. A last line without an end is none: whoever wrote it was not
    /// answered.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<Item>)> {
        let mut options = OpenOptions::new();
        options.create(true).read(true).append(true);
        // Keys are nobody else's business.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(|error| unusable(path, error))?;
        if !file.metadata().is_ok_and(|data| data.is_file()) {
            return Err(broken(path, 1, "this is no file"));
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(|error| unusable(path, error))?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole == 0 && !HEADER.as_bytes().starts_with(&text) {
            return Err(broken(path, 1, "this is no journal"));
        }
        let items = parse(path, &text[..whole])?;
        let mut journal = Self { path: path.into(), file, length: whole as u64, torn: true };
        if whole == 0 {
            journal.write(HEADER).map_err(|error| unusable(path, error))?;
        }
        Ok((journal, items))
    }

    /// One to which nothing can be written.
    #[cfg(test)]
    pub(super) fn read_only(path: &Path) -> Self {
        Self { path: path.into(), file: File::open(path).unwrap(), length: 0, torn: false }
    }

    /// Writes an item down.
    ///
    /// # Errors
    /// [`Backend`](ErrorKind::Backend) if it cannot be written.
    pub(super) fn append(&mut self, item: &Item) -> Result<()> {
        let written = serde_json::to_string(item)
            .map_err(io::Error::from)
            .and_then(|line| self.write(&(line + "\n")));
        written.map_err(|error| {
            let what = format!("noted, but not in {}", self.path.display());
            Error::with_source(ErrorKind::Backend, what, error)
        })
    }

    /// Forgets all items: they are carried out.
    pub(super) fn clear(&mut self) {
        let header = HEADER.len() as u64;
        match self.file.set_len(header) {
            Ok(()) => (self.length, self.torn) = (header, false),
            // They will be carried out once more, which removes too much and nothing else.
            Err(error) => {
                let path = self.path.display();
                log::warn!("yokedcache: {path} cannot be emptied: {error}");
            }
        }
    }

    /// One line, or nothing of it.
    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
        }
        self.torn = true;
        self.file.write_all(line.as_bytes())?;
        self.torn = false;
        self.length += line.len() as u64;
        Ok(())
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<Vec<Item>> {
    let mut lines = (1..).zip(text.split_inclusive(|byte| *byte == b'\n'));
    match lines.next() {
        None => return Ok(Vec::new()),
        Some((_, first)) if first == HEADER.as_bytes() => {}
        Some(_) => return Err(broken(path, 1, "this is no journal, or one of another version")),
    }
    let items = lines.map(|(number, line)| {
        let item: Item =
            serde_json::from_slice(line).map_err(|error| broken(path, number, error))?;
        match &item {
            Item::Keys(parts) => {
                parts.pattern().map_err(|error| broken(path, number, error))?;
            }
            Item::AllTags(tags) if tags.is_empty() => {
                return Err(broken(path, number, "all of no tags"));
            }
            _ => {}
        }
        Ok(item)
    });
    items.collect()
}

fn unusable(path: &Path, error: io::Error) -> Error {
    let what = format!("the journal {} cannot be used", path.display());
    Error::with_source(ErrorKind::InvalidArgument, what, error)
}

fn broken(
    path: &Path,
    line: usize,
    why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    let why = why.into();
    let what = format!("the journal {}, line {line}: {why}", path.display());
    Error::with_source(ErrorKind::InvalidArgument, what, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Name, Scope};
    use crate::pattern::Pattern;
    use proptest::prelude::*;

    /// A path of its own, removed in the end.
    struct Place(PathBuf);

    impl Place {
        fn new() -> Self {
            let name = format!("yokedcache-journal-{:016x}", crate::random::unlikely());
            Self(std::env::temp_dir().join(name))
        }

        fn holding(text: impl AsRef<[u8]>) -> Self {
            let place = Self::new();
            std::fs::write(&place.0, text).unwrap();
            place
        }

        fn open(&self) -> Result<(JournalFile, Vec<Item>)> {
            JournalFile::open(&self.0)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn items() -> Vec<Item> {
        let (a, b) = (Name::new("shop:a\n\"", 5), Name::new("b", 0));
        let glob = Pattern::glob(r"u[0-9]\*").unwrap().within("shop:");
        [Scope::AnyTag(&[a, b]), Scope::AllTags(&[a, b]), Scope::Keys(&glob)]
            .iter()
            .flat_map(Item::of_scope)
            .collect()
    }

    #[test]
    fn items_come_back_until_they_are_cleared() {
        let place = Place::new();
        let (mut file, noted) = place.open().unwrap();
        assert_eq!(noted, []);
        items().iter().for_each(|item| file.append(item).unwrap());
        drop(file);
        let (mut file, noted) = place.open().unwrap();
        assert_eq!(noted, items());
        file.clear();
        file.append(&items()[0]).unwrap();
        assert_eq!(place.open().unwrap().1, &items()[..1]);
    }

    #[test]
    fn a_line_without_an_end_is_none_and_the_next_one_is_whole() {
        let line = serde_json::to_string(&items()[0]).unwrap();
        for cut in 0..=line.len() {
            let place = Place::holding(format!("{HEADER}{line}\n{}", &line[..cut]));
            let (mut file, noted) = place.open().unwrap();
            assert_eq!(noted, &items()[..1]);
            file.append(&items()[1]).unwrap();
            assert_eq!(place.open().unwrap().1, &items()[..2], "cut at {cut}");
        }
        for cut in 0..HEADER.len() {
            let place = Place::holding(&HEADER[..cut]);
            place.open().unwrap().0.append(&items()[0]).unwrap();
            assert_eq!(place.open().unwrap().1, &items()[..1], "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_journal_is_refused_with_its_line_and_left_as_it_is() {
        let whole = serde_json::to_string(&items()[0]).unwrap();
        let glob = r#"{"keys":{"space":"","rest":{"glob":"["}}}"#;
        let broken = [
            ("some notes of mine".to_owned(), "line 1"),
            ("some notes\nof mine\n".to_owned(), "line 1"),
            ("{\"yokedcache_journal\":2}\n".to_owned(), "line 1"),
            (format!("{HEADER}{whole}\n{}\n{whole}\n", &whole[1..]), "line 3"),
            (format!("{HEADER}{whole}\n\n"), "line 3"),
            (format!("{HEADER}{{\"rename\":[\"\",\"a\"]}}\n"), "line 2"),
            (format!("{HEADER}{glob}\n"), "line 2"),
            (format!("{HEADER}{{\"all_tags\":[]}}\n"), "line 2"),
        ];
        for (text, line) in broken {
            let place = Place::holding(&text);
            let error = place.open().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
            let told = error.to_string();
            assert!(told.contains(line) && told.contains(place.0.to_str().unwrap()), "{told}");
            assert_eq!(std::fs::read_to_string(&place.0).unwrap(), text);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..60), headed: bool) {
            let text = [if headed { HEADER.as_bytes() } else { b"" }, &bytes].concat();
            let place = Place::holding(&text);
            match place.open() {
                Ok((mut file, noted)) => {
                    file.append(&items()[0]).unwrap();
                    prop_assert_eq!(place.open().unwrap().1.len(), noted.len() + 1);
                }
                Err(error) => {
                    prop_assert_eq!(error.kind(), ErrorKind::InvalidArgument);
                    prop_assert_eq!(std::fs::read(&place.0).unwrap(), text);
                }
            }
        }
    }
}
