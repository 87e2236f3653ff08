//! What an invalidation takes, and what it leaves.

use std::ops::ControlFlow;
use std::time::Instant;

use yokedcache::{Cache, ErrorKind, Pattern};

use super::rig::Rig;

/// The keys left, sorted.
fn left(cache: &Cache) -> Vec<String> {
    cache.keys("*").unwrap()
}

/// Whether the backend has tags; if not, they are refused by name and never silently ignored.
pub(super) fn has_tags(rig: &Rig, cache: &Cache) -> bool {
    let can = rig.can().tags;
    if !can {
        let refused = [
            cache.entry("k").tag("t").set(&1).unwrap_err(),
            cache.invalidate_tags(["t"]).unwrap_err(),
            cache.dry_run().invalidate_tags(["t"]).unwrap_err(),
        ];
        assert!(refused.iter().all(|error| error.kind() == ErrorKind::Unsupported));
        assert!(!cache.exists("k").unwrap());
    }
    can
}

/// The same for listing keys.
pub(super) fn has_scan(rig: &Rig, cache: &Cache) -> bool {
    let can = rig.can().scan;
    if !can {
        let refused = [
            cache.invalidate_pattern("*").unwrap_err(),
            cache.keys("*").unwrap_err(),
            cache.clear().unwrap_err(),
        ];
        assert!(refused.iter().all(|error| error.kind() == ErrorKind::Unsupported));
    }
    can
}

pub fn a_tag_takes_its_entries_and_no_others(rig: &Rig) {
    let cache = rig.cache();
    if !has_tags(rig, &cache) {
        return;
    }
    cache.entry("ab").tags(["a", "b"]).set(&1).unwrap();
    cache.entry("b").tags(["b"]).set(&1).unwrap();
    cache.set("plain", &1).unwrap();
    let removed = cache.invalidate_tags(["a"]).unwrap();
    assert!(removed.entries.is_none_or(|entries| entries == 1) && removed.pending == rig.defers());
    let there = ["ab", "b", "plain"].map(|key| cache.exists(key).unwrap());
    assert_eq!(there, [false, true, true]);
    assert!(!cache.delete("ab").unwrap());
    assert!(cache.add("ab", &2).unwrap(), "what a tag took can be added again");
    cache.invalidate_tags(["nobody's"]).unwrap();
    cache.invalidate_tags([""; 0]).unwrap();
    assert!(cache.exists("b").unwrap());
}

pub fn any_of_and_all_of(rig: &Rig) {
    let cache = rig.cache();
    if !has_tags(rig, &cache) || !has_scan(rig, &cache) {
        return;
    }
    let fill = || {
        cache.entry("ab").tags(["a", "b"]).set(&1).unwrap();
        cache.entry("a").tag("a").set(&1).unwrap();
        cache.entry("b").tag("b").set(&1).unwrap();
        cache.entry("c").tag("c").set(&1).unwrap();
    };
    fill();
    cache.invalidate_tags(["a", "b"]).unwrap();
    assert_eq!(left(&cache), ["c"]);
    fill();
    cache.invalidate_tags_all(["a", "b"]).unwrap();
    assert_eq!(left(&cache), ["a", "b", "c"]);
    cache.invalidate_tags_all(["a", "b", "c"]).unwrap();
    cache.invalidate_tags_all([""; 0]).unwrap();
    assert_eq!(left(&cache), ["a", "b", "c"]);
    cache.invalidate_tags_all(["a"]).unwrap();
    assert_eq!(left(&cache), ["b", "c"]);
}

pub fn retagging_drops_the_old_tags(rig: &Rig) {
    let cache = rig.cache();
    if !has_tags(rig, &cache) {
        return;
    }
    cache.entry("k").tags(["old", "kept"]).set(&1).unwrap();
    cache.entry("k").tags(["new", "kept"]).set(&2).unwrap();
    cache.invalidate_tags(["old"]).unwrap();
    assert_eq!(cache.get("k").unwrap(), Some(2));
    cache.invalidate_tags(["new"]).unwrap();
    assert!(!cache.exists("k").unwrap());
    cache.entry("k").tag("old").set(&1).unwrap();
    cache.set("k", &2).unwrap();
    cache.invalidate_tags(["old"]).unwrap();
    assert!(cache.exists("k").unwrap(), "an untagged write leaves no tag");
    cache.entry("k").tags(["twice", "twice"]).set(&1).unwrap();
    cache.invalidate_tags(["twice", "twice"]).unwrap();
    assert!(!cache.exists("k").unwrap());
}

pub fn what_is_stored_after_an_invalidation_stays(rig: &Rig) {
    let cache = rig.cache();
    if !has_tags(rig, &cache) {
        return;
    }
    for round in 0..10 {
        cache.entry("k").tag("t").set(&round).unwrap();
        assert_eq!(cache.get("k").unwrap(), Some(round));
        cache.invalidate_tags(["t"]).unwrap();
        assert_eq!(cache.get::<i32>("k").unwrap(), None);
    }
}

pub fn tags_belong_to_their_namespace(rig: &Rig) {
    let cache = rig.cache();
    if !has_tags(rig, &cache) {
        return;
    }
    let (eu, us) = (cache.namespace("eu"), cache.namespace("us"));
    eu.entry("k").tag("t").set(&1).unwrap();
    us.entry("k").tag("t").set(&1).unwrap();
    cache.entry("k").tag("t").set(&1).unwrap();
    eu.invalidate_tags(["t"]).unwrap();
    let there = [&eu, &us, &cache].map(|cache| cache.exists("k").unwrap());
    assert_eq!(there, [false, true, true]);
    cache.invalidate_tags(["us:t"]).unwrap();
    assert!(!us.exists("k").unwrap(), "the tag `t` of `us` is the tag `us:t`");
}

pub fn a_pattern_takes_exactly_what_matches(rig: &Rig) {
    let cache = rig.cache();
    if !has_scan(rig, &cache) {
        return;
    }
    let keys = ["user:1", "user:2", "users:1", "user", "u[s]er:1", "xuser:1", "user:é", "USER:1"];
    let table: [(&str, &[&str]); 6] = [
        ("user:*", &["user:1", "user:2", "user:é"]),
        (r"u\[s\]er:*", &["u[s]er:1"]),
        ("user:[0-1]", &["user:1"]),
        ("user:?", &["user:1", "user:2"]),
        ("[^u]*", &["USER:1", "xuser:1"]),
        ("nothing", &[]),
    ];
    for (pattern, taken) in table {
        keys.iter().for_each(|key| assert!(cache.set(key, &1).unwrap()));
        let mut named = cache.dry_run().invalidate_pattern(pattern).unwrap();
        named.sort();
        assert_eq!(named, taken, "{pattern}");
        let removed = cache.invalidate_pattern(pattern).unwrap();
        assert!(removed.entries.is_none_or(|entries| entries == taken.len() as u64), "{pattern}");
        let mut expected: Vec<_> = keys.iter().filter(|key| !taken.contains(key)).collect();
        expected.sort();
        assert_eq!(left(&cache).iter().collect::<Vec<_>>(), expected, "{pattern}");
    }
}

pub fn patterns_stay_in_their_namespace(rig: &Rig) {
    let cache = rig.cache();
    if !has_scan(rig, &cache) {
        return;
    }
    let strange = cache.namespace("a*[b]?");
    strange.set("k", &1).unwrap();
    cache.namespace("axbx").set("k", &1).unwrap();
    cache.namespace("ax[b]x").set("k", &1).unwrap();
    assert_eq!(strange.keys("*").unwrap(), ["k"]);
    strange.invalidate_pattern("*").unwrap();
    assert_eq!(left(&cache), ["ax[b]x:k", "axbx:k"]);
}

pub fn a_regex_sees_the_key_without_its_namespace(rig: &Rig) {
    let cache = rig.cache();
    if !has_scan(rig, &cache) {
        return;
    }
    let eu = cache.namespace("eu");
    eu.set("user:17", &1).unwrap();
    eu.set("user:x", &1).unwrap();
    cache.set("user:17", &1).unwrap();
    eu.invalidate_pattern(Pattern::regex(r"^user:\d+$").unwrap()).unwrap();
    assert_eq!(left(&cache), ["eu:user:x", "user:17"]);
}

pub fn a_dry_run_names_what_would_go_and_removes_nothing(rig: &Rig) {
    let cache = rig.cache().namespace("ns");
    if !has_tags(rig, &cache) || !has_scan(rig, &cache) {
        return;
    }
    cache.entry("ab").tags(["a", "b"]).set(&1).unwrap();
    cache.entry("a").tag("a").set(&1).unwrap();
    cache.set("plain", &1).unwrap();
    let dry = cache.dry_run();
    assert_eq!(dry.invalidate_tags(["a"]).unwrap(), ["a", "ab"]);
    assert_eq!(dry.invalidate_tags(["b", "c"]).unwrap(), ["ab"]);
    assert_eq!(dry.invalidate_tags_all(["a", "b"]).unwrap(), ["ab"]);
    assert!(dry.invalidate_tags_all([""; 0]).unwrap().is_empty());
    assert_eq!(dry.invalidate_pattern("a*").unwrap(), ["a", "ab"]);
    assert_eq!(dry.clear().unwrap(), ["a", "ab", "plain"]);
    assert_eq!(left(&cache).len(), 3);
    assert_eq!(cache.stats().invalidations, 0);
}

pub fn clearing_a_namespace_leaves_the_others(rig: &Rig) {
    let cache = rig.cache();
    if !has_scan(rig, &cache) {
        return;
    }
    let (a, ab) = (cache.namespace("a"), cache.namespace("ab"));
    a.set("k", &1).unwrap();
    ab.set("k", &1).unwrap();
    cache.set("a", &1).unwrap();
    cache.set("ak", &1).unwrap();
    a.clear().unwrap();
    assert_eq!(left(&cache), ["a", "ab:k", "ak"]);
}

pub fn clearing_a_parent_clears_its_children(rig: &Rig) {
    let cache = rig.cache();
    if !has_scan(rig, &cache) {
        return;
    }
    let parent = cache.namespace("p");
    parent.namespace("c").set("k", &1).unwrap();
    parent.set("k", &1).unwrap();
    cache.set("k", &1).unwrap();
    parent.clear().unwrap();
    assert_eq!(left(&cache), ["k"]);
}

pub fn keys_lists_live_keys_sorted(rig: &Rig) {
    let cache = rig.cache();
    if !has_scan(rig, &cache) {
        return;
    }
    let mut expected = Vec::new();
    for number in 0..1500 {
        let key = format!("k{number:04}");
        cache.set(&key, &1).unwrap();
        expected.push(key);
    }
    cache.entry("gone").ttl(rig.unit()).set(&1).unwrap();
    rig.pass(rig.unit() * 2);
    assert_eq!(left(&cache), expected);
    assert_eq!(cache.keys("k000?").unwrap().len(), 10);
}

pub fn scanning_may_use_the_cache_and_stop(rig: &Rig) {
    let cache = rig.cache();
    if !has_scan(rig, &cache) {
        return;
    }
    for number in 0..2000 {
        cache.set(format!("k{number}"), &number).unwrap();
    }
    let mut seen = 0;
    cache
        .scan("k*", |page| {
            for key in page {
                seen += 1;
                cache.delete(key).unwrap();
                cache.set(key.replace('k', "n"), &1).unwrap();
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(seen >= 2000);
    assert!(cache.keys("k*").unwrap().is_empty());
    assert_eq!(cache.keys("n*").unwrap().len(), 2000);
    let mut pages = 0;
    cache
        .scan("*", |_| {
            pages += 1;
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(pages, 1);
}

pub fn a_hundred_thousand_entries_under_one_tag_go(rig: &Rig) {
    let cache = rig.cache();
    if !has_tags(rig, &cache) {
        return;
    }
    for number in 0..100_000 {
        cache.entry(format!("k{number}")).tag("t").set(&number).unwrap();
    }
    let started = Instant::now();
    cache.invalidate_tags(["t"]).unwrap();
    println!("100,000 entries invalidated in {:?}", started.elapsed());
    for number in (0..100_000).step_by(997) {
        assert!(!cache.exists(format!("k{number}")).unwrap());
    }
}
