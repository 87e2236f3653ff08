//! A memory whose calls can be stopped half way, and made to fail.

// Each test binary uses a part.
#![allow(dead_code)]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;
use yokedcache::backend::*;
use yokedcache::{Error, ErrorKind, Memory, Pattern, Result};

/// Longer than anything takes here that is to happen at all.
pub const LONG: Duration = Duration::from_secs(120);
/// Shorter than anything is waited for that is not to happen.
pub const SHORT: Duration = Duration::from_millis(50);

/// A call worth stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    BeforePut,
    AfterPut,
    AfterAdd,
    AfterRead,
    BeforeRemove,
    AfterRemove,
    BeforeInvalidate,
    AfterInvalidate,
    BeforeScan,
}

/// Where somebody was stopped, and how to let him go on.
#[derive(Debug)]
pub struct Stop {
    come: Receiver<()>,
    go: Sender<()>,
}

impl Stop {
    /// Waits until somebody has come.
    pub fn wait(&self) {
        self.come.recv_timeout(LONG).expect("somebody comes");
    }

    /// Lets him go on.
    pub fn open(&self) {
        self.go.send(()).unwrap();
    }
}

#[derive(Debug)]
struct Armed {
    at: At,
    come: Sender<()>,
    go: Receiver<()>,
}

/// A clone is a handle to the same.
#[derive(Clone, Debug)]
pub struct Gated(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    memory: Memory,
    armed: Mutex<Vec<Armed>>,
    failing: Mutex<bool>,
}

impl Gated {
    pub fn new() -> Self {
        let memory = Memory::builder().max_size(10_000).build().unwrap();
        Self(Arc::new(Inner { memory, armed: Mutex::default(), failing: Mutex::default() }))
    }

    /// Stops the next call that comes here.
    pub fn stop(&self, at: At) -> Stop {
        let ((came, come), (go, goes)) = (unbounded(), unbounded());
        self.0.armed.lock().push(Armed { at, come: came, go: goes });
        Stop { come, go }
    }

    /// Makes every call fail, or none.
    pub fn fail(&self, failing: bool) {
        *self.0.failing.lock() = failing;
    }

    fn check(&self) -> Result<()> {
        match *self.0.failing.lock() {
            true => Err(Error::new(ErrorKind::Unavailable, "out of order")),
            false => Ok(()),
        }
    }

    fn pass(&self, at: At) {
        let armed = {
            let mut all = self.0.armed.lock();
            let found = all.iter().position(|armed| armed.at == at);
            found.map(|found| all.remove(found))
        };
        if let Some(armed) = armed {
            armed.come.send(()).unwrap();
            armed.go.recv_timeout(LONG).expect("the gate opens");
        }
    }
}

impl Backend for Gated {
    fn about(&self) -> About {
        self.0.memory.about()
    }

    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        self.check()?;
        self.0.memory.read(call, keys, want, out)?;
        self.pass(At::AfterRead);
        Ok(())
    }

    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        self.check()?;
        let puts = writes.iter().any(|write| matches!(write.change, Change::Put(..)));
        let adds = writes.iter().any(|write| matches!(write.change, Change::Add { .. }));
        let removes = writes.iter().any(|write| matches!(write.change, Change::Remove));
        if puts {
            self.pass(At::BeforePut);
        }
        if removes {
            self.pass(At::BeforeRemove);
        }
        self.check()?;
        self.0.memory.write(call, writes, out)?;
        if puts {
            self.pass(At::AfterPut);
        }
        if adds {
            self.pass(At::AfterAdd);
        }
        if removes {
            self.pass(At::AfterRemove);
        }
        Ok(())
    }

    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        self.pass(At::BeforeInvalidate);
        self.check()?;
        let removed = self.0.memory.invalidate(call, what)?;
        self.pass(At::AfterInvalidate);
        Ok(removed)
    }

    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.check()?;
        self.pass(At::BeforeScan);
        self.0.memory.scan(call, what, page)
    }
}
