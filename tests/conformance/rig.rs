//! A backend under test.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use yokedcache::backend::{Backend, Can};
use yokedcache::{Cache, CacheBuilder, ManualClock, Memory};

/// Makes caches over one instance of a backend, and moves its time.
pub struct Rig {
    backend: Arc<dyn Backend>,
    clock: Option<ManualClock>,
    /// Keeps cases apart that run on one server at the same time.
    prefix: Option<String>,
    /// Where the first read of an entry is answered from.
    tier: u8,
    /// What is invalidated is still to be told to a backend that cannot be reached.
    defers: bool,
    /// The case was told a unit of the system's time, or let some pass.
    by_the_clock: AtomicBool,
}

thread_local! {
    /// How many times as long a unit is in the case this thread plays.
    static LONGER: Cell<u32> = const { Cell::new(1) };
}

/// Plays a case. One that lives by the system's time may come too late where the machine is busy: it
/// is played again then, with longer units. All others have one try.
pub fn play(rig: impl Fn() -> Rig, case: fn(&Rig)) {
    for longer in [1, 3] {
        LONGER.set(longer);
        let rig = rig();
        let played = catch_unwind(AssertUnwindSafe(|| case(&rig)));
        let Err(panic) = played else { return };
        if !rig.by_the_clock.load(Ordering::SeqCst) {
            resume_unwind(panic);
        }
    }
    LONGER.set(9);
    case(&rig());
}

impl Rig {
    /// Memory on a manual clock.
    pub fn memory(max_size: usize) -> Self {
        let clock = ManualClock::new();
        let memory = Memory::builder().max_size(max_size).clock(&clock).build().unwrap();
        Self { clock: Some(clock), ..Self::on_real_time(memory) }
    }

    /// What is made of memories on one manual clock.
    #[allow(dead_code)]
    pub fn wrapped<B: Backend>(wrap: impl FnOnce(&dyn Fn() -> Memory) -> B) -> Self {
        let clock = ManualClock::new();
        let memory = || Memory::builder().max_size(100_000).clock(&clock).build().unwrap();
        Self { clock: Some(clock.clone()), ..Self::on_real_time(wrap(&memory)) }
    }

    /// The same, where invalidations are noted for a backend that cannot be reached.
    #[allow(dead_code)]
    pub fn deferring(self) -> Self {
        Self { defers: true, ..self }
    }

    /// A backend that lives by the system's time.
    #[allow(dead_code)]
    pub fn on_real_time(backend: impl Backend) -> Self {
        let (backend, by_the_clock) = (Arc::new(backend), AtomicBool::new(false));
        Self { backend, clock: None, prefix: None, tier: 0, defers: false, by_the_clock }
    }

    /// A backend on a server that other cases use, too.
    #[allow(dead_code)]
    pub fn on_server(backend: impl Backend) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("case{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self { prefix: Some(prefix), ..Self::on_real_time(backend) }
    }

    /// The same with a near tier in front.
    #[allow(dead_code)]
    pub fn tiered(self) -> Self {
        Self { tier: 1, ..self }
    }

    pub fn tier(&self) -> u8 {
        self.tier
    }

    pub fn builder(&self) -> CacheBuilder {
        self.builder_over(self.backend.clone())
    }

    pub fn backend(&self) -> Arc<dyn Backend> {
        self.backend.clone()
    }

    /// A cache over something around the backend.
    pub fn builder_over(&self, backend: impl Backend) -> CacheBuilder {
        let mut builder = Cache::builder(backend);
        if let Some(prefix) = &self.prefix {
            builder = builder.key_prefix(prefix);
        }
        match &self.clock {
            Some(clock) => builder.clock(clock),
            None => builder,
        }
    }

    pub fn cache(&self) -> Cache {
        self.builder().build().unwrap()
    }

    pub fn can(&self) -> Can {
        self.backend.about().can
    }

    /// Whether invalidations say that they are pending.
    pub fn defers(&self) -> bool {
        self.defers
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        match &self.clock {
            Some(clock) => clock.advance(time),
            None => {
                self.by_the_clock.store(true, Ordering::SeqCst);
                std::thread::sleep(time);
            }
        }
    }

    /// The wall time by which ends are told.
    pub fn wall(&self) -> std::time::SystemTime {
        self.clock.as_ref().map_or_else(std::time::SystemTime::now, ManualClock::wall)
    }

    /// Whether time stands still between two lines of a test.
    pub fn is_exact(&self) -> bool {
        self.clock.is_some()
    }

    /// A span that is long enough to be told apart on this backend, and short to wait for.
    pub fn unit(&self) -> Duration {
        if self.is_exact() {
            Duration::from_secs(10)
        } else {
            self.by_the_clock.store(true, Ordering::SeqCst);
            self.can().ttl_step.max(Duration::from_millis(100)) * LONGER.get()
        }
    }
}
