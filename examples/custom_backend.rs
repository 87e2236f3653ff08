//! A backend of one's own: entries in a `BTreeMap` behind a lock, and a cache over it.
//!
//! It keeps lifetimes, versions for compare-and-swap, and sorted keys, which make patterns cheap.
//! It has no tags, no leases and no addition: it says so in [`Can`], and the cache refuses tags,
//! adds by compare-and-swap, and loads without a fence.
//!
//! `cargo run --example custom_backend`

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use yokedcache::backend::{
    About, Backend, Call, Can, Cause, Change, Entry, Found, Grant, Life, More, Name, NotDone,
    Origin, Read, Removed, Scope, Token, Want, When, Write, Wrote,
};
use yokedcache::{Cache, Error, ErrorKind, Pattern, Result};

const NAME: &str = "sorted";
const PAGE: usize = 256;

#[derive(Debug)]
pub(crate) struct Sorted(Mutex<State>);

#[derive(Debug)]
struct State {
    entries: BTreeMap<String, Stored>,
    origin: Origin,
    // Counts over all keys: an entry deleted and added again never gets its old version back.
    last_version: u128,
}

#[derive(Debug)]
struct Stored {
    entry: Entry,
    version: u128,
    written: Instant,
    soft: Option<Instant>,
    idle: Option<Instant>,
    hard: Option<Instant>,
}

/// A moment too far off for the clock is no end at all.
fn after(now: Instant, life: Option<Duration>) -> Option<Instant> {
    now.checked_add(life?)
}

impl Stored {
    fn new(entry: Entry, life: &Life, version: u128, now: Instant) -> Self {
        let [soft, idle, hard] = [life.soft, life.idle, life.hard].map(|end| after(now, end));
        Self { entry, version, written: now, soft, idle, hard }
    }

    fn is_gone(&self, now: Instant) -> bool {
        [self.idle, self.hard].into_iter().flatten().any(|end| end <= now)
    }

    fn is_stale(&self, now: Instant) -> bool {
        self.soft.is_some_and(|end| end <= now)
    }

    fn is_live(&self, now: Instant) -> bool {
        !self.is_gone(now) && !self.is_stale(now)
    }

    fn life(&self, now: Instant) -> Life {
        let left = |end: Option<Instant>| end.map(|end| end.saturating_duration_since(now));
        let mut life = Life::new(left(self.hard));
        life.age = Some(now.saturating_duration_since(self.written));
        (life.soft, life.idle) = (left(self.soft), left(self.idle));
        life
    }
}

impl Sorted {
    pub(crate) fn new() -> Self {
        let (entries, origin) = (BTreeMap::new(), Origin::unique());
        Self(Mutex::new(State { entries, origin, last_version: 0 }))
    }

    /// Nothing here is half done when a thread panics, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn read(&mut self, key: &str, want: &Want<'_>, now: Instant) -> Read {
        let Some(stored) = self.entries.get_mut(key) else {
            return Read::Miss(Cause::Absent, Grant::None);
        };
        if stored.is_gone(now) {
            self.entries.remove(key);
            return Read::Miss(Cause::Expired, Grant::None);
        }
        if want.slide.is_some() && !want.quiet && stored.is_live(now) {
            stored.idle = after(now, want.slide);
        }
        if want.share {
            stored.entry.value.share();
        }
        let mut found = Found::new(stored.entry.clone());
        found.stale = stored.is_stale(now);
        let mut more = More::default();
        more.life = stored.life(now);
        more.token = Some(Token::new(self.origin, stored.version));
        found.more = Some(Box::new(more));
        Read::Hit(found)
    }

    fn write(&mut self, write: &mut Write<'_>, now: Instant) -> Result<Wrote> {
        let (key, origin) = (write.key.as_str(), self.origin);
        let found = self.entries.get_mut(key).filter(|stored| !stored.is_gone(now));
        let version = found.as_ref().map(|stored| Token::new(origin, stored.version));
        let live = found.filter(|stored| stored.is_live(now));
        if let Some(unmet) = unmet(&write.when, live.is_some(), version)? {
            return Ok(Wrote::Not(unmet));
        }
        match (std::mem::replace(&mut write.change, Change::Remove), live) {
            (Change::Put(entry, life), _) => {
                self.last_version += 1;
                let stored = Stored::new(entry, &life, self.last_version, now);
                self.entries.insert(key.to_owned(), stored);
                Ok(Wrote::Done(Some(Token::new(origin, self.last_version))))
            }
            (Change::Expire(life), Some(stored)) => {
                let grace = stored.hard.zip(stored.soft).map(|(hard, soft)| hard - soft);
                stored.soft = stored.soft.and(after(now, life));
                stored.hard =
                    after(now, life.map(|life| life.saturating_add(grace.unwrap_or_default())));
                Ok(Wrote::Done(version))
            }
            (Change::Remove, live) => {
                let there = live.is_some();
                self.entries.remove(key);
                Ok(if there { Wrote::Done(None) } else { Wrote::Not(NotDone::Absent) })
            }
            (Change::Expire(_), None) => Ok(Wrote::Not(NotDone::Absent)),
            _ => Err(Error::unsupported(NAME, "addition or leases")),
        }
    }
}

/// Why a condition does not hold for what is there, if it does not.
fn unmet(when: &When, live: bool, version: Option<Token>) -> Result<Option<NotDone>> {
    Ok(match when {
        When::Always => None,
        When::Absent => live.then_some(NotDone::Exists),
        When::Present => (!live).then_some(NotDone::Absent),
        When::Version(read) => match version {
            None => Some(NotDone::Absent),
            Some(now) => (*read != now).then_some(NotDone::Changed),
        },
        _ => return Err(Error::unsupported(NAME, "leases")),
    })
}

impl Backend for Sorted {
    fn about(&self) -> About {
        let mut can = Can::new();
        can.scan = true;
        can.versions = true;
        About::new(NAME, can)
    }

    fn read(&self, _: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        let (mut state, now) = (self.lock(), Instant::now());
        for (key, out) in keys.iter().zip(out) {
            *out = state.read(key.as_str(), want, now);
        }
        Ok(())
    }

    fn write(&self, _: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        let (mut state, now) = (self.lock(), Instant::now());
        for (write, out) in writes.iter_mut().zip(out) {
            *out = state.write(write, now).unwrap_or_else(Wrote::Failed);
        }
        Ok(())
    }

    fn invalidate(&self, _: Call, what: &Scope<'_>) -> Result<Removed> {
        let Scope::Keys(pattern) = what else { return Err(Error::unsupported(NAME, "tags")) };
        let (mut state, now) = (self.lock(), Instant::now());
        let mut removed = 0;
        state.entries.retain(|key, stored| {
            let hit = pattern.matches(key);
            removed += u64::from(hit && stored.is_live(now));
            !hit
        });
        Ok(Removed::counted(removed))
    }

    fn scan(
        &self,
        _: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        // Copied out, so that the lock is free while `page` uses the cache. Keys are sorted: those
        // with the literal part in front stand together.
        let (state, now, prefix) = (self.lock(), Instant::now(), what.literal_prefix());
        let begun = state.entries.range(prefix.to_owned()..);
        let near = begun.take_while(|(key, _)| key.starts_with(prefix));
        let live = near.filter(|(key, stored)| stored.is_live(now) && what.matches(key));
        let keys: Vec<String> = live.map(|(key, _)| key.clone()).collect();
        drop(state);
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let _ = keys.chunks(PAGE).try_for_each(page);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cache = Cache::builder(Sorted::new()).build()?;
    let Can { scan, versions, tags, leases, .. } = cache.backend().about().can;
    println!("it can      scan: {scan}, versions: {versions}, tags: {tags}, leases: {leases}");

    cache.entry("user:1").ttl(Duration::from_millis(50)).set("Ann")?;
    println!("get         {:?}, {:?}", cache.get::<String>("user:1")?, cache.ttl("user:1")?);
    std::thread::sleep(Duration::from_millis(60));
    println!("60 ms on    {:?}", cache.lookup::<String>("user:1")?);

    cache.increment("visits", 1)?;
    println!("increment   {}, by compare-and-swap", cache.increment("visits", 41)?);

    cache.set("list", &[1])?;
    if let Some((mut list, version)) = cache.get_versioned::<Vec<u32>>("list")? {
        list.push(2);
        println!("swap        {}", cache.swap("list", version, &list)?);
        println!("swap again  {}, the version is an old one", cache.swap("list", version, &list)?);
    }

    cache.set_many([("user:2", "Bob"), ("user:3", "Eve"), ("users", "all")])?;
    println!("pattern     {:?} removed", cache.invalidate_pattern("user:*")?.entries);
    println!("keys left   {:?}", cache.keys("*")?);

    let port: u16 = cache.get_or_load("port", || "8080".parse())??;
    let again: u16 = cache.get_or_load("port", || "not run".parse())??;
    println!("load        {port}, then {again} from the cache");

    match cache.entry("user:4").tag("users").set("Dan") {
        Err(error) if error.kind() == ErrorKind::Unsupported => println!("tags        {error}"),
        other => println!("tags        unexpected: {other:?}"),
    }
    Ok(())
}
