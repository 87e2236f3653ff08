//! A Memcached server asked directly, in its text protocol.

use std::io::{self, BufRead, BufReader, Read, Write};

use super::Facts;
use super::address::Address;
use super::socket::Stream;

/// A connection on which lines are said one at a time.
pub struct Memcached(BufReader<Stream>);

/// The longest line that makes sense.
const LONGEST: u64 = 4096;

impl Memcached {
    pub fn new(stream: Stream) -> Self {
        Self(BufReader::new(stream))
    }

    /// Says a line, or a line and its data, and returns the first line of the answer.
    pub fn ask(&mut self, said: &str) -> io::Result<String> {
        let stream = self.0.get_mut();
        stream.write_all(said.as_bytes())?;
        stream.write_all(b"\r\n")?;
        stream.flush()?;
        self.line()
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.0).take(LONGEST).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = String::from_utf8_lossy(&line);
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Logs in as the address says; false if the server does not let us.
    pub fn log_in(&mut self, address: &Address) -> io::Result<bool> {
        let Some((user, password)) = address.user.as_ref().zip(address.password.as_ref()) else {
            return Ok(true);
        };
        let login = format!("{user} {password}");
        let said = format!("set auth 0 0 {}\r\n{login}", login.len());
        Ok(self.ask(&said)? == "STORED")
    }

    /// Statistics of a kind: `""` or `"settings"`.
    pub fn facts(&mut self, which: &str) -> io::Result<Facts> {
        let mut line = self.ask(format!("stats {which}").trim_end())?;
        let mut facts = Facts::new();
        while let Some(fact) = line.strip_prefix("STAT ") {
            let (name, value) = fact.split_once(' ').unwrap_or((fact, ""));
            facts.insert(name.to_owned(), value.to_owned());
            line = self.line()?;
        }
        if line == "END" { Ok(facts) } else { Err(io::Error::other(line)) }
    }
}
