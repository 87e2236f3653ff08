//! A backend that notes what it is asked, and fails when it is told to.

#![allow(dead_code)]

use std::fmt::Display;
use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;
use yokedcache::backend::{
    About, Attached, Backend, Call, Can, Listen, Listening, Name, Read, Removed, Scope, Want,
    Write, Wrote,
};
use yokedcache::{BackendStats, Error, ErrorKind, Health, Memory, Pattern, Result};

/// Memory that notes each call. A clone is the same backend.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    memory: Memory,
    heard: Mutex<Vec<String>>,
    deadlines: Mutex<Vec<Call>>,
    failing: Mutex<Option<ErrorKind>>,
    removed: Mutex<Option<Removed>>,
    can: Mutex<Option<Can>>,
}

impl Recorder {
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            memory: Memory::builder().build().unwrap(),
            heard: Mutex::default(),
            deadlines: Mutex::default(),
            failing: Mutex::default(),
            removed: Mutex::default(),
            can: Mutex::default(),
        }))
    }

    /// What it was asked since the last time, one method a line with what it is about.
    pub fn take(&self) -> Vec<String> {
        self.0.deadlines.lock().clear();
        std::mem::take(&mut *self.0.heard.lock())
    }

    /// The limits of the calls since the last time.
    pub fn deadlines(&self) -> Vec<Call> {
        self.0.deadlines.lock().clone()
    }

    /// Fails every call that takes time, or no longer.
    pub fn set_failing(&self, how: Option<ErrorKind>) {
        *self.0.failing.lock() = how;
    }

    /// Says this of every invalidation, whatever was removed.
    pub fn set_removed(&self, removed: Removed) {
        *self.0.removed.lock() = Some(removed);
    }

    /// Claims to be able to do this.
    pub fn set_can(&self, can: Can) {
        *self.0.can.lock() = Some(can);
    }

    /// Every key it holds, sorted.
    pub fn holds(&self) -> Vec<String> {
        let mut held = Vec::new();
        let mut page = |keys: &[&str]| {
            held.extend(keys.iter().map(|key| key.to_string()));
            ControlFlow::Continue(())
        };
        self.0.memory.scan(Call::Unlimited, &Pattern::all(), &mut page).unwrap();
        held.sort_unstable();
        held
    }

    fn note(&self, what: impl Display) {
        self.0.heard.lock().push(what.to_string());
    }

    /// Notes a call that takes time, and fails it where it is to fail.
    fn serve(&self, call: Call, what: impl Display) -> Result<()> {
        self.note(what);
        self.0.deadlines.lock().push(call);
        match *self.0.failing.lock() {
            Some(kind) => Err(Error::new(kind, "it is told to fail")),
            None => Ok(()),
        }
    }
}

fn list<'k>(verb: &str, names: impl Iterator<Item = Name<'k>>) -> String {
    names.fold(verb.to_owned(), |line, name| line + " " + name.as_str())
}

impl Backend for Recorder {
    fn about(&self) -> About {
        self.note("about");
        let About { name, can, .. } = self.0.memory.about();
        About::new(name, self.0.can.lock().unwrap_or(can))
    }

    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        self.serve(call, list("read", keys.iter().copied()))?;
        self.0.memory.read(call, keys, want, out)
    }

    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        self.serve(call, list("write", writes.iter().map(|write| write.key)))?;
        self.0.memory.write(call, writes, out)
    }

    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        let line = match what {
            Scope::Keys(pattern) => format!("invalidate keys of {}", pattern.literal_prefix()),
            Scope::AnyTag(tags) => list("invalidate any of", tags.iter().copied()),
            Scope::AllTags(tags) => list("invalidate all of", tags.iter().copied()),
            _ => "invalidate".to_owned(),
        };
        self.serve(call, line)?;
        let removed = self.0.memory.invalidate(call, what)?;
        Ok(self.0.removed.lock().unwrap_or(removed))
    }

    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.serve(call, format!("scan {}", what.literal_prefix()))?;
        self.0.memory.scan(call, what, page)
    }

    fn children(&self, each: &mut dyn FnMut(&str, &dyn Backend)) {
        self.note("children");
        each("memory", &self.0.memory);
    }

    fn stats(&self, call: Call) -> BackendStats {
        self.note("stats");
        self.0.memory.stats(call)
    }

    fn health(&self, call: Call, probe: Name<'_>) -> Health {
        match self.serve(call, format!("health {}", probe.as_str())) {
            Ok(()) => self.0.memory.health(call, probe),
            Err(error) => Health::new("memory", Err(error)),
        }
    }

    fn threads(&self, each: &mut dyn FnMut(&str, bool)) {
        self.note("threads");
        self.0.memory.threads(each);
    }

    fn attach(&self, cache: &Attached<'_>) -> Result<()> {
        self.note(format!("attach {}", cache.space));
        Ok(())
    }

    fn listen(&self, _: &Listen) -> Result<Option<Box<dyn Listening>>> {
        self.note("listen");
        Ok(None)
    }

    fn close(&self) {
        self.note("close");
        self.0.memory.close();
    }
}
