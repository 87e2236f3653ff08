//! Memcached servers.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use super::{Process, free_port, wait_until};

/// Long enough for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The longest key there is.
const MAX_KEY: usize = 250;

/// A server on a free port of 127.0.0.1, or on a socket in its directory.
///
/// The methods that ask it something open a connection of their own each time, and show the
/// password first if there is one.
pub struct MemcachedServer {
    // Before the process, which takes its directory with it.
    access: Access,
    process: Process,
    port: u16,
    url: String,
}

/// How clients get in.
enum Access {
    Open,
    /// On its socket only.
    Unix,
    /// A user and a password, as the value of a `set` that comes first.
    Plain(String),
    /// The binary protocol only, after a SASL exchange with this message.
    Sasl {
        message: Vec<u8>,
        _checker: PasswordChecker,
    },
}

impl MemcachedServer {
    /// Starts a server with these flags besides.
    pub fn start(args: &[&str]) -> MemcachedServer {
        MemcachedServer::launch(args, |_| Access::Open)
    }

    /// Listens on its unix socket only.
    pub fn unix() -> MemcachedServer {
        MemcachedServer::launch(&[], |_| Access::Unix)
    }

    /// Lets in `user` alone, who says so in the text protocol.
    pub fn plain_auth(user: &str, password: &str) -> MemcachedServer {
        MemcachedServer::launch(&[], |dir| {
            fs::write(dir.join("users"), format!("{user}:{password}\n")).unwrap();
            Access::Plain(format!("{user} {password}"))
        })
    }

    /// Lets in `user` alone, who says so by SASL; speaks the binary protocol only.
    pub fn sasl(user: &str, password: &str) -> MemcachedServer {
        MemcachedServer::launch(&[], |dir| {
            let checker = PasswordChecker::start(dir, user, password);
            let conf = format!(
                "mech_list: plain\npwcheck_method: saslauthd\nsaslauthd_path: {}\n",
                checker.path.display()
            );
            fs::write(dir.join("memcached.conf"), conf).unwrap();
            let message = format!("\0{user}\0{password}").into_bytes();
            Access::Sasl { message, _checker: checker }
        })
    }

    fn launch(args: &[&str], access: impl Fn(&Path) -> Access) -> MemcachedServer {
        // Until nobody took the port between the look and the start.
        loop {
            let dir = Process::new_dir();
            let port = free_port();
            let access = access(&dir);
            let (port_word, socket, users) = (port.to_string(), socket(&dir), dir.join("users"));
            // Run by root, it would not start without a user.
            let mut command = vec!["memcached", "-u", "root"];
            let tcp = ["-l", "127.0.0.1", "-p", &port_word];
            let mut url = format!("memcached://127.0.0.1:{port}");
            match &access {
                Access::Open => command.extend(tcp),
                Access::Unix => {
                    command.extend(["-s", socket.to_str().unwrap()]);
                    url = format!("memcached+unix://{}", socket.display());
                }
                Access::Plain(words) => {
                    command.extend(tcp);
                    command.extend(["-Y", users.to_str().unwrap()]);
                    url = with_login(&words.replacen(' ', ":", 1), port);
                }
                Access::Sasl { message, .. } => {
                    command.extend(tcp);
                    command.push("-S");
                    let words = str::from_utf8(&message[1..]).unwrap();
                    url = with_login(&words.replacen('\0', ":", 1), port);
                }
            }
            command.extend(args);
            let (ports, conf) = (dir.join("ports"), dir.clone());
            let env = [("MEMCACHED_PORT_FILENAME", &*ports), ("SASL_CONF_PATH", &*conf)];
            let process = Process::start_with(&command, &env, dir);
            let server = MemcachedServer { access, process, port, url };
            if server.wait_ready() {
                return server;
            }
        }
    }

    /// Waits until the server answers; false if its port is taken. It says first in a file that it
    /// has its port, because a question could be answered by a stranger.
    fn wait_ready(&self) -> bool {
        let mut taken = false;
        wait_until("the server is ready", || {
            let alive = self.process.is_alive();
            let listens = matches!(self.access, Access::Unix) || self.dir().join("ports").exists();
            if alive && listens {
                return true;
            }
            if !alive {
                let out = self.file("out");
                taken = out.lines().rev().take(5).any(|line| line.contains("already in use"));
                assert!(taken, "the server died: {out}");
            }
            taken
        });
        if !taken {
            wait_until("version is answered", || {
                assert!(self.process.is_alive(), "the server died: {}", self.file("out"));
                self.try_version().is_ok()
            });
        }
        !taken
    }

    fn try_version(&self) -> io::Result<()> {
        let mut connection = self.try_connect()?;
        match self.access {
            Access::Sasl { .. } => connection.binary(VERSION, &[], &[], &[]).map(drop),
            _ => match connection.ask(b"version\r\n")? {
                reply if reply.starts_with(b"VERSION ") => Ok(()),
                reply => Err(io::Error::other(String::from_utf8_lossy(&reply))),
            },
        }
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

    /// Where [`MemcachedServer::unix`] listens.
    pub fn socket(&self) -> PathBuf {
        socket(self.dir())
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

    pub fn kill(&self) {
        self.process.kill();
    }

    pub fn stop(&self) {
        self.process.stop();
    }

    pub fn cont(&self) {
        self.process.cont();
    }

    /// Starts the server again on its port, after [`MemcachedServer::kill`]; it is empty then.
    pub fn start_again(&self) {
        // Clients have the old port, so if someone sits on it, wait.
        loop {
            let _ = fs::remove_file(self.dir().join("ports"));
            let _ = fs::remove_file(self.dir().join("out"));
            self.process.start_again();
            if self.wait_ready() {
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
    fn try_connect(&self) -> io::Result<Connection> {
        let mut connection = match self.access {
            Access::Unix => Connection::unix(&self.socket())?,
            _ => Connection::tcp(&self.addr())?,
        };
        match &self.access {
            Access::Open | Access::Unix => {}
            Access::Plain(words) => {
                let request = format!("set auth 0 0 {}\r\n{words}\r\n", words.len());
                let reply = connection.ask(request.as_bytes())?;
                assert_eq!(reply, b"STORED\r\n", "{}", String::from_utf8_lossy(&reply));
            }
            Access::Sasl { message, .. } => {
                let (status, _) = connection.binary(SASL_AUTH, &[], b"PLAIN", message)?;
                assert_eq!(status, 0);
            }
        }
        Ok(connection)
    }

    #[track_caller]
    fn connect(&self) -> Connection {
        self.try_connect().unwrap()
    }

    /// Sends a line of the text protocol, or a line and its data, and returns the whole answer,
    /// with its line ends.
    #[track_caller]
    pub fn command(&self, line: &str) -> String {
        let reply = self.ask(format!("{line}\r\n").as_bytes());
        String::from_utf8_lossy(&reply).into_owned()
    }

    #[track_caller]
    fn ask(&self, request: &[u8]) -> Vec<u8> {
        let sasl = matches!(self.access, Access::Sasl { .. });
        assert!(!sasl, "this server does not speak the text protocol");
        self.connect().ask(request).unwrap()
    }

    /// The general statistics (`""`) or some others (`"settings"`, `"items"`), by name.
    #[track_caller]
    pub fn stats(&self, which: &str) -> BTreeMap<String, String> {
        if let Access::Sasl { .. } = self.access {
            return self.connect().binary_stats(which).unwrap();
        }
        let reply = self.command(format!("stats {which}").trim_end());
        let lines = reply.lines().filter_map(|line| line.strip_prefix("STAT "));
        let pairs = lines.map(|line| line.split_once(' ').unwrap_or((line, "")));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// All bytes that are stored under `key`.
    #[track_caller]
    pub fn get_raw(&self, key: &[u8]) -> Option<Vec<u8>> {
        if let Access::Sasl { .. } = self.access {
            let (status, value) = self.connect().binary(GET, &[], key, &[]).unwrap();
            return (status == 0).then_some(value);
        }
        let reply = self.ask(format!("mg {} v b\r\n", base64(key)).as_bytes());
        if reply == b"EN\r\n" {
            return None;
        }
        let text = String::from_utf8_lossy(&reply);
        assert!(reply.starts_with(b"VA "), "{text}");
        let start = reply.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        Some(reply[start..reply.len() - 2].to_vec())
    }

    /// Stores `value` under `key`; `exptime` as the protocol has it: 0 is never, below zero is at
    /// once, up to thirty days is from now on, beyond is a Unix time.
    #[track_caller]
    pub fn set_raw(&self, key: &[u8], value: &[u8], flags: u32, exptime: i64) {
        if let Access::Sasl { .. } = self.access {
            // No number is below zero here; this is a time in 1970.
            let exptime = u32::try_from(exptime).unwrap_or(30 * 24 * 60 * 60 + 1);
            let extras = [flags.to_be_bytes(), exptime.to_be_bytes()].concat();
            let (status, _) = self.connect().binary(SET, &extras, key, value).unwrap();
            assert_eq!(status, 0);
            return;
        }
        // The server remembers how a key was written, and gives it back so.
        let (key, mark) = match str::from_utf8(key) {
            Ok(text) if is_plain(key) => (text.to_owned(), ""),
            _ => (base64(key), " b"),
        };
        let line = format!("ms {key} {} F{flags} T{exptime}{mark}\r\n", value.len());
        let reply = self.ask(&[line.as_bytes(), value, b"\r\n"].concat());
        assert!(reply.starts_with(b"HD"), "{}", String::from_utf8_lossy(&reply));
    }

    /// All keys, sorted.
    #[track_caller]
    pub fn keys(&self) -> Vec<String> {
        let mut dump = String::new();
        // It lists them for one at a time, and its own crawler is one.
        wait_until("the server lists its keys", || {
            dump = self.command("lru_crawler metadump all");
            !dump.starts_with("BUSY")
        });
        assert!(dump.ends_with("END\r\n"), "{dump}");
        let keys = dump.lines().filter_map(|line| line.strip_prefix("key="));
        let mut keys: Vec<_> =
            keys.map(|line| percent_decoded(line.split(' ').next().unwrap())).collect();
        keys.sort();
        keys
    }
}

fn with_login(login: &str, port: u16) -> String {
    format!("memcached://{login}@127.0.0.1:{port}")
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("memcached.sock")
}

/// Some servers that share their keys.
pub struct MemcachedFleet {
    pub servers: Vec<MemcachedServer>,
}

impl MemcachedFleet {
    pub fn start(n: usize) -> MemcachedFleet {
        MemcachedFleet { servers: (0..n).map(|_| MemcachedServer::start(&[])).collect() }
    }

    /// With these weights; servers beyond the last have none.
    pub fn url(&self, weights: &[u32]) -> String {
        let hosts = self.servers.iter().enumerate().map(|(i, server)| match weights.get(i) {
            Some(weight) => format!("{};weight={weight}", server.addr()),
            None => server.addr(),
        });
        format!("memcached://{}", hosts.collect::<Vec<_>>().join(","))
    }
}

// Of the binary protocol.
const GET: u8 = 0x00;
const SET: u8 = 0x01;
const VERSION: u8 = 0x0b;
const STAT: u8 = 0x10;
const SASL_AUTH: u8 = 0x21;

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

struct Connection(BufReader<Box<dyn Stream>>);

impl Connection {
    fn tcp(addr: &str) -> io::Result<Connection> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Connection(BufReader::new(Box::new(stream))))
    }

    fn unix(path: &Path) -> io::Result<Connection> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Connection(BufReader::new(Box::new(stream))))
    }

    /// Sends a request of the text protocol and reads its one answer.
    fn ask(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        self.0.get_mut().write_all(request)?;
        let mut reply = Vec::new();
        loop {
            let start = reply.len();
            self.0.read_until(b'\n', &mut reply)?;
            if !reply.ends_with(b"\n") {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = String::from_utf8_lossy(&reply[start..]).into_owned();
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            // Where the length of the data stands, if there is some, and whether more may follow.
            let (len, more) = match words[..] {
                ["VA", len, ..] => (Some(len), false),
                ["VALUE", _, _, len, ..] => (Some(len), true),
                ["STAT" | "ITEM", ..] => (None, true),
                [word, ..] if word.starts_with("key=") => (None, true),
                _ => (None, false),
            };
            if let Some(len) = len {
                let len = len.parse::<usize>().map_err(io::Error::other)?;
                let start = reply.len();
                reply.resize(start + len + 2, 0);
                self.0.read_exact(&mut reply[start..])?;
            }
            if !more {
                return Ok(reply);
            }
        }
    }

    /// Sends a request of the binary protocol; its answer's status, and the value there.
    fn binary(
        &mut self,
        code: u8,
        extras: &[u8],
        key: &[u8],
        value: &[u8],
    ) -> io::Result<(u16, Vec<u8>)> {
        let len = extras.len() + key.len() + value.len();
        let mut request = vec![0x80, code];
        request.extend((key.len() as u16).to_be_bytes());
        request.extend([extras.len() as u8, 0, 0, 0]);
        request.extend((len as u32).to_be_bytes());
        request.extend([0; 12]);
        self.0.get_mut().write_all(&[&request, extras, key, value].concat())?;
        let (status, _, value) = self.read_binary()?;
        Ok((status, value))
    }

    /// One more answer: its status, key and value.
    fn read_binary(&mut self) -> io::Result<(u16, Vec<u8>, Vec<u8>)> {
        let mut head = [0; 24];
        self.0.read_exact(&mut head)?;
        let key_len = u16::from_be_bytes([head[2], head[3]]);
        let extras_len = head[4];
        let status = u16::from_be_bytes([head[6], head[7]]);
        let len = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        let mut body = vec![0; len as usize];
        self.0.read_exact(&mut body)?;
        let mut key = body.split_off(extras_len.into());
        let value = key.split_off(key_len.into());
        Ok((status, key, value))
    }

    fn binary_stats(&mut self, which: &str) -> io::Result<BTreeMap<String, String>> {
        let mut request = vec![0x80, STAT, 0, which.len() as u8, 0, 0, 0, 0, 0, 0, 0];
        request.push(which.len() as u8);
        request.extend([0; 12]);
        request.extend(which.as_bytes());
        self.0.get_mut().write_all(&request)?;
        let mut stats = BTreeMap::new();
        loop {
            let (status, name, value) = self.read_binary()?;
            assert_eq!(status, 0);
            if name.is_empty() {
                return Ok(stats);
            }
            let text = |bytes| String::from_utf8(bytes).map_err(io::Error::other);
            stats.insert(text(name)?, text(value)?);
        }
    }
}

/// The daemon SASL asks about passwords, as far as this server needs it: the real one would know
/// the machine's users only, and the other store of passwords takes a package of its own.
struct PasswordChecker {
    path: PathBuf,
    closed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl PasswordChecker {
    fn start(dir: &Path, user: &str, password: &str) -> PasswordChecker {
        let path = dir.join("mux");
        let listener = UnixListener::bind(&path).unwrap();
        let login = [user.to_owned(), password.to_owned()];
        let closed = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let closed = closed.clone();
            move || {
                for stream in listener.incoming() {
                    if closed.load(Ordering::SeqCst) {
                        return;
                    }
                    // One that goes away meanwhile needs no answer.
                    let _ = stream.and_then(|stream| check(stream, &login));
                }
            }
        });
        PasswordChecker { path, closed, thread: Some(thread) }
    }
}

impl Drop for PasswordChecker {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        // Wakes the thread; if the directory is gone already, it is left to the end of the test.
        if UnixStream::connect(&self.path).is_ok() {
            let _ = self.thread.take().unwrap().join();
        }
    }
}

/// Answers one question: user, password, service and realm, each after its length.
fn check(mut stream: UnixStream, login: &[String; 2]) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut words = Vec::new();
    for _ in 0..4 {
        let mut len = [0; 2];
        stream.read_exact(&mut len)?;
        let mut word = vec![0; u16::from_be_bytes(len).into()];
        stream.read_exact(&mut word)?;
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
    let answer = if words[..2] == login[..] { b"\x00\x02OK" } else { b"\x00\x02NO" };
    stream.write_all(answer)
}

/// Whether the text protocol takes the key as it is.
fn is_plain(key: &[u8]) -> bool {
    key.len() <= MAX_KEY && key.iter().all(|&byte| byte > b' ' && byte != 0x7f)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut three = [0; 4];
        three[1..=chunk.len()].copy_from_slice(chunk);
        let number = u32::from_be_bytes(three);
        for i in 0..4 {
            let digit = DIGITS[(number >> (18 - 6 * i)) as usize & 63];
            text.push(if i <= chunk.len() { digit.into() } else { '=' });
        }
    }
    text
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        bytes.push(*first);
        if let (b'%', [a, b, tail @ ..]) = (*first, tail) {
            let digits = [*a, *b];
            let digits = str::from_utf8(&digits).unwrap();
            *bytes.last_mut().unwrap() = u8::from_str_radix(digits, 16).unwrap();
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
