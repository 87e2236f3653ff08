//! A Redis server.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::certs::write_certs;
use super::{Process, Reply, Resp, free_port, wait_until};

/// A server on a free port of 127.0.0.1 that keeps nothing on disk.
///
/// It also listens on a unix socket, which the methods here use: so they work the same whatever
/// the server asks of its clients, and whatever happens on its port.
pub struct RedisServer {
    process: Process,
    port: u16,
    url: String,
    /// What the connections of the test itself say first.
    auth: Vec<String>,
}

/// What distinguishes one kind of server from another.
struct Setup {
    conf: String,
    url: String,
    auth: Vec<String>,
}

impl RedisServer {
    /// Starts a server with these lines of configuration. `requirepass` is part of the URL then.
    pub fn start(directives: &[(&str, &str)]) -> RedisServer {
        RedisServer::launch(&[], |_, port| plain(directives, port))
    }

    /// One node of a cluster, alone yet.
    pub(super) fn start_node(directives: &[(&str, &str)]) -> RedisServer {
        RedisServer::launch(&[], |_, port| {
            let mut setup = plain(directives, port);
            setup.conf += &format!("cluster-enabled yes\ncluster-port {}\n", free_port());
            setup
        })
    }

    /// A sentinel.
    pub(super) fn start_sentinel(directives: &[(&str, &str)]) -> RedisServer {
        RedisServer::launch(&["--sentinel"], |_, port| plain(directives, port))
    }

    /// Speaks TLS only.
    pub fn tls() -> RedisServer {
        RedisServer::launch_tls("no")
    }

    /// Speaks TLS only, with clients that show a certificate of its authority.
    pub fn mutual_tls() -> RedisServer {
        RedisServer::launch_tls("yes")
    }

    fn launch_tls(auth_clients: &str) -> RedisServer {
        RedisServer::launch(&[], |dir, port| {
            write_certs(dir);
            let dir = dir.display();
            let conf = format!(
                "port 0\ntls-port {port}\ntls-auth-clients {auth_clients}\n\
                 tls-ca-cert-file {dir}/ca.pem\n\
                 tls-cert-file {dir}/server.pem\ntls-key-file {dir}/server.key\n"
            );
            Setup { conf, url: format!("rediss://127.0.0.1:{port}"), auth: Vec::new() }
        })
    }

    /// Listens on its unix socket only.
    pub fn unix() -> RedisServer {
        RedisServer::launch(&[], |dir, _| {
            let url = format!("redis+unix://{}", socket(dir).display());
            Setup { conf: "port 0\n".into(), url, auth: Vec::new() }
        })
    }

    /// Lets in `user` alone, who may do what `rules` say (`"~* +@read"`).
    pub fn acl(user: &str, password: &str, rules: &str) -> RedisServer {
        RedisServer::launch(&[], |_, port| Setup {
            conf: format!(
                "port {port}\nuser default off\nuser {user} on >{password} {rules}\n\
                 user test-admin on >admin ~* &* +@all\n"
            ),
            url: format!("redis://{user}:{password}@127.0.0.1:{port}"),
            auth: vec!["test-admin".into(), "admin".into()],
        })
    }

    fn launch(args: &[&str], setup: impl Fn(&Path, u16) -> Setup) -> RedisServer {
        // A replica that got its data from a file follows at once; streamed data would first wait
        // for an acknowledgement, up to a second, in which writes can be lost by a failover.
        let sync = "repl-diskless-sync no";
        // Until nobody took the port between the look and the start.
        loop {
            let dir = Process::new_dir();
            let port = free_port();
            let Setup { conf, url, auth } = setup(&dir, port);
            let common = format!(
                "bind 127.0.0.1\nprotected-mode no\nsave \"\"\nappendonly no\ndaemonize no\n\
                 dir {0}\nlogfile {0}/log\nunixsocket {1}\n{sync}\n",
                dir.display(),
                socket(&dir).display(),
            );
            let conf_path = dir.join("redis.conf");
            fs::write(&conf_path, common + &conf).unwrap();
            let command = [&["redis-server", conf_path.to_str().unwrap()], args].concat();
            let process = Process::start(&command, dir);
            let server = RedisServer { process, port, url, auth };
            if server.wait_ready(1) {
                return server;
            }
        }
    }

    /// Waits until the server said `times` times in its log that it serves; false if its port is
    /// taken. The log is looked at first because a PING could be answered by a stranger.
    fn wait_ready(&self, times: usize) -> bool {
        let mut taken = false;
        wait_until("the server is ready", || {
            let alive = self.process.is_alive();
            if self.times_ready() >= times {
                return true;
            }
            if !alive {
                let log = self.file("log");
                taken = log.lines().rev().take(5).any(|line| line.contains("already in use"));
                assert!(taken, "the server died: {}{log}", self.file("out"));
            }
            taken
        });
        if !taken {
            wait_until("PING is answered", || {
                let reply = self.try_command(&["PING"]);
                reply.is_ok_and(|reply| !reply.as_str().starts_with("LOADING"))
            });
        }
        !taken
    }

    fn times_ready(&self) -> usize {
        let log = self.file("log");
        log.matches("eady to accept connections").count() + log.matches("Sentinel ID is").count()
    }

    /// A file of the server's directory; empty if there is none yet.
    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.dir().join(name)).unwrap_or_default()
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn dir(&self) -> &Path {
        self.process.dir()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate of the authority that signed the server's.
    pub fn ca(&self) -> PathBuf {
        self.dir().join("ca.pem")
    }

    /// An authority that has nothing to do with this server.
    pub fn other_ca(&self) -> PathBuf {
        self.dir().join("other-ca.pem")
    }

    pub fn client_cert(&self) -> PathBuf {
        self.dir().join("client.pem")
    }

    pub fn client_key(&self) -> PathBuf {
        self.dir().join("client.key")
    }

    pub fn kill(&self) {
        self.process.kill();
    }

    pub fn stop(&self) {
        self.process.stop();
    }

    pub fn cont(&self) {
        self.process.cont();
    }

    /// Starts the server again on its port, after [`RedisServer::kill`].
    pub fn start_again(&self) {
        let times = self.times_ready() + 1;
        // Clients have the old port, so if someone sits on it, wait.
        loop {
            self.process.start_again();
            if self.wait_ready(times) {
                return;
            }
            sleep(Duration::from_millis(100));
        }
    }

    /// Kills the server and starts it again, on the same port.
    pub fn restart(&self) {
        self.kill();
        self.start_again();
    }

    /// A new connection that may do everything.
    #[track_caller]
    pub fn resp(&self) -> Resp {
        self.try_resp().unwrap()
    }

    fn try_resp(&self) -> io::Result<Resp> {
        let mut resp = Resp::try_connect_unix(&socket(self.dir()))?;
        if !self.auth.is_empty() {
            let words: Vec<&str> =
                ["AUTH"].into_iter().chain(self.auth.iter().map(String::as_str)).collect();
            resp.try_command(&words)?.expect_ok();
        }
        Ok(resp)
    }

    #[track_caller]
    pub fn command<A: AsRef<[u8]>>(&self, args: &[A]) -> Reply {
        self.try_command(args).unwrap()
    }

    pub fn try_command<A: AsRef<[u8]>>(&self, args: &[A]) -> io::Result<Reply> {
        self.try_resp()?.try_command(args)
    }

    /// A section of INFO, its lines by name.
    #[track_caller]
    pub fn info(&self, section: &str) -> BTreeMap<String, String> {
        fields(self.command(&["INFO", section]).as_str())
    }

    /// Like [`RedisServer::info`], for a server that may close connections at any moment: one that
    /// is told to change roles does.
    pub(super) fn try_info(&self, section: &str) -> Option<BTreeMap<String, String>> {
        match self.try_command(&["INFO", section]) {
            Ok(Reply::Bulk(Some(text))) => Some(fields(str::from_utf8(&text).unwrap())),
            _ => None,
        }
    }

    /// Whether what is written reaches the replicas of this server, and this server if it is one.
    pub(super) fn replicates(&self) -> bool {
        let Some(info) = self.try_info("replication") else { return false };
        // To the replica the link is up before its master starts to send what is new.
        let waits = info.values().any(|v| v.contains("state=") && !v.contains("state=online"));
        !waits && info.get("master_link_status").is_none_or(|status| status == "up")
    }

    pub(super) fn is_replica(&self) -> bool {
        self.try_info("replication").is_some_and(|info| info["role"] == "slave")
    }

    /// How often each command was called, the test's own included.
    #[track_caller]
    pub fn commandstats(&self) -> BTreeMap<String, u64> {
        let calls = |stats: &str| {
            let calls = stats.strip_prefix("calls=").unwrap().split(',').next().unwrap();
            calls.parse().unwrap()
        };
        self.info("commandstats")
            .iter()
            .map(|(name, stats)| (name.strip_prefix("cmdstat_").unwrap().into(), calls(stats)))
            .collect()
    }

    #[track_caller]
    pub fn reset_stats(&self) {
        self.command(&["CONFIG", "RESETSTAT"]).expect_ok();
    }
}

fn plain(directives: &[(&str, &str)], port: u16) -> Setup {
    let mut conf = format!("port {port}\n");
    let mut url = format!("redis://127.0.0.1:{port}");
    let mut auth = Vec::new();
    for &(name, value) in directives {
        let value = if value.is_empty() { "\"\"" } else { value };
        conf += &format!("{name} {value}\n");
        if name == "requirepass" {
            url = format!("redis://:{value}@127.0.0.1:{port}");
            auth = vec![value.to_owned()];
        }
    }
    Setup { conf, url, auth }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("redis.sock")
}

/// The `name:value` lines of INFO and CLUSTER INFO.
pub(super) fn fields(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
