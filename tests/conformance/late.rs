//! Answers of the backend that come late.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use yokedcache::backend::{About, Backend, Call, Name, Read, Removed, Scope, Want, Write, Wrote};
use yokedcache::{Cache, ErrorKind, Pattern, Result};

use super::gate::{Gate, Loads, SHORT, wait_for};
use super::rig::Rig;

/// Stops at the gate once a write is done, and before it is answered: the first one.
#[derive(Debug)]
struct Late {
    inner: Arc<dyn Backend>,
    gate: Gate,
    stops: AtomicBool,
}

impl Backend for Late {
    fn about(&self) -> About {
        self.inner.about()
    }

    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        self.inner.read(call, keys, want, out)
    }

    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        self.inner.write(call, writes, out)?;
        if self.stops.swap(false, Ordering::SeqCst) {
            self.gate.pass();
        }
        Ok(())
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
}

/// One loads, stores and has not heard of it; another cache deletes what it stored; who asks after
/// that does not get it from the first.
fn deleted_in_between(rig: &Rig, ask: impl Fn(&Cache) -> String + Sync) {
    let gate = Gate::new();
    let late = Late { inner: rig.backend(), gate: gate.clone(), stops: AtomicBool::new(true) };
    let (one, two) = (rig.builder_over(late).build().unwrap(), rig.cache());
    two.delete("k").unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| one.get_or_compute("k", || "old".to_owned()).unwrap());
        gate.wait();
        assert!(two.delete("k").unwrap(), "it was stored");
        let after = scope.spawn(|| ask(&one));
        wait_for(|| one.stats().misses.total() == 2);
        thread::sleep(SHORT);
        gate.open();
        assert_eq!(first.join().unwrap(), "old");
        assert_eq!(after.join().unwrap(), "new", "it asked after the delete");
    });
}

pub fn what_is_deleted_while_it_is_being_stored_is_shared_with_nobody(rig: &Rig) {
    deleted_in_between(rig, |cache| cache.get_or_compute("k", || "new".to_owned()).unwrap());
    deleted_in_between(rig, |cache| {
        let loader = cache.loader(|_| Loads::Ok("new".to_owned()));
        loader.get("k").unwrap().unwrap()
    });
}

pub fn what_is_deleted_while_it_is_being_stored_is_shared_with_no_batch(rig: &Rig) {
    deleted_in_between(rig, |cache| {
        // It has nothing to load itself, and so asks again: once the first has ended it does.
        let load = || {
            let new = |_: &[&String]| Loads::Ok([("k".to_owned(), "new".to_owned())]);
            cache.entries(["k"]).get_or_load_many(new)
        };
        let answer = load().or_else(|error| match error.kind() {
            ErrorKind::LoadFailed => load(),
            _ => Err(error),
        });
        answer.unwrap().unwrap().remove(0).unwrap()
    });
}
