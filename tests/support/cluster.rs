//! A Redis cluster.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::redis::fields;
use super::{RedisServer, wait_until};

/// Three masters (at first the nodes 0, 1, 2) and a replica of each (3, 4, 5).
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    ids: Vec<String>,
    /// When an election was over that a test waited for.
    elected: Mutex<Option<Instant>>,
}

/// How long a node may be silent, in milliseconds, where no test waits for its successor: who stands
/// still for a moment on a busy machine keeps its office.
const PATIENT: &str = "5000";
/// The same while they get to know each other, and once a test has one killed or replaced.
const HASTY: &str = "1000";
/// How long a node takes itself for elected: twice the node timeout.
const ELECTION: Duration = Duration::from_secs(2);
const MASTERS: usize = 3;
const NODES: usize = 6;
const SLOTS: usize = 16384;

/// What one node believes about one node.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct View {
    node: usize,
    master: bool,
    failed: bool,
    /// First and last of each range.
    slots: Vec<(usize, usize)>,
}

impl RedisCluster {
    pub fn start() -> RedisCluster {
        RedisCluster::start_with(&[])
    }

    /// Starts a cluster with these lines in the configuration of every node.
    pub fn start_with(directives: &[(&str, &str)]) -> RedisCluster {
        let defaults = [
            ("cluster-announce-ip", "127.0.0.1"),
            ("cluster-node-timeout", HASTY),
            ("cluster-require-full-coverage", "no"),
            ("cluster-replica-validity-factor", "0"),
            // Replicas stay where the test knows them.
            ("cluster-allow-replica-migration", "no"),
            ("repl-ping-replica-period", "1"),
        ];
        let directives = [&defaults, directives].concat();
        let nodes: Vec<_> = thread::scope(|scope| {
            let start = || RedisServer::start_node(&directives);
            let starts: Vec<_> = (0..NODES).map(|_| scope.spawn(start)).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        let ids = nodes
            .iter()
            .map(|node| node.command(&["CLUSTER", "MYID"]).as_str().to_owned())
            .collect();
        let cluster = RedisCluster { nodes, ids, elected: Mutex::new(None) };
        cluster.join();
        if directives.iter().filter(|(name, _)| *name == "cluster-node-timeout").count() == 1 {
            cluster.wait_for_the_silent(PATIENT);
        }
        cluster
    }

    /// Makes the nodes, which know nothing, one cluster.
    fn join(&self) {
        for (i, node) in self.nodes.iter().enumerate() {
            let epoch = (i + 1).to_string();
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).expect_ok();
            if i < MASTERS {
                let first = (SLOTS * i / MASTERS).to_string();
                let last = (SLOTS * (i + 1) / MASTERS - 1).to_string();
                node.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).expect_ok();
            }
        }
        self.meet();
        // A handshake that takes too long on a busy machine is forgotten: they meet again.
        let met_at = Cell::new(Instant::now());
        let meet_again = || {
            if met_at.get().elapsed() > Duration::from_secs(3) {
                self.meet();
                met_at.set(Instant::now());
            }
        };
        for (i, node) in self.nodes.iter().enumerate().skip(MASTERS) {
            wait_until("the replica has met its master", || {
                meet_again();
                node.command(&["CLUSTER", "REPLICATE", &self.ids[i - MASTERS]]).is_ok()
            });
        }
        wait_until("the nodes have met", || {
            meet_again();
            (0..NODES).all(|i| self.views(i).is_some_and(|views| views.len() == NODES))
        });
        self.wait_ok();
    }

    /// Each meets each, as waiting for gossip would take longer.
    fn meet(&self) {
        for (i, node) in self.nodes.iter().enumerate() {
            for other in &self.nodes[i + 1..] {
                let port = other.port().to_string();
                let bus = other.command(&["CONFIG", "GET", "cluster-port"]);
                let bus = bus.array()[1].as_str();
                node.command(&["CLUSTER", "MEET", "127.0.0.1", &port, bus]).expect_ok();
            }
        }
    }

    /// Returns once all nodes that run say that all is well, agree about the slots, and follow
    /// their masters.
    #[track_caller]
    pub fn wait_ok(&self) {
        wait_until("the cluster is well", || {
            let running = self.running();
            let view = self.views(running[0]);
            view.is_some() && running.iter().all(|&i| self.is_ok(i) && self.views(i) == view)
        });
    }

    fn is_ok(&self, i: usize) -> bool {
        let info = fields(self.nodes[i].command(&["CLUSTER", "INFO"]).as_str());
        info["cluster_state"] == "ok" && self.nodes[i].replicates()
    }

    /// What node `i` believes about all, itself included; `None` while it holds handshakes and
    /// half-known nodes.
    fn views(&self, i: usize) -> Option<Vec<View>> {
        let reply = self.nodes[i].command(&["CLUSTER", "NODES"]);
        let mut views =
            reply.as_str().lines().map(|line| self.view(line)).collect::<Option<Vec<_>>>()?;
        views.sort();
        Some(views)
    }

    /// Of a line `id addr flags master ping pong epoch link slots…`.
    fn view(&self, line: &str) -> Option<View> {
        let words: Vec<_> = line.split(' ').collect();
        let node = self.ids.iter().position(|id| id == words[0])?;
        let flags: Vec<_> = words[2].split(',').collect();
        let slots = words[8..]
            .iter()
            // "[93->-id]" is a slot on the move.
            .filter(|word| !word.starts_with('['))
            .map(|word| {
                let (first, last) = word.split_once('-').unwrap_or((word, word));
                (first.parse().unwrap(), last.parse().unwrap())
            })
            .collect();
        let failed = flags.contains(&"fail") || flags.contains(&"fail?");
        Some(View { node, master: flags.contains(&"master"), failed, slots })
    }

    fn running(&self) -> Vec<usize> {
        (0..NODES).filter(|&i| self.nodes[i].process().is_running()).collect()
    }

    pub fn url(&self) -> String {
        let addrs: Vec<_> = self.nodes.iter().map(RedisServer::addr).collect();
        format!("redis+cluster://{}", addrs.join(","))
    }

    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The nodes that serve slots, as the first running node sees it.
    pub fn masters(&self) -> Vec<usize> {
        let views = self.views(self.running()[0]).unwrap_or_default();
        let masters = views.iter().filter(|view| view.master && !view.slots.is_empty());
        masters.map(|view| view.node).collect()
    }

    /// The master that serves `slot`, as the first running node sees it; dead maybe.
    #[track_caller]
    pub fn owner(&self, slot: u16) -> usize {
        self.owner_by(self.running()[0], slot).expect("nobody serves the slot")
    }

    fn owner_by(&self, i: usize, slot: u16) -> Option<usize> {
        let serves = |&(first, last): &(_, _)| (first..=last).contains(&usize::from(slot));
        let views = self.views(i)?;
        views.iter().find(|view| view.slots.iter().any(serves)).map(|view| view.node)
    }

    /// The replica of the master that serves `slot`.
    #[track_caller]
    pub fn replica(&self, slot: u16) -> usize {
        let master = self.owner(slot);
        let port = self.nodes[master].port().to_string();
        let follows = |&i: &usize| {
            let info = self.nodes[i].info("replication");
            info.get("master_port") == Some(&port)
        };
        self.running().into_iter().find(follows).expect("the slot has no running replica")
    }

    pub fn slot_of(&self, key: &str) -> u16 {
        let node = &self.nodes[self.running()[0]];
        node.command(&["CLUSTER", "KEYSLOT", key]).int() as u16
    }

    /// Kills a node. [`RedisCluster::wait_moved`] waits until the others have noticed.
    pub fn kill(&self, i: usize) {
        self.nodes[i].kill();
        self.hurry();
    }

    /// From now on a node that does not answer for a second is replaced.
    fn hurry(&self) {
        self.wait_for_the_silent(HASTY);
    }

    fn wait_for_the_silent(&self, ms: &str) {
        for i in self.running() {
            self.nodes[i].command(&["CONFIG", "SET", "cluster-node-timeout", ms]).expect_ok();
        }
    }

    /// Starts a killed node again, which still knows its place in the cluster but has no data.
    pub fn start_again(&self, i: usize) {
        self.nodes[i].start_again();
        self.hurry();
    }

    /// Returns once `slot` is served by another node than `from` and all that run know.
    #[track_caller]
    pub fn wait_moved(&self, slot: u16, from: usize) {
        wait_until("the slot has moved", || {
            let running = self.running();
            let to = self.owner_by(running[0], slot);
            to.is_some_and(|to| to != from) && running.iter().all(|&i| self.owner_by(i, slot) == to)
        });
        *self.elected.lock().unwrap() = Some(Instant::now());
    }

    /// Has the replica take over from the master of `slot`, which runs.
    ///
    /// Soon after another election this takes two seconds: a master demoted before would count
    /// its old votes at the next failure, with its old epoch, and nobody would listen to it (seen
    /// with Redis 7.0).
    #[track_caller]
    pub fn failover(&self, slot: u16) {
        if let Some(elected) = *self.elected.lock().unwrap() {
            thread::sleep(ELECTION.saturating_sub(elected.elapsed()));
        }
        self.hurry();
        let master = self.owner(slot);
        self.nodes[self.replica(slot)].command(&["CLUSTER", "FAILOVER"]).expect_ok();
        self.wait_moved(slot, master);
        self.wait_ok();
    }

    /// Moves `slot` to the master `to`.
    #[track_caller]
    pub fn migrate(&self, slot: u16, to: usize) {
        self.migrate_begin(slot, to);
        while self.migrate_keys(slot, to, 100) > 0 {}
        self.migrate_end(slot, to);
    }

    /// From now on the owner answers ASK for keys of `slot` it does not have.
    #[track_caller]
    pub fn migrate_begin(&self, slot: u16, to: usize) {
        let from = self.owner(slot);
        self.set_slot(to, slot, "IMPORTING", from);
        self.set_slot(from, slot, "MIGRATING", to);
    }

    /// Moves up to `count` keys of `slot` and returns how many there were.
    #[track_caller]
    pub fn migrate_keys(&self, slot: u16, to: usize, count: usize) -> usize {
        let from = &self.nodes[self.owner(slot)];
        let keys =
            from.command(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), &count.to_string()]);
        let keys: Vec<_> = keys.array().iter().map(|key| key.bytes()).collect();
        if keys.is_empty() {
            return 0;
        }
        let port = self.nodes[to].port().to_string();
        let migrate = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"].map(str::as_bytes);
        let reply = from.command(&[&migrate, &keys[..]].concat());
        assert!(matches!(reply.as_str(), "OK" | "NOKEY"), "{reply:?}");
        keys.len()
    }

    /// Makes `to` the owner of `slot`, which has no keys left elsewhere.
    #[track_caller]
    pub fn migrate_end(&self, slot: u16, to: usize) {
        let from = self.owner(slot);
        // The target first: if the source forgot the slot before, nobody would own it a while.
        self.set_slot(to, slot, "NODE", to);
        self.set_slot(from, slot, "NODE", to);
        for i in self.masters() {
            if i != to && i != from {
                self.set_slot(i, slot, "NODE", to);
            }
        }
        self.wait_moved(slot, from);
    }

    /// Takes `slot` from its master, so that nobody serves it.
    #[track_caller]
    pub fn forget(&self, slot: u16) {
        wait_until("nobody serves the slot", || {
            let owners = self.running().into_iter().map(|i| self.owner_by(i, slot));
            let owners: Vec<_> = owners.flatten().collect();
            // Its master first: it tells the others of its slots.
            for node in owners.iter().copied().chain(0..NODES) {
                self.nodes[node].command(&["CLUSTER", "DELSLOTS", &slot.to_string()]);
            }
            owners.is_empty()
        });
    }

    #[track_caller]
    fn set_slot(&self, node: usize, slot: u16, state: &str, other: usize) {
        let slot = slot.to_string();
        let command = ["CLUSTER", "SETSLOT", &slot, state, &self.ids[other]];
        self.nodes[node].command(&command).expect_ok();
    }

    /// How often each command was called on the nodes that run, the test's own included. A write
    /// counts once, though the replica of who got it counts it too.
    #[track_caller]
    pub fn commandstats(&self) -> BTreeMap<String, u64> {
        let writes = ["COMMAND", "LIST", "FILTERBY", "ACLCAT", "write"];
        let writes = self.nodes[self.running()[0]].command(&writes);
        let is_write = |name: &str| writes.array().iter().any(|write| write.as_str() == name);
        let mut sum = BTreeMap::new();
        for i in self.running() {
            let replica = self.nodes[i].is_replica();
            for (name, calls) in self.nodes[i].commandstats() {
                if !(replica && is_write(&name)) {
                    *sum.entry(name).or_default() += calls;
                }
            }
        }
        sum
    }

    #[track_caller]
    pub fn reset_stats(&self) {
        for i in self.running() {
            self.nodes[i].reset_stats();
        }
    }

    /// FLUSHALL on the masters; the replicas follow in a moment.
    #[track_caller]
    pub fn flush_all_nodes(&self) {
        for i in self.running() {
            // A replica answers READONLY.
            self.nodes[i].command(&["FLUSHALL"]);
        }
    }
}
