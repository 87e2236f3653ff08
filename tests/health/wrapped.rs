//! Wrappers: the parts are asked once each, within the time of the call, and a wrapper serves as long as
//! what it is served by does.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use yokedcache::backend::Backend;
use yokedcache::{
    BreakerState, Cache, DualMode, DualWrite, ErrorKind, Fallback, FallbackBuilder, Health,
    HealthStatus, Memory, Route, Switch, Tiered,
};

use crate::faulty::{Faulty, Mode};
use crate::support::wait_until;
use crate::{LONG_LIMIT, codes, part, timed, warning, within_one_limit};

fn memory() -> Memory {
    Memory::builder().build().unwrap()
}

fn check(backend: impl Backend) -> Health {
    Cache::builder(backend).key_prefix("h").build().unwrap().detailed_health_check()
}

/// A backend whose answers come when the time of the call is over.
fn hangs() -> Faulty {
    let faulty = Faulty::new();
    let hung = faulty.clone();
    faulty.before(move |_| {
        let left = hung.last_call().left();
        thread::sleep(left.ok().flatten().unwrap_or(Duration::from_secs(60)));
        hung.set(Mode::Down(ErrorKind::Timeout));
    });
    faulty
}

#[test]
fn a_part_that_hangs_leaves_the_others_their_time() {
    let (hung, whole) = (hangs(), Faulty::new());
    let inner = Route::builder(memory()).route("b", whole.clone()).build().unwrap();
    let route = Route::builder(inner).route("a", hung).build().unwrap();
    let cache = Cache::builder(route).build().unwrap().with_timeout(LONG_LIMIT);
    let health = within_one_limit(|| cache.detailed_health_check());
    assert_eq!(part(&health, "a").status(), HealthStatus::Down);
    assert!(part(&health, "b").is_up());
    assert_eq!(health.status(), HealthStatus::Degraded, "keys of other routes are served");
}

#[test]
fn levels_of_wrappers_share_one_limit() {
    let hung = hangs();
    let chain = Switch::new(DualWrite::new(
        Fallback::builder(hung, memory()).build().unwrap(),
        Fallback::builder(hangs(), memory()).build().unwrap(),
    ));
    let cache = Cache::builder(chain).build().unwrap().with_timeout(LONG_LIMIT);
    let health = within_one_limit(|| cache.detailed_health_check());
    assert_eq!(health.status(), HealthStatus::Degraded);
}

#[test]
fn without_a_limit_a_check_ends_all_the_same() {
    let cache = Cache::builder(hangs()).build().unwrap();
    let started = Instant::now();
    assert_eq!(cache.detailed_health_check().error.unwrap().kind(), ErrorKind::Timeout);
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
}

#[test]
fn every_leaf_is_asked_once_and_shown_once() {
    let leaves = [(); 4].map(|()| Faulty::new());
    let [a, b, c, d] = leaves.clone();
    let pair = DualWrite::new(Fallback::builder(a, b).build().unwrap(), c);
    let route = Route::builder(d).route("r", Switch::new(pair)).build().unwrap();
    let cache = Cache::builder(route).key_prefix("h").build().unwrap();
    leaves.iter().for_each(|leaf| drop(leaf.calls()));
    let health = cache.detailed_health_check();
    assert!(health.is_up());
    for leaf in &leaves {
        assert_eq!(leaf.calls(), ["read h:~health"]);
    }
    fn leaves_of(health: &Health) -> usize {
        let children = health.children.iter();
        children.map(|(_, child)| leaves_of(child)).sum::<usize>().max(1)
    }
    assert_eq!(leaves_of(&health), 4);
}

#[test]
fn a_wrapper_is_as_well_as_what_it_serves_from() {
    let down = || {
        let faulty = Faulty::new();
        faulty.down();
        faulty
    };
    let status = |backend: Box<dyn Backend>| check(backend).status();
    let both_down = Fallback::builder(down(), down()).build().unwrap();
    let first_down = Fallback::builder(down(), memory()).build().unwrap();
    let all_down = Route::builder(down()).route("a", down()).build().unwrap();
    let new_down = DualWrite::new(memory(), down());
    let left = DualWrite::new(memory(), down());
    left.set_mode(DualMode::ReadNew).unwrap();
    let cases: [(Box<dyn Backend>, HealthStatus); 7] = [
        (Box::new(both_down), HealthStatus::Down),
        (Box::new(first_down), HealthStatus::Degraded),
        (Box::new(all_down), HealthStatus::Down),
        (Box::new(new_down), HealthStatus::Degraded),
        (Box::new(left), HealthStatus::Down),
        (Box::new(Switch::new(down())), HealthStatus::Down),
        (Box::new(Tiered::new(memory(), down()).unwrap()), HealthStatus::Down),
    ];
    for (index, (backend, expected)) in cases.into_iter().enumerate() {
        assert_eq!(status(backend), expected, "case {index}");
    }
}

/// A fallback that is given up at the first failure, and what hears of its trials.
fn fallback(
    settings: impl FnOnce(FallbackBuilder) -> FallbackBuilder,
) -> (Faulty, Fallback, Cache) {
    let primary = Faulty::new();
    let builder = Fallback::builder(primary.clone(), memory()).failure_threshold(1);
    let fallback = settings(builder).build().unwrap();
    let cache = Cache::builder(fallback.clone()).build().unwrap();
    (primary, fallback, cache)
}

const NEVER: Duration = Duration::from_secs(3600);

#[test]
fn an_open_breaker_is_ready_and_degraded() {
    let (primary, _, cache) = fallback(|settings| settings.reset_timeout(NEVER));
    let health = cache.detailed_health_check();
    let breaker = health.breaker.as_ref().unwrap();
    assert_eq!((breaker.state, breaker.pending), (BreakerState::Closed, 0));
    assert!(breaker.since.is_none() && breaker.last_error.is_none() && health.is_up());
    primary.down();
    cache.delete("k").unwrap();
    cache.health_check().unwrap();
    assert!(cache.is_live());
    let health = cache.detailed_health_check();
    assert_eq!(health.status(), HealthStatus::Degraded);
    let breaker = health.breaker.as_ref().unwrap();
    assert_eq!((breaker.state, breaker.pending), (BreakerState::Open, 1));
    assert!(breaker.since.unwrap() < Duration::from_secs(60));
    assert!(breaker.retry_in.unwrap() > NEVER / 2);
    assert_eq!(breaker.last_error.as_ref().unwrap().to_string(), "down");
    assert!(breaker.last_trial_error.is_none(), "none was made");
    assert!(warning(&health, "breaker-open").degrades);
    assert_eq!(part(&health, "primary").status(), HealthStatus::Down);
}

#[test]
fn a_check_is_no_failure_for_a_breaker_and_no_trial() {
    let (primary, fallback, cache) = fallback(|settings| settings.reset_timeout(NEVER));
    primary.down();
    assert_eq!(cache.detailed_health_check().status(), HealthStatus::Degraded);
    assert_eq!(fallback.state(), BreakerState::Closed);
    cache.delete("k").unwrap();
    primary.up();
    assert!(part(&cache.detailed_health_check(), "primary").is_up());
    assert_eq!(fallback.state(), BreakerState::Open);
}

#[test]
fn why_a_trial_failed_is_told_until_one_goes_well() {
    let (primary, fallback, cache) =
        fallback(|settings| settings.reset_timeout(Duration::from_millis(10)));
    primary.down();
    cache.delete("k").unwrap();
    primary.set(Mode::Late);
    let breaker = || cache.detailed_health_check().breaker.unwrap();
    // The first may have come before that.
    let is_late = |error: yokedcache::Error| error.to_string() == "late";
    wait_until("a trial fails", || breaker().last_trial_error.is_some_and(is_late));
    let told = breaker();
    assert_eq!(told.last_error.unwrap().to_string(), "down");
    primary.up();
    wait_until("it closes", || fallback.state() == BreakerState::Closed);
    let told = breaker();
    assert!(told.last_trial_error.is_none() && told.since.is_none());
    assert_eq!(told.last_error.unwrap().to_string(), "down", "the last outage's");
    assert!(cache.is_live(), "the thread has nothing left to do");
}

#[test]
fn a_trial_under_way_is_half_open() {
    let (primary, _, cache) =
        fallback(|settings| settings.reset_timeout(Duration::from_millis(10)));
    let (held, hold) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(false)));
    let (gate, reached) = (held.clone(), hold.clone());
    primary.before(move |what| {
        if what.contains("~probe") {
            *reached.lock().unwrap() = true;
            drop(gate.lock().unwrap());
        }
    });
    let guard = held.lock().unwrap();
    primary.down();
    cache.delete("k").unwrap();
    wait_until("it is tried", || *hold.lock().unwrap());
    let health = cache.detailed_health_check();
    assert_eq!(health.breaker.as_ref().unwrap().state, BreakerState::HalfOpen);
    assert_eq!(health.status(), HealthStatus::Degraded);
    cache.health_check().unwrap();
    primary.up();
    drop(guard);
    wait_until("it closes", || cache.detailed_health_check().is_up());
}

#[test]
fn quickly_a_cache_is_ready_if_somebody_serves() {
    let (primary, _, cache) = fallback(|settings| settings.reset_timeout(NEVER));
    primary.down();
    // The read that gives it up is answered by the secondary already, or not at all.
    let _ = cache.health_check();
    timed(|| cache.health_check()).unwrap();
    let alone = Faulty::new();
    let cache = Cache::builder(alone.clone()).build().unwrap();
    cache.health_check().unwrap();
    alone.down();
    assert_eq!(cache.health_check().unwrap_err().kind(), ErrorKind::Unavailable);
    alone.set(Mode::Ending("~health"));
    assert_eq!(cache.health_check().unwrap_err().kind(), ErrorKind::Timeout);
    assert!(cache.is_live(), "no reason to restart the program");
}

#[test]
fn a_migration_tells_its_mode_and_its_differences() {
    let (old, new) = (Faulty::new(), Faulty::new());
    let both = DualWrite::new(old.clone(), new);
    let cache = Cache::builder(both.clone()).build().unwrap();
    assert_eq!(cache.detailed_health_check().migration.unwrap().mode, DualMode::ReadOld);
    both.set_mode(DualMode::Compare { part: 1.0 }).unwrap();
    old.put("k", "behind the new one's back");
    cache.get::<String>("k").unwrap();
    let health = cache.detailed_health_check();
    let migration = health.migration.unwrap();
    assert_eq!(migration.mode, DualMode::Compare { part: 1.0 });
    assert_eq!((migration.divergence.missing_in_new, migration.divergence.differences()), (1, 1));
    assert_eq!(codes(&health), ["divergence"]);
    assert!(health.is_up(), "it is advice");
}

#[test]
fn a_near_tier_that_cannot_hear_is_capped_and_one_of_no_cache_is_off() {
    let health = check(Tiered::new(memory(), Faulty::new()).unwrap());
    let near = health.near.as_ref().unwrap();
    assert_eq!(serde_json::to_value(near.state).unwrap(), "capped");
    assert_eq!((near.entries, codes(&health)), (Some(0), vec!["near-capped"]));
    assert!(health.is_up());
}
