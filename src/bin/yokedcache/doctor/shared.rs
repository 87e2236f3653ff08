//! What is judged alike of every server.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::report::Report;
use crate::server::address::Address;
use crate::words::{lasting, measured};

/// What depends on the login.
pub const AFTER_LOGIN: [&str; 8] =
    ["version", "role", "latency", "memory", "eviction", "persistence", "clock", "connections"];
/// How often latency is measured.
pub const PINGS: usize = 40;

const SLOW: Duration = Duration::from_millis(10);
const APART: Duration = Duration::from_secs(1);
/// The most connections of a pool that nobody set.
const POOL: u64 = 10;

pub fn judge_latency(mut times: Vec<Duration>, report: &mut Report) {
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    let (median, p99) = (at(50), at(99));
    let found = format!("median {}, p99 {}", measured(median), measured(p99));
    if median > SLOW {
        let advice =
            "over 10 ms a call is too slow for a cache: move closer, look at network and load";
        report.warn("latency", found, advice);
    } else {
        report.pass("latency", found);
    }
}

/// Compares a server's clock with ours; the answer took this long to come.
pub fn judge_clock(theirs: Duration, trip: Duration, report: &mut Report) {
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let apart = ours.saturating_sub(trip / 2).abs_diff(theirs);
    if apart > APART + trip {
        let advice = "ages and ends of entries are off by as much: have both clocks set by NTP";
        report.warn("clock", format!("{} apart from this machine's", lasting(apart)), advice);
    } else {
        report.pass("clock", "agrees with this machine's to a second");
    }
}

/// Whether there is room for one more full pool.
pub fn judge_connections(address: &Address, now: u64, most: Option<u64>, report: &mut Report) {
    let pool = address.pool_size().unwrap_or(POOL);
    let of = most.map(|most| format!(" of {most}")).unwrap_or_default();
    let found = format!("{now}{of} in use; a pool here has up to {pool}");
    if most.is_some_and(|most| now + pool > most) {
        let advice =
            "there is no room for a full pool: use smaller ones, or let the server take more";
        report.warn("connections", found, advice);
    } else {
        report.pass("connections", found);
    }
}

/// No login is needed: fine on this machine, and nowhere else.
pub fn open_to_all(address: &Address, report: &mut Report) {
    if address.places.iter().all(|place| place.is_local()) {
        report.pass("login", "none is needed");
    } else {
        let advice = "whoever reaches it may read and change all of it: set a password";
        report.warn("login", "none is needed, and the server is on another machine", advice);
    }
}
