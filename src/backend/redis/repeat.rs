//! Invalidations of the last minute, repeated when another server takes over.
//!
//! Replicas hear of writes a moment after their master has answered. One that is promoted may not
//! have heard of the last deletions, and serves what was deleted. Each process repeats its own: then
//! such a value is served only until the process that deleted it notices the promotion. What was
//! stored under such a key since goes, too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::Value;

use super::batch::Batch;
use super::{Redis, wire};
use crate::backend::remote::store::Store;
use crate::backend::remote::talk::invalidate_tags;
use crate::backend::{Call, Change, Name, Scope, Write};
use crate::error::Result;
use crate::pattern::Pattern;
use crate::streak::Streak;

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
    /// Held by the caller that repeats.
    under_way: Mutex<UnderWay>,
    failing: Streak,
}

/// What is left to repeat, and when that is tried.
#[derive(Debug, Default)]
struct UnderWay {
    left: VecDeque<What>,
    not_before: Option<Instant>,
    pause: Duration,
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

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// So many keys are deleted again at once.
const AT_ONCE: usize = 500;
/// This part of a call's time may go into repeating.
const SHARE: u32 = 4;

impl Repeats {
    fn note(&self, what: What) {
        let mut log = self.log.lock();
        let now = Instant::now();
        while log.len() >= MOST || log.front().is_some_and(|(at, _)| now - *at > MINUTE) {
            log.pop_front();
        }
        log.push_back((now, what));
    }

    /// Keys that will be deleted. Noted before it is done: an answer may come from a server that is
    /// replaced before the note would be made.
    pub(super) fn note_writes(&self, writes: &[Write<'_>]) {
        for write in writes {
            if matches!(write.change, Change::Remove) {
                self.note(What::Key(write.key.as_str().into()));
            }
        }
    }

    /// What will be invalidated.
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

    fn recent(&self) -> VecDeque<What> {
        let now = Instant::now();
        let log = self.log.lock();
        log.iter().filter(|(at, _)| now - *at <= MINUTE).map(|(_, what)| what.clone()).collect()
    }
}

impl Redis {
    /// Repeats what has to be, in a part of the call's time. What fails is tried again by a later call.
    #[inline]
    pub(super) fn repeat_if_due(&self, call: Call) {
        if let Some(repeats) = &self.repeats
            && repeats.promoted.load(Ordering::Relaxed)
        {
            self.repeat(repeats, call);
        }
    }

    #[cold]
    fn repeat(&self, repeats: &Repeats, call: Call) {
        let Ok(limits) = self.limits(call) else { return };
        let now = Instant::now();
        let until = now + limits.until.saturating_duration_since(now) / SHARE;
        // Others wait for it: what they read might be what is to be deleted.
        let Some(mut under_way) = repeats.under_way.try_lock_until(until) else { return };
        if under_way.not_before.is_some_and(|then| now < then) {
            return;
        }
        if repeats.promoted.load(Ordering::Acquire) && under_way.left.is_empty() {
            under_way.left = repeats.recent();
            log::info!(
                "yokedcache: repeats {} invalidations after a promotion",
                under_way.left.len()
            );
        }
        // A promotion noticed from here on begins anew.
        repeats.promoted.store(false, Ordering::Release);
        while !under_way.left.is_empty() {
            if let Err(error) = self.repeat_some(&mut under_way.left, Call::Until(until)) {
                let pause = (under_way.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                (under_way.pause, under_way.not_before) = (pause, Some(Instant::now() + pause));
                repeats.promoted.store(true, Ordering::Release);
                if let Some(more) = repeats.failing.on() {
                    log::warn!("yokedcache: invalidations not repeated yet: {error}{more}");
                }
                return;
            }
        }
        (under_way.pause, under_way.not_before) = (Duration::ZERO, None);
    }

    /// Repeats the first of what is left, and takes it off if that is done. What fails goes to the end.
    fn repeat_some(&self, left: &mut VecDeque<What>, call: Call) -> Result<()> {
        let keys =
            left.iter().take(AT_ONCE).take_while(|what| matches!(what, What::Key(_))).count();
        let some: Vec<What> = left.drain(..keys.max(1)).collect();
        let done = match &some[..] {
            [What::Keys(pattern)] => self.remove_keys(call, pattern).map(drop),
            [What::Tags(tags)] => {
                invalidate_tags(self, self.limits(call)?, &names(tags, 0)).map(drop)
            }
            [What::AllTags(tags, space)] => {
                self.remove_with_all(call, &names(tags, *space)).map(drop)
            }
            keys => self.unlink(call, keys),
        };
        if done.is_err() {
            left.extend(some);
        }
        done
    }

    fn unlink(&self, call: Call, keys: &[What]) -> Result<()> {
        let mut batch = Batch::new(self.topology.is_cluster());
        for what in keys {
            if let What::Key(key) = what {
                let name = self.name_of(key);
                batch.push(&name, &[b"UNLINK", name.as_bytes()]);
            }
        }
        for reply in self.topology.run(&mut batch, self.limits(call)?, false) {
            if let Value::ServerError(error) = reply? {
                return Err(wire::refusal(&error));
            }
        }
        Ok(())
    }
}

fn names(tags: &[Box<str>], space: usize) -> Vec<Name<'_>> {
    tags.iter().map(|tag| Name::new(tag, space)).collect()
}
