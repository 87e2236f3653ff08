//! A memory in front of a backend that is farther away.

mod builder;
mod fill;
mod health;
mod near;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

pub use builder::TieredBuilder;

use self::fill::Ticket;
use self::near::Near;
use super::health::of_parts;
use super::memory::Memory;
use super::{
    About, Ask, Attached, Backend, Call, Change, Found, Health, Listen, Listening, Name, Read,
    Removed, Scope, Want, Write, Wrote,
};
use crate::error::{Error, ErrorKind, Result};
use crate::pattern::Pattern;
use crate::stats::BackendStats;

/// A [`Memory`] in front of a backend that is farther away, and kept true to it.
///
/// What was read from the far tier is kept in the near one and served from there until it ends, or
/// until it is heard that it changed. Writes, invalidations, counters, compare-and-swap and loads go
/// to the far tier; only reads of values are answered by the near one.
///
/// | far tier | how changes are heard of | another process may be served an invalidated value |
/// |---|---|---|
/// | Redis 6 or later | the server tells (`CLIENT TRACKING`) | until the server's message came; at most [`bound`](TieredBuilder::bound), 500 ms, also where connections hang |
/// | Memcached, Redis with replica reads, others | not at all | until the entry has been near for [`near_ttl`](TieredBuilder::near_ttl), one second |
///
/// Redis tells a user who may use `CLIENT`, `SET`, and `SUBSCRIBE` on the channel
/// `__redis__:invalidate`; of others' `SWAPDB` it tells nobody. A server that refuses is one where
/// changes are not heard of.
///
/// What this process itself replaced or invalidated it never serves once the call has returned,
/// whatever the far tier. (While a write is under way one thread may find the new value far, and the
/// next the older one near.)
///
/// Where changes cannot be heard of for a while, the near tier is emptied and not used: all reads go
/// to the far one, and [`Event::NearOff`](super::Event::NearOff) tells. With
/// [`strict`](TieredBuilder::strict) a delete or an invalidation returns when no process can serve the
/// value any more.
///
/// | operation | round trips to the far tier |
/// |---|---|
/// | `get`, `get_many`, `exists`, `lookup`, `get_or_load` of what is near | 0 |
/// | all others | as many as the far tier takes; the first read after a change 1 |
///
/// Listening takes two connections to each master, and a small write to it for each third of the bound,
/// of which all other processes under the prefix hear: with n of them the servers send n² such messages.
///
/// A sliding read, a stale value and `get_versioned` go to the far tier each time. Own writes take
/// the entry out of the near tier, too: the next read brings it back.
///
/// ```no_run
/// # #[cfg(feature = "redis")]
/// # fn main() -> yokedcache::Result<()> {
/// use yokedcache::{Cache, Memory, Redis, Tiered};
///
/// let near = Memory::builder().max_size(10_000).build()?;
/// let far = Redis::open("redis://localhost:6379/0")?;
/// let cache = Cache::builder(Tiered::new(near, far)?).key_prefix("shop").build()?;
/// cache.set("k", &1)?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "redis"))]
/// # fn main() {}
/// ```
pub struct Tiered {
    far: Box<dyn Backend>,
    near: Arc<Near>,
    /// Where changes are heard of, and of which names.
    ears: RwLock<Option<Ears>>,
    /// Held while that is changed; nobody who reads waits for it.
    attaching: Mutex<()>,
    near_ttl: Option<Duration>,
    strict: bool,
}

#[derive(Debug)]
struct Ears {
    spaces: Vec<Box<str>>,
    listening: Box<dyn Listening>,
}

/// The far tier, as a part in statistics.
const FAR: &str = "far";
/// How long an entry stays near where no changes are heard of, unless it is said.
const UNHEARD: Duration = Duration::from_secs(1);
/// So many signs of life come within the bound.
const BEATS: u32 = 3;
/// How long a health check waits before it looks again whether the near tier has come on.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

impl Tiered {
    /// A memory in front of a backend, with the settings' defaults.
    ///
    /// # Errors
    /// None with these.
    pub fn new(near: Memory, far: impl Backend) -> Result<Self> {
        Self::builder(near, far).build()
    }

    /// Settings of a memory in front of a backend. If one of them has a clock set by hand, both need
    /// it.
    pub fn builder(near: Memory, far: impl Backend) -> TieredBuilder {
        TieredBuilder::new(near, Box::new(far))
    }

    /// Whether the near tier is in use at the moment.
    pub fn is_near_on(&self) -> bool {
        self.near.is_on()
    }

    /// How long an entry may stay near.
    fn cap(&self) -> Option<Duration> {
        self.near_ttl.or_else(|| self.near.is_capped().then_some(UNHEARD))
    }

    /// How long another process may be served what is gone.
    fn lag(&self) -> Duration {
        if self.near.is_capped() { self.cap().unwrap_or(UNHEARD) } else { self.near.bound }
    }

    /// What a ticket for a key hangs on: nothing where nothing is heard of, and no ticket for keys
    /// of which nothing is heard.
    fn covers(&self, key: Name<'_>) -> Option<Option<u64>> {
        if self.near.is_capped() {
            return Some(None);
        }
        let ears = self.ears.read();
        let ears = ears.as_ref()?;
        let ours = ears.spaces.iter().any(|space| key.as_str().starts_with(&**space));
        let covers = ears.listening.covers().filter(|_| ours)?;
        Some(Some(covers))
    }

    /// Reads from the far tier and keeps what may be kept.
    #[inline(never)]
    fn read_far(
        &self,
        call: Call,
        keys: &[Name<'_>],
        want: &Want<'_>,
        out: &mut [Read],
    ) -> Result<()> {
        let ticket = |key: &Name<'_>| self.near.ticket(*key, self.covers(*key)?);
        let mut tickets: Vec<Option<Ticket>> = match is_worth_keeping(want) {
            true => keys.iter().map(ticket).collect(),
            false => Vec::new(),
        };
        let fills = tickets.iter().any(Option::is_some);
        let want = if fills { &Want { meta: true, ..*want } } else { want };
        let done = self.far.read(call, keys, want, out);
        for ((key, read), ticket) in keys.iter().zip(&*out).zip(&mut tickets) {
            let Some(ticket) = ticket.take() else { continue };
            let covers = self.covers(*key).flatten();
            self.near.fill(*key, ticket, read, covers, self.cap());
        }
        for read in out {
            if let Read::Hit(found) = read {
                found.tier = found.tier.saturating_add(1);
            }
        }
        done
    }

    /// Reads those from the far tier that the near one does not have.
    #[inline(never)]
    fn read_rest(
        &self,
        call: Call,
        keys: &[Name<'_>],
        want: &Want<'_>,
        out: &mut [Read],
    ) -> Result<()> {
        let missing: Vec<usize> = (0..keys.len()).filter(|at| !is_answered(&out[*at])).collect();
        for &at in &missing {
            if matches!(out[at], Read::Hit(_)) {
                // Stale: it would keep the fresh one out.
                self.near.forget(keys[at]);
            }
            out[at] = Read::Unanswered;
        }
        if missing.len() == keys.len() {
            return self.read_far(call, keys, want, out);
        }
        let rest: Vec<Name<'_>> = missing.iter().map(|at| keys[*at]).collect();
        let mut reads: Vec<Read> = missing.iter().map(|_| Read::Unanswered).collect();
        let done = self.read_far(call, &rest, want, &mut reads);
        for (at, read) in missing.into_iter().zip(reads) {
            out[at] = match (&done, read) {
                // The others have their answers.
                (Err(error), _) => Read::Failed(error.clone()),
                (Ok(()), read) => read,
            };
        }
        Ok(())
    }

    /// Writes, and nobody in this process is served afterwards what was there, whatever came of it.
    fn write_far(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        let done = self.far.write(call, writes, out);
        writes.iter().for_each(|write| self.near.forget(write.key));
        done
    }

    /// The same, and no process is served what was removed.
    fn write_strictly(
        &self,
        call: Call,
        writes: &mut [Write<'_>],
        out: &mut [Wrote],
    ) -> Result<()> {
        let call = call.armed();
        // Noted first: the far tier may take the changes out.
        let removes = |write: &Write<'_>| matches!(write.change, Change::Remove);
        let removals: Vec<bool> = writes.iter().map(removes).collect();
        self.write_far(call, writes, out)?;
        if removals.contains(&true)
            && let Err(error) = self.wait_for_others(call)
        {
            let removed = out.iter_mut().zip(removals).filter(|(_, removal)| *removal);
            removed.for_each(|(out, _)| *out = Wrote::Failed(error.clone()));
        }
        Ok(())
    }

    /// Waits until no process can serve what is gone by now.
    fn wait_for_others(&self, call: Call) -> Result<()> {
        let lag = self.lag();
        if call.left()?.is_some_and(|left| left < lag) {
            let what = "done, but other processes may still be served the older value: the call \
                        has no time left to wait for them";
            return Err(Error::new(ErrorKind::Timeout, what));
        }
        thread::sleep(lag);
        Ok(())
    }

    /// A tier that was just built is not off, it is not on yet: whoever asks how it is may wait a moment.
    fn wait_for_the_first_sign(&self, call: Call) {
        let listens = self.ears.read().is_some();
        let has_time = || call.left().is_ok_and(|left| left.is_none_or(|left| left > LOOK_AGAIN));
        while listens && self.near.is_beginning() && has_time() {
            thread::sleep(LOOK_AGAIN);
        }
    }

    fn listen(&self) -> Result<()> {
        let _attaching = self.attaching.lock();
        let spaces = self.near.audience.spaces();
        if self.ears.read().as_ref().is_some_and(|ears| ears.spaces == spaces) {
            return Ok(());
        }
        // The one before ends first: what it still tells is not about the new one.
        self.listen_no_more();
        let to = Listen::new(spaces.clone(), self.near.bound / BEATS, self.near.clone());
        match self.far.listen(&to)? {
            Some(listening) => *self.ears.write() = Some(Ears { spaces, listening }),
            None => self.near.cap(),
        }
        Ok(())
    }

    /// Ends the listener, with no lock held: an event handler of its thread may be reading.
    fn listen_no_more(&self) {
        let ears = self.ears.write().take();
        drop(ears);
    }
}

/// Whether the near tier may answer this at all.
#[inline]
fn may_be_near(want: &Want<'_>) -> bool {
    !want.token && want.slide.is_none() && matches!(want.lease, Ask::No)
}

fn is_worth_keeping(want: &Want<'_>) -> bool {
    may_be_near(want) && !want.quiet && !want.head_only
}

#[inline]
fn is_answered(read: &Read) -> bool {
    matches!(read, Read::Hit(Found { stale: false, .. }))
}

impl Backend for Tiered {
    fn about(&self) -> About {
        let About { mut can, .. } = self.far.about();
        if can.shared && !self.strict {
            can.lag = can.lag.max(self.lag());
        }
        About::new("tiered", can)
    }

    #[inline]
    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        if !may_be_near(want) || !self.near.is_on() {
            return self.read_far(call, keys, want, out);
        }
        self.near.memory.read(call, keys, want, out)?;
        if want.meta {
            out.iter_mut().for_each(hide_cap);
        }
        if out.iter().all(is_answered) {
            return Ok(());
        }
        self.read_rest(call, keys, want, out)
    }

    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        if self.strict {
            return self.write_strictly(call, writes, out);
        }
        self.write_far(call, writes, out)
    }

    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        let call = match what {
            Scope::AnyTag(_) if self.strict => call.armed(),
            // What visits keys has its time for each page of them.
            _ => call,
        };
        let removed = self.far.invalidate(call, what);
        self.near.forget_scope(what);
        let removed = removed?;
        if self.strict {
            self.wait_for_others(call)?;
        }
        Ok(removed)
    }

    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.far.scan(call, what, page)
    }

    fn stats(&self, call: Call) -> BackendStats {
        BackendStats { near_on: Some(self.is_near_on()), ..super::stats_inside(self, call) }
    }

    fn children(&self, each: &mut dyn FnMut(&str, &dyn Backend)) {
        each("near", &self.near.memory);
        each(FAR, &*self.far);
    }

    fn health(&self, call: Call, probe: Name<'_>) -> Health {
        let call = call.armed();
        let mut health = of_parts(self, call, probe, |part| part == FAR);
        if health.error.is_none() {
            self.wait_for_the_first_sign(call);
        }
        let near = self.near.health();
        health.warnings.extend(health::warning(&near));
        health.near = Some(near);
        health
    }

    fn threads(&self, each: &mut dyn FnMut(&str, bool)) {
        let mut listening = Vec::new();
        if let Some(ears) = &*self.ears.read() {
            ears.listening.threads(&mut |name, runs| listening.push((name.to_owned(), runs)));
        }
        listening.iter().for_each(|(name, runs)| each(name, *runs));
        self.children(&mut |_, child| child.threads(each));
    }

    fn attach(&self, cache: &Attached<'_>) -> Result<()> {
        self.far.attach(cache)?;
        self.near.audience.join(cache);
        self.listen()
    }

    fn close(&self) {
        self.listen_no_more();
        self.near.close();
        self.children(&mut |_, child| child.close());
    }
}

/// An idle end in the near tier is how long it may keep the entry: no part of the entry's life.
fn hide_cap(read: &mut Read) {
    if let Read::Hit(Found { more: Some(more), .. }) = read {
        more.life.idle = None;
    }
}

impl Drop for Tiered {
    fn drop(&mut self) {
        // Before the far tier, whose connections it uses.
        self.listen_no_more();
    }
}

impl fmt::Debug for Tiered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiered")
            .field("near", &self.near.memory)
            .field("far", &self.far)
            .field("strict", &self.strict)
            .finish_non_exhaustive()
    }
}
