//! A network that misbehaves.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use super::free_port;

/// What happens to the connections. Bytes count on each connection by itself, from when the plan
/// was set or the connection opened; a "reply" is what one read of the server's side gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Plan {
    Pass,
    /// Resets each new connection at once; a refusal proper takes a port nobody listens on.
    Refuse,
    /// Accepts, then reads nothing and answers nothing: everything freezes, until another plan.
    Hold,
    /// Each reply comes this much later.
    Delay(Duration),
    /// Replies come byte by byte.
    Drip {
        every: Duration,
    },
    /// Lets so many bytes of replies through, then resets the connection.
    CutAfter(usize),
    /// Lets so many bytes of replies through, then closes the connection.
    Truncate(usize),
    /// Replaces replies with bytes that are not RESP.
    Garbage,
    /// Ends the stream towards the client after the next reply, but goes on reading from it.
    HalfClose,
    /// Reads so many bytes from the client and no more; what was asked is answered.
    StallWrites(usize),
    /// Does to one reply in ten one of the things above: delays it (or only its first byte), cuts
    /// it and ends the connection, replaces it, half-closes after it, or freezes the connection
    /// before it, until another plan. What happens to a reply follows from the seed, the number
    /// of its connection and its own, and its length.
    Random(u64),
}

const GARBAGE: &[u8] = b"\x7f\x00this is not RESP\xff\r\n";

const BUFFER: usize = 64 * 1024;

/// How often a write that is stuck looks whether its connection was ended.
const GLANCE: Duration = Duration::from_millis(50);

/// A proxy on a port of 127.0.0.1. Dropping it resets its connections and ends its threads.
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    to: SocketAddr,
    state: Mutex<State>,
    /// The plan was set, or a connection ended.
    changed: Condvar,
}

struct State {
    plan: Plan,
    /// Counts the plans.
    turn: u64,
    accepted: u64,
    closed: bool,
    links: Vec<Weak<Link>>,
}

/// A connection through the proxy; its sockets close when its two threads are done.
struct Link {
    number: u64,
    client: TcpStream,
    server: TcpStream,
    ended: AtomicBool,
}

/// What came through one direction of a link under the plan of `turn`.
#[derive(Default)]
struct Meter {
    turn: u64,
    bytes: usize,
    pieces: u64,
}

impl Proxy {
    pub fn to(addr: &str) -> Proxy {
        let listener = loop {
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", free_port())) {
                break listener;
            }
        };
        // Small, so that a client whose writes stall notices soon.
        SockRef::from(&listener).set_recv_buffer_size(BUFFER).unwrap();
        let proxy_addr = listener.local_addr().unwrap();
        let state =
            State { plan: Plan::Pass, turn: 0, accepted: 0, closed: false, links: Vec::new() };
        let shared = Arc::new(Shared {
            to: addr.parse().unwrap(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let acceptor = thread::spawn({
            let shared = shared.clone();
            move || shared.accept_all(&listener)
        });
        Proxy { addr: proxy_addr, shared, acceptor: Some(acceptor) }
    }

    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// What happens from now on, to the connections there are and to new ones.
    pub fn set(&self, plan: Plan) {
        let mut state = self.shared.lock();
        state.plan = plan;
        state.turn += 1;
        self.shared.changed.notify_all();
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.lock().accepted
    }

    /// Resets all connections.
    pub fn drop_connections(&self) {
        let links: Vec<_> = self.shared.lock().links.drain(..).collect();
        for link in links.iter().filter_map(Weak::upgrade) {
            self.shared.reset(&link);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.addr);
        self.drop_connections();
        let _ = self.acceptor.take().unwrap().join();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept_all(&self, listener: &TcpListener) {
        // The scope waits for the threads of all connections.
        thread::scope(|scope| {
            loop {
                let Ok((client, _)) = listener.accept() else {
                    thread::sleep(GLANCE);
                    continue;
                };
                let mut state = self.lock();
                if state.closed {
                    return;
                }
                state.accepted += 1;
                let number = state.accepted;
                if state.plan == Plan::Refuse {
                    reset_on_close(&client);
                } else {
                    scope.spawn(move || self.serve(number, client));
                }
            }
        });
    }

    fn serve(&self, number: u64, client: TcpStream) {
        let Ok(server) = TcpStream::connect_timeout(&self.to, Duration::from_secs(5)) else {
            reset_on_close(&client);
            return;
        };
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
            stream.set_write_timeout(Some(GLANCE)).unwrap();
        }
        let link = Arc::new(Link { number, client, server, ended: AtomicBool::new(false) });
        let mut state = self.lock();
        if state.closed {
            return;
        }
        state.links.retain(|link| link.strong_count() > 0);
        state.links.push(Arc::downgrade(&link));
        drop(state);
        let watch = |result: io::Result<()>| {
            if result.is_err() && !link.has_ended() {
                self.reset(&link);
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| watch(self.pump_requests(&link)));
            watch(self.pump_replies(&link));
        });
    }

    /// Ends the link with a reset towards both sides.
    fn reset(&self, link: &Link) {
        reset_on_close(&link.client);
        reset_on_close(&link.server);
        self.end(link);
    }

    /// Has the threads of the link let go of it.
    fn end(&self, link: &Link) {
        link.ended.store(true, Ordering::SeqCst);
        // Wakes who reads and sends nothing, unlike the other ways to shut down.
        let _ = link.client.shutdown(Shutdown::Read);
        let _ = link.server.shutdown(Shutdown::Read);
        // With the lock, so that nobody is between looking and waiting.
        let _state = self.lock();
        self.changed.notify_all();
    }

    /// The plan, once it does not freeze the caller any more.
    fn plan(
        &self,
        link: &Link,
        meter: &mut Meter,
        freezes: impl Fn(Plan, &Meter) -> bool,
    ) -> io::Result<Plan> {
        let mut state = self.lock();
        loop {
            if link.has_ended() {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            if meter.turn != state.turn {
                *meter = Meter { turn: state.turn, ..Meter::default() };
            }
            if !freezes(state.plan, meter) {
                return Ok(state.plan);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits so long, or until there is another plan: false then.
    fn pause(&self, link: &Link, meter: &Meter, time: Duration) -> io::Result<bool> {
        let waits = |state: &mut State| state.turn == meter.turn && !link.has_ended();
        let (state, timeout) = self
            .changed
            .wait_timeout_while(self.lock(), time, waits)
            .unwrap_or_else(PoisonError::into_inner);
        drop(state);
        if link.has_ended() {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        Ok(timeout.timed_out())
    }

    fn pump_requests(&self, link: &Link) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        let mut meter = Meter::default();
        loop {
            // What a frozen proxy has not read stays with the kernel, so the client notices.
            let mut len = link.client.peek(&mut buffer)?;
            let plan = self.plan(link, &mut meter, |plan, meter| match plan {
                Plan::Hold => true,
                Plan::StallWrites(limit) => meter.bytes >= limit,
                _ => false,
            })?;
            if len == 0 {
                return link.server.shutdown(Shutdown::Write);
            }
            if let Plan::StallWrites(limit) = plan {
                len = len.min(limit - meter.bytes);
            }
            (&link.client).read_exact(&mut buffer[..len])?;
            meter.bytes += len;
            link.send(&link.server, &buffer[..len])?;
        }
    }

    fn pump_replies(&self, link: &Link) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        let mut meter = Meter::default();
        let mut half_closed = false;
        let mut at_start = true;
        loop {
            let mut len = link.server.peek(&mut buffer)?;
            let mut plan = self.plan(link, &mut meter, |plan, _| plan == Plan::Hold)?;
            if len == 0 {
                return link.client.shutdown(Shutdown::Write);
            }
            let mut before = meter.bytes;
            if let Plan::Random(seed) = plan {
                plan = roll(seed, link.number, meter.pieces, len, at_start);
                before = 0;
            }
            let go = match plan {
                Plan::Hold => self.pause(link, &meter, Duration::MAX)?,
                Plan::Delay(time) => self.pause(link, &meter, time)?,
                Plan::Drip { every } => {
                    len = 1;
                    self.pause(link, &meter, every)?
                }
                Plan::CutAfter(limit) | Plan::Truncate(limit) => {
                    len = len.min(limit - before);
                    true
                }
                _ => true,
            };
            if !go {
                continue;
            }
            (&link.server).read_exact(&mut buffer[..len])?;
            meter.bytes += len;
            meter.pieces += 1;
            at_start = buffer[..len].ends_with(b"\r\n");
            if half_closed {
                continue;
            }
            let reply = if plan == Plan::Garbage { GARBAGE } else { &buffer[..len] };
            link.send(&link.client, reply)?;
            match plan {
                Plan::CutAfter(limit) if before + len == limit => {
                    return Err(ErrorKind::ConnectionReset.into());
                }
                Plan::Truncate(limit) if before + len == limit => {
                    link.client.shutdown(Shutdown::Write)?;
                    self.end(link);
                    return Ok(());
                }
                Plan::HalfClose => {
                    link.client.shutdown(Shutdown::Write)?;
                    half_closed = true;
                }
                _ => {}
            }
        }
    }
}

impl Link {
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Writes all, however long it takes, unless the link is ended meanwhile.
    fn send(&self, mut to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match to.write(bytes) {
                Ok(len) => bytes = &bytes[len..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && !self.has_ended() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn reset_on_close(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// What [`Plan::Random`] does to a piece of `len` bytes; nine times of ten, nothing.
fn roll(seed: u64, link: u64, piece: u64, len: usize, at_start: bool) -> Plan {
    let dice = scramble(scramble(scramble(seed) ^ link) ^ piece);
    let time = Duration::from_millis(dice % 20);
    let place = (dice >> 16) as usize % len;
    match (dice >> 48) % 200 {
        0..6 => Plan::Delay(time),
        6..12 => Plan::Drip { every: time },
        12..14 => Plan::CutAfter(place),
        14..16 => Plan::Truncate(place),
        // In the middle of a value garbage would pass for a part of it.
        16..18 if at_start => Plan::Garbage,
        18 => Plan::HalfClose,
        19 => Plan::Hold,
        _ => Plan::Pass,
    }
}

/// SplitMix64: one number to another that looks unrelated.
fn scramble(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
