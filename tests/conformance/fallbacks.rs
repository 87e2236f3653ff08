//! Fallbacks whose primary serves, and whose primary does not.

use std::ops::ControlFlow;
use std::time::Duration;

use yokedcache::backend::{About, Backend, Call, Name, Read, Removed, Scope, Want, Write, Wrote};
use yokedcache::{BreakerState, Error, ErrorKind, Fallback, Memory, Pattern, Result};

use super::rig::Rig;

pub fn closed() -> Rig {
    Rig::wrapped(|memory| {
        Fallback::builder(memory(), Memory::builder().build().unwrap()).build().unwrap()
    })
}

pub fn open() -> Rig {
    Rig::wrapped(|memory| {
        let memory = memory();
        let fallback = Fallback::builder(Unreachable(memory.about()), memory)
            .failure_threshold(1)
            .reset_timeout(Duration::from_secs(24 * 3600))
            .secondary_ttl(Duration::MAX)
            .build()
            .unwrap();
        let mut out = [Read::Unanswered];
        fallback.read(Call::Unlimited, &[Name::new("k", 0)], &Want::VALUE, &mut out).unwrap();
        assert_eq!(fallback.state(), BreakerState::Open);
        fallback
    })
    .deferring()
}

/// It could do all that memory can, if it could be reached.
#[derive(Debug)]
struct Unreachable(About);

fn never<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unavailable, "never reached"))
}

impl Backend for Unreachable {
    fn about(&self) -> About {
        self.0
    }

    fn read(&self, _: Call, _: &[Name<'_>], _: &Want<'_>, _: &mut [Read]) -> Result<()> {
        never()
    }

    fn write(&self, _: Call, _: &mut [Write<'_>], _: &mut [Wrote]) -> Result<()> {
        never()
    }

    fn invalidate(&self, _: Call, _: &Scope<'_>) -> Result<Removed> {
        never()
    }

    fn scan(
        &self,
        _: Call,
        _: &Pattern,
        _: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        never()
    }
}
