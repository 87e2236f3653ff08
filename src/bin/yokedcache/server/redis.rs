//! A Redis server asked directly.

use std::io::{self, Write};

use redis::{Parser, Value};

use super::Facts;
use super::address::Address;
use super::socket::Stream;

/// A connection on which commands are said one at a time.
pub struct Redis {
    stream: Stream,
    parser: Parser,
}

/// What a server refused, in its words.
pub struct Refusal(pub String);

pub enum Fault {
    Refused(Refusal),
    /// What came is not the protocol.
    Foreign,
    Io(io::Error),
}

impl Redis {
    pub fn new(stream: Stream) -> Self {
        Self { stream, parser: Parser::new() }
    }

    /// Says a command and returns the answer.
    pub fn ask(&mut self, words: &[&str]) -> Result<Value, Fault> {
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let packed = redis::pack_command(&words);
        self.stream.write_all(&packed).and_then(|()| self.stream.flush()).map_err(Fault::Io)?;
        match self.parser.parse_value(&mut self.stream) {
            Ok(Value::ServerError(error)) => {
                let text = format!("{} {}", error.code(), error.details().unwrap_or_default());
                Err(Fault::Refused(Refusal(text.trim_end().to_owned())))
            }
            Ok(value) => Ok(value),
            Err(error) => Err(fault(error)),
        }
    }

    /// Logs in.
    pub fn authenticate(&mut self, user: Option<&str>, password: &str) -> Result<(), Fault> {
        let login = [Some("AUTH"), user, Some(password)];
        self.ask(&login.into_iter().flatten().collect::<Vec<_>>()).map(drop)
    }

    /// Logs in and chooses the database, as the address says.
    pub fn log_in(&mut self, address: &Address) -> Result<(), Fault> {
        if let Some(password) = &address.password {
            self.authenticate(address.user.as_deref(), password)?;
        }
        if address.db != 0 {
            self.ask(&["SELECT", &address.db.to_string()])?;
        }
        Ok(())
    }

    /// All of INFO.
    pub fn info(&mut self) -> Result<Facts, Fault> {
        Ok(facts(&text(&self.ask(&["INFO"])?)))
    }

    /// CLUSTER INFO.
    pub fn cluster(&mut self) -> Result<Facts, Fault> {
        Ok(facts(&text(&self.ask(&["CLUSTER", "INFO"])?)))
    }

    /// A setting, where we may ask.
    pub fn setting(&mut self, name: &str) -> Option<String> {
        match self.ask(&["CONFIG", "GET", name]).ok()? {
            Value::Array(pair) => Some(text(pair.get(1)?)),
            Value::Map(pairs) => Some(text(&pairs.first()?.1)),
            _ => None,
        }
    }
}

fn fault(error: redis::RedisError) -> Fault {
    if error.is_timeout() {
        return Fault::Io(io::ErrorKind::TimedOut.into());
    }
    if error.is_unrecoverable_error() && error.is_connection_dropped() {
        return Fault::Io(io::ErrorKind::UnexpectedEof.into());
    }
    match error.kind() {
        redis::ErrorKind::Io => Fault::Io(io::Error::other(error.to_string())),
        _ => Fault::Foreign,
    }
}

/// The `name:value` lines of INFO.
fn facts(text: &str) -> Facts {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// An answer as text.
pub fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::VerbatimString { text, .. } => text.clone(),
        Value::Int(number) => number.to_string(),
        Value::Okay => "OK".into(),
        _ => String::new(),
    }
}

/// The numbers that INFO has of a database: `keys=3,expires=1,avg_ttl=0`.
pub fn keys_of(facts: &Facts, db: u32) -> Option<u64> {
    let line = facts.get(&format!("db{db}"));
    let Some(line) = line else { return facts.get("redis_version").map(|_| 0) };
    line.split(',').find_map(|part| part.strip_prefix("keys="))?.parse().ok()
}
