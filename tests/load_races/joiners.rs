//! Hole 5: who asks while a load is under way may share it, unless it asked after something overtook
//! the load; of that this process knows nothing.

use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};

use super::held::Held;
use super::site::Site;
use super::support::{this_thread, wait_until, wait_until_asleep};
use yokedcache::Cache;

/// Asks for `k` while its load is under way.
fn late(mine: &Cache) -> JoinHandle<String> {
    let asked = mine.stats().misses.total();
    let (cache, (tell, told)) = (mine.clone(), channel());
    let late = thread::spawn(move || {
        tell.send(this_thread()).unwrap();
        cache.entry("k").tag("t").get_or_compute(|| "new".to_owned()).unwrap()
    });
    wait_until("it has missed", || mine.stats().misses.total() > asked);
    // It joins next, and waits.
    wait_until_asleep(&told.recv().unwrap());
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

/// So that the tests above show something.
pub fn who_comes_while_nothing_disturbs_shares_the_load(site: &dyn Site) {
    let mine = site.cache();
    let load = Held::old(&mine);
    let late = late(&mine);
    assert_eq!(load.end(), "old");
    assert_eq!(late.join().unwrap(), "old");
    assert_eq!((mine.stats().loads, mine.stats().coalesced), (1, 1));
}
