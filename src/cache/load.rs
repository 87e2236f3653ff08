//! Loading what is missing, once.
//!
//! The machinery here is compiled once: a load's types stay in the [`Frame`] of its caller, which
//! it reaches through the trait [`Loading`].

use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::core::{Core, unanswered};
use super::look::{reading, usable};
use super::ttl::{Policy, Ttl};
use crate::backend::{
    Ask, Cause, Change, CodecId, Entry, Found, Grant, Lease, Name, NotDone, Read, Tags, Want, When,
    Write, Wrote,
};
use crate::codec::{Decoded, absent_value};
use crate::error::{Error, ErrorKind, Result};
use crate::flight::{Landing, Leader, Role};
use crate::stats::Count;

/// What a loader found, for [`load_with`](crate::EntryRef::load_with).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded<T> {
    /// A value, stored as the entry is set.
    Value(T),
    /// A value, stored for this long.
    For(T, Ttl),
    /// There is none, and that is stored for this long.
    Negative(Ttl),
    /// A value for the caller, not stored.
    Skip(T),
    /// [`Load::previous`] is still right: it is stored anew.
    NotModified,
}

/// A load under way, as its loader sees it.
#[derive(Debug)]
pub struct Load<'a> {
    core: &'a Core,
    policy: &'a Policy,
    name: Name<'a>,
    tags: Tags,
    right: Right,
    previous: Option<Entry>,
    /// The loader is at work; still so when it is dropped if it panicked.
    running: bool,
}

/// The right to store what is loaded.
#[derive(Debug)]
enum Right {
    Lease(Box<Lease>),
    /// The backend gives none: what is loaded is simply stored.
    Unfenced,
    /// Something overtook the load: its value is not stored.
    Lost,
    /// The backend is down: it is not asked again in this call.
    Down,
}

/// How long others wait for a load where no timeout is set.
const WAIT: Duration = Duration::from_secs(30);
/// How long a load keeps its right to store. A caller's timeout does not shorten it: the time a
/// loader takes is not the cache's. Where others share the entries they wait so long for a process that
/// died.
const HOLD: Duration = Duration::from_secs(300);
const HOLD_SHARED: Duration = Duration::from_secs(30);
/// How long a right that may be lost is given back at most.
const SHORT: Duration = Duration::from_millis(50);
/// A load elsewhere is asked for less and less often.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

impl Load<'_> {
    fn hold(&self) -> Duration {
        if self.core.backend.about().can.shared { HOLD_SHARED } else { HOLD }
    }

    /// Gives the right back, whether the backend hears of it or not. After a failure it does not
    /// get much time for it.
    fn give_back(&mut self, failed: bool) {
        let mut policy = *self.policy;
        if failed {
            policy.timeout = Some(policy.timeout.map_or(SHORT, |timeout| timeout.min(SHORT)));
        }
        if let Right::Lease(lease) = self.take_right() {
            let release = Write::new(self.name, When::Lease(lease), Change::Release);
            let _ = self.core.write(&policy, release);
        }
    }

    fn take_right(&mut self) -> Right {
        std::mem::replace(&mut self.right, Right::Lost)
    }

    /// The key, without its namespace.
    pub fn key(&self) -> &str {
        self.name.rest()
    }

    /// The stale value this load is to replace, if there is one of this type.
    pub fn previous<T: DeserializeOwned>(&self) -> Option<T> {
        self.core.format.value(self.previous.as_ref()?)
    }

    /// Tags what is loaded. Call it **before** reading the source the tag stands for: an
    /// invalidation of the tag from then on keeps the value from being stored.
    ///
    /// # Errors
    /// [`InvalidTag`](ErrorKind::InvalidTag).
    pub fn tag(&mut self, tag: &str) -> Result<()> {
        self.tags = self.tags.and(&Tags::within(self.name.space(), [tag])?);
        let Right::Lease(lease) = &self.right else { return Ok(()) };
        let lease = Ask::Renew { lease, hold: self.hold(), tags: &self.tags };
        let want = Want { quiet: true, lease, ..Want::VALUE };
        match self.core.read(self.policy, self.name, &want).map(granted) {
            Ok(Grant::Granted(lease)) => self.right = Right::Lease(lease),
            // Overtaken, or nobody knows: others need not wait for a fill that will not come.
            Ok(Grant::Busy { .. } | Grant::None) => self.give_back(true),
            Err(error) => {
                self.give_back(true);
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Gives the right back where it was not used: after an error or a panic.
impl Drop for Load<'_> {
    fn drop(&mut self) {
        if self.running {
            self.core.counters.add(Count::LoadError);
        }
        self.give_back(false);
    }
}

fn granted(read: Read) -> Grant {
    match read {
        Read::Hit(found) => found.more.map_or(Grant::None, |more| more.grant),
        Read::Miss(_, grant) => grant,
        Read::Unanswered | Read::Failed(_) => Grant::None,
    }
}

/// The caller's side of a load.
pub(super) trait Loading {
    /// Takes a stored entry as the answer, if it is one to this caller.
    fn accept(&mut self, entry: &Entry) -> bool;
    /// The tags named up front, checked.
    fn tags(&mut self, space: &str) -> Result<Tags>;
    /// Runs the loader and keeps its answer.
    fn run(&mut self, load: &mut Load<'_>) -> Result<Fill>;
}

/// What a loader's answer asks for.
pub(super) enum Fill {
    /// This change, which stores the value.
    Store(Change),
    /// Nothing stored; those who wait may share it.
    Share(Entry),
    /// The loader failed.
    Failed,
}

/// When a caller stops to wait for others; a timeout past the clock's range is none.
fn deadline(policy: &Policy) -> Instant {
    let (now, far) = (Instant::now(), Duration::from_secs(365 * 24 * 3600));
    now + policy.timeout.unwrap_or(WAIT).min(far)
}

impl Core {
    /// Answers from the cache, from another thread's load, or by loading.
    pub(super) fn load(
        &self,
        policy: &Policy,
        name: Name<'_>,
        loading: &mut dyn Loading,
    ) -> Result<()> {
        let want = reading(policy);
        let mut read = self.read(policy, name, &want)?;
        if self.accepted(usable(policy, &mut read), loading) {
            return Ok(());
        }
        let deadline = deadline(policy);
        loop {
            match self.flights.enter(name.as_str()) {
                Role::Reenters => return Err(reentrant()),
                Role::Leads(leader) => {
                    let down = matches!(read, Read::Miss(Cause::Down, _));
                    let right = if down { Right::Down } else { Right::Lost };
                    let tags = loading.tags(name.space())?;
                    self.need_tags(&tags)?;
                    // Bad settings are refused before the loader runs, not after.
                    policy.life(policy.ttl, &self.clock)?;
                    policy.life(policy.negative_ttl, &self.clock)?;
                    let load = Load {
                        core: self,
                        policy,
                        name,
                        tags,
                        right,
                        previous: None,
                        running: false,
                    };
                    return self.lead(load, loading, leader, deadline);
                }
                Role::Joins(flight) => match flight.wait(deadline).ok_or_else(late)? {
                    Landing::Failed => return Err(load_failed()),
                    Landing::Value(entry) => {
                        if entry.schema == policy.schema && loading.accept(&entry) {
                            self.counters.add(Count::Coalesced);
                            return Ok(());
                        }
                    }
                    Landing::Again => {}
                },
                Role::Waits(flight) => drop(flight.wait(deadline).ok_or_else(late)?),
            }
            if Instant::now() >= deadline {
                return Err(late());
            }
            read = self.read(policy, name, &want)?;
            if usable(policy, &mut read).is_ok_and(|found| loading.accept(&found.entry)) {
                return Ok(());
            }
        }
    }

    /// Offers what was found to the caller, and counts.
    #[inline]
    fn accepted(&self, found: Result<&mut Found, Cause>, loading: &mut dyn Loading) -> bool {
        let (accepted, count) = match found {
            Err(cause) => (false, cause.into()),
            Ok(found) if !loading.accept(&found.entry) => (false, Count::Undecodable),
            Ok(found) if found.entry.codec == CodecId::NEGATIVE => (true, Count::NegativeHit),
            Ok(_) => (true, Count::Hit),
        };
        self.counters.add(count);
        accepted
    }

    /// Loads, stores, and tells those who joined.
    fn lead(
        &self,
        mut load: Load<'_>,
        loading: &mut dyn Loading,
        leader: Leader<'_>,
        deadline: Instant,
    ) -> Result<()> {
        if !matches!(load.right, Right::Down) && self.obtain(&mut load, loading, deadline)? {
            return Ok(());
        }
        self.counters.add(Count::Load);
        let started = Instant::now();
        load.running = true;
        let fill = loading.run(&mut load);
        load.running = false;
        let cost_ms = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
        // From here on nobody joins: who comes now may come after an invalidation.
        leader.close();
        if leader.is_overtaken() && matches!(load.right, Right::Unfenced | Right::Down) {
            load.right = Right::Lost;
        }
        let (landing, result) = match fill {
            Ok(Fill::Store(change)) => self.fill(load, with_cost(change, cost_ms)),
            Ok(Fill::Share(entry)) => (self.release(load, entry), Ok(())),
            Ok(Fill::Failed) => (self.give_up(load), Ok(())),
            Err(error) => (self.give_up(load), Err(error)),
        };
        leader.land(landing);
        result
    }

    /// Obtains the right to store, or an answer that came meanwhile: then true.
    fn obtain(
        &self,
        load: &mut Load<'_>,
        loading: &mut dyn Loading,
        deadline: Instant,
    ) -> Result<bool> {
        let (policy, fenced) = (load.policy, self.backend.about().can.leases);
        let (mut take, mut pause) = (false, Duration::ZERO);
        loop {
            let (hold, tags) = (load.hold(), &load.tags);
            let lease = match (fenced, take) {
                (false, _) => Ask::No,
                (true, false) => Ask::Own { hold, stale_too: true, tags },
                (true, true) => Ask::Take { hold, tags },
            };
            let read = self.read(policy, load.name, &Want { lease, ..Want::VALUE })?;
            if let Read::Hit(found) = &read {
                let usable = found.entry.schema == policy.schema && !found.stale;
                if usable && loading.accept(&found.entry) {
                    return Ok(true);
                }
                let known = found.entry.schema == policy.schema;
                load.previous = (known && found.stale).then(|| found.entry.clone());
                if fenced && !take && !found.stale {
                    take = true;
                    continue;
                }
            }
            let down = matches!(read, Read::Miss(Cause::Down, _));
            match granted(read) {
                Grant::Granted(lease) => load.right = Right::Lease(lease),
                Grant::None if down => load.right = Right::Down,
                Grant::None if fenced => load.right = Right::Lost,
                Grant::None => load.right = Right::Unfenced,
                Grant::Busy { ask_again_in } => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        // Whoever loads it has no more to say than our own loader.
                        load.right = Right::Lost;
                        return Ok(false);
                    }
                    pause = (pause * 2).clamp(ask_again_in, LONGEST_PAUSE.max(ask_again_in));
                    std::thread::sleep(pause.min(left));
                    continue;
                }
            }
            return Ok(false);
        }
    }

    /// Stores what was loaded, if nothing overtook it; how to land, and what to tell the caller.
    fn fill(&self, mut load: Load<'_>, change: Change) -> (Landing, Result<()>) {
        let shared = match &change {
            Change::Put(entry, _) => Landing::Value(entry.clone()),
            _ => Landing::Again,
        };
        let when = match load.take_right() {
            Right::Lease(lease) => When::Lease(lease),
            Right::Unfenced => When::Always,
            // One value for all who wait is better than a stampede to the source.
            Right::Down => return (shared, Ok(())),
            Right::Lost => {
                self.counters.add(Count::Overtaken);
                return (Landing::Again, Ok(()));
            }
        };
        let held = when.clone();
        match self.write(load.policy, Write::new(load.name, when, change)) {
            Ok(Wrote::Not(NotDone::Overtaken)) => {
                self.counters.add(Count::Overtaken);
                (Landing::Again, Ok(()))
            }
            Ok(wrote) => {
                let stored = matches!((&shared, wrote), (Landing::Value(_), Wrote::Done(_)));
                self.counters.add_many(Count::Set, u64::from(stored));
                (shared, Ok(()))
            }
            Err(error) => {
                log::debug!("yokedcache: a loaded value was not stored: {error}");
                if let When::Lease(lease) = held {
                    // Whether it was is not known. If not, nobody is to wait for it.
                    load.right = Right::Lease(lease);
                    load.give_back(true);
                }
                // In an outage one value for all who wait is better than a stampede. A backend that
                // answers, and does not take it, may have heard of an invalidation.
                let landing = if error.is_transient() { shared } else { Landing::Again };
                // The caller has its value: a cache that cannot keep it does not take it away.
                (landing, if load.policy.strict { Err(error) } else { Ok(()) })
            }
        }
    }

    /// Gives the right back before anybody is told, so that the next one gets it.
    fn give_up(&self, load: Load<'_>) -> Landing {
        drop(load);
        self.counters.add(Count::LoadError);
        Landing::Failed
    }

    /// Gives the right back; what was loaded may be shared if nothing overtook it.
    fn release(&self, mut load: Load<'_>, entry: Entry) -> Landing {
        let lease = match load.take_right() {
            Right::Lease(lease) => lease,
            Right::Unfenced | Right::Down => return Landing::Value(entry),
            Right::Lost => return Landing::Again,
        };
        let release = Write::new(load.name, When::Lease(lease), Change::Release);
        match self.write(load.policy, release) {
            Ok(Wrote::Done(_)) => Landing::Value(entry),
            _ => Landing::Again,
        }
    }
}

fn with_cost(change: Change, cost_ms: u32) -> Change {
    match change {
        Change::Put(entry, life) => Change::Put(Entry { cost_ms, ..entry }, life),
        other => other,
    }
}

fn late() -> Error {
    Error::new(ErrorKind::Timeout, "another load of this key did not end in time")
}

fn load_failed() -> Error {
    Error::new(ErrorKind::LoadFailed, "another thread's load of this key failed")
}

fn reentrant() -> Error {
    let what = "this thread is loading this key already: its loader asked for the key itself, or \
                waits for work (in rayon, say) that loads it";
    Error::new(ErrorKind::Reentrant, what)
}

/// The types of one load.
pub(super) struct Frame<'a, T, E, F, G> {
    core: &'a Core,
    loader: Option<F>,
    tags: Option<G>,
    answer: Option<Result<Option<T>, E>>,
    /// Whether the caller takes "there is none" for an answer.
    takes_none: bool,
}

impl<'a, T, E, F, G> Frame<'a, T, E, F, G> {
    pub(super) fn new(core: &'a Core, loader: F, tags: G, takes_none: bool) -> Self {
        Self { core, loader: Some(loader), tags: Some(tags), answer: None, takes_none }
    }

    pub(super) fn answer(self) -> Result<Result<Option<T>, E>> {
        self.answer.ok_or_else(unanswered)
    }
}

impl<T, E, F, G> Loading for Frame<'_, T, E, F, G>
where
    T: Serialize + DeserializeOwned,
    F: FnOnce(&mut Load<'_>) -> Result<Loaded<T>, E>,
    G: IntoIterator<Item: AsRef<str>>,
{
    fn tags(&mut self, space: &str) -> Result<Tags> {
        self.tags.take().map_or(Ok(Tags::NONE), |tags| Tags::within(space, tags))
    }

    fn accept(&mut self, entry: &Entry) -> bool {
        let value = match self.core.format.decode(entry) {
            Decoded::Value(value) => Some(value),
            Decoded::Negative if self.takes_none => None,
            Decoded::Negative => match absent_value() {
                Some(value) => Some(value),
                None => return false,
            },
            Decoded::Undecodable | Decoded::Corrupt => return false,
        };
        self.answer = Some(Ok(value));
        true
    }

    fn run(&mut self, load: &mut Load<'_>) -> Result<Fill> {
        let Some(loader) = self.loader.take() else { return Ok(Fill::Failed) };
        let loaded = match loader(load) {
            Ok(loaded) => loaded,
            Err(error) => {
                self.answer = Some(Err(error));
                return Ok(Fill::Failed);
            }
        };
        let mut policy = *load.policy;
        let (entry, value, skip) = match loaded {
            Loaded::Value(value) => (self.core.format.encode(&value)?, Some(value), false),
            Loaded::Skip(value) => (self.core.format.encode(&value)?, Some(value), true),
            Loaded::For(value, ttl) => {
                if ttl != Ttl::Default {
                    (policy.ttl, policy.negative_ttl) = (ttl, ttl);
                }
                (self.core.format.encode(&value)?, Some(value), false)
            }
            Loaded::Negative(ttl) => {
                if ttl != Ttl::Default {
                    policy.negative_ttl = ttl;
                }
                (self.core.format.encode(&None::<()>)?, None, false)
            }
            Loaded::NotModified => match load.previous.take() {
                Some(previous) if self.accept(&previous) => {
                    let change = self.core.put(&policy, previous, load.tags.clone())?;
                    return Ok(Fill::Store(change));
                }
                _ => return Err(nothing_unmodified()),
            },
        };
        let entry = Entry { schema: policy.schema, ..entry };
        let negative = entry.codec == CodecId::NEGATIVE;
        self.answer = Some(Ok(value));
        if skip || negative && policy.skip_negative {
            return Ok(Fill::Share(entry));
        }
        match self.core.put(&policy, entry.clone(), load.tags.clone()) {
            // The caller keeps its value all the same.
            Err(error) if error.kind() == ErrorKind::TooLarge => Ok(Fill::Share(entry)),
            change => change.map(Fill::Store),
        }
    }
}

fn nothing_unmodified() -> Error {
    let what = "the loader said not modified, but there is no previous value of this type";
    Error::new(ErrorKind::InvalidArgument, what)
}
