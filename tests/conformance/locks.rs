//! Locks.

use std::collections::HashSet;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use yokedcache::{Cache, ErrorKind, Lock, LockGuard};

use super::gate::{LONG, Runs, SHORT};
use super::invalidation::has_scan;
use super::rig::Rig;

const LEASE: Duration = Duration::from_secs(600);

/// Whether the backend has what locks need; if not, they say so.
fn has_locks(rig: &Rig) -> bool {
    let can = rig.can().add && rig.can().versions;
    if !can {
        let lock = rig.cache().lock("l", LEASE);
        let refused = [lock.try_lock().unwrap_err(), lock.lock_within(LONG).unwrap_err()];
        assert!(refused.iter().all(|error| error.kind() == ErrorKind::Unsupported));
        assert!(!rig.cache().exists("#lock:l").unwrap());
    }
    can
}

#[track_caller]
fn take(lock: &Lock) -> LockGuard {
    lock.try_lock().unwrap().expect("it is free")
}

fn is_free(lock: &Lock) -> bool {
    lock.try_lock().unwrap().is_some()
}

pub fn one_has_the_lock_among_all_caches(rig: &Rig) {
    if !has_locks(rig) {
        return;
    }
    let (one, two) = (rig.cache().lock("l", LEASE), rig.cache().lock("l", LEASE));
    let guard = take(&one);
    assert!(!is_free(&one) && !is_free(&two), "not even to the same thread");
    assert!(guard.left() > LEASE / 2);
    assert!(is_free(&rig.cache().lock("m", LEASE)), "another name is another lock");
    assert!(is_free(&rig.cache().namespace("n").lock("l", LEASE)), "and so is a namespace");
    assert!(!is_free(&rig.cache().with_schema(2).lock("l", LEASE)), "a schema is not");
    drop(guard);
    assert!(is_free(&two));
}

pub fn a_lock_is_given_back_once(rig: &Rig) {
    if !has_locks(rig) {
        return;
    }
    let cache = rig.cache();
    let lock = cache.lock("l", LEASE);
    assert!(take(&lock).unlock().unwrap());
    let guard = take(&lock);
    cache.delete("#lock:l").unwrap();
    assert!(!guard.unlock().unwrap(), "somebody deleted it");
    let panics = catch_unwind(|| {
        let _guard = take(&lock);
        resume_unwind(Box::new("the holder panics"));
    });
    assert!(panics.is_err() && is_free(&lock));
}

pub fn a_lock_is_over_after_its_lease_and_stays_the_nexts(rig: &Rig) {
    if !has_locks(rig) {
        return;
    }
    // Long enough to be taken on a busy machine.
    let lease = Duration::from_millis(500);
    let (one, two) = (rig.cache().lock("l", lease), rig.cache().lock("l", LEASE));
    let (mut slow, slower) = (take(&one), take(&rig.cache().lock("m", lease)));
    rig.pass(lease + rig.unit() + rig.unit() / 20);
    let next = take(&two);
    assert!(!slow.renew().unwrap() && !slow.renew().unwrap(), "it is lost for good");
    assert_eq!(slow.left(), Duration::ZERO);
    assert!(next.fencing() > slow.fencing());
    assert!(!slow.unlock().unwrap());
    assert!(!is_free(&one), "the second's lock is not taken away");
    let after = take(&rig.cache().lock("m", LEASE));
    drop(slower);
    assert!(!is_free(&rig.cache().lock("m", LEASE)), "nor by a guard that is dropped");
    assert!(next.unlock().unwrap() && after.unlock().unwrap());
}

pub fn a_lock_renewed_is_held_for_another_lease(rig: &Rig) {
    if !has_locks(rig) {
        return;
    }
    let part = Duration::from_millis(750);
    let lock = rig.cache().lock("l", part * 3);
    let mut guard = take(&lock);
    for _ in 0..4 {
        rig.pass(part);
        assert!(guard.renew().unwrap());
    }
    assert!(!is_free(&lock));
    let fencing = guard.fencing();
    assert!(guard.unlock().unwrap());
    assert!(take(&lock).fencing() > fencing);
}

pub fn numbers_grow_with_every_holder(rig: &Rig) {
    if !has_locks(rig) {
        return;
    }
    let (cache, numbers) = (rig.cache(), Mutex::new(Vec::new()));
    let hold = |cache: &Cache| {
        let guard = cache.lock("l", LEASE).lock_within(LONG).unwrap();
        numbers.lock().unwrap().push(guard.fencing());
        guard.unlock().unwrap();
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let own = rig.cache();
                (0..5).for_each(|_| hold(&own));
            });
        }
    });
    rig.pass(Duration::from_millis(1));
    assert!(cache.delete("#fence:l").unwrap());
    (0..3).for_each(|_| hold(&cache));
    let numbers = numbers.into_inner().unwrap();
    assert!(numbers.is_sorted_by(|before, after| before < after), "{numbers:?}");
    assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), 23);
}

pub fn a_lock_is_waited_for_so_long(rig: &Rig) {
    if !has_locks(rig) {
        return;
    }
    let (one, two) = (rig.cache().lock("l", LEASE), rig.cache().lock("l", LEASE));
    let guard = one.lock_within(Duration::ZERO).unwrap();
    let started = Instant::now();
    assert_eq!(two.lock_within(SHORT).unwrap_err().kind(), ErrorKind::Timeout);
    assert!((SHORT..LONG / 2).contains(&started.elapsed()));
    thread::scope(|scope| {
        let waits = scope.spawn(|| two.lock_within(Duration::MAX).unwrap());
        thread::sleep(SHORT);
        assert!(!waits.is_finished());
        assert!(guard.unlock().unwrap());
        drop(waits.join().unwrap());
    });
    assert!(is_free(&one));
}

pub fn what_a_lock_protects_is_done_by_one_at_a_time(rig: &Rig) {
    if !has_locks(rig) {
        return;
    }
    let (cache, inside) = (rig.cache(), Runs::default());
    cache.set("n", "0").unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let own = rig.cache();
                for _ in 0..8 {
                    let guard = own.lock("l", LEASE).lock_within(LONG).unwrap();
                    let number: u32 = own.get::<String>("n").unwrap().unwrap().parse().unwrap();
                    inside.next();
                    thread::yield_now();
                    own.set("n", &(number + 1).to_string()).unwrap();
                    assert!(guard.unlock().unwrap());
                }
            });
        }
    });
    assert_eq!((cache.get::<String>("n").unwrap().as_deref(), inside.count()), (Some("32"), 32));
}

pub fn of_many_who_try_at_once_one_has_the_lock(rig: &Rig) {
    if !has_locks(rig) {
        return;
    }
    for round in 0..10 {
        let name = format!("l{round}");
        let guards: Vec<_> = thread::scope(|scope| {
            let tries = [(); 4].map(|()| scope.spawn(|| rig.cache().lock(&name, LEASE).try_lock()));
            tries.into_iter().filter_map(|thread| thread.join().unwrap().unwrap()).collect()
        });
        assert_eq!(guards.len(), 1);
    }
}

pub fn a_lock_without_a_name_or_a_lease_is_refused(rig: &Rig) {
    if !has_locks(rig) {
        return;
    }
    let (cache, long) = (rig.cache(), "x".repeat(yokedcache::MAX_KEY));
    let refused = |name: &str, lease| cache.lock(name, lease).try_lock().unwrap_err().kind();
    assert_eq!(refused("l", Duration::ZERO), ErrorKind::InvalidTtl);
    assert_eq!(refused("", LEASE), ErrorKind::InvalidKey);
    assert_eq!(refused(&long, LEASE), ErrorKind::InvalidKey);
    let zero = cache.lock("l", Duration::ZERO).lock_within(LONG).unwrap_err();
    assert_eq!(zero.kind(), ErrorKind::InvalidTtl, "at once");
}

pub fn a_name_near_the_limit_locks_or_is_refused_and_leaves_nothing(rig: &Rig) {
    if !has_locks(rig) {
        return;
    }
    let cache = rig.cache();
    // "#fence:" is longer than "#lock:": what fits one may not fit the other.
    for short_of in 0..90 {
        let name = "x".repeat(yokedcache::MAX_KEY - short_of);
        let lock = cache.lock(&name, LEASE);
        let taken = lock.try_lock().map(|guard| guard.is_some());
        let again = lock.try_lock().map(|guard| guard.is_some());
        let kinds = [taken, again].map(|result| result.map_err(|error| error.kind()));
        let good = [Ok(true), Err(ErrorKind::InvalidKey)];
        assert!(kinds[0] == kinds[1] && good.contains(&kinds[0]), "{short_of}: {kinds:?}");
        let held = cache.exists(format!("#lock:{name}")).unwrap_or(false);
        assert!(!held, "{short_of} short of the limit a lock is left behind");
    }
}

pub fn clearing_ends_a_lock(rig: &Rig) {
    if !has_locks(rig) || !has_scan(rig, &rig.cache()) {
        return;
    }
    let cache = rig.cache();
    let lock = cache.lock("l", LEASE);
    let mut guard = take(&lock);
    let fencing = guard.fencing();
    assert_eq!(cache.keys("*").unwrap(), ["#fence:l", "#lock:l"]);
    rig.pass(Duration::from_millis(1));
    cache.clear().unwrap();
    assert!(!guard.renew().unwrap());
    assert_eq!(guard.left(), Duration::ZERO);
    let next = take(&lock);
    assert!(next.fencing() > fencing);
    drop(guard);
    assert!(!is_free(&lock));
}

pub fn a_guard_may_be_given_back_by_another_thread(rig: &Rig) {
    if !has_locks(rig) {
        return;
    }
    let lock = rig.cache().lock("l", LEASE);
    let guard = take(&lock);
    thread::spawn(move || assert!(guard.unlock().unwrap())).join().unwrap();
    assert!(is_free(&lock));
}
