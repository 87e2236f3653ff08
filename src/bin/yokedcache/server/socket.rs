//! Connections made step by step, so that each step can fail by itself.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use super::address::Place;

/// A connection without TLS.
pub enum Plain {
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
                return Ok(Plain::Tcp(tcp));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connects to a place, name look-up included.
pub fn open(place: &Place, within: Duration) -> io::Result<Plain> {
    let plain = match place {
        Place::Unix(path) => Plain::Unix(UnixStream::connect(path)?),
        Place::Tcp { host, port } => connect(&resolve(host, *port, within)?, within)?,
    };
    plain.limit(within)?;
    Ok(plain)
}

impl Plain {
    /// How long reading or writing may wait.
    pub fn limit(&self, within: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => {
                tcp.set_read_timeout(Some(within))?;
                tcp.set_write_timeout(Some(within))
            }
            Self::Unix(unix) => {
                unix.set_read_timeout(Some(within))?;
                unix.set_write_timeout(Some(within))
            }
        }
    }
}

impl Read for Plain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.read(buffer),
            Self::Unix(unix) => unix.read(buffer),
        }
    }
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.write(bytes),
            Self::Unix(unix) => unix.write(bytes),
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
