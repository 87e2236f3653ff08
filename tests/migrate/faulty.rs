//! A memory that notes what it is asked, says it can less than it can, and fails or waits when told.

use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;
use yokedcache::backend::*;
use yokedcache::{BackendStats, Error, ErrorKind, Memory, Pattern, Result};

/// What is done before a call: it gets the word for the call.
type Before = Box<dyn FnMut(&str) -> Result<()> + Send>;

/// A clone is a handle to the same.
#[derive(Clone, Debug)]
pub struct Faulty(Arc<Inner>);

struct Inner {
    memory: Memory,
    can: Mutex<Can>,
    calls: Mutex<Vec<String>>,
    batches: Mutex<Vec<usize>>,
    before: Mutex<Option<Before>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faulty")
    }
}

impl Faulty {
    pub fn new() -> Self {
        let memory = super::fixture::memory();
        let can = Mutex::new(memory.about().can);
        let (calls, batches, before) = Default::default();
        Self(Arc::new(Inner { memory, can, calls, batches, before }))
    }

    pub fn change_can(&self, change: impl FnOnce(&mut Can)) {
        change(&mut self.0.can.lock());
    }

    /// What it was asked since the last time.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.calls.lock())
    }

    /// How many values were stored at once, from the first time on.
    pub fn largest_batches(&self) -> Vec<usize> {
        self.0.batches.lock().clone()
    }

    /// Does something before each call from now on, and after each read of values: the call fails if
    /// that does.
    pub fn hooked(&self, hook: impl FnMut(&str) -> Result<()> + Send + 'static) {
        *self.0.before.lock() = Some(Box::new(hook));
    }

    fn called(&self, call: &str) -> Result<()> {
        self.0.calls.lock().push(call.into());
        self.hook(call)
    }

    fn hook(&self, call: &str) -> Result<()> {
        // It may call us again.
        let before = self.0.before.lock().take();
        let Some(mut before) = before else { return Ok(()) };
        let done = before(call);
        self.0.before.lock().get_or_insert(before);
        done
    }
}

pub fn away() -> Error {
    Error::new(ErrorKind::Unavailable, "the backend is away")
}

impl Backend for Faulty {
    fn about(&self) -> About {
        About::new("faulty", *self.0.can.lock())
    }

    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        let asks = !matches!(want.lease, Ask::No);
        self.called(match (asks, want.head_only) {
            (true, _) => "ask",
            (false, true) => "look",
            (false, false) => "read",
        })?;
        self.0.memory.read(call, keys, want, out)?;
        if want.head_only { Ok(()) } else { self.hook("after read") }
    }

    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        let puts = writes.iter().filter(|write| matches!(write.change, Change::Put(..))).count();
        if puts > 0 {
            self.0.batches.lock().push(puts);
        }
        self.called("write")?;
        self.0.memory.write(call, writes, out)
    }

    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        self.called("invalidate")?;
        self.0.memory.invalidate(call, what)
    }

    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.called("scan")?;
        self.0.memory.scan(call, what, page)
    }

    fn stats(&self, call: Call) -> BackendStats {
        self.0.memory.stats(call)
    }
}
