//! The command-line tool, run as its users run it, against real servers.

mod config;
mod doctor;
mod errors;
mod help;
mod moving;
mod removal;
mod servers;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod troubles;
mod values;

use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};

/// The password of every server here, which nothing may show.
const PASSWORD: &str = "t0p-s3cret";

/// A run of the program that is being set up.
struct Cli(Command);

/// What came of a run.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
    bytes: Vec<u8>,
}

/// The program, told of no cache.
fn bare() -> Cli {
    let mut command = Command::new(env!("CARGO_BIN_EXE_yokedcache"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("YOKEDCACHE_") {
            command.env_remove(name);
        }
    }
    command.env_remove("NO_COLOR");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Cli(command)
}

/// The program, told of this cache by its environment.
fn at(url: &str) -> Cli {
    bare().var("YOKEDCACHE_URL", url)
}

impl Cli {
    fn var(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs a command line, whose words are set apart by blanks.
    fn run(self, line: &str) -> Ran {
        self.args(&line.split(' ').collect::<Vec<_>>())
    }

    fn args(self, args: &[&str]) -> Ran {
        self.fed(args, b"")
    }

    /// Runs it with this on its standard input.
    fn fed(mut self, args: &[&str], input: &[u8]) -> Ran {
        self.0.stdin(Stdio::piped());
        let mut child = self.start(args);
        // A program that does not read has its reasons.
        let _ = child.stdin.take().unwrap().write_all(input);
        end(child)
    }

    fn start(mut self, args: &[&str]) -> Child {
        self.0.args(args).spawn().unwrap()
    }
}

/// Waits for its end. Whatever it was told to do, no password is shown.
fn end(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = code(output.status);
    let ran =
        Ran { code, out: text(&output.stdout), err: text(&output.stderr), bytes: output.stdout };
    for shown in [&ran.out, &ran.err] {
        assert!(!shown.contains(PASSWORD), "{shown}");
        assert!(!shown.contains("panicked") && !shown.contains("RUST_BACKTRACE"), "{shown}");
    }
    ran
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| panic!("{status}"))
}

/// Ctrl-C.
fn interrupt(child: &Child) {
    let told = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
}

impl Ran {
    /// It ended so.
    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// It wrote this, and nothing else.
    #[track_caller]
    fn says(self, text: &str) -> Self {
        assert_eq!(self.out, text, "{self:?}");
        self
    }

    /// One line on the standard error, which begins with the program's name.
    #[track_caller]
    fn complains(self, text: &str) -> Self {
        assert!(self.err.starts_with("yokedcache: ") && self.err.lines().count() == 1, "{self:?}");
        assert!(self.err.contains(text), "{text:?} is not in {self:?}");
        self
    }

    /// What it wrote, as one JSON document.
    #[track_caller]
    fn json(&self) -> serde_json::Value {
        assert_eq!(self.out.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What it wrote, a JSON document a line.
    #[track_caller]
    fn records(&self) -> Vec<serde_json::Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A connection to a server that takes one: those of before may be there for a moment.
fn the_only_client(server: &support::RedisServer) -> support::Resp {
    let mut taken = server.resp();
    support::wait_until("there is room", || {
        let is_let_in = taken.try_command(&["PING"]).is_ok_and(|pong| pong.as_str() == "PONG");
        if !is_let_in {
            taken = server.resp();
        }
        is_let_in
    });
    taken
}

/// A Redis server with a password, and its address with a key prefix.
fn redis() -> (support::RedisServer, String) {
    let server = support::RedisServer::start(&[("requirepass", PASSWORD)]);
    let url = format!("{}?key_prefix=shop", server.url());
    (server, url)
}
