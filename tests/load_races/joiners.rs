//! Hole 5: who asks while a load is under way may share it, unless it asked after something overtook
//! the load; of that this process knows nothing.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::held::Held;
use super::site::Site;
use super::slow_fill::SlowFill;
use super::support::wait_until;
use yokedcache::{Cache, Result};

/// Asks for `k` while its load is under way.
fn late(mine: &Cache) -> JoinHandle<String> {
    let asked = mine.stats().misses.total();
    let cache = mine.clone();
    let late = thread::spawn(move || {
        cache.entry("k").tag("t").get_or_compute(|| "new".to_owned()).unwrap()
    });
    wait_until("it has missed", || mine.stats().misses.total() > asked);
    // It joins next.
    thread::sleep(Duration::from_millis(30));
    late
}

/// What somebody gets who comes after `change` to the load that was under way before.
fn after(site: &dyn Site, change: impl FnOnce(&Cache)) -> String {
    let mine = site.cache();
    let load = Held::old(&mine);
    change(&site.cache());
    let late = late(&mine);
    assert!(!late.is_finished(), "it has joined");
    load.end_overtaken(&mine);
    late.join().unwrap()
}

pub fn who_comes_after_a_delete_gets_nothing_older(site: &dyn Site) {
    assert_eq!(after(site, |theirs| _ = theirs.delete("k").unwrap()), "new");
}

pub fn who_comes_after_its_tag_was_invalidated_gets_nothing_older(site: &dyn Site) {
    assert_eq!(after(site, |theirs| _ = theirs.invalidate_tags(["t"]).unwrap()), "new");
}

pub fn who_comes_after_a_pattern_was_invalidated_gets_nothing_older(site: &dyn Site) {
    assert_eq!(after(site, |theirs| _ = theirs.invalidate_pattern("k").unwrap()), "new");
}

pub fn who_comes_after_another_program_deleted_gets_nothing_older(site: &dyn Site) {
    assert_eq!(after(site, |_| site.delete("k")), "new");
}

pub fn who_comes_after_a_set_gets_what_was_set(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    let load = Held::old(&mine);
    let late = late(&mine);
    assert!(theirs.set("k", "set").unwrap());
    load.end_overtaken(&mine);
    assert_eq!(late.join().unwrap(), "set", "it looks again");
    assert_eq!(mine.get_or_compute("k", || "new".to_owned()).unwrap(), "set");
}

/// What `ask` is given once another process has deleted what this one has stored, and does not know
/// yet that it has.
fn after_a_fill(site: &dyn Site, ask: fn(&Cache) -> Result<Option<String>>) -> Option<String> {
    let (backend, stored, go) = SlowFill::new(site.backend(None));
    let mine = Cache::builder(backend).key_prefix(site.prefix()).build().unwrap();
    let load = Held::old(&mine);
    let end = thread::spawn(|| load.end());
    stored.recv().unwrap();
    assert!(site.cache().delete("k").unwrap());
    let asked = mine.stats().misses.total();
    let late = thread::spawn({
        let mine = mine.clone();
        move || ask(&mine)
    });
    wait_until("it has missed", || mine.stats().misses.total() > asked);
    // It waits next.
    thread::sleep(Duration::from_millis(30));
    drop(go);
    assert_eq!(end.join().unwrap(), "old", "its own caller keeps it");
    late.join().unwrap().ok().flatten()
}

pub fn who_comes_while_a_load_is_stored_gets_nothing_older(site: &dyn Site) {
    let ask = |mine: &Cache| mine.get_or_compute("k", || "new".to_owned()).map(Some);
    assert_eq!(after_a_fill(site, ask).as_deref(), Some("new"));
}

pub fn a_batch_that_comes_while_a_load_is_stored_gets_nothing_older(site: &dyn Site) {
    let got = after_a_fill(site, |mine| {
        let load = |missing: &[&String]| {
            Ok::<_, yokedcache::Error>([(missing[0].clone(), "new".to_owned())])
        };
        mine.entries(["k"]).get_or_load_many(load)?.map(|mut values| values.remove(0))
    });
    // Another's load that came to nothing may end a batch.
    assert_ne!(got.as_deref(), Some("old"));
}

/// So that the tests above show something.
pub fn who_comes_while_nothing_disturbs_shares_the_load(site: &dyn Site) {
    let mine = site.cache();
    let load = Held::old(&mine);
    let late = late(&mine);
    assert_eq!(load.end(), "old");
    assert_eq!(late.join().unwrap(), "old");
    assert_eq!((mine.stats().loads, mine.stats().coalesced), (1, 1));
}
