//! The shards behind their locks, and the limits they share.

use std::fmt;
use std::hash::BuildHasher;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use hashlink::DefaultHashBuilder;
use smol_str::SmolStr;

use super::counted::Limit;
use super::shard::Shard;
use super::slot::{Gone, Place, Presence, Reason, weight};
use crate::backend::{
    Change, Entry, Name, NotDone, Origin, Read, Removed, Scope, Tags, Want, Write, Wrote,
};
use crate::clock::{Clock, NEVER, Tick};
use crate::error::{Error, ErrorKind};
use crate::pattern::Pattern;
use crate::stats::{BackendStats, Removals};
use crate::streak::Streak;
use crate::sync::{Mutex, MutexGuard};

/// How many entries one hold of a lock visits at most.
const PER_HOLD: usize = 256;
/// A smaller cache has fewer shards: below two of these it is one, and its LRU order exact.
const ENTRIES_PER_SHARD: usize = 1024;
const BYTES_PER_SHARD: usize = 1 << 20;
const MOST_SHARDS: usize = 256;

/// The digits and the sign of the longest counter.
const LONGEST_NUMBER: usize = 20;

/// Called with some keys of a shard, and what their entries are.
type Visit<'v> = dyn FnMut(&[(SmolStr, Presence)]) -> ControlFlow<()> + 'v;

/// Called for each entry that left.
pub(super) type Listener = Box<dyn Fn(&str, &Entry, Reason) + Send + Sync>;

/// What bounds a store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

pub(super) struct Store {
    shards: Box<[Padded]>,
    /// When a search for expired entries in a shard may succeed; read without its lock.
    due: Box<[AtomicU64]>,
    hasher: DefaultHashBuilder,
    clock: Clock,
    limits: Limits,
    entries: AtomicUsize,
    bytes: AtomicUsize,
    listener: Option<Listener>,
    panics: Streak,
}

/// A lock to a cache line, so that neighbours do not slow each other down.
#[repr(align(128))]
struct Padded(Mutex<Shard>);

impl Store {
    pub(super) fn new(limits: Limits, clock: Clock, listener: Option<Listener>) -> Self {
        let hasher = DefaultHashBuilder::default();
        let origin = Origin::unique();
        let count = shard_count(limits);
        let shard = |index| Padded(Mutex::new(Shard::new(hasher.clone(), origin, index, count)));
        Self {
            shards: (0..count).map(shard).collect(),
            due: (0..count).map(|_| AtomicU64::new(NEVER)).collect(),
            hasher,
            clock,
            limits,
            entries: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            listener,
            panics: Streak::new(),
        }
    }

    #[inline]
    fn place<'a>(&self, key: &'a str) -> (usize, Place<'a>) {
        let hash = self.hasher.hash_one(key);
        // The table in the shard uses the low bits and the topmost seven.
        let shard = (hash >> 40) as usize & (self.shards.len() - 1);
        (shard, Place { key, hash })
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Shard> {
        self.shards[shard].0.lock()
    }

    /// Works on a locked shard and settles the books of the store afterwards.
    fn change<R>(&self, shard: usize, work: impl FnOnce(&mut Shard) -> R) -> R {
        let mut locked = self.lock(shard);
        let before = (locked.len(), locked.bytes());
        let result = work(&mut locked);
        settle(&self.entries, before.0, locked.len());
        settle(&self.bytes, before.1, locked.bytes());
        let due = locked.next_due();
        if self.due[shard].load(Ordering::Relaxed) != due {
            self.due[shard].store(due, Ordering::Relaxed);
        }
        result
    }

    #[inline]
    pub(super) fn read(&self, key: Name<'_>, want: &Want<'_>, out: &mut Read) {
        let (shard, place) = self.place(key.as_str());
        let mut locked = self.lock(shard);
        let gone = locked.read(place, want, || self.clock.now(), out);
        if want.slide.is_some() {
            self.due[shard].store(locked.next_due(), Ordering::Relaxed);
        }
        if let Some(gone) = gone {
            self.entries.fetch_sub(1, Ordering::Relaxed);
            self.bytes.fetch_sub(gone.weight(), Ordering::Relaxed);
            drop(locked);
            self.part_with(gone);
        }
    }

    pub(super) fn write(&self, write: &mut Write<'_>, out: &mut Wrote) {
        let (shard, place) = self.place(write.key.as_str());
        let too_large = self.refuse_too_large(write);
        let change = std::mem::replace(&mut write.change, Change::Remove);
        let now = self.clock.now();
        let gone = self.change(shard, |shard| shard.write(place, &write.when, change, now, out));
        if let Some(gone) = gone {
            self.part_with(gone);
        }
        if let Some(error) = too_large
            && !matches!(out, Wrote::Not(NotDone::Exists | NotDone::Changed | NotDone::Overtaken))
        {
            *out = Wrote::Failed(error);
        }
        self.make_room(shard, now);
    }

    /// Turns a value that can never fit into a removal: the older one must not outlive it.
    fn refuse_too_large(&self, write: &mut Write<'_>) -> Option<Error> {
        let size = match &write.change {
            Change::Put(entry, _) => weight(write.key.as_str(), entry),
            Change::Add { .. } => write.key.as_str().len() + LONGEST_NUMBER,
            Change::Expire(_) | Change::Remove | Change::Release => return None,
        };
        if size <= self.limits.bytes {
            return None;
        }
        write.change = Change::Remove;
        let limit = self.limits.bytes;
        let what = format!("the entry has {size} bytes, the cache holds {limit} in all");
        Some(Error::new(ErrorKind::TooLarge, what))
    }

    /// The limit that does not hold.
    fn exceeded(&self) -> Option<Limit> {
        if self.entries.load(Ordering::Relaxed) > self.limits.entries {
            Some(Limit::Entries)
        } else if self.bytes.load(Ordering::Relaxed) > self.limits.bytes {
            Some(Limit::Bytes)
        } else {
            None
        }
    }

    /// Removes entries until the limits hold: expired ones wherever they are, then the least
    /// recently used of shards that hold their share, beginning with the one just written to.
    fn make_room(&self, home: usize, now: Tick) {
        while let Some(limit) = self.exceeded() {
            let expired = self.pop_expired(home, now);
            let Some(gone) = expired.or_else(|| self.pop_least_recent(home, limit)) else {
                return;
            };
            self.part_with(gone);
        }
    }

    fn pop_expired(&self, home: usize, now: Tick) -> Option<Gone> {
        let mut due =
            self.from(home).filter(|shard| self.due[*shard].load(Ordering::Relaxed) <= now);
        due.find_map(|shard| self.change(shard, |shard| shard.pop_expired(now)))
    }

    fn pop_least_recent(&self, home: usize, limit: Limit) -> Option<Gone> {
        let (count, limits) = (self.shards.len(), self.limits);
        let crowded = |shard: &Shard| {
            shard.len() > limits.entries / count || shard.bytes() > limits.bytes / count
        };
        let pop = |at: usize, any: bool| {
            self.change(at, |shard| {
                // The entry just written may be large, but it fits: the others make room for it.
                let spare = shard.len() > usize::from(at == home);
                if spare && (any || crowded(shard)) { shard.pop_least_recent(limit) } else { None }
            })
        };
        let from_crowded = self.from(home).find_map(|at| pop(at, false));
        from_crowded.or_else(|| self.from(home).find_map(|at| pop(at, true)))
    }

    /// All shards once, beginning with this one.
    fn from(&self, home: usize) -> impl Iterator<Item = usize> {
        let count = self.shards.len();
        (0..count).map(move |step| (home + step) & (count - 1))
    }

    pub(super) fn invalidate(&self, what: &Scope<'_>) -> Removed {
        let mut removed = 0;
        for shard in 0..self.shards.len() {
            match what {
                Scope::Keys(pattern) => removed += self.remove_matching(shard, pattern),
                Scope::AnyTag(tags) => {
                    for tag in *tags {
                        let hit = |on: &Tags| on.contains(tag.as_str());
                        self.lock(shard).overtake_where(|_, on| hit(on));
                        removed += self.remove_tagged(shard, tag, &hit);
                    }
                }
                Scope::AllTags(tags) => {
                    let Some(first) = tags.first() else { continue };
                    let hit = |on: &Tags| tags.iter().all(|tag| on.contains(tag.as_str()));
                    // A load may name the rest of the tags later: overtake all of the namespace.
                    self.lock(shard).overtake_where(|key, _| key.starts_with(first.space()));
                    removed += self.remove_tagged(shard, first, &hit);
                }
            }
        }
        Removed::counted(removed)
    }

    fn remove_matching(&self, shard: usize, pattern: &Pattern) -> u64 {
        // Rights go first and at once: no load that began before the walk fills behind it.
        self.lock(shard).overtake_where(|key, _| pattern.matches(key));
        let mut removed = 0;
        let _ = self.walk(shard, &mut |keys| {
            let keys = keys.iter().map(|(key, _)| key).filter(|key| pattern.matches(key));
            let keys: Vec<_> = keys.collect();
            removed += self.take_out(shard, |shard, gone| shard.remove_keys(&keys, gone));
            ControlFlow::Continue(())
        });
        removed
    }

    fn remove_tagged(&self, shard: usize, tag: &Name<'_>, hit: &dyn Fn(&Tags) -> bool) -> u64 {
        let ids = self.lock(shard).tagged(tag.as_str());
        let removed = ids.chunks(PER_HOLD).map(|ids| {
            let removed = self.take_out(shard, |shard, gone| shard.remove_where(ids, hit, gone));
            thread::yield_now();
            removed
        });
        removed.sum()
    }

    /// Removes entries under the lock and parts with them after it.
    fn take_out(&self, shard: usize, remove: impl FnOnce(&mut Shard, &mut Vec<Gone>)) -> u64 {
        let mut gone = Vec::new();
        self.change(shard, |shard| remove(shard, &mut gone));
        let removed = gone.len() as u64;
        gone.into_iter().for_each(|gone| self.part_with(gone));
        removed
    }

    /// Visits the keys of a shard, some at a time and with no lock held, and tells which are live.
    /// What is there throughout is met: it keeps its number.
    fn walk(&self, shard: usize, visit: &mut Visit<'_>) -> ControlFlow<()> {
        let mut next = 0;
        loop {
            let now = self.clock.now();
            let locked = self.lock(shard);
            let end = locked.last_id();
            if next >= end {
                return ControlFlow::Continue(());
            }
            let ids = next..end.min(next + PER_HOLD as u32);
            next = ids.end;
            let keys = locked.keys(ids, now);
            drop(locked);
            visit(&keys)?;
            // Who waits for the lock gets it before we take it again.
            thread::yield_now();
        }
    }

    /// Hands out the live keys that match, with no lock held meanwhile.
    pub(super) fn scan(
        &self,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for shard in 0..self.shards.len() {
            self.walk(shard, &mut |keys| {
                let listed = |presence: Presence| match presence {
                    Presence::Live => true,
                    Presence::Stale => what.lists_stale(),
                    Presence::Gone => false,
                };
                let keys = keys.iter().filter(|(key, is)| listed(*is) && what.matches(key));
                let keys: Vec<&str> = keys.map(|(key, _)| key.as_str()).collect();
                if keys.is_empty() { ControlFlow::Continue(()) } else { page(&keys) }
            })?;
        }
        ControlFlow::Continue(())
    }

    /// Removes what has expired, a bounded number of entries per hold of a lock, until told to stop.
    pub(super) fn sweep(&self, stopped: &dyn Fn() -> bool) {
        for shard in (0..self.shards.len()).take_while(|_| !stopped()) {
            self.sweep_shard(shard, stopped);
        }
    }

    fn sweep_shard(&self, shard: usize, stopped: &dyn Fn() -> bool) {
        self.lock(shard).sweep_leases(self.clock.now());
        loop {
            let mut gone = Vec::with_capacity(PER_HOLD);
            let now = self.clock.now();
            let done = self.change(shard, |shard| shard.sweep(now, PER_HOLD, &mut gone));
            gone.into_iter().for_each(|gone| self.part_with(gone));
            if done || stopped() {
                break;
            }
            thread::yield_now();
        }
        drop(self.change(shard, Shard::compacted));
    }

    /// Tells the listener and drops the entry, whose decoded value may run code of the user's.
    /// No lock is held.
    fn part_with(&self, gone: Gone) {
        let told = AssertUnwindSafe(|| {
            if let Some(listener) = &self.listener {
                listener(&gone.key, &gone.entry, gone.reason);
            }
            drop(gone);
        });
        if catch_unwind(told).is_err()
            && let Some(more) = self.panics.on()
        {
            log::error!("yokedcache: an eviction listener or the drop of a value panicked{more}");
        }
    }

    pub(super) fn stats(&self, name: &'static str) -> BackendStats {
        let mut stats = BackendStats::new(name);
        let (mut links, mut removals) = (0, Removals::default());
        for shard in 0..self.shards.len() {
            let locked = self.lock(shard);
            links += locked.tag_links() as u64;
            locked.counted.add_to(&mut removals);
        }
        (stats.expired, stats.evicted) = (removals.expired, removals.size + removals.bytes);
        stats.removals = Some(removals);
        // Not the sum over the shards, which change while they are visited.
        stats.entries = Some(self.entries.load(Ordering::Relaxed) as u64);
        stats.bytes = Some(self.bytes.load(Ordering::Relaxed) as u64);
        stats.tag_links = Some(links);
        stats
    }
}

fn settle(book: &AtomicUsize, before: usize, after: usize) {
    if after > before {
        book.fetch_add(after - before, Ordering::Relaxed);
    } else if after < before {
        book.fetch_sub(before - after, Ordering::Relaxed);
    }
}

/// A power of two, so many that a table that grows, and a walk, hold a lock only shortly, and so few
/// that each shard's order of use means something.
fn shard_count(limits: Limits) -> usize {
    let by_size = (limits.entries / ENTRIES_PER_SHARD).min(limits.bytes / BYTES_PER_SHARD);
    1 << by_size.clamp(1, MOST_SHARDS).ilog2()
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("shards", &self.shards.len())
            .field("limits", &self.limits)
            .field("entries", &self.entries)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
