//! A load that is stopped in its middle.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use yokedcache::Cache;

/// A load in a thread of its own, whose loader has begun and not ended.
///
/// Dropped by a test that fails it ends by itself.
pub struct Held {
    go: Sender<()>,
    thread: JoinHandle<String>,
}

/// What a loader waits at.
pub struct Gate {
    reached: Sender<()>,
    go: Receiver<()>,
}

impl Gate {
    pub fn wait(&self) {
        self.reached.send(()).unwrap();
        self.go.recv().expect("the test goes on");
    }
}

impl Held {
    /// Runs `load` until it waits at its gate.
    pub fn begin(load: impl FnOnce(&Gate) -> String + Send + 'static) -> Held {
        let (reached, wait_reached) = channel();
        let (go, wait_go) = channel();
        let thread = thread::spawn(move || load(&Gate { reached, go: wait_go }));
        wait_reached.recv().expect("the loader runs");
        Held { go, thread }
    }

    /// A load of this value under these tags.
    pub fn load(cache: &Cache, key: &str, tags: &'static [&'static str], value: &str) -> Held {
        let (cache, key, value) = (cache.clone(), key.to_owned(), value.to_owned());
        Held::begin(move |gate| {
            let loaded = cache.entry(key).tags(tags).get_or_compute(|| {
                gate.wait();
                value
            });
            loaded.unwrap()
        })
    }

    /// The load of `k`, tagged with `t`, that will say "old".
    pub fn old(cache: &Cache) -> Held {
        Held::load(cache, "k", &["t"], "old")
    }

    /// Lets the loader end; what the load's own caller got.
    pub fn end(self) -> String {
        self.go.send(()).unwrap();
        self.thread.join().unwrap()
    }

    /// Lets the loader end, as which it keeps its value, and nobody else sees it.
    #[track_caller]
    pub fn end_overtaken(self, cache: &Cache) {
        let before = cache.stats().overtaken;
        assert_eq!(self.end(), "old", "its own caller keeps it");
        assert_eq!(cache.stats().overtaken, before + 1, "it is known to be overtaken");
    }
}
