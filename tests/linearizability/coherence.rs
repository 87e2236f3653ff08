//! The same promise where each process has a near tier of its own: what it does itself it sees at
//! once, what others do within the bound.
//!
//! 40,000 operations on each, unless `YC_HISTORY` says how many.
//!
//! A third party without a near tier, as redis-cli would, deletes and sets, too.

use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use crate::checker::Lag;
use crate::history::{Event, History, Place, Reach, Recorder, Span, now};
use crate::processes::{Kind, alone_there};
use crate::support::{MemcachedServer, Plan, Proxy, RedisCluster, RedisServer, Resp};
use crate::worker::Dice;
use crate::{PROCESSES, THREADS, breaks_it, few, keeps_it_within, processes, within_while};
use yokedcache::backend::Backend;
use yokedcache::{Cache, Fallback, Memory, Redis, Tiered};

fn some() -> u64 {
    std::env::var_os("YC_HISTORY").map_or(40_000, |_| crate::many())
}

/// Of the third party: its number as a process, and as a thread.
const PLACE: Place = 9;
const ID: u64 = 99;
const MS: u64 = 1_000_000;

/// Deletes and sets keys with plain commands, now and then, until all are done.
fn third_party(mut servers: Vec<Resp>, done: &AtomicBool) -> History {
    let (recorder, mut dice) = (Recorder::new(ID, PLACE), Dice::new(7));
    while !done.load(Ordering::Relaxed) {
        sleep(Duration::from_micros(500 + dice.roll(3_000)));
        let (key, deletes) = (dice.key(), dice.roll(2) == 0);
        let name = format!("history:k{key}");
        // Whole numbers are what redis-cli and the library have in common.
        let value = recorder.value() * 2;
        let words = match deletes {
            true => vec!["DEL".to_owned(), name],
            false => vec!["SET".to_owned(), name, value.to_string()],
        };
        let begin = now();
        let Some(answer) = servers.iter_mut().find_map(|server| {
            let answer = server.command(&words);
            (!matches!(&answer, crate::support::Reply::Error(_))).then_some(answer)
        }) else {
            continue;
        };
        let span = Span { begin, end: now(), by: PLACE };
        drop(answer);
        recorder.tally(|tally| tally.operations += 1);
        recorder.note(match deletes {
            true => Event::Invalidate { reach: Reach::Keys(1 << key), span },
            false => Event::Write { key, value, tags: 0, span },
        });
    }
    recorder.take()
}

fn lag(bound: u64, strict: bool) -> Lag {
    Lag { invalidated: if strict { 0 } else { bound * MS }, overwritten: bound * MS }
}

fn at_most_one_in(many: u64, history: &History) {
    let tally = &history.tally;
    assert!(tally.errors * many <= tally.operations, "{:?}", tally.first_error);
}

#[test]
fn near_tiers_over_redis_are_true_within_the_bound() {
    let server = RedisServer::start(&[]);
    let kind = Kind::TieredRedis { bound: 50, strict: false };
    let history = keeps_it_within("near tiers over redis", lag(50, false), || {
        processes::play(kind, server.url(), some(), |done| third_party(vec![server.resp()], done))
    });
    at_most_one_in(1_000, &history);
}

#[test]
fn near_tiers_over_a_redis_cluster_are_true_within_the_bound() {
    let cluster = RedisCluster::start();
    let kind = Kind::TieredRedis { bound: 50, strict: false };
    let all = || cluster.masters().into_iter().map(|at| cluster.nodes()[at].resp()).collect();
    let history = keeps_it_within("near tiers over a redis cluster", lag(50, false), || {
        processes::play(kind, &cluster.url(), some(), |done| third_party(all(), done))
    });
    at_most_one_in(1_000, &history);
}

/// Only processes that wait: redis-cli does not.
#[test]
fn strict_invalidations_leave_nothing_near() {
    let server = RedisServer::start(&[]);
    let kind = Kind::TieredRedis { bound: 10, strict: true };
    let history = keeps_it_within("near tiers over redis, strict", lag(10, true), || {
        processes::play(kind, server.url(), some(), alone_there)
    });
    at_most_one_in(1_000, &history);
}

#[test]
fn near_tiers_over_memcached_are_true_within_their_time() {
    let server = MemcachedServer::start(&[]);
    let kind = Kind::TieredMemcached { near_ttl: 20 };
    let history = keeps_it_within("near tiers over memcached", lag(20, false), || {
        processes::play(kind, server.url(), some(), alone_there)
    });
    at_most_one_in(1_000, &history);
}

/// The same again, and nobody may be late: the near tiers are in use, and the checker sees it.
#[test]
fn near_tiers_without_their_time_are_found_out() {
    let server = MemcachedServer::start(&[]);
    let kind = Kind::TieredMemcached { near_ttl: 20 };
    breaks_it("near tiers over memcached, no time allowed", || {
        processes::play(kind, server.url(), few(), alone_there)
    });
}

/// Listeners and everything else are cut, held and killed at random.
#[test]
fn near_tiers_are_true_within_the_bound_over_a_bad_network() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    let kind = Kind::TieredRedis { bound: 50, strict: false };
    let trouble = |done: &AtomicBool| {
        let (mut dice, mut direct) = (Dice::new(3), server.resp());
        while !done.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(20 + dice.roll(150)));
            match dice.roll(3) {
                0 => proxy.drop_connections(),
                1 => {
                    proxy.set(Plan::Hold);
                    sleep(Duration::from_millis(dice.roll(200)));
                    proxy.set(Plan::Pass);
                }
                _ => drop(direct.command(&["CLIENT", "KILL", "TYPE", "pubsub"])),
            }
        }
    };
    let history = keeps_it_within("near tiers over a bad network", lag(50, false), || {
        processes::play(kind, &proxy.url(), some(), |done| {
            thread::scope(|scope| {
                let trouble = scope.spawn(|| trouble(done));
                let history = third_party(vec![server.resp()], done);
                trouble.join().unwrap();
                history
            })
        })
    });
    at_most_one_in(10, &history);
}

/// The primary of a fallback is cut off and held again and again: in this process nothing that was
/// invalidated or overwritten comes back, whoever serves.
#[test]
fn a_fallback_forgets_nothing_over_a_bad_network() {
    outages_of("a fallback over a bad network", Lag::NONE, |redis| Box::new(redis));
}

#[test]
fn a_fallback_from_tiers_forgets_nothing_over_a_bad_network() {
    // While a set is under way one thread may find the new value far and the next the older one near.
    let lag = Lag { invalidated: 0, overwritten: 500 * MS };
    outages_of("a fallback from tiers over a bad network", lag, |redis| {
        Box::new(Tiered::new(Memory::builder().build().unwrap(), redis).unwrap())
    });
}

/// That an outage was over, so many times, and what came after it was looked at.
const OUTAGES: u64 = 3;

#[track_caller]
fn outages_of(what: &str, lag: Lag, primary: impl FnOnce(Redis) -> Box<dyn Backend>) {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    let redis = Redis::builder(&proxy.url()).timeout(Duration::from_millis(100)).build().unwrap();
    let fallback = Fallback::builder(primary(redis), Memory::builder().build().unwrap())
        .reset_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    let outages = Arc::new(AtomicU64::new(0));
    let counted = outages.clone();
    let cache = Cache::builder(fallback)
        .key_prefix("history")
        .strict()
        .on_event(move |event| {
            let closed = matches!(event, yokedcache::Event::Closed { .. });
            counted.fetch_add(u64::from(closed), Ordering::Relaxed);
        })
        .build()
        .unwrap();
    let done = AtomicBool::new(false);
    let trouble = || {
        let mut dice = Dice::new(5);
        while !done.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(30 + dice.roll(100)));
            proxy.set(if dice.roll(2) == 0 { Plan::Hold } else { Plan::Refuse });
            proxy.drop_connections();
            sleep(Duration::from_millis(dice.roll(200)));
            proxy.set(Plan::Pass);
        }
    };
    // However fast this machine is: until there were outages, or clearly none will come.
    let each = some() / (PROCESSES * THREADS);
    let goes_on =
        |done| done < each || outages.load(Ordering::Relaxed) < OUTAGES && done < 1_000_000;
    let history = keeps_it_within(what, lag, || {
        thread::scope(|scope| {
            scope.spawn(trouble);
            let history = within_while(slice::from_ref(&cache), &goes_on);
            done.store(true, Ordering::Relaxed);
            history
        })
    });
    at_most_one_in(10, &history);
    println!("{} outages", outages.load(Ordering::Relaxed));
    assert!(outages.load(Ordering::Relaxed) >= OUTAGES, "too few outages: {outages:?}");
}
