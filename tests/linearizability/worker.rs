//! Threads that do random things to a handful of keys, and write down what happened.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use yokedcache::{Cache, EntryRef, Error, Load, Loaded};

use crate::history::{Event, History, Nanos, Reach, Recorder, Span, TagSet, now};

/// So few that everything collides.
const KEYS: u64 = 6;
const TAGS: u64 = 3;
const ALL: u64 = (1 << KEYS) - 1;
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
}

/// How often each comes.
const WEIGHTS: [(Kind, u64); 12] = [
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
];

/// A whole number, which Redis keeps without an envelope, or a text.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
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
    fn value(self) -> u64 {
        match self {
            Stored::Number(value) => value,
            Stored::Text(text) => text.parse().unwrap(),
        }
    }
}

/// Numbers that look random; the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
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
    fn key(&mut self) -> u8 {
        self.roll(KEYS).min(self.roll(KEYS)) as u8
    }

    /// One tag or two.
    fn tags(&mut self) -> TagSet {
        1 << self.roll(TAGS) | 1 << self.roll(TAGS)
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
enum Pause {
    None,
    Yield,
    Sleep(Duration),
}

impl Pause {
    fn pass(self) {
        match self {
            Pause::None => {}
            Pause::Yield => thread::yield_now(),
            Pause::Sleep(time) => thread::sleep(time),
        }
    }
}

/// One thread, to the keys, tags and patterns it plays with.
struct Player<'c> {
    cache: &'c Cache,
    dice: Dice,
    recorder: Arc<Recorder>,
}

/// Plays in `threads` threads; `first` is the number of the first among those of all processes.
pub fn play(cache: &Cache, first: u64, threads: u64, operations: u64, seed: u64) -> History {
    let mut history = History::default();
    thread::scope(|scope| {
        let play = |id: u64| {
            // Neighbouring seeds begin alike: the product keeps them apart.
            let dice = Dice((seed + id + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let recorder = Arc::new(Recorder::new(id));
            let mut player = Player { cache, dice, recorder };
            (0..operations / threads).for_each(|_| player.step());
            player.recorder.take()
        };
        let players = (first..first + threads).map(|id| scope.spawn(move || play(id)));
        let players: Vec<_> = players.collect();
        players.into_iter().for_each(|player| history.merge(player.join().unwrap()));
    });
    history.tally.overtaken = cache.stats().overtaken;
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
        }
    }
}

type Entry<'c> = EntryRef<'c, String, Vec<String>>;

/// What happens to a key. Each ends in `note_read`, `Event::Load` or both.
impl Player<'_> {
    fn entry(&self, key: u8, tags: TagSet) -> Entry<'_> {
        self.cache.entry(name(key)).tags(names(tags))
    }

    fn get(&self, key: u8) {
        let (span, found) = self.recorder.call(|| self.cache.get::<Stored>(name(key)));
        self.note_read(key, span, found.flatten());
    }

    fn write(
        &self,
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

    fn load(&self, key: u8, tags: TagSet, pause: Pause) {
        let mut own = None;
        let entry = self.entry(key, tags);
        let loader = || {
            let mut run = Run::begin(&self.recorder, key, tags);
            own = Some(run.value);
            pause.pass();
            Ok::<_, Error>(run.end())
        };
        let (span, found) = self.recorder.call(|| entry.get_or_load(loader));
        let found = found.map(|loaded| loaded.expect("the loader does not fail"));
        self.note_unless_own(key, span, found, own);
    }

    fn load_with_a_late_tag(&self, key: u8, tags: TagSet, pause: Pause) {
        let mut own = None;
        let entry = self.entry(key, 0);
        let loader = |load: &mut Load<'_>| {
            let mut run = Run::begin(&self.recorder, key, 0);
            own = Some(run.value);
            for tag in names(tags) {
                pause.pass();
                load.tag(&tag)?;
                run.tag(&tag);
            }
            pause.pass();
            Ok::<_, Error>(Loaded::Value(run.end()))
        };
        let (span, found) = self.recorder.call(|| entry.load_with(loader)?);
        self.note_unless_own(key, span, found.flatten(), own);
    }

    /// A caller may have what its own loader made, whatever happened meanwhile.
    fn note_unless_own(&self, key: u8, span: Span, found: Option<Stored>, own: Option<u64>) {
        match (found, own) {
            (Some(found), Some(own)) => {
                assert_eq!(found.value(), own, "it loaded, and got another")
            }
            (found, None) => self.note_read(key, span, found),
            (None, Some(_)) => {}
        }
    }

    fn note_read(&self, key: u8, span: Span, found: Option<Stored>) {
        match found.map(Stored::value) {
            Some(value) => self.recorder.note(Event::Read { key, value, span }),
            None => self.recorder.tally(|tally| tally.misses += 1),
        }
    }
}

/// A loader at work.
struct Run<'r> {
    recorder: &'r Recorder,
    key: u8,
    value: u64,
    began: Nanos,
    tags: Vec<(TagSet, Nanos)>,
}

impl<'r> Run<'r> {
    fn begin(recorder: &'r Recorder, key: u8, tags: TagSet) -> Run<'r> {
        let began = now();
        let tags = (0..TAGS).map(|bit| 1 << bit).filter(|tag| tags & tag != 0);
        let tags = tags.map(|tag| (tag, began)).collect();
        Run { recorder, key, value: recorder.value(), began, tags }
    }

    /// From now on an invalidation of this tag is to be heeded.
    fn tag(&mut self, name: &str) {
        let bit = (0..TAGS).find(|bit| tag_name(*bit) == name).unwrap();
        self.tags.push((1 << bit, now()));
    }

    /// Written down before anybody can read it.
    fn end(&mut self) -> Stored {
        let tags = std::mem::take(&mut self.tags);
        let Run { recorder, key, value, began, .. } = *self;
        recorder.note(Event::Load { key, value, began, tags });
        value.into()
    }
}

fn name(key: u8) -> String {
    format!("k{key}")
}

fn tag_name(bit: u64) -> String {
    format!("t{bit}")
}

fn names(tags: TagSet) -> Vec<String> {
    (0..TAGS).filter(|bit| tags >> bit & 1 == 1).map(tag_name).collect()
}
