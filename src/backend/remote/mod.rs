//! What backends over a network share: sockets under a deadline, a pool of them for each node, the
//! names things are stored under, and the versions of tags.

pub(crate) mod net;
pub(crate) mod node;
pub(crate) mod recent;
pub(crate) mod stored;
pub(crate) mod tags;
#[cfg(feature = "tls")]
pub(crate) mod tls;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use twox_hash::XxHash3_64;

use crate::backend::Call;
use crate::error::Result;

/// When a call ends.
pub(crate) fn deadline(call: Call, otherwise: Duration) -> Result<Instant> {
    let far = Duration::from_secs(365 * 24 * 3600);
    Ok(Instant::now() + call.left()?.unwrap_or(otherwise).min(far))
}

/// Milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// 128 bits that nothing made before has, here or in another process: a hash of the process's own
/// randomness and a count. Cheaper than asking the operating system each time, and as unique.
pub(crate) fn unique() -> u128 {
    static SECRET: LazyLock<[u8; 16]> = LazyLock::new(random);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(&*SECRET);
    bytes[16..].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    let (low, high) = (XxHash3_64::oneshot(&bytes), XxHash3_64::oneshot_with_seed(1, &bytes));
    u128::from(high) << 64 | u128::from(low)
}

/// Random bytes nobody can guess or meet again, from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_unique_is_made_twice() {
        let made: std::collections::HashSet<u128> = (0..100_000).map(|_| unique()).collect();
        assert_eq!(made.len(), 100_000);
    }
}
