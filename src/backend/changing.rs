//! One change of a wrapper at a time.

use parking_lot::{ReentrantMutex, ReentrantMutexGuard};

use crate::error::{Error, ErrorKind, Result};

/// Held while a wrapper is changed. Others wait for that; but a thread in the middle of a change, whom
/// an event has led back to the wrapper, would wait for itself.
#[derive(Debug, Default)]
pub(super) struct Changing(ReentrantMutex<()>);

impl Changing {
    /// Waits for the change under way, and begins one.
    ///
    /// # Errors
    /// [`Reentrant`](ErrorKind::Reentrant) if that is this thread's own.
    pub(super) fn begin(&self) -> Result<ReentrantMutexGuard<'_, ()>> {
        if self.0.is_owned_by_current_thread() {
            let what = "this thread is in the middle of another change";
            return Err(Error::new(ErrorKind::Reentrant, what));
        }
        Ok(self.0.lock())
    }
}
