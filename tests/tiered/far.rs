//! A far tier whose every step a test decides.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use yokedcache::backend::{
    About, Call, Ear, Heard, Listen, Listening, Name, Read, Removed, Scope, Want, Write, Wrote,
};
use yokedcache::{Backend, Cache, Error, ErrorKind, Event, Memory, Pattern, Result, Tiered};

/// Longer than any test takes.
pub const LONG: Duration = Duration::from_secs(60);

/// A memory that others share, that tells of changes what the test says, and whose answers wait at a
/// gate.
#[derive(Debug, Default)]
pub struct Far {
    memory: Option<Arc<Memory>>,
    pub reads: AtomicUsize,
    gate: Mutex<Option<Gate>>,
    ear: Mutex<Option<Arc<dyn Ear>>>,
    /// What answers are covered by; 0: they are not.
    pub covers: Arc<AtomicU64>,
}

/// Stops whoever passes it until it is let go.
#[derive(Clone, Debug)]
pub struct Gate {
    come: (Sender<()>, Receiver<()>),
    go: (Sender<()>, Receiver<()>),
}

#[derive(Debug)]
struct Covers(Arc<AtomicU64>);

impl Listening for Covers {
    fn covers(&self) -> Option<u64> {
        Some(self.0.load(Ordering::SeqCst)).filter(|covers| *covers != 0)
    }
}

impl Gate {
    fn pass(&self) {
        self.come.0.send(()).unwrap();
        self.go.1.recv_timeout(LONG).expect("the gate opens");
    }

    /// Waits until somebody has come.
    pub fn wait(&self) {
        self.come.1.recv_timeout(LONG).expect("somebody comes");
    }

    pub fn open(&self) {
        self.go.0.send(()).unwrap();
    }
}

impl Far {
    fn memory(&self) -> &Memory {
        self.memory.as_ref().unwrap()
    }

    /// The next read stops once it has its answer.
    pub fn stop_next(&self) -> Gate {
        let gate = Gate { come: unbounded(), go: unbounded() };
        *self.gate.lock().unwrap() = Some(gate.clone());
        gate
    }

    pub fn tell(&self, heard: Heard<'_>) {
        let ear = self.ear.lock().unwrap().clone().expect("somebody listens");
        ear.hear(heard);
        ear.rest();
    }

    /// All is heard of from now on.
    pub fn begin(&self) {
        self.tell(Heard::Everything);
        self.covers.store(1, Ordering::SeqCst);
        self.tell(Heard::Complete(Instant::now()));
    }

    pub fn lose(&self) {
        self.covers.store(0, Ordering::SeqCst);
        self.tell(Heard::Lost(Error::new(ErrorKind::Unavailable, "for a test")));
    }
}

impl Backend for Far {
    fn about(&self) -> About {
        let About { mut can, .. } = self.memory().about();
        can.shared = true;
        About::new("far", can)
    }

    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let done = self.memory().read(call, keys, want, out);
        let gate = self.gate.lock().unwrap().take();
        if let Some(gate) = gate {
            gate.pass();
        }
        done
    }

    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        self.memory().write(call, writes, out)
    }

    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        self.memory().invalidate(call, what)
    }

    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.memory().scan(call, what, page)
    }

    fn listen(&self, to: &Listen) -> Result<Option<Box<dyn Listening>>> {
        *self.ear.lock().unwrap() = Some(to.ear.clone());
        Ok(Some(Box::new(Covers(self.covers.clone()))))
    }
}

/// A cache over tiers with such a far one, and another process's that only has that.
pub struct Site {
    pub far: Arc<Far>,
    pub tiers: Arc<Tiered>,
    pub cache: Cache,
    pub other: Cache,
    pub told: Told,
}

impl Site {
    /// A near tier that is on.
    pub fn new() -> Self {
        let site = Self::with_bound(LONG);
        site.far.begin();
        site
    }

    /// One that waits for its first word.
    pub fn with_bound(bound: Duration) -> Self {
        let memory = Arc::new(memory());
        let far = Arc::new(Far { memory: Some(memory.clone()), ..Far::default() });
        let tiers = Tiered::builder(self::memory(), far.clone()).bound(bound).build().unwrap();
        let tiers = Arc::new(tiers);
        let told = Told::default();
        let cache = told.cache(tiers.clone(), "p");
        let other = Cache::builder(memory).key_prefix("p").build().unwrap();
        Self { far, tiers, cache, other, told }
    }

    pub fn get(&self, key: &str) -> Option<String> {
        self.cache.get(key).unwrap()
    }

    pub fn reads(&self) -> usize {
        self.far.reads.load(Ordering::SeqCst)
    }

    /// Reads a key and has this happen between the far tier's answer and its fill. What was read.
    pub fn meanwhile(&self, key: &str, happens: impl FnOnce()) -> Option<String> {
        let gate = self.far.stop_next();
        thread::scope(|scope| {
            let reader = scope.spawn(|| self.get(key));
            gate.wait();
            happens();
            gate.open();
            reader.join().unwrap()
        })
    }
}

pub fn memory() -> Memory {
    Memory::builder().max_size(10_000).build().unwrap()
}

/// What a cache was told of.
#[derive(Clone, Default)]
pub struct Told(Arc<Mutex<Vec<&'static str>>>);

impl Told {
    pub fn cache(&self, backend: impl Backend, prefix: &str) -> Cache {
        let told = self.clone();
        let note = move |event: &Event| {
            told.0.lock().unwrap().push(match event {
                Event::NearOn => "on",
                Event::NearOff { .. } => "off",
                Event::NearCapped { .. } => "capped",
                _ => "else",
            });
        };
        Cache::builder(backend).key_prefix(prefix).on_event(note).build().unwrap()
    }

    pub fn all(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }

    /// Once the near tier is on: forgets how it came to that, which may take more than one attempt on
    /// a busy machine.
    #[cfg(feature = "redis")]
    pub fn begin(&self) -> bool {
        let mut told = self.0.lock().unwrap();
        let is_on = told.last() == Some(&"on");
        if is_on {
            *told = vec!["on"];
        }
        is_on
    }
}
