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

use bytes::Bytes;
use memcache::exp::{Memcache, Ttl};
use rounds::{
    CONNECTIONS, Contender, KEYS, Plan, Row, VALUE_BYTES, median, print_header, ratio, row,
};
use support::MemcachedServer;
use yokedcache::{Cache, Memcached};

const LARGE_KEYS: usize = 100;
const LARGE_BYTES: usize = 100_000;
const TAGS: usize = 100;
/// Keys in a call that reads many.
const MANY: usize = 100;

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
    cache: Cache,
    exp: Memcache,
    raw: Raw,
    /// Without a prefix: the cache's own is as long as that of `raw_keys`.
    keys: Vec<String>,
    raw_keys: Vec<String>,
    tags: Vec<String>,
    value: Bytes,
    large: Bytes,
    text: String,
}

fn key(number: usize) -> String {
    format!("user:profile:{number:08}")
}

fn raw_key(number: usize) -> String {
    format!("them:{}", key(number))
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
            cache: open(server.url()),
            exp: open_exp(server.port()),
            raw: Raw::new(server.port()),
            keys: (0..KEYS).map(key).collect(),
            raw_keys: (0..KEYS).map(raw_key).collect(),
            tags: (0..TAGS).map(|number| format!("team:{number}")).collect(),
            value: vec![b'v'; VALUE_BYTES].into(),
            large: vec![b'v'; LARGE_BYTES].into(),
            text: "v".repeat(VALUE_BYTES),
            server,
        }
    }

    fn key(&self, turn: usize) -> &str {
        &self.keys[turn % KEYS]
    }

    fn raw_key(&self, turn: usize) -> &str {
        &self.raw_keys[turn % KEYS]
    }

    fn fill(&self) {
        for key in &self.keys {
            assert!(self.cache.set_bytes(key, self.value.clone()).expect("a valid key"));
        }
        self.fill_theirs(&self.raw_keys, &self.value);
    }

    fn fill_theirs(&self, keys: &[String], value: &[u8]) {
        self.exp.set_many(keys.iter().map(|key| (key, value)), Ttl::NEVER).expect("valid keys");
    }

    fn get(&self, cache: &Cache, turn: usize) {
        let value = cache.get_bytes(self.key(turn)).expect("an answer");
        black_box(value.expect("every key is there"));
    }

    fn exp_get_of(&self, key: &str) {
        let value = self.exp.get::<Vec<u8>>(key).expect("an answer");
        black_box(value.expect("every key is there"));
    }

    fn raw_get_of(&self, key: &str) {
        black_box(self.raw.get(key).expect("every key is there"));
    }

    fn exp_get(&self) -> Contender<'_> {
        Contender::new("exp", |turn| self.exp_get_of(self.raw_key(turn)))
    }

    fn raw_get(&self) -> Contender<'_> {
        Contender::new("raw", |turn| self.raw_get_of(self.raw_key(turn)))
    }

    fn exp_set(&self) -> Contender<'_> {
        Contender::new("exp", |turn| {
            self.exp.set(self.raw_key(turn), &*self.value, Ttl::NEVER).expect("a valid key");
        })
    }

    fn raw_set(&self) -> Contender<'_> {
        Contender::new("raw", |turn| self.raw.set(self.raw_key(turn), &self.value))
    }

    fn gets(&self) -> Vec<Contender<'_>> {
        let ours = Contender::new("ours", |turn| self.get(&self.cache, turn));
        let meta = Contender::new("exp's MetaClient", |turn| {
            let value = self.exp.meta().get(self.raw_key(turn)).send().expect("an answer");
            assert!(black_box(value).value.is_some(), "every key is there");
        });
        vec![ours, self.exp_get(), self.raw_get(), meta]
    }

    fn misses(&self) -> Vec<Contender<'_>> {
        let cache = self.cache.namespace("none");
        let raw_keys: Vec<_> = self.raw_keys.iter().map(|key| format!("{key}:none")).collect();
        let other_keys = raw_keys.clone();
        let ours = Contender::new("ours", move |turn| {
            assert!(cache.get_bytes(self.key(turn)).expect("an answer").is_none());
        });
        let exp = Contender::new("exp", move |turn| {
            let value = self.exp.get::<Vec<u8>>(&raw_keys[turn % KEYS]).expect("an answer");
            assert!(value.is_none());
        });
        let raw = Contender::new("raw", move |turn| {
            assert!(self.raw.get(&other_keys[turn % KEYS]).is_none());
        });
        vec![ours, exp, raw]
    }

    fn large_gets(&self) -> Vec<Contender<'_>> {
        let cache = self.cache.namespace("large");
        let raw_keys: Vec<_> =
            self.raw_keys[..LARGE_KEYS].iter().map(|key| format!("{key}:large")).collect();
        for key in &self.keys[..LARGE_KEYS] {
            assert!(cache.set_bytes(key, self.large.clone()).expect("a valid key"));
        }
        self.fill_theirs(&raw_keys, &self.large);
        let other_keys = raw_keys.clone();
        let ours = Contender::new("ours", move |turn| self.get(&cache, turn % LARGE_KEYS));
        let exp = Contender::new("exp", move |turn| self.exp_get_of(&raw_keys[turn % LARGE_KEYS]));
        let raw =
            Contender::new("raw", move |turn| self.raw_get_of(&other_keys[turn % LARGE_KEYS]));
        vec![ours, exp, raw]
    }

    fn tagged_gets(&self) -> Vec<Contender<'_>> {
        let cache = self.cache.namespace("tagged");
        (0..KEYS).for_each(|turn| self.set_tagged(&cache, turn));
        let ours = Contender::new("ours", move |turn| self.get(&cache, turn));
        vec![ours, self.exp_get(), self.raw_get()]
    }

    /// A cache full of text, for calls that decode.
    fn texts(&self) -> Cache {
        let cache = self.cache.namespace("text");
        let texts = self.keys.iter().map(|key| (key, &self.text));
        assert!(cache.set_many(texts).expect("valid keys").is_empty());
        self.fill_theirs(&self.raw_keys, format!("{:?}", self.text).as_bytes());
        cache
    }

    fn text_gets(&self) -> Vec<Contender<'_>> {
        let cache = self.texts();
        let ours = Contender::new("ours", move |turn| {
            let text = cache.get::<String>(self.key(turn)).expect("an answer");
            black_box(text.expect("every key is there"));
        });
        vec![ours, self.exp_get(), self.raw_get()]
    }

    fn loads(&self) -> Vec<Contender<'_>> {
        let cache = self.texts();
        let ours = Contender::new("ours", move |turn| {
            let missing = || -> Result<String, Infallible> { unreachable!("every key is there") };
            black_box(cache.get_or_load(self.key(turn), missing))
                .expect("an answer")
                .expect("text");
        });
        let exp = Contender::new("exp's fetch", move |turn| {
            let missing = || -> Result<Vec<u8>, Infallible> { unreachable!("every key is there") };
            let value = self.exp.fetch(self.raw_key(turn), Ttl::NEVER, missing);
            black_box(value.expect("an answer"));
        });
        vec![ours, exp, self.raw_get()]
    }

    fn many_gets(&self) -> Vec<Contender<'_>> {
        let cache = self.texts();
        let some = |turn: usize| (0..MANY).map(move |number| turn * MANY + number);
        let ours = Contender::new("ours", move |turn| {
            let keys = some(turn).map(|number| self.key(number));
            let texts = cache.get_many::<String>(keys).expect("answers");
            assert!(black_box(texts).iter().flatten().count() == MANY);
        });
        let exp = Contender::new("exp", move |turn| {
            let keys = some(turn).map(|number| self.raw_key(number));
            let values = self.exp.get_many::<Vec<u8>, _>(keys).expect("answers");
            assert!(black_box(values).len() == MANY);
        });
        let raw = Contender::new("raw", move |turn| {
            let ask = |out: &mut Vec<u8>| {
                some(turn).for_each(|number| write_get(out, self.raw_key(number)));
            };
            let hear = |line: &mut Line| (0..MANY).map(|_| line.value()).collect();
            let values: Vec<Option<Vec<u8>>> = self.raw.talk(ask, hear);
            assert!(black_box(values).iter().flatten().count() == MANY);
        });
        vec![ours, exp, raw]
    }

    fn sets(&self) -> Vec<Contender<'_>> {
        let cache = self.cache.namespace("set");
        let ours = Contender::new("ours", move |turn| {
            assert!(cache.set_bytes(self.key(turn), self.value.clone()).expect("a valid key"));
        });
        vec![ours, self.exp_set(), self.raw_set()]
    }

    fn set_tagged(&self, cache: &Cache, turn: usize) {
        let entry = cache.entry(self.key(turn)).tags([&self.tags[turn % TAGS]]);
        assert!(entry.set_bytes(self.value.clone()).expect("a valid key"));
    }

    fn tagged_sets(&self) -> Vec<Contender<'_>> {
        let cache = self.cache.namespace("tagged");
        let ours = Contender::new("ours", move |turn| self.set_tagged(&cache, turn));
        vec![ours, self.exp_set(), self.raw_set()]
    }

    fn increments(&self) -> Vec<Contender<'_>> {
        let cache = self.cache.namespace("count");
        let raw_keys: Vec<_> = self.raw_keys.iter().map(|key| format!("{key}:count")).collect();
        let other_keys = raw_keys.clone();
        let ours = Contender::new("ours", move |turn| {
            black_box(cache.increment(self.key(turn), 1).expect("a number"));
        });
        let exp = Contender::new("exp", move |turn| {
            let sum = self.exp.incr(&raw_keys[turn % KEYS], 1, Ttl::NEVER);
            black_box(sum.expect("a number"));
        });
        let raw = Contender::new("raw", move |turn| {
            black_box(self.raw.increment(&other_keys[turn % KEYS]));
        });
        vec![ours, exp, raw]
    }

    fn deletes(&self) -> Vec<Contender<'_>> {
        let cache = self.cache.namespace("gone");
        let (deleted, values) = (cache.clone(), self.keys.iter().map(|key| (key, &self.text)));
        let ours = Contender::new("ours", move |turn| {
            assert!(deleted.delete(self.key(turn)).expect("an answer"));
        });
        let exp = Contender::new("exp", |turn| {
            self.exp.delete(self.raw_key(turn)).expect("an answer");
        });
        let raw = Contender::new("raw", |turn| self.raw.delete(self.raw_key(turn)));
        let fill = move || drop(cache.set_many(values.clone()).expect("valid keys"));
        let fill_theirs = || self.fill_theirs(&self.raw_keys, &self.value);
        vec![ours.before(KEYS, fill), exp.before(KEYS, fill_theirs), raw.before(KEYS, fill_theirs)]
    }

    /// What a busy program does.
    fn mixtures(&self) -> Vec<Contender<'_>> {
        self.fill();
        let is_set = |turn: usize| turn % 10 == 9;
        let ours = Contender::new("ours", move |turn| match is_set(turn) {
            true => {
                let set = self.cache.set_bytes(self.key(turn), self.value.clone());
                assert!(set.expect("a valid key"));
            }
            false => self.get(&self.cache, turn),
        });
        let exp = Contender::new("exp", move |turn| match is_set(turn) {
            true => {
                let set = self.exp.set(self.raw_key(turn), &*self.value, Ttl::NEVER);
                set.expect("a valid key");
            }
            false => self.exp_get_of(self.raw_key(turn)),
        });
        let raw = Contender::new("raw", move |turn| match is_set(turn) {
            true => self.raw.set(self.raw_key(turn), &self.value),
            false => self.raw_get_of(self.raw_key(turn)),
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
