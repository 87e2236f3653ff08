//! Seeing that a thread waits, as one does that has joined what another is about.

use std::fs;
use std::path::{Path, PathBuf};

use super::wait_until;

/// The calling thread, for others to look at. Where a system does not show its threads each look finds
/// it asleep, and five looks are a moment.
pub fn this_thread() -> PathBuf {
    Path::new("/proc").join(fs::read_link("/proc/thread-self").unwrap_or_default())
}

/// Returns once the thread waits for something, or is gone. Asleep at one look it may still be waiting
/// for a lock that is about to be free.
#[track_caller]
pub fn wait_until_asleep(thread: &Path) {
    let mut asleep = 0;
    wait_until("the thread waits", || {
        asleep = if is_asleep(thread) { asleep + 1 } else { 0 };
        asleep == 5
    });
}

fn is_asleep(thread: &Path) -> bool {
    // "tid (name) state …", and the name may hold anything.
    let stat = fs::read_to_string(thread.join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('S'))
}
