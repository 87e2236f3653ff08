//! Handlers of events that use the cache, end it, or take their time; and threads that end.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use yokedcache::{Cache, Redis, Tiered};

use crate::far::{LONG, memory};
use crate::server::Process;
use crate::support::{Again, RedisServer, in_time, orders, tell, wait_until};

fn tiers(server: &RedisServer) -> Arc<Tiered> {
    let far = Redis::open(server.url()).unwrap();
    Arc::new(Tiered::builder(memory(), far).bound(Duration::from_millis(100)).build().unwrap())
}

#[test]
fn a_handler_may_use_the_cache() {
    let server = RedisServer::start(&[]);
    let tiers = tiers(&server);
    let inner = Cache::builder(tiers.clone()).key_prefix("p").build().unwrap();
    let (told, heard) = mpsc::channel();
    let uses = {
        let inner = inner.clone();
        move || {
            inner.set("k", "v").unwrap();
            inner.get::<String>("k").unwrap();
            inner.invalidate_pattern("*").unwrap();
        }
    };
    let cache = Cache::builder(tiers).key_prefix("p").on_event(move |_| {
        uses();
        told.send(()).unwrap();
    });
    let cache = cache.build().unwrap();
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    heard.recv_timeout(LONG).unwrap();
    drop(cache);
}

#[test]
fn a_handler_may_drop_the_last_handle() {
    let server = RedisServer::start(&[]);
    let held: Arc<Mutex<Option<Cache>>> = Arc::default();
    let (told, heard) = mpsc::channel();
    let cache = {
        let held = Arc::downgrade(&held);
        Cache::builder(tiers(&server)).key_prefix("p").on_event(move |_| {
            let last = held.upgrade().and_then(|held| held.lock().unwrap().take());
            if last.is_some() {
                drop(last);
                told.send(()).unwrap();
            }
        })
    };
    *held.lock().unwrap() = Some(cache.build().unwrap());
    // The first event may have come before there was a handle to drop.
    wait_until("the handler ran", || {
        server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        heard.try_recv().is_ok()
    });
    wait_until("its connections end", || {
        !server.command(&["CLIENT", "LIST"]).as_str().contains("sub=1")
    });
}

/// Its value goes while it is heard that it changed.
#[test]
fn an_entry_that_leaves_may_drop_the_last_handle() {
    in_time(|| {
        let server = RedisServer::start(&[]);
        let held: Arc<Mutex<Option<Cache>>> = Arc::default();
        let done = Arc::new(AtomicBool::new(false));
        let near = {
            let (held, done) = (Arc::downgrade(&held), done.clone());
            yokedcache::Memory::builder().max_size(100).eviction_listener(move |_, _, _| {
                let on_listener = thread::current().name() == Some("yokedcache-listener");
                if let Some(held) = held.upgrade().filter(|_| on_listener) {
                    let last = held.lock().unwrap().take();
                    let is_last = last.is_some();
                    drop(last);
                    done.fetch_or(is_last, Ordering::SeqCst);
                }
            })
        };
        let far = Redis::open(server.url()).unwrap();
        let tiers = Tiered::new(near.build().unwrap(), far).unwrap();
        let cache = Cache::builder(tiers).key_prefix("p").build().unwrap();
        cache.set("k", "v").unwrap();
        wait_until("it is near", || {
            let found = cache.lookup::<String>("k").unwrap();
            matches!(found, yokedcache::Lookup::Hit(hit) if hit.tier == 0)
        });
        *held.lock().unwrap() = Some(cache);
        server.command(&["DEL", "p:k"]);
        // What was still heard of its own writing may have taken it out before there was a handle.
        let deleted = Instant::now();
        while held.lock().unwrap().is_some() {
            if deleted.elapsed() > Duration::from_secs(5) {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
        // Taken is not dropped: that may hang.
        wait_until("the handle is dropped", || done.load(Ordering::SeqCst));
        Some(())
    });
}

fn listeners() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    // As much of the name as the kernel keeps.
    names.filter(|name| name.trim_end() == &"yokedcache-listener"[..15]).count()
}

#[test]
fn dropping_it_ends_its_threads() {
    let server = RedisServer::start(&[]);
    let (told, heard) = mpsc::channel();
    let hear = move |line| drop(told.send(line));
    let child = "handlers::in_a_process_of_its_own";
    let mut child = Again::start(child, &[("YOKEDCACHE_TIERED", server.url())], hear);
    child.say("go");
    let line = heard.recv_timeout(3 * LONG).unwrap();
    assert_eq!(line.as_deref(), Some("2 then none"));
}

#[test]
#[ignore = "run by dropping_it_ends_its_threads"]
fn in_a_process_of_its_own() {
    let Ok(url) = std::env::var("YOKEDCACHE_TIERED") else { return };
    let orders = orders();
    orders.recv().unwrap();
    let process = Process::patient(&url);
    process.cache.set("k", "v").unwrap();
    process.warm("k");
    let running = listeners();
    process.cache.close();
    // The kernel lists a thread for a moment longer than it takes to join it.
    wait_until("its threads are gone", || listeners() == 0);
    drop(process);
    drop(Process::patient(&url));
    wait_until("its threads are gone", || listeners() == 0);
    tell(&format!("{running} then none"));
    drop(orders.recv());
}
