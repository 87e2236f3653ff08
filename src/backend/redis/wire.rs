//! One connection to one Redis server: the greeting, an exchange, and what its errors mean.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;

use redis::Value;

use super::batch::Batch;
use super::guard::Guard;
use super::resp::Reader;
use crate::backend::remote::exchange::Speech;
use crate::backend::remote::net::{self, Endpoint, Stream};
use crate::backend::remote::node::{Link, Node, Protocol};
use crate::error::{Error, ErrorKind, Result};

/// A Redis server.
pub(super) type Server = Node<Hello>;

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
        stream.write_all(&batch.bytes(&all)).map_err(failed)?;
        stream.flush().map_err(failed)?;
        let mut asked = Vec::new();
        for index in all {
            let reply = reader.value(stream).map_err(failed)?;
            if index >= own {
                asked.push(reply);
                continue;
            }
            if let Value::ServerError(error) = &reply {
                return Err(unwelcome(node, error, &batch.bytes(&[index])));
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

impl Speech for Hello {
    type Batch = Batch;
    type Reply = Value;

    fn size(batch: &Batch, index: usize) -> usize {
        batch.size(index)
    }

    fn is_once(batch: &Batch, index: usize) -> bool {
        batch.is_once(index)
    }

    fn bytes<'b>(batch: &'b Batch, commands: &[usize], _: &mut Reader) -> Cow<'b, [u8]> {
        batch.bytes(commands)
    }

    fn reply(batch: &Batch, command: usize, link: &mut Link<Reader>) -> io::Result<Value> {
        if batch.is_asking(command) {
            link.session.value(&mut link.stream)?;
        }
        link.session.value(&mut link.stream)
    }

    fn ends(reply: &Value) -> bool {
        matches!(reply, Value::ServerError(error) if ends_connection(error))
    }

    fn is_in_step(session: &Reader) -> bool {
        session.is_empty()
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
