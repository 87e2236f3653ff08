//! Hole 11: a stale value is kept to be replaced, and what replaces it, or arms it anew, must not
//! bring back what was removed meanwhile.

use std::thread;
use std::time::{Duration, SystemTime};

use super::HOUR;
use super::held::Held;
use super::site::{Site, assert_k};
use yokedcache::{Cache, Loaded, Ttl};

const SOON: Duration = Duration::from_millis(40);

/// Stores what is stale at once.
fn store_stale(cache: &Cache) {
    cache.entry("k").tag("t").ttl(SOON).stale_for(HOUR).set("stale").unwrap();
    thread::sleep(SOON * 2);
}

/// Refreshes `k`, with what its loader says in the end.
fn refresh(cache: &Cache, says: Result<Loaded<String>, ()>) -> Held {
    let cache = cache.clone();
    Held::begin(move |gate| {
        let loaded = cache.entry("k").tag("t").ttl(HOUR).load_with(|load| {
            assert_eq!(load.previous::<String>().as_deref(), Some("stale"));
            gate.wait();
            says
        });
        loaded.unwrap().map_or("failed".into(), |value| value.expect("there is one"))
    })
}

fn old() -> Result<Loaded<String>, ()> {
    Ok(Loaded::Value("old".into()))
}

/// Nothing is there, not even what is stale.
#[track_caller]
fn assert_nothing(site: &dyn Site) {
    assert_eq!(site.cache().lookup::<String>("k").unwrap().into_value(), None);
}

pub fn a_refresh_is_overtaken_and_resurrects_nothing(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    let overtakes: [&dyn Fn(); 7] = [
        &|| _ = theirs.delete("k").unwrap(),
        &|| _ = theirs.invalidate_tags(["t"]).unwrap(),
        &|| _ = theirs.invalidate_tags_all(["t"]).unwrap(),
        &|| _ = theirs.invalidate_pattern("k").unwrap(),
        &|| _ = theirs.clear().unwrap(),
        &|| site.delete("k"),
        &|| site.delete("t#t"),
    ];
    for overtake in overtakes {
        store_stale(&mine);
        let load = refresh(&mine, old());
        overtake();
        load.end_overtaken(&mine);
        assert_nothing(site);
    }
    store_stale(&mine);
    let load = refresh(&mine, old());
    theirs.set("k", "new").unwrap();
    load.end_overtaken(&mine);
    assert_k(site, &mine, Some("new"));
}

pub fn what_was_deleted_is_not_there_to_be_unmodified(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    store_stale(&mine);
    let load = refresh(&mine, Ok(Loaded::NotModified));
    theirs.delete("k").unwrap();
    assert_eq!(load.end(), "stale", "its own caller's");
    assert_nothing(site);
    assert_eq!(mine.stats().overtaken, 1);
}

pub fn a_refresh_that_fails_resurrects_nothing(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    store_stale(&mine);
    let load = refresh(&mine, Err(()));
    theirs.delete("k").unwrap();
    assert_eq!(load.end(), "failed");
    assert_nothing(site);
    // Nor does it leave the key to itself: the next one refreshes at once.
    store_stale(&mine);
    assert_eq!(refresh(&theirs, old()).end(), "old");
    assert_k(site, &mine, Some("old"));
}

/// Its life cannot be made longer while it is being replaced.
pub fn a_stale_value_is_absent_to_who_would_touch_it(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    store_stale(&mine);
    let load = refresh(&mine, old());
    assert!(!theirs.touch("k").unwrap() && !theirs.expire("k", HOUR).unwrap());
    assert!(!theirs.exists("k").unwrap() && !theirs.replace("k", "replaced").unwrap());
    assert_k(site, &mine, None);
    assert_eq!(load.end(), "old");
    assert_k(site, &mine, Some("old"));
    // Its end has come, in the past: that is a delete.
    store_stale(&mine);
    let load = refresh(&mine, old());
    assert!(!theirs.expire("k", Ttl::At(SystemTime::UNIX_EPOCH)).unwrap());
    load.end_overtaken(&mine);
    assert_nothing(site);
}

pub fn adding_overtakes_a_refresh(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    store_stale(&mine);
    let load = refresh(&mine, old());
    assert!(theirs.add("k", "new").unwrap(), "what is stale is absent");
    load.end_overtaken(&mine);
    assert_k(site, &mine, Some("new"));
}
