//! A backend that fails as it is told to, and remembers what it was asked for.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use yokedcache::backend::*;
use yokedcache::{Error, ErrorKind, Memory, Pattern, Result};

/// How it fails.
#[derive(Clone, Debug)]
pub enum Mode {
    Up,
    /// Every call, before it does anything.
    Down(ErrorKind),
    /// Every call, after it did everything.
    Late,
    /// The slots of keys that end so.
    Ending(&'static str),
    /// The first write of each batch.
    First,
    /// Invalidations only.
    Invalidations(ErrorKind),
    Panics,
}

type Hook = Arc<dyn Fn(&str) + Send + Sync>;

#[derive(Clone)]
pub struct Faulty(Arc<Inner>);

struct Inner {
    memory: Memory,
    can: Can,
    mode: Mutex<Mode>,
    calls: Mutex<Vec<String>>,
    last: Mutex<Call>,
    before: Mutex<Option<Hook>>,
    after: Mutex<Option<Hook>>,
}

impl std::fmt::Debug for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faulty")
    }
}

impl Faulty {
    pub fn new() -> Self {
        Self::over(Memory::builder().build().unwrap(), |_| {})
    }

    pub fn over(memory: Memory, change: impl FnOnce(&mut Can)) -> Self {
        let mut can = memory.about().can;
        change(&mut can);
        Self(Arc::new(Inner {
            memory,
            can,
            mode: Mutex::new(Mode::Up),
            calls: Mutex::default(),
            last: Mutex::default(),
            before: Mutex::default(),
            after: Mutex::default(),
        }))
    }

    pub fn set(&self, mode: Mode) {
        *self.0.mode.lock().unwrap() = mode;
    }

    pub fn down(&self) {
        self.set(Mode::Down(ErrorKind::Unavailable));
    }

    pub fn up(&self) {
        self.set(Mode::Up);
    }

    /// Runs at the beginning of each call, told what it is.
    pub fn before(&self, hook: impl Fn(&str) + Send + Sync + 'static) {
        *self.0.before.lock().unwrap() = Some(Arc::new(hook));
    }

    /// Runs when a call is carried out and not yet answered.
    pub fn after(&self, hook: impl Fn(&str) + Send + Sync + 'static) {
        *self.0.after.lock().unwrap() = Some(Arc::new(hook));
    }

    /// The calls since they were last asked for, in words.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.0.calls.lock().unwrap())
    }

    /// How many of them are about this.
    pub fn asked(&self, about: &str) -> usize {
        self.0.calls.lock().unwrap().iter().filter(|call| call.contains(about)).count()
    }

    /// Tells whether anybody still holds it.
    pub fn weak(&self) -> Weak<impl Sized + use<>> {
        Arc::downgrade(&self.0)
    }

    /// The limit of the last call.
    pub fn last_call(&self) -> Call {
        *self.0.last.lock().unwrap()
    }

    /// Stores behind the faults, as another process would.
    pub fn put(&self, key: &str, value: &str) {
        let entry = Entry::new(format!("{value:?}").into_bytes(), CodecId::JSON);
        let put = Change::Put(entry, Life::new(Some(Duration::from_secs(3600))));
        let mut out = [Wrote::Unanswered];
        let write = Write::new(Name::new(key, 0), When::Always, put);
        self.0.memory.write(Call::Unlimited, &mut [write], &mut out).unwrap();
        assert!(matches!(out, [Wrote::Done(_)]));
    }

    /// Whether it is there, behind the faults.
    pub fn has(&self, key: &str) -> bool {
        let mut out = [Read::Unanswered];
        self.0.memory.read(Call::Unlimited, &[Name::new(key, 0)], &Want::VALUE, &mut out).unwrap();
        matches!(out, [Read::Hit(_)])
    }

    fn mode(&self) -> Mode {
        self.0.mode.lock().unwrap().clone()
    }

    fn call<T>(
        &self,
        call: Call,
        what: &str,
        work: impl FnOnce(&Memory) -> Result<T>,
    ) -> Result<T> {
        self.0.calls.lock().unwrap().push(what.to_owned());
        *self.0.last.lock().unwrap() = call;
        let run = |hook: &Mutex<Option<Hook>>| {
            let hook = hook.lock().unwrap().clone();
            if let Some(hook) = hook {
                hook(what);
            }
        };
        run(&self.0.before);
        match self.mode() {
            Mode::Down(kind) => return Err(Error::new(kind, "down")),
            Mode::Invalidations(kind) if what.starts_with("invalidate") => {
                return Err(Error::new(kind, "down"));
            }
            Mode::Panics => panic!("as it was told to"),
            _ => {}
        }
        let done = work(&self.0.memory);
        run(&self.0.after);
        match self.mode() {
            Mode::Late => Err(Error::new(ErrorKind::Timeout, "late")),
            _ => done,
        }
    }

    fn fails(&self, key: &Name<'_>) -> Option<Error> {
        match self.mode() {
            Mode::Ending(end) if key.as_str().ends_with(end) => {
                Some(Error::new(ErrorKind::Timeout, "this one is late"))
            }
            _ => None,
        }
    }
}

fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(" ")
}

impl Backend for Faulty {
    fn about(&self) -> About {
        About::new("faulty", self.0.can)
    }

    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        let what = format!("read {}", listed(keys.iter().map(Name::as_str)));
        self.call(call, &what, |memory| memory.read(call, keys, want, out))?;
        for (key, out) in keys.iter().zip(out) {
            if let Some(error) = self.fails(key) {
                *out = Read::Failed(error);
            }
        }
        Ok(())
    }

    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        let what = listed(writes.iter().map(|write| write.key.as_str()));
        let verb = match writes[0].change {
            Change::Remove => "remove",
            _ => "write",
        };
        self.call(call, &format!("{verb} {what}"), |memory| {
            let mut first = matches!(self.mode(), Mode::First);
            for (write, out) in writes.iter_mut().zip(out) {
                let is_late =
                    std::mem::take(&mut first).then(|| Error::new(ErrorKind::Timeout, "late"));
                match is_late.or_else(|| self.fails(&write.key)) {
                    Some(error) => *out = Wrote::Failed(error),
                    None => {
                        let (write, out) = (std::slice::from_mut(write), std::slice::from_mut(out));
                        memory.write(call, write, out)?;
                    }
                }
            }
            Ok(())
        })
    }

    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        let told = match what {
            Scope::Keys(pattern) => format!("keys {}", pattern.literal_prefix()),
            Scope::AnyTag(tags) => format!("any {}", listed(tags.iter().map(Name::as_str))),
            Scope::AllTags(tags) => format!("all {}", listed(tags.iter().map(Name::as_str))),
            _ => "something else".into(),
        };
        self.call(call, &format!("invalidate {told}"), |memory| memory.invalidate(call, what))
    }

    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.call(call, "scan", |memory| memory.scan(call, what, page))
    }
}
