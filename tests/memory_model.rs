//! The memory backend against a naive model, on a manual clock: the same random calls, the same
//! answers, and at the end the same entries.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use yokedcache::{Cache, ErrorKind, Lookup, ManualClock, Memory, Pattern, Ttl};

const KEYS: u8 = 24;
const TAGS: u8 = 4;
const MAX_SIZE: usize = 12;

#[derive(Clone, Debug)]
enum Op {
    Set { key: u8, value: i64, ttl: Option<u16>, grace: u16, tags: u8 },
    Add { key: u8, value: i64, ttl: Option<u16> },
    Replace { key: u8, value: i64 },
    Get(u8),
    Peek(u8),
    Exists(u8),
    Lookup(u8),
    Ttl(u8),
    Delete(u8),
    Expire { key: u8, ttl: Option<u16> },
    Increment { key: u8, by: i64 },
    Swap { key: u8, value: i64, fresh: bool },
    InvalidateAny(u8),
    InvalidateAll(u8),
    InvalidatePattern(u8),
    Keys,
    Pass(u16),
    Sweep,
}

fn op() -> impl Strategy<Value = Op> {
    let ttl = || prop::option::of(1u16..400);
    let key = || 0..KEYS;
    prop_oneof![
        6 => (key(), -9i64..99, ttl(), prop_oneof![Just(0u16), 1..200u16], any::<u8>())
            .prop_map(|(key, value, ttl, grace, tags)| Op::Set { key, value, ttl, grace, tags }),
        2 => (key(), 0i64..99, ttl()).prop_map(|(key, value, ttl)| Op::Add { key, value, ttl }),
        1 => (key(), 0i64..99).prop_map(|(key, value)| Op::Replace { key, value }),
        6 => key().prop_map(Op::Get),
        1 => key().prop_map(Op::Peek),
        1 => key().prop_map(Op::Exists),
        2 => key().prop_map(Op::Lookup),
        1 => key().prop_map(Op::Ttl),
        2 => key().prop_map(Op::Delete),
        1 => (key(), ttl()).prop_map(|(key, ttl)| Op::Expire { key, ttl }),
        2 => (key(), -3i64..9).prop_map(|(key, by)| Op::Increment { key, by }),
        1 => (key(), 0i64..99, any::<bool>())
            .prop_map(|(key, value, fresh)| Op::Swap { key, value, fresh }),
        1 => any::<u8>().prop_map(Op::InvalidateAny),
        1 => any::<u8>().prop_map(Op::InvalidateAll),
        1 => (0..3u8).prop_map(Op::InvalidatePattern),
        1 => Just(Op::Keys),
        4 => (1u16..150).prop_map(Op::Pass),
        1 => Just(Op::Sweep),
    ]
}

fn name(key: u8) -> String {
    format!("{}:{key}", ["a", "b", "c"][usize::from(key % 3)])
}

fn tags(bits: u8) -> Vec<String> {
    (0..TAGS).filter(|tag| bits >> tag & 1 == 1).map(|tag| format!("tag {tag}")).collect()
}

/// An entry of the model; `soft` and `hard` are milliseconds on its clock.
#[derive(Clone, Debug)]
struct Entry {
    value: i64,
    soft: Option<u64>,
    hard: Option<u64>,
    tags: Vec<String>,
}

/// Everything obvious and slow: a list in order of use, the least recently used in front.
#[derive(Default)]
struct Model {
    now: u64,
    entries: Vec<(u8, Entry)>,
}

impl Model {
    fn position(&self, key: u8) -> Option<usize> {
        self.entries.iter().position(|(name, _)| *name == key)
    }

    fn is_gone(&self, entry: &Entry) -> bool {
        entry.hard.is_some_and(|hard| hard <= self.now)
    }

    fn is_live(&self, entry: &Entry) -> bool {
        !self.is_gone(entry) && entry.soft.is_none_or(|soft| soft > self.now)
    }

    fn live(&self, key: u8) -> Option<&Entry> {
        let (_, entry) = &self.entries[self.position(key)?];
        self.is_live(entry).then_some(entry)
    }

    /// A look: an expired entry goes, the order of use stays.
    fn look(&mut self, key: u8) {
        let now = self.now;
        self.remove_where(|name, entry| name == key && entry.hard.is_some_and(|hard| hard <= now));
    }

    /// A read: an expired entry goes, another one is the most recently used.
    fn touch(&mut self, key: u8) {
        let Some(at) = self.position(key) else { return };
        let found = self.entries.remove(at);
        if !self.is_gone(&found.1) {
            self.entries.push(found);
        }
    }

    fn put(&mut self, key: u8, entry: Entry) {
        if let Some(at) = self.position(key) {
            self.entries.remove(at);
        }
        self.entries.push((key, entry));
        while self.entries.len() > MAX_SIZE {
            let expired = self.entries.iter().position(|(_, entry)| self.is_gone(entry));
            self.entries.remove(expired.unwrap_or(0));
        }
    }

    fn entry(&self, value: i64, ttl: Option<u16>, grace: u16, tags: Vec<String>) -> Entry {
        let end = |more: u16| ttl.map(|ttl| self.now + u64::from(ttl) + u64::from(more));
        let soft = if grace > 0 { end(0) } else { None };
        Entry { value, soft, hard: end(grace), tags }
    }

    fn remove_where(&mut self, gone: impl Fn(u8, &Entry) -> bool) {
        self.entries.retain(|(key, entry)| !gone(*key, entry));
    }

    fn live_keys(&self) -> Vec<String> {
        let live = self.entries.iter().filter(|(_, entry)| self.is_live(entry));
        let mut keys: Vec<String> = live.map(|(key, _)| name(*key)).collect();
        keys.sort();
        keys
    }
}

fn ms(time: u16) -> Duration {
    Duration::from_millis(time.into())
}

fn ttl_of(ttl: Option<u16>) -> Ttl {
    ttl.map_or(Ttl::Never, |ttl| Ttl::After(ms(ttl)))
}

struct Pair {
    cache: Cache,
    memory: std::sync::Arc<Memory>,
    clock: ManualClock,
    model: Model,
}

impl Pair {
    fn new() -> Self {
        let clock = ManualClock::new();
        let memory = Memory::builder().max_size(MAX_SIZE).clock(&clock);
        let memory = std::sync::Arc::new(memory.cleanup_interval(Duration::ZERO).build().unwrap());
        let cache = Cache::builder(memory.clone()).clock(&clock).build().unwrap();
        Self { cache, memory, clock, model: Model::default() }
    }

    fn apply(&mut self, op: &Op) {
        let (cache, model) = (&self.cache, &mut self.model);
        match op.clone() {
            Op::Set { key, value, ttl, grace, tags: bits } => {
                let entry = cache.entry(name(key)).ttl(ttl_of(ttl)).stale_for(ms(grace));
                assert!(entry.tags(tags(bits)).set(&value).unwrap());
                let entry = model.entry(value, ttl, grace, tags(bits));
                model.put(key, entry);
            }
            Op::Add { key, value, ttl } => {
                let absent = model.live(key).is_none();
                assert_eq!(cache.entry(name(key)).ttl(ttl_of(ttl)).add(&value).unwrap(), absent);
                if absent {
                    let entry = model.entry(value, ttl, 0, vec![]);
                    model.put(key, entry);
                }
            }
            Op::Replace { key, value } => {
                let present = model.live(key).is_some();
                assert_eq!(cache.replace(name(key), &value).unwrap(), present);
                if present {
                    let entry = model.entry(value, None, 0, vec![]);
                    model.put(key, entry);
                }
            }
            Op::Get(key) => {
                let expected = model.live(key).map(|entry| entry.value);
                assert_eq!(cache.get::<i64>(name(key)).unwrap(), expected);
                model.touch(key);
            }
            Op::Peek(key) => {
                let expected = model.live(key).map(|entry| entry.value);
                assert_eq!(cache.peek::<i64>(name(key)).unwrap(), expected);
                model.look(key);
            }
            Op::Exists(key) => {
                assert_eq!(cache.exists(name(key)).unwrap(), model.live(key).is_some());
                model.look(key);
            }
            Op::Lookup(key) => {
                let found = model.position(key).map(|at| &model.entries[at].1);
                let found = found.filter(|entry| !model.is_gone(entry));
                match (cache.lookup::<i64>(name(key)).unwrap(), found) {
                    (Lookup::Hit(hit), Some(entry)) => {
                        assert_eq!((hit.value, hit.stale), (entry.value, !model.is_live(entry)));
                    }
                    (Lookup::Miss(_), None) => {}
                    (looked, entry) => panic!("{looked:?} instead of {entry:?}"),
                }
                model.touch(key);
            }
            Op::Ttl(key) => {
                let end = |entry: &Entry| entry.soft.or(entry.hard);
                let left = |end: u64| Ttl::After(Duration::from_millis(end - model.now));
                let expected = model.live(key).map(|entry| end(entry).map_or(Ttl::Never, left));
                assert_eq!(cache.ttl(name(key)).unwrap(), expected);
                model.look(key);
            }
            Op::Delete(key) => {
                assert_eq!(cache.delete(name(key)).unwrap(), model.live(key).is_some());
                model.remove_where(|name, _| name == key);
            }
            Op::Expire { key, ttl } => {
                let live = model.live(key).is_some();
                assert_eq!(cache.expire(name(key), ttl_of(ttl)).unwrap(), live);
                if live {
                    let now = model.now;
                    let at = model.position(key).unwrap();
                    let entry = &mut model.entries[at].1;
                    let grace = entry.soft.map(|soft| entry.hard.unwrap() - soft);
                    let end = ttl.map(|ttl| now + u64::from(ttl));
                    entry.soft = grace.and(end);
                    entry.hard = end.map(|end| end + grace.unwrap_or(0));
                }
            }
            Op::Increment { key, by } => {
                let sum = model.live(key).map_or(0, |entry| entry.value) + by;
                assert_eq!(cache.increment(name(key), by).unwrap(), sum);
                match model.live(key).cloned() {
                    Some(entry) => model.put(key, Entry { value: sum, ..entry }),
                    None => {
                        let entry = model.entry(sum, None, 0, vec![]);
                        model.put(key, entry);
                    }
                }
            }
            Op::Swap { key, value, fresh } => {
                let Some((read, version)) = cache.get_versioned::<i64>(name(key)).unwrap() else {
                    assert!(model.live(key).is_none());
                    return model.touch(key);
                };
                assert_eq!(Some(read), model.live(key).map(|entry| entry.value));
                if !fresh {
                    cache.set(name(key), &read).unwrap();
                }
                assert_eq!(cache.swap(name(key), version, &value).unwrap(), fresh);
                let entry = model.entry(if fresh { value } else { read }, None, 0, vec![]);
                model.put(key, entry);
            }
            Op::InvalidateAny(bits) => {
                let tags = tags(bits);
                cache.invalidate_tags(&tags).unwrap();
                model.remove_where(|_, entry| tags.iter().any(|tag| entry.tags.contains(tag)));
            }
            Op::InvalidateAll(bits) => {
                let tags = tags(bits);
                let all = |entry: &Entry| tags.iter().all(|tag| entry.tags.contains(tag));
                cache.invalidate_tags_all(&tags).unwrap();
                model.remove_where(|_, entry| !tags.is_empty() && all(entry));
            }
            Op::InvalidatePattern(which) => {
                let prefix = ["a:", "b:", "c:"][usize::from(which)];
                if which == 0 {
                    cache.invalidate_pattern(format!("{prefix}*")).unwrap();
                } else {
                    let regex = Pattern::regex(&format!("^{prefix}")).unwrap();
                    cache.invalidate_pattern(regex).unwrap();
                }
                model.remove_where(|key, _| name(key).starts_with(prefix));
            }
            Op::Keys => assert_eq!(cache.keys("*").unwrap(), model.live_keys()),
            Op::Pass(time) => {
                self.clock.advance(ms(time));
                model.now += u64::from(time);
            }
            Op::Sweep => {
                self.memory.sweep();
                let now = model.now;
                model.remove_where(|_, entry| entry.hard.is_some_and(|hard| hard <= now));
            }
        }
    }

    /// Everything the two hold, and the books of the backend.
    fn compare(&self) {
        assert_eq!(self.cache.keys("*").unwrap(), self.model.live_keys());
        let stats = self.cache.stats().backend;
        let links: usize = self.model.entries.iter().map(|(_, entry)| entry.tags.len()).sum();
        let bytes = |(key, entry): &(u8, Entry)| {
            let tags: usize = entry.tags.iter().map(String::len).sum();
            name(*key).len() + entry.value.to_string().len() + tags
        };
        let bytes: usize = self.model.entries.iter().map(bytes).sum();
        assert_eq!(stats.entries, Some(self.model.entries.len() as u64));
        assert_eq!(stats.tag_links, Some(links as u64));
        assert_eq!(stats.bytes, Some(bytes as u64));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn the_memory_backend_agrees_with_a_naive_model(ops in prop::collection::vec(op(), 1..120)) {
        let mut pair = Pair::new();
        for op in &ops {
            pair.apply(op);
        }
        // Which of several expired entries made room is nobody's business.
        pair.apply(&Op::Sweep);
        pair.compare();
        pair.cache.clear().unwrap();
        let books = pair.cache.stats().backend;
        prop_assert_eq!((books.bytes, books.tag_links), (Some(0), Some(0)));
    }

    /// What one namespace does never shows in another, whatever the names.
    #[test]
    fn namespaces_never_touch_each_other(
        a in r"[a*?\[\]\\:]{1,4}", b in r"[a*?\[\]\\:]{1,4}", key in r"[a*?:]{1,3}",
    ) {
        let cache = Cache::memory(100);
        let (one, other) = (cache.namespace(&a), cache.namespace(&b));
        one.entry(&key).tag("t").set(&1).unwrap();
        other.entry(&key).tag("t").set(&2).unwrap();
        prop_assert_eq!(one.get::<i32>(&key).unwrap(), Some(if a == b { 2 } else { 1 }));
        one.clear().unwrap();
        prop_assert!(!one.exists(&key).unwrap());
        // Nested, if one begins with the other.
        let inside = format!("{b}:{key}").starts_with(&format!("{a}:"));
        prop_assert_eq!(other.exists(&key).unwrap(), !inside);
    }

    /// Any string is a key or a typed refusal; any string is a pattern or a typed refusal.
    #[test]
    fn any_string_is_handled(text in any::<String>()) {
        let cache = Cache::memory(10);
        match cache.set(&text, &text) {
            Ok(stored) => {
                prop_assert!(stored);
                prop_assert_eq!(cache.get::<String>(&text).unwrap(), Some(text.clone()));
                prop_assert_eq!(cache.keys("*").unwrap(), vec![text.clone()]);
            }
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::InvalidKey),
        }
        for pattern in [Pattern::glob(&text), Pattern::regex(&text)] {
            match pattern {
                Ok(pattern) => drop(cache.invalidate_pattern(pattern).unwrap()),
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::InvalidPattern),
            }
        }
    }

    /// Values of any shape come back through every codec and compression.
    #[test]
    fn any_value_comes_back(value in value(), how in 0..5usize) {
        let cache = caches().swap_remove(how % caches().len());
        cache.set("k", &value).unwrap();
        let expected = (value != Value::Nothing(None)).then_some(value);
        prop_assert_eq!(cache.get::<Value>("k").unwrap(), expected);
    }
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Value {
    Nothing(Option<bool>),
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
    Fields { a: Option<u8>, b: BTreeMap<String, f32> },
    List(Vec<Value>),
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(|value| Value::Nothing(Some(value))),
        any::<i64>().prop_map(Value::Number),
        ".{0,40}".prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(Value::Bytes),
        (any::<Option<u8>>(), prop::collection::btree_map(".{0,5}", -1e3f32..1e3, 0..4))
            .prop_map(|(a, b)| Value::Fields { a, b }),
    ];
    leaf.prop_recursive(3, 60, 10, |inner| {
        prop::collection::vec(inner, 0..10).prop_map(Value::List)
    })
}

fn caches() -> Vec<Cache> {
    let builder = || Cache::builder(Memory::builder().build().unwrap());
    vec![
        Cache::memory(10),
        #[cfg(feature = "msgpack")]
        builder().codec(yokedcache::MessagePack).build().unwrap(),
        #[cfg(feature = "compression")]
        builder().compression(yokedcache::Compression::lz4().above(16)).build().unwrap(),
        #[cfg(feature = "compression")]
        builder().compression(yokedcache::Compression::zstd().above(16)).build().unwrap(),
        builder().key_prefix("p").build().unwrap(),
    ]
}
