//! Hole 11: a stale value is kept to be replaced, and what replaces it, or arms it anew, must not
//! bring back what was removed meanwhile.

use std::thread;
use std::time::{Duration, SystemTime};

use super::HOUR;
use super::held::Held;
use super::site::{Site, assert_k};
use yokedcache::{Cache, Error, Freshness, Loaded, Ttl};

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

/// The older value is fresh and has not all of the tags, and so is left by what invalidates all of
/// them: it must not stand for the load meanwhile. Named up front, named while the loader runs.
pub fn all_of_some_tags_overtakes_an_early_refresh_that_brings_one_more(site: &dyn Site) {
    let mine = site.cache();
    let early = Freshness::new().ttl(HOUR).refresh_at(0.0);
    for late in [false, true] {
        let store = || Ok::<_, Error>("first".to_owned());
        mine.entry("k").tag("t").freshness(early).get_or_load(store).unwrap().unwrap();
        let (cache, theirs, runs) = (mine.clone(), site.cache(), mine.stats().loads);
        let load = thread::spawn(move || {
            let up_front: &[&str] = if late { &["t"] } else { &["t", "u"] };
            let loaded = cache.entry("k").tags(up_front).freshness(early).load_with(|load| {
                load.tag("u")?;
                theirs.invalidate_tags_all(["t", "u"])?;
                Ok::<_, Error>(Loaded::Value("old".to_owned()))
            });
            loaded.unwrap().unwrap().expect("there is one")
        });
        let got = load.join().unwrap();
        // It was not begun, or came to nothing.
        assert_eq!(got, if mine.stats().loads > runs { "old" } else { "first" });
        let left = site.cache().get::<String>("k").unwrap();
        assert_ne!(left.as_deref(), Some("old"), "late: {late}");
        mine.delete("k").unwrap();
    }
}

/// Asked for by name, that refresh is not left out.
pub fn a_refresh_that_brings_one_more_tag_can_be_asked_for(site: &dyn Site) {
    let cache = site.cache();
    cache.entry("k").tag("t").set("first").unwrap();
    let loader = cache.loader(|_| Ok::<_, Error>("new".to_owned())).tags(["t", "u"]);
    assert!(loader.refresh("k").unwrap());
    assert!(cache.drain(HOUR));
    assert_k(site, &cache, Some("new"));
}
