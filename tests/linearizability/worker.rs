//! Threads that do random things to a handful of keys, and write down what happened.

use std::env;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use yokedcache::{Cache, EntryRef, Error, Freshness};

use crate::history::{Event, History, Nanos, Place, Reach, Recorder, Span, TagSet};

/// So few that everything collides; `YC_HISTORY_KEYS` says how many of them are in use.
const KEYS: u64 = 6;
static USED_KEYS: LazyLock<u64> = LazyLock::new(|| {
    env::var("YC_HISTORY_KEYS").map_or(KEYS, |keys| keys.parse::<u64>().unwrap().clamp(1, KEYS))
});
pub const TAGS: u64 = 3;
const ALL: u64 = (1 << KEYS) - 1;
pub const HOUR: Duration = Duration::from_secs(3600);
/// Patterns and the keys they cover.
const PATTERNS: [(&str, u64); 3] = [("k[0-2]", 0b000_111), ("k?", ALL), ("*[135]", 0b101_010)];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Get,
    Set,
    TaggedSet,
    Add,
    Delete,
    AnyTag,
    AllTags,
    Pattern,
    Clear,
    Load,
    TaggedLoad,
    LateTagLoad,
    StaleLoad,
    LoadMany,
    LoadBehind,
    Slot,
}

/// How often each comes.
const WEIGHTS: [(Kind, u64); 16] = [
    (Kind::Get, 450),
    (Kind::Set, 60),
    (Kind::TaggedSet, 60),
    (Kind::Add, 40),
    (Kind::Delete, 50),
    (Kind::AnyTag, 40),
    // These visit every key of a server, one after the other on Memcached.
    (Kind::AllTags, 1),
    (Kind::Pattern, 2),
    (Kind::Clear, 1),
    (Kind::Load, 110),
    (Kind::TaggedLoad, 100),
    (Kind::LateTagLoad, 80),
    (Kind::StaleLoad, 80),
    (Kind::LoadMany, 40),
    (Kind::LoadBehind, 70),
    (Kind::Slot, 60),
];

/// A whole number, which Redis keeps without an envelope, or a text.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub enum Stored {
    Number(u64),
    Text(String),
}

impl From<u64> for Stored {
    fn from(value: u64) -> Stored {
        if value.is_multiple_of(2) {
            Stored::Number(value)
        } else {
            Stored::Text(value.to_string())
        }
    }
}

impl Stored {
    pub fn value(self) -> u64 {
        match self {
            Stored::Number(value) => value,
            Stored::Text(text) => text.parse().unwrap(),
        }
    }
}

/// Numbers that look random; the same for the same seed.
pub struct Dice(u64);

impl Dice {
    /// Neighbouring seeds begin alike: the product keeps them apart.
    pub fn new(seed: u64) -> Dice {
        Dice((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn kind(&mut self) -> Kind {
        let mut left = self.roll(WEIGHTS.iter().map(|(_, weight)| weight).sum());
        for (kind, weight) in WEIGHTS {
            if left < weight {
                return kind;
            }
            left -= weight;
        }
        unreachable!("less than the sum was rolled")
    }

    /// The first the most often.
    pub fn key(&mut self) -> u8 {
        self.roll(*USED_KEYS).min(self.roll(*USED_KEYS)) as u8
    }

    /// One tag or two.
    pub fn tags(&mut self) -> TagSet {
        1 << self.roll(TAGS) | 1 << self.roll(TAGS)
    }

    /// For ever, for so long that it may be refreshed before its end, or soon stale.
    pub fn freshness(&mut self) -> Freshness {
        match self.roll(4) {
            0 => Freshness::new(),
            1 | 2 => Freshness::new().ttl(HOUR),
            _ => soon_stale(),
        }
    }

    fn pause(&mut self) -> Pause {
        match self.roll(8) {
            0 => Pause::Sleep(Duration::from_micros(self.roll(2_000))),
            1 => Pause::Yield,
            _ => Pause::None,
        }
    }
}

/// What a loader does with its time.
#[derive(Clone, Copy)]
pub enum Pause {
    None,
    Yield,
    Sleep(Duration),
}

impl Pause {
    pub fn pass(self) {
        match self {
            Pause::None => {}
            Pause::Yield => thread::yield_now(),
            Pause::Sleep(time) => thread::sleep(time),
        }
    }
}

/// Stale at once, nearly, and then served while another loads or where the loader fails.
pub fn soon_stale() -> Freshness {
    let soon = Duration::from_micros(200);
    Freshness::new().ttl(soon).stale_for(HOUR).retry_after(soon)
}

/// One thread, to the keys, tags and patterns it plays with.
pub struct Player<'c> {
    pub cache: &'c Cache,
    pub dice: Dice,
    pub recorder: Arc<Recorder>,
}

/// Plays in `threads` threads, each as long as `goes_on` after so many operations of its own;
/// `first` is the number of the first among the threads of all processes.
pub fn play(
    cache: &Cache,
    place: Place,
    first: u64,
    threads: u64,
    goes_on: &(impl Fn(u64) -> bool + Sync),
    seed: u64,
) -> History {
    let ids = first..first + threads;
    let recorders: Vec<_> = ids.clone().map(|id| Arc::new(Recorder::new(id, place))).collect();
    thread::scope(|scope| {
        for (id, recorder) in ids.zip(&recorders) {
            let dice = Dice::new(seed + id);
            let mut player = Player { cache, dice, recorder: recorder.clone() };
            scope
                .spawn(move || (0..).take_while(|&done| goes_on(done)).for_each(|_| player.step()));
        }
    });
    // Refreshes write down what they load, too.
    assert!(cache.drain(Duration::from_secs(60)), "refreshes hang");
    let mut history = History::default();
    recorders.iter().for_each(|recorder| history.merge(recorder.take()));
    history.tally.overtaken = cache.stats().overtaken;
    history.tally.stale = cache.stats().stale;
    history.tally.refreshes = cache.stats().refreshes;
    history
}

impl Player<'_> {
    fn step(&mut self) {
        let key = self.dice.key();
        let (tags, pause) = (self.dice.tags(), self.dice.pause());
        match self.dice.kind() {
            Kind::Get => self.get(key),
            Kind::Set => self.write(key, 0, |entry, value| entry.set(value)),
            Kind::TaggedSet => self.write(key, tags, |entry, value| entry.set(value)),
            Kind::Add => self.write(key, tags & 1, |entry, value| entry.add(value)),
            Kind::Delete => {
                self.invalidate(Reach::Keys(1 << key), |cache| cache.delete(name(key)).map(drop));
            }
            Kind::AnyTag => self.invalidate(Reach::AnyTag(tags), |cache| {
                cache.invalidate_tags(names(tags)).map(drop)
            }),
            Kind::AllTags => self.invalidate(Reach::AllTags(tags), |cache| {
                cache.invalidate_tags_all(names(tags)).map(drop)
            }),
            Kind::Pattern => {
                let (pattern, keys) = PATTERNS[self.dice.roll(3) as usize];
                self.invalidate(Reach::Keys(keys), |cache| {
                    cache.invalidate_pattern(pattern).map(drop)
                });
            }
            Kind::Clear => self.invalidate(Reach::Keys(ALL), |cache| cache.clear().map(drop)),
            Kind::Load => self.load(key, 0, pause),
            Kind::TaggedLoad => self.load(key, tags, pause),
            Kind::LateTagLoad => self.load_with_a_late_tag(key, tags, pause),
            Kind::StaleLoad => self.load_unless_stale(key, tags, pause),
            Kind::LoadMany => self.load_many(tags, pause),
            Kind::LoadBehind => self.load_behind(key, tags, pause),
            Kind::Slot => self.begin(key, tags, pause),
        }
    }
}

type Entry<'c> = EntryRef<'c, String, Vec<String>>;

/// What happens to a key.
impl<'c> Player<'c> {
    pub fn entry(&mut self, key: u8, tags: TagSet) -> Entry<'c> {
        self.cache.entry(name(key)).tags(names(tags)).freshness(self.dice.freshness())
    }

    fn get(&self, key: u8) {
        let (span, found) = self.recorder.call(|| self.cache.get::<Stored>(name(key)));
        self.note_read(key, span, found.flatten());
    }

    fn write(
        &mut self,
        key: u8,
        tags: TagSet,
        write: impl FnOnce(Entry<'_>, &Stored) -> Result<bool, Error>,
    ) {
        let value = self.recorder.value();
        let entry = self.entry(key, tags);
        let (mut span, done) = self.recorder.call(|| write(entry, &value.into()));
        if done == Some(false) {
            return self.recorder.note(Event::Refused { key, value, span });
        }
        if done.is_none() {
            span.end = Nanos::MAX;
        }
        self.recorder.note(Event::Write { key, value, tags, span });
    }

    fn invalidate(&self, reach: Reach, invalidate: impl FnOnce(&Cache) -> Result<(), Error>) {
        if let (span, Some(())) = self.recorder.call(|| invalidate(self.cache)) {
            self.recorder.note(Event::Invalidate { reach, span });
        }
    }

    pub fn note_read(&self, key: u8, span: Span, found: Option<Stored>) {
        match found.map(Stored::value) {
            Some(value) => self.recorder.note(Event::Read { key, value, span }),
            None => self.recorder.tally(|tally| tally.misses += 1),
        }
    }
}

pub fn name(key: u8) -> String {
    format!("k{key}")
}

pub fn tag_name(bit: u64) -> String {
    format!("t{bit}")
}

pub fn names(tags: TagSet) -> Vec<String> {
    (0..TAGS).filter(|bit| tags >> bit & 1 == 1).map(tag_name).collect()
}
