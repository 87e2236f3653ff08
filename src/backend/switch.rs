//! A backend that can be replaced while the program runs.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use super::audience::Audience;
use super::changing::Changing;
use super::copying::copy_surely;
use super::dual_write::DualWrite;
use super::health::of_parts;
use super::{
    About, Attached, Backend, Call, Event, Health, Name, Read, Removed, Scope, Want, Write, Wrote,
};
use crate::error::{Error, ErrorKind, Result};
use crate::pattern::Pattern;

/// A backend that can be replaced while the program runs.
///
/// A clone is a handle to the same switch: one goes into the cache, the other stays with who decides.
/// Calls under way finish on the backend they began on; every later one goes to the new. What the
/// new one begins with is nothing ([`switch_to`](Self::switch_to)), what the one before has
/// ([`switch_to_warm`](Self::switch_to_warm)), or what it had
/// ([`switch_to_uncleared`](Self::switch_to_uncleared)).
///
/// ```
/// use yokedcache::{Cache, Memory, Switch};
///
/// # fn main() -> yokedcache::Result<()> {
/// let switch = Switch::new(Memory::builder().max_size(100).build()?);
/// let cache = Cache::builder(switch.clone()).build()?;
/// cache.set("k", &1)?;
/// switch.switch_to(Memory::builder().max_size(10_000).build()?)?;
/// assert_eq!(cache.get::<i32>("k")?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Switch(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    current: RwLock<Arc<dyn Backend>>,
    switching: Changing,
    audience: Audience,
}

impl Switch {
    /// A switch that begins with this backend.
    pub fn new(backend: impl Backend) -> Self {
        Self(Arc::new(Shared {
            current: RwLock::new(Arc::new(backend)),
            switching: Changing::default(),
            audience: Audience::default(),
        }))
    }

    /// Replaces the backend by another, whose entries of this cache are cleared first: they may have
    /// missed invalidations.
    ///
    /// The backend before is dropped when the last call on it ends. Costs what
    /// [`clear`](crate::Cache::clear) costs on the new one.
    ///
    /// # Errors
    /// If the new one cannot be cleared; and [`Reentrant`](ErrorKind::Reentrant) in an event handler
    /// that is told of something in the middle of a switch. The one before stays.
    pub fn switch_to(&self, new: impl Backend) -> Result<()> {
        self.0.switch(Arc::new(new), |audience, new| audience.clear(new, Call::Unlimited))
    }

    /// Replaces the backend by another whose entries stay, where every invalidation of this cache
    /// has reached it, too: programs that share it and switch at the same time, say.
    ///
    /// What was invalidated here and not there is served again.
    ///
    /// # Errors
    /// If the new one refuses to be part of this cache, and
    /// [`Reentrant`](ErrorKind::Reentrant) as with [`switch_to`](Self::switch_to): the one before stays.
    pub fn switch_to_uncleared(&self, new: impl Backend) -> Result<()> {
        self.0.switch(Arc::new(new), |_, _| Ok(()))
    }

    /// Replaces the backend by another that has its entries by then, with what is left of their time,
    /// their tags, schema and cost. Returns how many were copied. Stale ones are left behind: no
    /// backend lists them.
    ///
    /// The new one is cleared first. While entries are copied the one before answers, and both are
    /// written ([`DualWrite`]); a copy is a load on the new one, so that whatever is written or
    /// invalidated meanwhile overtakes it. What is too large for the new one, or what it does not
    /// keep for want of room, is missing there. Each wait for the calls under way, at the beginning and
    /// at the end, lasts at most `patience`, and calls that come wait at the end. Costs a listing of
    /// this cache's keys, and four calls for each page of it.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) if the one before cannot list its keys, or the new one
    /// gives no [leases](super::Can::leases); [`Timeout`](ErrorKind::Timeout) if calls did not end in
    /// time; [`Reentrant`](ErrorKind::Reentrant) as with [`switch_to`](Self::switch_to); and if one of
    /// the two fails. The one before stays.
    pub fn switch_to_warm(&self, new: impl Backend, patience: Duration) -> Result<u64> {
        let (shared, new) = (&*self.0, Arc::new(new) as Arc<dyn Backend>);
        let switching = shared.switching.begin()?;
        let old = self.current();
        can_be_copied(&*old, &*new)?;
        shared.audience.attach(&*new)?;
        shared.audience.may_clear(&*new)?;
        let both = DualWrite::over(old.clone(), new.clone());
        let mut end = End { shared, backend: old };
        shared.replace(Arc::new(both.clone()));
        let copied = shared.warm(&both, &end.backend, &new, patience);
        let from = end.backend.about().name;
        if copied.is_ok() {
            end.backend = new.clone();
        }
        drop(end);
        drop(switching);
        if copied.is_ok() {
            shared.tell(from, &*new);
        }
        copied
    }

    fn current(&self) -> Arc<dyn Backend> {
        self.0.current.read().clone()
    }
}

/// Puts a backend in place in the end, even if the other one panics.
struct End<'s> {
    shared: &'s Shared,
    backend: Arc<dyn Backend>,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.shared.replace(self.backend.clone());
    }
}

impl Shared {
    fn replace(&self, new: Arc<dyn Backend>) -> Arc<dyn Backend> {
        std::mem::replace(&mut *self.current.write(), new)
    }

    /// Replaces the backend by one that is made ready before. Who is told may switch, too, and so may
    /// the last event of the one before, whose end is waited for: by then nothing is held.
    fn switch(
        &self,
        new: Arc<dyn Backend>,
        prepare: impl FnOnce(&Audience, &dyn Backend) -> Result<()>,
    ) -> Result<()> {
        let switching = self.switching.begin()?;
        self.audience.attach(&*new)?;
        prepare(&self.audience, &*new)?;
        let old = self.replace(new.clone());
        drop(switching);
        self.tell(old.about().name, &*new);
        Ok(())
    }

    fn tell(&self, from: &'static str, to: &dyn Backend) {
        self.audience.tell(&Event::Switched { from, to: to.about().name });
    }

    /// Brings a new backend, which is written along by now, to where the old one is.
    fn warm(
        &self,
        both: &DualWrite,
        old: &Arc<dyn Backend>,
        new: &Arc<dyn Backend>,
        patience: Duration,
    ) -> Result<u64> {
        await_end_of_calls(old, patience)?;
        // Not before: what those calls invalidated is not invalidated there.
        self.audience.clear(&**new, Call::Unlimited)?;
        let mut copied = 0;
        for space in self.audience.spaces() {
            copied += copy_space(&**old, &**new, &space)?;
        }
        both.finish(patience)?;
        Ok(copied)
    }
}

fn can_be_copied(old: &dyn Backend, new: &dyn Backend) -> Result<()> {
    let (old, new) = (old.about(), new.about());
    if !old.can.scan {
        return Err(Error::unsupported(old.name, "listing keys"));
    }
    if !new.can.leases {
        return Err(Error::unsupported(new.name, "being filled from another backend"));
    }
    Ok(())
}

/// Waits until nobody uses a backend but the pair it is in, and the caller.
fn await_end_of_calls(backend: &Arc<dyn Backend>, patience: Duration) -> Result<()> {
    let begun = Instant::now();
    while Arc::strong_count(backend) > 2 {
        if begun.elapsed() >= patience {
            let what = "calls on the backend before have not ended";
            return Err(Error::new(ErrorKind::Timeout, what));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn copy_space(old: &dyn Backend, new: &dyn Backend, space: &str) -> Result<u64> {
    let mut copied = Ok(0);
    old.scan(Call::Unlimited, &Pattern::prefix(space), &mut |page| {
        let names: Vec<Name<'_>> = page.iter().map(|key| Name::new(key, space.len())).collect();
        let stored = copy_surely(Call::Unlimited, old, new, &names, &|error| {
            error.kind() == ErrorKind::TooLarge
        });
        copied = std::mem::replace(&mut copied, Ok(0)).and_then(|sum| Ok(sum + stored?));
        if copied.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    copied
}

impl Backend for Switch {
    fn about(&self) -> About {
        self.0.current.read().about()
    }

    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        self.current().read(call, keys, want, out)
    }

    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        self.current().write(call, writes, out)
    }

    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        self.current().invalidate(call, what)
    }

    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.current().scan(call, what, page)
    }

    fn children(&self, each: &mut dyn FnMut(&str, &dyn Backend)) {
        each("current", &*self.current());
    }

    fn health(&self, call: Call, probe: Name<'_>) -> Health {
        of_parts(self, call, probe, |_| true)
    }

    fn attach(&self, cache: &Attached<'_>) -> Result<()> {
        let _switching = self.0.switching.begin()?;
        self.current().attach(cache)?;
        self.0.audience.join(cache);
        Ok(())
    }
}
