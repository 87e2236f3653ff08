//! Visiting every key: listing, and invalidating by pattern or by all of some tags.
//!
//! A server walks its hash table and names every key that is there all the time it walks, in
//! whatever state; a key being loaded holds a placeholder, so it is there. (A walk by age, the usual
//! one, can miss a key that is stored again meanwhile.)

use std::collections::VecDeque;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use percent_encoding::percent_decode_str;

use super::batch::{Batch, Op, Reply, Transport};
use super::fleet::Server;
use super::wire::{Session, at};
use super::{Memcached, meta, name};
use crate::backend::envelope::Opened;
use crate::backend::remote::net;
use crate::backend::remote::node::Link;
use crate::backend::remote::store::Store;
use crate::backend::remote::{live, stored, tags};
use crate::backend::{Call, Name, Removed};
use crate::error::{Error, ErrorKind, Result};
use crate::pattern::Pattern;

/// How many names are handled together, and how many values are read for that.
const PAGE: usize = 1000;
const LOOKS: usize = 100;
/// How often an entry is looked at again that was changed before it could be removed.
const MOST_LOOKS: usize = 100;
/// How long to wait while the server walks for somebody else.
const PAUSE: Duration = Duration::from_millis(20);

type Page<'p> = &'p mut dyn FnMut(&[String]) -> Result<()>;

impl Memcached {
    /// Visits all names that begin as the pattern's matches do, at one server. They come page by
    /// page while the server walks.
    fn visit(&self, call: Call, server: usize, pattern: &Pattern, page: Page<'_>) -> Result<()> {
        let mut again = true;
        loop {
            let cut = match self.walk(call, server, pattern, page)? {
                Walk::Done => return Ok(()),
                Walk::Cut(error) => error,
            };
            // Once more from the beginning; what was named may come again.
            if !std::mem::take(&mut again) {
                return Err(cut);
            }
        }
    }

    fn walk(&self, call: Call, server: usize, pattern: &Pattern, page: Page<'_>) -> Result<Walk> {
        let node = &self.fleet.servers()[server];
        let failed = |error| net::failed("memcached", node.endpoint(), error);
        let mut link = match self.begin_walk(call, node)? {
            Some(link) => link,
            None => return Ok(Walk::Done),
        };
        let mut lines = 0;
        let mut names: Vec<String> = Vec::new();
        loop {
            if lines % PAGE == 0 {
                link.stream.set_deadline(self.limits(call)?.until);
            }
            lines += 1;
            let line = match read_line(&mut link) {
                Ok(Line::End) => break,
                Ok(Line::Key(key)) => key,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    link.stream.abort();
                    return Err(failed(error));
                }
                Err(error) => {
                    link.stream.abort();
                    return Ok(Walk::Cut(failed(error)));
                }
            };
            names.extend(line.filter(|name| self.may_match(name, pattern)));
            if names.len() == PAGE {
                self.hand_on(call, server, std::mem::take(&mut names), page)?;
                lines = 0;
            }
        }
        self.hand_on(call, server, names, page)?;
        Ok(Walk::Done)
    }

    /// Begins a walk, once nobody else has one; `None` if there is nothing to walk over.
    ///
    /// It has a connection of its own: those of the pool are for the answers to it.
    fn begin_walk(&self, call: Call, node: &Server) -> Result<Option<Link<Session>>> {
        let until = self.limits(call)?.until;
        let failed = |error| net::failed("memcached", node.endpoint(), error);
        let mut link = node.apart(until)?;
        loop {
            link.stream.set_deadline(until);
            link.stream.write_all(b"lru_crawler metadump hash\r\n").map_err(failed)?;
            link.stream.flush().map_err(failed)?;
            let (buffer, stream) = (link.session.buffer(), &mut link.stream);
            buffer.wait(stream).map_err(failed)?;
            // What is listed begins with "key="; anything else is a line about why not.
            if buffer.first() == Some(b'k') {
                return Ok(Some(link));
            }
            let line = buffer.line(stream).map_err(failed)?;
            match buffer.get(line).trim_ascii_end() {
                b"END" => return Ok(None),
                line if line.starts_with(b"BUSY") || line == b"ERROR locked" => {}
                line => {
                    // Servers before 1.6.9 take "hash" for a class of entries.
                    let old = line.starts_with(b"BADCLASS");
                    let outage = if old { None } else { Some(meta::error(line).map_err(failed)?) };
                    if let Some(error) = outage.filter(Error::is_outage) {
                        return Err(at(node.endpoint(), &error));
                    }
                    let what = "listing keys: the server's LRU crawler is off, or older than 1.6.9";
                    return Err(Error::unsupported("memcached", what));
                }
            }
            if Instant::now() + PAUSE >= until {
                let what = format!("{} lists its keys for somebody else", node.endpoint());
                return Err(Error::new(ErrorKind::Timeout, what));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Finds out what names stand for, and hands on those of the pattern.
    fn hand_on(&self, call: Call, server: usize, names: Vec<String>, page: Page<'_>) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new(self.fleet.clone());
        for raw in names.iter().filter(|raw| self.is_cut(raw)) {
            batch.push_at(server, raw, Op::Get { more: false });
        }
        let mut answers = VecDeque::from(self.fleet.run(&mut batch, self.limits(call)?));
        let mut listed = Vec::with_capacity(names.len());
        for raw in names {
            let whole = match self.is_cut(&raw) {
                false => raw,
                true => match answers.pop_front() {
                    Some(Ok(Reply::Item(item))) => match name::take_apart(&item.value) {
                        Some((whole, _)) => whole.to_owned(),
                        None => continue,
                    },
                    Some(Ok(Reply::Refused(error) | Reply::Hangs(error)) | Err(error)) => {
                        return Err(error);
                    }
                    _ => continue,
                },
            };
            listed.push(whole);
        }
        page(&listed)
    }

    /// Whether a stored name may stand for a match.
    fn may_match(&self, raw: &str, pattern: &Pattern) -> bool {
        let prefix = pattern.literal_prefix();
        if !self.is_cut(raw) {
            return raw.starts_with(prefix);
        }
        let beginning = name::beginning(raw);
        beginning.starts_with(prefix) || prefix.starts_with(beginning)
    }

    /// Whether a name was cut off. What other programs store is never.
    fn is_cut(&self, raw: &str) -> bool {
        !self.plain && name::is_cut(raw)
    }

    /// The key stored under a name, if it is one.
    fn key_of<'n>(&self, name: &'n str) -> Option<&'n str> {
        if self.plain { Some(name) } else { stored::original(name) }
    }

    fn need_walks(&self) -> Result<()> {
        match self.fleet.transport() {
            Transport::Meta => Ok(()),
            Transport::Binary => {
                Err(Error::unsupported("memcached's binary protocol", "listing keys"))
            }
        }
    }

    pub(super) fn scan_keys(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.need_walks()?;
        for server in 0..self.fleet.servers().len() {
            // The server walks once and does not wait: what matches is kept until it is done, as
            // nobody knows how long `page` takes, or whether it wants to walk, too.
            let mut keys: Vec<String> = Vec::new();
            self.visit(call, server, what, &mut |listed| {
                let all = listed.iter().filter_map(|name| self.key_of(name));
                keys.extend(all.filter(|key| what.matches(key)).map(str::to_owned));
                Ok(())
            })?;
            for keys in keys.chunks(LOOKS) {
                let live = live(self, call, keys.iter().map(String::as_str), what.lists_stale())?;
                if !live.is_empty() && page(&live).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    pub(super) fn remove_keys(&self, call: Call, what: &Pattern) -> Result<Removed> {
        self.need_walks()?;
        let mut removed = 0;
        for server in 0..self.fleet.servers().len() {
            self.visit(call, server, what, &mut |listed| {
                let mut batch = Batch::new(self.fleet.clone());
                let mut counted = Vec::new();
                for name in listed {
                    let key = self.key_of(name);
                    // All of a namespace takes its tags' records along: a lost one invalidates, too.
                    let goes = match key {
                        Some(key) => what.matches(key),
                        None => what.is_all() && what.matches(name),
                    };
                    if goes {
                        batch.push_at(server, name, Op::Delete(None));
                        counted.push(key.is_some());
                    }
                }
                let replies = self.fleet.run(&mut batch, self.limits(call)?);
                for (reply, counted) in replies.into_iter().zip(counted) {
                    removed += u64::from(is_done(reply?)? && counted);
                }
                Ok(())
            })?;
        }
        Ok(Removed::counted(removed))
    }

    /// Removes the entries with all of these tags, and the right of every load under way.
    pub(super) fn remove_with_all(&self, call: Call, tags: &[Name<'_>]) -> Result<Removed> {
        self.need_walks()?;
        let Some(first) = tags.first() else { return Ok(Removed::counted(0)) };
        let mut removed = 0;
        for server in 0..self.fleet.servers().len() {
            self.visit(call, server, &Pattern::prefix(first.space()), &mut |listed| {
                listed.chunks(LOOKS).try_for_each(|listed| {
                    self.remove_all_tagged(call, server, tags, listed, &mut removed)
                })
            })?;
        }
        Ok(Removed::counted(removed))
    }

    fn remove_all_tagged(
        &self,
        call: Call,
        server: usize,
        tags: &[Name<'_>],
        listed: &[String],
        removed: &mut u64,
    ) -> Result<()> {
        let mut left: Vec<&str> = listed.iter().map(String::as_str).collect();
        // What changed between a look and a removal is looked at again: a load may have been stored.
        for _ in 0..MOST_LOOKS {
            left = self.remove_tagged(call, server, tags, &left, removed)?;
            if left.is_empty() {
                return Ok(());
            }
        }
        let what = "an entry changes faster than it can be removed";
        Err(Error::new(ErrorKind::Backend, what))
    }

    /// Removes what is to go; those that changed meanwhile are left.
    fn remove_tagged<'l>(
        &self,
        call: Call,
        server: usize,
        tags: &[Name<'_>],
        listed: &[&'l str],
        removed: &mut u64,
    ) -> Result<Vec<&'l str>> {
        let keys: Vec<(&str, &str)> =
            listed.iter().filter_map(|name| Some((*name, self.key_of(name)?))).collect();
        let mut batch = Batch::new(self.fleet.clone());
        for (name, _) in &keys {
            batch.push_at(server, name, Op::Get { more: true });
        }
        let mut doomed = Vec::new();
        let replies = self.fleet.run(&mut batch, self.limits(call)?);
        batch.clear();
        for ((name, key), reply) in keys.into_iter().zip(replies) {
            let Reply::Item(item) = reply? else { continue };
            let opened = self.open(key, &item.value, true);
            if tags::may_have_all(&opened, tags) {
                batch.push_at(server, name, Op::Delete(item.stamp));
                doomed.push((name, matches!(opened, Opened::Value(_))));
            }
        }
        let mut left = Vec::new();
        for ((name, counts), reply) in
            doomed.into_iter().zip(self.fleet.run(&mut batch, self.limits(call)?))
        {
            match reply? {
                Reply::Changed => left.push(name),
                reply => *removed += u64::from(is_done(reply)? && counts),
            }
        }
        Ok(left)
    }
}

/// How a walk ended.
enum Walk {
    Done,
    Cut(Error),
}

/// A line of a walk.
enum Line {
    /// A name, if it is text: others are not ours.
    Key(Option<String>),
    End,
}

fn read_line(link: &mut Link<Session>) -> io::Result<Line> {
    let (buffer, stream) = (link.session.buffer(), &mut link.stream);
    let line = buffer.line(stream)?;
    let line = buffer.get(line).trim_ascii_end();
    if line == b"END" {
        return Ok(Line::End);
    }
    let no_key = || io::Error::new(io::ErrorKind::InvalidData, "not a line of a list of keys");
    let key = line.strip_prefix(b"key=").ok_or_else(no_key)?;
    let end = key.iter().position(|byte| *byte == b' ').ok_or_else(no_key)?;
    let key = std::str::from_utf8(&key[..end]).map_err(|_| no_key())?;
    Ok(Line::Key(percent_decode_str(key).decode_utf8().ok().map(Into::into)))
}

/// Whether it was removed, as opposed to gone already.
fn is_done(reply: Reply) -> Result<bool> {
    match reply {
        Reply::Done(_) => Ok(true),
        Reply::Refused(error) | Reply::Hangs(error) => Err(error),
        _ => Ok(false),
    }
}
