//! Just enough of the Redis protocol to give a server orders and read its answers.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Long enough for a busy machine, and for a server that is loading its data.
const TIMEOUT: Duration = Duration::from_secs(60);

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection.
pub struct Resp(BufReader<Box<dyn Stream>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Option<Vec<u8>>),
    Array(Option<Vec<Reply>>),
}

impl Resp {
    #[track_caller]
    pub fn connect(addr: impl ToSocketAddrs) -> Resp {
        Resp::try_connect(addr).unwrap()
    }

    pub fn try_connect(addr: impl ToSocketAddrs) -> io::Result<Resp> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Resp(BufReader::new(Box::new(stream))))
    }

    pub fn try_connect_unix(path: &Path) -> io::Result<Resp> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Resp(BufReader::new(Box::new(stream))))
    }

    #[track_caller]
    pub fn command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        self.try_command(args).unwrap()
    }

    pub fn try_command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            let arg = arg.as_ref();
            write!(request, "${}\r\n", arg.len())?;
            request.extend_from_slice(arg);
            request.extend_from_slice(b"\r\n");
        }
        self.0.get_mut().write_all(&request)?;
        self.read()
    }

    /// One more reply, for a connection that listens.
    pub fn read(&mut self) -> io::Result<Reply> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line)?;
        let line = String::from_utf8_lossy(&line);
        let Some(line) = line.strip_suffix("\r\n") else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let (kind, rest) = line.split_at(1);
        let number = || rest.parse::<i64>().map_err(io::Error::other);
        Ok(match kind {
            "+" => Reply::Simple(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Int(number()?),
            "$" => Reply::Bulk(match number()? {
                -1 => None,
                len => {
                    let mut bytes = vec![0; len as usize + 2];
                    self.0.read_exact(&mut bytes)?;
                    bytes.truncate(len as usize);
                    Some(bytes)
                }
            }),
            "*" => Reply::Array(match number()? {
                -1 => None,
                len => Some((0..len).map(|_| self.read()).collect::<io::Result<_>>()?),
            }),
            _ => return Err(io::Error::other(format!("not RESP: {line}"))),
        })
    }
}

impl Reply {
    pub fn is_ok(&self) -> bool {
        matches!(self, Reply::Simple(word) if word == "OK")
    }

    pub fn is_nil(&self) -> bool {
        matches!(self, Reply::Bulk(None) | Reply::Array(None))
    }

    #[track_caller]
    pub fn expect_ok(&self) {
        assert!(self.is_ok(), "{self:?}");
    }

    #[track_caller]
    pub fn int(&self) -> i64 {
        let Reply::Int(int) = self else { panic!("not a number: {self:?}") };
        *int
    }

    #[track_caller]
    pub fn bytes(&self) -> &[u8] {
        let Reply::Bulk(Some(bytes)) = self else { panic!("not a value: {self:?}") };
        bytes
    }

    /// The text of a value, a status or an error.
    #[track_caller]
    pub fn as_str(&self) -> &str {
        match self {
            Reply::Simple(text) | Reply::Error(text) => text,
            _ => str::from_utf8(self.bytes()).unwrap(),
        }
    }

    #[track_caller]
    pub fn array(&self) -> &[Reply] {
        let Reply::Array(Some(items)) = self else { panic!("not an array: {self:?}") };
        items
    }
}
