//! A backend that stores at once what was loaded, and is slow to say so.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use yokedcache::backend::{
    About, Backend, Call, Name, Read, Removed, Scope, Want, When, Write, Wrote,
};
use yokedcache::{Pattern, Result};

#[derive(Debug)]
pub struct SlowFill {
    inner: Box<dyn Backend>,
    stored: Sender<()>,
    go: Mutex<Receiver<()>>,
}

impl SlowFill {
    /// Tells when something is stored, and is told when to say so.
    pub fn new(inner: Box<dyn Backend>) -> (SlowFill, Receiver<()>, Sender<()>) {
        let (stored, wait_stored) = channel();
        let (go, wait_go) = channel();
        (SlowFill { inner, stored, go: Mutex::new(wait_go) }, wait_stored, go)
    }
}

impl Backend for SlowFill {
    fn about(&self) -> About {
        self.inner.about()
    }

    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        self.inner.read(call, keys, want, out)
    }

    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        let fills = writes.iter().any(|write| matches!(write.when, When::Lease(_)));
        let done = self.inner.write(call, writes, out);
        if fills && self.stored.send(()).is_ok() {
            // Who tells no more lets it go.
            let _ = self.go.lock().unwrap().recv();
        }
        done
    }

    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        self.inner.invalidate(call, what)
    }

    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.inner.scan(call, what, page)
    }

    fn children(&self, each: &mut dyn FnMut(&str, &dyn Backend)) {
        self.inner.children(each);
    }

    fn close(&self) {
        self.inner.close();
    }
}
