//! Over a Memcached server, from one thread.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::rounds::{Contender, KEYS, Plan, Row, VALUE_BYTES, row};
use super::support::MemcachedServer;
use super::{MINUTE, run, unreachable};
use yokedcache::{Cache, Memcached};

const ROWS: [Row<Arena>; 2] =
    [row("memcached: hit", 1, Arena::hits), row("memcached: load", 1, Arena::loads)];

struct Arena {
    _server: MemcachedServer,
    cache: Cache,
    /// Without a pool, a deadline, or anybody else.
    raw: Mutex<BufReader<TcpStream>>,
    /// Without a prefix: the cache's own is as long as that of `raw_keys`.
    keys: Vec<String>,
    raw_keys: Vec<String>,
    text: String,
}

impl Arena {
    fn new() -> Self {
        // Room for all, so that nothing is evicted.
        let server = MemcachedServer::start(&["-m", "1024"]);
        let cache = Memcached::open(server.url())
            .and_then(|it| Cache::builder(it).key_prefix("ours").build());
        let raw = TcpStream::connect(server.addr()).expect("a server");
        raw.set_nodelay(true).expect("a socket");
        Self {
            cache: cache.expect("valid settings"),
            raw: Mutex::new(BufReader::with_capacity(16 << 10, raw)),
            keys: (0..KEYS).map(|number| format!("user:profile:{number:08}")).collect(),
            raw_keys: (0..KEYS).map(|number| format!("them:user:profile:{number:08}")).collect(),
            text: "v".repeat(VALUE_BYTES),
            _server: server,
        }
    }

    /// Sends a command; the first line of the answer, and the value.
    fn ask(&self, command: &str) -> (String, Vec<u8>) {
        let mut raw = self.raw.lock().expect("no panic");
        raw.get_mut().write_all(command.as_bytes()).expect("a connection");
        let (mut head, mut value) = (String::new(), Vec::new());
        raw.read_line(&mut head).expect("an answer");
        if let Some(length) = head.strip_prefix("VA ") {
            value.resize(length.trim_end().parse::<usize>().expect("a length") + 2, 0);
            raw.read_exact(&mut value).expect("a value");
        }
        (head, value)
    }

    fn set(&self, key: &str) {
        let (text, life) = (&self.text, MINUTE.as_secs());
        let command = format!("ms {key} {} T{life}\r\n{text}\r\n", text.len());
        assert_eq!(self.ask(&command).0, "HD\r\n");
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
            Contender::new("mg", move |turn| {
                let (_, value) = black_box(self.ask(&format!("mg {} v\r\n", raw_key(turn))));
                assert!(!value.is_empty());
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
            Contender::new("mg, ms ME, ms", move |_| {
                let key = format!("them:load:{:08}", theirs.fetch_add(1, Relaxed));
                assert_eq!(self.ask(&format!("mg {key} v\r\n")).0, "EN\r\n");
                let placeholder = format!("ms {key} 18 ME T30\r\nof 18 bytes, or so\r\n");
                assert_eq!(self.ask(&placeholder).0, "HD\r\n");
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
