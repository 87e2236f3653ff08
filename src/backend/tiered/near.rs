//! The near tier, and whether it may be used.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::backend::audience::Audience;
use crate::backend::memory::Memory;
use crate::backend::{Backend, Call, Change, Ear, Event, Heard, Name, Scope, When, Write, Wrote};
use crate::error::Error;
use crate::pattern::Pattern;

/// No end: nothing is heard, and entries are held for a short time only.
const CAPPED: u64 = u64::MAX;

/// A memory that forgets what it hears has changed.
#[derive(Debug)]
pub(super) struct Near {
    pub(super) memory: Memory,
    /// How long it may be used after all that had changed was known.
    pub(super) bound: Duration,
    /// What the far tier says of lives is true to the moment.
    pub(super) exact: bool,
    pub(super) audience: Audience,
    /// That it is off was told.
    told_off: AtomicBool,
    /// Why it is off or capped.
    why: Mutex<Option<Error>>,
    /// Changes of state nobody was told of yet.
    untold: Mutex<Vec<Event>>,
    began: Instant,
    /// It may be used until then, in nanoseconds since it began; 0: not at all.
    until: AtomicU64,
    /// The last moment at which all changes had been heard of, in the same way; 0: none.
    last_sign: AtomicU64,
    /// How often tags were invalidated: a fill whose tags were not known in time is refused.
    turns: AtomicU64,
}

impl Near {
    pub(super) fn new(memory: Memory, bound: Duration, exact: bool) -> Self {
        Self {
            memory,
            bound,
            exact,
            audience: Audience::default(),
            told_off: AtomicBool::new(false),
            why: Mutex::default(),
            last_sign: AtomicU64::new(0),
            untold: Mutex::default(),
            began: Instant::now(),
            until: AtomicU64::new(0),
            turns: AtomicU64::new(0),
        }
    }

    /// Whether what it holds may be served.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        match self.until.load(Ordering::Acquire) {
            0 => false,
            CAPPED => true,
            until => self.nanos(Instant::now()) < until,
        }
    }

    /// Whether it was built within the bound, and nothing was heard since, good or bad.
    pub(super) fn is_beginning(&self) -> bool {
        let is_silent = self.until.load(Ordering::Acquire) == 0 && self.why.lock().is_none();
        is_silent && self.began.elapsed() < self.bound
    }

    pub(super) fn is_capped(&self) -> bool {
        self.until.load(Ordering::Acquire) == CAPPED
    }

    /// Lets it be used without hearing of anything.
    pub(super) fn cap(&self) {
        self.forget_all();
        self.until.store(CAPPED, Ordering::Release);
    }

    /// Ends its use.
    pub(super) fn close(&self) {
        self.until.store(0, Ordering::Release);
        self.forget_all();
    }

    fn nanos(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.began).as_nanos();
        u64::try_from(since).unwrap_or(CAPPED - 1).min(CAPPED - 1)
    }

    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Acquire)
    }

    /// Forgets an entry, and refuses fills of it that are under way.
    pub(super) fn forget(&self, key: Name<'_>) {
        let mut gone = [Wrote::Unanswered];
        let write = Write::new(key, When::Always, Change::Remove);
        let _ = self.memory.write(Call::Unlimited, &mut [write], &mut gone);
    }

    /// Forgets all entries of a scope, and refuses fills that are under way.
    pub(super) fn forget_scope(&self, what: &Scope<'_>) {
        // Before the walk: a fill that names its tags after it began looks here behind it.
        self.turns.fetch_add(1, Ordering::AcqRel);
        let _ = self.memory.invalidate(Call::Unlimited, what);
    }

    fn forget_all(&self) {
        self.forget_scope(&Scope::Keys(&Pattern::all()));
    }

    /// Why it was not used the last time it was not.
    pub(super) fn why(&self) -> Option<Error> {
        self.why.lock().clone()
    }

    /// The last moment at which all changes had been heard of.
    pub(super) fn last_sign(&self) -> Option<Instant> {
        match self.last_sign.load(Ordering::Relaxed) {
            0 => None,
            sign => self.began.checked_add(Duration::from_nanos(sign)),
        }
    }

    fn lost(&self, error: Error) {
        *self.why.lock() = Some(error.clone());
        self.until.store(0, Ordering::Release);
        self.forget_all();
        // Also if it never was on: somebody waits for that.
        if !self.told_off.swap(true, Ordering::AcqRel) {
            self.untold.lock().push(Event::NearOff { error });
        }
    }

    fn complete(&self, at: Instant) {
        self.last_sign.store(self.nanos(at).max(1), Ordering::Relaxed);
        let until = self.nanos(at + self.bound);
        let before = self.until.swap(until, Ordering::AcqRel);
        if before == 0 {
            self.told_off.store(false, Ordering::Release);
            self.untold.lock().push(Event::NearOn);
        }
    }
}

impl Ear for Near {
    fn hear(&self, heard: Heard<'_>) {
        match heard {
            Heard::Key(key) => self.forget(Name::new(key, 0)),
            Heard::Tag(tag) => self.forget_scope(&Scope::AnyTag(&[Name::new(tag, 0)])),
            Heard::Everything => self.forget_all(),
            Heard::Complete(at) => self.complete(at),
            Heard::Lost(error) => self.lost(error),
            Heard::Unable(error) => {
                *self.why.lock() = Some(error.clone());
                self.untold.lock().push(Event::NearCapped { error });
                self.cap();
            }
        }
    }

    fn rest(&self) {
        let untold = std::mem::take(&mut *self.untold.lock());
        untold.iter().for_each(|event| self.audience.tell(event));
    }
}
