//! A backend with oddities of servers that memory has not.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use yokedcache::backend::{About, Backend, Call, Name, Read, Scope, Want, Write, Wrote};
use yokedcache::{Error, ErrorKind, Memory, Pattern, Removed, Result};

/// Memory that takes its time to read, and knows no "all of" tags.
#[derive(Debug)]
pub struct Odd {
    memory: Memory,
    read_millis: AtomicU64,
}

impl Odd {
    pub fn new() -> Self {
        Self { memory: Memory::builder().build().unwrap(), read_millis: AtomicU64::new(0) }
    }

    pub fn take(&self, millis: u64) {
        self.read_millis.store(millis, Ordering::Relaxed);
    }
}

impl Backend for Odd {
    fn about(&self) -> About {
        About::new("odd", self.memory.about().can)
    }

    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        thread::sleep(Duration::from_millis(self.read_millis.load(Ordering::Relaxed)));
        self.memory.read(call, keys, want, out)
    }

    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        self.memory.write(call, writes, out)
    }

    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        match what {
            Scope::AllTags(_) => Err(Error::new(ErrorKind::Unsupported, "all of some tags")),
            what => self.memory.invalidate(call, what),
        }
    }

    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.memory.scan(call, what, page)
    }
}
