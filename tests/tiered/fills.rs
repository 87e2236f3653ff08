//! A value on its way into the near tier, overtaken by what happens before it is there.

use std::sync::atomic::Ordering;

use yokedcache::backend::Heard;

use crate::far::Site;

/// An old value is read, something happens, the value comes: it is not served any more.
fn overtaken(happens: impl Fn(&Site)) {
    overtakes(true, &happens);
    overtakes(false, &happens);
}

fn overtakes(tagged: bool, happens: impl Fn(&Site)) {
    let site = Site::new();
    let tags: &[&str] = if tagged { &["t"] } else { &[] };
    site.cache.entry("k").tags(tags).set("old").unwrap();
    assert_eq!(site.meanwhile("k", || happens(&site)).as_deref(), Some("old"), "it read before");
    let truth = site.other.get::<String>("k").unwrap();
    assert_eq!(site.get("k"), truth);
    assert_ne!(truth.as_deref(), Some("old"));
    let mut many = site.cache.get_many::<String>(["k"]).unwrap();
    assert_eq!(many.pop().unwrap(), truth);
}

#[test]
fn what_nothing_overtakes_stays_near() {
    let site = Site::new();
    site.cache.entry("k").tag("t").set("v").unwrap();
    let read = site.meanwhile("k", || {
        site.cache.set("other", "v").unwrap();
        site.far.tell(Heard::Key("p:another"));
    });
    assert_eq!(read.as_deref(), Some("v"));
    let reads = site.reads();
    for _ in 0..3 {
        assert_eq!(site.get("k").as_deref(), Some("v"));
    }
    assert_eq!(site.reads(), reads);
}

#[test]
fn an_own_delete() {
    overtaken(|site| assert!(site.cache.delete("k").unwrap()));
}

#[test]
fn an_own_write() {
    overtaken(|site| assert!(site.cache.set("k", "new").unwrap()));
}

#[test]
fn an_own_batch() {
    overtaken(|site| {
        site.cache.delete_many(["j", "k"]).unwrap();
    });
}

#[test]
fn an_own_invalidation_of_a_tag() {
    overtakes(true, |site| {
        site.cache.invalidate_tags(["t"]).unwrap();
    });
}

#[test]
fn an_own_invalidation_of_all_of_some_tags() {
    overtakes(true, |site| {
        site.cache.invalidate_tags_all(["t"]).unwrap();
    });
}

#[test]
fn an_own_pattern() {
    overtaken(|site| {
        site.cache.invalidate_pattern("k*").unwrap();
    });
}

#[test]
fn an_own_clear() {
    overtaken(|site| {
        site.cache.clear().unwrap();
    });
}

#[test]
fn a_load_that_replaced_it() {
    overtaken(|site| {
        site.cache.delete("k").unwrap();
        let loaded = site.cache.get_or_compute("k", || "new".to_owned());
        assert_eq!(loaded.unwrap(), "new");
    });
}

#[test]
fn a_change_by_others_that_is_heard_of() {
    overtaken(|site| {
        site.other.set("k", "new").unwrap();
        site.far.tell(Heard::Key("p:k"));
    });
}

#[test]
fn a_tag_invalidated_by_others_that_is_heard_of() {
    overtakes(true, |site| {
        site.other.invalidate_tags(["t"]).unwrap();
        site.far.tell(Heard::Tag("p:t"));
    });
}

#[test]
fn the_word_that_anything_may_have_changed() {
    overtaken(|site| {
        site.other.clear().unwrap();
        site.far.tell(Heard::Everything);
    });
}

/// Unheard of, as there was nobody to hear it.
#[test]
fn a_time_without_hearing() {
    overtaken(|site| {
        site.far.lose();
        site.other.delete("k").unwrap();
        site.far.begin();
    });
}

#[test]
fn an_answer_from_where_nothing_is_heard_of() {
    overtaken(|site| {
        site.far.covers.fetch_add(1, Ordering::SeqCst);
        site.other.delete("k").unwrap();
    });
    overtaken(|site| {
        site.far.covers.store(0, Ordering::SeqCst);
        site.other.delete("k").unwrap();
    });
}

#[test]
fn nothing_stays_near_that_was_read_while_nothing_was_heard_of() {
    let site = Site::new();
    site.cache.set("k", "old").unwrap();
    site.far.lose();
    assert_eq!(site.get("k").as_deref(), Some("old"));
    site.other.delete("k").unwrap();
    site.far.begin();
    assert_eq!(site.get("k"), None);
}

/// A reader that began before the loss comes back while there is nobody to hear.
#[test]
fn a_fill_that_comes_while_nothing_is_heard_of() {
    let site = Site::new();
    site.cache.set("k", "old").unwrap();
    site.meanwhile("k", || site.far.lose());
    site.other.delete("k").unwrap();
    site.far.begin();
    assert_eq!(site.get("k"), None);
}

#[test]
fn of_two_readers_the_later_answer_stays() {
    let site = Site::new();
    site.cache.set("k", "old").unwrap();
    site.meanwhile("k", || {
        site.other.set("k", "new").unwrap();
        site.far.tell(Heard::Key("p:k"));
        assert_eq!(site.get("k").as_deref(), Some("new"));
    });
    let reads = site.reads();
    assert_eq!(site.get("k").as_deref(), Some("new"));
    assert_eq!(site.reads(), reads, "it stayed near");
}

#[test]
fn a_batch_may_name_a_key_twice() {
    let site = Site::new();
    site.cache.set("a", "1").unwrap();
    site.cache.set("b", "2").unwrap();
    for _ in 0..2 {
        let many = site.cache.get_many::<String>(["a", "b", "a", "c", "a"]).unwrap();
        let many: Vec<_> = many.iter().map(|value| value.as_deref().unwrap_or("")).collect();
        assert_eq!(many, ["1", "2", "1", "", "1"]);
    }
    let reads = site.reads();
    site.cache.get_many::<String>(["a", "b", "a"]).unwrap();
    assert_eq!(site.reads(), reads);
}
