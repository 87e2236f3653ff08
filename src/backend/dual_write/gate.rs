//! The mode, which stays as it is for as long as a call lasts.
//!
//! Every call holds the mode for its whole length, and a change of the mode waits for the calls under
//! way while later ones wait for it. So no two calls ever work by two modes at a time: otherwise two
//! backends could decide about one key at once, and a lock, a counter or an `add` would succeed on
//! both.

use std::cell::Cell;
use std::ops::Deref;
use std::time::Duration;

use parking_lot::{RwLock, RwLockReadGuard};

use super::{DualMode, Sides};
use crate::backend::Call;
use crate::error::{Error, ErrorKind, Result};

/// How long a change of the mode waits for the calls under way, and holds up those that come.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The mode as it is told, and what it means at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) mode: DualMode,
    pub(super) sides: Sides,
}

#[derive(Debug)]
pub(super) struct Gate(RwLock<State>);

/// A call under way.
pub(super) struct Inside<'g>(RwLockReadGuard<'g, State>);

thread_local! {
    /// How many calls this thread is inside of: a listener of an inner backend may use the cache, and
    /// must not wait for a change that waits for it.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

impl Gate {
    pub(super) fn new(state: State) -> Self {
        Self(RwLock::new(state))
    }

    /// The state at this moment.
    pub(super) fn now(&self) -> State {
        *self.0.read_recursive()
    }

    /// Keeps the mode as it is until the result is dropped.
    pub(super) fn enter(&self, call: Call) -> Result<Inside<'_>> {
        let guard = if DEPTH.get() > 0 {
            self.0.read_recursive()
        } else {
            match call.left()? {
                None => self.0.read(),
                Some(left) => self.0.try_read_for(left).ok_or_else(|| {
                    Error::new(ErrorKind::Timeout, "the deadline passed while the mode is changed")
                })?,
            }
        };
        DEPTH.set(DEPTH.get() + 1);
        Ok(Inside(guard))
    }

    /// Changes the state once the calls under way have ended.
    pub(super) fn change(&self, state: State, patience: Duration) -> Result<()> {
        let late = || Error::new(ErrorKind::Timeout, "calls of the mode before have not ended");
        *self.0.try_write_for(patience).ok_or_else(late)? = state;
        Ok(())
    }
}

impl Deref for Inside<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}
