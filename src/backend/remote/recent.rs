//! A bounded memory of what was last seen of a name: hints, never the truth.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};

use hashlink::LruCache;
use parking_lot::Mutex;
use twox_hash::XxHash3_64;

const STRIPES: usize = 16;

/// Keyed by a hash of the name: two names that meet mislead each other, which a hint may.
pub(crate) struct Recent<V> {
    stripes: [Mutex<LruCache<u64, V>>; STRIPES],
    /// Whether anything was ever put in: where nothing was, nobody locks to find nothing.
    used: AtomicBool,
}

impl<V: Clone> Recent<V> {
    /// Remembers the last `most` names or so.
    pub(crate) fn new(most: NonZeroUsize) -> Self {
        let each = most.get().div_ceil(STRIPES);
        let stripe = |_| Mutex::new(LruCache::new(each));
        Self { stripes: std::array::from_fn(stripe), used: AtomicBool::new(false) }
    }

    fn stripe(&self, name: &str) -> (u64, &Mutex<LruCache<u64, V>>) {
        let hash = XxHash3_64::oneshot(name.as_bytes());
        (hash, &self.stripes[(hash >> 60) as usize])
    }

    pub(crate) fn get(&self, name: &str) -> Option<V> {
        if !self.used.load(Ordering::Relaxed) {
            return None;
        }
        let (hash, stripe) = self.stripe(name);
        stripe.lock().get(&hash).cloned()
    }

    pub(crate) fn put(&self, name: &str, value: V) {
        let (hash, stripe) = self.stripe(name);
        stripe.lock().insert(hash, value);
        self.used.store(true, Ordering::Relaxed);
    }

    pub(crate) fn forget(&self, name: &str) {
        if self.used.load(Ordering::Relaxed) {
            let (hash, stripe) = self.stripe(name);
            stripe.lock().remove(&hash);
        }
    }
}

impl<V> std::fmt::Debug for Recent<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recent")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_the_latest_and_not_everything() {
        let recent = Recent::new(NonZeroUsize::new(160).unwrap());
        assert_eq!(recent.get("a"), None);
        recent.put("a", 1);
        recent.put("a", 2);
        assert_eq!(recent.get("a"), Some(2));
        for n in 0..10_000 {
            recent.put(&n.to_string(), n);
        }
        let kept = (0..10_000).filter(|n| recent.get(&n.to_string()).is_some()).count();
        assert!((100..=160).contains(&kept), "{kept}");
        recent.put("b", 3);
        recent.forget("b");
        assert_eq!(recent.get("b"), None);
    }
}
