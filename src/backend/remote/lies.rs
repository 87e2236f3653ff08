//! What lies under a key, and what that is to somebody who asks for the entry.

use super::store::Store;
use super::talk::Talk;
use crate::backend::envelope::{Envelope, Opened};
use crate::backend::{Cause, Entry, Tags};
use crate::error::{Error, ErrorKind, Result};

/// What lies under a key, as far as it was read.
#[derive(Debug)]
pub(crate) struct Lies<S> {
    pub(crate) opened: Opened,
    /// What tells a server that it is this.
    pub(crate) seen: S,
    /// All of it was read, not its beginning only.
    pub(crate) whole: bool,
    /// Milliseconds left to live, if that was asked for; negative: for ever.
    pub(crate) left_ms: Option<i64>,
}

/// What that is to somebody who asks for the entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Loading,
    Fresh,
    Stale,
    /// It counts as nothing, for this reason.
    Dead(Cause),
}

impl<S> Lies<S> {
    /// How long it has to live, if that is known and not for ever.
    pub(crate) fn left(&self) -> Option<u64> {
        self.left_ms.and_then(|left| u64::try_from(left).ok())
    }

    /// How far off its idle end is, if it slides.
    pub(crate) fn idle_left(&self) -> Option<u64> {
        let idle = self.envelope()?.idle?;
        Some(self.left().unwrap_or(idle))
    }

    pub(crate) fn envelope(&self) -> Option<&Envelope> {
        match &self.opened {
            Opened::Value(envelope) => Some(envelope),
            _ => None,
        }
    }

    /// The entry, whoever wrote it.
    pub(crate) fn entry(&self) -> Option<&Entry> {
        match &self.opened {
            Opened::Value(envelope) => Some(&envelope.entry),
            Opened::Foreign(entry) => Some(entry),
            Opened::Placeholder(_) | Opened::Damaged => None,
        }
    }

    pub(crate) fn tags(&self) -> Tags {
        self.envelope().map_or(Tags::NONE, |envelope| envelope.entry.tags.clone())
    }

    /// Asks for the versions of its tags.
    pub(crate) fn want_tags<T: Store>(&self, talk: &mut Talk<'_, T>) {
        self.tags().iter().for_each(|tag| talk.want_tag(tag));
    }

    /// Whether all tags were read with it, or after it: what was written meanwhile under a version that
    /// is out of date was never alive.
    pub(crate) fn can_be_judged<T: Store>(&self, talk: &Talk<'_, T>) -> bool {
        self.tags().iter().all(|tag| talk.has_now(tag))
    }

    /// Judges it by the versions its tags have now.
    pub(crate) fn standing<T: Store>(&self, talk: &Talk<'_, T>) -> Result<Standing> {
        let envelope = match &self.opened {
            Opened::Placeholder(_) => return Ok(Standing::Loading),
            // Where our own may be there, an empty value is nothing: a placeholder of other clients.
            Opened::Foreign(entry) if entry.value.bytes().is_empty() && !talk.is_plain() => {
                return Ok(Standing::Dead(Cause::Absent));
            }
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
