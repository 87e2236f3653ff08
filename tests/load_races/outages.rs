//! Hole 5, at the edge of an outage: the load can ask nobody whether something overtook it, and who
//! joined it asked and was answered after something did.

use std::sync::mpsc::channel;
use std::thread;

use super::held::Held;
use super::site::Site;
use super::support::{Plan, this_thread, wait_until, wait_until_asleep};
use yokedcache::Cache;

/// Asks for `k` after another process deleted it, while its load is under way; then `ends` is called
/// and the load ends. What the late one got.
fn after_a_delete(site: &dyn Site, load: Held, mine: &Cache, ends: impl FnOnce()) -> String {
    site.cache().delete("k").unwrap();
    let (cache, asked) = (mine.clone(), mine.stats().misses.absent);
    let (tell, told) = channel();
    let late = thread::spawn(move || {
        tell.send(this_thread()).unwrap();
        cache.get_or_compute("k", || "new".to_owned()).unwrap()
    });
    wait_until("it is answered", || mine.stats().misses.absent > asked);
    wait_until_asleep(&told.recv().unwrap());
    assert!(!late.is_finished(), "it has joined");
    ends();
    assert_eq!(load.end(), "old");
    late.join().unwrap()
}

/// The fill gets no answer.
pub fn who_comes_after_a_delete_gets_nothing_older_from_a_fill_that_fails(site: &dyn Site) {
    let proxy = site.proxy().unwrap();
    let mine = site.cache_by(Some(&proxy));
    let load = Held::load(&mine, "k", &[], "old");
    let late = after_a_delete(site, load, &mine, || {
        proxy.set(Plan::Refuse);
        proxy.drop_connections();
    });
    assert_eq!(late, "new");
}

/// The load began in an outage that is over: it has no lease to lose.
pub fn who_comes_after_a_delete_gets_nothing_older_from_a_load_without_a_lease(site: &dyn Site) {
    let proxy = site.proxy().unwrap();
    let mine = site.cache_by(Some(&proxy));
    proxy.set(Plan::Refuse);
    let load = Held::load(&mine, "k", &[], "old");
    proxy.set(Plan::Pass);
    let answers = || mine.entry("other").strict().get::<String>().is_ok();
    wait_until("the outage is over", answers);
    assert_eq!(after_a_delete(site, load, &mine, || {}), "new");
}
