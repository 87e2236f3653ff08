//! The types of one load: where its answer goes, and its loader.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Claim, Fill, Load, Loaded, Loading, Taking, Task};
use crate::backend::{Change, CodecId, Entry, Life, Tags};
use crate::cache::core::{Core, unanswered};
use crate::cache::lookup::{Hit, Lookup, ttl_left};
use crate::cache::ttl::Ttl;
use crate::codec::{Decoded, absent_value};
use crate::error::{Error, ErrorKind, Result};
use crate::stats::Operation;

/// What a caller is told.
pub(in crate::cache) struct Answer<T> {
    pub(in crate::cache) value: Option<T>,
    life: Life,
    stale: bool,
    tier: u8,
}

impl<T: DeserializeOwned> Answer<T> {
    /// The value, if a `T` can say what there is.
    pub(in crate::cache) fn into_value(self) -> Result<T> {
        self.value.or_else(absent_value).ok_or_else(|| {
            let what = "it is known that there is no value, which this type cannot say";
            Error::new(ErrorKind::WrongType, what)
        })
    }
}

impl<T> Answer<T> {
    /// With all that is known of it.
    pub(in crate::cache) fn into_lookup(self) -> Lookup<T> {
        let Self { value, life, stale, tier } = self;
        match value {
            None => Lookup::Negative(life),
            Some(value) => Lookup::Hit(Hit {
                value,
                age: life.age,
                ttl_left: ttl_left(&life, stale),
                tier,
                stale,
            }),
        }
    }
}

/// Where a caller takes its answer.
pub(in crate::cache) struct Seat<'a, T, G> {
    core: &'a Core,
    tags: Option<G>,
    answer: Option<Answer<T>>,
    /// Whether the caller takes "there is none" for an answer.
    takes_none: bool,
    wants_life: bool,
}

impl<'a, T, G> Seat<'a, T, G> {
    pub(in crate::cache) fn new(core: &'a Core, tags: G, takes_none: bool) -> Self {
        Self { core, tags: Some(tags), answer: None, takes_none, wants_life: false }
    }

    /// The value taken.
    pub(in crate::cache) fn answer(self) -> Result<T> {
        self.answer.and_then(|answer| answer.value).ok_or_else(unanswered)
    }

    /// One that is told times, too.
    pub(in crate::cache) fn wanting_life(self, wants_life: bool) -> Self {
        Self { wants_life, ..self }
    }
}

impl<T, G> Taking for Seat<'_, T, G>
where
    T: DeserializeOwned,
    G: IntoIterator<Item: AsRef<str>>,
{
    fn accept(&mut self, entry: &Entry, life: &Life, stale: bool, tier: u8) -> bool {
        let value = match self.core.format.decode(entry) {
            Decoded::Value(value) => Some(value),
            Decoded::Negative if self.takes_none => None,
            Decoded::Negative => match absent_value() {
                Some(value) => Some(value),
                None => return false,
            },
            Decoded::Undecodable | Decoded::Corrupt => return false,
        };
        self.answer = Some(Answer { value, life: *life, stale, tier });
        true
    }

    fn wants_life(&self) -> bool {
        self.wants_life
    }

    fn tags(&mut self, space: &str) -> Result<Tags> {
        self.tags.take().map_or(Ok(Tags::NONE), |tags| Tags::within(space, tags))
    }
}

/// A caller with a loader.
pub(in crate::cache) struct Frame<'a, T, E, F, G> {
    seat: Seat<'a, T, G>,
    loader: Option<F>,
    failure: Option<E>,
    /// Nobody waits any more, and nobody wants it stored.
    abandoned: Option<Arc<AtomicBool>>,
}

impl<'a, T, E, F, G> Frame<'a, T, E, F, G> {
    pub(in crate::cache) fn new(seat: Seat<'a, T, G>, loader: F) -> Self {
        Self { seat, loader: Some(loader), failure: None, abandoned: None }
    }

    /// One whose caller may go away.
    pub(in crate::cache) fn unless(self, abandoned: Arc<AtomicBool>) -> Self {
        Self { abandoned: Some(abandoned), ..self }
    }

    pub(in crate::cache) fn answer(self) -> Result<Result<Answer<T>, E>> {
        match self.failure {
            Some(error) => Ok(Err(error)),
            None => self.seat.answer.map(Ok).ok_or_else(unanswered),
        }
    }
}

impl<T, E, F, G> Taking for Frame<'_, T, E, F, G>
where
    T: DeserializeOwned,
    G: IntoIterator<Item: AsRef<str>>,
{
    fn accept(&mut self, entry: &Entry, life: &Life, stale: bool, tier: u8) -> bool {
        self.seat.accept(entry, life, stale, tier)
    }

    fn wants_life(&self) -> bool {
        self.seat.wants_life()
    }

    fn tags(&mut self, space: &str) -> Result<Tags> {
        self.seat.tags(space)
    }
}

impl<T, E, F, G> Loading for Frame<'_, T, E, F, G>
where
    T: Serialize + DeserializeOwned,
    F: FnOnce(&mut Load<'_>) -> Result<Loaded<T>, E>,
    G: IntoIterator<Item: AsRef<str>>,
{
    fn run(&mut self, load: &mut Load<'_>) -> Result<Fill> {
        let Some(loader) = self.loader.take() else { return Ok(Fill::Failed) };
        let timed = load.task.core.counters.time(Operation::Load);
        let loaded = loader(load);
        drop(timed);
        match loaded {
            Ok(loaded) => {
                let taken = self.seat.take_loaded(load.task, &mut load.claim, loaded);
                taken.map(|(fill, _)| fill)
            }
            // What was there before will do.
            Err(_) if self.seat.answer.is_some() => Ok(Fill::Kept),
            Err(error) => {
                self.failure = Some(error);
                Ok(Fill::Failed)
            }
        }
    }

    fn is_wanted(&self) -> bool {
        !self.abandoned.as_ref().is_some_and(|abandoned| abandoned.load(Ordering::SeqCst))
    }
}

impl<T, G> Seat<'_, T, G>
where
    T: Serialize + DeserializeOwned,
    G: IntoIterator<Item: AsRef<str>>,
{
    /// Takes a loader's answer; what is to become of it, and the entry it is.
    pub(in crate::cache) fn take_loaded(
        &mut self,
        task: Task<'_>,
        claim: &mut Claim,
        loaded: Loaded<T>,
    ) -> Result<(Fill, Entry)> {
        let mut policy = *task.policy;
        let fresh = &mut policy.fresh;
        let (value, skip) = match loaded {
            Loaded::Value(value) => (Some(value), false),
            Loaded::Skip(value) => (Some(value), true),
            Loaded::For(value, ttl) => {
                if ttl != Ttl::Default {
                    (fresh.ttl, fresh.negative_ttl) = (ttl, ttl);
                }
                (Some(value), false)
            }
            Loaded::Negative(ttl) => {
                if ttl != Ttl::Default {
                    fresh.negative_ttl = ttl;
                }
                (None, false)
            }
            Loaded::NotModified => {
                let previous = claim.previous.take().ok_or_else(nothing_unmodified)?;
                if !self.accept(&previous, &Life::FOREVER, false, 0) {
                    return Err(nothing_unmodified());
                }
                let change = self.core.put(&policy, previous.clone(), claim.tags.clone())?;
                self.note_life(&change);
                return Ok((Fill::Store(change), previous));
            }
        };
        let entry = match &value {
            Some(value) => self.core.format.encode(value)?,
            None => self.core.format.encode(&None::<()>)?,
        };
        let entry = Entry { schema: policy.schema, ..entry };
        let negative = entry.codec == CodecId::NEGATIVE;
        let life = Life::new(Some(std::time::Duration::ZERO));
        self.answer = Some(Answer { value, life, stale: false, tier: 0 });
        if skip || negative && policy.fresh.skip_negative {
            return Ok((Fill::Share(entry.clone()), entry));
        }
        match self.core.put(&policy, entry.clone(), claim.tags.clone()) {
            // The caller keeps its value all the same.
            Err(error) if error.kind() == ErrorKind::TooLarge => {
                Ok((Fill::Share(entry.clone()), entry))
            }
            Err(error) => Err(error),
            Ok(change) => {
                self.note_life(&change);
                Ok((Fill::Store(change), entry))
            }
        }
    }

    /// What is stored now has just begun to live.
    fn note_life(&mut self, change: &Change) {
        if let (Some(answer), Change::Put(_, life)) = (&mut self.answer, change) {
            answer.life = Life { age: Some(std::time::Duration::ZERO), ..*life };
        }
    }
}

fn nothing_unmodified() -> Error {
    let what = "the loader said not modified, but there is no previous value of this type";
    Error::new(ErrorKind::InvalidArgument, what)
}
