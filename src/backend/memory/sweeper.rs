//! The thread that removes what has expired.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, TryRecvError, bounded};

use super::store::Store;
use crate::error::{Error, Result};
use crate::sync::Mutex;

pub(super) const THREAD: &str = "yokedcache-sweeper";

/// Sweeps at an interval until it is stopped or dropped.
#[derive(Debug)]
pub(super) struct Sweeper(Mutex<Option<Running>>);

#[derive(Debug)]
struct Running {
    /// Closing the channel is the signal.
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Sweeper {
    /// One that never sweeps.
    pub(super) fn idle() -> Self {
        Self(Mutex::new(None))
    }

    pub(super) fn start(store: Arc<Store>, interval: Duration) -> Result<Self> {
        let (stop, stopped) = bounded(0);
        let work = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                store.sweep(&|| stopped.try_recv() == Err(TryRecvError::Disconnected));
            }
        };
        let thread = thread::Builder::new().name(THREAD.into()).spawn(work);
        let thread = thread.map_err(Error::no_thread)?;
        Ok(Self(Mutex::new(Some(Running { stop, thread }))))
    }

    /// Whether the thread runs; nothing if there is to be none.
    pub(super) fn runs(&self) -> Option<bool> {
        self.0.lock().as_ref().map(|running| !running.thread.is_finished())
    }

    /// Ends the thread and waits for it, unless this is the thread: an eviction listener may hold
    /// the last handle to the cache.
    pub(super) fn stop(&self) {
        let Some(Running { stop, thread }) = self.0.lock().take() else { return };
        drop(stop);
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            log::error!("yokedcache: the sweeper thread panicked");
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(work: impl FnOnce() + Send + 'static) -> Sweeper {
        let (stop, stopped) = bounded(0);
        let thread = thread::spawn(move || {
            work();
            let _ = stopped.recv();
        });
        Sweeper(Mutex::new(Some(Running { stop, thread })))
    }

    #[test]
    fn one_that_died_is_told_from_one_that_runs_and_one_that_was_stopped() {
        let sweeper = running(|| ());
        assert_eq!(sweeper.runs(), Some(true));
        sweeper.stop();
        assert_eq!((sweeper.runs(), Sweeper::idle().runs()), (None, None));
        let sweeper = running(|| panic!("it dies"));
        let end = std::time::Instant::now() + Duration::from_secs(120);
        while sweeper.runs() == Some(true) {
            assert!(std::time::Instant::now() < end, "it has died");
            thread::yield_now();
        }
        assert_eq!(sweeper.runs(), Some(false));
    }
}
