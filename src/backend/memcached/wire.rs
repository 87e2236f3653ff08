//! One connection to one Memcached server: the greeting, commands and answers.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use twox_hash::XxHash3_64;

use super::batch::{Batch, Reply, Transport};
use super::{binary, meta};
use crate::backend::remote::buffer::{Buffer, unexpected};
use crate::backend::remote::exchange::Speech;
use crate::backend::remote::net::{self, Endpoint, Stream};
use crate::backend::remote::node::{Link, Protocol};
use crate::error::{Error, ErrorKind, Result};

/// How to talk to a server.
#[derive(Clone, Debug)]
pub(super) struct Talker {
    pub(super) transport: Transport,
    pub(super) login: Option<Arc<Login>>,
    pub(super) limit: Arc<Limit>,
}

/// Who we are. Its `Debug` does not tell.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(..)")
    }
}

/// What the weakest of the servers can do; not known before it was connected to.
#[derive(Debug)]
pub(super) struct Limit {
    /// Its room for an entry.
    room: AtomicUsize,
    numbers_nothing: AtomicBool,
}

impl Default for Limit {
    fn default() -> Self {
        Self { room: AtomicUsize::new(usize::MAX), numbers_nothing: AtomicBool::new(false) }
    }
}

impl Limit {
    fn note(&self, bytes: usize) {
        self.room.fetch_min(bytes, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<usize> {
        Some(self.room.load(Ordering::Relaxed)).filter(|bytes| *bytes != usize::MAX)
    }

    /// Whether entries have numbers on all servers.
    pub(super) fn numbers(&self) -> bool {
        !self.numbers_nothing.load(Ordering::Relaxed)
    }
}

/// What a connection keeps beside its socket.
#[derive(Debug)]
pub(super) struct Session {
    buffer: Buffer,
    quiet: meta::Quiet,
    /// Which process the server is; entries it numbered are no other's. The lowest two bits are 0.
    process: u64,
    /// The server's room for an entry.
    room: usize,
}

/// Statistics a greeting asks for.
#[derive(Default)]
struct Facts {
    /// It does not number entries.
    numbers_nothing: bool,
    pid: u64,
    time: u64,
    uptime: u64,
    room: usize,
}

impl Facts {
    fn note(&mut self, name: &str, value: &str) {
        let number = value.parse().unwrap_or_default();
        match name {
            "pid" => self.pid = number,
            "time" => self.time = number,
            "uptime" => self.uptime = number,
            "cas_enabled" => self.numbers_nothing = value == "no",
            "item_size_max" => self.room = usize::try_from(number).unwrap_or(0),
            _ => {}
        }
    }

    /// A server's process is told by where it is, its id and when it was started.
    fn process(&self, node: &Endpoint) -> u64 {
        let started = self.time.saturating_sub(self.uptime);
        let text = format!("{node} {} {started}", self.pid);
        XxHash3_64::oneshot(text.as_bytes()) & !3
    }
}

impl Talker {
    fn ask(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.transport {
            Transport::Meta => {
                if let Some(login) = self.login.as_deref() {
                    let words = format!("{} {}", login.user, login.password);
                    out.extend(format!("set auth 0 -1 {}\r\n{words}\r\n", words.len()).bytes());
                }
                out.extend_from_slice(b"stats\r\nstats settings\r\n");
            }
            Transport::Binary => {
                if let Some(login) = self.login.as_deref() {
                    binary::login(&mut out, &login.user, &login.password);
                }
                binary::stats(&mut out, "");
                binary::stats(&mut out, "settings");
            }
        }
        out
    }

    fn hear(&self, buffer: &mut Buffer, stream: &mut Stream, facts: &mut Facts) -> Heard {
        if self.login.is_some() {
            let refused = match self.transport {
                Transport::Meta => meta::hear_login(buffer, stream)?,
                Transport::Binary => binary::Frame::read(buffer, stream)?.refusal(),
            };
            if let Some(error) = refused {
                // What a server says of a login may repeat it.
                let what = "memcached refuses the login, or wants none";
                return Ok(Err(match error.kind() {
                    ErrorKind::Denied | ErrorKind::Backend => Error::new(ErrorKind::Denied, what),
                    _ => error,
                }));
            }
        }
        for _ in 0..2 {
            loop {
                match fact(self.transport, buffer, stream)? {
                    Ok(Some((name, value))) => facts.note(&name, &value),
                    Ok(None) => break,
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
        Ok(Ok(()))
    }
}

/// The next of the statistics asked for; none when they are at their end.
pub(super) fn fact(
    transport: Transport,
    buffer: &mut Buffer,
    stream: &mut Stream,
) -> io::Result<Result<Option<(String, String)>>> {
    match transport {
        Transport::Meta => meta::fact(buffer, stream),
        Transport::Binary => binary::fact(buffer, stream),
    }
}

type Heard = io::Result<Result<()>>;

impl Protocol for Talker {
    type Session = Session;

    const NAME: &'static str = "memcached";

    fn greet(&self, stream: &mut Stream, node: &Endpoint) -> Result<Session> {
        let failed = |error| net::failed("memcached", node, error);
        let (mut buffer, mut facts) = (Buffer::new(), Facts::default());
        if self.login.is_some() && self.transport == Transport::Meta {
            // A server that wants no login would take it for an entry, and show it to anybody.
            stream.write_all(b"mn\r\n").and_then(|()| stream.flush()).map_err(failed)?;
            let line = buffer.line(stream).map_err(failed)?;
            if buffer.get(line) == b"MN\r\n" {
                let what = format!("memcached {node} wants no login");
                return Err(Error::new(ErrorKind::Denied, what));
            }
        }
        stream.write_all(&self.ask()).map_err(failed)?;
        stream.flush().map_err(failed)?;
        let heard = self.hear(&mut buffer, stream, &mut facts).map_err(failed)?;
        heard.map_err(|error| at(node, &error))?;
        if !buffer.is_empty() {
            return Err(failed(unexpected()));
        }
        let room = if facts.room == 0 { usize::MAX } else { facts.room };
        self.limit.note(room);
        if facts.numbers_nothing {
            self.limit.numbers_nothing.store(true, Ordering::Relaxed);
        }
        let (quiet, process) = (meta::Quiet::default(), facts.process(node));
        Ok(Session { buffer, quiet, process, room })
    }

    fn ping(&self, link: &mut Link<Session>, node: &Endpoint) -> Result<()> {
        let failed = |error| net::failed("memcached", node, error);
        let mut out = Vec::new();
        match self.transport {
            Transport::Meta => out.extend_from_slice(b"mn\r\n"),
            Transport::Binary => binary::version(&mut out),
        }
        link.stream.write_all(&out).map_err(failed)?;
        link.stream.flush().map_err(failed)?;
        let (buffer, stream) = (&mut link.session.buffer, &mut link.stream);
        let answered = match self.transport {
            Transport::Meta => {
                let line = buffer.line(stream).map_err(failed)?;
                buffer.get(line) == b"MN\r\n"
            }
            Transport::Binary => {
                binary::Frame::read(buffer, stream).map_err(failed)?.refusal().is_none()
            }
        };
        if answered && buffer.is_empty() { Ok(()) } else { Err(failed(unexpected())) }
    }
}

/// The same error, with the server that says so.
pub(super) fn at(node: &Endpoint, error: &Error) -> Error {
    Error::new(error.kind(), format!("{node}: {error}"))
}

impl Session {
    /// Why a command is not sent to this server: an entry it means is another process's, or it is
    /// larger than any the server takes, which would cost the older one there.
    fn declines(&self, batch: &Batch, index: usize) -> Option<Reply> {
        let command = batch.command(index);
        if let Some(error) = &command.refused {
            return Some(Reply::Refused(error.clone()));
        }
        if command.only.is_some_and(|process| process != self.process) {
            return Some(Reply::Changed);
        }
        if command.size > self.room {
            let what = format!(
                "the entry takes {} bytes, more than the {} that memcached takes (-I)",
                command.size, self.room
            );
            return Some(Reply::Refused(Error::new(ErrorKind::TooLarge, what)));
        }
        None
    }

    pub(super) fn buffer(&mut self) -> &mut Buffer {
        &mut self.buffer
    }
}

impl Speech for Talker {
    type Batch = Batch;
    type Reply = Reply;

    fn size(batch: &Batch, index: usize) -> usize {
        batch.bytes(index).len()
    }

    fn is_once(batch: &Batch, index: usize) -> bool {
        batch.is_once(index)
    }

    fn bytes<'b>(batch: &'b Batch, commands: &[usize], session: &mut Session) -> Cow<'b, [u8]> {
        let (Some(&first), Some(&last)) = (commands.first(), commands.last()) else {
            return Cow::Borrowed(&[]);
        };
        let together = last - first + 1 == commands.len();
        let declined = |index: &usize| session.declines(batch, *index).is_some();
        let quiet = batch.command(last).quiet;
        if together && !quiet && !commands.iter().any(declined) {
            return Cow::Borrowed(batch.bytes_of(first, last));
        }
        let sent = commands.iter().filter(|index| !declined(index));
        let mut bytes = Vec::new();
        let mut loud = None;
        for index in sent {
            bytes.extend_from_slice(batch.bytes(*index));
            loud = Some(batch.command(*index));
        }
        if loud.is_some_and(|command| command.quiet) {
            meta::speak_up(&mut bytes);
        }
        session.quiet.begin(loud);
        Cow::Owned(bytes)
    }

    fn reply(batch: &Batch, command: usize, link: &mut Link<Session>) -> io::Result<Reply> {
        if let Some(reply) = link.session.declines(batch, command) {
            return Ok(reply);
        }
        let command = batch.command(command);
        let Session { buffer, quiet, process, .. } = &mut link.session;
        let reply = match batch.fleet.transport() {
            Transport::Meta => meta::read(command, *process, quiet, buffer, &mut link.stream)?,
            Transport::Binary => binary::read(command, *process, buffer, &mut link.stream)?,
        };
        Ok(match (command.same, reply) {
            (Some(same), Reply::Done(now)) if now != Some(same) => Reply::Changed,
            (_, Reply::Item(item)) => command.own(item),
            (_, reply) => reply,
        })
    }

    fn ends(reply: &Reply) -> bool {
        matches!(reply, Reply::Hangs(_))
    }

    fn is_in_step(session: &Session) -> bool {
        session.buffer.is_empty() && session.quiet.is_over()
    }
}
