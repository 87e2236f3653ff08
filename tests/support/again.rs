//! This test binary, run again: a process that shares nothing with the test but a server.

use std::env;
use std::io::{BufRead, BufReader, Write, stdin};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// What a child says stands in lines that begin so: the test harness writes to the same pipe.
const MARK: &str = "> ";

/// A child that runs one test of this binary, obeys lines and answers with lines.
///
/// It dies with the test, however that ends: see [`orders`].
pub struct Again {
    child: Child,
    orders: ChildStdin,
}

impl Again {
    /// Starts `test` with these variables. `hear` is given each line it [`tell`]s, and `None` at
    /// its end.
    pub fn start(
        test: &str,
        env: &[(&str, &str)],
        hear: impl Fn(Option<String>) + Send + 'static,
    ) -> Again {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--include-ignored"])
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix(MARK) {
                    hear(Some(line.to_owned()));
                }
            }
            hear(None);
        });
        let orders = child.stdin.take().unwrap();
        Again { child, orders }
    }

    /// Gives it an order. One to a child that is gone is lost.
    pub fn say(&mut self, order: &str) {
        let _ = writeln!(self.orders, "{order}");
    }

    /// SIGKILL; returns once it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the child: what the test says. Once the test is gone, so is the child.
pub fn orders() -> Receiver<String> {
    let (heard, orders) = channel();
    thread::spawn(move || {
        for line in stdin().lines().map_while(Result::ok) {
            // A child about to end hears no more.
            let _ = heard.send(line);
        }
        std::process::exit(0);
    });
    orders
}

/// In the child: tells the test.
pub fn tell(line: &str) {
    // The harness may be in the middle of a line of its own.
    println!("\n{MARK}{line}");
}
