//! Search by a query with typing errors.

use yokedcache::ErrorKind;

use super::invalidation::{has_scan, has_tags};
use super::rig::Rig;

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

pub fn fuzzy_search_has_scopes_and_limits(rig: &Rig) {
    let cache = rig.cache();
    if !has_scan(rig, &cache) {
        return;
    }
    for number in 0..1000 {
        cache.set(format!("item:{number:04}"), &number).unwrap();
    }
    assert_eq!(cache.fuzzy_search("item").unwrap().len(), 10);
    let other = cache.with_schema(7);
    other.set("item", &1).unwrap();
    let found = other.search("item").find().unwrap();
    assert!(found.is_empty() || found.len() == 1, "entries of this schema only");
    cache.set("item", &1).unwrap();
    assert_eq!(cache.search("item").limit(1 << 62).find().unwrap().len(), 1001);
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
    } else {
        let error = cache.search("item").tag("t").find().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
