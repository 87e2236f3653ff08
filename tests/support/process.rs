//! A server that never outlives the test.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::wait_until;

/// The server is a child of this shell, which obeys the words on its stdin. However the test
/// process ends, even by SIGKILL or with the `Process` in a static, that pipe closes: the shell
/// then kills the server and removes its directory. HUP comes from the kernel if the server is
/// stopped just then, as its process group has lost its parent.
const WATCHDOG: &str = r#"
trap "" HUP
dir=$1; shift
while read -r word; do
    case $word in
        start) "$@" >>"$dir/out" 2>&1 & pid=$!; echo $pid ;;
        KILL) if [ "$pid" ]; then kill -KILL $pid; wait $pid; pid=; fi; echo gone ;;
        *) kill -$word $pid; echo sent ;;
    esac
done
if [ "$pid" ]; then kill -KILL $pid; wait $pid; fi
rm -rf "$dir"
"#;

/// A server under a watchdog. All methods take `&self`, so it can live in a static.
pub struct Process {
    dir: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    watchdog: Child,
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    pid: Option<u32>,
}

impl Process {
    /// An empty directory for one server, to be handed to [`Process::start`].
    pub fn new_dir() -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = env::temp_dir().join(format!("yokedcache-{}-{count}", std::process::id()));
        // Left by a process that had the same id long ago, and an unlucky end.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        dir
    }

    /// Starts `command` with what it prints going to the file `out` in `dir`; `dir` is removed at
    /// the end.
    pub fn start(command: &[&str], dir: PathBuf) -> Process {
        Process::start_with(command, &[], dir)
    }

    /// Like [`Process::start`], with these variables in the server's environment.
    pub fn start_with(command: &[&str], env: &[(&str, &Path)], dir: PathBuf) -> Process {
        let program = command[0];
        if !on_path(program) {
            fs::remove_dir_all(&dir).unwrap();
            let package = if program == "memcached" { "memcached" } else { "redis-server" };
            panic!(
                "{program} is missing; install it: apt-get install {package}, or run tests/run.sh"
            );
        }
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(&dir)
            .args(command)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // So that Ctrl-C on the tests leaves the watchdog to its work.
            .process_group(0)
            .spawn()
            .unwrap();
        let words = watchdog.stdin.take();
        let answers = BufReader::new(watchdog.stdout.take().unwrap());
        let inner = Mutex::new(Inner { watchdog, words, answers, pid: None });
        let process = Process { dir, inner };
        process.start_again();
        process
    }

    /// The same command in the same directory, after [`Process::kill`].
    pub fn start_again(&self) {
        let mut inner = self.lock();
        // One that died by itself is still to be buried.
        inner.say("KILL");
        let pid = inner.say("start").parse().unwrap();
        inner.pid = Some(pid);
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The server's process id; panics after [`Process::kill`].
    pub fn pid(&self) -> u32 {
        self.lock().pid.expect("the server was killed")
    }

    /// SIGKILL; returns once the server is gone.
    pub fn kill(&self) {
        let mut inner = self.lock();
        inner.say("KILL");
        inner.pid = None;
    }

    /// SIGSTOP; returns once the server stands still.
    pub fn stop(&self) {
        self.lock().say("STOP");
        wait_until("the server stops", || self.state() == Some('T'));
    }

    /// SIGCONT.
    pub fn cont(&self) {
        self.lock().say("CONT");
    }

    /// Whether there is a server, be it stopped.
    pub fn is_alive(&self) -> bool {
        self.state().is_some_and(|state| state != 'Z' && state != 'X')
    }

    /// Whether there is a server that can answer: alive and not stopped.
    pub fn is_running(&self) -> bool {
        self.is_alive() && self.state() != Some('T')
    }

    /// The kernel's letter for what the process does.
    fn state(&self) -> Option<char> {
        let pid = self.lock().pid?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // "pid (name) state …", and the name may hold anything.
        stat.rsplit_once(") ")?.1.chars().next()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Gives the watchdog a word and returns its answer.
    fn say(&mut self, word: &str) -> String {
        writeln!(self.words.as_ref().unwrap(), "{word}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut inner = self.lock();
        inner.words = None;
        let _ = inner.watchdog.wait();
    }
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
