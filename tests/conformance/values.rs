//! What is stored is what comes back.

use serde::{Deserialize, Serialize};
use yokedcache::backend::CodecId;
use yokedcache::{Cache, Cause, ErrorKind, Lookup, Ttl, Typed};

use super::rig::Rig;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
    age: u8,
    email: Option<String>,
}

fn ann() -> User {
    User { name: "Ann".into(), age: 41, email: None }
}

pub fn every_kind_of_bytes_comes_back(rig: &Rig) {
    let cache = rig.cache();
    let mebibyte = vec![0xa5; (1 << 20) - 1];
    let table: [&[u8]; 7] = [b"", b"x", b"a\0b", b"\xff\xfe\x00", b"5", b"\xc1V\x01", &mebibyte];
    for bytes in table {
        if rig.can().max_value.is_some_and(|most| bytes.len() + 1000 > most) {
            let error = cache.set_bytes("k", bytes.to_vec()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge);
            assert_eq!(cache.get_bytes("k").unwrap(), None, "not the older value either");
            continue;
        }
        assert!(cache.set_bytes("k", bytes.to_vec()).unwrap());
        let read = cache.get_bytes("k").unwrap();
        assert!(read.as_deref() == Some(bytes), "{} bytes", bytes.len());
    }
}

pub fn every_kind_of_value_comes_back(rig: &Rig) {
    fn round<T: Serialize + for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug>(
        cache: &Cache,
        value: T,
    ) {
        cache.set("k", &value).unwrap();
        assert_eq!(cache.get::<T>("k").unwrap().as_ref(), Some(&value));
    }
    let cache = rig.cache();
    round(&cache, ann());
    round(&cache, vec![ann(), ann()]);
    round(&cache, "text".to_owned());
    round(&cache, Some(5));
    round(&cache, i64::MIN);
    round(&cache, u64::MAX);
    round(&cache, 1.5);
    round(&cache, 'é');
    round(&cache, (1, "two".to_owned(), [3.0]));
    round(&cache, std::collections::BTreeMap::from([("a".to_owned(), 1)]));
}

pub fn falsy_values_are_hits(rig: &Rig) {
    let cache = rig.cache();
    cache.set("false", &false).unwrap();
    cache.set("zero", &0).unwrap();
    cache.set("empty", "").unwrap();
    cache.set("unit", &()).unwrap();
    cache.set("list", &Vec::<u8>::new()).unwrap();
    assert_eq!(cache.get::<bool>("false").unwrap(), Some(false));
    assert_eq!(cache.get::<i32>("zero").unwrap(), Some(0));
    assert_eq!(cache.get::<String>("empty").unwrap().as_deref(), Some(""));
    assert_eq!(cache.get::<()>("unit").unwrap(), Some(()));
    assert_eq!(cache.get::<Vec<u8>>("list").unwrap(), Some(vec![]));
    assert_eq!(cache.stats().hits, 5);
}

pub fn none_is_a_negative_entry(rig: &Rig) {
    let cache = rig.cache();
    assert!(cache.set("k", &None::<User>).unwrap());
    assert!(cache.exists("k").unwrap());
    assert_eq!(cache.get::<User>("k").unwrap(), None);
    assert_eq!(cache.get_bytes("k").unwrap(), None);
    assert!(matches!(cache.lookup::<User>("k").unwrap(), Lookup::Negative(_)));
    assert!(!cache.add("k", &ann()).unwrap(), "a known absence is an entry");
    assert!(cache.delete("k").unwrap());
    assert!(matches!(cache.lookup::<User>("k").unwrap(), Lookup::Miss(Cause::Absent)));
}

pub fn what_a_caller_changes_stays_its_own(rig: &Rig) {
    let cache = rig.cache();
    let mut user = ann();
    cache.set("k", &user).unwrap();
    user.age = 1;
    let mut read: User = cache.get("k").unwrap().unwrap();
    read.name.clear();
    assert_eq!(cache.get::<User>("k").unwrap(), Some(ann()));
}

pub fn keys_differ_by_case_and_spelling(rig: &Rig) {
    let cache = rig.cache();
    let keys = ["a", "A", "1", "01", "1 ", " 1", "a:b", "a::b", "é", "e\u{301}"];
    for (number, key) in keys.iter().enumerate() {
        cache.set(key, &number).unwrap();
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(cache.get::<usize>(key).unwrap(), Some(number), "{key}");
    }
}

pub fn any_utf8_is_a_key(rig: &Rig) {
    let cache = rig.cache();
    let long = "k".repeat(10_000);
    let keys =
        ["\r\n", "get x\r\ndelete y", "\0", "a b", "\u{10ffff}", "\u{200b}", "*?[a]\\", &long];
    for key in keys {
        cache.set(key, key).unwrap();
    }
    for key in keys {
        assert_eq!(cache.get::<String>(key).unwrap().as_deref(), Some(key));
        assert!(cache.delete(key).unwrap());
        assert!(!cache.exists(key).unwrap());
    }
}

pub fn delete_tells_whether_there_was_something(rig: &Rig) {
    let cache = rig.cache();
    assert!(!cache.delete("k").unwrap());
    cache.set("k", &1).unwrap();
    assert!(cache.delete("k").unwrap());
    assert!(!cache.delete("k").unwrap());
    cache.entry("k").ttl(rig.unit()).set(&1).unwrap();
    rig.pass(rig.unit() * 2);
    assert!(!cache.delete("k").unwrap(), "an expired entry is not there");
}

pub fn exists_sees_what_get_sees(rig: &Rig) {
    let cache = rig.cache();
    assert!(!cache.exists("k").unwrap());
    cache.entry("k").ttl(rig.unit()).set("v").unwrap();
    assert!(cache.exists("k").unwrap());
    rig.pass(rig.unit() * 2);
    assert!(!cache.exists("k").unwrap());
}

pub fn overwriting_replaces_value_tags_and_ttl(rig: &Rig) {
    let cache = rig.cache();
    cache.entry("k").ttl(rig.unit()).set("old").unwrap();
    cache.set("k", "new").unwrap();
    assert_eq!(cache.ttl("k").unwrap(), Some(Ttl::Never));
    rig.pass(rig.unit() * 2);
    assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("new"));
}

pub fn another_schema_is_a_miss_and_is_overwritten(rig: &Rig) {
    let (one, two) = (rig.cache().with_schema(1), rig.cache().with_schema(2));
    one.set("k", "old").unwrap();
    assert_eq!(two.get::<String>("k").unwrap(), None);
    assert_eq!(two.lookup::<String>("k").unwrap().cause(), Some(Cause::OtherVersion));
    assert!(!two.exists("k").unwrap());
    assert_eq!(two.ttl("k").unwrap(), None);
    let loaded = two.get_or_compute("k", || "new".to_owned()).unwrap();
    assert_eq!(loaded, "new");
    assert_eq!(two.get::<String>("k").unwrap().as_deref(), Some("new"));
    assert_eq!(one.get::<String>("k").unwrap(), None);
}

pub fn floats_come_back_to_the_last_bit(rig: &Rig) {
    let cache = rig.cache();
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..2_000 {
        bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        for float in [f64::from_bits(bits), (bits >> 11) as f64 / (1u64 << 53) as f64] {
            if float.is_finite() {
                cache.set("k", &float).unwrap();
                assert_eq!(cache.get::<f64>("k").unwrap(), Some(float));
            }
        }
    }
}

pub fn a_value_of_another_type_is_a_miss_with_its_cause(rig: &Rig) {
    let cache = rig.cache();
    cache.set("text", "no number").unwrap();
    cache.set_bytes("bytes", b"raw".to_vec()).unwrap();
    for key in ["text", "bytes"] {
        assert_eq!(cache.get::<u32>(key).unwrap(), None);
        assert_eq!(cache.lookup::<u32>(key).unwrap().cause(), Some(Cause::Undecodable));
        assert!(cache.exists(key).unwrap(), "the entry is left as it was");
    }
    assert_eq!(cache.stats().misses.undecodable, 4);
    assert_eq!(cache.get::<String>("text").unwrap().as_deref(), Some("no number"));
}

pub fn lookup_tells_hits_negatives_and_misses_apart(rig: &Rig) {
    let cache = rig.cache();
    let unit = rig.unit();
    cache.entry("hit").ttl(unit * 4).set("v").unwrap();
    cache.entry("none").ttl(unit * 4).set(&None::<String>).unwrap();
    cache.entry("gone").ttl(unit).set("v").unwrap();
    rig.pass(unit * 2);
    let Lookup::Hit(hit) = cache.lookup::<String>("hit").unwrap() else { panic!("a hit") };
    assert_eq!((hit.value.as_str(), hit.tier, hit.stale), ("v", rig.tier(), false));
    assert!(hit.ttl_left.unwrap() <= unit * 2 + rig.can().ttl_step);
    if rig.is_exact() {
        assert_eq!((hit.age, hit.ttl_left), (Some(unit * 2), Some(unit * 2)));
    }
    assert!(matches!(cache.lookup::<String>("none").unwrap(), Lookup::Negative(_)));
    let gone = cache.lookup::<String>("gone").unwrap().cause();
    // Who has freed the entry already cannot tell.
    assert!(matches!(gone, Some(Cause::Expired | Cause::Absent)), "{gone:?}");
    assert_eq!(cache.lookup::<String>("never").unwrap().cause(), Some(Cause::Absent));
}

pub fn get_arc_decodes_once_where_values_live_in_this_process(rig: &Rig) {
    let cache = rig.cache();
    cache.set("k", &ann()).unwrap();
    let first = cache.get_arc::<User>("k").unwrap().unwrap();
    let second = cache.get_arc::<User>("k").unwrap().unwrap();
    assert_eq!(*first, ann());
    assert_eq!(first, second);
    if !rig.can().shared && rig.is_exact() {
        assert!(std::sync::Arc::ptr_eq(&first, &second));
    }
    let as_map = cache.get_arc::<serde_json::Value>("k").unwrap().unwrap();
    assert_eq!(as_map["age"], 41, "another type decodes for itself");
    assert_eq!(cache.get::<User>("k").unwrap(), Some(ann()));
    assert_eq!(cache.get_arc::<u32>("k").unwrap(), None);
    assert_eq!(cache.get_arc::<User>("absent").unwrap(), None);
}

pub fn get_arc_follows_changes(rig: &Rig) {
    let cache = rig.cache();
    cache.set("k", "old").unwrap();
    let old = cache.get_arc::<String>("k").unwrap().unwrap();
    cache.set("k", "new").unwrap();
    assert_eq!(cache.get_arc::<String>("k").unwrap().unwrap().as_str(), "new");
    cache.set("n", &1).unwrap();
    cache.get_arc::<i64>("n").unwrap();
    cache.increment("n", 1).unwrap();
    assert_eq!(cache.get_arc::<i64>("n").unwrap().as_deref(), Some(&2));
    assert_eq!(old.as_str(), "old");
}

pub fn namespaces_are_prefixes(rig: &Rig) {
    let cache = rig.cache();
    let eu = cache.namespace("eu");
    let nested = eu.namespace("shop");
    nested.set("x", &1).unwrap();
    assert_eq!(cache.get::<i32>("eu:shop:x").unwrap(), Some(1));
    assert_eq!(eu.get::<i32>("shop:x").unwrap(), Some(1));
    assert_eq!(eu.get::<i32>("x").unwrap(), None);
    assert_eq!(cache.namespace("eu2").get::<i32>("shop:x").unwrap(), None);
}

pub fn whole_numbers_are_stored_as_text(rig: &Rig) {
    let cache = rig.cache();
    for number in [0, 7, -7, i64::MAX, i64::MIN] {
        cache.set("n", &number).unwrap();
        assert_eq!(cache.get_bytes("n").unwrap().unwrap(), number.to_string());
        assert_eq!(cache.get::<f64>("n").unwrap(), Some(number as f64));
    }
    assert_ne!(CodecId::INT, CodecId::JSON);
}

pub fn typed_views_share_the_cache(rig: &Rig) {
    let cache = rig.cache();
    let users: Typed<User> = cache.namespace("user").typed();
    assert!(users.set("1", &ann()).unwrap());
    assert_eq!(users.get("1").unwrap(), Some(ann()));
    assert_eq!(cache.get::<User>("user:1").unwrap(), Some(ann()));
    assert_eq!(users.get_many(["1", "2"]).unwrap(), [Some(ann()), None]);
    let loaded = users.get_or_load("2", || Ok::<_, ErrorKind>(ann())).unwrap().unwrap();
    assert_eq!(loaded, ann());
    assert!(users.clone().delete("1").unwrap());
}

pub fn statistics_count_what_happened(rig: &Rig) {
    let cache = rig.cache();
    assert_eq!(cache.stats().hit_rate(), None);
    cache.set("a", &1).unwrap();
    cache.set("none", &None::<u8>).unwrap();
    cache.get::<i32>("a").unwrap();
    cache.get::<i32>("none").unwrap();
    cache.get::<i32>("b").unwrap();
    cache.exists("a").unwrap();
    cache.peek::<i32>("a").unwrap();
    cache.delete("a").unwrap();
    cache.delete("a").unwrap();
    cache.get_or_compute("l", || 1).unwrap();
    let stats = cache.namespace("other").stats();
    assert_eq!((stats.hits, stats.negative_hits, stats.misses.absent), (2, 1, 2));
    assert_eq!((stats.sets, stats.deletes, stats.loads, stats.load_errors), (3, 1, 1, 0));
    assert_eq!(stats.hit_rate(), Some(0.5));
    assert!(serde_json::to_value(&stats).unwrap()["backend"]["name"].is_string());
}
