//! One load for several processes, and what becomes of it when the process that loads is killed.
//!
//! The program starts itself twice more. Both children ask for a key that is missing: one loads, the
//! other waits for its value. Then they ask for another, and the one that loads is killed: once its
//! lease is over the other takes over.
//!
//! `cargo run --example cross_process --features redis` starts a redis-server on a free port of this
//! machine, and stops it at the end; or uses the one that the variable `REDIS_URL` names. All keys
//! begin with `yokedcache-example`, and are removed at the end.

mod server;

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{self, Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use std::{env, thread};

use yokedcache::{Cache, Redis};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// How long a loader works.
const WORK: Duration = Duration::from_millis(400);
/// How long it may take at most, before others take over: longer than any that is alive.
const LEASE: Duration = Duration::from_secs(1);
/// A child that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

fn open(url: &str, prefix: &str) -> Result<Cache> {
    let redis = Redis::builder(url).timeout(Duration::from_secs(2)).build()?;
    // Strict: without the server each child would load for itself.
    Ok(Cache::builder(redis).key_prefix(prefix).strict().build()?)
}

/// A child: loads the keys it is told, and says what happens, a line each.
fn child(url: &str, prefix: &str) -> Result<()> {
    let cache = open(url, prefix)?;
    cache.get::<String>("nothing")?;
    println!("is ready");
    // The parent's end is its end, too.
    for key in io::stdin().lines() {
        let value: String = cache.entry(key?).lease(LEASE).get_or_compute(|| {
            println!("loads");
            thread::sleep(WORK);
            format!("made by process {}", process::id())
        })?;
        println!("has the value {value:?}");
    }
    Ok(())
}

/// What children say, and which of them it was.
type Said = (usize, String);

struct Worker {
    process: Child,
    orders: ChildStdin,
}

impl Worker {
    fn start(number: usize, url: &str, prefix: &str, said: Sender<Said>) -> Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .args(["child", url, prefix])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (orders, stdout) = (process.stdin.take(), process.stdout.take());
        let (Some(orders), Some(stdout)) = (orders, stdout) else { return Err("no pipes".into()) };
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(io::Result::ok);
            // Nobody hears the last words of one that is killed.
            lines.for_each(|line| drop(said.send((number, line))));
        });
        Ok(Self { process, orders })
    }

    fn ask_for(&mut self, key: &str) -> io::Result<()> {
        writeln!(self.orders, "{key}")
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The children, and the time since they were asked last.
struct Family {
    workers: Vec<Worker>,
    said: Receiver<Said>,
    since: Instant,
}

impl Family {
    fn start(url: &str, prefix: &str) -> Result<Self> {
        let (say, said) = channel();
        let start = |number| Worker::start(number, url, prefix, say.clone());
        let workers = (0..2).map(start).collect::<Result<_>>()?;
        let family = Self { workers, said, since: Instant::now() };
        family.hear()?;
        family.hear()?;
        Ok(family)
    }

    /// Both are to get this key.
    fn ask_for(&mut self, key: &str) -> Result<()> {
        self.since = Instant::now();
        self.workers.iter_mut().try_for_each(|worker| Ok(worker.ask_for(key)?))
    }

    /// Tells the next thing a child says.
    fn hear(&self) -> Result<Said> {
        let (number, line) = self.said.recv_timeout(PATIENCE)?;
        let pid = self.workers[number].process.id();
        self.tell(&format!("process {pid} {line}"));
        Ok((number, line))
    }

    fn tell(&self, what: &str) {
        println!("  {:>5} ms  {what}", self.since.elapsed().as_millis());
    }
}

fn one_load(family: &mut Family) -> Result<()> {
    println!("\nBoth ask for a key that is missing; a load takes {WORK:?}");
    family.ask_for("first")?;
    let mut loads = 0;
    let mut answers = 0;
    while answers < 2 {
        let (_, line) = family.hear()?;
        loads += u32::from(line == "loads");
        answers += u32::from(line.starts_with("has"));
    }
    println!("  {loads} load for both");
    Ok(())
}

fn takeover(family: &mut Family) -> Result<()> {
    println!("\nThey ask for another, and the one that loads is killed; the lease is {LEASE:?}");
    family.ask_for("second")?;
    let (loading, _) = family.hear()?;
    thread::sleep(WORK / 4);
    family.workers[loading].kill();
    family.tell(&format!("process {} is killed", family.workers[loading].process.id()));
    while !family.hear()?.1.starts_with("has") {}
    Ok(())
}

fn show(url: &str) -> Result<()> {
    let prefix = format!("yokedcache-example-{}", process::id());
    println!("Two processes over {url}");
    let mut family = Family::start(url, &prefix)?;
    let shown = one_load(&mut family).and_then(|()| takeover(&mut family));
    drop(family);
    open(url, &prefix)?.clear()?;
    shown
}

fn run() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    if let [role, url, prefix] = &args[..]
        && role == "child"
    {
        return child(url, prefix);
    }
    server::with_server(show)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(1)
        }
    }
}
