//! Throughput of the Redis backend beside redis-rs in an r2d2 pool: one run, one server, one loop.
//!
//! `cargo bench --bench redis --features redis` starts a `redis-server` of its own on a free port
//! and prints thousands of operations a second, all threads together. `YC_BENCH_QUICK=1` is a short
//! form that shows only that it runs; so is every call without `--bench`, such as
//! `cargo test --benches`. Words in the command line name rows: only those are run.
//!
//! What is the same for all: the server, the number of connections, keys of the same length in the
//! same order, and the bytes of the values, around which ours puts its envelope. They take turns,
//! half a second each; a figure is the median of its rounds, and a ratio the median of the ratios
//! within a round, so that a slow moment of the machine slows down both sides of it.

mod ours;
mod rounds;
#[path = "../tests/support/mod.rs"]
mod support;

use std::cell::Cell;
use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

use ours::{LARGE_KEYS, MANY, Ours, numbers};
use r2d2::ManageConnection;
use redis::{Client, Cmd, Connection, ConnectionLike, FromRedisValue, Pipeline, RedisError, cmd};
use rounds::{CONNECTIONS, Contender, KEYS, Plan, Row, VALUE_BYTES, print_header, row};
use support::RedisServer;
use yokedcache::{Cache, Redis};

/// What redis-rs does with its feature `r2d2`.
struct Manager(Client);

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = RedisError;

    fn connect(&self) -> Result<Connection, RedisError> {
        self.0.get_connection()
    }

    fn is_valid(&self, connection: &mut Connection) -> Result<(), RedisError> {
        cmd("PING").query(connection)
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        !connection.is_open()
    }
}

/// A program without a cache.
struct Raw(r2d2::Pool<Manager>);

impl Raw {
    fn new(url: &str) -> Self {
        let client = Client::open(url).expect("a valid address");
        // As fast as it gets: no PING for each connection taken.
        let pool = r2d2::Pool::builder().max_size(CONNECTIONS as u32).test_on_check_out(false);
        Self(pool.build(Manager(client)).expect("connections"))
    }

    fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        command.query(&mut *self.0.get().expect("a connection")).expect("an answer")
    }

    fn ask_all<T: FromRedisValue>(&self, commands: &Pipeline) -> T {
        commands.query(&mut *self.0.get().expect("a connection")).expect("answers")
    }

    fn get(&self, key: &str) {
        let value: Option<Vec<u8>> = self.ask(cmd("GET").arg(key));
        black_box(value.expect("every key is there"));
    }

    fn set(&self, key: &str, value: &[u8]) {
        self.ask::<()>(cmd("SET").arg(key).arg(value));
    }

    fn set_all<'k>(&self, keys: impl IntoIterator<Item = &'k String>, value: &[u8]) {
        let mut sets = Pipeline::new();
        for key in keys {
            sets.cmd("SET").arg(key).arg(value).ignore();
        }
        self.ask_all::<()>(&sets);
    }
}

const ROWS: [Row<Arena>; 12] = [
    row("get", 1, Arena::gets),
    row("get", CONNECTIONS, Arena::gets),
    row("get, one tag", 1, Arena::tagged_gets),
    row("get, 100 KB", 1, Arena::large_gets),
    row("get_or_load, hit (1)", 1, Arena::loads),
    Row { operations: MANY, ..row("get_many, 100 keys (1)", 1, Arena::many_gets) },
    row("set", 1, Arena::sets),
    row("set", CONNECTIONS, Arena::sets),
    row("set, one tag", 1, Arena::tagged_sets),
    row("increment", 1, Arena::increments),
    row("increment", CONNECTIONS, Arena::increments),
    // The last: it leaves nothing.
    row("delete", 1, Arena::deletes),
];

/// What all rows use.
struct Arena {
    server: RedisServer,
    ours: Ours,
    raw: Raw,
}

impl Arena {
    fn new() -> Self {
        let server = RedisServer::start(&[]);
        let redis = Redis::builder(server.url()).pool_size(CONNECTIONS as u32);
        let cache =
            redis.build().and_then(|redis| Cache::builder(redis).key_prefix("ours").build());
        Self {
            ours: Ours::new(cache.expect("valid settings")),
            raw: Raw::new(server.url()),
            server,
        }
    }

    fn fill(&self) {
        self.ours.fill();
        self.fill_theirs(&self.ours.value);
        let benchmark_keys: Vec<_> = (0..KEYS).map(|number| format!("key:{number:012}")).collect();
        self.raw.set_all(&benchmark_keys, &self.ours.value);
    }

    fn fill_theirs(&self, value: &[u8]) {
        self.raw.set_all(&self.ours.raw_keys, value);
    }

    /// The bytes of what ours decode.
    fn fill_theirs_with_text(&self) {
        self.fill_theirs(format!("{:?}", self.ours.text).as_bytes());
    }

    /// A client that does nothing with the answers, and is told how many to get, not for how long.
    fn benchmark(&self, threads: usize, requests: usize) -> f64 {
        let (size, keys) = (VALUE_BYTES.to_string(), KEYS.to_string());
        let [port, threads, requests] =
            [usize::from(self.server.port()), threads, requests].map(|number| number.to_string());
        let output = Command::new("redis-benchmark")
            .args(["-h", "127.0.0.1", "-p", &port, "-c", &threads, "-n", &requests])
            .args(["-t", "get", "-d", &size, "-r", &keys, "--csv"])
            .output()
            .expect("redis-benchmark comes with the server");
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.strip_prefix("\"GET\",\""));
        let rate = line.and_then(|line| line.split('"').next()?.parse().ok());
        rate.unwrap_or_else(|| panic!("redis-benchmark says: {text}"))
    }

    fn raw_get(&self) -> Contender<'_> {
        Contender::new("GET", |turn| self.raw.get(self.ours.raw_key(turn)))
    }

    fn raw_set(&self) -> Contender<'_> {
        Contender::new("SET", |turn| self.raw.set(self.ours.raw_key(turn), &self.ours.value))
    }

    fn gets(&self) -> Vec<Contender<'_>> {
        let usual = Cell::new(10_000.0);
        let benchmark = Contender::elsewhere("redis-benchmark", move |threads, length| {
            let requests = usual.get() * length.as_secs_f64();
            usual.set(self.benchmark(threads, requests as usize + 1));
            usual.get()
        });
        vec![self.ours.gets(), self.raw_get(), benchmark]
    }

    fn large_gets(&self) -> Vec<Contender<'_>> {
        let raw_key = |number| format!("{}:large", self.ours.raw_key(number));
        let raw_keys: Vec<_> = (0..LARGE_KEYS).map(raw_key).collect();
        self.raw.set_all(&raw_keys, &self.ours.large);
        let theirs = Contender::new("GET", move |turn| self.raw.get(&raw_keys[turn % LARGE_KEYS]));
        vec![self.ours.large_gets(), theirs]
    }

    fn tagged_gets(&self) -> Vec<Contender<'_>> {
        vec![self.ours.tagged_gets(), self.raw_get()]
    }

    fn loads(&self) -> Vec<Contender<'_>> {
        self.fill_theirs_with_text();
        vec![self.ours.loads(), self.raw_get()]
    }

    fn many_gets(&self) -> Vec<Contender<'_>> {
        self.fill_theirs_with_text();
        let pipeline = Contender::new("pipeline of GET", move |turn| {
            let mut gets = Pipeline::new();
            for number in numbers(turn) {
                gets.cmd("GET").arg(self.ours.raw_key(number));
            }
            let values: Vec<Vec<u8>> = self.raw.ask_all(&gets);
            assert!(black_box(values).len() == MANY);
        });
        let mget = Contender::new("MGET", move |turn| {
            let mut mget = cmd("MGET");
            for number in numbers(turn) {
                mget.arg(self.ours.raw_key(number));
            }
            let values: Vec<Vec<u8>> = self.raw.ask(&mget);
            assert!(black_box(values).len() == MANY);
        });
        vec![self.ours.many_gets(), pipeline, mget]
    }

    fn sets(&self) -> Vec<Contender<'_>> {
        vec![self.ours.sets(), self.raw_set()]
    }

    fn tagged_sets(&self) -> Vec<Contender<'_>> {
        vec![self.ours.tagged_sets(), self.raw_set()]
    }

    fn increments(&self) -> Vec<Contender<'_>> {
        let raw_keys: Vec<_> =
            self.ours.raw_keys.iter().map(|key| format!("{key}:count")).collect();
        let theirs = Contender::new("INCRBY", move |turn| {
            black_box(self.raw.ask::<i64>(cmd("INCRBY").arg(&raw_keys[turn % KEYS]).arg(1)));
        });
        vec![self.ours.increments(), theirs]
    }

    fn deletes(&self) -> Vec<Contender<'_>> {
        let theirs = Contender::new("UNLINK", |turn| {
            assert!(self.raw.ask::<bool>(cmd("UNLINK").arg(self.ours.raw_key(turn))));
        });
        let theirs = theirs.before(KEYS, || self.fill_theirs(&self.ours.value));
        vec![self.ours.deletes(), theirs]
    }
}

fn main() {
    let plan = Plan::new(Duration::from_millis(500));
    let arena = Arena::new();
    arena.fill();
    print_header();
    plan.run(&arena, &ROWS);
    println!("\n(1) ours are decoded from JSON; theirs are the same bytes as they came.");
}
