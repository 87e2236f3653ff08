//! Bad input is a typed error, and changes nothing.

use std::collections::BTreeMap;

use yokedcache::{Cache, ErrorKind, MAX_KEY, Pattern};

use super::invalidation::{has_scan, has_tags};
use super::rig::Rig;

/// The kinds of error of every call that takes a key.
fn refusals(cache: &Cache, key: &str) -> Vec<ErrorKind> {
    let results = [
        cache.get::<u8>(key).map(|_| ()),
        cache.get_bytes(key).map(|_| ()),
        cache.get_arc::<u8>(key).map(|_| ()),
        cache.peek::<u8>(key).map(|_| ()),
        cache.lookup::<u8>(key).map(|_| ()),
        cache.set(key, &1).map(|_| ()),
        cache.set_bytes(key, "x").map(|_| ()),
        cache.add(key, &1).map(|_| ()),
        cache.replace(key, &1).map(|_| ()),
        cache.delete(key).map(|_| ()),
        cache.exists(key).map(|_| ()),
        cache.ttl(key).map(|_| ()),
        cache.touch(key).map(|_| ()),
        cache.increment(key, 1).map(|_| ()),
        cache.get_or_compute(key, || 1).map(|_| ()),
        cache.get_many::<u8>(["good", key]).map(|_| ()),
        cache.set_many([("good", 1), (key, 1)]).map(|_| ()),
        cache.delete_many(["good", key]).map(|_| ()),
    ];
    results.into_iter().map(|result| result.unwrap_err().kind()).collect()
}

pub fn an_empty_key_is_refused_everywhere(rig: &Rig) {
    let cache = rig.cache();
    cache.set("good", &7).unwrap();
    for cache in [cache.clone(), cache.namespace("ns")] {
        assert!(refusals(&cache, "").iter().all(|kind| *kind == ErrorKind::InvalidKey));
    }
    assert_eq!(cache.get("good").unwrap(), Some(7));
}

pub fn a_key_that_is_too_long_is_refused(rig: &Rig) {
    let cache = rig.cache();
    let prefix = cache.namespace("ns");
    let longest = "k".repeat(MAX_KEY - "yokedcache:".len());
    assert!(cache.set(&longest, &1).unwrap());
    assert_eq!(cache.get(&longest).unwrap(), Some(1));
    for (cache, length) in [(&cache, MAX_KEY + 1), (&prefix, MAX_KEY)] {
        let kinds = refusals(cache, &"k".repeat(length));
        assert!(kinds.iter().all(|kind| *kind == ErrorKind::InvalidKey));
    }
}

pub fn bad_tags_are_refused(rig: &Rig) {
    let cache = rig.cache();
    if !has_tags(rig, &cache) {
        return;
    }
    let long = "t".repeat(MAX_KEY + 1);
    for tag in ["", &long] {
        let errors = [
            cache.entry("k").tags(["good", tag]).set(&1).unwrap_err(),
            cache.entry("k").tag(tag).get_or_compute(|| 1).unwrap_err(),
            cache.invalidate_tags(["good", tag]).unwrap_err(),
            cache.invalidate_tags_all([tag]).unwrap_err(),
            cache.dry_run().invalidate_tags([tag]).unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::InvalidTag));
    }
    assert!(!cache.exists("k").unwrap());
}

pub fn bad_patterns_are_refused(rig: &Rig) {
    let cache = rig.cache();
    cache.set("k", &1).unwrap();
    for pattern in ["", "[", "k[", r"k\"] {
        let errors = [
            cache.invalidate_pattern(pattern).unwrap_err(),
            cache.invalidate_pattern(pattern.to_owned()).unwrap_err(),
            cache.invalidate_pattern(&pattern.to_owned()).unwrap_err(),
            cache.dry_run().invalidate_pattern(pattern).unwrap_err(),
            cache.keys(pattern).unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::InvalidPattern));
    }
    assert_eq!(Pattern::regex("(k").unwrap_err().kind(), ErrorKind::InvalidPattern);
    assert!(cache.exists("k").unwrap());
}

pub fn a_value_that_cannot_be_encoded_is_refused(rig: &Rig) {
    let cache = rig.cache();
    cache.set("k", "old").unwrap();
    let no_json = BTreeMap::from([(vec![1], 1)]);
    assert_eq!(cache.set("k", &no_json).unwrap_err().kind(), ErrorKind::Encode);
    assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("old"));
}

#[cfg(feature = "fuzzy")]
pub fn bad_searches_are_refused(rig: &Rig) {
    let cache = rig.cache();
    let long = "q".repeat(257);
    let errors = [
        cache.fuzzy_search("").unwrap_err(),
        cache.fuzzy_search(&long).unwrap_err(),
        cache.search("q").threshold(101).find().unwrap_err(),
        cache.search("q").threshold(-1).find().unwrap_err(),
        cache.search("q").threshold(f64::NAN).find().unwrap_err(),
        cache.search("q").limit(0).find().unwrap_err(),
    ];
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::InvalidArgument));
    if has_tags(rig, &cache) {
        let error = cache.search("q").tag("").find().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidTag);
    }
}

#[cfg(feature = "fuzzy")]
pub fn fuzzy_search_finds_misspelt_keys(rig: &Rig) {
    let cache = rig.cache().namespace("ns");
    if !has_scan(rig, &cache) {
        return;
    }
    for key in ["user:alice", "user:bob", "order:alice", "session:4711"] {
        cache.set(key, &key.to_uppercase()).unwrap();
    }
    let found = cache.fuzzy_search("user:alcie").unwrap();
    assert_eq!(found[0].key, "user:alice");
    assert_eq!(found[0].value::<String>().unwrap().as_deref(), Some("USER:ALICE"));
    assert_eq!(found[0].value::<u8>().unwrap(), None);
    assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
    assert!(found.iter().all(|found| found.score >= 80.0));
    let exact = cache.search("session").threshold(100).find().unwrap();
    assert_eq!((exact.len(), exact[0].score), (1, 100.0));
    assert!(cache.fuzzy_search("zzzz").unwrap().is_empty());
    assert!(cache.fuzzy_search("usr 4711").unwrap().is_empty());
    assert_eq!(cache.fuzzy_search("usr bob").unwrap()[0].key, "user:bob");
}

#[cfg(feature = "fuzzy")]
pub fn fuzzy_search_has_scopes_and_limits(rig: &Rig) {
    let cache = rig.cache();
    if !has_scan(rig, &cache) {
        return;
    }
    for number in 0..1000 {
        cache.set(format!("item:{number:04}"), &number).unwrap();
    }
    assert_eq!(cache.fuzzy_search("item").unwrap().len(), 10);
    assert_eq!(cache.search("item").limit(300).find().unwrap().len(), 300);
    let scoped = cache.search("item").prefix("item:00").limit(500).find().unwrap();
    assert_eq!(scoped.len(), 100);
    assert!(scoped.iter().all(|found| found.key.starts_with("item:00")));
    assert_eq!(cache.search("ITEM").threshold(50).find().unwrap().len(), 0);
    assert_eq!(cache.search("ITEM").ignore_case().find().unwrap().len(), 10);
    cache.set("odd *name?", &1).unwrap();
    assert_eq!(cache.search("name").prefix("odd *").find().unwrap().len(), 1);
    if has_tags(rig, &cache) {
        cache.entry("item:tagged").tag("t").set(&1).unwrap();
        let tagged = cache.search("item").tag("t").find().unwrap();
        assert_eq!(tagged.iter().map(|found| &found.key).collect::<Vec<_>>(), ["item:tagged"]);
    }
}
