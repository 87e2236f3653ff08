//! The mutex and condition variable of the crate, so that the model checker can put its own in
//! their place (`--cfg shuttle`).

use std::time::Instant;

#[cfg(not(shuttle))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

/// Waits for a notification or the deadline; the guard comes back, and whether time ran out.
#[cfg(not(shuttle))]
pub(crate) fn wait_until<'a, T>(
    condvar: &Condvar,
    mut guard: MutexGuard<'a, T>,
    deadline: Instant,
) -> (MutexGuard<'a, T>, bool) {
    let timed_out = condvar.wait_until(&mut guard, deadline).timed_out();
    (guard, timed_out)
}

#[cfg(not(shuttle))]
pub(crate) use std::thread::{ThreadId, current};

#[cfg(shuttle)]
pub(crate) use shuttle::{
    sync::{Condvar, MutexGuard},
    thread::{ThreadId, current},
};

/// shuttle's mutex behind parking_lot's signature.
#[cfg(shuttle)]
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

#[cfg(shuttle)]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Schedules have no clock: a wait ends by a notification, or is a deadlock that shuttle reports.
#[cfg(shuttle)]
pub(crate) fn wait_until<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    _: Instant,
) -> (MutexGuard<'a, T>, bool) {
    let guard = condvar.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner);
    (guard, false)
}
