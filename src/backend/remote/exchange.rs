//! The one door to the network.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use super::net;
use super::node::{Line, Link, Node, Protocol};
use crate::error::{Error, ErrorKind, Result};

/// Commands and bytes written before the answers are read: what a server holds of answers nobody
/// has read yet is its memory.
const COMMANDS_AT_ONCE: usize = 1000;
const BYTES_AT_ONCE: usize = 1 << 20;

/// How commands and answers look on a connection.
pub(crate) trait Speech: Protocol {
    /// Commands by index.
    type Batch;
    type Reply;

    /// How many bytes a command has, or so.
    fn size(batch: &Self::Batch, index: usize) -> usize;

    /// Whether a command must not be sent again when nobody knows whether it was carried out.
    fn is_once(batch: &Self::Batch, index: usize) -> bool;

    /// What to write for these commands.
    fn bytes<'b>(
        batch: &'b Self::Batch,
        commands: &[usize],
        session: &mut Self::Session,
    ) -> Cow<'b, [u8]>;

    /// Reads the answer to a command.
    fn reply(
        batch: &Self::Batch,
        command: usize,
        link: &mut Link<Self::Session>,
    ) -> io::Result<Self::Reply>;

    /// Whether the server closes the connection after saying this, or we should.
    fn ends(reply: &Self::Reply) -> bool;

    /// Whether all that was received has been used.
    fn is_in_step(session: &Self::Session) -> bool;
}

/// Why a command has no answer.
#[derive(Debug)]
pub(crate) enum Lost {
    /// It never left: it may go elsewhere.
    NotSent(Error),
    /// It may have been carried out.
    Unknown(Error),
}

impl Lost {
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::NotSent(error) | Self::Unknown(error) => error,
        }
    }
}

/// The commands of a batch that go to one server, and their answers.
pub(crate) struct Part<P: Speech> {
    pub(crate) server: Arc<Node<P>>,
    /// Indices into the batch.
    pub(crate) commands: Vec<usize>,
    pub(crate) replies: Vec<Result<P::Reply, Lost>>,
}

impl<P: Speech> Part<P> {
    pub(crate) fn new(server: Arc<Node<P>>, commands: Vec<usize>) -> Self {
        let replies = Vec::with_capacity(commands.len());
        Self { server, commands, replies }
    }
}

/// A part under way.
struct Going<'p, P: Speech> {
    line: Option<Line<'p, P>>,
    commands: &'p [usize],
    replies: &'p mut Vec<Result<P::Reply, Lost>>,
    /// So many commands are written.
    written: usize,
    /// The server said something after which it is left alone.
    ended: bool,
    /// No other server takes time away.
    alone: bool,
}

/// How long a call may take, and whether it may try again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) until: Instant,
    /// A command that may be sent again is so after half of the time.
    pub(crate) retry_late: bool,
}

impl Limits {
    fn first_try(&self) -> Instant {
        if !self.retry_late {
            return self.until;
        }
        let now = Instant::now();
        now + self.until.saturating_duration_since(now) / 2
    }
}

/// The one door to the network: takes connections, writes commands, reads the answers under the
/// deadline, and throws a connection away on any doubt about it.
///
/// Several servers work at the same time: all are written to before any is read from.
pub(crate) fn exchange<P: Speech>(batch: &P::Batch, parts: &mut [Part<P>], limits: Limits) {
    if let [part] = parts {
        // What nearly every call is: one server.
        let mut going = Going::start(part, limits.until, true);
        let first_try = limits.first_try();
        while going.line.is_some() {
            going.write(batch, first_try, limits);
            going.read(batch, first_try, limits);
        }
        return;
    }
    // Always in the same order: two calls that wait for each other's connections end.
    parts.sort_by(|a, b| a.server.endpoint().cmp(b.server.endpoint()));
    let start = |part| {
        // One server that does not let us in leaves the others some time.
        let now = Instant::now();
        Going::start(part, now + limits.until.saturating_duration_since(now) / 2, false)
    };
    let mut going: Vec<Going<'_, P>> = parts.iter_mut().map(start).collect();
    let first_try = limits.first_try();
    while going.iter().any(|part| part.line.is_some()) {
        for part in &mut going {
            part.write(batch, first_try, limits);
        }
        for part in &mut going {
            part.read(batch, first_try, limits);
        }
    }
}

impl<'p, P: Speech> Going<'p, P> {
    fn start(part: &'p mut Part<P>, until: Instant, alone: bool) -> Self {
        let Part { server, commands, replies } = part;
        let (written, ended) = (0, false);
        let mut going = Self { line: None, commands, replies, written, ended, alone };
        match server.line(until) {
            Ok(line) => going.line = Some(line),
            Err(error) => going.give_up(&error),
        }
        going
    }

    /// What has no answer gets this one.
    fn give_up(&mut self, error: &Error) {
        let answered = self.replies.len();
        let unknown = self.written.saturating_sub(answered);
        let lost = |index| match index < unknown {
            true => Lost::Unknown(error.clone()),
            false => Lost::NotSent(error.clone()),
        };
        self.replies.extend((0..self.commands.len() - answered).map(|index| Err(lost(index))));
    }

    /// `waited`: it had the time to answer.
    fn fail(&mut self, error: &Error, waited: bool) {
        match self.line.take() {
            Some(line) if waited => line.failed(error),
            // Another server used the time up.
            Some(line) => line.abandon(),
            None => {}
        }
        self.give_up(error);
    }

    /// The commands written at once from `from` on.
    fn chunk(&self, batch: &P::Batch, from: usize) -> usize {
        let mut bytes = 0;
        let fits = self.commands[from..].iter().take(COMMANDS_AT_ONCE).take_while(|index| {
            let fits = bytes < BYTES_AT_ONCE;
            bytes += P::size(batch, **index);
            fits
        });
        from + fits.count()
    }

    fn write(&mut self, batch: &P::Batch, first_try: Instant, limits: Limits) {
        if self.line.is_none() {
            return;
        }
        let from = self.replies.len();
        self.written = self.chunk(batch, from);
        if let Err(error) = self.send(batch, from, first_try) {
            self.again_or_fail(batch, from, error, limits, true);
        }
    }

    fn send(&mut self, batch: &P::Batch, from: usize, until: Instant) -> Result<()> {
        let Some(line) = &mut self.line else { return Ok(()) };
        let node = line.endpoint();
        let failed = |error| net::failed(P::NAME, node, error);
        let link = line.link(until)?;
        let bytes = P::bytes(batch, &self.commands[from..self.written], &mut link.session);
        link.stream.write_all(&bytes).map_err(failed)?;
        link.stream.flush().map_err(failed)
    }

    fn read(&mut self, batch: &P::Batch, first_try: Instant, limits: Limits) {
        let from = self.replies.len();
        let waited = self.alone || Instant::now() < first_try;
        if let Err(error) = self.receive(batch, first_try) {
            // Nothing of this chunk was answered: it may have met a connection that was dead.
            if self.replies.len() == from {
                self.again_or_fail(batch, from, error, limits, waited);
                if let Err(error) = self.receive(batch, limits.until) {
                    self.fail(&error, true);
                }
            } else {
                self.fail(&error, waited);
            }
        }
        if self.replies.len() < self.commands.len() {
            return;
        }
        match self.line.take() {
            Some(line) if self.ended => line.hang_up(),
            Some(line) => line.done(),
            None => {}
        }
    }

    fn receive(&mut self, batch: &P::Batch, until: Instant) -> Result<()> {
        let Some(line) = &mut self.line else { return Ok(()) };
        let node = line.endpoint();
        let link = line.link(until)?;
        while self.replies.len() < self.written {
            let reply = P::reply(batch, self.commands[self.replies.len()], link);
            let reply = reply.map_err(|error| net::failed(P::NAME, node, error))?;
            self.ended |= P::ends(&reply);
            self.replies.push(Ok(reply));
        }
        // More than was asked for would be taken for the answer to the next command.
        self.ended |= !P::is_in_step(&link.session);
        Ok(())
    }

    /// Sends a chunk once more, if it may be: on another connection where this one had been idle,
    /// or late if that is wanted.
    fn again_or_fail(
        &mut self,
        batch: &P::Batch,
        from: usize,
        error: Error,
        limits: Limits,
        waited: bool,
    ) {
        let Some(line) = &mut self.line else { return };
        let late = error.kind() == ErrorKind::Timeout;
        let may = if late { limits.retry_late } else { line.reused };
        let once = self.commands[from..self.written].iter().any(|index| P::is_once(batch, *index));
        if !may || once || Instant::now() >= limits.until {
            return self.fail(&error, waited);
        }
        let again = line.reconnect(limits.until);
        if let Err(error) = again.and_then(|()| self.send(batch, from, limits.until)) {
            self.fail(&error, true);
        }
    }
}
