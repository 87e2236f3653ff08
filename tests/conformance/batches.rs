//! Many keys in one call.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use yokedcache::{Cause, ErrorKind, Lookup};

use super::rig::Rig;

pub fn get_many_answers_each_key_in_order(rig: &Rig) {
    let cache = rig.cache();
    cache.set("a", &1).unwrap();
    cache.set("none", &None::<i32>).unwrap();
    cache.set("text", "x").unwrap();
    cache.entry("gone").ttl(rig.unit()).set(&2).unwrap();
    rig.pass(rig.unit() * 2);
    cache.set("b", &3).unwrap();
    let keys = ["b", "absent", "a", "gone", "none", "text", "a"];
    let values = cache.get_many::<i32>(keys).unwrap();
    assert_eq!(values, [Some(3), None, Some(1), None, None, None, Some(1)]);
    assert_eq!(cache.get_many::<i32>(keys.map(String::from)).unwrap(), values);
}

pub fn lookup_many_tells_causes(rig: &Rig) {
    let cache = rig.cache();
    cache.set("a", &1).unwrap();
    cache.set("none", &None::<i32>).unwrap();
    cache.set("text", "x").unwrap();
    let found = cache.lookup_many::<i32>(["a", "none", "text", "absent"]).unwrap();
    assert!(matches!(&found[0], Lookup::Hit(hit) if hit.value == 1));
    assert!(matches!(found[1], Lookup::Negative(_)));
    assert_eq!(found[2].cause(), Some(Cause::Undecodable));
    assert_eq!(found[3].cause(), Some(Cause::Absent));
}

pub fn set_many_and_delete_many_do_each_key(rig: &Rig) {
    let cache = rig.cache();
    let pairs: BTreeMap<String, i32> = (0..500).map(|n| (format!("k{n:03}"), n)).collect();
    assert!(cache.set_many(&pairs).unwrap().is_empty());
    let values = cache.get_many::<i32>(pairs.keys()).unwrap();
    assert!(values.iter().zip(pairs.values()).all(|(read, set)| *read == Some(*set)));
    assert_eq!(cache.delete_many(["k000", "absent", "k001", "k001"]).unwrap(), 2);
    assert_eq!(cache.get_many::<i32>(["k000", "k002"]).unwrap(), [None, Some(2)]);
    assert!(cache.set_many([("same", 1), ("same", 2)]).unwrap().is_empty());
    assert_eq!(cache.get("same").unwrap(), Some(2), "changes of one key keep their order");
}

/// A number that refuses to be serialised when it is 13.
struct Unlucky(i32);

impl Serialize for Unlucky {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            13 => Err(serde::ser::Error::custom("13")),
            number => serializer.serialize_i32(number),
        }
    }
}

pub fn a_value_that_cannot_be_stored_fails_alone(rig: &Rig) {
    let cache = rig.cache();
    let values = [("a", Unlucky(1)), ("b", Unlucky(13)), ("c", Unlucky(3))];
    let failed = cache.set_many(values).unwrap();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].0.as_str(), failed[0].1.kind()), ("b", ErrorKind::Encode));
    assert_eq!(cache.get_many::<i32>(["a", "b", "c"]).unwrap(), [Some(1), None, Some(3)]);
}

pub fn a_bad_key_refuses_the_batch_before_it_begins(rig: &Rig) {
    let cache = rig.cache();
    cache.set("a", &1).unwrap();
    let errors = [
        cache.set_many([("a", 2), ("", 3)]).unwrap_err(),
        cache.delete_many(["a", ""]).unwrap_err(),
        cache.get_many::<i32>(["a", ""]).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::InvalidKey);
    }
    assert_eq!(cache.get("a").unwrap(), Some(1));
}

pub fn empty_batches_do_nothing(rig: &Rig) {
    let cache = rig.cache();
    assert!(cache.get_many::<i32>([""; 0]).unwrap().is_empty());
    assert!(cache.set_many::<&str, i32>([]).unwrap().is_empty());
    assert_eq!(cache.delete_many([""; 0]).unwrap(), 0);
}
