//! Whatever changes a key overtakes its load. A fill is a compare-and-swap from the placeholder that
//! lies under the key itself, so there is nothing else to be changed besides.

use super::held::Held;
use super::site::{Site, assert_k};
use yokedcache::{Cache, Pattern};

/// What another process does, and what is under the key then.
type Overtake<'o> = (&'o dyn Fn(&Cache), Option<&'static str>);

pub fn a_load_is_overtaken_by_another_process(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    let overtakes: [Overtake<'_>; 7] = [
        (&|cache| assert!(!cache.delete("k").unwrap()), None),
        (&|cache| assert!(cache.set("k", "new").unwrap()), Some("new")),
        (&|cache| assert!(cache.entry("k").tag("u").set("new").unwrap()), Some("new")),
        (&|cache| _ = cache.delete_many(["j", "k"]).unwrap(), None),
        (&|cache| _ = cache.invalidate_pattern("k*").unwrap(), None),
        (&|cache| _ = cache.invalidate_pattern(Pattern::regex("^k$").unwrap()).unwrap(), None),
        (&|cache| _ = cache.clear().unwrap(), None),
    ];
    for (overtake, left) in overtakes {
        let load = Held::old(&mine);
        overtake(&theirs);
        load.end_overtaken(&mine);
        assert_k(site, &mine, left);
        mine.delete("k").unwrap();
    }
}

/// Hole 2: a fence beside the key is unknown to other programs.
pub fn a_load_is_overtaken_by_another_program(site: &dyn Site) {
    let mine = site.cache();
    let load = Held::old(&mine);
    site.delete("k");
    load.end_overtaken(&mine);
    assert_k(site, &mine, None);
    let load = Held::old(&mine);
    site.set("k", "\"new\"");
    load.end_overtaken(&mine);
    assert_k(site, &mine, Some("new"));
}

pub fn clearing_a_namespace_overtakes_its_loads_and_no_others(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    let inside = Held::load(&mine.namespace("eu"), "k", &[], "old");
    let outside = Held::load(&mine, "k", &[], "old");
    theirs.namespace("eu").clear().unwrap();
    inside.end_overtaken(&mine);
    assert_eq!(outside.end(), "old");
    assert_k(site, &mine, Some("old"));
    assert_eq!(theirs.namespace("eu").get::<String>("k").unwrap(), None);
}
