//! Claims that come to nothing: what is in the way, what cannot be used, what cannot be read.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use super::support::RedisServer;
use yokedcache::{Cache, Error, Loaded, Lookup, Redis, Ttl};

const SECOND: Duration = Duration::from_secs(1);

fn cache(server: &RedisServer) -> Cache {
    Cache::builder(Redis::open(server.url()).unwrap()).key_prefix("p").build().unwrap()
}

/// A roll-out: what is there is of an older schema, and each process needs a new one.
#[test]
fn processes_share_the_load_of_a_value_in_the_way() {
    let server = RedisServer::start(&[]);
    cache(&server).with_schema(1).set("k", "old").unwrap();
    let (runs, barrier) = (AtomicUsize::new(0), Barrier::new(4));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let cache = cache(&server).with_schema(2);
                let _ = cache.get::<String>("warm up");
                barrier.wait();
                let value = cache.get_or_compute("k", || {
                    thread::sleep(SECOND / 5);
                    runs.fetch_add(1, Ordering::SeqCst)
                });
                assert_eq!(value.unwrap(), 0);
            });
        }
    });
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

/// A batch has no use for what another process stored meanwhile, and no loader left.
#[test]
fn a_batch_does_not_destroy_what_it_cannot_use() {
    let server = RedisServer::start(&[]);
    let (ours, theirs) = (cache(&server), cache(&server));
    let (begun, began) = channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let none = theirs.entry("k").load_with(|_| {
                begun.send(()).unwrap();
                thread::sleep(SECOND / 5);
                Ok::<_, Error>(Loaded::<u8>::Negative(Ttl::Never))
            });
            assert_eq!(none.unwrap().unwrap(), None);
        });
        began.recv().unwrap();
        let _ =
            ours.entries(["k"]).get_or_load_many(|_| Ok::<_, Error>(vec![("k".to_owned(), 1u8)]));
    });
    let left = theirs.lookup::<u8>("k").unwrap();
    assert!(matches!(left, Lookup::Negative(_)), "{left:?}");
}

/// The version of the tag cannot be read: the load goes on, and is not stored. Nobody waits for it.
#[test]
fn a_tag_that_cannot_be_read_does_not_block_the_key() {
    let server = RedisServer::start(&[]);
    let (ours, theirs) = (cache(&server), cache(&server).with_timeout(60 * SECOND));
    server.command(&["RPUSH", "p:t#t", "not a version"]);
    let loaded = ours.entry("k").load_with(|load| {
        load.tag("t").unwrap_err();
        Ok::<_, Error>(Loaded::Value(1))
    });
    assert_eq!(loaded.unwrap().unwrap(), Some(1));
    let started = Instant::now();
    assert_eq!(theirs.get_or_compute("k", || 2).unwrap(), 2);
    // A lease is held for half a minute.
    assert!(started.elapsed() < 20 * SECOND, "nobody loads it: {:?}", started.elapsed());
}
