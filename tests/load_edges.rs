//! Loads at the edge: claims that fail half way, caches that go down in mid-load, loaders that hang,
//! panic, or need each other.

mod support;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use support::{this_thread, wait_until, wait_until_asleep};
use yokedcache::backend::{
    About, Ask, Backend, Call, Name, Read, Removed, Scope, Want, Write, Wrote,
};
use yokedcache::{
    Begun, Cache, Error, ErrorKind, Freshness, Loaded, ManualClock, Memory, Pattern, Result, Ttl,
};

const SECOND: Duration = Duration::from_secs(1);

type Hook = dyn Fn(&str, &Want<'_>) -> Option<Error> + Send + Sync;

/// Memory behind a line that can be cut, with something done before each read of a key.
#[derive(Clone)]
struct Hooked {
    memory: Arc<Memory>,
    read: Arc<Mutex<Option<Arc<Hook>>>>,
    down: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
    writes: Arc<AtomicUsize>,
    /// How long each read was given.
    given: Arc<Mutex<Vec<Option<Duration>>>>,
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooked")
    }
}

impl Hooked {
    fn new(clock: &ManualClock) -> Self {
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

    fn cache(&self, clock: &ManualClock) -> Cache {
        Cache::builder(self.clone()).clock(clock).build().unwrap()
    }

    fn before_reads(
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

/// Two processes, a roll-out of a new schema, two batches in opposite order.
#[test]
fn overlapping_batches_over_values_nobody_can_use_do_not_wait_for_each_other() {
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    for key in ["a", "b"] {
        hooked.cache(&clock).with_schema(1).set(key, "old").unwrap();
    }
    // Each has its first key before either asks for the second.
    let (barrier, takes) = (Barrier::new(2), Mutex::new(std::collections::HashMap::new()));
    hooked.before_reads(move |_, want| {
        let take = matches!(want.lease, Ask::Take { .. });
        let before = take.then(|| {
            let mut takes = takes.lock().unwrap();
            let takes = takes.entry(thread::current().id()).or_insert(0);
            *takes += 1;
            *takes
        });
        if before == Some(2) {
            barrier.wait();
        }
        None
    });
    let started = Instant::now();
    let loads: Vec<_> = [["a", "b"], ["b", "a"]]
        .into_iter()
        .map(|keys| {
            let cache = hooked.cache(&clock).with_schema(2).with_timeout(60 * SECOND);
            thread::spawn(move || {
                cache.entries(keys).get_or_load_many(|missing| {
                    Ok::<_, Error>(
                        missing.iter().map(|key| (key.to_string(), 1)).collect::<Vec<_>>(),
                    )
                })
            })
        })
        .collect();
    for load in loads {
        // Each may fail to get the other's, but not wait until the end.
        let _ = load.join().unwrap();
    }
    assert!(started.elapsed() < 30 * SECOND, "{:?}", started.elapsed());
}

/// The claim of one key fails; the other's right was given.
#[test]
fn a_batch_whose_claim_fails_gives_back_what_it_got() {
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    hooked.before_reads(|key, want| {
        let claims = matches!(want.lease, Ask::Own { .. });
        (claims && key == "bad").then(|| Error::new(ErrorKind::Timeout, "one node"))
    });
    let strict = Cache::builder(hooked.clone()).clock(&clock).strict().build().unwrap();
    let failed = strict
        .entries(["good", "bad"])
        .get_or_load_many(|_| Ok::<_, Error>([]) as Result<[(String, u8); 0]>);
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Timeout);
    let other = hooked.cache(&clock).with_timeout(60 * SECOND);
    let started = Instant::now();
    assert_eq!(other.get_or_compute("good", || 1).unwrap(), 1);
    assert!(
        started.elapsed() < 30 * SECOND,
        "nobody loads it, yet it took {:?}",
        started.elapsed()
    );
    assert!(other.exists("good").unwrap(), "and it is stored");
}

#[test]
fn a_batch_does_not_pay_for_each_key_when_the_cache_goes_down_before_the_fill() {
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    let cache = hooked.cache(&clock);
    let keys: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let down = hooked.down.clone();
    let mut started = Instant::now();
    let values = cache.entries(keys).get_or_load_many(|missing| {
        down.store(true, Ordering::SeqCst);
        started = Instant::now();
        Ok::<_, Error>(missing.iter().map(|key| (key.to_string(), 1)).collect::<Vec<_>>())
    });
    assert_eq!(values.unwrap().unwrap().len(), 50);
    let writes = hooked.writes.load(Ordering::SeqCst);
    assert!(writes <= 2, "{writes} writes to a dead server in {:?}", started.elapsed());
}

#[test]
fn a_batch_does_not_pay_for_each_key_when_its_loader_fails() {
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    let cache = hooked.cache(&clock);
    let keys: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let failed = cache.entries(keys).get_or_load_many(|_| Err::<Vec<(String, u8)>, _>("no"));
    assert_eq!(failed.unwrap().unwrap_err(), "no");
    let writes = hooked.writes.load(Ordering::SeqCst);
    assert!(writes <= 2, "{writes} round trips");
}

#[test]
fn one_key_does_not_fill_the_queue_of_refreshes() {
    let clock = ManualClock::new();
    let memory = Memory::builder().clock(&clock).build().unwrap();
    let cache = Cache::builder(memory)
        .clock(&clock)
        .loader_threads(1)
        .loader_queue(8)
        .freshness(Freshness::new().ttl(SECOND).stale_for(1000 * SECOND))
        .build()
        .unwrap();
    for key in ["busy", "hot", "cold"] {
        cache.set(key, &0).unwrap();
    }
    clock.advance(2 * SECOND);
    let (go, gone) = channel::<()>();
    let gone = Mutex::new(gone);
    let loader = cache.loader(move |key| {
        if key == "busy" {
            gone.lock().unwrap().recv().unwrap();
        }
        Ok::<_, Error>(1)
    });
    assert_eq!(loader.get("busy").unwrap().unwrap(), 0);
    for _ in 0..20 {
        assert_eq!(loader.get("hot").unwrap().unwrap(), 0);
    }
    assert_eq!(loader.get("cold").unwrap().unwrap(), 0);
    let stats = cache.stats();
    go.send(()).unwrap();
    assert!(cache.drain(60 * SECOND));
    assert_eq!((stats.refreshes, stats.refreshes_dropped), (3, 0));
    assert_eq!(cache.get("cold").unwrap(), Some(1));
}

#[test]
fn refresh_says_that_one_is_under_way() {
    let clock = ManualClock::new();
    let cache = Cache::builder(Memory::builder().clock(&clock).build().unwrap())
        .clock(&clock)
        .loader_threads(1)
        .build()
        .unwrap();
    let (go, gone) = channel::<()>();
    let gone = Mutex::new(gone);
    let loader = cache.loader(move |key| {
        if key == "busy" {
            gone.lock().unwrap().recv().unwrap();
        }
        Ok::<_, Error>(1)
    });
    assert!(loader.refresh("busy").unwrap());
    assert!(loader.refresh("k").unwrap());
    let again = loader.refresh("k").unwrap();
    go.send(()).unwrap();
    assert!(cache.drain(60 * SECOND));
    assert!(!again, "it waits for a thread already");
}

/// A value was there when the caller came and was deleted before it had the right to load.
#[test]
fn a_value_deleted_before_the_load_began_is_not_its_previous_one() {
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    let cache = hooked.cache(&clock);
    let fresh = Freshness::new().ttl(SECOND).stale_for(1000 * SECOND);
    cache.entry("k").freshness(fresh).set("old").unwrap();
    clock.advance(2 * SECOND);
    let (other, calls) = (hooked.cache(&clock), AtomicUsize::new(0));
    let memory = hooked.memory.clone();
    drop(other);
    hooked.before_reads(move |_, want| {
        // The caller has looked, and asked once: before it asks again another process deletes the key.
        if matches!(want.lease, Ask::Own { .. }) && calls.fetch_add(1, Ordering::SeqCst) == 1 {
            let other = Cache::builder(memory.clone()).build().unwrap();
            assert!(!other.delete("k").unwrap(), "stale, but there");
        }
        None
    });
    // This caller takes no stale values: it asks for the right twice.
    let mut seen = None;
    let loaded = cache.entry("k").load_with(|load| {
        seen = load.previous::<String>();
        Ok::<_, Error>(match &seen {
            Some(_) => Loaded::NotModified,
            None => Loaded::Value("new".to_owned()),
        })
    });
    assert_eq!(seen, None, "the load began after the delete");
    assert_eq!(loaded.unwrap().unwrap().as_deref(), Some("new"));
    assert_eq!(cache.get::<String>("k").unwrap().as_deref(), Some("new"));
}

#[test]
fn what_a_batch_loader_leaves_out_is_none_even_if_a_stale_value_is_there() {
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    let cache = hooked.cache(&clock);
    let fresh = Freshness::new().ttl(SECOND).stale_for(1000 * SECOND);
    cache.entry("gone").freshness(fresh).set("old").unwrap();
    clock.advance(2 * SECOND);
    let values = cache
        .entries(["gone"])
        .freshness(fresh)
        .get_or_load_many(|_| Ok::<_, Error>([]) as Result<[(String, String); 0]>);
    assert_eq!(values.unwrap().unwrap(), [None]);
}

#[test]
fn a_key_asked_for_twice_has_one_value() {
    let clock = ManualClock::new();
    let cache = Hooked::new(&clock).cache(&clock);
    let past = Ttl::At(clock.wall() - SECOND);
    let values = cache
        .entries(["a", "a"])
        .ttl(past)
        .get_or_load_many(|_| Ok::<_, Error>([("a".to_owned(), 1)]));
    assert_eq!(values.unwrap().unwrap(), [Some(1), Some(1)]);
}

#[test]
fn with_the_longest_soft_limit_a_stale_value_is_served_only_if_the_loader_fails() {
    let clock = ManualClock::new();
    let cache = Hooked::new(&clock).cache(&clock);
    let fresh = Freshness::new().ttl(SECOND).stale_for(1000 * SECOND);
    cache.entry("k").freshness(fresh).set(&0).unwrap();
    clock.advance(2 * SECOND);
    let (tell, told) = channel::<()>();
    let tell = Mutex::new(tell);
    let loader = cache
        .loader(move |_| {
            tell.lock().unwrap().send(()).unwrap();
            thread::sleep(SECOND / 5);
            Ok::<_, Error>(1)
        })
        .freshness(fresh)
        .soft_limit(Duration::MAX);
    let first = loader.clone();
    let first = thread::spawn(move || first.get("k").unwrap().unwrap());
    told.recv().unwrap();
    assert_eq!(loader.get("k").unwrap().unwrap(), 1, "the loader did not fail");
    assert_eq!(first.join().unwrap(), 1);
}

/// A loader that needs another of the same cache.
#[test]
fn loaders_with_limits_may_need_each_other() {
    let cache =
        Cache::builder(Memory::builder().build().unwrap()).loader_threads(1).build().unwrap();
    let inner = cache.namespace("inner").loader(|_| Ok::<_, Error>(1)).hard_limit(20 * SECOND);
    let outer = cache
        .namespace("outer")
        .loader(move |key| inner.get(key).and_then(|inner| inner))
        .hard_limit(60 * SECOND);
    assert_eq!(outer.get("k").unwrap().unwrap(), 1);
}

/// A source that hangs, and then does not: nobody waits for most of what is queued any more.
#[test]
fn nobody_loads_what_everybody_has_given_up_waiting_for() {
    let cache =
        Cache::builder(Memory::builder().build().unwrap()).loader_threads(1).build().unwrap();
    let (begun, began) = channel();
    let (go, gone) = channel::<()>();
    let (gone, runs) = (Mutex::new(gone), Arc::new(AtomicUsize::new(0)));
    let count = runs.clone();
    let loader = cache.loader(move |key| {
        count.fetch_add(1, Ordering::SeqCst);
        if key == "hangs" {
            begun.send(()).unwrap();
            gone.lock().unwrap().recv().unwrap();
        }
        Ok::<_, Error>(1)
    });
    let hasty = loader.clone().hard_limit(Duration::from_millis(20));
    assert!(loader.refresh("hangs").unwrap());
    began.recv().unwrap();
    assert_eq!(hasty.get("hangs").unwrap_err().kind(), ErrorKind::Timeout);
    for n in 0..20 {
        assert_eq!(hasty.get(n.to_string()).unwrap_err().kind(), ErrorKind::Timeout);
    }
    go.send(()).unwrap();
    assert!(cache.drain(60 * SECOND));
    assert_eq!(runs.load(Ordering::SeqCst), 1, "the others had gone before it began");
}

/// A value of the user's that panics while it is read must not keep its key from others.
#[test]
fn a_panic_while_reading_in_a_claim_gives_the_right_back() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    thread_local!(static PANICS: std::cell::Cell<u32> = const { std::cell::Cell::new(u32::MAX) });
    #[derive(Debug, serde::Serialize)]
    struct Picky(u32);
    impl<'de> serde::Deserialize<'de> for Picky {
        fn deserialize<D: serde::Deserializer<'de>>(
            from: D,
        ) -> std::result::Result<Self, D::Error> {
            let left = PANICS.get();
            PANICS.set(left.saturating_sub(1));
            assert!(left != 0, "picky");
            u32::deserialize(from).map(Picky)
        }
    }
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    let cache = hooked.cache(&clock);
    let fresh = Freshness::new().ttl(SECOND).stale_for(1000 * SECOND);
    cache.entry("k").freshness(fresh).set(&1u32).unwrap();
    clock.advance(2 * SECOND);
    PANICS.set(1); // the first look is fine, the claim is not
    let load = || cache.entry("k").freshness(fresh).get_or_compute(|| Picky(2));
    assert!(catch_unwind(AssertUnwindSafe(load)).is_err());
    PANICS.set(u32::MAX);
    let mut ran = false;
    let value = cache.entry("k").freshness(fresh).get_or_compute(|| {
        ran = true;
        2u32
    });
    assert_eq!((value.unwrap(), ran), (2, true), "nobody loads it");
}

#[test]
fn a_hard_limit_counts_the_wait_for_another_load() {
    let cache = Cache::memory(100);
    let limit = 2 * SECOND;
    let (go, gone) = channel::<()>();
    let gone = Mutex::new(gone);
    let loader = cache.loader(move |_| {
        let _ = gone.lock().unwrap().recv();
        Ok::<_, Error>(1)
    });
    let loader = loader.hard_limit(limit);
    let (begun, began) = channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            cache.get_or_compute("k", || {
                begun.send(()).unwrap();
                thread::sleep(limit * 9 / 10);
                cache.delete("k").unwrap();
                1
            })
        });
        began.recv().unwrap();
        let started = Instant::now();
        assert_eq!(loader.get("k").unwrap_err().kind(), ErrorKind::Timeout);
        // Not counted, it would come on top.
        assert!(started.elapsed() < limit * 7 / 4, "{:?}", started.elapsed());
        go.send(()).unwrap();
    });
}

/// Once a read failed the cache is not asked again in the call, even if the load that was joined came
/// to nothing.
#[test]
fn who_joins_in_an_outage_does_not_pay_twice() {
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    let cache = hooked.cache(&clock);
    hooked.down.store(true, Ordering::SeqCst);
    let (begun, began) = channel();
    let (go, gone) = channel::<()>();
    thread::scope(|scope| {
        let leader = cache.clone();
        scope.spawn(move || {
            leader.entry("k").load_with(|_| {
                begun.send(()).unwrap();
                gone.recv().unwrap();
                let _ = leader.delete("k");
                Ok::<_, Error>(Loaded::Value(1))
            })
        });
        began.recv().unwrap();
        let joiner = cache.clone();
        let (tell, told) = channel();
        let joins = scope.spawn(move || {
            tell.send(this_thread()).unwrap();
            joiner.get_or_compute("k", || 2)
        });
        wait_until("it has asked", || cache.stats().misses.down == 2);
        wait_until_asleep(&told.recv().unwrap());
        let before = hooked.reads.load(Ordering::SeqCst);
        go.send(()).unwrap();
        assert_eq!(joins.join().unwrap().unwrap(), 2);
        assert_eq!(hooked.reads.load(Ordering::SeqCst), before);
    });
}

/// To look and to claim are two questions, and one call.
#[test]
fn the_questions_of_a_load_share_its_deadline() {
    let slow = Duration::from_millis(200);
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    let cache = hooked.cache(&clock);
    hooked.before_reads(move |_, _| {
        thread::sleep(slow);
        None
    });
    let asks = |ask: &dyn Fn()| {
        hooked.given.lock().unwrap().clear();
        ask();
        let given = hooked.given.lock().unwrap().clone();
        assert_eq!(given.len(), 2);
        assert!(given[0].unwrap() <= SECOND && given[1].unwrap() <= SECOND - slow, "{given:?}");
    };
    let entry = |key| cache.entry(key).timeout(SECOND);
    asks(&|| assert_eq!(entry("a").get_or_compute(|| 1).unwrap(), 1));
    asks(&|| _ = entry("b").load_with(|_| Ok::<_, Error>(Loaded::Value(1))).unwrap().unwrap());
    asks(&|| _ = entry("c").begin::<u8>().unwrap());
    asks(&|| {
        let load = |_: &[&String]| Ok::<_, Error>([("d".to_owned(), 1)]);
        cache.entries(["d"]).timeout(SECOND).get_or_load_many(load).unwrap().unwrap();
    });
}

/// A batch that has nothing to load itself has no time beside it.
#[test]
fn a_batch_that_waits_for_others_waits_within_the_same_deadline() {
    let slow = Duration::from_millis(200);
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    let (cache, other) = (hooked.cache(&clock), hooked.cache(&clock));
    let Begun::Slot(slot) = other.entry("k").begin::<u8>().unwrap() else { unreachable!() };
    hooked.before_reads(move |_, _| {
        thread::sleep(slow);
        None
    });
    hooked.given.lock().unwrap().clear();
    let nothing = |_: &[&String]| -> Result<[(String, u8); 0]> { unreachable!("another loads it") };
    let waits = cache.entries(["k"]).timeout(SECOND).get_or_load_many(nothing);
    assert_eq!(waits.unwrap_err().kind(), ErrorKind::Timeout);
    let given = hooked.given.lock().unwrap().clone();
    // To look, to claim, and to see what has become of it.
    assert!(given.len() > 2 && given[2].unwrap() <= SECOND - 2 * slow, "{given:?}");
    assert!(slot.set(&1).unwrap());
}

/// What a hung cache takes of a caller's time it does not take of the loader's.
#[test]
fn a_hard_limit_over_a_hung_cache_is_the_loaders() {
    let clock = ManualClock::new();
    let hooked = Hooked::new(&clock);
    let cache = hooked.cache(&clock);
    hooked.down.store(true, Ordering::SeqCst);
    let limit = Duration::from_millis(50);
    let quick = cache.loader(|_| Ok::<_, Error>(1)).hard_limit(limit);
    assert_eq!(quick.get("k").unwrap().unwrap(), 1, "a cache that is down fails no load");
    let slow = |_: &str| {
        thread::sleep(SECOND);
        Ok::<_, Error>(1)
    };
    let late = cache.loader(slow).hard_limit(limit).get("l").unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout);
}

/// What is left half done tends to be shown in logs.
#[test]
fn a_slot_and_a_load_show_themselves_and_no_others() {
    let cache = Cache::memory(10);
    let other = cache.entry("other").begin::<u8>().unwrap();
    let slot = cache.entry("k").begin::<u8>().unwrap();
    let shown = format!("{slot:?}");
    assert!(shown.contains("\"k\"") && !shown.contains("other"), "{shown}");
    assert!(shown.len() < 2_000, "{} bytes", shown.len());
    let loaded =
        cache.entry("l").load_with(|load| Ok::<_, Error>(Loaded::Value(format!("{load:?}"))));
    let shown = loaded.unwrap().unwrap().unwrap();
    assert!(shown.contains("\"l\"") && !shown.contains("other"), "{shown}");
    drop(other);
}

/// Dates and durations at the ends of their ranges.
#[test]
fn the_longest_durations_are_no_trouble() {
    let cache = Cache::memory(100);
    let fresh = Freshness::new()
        .ttl(Duration::MAX)
        .stale_for(Duration::MAX)
        .retry_after(Duration::MAX)
        .jitter(Duration::MAX)
        .sliding(Duration::MAX)
        .refresh_at(1.0);
    for _ in 0..1000 {
        cache.entry("k").freshness(fresh).lease(Duration::MAX).set(&1).unwrap();
        let load = |_: &mut yokedcache::Load<'_>| Ok::<_, Error>(Loaded::Value(1));
        cache
            .entry("k")
            .freshness(fresh)
            .lease(Duration::MAX)
            .timeout(Duration::MAX)
            .load_with(load)
            .unwrap()
            .unwrap();
    }
    let loader = cache.loader(|_| Ok::<_, Error>(1)).freshness(fresh.refresh_by_chance(f64::MAX));
    let loader = loader.soft_limit(Duration::MAX).hard_limit(Duration::MAX).lease(Duration::MAX);
    assert_eq!(loader.get("l").unwrap().unwrap(), 1);
    assert_eq!(loader.get("l").unwrap().unwrap(), 1);
    assert!(cache.drain(Duration::MAX));
    let guard = cache.lock("x", Duration::MAX).lock_within(Duration::MAX).unwrap();
    assert!(guard.left() > SECOND, "{:?}", guard.left());
}

/// The docs: "Calls of the loader refuse".
#[test]
fn batches_count_what_their_loader_does() {
    let cache = Cache::memory(100);
    let failed = cache
        .entries(["a"])
        .get_or_load_many(|_| Ok::<_, Error>([("a".to_owned(), BTreeMap::from([((1, 2), 3)]))]));
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Encode);
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_errors), (1, 1));
    let failed = cache.get_or_load("b", || Ok::<_, Error>(BTreeMap::from([((1, 2), 3)])));
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Encode);
    assert_eq!(cache.stats().load_errors, 2);
}
