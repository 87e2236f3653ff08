//! Sockets under a deadline.
//!
//! The operating system bounds a single read or write. Here each read and write is told the
//! instant at which the whole call ends, so a server that sends a byte now and then cannot stretch
//! it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};

use crate::error::{Error, ErrorKind};

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Endpoint {
    Tcp { host: Arc<str>, port: u16 },
    Unix(PathBuf),
}

impl Endpoint {
    pub(crate) fn tcp(host: impl Into<Arc<str>>, port: u16) -> Self {
        Self::Tcp { host: host.into(), port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How to connect.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    pub(crate) connect_timeout: Duration,
    /// Whether small packets are sent at once.
    pub(crate) nodelay: bool,
    pub(crate) keepalive: Option<TcpKeepalive>,
    /// Whether a server that is encrypted has to prove who it is.
    pub(crate) verifies: bool,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<super::tls::Tls>,
}

/// A connected socket, perhaps encrypted.
pub(crate) struct Stream(Layer);

enum Layer {
    Plain(Bounded),
    #[cfg(feature = "tls")]
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, Bounded>>),
}

impl Stream {
    /// Connects until `until`, or for as long as is set if that is sooner.
    pub(crate) fn connect(endpoint: &Endpoint, net: &Net, until: Instant) -> io::Result<Self> {
        let soon = Instant::now().checked_add(net.connect_timeout);
        let until = soon.map_or(until, |soon| soon.min(until));
        let (host, socket) = match endpoint {
            Endpoint::Unix(path) => (None, Socket::Unix(connect_unix(path, until)?)),
            Endpoint::Tcp { host, port } => {
                let tcp = connect_tcp(host, *port, until)?;
                tcp.set_nodelay(net.nodelay)?;
                if let Some(keepalive) = &net.keepalive {
                    SockRef::from(&tcp).set_tcp_keepalive(keepalive)?;
                }
                (Some(host), Socket::Tcp(tcp))
            }
        };
        let socket = Bounded::new(socket, until);
        #[cfg(feature = "tls")]
        if let (Some(tls), Some(host)) = (&net.tls, host) {
            return Ok(Self(Layer::Tls(Box::new(tls.shake_hands(host, socket)?))));
        }
        let _ = host;
        Ok(Self(Layer::Plain(socket)))
    }

    fn socket(&self) -> &Bounded {
        match &self.0 {
            Layer::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Layer::Tls(tls) => &tls.sock,
        }
    }

    /// When reads and writes from now on end.
    pub(crate) fn set_deadline(&mut self, until: Instant) {
        // Without TLS there is one kind.
        #[cfg_attr(not(feature = "tls"), allow(clippy::infallible_destructuring_match))]
        let socket = match &mut self.0 {
            Layer::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Layer::Tls(tls) => &mut tls.sock,
        };
        (socket.until, socket.late) = (until, 0);
    }

    /// Whether the socket is open and nothing waits to be read. On a connection nobody uses
    /// anything else means that the server closed it, or that something is wrong.
    pub(crate) fn is_quiet(&self) -> bool {
        let socket = &self.socket().socket;
        let peeked = socket.set_nonblocking(true).and_then(|()| {
            let peeked = socket.peek();
            socket.set_nonblocking(false).and(peeked)
        });
        matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Closes the connection so that the kernel does not go on to deliver what was written: a
    /// command somebody gave up must not take effect later.
    pub(crate) fn abort(self) {
        if let Socket::Tcp(tcp) = &self.socket().socket {
            let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Layer::Plain(socket) => socket.read(buffer),
            #[cfg(feature = "tls")]
            Layer::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Layer::Plain(socket) => socket.write(bytes),
            #[cfg(feature = "tls")]
            Layer::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Layer::Plain(_) => Ok(()),
            #[cfg(feature = "tls")]
            Layer::Tls(tls) => tls.flush(),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

/// A socket whose reads and writes end at an instant.
pub(crate) struct Bounded {
    socket: Socket,
    until: Instant,
    /// What the operating system was told; told again only when it is far off.
    read_limit: Duration,
    write_limit: Duration,
    /// So often it was read from or written to when the time was up.
    late: u32,
}

/// How often that may be: enough for answers that are here, not for a server that never stops.
const LATE: u32 = 64;
/// So many bytes count as once.
const LATE_BYTES: usize = 64 << 10;

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.set_nonblocking(on),
            Self::Unix(unix) => unix.set_nonblocking(on),
        }
    }

    fn peek(&self) -> io::Result<usize> {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        match self {
            Self::Tcp(tcp) => SockRef::from(tcp).peek(&mut byte),
            Self::Unix(unix) => SockRef::from(unix).peek(&mut byte),
        }
    }
}

impl Bounded {
    fn new(socket: Socket, until: Instant) -> Self {
        let (read_limit, write_limit) = (Duration::ZERO, Duration::ZERO);
        Self { socket, until, read_limit, write_limit, late: 0 }
    }

    /// Does something that may block again and again until it does not run into the limit. When the
    /// time is up it is still done if that takes no waiting: another server may have used the time
    /// up while the answer of this one was already here.
    fn bounded(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> io::Result<usize>,
        limit: impl Fn(&mut Self, Duration) -> io::Result<()>,
    ) -> io::Result<usize> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                if self.late >= LATE {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                self.late += 1;
                self.socket.set_nonblocking(true)?;
                let done = attempt(self);
                self.socket.set_nonblocking(false)?;
                return match done {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        Err(io::ErrorKind::TimedOut.into())
                    }
                    done => {
                        self.late += done.as_ref().map_or(0, |bytes| (bytes / LATE_BYTES) as u32);
                        done
                    }
                };
            }
            limit(self, left)?;
            match attempt(self) {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock
                            | io::ErrorKind::TimedOut
                            | io::ErrorKind::Interrupted
                    ) => {}
                done => return done,
            }
        }
    }
}

/// Whether a limit set earlier will do: waking up too early costs a system call, too late by less
/// than an eighth is allowed.
fn will_do(set: Duration, left: Duration) -> bool {
    set >= left / 2 && set <= left + left / 8
}

/// The shortest time the operating system can be told to wait.
const SHORTEST: Duration = Duration::from_millis(1);

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let attempt = |this: &mut Self| match &mut this.socket {
            Socket::Tcp(tcp) => tcp.read(buffer),
            Socket::Unix(unix) => unix.read(buffer),
        };
        self.bounded(attempt, |this, left| {
            if will_do(this.read_limit, left) {
                return Ok(());
            }
            this.read_limit = left.max(SHORTEST);
            match &this.socket {
                Socket::Tcp(tcp) => tcp.set_read_timeout(Some(this.read_limit)),
                Socket::Unix(unix) => unix.set_read_timeout(Some(this.read_limit)),
            }
        })
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let attempt = |this: &mut Self| match &mut this.socket {
            Socket::Tcp(tcp) => tcp.write(bytes),
            Socket::Unix(unix) => unix.write(bytes),
        };
        self.bounded(attempt, |this, left| {
            if will_do(this.write_limit, left) {
                return Ok(());
            }
            this.write_limit = left.max(SHORTEST);
            match &this.socket {
                Socket::Tcp(tcp) => tcp.set_write_timeout(Some(this.write_limit)),
                Socket::Unix(unix) => unix.set_write_timeout(Some(this.write_limit)),
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn connect_unix(path: &PathBuf, until: Instant) -> io::Result<UnixStream> {
    // A full backlog makes a blocking connect wait without end.
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    let left = until.saturating_duration_since(Instant::now()).max(SHORTEST);
    socket.set_write_timeout(Some(left))?;
    match socket.connect(&socket2::SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::ErrorKind::TimedOut.into())
        }
        done => done.map(|()| UnixStream::from(std::os::fd::OwnedFd::from(socket))),
    }
}

/// Tries each address of a host, giving each a fair part of the time left.
fn connect_tcp(host: &Arc<str>, port: u16, until: Instant) -> io::Result<TcpStream> {
    let addresses = resolve(host, port, until)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (index, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(address, left / (addresses.len() - index) as u32) {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Looks a name up on a thread of its own, as the system's look-up cannot be told when to end. A
/// look-up nobody waits for any longer ends by itself.
fn resolve(host: &Arc<str>, port: u16, until: Instant) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (found, wait) = crossbeam_channel::bounded(1);
    let host = host.clone();
    thread::Builder::new().name("yokedcache-resolve".into()).spawn(move || {
        let addresses = (&*host, port).to_socket_addrs().map(Iterator::collect);
        let _ = found.send(addresses);
    })?;
    wait.recv_deadline(until).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The typed error of something that went wrong with a server.
pub(crate) fn failed(backend: &str, endpoint: &Endpoint, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Error::with_source(
            ErrorKind::Timeout,
            format!("{backend} {endpoint} did not answer in time"),
            error,
        ),
        _ => {
            let what = format!("{backend} {endpoint}: {error}");
            Error::with_source(ErrorKind::Unavailable, what, error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn net() -> Net {
        Net {
            connect_timeout: Duration::from_secs(5),
            nodelay: true,
            keepalive: None,
            verifies: true,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    #[test]
    fn a_byte_now_and_then_does_not_stretch_a_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            while tcp.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        });
        let started = Instant::now();
        let until = started + Duration::from_secs(1);
        let mut stream = Stream::connect(&Endpoint::tcp("127.0.0.1", port), &net(), until).unwrap();
        stream.set_deadline(until);
        let error = stream.read_exact(&mut [0; 1000]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        stream.abort();
        server.join().unwrap();
    }

    #[test]
    fn a_connection_the_server_closed_is_not_quiet() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let until = Instant::now() + Duration::from_secs(60);
        let stream = Stream::connect(&Endpoint::tcp("localhost", port), &net(), until).unwrap();
        let (tcp, _) = listener.accept().unwrap();
        assert!(stream.is_quiet());
        drop(tcp);
        while stream.is_quiet() && Instant::now() < until {
            thread::yield_now();
        }
        assert!(!stream.is_quiet());
    }
}
