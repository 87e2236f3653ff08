//! What backends over a network share: sockets under a deadline, a pool of them for each node, the
//! names things are stored under, and the versions of tags.

pub(crate) mod net;
pub(crate) mod node;
pub(crate) mod recent;
pub(crate) mod stored;
pub(crate) mod tags;
#[cfg(feature = "tls")]
pub(crate) mod tls;

use std::time::{Duration, Instant, SystemTime};

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

/// Random bytes nobody can guess or meet again, from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}
