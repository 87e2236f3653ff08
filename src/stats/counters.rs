//! The counters and clocks of a cache while it runs.
//!
//! A counter costs a nanosecond or two, a look at the clock some twenty: calls are all counted, and
//! those that are quick are timed now and then.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::histogram::Recorder;
use super::operation::{OPERATIONS, Operation, Operations, Timing};
use super::stripe::{self, STRIPES};
use super::{BackendStats, Misses, Stats};
use crate::backend::Cause;

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Hit,
    BytesRead,
    NegativeHit,
    Absent,
    Expired,
    Invalidated,
    Corrupt,
    OtherVersion,
    Undecodable,
    Down,
    Set,
    BytesWritten,
    Delete,
    Invalidation,
    Load,
    LoadError,
    Coalesced,
    Stale,
    Refresh,
    RefreshDropped,
    Overtaken,
    Failure,
}

const KINDS: usize = Count::Failure as usize + 1;

impl From<Cause> for Count {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Absent => Self::Absent,
            Cause::Expired => Self::Expired,
            Cause::Invalidated => Self::Invalidated,
            Cause::Corrupt => Self::Corrupt,
            Cause::OtherVersion => Self::OtherVersion,
            Cause::Undecodable => Self::Undecodable,
            Cause::Down => Self::Down,
        }
    }
}

/// A call that takes longer has the next one timed, too.
const SLOW: Duration = Duration::from_micros(4);

/// How many calls are not timed after a quick one: 32 to 95, so that no pattern of a program falls
/// into step with it.
fn gap(calls: u64) -> u64 {
    32 + (calls.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58)
}

/// Counters in stripes, so that threads do not pass one cache line around. Times are few, or of calls
/// that take long, and not worth that.
#[derive(Debug)]
pub(crate) struct Counters {
    /// 16 kilobytes, which are not to go over the stack of who builds a cache.
    stripes: Box<[Stripe]>,
    times: [OnceLock<Box<Recorder>>; OPERATIONS],
    since: Instant,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe {
    calls: [Calls; OPERATIONS],
    counts: [AtomicU64; KINDS],
}

/// The calls of one kind.
#[derive(Debug, Default)]
struct Calls {
    made: AtomicU64,
    /// From how many on the next one is timed.
    next: AtomicU64,
    /// For how many of them the times taken so far stand.
    covered: AtomicU64,
}

impl Calls {
    /// What the call stands for is settled before it is made: while one takes long, calls within it
    /// and threads that share the stripe come first, and it is the long ones that are looked for.
    #[cold]
    fn timer(&self, operation: Operation, made: u64) -> Timer {
        let covered = self.covered.fetch_max(made, Ordering::Relaxed);
        Timer { operation, made, calls: made.saturating_sub(covered), started: Instant::now() }
    }
}

/// A call that is being timed.
#[derive(Debug)]
pub(crate) struct Timer {
    operation: Operation,
    /// How many have been made, this one included.
    made: u64,
    /// For how many of them its time stands.
    calls: u64,
    started: Instant,
}

/// A call that the caller times by itself, however it ends.
#[derive(Debug)]
pub(crate) struct Timed<'c> {
    counters: &'c Counters,
    operation: Operation,
    started: Instant,
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        self.counters.timed(self.operation, self.started.elapsed());
    }
}

/// The part of the counters that a thread adds to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Here<'c> {
    counters: &'c Counters,
    stripe: &'c Stripe,
    at: usize,
}

impl Here<'_> {
    #[inline]
    pub(crate) fn add_many(self, count: Count, many: u64) {
        stripe::add(&self.stripe.counts[count as usize], self.at, many);
    }

    /// Counts a call that begins; whether its end is to be told to [`stop`](Self::stop).
    #[inline]
    pub(crate) fn start(self, operation: Operation) -> Option<Timer> {
        let calls = &self.stripe.calls[operation as usize];
        let before = stripe::add(&calls.made, self.at, 1);
        if before < calls.next.load(Ordering::Relaxed) {
            return None;
        }
        Some(calls.timer(operation, before + 1))
    }

    #[inline]
    pub(crate) fn stop(self, timer: Option<Timer>) {
        if let Some(timer) = timer {
            self.counters.took(self.stripe, timer);
        }
    }
}

impl Counters {
    pub(crate) fn new() -> Self {
        let stripes = (0..STRIPES).map(|_| Stripe::default()).collect();
        Self { stripes, times: Default::default(), since: Instant::now() }
    }

    #[inline]
    pub(crate) fn add(&self, count: Count) {
        self.add_many(count, 1);
    }

    #[inline]
    pub(crate) fn add_many(&self, count: Count, many: u64) {
        self.here().add_many(count, many);
    }

    /// The counters of this thread, for who needs several.
    #[inline]
    pub(crate) fn here(&self) -> Here<'_> {
        let at = stripe::mine();
        Here { counters: self, stripe: &self.stripes[at], at }
    }

    #[cold]
    fn took(&self, stripe: &Stripe, Timer { operation, made, calls, started }: Timer) {
        let time = started.elapsed();
        let next = made + if time < SLOW { gap(made) } else { 0 };
        stripe.calls[operation as usize].next.store(next, Ordering::Relaxed);
        self.record(operation, time, calls);
    }

    /// Counts a call and times it until what is returned is dropped: also one that panics.
    pub(crate) fn time(&self, operation: Operation) -> Timed<'_> {
        Timed { counters: self, operation, started: Instant::now() }
    }

    /// Counts a call that was timed by the caller.
    pub(crate) fn timed(&self, operation: Operation, time: Duration) {
        let Here { stripe, at, .. } = self.here();
        stripe::add(&stripe.calls[operation as usize].made, at, 1);
        self.record(operation, time, 1);
    }

    fn record(&self, operation: Operation, time: Duration, calls: u64) {
        if calls > 0 {
            let times = &self.times[operation as usize];
            times.get_or_init(|| Box::new(Recorder::new())).record(time, calls);
        }
    }

    fn sum(&self, count: Count) -> u64 {
        let one = |stripe: &Stripe| stripe.counts[count as usize].load(Ordering::Relaxed);
        self.stripes.iter().map(one).sum()
    }

    fn timing(&self, operation: Operation) -> Timing {
        let operation = operation as usize;
        let latency = self.times[operation].get().map(|times| times.snapshot());
        // Read last: not less than what the times stand for.
        let made = |stripe: &Stripe| stripe.calls[operation].made.load(Ordering::Relaxed);
        let calls = self.stripes.iter().map(made).sum();
        Timing { calls, latency: latency.unwrap_or_default() }
    }

    pub(crate) fn snapshot(&self, backend: BackendStats) -> Stats {
        let negative_hits = self.sum(Count::NegativeHit);
        Stats {
            name: None,
            uptime: self.since.elapsed(),
            hits: self.sum(Count::Hit) + negative_hits,
            negative_hits,
            misses: Misses {
                absent: self.sum(Count::Absent),
                expired: self.sum(Count::Expired),
                invalidated: self.sum(Count::Invalidated),
                corrupt: self.sum(Count::Corrupt),
                other_version: self.sum(Count::OtherVersion),
                undecodable: self.sum(Count::Undecodable),
                down: self.sum(Count::Down),
            },
            sets: self.sum(Count::Set),
            deletes: self.sum(Count::Delete),
            invalidations: self.sum(Count::Invalidation),
            loads: self.sum(Count::Load),
            load_errors: self.sum(Count::LoadError),
            coalesced: self.sum(Count::Coalesced),
            stale: self.sum(Count::Stale),
            refreshes: self.sum(Count::Refresh),
            refreshes_dropped: self.sum(Count::RefreshDropped),
            overtaken: self.sum(Count::Overtaken),
            failures: self.sum(Count::Failure),
            bytes_read: self.sum(Count::BytesRead),
            bytes_written: self.sum(Count::BytesWritten),
            operations: Operations(Operation::ALL.map(|operation| self.timing(operation))),
            backend,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn run(counters: &Counters, calls: u64, time: Duration) {
        for _ in 0..calls {
            let here = counters.here();
            let timer = here.start(Operation::Get);
            if timer.is_some() && !time.is_zero() {
                thread::sleep(time);
            }
            here.stop(timer);
        }
    }

    #[test]
    fn counters_take_little_of_the_stack_of_who_builds_a_cache() {
        assert!(size_of::<Counters>() <= 512, "{}", size_of::<Counters>());
    }

    #[test]
    fn quick_calls_are_all_counted_and_their_times_stand_for_nearly_all() {
        let counters = Counters::new();
        run(&counters, 10_000, Duration::ZERO);
        let timing = counters.timing(Operation::Get);
        assert_eq!(timing.calls, 10_000);
        let lag = timing.calls - timing.latency.count();
        assert!(lag < 100, "{lag}");
    }

    #[test]
    fn slow_calls_are_all_timed() {
        let counters = Counters::new();
        run(&counters, 20, Duration::from_millis(1));
        let timing = counters.timing(Operation::Get);
        assert_eq!((timing.calls, timing.latency.count()), (20, 20));
        assert!(timing.latency.sum() >= Duration::from_millis(20));
    }

    #[test]
    fn a_long_call_is_timed_though_others_end_before_it() {
        let counters = Counters::new();
        let here = counters.here();
        let long = here.start(Operation::Get);
        run(&counters, 1_000, Duration::ZERO);
        thread::sleep(Duration::from_millis(5));
        here.stop(long);
        let timing = counters.timing(Operation::Get);
        assert!(timing.latency.max() >= Some(Duration::from_millis(5)), "{timing:?}");
        assert!(timing.latency.count() <= timing.calls);
    }

    #[test]
    fn nothing_is_lost_among_threads_that_own_and_threads_that_share() {
        let counters = Counters::new();
        thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| {
                    run(&counters, 5_000, Duration::ZERO);
                    (0..5_000).for_each(|_| counters.add(Count::Hit));
                });
            }
        });
        let stats = counters.snapshot(BackendStats::default());
        assert_eq!((stats.hits, stats.operations[Operation::Get].calls), (200_000, 200_000));
        assert!(stats.operations[Operation::Get].latency.count() <= 200_000);
    }

    #[test]
    fn threads_that_come_one_after_the_other_count_in_the_same_place() {
        let counters = Counters::new();
        for _ in 0..100 {
            thread::scope(|scope| {
                scope.spawn(|| counters.add(Count::Hit));
            });
        }
        assert_eq!(counters.sum(Count::Hit), 100);
    }

    #[test]
    fn gaps_differ_and_are_sixty_four_in_the_mean() {
        let gaps: Vec<u64> = (0..10_000).map(gap).collect();
        let mean = gaps.iter().sum::<u64>() as f64 / 10_000.0;
        assert!((62.0..65.0).contains(&mean), "{mean}");
        assert!(gaps.iter().all(|gap| (32..96).contains(gap)));
        assert!(gaps.windows(2).filter(|pair| pair[0] == pair[1]).count() < 1_000);
    }
}
