//! One entry: get, set, delete, ttl.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::{Map, Value, json};
use yokedcache::{Cause, Ttl};

use crate::args;
use crate::exit::{Exit, Failure, Outcome};
use crate::open::Target;
use crate::output::Out;
use crate::stored::{Stored, for_terminal, in_json, look, rounded, seconds};
use crate::words::{Span, escaped, lasting, many};

#[derive(Args)]
pub struct Get {
    /// The key, without the key prefix
    key: String,
    /// The stored bytes as they are, also on a terminal
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// A value that is a JSON string without its quotes
    #[arg(long, conflicts_with_all = ["raw", "json"])]
    text: bool,
}

/// Stores a value: JSON, unless something else is said.
#[derive(Args)]
pub struct Set {
    /// The key, without the key prefix
    key: String,
    /// The value; from the standard input if it is left out or -
    #[arg(conflicts_with = "file")]
    value: Option<String>,
    /// The value is in this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// How long it lives: 60, 5m, never. Default: as the cache is set
    #[arg(long, value_name = "TIME", value_parser = args::ttl)]
    ttl: Option<Span>,
    /// Tags it; may be given several times
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Stores the bytes as they are
    #[arg(long, conflicts_with = "text")]
    bytes: bool,
    /// Stores text, as a JSON string
    #[arg(long)]
    text: bool,
}

#[derive(Args)]
pub struct Delete {
    /// The keys, without the key prefix
    #[arg(required = true)]
    keys: Vec<String>,
}

#[derive(Args)]
pub struct Life {
    /// The key, without the key prefix
    key: String,
    /// Gives it this time to live from now on: 60, 5m, never
    #[arg(long, value_name = "TIME", value_parser = args::ttl)]
    set: Option<Span>,
}

pub fn get(get: &Get, target: &Target, out: Out) -> Outcome {
    if out.json && (get.raw || get.text) {
        return Err(Failure::usage("--raw and --text are no JSON: without --json"));
    }
    let key = target.key(&get.key)?;
    match one(target, key)? {
        Ok(stored) => {
            show(get, target, &stored, out)?;
            Ok(Exit::Done)
        }
        Err(cause) => missing(key, cause, out),
    }
}

fn one(target: &Target, key: &str) -> Outcome<Result<Stored, Cause>> {
    Ok(look(target, &[key], false)?.pop().unwrap_or(Err(Cause::Absent)))
}

fn missing(key: &str, cause: Cause, out: Out) -> Outcome {
    out.document(&json!({"key": key, "found": false, "cause": cause}))?;
    let why = match cause {
        Cause::Absent => "there is none",
        Cause::Expired => "its time has come",
        Cause::Invalidated => "a tag of it was invalidated",
        Cause::Corrupt => "its bytes are damaged",
        Cause::OtherVersion => "it has another schema version",
        Cause::Undecodable => "it cannot be read",
        _ => "the backend could not be asked",
    };
    out.aside(format!("{}: {why}", escaped(key)))?;
    Ok(Exit::No)
}

fn show(get: &Get, target: &Target, stored: &Stored, out: Out) -> Outcome<()> {
    let bytes = stored.bytes(target, &get.key)?;
    if get.raw {
        return out.raw(&bytes);
    }
    let value = stored.json(target, &get.key, &bytes)?;
    if out.json {
        return out.document(&described(&get.key, stored, &bytes, value));
    }
    let text = match (&value, stored.kind()) {
        (Some(Value::String(text)), _) if get.text => text.clone().into_bytes(),
        (Some(value), "msgpack" | "none") => value.to_string().into_bytes(),
        _ => bytes,
    };
    if out.terminal {
        return out.say(for_terminal(&text));
    }
    out.raw(&text)?;
    // Text ends with its line, what is not text with its last byte.
    if value.is_some() { out.raw(b"\n") } else { Ok(()) }
}

fn described(key: &str, stored: &Stored, bytes: &[u8], value: Option<Value>) -> Value {
    let mut document = Map::new();
    document.insert("key".into(), key.into());
    document.insert("found".into(), true.into());
    document.insert("type".into(), stored.kind().into());
    let (name, value) = value.map_or_else(|| in_json(bytes), |value| ("value", value));
    document.insert(name.into(), value);
    document.insert("bytes".into(), bytes.len().into());
    document.insert("ttl_seconds".into(), seconds(stored.left()));
    document.insert("age_seconds".into(), json!(stored.life.age.map(rounded)));
    document.insert("tags".into(), stored.tags.clone().into());
    document.into()
}

pub fn set(set: &Set, target: &Target, out: Out) -> Outcome {
    let bytes = value(set)?;
    let ttl = set.ttl.map_or(Ttl::Default, Ttl::from);
    let entry = target.cache.entry(&set.key).tags(&set.tag).ttl(ttl);
    let stored = if set.bytes {
        entry.set_bytes(bytes)?
    } else if set.text {
        entry.set(&text(bytes)?)?
    } else {
        entry.set(&parsed(&bytes)?)?
    };
    if !stored {
        let what = "the backend did not store the value";
        return Err(Failure::new(Exit::Unreachable, "Unavailable", what));
    }
    out.document(&json!({"key": set.key, "stored": true}))?;
    Ok(Exit::Done)
}

fn value(set: &Set) -> Outcome<Vec<u8>> {
    if let Some(file) = &set.file {
        return fs::read(file).map_err(|error| Failure::file(&file.display().to_string(), &error));
    }
    match set.value.as_deref() {
        Some(value) if value != "-" => Ok(value.as_bytes().to_vec()),
        given => {
            if given.is_none() && io::stdin().is_terminal() {
                return Err(Failure::usage(
                    "no value: give one, name a --file, or use - to type it",
                ));
            }
            let mut bytes = Vec::new();
            let read = io::stdin().lock().read_to_end(&mut bytes);
            read.map_err(|error| Failure::file("the standard input", &error))?;
            Ok(bytes)
        }
    }
}

fn text(bytes: Vec<u8>) -> Outcome<String> {
    String::from_utf8(bytes)
        .map_err(|_| Failure::usage("the value is no text; store it with --bytes"))
}

fn parsed(bytes: &[u8]) -> Outcome<Value> {
    let advice = "text is stored with --text, anything with --bytes";
    let value = serde_json::from_slice(bytes)
        .map_err(|error| Failure::usage(format!("the value is not JSON ({error}); {advice}")))?;
    match too_large_a_number(bytes) {
        Some(number) => Err(Failure::usage(format!(
            "the whole number {number} has more than 64 bits, and would lose digits; {advice}"
        ))),
        None => Ok(value),
    }
}

/// The first whole number in JSON that would become one with a fraction.
fn too_large_a_number(json: &[u8]) -> Option<&str> {
    let (mut is_string, mut is_escaped) = (false, false);
    let numbers = json.split(|byte| {
        let quote = *byte == b'"' && !is_escaped;
        is_escaped = is_string && *byte == b'\\' && !is_escaped;
        is_string ^= quote;
        is_string || !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
    });
    let mut numbers = numbers.filter_map(|number| std::str::from_utf8(number).ok());
    numbers.find(|number| {
        let digits = number.strip_prefix('-').unwrap_or(number);
        let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_whole && number.parse::<i64>().is_err() && number.parse::<u64>().is_err()
    })
}

pub fn delete(delete: &Delete, target: &Target, out: Out) -> Outcome {
    // All of it is done before any of it is told: a reader who goes away stops nothing.
    let mut done = Vec::new();
    let mut failed = None;
    for key in &delete.keys {
        match target.cache.delete(key) {
            Ok(was_there) => done.push((key, was_there)),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    let told = tell_deleted(&done, out);
    match failed {
        Some(error) => Err(error.into()),
        None => told,
    }
}

fn tell_deleted(done: &[(&String, bool)], out: Out) -> Outcome {
    let mut deleted = 0;
    for (key, was_there) in done {
        deleted += u64::from(*was_there);
        out.record(&json!({"key": key, "deleted": was_there}))?;
        if !was_there {
            out.aside(format!("{}: there is none", escaped(key)))?;
        }
    }
    out.aside(format!("{} deleted", many(deleted, "entry", "entries")))?;
    Ok(if deleted == done.len() as u64 { Exit::Done } else { Exit::No })
}

pub fn life(life: &Life, target: &Target, out: Out) -> Outcome {
    let key = target.key(&life.key)?;
    if let Some(span) = life.set
        && !target.cache.expire(key, Ttl::from(span))?
    {
        return missing(key, Cause::Absent, out);
    }
    let left = match look(target, &[key], true)?.pop() {
        Some(Ok(stored)) => stored.left(),
        Some(Err(cause)) => return missing(key, cause, out),
        None => return missing(key, Cause::Absent, out),
    };
    out.document(&json!({"key": key, "found": true, "ttl_seconds": seconds(left)}))?;
    out.say(shown(left))?;
    Ok(Exit::Done)
}

/// A time to live for people.
pub fn shown(left: Span) -> String {
    match left {
        Span::Never => "never".into(),
        Span::After(time) => lasting(time),
    }
}

impl From<Span> for Ttl {
    fn from(span: Span) -> Self {
        match span {
            Span::Never => Self::Never,
            Span::After(time) => Self::After(time),
        }
    }
}
