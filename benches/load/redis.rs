//! Over a Redis server, from one thread.

use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use redis::{Client, Cmd, Connection, FromRedisValue, cmd};

use super::rounds::{Contender, KEYS, Plan, Row, VALUE_BYTES, row};
use super::support::RedisServer;
use super::{MINUTE, run, unreachable};
use yokedcache::{Cache, Redis};

const ROWS: [Row<Arena>; 2] =
    [row("redis: hit", 1, Arena::hits), row("redis: load", 1, Arena::loads)];

struct Arena {
    _server: RedisServer,
    cache: Cache,
    /// Without a pool, a deadline, or anybody else.
    raw: Mutex<Connection>,
    /// Without a prefix: the cache's own is as long as that of `raw_keys`.
    keys: Vec<String>,
    raw_keys: Vec<String>,
    text: String,
}

impl Arena {
    fn new() -> Self {
        let server = RedisServer::start(&[]);
        let cache =
            Redis::open(server.url()).and_then(|it| Cache::builder(it).key_prefix("ours").build());
        let client = Client::open(server.url()).expect("a valid address");
        Self {
            cache: cache.expect("valid settings"),
            raw: Mutex::new(client.get_connection().expect("a connection")),
            keys: (0..KEYS).map(|number| format!("user:profile:{number:08}")).collect(),
            raw_keys: (0..KEYS).map(|number| format!("them:user:profile:{number:08}")).collect(),
            text: "v".repeat(VALUE_BYTES),
            _server: server,
        }
    }

    fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        command.query(&mut *self.raw.lock().expect("no panic")).expect("an answer")
    }

    fn set(&self, key: &str) {
        self.ask::<()>(
            cmd("SET").arg(key).arg(&self.text).arg("PX").arg(MINUTE.as_millis() as u64),
        );
    }

    fn hits(&self) -> Vec<Contender<'_>> {
        let texts = self.keys.iter().map(|key| (key, &self.text));
        assert!(self.cache.set_many(texts).expect("valid keys").is_empty());
        self.raw_keys.iter().for_each(|key| self.set(key));
        let key = |turn: usize| &*self.keys[turn % KEYS];
        let raw_key = |turn: usize| &*self.raw_keys[turn % KEYS];
        vec![
            Contender::new("get_or_load", move |turn| {
                let found = self.cache.get_or_load(key(turn), unreachable::<String>);
                black_box(found.expect("an answer").expect("a value"));
            }),
            Contender::new("get", move |turn| {
                black_box(
                    self.cache.get::<String>(key(turn)).expect("an answer").expect("a value"),
                );
            }),
            Contender::new("GET", move |turn| {
                let value: Option<Vec<u8>> = self.ask(cmd("GET").arg(raw_key(turn)));
                black_box(value.expect("every key is there"));
            }),
        ]
    }

    fn loads(&self) -> Vec<Contender<'_>> {
        let (ours, theirs) = (AtomicUsize::new(0), AtomicUsize::new(0));
        vec![
            Contender::new("get_or_load", move |_| {
                let key = format!("load:{:08}", ours.fetch_add(1, Relaxed));
                let entry = self.cache.entry(key).ttl(MINUTE);
                black_box(entry.get_or_compute(|| self.text.clone())).expect("an answer");
            }),
            Contender::new("GET, SET NX, SET", move |_| {
                let key = format!("them:load:{:08}", theirs.fetch_add(1, Relaxed));
                let found: Option<Vec<u8>> = self.ask(cmd("GET").arg(&key));
                let placeholder = cmd("SET").arg(&key).arg("of 18 bytes, or so").clone();
                let placed: bool = self.ask(placeholder.clone().arg("NX").arg("PX").arg(30_000));
                assert!(found.is_none() && placed);
                self.set(&key);
            }),
        ]
    }
}

pub fn run_rows(plan: &Plan) {
    let arena = Arena::new();
    for row in &ROWS {
        run(plan, &arena, row);
    }
}
