//! What is known of a server whatever it speaks, and what follows for who runs it.

use std::time::Duration;

use super::node::{Node, Protocol};
use super::wall_micros;
use crate::backend::health::{
    ClockOffset, Health, HealthWarning, Latencies, PoolHealth, ServerHealth,
};
use crate::error::{Error, ErrorKind, Result};

/// Clocks farther apart are worth a word.
const SKEW: Duration = Duration::from_secs(1);
/// Memory of a server that evicts nothing is short above this, in percent.
const SHORT: u64 = 90;

/// A trial of an entry: how long each step took, and what a server refused.
#[derive(Debug, Default)]
pub(crate) struct Trial {
    pub(crate) latencies: Latencies,
    pub(crate) warnings: Vec<HealthWarning>,
}

impl Trial {
    /// Puts it into the health of a server. Of one that cannot be read from nothing else is worth a
    /// word.
    pub(crate) fn tell(self, health: &mut Health) {
        let tried = self.latencies != Latencies::default();
        health.probe = tried.then_some(self.latencies);
        if health.error.is_none() {
            health.warnings.extend(self.warnings);
        }
    }
}

/// Fills in what our side of the connections knows, as it was `before` the server was asked.
pub(crate) fn our_side<P: Protocol>(health: &mut Health, node: &Node<P>, before: PoolHealth) {
    if before.is_exhausted() {
        let text = format!(
            "all {} connections are in use and {} callers wait: look for calls that hang, or give the \
             pool more (pool_size, connection_pool_size)",
            before.size, before.waiting
        );
        health.warn(HealthWarning::trouble("pool-exhausted", text));
    }
    health.pool = Some(before);
    health.cool_down = node.cool_down();
}

/// That a write was refused, by kind.
pub(crate) fn not_written(error: &Error) -> HealthWarning {
    match error.kind() {
        ErrorKind::Full => HealthWarning::trouble(
            "out-of-memory",
            format!(
                "the server has no memory left and stores nothing ({error}): let it evict \
                 (maxmemory-policy allkeys-lru), or give it more"
            ),
        ),
        ErrorKind::Denied => HealthWarning::trouble(
            "write-refused",
            format!("an entry can be read and not written ({error}): give the user the right to"),
        ),
        _ => HealthWarning::trouble(
            "write-refused",
            format!("an entry can be read and not written ({error}): look at the server's log"),
        ),
    }
}

/// The server's clock beside ours: it was told between `began` and `ended`, by ours. All in
/// microseconds; the server's is somewhere between what it told and `coarse` more.
pub(crate) fn clock(told: u64, coarse: u64, (began, ended): (u64, u64)) -> ClockOffset {
    let half = ended.saturating_sub(began) as f64 / 2.0;
    let theirs = told as f64 + coarse as f64 / 2.0;
    ClockOffset {
        ahead_ms: rounded((theirs - (began as f64 + half)) / 1000.0),
        error_ms: rounded((half + coarse as f64 / 2.0) / 1000.0),
    }
}

/// To the microsecond.
fn rounded(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

/// Our own clock, in microseconds since 1970.
pub(crate) fn ours() -> u64 {
    wall_micros()
}

/// Warnings about the clock and the memory of a server. `also`: what else hangs on the clock there.
pub(crate) fn warnings(server: &ServerHealth, also: &str) -> Vec<HealthWarning> {
    let mut warnings = Vec::new();
    warnings.extend(server.clock.and_then(|clock| skewed(clock, also)));
    if server.is_persistent == Some(true) {
        warnings.push(HealthWarning::new(
            "persistence",
            "the server keeps its data over a restart: entries invalidated since the last snapshot \
             come back with it. For a cache: save \"\" and appendonly no, or guard_restarts; memcached \
             without -e",
        ));
    }
    warnings.extend(memory(server));
    warnings
}

fn skewed(clock: ClockOffset, also: &str) -> Option<HealthWarning> {
    if clock.at_least() <= SKEW {
        return None;
    }
    let side = if clock.ahead_ms > 0.0 { "ahead of" } else { "behind" };
    let text = format!(
        "the server's clock is {:.1} s {side} this machine's: if this machine's is the wrong one, what it \
         stores turns stale too early or too late for others, and has a wrong age; entries that slide \
         miss their last end{also}. Let both follow one time server (NTP)",
        clock.ahead_ms.abs() / 1000.0
    );
    Some(HealthWarning::new("clock-skew", text))
}

fn memory(server: &ServerHealth) -> Vec<HealthWarning> {
    let (policy, most) = (server.eviction_policy.as_deref(), server.max_memory);
    let keeps_all = matches!(policy, Some("noeviction"));
    match most {
        Some(0) => vec![HealthWarning::new(
            "no-maxmemory",
            "the server has no limit of memory: it grows until the machine has none. For a cache: \
             maxmemory, and maxmemory-policy allkeys-lru",
        )],
        Some(most) if keeps_all => {
            let mut warnings = vec![HealthWarning::new(
                "noeviction",
                "the server evicts nothing: when its memory is full, nothing is stored any more. For a \
                 cache: maxmemory-policy allkeys-lru, or memcached without -M",
            )];
            let used = server.used_memory.unwrap_or(0);
            if used.saturating_mul(100) > most.saturating_mul(SHORT) {
                let text = format!(
                    "{used} of {most} bytes are used and the server evicts nothing: soon nothing is \
                     stored any more. Let it evict, or give it more"
                );
                warnings.push(HealthWarning::trouble("memory-short", text));
            }
            warnings
        }
        _ => Vec::new(),
    }
}

/// That whoever is in between can pretend to be the server.
pub(crate) fn unverified() -> HealthWarning {
    HealthWarning::new(
        "tls-unverified",
        "certificates are not fully verified (danger_accept_any_certificate, check_hostname(false), \
         ssl_cert_reqs=none, ssl_check_hostname=false): whoever is in between can pretend to be the \
         server. Give the authority's file instead (ca_file, ssl_ca_certs)",
    )
}

/// The state of a backend by that of its servers: it serves as long as one of them does.
pub(crate) fn of_servers(
    name: &'static str,
    servers: Vec<(String, Health)>,
    none: impl FnOnce() -> Error,
) -> Health {
    let up = servers.iter().find_map(|(_, server)| match &server.error {
        None => Some(server.latency.unwrap_or_default()),
        Some(_) => None,
    });
    let answered: Result<Duration> = match (up, servers.first()) {
        (Some(latency), _) => Ok(latency),
        (None, Some((_, Health { error: Some(error), .. }))) => Err(error.clone()),
        (None, _) => Err(none()),
    };
    let mut health = Health::new(name, answered);
    health.children = servers;
    health
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn clocks_are_compared_at_the_middle_of_the_trip() {
        let trip = (100 * SECOND - 5_000, 100 * SECOND + 5_000);
        let same = clock(100 * SECOND, 0, trip);
        assert_eq!((same.ahead_ms, same.error_ms), (0.0, 5.0));
        let ahead = clock(103 * SECOND, 0, trip);
        assert_eq!(ahead.at_least(), Duration::from_millis(2_995));
        let whole_seconds = clock(98 * SECOND, 2 * SECOND, trip);
        assert_eq!((whole_seconds.ahead_ms, whole_seconds.error_ms), (-1000.0, 1005.0));
        assert_eq!(whole_seconds.at_least(), Duration::ZERO);
    }

    #[test]
    fn only_what_is_surely_apart_is_told() {
        for (ahead_ms, told) in [(0.9e3, false), (1.3e3, false), (-1.6e3, true), (9e3, true)] {
            let clock = ClockOffset { ahead_ms, error_ms: 500.0 };
            assert_eq!(skewed(clock, "").is_some(), told, "{ahead_ms}");
        }
    }

    #[test]
    fn memory_that_is_short_is_told_where_nothing_is_evicted() {
        let codes = |policy: &str, most, used| {
            let server = ServerHealth {
                eviction_policy: Some(policy.into()),
                max_memory: Some(most),
                used_memory: Some(used),
                ..ServerHealth::default()
            };
            memory(&server).iter().map(|warning| warning.code).collect::<Vec<_>>()
        };
        assert_eq!(codes("noeviction", 0, 5), ["no-maxmemory"]);
        assert_eq!(codes("noeviction", 100, 90), ["noeviction"]);
        assert_eq!(codes("noeviction", 100, 91), ["noeviction", "memory-short"]);
        assert_eq!(codes("allkeys-lru", 100, 100), [""; 0]);
    }
}
