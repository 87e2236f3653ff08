//! Connections made step by step, so that each step can fail by itself.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use super::address::Place;

/// A connection without TLS, on which a question and all of its answer have this long.
pub struct Plain {
    socket: Socket,
    within: Duration,
    until: Instant,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection with TLS or without.
pub enum Stream {
    Plain(Plain),
    Tls(Box<StreamOwned<ClientConnection, Plain>>),
}

/// Looks a name up on a thread of its own, which is left behind if it takes too long.
pub fn resolve(host: &str, port: u16, within: Duration) -> io::Result<Vec<SocketAddr>> {
    let (found, wait) = channel();
    let host = host.to_owned();
    thread::Builder::new().name("resolve".into()).spawn(move || {
        let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Nobody may be waiting any longer.
        let _ = found.send(addresses);
    })?;
    wait.recv_timeout(within).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Connects to the first of these addresses that lets us.
pub fn connect(addresses: &[SocketAddr], within: Duration) -> io::Result<Plain> {
    let until = Instant::now() + within;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (index, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - index) as u32;
        if share.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(address, share) {
            Ok(tcp) => {
                tcp.set_nodelay(true)?;
                return Ok(Plain::new(Socket::Tcp(tcp), within));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connects to a place, name look-up included.
pub fn open(place: &Place, within: Duration) -> io::Result<Plain> {
    match place {
        Place::Unix(path) => Ok(Plain::new(Socket::Unix(UnixStream::connect(path)?), within)),
        Place::Tcp { host, port } => connect(&resolve(host, *port, within)?, within),
    }
}

impl Plain {
    fn new(socket: Socket, within: Duration) -> Self {
        Self { socket, within, until: Instant::now() + within }
    }

    /// What is left of the time: a server that sends a byte now and then has no more of it.
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left()?;
        match &mut self.socket {
            Socket::Tcp(tcp) => {
                tcp.set_read_timeout(left)?;
                tcp.read(buffer)
            }
            Socket::Unix(unix) => {
                unix.set_read_timeout(left)?;
                unix.read(buffer)
            }
        }
    }
}

/// With what is written a new question begins.
impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.until = Instant::now() + self.within;
        match &mut self.socket {
            Socket::Tcp(tcp) => {
                tcp.set_write_timeout(Some(self.within))?;
                tcp.write(bytes)
            }
            Socket::Unix(unix) => {
                unix.set_write_timeout(Some(self.within))?;
                unix.write(bytes)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => plain.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => plain.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(plain) => plain.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// Whether an error means that the time was up.
pub fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}
