//! A call to the servers in as few round trips as it takes.
//!
//! Each key has a job. In each round all jobs that are not done say what they ask for, everything
//! travels together, and each hears its answers. Versions of tags that several jobs ask for travel
//! once.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};
use std::vec;

use bytes::Bytes;
use redis::Value;

use super::Redis;
use super::batch::{Batch, Reply};
use super::script;
use super::seal::millis;
use super::wire::{self, Limits};
use crate::backend::remote::{stored, tags, wall_ms};
use crate::error::{Error, ErrorKind, Result};

/// The work on one key.
pub(super) trait Job {
    /// Says what is to be asked for in this round.
    fn ask(&mut self, talk: &mut Talk<'_>);

    /// Hears the answers, in order. Whether the job is done.
    fn hear(&mut self, talk: &mut Talk<'_>, answers: &mut Answers<'_>) -> bool;

    /// The call ends before the job is done.
    fn fail(&mut self, error: Error);
}

/// The answers to what one job asked for.
pub(super) struct Answers<'t> {
    replies: &'t mut vec::IntoIter<Reply>,
    left: usize,
}

impl Answers<'_> {
    /// The next answer; what the server refused is an error.
    pub(super) fn next(&mut self) -> Result<Value> {
        // The answers after these are another job's.
        self.left = self.left.checked_sub(1).ok_or_else(missing)?;
        match self.replies.next() {
            Some(Ok(Value::ServerError(error))) => Err(wire::refusal(&error)),
            Some(reply) => reply,
            None => Err(missing()),
        }
    }

    /// The next answer as bytes, if there are any.
    pub(super) fn bytes(&mut self) -> Result<Option<Bytes>> {
        Ok(match self.next()? {
            Value::BulkString(bytes) => Some(bytes.into()),
            _ => None,
        })
    }

    /// The next answer of a script: `Ok(None)` if it did what it was to do, else the beginning of
    /// what lies there.
    pub(super) fn done(&mut self) -> Result<Option<Option<Bytes>>> {
        Ok(match self.next()? {
            Value::Int(1) => None,
            Value::BulkString(bytes) => Some(Some(bytes.into())),
            _ => Some(None),
        })
    }

    fn skip_rest(&mut self) {
        for _ in 0..std::mem::take(&mut self.left) {
            self.replies.next();
        }
    }
}

pub(super) fn missing() -> Error {
    Error::new(ErrorKind::Backend, "an answer is missing")
}

/// What the jobs of a call share.
pub(super) struct Talk<'r> {
    pub(super) redis: &'r Redis,
    pub(super) batch: Batch,
    pub(super) now_ms: u64,
    round: u32,
    wanted: BTreeMap<Box<str>, Need>,
    tags: HashMap<Box<str>, Fetched>,
}

/// What is to be done about a tag's record beside reading it, in this round.
#[derive(Clone, Copy, Default)]
struct Need {
    /// It is made if there is none.
    make: bool,
    /// It is to live so long at least.
    life: Option<Life>,
}

/// A time to live, the longer the greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Life {
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

impl<'r> Talk<'r> {
    pub(super) fn new(redis: &'r Redis) -> Self {
        Self {
            redis,
            batch: Batch::new(redis.topology.is_cluster()),
            now_ms: wall_ms(),
            round: 0,
            wanted: BTreeMap::new(),
            tags: HashMap::new(),
        }
    }

    /// Asks for a tag's version.
    pub(super) fn want_tag(&mut self, tag: &str) {
        self.need(tag, Need::default());
    }

    /// Asks for the tags a key last had: then it takes no second round trip if it still has them.
    pub(super) fn want_last_tags(&mut self, key: &str) {
        self.redis.tags.tags_of(key).iter().for_each(|tag| self.want_tag(tag));
    }

    /// As [`want_tag`](Self::want_tag), and makes the record if there is none, so that it outlives an entry of this life.
    pub(super) fn make_tag(&mut self, tag: &str, entry: Option<Duration>) {
        self.need(tag, Need { make: true, life: Some(Life::of_record(entry)) });
    }

    /// Asks for a tag's version, and makes its record outlive an entry of this life, unless it is known to.
    pub(super) fn want_tag_for(&mut self, tag: &str, entry: Option<Duration>) {
        match self.redis.tags.version(tag, entry) {
            Some(_) => self.want_tag(tag),
            None => self.need(tag, Need { make: false, life: Some(Life::of_record(entry)) }),
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
    pub(super) fn tag(&self, tag: &str) -> Option<&Result<Option<u64>>> {
        self.tags.get(tag).map(|fetched| &fetched.version)
    }

    /// A tag's version as read in this round.
    pub(super) fn tag_now(&self, tag: &str) -> Result<Option<u64>> {
        match self.tags.get(tag) {
            Some(Fetched { round, version }) if *round == self.round => version.clone(),
            _ => Err(Error::new(ErrorKind::Backend, "a tag was not asked for")),
        }
    }

    /// Sends what was asked for, and hears the answers to all but the tags.
    pub(super) fn exchange(&mut self, limits: Limits) -> Vec<Reply> {
        self.round += 1;
        let asked = self.batch.len();
        self.push_tags();
        self.push_touch();
        let mut replies = self.redis.topology.run(&mut self.batch, limits, false);
        let of_tags = replies.split_off(asked);
        self.hear_tags(of_tags);
        replies
    }

    fn push_touch(&mut self) {
        let guard = self.redis.guard.as_ref();
        if let Some(home) = guard.and_then(|guard| guard.to_touch()) {
            self.batch.push(home, &[b"GET", home.as_bytes()]);
        }
    }

    fn push_tags(&mut self) {
        for (tag, need) in &self.wanted {
            let name = stored::tag(tag);
            let key = name.as_bytes();
            let px = match need.life {
                Some(Life::For(life)) => millis(life).to_string(),
                Some(Life::Ever) | None => String::new(),
            };
            if need.make {
                let record = tags::record(tags::fresh());
                let mut words: Vec<&[u8]> = vec![b"SET", key, &record, b"NX"];
                if !px.is_empty() {
                    words.extend([&b"PX"[..], px.as_bytes()]);
                }
                self.batch.push_once(&name, &words);
            }
            if need.life.is_some() {
                self.batch.call(&script::EXTEND, &name, &[px.as_bytes()]);
            }
            self.batch.push(&name, &[b"GET", key]);
        }
    }

    fn hear_tags(&mut self, replies: Vec<Reply>) {
        let mut replies = replies.into_iter();
        for (tag, need) in std::mem::take(&mut self.wanted) {
            let Need { make, life } = need;
            let count = 1 + usize::from(make) + usize::from(life.is_some());
            let mut answers = Answers { replies: &mut replies, left: count };
            let version = (1..count).try_for_each(|_| answers.next().map(drop)).and_then(|()| {
                let record = answers.bytes()?;
                Ok(record.and_then(|record| tags::version(&record)))
            });
            answers.skip_rest();
            if let Ok(version) = &version {
                let memory = &self.redis.tags;
                match (version, life) {
                    (Some(version), Some(Life::For(life))) => {
                        memory.note_life(&tag, *version, Some(life));
                    }
                    (Some(version), Some(Life::Ever)) => memory.note_life(&tag, *version, None),
                    (version, _) => memory.note_version(&tag, *version),
                }
            }
            self.tags.insert(tag, Fetched { round: self.round, version });
        }
    }
}

/// A job that is not done after so many round trips meets somebody who is always faster.
const MOST_ROUNDS: u32 = 100;

impl Redis {
    /// Carries out jobs, in rounds, until all are done.
    pub(super) fn drive<J: Job>(&self, limits: Limits, jobs: &mut [J], replicas: bool) {
        let mut talk = Talk::new(self);
        let mut open: Vec<&mut J> = jobs.iter_mut().collect();
        let mut ends = Vec::with_capacity(open.len());
        while !open.is_empty() {
            talk.round += 1;
            talk.batch.clear();
            ends.clear();
            for job in &mut open {
                job.ask(&mut talk);
                ends.push(talk.batch.len());
            }
            let asked = talk.batch.len();
            talk.push_tags();
            talk.push_touch();
            let mut replies = self.topology.run(&mut talk.batch, limits, replicas);
            let of_tags = replies.split_off(asked);
            talk.hear_tags(of_tags);
            talk.now_ms = wall_ms();
            let mut replies = replies.into_iter();
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
}
