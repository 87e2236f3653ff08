//! A guard against servers that come back with old data.
//!
//! A server that restarts from a snapshot, or a replica that takes over before it heard everything,
//! brings back what was deleted, and the old versions of tags with it. So the run id of the server the
//! entries belong to is stored among them. Each new connection compares: where the server is
//! another one now, nothing is read or written until the namespace was cleared.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::Value;

use super::batch::Batch;
use super::scan::{process_of, read_page};
use super::topology::{Maker, Topology};
use super::wire::{Role, Server, refused, text};
use crate::backend::remote::exchange::Limits;
use crate::backend::remote::net::Endpoint;
use crate::backend::remote::stored;
use crate::error::{Error, ErrorKind, Result};
use crate::pattern::Pattern;
use crate::streak::Streak;

/// How long one step of clearing may take.
const STEP: Duration = Duration::from_secs(5);
/// The record is read so often that a server that evicts what is not used keeps it.
const TOUCHED_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Guard {
    /// Makes servers that are not guarded: those it clears.
    maker: Maker,
    /// With its colon.
    space: String,
    home: String,
    clearing: Mutex<Option<JoinHandle<()>>>,
    stop: AtomicBool,
    touched: Mutex<Instant>,
    failing: Streak,
}

impl Guard {
    pub(super) fn new(prefix: &str, maker: Maker) -> Self {
        let space = format!("{prefix}:");
        Self {
            maker,
            home: stored::home(&space),
            space,
            clearing: Mutex::default(),
            failing: Streak::new(),
            stop: AtomicBool::new(false),
            touched: Mutex::new(Instant::now()),
        }
    }

    /// Asks a server who it is and whose the entries are.
    pub(super) fn ask(&self, batch: &mut Batch) {
        batch.push("", &[b"INFO", b"server"]);
        batch.push(&self.home, &[b"GET", self.home.as_bytes()]);
    }

    /// Compares the two answers.
    ///
    /// # Errors
    /// If the entries are another server's; they are being cleared then.
    pub(super) fn compare(
        self: &Arc<Self>,
        node: &Endpoint,
        info: &Value,
        home: &Value,
    ) -> Result<()> {
        for answer in [info, home] {
            if let Value::ServerError(error) = answer {
                return Err(refused(node, error));
            }
        }
        let Some(process) = process_of(info) else {
            let what = format!("redis {node} does not tell its run id, which the guard needs");
            return Err(Error::new(ErrorKind::Denied, what));
        };
        if text(Some(home)) == Some(&process) {
            return Ok(());
        }
        self.clear(self.maker.make(node.clone(), Role::Any), process);
        let what = format!("redis {node} came back; what it kept of {:?} is cleared", self.space);
        Err(Error::new(ErrorKind::Unavailable, what))
    }

    /// Clears the namespace on a thread of its own, one at a time.
    fn clear(self: &Arc<Self>, server: Arc<Server>, process: String) {
        let mut clearing = self.clearing.lock();
        let busy = clearing.as_ref().is_some_and(|thread| !thread.is_finished());
        if busy || self.stop.load(Ordering::Acquire) {
            return;
        }
        let guard = self.clone();
        let thread = thread::Builder::new().name("yokedcache-guard".into()).spawn(move || {
            match guard.clear_now(&server, &process) {
                Ok(removed) => log::warn!(
                    "yokedcache: redis {} came back: {removed} entries of {:?} were cleared",
                    server.endpoint(),
                    guard.space
                ),
                Err(error) => {
                    if let Some(more) = guard.failing.on() {
                        log::warn!("yokedcache: not cleared: {error}{more}");
                    }
                }
            }
        });
        *clearing = thread.ok();
    }

    fn clear_now(&self, server: &Arc<Server>, process: &str) -> Result<u64> {
        let run = |batch: &mut Batch| {
            let limits = Limits { until: Instant::now() + STEP, retry_late: false };
            let values = Topology::run_at(server, batch, limits)?;
            match values.iter().find_map(|value| match value {
                Value::ServerError(error) => Some(refused(server.endpoint(), error)),
                _ => None,
            }) {
                Some(error) => Err(error),
                None => Ok(values),
            }
        };
        let matching = Pattern::prefix(&self.space).match_glob();
        let (mut cursor, mut removed) = ("0".to_owned(), 0);
        loop {
            let mut batch = Batch::new(false);
            let words: [&[u8]; 6] =
                [b"SCAN", cursor.as_bytes(), b"MATCH", matching.as_bytes(), b"COUNT", b"1000"];
            batch.push("", &words);
            let page = run(&mut batch)?.pop().and_then(read_page);
            let (more, names) =
                page.ok_or_else(|| Error::new(ErrorKind::Backend, "redis: not an answer to SCAN"))?;
            if !names.is_empty() {
                batch.clear();
                let mut words: Vec<&[u8]> = vec![b"UNLINK"];
                words.extend(names.iter().map(|name| name.as_bytes()));
                batch.push("", &words);
                run(&mut batch)?;
                removed += names.len() as u64;
            }
            if self.stop.load(Ordering::Acquire) {
                let what = "the cache was closed before all was cleared";
                return Err(Error::new(ErrorKind::Unavailable, what));
            }
            match more {
                Some(more) => cursor = more,
                None => break,
            }
        }
        // If it is another server again by now, this is not its run id, and all begins anew.
        let mut batch = Batch::new(false);
        batch.push("", &[b"SET", self.home.as_bytes(), process.as_bytes()]);
        run(&mut batch)?;
        Ok(removed)
    }

    /// The record to read along with something else, if it was not read for a while.
    pub(super) fn to_touch(&self) -> Option<&str> {
        let mut touched = self.touched.try_lock()?;
        if touched.elapsed() < TOUCHED_EVERY {
            return None;
        }
        *touched = Instant::now();
        Some(&self.home)
    }

    /// Ends the thread that clears.
    pub(super) fn close(&self) {
        self.stop.store(true, Ordering::Release);
        let thread = self.clearing.lock().take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id())
        {
            let _ = thread.join();
        }
    }
}
