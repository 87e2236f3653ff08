//! A lease that ran out is lost, whatever happened since: nobody knows.

use std::thread;
use std::time::{Duration, Instant};

use super::HOUR;
use super::held::Held;
use super::site::{Site, assert_k};
use super::support::wait_until;
use yokedcache::backend::{Ask, Call, Grant, Name, Over, Read, Tags, Want};

fn run_out(site: &dyn Site) {
    site.expire("k");
    wait_until("the placeholder is gone", || site.left("k").is_none());
}

/// Hole 4: a fill that takes an absent key for its own stores over a delete.
pub fn a_load_whose_lease_ran_out_is_not_stored(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    for deleted in [true, false] {
        let load = Held::old(&mine);
        run_out(site);
        if deleted {
            theirs.delete("k").unwrap();
        }
        load.end_overtaken(&mine);
        assert_k(site, &mine, None);
    }
}

pub fn a_load_whose_lease_ran_out_harms_no_newer_value(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    let load = Held::old(&mine);
    run_out(site);
    assert_eq!(theirs.get_or_compute("k", || "new".to_owned()).unwrap(), "new");
    load.end_overtaken(&mine);
    assert_k(site, &mine, Some("new"));
}

pub fn a_load_whose_lease_ran_out_harms_no_newer_load(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    let load = Held::old(&mine);
    run_out(site);
    let newer = Held::load(&theirs, "k", &["t"], "new");
    load.end_overtaken(&mine);
    assert_eq!(newer.end(), "new");
    assert_k(site, &mine, Some("new"));
}

/// Holes 12 and 16: an owner that died is waited for as long as its lease lasts, and nobody who
/// touches the key makes that longer.
pub fn who_waits_for_a_dead_owner_waits_as_long_as_its_lease(site: &dyn Site) {
    let hold = Duration::from_secs(1);
    let dead = site.backend(None);
    let full = site.name("k");
    let mut want = Want::VALUE;
    want.lease = Ask::Own { hold, over: Over::Nothing, tags: &Tags::NONE };
    let (mut out, begun) = ([Read::Unanswered], Instant::now());
    dead.read(Call::Unlimited, &[Name::new(&full, 0)], &want, &mut out).unwrap();
    assert!(matches!(out[0], Read::Miss(_, Grant::Granted(_))), "{out:?}");
    let (mine, theirs, started) = (site.cache(), site.cache(), Instant::now());
    let waiting = thread::spawn(move || mine.get_or_compute("k", || "new".to_owned()).unwrap());
    while started.elapsed() < hold / 2 {
        assert!(!theirs.touch("k").unwrap() && !theirs.expire("k", HOUR).unwrap());
    }
    let finished = waiting.is_finished();
    // Unless this thread was away for so long itself.
    if begun.elapsed() < hold {
        assert!(!finished, "it is not known to be dead yet");
    }
    assert_eq!(waiting.join().unwrap(), "new");
    // Servers that count in seconds add one or two. Other leases are held for half a minute, and an
    // entry that was touched would live for an hour.
    assert!(started.elapsed() < hold * 20, "{:?}", started.elapsed());
    assert_eq!(theirs.get::<String>("k").unwrap().as_deref(), Some("new"));
}
