//! What wrappers cost: a hit of a near tier, and how soon it hears of what others change; a fallback
//! whose primary serves, and one whose primary is down; a switch, a route, a migration.
//!
//! `cargo bench --bench wrappers --all-features` prints thousands of operations a second, all
//! threads together, beside the bare backends in the same run. `YC_BENCH_QUICK=1` is a short form
//! that shows only that it runs. Words in the command line name rows.
//!
//! Contenders take turns; a figure is the median of a contender's rounds, and a ratio the median of
//! the ratios within a round.

mod rounds;
#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use rounds::{Contender, KEYS, Plan, Row, VALUE_BYTES, row};
use support::{RedisServer, free_port};
use yokedcache::backend::Backend;
use yokedcache::{Cache, Fallback, Lookup, Memory, Redis, Route, Switch, Tiered};

const ROWS: [Row<Arena>; 11] = [
    row("near hit", 1, Arena::near_hits),
    row("near hit", 8, Arena::near_hits),
    row("near hits, 100 keys", 1, Arena::near_batches),
    row("near hit, redis", 1, Arena::near_and_redis),
    row("near hit, redis", 8, Arena::near_and_redis),
    row("miss of both tiers", 1, Arena::misses),
    row("fallback, closed", 1, Arena::closed),
    row("fallback, open", 1, Arena::open),
    row("fallback, open: set", 1, Arena::open_sets),
    row("switch", 1, Arena::switches),
    row("route of three", 1, Arena::routes),
];

struct Arena {
    server: RedisServer,
    memory: Cache,
    /// Filled as the near tier is, a value at a time.
    apart: Cache,
    redis: Cache,
    tiered: Cache,
    closed: Cache,
    open: Cache,
    switch: Cache,
    route: Cache,
    keys: Vec<String>,
}

fn memory() -> Memory {
    Memory::builder().max_size(10 * KEYS).build().expect("valid settings")
}

fn cache(backend: impl Backend) -> Cache {
    Cache::builder(backend).key_prefix("bench").build().expect("valid settings")
}

fn tiered(server: &RedisServer) -> Cache {
    let far = Redis::open(server.url()).expect("a valid address");
    cache(Tiered::new(memory(), far).expect("valid settings"))
}

/// A fallback whose primary is away: a delete that fails twice opens it.
fn open() -> Cache {
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let primary = Redis::open(&nobody).expect("a valid address");
    let fallback = Fallback::builder(primary, memory()).secondary_ttl(Duration::from_secs(3600));
    let cache = cache(fallback.build().expect("valid settings"));
    cache.delete("k").expect("noted");
    cache
}

fn tier(cache: &Cache, key: &str) -> Option<u8> {
    match cache.lookup::<String>(key) {
        Ok(Lookup::Hit(hit)) => Some(hit.tier),
        _ => None,
    }
}

impl Arena {
    fn new() -> Self {
        let server = RedisServer::start(&[]);
        let redis = cache(Redis::open(server.url()).expect("a valid address"));
        let keys: Vec<_> = (0..KEYS).map(|number| format!("user:profile:{number:08}")).collect();
        let (memory, apart, tiered) = (cache(memory()), cache(memory()), tiered(&server));
        let text = "v".repeat(VALUE_BYTES);
        let closed =
            cache(Fallback::builder(self::memory(), self::memory()).build().expect("valid"));
        let switch = cache(Switch::new(self::memory()));
        let route = Route::builder(self::memory());
        let route = route.route("session", self::memory()).route("user", self::memory());
        let route = cache(route.build().expect("valid routes"));
        let open = open();
        for cache in [&memory, &redis, &closed, &open, &switch, &route] {
            let all = keys.iter().map(|key| (key, &text));
            assert!(cache.set_many(all).expect("valid keys").is_empty());
        }
        let arena =
            Self { memory, apart, redis, tiered, closed, open, switch, route, keys, server };
        arena.warm();
        arena
    }

    /// Until all is near. The memory beside it is filled in the same way, a value at a time.
    fn warm(&self) {
        let is_near = |key: &String| tier(&self.tiered, key) == Some(0);
        while !self.keys.iter().all(is_near) {
            for key in &self.keys {
                black_box(self.tiered.get::<String>(key).expect("an answer"));
            }
        }
        for key in &self.keys {
            let text = self.redis.get::<String>(key).expect("an answer").expect("a value");
            self.apart.set(key, &text).expect("a valid key");
        }
    }

    fn gets<'a>(&'a self, name: &'static str, cache: &'a Cache) -> Contender<'a> {
        Contender::new(name, move |turn| {
            let key = &self.keys[turn % KEYS];
            black_box(cache.get::<String>(key).expect("an answer").expect("a value"));
        })
    }

    fn near_hits(&self) -> Vec<Contender<'_>> {
        vec![self.gets("near", &self.tiered), self.gets("bare memory", &self.apart)]
    }

    /// A row of its own: who comes after a contender that waits for a server finds a slower machine.
    fn near_and_redis(&self) -> Vec<Contender<'_>> {
        vec![self.gets("near", &self.tiered), self.gets("redis", &self.redis)]
    }

    fn near_batches(&self) -> Vec<Contender<'_>> {
        let many = |name, cache: &'_ Cache| {
            let cache = cache.clone();
            Contender::new(name, move |turn| {
                let first = turn * 100 % (KEYS - 100);
                let keys = &self.keys[first..first + 100];
                black_box(cache.get_many::<String>(keys).expect("an answer"));
            })
        };
        vec![many("near", &self.tiered), many("bare memory", &self.apart)]
    }

    fn misses(&self) -> Vec<Contender<'_>> {
        let misses = |name, cache: &'_ Cache| {
            let cache = cache.clone();
            Contender::new(name, move |turn| {
                let key = format!("none:{turn}");
                assert!(cache.get::<String>(&key).expect("an answer").is_none());
            })
        };
        vec![misses("tiered", &self.tiered), misses("redis", &self.redis)]
    }

    fn closed(&self) -> Vec<Contender<'_>> {
        vec![self.gets("closed", &self.closed), self.gets("bare memory", &self.memory)]
    }

    fn open(&self) -> Vec<Contender<'_>> {
        vec![self.gets("open", &self.open), self.gets("bare memory", &self.memory)]
    }

    fn open_sets(&self) -> Vec<Contender<'_>> {
        let text = "v".repeat(VALUE_BYTES);
        let sets = |name, cache: &'_ Cache| {
            let (cache, text) = (cache.clone(), text.clone());
            Contender::new(name, move |turn| {
                assert!(cache.set(&self.keys[turn % KEYS], &text).expect("an answer"));
            })
        };
        vec![sets("open", &self.open), sets("bare memory", &self.memory)]
    }

    fn switches(&self) -> Vec<Contender<'_>> {
        vec![self.gets("switch", &self.switch), self.gets("bare memory", &self.memory)]
    }

    fn routes(&self) -> Vec<Contender<'_>> {
        vec![self.gets("route", &self.route), self.gets("bare memory", &self.memory)]
    }

    /// How long after another client's write was answered the near tier may still serve the older
    /// value.
    fn pushes(&self, rounds: usize) {
        let mut other = self.server.resp();
        let mut late: Vec<Duration> = (0..rounds)
            .map(|round| {
                let key = &self.keys[round % KEYS];
                while tier(&self.tiered, key) != Some(0) {
                    black_box(self.tiered.get::<String>(key).expect("an answer"));
                }
                let value = format!("\"{round}\"");
                assert!(other.command(&["SET", &format!("bench:{key}"), &value]).is_ok());
                let answered = Instant::now();
                let new = round.to_string();
                while self.tiered.get::<String>(key).expect("an answer").as_ref() != Some(&new) {}
                answered.elapsed()
            })
            .collect();
        late.sort_unstable();
        let at = |part: f64| late[((late.len() - 1) as f64 * part) as usize];
        println!(
            "\nothers' writes, from their answer until the near tier has dropped the older value \
             and read the new one:\n{rounds} writes: median {:?}, p99 {:?}, p99.9 {:?}, most {:?}",
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
    }
}

fn main() {
    let plan = Plan::new(Duration::from_millis(300));
    rounds::print_header();
    let arena = Arena::new();
    plan.run(&arena, &ROWS);
    if plan.words.is_empty() || plan.words.iter().any(|word| "pushes".contains(&**word)) {
        arena.pushes(if plan.is_short() { 50 } else { 5_000 });
    }
}
