//! Deletes that return when nobody can serve the value any more.

use std::time::{Duration, Instant};

use yokedcache::ErrorKind;

use crate::server::Process;
use crate::support::{Plan, Proxy, RedisServer, in_time};

const BOUND: Duration = Duration::from_millis(400);

fn of_others(remove: impl Fn(&Process)) {
    in_time(|| of_others_in_time(&remove));
}

fn of_others_in_time(remove: impl Fn(&Process)) -> Option<()> {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    let there = Process::start(&proxy.url(), |tiers| tiers.bound(BOUND));
    let here = Process::start(server.url(), |tiers| tiers.bound(BOUND).strict());
    assert_eq!(here.cache.backend().about().can.lag, Duration::ZERO);
    here.cache.entry("k").tag("t").set("old").unwrap();
    there.warm("k");
    // The other one's listener hangs, just after its last sign of life.
    proxy.set(Plan::Hold);
    if !there.is_near("k") {
        return None;
    }
    // It would serve it.
    let began = Instant::now();
    remove(&here);
    assert!(began.elapsed() >= BOUND);
    let there = there.cache.with_timeout(Duration::from_millis(100));
    assert_eq!(there.get::<String>("k").ok().flatten(), None);
    Some(())
}

#[test]
fn a_delete_waits_until_others_cannot_serve_it() {
    of_others(|here| assert!(here.cache.delete("k").unwrap()));
}

#[test]
fn an_invalidation_waits_until_others_cannot_serve_it() {
    of_others(|here| {
        here.cache.invalidate_tags(["t"]).unwrap();
    });
    of_others(|here| {
        here.cache.invalidate_pattern("*").unwrap();
    });
}

#[test]
fn without_the_time_to_wait_it_is_done_and_says_so() {
    let server = RedisServer::start(&[]);
    // Long enough for everything else; it is not waited for.
    let bound = Duration::from_secs(30);
    let here = Process::start(server.url(), |tiers| tiers.bound(bound).strict());
    let hasty = here.cache.with_timeout(bound / 2);
    hasty.set("k", "v").unwrap();
    let began = Instant::now();
    assert_eq!(hasty.delete("k").unwrap_err().kind(), ErrorKind::Timeout);
    assert!(began.elapsed() < bound / 2, "a write of a value does not wait, nor does one in vain");
    assert_eq!(hasty.get::<String>("k").unwrap(), None);
    let error = hasty.invalidate_pattern("*").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    // Each removal of a batch, and nothing else.
    assert!(hasty.set_many([("a", "1"), ("b", "2")]).unwrap().is_empty());
}
