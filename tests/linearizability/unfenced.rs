//! A backend whose loads are stored whatever happened meanwhile: what the test must find fault with.

use std::ops::ControlFlow;

use yokedcache::backend::{About, Backend, Call, Name, Read, Removed, Scope, Want, Write, Wrote};
use yokedcache::{Pattern, Result};

#[derive(Debug)]
pub struct Unfenced<B>(pub B);

impl<B: Backend> Backend for Unfenced<B> {
    fn about(&self) -> About {
        let mut about = self.0.about();
        about.can.leases = false;
        about
    }

    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        self.0.read(call, keys, want, out)
    }

    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        self.0.write(call, writes, out)
    }

    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        self.0.invalidate(call, what)
    }

    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.0.scan(call, what, page)
    }

    fn children(&self, each: &mut dyn FnMut(&str, &dyn Backend)) {
        self.0.children(each);
    }

    fn close(&self) {
        self.0.close();
    }
}
