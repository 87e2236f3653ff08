//! Liveness: threads that run, and one that has died.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use yokedcache::backend::{About, Backend, Call, Name, Read, Removed, Scope, Want, Write, Wrote};
use yokedcache::{Cache, HealthStatus, Memory, Pattern, Switch, Tiered};

use crate::faulty::Faulty;
use crate::support::wait_until;

/// A value whose own code panics when the thread that frees expired entries drops it.
struct Bomb;

static WENT_OFF: AtomicBool = AtomicBool::new(false);

impl<'de> Deserialize<'de> for Bomb {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        u8::deserialize(from).map(|_| Self)
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        if thread::current().name() == Some("yokedcache-sweeper") {
            WENT_OFF.store(true, Ordering::SeqCst);
            panic!("a bomb goes off");
        }
    }
}

#[test]
fn a_cache_is_live_before_during_and_after_its_life() {
    let cache = Cache::memory(10);
    assert!(cache.is_live());
    cache.close();
    assert!(cache.is_live(), "what is closed needs no threads");
    let idle = Memory::builder().cleanup_interval(Duration::ZERO).build().unwrap();
    assert!(Cache::builder(idle).build().unwrap().is_live(), "it wants no thread");
}

#[test]
fn a_value_that_panics_when_it_is_freed_kills_no_thread() {
    let memory = Memory::builder().cleanup_interval(Duration::from_millis(5)).build().unwrap();
    let cache = Cache::builder(memory).build().unwrap();
    wait_until("it is read before its end", || {
        cache.entry("k").ttl(Duration::from_millis(200)).set(&1).unwrap();
        // From then on the entry has the decoded value with it.
        cache.get_arc::<Bomb>("k").unwrap().is_some()
    });
    wait_until("the bomb goes off", || WENT_OFF.load(Ordering::SeqCst));
    cache.entry("next").ttl(Duration::from_millis(1)).set(&1).unwrap();
    // Nobody asks for it, so it is the thread that does it.
    wait_until("the next one is freed", || cache.stats().backend.entries == Some(0));
    assert!(cache.is_live() && cache.detailed_health_check().is_up());
}

/// A backend of somebody's own, whose thread has died.
#[derive(Debug)]
struct Dead(Faulty);

impl Backend for Dead {
    fn about(&self) -> About {
        self.0.about()
    }
    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Done {
        self.0.read(call, keys, want, out)
    }
    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Done {
        self.0.write(call, writes, out)
    }
    fn invalidate(&self, call: Call, what: &Scope<'_>) -> yokedcache::Result<Removed> {
        self.0.invalidate(call, what)
    }
    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Done {
        self.0.scan(call, what, page)
    }
    fn threads(&self, each: &mut dyn FnMut(&str, bool)) {
        each("writer", true);
        each("reader", false);
    }
}

type Done = yokedcache::Result<()>;

#[test]
fn a_thread_that_died_makes_it_not_live_and_still_ready() {
    let far = Faulty::new();
    let tiers = Tiered::new(Memory::builder().build().unwrap(), Dead(far.clone())).unwrap();
    let cache = Cache::builder(Switch::new(tiers)).build().unwrap();
    assert!(!cache.is_live());
    cache.health_check().unwrap();
    far.calls();
    assert!(!cache.is_live());
    assert!(far.calls().is_empty(), "nobody is asked for it");
    let health = cache.detailed_health_check();
    let warning = crate::warning(&health, "thread-died");
    assert!(warning.degrades && warning.text.contains("reader"), "{warning}");
    assert_eq!(health.status(), HealthStatus::Degraded);
}

#[test]
fn a_loader_that_panics_on_a_thread_of_the_cache_kills_none() {
    let cache = Cache::memory(10);
    let loader = cache.loader(|key: &str| -> Result<u32, String> {
        if key == "bad" { panic!("a loader panics") } else { Ok(1) }
    });
    for key in ["good", "bad", "good"] {
        assert!(loader.refresh(key).unwrap());
        assert!(cache.drain(Duration::from_secs(60)));
        assert!(cache.is_live());
    }
}
