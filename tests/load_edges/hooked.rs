//! A backend that can be cut off, and told to do something before it is read.

use super::*;

type Hook = dyn Fn(&str, &Want<'_>) -> Option<Error> + Send + Sync;

/// Memory behind a line that can be cut, with something done before each read of a key.
#[derive(Clone)]
pub struct Hooked {
    pub memory: Arc<Memory>,
    read: Arc<Mutex<Option<Arc<Hook>>>>,
    pub down: Arc<AtomicBool>,
    pub reads: Arc<AtomicUsize>,
    pub writes: Arc<AtomicUsize>,
    /// How long each read was given.
    pub given: Arc<Mutex<Vec<Option<Duration>>>>,
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooked")
    }
}

impl Hooked {
    pub fn new(clock: &ManualClock) -> Self {
        let memory = Arc::new(Memory::builder().clock(clock).build().unwrap());
        Self {
            memory,
            read: Arc::default(),
            down: Arc::default(),
            reads: Arc::default(),
            writes: Arc::default(),
            given: Arc::default(),
        }
    }

    pub fn cache(&self, clock: &ManualClock) -> Cache {
        Cache::builder(self.clone()).clock(clock).build().unwrap()
    }

    pub fn before_reads(
        &self,
        hook: impl Fn(&str, &Want<'_>) -> Option<Error> + Send + Sync + 'static,
    ) {
        *self.read.lock().unwrap() = Some(Arc::new(hook));
    }

    fn check(&self, call: Call) -> Result<()> {
        if !self.down.load(Ordering::SeqCst) {
            return Ok(());
        }
        // A server that does not answer: as long as the call may take.
        let left = call.armed().left().ok().flatten().unwrap_or(SECOND);
        thread::sleep(left.min(Duration::from_millis(100)));
        Err(Error::new(ErrorKind::Timeout, "no answer"))
    }
}

impl Backend for Hooked {
    fn about(&self) -> About {
        About::new("hooked", self.memory.about().can)
    }

    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.given.lock().unwrap().push(call.left().unwrap_or(Some(Duration::ZERO)));
        self.check(call)?;
        for (key, out) in keys.iter().zip(out) {
            let hook = self.read.lock().unwrap().clone();
            match hook.and_then(|hook| hook(key.as_str(), want)) {
                Some(error) => *out = Read::Failed(error),
                None => self.memory.read(call, &[*key], want, std::slice::from_mut(out))?,
            }
        }
        Ok(())
    }

    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.check(call)?;
        self.memory.write(call, writes, out)
    }

    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        self.memory.invalidate(call, what)
    }

    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.memory.scan(call, what, page)
    }
}
