//! INFO and its like, as facts. What a server does not tell, or we may not ask, is not known.

use redis::Value;

use super::super::wire::{number, text};
use crate::backend::health::{ClusterHealth, HealthWarning, ReplicationHealth, ServerHealth};
use crate::backend::remote::facts::Facts;
use crate::backend::remote::health::clock;

/// The commands whose answers [`Told`] reads, in its order: one round trip.
pub(super) const QUESTIONS: [&[&[u8]]; 5] = [
    &[b"TIME"],
    &[b"INFO"],
    &[b"CONFIG", b"GET", b"save"],
    &[b"CONFIG", b"GET", b"appendonly"],
    &[b"CLUSTER", b"INFO"],
];

/// What a server said.
pub(super) struct Told {
    time: Option<u64>,
    info: Facts,
    save: Option<String>,
    appendonly: Option<String>,
    cluster: Facts,
}

impl Told {
    pub(super) fn of(answers: &[Value]) -> Self {
        let lines = |at| text(answers.get(at)).map(Facts::of_lines).unwrap_or_default();
        Self {
            time: micros(answers.first()),
            info: lines(1),
            save: setting(answers.get(2)),
            appendonly: setting(answers.get(3)),
            cluster: lines(4),
        }
    }

    /// `trip`: when it was asked and when it had answered, by our clock.
    pub(super) fn server(&self, trip: (u64, u64)) -> ServerHealth {
        let Self { info, .. } = self;
        ServerHealth {
            version: info.owned("redis_version"),
            uptime: info.seconds("uptime_in_seconds"),
            used_memory: info.number("used_memory"),
            max_memory: info.number("maxmemory"),
            eviction_policy: info.owned("maxmemory_policy"),
            evicted: info.number("evicted_keys"),
            expired: info.number("expired_keys"),
            clients: info.number("connected_clients"),
            is_persistent: self.is_persistent(),
            clock: self.time.map(|told| clock(told, 0, trip)),
        }
    }

    fn is_persistent(&self) -> Option<bool> {
        let appends = self.appendonly.as_deref().map(|on| on == "yes");
        let appends = appends.or(self.info.text("aof_enabled").map(|on| on == "1"));
        let saves = self.save.as_deref().map(|points| !points.is_empty());
        match (appends, saves) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        }
    }

    pub(super) fn replication(&self) -> Option<ReplicationHealth> {
        let Self { info, .. } = self;
        let end = info.number("master_repl_offset");
        if info.is("role", "slave") {
            let heard = info.number("slave_read_repl_offset").or(end);
            return Some(ReplicationHealth {
                role: "replica",
                is_link_up: info.text("master_link_status").map(|status| status == "up"),
                last_heard: info.seconds("master_last_io_seconds_ago"),
                lag_bytes: heard.zip(info.number("slave_repl_offset")).map(|(a, b)| a - a.min(b)),
                replicas: info.number("connected_slaves"),
            });
        }
        info.is("role", "master").then(|| ReplicationHealth {
            role: "master",
            lag_bytes: end.and_then(|end| Some(end.saturating_sub(self.farthest()?))),
            replicas: info.number("connected_slaves"),
            ..ReplicationHealth::default()
        })
    }

    /// How far the replica is that is farthest behind: `slave0:ip=...,state=online,offset=70,lag=0`.
    fn farthest(&self) -> Option<u64> {
        let is_replica = |name: &str| {
            let number = name.strip_prefix("slave");
            number.is_some_and(|number| number.parse::<u32>().is_ok())
        };
        let lines = self.info.iter().filter(|(name, _)| is_replica(name));
        let offsets = lines.filter_map(|(_, line)| {
            line.split(',').find_map(|part| part.strip_prefix("offset=")?.parse().ok())
        });
        offsets.min()
    }

    pub(super) fn cluster(&self) -> Option<ClusterHealth> {
        let Self { cluster, .. } = self;
        cluster.text("cluster_state").map(|state| ClusterHealth {
            state: Some(state.to_owned()),
            slots_ok: cluster.number("cluster_slots_ok"),
            slots_assigned: cluster.number("cluster_slots_assigned"),
            known_nodes: cluster.number("cluster_known_nodes"),
        })
    }
}

/// What follows from being a replica.
pub(super) fn unlinked(replication: &ReplicationHealth) -> Option<HealthWarning> {
    if replication.is_link_up != Some(false) {
        return None;
    }
    let text = "the replica does not hear from its master: what it answers is as old as that. Bring the \
                link back, or take the replica out";
    Some(HealthWarning::trouble("replica-link", text))
}

/// Seconds and microseconds, as TIME has them.
fn micros(value: Option<&Value>) -> Option<u64> {
    let Some(Value::Array(parts)) = value else { return None };
    let part = |at| u64::try_from(number(parts.get(at))?).ok();
    part(0)?.checked_mul(1_000_000)?.checked_add(part(1)?)
}

/// The value in the pair that CONFIG GET answers.
fn setting(value: Option<&Value>) -> Option<String> {
    let Some(Value::Array(pair)) = value else { return None };
    text(pair.get(1)).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(info: &str) -> Told {
        let refused = || Value::Nil;
        Told::of(&[refused(), Value::BulkString(info.into()), refused(), refused(), refused()])
    }

    #[test]
    fn a_master_knows_its_slowest_replica() {
        let info = "role:master\r\nconnected_slaves:2\r\nmaster_repl_offset:100\r\n\
                    slave0:ip=a,port=1,state=online,offset=100,lag=0\r\n\
                    slave1:ip=b,port=1,state=online,offset=70,lag=1\r\nslave_expires_tracked_keys:0\r\n";
        let replication = told(info).replication().unwrap();
        assert_eq!((replication.role, replication.replicas), ("master", Some(2)));
        assert_eq!(replication.lag_bytes, Some(30));
    }

    #[test]
    fn a_time_that_can_be_none_is_not_known() {
        let time = |seconds: &str| {
            let part = |text: &str| Value::BulkString(text.into());
            micros(Some(&Value::Array(vec![part(seconds), part("7")])))
        };
        assert_eq!(time("3"), Some(3_000_007));
        assert_eq!(time(&i64::MAX.to_string()), None);
    }

    #[test]
    fn a_replica_knows_its_link() {
        let info = "role:slave\r\nmaster_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\n\
                    slave_repl_offset:5\r\nmaster_repl_offset:5\r\n";
        let replication = told(info).replication().unwrap();
        assert_eq!((replication.is_link_up, replication.last_heard), (Some(false), None));
        assert_eq!(unlinked(&replication).unwrap().code, "replica-link");
        assert!(told("").replication().is_none());
    }

    #[test]
    fn what_is_kept_on_disk_is_known_as_far_as_it_is_told() {
        let mut told = told("aof_enabled:0\r\n");
        assert_eq!(told.is_persistent(), None, "snapshots are told by CONFIG only");
        told.save = Some(String::new());
        assert_eq!(told.is_persistent(), Some(false));
        told.save = Some("60 1".into());
        assert_eq!(told.is_persistent(), Some(true));
    }
}
