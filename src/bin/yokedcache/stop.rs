//! Ctrl-C, for commands that have something to say or to clean up at their end.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Whether the user wants an end.
#[derive(Clone)]
pub struct Stop(Arc<AtomicBool>);

/// The usual exit code of a program ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

impl Stop {
    /// From now on Ctrl-C asks for an end; a second one ends the program at once.
    pub fn on_ctrl_c() -> Self {
        let asked = Arc::new(AtomicBool::new(false));
        let theirs = asked.clone();
        let set = ctrlc::set_handler(move || {
            if theirs.swap(true, Ordering::Relaxed) {
                process::exit(INTERRUPTED);
            }
        });
        if set.is_err() {
            // Without a handler Ctrl-C ends the program as it always did.
            log::debug!("yokedcache: no handler for Ctrl-C");
        }
        Self(asked)
    }

    /// For those who look at it themselves.
    pub fn flag(&self) -> &AtomicBool {
        &self.0
    }

    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sleeps so long; false if an end was asked for meanwhile.
    pub fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while !self.is_asked() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
        false
    }
}
