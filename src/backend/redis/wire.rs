//! One connection to one Redis server: the greeting, an exchange, and what its errors mean.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use redis::Value;

use super::batch::Batch;
use super::guard::Guard;
use super::resp::Reader;
use crate::backend::remote::net::{self, Endpoint, Stream};
use crate::backend::remote::node::{Line, Link, Node, Protocol};
use crate::error::{Error, ErrorKind, Result};

/// A Redis server.
pub(super) type Server = Node<Hello>;

/// Commands and bytes written before the answers are read: what a server holds of answers nobody
/// has read yet is its memory.
const COMMANDS_AT_ONCE: usize = 1000;
const BYTES_AT_ONCE: usize = 1 << 20;

/// What is said to a server first.
#[derive(Clone, Debug, Default)]
pub(super) struct Hello {
    pub(super) login: Option<Arc<Login>>,
    pub(super) db: u32,
    pub(super) client_name: Option<Arc<str>>,
    pub(super) role: Role,
    pub(super) guard: Option<Arc<Guard>>,
}

/// Who we are. Its `Debug` does not tell.
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(..)")
    }
}

/// What a server must be for us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Role {
    #[default]
    Any,
    /// Takes writes, and says so itself.
    Master,
    /// A replica that answers reads.
    Replica,
}

impl Hello {
    fn words(&self) -> Vec<Vec<&[u8]>> {
        let mut commands: Vec<Vec<&[u8]>> = Vec::new();
        if let Some(Login { user, password }) = self.login.as_deref() {
            let mut auth: Vec<&[u8]> = vec![b"AUTH"];
            auth.extend(user.as_deref().map(str::as_bytes));
            auth.push(password.as_bytes());
            commands.push(auth);
        }
        if let Some(name) = &self.client_name {
            commands.push(vec![b"CLIENT", b"SETNAME", name.as_bytes()]);
        }
        match self.role {
            Role::Any => {}
            Role::Master => commands.push(vec![b"ROLE"]),
            Role::Replica => commands.push(vec![b"READONLY"]),
        }
        commands
    }
}

impl Protocol for Hello {
    type Session = Reader;

    const NAME: &'static str = "redis";

    fn greet(&self, stream: &mut Stream, node: &Endpoint) -> Result<Reader> {
        let mut batch = Batch::new(false);
        let db = self.db.to_string();
        for words in self.words() {
            batch.push("", &words);
        }
        if self.db != 0 {
            batch.push("", &[b"SELECT", db.as_bytes()]);
        }
        let own = batch.len();
        if let Some(guard) = &self.guard {
            guard.ask(&mut batch);
        }
        let mut reader = Reader::new();
        let all: Vec<usize> = (0..batch.len()).collect();
        let failed = |error| net::failed("redis", node, error);
        stream.write_all(&batch.bytes(&all, &[])).map_err(failed)?;
        stream.flush().map_err(failed)?;
        let mut asked = Vec::new();
        for index in all {
            let reply = reader.value(stream).map_err(failed)?;
            if index >= own {
                asked.push(reply);
                continue;
            }
            if let Value::ServerError(error) = &reply {
                return Err(unwelcome(node, error, &batch.bytes(&[index], &[])));
            }
            let is_role = matches!(reply, Value::Array(_));
            if self.role == Role::Master && is_role && !says_master(&reply) {
                let what = format!("redis {node} is not a master any more");
                return Err(Error::new(ErrorKind::Unavailable, what));
            }
        }
        if !reader.is_empty() {
            return Err(out_of_step(node));
        }
        if let (Some(guard), [info, home]) = (&self.guard, &asked[..]) {
            guard.compare(node, info, home)?;
        }
        Ok(reader)
    }

    fn ping(&self, link: &mut Link<Reader>, node: &Endpoint) -> Result<()> {
        let failed = |error| net::failed("redis", node, error);
        link.stream.write_all(b"*1\r\n$4\r\nPING\r\n").map_err(failed)?;
        link.stream.flush().map_err(failed)?;
        match link.session.value(&mut link.stream).map_err(failed)? {
            Value::SimpleString(pong) if pong == "PONG" && link.session.is_empty() => Ok(()),
            _ => Err(out_of_step(node)),
        }
    }
}

fn out_of_step(node: &Endpoint) -> Error {
    let what = format!("redis {node} answers what was not asked");
    Error::new(ErrorKind::Unavailable, what)
}

/// Why a server did not take our greeting.
fn unwelcome(node: &Endpoint, error: &redis::ServerError, said: &[u8]) -> Error {
    let login = said.windows(6).any(|word| word == b"\nAUTH\r");
    let refused = refused(node, error);
    if !login {
        return refused;
    }
    // What a server says of a login may repeat it.
    let kind = match refused.kind() {
        ErrorKind::Backend => ErrorKind::Denied,
        kind => kind,
    };
    Error::new(kind, format!("redis {node} refuses the login: {}", error.code()))
}

pub(super) fn says_master(role: &Value) -> bool {
    matches!(role, Value::Array(role) if text(role.first()) == Some("master"))
}

/// The text of a reply.
pub(super) fn text(value: Option<&Value>) -> Option<&str> {
    match value? {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        Value::Okay => Some("OK"),
        _ => None,
    }
}

/// The number in a reply.
pub(super) fn number(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::Int(number) => Some(*number),
        value => text(Some(value))?.parse().ok(),
    }
}

/// What a server's refusal is to our callers.
pub(super) fn refused(node: &Endpoint, error: &redis::ServerError) -> Error {
    let refusal = refusal(error);
    Error::new(refusal.kind(), format!("{node}: {refusal}"))
}

/// The same where it does not matter which server said it.
pub(super) fn refusal(error: &redis::ServerError) -> Error {
    let detail = error.details().unwrap_or_default();
    let kind = match error.code() {
        "WRONGPASS" | "NOAUTH" | "NOPERM" => ErrorKind::Denied,
        "OOM" => ErrorKind::Full,
        "WRONGTYPE" => ErrorKind::WrongType,
        "READONLY" | "LOADING" | "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" | "MOVED" | "ASK"
        | "NOREPLICAS" | "MISCONF" | "BUSY" | "UNBLOCKED" => ErrorKind::Unavailable,
        "ERR" if detail.contains("max number of clients") => ErrorKind::Unavailable,
        // As servers before 7 tell what went wrong in a script.
        "ERR" if detail.contains("OOM command not allowed") => ErrorKind::Full,
        "ERR" if detail.contains("WRONGTYPE") => ErrorKind::WrongType,
        "ERR" if detail.contains("READONLY") => ErrorKind::Unavailable,
        _ => ErrorKind::Backend,
    };
    Error::new(kind, format!("redis says {} {detail}", error.code()))
}

/// Whether the server closes the connection after saying this, or we should.
fn ends_connection(error: &redis::ServerError) -> bool {
    matches!(error.code(), "READONLY" | "MASTERDOWN" | "LOADING" | "NOAUTH")
        || error.details().is_some_and(|detail| detail.contains("max number of clients"))
}

/// Why a command has no answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// It never left: it may go elsewhere.
    NotSent(Error),
    /// It may have been carried out.
    Unknown(Error),
}

impl Lost {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::NotSent(error) | Self::Unknown(error) => error,
        }
    }
}

/// The commands of a batch that go to one server, and their answers.
pub(super) struct Part {
    pub(super) server: Arc<Server>,
    /// Indices into the batch.
    pub(super) commands: Vec<usize>,
    /// Those of them that are preceded by `ASKING`.
    pub(super) asking: Vec<usize>,
    pub(super) replies: Vec<Result<Value, Lost>>,
}

impl Part {
    pub(super) fn new(server: Arc<Server>, commands: Vec<usize>) -> Self {
        let replies = Vec::with_capacity(commands.len());
        Self { server, commands, asking: Vec::new(), replies }
    }
}

/// A part under way.
struct Going<'p> {
    line: Option<Line<'p, Hello>>,
    commands: &'p [usize],
    asking: &'p [usize],
    replies: &'p mut Vec<Result<Value, Lost>>,
    /// So many commands are written.
    written: usize,
    /// The server said something after which it is left alone.
    ended: bool,
    /// No other server takes time away.
    alone: bool,
}

/// How long a call may take, and whether it may try again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) until: Instant,
    /// A command that may be sent again is so after half of the time.
    pub(super) retry_late: bool,
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
pub(super) fn exchange(batch: &Batch, parts: &mut [Part], limits: Limits) {
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
    let mut left = parts.len();
    let start = |part| {
        left -= 1;
        // One server that does not let us in leaves the others some time.
        let now = Instant::now();
        let time = limits.until.saturating_duration_since(now);
        Going::start(part, now + if left == 0 { time } else { time / 2 }, false)
    };
    let mut going: Vec<Going<'_>> = parts.iter_mut().map(start).collect();
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

impl<'p> Going<'p> {
    fn start(part: &'p mut Part, until: Instant, alone: bool) -> Self {
        let Part { server, commands, asking, replies } = part;
        let (written, ended) = (0, false);
        let mut going = Self { line: None, commands, asking, replies, written, ended, alone };
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
    fn chunk(&self, batch: &Batch, from: usize) -> usize {
        let mut bytes = 0;
        let fits = self.commands[from..].iter().take(COMMANDS_AT_ONCE).take_while(|index| {
            let fits = bytes < BYTES_AT_ONCE;
            bytes += batch.size(**index);
            fits
        });
        from + fits.count()
    }

    fn write(&mut self, batch: &Batch, first_try: Instant, limits: Limits) {
        if self.line.is_none() {
            return;
        }
        let from = self.replies.len();
        self.written = self.chunk(batch, from);
        if let Err(error) = self.send(batch, from, first_try) {
            self.again_or_fail(batch, from, error, limits, true);
        }
    }

    fn send(&mut self, batch: &Batch, from: usize, until: Instant) -> Result<()> {
        let bytes = batch.bytes(&self.commands[from..self.written], self.asking);
        let Some(line) = &mut self.line else { return Ok(()) };
        let failed = |error, node: &Endpoint| net::failed("redis", node, error);
        let node = line.endpoint().clone();
        let link = line.link(until)?;
        link.stream.write_all(&bytes).map_err(|error| failed(error, &node))?;
        link.stream.flush().map_err(|error| failed(error, &node))
    }

    fn read(&mut self, batch: &Batch, first_try: Instant, limits: Limits) {
        let from = self.replies.len();
        let waited = self.alone || Instant::now() < first_try;
        if let Err(error) = self.receive(first_try) {
            // Nothing of this chunk was answered: it may have met a connection that was dead.
            if self.replies.len() == from {
                self.again_or_fail(batch, from, error, limits, waited);
                if let Err(error) = self.receive(limits.until) {
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

    fn receive(&mut self, until: Instant) -> Result<()> {
        let Some(line) = &mut self.line else { return Ok(()) };
        let node = line.endpoint().clone();
        let link = line.link(until)?;
        while self.replies.len() < self.written {
            if self.asking.contains(&self.commands[self.replies.len()]) {
                let asked = link.session.value(&mut link.stream);
                asked.map_err(|error| net::failed("redis", &node, error))?;
            }
            let reply = link.session.value(&mut link.stream);
            let reply = reply.map_err(|error| net::failed("redis", &node, error))?;
            self.ended |= matches!(&reply, Value::ServerError(error) if ends_connection(error));
            self.replies.push(Ok(reply));
        }
        // More than was asked for would be taken for the answer to the next command.
        self.ended |= !link.session.is_empty();
        Ok(())
    }

    /// Sends a chunk once more, if it may be: on another connection where this one had been idle,
    /// or late if that is wanted.
    fn again_or_fail(
        &mut self,
        batch: &Batch,
        from: usize,
        error: Error,
        limits: Limits,
        waited: bool,
    ) {
        let Some(line) = &mut self.line else { return };
        let late = error.kind() == ErrorKind::Timeout;
        let may = if late { limits.retry_late } else { line.reused };
        let once = self.commands[from..self.written].iter().any(|index| batch.is_once(*index));
        if !may || once || Instant::now() >= limits.until {
            return self.fail(&error, waited);
        }
        let again = line.reconnect(limits.until);
        if let Err(error) = again.and_then(|()| self.send(batch, from, limits.until)) {
            self.fail(&error, true);
        }
    }
}
