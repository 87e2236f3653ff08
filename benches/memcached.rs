//! Throughput of the Memcached backend beside `memcache::exp` and a bare loop over a socket: one
//! run, one server, one loop.
//!
//! `cargo bench --bench memcached --features memcached` starts a `memcached` of its own on a free
//! port and prints thousands of operations a second, all threads together; then, where `strace` may
//! look on, the system calls of a get. `YC_BENCH_QUICK=1` is a short form that shows only that it
//! runs; so is every call without `--bench`, such as `cargo test --benches`. Words in the command
//! line name rows: only those are run.
//!
//! What is the same for all: the server, at most a connection for each thread, keys of the same
//! length in the same order, and the bytes of the values, around which ours puts its envelope. All
//! speak the meta protocol. `memcache::exp` and ours bound each call by a deadline and know a dead
//! connection; the bare loop does not. They take turns, 0.3 seconds each.

mod ours;
mod rounds;
#[path = "../tests/support/mod.rs"]
mod support;

use std::convert::Infallible;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;
use std::{env, fs};

use memcache::exp::{Memcache, Ttl};
use ours::{LARGE_KEYS, MANY, Ours, key, numbers, raw_key};
use rounds::{CONNECTIONS, Contender, KEYS, Plan, Row, median, print_header, ratio, row};
use support::MemcachedServer;
use yokedcache::{Cache, Memcached};

/// Somebody who knows the protocol, and that nothing will ever go wrong.
struct Raw {
    port: u16,
    idle: Mutex<Vec<Line>>,
}

struct Line {
    stream: BufReader<TcpStream>,
    out: Vec<u8>,
    head: Vec<u8>,
}

impl Raw {
    fn new(port: u16) -> Self {
        Self { port, idle: Mutex::default() }
    }

    /// Writes what is to be asked, and hears the answers.
    fn talk<R>(&self, ask: impl FnOnce(&mut Vec<u8>), hear: impl FnOnce(&mut Line) -> R) -> R {
        let idle = self.idle.lock().expect("no panic").pop();
        let mut line = idle.unwrap_or_else(|| Line::new(self.port));
        line.out.clear();
        ask(&mut line.out);
        line.stream.get_mut().write_all(&line.out).expect("a connection");
        let heard = hear(&mut line);
        self.idle.lock().expect("no panic").push(line);
        heard
    }

    fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.talk(|out| write_get(out, key), Line::value)
    }

    fn set(&self, key: &str, value: &[u8]) {
        let ask = |out: &mut Vec<u8>| {
            write!(out, "ms {key} {}\r\n", value.len()).expect("room");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        };
        assert!(self.talk(ask, Line::head).starts_with(b"HD"));
    }

    fn delete(&self, key: &str) {
        let ask = |out: &mut Vec<u8>| write!(out, "md {key}\r\n").expect("room");
        assert!(self.talk(ask, Line::head).starts_with(b"HD"));
    }

    fn increment(&self, key: &str) -> Vec<u8> {
        let ask = |out: &mut Vec<u8>| write!(out, "ma {key} v D1 J1 N0\r\n").expect("room");
        self.talk(ask, Line::value).expect("a number")
    }
}

fn write_get(out: &mut Vec<u8>, key: &str) {
    write!(out, "mg {key} v\r\n").expect("room");
}

impl Line {
    fn new(port: u16) -> Self {
        let tcp = TcpStream::connect(("127.0.0.1", port)).expect("a server");
        tcp.set_nodelay(true).expect("a socket");
        let stream = BufReader::with_capacity(16 << 10, tcp);
        Self { stream, out: Vec::new(), head: Vec::new() }
    }

    fn read_head(&mut self) {
        self.head.clear();
        self.stream.read_until(b'\n', &mut self.head).expect("an answer");
    }

    fn head(&mut self) -> Vec<u8> {
        self.read_head();
        self.head.clone()
    }

    fn value(&mut self) -> Option<Vec<u8>> {
        self.read_head();
        let length = self.head.strip_prefix(b"VA ")?;
        let length = std::str::from_utf8(length).expect("text").trim_end();
        let length: usize = length.parse().expect("a length and no flags");
        let mut value = vec![0; length + 2];
        self.stream.read_exact(&mut value).expect("a value");
        value.truncate(length);
        Some(value)
    }
}

const ROWS: [Row<Arena>; 23] = [
    row("get_bytes", 1, Arena::gets),
    row("get_bytes", CONNECTIONS, Arena::gets),
    row("get, JSON (1)", 1, Arena::text_gets),
    row("get, JSON (1)", CONNECTIONS, Arena::text_gets),
    row("get_bytes, miss", 1, Arena::misses),
    row("get_bytes, miss", CONNECTIONS, Arena::misses),
    row("get_bytes, one tag (2)", 1, Arena::tagged_gets),
    row("get_bytes, 100 KB", 1, Arena::large_gets),
    row("get_bytes, 100 KB", CONNECTIONS, Arena::large_gets),
    row("get_or_load, hit (1)", 1, Arena::loads),
    row("get_or_load, hit (1)", CONNECTIONS, Arena::loads),
    Row { operations: MANY, ..row("get_many, 100 keys (1)", 1, Arena::many_gets) },
    Row { operations: MANY, ..row("get_many, 100 keys (1)", CONNECTIONS, Arena::many_gets) },
    row("set_bytes", 1, Arena::sets),
    row("set_bytes", CONNECTIONS, Arena::sets),
    row("set_bytes, one tag (2)", 1, Arena::tagged_sets),
    row("set_bytes, one tag (2)", CONNECTIONS, Arena::tagged_sets),
    row("increment", 1, Arena::increments),
    row("increment", CONNECTIONS, Arena::increments),
    row("delete", 1, Arena::deletes),
    row("delete", CONNECTIONS, Arena::deletes),
    row("90 % get, 10 % set", 1, Arena::mixtures),
    // The last: it is what one number is wanted of.
    row("90 % get, 10 % set", CONNECTIONS, Arena::mixtures),
];

/// What all rows use.
struct Arena {
    server: MemcachedServer,
    ours: Ours,
    exp: Memcache,
    raw: Raw,
}

fn open(url: &str) -> Cache {
    let memcached = Memcached::builder(url).pool_size(CONNECTIONS as u32);
    let cache = memcached.build().and_then(|it| Cache::builder(it).key_prefix("ours").build());
    cache.expect("valid settings")
}

fn open_exp(port: u16) -> Memcache {
    let exp = Memcache::builder().max_idle(CONNECTIONS).connect([format!("127.0.0.1:{port}")]);
    exp.expect("a valid address")
}

impl Arena {
    fn new() -> Self {
        // Room for all, so that nothing is evicted.
        let server = MemcachedServer::start(&["-m", "1024"]);
        Self {
            ours: Ours::new(open(server.url())),
            exp: open_exp(server.port()),
            raw: Raw::new(server.port()),
            server,
        }
    }

    fn fill(&self) {
        self.ours.fill();
        self.fill_theirs(&self.ours.raw_keys, &self.ours.value);
    }

    fn fill_theirs(&self, keys: &[String], value: &[u8]) {
        self.exp.set_many(keys.iter().map(|key| (key, value)), Ttl::NEVER).expect("valid keys");
    }

    /// The bytes of what ours decode.
    fn fill_theirs_with_text(&self) {
        self.fill_theirs(&self.ours.raw_keys, format!("{:?}", self.ours.text).as_bytes());
    }

    /// Their keys, with an end of their own.
    fn raw_keys(&self, end: &str) -> Vec<String> {
        self.ours.raw_keys.iter().map(|key| format!("{key}:{end}")).collect()
    }

    fn exp_get_of(&self, key: &str) {
        let value = self.exp.get::<Vec<u8>>(key).expect("an answer");
        black_box(value.expect("every key is there"));
    }

    fn raw_get_of(&self, key: &str) {
        black_box(self.raw.get(key).expect("every key is there"));
    }

    fn exp_set_of(&self, key: &str) {
        self.exp.set(key, &*self.ours.value, Ttl::NEVER).expect("a valid key");
    }

    /// A get by each of those who are compared with ours.
    fn and_gets<'a>(&'a self, ours: Contender<'a>) -> Vec<Contender<'a>> {
        let exp = Contender::new("exp", |turn| self.exp_get_of(self.ours.raw_key(turn)));
        let raw = Contender::new("raw", |turn| self.raw_get_of(self.ours.raw_key(turn)));
        vec![ours, exp, raw]
    }

    fn and_sets<'a>(&'a self, ours: Contender<'a>) -> Vec<Contender<'a>> {
        let exp = Contender::new("exp", |turn| self.exp_set_of(self.ours.raw_key(turn)));
        let raw = Contender::new("raw", |turn| {
            self.raw.set(self.ours.raw_key(turn), &self.ours.value);
        });
        vec![ours, exp, raw]
    }

    fn gets(&self) -> Vec<Contender<'_>> {
        let meta = Contender::new("exp's MetaClient", |turn| {
            let value = self.exp.meta().get(self.ours.raw_key(turn)).send().expect("an answer");
            assert!(black_box(value).value.is_some(), "every key is there");
        });
        let mut all = self.and_gets(self.ours.gets());
        all.push(meta);
        all
    }

    fn misses(&self) -> Vec<Contender<'_>> {
        let (exp_keys, raw_keys) = (self.raw_keys("none"), self.raw_keys("none"));
        let exp = Contender::new("exp", move |turn| {
            let value = self.exp.get::<Vec<u8>>(&exp_keys[turn % KEYS]).expect("an answer");
            assert!(value.is_none());
        });
        let raw = Contender::new("raw", move |turn| {
            assert!(self.raw.get(&raw_keys[turn % KEYS]).is_none());
        });
        vec![self.ours.misses(), exp, raw]
    }

    fn large_gets(&self) -> Vec<Contender<'_>> {
        let (exp_keys, raw_keys) = (self.raw_keys("large"), self.raw_keys("large"));
        self.fill_theirs(&exp_keys[..LARGE_KEYS], &self.ours.large);
        let exp = Contender::new("exp", move |turn| self.exp_get_of(&exp_keys[turn % LARGE_KEYS]));
        let raw = Contender::new("raw", move |turn| self.raw_get_of(&raw_keys[turn % LARGE_KEYS]));
        vec![self.ours.large_gets(), exp, raw]
    }

    fn tagged_gets(&self) -> Vec<Contender<'_>> {
        self.and_gets(self.ours.tagged_gets())
    }

    fn text_gets(&self) -> Vec<Contender<'_>> {
        self.fill_theirs_with_text();
        self.and_gets(self.ours.text_gets())
    }

    fn loads(&self) -> Vec<Contender<'_>> {
        self.fill_theirs_with_text();
        let exp = Contender::new("exp's fetch", move |turn| {
            let missing = || -> Result<Vec<u8>, Infallible> { unreachable!("every key is there") };
            let value = self.exp.fetch(self.ours.raw_key(turn), Ttl::NEVER, missing);
            black_box(value.expect("an answer"));
        });
        let mut all = self.and_gets(self.ours.loads());
        all[1] = exp;
        all
    }

    fn many_gets(&self) -> Vec<Contender<'_>> {
        self.fill_theirs_with_text();
        let exp = Contender::new("exp", move |turn| {
            let keys = numbers(turn).map(|number| self.ours.raw_key(number));
            let values = self.exp.get_many::<Vec<u8>, _>(keys).expect("answers");
            assert!(black_box(values).len() == MANY);
        });
        let raw = Contender::new("raw", move |turn| {
            let ask = |out: &mut Vec<u8>| {
                numbers(turn).for_each(|number| write_get(out, self.ours.raw_key(number)));
            };
            let hear = |line: &mut Line| (0..MANY).map(|_| line.value()).collect();
            let values: Vec<Option<Vec<u8>>> = self.raw.talk(ask, hear);
            assert!(black_box(values).iter().flatten().count() == MANY);
        });
        vec![self.ours.many_gets(), exp, raw]
    }

    fn sets(&self) -> Vec<Contender<'_>> {
        self.and_sets(self.ours.sets())
    }

    fn tagged_sets(&self) -> Vec<Contender<'_>> {
        self.and_sets(self.ours.tagged_sets())
    }

    fn increments(&self) -> Vec<Contender<'_>> {
        let (exp_keys, raw_keys) = (self.raw_keys("count"), self.raw_keys("count"));
        let exp = Contender::new("exp", move |turn| {
            let sum = self.exp.incr(&exp_keys[turn % KEYS], 1, Ttl::NEVER);
            black_box(sum.expect("a number"));
        });
        let raw = Contender::new("raw", move |turn| {
            black_box(self.raw.increment(&raw_keys[turn % KEYS]));
        });
        vec![self.ours.increments(), exp, raw]
    }

    fn deletes(&self) -> Vec<Contender<'_>> {
        let exp = Contender::new("exp", |turn| {
            self.exp.delete(self.ours.raw_key(turn)).expect("an answer");
        });
        let raw = Contender::new("raw", |turn| self.raw.delete(self.ours.raw_key(turn)));
        let fill_theirs = || self.fill_theirs(&self.ours.raw_keys, &self.ours.value);
        let theirs = [exp, raw].map(|one| one.before(KEYS, fill_theirs));
        std::iter::once(self.ours.deletes()).chain(theirs).collect()
    }

    /// What a busy program does.
    fn mixtures(&self) -> Vec<Contender<'_>> {
        self.fill();
        let is_set = |turn: usize| turn % 10 == 9;
        let ours = Contender::new("ours", move |turn| match is_set(turn) {
            true => self.ours.set(turn),
            false => self.ours.get(turn),
        });
        let exp = Contender::new("exp", move |turn| match is_set(turn) {
            true => self.exp_set_of(self.ours.raw_key(turn)),
            false => self.exp_get_of(self.ours.raw_key(turn)),
        });
        let raw = Contender::new("raw", move |turn| match is_set(turn) {
            true => self.raw.set(self.ours.raw_key(turn), &self.ours.value),
            false => self.raw_get_of(self.ours.raw_key(turn)),
        });
        vec![ours, exp, raw]
    }
}

/// Tells a run of this program to be looked at by `strace`: who gets, how often, and from which port.
const LOOKED_AT: &str = "YC_BENCH_GETS";

/// Gets and nothing else, on one thread.
fn be_looked_at(what: &str) {
    let words: Vec<_> = what.split(' ').collect();
    let [who, times, port] = words[..] else { panic!("{LOOKED_AT} is \"WHO TIMES PORT\"") };
    let (times, port) = (times.parse().expect("a number"), port.parse().expect("a port"));
    let (ours, theirs) = (key(1), raw_key(1));
    let cache = open(&format!("memcached://127.0.0.1:{port}"));
    let (exp, raw) = (open_exp(port), Raw::new(port));
    for _ in 0..times {
        let is_there = match who {
            "exp" => exp.get::<Vec<u8>>(&theirs).expect("an answer").is_some(),
            "raw" => raw.get(&theirs).is_some(),
            _ => cache.get_bytes(&ours).expect("an answer").is_some(),
        };
        assert!(is_there, "the key is there");
    }
}

/// System calls of a get: of many gets, less those of few. `None` where `strace` is not, or may not.
fn system_calls(arena: &Arena, who: &str) -> Option<f64> {
    const FEW: u32 = 1000;
    const MANY: u32 = 5000;
    let out = arena.server.dir().join("strace");
    let count = |times: u32| -> Option<f64> {
        let what = format!("{who} {times} {}", arena.server.port());
        let program = env::current_exe().ok()?;
        let mut strace = Command::new("strace");
        strace.args(["-f", "-c", "-o"]).arg(&out).arg(program).env(LOOKED_AT, what);
        strace.output().ok().filter(|output| output.status.success())?;
        let table = fs::read_to_string(&out).ok()?;
        let total = table.lines().find(|line| line.ends_with(" total"))?;
        // Share, seconds and time of each come before.
        total.split_whitespace().nth(3)?.parse().ok()
    };
    Some((count(MANY)? - count(FEW)?) / f64::from(MANY - FEW))
}

fn print_system_calls(arena: &Arena) {
    let calls = ["ours", "exp", "raw"].map(|who| system_calls(arena, who));
    let [Some(ours), Some(exp), Some(raw)] = calls else {
        return println!(
            "System calls of a get are not known: strace is missing, or may not look."
        );
    };
    println!(
        "System calls of a get: ours {ours:.2}, exp {exp:.2}, raw {raw:.2}. Aim: ours 3 at most."
    );
}

/// The last row in a sentence, against what is aimed at.
fn print_summary(rates: &[Vec<f64>]) {
    let [ours, exp, ..] = rates else { return };
    let thousands = median(ours.iter().copied()) / 1e3;
    println!(
        "{CONNECTIONS} threads, 90 % get, 10 % set: {thousands:.1} thousand a second (aim: 50), \
         {:.2} of memcache::exp (aim: 0.95).",
        ratio(ours, exp)
    );
}

fn main() {
    if let Ok(what) = env::var(LOOKED_AT) {
        return be_looked_at(&what);
    }
    let plan = Plan::new(Duration::from_millis(300));
    let arena = Arena::new();
    arena.fill();
    print_header();
    let last = plan.run(&arena, &ROWS);
    println!("\n(1) ours are decoded from JSON; theirs are the same bytes as they came.");
    println!("(2) theirs have no tags.\n");
    if plan.words.is_empty() {
        last.iter().for_each(|rates| print_summary(rates));
    }
    print_system_calls(&arena);
}
