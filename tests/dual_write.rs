//! Migrations: each mode, each change of the mode, and the interleavings that would leave something
//! old behind.

mod dual_write {
    pub mod gated;
    pub mod told;
}

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dual_write::gated::{At, Gated, LONG, SHORT};
use dual_write::told::Told;
use parking_lot::Mutex;
use yokedcache::backend::{Ask, Call, Grant, Name, Over, Read, Tags, Want};
use yokedcache::{
    Backend, Cache, Divergence, DualMode, DualWrite, ErrorKind, Event, Fallback, ManualClock,
    Memory, Ttl,
};

const COMPARE: DualMode = DualMode::Compare { part: 1.0 };
const TWO_SIDED: [DualMode; 3] = [DualMode::ReadOld, COMPARE, DualMode::ReadNew];
const ALL: [DualMode; 5] =
    [DualMode::ReadOld, COMPARE, DualMode::ReadNew, DualMode::NewOnly, DualMode::OldOnly];

/// A cache over a pair, and caches over each side alone.
struct Site {
    old: Gated,
    new: Gated,
    both: DualWrite,
    cache: Cache,
}

impl Site {
    fn new(mode: DualMode) -> Self {
        let (old, new) = (Gated::new(), Gated::new());
        let both = DualWrite::new(old.clone(), new.clone());
        both.set_mode(mode).unwrap();
        let cache = over(both.clone());
        Self { old, new, both, cache }
    }

    fn old(&self) -> Cache {
        over(self.old.clone())
    }

    fn new_side(&self) -> Cache {
        over(self.new.clone())
    }

    /// Neither side has another value than the other.
    fn agree(&self) {
        let (old, new) = (self.old(), self.new_side());
        let keys = old.keys("*").unwrap();
        assert!(!keys.is_empty());
        for key in keys {
            let (old, new) = (old.get::<u64>(&key).unwrap(), new.get::<u64>(&key).unwrap());
            assert!(old == new || old.is_none() || new.is_none(), "{key}: {old:?} {new:?}");
        }
    }

    fn sides(&self) -> (Option<u64>, Option<u64>) {
        (self.old().get("k").unwrap(), self.new_side().get("k").unwrap())
    }
}

fn over(backend: impl Backend) -> Cache {
    Cache::builder(backend).strict().build().unwrap()
}

#[test]
fn both_sides_are_written_and_removed_from_in_every_mode_of_two() {
    for mode in TWO_SIDED {
        let site = Site::new(mode);
        site.cache.set("k", &1u64).unwrap();
        assert_eq!(site.sides(), (Some(1), Some(1)), "{mode:?}");
        assert!(site.cache.delete("k").unwrap());
        assert_eq!(site.sides(), (None, None), "{mode:?}");
        site.cache.entry("k").tags(["t"]).get_or_load(|| Ok::<_, String>(2u64)).unwrap().unwrap();
        assert_eq!(site.sides(), (Some(2), Some(2)), "{mode:?}");
        site.cache.invalidate_tags(["t"]).unwrap();
        assert_eq!(site.sides(), (None, None), "{mode:?}");
    }
}

#[test]
fn one_side_is_left_alone_in_a_mode_of_the_other() {
    let site = Site::new(DualMode::OldOnly);
    site.cache.set("k", &1u64).unwrap();
    assert_eq!(site.sides(), (Some(1), None));
    let site = Site::new(DualMode::NewOnly);
    site.cache.set("k", &1u64).unwrap();
    assert_eq!(site.sides(), (None, Some(1)));
}

#[test]
fn the_new_side_is_filled_from_the_old_with_tags_and_the_time_left() {
    let clock = ManualClock::new();
    let memory = || Memory::builder().max_size(100).clock(&clock).build().unwrap();
    let both = DualWrite::new(memory(), memory());
    let cache = Cache::builder(both.clone()).clock(&clock).build().unwrap();
    both.set_mode(DualMode::OldOnly).unwrap();
    cache.entry("k").ttl(Duration::from_secs(100)).tags(["t"]).set(&1).unwrap();
    cache.entry("gone").tags(["t"]).set(&1).unwrap();
    clock.advance(Duration::from_secs(40));
    both.set_mode(DualMode::ReadNew).unwrap();
    assert_eq!(cache.get::<i32>("k").unwrap(), Some(1));
    both.set_mode(DualMode::NewOnly).unwrap();
    assert_eq!(cache.ttl("k").unwrap(), Some(Ttl::After(Duration::from_secs(60))));
    assert_eq!(cache.get::<i32>("gone").unwrap(), None, "nobody read it in time");
    assert_eq!(cache.invalidate_tags(["t"]).unwrap().entries, Some(1));
    assert_eq!(cache.get::<i32>("k").unwrap(), None);
}

#[test]
fn conditions_are_decided_by_what_either_side_has() {
    let site = Site::new(DualMode::OldOnly);
    for key in ["a", "b", "c", "d", "e"] {
        site.cache.set(key, &1u64).unwrap();
    }
    site.both.set_mode(DualMode::ReadNew).unwrap();
    assert!(!site.cache.add("a", &2u64).unwrap());
    assert_eq!(site.old().get::<u64>("a").unwrap(), Some(1), "what is refused costs nothing");
    assert!(site.cache.replace("b", &2u64).unwrap());
    assert_eq!(site.cache.increment("c", 1).unwrap(), 2);
    assert!(site.cache.expire("d", Duration::from_secs(9)).unwrap());
    let (value, version) = site.cache.get_versioned::<u64>("e").unwrap().unwrap();
    assert!(site.cache.entry("e").swap(version, &(value + 1)).unwrap());
    assert_eq!(site.new_side().get::<u64>("e").unwrap(), Some(2));
}

#[test]
fn divergence_is_counted_by_kind() {
    let site = Site::new(COMPARE);
    for key in ["same", "only-old", "only-new", "different"] {
        site.cache.set(key, &1u64).unwrap();
    }
    site.new_side().delete("only-old").unwrap();
    site.old().delete("only-new").unwrap();
    site.new_side().set("different", &2u64).unwrap();
    for key in ["same", "only-old", "only-new", "different", "nowhere"] {
        site.cache.get::<u64>(key).unwrap();
    }
    let counted = site.both.divergence();
    let Divergence { same, missing_in_new, missing_in_old, different, .. } = counted;
    assert_eq!((same, missing_in_new, missing_in_old, different), (2, 1, 1, 1));
}

#[test]
fn a_write_under_way_is_no_difference() {
    let site = Site::new(COMPARE);
    let put = site.new.stop(At::BeforePut);
    thread::scope(|scope| {
        let set = scope.spawn(|| site.cache.set("k", &1u64).unwrap());
        put.wait();
        let seen = site.new.stop(At::AfterRead);
        let read = scope.spawn(|| site.cache.get::<u64>("k").unwrap());
        seen.wait();
        put.open();
        set.join().unwrap();
        seen.open();
        assert_eq!(read.join().unwrap(), Some(1));
    });
    let Divergence { same, missing_in_new, .. } = site.both.divergence();
    assert_eq!((same, missing_in_new), (1, 0));
}

#[test]
fn a_part_of_the_reads_is_compared() {
    let site = Site::new(DualMode::Compare { part: 0.25 });
    for _ in 0..2_000 {
        site.cache.get::<u64>("k").unwrap();
    }
    let compared = site.both.divergence().same;
    assert!((350..650).contains(&compared), "{compared}");
    for part in [-0.1, 1.1, f64::NAN] {
        let refused = site.both.set_mode(DualMode::Compare { part }).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn no_step_loses_anything_until_the_last() {
    for mode in TWO_SIDED {
        for back in [DualMode::ReadOld, DualMode::OldOnly] {
            let site = Site::new(DualMode::OldOnly);
            site.cache.set("before", &1).unwrap();
            site.both.set_mode(mode).unwrap();
            site.cache.set("during", &2).unwrap();
            site.both.set_mode(back).unwrap();
            assert_eq!(site.cache.get::<i32>("before").unwrap(), Some(1), "{mode:?}");
            assert_eq!(site.cache.get::<i32>("during").unwrap(), Some(2), "{mode:?}");
        }
    }
}

#[test]
fn a_side_that_missed_invalidations_is_cleared() {
    for (alone, then) in
        [(DualMode::OldOnly, DualMode::NewOnly), (DualMode::NewOnly, DualMode::OldOnly)]
    {
        for over in [then, DualMode::ReadOld, DualMode::ReadNew] {
            let site = Site::new(DualMode::ReadOld);
            site.cache.set("k", &1).unwrap();
            site.both.set_mode(alone).unwrap();
            site.cache.delete("k").unwrap();
            site.both.set_mode(over).unwrap();
            assert_eq!(site.cache.get::<i32>("k").unwrap(), None, "{alone:?} {over:?}");
            site.both.set_mode(then).unwrap();
            assert_eq!(site.cache.get::<i32>("k").unwrap(), None, "{alone:?} {over:?}");
        }
    }
}

/// Nor was it brought into step where both the change and the way back failed.
#[test]
fn a_side_that_could_not_be_cleared_is_cleared_by_the_next_change() {
    let site = Site::new(DualMode::ReadOld);
    site.cache.set("k", &1).unwrap();
    site.both.set_mode(DualMode::OldOnly).unwrap();
    site.cache.delete("k").unwrap();
    thread::scope(|scope| {
        site.new.fail(true);
        let (clears, reads) = (site.new.stop(At::BeforeInvalidate), site.old.stop(At::AfterRead));
        let changing = scope.spawn(|| site.both.set_mode(DualMode::ReadNew));
        clears.wait();
        // Under way for so long that the way back is given up.
        scope.spawn(|| site.cache.get::<u64>("k").unwrap());
        reads.wait();
        clears.open();
        changing.join().unwrap().unwrap_err();
        reads.open();
    });
    site.new.fail(false);
    assert_eq!(site.both.mode(), DualMode::OldOnly);
    site.both.set_mode(DualMode::ReadNew).unwrap();
    assert_eq!(site.cache.get::<u64>("k").unwrap(), None);
}

#[test]
fn a_copy_that_a_removal_overtakes_is_not_kept() {
    let site = Site::new(DualMode::ReadNew);
    site.old().set("k", &1u64).unwrap();
    // The removal has passed the new side once, and not yet the old one.
    let removal = site.old.stop(At::BeforeRemove);
    let fill = site.new.stop(At::BeforePut);
    thread::scope(|scope| {
        let delete = scope.spawn(|| site.cache.delete("k").unwrap());
        removal.wait();
        let read = scope.spawn(|| site.cache.get::<u64>("k").unwrap());
        fill.wait();
        removal.open();
        assert!(delete.join().unwrap());
        fill.open();
        read.join().unwrap();
    });
    assert_eq!(site.cache.get::<u64>("k").unwrap(), None);
    assert_eq!(site.sides(), (None, None));
}

#[test]
fn a_copy_that_an_invalidation_overtakes_is_not_kept() {
    let site = Site::new(DualMode::ReadNew);
    site.old().set("k", &1u64).unwrap();
    let passed = site.new.stop(At::AfterInvalidate);
    let fill = site.new.stop(At::BeforePut);
    thread::scope(|scope| {
        let invalidation = scope.spawn(|| site.cache.invalidate_pattern("*").unwrap());
        passed.wait();
        let read = scope.spawn(|| site.cache.get::<u64>("k").unwrap());
        fill.wait();
        passed.open();
        invalidation.join().unwrap();
        fill.open();
        read.join().unwrap();
    });
    assert_eq!(site.cache.get::<u64>("k").unwrap(), None);
    assert_eq!(site.sides(), (None, None));
}

#[test]
fn a_copy_whose_tag_is_invalidated_is_not_kept() {
    let site = Site::new(DualMode::ReadNew);
    site.old().entry("k").tags(["t"]).set(&1u64).unwrap();
    let fill = site.new.stop(At::BeforePut);
    thread::scope(|scope| {
        let read = scope.spawn(|| site.cache.get::<u64>("k").unwrap());
        fill.wait();
        site.cache.invalidate_tags(["t"]).unwrap();
        fill.open();
        read.join().unwrap();
    });
    assert_eq!(site.cache.get::<u64>("k").unwrap(), None);
    assert_eq!(site.sides(), (None, None));
}

#[test]
fn who_cannot_copy_because_another_does_is_answered_all_the_same() {
    let site = Site::new(DualMode::ReadNew);
    site.old().set("k", &1u64).unwrap();
    let fill = site.new.stop(At::BeforePut);
    thread::scope(|scope| {
        let read = scope.spawn(|| site.cache.get::<u64>("k").unwrap());
        fill.wait();
        assert_eq!(site.cache.get::<u64>("k").unwrap(), Some(1));
        let add = scope.spawn(|| site.cache.add("k", &2u64).unwrap());
        thread::sleep(SHORT);
        fill.open();
        assert_eq!(read.join().unwrap(), Some(1));
        assert!(!add.join().unwrap(), "it waited for what the new side was about to have");
    });
}

#[test]
fn a_load_that_a_removal_overtakes_is_left_on_neither_side() {
    for mode in TWO_SIDED {
        let site = Site::new(mode);
        // No flight of the same cache tells the load that it was overtaken.
        let other = over(site.both.clone());
        // The removal has passed the old side.
        let removal = site.old.stop(At::AfterRemove);
        thread::scope(|scope| {
            let mut delete = None;
            let load = site.cache.get_or_load("k", || {
                delete = Some(scope.spawn(|| other.delete("k").unwrap()));
                removal.wait();
                Ok::<_, String>(1u64)
            });
            assert_eq!(load.unwrap().unwrap(), 1, "the caller has its value");
            removal.open();
            delete.unwrap().join().unwrap();
        });
        assert_eq!(site.sides(), (None, None), "{mode:?}");
        assert_eq!(site.cache.get::<u64>("k").unwrap(), None, "{mode:?}");
    }
}

#[test]
fn a_load_that_an_invalidation_overtakes_is_left_on_neither_side() {
    for mode in TWO_SIDED {
        let site = Site::new(mode);
        let other = over(site.both.clone());
        let passed = site.old.stop(At::AfterInvalidate);
        thread::scope(|scope| {
            let mut invalidation = None;
            let load = site.cache.entry("k").tags(["t"]).get_or_load(|| {
                invalidation = Some(scope.spawn(|| other.invalidate_tags(["t"]).unwrap()));
                passed.wait();
                Ok::<_, String>(1u64)
            });
            assert_eq!(load.unwrap().unwrap(), 1);
            passed.open();
            invalidation.unwrap().join().unwrap();
        });
        assert_eq!(site.sides(), (None, None), "{mode:?}");
        assert_eq!(site.cache.get::<u64>("k").unwrap(), None, "{mode:?}");
    }
}

#[test]
fn writers_that_cross_leave_the_later_value_or_none_at_the_follower() {
    for mode in TWO_SIDED {
        let site = Site::new(mode);
        let follower = if mode == DualMode::ReadNew { &site.old } else { &site.new };
        let first = follower.stop(At::BeforePut);
        thread::scope(|scope| {
            let one = scope.spawn(|| site.cache.set("k", &1u64).unwrap());
            first.wait();
            assert!(site.cache.set("k", &2u64).unwrap());
            first.open();
            assert!(one.join().unwrap());
        });
        assert_eq!(site.cache.get::<u64>("k").unwrap(), Some(2));
        let (old, new) = site.sides();
        assert!(old.is_none_or(|it| it == 2) && new.is_none_or(|it| it == 2), "{mode:?}");
    }
}

#[test]
fn a_writer_that_comes_late_to_the_leader_leaves_no_other_value_at_the_follower() {
    for mode in TWO_SIDED {
        let site = Site::new(mode);
        let leader = if mode == DualMode::ReadNew { &site.new } else { &site.old };
        let late = leader.stop(At::BeforePut);
        thread::scope(|scope| {
            let one = scope.spawn(|| site.cache.set("k", &1u64).unwrap());
            late.wait();
            assert!(site.cache.set("k", &2u64).unwrap());
            late.open();
            assert!(one.join().unwrap());
        });
        assert_eq!(site.cache.get::<u64>("k").unwrap(), Some(1));
        let (old, new) = site.sides();
        assert!(old.is_none_or(|it| it == 1) && new.is_none_or(|it| it == 1), "{mode:?}");
    }
}

#[test]
fn a_new_side_answers_without_the_old_one() {
    let site = Site::new(DualMode::ReadNew);
    site.cache.set("k", &1u64).unwrap();
    site.old.fail(true);
    assert_eq!(site.cache.get::<u64>("k").unwrap(), Some(1));
    assert_eq!(site.cache.get::<u64>("absent").unwrap(), None);
    let refused = site.cache.add("other", &1u64).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "the old side may have it");
}

#[test]
fn a_follower_that_fails_fails_what_it_may_have_missed_and_nothing_else() {
    for mode in TWO_SIDED {
        let site = Site::new(mode);
        site.cache.set("k", &1u64).unwrap();
        let follower = if mode == DualMode::ReadNew { &site.old } else { &site.new };
        follower.fail(true);
        assert_eq!(site.cache.set("k", &2u64).unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(site.cache.delete("k").unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(site.cache.invalidate_pattern("*").is_err(), "{mode:?}");
        follower.fail(false);
        assert!(site.cache.set("k", &3u64).unwrap());
        assert_eq!(site.sides(), (Some(3), Some(3)));
    }
    let site = Site::new(DualMode::ReadOld);
    site.cache.set("k", &1u64).unwrap();
    site.new.fail(true);
    assert!(!site.cache.add("k", &2u64).unwrap(), "what is refused changes nothing");
    assert_eq!(site.cache.get::<u64>("k").unwrap(), Some(1));
}

#[test]
fn a_change_of_the_mode_waits_for_the_calls_under_way() {
    let site = Site::new(DualMode::ReadOld);
    let (one, other) = (over(site.both.clone()), over(site.both.clone()));
    let added = site.old.stop(At::AfterPut);
    thread::scope(|scope| {
        let first = scope.spawn(|| one.add("lock", &1).unwrap());
        added.wait();
        let change = scope.spawn(|| site.both.set_mode(DualMode::ReadNew).unwrap());
        thread::sleep(SHORT);
        let second = scope.spawn(|| other.add("lock", &2).unwrap());
        thread::sleep(SHORT);
        assert_eq!(site.both.mode(), DualMode::ReadOld);
        added.open();
        change.join().unwrap();
        assert!(first.join().unwrap());
        assert!(!second.join().unwrap(), "a lock that two hold is none");
    });
    assert_eq!(site.cache.get::<i32>("lock").unwrap(), Some(1));
}

/// Who failed at the follower may have left his right to fill behind.
#[test]
fn a_write_that_is_done_does_not_wait_long_to_copy_what_it_changed() {
    let site = Site::new(DualMode::ReadOld);
    site.cache.set("k", &1).unwrap();
    let removed = site.new.stop(At::AfterRemove);
    thread::scope(|scope| {
        let adding = scope.spawn(|| {
            let begun = Instant::now();
            assert_eq!(site.cache.increment("k", 1).unwrap(), 2);
            begun.elapsed()
        });
        removed.wait();
        let lease = Ask::Own { hold: LONG, over: Over::Nothing, tags: &Tags::NONE };
        let (mut want, mut out) = (Want::VALUE, [Read::Unanswered]);
        want.lease = lease;
        site.new.read(Call::Unlimited, &[Name::new("k", 0)], &want, &mut out).unwrap();
        assert!(matches!(out, [Read::Miss(_, Grant::Granted(_))]));
        removed.open();
        let took = adding.join().unwrap();
        assert!(took < LONG / 4, "{took:?}");
    });
}

#[test]
fn a_handler_told_in_the_middle_of_a_change_changes_nothing() {
    let (new, memory) = (Gated::new(), Memory::builder().build().unwrap());
    let fallback = Fallback::builder(new.clone(), memory).journal_limit(1).build().unwrap();
    let both = DualWrite::new(Gated::new(), fallback);
    let (told, theirs) = (Arc::new(Mutex::new(None)), both.clone());
    let tell = told.clone();
    let cache = Cache::builder(both.clone()).on_event(move |event| {
        if let Event::JournalOverflowed { .. } = event {
            *tell.lock() = Some(theirs.set_mode(DualMode::OldOnly).unwrap_err().kind());
        }
    });
    let cache = cache.build().unwrap();
    new.fail(true);
    cache.delete("k").unwrap();
    both.set_mode(DualMode::OldOnly).unwrap();
    both.set_mode(DualMode::ReadOld).unwrap();
    assert_eq!(*told.lock(), Some(ErrorKind::Reentrant));
}

/// One thread's own key: what it did is what it reads.
fn own_key(cache: &Cache, key: &str, round: u64, keeps: bool) {
    let tag = format!("tag-{key}");
    let expect = |value: Option<u64>| {
        let read = cache.get::<u64>(key).unwrap();
        assert!(read == value || (!keeps && read.is_none()), "{key}: {read:?}, not {value:?}");
    };
    assert!(cache.entry(key).tags([&tag]).set(&round).unwrap());
    expect(Some(round));
    match round % 4 {
        0 => drop(cache.delete(key).unwrap()),
        1 => drop(cache.invalidate_tags([&tag]).unwrap()),
        2 => drop(cache.invalidate_pattern(key).unwrap()),
        _ => return expect(Some(round)),
    }
    expect(None);
    let loaded = cache.entry(key).tags([&tag]).get_or_load(|| Ok::<_, String>(round + 1));
    assert_eq!(loaded.unwrap().unwrap(), round + 1);
    let read = cache.get::<u64>(key).unwrap();
    assert!(read.is_none_or(|read| read == round + 1), "{key}: {read:?}");
}

/// Four threads on keys of their own and keys they share, while the mode goes through `modes`.
fn under_load(modes: &[DualMode], rounds: usize, keeps: bool) {
    let site = Site::new(DualMode::ReadOld);
    let (done, told) = (AtomicBool::new(false), [Told::default(), Told::default()]);
    thread::scope(|scope| {
        let (site, done, told) = (&site, &done, &told);
        for thread in 0..4u64 {
            let cache = over(site.both.clone());
            scope.spawn(move || {
                let mut round = 0;
                while !done.load(Ordering::Relaxed) {
                    round += 1;
                    own_key(&cache, &format!("own-{thread}-{}", round % 3), round, keeps);
                    let (at, key) = ((round % 2) as usize, format!("shared-{}", round % 2));
                    if (thread + round / 2).is_multiple_of(2) {
                        told[at].write(|number| assert!(cache.set(&key, &number).unwrap()));
                    }
                    told[at].read(|| cache.get::<u64>(&key).unwrap());
                }
            });
        }
        // Ends the load if the mode cannot be changed.
        let _end = Ends(done);
        for mode in modes.iter().cycle().take(rounds) {
            site.both.set_mode(*mode).unwrap();
            thread::sleep(Duration::from_millis(3));
        }
    });
    if keeps {
        site.agree();
    }
}

struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn nothing_old_is_read_and_nothing_lost_while_modes_of_two_sides_change() {
    under_load(&TWO_SIDED, 300, true);
}

#[test]
fn nothing_old_is_read_while_all_modes_change() {
    under_load(&ALL, 300, false);
}
