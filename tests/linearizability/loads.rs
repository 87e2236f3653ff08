//! The kinds of load. Each writes down a load, a read or both.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;

use yokedcache::{Begun, Error, Freshness, Load, Loaded, Slot};

use crate::history::{Event, Nanos, Recorder, Span, TagSet, now};
use crate::worker::{HOUR, Pause, Player, Stored, TAGS, name, names, soon_stale, tag_name};

thread_local! {
    /// What a loader that outlives its call made last on this thread.
    static MADE_HERE: Cell<Option<u64>> = const { Cell::new(None) };
}

impl Player<'_> {
    pub fn load(&mut self, key: u8, tags: TagSet, pause: Pause) {
        let mut own = None;
        let entry = self.entry(key, tags);
        let loader = || {
            let run = Run::begin(&self.recorder, key, tags);
            own = Some(run.value);
            pause.pass();
            Ok::<_, Error>(run.end())
        };
        let (span, found) = self.recorder.call(|| entry.get_or_load(loader));
        let found = found.map(|loaded| loaded.expect("the loader does not fail"));
        self.note_unless_own(key, span, found, own);
    }

    pub fn load_with_a_late_tag(&mut self, key: u8, tags: TagSet, pause: Pause) {
        let mut own = None;
        let entry = self.entry(key, 0);
        let loader = |load: &mut Load<'_>| {
            let mut run = Run::begin(&self.recorder, key, 0);
            // Where the cache cannot be asked for the tag, the loader fails.
            run.tag_each(tags, |tag| {
                pause.pass();
                load.tag(tag)
            })?;
            pause.pass();
            own = Some(run.value);
            Ok::<_, Error>(Loaded::Value(run.end()))
        };
        let (span, found) = self.recorder.call(|| entry.load_with(loader)?);
        self.note_unless_own(key, span, found.flatten(), own);
    }

    pub fn load_unless_stale(&mut self, key: u8, tags: TagSet, pause: Pause) {
        let mut own = None;
        let fails = self.dice.roll(4) == 0;
        let entry = self.entry(key, tags).freshness(soon_stale());
        let loader = || {
            let run = Run::begin(&self.recorder, key, tags);
            pause.pass();
            if fails {
                return Err("the source is down");
            }
            own = Some(run.value);
            Ok(run.end())
        };
        let (span, found) = self.recorder.call(|| entry.get_or_load(loader));
        self.note_unless_own(key, span, found.and_then(Result::ok), own);
    }

    /// Two keys to four, which may repeat. The loader does not always have them all.
    pub fn load_many(&mut self, tags: TagSet, pause: Pause) {
        let keys: Vec<u8> = (0..2 + self.dice.roll(3)).map(|_| self.dice.key()).collect();
        let left_out = usize::from(self.dice.roll(8) == 0);
        let entries = self.cache.entries_by(keys.clone(), |key: &u8| name(*key));
        let entries = entries.tags(names(tags)).freshness(self.dice.freshness());
        let mut own = BTreeMap::new();
        let loader = |missing: &[&u8]| {
            let begin = |key: &&u8| Run::begin(&self.recorder, **key, tags);
            let runs: Vec<_> = missing.iter().skip(left_out).map(begin).collect();
            pause.pass();
            own.extend(runs.iter().map(|run| (run.key, run.value)));
            Ok::<_, Infallible>(runs.into_iter().map(|run| (run.key, run.end())))
        };
        let (span, found) = self.recorder.call(|| entries.get_or_load_many(loader));
        let Some(Ok(found)) = found else { return };
        for (key, found) in keys.into_iter().zip(found) {
            self.note_unless_own(key, span, found, own.get(&key).copied());
        }
    }

    /// Whatever has an end is refreshed on a thread of the cache by each who asks for it.
    pub fn load_behind(&mut self, key: u8, tags: TagSet, pause: Pause) {
        let late = if self.dice.roll(4) == 0 { self.dice.tags() } else { 0 };
        let recorder = self.recorder.clone();
        let loader = move |load: &mut Load<'_>| {
            let mut run = Run::begin(&recorder, key, tags);
            run.tag_each(late, |tag| load.tag(tag))?;
            pause.pass();
            MADE_HERE.set(Some(run.value));
            Ok::<_, Error>(Loaded::Value(run.end()))
        };
        let always = Freshness::new().ttl(HOUR).refresh_by_chance(f64::INFINITY);
        let loader = self.cache.loader_with(loader).tags(names(tags)).freshness(always);
        MADE_HERE.take();
        let (span, found) = self.recorder.call(|| loader.get(name(key))?);
        self.note_unless_own(key, span, found, MADE_HERE.take());
    }

    pub fn begin(&mut self, key: u8, tags: TagSet, pause: Pause) {
        let entry = self.entry(key, tags);
        match self.recorder.call(|| entry.begin()) {
            (span, Some(Begun::Hit(found))) => self.note_read(key, span, Some(found)),
            (_, Some(Begun::Slot(slot))) => self.fill(slot, key, tags, pause),
            (_, None) => {}
        }
    }

    /// Sometimes with one more tag; sometimes not at all.
    fn fill(&mut self, mut slot: Slot, key: u8, tags: TagSet, pause: Pause) {
        let mut run = Run::begin(&self.recorder, key, tags);
        let late = if self.dice.roll(3) == 0 { self.dice.tags() } else { 0 };
        let tagged = self.recorder.call(|| run.tag_each(late, |tag| slot.tag(tag)));
        pause.pass();
        if tagged.1.is_none() || self.dice.roll(8) == 0 {
            return;
        }
        let value = Stored::from(run.value);
        match self.recorder.call(|| slot.set(&value)) {
            (span, Some(true)) => run.end_stored(span.end),
            (_, Some(false) | None) => run.end_stored(Nanos::MAX),
        }
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

    /// From its naming on an invalidation of a tag is to be heeded.
    fn tag_each(
        &mut self,
        tags: TagSet,
        mut tag: impl FnMut(&str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for bit in (0..TAGS).filter(|bit| tags >> bit & 1 == 1) {
            tag(&tag_name(bit))?;
            self.tags.push((1 << bit, now()));
        }
        Ok(())
    }

    /// Written down before anybody can read it.
    fn end(self) -> Stored {
        let value = self.value;
        self.end_stored(Nanos::MAX);
        value.into()
    }

    fn end_stored(self, stored: Nanos) {
        let Run { recorder, key, value, began, tags } = self;
        let by = recorder.place;
        recorder.note(Event::Load { key, value, began, tags, stored, by });
    }
}
