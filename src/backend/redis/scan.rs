//! Visiting every key: listing, and invalidating by pattern or by all of some tags.
//!
//! A server names every key that is there from the beginning of a `SCAN` to its end, in whatever
//! state; a key being loaded holds a placeholder, so it is there. In a cluster that holds only if no
//! slot moved meanwhile: who owns what is compared before and after.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::Value;

use super::batch::Batch;
use super::topology::Topology;
use super::wire::{self, Server, number, text};
use super::{Redis, script, slot};
use crate::backend::envelope;
use crate::backend::envelope::Opened;
use crate::backend::remote::stamp::{head, is_of_value};
use crate::backend::remote::{live, stored, tags};
use crate::backend::{Call, Name, Removed};
use crate::error::{Error, ErrorKind, Result};
use crate::pattern::Pattern;

/// How many keys a server looks at for one page.
const COUNT: &[u8] = b"1000";
/// How often an entry is looked at again that was changed before it could be removed.
const MOST_LOOKS: usize = 100;
/// How much of an entry is read to know its tags, unless there are more.
const HEAD_BYTES: usize = 1 << 16;
/// How long to wait before looking again whether the slots stand still.
const PAUSE: Duration = Duration::from_millis(50);

/// What is done with a page of stored names before the next one is asked for.
pub(super) trait Visitor {
    /// Looks at stored names, while nothing is held, and says which are to be removed.
    fn page<'n>(&mut self, names: &'n [String]) -> Result<ControlFlow<(), Doomed<'n>>>;

    /// So many of the keys were there.
    fn removed(&mut self, count: u64) {
        let _ = count;
    }
}

/// Stored names to remove.
#[derive(Default)]
pub(super) struct Doomed<'n> {
    keys: Vec<&'n str>,
    /// What is kept beside keys; nobody counts it.
    records: Vec<&'n str>,
}

impl Redis {
    /// Visits all names that begin as the pattern's matches do.
    fn visit(&self, call: Call, pattern: &Pattern, visitor: &mut dyn Visitor) -> Result<()> {
        let end = self.limits(call)?.until;
        loop {
            let before = self.layout(call)?;
            if !before.is_still() {
                if Instant::now() >= end {
                    return Err(moving());
                }
                std::thread::sleep(PAUSE);
                continue;
            }
            let visited = self.visit_all(call, &before, pattern, visitor);
            if let Ok(ControlFlow::Break(())) = visited {
                return Ok(());
            }
            let same = self.layout(call).map(|now| now.is_same(&before));
            match (visited, same) {
                (Err(error), Ok(true) | Err(_)) | (Ok(_), Err(error)) => return Err(error),
                (Ok(_), Ok(true)) => return Ok(()),
                (_, Ok(false)) if Instant::now() >= end => return Err(moving()),
                (_, Ok(false)) => std::thread::sleep(PAUSE),
            }
        }
    }

    fn visit_all(
        &self,
        call: Call,
        layout: &Layout,
        pattern: &Pattern,
        visitor: &mut dyn Visitor,
    ) -> Result<ControlFlow<()>> {
        for master in &layout.masters {
            if self.visit_one(call, master, pattern, visitor)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn visit_one(
        &self,
        call: Call,
        server: &Arc<Server>,
        pattern: &Pattern,
        visitor: &mut dyn Visitor,
    ) -> Result<ControlFlow<()>> {
        let matching = pattern.match_glob();
        let mut cursor = Some("0".to_owned());
        let mut process: Option<String> = None;
        let mut names: Vec<String> = Vec::new();
        loop {
            let doomed = match visitor.page(&names)? {
                ControlFlow::Continue(doomed) => doomed,
                ControlFlow::Break(()) => return Ok(ControlFlow::Break(())),
            };
            if cursor.is_none() && doomed.keys.is_empty() && doomed.records.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            let mut batch = Batch::new(false);
            batch.push("", &[b"INFO", b"server"]);
            let counted = self.push_unlinks(&mut batch, &doomed.keys);
            let uncounted = self.push_unlinks(&mut batch, &doomed.records);
            if let Some(cursor) = &cursor {
                let (cursor, matching) = (cursor.as_bytes(), matching.as_bytes());
                batch.push("", &[b"SCAN", cursor, b"MATCH", matching, b"COUNT", COUNT]);
            }
            let mut values = Topology::run_at(server, &mut batch, self.limits(call)?)?.into_iter();
            // Another process under the same address knows nothing of our cursor.
            let now = values.next().and_then(|info| process_of(&info));
            if process.is_some() && now.is_some() && now != process {
                (cursor, process, names) = (Some("0".to_owned()), now, Vec::new());
                continue;
            }
            process = process.or(now);
            for index in 0..counted + uncounted {
                let value = checked(server, values.next().unwrap_or_default())?;
                if index < counted {
                    visitor.removed(count(&value));
                }
            }
            if cursor.is_none() {
                return Ok(ControlFlow::Continue(()));
            }
            let page = checked(server, values.next().unwrap_or_default())?;
            (cursor, names) = read_page(page)
                .ok_or_else(|| Error::new(ErrorKind::Backend, "redis: not an answer to SCAN"))?;
        }
    }

    /// In a cluster a command has one key.
    fn push_unlinks(&self, batch: &mut Batch, names: &[&str]) -> usize {
        let before = batch.len();
        let size = if self.topology.is_cluster() { 1 } else { 500 };
        for names in names.chunks(size) {
            let mut words: Vec<&[u8]> = vec![b"UNLINK"];
            words.extend(names.iter().map(|name| name.as_bytes()));
            batch.push("", &words);
        }
        batch.len() - before
    }

    /// Who holds what.
    fn layout(&self, call: Call) -> Result<Layout> {
        let limits = self.limits(call)?;
        let masters = self.topology.masters(limits.until)?;
        let ask = |master, words: &[&[u8]]| {
            let mut batch = Batch::new(false);
            batch.push("", words);
            let values = Topology::run_at(master, &mut batch, limits)?;
            checked(master, values.into_iter().next().unwrap_or_default())
        };
        let mut owners = Vec::new();
        for master in &masters {
            match &*self.topology {
                Topology::One(_) => {}
                // One that was demoted lists its entries as before.
                Topology::Sentinel(sentinel) => {
                    if !wire::says_master(&ask(master, &[b"ROLE"])?) {
                        sentinel.suspect(master, limits.until);
                        return Err(moving());
                    }
                }
                Topology::Cluster(_) => {
                    let nodes = ask(master, &[b"CLUSTER", b"NODES"])?;
                    let own = text(Some(&nodes)).into_iter().flat_map(str::lines);
                    owners.extend(own.filter(|line| line.contains("myself")).map(own_slots));
                }
            }
        }
        Ok(Layout { masters, owners })
    }

    pub(super) fn scan_keys(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.visit(call, what, &mut Lister { redis: self, call, what, page })
    }

    pub(super) fn remove_keys(&self, call: Call, what: &Pattern) -> Result<Removed> {
        let mut remover = Remover { redis: self, what, removed: 0 };
        self.visit(call, what, &mut remover)?;
        Ok(Removed::counted(remover.removed))
    }

    /// Removes the entries with all of these tags, and the right of every load under way: which tags it
    /// will name is not known.
    pub(super) fn remove_with_all(&self, call: Call, tags: &[Name<'_>]) -> Result<Removed> {
        let Some(first) = tags.first() else { return Ok(Removed::counted(0)) };
        let mut remover = TagRemover { redis: self, call, tags, removed: 0 };
        self.visit(call, &Pattern::prefix(first.space()), &mut remover)?;
        Ok(Removed::counted(remover.removed))
    }
}

fn moving() -> Error {
    let what = "entries of the redis servers moved while they were to be searched";
    Error::new(ErrorKind::Unavailable, what)
}

/// The servers and what each says of itself.
struct Layout {
    masters: Vec<Arc<Server>>,
    /// Nothing where the servers are no cluster.
    owners: Vec<String>,
}

impl Layout {
    /// Whether all names were on these servers all the time, if this is what was found afterwards.
    fn is_same(&self, before: &Self) -> bool {
        let at = |layout: &Self| -> Vec<_> {
            layout.masters.iter().map(|master| master.endpoint().clone()).collect()
        };
        self.owners == before.owners && at(self) == at(before) && self.is_still()
    }

    /// Whether each slot has its place and none is on the move.
    fn is_still(&self) -> bool {
        let moving = self.owners.iter().any(|slots| slots.contains('['));
        let slots: u64 = self.owners.iter().map(|slots| covered(slots)).sum();
        self.owners.is_empty() || !moving && slots == u64::from(slot::SLOTS)
    }
}

/// The name, epoch and slots in a server's line about itself; slots on the move are in brackets.
fn own_slots(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let slots = words.get(8..).unwrap_or_default().join(" ");
    format!("{} {} {slots}", words[0], words.get(6).unwrap_or(&""))
}

/// How many slots such a line names.
fn covered(own: &str) -> u64 {
    let ranges = own.split(' ').skip(2);
    let counts = ranges.filter_map(|range| match range.split_once('-') {
        Some((first, last)) => {
            let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
            Some(u64::from(last.checked_sub(first)?) + 1)
        }
        None => range.parse::<u16>().ok().map(|_| 1),
    });
    counts.sum()
}

fn checked(server: &Arc<Server>, value: Value) -> Result<Value> {
    match value {
        Value::ServerError(error) if matches!(error.code(), "MOVED" | "ASK" | "TRYAGAIN") => {
            Err(Error::new(ErrorKind::Unavailable, "a slot of the redis cluster moved"))
        }
        Value::ServerError(error) => Err(wire::refused(server.endpoint(), &error)),
        value => Ok(value),
    }
}

fn count(value: &Value) -> u64 {
    number(Some(value)).and_then(|count| u64::try_from(count).ok()).unwrap_or_default()
}

/// Which process a server is; unknown where we may not ask.
pub(super) fn process_of(info: &Value) -> Option<String> {
    let line = text(Some(info))?.lines().find_map(|line| line.strip_prefix("run_id:"))?;
    Some(line.to_owned())
}

/// The next cursor, if there is more, and the names of a page. Names that are no text are not ours.
pub(super) fn read_page(page: Value) -> Option<(Option<String>, Vec<String>)> {
    let Value::Array(page) = page else { return None };
    let [cursor, Value::Array(names)] = <[Value; 2]>::try_from(page).ok()? else { return None };
    let cursor = text(Some(&cursor))?;
    let more = (cursor != "0").then(|| cursor.to_owned());
    let names = names.into_iter().filter_map(|name| match name {
        Value::BulkString(name) => String::from_utf8(name).ok(),
        _ => None,
    });
    Some((more, names.collect()))
}

/// Hands out the keys of live entries.
struct Lister<'a> {
    redis: &'a Redis,
    call: Call,
    what: &'a Pattern,
    page: &'a mut dyn FnMut(&[&str]) -> ControlFlow<()>,
}

impl Visitor for Lister<'_> {
    fn page<'n>(&mut self, names: &'n [String]) -> Result<ControlFlow<(), Doomed<'n>>> {
        let keys = names.iter().filter_map(|name| self.redis.key_of(name));
        let keys = keys.filter(|key| self.what.matches(key));
        let live = live(self.redis, self.call, keys, self.what.lists_stale())?;
        let flow = if live.is_empty() { ControlFlow::Continue(()) } else { (self.page)(&live) };
        Ok(match flow {
            ControlFlow::Continue(()) => ControlFlow::Continue(Doomed::default()),
            ControlFlow::Break(()) => ControlFlow::Break(()),
        })
    }
}

/// Removes entries and rights by key. All of a namespace takes its tags' records along: a lost
/// record invalidates, too.
struct Remover<'a> {
    redis: &'a Redis,
    what: &'a Pattern,
    removed: u64,
}

impl Visitor for Remover<'_> {
    fn page<'n>(&mut self, names: &'n [String]) -> Result<ControlFlow<(), Doomed<'n>>> {
        let (keys, records): (Vec<&str>, Vec<&str>) = names
            .iter()
            .map(String::as_str)
            .filter(|name| match self.redis.key_of(name) {
                Some(key) => self.what.matches(key),
                None => self.what.is_all() && self.what.matches(name) && !stored::is_home(name),
            })
            .partition(|name| self.redis.key_of(name).is_some());
        Ok(ControlFlow::Continue(Doomed { keys, records }))
    }

    fn removed(&mut self, count: u64) {
        self.removed += count;
    }
}

/// Removes entries that have all of some tags.
struct TagRemover<'a> {
    redis: &'a Redis,
    call: Call,
    tags: &'a [Name<'a>],
    removed: u64,
}

impl TagRemover<'_> {
    /// What to remove if it is still there: placeholders, entries with all the tags, and stale ones.
    fn doomed(&self, name: &str, beginning: Bytes) -> Option<u128> {
        let key = self.redis.key_of(name)?;
        let opened = envelope::open_head(key, &beginning);
        if !tags::may_have_all(&opened, self.tags) {
            return None;
        }
        match opened {
            Opened::Placeholder(token) => Some(token),
            Opened::Value(envelope) => Some(envelope.write_id),
            Opened::Foreign(_) | Opened::Damaged => None,
        }
    }
}

impl Visitor for TagRemover<'_> {
    fn page<'n>(&mut self, names: &'n [String]) -> Result<ControlFlow<(), Doomed<'n>>> {
        let mut left: Vec<&str> = names.iter().map(String::as_str).collect();
        // What changed between a look and a removal is looked at again: a load may have been stored.
        for _ in 0..MOST_LOOKS {
            left = self.remove(&left)?;
            if left.is_empty() {
                return Ok(ControlFlow::Continue(Doomed::default()));
            }
        }
        let what = "an entry changes faster than it can be removed";
        Err(Error::new(ErrorKind::Backend, what))
    }
}

impl TagRemover<'_> {
    fn run(&self, batch: &mut Batch) -> Result<Vec<Value>> {
        let limits = self.redis.limits(self.call)?;
        self.redis.topology.run(batch, limits, false).into_iter().collect()
    }

    /// Removes what is to go; those that changed meanwhile are left.
    fn remove<'n>(&mut self, names: &[&'n str]) -> Result<Vec<&'n str>> {
        let mut batch = Batch::new(self.redis.topology.is_cluster());
        for name in names {
            let last = (HEAD_BYTES - 1).to_string();
            batch.push(name, &[b"GETRANGE", name.as_bytes(), b"0", last.as_bytes()]);
        }
        let mut doomed = Vec::new();
        for (name, beginning) in names.iter().zip(self.run(&mut batch)?) {
            let Value::BulkString(mut bytes) = beginning else { continue };
            if bytes.len() == HEAD_BYTES {
                // Its tags may be longer than that.
                batch.clear();
                batch.push(name, &[b"GET", name.as_bytes()]);
                match self.run(&mut batch)?.pop() {
                    Some(Value::BulkString(whole)) => bytes = whole,
                    _ => continue,
                }
            }
            doomed.extend(self.doomed(name, bytes.into()).map(|id| (*name, id)));
        }
        if doomed.is_empty() {
            return Ok(Vec::new());
        }
        batch.clear();
        for (name, id) in &doomed {
            batch.call(&script::SWAP, name, &[&head(*id), b"UNLINK"]);
        }
        let mut left = Vec::new();
        for ((name, id), done) in doomed.into_iter().zip(self.run(&mut batch)?) {
            match done {
                Value::Int(1) => self.removed += u64::from(is_of_value(id)),
                Value::ServerError(error) => return Err(wire::refusal(&error)),
                Value::Nil => {}
                _ => left.push(name),
            }
        }
        Ok(left)
    }
}
