//! A master that sentinels watch and replace.
//!
//! Who the master is, the sentinels say; whether it still is, it says itself at each new connection
//! (`ROLE`). A thread listens to the sentinels' announcements, so that a master they demoted is left at
//! once and not when it says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use redis::Value;

use super::batch::Batch;
use super::repeat::Promoted;
use super::topology::{Maker, Topology};
use super::wire::{Role, Server, text};
use crate::backend::remote::exchange::Limits;
use crate::backend::remote::net::{self, Endpoint, Stream};
use crate::backend::remote::node::Protocol;
use crate::error::{Error, ErrorKind, Result};
use crate::streak::Streak;

/// How long one sentinel is waited for while there are others.
const PATIENCE: Duration = Duration::from_millis(500);
/// They are not asked more often than this because something went wrong.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(50);
/// How often the listener looks whether it is to end, and how often it asks for a sign of life.
const TICK: Duration = Duration::from_millis(100);
const TICKS_PER_PING: u32 = 10;

const THREAD: &str = "yokedcache-sentinel";

#[derive(Debug)]
pub(super) struct Sentinel {
    shared: Arc<Shared>,
    listener: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    service: String,
    sentinels: Vec<Arc<Server>>,
    maker: Maker,
    /// How sentinels are connected to and greeted.
    to_sentinels: Maker,
    master: RwLock<Option<Arc<Server>>>,
    /// When the sentinels were asked last because something went wrong; held while they are.
    asking: Mutex<Option<Instant>>,
    promoted: Promoted,
    /// How often the master was another one.
    shape: AtomicU64,
    stop: AtomicBool,
}

impl Sentinel {
    /// # Errors
    /// If the listener's thread cannot be started.
    pub(super) fn new(
        sentinels: Vec<Endpoint>,
        service: String,
        (maker, to_sentinels): (Maker, Maker),
        promoted: Promoted,
    ) -> Result<Self> {
        let make = |endpoint| to_sentinels.make(endpoint, Role::Any);
        let sentinels = sentinels.into_iter().map(make).collect();
        let shared = Arc::new(Shared {
            service,
            sentinels,
            maker,
            to_sentinels,
            master: RwLock::default(),
            asking: Mutex::default(),
            promoted,
            shape: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let listening = shared.clone();
        let listener = thread::Builder::new()
            .name(THREAD.into())
            .spawn(move || listening.listen())
            .map_err(Error::no_thread)?;
        Ok(Self { shared, listener: Mutex::new(Some(listener)) })
    }

    /// The master as known; asked for where it is not.
    pub(super) fn master(&self, until: Instant) -> Result<Arc<Server>> {
        if let Some(master) = self.known() {
            return Ok(master);
        }
        let Some(_asking) = self.shared.asking.try_lock_until(until) else {
            let what = "the sentinels were still being asked when the time was up";
            return Err(Error::new(ErrorKind::Timeout, what));
        };
        if let Some(master) = self.known() {
            return Ok(master);
        }
        self.shared.ask(until)
    }

    pub(super) fn known(&self) -> Option<Arc<Server>> {
        self.shared.master.read().clone()
    }

    /// A number that grows with each change of the master.
    pub(super) fn shape(&self) -> u64 {
        self.shared.shape.load(Ordering::Acquire)
    }

    /// The master does not answer as one: the sentinels are asked who it is. Whether it is another.
    pub(super) fn suspect(&self, server: &Arc<Server>, until: Instant) -> bool {
        let other = |master: Arc<Server>| !Arc::ptr_eq(&master, server);
        if self.known().is_some_and(other) {
            return true;
        }
        let Some(mut asked) = self.shared.asking.try_lock() else { return false };
        if asked.is_some_and(|asked| asked.elapsed() < BETWEEN_QUESTIONS) {
            return false;
        }
        let moved = self.shared.ask(until).is_ok_and(other);
        *asked = Some(Instant::now());
        moved
    }

    pub(super) fn service(&self) -> &str {
        &self.shared.service
    }

    pub(super) fn sentinels(&self) -> &[Arc<Server>] {
        &self.shared.sentinels
    }

    /// The listener, until it is closed.
    pub(super) fn threads(&self, each: &mut dyn FnMut(&str, bool)) {
        let runs = self.listener.lock().as_ref().map(|listener| !listener.is_finished());
        runs.into_iter().for_each(|runs| each(THREAD, runs));
    }

    /// Ends the listener.
    pub(super) fn close(&self) {
        self.shared.stop.store(true, Ordering::Release);
        let listener = self.listener.lock().take();
        if let Some(listener) =
            listener.filter(|thread| thread.thread().id() != thread::current().id())
        {
            let _ = listener.join();
        }
    }
}

impl Shared {
    fn ask(&self, until: Instant) -> Result<Arc<Server>> {
        let mut last = Error::new(ErrorKind::Unavailable, "no sentinel was asked in time");
        for sentinel in &self.sentinels {
            let now = Instant::now();
            if now >= until {
                break;
            }
            let limits = Limits { until: until.min(now + PATIENCE), retry_late: false };
            let mut batch = Batch::new(false);
            let service = self.service.as_bytes();
            batch.push("", &[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service]);
            match Topology::run_at(sentinel, &mut batch, limits).map(|mut values| values.pop()) {
                Ok(Some(Value::Array(address))) => {
                    if let Some(endpoint) = endpoint(text(address.first()), text(address.get(1))) {
                        return Ok(self.follow(endpoint));
                    }
                }
                Ok(Some(Value::ServerError(error))) => {
                    last = super::wire::refused(sentinel.endpoint(), &error);
                }
                Ok(_) => {
                    let what = format!(
                        "sentinel {} knows no master {:?}",
                        sentinel.endpoint(),
                        self.service
                    );
                    last = Error::new(ErrorKind::Unavailable, what);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Takes a server for the master; the connections to another are given up.
    fn follow(&self, endpoint: Endpoint) -> Arc<Server> {
        let mut master = self.master.write();
        if let Some(master) = master.as_ref().filter(|master| *master.endpoint() == endpoint) {
            return master.clone();
        }
        let new = self.maker.make(endpoint, Role::Master);
        self.shape.fetch_add(1, Ordering::AcqRel);
        if master.replace(new.clone()).is_some() {
            self.promoted.store(true, Ordering::Release);
        }
        new
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Listens to one sentinel after the other until told to stop.
    fn listen(&self) {
        let failing = Streak::new();
        for sentinel in self.sentinels.iter().cycle() {
            if self.stopped() {
                return;
            }
            if let Err(error) = self.listen_to(sentinel.endpoint())
                && let Some(more) = failing.on()
            {
                log::debug!("yokedcache: {error}{more}");
            }
            // What was announced meanwhile was not heard.
            if !self.stopped() && self.master.read().is_some() {
                let _ = self.ask(Instant::now() + PATIENCE);
            }
            thread::sleep(TICK);
        }
    }

    fn listen_to(&self, sentinel: &Endpoint) -> Result<()> {
        let failed = |error| net::failed("sentinel", sentinel, error);
        let until = || Instant::now() + PATIENCE;
        let Maker { net, hello, .. } = &self.to_sentinels;
        let mut stream = Stream::connect(sentinel, net, until()).map_err(failed)?;
        stream.set_deadline(until());
        let mut reader = hello.greet(&mut stream, sentinel)?;
        let say = |stream: &mut Stream, words: &[&[u8]]| {
            let mut batch = Batch::new(false);
            batch.push("", words);
            let bytes = batch.bytes(&[0]);
            std::io::Write::write_all(stream, &bytes)
                .and_then(|()| std::io::Write::flush(stream))
                .map_err(failed)
        };
        say(&mut stream, &[b"SUBSCRIBE", b"+switch-master"])?;
        let (mut ticks, mut silent) = (0, 0);
        while !self.stopped() {
            stream.set_deadline(Instant::now() + TICK);
            match reader.wait(&mut stream).map_err(failed) {
                Ok(()) => {
                    silent = 0;
                    stream.set_deadline(until());
                    let heard = reader.value(&mut stream).map_err(failed)?;
                    if let Some(endpoint) = self.announced(&heard) {
                        log::info!("yokedcache: the redis master is {endpoint} now");
                        self.follow(endpoint);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Timeout => {
                    (ticks, silent) = (ticks + 1, silent + 1);
                    if silent > 3 * TICKS_PER_PING {
                        return Err(error);
                    }
                    if ticks % TICKS_PER_PING == 0 {
                        stream.set_deadline(until());
                        say(&mut stream, &[b"PING"])?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// `mymaster 127.0.0.1 6379 127.0.0.1 6380` in a message: the new address, if it is our service.
    fn announced(&self, heard: &Value) -> Option<Endpoint> {
        let Value::Array(message) = heard else { return None };
        let words: Vec<&str> = text(message.get(2))?.split(' ').collect();
        let [service, _, _, host, port] = words[..] else { return None };
        (service == self.service).then(|| endpoint(Some(host), Some(port)))?
    }
}

fn endpoint(host: Option<&str>, port: Option<&str>) -> Option<Endpoint> {
    Some(Endpoint::tcp(host?, port?.parse().ok()?))
}
