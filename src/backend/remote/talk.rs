//! A call to the servers in as few round trips as it takes.
//!
//! Each key has a job. In each round all jobs that are not done say what they ask for, everything
//! travels together, and each hears its answers. Versions of tags that several jobs ask for travel
//! once.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};
use std::vec;

use super::exchange::Limits;
use super::store::{Becomes, Expect, Store};
use super::{stored, tags, wall_ms};
use crate::backend::{Name, Removed};
use crate::error::{Error, ErrorKind, Result};

/// The work on one key.
pub(crate) trait Job<S: Store> {
    /// Says what is to be asked for in this round.
    fn ask(&mut self, talk: &mut Talk<'_, S>);

    /// Hears the answers, in order. Whether the job is done.
    fn hear(&mut self, talk: &mut Talk<'_, S>, answers: &mut Answers<'_, S::Reply>) -> bool;

    /// The call ends before the job is done.
    fn fail(&mut self, error: Error);
}

/// The answers to what one job asked for.
pub(crate) struct Answers<'t, R> {
    replies: &'t mut vec::IntoIter<Result<R>>,
    left: usize,
}

impl<R> Answers<'_, R> {
    /// The next answer.
    pub(crate) fn reply(&mut self) -> Result<R> {
        // The answers after these are another job's.
        self.left = self.left.checked_sub(1).ok_or_else(missing)?;
        self.replies.next().ok_or_else(missing)?
    }

    fn skip_rest(&mut self) {
        for _ in 0..std::mem::take(&mut self.left) {
            self.replies.next();
        }
    }
}

pub(crate) fn missing() -> Error {
    Error::new(ErrorKind::Backend, "an answer is missing")
}

/// What the jobs of a call share.
pub(crate) struct Talk<'s, S: Store> {
    pub(crate) store: &'s S,
    pub(crate) batch: S::Batch,
    /// When the jobs speak, and when the answers are there.
    pub(crate) now_ms: u64,
    round: u32,
    wanted: BTreeMap<Box<str>, Need>,
    tags: HashMap<Box<str>, Fetched>,
}

/// What is to be done about a tag's record beside reading it, in this round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Need {
    /// It is made if there is none.
    pub(crate) make: bool,
    /// It is to live so long at least.
    pub(crate) life: Option<Life>,
}

/// A time to live, the longer the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Life {
    For(Duration),
    Ever,
}

impl Life {
    /// Of the record of a tag whose entries live so long.
    fn of_record(entry: Option<Duration>) -> Self {
        tags::life(entry).map_or(Self::Ever, Self::For)
    }
}

struct Fetched {
    round: u32,
    version: Result<Option<u64>>,
}

impl<'s, S: Store> Talk<'s, S> {
    pub(crate) fn new(store: &'s S) -> Self {
        Self {
            store,
            batch: store.batch(),
            now_ms: 0,
            round: 0,
            wanted: BTreeMap::new(),
            tags: HashMap::new(),
        }
    }

    /// Whether nothing of ours is stored.
    pub(crate) fn is_plain(&self) -> bool {
        self.store.sealing().plain.is_some()
    }

    /// Asks for a tag's version.
    pub(crate) fn want_tag(&mut self, tag: &str) {
        self.need(tag, Need::default());
    }

    /// Asks for the tags a key last had: then it takes no second round trip if it still has them.
    pub(crate) fn want_last_tags(&mut self, key: &str) {
        self.store.memory().tags_of(key).iter().for_each(|tag| self.want_tag(tag));
    }

    /// As [`want_tag`](Self::want_tag), and makes the record if there is none, so that it outlives an entry of this life.
    pub(crate) fn make_tag(&mut self, tag: &str, entry: Option<Duration>) {
        self.need(tag, Need { make: true, life: Some(Life::of_record(entry)) });
    }

    /// Asks for a tag's version, and makes its record outlive an entry of this life, unless it is known to.
    pub(crate) fn want_tag_for(&mut self, tag: &str, entry: Option<Duration>) {
        match self.store.memory().version(tag, entry) {
            Some(_) => self.want_tag(tag),
            None => self.need(tag, Need { life: Some(Life::of_record(entry)), ..Need::default() }),
        }
    }

    fn need(&mut self, tag: &str, need: Need) {
        match self.wanted.get_mut(tag) {
            Some(known) => {
                known.make |= need.make;
                known.life = known.life.max(need.life);
            }
            None => drop(self.wanted.insert(tag.into(), need)),
        }
    }

    /// A tag's version as read in this call, if it was asked for.
    pub(crate) fn tag(&self, tag: &str) -> Option<&Result<Option<u64>>> {
        self.tags.get(tag).map(|fetched| &fetched.version)
    }

    /// Whether it was asked for in this round.
    pub(crate) fn has_now(&self, tag: &str) -> bool {
        self.tags.get(tag).is_some_and(|fetched| fetched.round == self.round)
    }

    /// A tag's version as read in this round.
    pub(crate) fn tag_now(&self, tag: &str) -> Result<Option<u64>> {
        match self.tags.get(tag) {
            Some(Fetched { round, version }) if *round == self.round => version.clone(),
            _ => Err(Error::new(ErrorKind::Backend, "a tag was not asked for")),
        }
    }

    /// Sends what was asked for, and hears the answers to all but the tags.
    pub(crate) fn exchange(&mut self, limits: Limits, replicas: bool) -> Vec<Result<S::Reply>> {
        self.round += 1;
        let asked = S::length(&self.batch);
        let wanted = std::mem::take(&mut self.wanted);
        let ends = self.ask_tags(&wanted);
        self.store.along(&mut self.batch);
        let mut replies = self.store.run(&mut self.batch, limits, replicas);
        if !wanted.is_empty() {
            let of_tags = replies.split_off(asked);
            self.hear_tags(wanted, asked, &ends, of_tags);
        }
        replies.truncate(asked);
        self.now_ms = wall_ms();
        replies
    }

    /// Where in the batch the commands for each tag end.
    fn ask_tags(&mut self, wanted: &BTreeMap<Box<str>, Need>) -> Vec<usize> {
        let mut ends = Vec::with_capacity(wanted.len());
        for (tag, need) in wanted {
            self.store.ask_tag(&mut self.batch, &stored::tag(tag), *need);
            ends.push(S::length(&self.batch));
        }
        ends
    }

    fn hear_tags(
        &mut self,
        wanted: BTreeMap<Box<str>, Need>,
        mut start: usize,
        ends: &[usize],
        replies: Vec<Result<S::Reply>>,
    ) {
        let mut replies = replies.into_iter();
        for ((tag, need), end) in wanted.into_iter().zip(ends) {
            let mut answers = Answers { replies: &mut replies, left: end - start };
            let version = self.store.hear_tag(need, &mut answers);
            answers.skip_rest();
            start = *end;
            if let Ok(version) = version {
                self.note(&tag, version, need.life);
            }
            self.tags.insert(tag, Fetched { round: self.round, version });
        }
    }

    fn note(&self, tag: &str, version: Option<u64>, life: Option<Life>) {
        let memory = self.store.memory();
        match (version, life) {
            (Some(version), Some(Life::For(life))) => memory.note_life(tag, version, Some(life)),
            (Some(version), Some(Life::Ever)) => memory.note_life(tag, version, None),
            (version, _) => memory.note_version(tag, version),
        }
    }
}

/// Invalidates tags: one command each. A tag without a record has invalidated its entries already.
pub(crate) fn invalidate_tags<S: Store>(
    store: &S,
    limits: Limits,
    tags: &[Name<'_>],
) -> Result<Removed> {
    let mut batch = store.batch();
    let versions: Vec<u64> = tags.iter().map(|_| tags::fresh()).collect();
    for (tag, version) in tags.iter().zip(&versions) {
        store.renew_tag(&mut batch, &stored::tag(tag.as_str()), &tags::record(*version));
    }
    let mut replies = store.run(&mut batch, limits, false).into_iter();
    S::clear(&mut batch);
    for (tag, version) in tags.iter().zip(versions) {
        match store.hear_renewed(&mut Answers { replies: &mut replies, left: 1 }) {
            Ok(true) => store.memory().note_renewed(tag.as_str(), version),
            Ok(false) => store.memory().note_version(tag.as_str(), None),
            // A server without room for a new version still removes the old one.
            Err(error) if error.kind() == ErrorKind::Full => {
                let name = stored::tag(tag.as_str());
                store.swap(&mut batch, &name, Expect::Any, Becomes::Gone);
                store.memory().note_version(tag.as_str(), None);
            }
            Err(error) => return Err(error),
        }
    }
    let left = S::length(&batch);
    if left > 0 {
        let mut replies = store.run(&mut batch, limits, false).into_iter();
        for _ in 0..left {
            store.hear_swap("", &mut Answers { replies: &mut replies, left: 1 })?;
        }
    }
    Ok(Removed::default())
}

/// A job that is not done after so many round trips meets somebody who is always faster.
const MOST_ROUNDS: u32 = 100;

/// Carries out jobs, in rounds, until all are done.
pub(crate) fn drive<S: Store, J: Job<S>>(
    store: &S,
    limits: Limits,
    jobs: &mut [J],
    replicas: bool,
) {
    let mut talk = Talk::new(store);
    talk.now_ms = wall_ms();
    let mut open: Vec<&mut J> = jobs.iter_mut().collect();
    let mut ends = Vec::with_capacity(open.len());
    while !open.is_empty() {
        S::clear(&mut talk.batch);
        ends.clear();
        for job in &mut open {
            job.ask(&mut talk);
            ends.push(S::length(&talk.batch));
        }
        let mut replies = talk.exchange(limits, replicas).into_iter();
        let (mut index, mut start) = (0, 0);
        open.retain_mut(|job| {
            let end = ends[index];
            let mut answers = Answers { replies: &mut replies, left: end - start };
            let done = job.hear(&mut talk, &mut answers);
            answers.skip_rest();
            (index, start) = (index + 1, end);
            !done
        });
        if open.is_empty() {
            return;
        }
        let why = if Instant::now() >= limits.until {
            Error::new(ErrorKind::Timeout, "the deadline of the call has passed")
        } else if talk.round >= MOST_ROUNDS {
            Error::new(ErrorKind::Backend, "the entry changes faster than it can be changed")
        } else {
            continue;
        };
        open.drain(..).for_each(|job| job.fail(why.clone()));
    }
}
