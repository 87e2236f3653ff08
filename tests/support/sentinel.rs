//! A master and its replica, watched by sentinels.

use std::thread;
use std::time::{Duration, Instant};

use super::{RedisServer, Reply, wait_until};

/// The name the sentinels know the master by.
const NAME: &str = "mymaster";

/// When an order to fail over was surely given up.
const AGAIN: Duration = Duration::from_secs(6);

/// Two servers, the first of them master at first, and three sentinels, of which two must agree.
pub struct RedisSentinels {
    servers: [RedisServer; 2],
    sentinels: Vec<RedisServer>,
}

impl RedisSentinels {
    pub fn start() -> RedisSentinels {
        let ping = ("repl-ping-replica-period", "1");
        let master = RedisServer::start(&[ping]);
        let replica_of = format!("127.0.0.1 {}", master.port());
        let replica = RedisServer::start(&[ping, ("replicaof", &replica_of)]);

        let monitor = format!("monitor {NAME} 127.0.0.1 {} 2", master.port());
        // Who stands still for a moment on a busy machine keeps its office.
        let down_after = format!("down-after-milliseconds {NAME} 10000");
        let failover_timeout = format!("failover-timeout {NAME} 2000");
        let directives = [
            ("sentinel", &*monitor),
            ("sentinel", &down_after),
            ("sentinel", &failover_timeout),
            ("sentinel", "announce-ip 127.0.0.1"),
        ];
        let sentinels = thread::scope(|scope| {
            let starts: Vec<_> =
                (0..3).map(|_| scope.spawn(|| RedisServer::start_sentinel(&directives))).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        let all = RedisSentinels { servers: [master, replica], sentinels };
        for sentinel in &all.sentinels {
            hurry(sentinel);
        }
        wait_until("the sentinels know each other", || all.is_settled());
        all
    }

    pub fn url(&self) -> String {
        let addrs: Vec<_> = self.sentinels.iter().map(RedisServer::addr).collect();
        format!("redis+sentinel://{}/{NAME}/0", addrs.join(","))
    }

    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// The master's address, as the first running sentinel says.
    #[track_caller]
    pub fn master_addr(&self) -> String {
        master_by(self.running()[0])
    }

    pub fn master(&self) -> &RedisServer {
        self.by_role().0
    }

    pub fn replica(&self) -> &RedisServer {
        self.by_role().1
    }

    #[track_caller]
    fn by_role(&self) -> (&RedisServer, &RedisServer) {
        let [a, b] = &self.servers;
        if a.addr() == self.master_addr() { (a, b) } else { (b, a) }
    }

    /// Swaps the roles, with both servers running.
    #[track_caller]
    pub fn failover(&self) {
        let old = self.master();
        wait_until("the replica follows", || self.is_settled());
        // On a busy machine a sentinel may give it up, after two seconds.
        let mut ordered: Option<Instant> = None;
        wait_until("a sentinel carries out the order", || {
            let sentinel = self.running()[0];
            if ordered.is_none_or(|at| at.elapsed() > AGAIN) {
                let taken = sentinel.command(&["SENTINEL", "FAILOVER", NAME]).is_ok();
                ordered = taken.then(Instant::now);
            }
            master_by(sentinel) != old.addr()
        });
        self.wait_moved(old);
        self.wait_replica(old);
    }

    /// Kills the master and returns it. [`RedisSentinels::wait_moved`] waits for the next.
    pub fn kill_master(&self) -> &RedisServer {
        let master = self.master();
        master.kill();
        for sentinel in self.running() {
            let soon = ["SENTINEL", "SET", NAME, "down-after-milliseconds", "1000"];
            sentinel.command(&soon).expect_ok();
        }
        master
    }

    /// Returns once all running sentinels name another master than `old`.
    #[track_caller]
    pub fn wait_moved(&self, old: &RedisServer) {
        wait_until("the sentinels name another master", || {
            self.running().into_iter().all(|sentinel| master_by(sentinel) != old.addr())
        });
    }

    /// Returns once `server` follows the master, as it must when it was killed and started again.
    #[track_caller]
    pub fn wait_replica(&self, server: &RedisServer) {
        wait_until("the server is a replica", || server.is_replica() && self.is_settled());
    }

    /// Whether the servers are master and replica and all sentinels that run know. One that still
    /// takes the replica for a master would demote it just when it is promoted.
    fn is_settled(&self) -> bool {
        self.servers.iter().all(RedisServer::replicates)
            && self.running().into_iter().all(|sentinel| {
                let master = sentinel.command(&["SENTINEL", "MASTER", NAME]);
                let replicas = sentinel.command(&["SENTINEL", "REPLICAS", NAME]);
                let [replica] = replicas.array() else { return false };
                field(&master, "num-other-sentinels") == "2"
                    && field(&master, "flags") == "master"
                    && field(replica, "flags") == "slave"
                    && field(replica, "role-reported") == "slave"
                    && field(replica, "master-link-status") == "ok"
            })
    }

    fn running(&self) -> Vec<&RedisServer> {
        self.sentinels.iter().filter(|sentinel| sentinel.process().is_running()).collect()
    }
}

/// Has a sentinel, until it is restarted, do in a fraction of a second what takes it one to thirty
/// by default.
fn hurry(sentinel: &RedisServer) {
    let periods = [
        ("info-period", "200"),
        ("ping-period", "200"),
        ("ask-period", "200"),
        ("min-link-reconnect-period", "200"),
        // After four of these a sentinel demotes a master it has not heard of, and at a failover
        // the news takes a second or so.
        ("publish-period", "600"),
        // How long it does nothing after a stall of two seconds, which it takes for a broken clock.
        ("tilt-period", "1000"),
    ];
    for (period, ms) in periods {
        sentinel.command(&["SENTINEL", "DEBUG", period, ms]).expect_ok();
    }
}

fn master_by(sentinel: &RedisServer) -> String {
    let addr = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
    let [ip, port] = addr.array() else { panic!("not an address: {addr:?}") };
    format!("{}:{}", ip.as_str(), port.as_str())
}

/// A field of an array of names and values.
fn field<'a>(reply: &'a Reply, name: &str) -> &'a str {
    let pair = reply.array().chunks(2).find(|pair| pair[0].as_str() == name);
    pair.expect("no such field")[1].as_str()
}
