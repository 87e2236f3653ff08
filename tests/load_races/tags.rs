//! Tags: a load is stored under the versions its tags had before it read anything, and read under
//! those they have now.

use super::held::Held;
use super::site::{Site, assert_k};
use yokedcache::{Cache, Error, Loaded};

/// The load of `k` that names the tag `late` in its loader and will say "old".
fn names_late(cache: &Cache) -> Held {
    let cache = cache.clone();
    Held::begin(move |gate| {
        let loaded = cache.entry("k").tag("t").load_with(|load| {
            load.tag("late")?;
            gate.wait();
            Ok::<_, Error>(Loaded::Value("old".to_owned()))
        });
        loaded.unwrap().unwrap().unwrap()
    })
}

pub fn an_invalidation_overtakes_a_load_that_named_the_tag_up_front(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    for tag in ["a", "b"] {
        let load = Held::load(&mine, "k", &["a", "b"], "old");
        theirs.invalidate_tags([tag]).unwrap();
        load.end_overtaken(&mine);
        assert_k(site, &mine, None);
    }
    let load = Held::load(&mine, "k", &["a", "b"], "old");
    theirs.invalidate_tags(["c"]).unwrap();
    assert_eq!(load.end(), "old");
    assert_k(site, &mine, Some("old"));
}

/// Hole 9: a version that is read after the loader shows no invalidation that came during it. The
/// first round is that of a tag nobody has heard of.
pub fn an_invalidation_overtakes_a_load_that_named_the_tag_while_it_ran(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    for tag in ["late", "t", "late"] {
        let load = names_late(&mine);
        theirs.invalidate_tags([tag]).unwrap();
        load.end_overtaken(&mine);
        assert_k(site, &mine, None);
    }
    let load = names_late(&mine);
    site.delete("late#t");
    load.end_overtaken(&mine);
    assert_k(site, &mine, None);
}

/// Naming a tag asks for the lease anew. It must not be given for what was overtaken before, nor
/// under newer versions of the tags named before.
pub fn naming_another_tag_makes_good_for_nothing(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    let overtakes: [&dyn Fn(); 4] = [
        &|| _ = theirs.invalidate_tags(["t"]).unwrap(),
        &|| _ = theirs.delete("k").unwrap(),
        &|| site.delete("k"),
        &|| site.delete("t#t"),
    ];
    for overtake in overtakes {
        let cache = mine.clone();
        let load = Held::begin(move |gate| {
            let loaded = cache.entry("k").tag("t").load_with(|load| {
                gate.wait();
                load.tag("late")?;
                Ok::<_, Error>(Loaded::Value("old".to_owned()))
            });
            loaded.unwrap().unwrap().unwrap()
        });
        overtake();
        load.end_overtaken(&mine);
        assert_k(site, &mine, None);
    }
}

pub fn a_tag_may_be_invalidated_before_the_load_names_it(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    for cache in [&mine, &theirs] {
        cache.entry("other").tag("late").set("v").unwrap();
    }
    let loaded = mine.entry("k").load_with(|load| {
        theirs.invalidate_tags(["late"])?;
        load.tag("late")?;
        Ok::<_, Error>(Loaded::Value("fresh".to_owned()))
    });
    assert_eq!(loaded.unwrap().unwrap().as_deref(), Some("fresh"));
    assert_k(site, &mine, Some("fresh"));
    theirs.invalidate_tags(["late"]).unwrap();
    assert_k(site, &mine, None);
}

/// Which tags a load will have is not known, so it is overtaken whatever they are.
pub fn all_of_some_tags_overtakes_loads_under_way(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    for all in [&["a", "b"][..], &["a"], &["a", "unheard of"]] {
        let load = Held::load(&mine, "k", &["a", "b"], "old");
        theirs.invalidate_tags_all(all).unwrap();
        load.end_overtaken(&mine);
        assert_k(site, &mine, None);
    }
}

pub fn a_record_lost_under_way_overtakes_the_load(site: &dyn Site) {
    let mine = site.cache();
    let load = Held::old(&mine);
    site.delete("t#t");
    load.end_overtaken(&mine);
    assert_k(site, &mine, None);
}

/// Hole 8: with versions that count the record would come back as it was.
pub fn a_record_lost_and_made_anew_overtakes_the_load(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    for cache in [&theirs, &mine] {
        let load = Held::old(&mine);
        site.delete("t#t");
        // Mine remembers the version the record had.
        assert!(cache.entry("other").tag("t").set("v").unwrap());
        load.end_overtaken(&mine);
        assert_k(site, &mine, None);
        assert!(site.cache().exists("other").unwrap());
    }
}

/// Hole 8, after the fact: eviction may take the record and leave the value.
pub fn a_record_lost_after_the_load_takes_the_value_with_it(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    for cache in [&theirs, &mine] {
        assert_eq!(Held::old(&mine).end(), "old");
        assert_k(site, &mine, Some("old"));
        site.delete("t#t");
        assert_k(site, &mine, None);
        assert!(cache.entry("other").tag("t").set("v").unwrap());
        assert_eq!(cache.get_or_compute("third", || 1).unwrap(), 1);
        assert_k(site, &mine, None);
        assert_eq!(Held::load(&mine, "k", &["t"], "new").end(), "new");
        assert_k(site, &mine, Some("new"));
        theirs.clear().unwrap();
    }
}

/// Hole 6, of a load: its fill would be refused, or stored and never read.
pub fn a_load_under_a_version_out_of_date_is_stored_and_read(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    mine.entry("other").tag("t").set("v").unwrap();
    for lost in [false, true] {
        match lost {
            true => site.delete("t#t"),
            false => _ = theirs.invalidate_tags(["t"]).unwrap(),
        }
        assert_eq!(Held::load(&mine, "k", &["t"], "new").end(), "new");
        assert_k(site, &mine, Some("new"));
        assert_eq!(mine.stats().overtaken, 0, "lost: {lost}");
        mine.delete("k").unwrap();
    }
}

/// Hole 6: stored under the version that is remembered, the entry could not be read.
pub fn a_write_under_a_version_out_of_date_is_read(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    let entry = || mine.entry("k").tag("t");
    let writes: [&dyn Fn() -> bool; 3] =
        [&|| entry().set("new").unwrap(), &|| entry().add("new").unwrap(), &|| {
            theirs.set("k", "there").unwrap() && entry().replace("new").unwrap()
        }];
    for (index, write) in writes.iter().enumerate() {
        entry().set("old").unwrap();
        theirs.invalidate_tags(["t"]).unwrap();
        assert!(write(), "write {index}");
        assert_k(site, &mine, Some("new"));
    }
}

/// Hole 7.
pub fn what_a_tag_was_remembered_as_judges_no_read(site: &dyn Site) {
    let (mine, theirs) = (site.cache(), site.cache());
    for round in 0..3 {
        assert_eq!(Held::old(&mine).end(), "old");
        assert_k(site, &mine, Some("old"));
        theirs.invalidate_tags(["t"]).unwrap();
        assert!(!mine.exists("k").unwrap(), "round {round}");
        assert_eq!(mine.get_many::<String>(["k"]).unwrap(), [None], "round {round}");
        assert_k(site, &mine, None);
    }
    assert_eq!(Held::load(&mine, "k", &["t"], "new").end(), "new");
}
