//! The promise: once an invalidation has returned, no read that begins afterwards is given a value
//! whose load began, or whose plain write had returned, before the invalidation began. The same holds
//! for what was overwritten. A miss is always right.

use std::collections::HashMap;

use crate::history::{ANYWHERE, Event, Nanos, Place, Reach, Span, TagSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    NeverWritten,
    /// By an add that said no: its value was there all the same, if only for a moment. That breaks
    /// another promise than that of invalidations.
    Refused,
    NotYetWritten,
    /// By a delete, a pattern or a clear, or by a newer value.
    GoneWithItsKey,
    GoneWithItsTag,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub reason: Reason,
    pub read: Event,
    /// The write or the load of what was read.
    pub origin: Option<Event>,
    /// The event that should have hidden it: from when on, and when that had come into effect.
    pub by: Option<Span>,
}

/// How long what other processes do may go unnoticed.
#[derive(Clone, Copy, Debug)]
pub struct Lag {
    pub invalidated: Nanos,
    pub overwritten: Nanos,
}

impl Lag {
    pub const NONE: Lag = Lag { invalidated: 0, overwritten: 0 };
}

/// What is known of a value.
struct Origin<'h> {
    event: &'h Event,
    key: u8,
    began: Nanos,
    /// What begins later than this comes after the value.
    since: Nanos,
    tags: Vec<(TagSet, Nanos)>,
    /// From when on it surely was in the cache, as its writer knows.
    stored: Nanos,
    /// The same, as readers know.
    seen: Nanos,
    by: Place,
}

impl<'h> Origin<'h> {
    fn new(event: &'h Event) -> Option<(u64, Origin<'h>)> {
        match event {
            &Event::Write { key, value, tags, span: Span { begin: began, end, by } } => {
                let tags = each_bit(tags).map(|tag| (tag, end)).collect();
                let (since, stored, seen) = (end, end, Nanos::MAX);
                Some((value, Origin { event, key, began, since, tags, stored, seen, by }))
            }
            &Event::Load { key, value, began, ref tags, stored, by } => {
                let (tags, since, seen) = (tags.clone(), began, Nanos::MAX);
                Some((value, Origin { event, key, began, since, tags, stored, seen, by }))
            }
            &Event::Refused { key, value, span: Span { begin: began, by, .. } } => {
                let (tags, since, never) = (Vec::new(), Nanos::MAX, Nanos::MAX);
                let (stored, seen) = (never, never);
                Some((value, Origin { event, key, began, since, tags, stored, seen, by }))
            }
            Event::Read { .. } | Event::Invalidate { .. } => None,
        }
    }

    fn tag_set(&self) -> TagSet {
        self.tags.iter().fold(0, |set, (tag, _)| set | tag)
    }

    /// From when on it carried all these tags.
    fn carried_since(&self, tags: TagSet) -> Nanos {
        let named = self.tags.iter().filter(|(tag, _)| tag & tags != 0);
        named.map(|(_, since)| *since).max().unwrap_or(Nanos::MAX)
    }
}

/// Events that hide what is older, in the order of their ends.
#[derive(Default)]
struct Hiding {
    spans: Vec<Span>,
    /// Of each event and those before it, the one that began last.
    latest: Vec<Span>,
}

impl Hiding {
    fn sort(&mut self) {
        self.spans.sort_unstable_by_key(|span| span.end);
        let mut latest = Span { begin: 0, end: 0, by: ANYWHERE };
        self.latest.extend(self.spans.iter().map(|span| {
            if span.begin >= latest.begin {
                latest = *span;
            }
            latest
        }));
    }

    /// An event that began after `since` and had ended before `read`.
    fn between(&self, since: Nanos, read: Nanos) -> Option<Span> {
        let ended = self.spans.partition_point(|span| span.end < read);
        let latest = *self.latest.get(ended.checked_sub(1)?)?;
        (latest.begin > since).then_some(latest)
    }
}

/// In the order of where it was done.
type By<T> = HashMap<(T, Place), Hiding>;

struct Checker<'h> {
    lag: Lag,
    origins: HashMap<u64, Origin<'h>>,
    /// Newer values.
    overwrites: By<u8>,
    /// Invalidations of the key.
    keys: By<u8>,
    /// Invalidations of what carries all of these tags.
    tags: By<TagSet>,
}

/// Everything in this history that breaks the promise. The order of events does not matter.
pub fn check(history: &[Event], lag: Lag) -> Vec<Violation> {
    let mut checker = Checker::new(history, lag);
    for event in history {
        checker.note_effect(event);
    }
    checker.note_overwrites();
    for event in history {
        checker.note_invalidation(event);
    }
    let keys = checker.keys.values_mut().chain(checker.overwrites.values_mut());
    keys.chain(checker.tags.values_mut()).for_each(Hiding::sort);
    history.iter().filter_map(|event| checker.judge(event)).collect()
}

impl<'h> Checker<'h> {
    fn new(history: &'h [Event], lag: Lag) -> Checker<'h> {
        let mut origins = HashMap::new();
        for (value, origin) in history.iter().filter_map(Origin::new) {
            let older = origins.insert(value, origin);
            assert!(older.is_none(), "the value {value} was written twice");
        }
        let (overwrites, keys, tags) = (HashMap::new(), HashMap::new(), HashMap::new());
        Checker { lag, origins, overwrites, keys, tags }
    }

    /// A value that somebody else was given is in the cache.
    fn note_effect(&mut self, event: &Event) {
        if let Event::Read { value, span, .. } = event
            && let Some(origin) = self.origins.get_mut(value)
        {
            origin.seen = origin.seen.min(span.end);
        }
    }

    /// A value in the cache hides those that surely came before it.
    fn note_overwrites(&mut self) {
        for origin in self.origins.values() {
            for (end, by) in [(origin.stored, origin.by), (origin.seen, ANYWHERE)] {
                if end < Nanos::MAX {
                    let span = Span { begin: origin.began, end, by };
                    self.overwrites.entry((origin.key, by)).or_default().spans.push(span);
                }
            }
        }
    }

    fn note_invalidation(&mut self, event: &Event) {
        let &Event::Invalidate { reach, span } = event else { return };
        match reach {
            Reach::Keys(keys) => {
                for key in (0..64).filter(|key| keys >> key & 1 == 1) {
                    self.keys.entry((key, span.by)).or_default().spans.push(span);
                }
            }
            Reach::AnyTag(tags) => {
                for tag in each_bit(tags) {
                    self.tags.entry((tag, span.by)).or_default().spans.push(span);
                }
            }
            Reach::AllTags(tags) => self.tags.entry((tags, span.by)).or_default().spans.push(span),
        }
    }

    fn judge(&self, read: &Event) -> Option<Violation> {
        let &Event::Read { key, value, span } = read else { return None };
        let origin = self.origins.get(&value).filter(|origin| origin.key == key);
        let (reason, by) = match origin {
            None => (Reason::NeverWritten, None),
            Some(Origin { event: Event::Refused { .. }, .. }) => (Reason::Refused, None),
            Some(origin) if origin.began > span.end => (Reason::NotYetWritten, None),
            Some(origin) => self.hidden(origin, span)?,
        };
        let origin = origin.map(|origin| origin.event.clone());
        Some(Violation { reason, read: read.clone(), origin, by })
    }

    /// What hides this value from a read.
    fn hidden(&self, origin: &Origin<'_>, read: Span) -> Option<(Reason, Option<Span>)> {
        // What was done elsewhere may be seen later.
        let seen = |by: Place, lag| read.begin.saturating_sub(if by == read.by { 0 } else { lag });
        let (invalidated, overwritten) = (self.lag.invalidated, self.lag.overwritten);
        let of_key = |(at, hiding): (&(u8, Place), &Hiding), lag| {
            let hidden = hiding.between(origin.since, seen(at.1, lag));
            hidden.filter(|_| at.0 == origin.key)
        };
        let by_key = self.keys.iter().find_map(|one| of_key(one, invalidated));
        let by_newer = || self.overwrites.iter().find_map(|one| of_key(one, overwritten));
        if let Some(span) = by_key.or_else(by_newer) {
            return Some((Reason::GoneWithItsKey, Some(span)));
        }
        let carried = origin.tag_set();
        let mut by_tags = self.tags.iter().filter(|((tags, _), _)| *tags & !carried == 0);
        let span = by_tags.find_map(|((tags, by), hiding)| {
            hiding.between(origin.carried_since(*tags), seen(*by, invalidated))
        })?;
        Some((Reason::GoneWithItsTag, Some(span)))
    }
}

fn each_bit(set: TagSet) -> impl Iterator<Item = TagSet> {
    (0..8).map(|bit| 1 << bit).filter(move |bit| set & bit != 0)
}
