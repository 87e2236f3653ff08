//! One server: a pool of connections to it, and whether it is known to be down.
//!
//! The pool is r2d2's, and what it pools are slots: a slot connects when it is first used, on the
//! thread and under the deadline of the call that uses it. So a refused connection is that call's
//! typed error at once, no thread of the pool's hangs in a connect, and a broken connection gives
//! its slot to the next caller in line.

use std::convert::Infallible;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use r2d2::{ManageConnection, NopErrorHandler, Pool, PooledConnection};
use scheduled_thread_pool::{OnPoolDropBehavior, ScheduledThreadPool};

use super::net::{self, Endpoint, Net, Stream};
use crate::backend::health::{CoolDown, PoolHealth};
use crate::error::{Error, ErrorKind, Result};

/// An idle connection used within this time is taken to be alive; later it is looked at.
const SURELY_ALIVE: Duration = Duration::from_millis(10);

/// How to talk to a kind of server once connected.
pub(crate) trait Protocol: Debug + Send + Sync + 'static {
    /// What a connection keeps beside its socket.
    type Session: Send + 'static;

    /// The word for it in errors.
    const NAME: &'static str;

    /// Says who we are.
    fn greet(&self, stream: &mut Stream, node: &Endpoint) -> Result<Self::Session>;

    /// Asks whether anybody is there.
    fn ping(&self, link: &mut Link<Self::Session>, node: &Endpoint) -> Result<()>;
}

/// Settings of pools.
#[derive(Clone)]
pub(crate) struct Pooling {
    pub(crate) size: u32,
    pub(crate) idle_timeout: Duration,
    /// An idle connection is asked for a sign of life after this.
    pub(crate) check_after: Duration,
    pub(crate) scheduler: Arc<ScheduledThreadPool>,
}

impl Debug for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pooling").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Pooling {
    /// The thread that closes connections idle for too long.
    pub(crate) fn scheduler(name: &str) -> Arc<ScheduledThreadPool> {
        let pool = ScheduledThreadPool::builder()
            .num_threads(1)
            .thread_name_pattern(name)
            .on_drop_behavior(OnPoolDropBehavior::DiscardPendingScheduled);
        Arc::new(pool.build())
    }
}

/// A server.
pub(crate) struct Node<P: Protocol> {
    endpoint: Endpoint,
    net: Arc<Net>,
    protocol: P,
    check_after: Duration,
    pool: Pool<Slots<P>>,
    /// Callers that wait for a connection.
    waiting: AtomicU32,
    down: Down,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Link<S> {
    pub(crate) stream: Stream,
    pub(crate) session: S,
    used: Instant,
    /// A request has been written whose answer was not read to its end.
    busy: bool,
}

/// A place for a connection.
pub(crate) struct Slot<S>(Option<Link<S>>);

/// r2d2's view: slots are made for nothing and never break.
struct Slots<P>(std::marker::PhantomData<fn() -> P>);

impl<P: Protocol> ManageConnection for Slots<P> {
    type Connection = Slot<P::Session>;
    type Error = Infallible;

    fn connect(&self) -> Result<Self::Connection, Infallible> {
        Ok(Slot(None))
    }

    fn is_valid(&self, _: &mut Self::Connection) -> Result<(), Infallible> {
        Ok(())
    }

    /// Called when a slot comes back, also from a caller that panicked.
    fn has_broken(&self, slot: &mut Self::Connection) -> bool {
        if slot.0.as_ref().is_some_and(|link| link.busy) {
            slot.close();
        }
        false
    }
}

impl<S> Slot<S> {
    fn close(&mut self) {
        if let Some(link) = self.0.take() {
            link.stream.abort();
        }
    }
}

/// A connection in use. Unless [`done`](Self::done) is called it is closed in the end.
pub(crate) struct Line<'n, P: Protocol> {
    node: &'n Node<P>,
    slot: PooledConnection<Slots<P>>,
    /// It was there before this call.
    pub(crate) reused: bool,
}

impl<P: Protocol> Node<P> {
    pub(crate) fn new(endpoint: Endpoint, net: Arc<Net>, protocol: P, pooling: &Pooling) -> Self {
        let pool = Pool::builder()
            .max_size(pooling.size)
            .min_idle(Some(0))
            .test_on_check_out(false)
            .max_lifetime(None)
            .idle_timeout(Some(pooling.idle_timeout))
            .error_handler(Box::new(NopErrorHandler))
            .thread_pool(pooling.scheduler.clone())
            .build_unchecked(Slots(std::marker::PhantomData));
        let (waiting, down) = (AtomicU32::new(0), Down::default());
        Self { endpoint, net, protocol, check_after: pooling.check_after, pool, waiting, down }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether it is known to be down, and nobody is to try it now.
    pub(crate) fn is_down(&self) -> bool {
        self.down.is.load(Ordering::Relaxed)
            && self.down.state.lock().as_ref().is_some_and(|pause| Instant::now() < pause.until)
    }

    /// A connection beside those of the pool, for what takes long.
    pub(crate) fn apart(&self, until: Instant) -> Result<Link<P::Session>> {
        self.down.admit(until)?;
        self.connect(until)
    }

    /// Connections there are, and those of them idle.
    pub(crate) fn connections(&self) -> (u32, u32) {
        let state = self.pool.state();
        (state.connections, state.idle_connections)
    }

    /// The same for health, with what may be and who waits.
    pub(crate) fn pool_health(&self) -> PoolHealth {
        let state = self.pool.state();
        PoolHealth {
            size: self.pool.max_size(),
            in_use: state.connections.saturating_sub(state.idle_connections),
            idle: state.idle_connections,
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    /// What is known of it if it is known to be down.
    pub(crate) fn cool_down(&self) -> Option<CoolDown> {
        let state = self.down.state.lock();
        let pause = state.as_ref()?;
        Some(CoolDown {
            since: pause.since.elapsed(),
            retry_in: pause.until.saturating_duration_since(Instant::now()),
            last_error: pause.cause.clone(),
        })
    }

    /// Whether it has to prove who it is, if connections are encrypted.
    pub(crate) fn is_verified(&self) -> bool {
        self.net.verifies
    }

    /// Closes the connections nobody is using.
    pub(crate) fn close(&self) {
        let idle: Vec<_> = std::iter::from_fn(|| self.pool.try_get()).collect();
        idle.into_iter().for_each(|mut slot| slot.close());
    }

    /// A connection that seems alive.
    pub(crate) fn line(&self, until: Instant) -> Result<Line<'_, P>> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let what = "the deadline of the call has passed";
            return Err(Error::new(ErrorKind::Timeout, what));
        }
        self.down.admit(until)?;
        let slot = self.slot(left)?;
        let mut line = Line { node: self, slot, reused: false };
        line.drop_if_dead(until);
        line.reused = line.slot.0.is_some();
        if !line.reused {
            line.connect(until)?;
        }
        Ok(line)
    }

    /// A place for a connection, waited for if none is free. Only who waits is counted.
    fn slot(&self, left: Duration) -> Result<PooledConnection<Slots<P>>> {
        if let Some(slot) = self.pool.try_get() {
            return Ok(slot);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let slot = self.pool.get_timeout(left);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        slot.map_err(|_| {
            let what = format!(
                "all {} connections to {} {} are in use",
                self.pool.max_size(),
                P::NAME,
                self.endpoint
            );
            Error::new(ErrorKind::Timeout, what)
        })
    }

    /// The same whatever is known of the server, for who has pauses of its own: it neither takes the
    /// turn of a caller who tries, nor tells what it found.
    pub(crate) fn connect(&self, until: Instant) -> Result<Link<P::Session>> {
        let mut stream = Stream::connect(&self.endpoint, &self.net, until)
            .map_err(|error| net::failed(P::NAME, &self.endpoint, error))?;
        stream.set_deadline(until);
        match self.protocol.greet(&mut stream, &self.endpoint) {
            Ok(session) => Ok(Link { stream, session, used: Instant::now(), busy: false }),
            Err(error) => {
                stream.abort();
                Err(error)
            }
        }
    }
}

impl<'n, P: Protocol> Line<'n, P> {
    fn drop_if_dead(&mut self, until: Instant) {
        let Some(link) = &mut self.slot.0 else { return };
        let idle = link.used.elapsed();
        let mut alive = idle < SURELY_ALIVE || link.stream.is_quiet();
        if alive && idle >= self.node.check_after {
            // Half of what is left, so that a new connection has a chance.
            let left = until.saturating_duration_since(Instant::now());
            link.stream.set_deadline(Instant::now() + left / 2);
            link.busy = true;
            alive = self.node.protocol.ping(link, &self.node.endpoint).is_ok();
            link.busy = !alive;
        }
        if !alive {
            self.slot.close();
        }
    }

    fn connect(&mut self, until: Instant) -> Result<()> {
        match self.node.connect(until) {
            Ok(link) => {
                self.slot.0 = Some(link);
                Ok(())
            }
            Err(error) => {
                // A server that refuses us is not down.
                match error.kind() {
                    ErrorKind::Denied => self.node.down.over(),
                    _ => self.node.down.failed(&error, true),
                }
                Err(error)
            }
        }
    }

    pub(crate) fn endpoint(&self) -> &'n Endpoint {
        &self.node.endpoint
    }

    /// Another connection in place of this one.
    pub(crate) fn reconnect(&mut self, until: Instant) -> Result<()> {
        self.slot.close();
        self.reused = false;
        self.connect(until)
    }

    /// The connection, in use from now on.
    pub(crate) fn link(&mut self, until: Instant) -> Result<&mut Link<P::Session>> {
        let gone = || Error::new(ErrorKind::Unavailable, "the connection is closed");
        let link = self.slot.0.as_mut().ok_or_else(gone)?;
        link.stream.set_deadline(until);
        link.busy = true;
        Ok(link)
    }

    /// All that was asked has been answered: the connection may be used again.
    pub(crate) fn done(mut self) {
        if let Some(link) = &mut self.slot.0 {
            link.busy = false;
            link.used = Instant::now();
        }
        self.node.down.over();
    }

    /// What was asked has not been answered: the connection is closed.
    pub(crate) fn failed(mut self, error: &Error) {
        self.slot.close();
        self.node.down.failed(error, false);
    }

    /// It was not waited for: the connection is closed, and nothing is held against the server.
    pub(crate) fn abandon(mut self) {
        self.slot.close();
    }

    /// The server answered, but said something after which the connection is not used again.
    pub(crate) fn hang_up(mut self) {
        self.slot.close();
        self.node.down.over();
    }
}

impl<P: Protocol> Debug for Node<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.endpoint)
    }
}

/// Remembers that a server is down, so that asking costs nothing for a while.
///
/// A connection that could not be made counts at once; answers that did not come count when they
/// do so in a row, as one slow command is no outage. When the pause is over one caller tries.
#[derive(Debug, Default)]
struct Down {
    /// Read on the way of every call; the rest only while it is set.
    is: AtomicBool,
    late: AtomicU32,
    state: Mutex<Option<Pause>>,
}

#[derive(Debug)]
struct Pause {
    since: Instant,
    until: Instant,
    length: Duration,
    /// What callers are told meanwhile, and why.
    error: Error,
    cause: Error,
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
const LONGEST_TRIAL: Duration = Duration::from_millis(800);
const LATE_IN_A_ROW: u32 = 3;

impl Down {
    fn admit(&self, until: Instant) -> Result<()> {
        if !self.is.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut state = self.state.lock();
        let Some(pause) = &mut *state else { return Ok(()) };
        let now = Instant::now();
        if now < pause.until {
            return Err(pause.error.clone());
        }
        // This caller tries; the others wait for what it finds, but not for long.
        pause.until = until.min(now + LONGEST_TRIAL).max(now + pause.length);
        Ok(())
    }

    fn over(&self) {
        if self.late.load(Ordering::Relaxed) != 0 {
            self.late.store(0, Ordering::Relaxed);
        }
        if self.is.load(Ordering::Relaxed) {
            *self.state.lock() = None;
            self.is.store(false, Ordering::Relaxed);
        }
    }

    fn failed(&self, error: &Error, at_once: bool) {
        let late = self.late.fetch_add(1, Ordering::Relaxed) + 1;
        if !at_once && late < LATE_IN_A_ROW && !self.is.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state.lock();
        let length =
            state.as_ref().map_or(FIRST_PAUSE, |pause| (pause.length * 2).min(LONGEST_PAUSE));
        let what = format!("known to be down: {error}");
        let cause = error.clone();
        let error = Error::with_source(ErrorKind::Unavailable, what, cause.clone());
        let now = Instant::now();
        let since = state.as_ref().map_or(now, |pause| pause.since);
        *state = Some(Pause { since, until: now + length, length, error, cause });
        self.is.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Error {
        Error::new(ErrorKind::Unavailable, "refused")
    }

    /// One that this has made down is down: looked at in time, before it may be tried again.
    #[track_caller]
    fn is_down_after(fails: impl Fn(&Down)) -> Down {
        let until = Instant::now() + Duration::from_secs(60);
        let looks = (0..100).map(|_| {
            let (down, failing) = (Down::default(), Instant::now());
            fails(&down);
            let kind = down.admit(until).map_err(|error| error.kind());
            (failing.elapsed() < FIRST_PAUSE).then_some((down, kind))
        });
        let (down, kind) = looks.flatten().next().expect("a look in time");
        assert_eq!(kind, Err(ErrorKind::Unavailable));
        down
    }

    #[test]
    fn a_server_that_refuses_is_down_for_a_moment_and_then_tried_by_one() {
        let until = Instant::now() + Duration::from_secs(60);
        Down::default().admit(until).unwrap();
        let down = is_down_after(|down| down.failed(&refused(), true));
        std::thread::sleep(FIRST_PAUSE * 2);
        down.admit(until).unwrap();
        down.admit(until).unwrap_err();
        down.over();
        down.admit(until).unwrap();
    }

    #[test]
    fn one_late_answer_is_no_outage() {
        let down = Down::default();
        let until = Instant::now() + Duration::from_secs(60);
        for _ in 1..LATE_IN_A_ROW {
            down.failed(&refused(), false);
            down.admit(until).unwrap();
        }
        down.over();
        down.failed(&refused(), false);
        down.admit(until).unwrap();
        is_down_after(|down| (0..LATE_IN_A_ROW).for_each(|_| down.failed(&refused(), false)));
    }
}
