//! What lies under a key, and what that is to somebody who asks for the entry.

use bytes::Bytes;

use super::talk::Talk;
use crate::backend::envelope::{self, Envelope, Opened};
use crate::backend::{Cause, Tags};
use crate::error::{Error, ErrorKind, Result};

/// What lies under a key, as far as it was read.
#[derive(Debug)]
pub(super) struct Lies {
    pub(super) opened: Opened,
    /// What a script compares with: the first 18 bytes of ours, all of another program's.
    pub(super) seen: Bytes,
    /// Milliseconds left to live, if that was asked for; negative: for ever.
    pub(super) left_ms: Option<i64>,
}

/// What that is to somebody who asks for the entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Loading,
    Fresh,
    Stale,
    /// It counts as nothing, for this reason.
    Dead(Cause),
}

impl Lies {
    /// From all of the bytes, or from their beginning only.
    pub(super) fn new(key: &str, bytes: Bytes, whole: bool, left_ms: Option<i64>) -> Self {
        let opened =
            if whole { envelope::open(key, &bytes) } else { envelope::open_head(key, &bytes) };
        let seen =
            if bytes.first() == Some(&0xC1) { bytes.slice(..bytes.len().min(18)) } else { bytes };
        Self { opened, seen, left_ms }
    }

    pub(super) fn envelope(&self) -> Option<&Envelope> {
        match &self.opened {
            Opened::Value(envelope) => Some(envelope),
            _ => None,
        }
    }

    pub(super) fn tags(&self) -> Tags {
        self.envelope().map_or(Tags::NONE, |envelope| envelope.entry.tags.clone())
    }

    /// Asks for the versions of its tags.
    pub(super) fn want_tags(&self, talk: &mut Talk<'_>) {
        self.tags().iter().for_each(|tag| talk.want_tag(tag));
    }

    /// Whether all tags were read in this call.
    pub(super) fn can_be_judged(&self, talk: &Talk<'_>) -> bool {
        self.tags().iter().all(|tag| talk.tag(tag).is_some())
    }

    /// Judges it by the versions its tags have now.
    pub(super) fn standing(&self, talk: &Talk<'_>) -> Result<Standing> {
        let envelope = match &self.opened {
            Opened::Placeholder(_) => return Ok(Standing::Loading),
            Opened::Foreign(_) => return Ok(Standing::Fresh),
            Opened::Damaged => return Ok(Standing::Dead(Cause::Corrupt)),
            Opened::Value(envelope) => envelope,
        };
        for (tag, written) in envelope.entry.tags.iter().zip(&envelope.tag_versions) {
            match talk.tag(tag) {
                Some(Ok(Some(version))) if version == written => {}
                Some(Ok(_)) => return Ok(Standing::Dead(Cause::Invalidated)),
                Some(Err(error)) => return Err(error.clone()),
                None => return Err(Error::new(ErrorKind::Backend, "a tag was not asked for")),
            }
        }
        let is_past = |end: Option<u64>| end.is_some_and(|end| end <= talk.now_ms);
        Ok(match envelope {
            _ if is_past(envelope.cap) => Standing::Dead(Cause::Expired),
            _ if is_past(envelope.soft) => Standing::Stale,
            _ => Standing::Fresh,
        })
    }
}
