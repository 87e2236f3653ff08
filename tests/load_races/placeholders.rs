//! Holes 12 and 13: what marks a key as being loaded is nothing to anybody: whoever looks finds no
//! entry, and whoever would change an entry changes none.

use super::HOUR;
use super::held::Held;
use super::site::{Site, assert_k};

pub fn a_key_being_loaded_is_absent_to_everybody(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    let load = Held::old(&mine);
    for cache in [&mine, &theirs] {
        assert_eq!(cache.get::<String>("k").unwrap(), None);
        assert_eq!(cache.get_bytes("k").unwrap(), None);
        assert_eq!(cache.peek::<String>("k").unwrap(), None);
        assert_eq!(cache.get_versioned::<String>("k").unwrap().map(|found| found.0), None);
        assert_eq!(cache.lookup::<String>("k").unwrap().into_value(), None);
        assert_eq!(cache.get_many::<String>(["j", "k"]).unwrap(), [None, None]);
        assert!(!cache.exists("k").unwrap());
        assert_eq!(cache.ttl("k").unwrap(), None);
        assert_eq!(cache.keys("*").unwrap(), [""; 0]);
        assert_eq!(cache.dry_run().invalidate_pattern("*").unwrap(), [""; 0]);
        assert!(!cache.replace("k", "replaced").unwrap());
        assert!(!cache.touch("k").unwrap() && !cache.expire("k", HOUR).unwrap());
    }
    assert_eq!(load.end(), "old");
    assert_eq!(mine.stats().overtaken, 0, "nothing was changed");
    assert_k(site, &mine, Some("old"));
    assert_eq!(theirs.keys("*").unwrap(), ["k"]);
}

/// Hole 12: a dead owner would be waited for as long as somebody touches its key.
pub fn looking_and_touching_leave_the_lease_as_it_is(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    let load = Held::old(&mine);
    let before = site.left("k").unwrap();
    assert!((1..=32_000).contains(&before), "{before}");
    for _ in 0..3 {
        assert!(!theirs.touch("k").unwrap());
        assert!(!theirs.expire("k", HOUR).unwrap());
        assert_eq!(theirs.entry("k").sliding(HOUR).get::<String>().unwrap(), None);
        assert!(!theirs.entry("k").ttl(HOUR).replace("replaced").unwrap());
    }
    let after = site.left("k").unwrap();
    assert!((1..=before).contains(&after), "{after} of {before}");
    assert_eq!(load.end(), "old");
    assert_k(site, &mine, Some("old"));
}

/// Hole 13.
pub fn adding_overtakes_a_load(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    for tags in [&[][..], &["t"]] {
        let load = Held::old(&mine);
        assert!(theirs.entry("k").tags(tags).add("new").unwrap(), "nothing is there yet");
        assert!(!theirs.entry("k").tags(tags).add("newer").unwrap());
        load.end_overtaken(&mine);
        assert_k(site, &mine, Some("new"));
        theirs.delete("k").unwrap();
    }
}

pub fn counting_overtakes_a_load(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    let load = Held::old(&mine);
    assert_eq!(theirs.increment("k", 5).unwrap(), 5, "it begins at nothing");
    assert_eq!(theirs.decrement("k", 7).unwrap(), -2);
    load.end_overtaken(&mine);
    assert_eq!(mine.get::<i64>("k").unwrap(), Some(-2));
}

pub fn deleting_what_is_being_loaded_deletes_nothing_and_overtakes(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    let load = Held::old(&mine);
    assert!(!theirs.delete("k").unwrap(), "there was no entry");
    assert_eq!(site.left("k"), None, "and now there is not even a placeholder");
    load.end_overtaken(&mine);
    assert_k(site, &mine, None);
    let load = Held::old(&mine);
    assert_eq!(theirs.delete_many(["k"]).unwrap(), 0);
    load.end_overtaken(&mine);
    assert_k(site, &mine, None);
}
