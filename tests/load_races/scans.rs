//! Hole 1: a scan passes by a key that is not there yet, or any more. A key is there from the
//! beginning of its load, first as a placeholder, then as a value, so a scan meets one of them.

use std::thread;
use std::time::Duration;

use super::held::Held;
use super::site::Site;
use yokedcache::Cache;

/// Enough for several pages of a scan.
const CROWD: usize = 6_000;
const LOADS: usize = 40;
const ROUNDS: usize = 3;
const MOST_ROUNDS: usize = 100;

fn key(number: usize) -> String {
    format!("k load {number}")
}

/// Values of many sizes: a server may keep them in many places.
fn begin_loads(cache: &Cache) -> Vec<Held> {
    let load = |n: usize| Held::load(cache, &key(n), &["a", "b"], &"old".repeat(1 + n * 29));
    (0..LOADS).map(load).collect()
}

/// Ends loads one by one while `invalidate` runs, and those that are left after it.
fn end_in_mid_scan(site: &dyn Site, invalidate: impl Fn(&Cache) + Sync) {
    let (mine, (far, _proxy)) = (site.cache(), site.far_cache());
    let landed = || mine.stats().loads - mine.stats().overtaken;
    // Until one was stored in mid-scan, however fast scans are here.
    for _ in (0..MOST_ROUNDS).take_while(|round| *round < ROUNDS || landed() == 0) {
        let crowd = (0..CROWD).map(|n| (format!("k{n}"), "v"));
        assert!(mine.set_many(crowd).unwrap().is_empty());
        let mut loads = begin_loads(&mine).into_iter();
        // One at least ends when all is over.
        let last = loads.next_back();
        thread::scope(|scope| {
            let scan = scope.spawn(|| invalidate(&far));
            while !scan.is_finished() {
                let Some(load) = loads.next() else { break };
                load.end();
                thread::sleep(Duration::from_millis(1));
            }
        });
        assert_none(site);
        loads.chain(last).for_each(|load| _ = load.end());
        assert_none(site);
    }
    assert!(mine.stats().overtaken >= ROUNDS as u64);
    println!("{} were stored in mid-scan", landed());
    assert!(landed() > 0, "none was stored in mid-scan: this has shown nothing");
}

#[track_caller]
fn assert_none(site: &dyn Site) {
    let seen = site.cache().get_many::<String>((0..LOADS).map(key)).unwrap();
    assert!(seen.iter().all(Option::is_none), "{} are left", seen.iter().flatten().count());
}

pub fn no_load_outlives_a_pattern_in_whose_scan_it_ends(site: &dyn Site) {
    end_in_mid_scan(site, |far| _ = far.invalidate_pattern("k*").unwrap());
    assert_eq!(site.cache().keys("*").unwrap(), [""; 0]);
}

pub fn no_load_outlives_all_of_some_tags_in_whose_scan_it_ends(site: &dyn Site) {
    end_in_mid_scan(site, |far| _ = far.invalidate_tags_all(["a", "b"]).unwrap());
}
