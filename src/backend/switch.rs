//! A backend that can be replaced while the program runs.

use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::audience::Audience;
use super::{
    About, Attached, Backend, Call, Event, Name, Read, Removed, Scope, Want, Write, Wrote,
};
use crate::error::Result;
use crate::pattern::Pattern;

/// A backend that can be replaced while the program runs.
///
/// A clone is a handle to the same switch: one goes into the cache, the other stays with who decides.
/// Calls under way finish on the backend they began on; every later one goes to the new.
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
    /// Held while the backend is replaced: one at a time.
    switching: Mutex<()>,
    audience: Audience,
}

impl Switch {
    /// A switch that begins with this backend.
    pub fn new(backend: impl Backend) -> Self {
        Self(Arc::new(Shared {
            current: RwLock::new(Arc::new(backend)),
            switching: Mutex::default(),
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
    /// If the new one cannot be cleared: the one before stays.
    pub fn switch_to(&self, new: impl Backend) -> Result<()> {
        let _switching = self.0.switching.lock();
        let new: Arc<dyn Backend> = Arc::new(new);
        self.0.audience.attach(&*new)?;
        self.0.audience.clear(&*new, Call::Unlimited)?;
        self.0.replace(new);
        Ok(())
    }

    /// Replaces the backend by another whose entries stay, where every invalidation of this cache
    /// has reached it, too: programs that share it and switch at the same time, say.
    ///
    /// What was invalidated here and not there is served again.
    ///
    /// # Errors
    /// If the new one refuses to be part of this cache: the one before stays.
    pub fn switch_to_uncleared(&self, new: impl Backend) -> Result<()> {
        let _switching = self.0.switching.lock();
        let new: Arc<dyn Backend> = Arc::new(new);
        self.0.audience.attach(&*new)?;
        self.0.replace(new);
        Ok(())
    }

    fn current(&self) -> Arc<dyn Backend> {
        self.0.current.read().clone()
    }
}

impl Shared {
    fn replace(&self, new: Arc<dyn Backend>) {
        let to = new.about().name;
        let old = std::mem::replace(&mut *self.current.write(), new);
        self.audience.tell(&Event::Switched { from: old.about().name, to });
    }
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

    fn attach(&self, cache: &Attached<'_>) -> Result<()> {
        let _switching = self.0.switching.lock();
        self.current().attach(cache)?;
        self.0.audience.join(cache);
        Ok(())
    }
}
