//! What was acknowledged of one key that several threads write, and what may be read of it then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Each write stores a number of its own.
#[derive(Debug, Default)]
pub struct Told {
    time: AtomicU64,
    /// When the write of a number began, and when it returned.
    writes: Mutex<HashMap<u64, (u64, Option<u64>)>>,
}

impl Told {
    fn now(&self) -> u64 {
        self.time.fetch_add(1, Ordering::SeqCst)
    }

    /// Writes a number no other write has.
    pub fn write(&self, write: impl FnOnce(u64)) {
        let number = self.now();
        self.writes.lock().insert(number, (number, None));
        write(number);
        let end = self.now();
        self.writes.lock().insert(number, (number, Some(end)));
    }

    /// Reads, and refuses a number that another one, written after it, had replaced before.
    pub fn read(&self, read: impl FnOnce() -> Option<u64>) -> bool {
        let begin = self.now();
        let Some(number) = read() else { return false };
        let writes = self.writes.lock();
        let ended = |end: &Option<u64>| end.is_some_and(|end| end < begin);
        let latest = writes.values().filter(|(_, end)| ended(end)).map(|(start, _)| *start).max();
        let (_, end) = writes[&number];
        if let (Some(end), Some(latest)) = (end, latest) {
            assert!(end > latest, "{number} was read after {latest} had replaced it");
        }
        true
    }
}
