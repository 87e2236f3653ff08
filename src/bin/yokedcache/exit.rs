//! How the program ends: exit codes, and what is said of an error.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;
use yokedcache::{Error, ErrorKind};

use crate::words::{escaped, without_secrets};

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    No = 1,
    Usage = 2,
    Unreachable = 3,
    Refused = 4,
    Other = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do what it was told.
pub struct Failure {
    pub exit: Exit,
    pub kind: String,
    pub message: String,
    /// What is on the standard output says so already.
    pub told: bool,
}

pub type Outcome<T = Exit> = Result<T, Failure>;

impl Failure {
    pub fn new(exit: Exit, kind: &str, message: impl Into<String>) -> Self {
        Self { exit, kind: kind.into(), message: message.into(), told: false }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "Usage", message)
    }

    /// A file or stream of ours.
    pub fn file(name: &str, error: &io::Error) -> Self {
        Self::new(Exit::Other, "Io", format!("{name}: {error}"))
    }

    /// Whoever read what we write has gone: nothing to complain of.
    fn reader_is_gone() -> Self {
        Self::new(Exit::Done, "", "")
    }

    /// Says it: a line on the standard error, and with `--json` a document on the standard output.
    pub fn tell(&self, as_json: bool) -> Exit {
        if self.message.is_empty() {
            return self.exit;
        }
        let message = one_line(&without_secrets(&self.message));
        // There is nobody left to tell if this fails.
        let _ = writeln!(io::stderr(), "yokedcache: {message}");
        if as_json && !self.told {
            let document = json!({"error": {"kind": self.kind, "message": message}});
            let _ = writeln!(io::stdout(), "{document}");
        }
        self.exit
    }
}

/// On one line, in which nothing a server said commands the terminal.
fn one_line(text: &str) -> String {
    escaped(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::reader_is_gone(),
            _ => Self::new(Exit::Other, "Io", error.to_string()),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        match error.io_error_kind() {
            Some(kind) => io::Error::from(kind).into(),
            None => Self::new(Exit::Other, "Encode", error.to_string()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let message = match advice(&error, &text) {
            Some(advice) => format!("{}; {advice}", text.trim_end_matches('.')),
            None => text,
        };
        Self::new(exit_of(error.kind()), &name(error.kind()), message)
    }
}

fn exit_of(kind: ErrorKind) -> Exit {
    use ErrorKind as Kind;
    match kind {
        Kind::InvalidKey
        | Kind::InvalidTag
        | Kind::InvalidTtl
        | Kind::InvalidPattern
        | Kind::InvalidArgument
        | Kind::InvalidConfig => Exit::Usage,
        Kind::Timeout | Kind::Unavailable => Exit::Unreachable,
        Kind::Denied | Kind::Unsupported => Exit::Refused,
        _ => Exit::Other,
    }
}

/// The name of a kind in JSON, as health checks have it: `InvalidKey`.
pub fn name(kind: ErrorKind) -> String {
    format!("{kind:?}")
}

/// What to do about the faults that everybody meets, by what is said of them.
const ADVICE: [(&str, &str); 15] = [
    (
        "Connection refused",
        "nothing listens there: is the server running, are host and port right?",
    ),
    ("failed to lookup address", "the host has no address: is its name right?"),
    ("the name has no address", "is the host's name right?"),
    ("NOAUTH", "the server wants a password: put it into YOKEDCACHE_URL or use --password-stdin"),
    ("WRONGPASS", "the user or the password is wrong"),
    ("refuses the login", "the user or the password is wrong"),
    ("NOPERM", "the user lacks a right: yokedcache doctor lists those it needs"),
    ("READONLY", "this is a replica: connect to its master"),
    ("OOM", "the server's memory is full and it evicts nothing: set maxmemory-policy allkeys-lru"),
    ("invalid peer certificate", "the certificate is not trusted: see ssl_ca_certs in the address"),
    ("InvalidContentType", "no TLS is spoken there: try the address without the s in its scheme"),
    (
        "what came is no answer",
        "something else listens there, or it wants TLS: yokedcache doctor tells",
    ),
    ("CLUSTERDOWN", "the cluster does not serve all of its slots: look at its nodes"),
    ("MOVED", "this is a server of a cluster: use redis+cluster://"),
    (
        "max number of clients",
        "the server has all the clients it takes: use smaller pools or raise maxclients",
    ),
];

fn advice(error: &Error, text: &str) -> Option<&'static str> {
    let by_text = ADVICE.iter().find(|(part, _)| text.contains(part)).map(|(_, advice)| *advice);
    by_text.or(match error.kind() {
        ErrorKind::Timeout => Some("allow more with --timeout, or see yokedcache doctor"),
        ErrorKind::Unavailable => Some("yokedcache doctor looks into it"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names_for_programs() {
        assert_eq!(name(ErrorKind::InvalidKey), "InvalidKey");
        assert_eq!(name(ErrorKind::Full), "Full");
    }
}
