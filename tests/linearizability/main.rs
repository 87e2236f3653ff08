//! Invalidation wins, across processes: random operations by eight threads in two processes on six
//! keys and three tags, and a checker that knows the promise word by word.
//!
//! 100,000 operations on each backend, unless `YC_HISTORY` says how many, and on fewer keys if
//! `YC_HISTORY_KEYS` says so.
#![cfg(all(feature = "redis", feature = "memcached"))]

mod checker;
mod coherence;
mod history;
mod loads;
mod processes;
mod rules;
#[path = "../support/mod.rs"]
mod support;
mod unfenced;
mod worker;

use std::env;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use checker::{Lag, Reason, Violation, check};
use history::{Event, History, Span};
use processes::{Kind, alone_there};
use support::{MemcachedServer, RedisCluster, RedisServer};
use unfenced::Unfenced;
use yokedcache::backend::Backend;
use yokedcache::{Cache, Memory, Route};

const PROCESSES: u64 = 2;
/// Of each process.
const THREADS: u64 = 4;

/// How many a history has that is to be right.
fn many() -> u64 {
    env::var("YC_HISTORY").map_or(100_000, |count| count.parse().expect("YC_HISTORY is a number"))
}

/// How many are enough where faults are common.
fn few() -> u64 {
    many().max(100_000) / 10
}

/// A history at a time: threads that wait for a processor do not collide.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn judged(what: &str, lag: Lag, play: impl FnOnce() -> History) -> (History, Vec<Violation>) {
    let _alone = alone();
    let started = Instant::now();
    let history = play();
    let (played, checked) = (started.elapsed(), Instant::now());
    let violations = check(&history.events, lag);
    let count = |of: fn(&Event) -> bool| history.events.iter().filter(|event| of(event)).count();
    println!(
        "{what}: {} operations in {played:.1?}, checked in {:.1?}: {} values read, {} misses, \
         {} loads, {} refreshes, {} overtaken, {} stale values, {} writes, {} invalidations, \
         {} loads of others failed, {} errors, {} violations",
        history.tally.operations,
        checked.elapsed(),
        count(|event| matches!(event, Event::Read { .. })),
        history.tally.misses,
        count(|event| matches!(event, Event::Load { .. })),
        history.tally.refreshes,
        history.tally.overtaken,
        history.tally.stale,
        count(|event| matches!(event, Event::Write { .. })),
        count(|event| matches!(event, Event::Invalidate { .. })),
        history.tally.forsaken,
        history.tally.errors,
        violations.len(),
    );
    (history, violations)
}

/// Prints what happened to the key between the write and the read that should not have seen it.
fn tell_the_story(violation: &Violation, history: &[Event]) {
    println!("{violation:#?}");
    let (key, Span { begin, end: to, .. }) = (violation.read.key(), violation.read.span());
    let from = violation.origin.as_ref().map_or(begin, |origin| origin.span().begin);
    let touches = |event: &&Event| {
        let Span { begin, end, .. } = event.span();
        event.key().is_none_or(|of| Some(of) == key) && end >= from && begin <= to
    };
    let mut story: Vec<_> = history.iter().filter(touches).collect();
    story.sort_unstable_by_key(|event| event.span().begin);
    story
        .iter()
        .for_each(|event| println!("{:?} {event:?}", event.span().begin.wrapping_sub(from)));
}

/// In a cluster a value and its tags are on different nodes, read at the same time: a reader may see
/// an added value that an invalidation kills before `add` can confirm it, and `add` says no. Nothing
/// is promised of that.
fn is_broken(what: &str, violation: &Violation) -> bool {
    violation.reason != Reason::Refused || !what.contains("cluster")
}

#[track_caller]
fn keeps_its_promise(what: &str, play: impl FnOnce() -> History) {
    let History { tally, .. } = keeps_it_within(what, Lag::NONE, play);
    assert!(tally.errors * 1_000 <= tally.operations, "{:?}", tally.first_error);
}

/// The same, where what other processes do may go unnoticed for a while.
#[track_caller]
fn keeps_it_within(what: &str, lag: Lag, play: impl FnOnce() -> History) -> History {
    let (history, violations) = judged(what, lag, play);
    violations.iter().take(3).for_each(|violation| tell_the_story(violation, &history.events));
    let broken = violations.iter().filter(|violation| is_broken(what, violation));
    assert_eq!(broken.count(), 0, "violations: see above");
    let reads = history.events.iter().filter(|event| matches!(event, Event::Read { .. })).count();
    let operations = history.tally.operations;
    assert!(reads as u64 * 10 > operations, "too few reads find anything: {reads}");
    history
}

/// How many histories a fault has to show itself in: one will do as a rule, but threads collide as they
/// are scheduled.
const TRIES: usize = 10;

#[track_caller]
fn breaks_it(what: &str, mut play: impl FnMut() -> History) {
    let mut finds = || {
        let (_, violations) = judged(what, Lag::NONE, &mut play);
        violations.iter().any(|violation| is_broken(what, violation))
    };
    assert!((0..TRIES).any(|_| finds()), "no fault was found where there is one");
}

/// Caches over one memory take the place of processes.
fn within(caches: &[Cache], operations: u64) -> History {
    within_while(caches, &|done| done < operations / (PROCESSES * THREADS))
}

/// The same, each thread as long as `goes_on` after so many operations of its own.
fn within_while(caches: &[Cache], goes_on: &(impl Fn(u64) -> bool + Sync)) -> History {
    let threads = PROCESSES * THREADS / caches.len() as u64;
    let mut history = History::default();
    thread::scope(|scope| {
        let play = |(cache, place): (_, u8)| {
            let first = u64::from(place) * threads;
            // They are one process: what one does the other knows.
            scope.spawn(move || worker::play(cache, 0, first, threads, goes_on, 1))
        };
        let players: Vec<_> = caches.iter().zip(0..).map(play).collect();
        players.into_iter().for_each(|player| history.merge(player.join().unwrap()));
    });
    history
}

fn cache(backend: impl Backend) -> Cache {
    // Strict: a write that did not happen is to be seen as such.
    Cache::builder(backend).key_prefix("history").strict().build().unwrap()
}

fn memory() -> Arc<Memory> {
    Arc::new(Memory::builder().max_size(10_000).build().unwrap())
}

#[test]
fn invalidation_wins_over_memory() {
    keeps_its_promise("memory", || within(&[cache(memory())], many()));
}

#[test]
fn invalidation_wins_between_two_caches_over_one_memory() {
    let memory = memory();
    let caches = [cache(memory.clone()), cache(memory)];
    keeps_its_promise("memory, two caches", || within(&caches, many()));
}

#[test]
fn invalidation_wins_over_a_route_to_three_memories() {
    let (one, other) = (memory(), memory());
    let route = Route::builder(memory())
        .route("k0", one.clone())
        .route("k1", other.clone())
        .route("k2", one)
        .route("k3", other);
    let route = Arc::new(route.build().unwrap());
    let caches = [cache(route.clone()), cache(route)];
    keeps_its_promise("a route, two caches", || within(&caches, many()));
}

#[test]
fn invalidation_wins_between_processes_over_redis() {
    let server = RedisServer::start(&[]);
    keeps_its_promise("redis", || processes::play(Kind::Redis, server.url(), many(), alone_there));
}

#[test]
fn invalidation_wins_between_processes_over_a_redis_cluster() {
    let cluster = RedisCluster::start();
    keeps_its_promise("redis cluster", || {
        processes::play(Kind::Redis, &cluster.url(), many(), alone_there)
    });
}

#[test]
fn invalidation_wins_between_processes_over_memcached() {
    let server = MemcachedServer::start(&[]);
    keeps_its_promise("memcached", || {
        processes::play(Kind::Memcached, server.url(), many(), alone_there)
    });
}

#[test]
fn without_fences_faults_are_found_over_memory() {
    let memory = memory();
    let caches = [cache(Unfenced(memory.clone())), cache(Unfenced(memory))];
    breaks_it("memory, two caches, no fences", || within(&caches, few()));
}

#[test]
fn without_fences_faults_are_found_over_redis() {
    let server = RedisServer::start(&[]);
    breaks_it("redis, no fences", || {
        processes::play(Kind::RedisUnfenced, server.url(), few(), alone_there)
    });
}

#[test]
fn without_fences_faults_are_found_over_memcached() {
    let server = MemcachedServer::start(&[]);
    breaks_it("memcached, no fences", || {
        processes::play(Kind::MemcachedUnfenced, server.url(), few(), alone_there)
    });
}
