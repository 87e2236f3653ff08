//! When the near tier may be used, and who is told.

use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use yokedcache::backend::{About, Call, Heard, Name, Read, Removed, Scope, Want, Write, Wrote};
use yokedcache::{Backend, Cache, Error, ErrorKind, Memory, Pattern, Result, Tiered};

use crate::far::{LONG, Site, memory};
use crate::support::in_time;

const BOUND: Duration = Duration::from_millis(100);

#[test]
fn it_is_used_for_as_long_as_the_last_word_allows() {
    in_time(|| {
        let site = Site::with_bound(BOUND);
        site.cache.set("k", "old").unwrap();
        assert!(!site.tiers.is_near_on());
        let begun = Instant::now();
        site.far.begin();
        site.get("k");
        // Changed, and the word of it hangs.
        let changed = Instant::now();
        site.other.set("k", "new").unwrap();
        let near = site.get("k");
        if begun.elapsed() >= BOUND {
            return None;
        }
        assert_eq!(near.as_deref(), Some("old"), "it was near");
        thread::sleep((changed + BOUND).saturating_duration_since(Instant::now()));
        assert_eq!(site.get("k").as_deref(), Some("new"));
        assert!(!site.tiers.is_near_on());
        // It was only late: nothing is missing.
        site.far.tell(Heard::Key("p:k"));
        site.far.tell(Heard::Complete(Instant::now()));
        assert_eq!(site.get("k").as_deref(), Some("new"));
        assert_eq!(site.told.all(), ["on"]);
        Some(())
    });
}

#[test]
fn a_sign_counts_from_when_it_was_sent() {
    let site = Site::with_bound(BOUND);
    site.far.begin();
    site.far.tell(Heard::Complete(Instant::now() - BOUND));
    assert!(!site.tiers.is_near_on());
}

#[test]
fn each_change_of_use_is_told_once() {
    let site = Site::with_bound(LONG);
    site.far.lose();
    site.far.lose();
    assert_eq!(site.told.all(), ["off"], "it does not come on");
    site.far.begin();
    site.far.tell(Heard::Complete(Instant::now()));
    assert_eq!(site.told.all(), ["off", "on"]);
    site.far.lose();
    site.far.lose();
    assert!(!site.tiers.is_near_on());
    assert_eq!(site.told.all(), ["off", "on", "off"]);
    site.far.begin();
    assert!(site.tiers.is_near_on());
    assert_eq!(site.told.all(), ["off", "on", "off", "on"]);
}

#[test]
fn where_nothing_can_be_heard_entries_stay_for_near_ttl() {
    let site = Site::new();
    let error = Error::new(ErrorKind::Denied, "for a test");
    site.far.tell(Heard::Unable(error));
    assert!(site.tiers.is_near_on());
    assert_eq!(site.cache.backend().about().can.lag, Duration::from_secs(1));
    site.cache.set("k", "old").unwrap();
    let (near_ttl, slack) = (Duration::from_secs(1), Duration::from_millis(50));
    let asked = Instant::now();
    site.get("k");
    let filled = Instant::now();
    site.other.set("k", "new").unwrap();
    loop {
        // What counts is when a read began: it may take long on a busy machine.
        let began = Instant::now();
        if site.get("k").as_deref() != Some("old") {
            break;
        }
        assert!(began < filled + near_ttl + slack, "{:?} after", began - filled);
        thread::sleep(Duration::from_millis(5));
    }
    assert!(asked.elapsed() > near_ttl - slack, "{:?}", asked.elapsed());
}

/// The time near begins when the far tier may have answered, not when the answer was looked at.
#[test]
fn an_answer_that_was_long_under_way_stays_near_for_less() {
    let site = Site::new();
    site.far.tell(Heard::Unable(Error::new(ErrorKind::Denied, "for a test")));
    site.cache.set("k", "old").unwrap();
    let changed = site.meanwhile("k", || {
        site.other.set("k", "new").unwrap();
        thread::sleep(Duration::from_millis(1001));
    });
    assert_eq!(changed.as_deref(), Some("old"));
    assert_eq!(site.get("k").as_deref(), Some("new"));
}

#[test]
fn without_hearing_it_is_empty() {
    let site = Site::new();
    site.cache.set("k", "v").unwrap();
    site.get("k");
    let near = || site.tiers.stats(Call::Unlimited).children[0].1.entries;
    assert_eq!(near(), Some(1));
    site.far.lose();
    assert_eq!(near(), Some(0));
}

#[test]
fn a_closed_one_serves_nothing_from_near() {
    let site = Site::new();
    site.cache.set("k", "v").unwrap();
    site.get("k");
    site.cache.close();
    assert!(!site.tiers.is_near_on());
    let reads = site.reads();
    assert_eq!(site.get("k").as_deref(), Some("v"));
    assert_eq!(site.reads(), reads + 1);
}

/// A far tier may take the entries out of what it is given.
#[test]
fn a_strict_write_of_a_value_waits_for_nobody() {
    let far = memory();
    let tiers = Tiered::builder(memory(), far).strict().build().unwrap();
    let cache = Cache::builder(tiers).timeout(Duration::from_millis(900)).strict().build().unwrap();
    assert!(cache.set("k", "v").unwrap());
    assert_eq!(cache.delete("k").unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(cache.get::<String>("k").unwrap(), None, "it did its work");
}

/// Takes its time to walk over its keys.
#[derive(Debug)]
struct Slow(Memory);

impl Backend for Slow {
    fn about(&self) -> About {
        self.0.about()
    }
    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        self.0.read(call, keys, want, out)
    }
    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        self.0.write(call, writes, out)
    }
    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        thread::sleep(Duration::from_millis(200));
        self.0.invalidate(call, what)
    }
    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.0.scan(call, what, page)
    }
}

/// A pattern has its time for each page, and the wait comes after the last.
#[test]
fn a_strict_pattern_waits_beside_its_pages() {
    let far = Slow(memory());
    let tiers = Tiered::builder(memory(), far).near_ttl(Duration::from_millis(300)).strict();
    let cache = Cache::builder(tiers.build().unwrap()).timeout(Duration::from_millis(400));
    cache.build().unwrap().invalidate_pattern("*").unwrap();
}

#[test]
fn settings_out_of_range_are_refused() {
    let builder = || Tiered::builder(memory(), memory());
    let ms = Duration::from_millis;
    for wrong in
        [builder().bound(ms(9)), builder().bound(ms(60_001)), builder().near_ttl(Duration::ZERO)]
    {
        assert_eq!(wrong.build().unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    builder().bound(ms(10)).near_ttl(ms(1)).build().unwrap();
}

/// Its life, too, is told as of then.
#[test]
fn an_answer_that_was_long_under_way_ends_no_later() {
    in_time(|| {
        let site = Site::new();
        let life = Duration::from_millis(800);
        let began = Instant::now();
        site.cache.entry("k").ttl(life).set("v").unwrap();
        let written = Instant::now();
        let read = site.meanwhile("k", || thread::sleep(life / 2));
        let reads = site.reads();
        let again = site.get("k");
        if began.elapsed() >= life {
            return None;
        }
        assert!(read.is_some() && again.is_some());
        assert_eq!(site.reads(), reads, "it is near");
        thread::sleep((written + life).saturating_duration_since(Instant::now()));
        assert_eq!(site.get("k"), None);
        Some(())
    });
}
