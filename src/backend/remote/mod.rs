//! What backends over a network share: sockets under a deadline, a pool of them for each node, the
//! names things are stored under, and the versions of tags.

// Each backend uses a part.
#![cfg_attr(not(all(feature = "redis", feature = "memcached")), allow(dead_code))]

pub(crate) mod at_once;
pub(crate) mod buffer;
pub(crate) mod exchange;
pub(crate) mod facts;
pub(crate) mod health;
pub(crate) mod lies;
pub(crate) mod net;
pub(crate) mod node;
pub(crate) mod plain;
pub(crate) mod reading;
pub(crate) mod recent;
pub(crate) mod seal;
pub(crate) mod settings;
pub(crate) mod stamp;
pub(crate) mod store;
pub(crate) mod stored;
pub(crate) mod tags;
pub(crate) mod talk;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod url;
pub(crate) mod values;
pub(crate) mod writing;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use twox_hash::XxHash3_64;

use crate::backend::{Backend, Call, Cause, Name, Read, Want, Write, Wrote};
use crate::error::{Error, Result};

/// When a call ends.
pub(crate) fn deadline(call: Call, otherwise: Duration) -> Result<Instant> {
    let far = Duration::from_secs(365 * 24 * 3600);
    Ok(Instant::now() + call.left()?.unwrap_or(otherwise).min(far))
}

/// The call, and no longer than the backend's own settings say.
pub(crate) fn at_most(call: Call, most: Duration) -> Call {
    match call.left() {
        Ok(Some(left)) if left <= most => call.armed(),
        Ok(_) => Call::Within(most).armed(),
        Err(_) => call,
    }
}

/// The share of a call's time for one server of so many that are still to be asked: one that hangs
/// leaves the others some.
pub(crate) fn share(call: Call, servers: usize) -> Call {
    match call.left() {
        Ok(Some(left)) => Call::Within(left / u32::try_from(servers).unwrap_or(u32::MAX)).armed(),
        _ => call,
    }
}

/// Those of the keys that have entries: `all` with stale ones, and those that cannot be read.
pub(crate) fn live<'k, B: Backend>(
    backend: &B,
    call: Call,
    keys: impl IntoIterator<Item = &'k str>,
    all: bool,
) -> Result<Vec<&'k str>> {
    let names: Vec<Name<'_>> = keys.into_iter().map(|key| Name::new(key, 0)).collect();
    let mut out: Vec<Read> = names.iter().map(|_| Read::Unanswered).collect();
    let want = Want { head_only: true, quiet: true, ..Want::VALUE };
    backend.read(call, &names, &want, &mut out)?;
    let mut live = Vec::with_capacity(names.len());
    for (name, read) in names.into_iter().zip(out) {
        match read {
            Read::Hit(found) if all || !found.stale => live.push(name.as_str()),
            Read::Miss(Cause::Corrupt | Cause::Undecodable, _) if all => live.push(name.as_str()),
            Read::Failed(error) => return Err(error),
            _ => {}
        }
    }
    Ok(live)
}

/// Hands out writes so that no two of a turn are to one key.
pub(crate) fn in_turns(
    writes: &[Write<'_>],
    out: &mut [Wrote],
    mut each: impl FnMut(&[Write<'_>], &mut [Wrote]),
) {
    let (mut writes, mut out) = (writes, out);
    while !writes.is_empty() {
        let end = distinct(writes);
        let (now, later) = writes.split_at(end);
        let (out_now, out_later) = out.split_at_mut(end);
        each(now, out_now);
        (writes, out) = (later, out_later);
    }
}

/// How many writes from the first on have different keys.
fn distinct(writes: &[Write<'_>]) -> usize {
    if writes.len() == 1 {
        return 1;
    }
    let mut seen = std::collections::HashSet::with_capacity(writes.len());
    writes.iter().take_while(|write| seen.insert(write.key.as_str())).count()
}

/// An error if nothing is known of any key.
pub(crate) fn outcome_of_reads(out: &[Read]) -> Result<()> {
    all_failed(out.iter().map(|read| match read {
        Read::Failed(error) => Some(error),
        _ => None,
    }))
}

/// The same of writes.
pub(crate) fn outcome_of_writes(out: &[Wrote]) -> Result<()> {
    all_failed(out.iter().map(|wrote| match wrote {
        Wrote::Failed(error) => Some(error),
        _ => None,
    }))
}

fn all_failed<'s>(errors: impl Iterator<Item = Option<&'s Error>>) -> Result<()> {
    let mut errors = errors.map(|error| error.filter(|error| error.is_outage()));
    match errors.next() {
        Some(Some(first)) if errors.all(|error| error.is_some()) => Err(first.clone()),
        _ => Ok(()),
    }
}

/// Milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    u64::try_from(wall().as_millis()).unwrap_or(u64::MAX)
}

/// Microseconds since then.
pub(crate) fn wall_micros() -> u64 {
    u64::try_from(wall().as_micros()).unwrap_or(u64::MAX)
}

fn wall() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
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
