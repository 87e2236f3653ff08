//! A backend that stands in for another: what callers see before, in and after an outage.

mod batches;
mod breaker;
mod faulty;
mod journal;
mod promises;
mod race;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use faulty::Faulty;
use yokedcache::{BreakerState, Cache, Event, Fallback, FallbackBuilder, Memory};

/// A fallback from what fails to memory, and the cache over it.
struct Site {
    primary: Faulty,
    fallback: Fallback,
    cache: Cache,
    events: Arc<Mutex<Vec<Event>>>,
}

/// Settings with which nothing happens by itself.
fn settings(primary: &Faulty) -> FallbackBuilder {
    Fallback::builder(primary.clone(), Memory::builder().build().unwrap())
        .failure_threshold(1)
        .reset_timeout(Duration::from_secs(3600))
}

/// As soon as it can be.
const SOON: Duration = Duration::from_millis(5);

impl Site {
    fn new(settings: impl FnOnce(FallbackBuilder) -> FallbackBuilder) -> Self {
        let primary = Faulty::new();
        let fallback = settings(self::settings(&primary)).build().unwrap();
        Self::over(primary, fallback)
    }

    fn over(primary: Faulty, fallback: Fallback) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = events.clone();
        let cache = Cache::builder(fallback.clone())
            .on_event(move |event| told.lock().unwrap().push(event.clone()))
            .build()
            .unwrap();
        Self { primary, fallback, cache, events }
    }

    fn get(&self, key: &str) -> Option<String> {
        self.cache.get(key).unwrap()
    }

    /// An outage that begins with the delete of a key that is not there.
    fn fails(&self) {
        self.primary.down();
        assert!(!self.cache.delete("nothing").unwrap());
        // Where trials come soon, one may be under way.
        assert_ne!(self.fallback.state(), BreakerState::Closed);
    }

    fn recovers(&self) {
        self.primary.up();
        self.closes();
    }

    fn closes(&self) {
        eventually("it closes", || self.fallback.state() == BreakerState::Closed);
    }

    fn told(&self) -> Vec<String> {
        self.events.lock().unwrap().iter().map(Event::to_string).collect()
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
