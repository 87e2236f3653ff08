//! Servers that several processes cache on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::support::Proxy;
use yokedcache::{Backend, Cache};

/// How long answers take to who is far away.
const FAR: Duration = Duration::from_millis(3);

/// How long a busy machine is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A part of a server, and what other programs may do there.
pub trait Site: Sync {
    fn prefix(&self) -> &str;

    /// A backend over connections of its own, to the server itself or to what stands before it.
    fn backend(&self, proxy: Option<&Proxy>) -> Box<dyn Backend>;

    /// Something before the server that delays answers, where that can be.
    fn proxy(&self) -> Option<Proxy>;

    /// Another program's delete and set.
    fn delete(&self, key: &str);
    fn set(&self, key: &str, value: &str);

    /// Another program ends what is there.
    fn expire(&self, key: &str);

    /// How long what is there still lives, in milliseconds; `None` if nothing is there.
    fn left(&self, key: &str) -> Option<i64>;

    /// What a key or a tag's record is stored under.
    fn name(&self, key: &str) -> String {
        format!("{}:{key}", self.prefix())
    }

    /// What another process has.
    fn cache(&self) -> Cache {
        self.cache_by(None)
    }

    /// The same, which comes by what stands before the server.
    fn cache_by(&self, proxy: Option<&Proxy>) -> Cache {
        Cache::builder(self.backend(proxy)).key_prefix(self.prefix()).build().unwrap()
    }

    /// What another process has that is far away, so that what it does takes long.
    fn far_cache(&self) -> (Cache, Option<Proxy>) {
        let proxy = self.proxy();
        let cache = self.cache_by(proxy.as_ref());
        if let Some(proxy) = &proxy {
            proxy.set(super::support::Plan::Delay(FAR));
        }
        (cache, proxy)
    }
}

/// A prefix that no other race has.
pub fn own_prefix() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("race{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What is stored under `k` to whoever asks.
#[track_caller]
pub fn assert_k(site: &dyn Site, mine: &Cache, expected: Option<&str>) {
    for (who, cache) in [("mine", mine), ("another", &site.cache())] {
        let found = cache.get::<String>("k").unwrap();
        assert_eq!(found.as_deref(), expected, "{who}");
    }
}
