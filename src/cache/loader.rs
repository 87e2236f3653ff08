//! Loaders that outlive the call, and what that makes possible: refreshes in the background, time
//! limits.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::core::Core;
use super::load::{
    Answer, Arrival, Frame, Load, Loaded, Offer, Patience, Seat, Task, deadline, instant_after,
    load_failed,
};
use super::policy::Policy;
use super::{Cache, Freshness, Lookup, Ttl, View};
use crate::backend::Name;
use crate::error::{Error, ErrorKind, Result};
use crate::flight::{Leader, Role, Runner};
use crate::key::with_name;
use crate::pool::Urgency;
use crate::stats::Count;
use crate::streak::Streak;

/// A cache with the function that loads what is missing. Made by [`Cache::loader`].
///
/// As the loader outlives the call, entries that are stale, or due for an
/// [early refresh](Freshness::refresh_at), are loaded on a thread of the cache: callers get the value
/// that is there without waiting. Time limits let a caller go on without a slow source.
///
/// Threads are named `yokedcache-loader`. [`loader_threads`](crate::CacheBuilder::loader_threads)
/// bounds how many there are and [`loader_queue`](crate::CacheBuilder::loader_queue) how many
/// refreshes wait for one; one more is dropped. [`Cache::drain`] waits for them. Dropping the last
/// handle of a cache forgets refreshes that have not begun, and waits for those that have.
///
/// ```
/// use std::time::Duration;
/// use yokedcache::{Cache, Freshness, Loader};
///
/// struct Service {
///     rates: Loader<f64, std::num::ParseFloatError>,
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let minute = Duration::from_secs(60);
/// let cache = Cache::memory(10_000);
/// let rates = cache
///     .namespace("rate")
///     .loader(|currency| if currency == "eur" { "1.08" } else { "?" }.parse())
///     .freshness(Freshness::new().ttl(minute).stale_for(60 * minute).refresh_at(0.8))
///     .hard_limit(Duration::from_secs(2));
/// let service = Service { rates };
///
/// assert_eq!(service.rates.get("eur")??, 1.08);
/// assert!(service.rates.get("xyz")?.is_err());
/// # Ok(())
/// # }
/// ```
pub struct Loader<T, E> {
    view: View,
    run: Arc<Run<T, E>>,
    tags: Arc<[String]>,
    soft_limit: Duration,
    hard_limit: Option<Duration>,
    keeps_late: bool,
}

type Run<T, E> = dyn Fn(&mut Load<'_>) -> Result<Loaded<T>, E> + Send + Sync;

/// What a load on another thread came to.
type Told<T, E> = Result<Result<Answer<T>, E>>;

impl Cache {
    /// A handle that loads what is missing with `loader`, which is given the key without its
    /// namespace.
    ///
    /// The settings of this handle apply; see [`Loader`] for more.
    pub fn loader<T, E>(
        &self,
        loader: impl Fn(&str) -> Result<T, E> + Send + Sync + 'static,
    ) -> Loader<T, E> {
        self.loader_with(move |load| loader(load.key()).map(Loaded::Value))
    }

    /// The same with a loader that sees the [`Load`] and says more than a value.
    pub fn loader_with<T, E>(
        &self,
        loader: impl Fn(&mut Load<'_>) -> Result<Loaded<T>, E> + Send + Sync + 'static,
    ) -> Loader<T, E> {
        Loader {
            view: View::clone(&self.0),
            run: Arc::new(loader),
            tags: Arc::new([]),
            soft_limit: Duration::ZERO,
            hard_limit: None,
            keeps_late: false,
        }
    }

    /// Waits until no load is waiting for, or running on, a thread of this cache, at most so long;
    /// whether that came.
    pub fn drain(&self, timeout: Duration) -> bool {
        self.0.pool.drain(timeout)
    }
}

impl<T, E> Loader<T, E> {
    /// How long entries live, are kept when stale, and when they are refreshed. What it leaves open
    /// of times to live is as the cache is set. Default: as the cache is set.
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.view.policy.fresh = freshness.or(&self.view.policy.fresh);
        self
    }

    /// Tags what is stored. A loader made by [`loader_with`](Cache::loader_with) may name
    /// [more](Load::tag). Default: none.
    ///
    /// # Errors
    /// Calls refuse tags that are empty or too long.
    pub fn tags(mut self, tags: impl IntoIterator<Item: Into<String>>) -> Self {
        self.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// See [`CacheBuilder::lease`](crate::CacheBuilder::lease). Default: as the cache is set.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.view.policy.lease = Some(lease);
        self
    }

    /// How long a caller waits for a better value than the stale one that is there. The load goes on
    /// on a thread of the cache. Default: zero; `Duration::MAX` serves it only if the loader fails.
    /// What another process loads is not waited for.
    pub fn soft_limit(mut self, limit: Duration) -> Self {
        self.soft_limit = limit;
        self
    }

    /// How long a caller waits for a value where there is none, or with a soft limit for a better one.
    /// Default: as long as the loader takes, which then runs on the caller's thread.
    ///
    /// Past it the call is a [`Timeout`](ErrorKind::Timeout), and what the loader returns later is
    /// not stored unless [`keep_late`](Self::keep_late) says so. Others who ask for the key meanwhile
    /// wait for that loader, within their limits: a source that hangs holds one thread per key.
    ///
    /// Waiting for a cache that does not answer is not counted: that ends by the
    /// [timeout](crate::CacheBuilder::timeout), and the loader has its limit after it.
    pub fn hard_limit(mut self, limit: Duration) -> Self {
        self.hard_limit = Some(limit);
        self
    }

    /// Stores what a loader returns after the caller it was begun for has gone. Default: it is not
    /// stored, and handed only to those who joined that load.
    pub fn keep_late(mut self) -> Self {
        self.keeps_late = true;
        self
    }

    /// How long the cache may take in one call, and the wait for another thread's load. Default: as
    /// the cache is set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.view.policy.timeout = Some(timeout);
        self
    }

    /// How long what is stored lives. Default: as the cache is set.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.view.policy.fresh.ttl = self.view.policy.fresh.ttl_or_default(ttl.into());
        self
    }
}

impl<T, E> Loader<T, E>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    E: Send + 'static,
{
    /// The value, from the cache or the loader. See
    /// [`get_or_load`](crate::EntryRef::get_or_load).
    ///
    /// # Errors
    /// As there; [`Timeout`](ErrorKind::Timeout) past the hard limit;
    /// [`LoadFailed`](ErrorKind::LoadFailed) if the loader panicked on its thread, or too many loads
    /// wait for one; [`WrongType`](ErrorKind::WrongType)
    /// if it is known that there is no value, and a `T` cannot say so. An `Option` can, and so does
    /// [`lookup`](Self::lookup).
    pub fn get(&self, key: impl AsRef<str>) -> Result<Result<T, E>> {
        match self.answer(key.as_ref(), false)? {
            Ok(answer) => answer.into_value().map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }

    /// The same with its times, and whether it is stale. Never a miss.
    ///
    /// # Errors
    /// As there.
    pub fn lookup(&self, key: impl AsRef<str>) -> Result<Result<Lookup<T>, E>> {
        Ok(self.answer(key.as_ref(), true)?.map(Answer::into_lookup))
    }

    /// Has the entry loaded anew on a thread of the cache, whatever its age; false if that is under
    /// way, or there is no room for it.
    ///
    /// The value that is there stays until then, but for two kinds on a server, which are removed first,
    /// so that the loader sees no previous one: those without a tag that the load brings, and bare
    /// whole numbers on Redis.
    ///
    /// # Errors
    /// [`InvalidKey`](ErrorKind::InvalidKey), and settings out of range.
    pub fn refresh(&self, key: impl AsRef<str>) -> Result<bool> {
        let View { core, prefix, policy, .. } = &self.view;
        with_name(prefix, key.as_ref(), |name| {
            Task::new(core, policy, name)?;
            Ok(match core.flights.enter(name.as_str(), false) {
                Role::Leads(leader) => self.refresh_behind(leader, Offer::Early(None), name),
                Role::Joins(_) | Role::Reenters => false,
            })
        })
    }

    fn answer(&self, key: &str, wants_life: bool) -> Told<T, E> {
        let View { core, prefix, policy, .. } = &self.view;
        with_name(prefix, key, |name| {
            let task = Task::new(core, policy, name)?;
            let mut frame = frame(core, &*self.run, &self.tags, wants_life);
            let wait = match (policy.timeout, self.hard_limit) {
                (Some(timeout), Some(limit)) => Some(timeout.min(limit)),
                (timeout, limit) => timeout.or(limit),
            };
            let (began, deadline) = (Instant::now(), deadline(wait));
            let patience = Patience { deadline, better_by: instant_after(self.soft_limit) };
            let Arrival::Leads(leader, offer) = task.arrive(&mut frame, patience)? else {
                return frame.answer();
            };
            let limit = match offer {
                Offer::Fresh | Offer::Early(_) => Some(Duration::ZERO),
                Offer::Stale if self.soft_limit == Duration::MAX => self.hard_limit,
                Offer::Stale => {
                    Some(self.hard_limit.unwrap_or(self.soft_limit).min(self.soft_limit))
                }
                // Waiting for another's load that came to nothing counts.
                Offer::Nothing => {
                    self.hard_limit.map(|limit| limit.saturating_sub(began.elapsed()))
                }
                // Waiting for a cache that does not answer does not: it would fail the load.
                Offer::Down => self.hard_limit,
            };
            match limit {
                None => {
                    task.lead(leader, offer, &mut frame, deadline)?;
                    frame.answer()
                }
                Some(Duration::ZERO) if offer.is_answer() => {
                    self.refresh_behind(leader, offer, name);
                    task.count_served(offer);
                    frame.answer()
                }
                Some(limit) => self.load_within(limit, leader, offer, name, || frame.answer()),
            }
        })
    }

    /// Leaves the load to a thread, and nobody waits.
    fn refresh_behind(&self, leader: Leader, offer: Offer, name: Name<'_>) -> bool {
        let counters = &self.view.core.counters;
        let begun = self.submit(Urgency::Background, leader, offer, name, None);
        counters.add(if begun { Count::Refresh } else { Count::RefreshDropped });
        begun
    }

    /// Leaves the load to a thread and waits for so long.
    fn load_within(
        &self,
        limit: Duration,
        leader: Leader,
        offer: Offer,
        name: Name<'_>,
        answer: impl FnOnce() -> Told<T, E>,
    ) -> Told<T, E> {
        let (tell, told) = bounded(1);
        let gone = Arc::new(AtomicBool::new(false));
        let waiter = Waiter { tell, gone: gone.clone() };
        if !self.submit(Urgency::Waited, leader, offer, name, Some(waiter)) && !offer.is_answer() {
            return Err(no_thread());
        }
        match self.view.pool.wait(|| wait(&told, limit)) {
            Ok(told) => told,
            // The load goes on.
            Err(RecvTimeoutError::Timeout) if offer.is_answer() => {
                Task { core: &self.view.core, policy: &self.view.policy, name }.count_served(offer);
                answer()
            }
            Err(RecvTimeoutError::Timeout) => {
                gone.store(!self.keeps_late, Ordering::SeqCst);
                Err(Error::new(ErrorKind::Timeout, "the loader took longer than its limit"))
            }
            Err(RecvTimeoutError::Disconnected) if offer.is_answer() => answer(),
            Err(RecvTimeoutError::Disconnected) => Err(load_failed()),
        }
    }

    /// Has a thread of the cache run the load.
    fn submit(
        &self,
        urgency: Urgency,
        leader: Leader,
        offer: Offer,
        name: Name<'_>,
        waiter: Option<Waiter<T, E>>,
    ) -> bool {
        leader.hand_over(match urgency {
            Urgency::Waited => Runner::Soon,
            Urgency::Background => Runner::Whenever,
        });
        let errand = Errand {
            // Not the whole view: its threads are joined when the last handle is dropped, and a load
            // is no handle.
            core: self.view.core.clone(),
            policy: self.view.policy,
            run: self.run.clone(),
            tags: self.tags.clone(),
            key: name.as_str().into(),
            space: name.space().len(),
            offer,
        };
        self.view.pool.submit(urgency, Box::new(move || errand.run(leader, waiter)))
    }
}

/// The types of one load.
fn frame<'a, T, E>(
    core: &'a Core,
    run: &'a Run<T, E>,
    tags: &'a [String],
    wants_life: bool,
) -> Frame<'a, T, E, &'a Run<T, E>, slice::Iter<'a, String>> {
    Frame::new(Seat::new(core, tags.iter(), true).wanting_life(wants_life), run)
}

/// Who waits for a load on another thread.
struct Waiter<T, E> {
    tell: Sender<Told<T, E>>,
    /// It has gone, and wants nothing stored.
    gone: Arc<AtomicBool>,
}

fn wait<T>(told: &Receiver<T>, limit: Duration) -> Result<T, RecvTimeoutError> {
    told.recv_deadline(instant_after(limit))
}

fn no_thread() -> Error {
    Error::new(ErrorKind::LoadFailed, "no thread is free for the loader, and too many loads wait")
}

/// A load on its way to another thread.
struct Errand<T, E> {
    core: Arc<Core>,
    policy: Policy,
    run: Arc<Run<T, E>>,
    tags: Arc<[String]>,
    key: Box<str>,
    space: usize,
    offer: Offer,
}

impl<T, E> Errand<T, E>
where
    T: Serialize + DeserializeOwned,
{
    fn run(self, leader: Leader, waiter: Option<Waiter<T, E>>) {
        // Who waits no longer wants nothing; those who joined begin again.
        let gone = waiter.as_ref().is_some_and(|waiter| waiter.gone.load(Ordering::SeqCst));
        if gone || !leader.start() {
            return;
        }
        let Self { core, policy, run, tags, key, space, offer } = self;
        let task = Task { core: &core, policy: &policy, name: Name::new(&key, space) };
        // Who waits for times will be told them.
        let mut frame = frame(&core, &*run, &tags, waiter.is_some());
        if let Some(waiter) = &waiter {
            frame = frame.unless(waiter.gone.clone());
        }
        let done = task.lead(leader, offer, &mut frame, deadline(policy.timeout));
        match waiter {
            // Nobody there any more.
            Some(waiter) => drop(waiter.tell.send(done.and_then(|()| frame.answer()))),
            None => {
                static FAILING: Streak = Streak::new();
                if let Err(error) = done
                    && let Some(more) = FAILING.on()
                {
                    log::debug!("yokedcache: a refresh failed: {error}{more}");
                }
            }
        }
    }
}

// A panic of the loader leaves nothing half done: the flight lands, the right is given back.
impl<T, E> UnwindSafe for Loader<T, E> {}
impl<T, E> RefUnwindSafe for Loader<T, E> {}

impl<T, E> Clone for Loader<T, E> {
    fn clone(&self) -> Self {
        Self {
            view: self.view.clone(),
            run: self.run.clone(),
            tags: self.tags.clone(),
            soft_limit: self.soft_limit,
            hard_limit: self.hard_limit,
            keeps_late: self.keeps_late,
        }
    }
}

impl<T, E> fmt::Debug for Loader<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader")
            .field("view", &self.view)
            .field("tags", &self.tags)
            .field("soft_limit", &self.soft_limit)
            .field("hard_limit", &self.hard_limit)
            .field("keeps_late", &self.keeps_late)
            .finish_non_exhaustive()
    }
}
