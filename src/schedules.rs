//! Random schedules of threads over the store and the flights, run by shuttle:
//! `RUSTFLAGS="--cfg shuttle" cargo test --lib schedules`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shuttle::{check_random, thread};

use crate::{Cache, Error, Loaded, ManualClock, Memory};

const SCHEDULES: usize = 10_000;

/// No sweeper of its own: every thread must be one of shuttle's.
fn cache(max_size: usize) -> (Cache, Arc<Memory>, ManualClock) {
    let clock = ManualClock::new();
    let memory = Memory::builder().max_size(max_size).clock(&clock);
    let memory = Arc::new(memory.cleanup_interval(Duration::ZERO).build().unwrap());
    (Cache::builder(memory.clone()).clock(&clock).build().unwrap(), memory, clock)
}

/// Runs all of these at once, to the end.
fn together(threads: Vec<Box<dyn FnOnce() + Send>>) {
    let running: Vec<_> = threads.into_iter().map(thread::spawn).collect();
    running.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn the_books_of_a_shard_balance_under_every_schedule() {
    check_random(
        || {
            let (cache, memory, clock) = cache(2);
            let (a, b, c) = (cache.clone(), cache.clone(), cache.clone());
            let last = memory.clone();
            together(vec![
                Box::new(move || {
                    a.entry("k").tags(["t", "u"]).ttl(Duration::from_secs(1)).set("k").unwrap();
                    a.entry("l").tag("t").set("l").unwrap();
                    a.set("m", "m").unwrap();
                }),
                Box::new(move || {
                    b.invalidate_tags(["t"]).unwrap();
                    b.entry("k").tag("u").set("k").unwrap();
                    b.delete("l").unwrap();
                    b.invalidate_pattern("m*").unwrap();
                }),
                Box::new(move || {
                    clock.advance(Duration::from_secs(2));
                    memory.sweep();
                    for key in ["k", "l", "m"] {
                        assert!(c.get::<String>(key).unwrap().is_none_or(|value| value == key));
                    }
                }),
            ]);
            // What a delayed write stored with an end that has passed.
            last.sweep();
            let books = cache.stats().backend;
            assert_eq!(books.entries, Some(cache.keys("*").unwrap().len() as u64));
            assert!(books.entries <= Some(2));
            cache.clear().unwrap();
            let books = cache.stats().backend;
            assert_eq!((books.entries, books.bytes, books.tag_links), (Some(0), Some(0), Some(0)));
        },
        SCHEDULES,
    );
}

/// A load races with an invalidation: whoever reads after it never gets what was loaded before.
fn invalidation_wins(invalidate: fn(&Cache)) {
    check_random(
        move || {
            let (cache, ..) = cache(4_096);
            let source = Arc::new(AtomicU64::new(1));
            let load = |cache: &Cache, source: &AtomicU64| {
                let answer = cache.entry("k").tag("up front").load_with(|load| {
                    load.tag("late")?;
                    // What is seen here is as old as the load; the rest of it takes its time.
                    let seen = source.load(Ordering::SeqCst);
                    thread::yield_now();
                    Ok::<_, Error>(Loaded::Value(seen))
                });
                answer.unwrap().unwrap().unwrap()
            };
            let loader = || {
                let (cache, source) = (cache.clone(), source.clone());
                Box::new(move || drop(load(&cache, &source)))
            };
            let (writer, changed) = (cache.clone(), source.clone());
            together(vec![
                loader(),
                loader(),
                Box::new(move || {
                    changed.store(2, Ordering::SeqCst);
                    invalidate(&writer);
                    assert_ne!(writer.get::<u64>("k").unwrap(), Some(1), "a read afterwards");
                    assert_eq!(load(&writer, &changed), 2, "a load afterwards");
                }),
            ]);
            assert_ne!(cache.get::<u64>("k").unwrap(), Some(1));
        },
        SCHEDULES / 4,
    );
}

#[test]
fn delete_wins_under_every_schedule() {
    invalidation_wins(|cache| drop(cache.delete("k").unwrap()));
}

#[test]
fn a_tag_named_up_front_wins_under_every_schedule() {
    invalidation_wins(|cache| drop(cache.invalidate_tags(["up front"]).unwrap()));
}

#[test]
fn a_tag_named_by_the_load_wins_under_every_schedule() {
    invalidation_wins(|cache| drop(cache.invalidate_tags(["late"]).unwrap()));
}

#[test]
fn all_tags_win_under_every_schedule() {
    invalidation_wins(|cache| drop(cache.invalidate_tags_all(["up front", "late"]).unwrap()));
}

#[test]
fn a_pattern_wins_under_every_schedule() {
    invalidation_wins(|cache| drop(cache.invalidate_pattern("k*").unwrap()));
}

#[test]
fn threads_that_load_one_key_run_one_loader_under_every_schedule() {
    check_random(
        || {
            let (cache, ..) = cache(10);
            let runs = Arc::new(AtomicU64::new(0));
            let load = || {
                let (cache, runs) = (cache.clone(), runs.clone());
                Box::new(move || {
                    let value = cache.get_or_compute("k", || {
                        thread::yield_now();
                        runs.fetch_add(1, Ordering::SeqCst)
                    });
                    assert_eq!(value.unwrap(), 0);
                }) as Box<dyn FnOnce() + Send>
            };
            together(vec![load(), load(), load(), load()]);
            assert_eq!(runs.load(Ordering::SeqCst), 1);
        },
        SCHEDULES,
    );
}

#[test]
fn a_failed_load_wakes_all_who_wait_under_every_schedule() {
    check_random(
        || {
            let (cache, ..) = cache(10);
            let runs = Arc::new(AtomicU64::new(0));
            let load = || {
                let (cache, runs) = (cache.clone(), runs.clone());
                Box::new(move || {
                    let answer = cache.get_or_load("k", || {
                        thread::yield_now();
                        match runs.fetch_add(1, Ordering::SeqCst) {
                            0 => Err("the first fails"),
                            _ => Ok(7),
                        }
                    });
                    assert!(matches!(answer, Err(_) | Ok(Err(_)) | Ok(Ok(7))));
                }) as Box<dyn FnOnce() + Send>
            };
            together(vec![load(), load(), load()]);
            assert_eq!(cache.get_or_compute("k", || 7).unwrap(), 7, "the key is free");
        },
        SCHEDULES,
    );
}

/// Two batches over the same keys in opposite order, and a delete.
#[test]
fn batches_that_overlap_end_and_a_delete_wins_under_every_schedule() {
    check_random(
        || {
            let (cache, ..) = cache(4_096);
            let source = Arc::new(AtomicU64::new(1));
            let batch = |cache: &Cache, source: &AtomicU64, keys: [&str; 2]| {
                cache.entries(keys).get_or_load_many(|missing| {
                    let seen = source.load(Ordering::SeqCst);
                    thread::yield_now();
                    Ok::<_, Error>(
                        missing.iter().map(|key| ((*key).clone(), seen)).collect::<Vec<_>>(),
                    )
                })
            };
            let loader = |keys| {
                let (cache, source) = (cache.clone(), source.clone());
                Box::new(move || drop(batch(&cache, &source, keys)))
            };
            let (writer, changed) = (cache.clone(), source.clone());
            together(vec![
                loader(["a", "b"]),
                loader(["b", "a"]),
                Box::new(move || {
                    changed.store(2, Ordering::SeqCst);
                    writer.delete("a").unwrap();
                    assert_ne!(writer.get::<u64>("a").unwrap(), Some(1), "a read afterwards");
                    if let Ok(Ok(values)) = batch(&writer, &changed, ["b", "a"]) {
                        assert_ne!(values[1], Some(1), "a batch afterwards");
                    }
                }),
            ]);
            assert_ne!(cache.get::<u64>("a").unwrap(), Some(1));
        },
        SCHEDULES / 4,
    );
}

/// A slot is dropped, another is set, and others join both.
#[test]
fn slots_keep_nobody_waiting_and_a_delete_wins_under_every_schedule() {
    check_random(
        || {
            let (cache, ..) = cache(4_096);
            let source = Arc::new(AtomicU64::new(1));
            let slot = |sets: bool| {
                let (cache, source) = (cache.clone(), source.clone());
                Box::new(move || {
                    if let crate::Begun::Slot(slot) = cache.entry("k").begin::<u64>().unwrap() {
                        let seen = source.load(Ordering::SeqCst);
                        thread::yield_now();
                        if sets {
                            slot.set(&seen).unwrap();
                        }
                    }
                }) as Box<dyn FnOnce() + Send>
            };
            let (writer, changed) = (cache.clone(), source.clone());
            together(vec![
                slot(true),
                slot(false),
                Box::new(move || {
                    changed.store(2, Ordering::SeqCst);
                    writer.delete("k").unwrap();
                    let load = || changed.load(Ordering::SeqCst);
                    assert_eq!(writer.get_or_compute("k", load).unwrap(), 2);
                }),
            ]);
            assert_eq!(cache.get_or_compute("k", || 3).unwrap(), 2);
        },
        SCHEDULES / 4,
    );
}

/// A stale value is refreshed by who asks, while it is deleted.
#[test]
fn a_delete_wins_over_a_refresh_under_every_schedule() {
    check_random(
        || {
            let (cache, _, clock) = cache(4_096);
            let fresh = crate::Freshness::new()
                .ttl(Duration::from_secs(1))
                .stale_for(Duration::from_secs(100));
            cache.entry("k").freshness(fresh).set(&0u64).unwrap();
            clock.advance(Duration::from_secs(2));
            let source = Arc::new(AtomicU64::new(1));
            let load = move |cache: &Cache, source: &AtomicU64| {
                let entry = cache.entry("k").freshness(fresh);
                entry.get_or_compute(|| {
                    let seen = source.load(Ordering::SeqCst);
                    thread::yield_now();
                    seen
                })
            };
            let loader = || {
                let (cache, source) = (cache.clone(), source.clone());
                Box::new(move || _ = load(&cache, &source).unwrap())
            };
            let (writer, changed) = (cache.clone(), source.clone());
            together(vec![
                loader(),
                loader(),
                Box::new(move || {
                    changed.store(2, Ordering::SeqCst);
                    writer.delete("k").unwrap();
                    assert_eq!(load(&writer, &changed).unwrap(), 2);
                }),
            ]);
            assert_eq!(cache.get::<u64>("k").unwrap(), Some(2));
        },
        SCHEDULES / 4,
    );
}
