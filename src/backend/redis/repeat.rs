//! Invalidations of the last minute, repeated when another server takes over.
//!
//! Replicas hear of writes a moment after their master has answered. One that is promoted may not
//! have heard of the last deletions, and serves what was deleted. Each process repeats its own: then
//! such a value is served only until the process that deleted it notices the promotion.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Redis;
use super::batch::Batch;
use crate::backend::remote::stored;
use crate::backend::{Call, Change, Name, Scope, When, Write, Wrote};
use crate::error::Result;
use crate::pattern::Pattern;

/// How far a replica may be behind for this to help.
const MINUTE: Duration = Duration::from_secs(60);
/// Of more in a minute the oldest are forgotten.
const MOST: usize = 100_000;

/// Told by whoever notices that a server took over from another.
pub(super) type Promoted = Arc<AtomicBool>;

#[derive(Debug, Default)]
pub(super) struct Repeats {
    log: Mutex<VecDeque<(Instant, What)>>,
    pub(super) promoted: Promoted,
}

/// What was invalidated.
#[derive(Clone, Debug)]
enum What {
    Key(Box<str>),
    Tags(Vec<Box<str>>),
    /// All of the tags, and the length of their namespace.
    AllTags(Vec<Box<str>>, usize),
    Keys(Pattern),
}

impl Repeats {
    fn note(&self, what: What) {
        let mut log = self.log.lock();
        let now = Instant::now();
        while log.len() >= MOST || log.front().is_some_and(|(at, _)| now - *at > MINUTE) {
            log.pop_front();
        }
        log.push_back((now, what));
    }

    /// Keys that were deleted.
    pub(super) fn note_writes(&self, writes: &[Write<'_>], out: &[Wrote]) {
        for (write, wrote) in writes.iter().zip(out) {
            let removed = matches!((&write.when, &write.change), (When::Always, Change::Remove));
            if removed && !matches!(wrote, Wrote::Failed(_)) {
                self.note(What::Key(write.key.as_str().into()));
            }
        }
    }

    pub(super) fn note_scope(&self, scope: &Scope<'_>) {
        let names = |tags: &[Name<'_>]| tags.iter().map(|tag| tag.as_str().into()).collect();
        self.note(match scope {
            Scope::Keys(pattern) => What::Keys((*pattern).clone()),
            Scope::AnyTag(tags) => What::Tags(names(tags)),
            Scope::AllTags(tags) => {
                What::AllTags(names(tags), tags.first().map_or(0, |tag| tag.space().len()))
            }
        });
    }

    fn recent(&self) -> Vec<What> {
        let now = Instant::now();
        let log = self.log.lock();
        log.iter().filter(|(at, _)| now - *at <= MINUTE).map(|(_, what)| what.clone()).collect()
    }
}

impl Redis {
    /// Repeats what has to be, before anything else is asked for. What fails is tried again with the
    /// next call.
    #[inline]
    pub(super) fn repeat_if_due(&self, call: Call) {
        if let Some(repeats) = &self.repeats
            && repeats.promoted.load(Ordering::Relaxed)
            && repeats.promoted.swap(false, Ordering::AcqRel)
            && let Err(error) = self.repeat(call, repeats.recent())
        {
            repeats.promoted.store(true, Ordering::Release);
            log::warn!("yokedcache: invalidations not repeated yet after a promotion: {error}");
        }
    }

    #[cold]
    fn repeat(&self, call: Call, recent: Vec<What>) -> Result<()> {
        log::info!("yokedcache: repeats {} invalidations after a promotion", recent.len());
        let mut batch = Batch::new(self.topology.is_cluster());
        for what in &recent {
            if let What::Key(key) = what {
                let name = stored::key(key);
                batch.push(&name, &[b"UNLINK", name.as_bytes()]);
            }
        }
        for reply in self.topology.run(&mut batch, self.limits(call)?, false) {
            reply?;
        }
        for what in &recent {
            match what {
                What::Key(_) => continue,
                What::Keys(pattern) => self.remove_keys(call, pattern)?,
                What::Tags(tags) => self.invalidate_tags(call, &names(tags, 0))?,
                What::AllTags(tags, space) => self.remove_with_all(call, &names(tags, *space))?,
            };
        }
        Ok(())
    }
}

fn names(tags: &[Box<str>], space: usize) -> Vec<Name<'_>> {
    tags.iter().map(|tag| Name::new(tag, space)).collect()
}
