//! Bad input is a typed error, and changes nothing.

use std::collections::BTreeMap;

use yokedcache::{Cache, ErrorKind, MAX_KEY, Pattern};

use super::invalidation::has_tags;
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
    let many = (0..300).map(|number| number.to_string());
    let error = cache.entry("k").tags(many).set(&1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTag, "too many");
    assert!(!cache.exists("k").unwrap());
}

pub fn bad_patterns_are_refused(rig: &Rig) {
    let cache = rig.cache();
    cache.set("k", &1).unwrap();
    for pattern in ["", "[", "k[", r"k\"] {
        let owned = pattern.to_owned();
        let errors = [
            cache.invalidate_pattern(pattern).unwrap_err(),
            cache.invalidate_pattern(pattern.to_owned()).unwrap_err(),
            cache.invalidate_pattern(&owned).unwrap_err(),
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
