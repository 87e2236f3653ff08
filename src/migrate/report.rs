//! What a migration tells: how far it is, and what became of the entries.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::file::FileFault;
use crate::error::Error;

/// How many keys a report names of each sort; all are counted.
pub(super) const NAMED: usize = 1_000;

/// How far a [`Migration`](crate::Migration), an [`Export`](crate::Export) or an
/// [`Import`](crate::Import) is.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// How many keys it has looked at in this phase. A key that is listed twice counts twice.
    pub looked_at: u64,
    /// How many entries were copied; in a dry run, how many would be.
    pub copied: u64,
    /// How many the target had already.
    pub there: u64,
    /// How many were left out, for whatever reason.
    pub skipped: u64,
    /// The bytes of the values copied, as they are stored.
    pub bytes: u64,
    /// How many keys there are to look at, where the source can tell: an estimate. On a server it is
    /// all it has, other programs' keys and records of the library included.
    pub total: Option<u64>,
    /// The time since it began.
    pub elapsed: Duration,
}

/// What a migration is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// Entries go from the one cache to the other.
    Copying,
    /// The two are compared.
    Verifying,
    /// Entries go into a file.
    Exporting,
    /// Entries come from a file.
    Importing,
}

/// What became of the entries.
///
/// `looked_at` is the sum of `copied`, `there`, `overtaken` and `skipped`.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Nothing was written: `copied` is what would have been.
    pub dry_run: bool,
    /// It was told to stop before all was done.
    pub stopped: bool,
    /// How many keys were looked at. A key that is listed twice counts twice.
    pub looked_at: u64,
    /// How many entries were copied.
    pub copied: u64,
    /// How many the target had already, and kept. With `overwrite` those that were equal.
    pub there: u64,
    /// How many were changed, removed or invalidated at the target while they were copied: that is
    /// newer, and was left as it is.
    pub overtaken: u64,
    /// How many were left out.
    pub skipped: u64,
    /// How many were left out for which [reason](Skip::reason).
    pub reasons: BTreeMap<&'static str, u64>,
    /// The first 1,000 keys that were left out.
    pub skips: Vec<Skipped>,
    /// The bytes of the values copied, as they are stored.
    pub bytes: u64,
    /// What the second pass found, if there was one.
    pub verified: Option<Verified>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Report {
    /// Whether everything there was to do was done, and a second pass, if there was one, found no
    /// difference. Entries may have been left out for a reason all the same: see `skipped`.
    pub fn is_complete(&self) -> bool {
        !self.stopped && self.verified.as_ref().is_none_or(Verified::is_same)
    }
}

/// A key that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Skipped {
    /// The key, without the namespace.
    pub key: String,
    /// Why.
    pub why: Skip,
}

/// Why an entry was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", content = "detail", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Skip {
    /// It expired, or was removed at the source, before it was copied.
    Gone,
    /// Somebody else is loading the key at the target, and takes longer than was waited.
    Busy,
    /// Copying it took longer than a right to fill it lasts, which is 10 seconds: another run copies it.
    Late,
    /// The target cannot keep it as it is: without its tags, say.
    Unsupported(String),
    /// The value is larger than the target takes.
    TooLarge(String),
    /// One of its tags lies outside the namespace that is copied, or is too long for the target.
    Tag,
    /// The key is too long under the target's prefix.
    Key,
    /// The stored bytes are damaged.
    Corrupt,
    /// What is stored is no value: it was written by another program, or by a later version.
    Undecodable,
    /// The target refused it.
    Refused(String),
}

impl Skip {
    /// The word for it in [`Report::reasons`].
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Busy => "busy",
            Self::Late => "late",
            Self::Unsupported(_) => "unsupported",
            Self::TooLarge(_) => "too_large",
            Self::Tag => "tag",
            Self::Key => "key",
            Self::Corrupt => "corrupt",
            Self::Undecodable => "undecodable",
            Self::Refused(_) => "refused",
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "it expired or was removed meanwhile",
            Self::Busy => "somebody else is loading it",
            Self::Late => "copying it took too long",
            Self::Unsupported(why) | Self::TooLarge(why) | Self::Refused(why) => why,
            Self::Tag => "a tag lies outside the namespace, or is too long for the target",
            Self::Key => "the key is too long for the target",
            Self::Corrupt => "the stored bytes are damaged",
            Self::Undecodable => "what is stored is no value",
        })
    }
}

/// What a comparison of two caches found.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Verified {
    /// How many entries of the source were compared.
    pub compared: u64,
    /// How many are the same at the target.
    pub same: u64,
    /// How many the target does not have.
    pub missing: u64,
    /// How many are different there.
    pub different: u64,
    /// How many of the source cannot be read, and were not compared.
    pub unreadable: u64,
    /// The first 1,000 keys that are missing or different.
    pub differences: Vec<Difference>,
}

impl Verified {
    /// Whether no difference was found.
    pub fn is_same(&self) -> bool {
        self.missing == 0 && self.different == 0
    }
}

/// A key that is not the same in two caches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The key, without the namespace.
    pub key: String,
    /// In what.
    pub what: Differs,
}

/// In what an entry differs from the one it was copied from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Differs {
    /// The target has none.
    Missing,
    /// The value, once it is unpacked.
    Value,
    /// The codec.
    Codec,
    /// The schema version.
    Schema,
    /// The tags.
    Tags,
    /// When it turns stale or is gone, by more than the backends' granularity.
    Life,
}

/// A migration, export or import that ended with an error, and what it had done by then.
///
/// Run again with the same arguments, it goes on: what is at the target already is left alone.
/// It becomes an [`Error`](crate::Error) by `?` where only that is wanted.
#[derive(Clone)]
pub struct Incomplete(Box<(Error, Report)>);

impl Incomplete {
    pub(super) fn new(error: Error, report: Report) -> Self {
        Self(Box::new((error, report)))
    }

    /// What went wrong.
    pub fn error(&self) -> &Error {
        &self.0.0
    }

    /// What was done before.
    pub fn report(&self) -> &Report {
        &self.0.1
    }

    /// What is wrong with the file, if it is the file's fault.
    pub fn fault(&self) -> Option<&FileFault> {
        let source = std::error::Error::source(self.error())?;
        source.downcast_ref()
    }
}

impl From<Incomplete> for Error {
    fn from(incomplete: Incomplete) -> Self {
        incomplete.0.0
    }
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { looked_at, copied, .. } = self.report();
        write!(f, "{} (after {looked_at} keys, {copied} of them copied)", self.error())
    }
}

impl fmt::Debug for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (error, report) = &*self.0;
        f.debug_struct("Incomplete").field("error", error).field("report", report).finish()
    }
}

impl std::error::Error for Incomplete {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(self.error())
    }
}
