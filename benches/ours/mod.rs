//! Our side of the rows that every server has.

// Each benchmark uses a part.
#![allow(dead_code)]

use std::convert::Infallible;
use std::hint::black_box;

use bytes::Bytes;
use yokedcache::Cache;

use super::rounds::{Contender, KEYS, VALUE_BYTES};

pub const LARGE_KEYS: usize = 100;
const LARGE_BYTES: usize = 100_000;
const TAGS: usize = 100;
/// Keys in a call that reads many.
pub const MANY: usize = 100;

/// A cache, and what is put into it.
pub struct Ours {
    cache: Cache,
    /// Without the cache's own prefix, which is as long as that of `raw_keys`.
    keys: Vec<String>,
    /// For those who are compared with it.
    pub raw_keys: Vec<String>,
    tags: Vec<String>,
    pub value: Bytes,
    pub large: Bytes,
    pub text: String,
}

pub fn key(number: usize) -> String {
    format!("user:profile:{number:08}")
}

pub fn raw_key(number: usize) -> String {
    format!("them:{}", key(number))
}

/// Of a turn in which many keys are read.
pub fn numbers(turn: usize) -> impl Iterator<Item = usize> {
    (0..MANY).map(move |number| turn * MANY + number)
}

fn get(cache: &Cache, key: &str) {
    let value = cache.get_bytes(key).expect("an answer");
    black_box(value.expect("every key is there"));
}

impl Ours {
    /// The prefix of the cache is "ours".
    pub fn new(cache: Cache) -> Self {
        Self {
            cache,
            keys: (0..KEYS).map(key).collect(),
            raw_keys: (0..KEYS).map(raw_key).collect(),
            tags: (0..TAGS).map(|number| format!("team:{number}")).collect(),
            value: vec![b'v'; VALUE_BYTES].into(),
            large: vec![b'v'; LARGE_BYTES].into(),
            text: "v".repeat(VALUE_BYTES),
        }
    }

    fn key(&self, turn: usize) -> &str {
        &self.keys[turn % KEYS]
    }

    pub fn raw_key(&self, turn: usize) -> &str {
        &self.raw_keys[turn % KEYS]
    }

    pub fn fill(&self) {
        for key in &self.keys {
            assert!(self.cache.set_bytes(key, self.value.clone()).expect("a valid key"));
        }
    }

    pub fn get(&self, turn: usize) {
        get(&self.cache, self.key(turn));
    }

    pub fn set(&self, turn: usize) {
        self.set_in(&self.cache, turn);
    }

    fn set_in(&self, cache: &Cache, turn: usize) {
        assert!(cache.set_bytes(self.key(turn), self.value.clone()).expect("a valid key"));
    }

    pub fn gets(&self) -> Contender<'_> {
        Contender::new("ours", |turn| self.get(turn))
    }

    pub fn misses(&self) -> Contender<'_> {
        let cache = self.cache.namespace("none");
        Contender::new("ours", move |turn| {
            assert!(cache.get_bytes(self.key(turn)).expect("an answer").is_none());
        })
    }

    pub fn large_gets(&self) -> Contender<'_> {
        let cache = self.cache.namespace("large");
        for key in &self.keys[..LARGE_KEYS] {
            assert!(cache.set_bytes(key, self.large.clone()).expect("a valid key"));
        }
        Contender::new("ours", move |turn| get(&cache, self.key(turn % LARGE_KEYS)))
    }

    fn set_tagged(&self, cache: &Cache, turn: usize) {
        let entry = cache.entry(self.key(turn)).tags([&self.tags[turn % TAGS]]);
        assert!(entry.set_bytes(self.value.clone()).expect("a valid key"));
    }

    pub fn tagged_gets(&self) -> Contender<'_> {
        let cache = self.cache.namespace("tagged");
        (0..KEYS).for_each(|turn| self.set_tagged(&cache, turn));
        Contender::new("ours", move |turn| get(&cache, self.key(turn)))
    }

    /// A cache full of text, for calls that decode.
    fn texts(&self) -> Cache {
        let cache = self.cache.namespace("text");
        let texts = self.keys.iter().map(|key| (key, &self.text));
        assert!(cache.set_many(texts).expect("valid keys").is_empty());
        cache
    }

    pub fn text_gets(&self) -> Contender<'_> {
        let cache = self.texts();
        Contender::new("ours", move |turn| {
            let text = cache.get::<String>(self.key(turn)).expect("an answer");
            black_box(text.expect("every key is there"));
        })
    }

    pub fn loads(&self) -> Contender<'_> {
        let cache = self.texts();
        Contender::new("ours", move |turn| {
            let missing = || -> Result<String, Infallible> { unreachable!("every key is there") };
            let text = cache.get_or_load(self.key(turn), missing);
            black_box(text).expect("an answer").expect("text");
        })
    }

    pub fn many_gets(&self) -> Contender<'_> {
        let cache = self.texts();
        Contender::new("ours", move |turn| {
            let keys = numbers(turn).map(|number| self.key(number));
            let texts = cache.get_many::<String>(keys).expect("answers");
            assert!(black_box(texts).iter().flatten().count() == MANY);
        })
    }

    pub fn sets(&self) -> Contender<'_> {
        let cache = self.cache.namespace("set");
        Contender::new("ours", move |turn| self.set_in(&cache, turn))
    }

    pub fn tagged_sets(&self) -> Contender<'_> {
        let cache = self.cache.namespace("tagged");
        Contender::new("ours", move |turn| self.set_tagged(&cache, turn))
    }

    pub fn increments(&self) -> Contender<'_> {
        let cache = self.cache.namespace("count");
        Contender::new("ours", move |turn| {
            black_box(cache.increment(self.key(turn), 1).expect("a number"));
        })
    }

    pub fn deletes(&self) -> Contender<'_> {
        let cache = self.cache.namespace("gone");
        let (deleted, values) = (cache.clone(), self.keys.iter().map(|key| (key, &self.text)));
        let ours = Contender::new("ours", move |turn| {
            assert!(deleted.delete(self.key(turn)).expect("an answer"));
        });
        ours.before(KEYS, move || drop(cache.set_many(values.clone()).expect("valid keys")))
    }
}
