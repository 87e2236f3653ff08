//! Hearing of what others change: the servers' own tracking, one connection to each master.
//!
//! Each of these connections tracks all names under the prefixes (`CLIENT TRACKING` in broadcast
//! mode) and is told of changes itself. A server queues what it tells before it answers whoever made
//! the change. So a sign of life written over a second connection proves, when it is heard of, that
//! all changes answered before it was sent have been heard.
//!
//! Anything unusual ends the whole session: all is unheard of until every master is tracked again.

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use redis::Value;

use super::batch::Batch;
use super::resp::Reader;
use super::topology::Topology;
use super::wire::{Server, refused, text};
use crate::backend::remote::net;
use crate::backend::remote::node::Link;
use crate::backend::remote::stored::{self, Names};
use crate::backend::remote::unique;
use crate::backend::{Heard, Listen, Listening};
use crate::error::{Error, ErrorKind, Result};

const THREAD: &str = "yokedcache-listener";
const CHANNEL: &[u8] = b"__redis__:invalidate";
/// How long a step of setting up may take.
const PATIENCE: Duration = Duration::from_millis(500);
/// How soon it is tried again: at first, and at most.
const SOON: Duration = Duration::from_millis(20);
const LATEST: Duration = Duration::from_secs(1);
/// How often a thread looks whether it is to end.
const TICK: Duration = Duration::from_millis(50);
/// A sign of life that is not heard of for so many beats will not be.
const BEATS: u32 = 6;
/// So long a sign of life stays at the server.
const KEPT: &[u8] = b"5000";

/// Threads that listen, until it is dropped.
pub(super) struct Listener {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    topology: Arc<Topology>,
    names: Names,
    to: Listen,
    stop: AtomicBool,
    /// The server will not tell of changes.
    is_refused: AtomicBool,
    /// The arrangement of masters all of which are tracked, plus one; 0 if there is none.
    tracked: AtomicU64,
}

impl Listener {
    /// # Errors
    /// If a thread cannot be started.
    pub(super) fn start(topology: Arc<Topology>, names: Names, to: &Listen) -> Result<Self> {
        let to = to.clone();
        let (stop, is_refused) = (AtomicBool::new(false), AtomicBool::new(false));
        let tracked = AtomicU64::new(0);
        let shared = Arc::new(Shared { topology, names, to, stop, is_refused, tracked });
        let working = shared.clone();
        let thread = thread::Builder::new()
            .name(THREAD.into())
            .spawn(move || working.listen())
            .map_err(Error::no_thread)?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Listening for Listener {
    fn covers(&self) -> Option<u64> {
        let Shared { topology, tracked, .. } = &*self.shared;
        let detours = topology.detours();
        (tracked.load(Ordering::Acquire) == topology.shape() + 1).then_some(detours)
    }

    fn threads(&self, each: &mut dyn FnMut(&str, bool)) {
        let runs = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        // One that the server will not tell anything has ended, and has nothing left to do.
        each(THREAD, runs || self.shared.is_refused.load(Ordering::Acquire));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // A listener's thread waits for none: it may be this one's, where a handler of events or an
        // entry's own drop let the cache go.
        let waits = thread::current().name() != Some(THREAD);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if waits {
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("spaces", &self.shared.to.spaces).finish_non_exhaustive()
    }
}

/// One attempt to hear everything: it ends for all masters together.
struct Session<'s> {
    shared: &'s Shared,
    /// Who the masters are.
    shape: u64,
    /// Part of the names of its signs of life, so that no other session's are taken for them.
    id: u128,
    state: Mutex<State>,
    /// Signalled when the session is over.
    ended: Condvar,
}

struct State {
    /// Masters not tracked yet.
    missing: usize,
    /// For each master when the last sign of life was sent that was heard of.
    confirmed: Vec<Option<Instant>>,
    over: Option<End>,
}

/// Why a session is over.
#[derive(Clone, Debug)]
enum End {
    /// Something went wrong; the next one may go better.
    Lost(Error),
    /// The server will not track.
    Unable(Error),
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn listen(&self) {
        let mut pause = SOON;
        while !self.stopped() {
            let began = Instant::now();
            let end = self.session();
            self.tracked.store(0, Ordering::Release);
            if self.stopped() {
                return;
            }
            match end {
                End::Lost(error) => self.to.ear.hear(Heard::Lost(error)),
                End::Unable(error) => {
                    self.is_refused.store(true, Ordering::Release);
                    self.to.ear.hear(Heard::Unable(error));
                    return self.to.ear.rest();
                }
            }
            self.to.ear.rest();
            // One that went well for a while is begun anew at once.
            pause = if began.elapsed() > LATEST { SOON } else { (pause * 2).min(LATEST) };
            thread::park_timeout(pause);
        }
    }

    /// The masters, and the number of that arrangement: to ask for them may change it.
    fn arrangement(&self) -> Result<(u64, Vec<Arc<Server>>)> {
        let until = Instant::now() + PATIENCE;
        loop {
            let shape = self.topology.shape();
            let masters = self.topology.masters(until)?;
            // One that is outdated all the same ends soon.
            if self.topology.shape() == shape || Instant::now() >= until {
                return Ok((shape, masters));
            }
        }
    }

    /// Listens to all masters until something ends that.
    fn session(&self) -> End {
        let (shape, masters) = match self.arrangement() {
            Ok(arrangement) => arrangement,
            Err(error) => return End::Lost(error),
        };
        let state =
            State { missing: masters.len(), confirmed: vec![None; masters.len()], over: None };
        let (state, ended) = (Mutex::new(state), Condvar::new());
        let session = Session { shared: self, shape, id: unique(), state, ended };
        thread::scope(|scope| {
            for (at, master) in masters.iter().enumerate() {
                let post = Post { session: &session, at, master, alone: masters.len() == 1 };
                let thread = thread::Builder::new().name(THREAD.into());
                if let Err(error) = thread.spawn_scoped(scope, move || post.stand()) {
                    session.end(End::Lost(Error::no_thread(error)));
                }
            }
            session.wait()
        })
    }
}

impl Session<'_> {
    fn end(&self, end: End) {
        let mut state = self.state.lock();
        // What cannot be is told first.
        if state.over.is_none() || matches!(end, End::Unable(_)) {
            state.over = Some(end);
        }
        drop(state);
        self.ended.notify_all();
    }

    /// Whether the masters are others by now.
    fn is_outdated(&self) -> bool {
        self.shared.topology.shape() != self.shape
    }

    fn is_over(&self) -> bool {
        self.state.lock().over.is_some()
    }

    /// Waits for the end, and ends it when the masters are others.
    fn wait(&self) -> End {
        loop {
            let mut state = self.state.lock();
            if state.over.is_none() {
                self.ended.wait_for(&mut state, TICK);
            }
            if let Some(end) = &state.over {
                return end.clone();
            }
            drop(state);
            self.shared.to.ear.rest();
            if self.shared.stopped() {
                self.end(End::Lost(Error::new(ErrorKind::Unavailable, "the cache was closed")));
            } else if self.is_outdated() {
                self.end(End::Lost(Error::new(ErrorKind::Unavailable, "the masters changed")));
            }
        }
    }

    /// A master is tracked. With the last one all is heard of from now on.
    fn tracks(&self) {
        let mut state = self.state.lock();
        state.missing -= 1;
        if state.missing == 0 && state.over.is_none() {
            self.shared.to.ear.hear(Heard::Everything);
            self.shared.tracked.store(self.shape + 1, Ordering::Release);
        }
    }

    fn all_tracked(&self) -> bool {
        self.state.lock().missing == 0
    }

    /// A sign of life sent at `sent` was heard of by a master's listener.
    fn confirm(&self, at: usize, sent: Instant) {
        let mut state = self.state.lock();
        // The waiting thread ends it when the masters change, but may be with an event's handler.
        if state.over.is_some() || self.is_outdated() {
            return;
        }
        let before = state.confirmed.iter().copied().min().flatten();
        state.confirmed[at] = state.confirmed[at].max(Some(sent));
        let now = state.confirmed.iter().copied().min().flatten();
        // With the lock held: nothing is complete after the end was told.
        if let Some(complete) = now.filter(|_| now != before) {
            self.shared.to.ear.hear(Heard::Complete(complete));
        }
    }
}

/// The listener of one master.
struct Post<'p> {
    session: &'p Session<'p>,
    at: usize,
    master: &'p Arc<Server>,
    /// There are no others: every name is this master's.
    alone: bool,
}

/// A sign of life under way.
struct Sign {
    name: String,
    sent: Instant,
}

impl Post<'_> {
    fn stand(&self) {
        if let Err(end) = self.listen() {
            self.session.end(end);
        }
    }

    fn listen(&self) -> Result<(), End> {
        let until = Instant::now() + PATIENCE;
        let mut ear = self.master.connect(until).map_err(End::Lost)?;
        self.track(&mut ear)?;
        let mut voice = self.master.connect(Instant::now() + PATIENCE).map_err(End::Lost)?;
        self.session.tracks();
        let (mut signs, mut number, mut due) = (Vec::new(), 0, Instant::now());
        let mut heard = Instant::now();
        while !self.session.is_over() {
            let now = Instant::now();
            if now >= due && self.session.all_tracked() {
                due = now + self.session.shared.to.beat;
                number += 1;
                if let Some(name) = self.sign(number) {
                    self.give_sign(&mut voice, &name)?;
                    signs.push(Sign { name, sent: now });
                } else {
                    // No name under the prefixes lives here.
                    self.session.confirm(self.at, now);
                }
                if signs.first().is_some_and(|sign: &Sign| self.is_late(sign)) {
                    let what = format!("redis {} tells of no changes", self.master.endpoint());
                    return Err(End::Lost(Error::new(ErrorKind::Timeout, what)));
                }
            }
            if !self.session.all_tracked() && heard.elapsed() > 2 * PATIENCE {
                let what = "not all masters could be tracked in time";
                return Err(End::Lost(Error::new(ErrorKind::Timeout, what)));
            }
            let wait = due.saturating_duration_since(now).clamp(Duration::from_millis(1), TICK);
            while let Some(names) = self.next(&mut ear, now + wait).map_err(End::Lost)? {
                heard = Instant::now();
                self.hear(&names, &mut signs);
                if heard >= due || ear.session.is_empty() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn is_late(&self, sign: &Sign) -> bool {
        sign.sent.elapsed() > self.session.shared.to.beat * BEATS
    }

    /// Turns a connection into one that is told of changes.
    fn track(&self, ear: &mut Link<Reader>) -> Result<(), End> {
        ear.stream.set_deadline(Instant::now() + PATIENCE);
        let id = match self.ask(ear, &[&[b"CLIENT", b"ID"]]).map_err(End::Lost)?.pop() {
            Some(Value::Int(id)) => id.to_string(),
            Some(Value::ServerError(error)) => return Err(self.refusal(&error)),
            _ => return Err(End::Lost(self.out_of_step())),
        };
        let mut words: Vec<&[u8]> =
            vec![b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", id.as_bytes(), b"BCAST"];
        let spaces = &self.session.shared.to.spaces;
        for space in spaces.iter().filter(|space| !space.is_empty()) {
            words.extend([b"PREFIX".as_slice(), space.as_bytes()]);
        }
        for reply in self.ask(ear, &[&words, &[b"SUBSCRIBE", CHANNEL]]).map_err(End::Lost)? {
            if let Value::ServerError(error) = reply {
                return Err(self.refusal(&error));
            }
        }
        Ok(())
    }

    /// What a server says that will not track, or take our signs: most will not later, either.
    fn refusal(&self, error: &redis::ServerError) -> End {
        let refused = refused(self.master.endpoint(), error);
        match refused.kind() {
            ErrorKind::Unavailable | ErrorKind::Full => End::Lost(refused),
            _ => End::Unable(refused),
        }
    }

    /// Says something on a connection of our own, and reads as many replies.
    fn ask(&self, link: &mut Link<Reader>, commands: &[&[&[u8]]]) -> Result<Vec<Value>> {
        let mut batch = Batch::new(false);
        commands.iter().for_each(|words| batch.push("", words));
        let all: Vec<usize> = (0..batch.len()).collect();
        let failed = |error| net::failed("redis", self.master.endpoint(), error);
        let Link { stream, session, .. } = link;
        stream.write_all(&batch.bytes(&all)).and_then(|()| stream.flush()).map_err(failed)?;
        all.iter().map(|_| session.value(stream).map_err(failed)).collect()
    }

    /// A name for a sign of life that lives at this master; none if none does.
    fn sign(&self, number: u64) -> Option<String> {
        let Shared { topology, to, .. } = self.session.shared;
        let name = |space: &str, salt| stored::beat(space, self.session.id, number, salt);
        if self.alone {
            return Some(name(to.spaces.first()?, 0));
        }
        let mut spaces = to.spaces.iter();
        spaces.find_map(|space| topology.own_name(self.master, |salt| name(space, salt)))
    }

    fn give_sign(&self, voice: &mut Link<Reader>, name: &str) -> Result<(), End> {
        voice.stream.set_deadline(Instant::now() + PATIENCE);
        let words: [&[u8]; 5] = [b"SET", name.as_bytes(), b"1", b"PX", KEPT];
        match self.ask(voice, &[&words]).map_err(End::Lost)?.pop() {
            Some(Value::Okay) if voice.session.is_empty() => Ok(()),
            Some(Value::ServerError(error)) => {
                // A cluster's server that sends us elsewhere has lost the slot.
                self.session.shared.topology.doubt(self.master, Instant::now() + PATIENCE);
                Err(self.refusal(&error))
            }
            _ => Err(End::Lost(self.out_of_step())),
        }
    }

    fn out_of_step(&self) -> Error {
        let what = format!("redis {} answers what was not asked", self.master.endpoint());
        Error::new(ErrorKind::Unavailable, what)
    }

    /// The names in the next message; nothing if none comes in time.
    fn next(&self, ear: &mut Link<Reader>, until: Instant) -> Result<Option<Value>> {
        let failed = |error| net::failed("redis", self.master.endpoint(), error);
        let Link { stream, session, .. } = ear;
        stream.set_deadline(until);
        if let Err(error) = session.wait(stream).map_err(failed) {
            return if error.kind() == ErrorKind::Timeout { Ok(None) } else { Err(error) };
        }
        stream.set_deadline(Instant::now() + PATIENCE);
        match session.value(stream).map_err(failed)? {
            Value::Array(mut message)
                if message.len() == 3
                    && text(message.first()) == Some("message")
                    && text(message.get(1)).map(str::as_bytes) == Some(CHANNEL) =>
            {
                Ok(message.pop())
            }
            _ => Err(self.out_of_step()),
        }
    }

    fn hear(&self, names: &Value, signs: &mut Vec<Sign>) {
        let Shared { names: stored_names, to, .. } = self.session.shared;
        let Value::Array(names) = names else { return to.ear.hear(Heard::Everything) };
        let mut confirmed = None;
        for name in names {
            let Some(name) = text(Some(name)) else { continue };
            if let Some(at) = signs.iter().position(|sign| sign.name == name) {
                confirmed = confirmed.max(Some(signs[at].sent));
                signs.drain(..=at);
            } else if let Some(key) = stored_names.key_of(name) {
                to.ear.hear(Heard::Key(key));
            } else if let Some(tag) = stored::tagged(name) {
                to.ear.hear(Heard::Tag(tag));
            }
        }
        // Last: a message may name a sign of life before what changed with it.
        if let Some(sent) = confirmed {
            self.session.confirm(self.at, sent);
        }
    }
}
