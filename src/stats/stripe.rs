//! Which stripe of the counters a thread adds to.
//!
//! Most threads own a stripe and add to it with a plain load and store, which costs a fraction of an
//! atomic addition. Who comes when all are taken shares one with some others.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Stripes that belong to one thread at a time.
const OWNED: usize = 16;
/// Stripes for all further threads.
const SHARED: usize = 16;
pub(super) const STRIPES: usize = OWNED + SHARED;

const NONE: usize = usize::MAX;

/// A bit for each owned stripe.
static TAKEN: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(NONE) };
    static OWNER: Owner = const { Owner(Cell::new(NONE)) };
}

/// Gives a stripe back at the end of its thread.
struct Owner(Cell<usize>);

impl Drop for Owner {
    fn drop(&mut self) {
        let stripe = self.0.get();
        if stripe != NONE {
            // What is dropped after this may use a cache, too.
            STRIPE.set(shared());
            give_back(stripe);
        }
    }
}

/// The stripe of this thread.
#[inline]
pub(super) fn mine() -> usize {
    let stripe = STRIPE.get();
    if stripe < STRIPES { stripe } else { choose() }
}

/// Adds to a counter in a stripe of this thread's; what it was before.
#[inline]
pub(super) fn add(counter: &AtomicU64, stripe: usize, many: u64) -> u64 {
    if stripe < OWNED {
        let before = counter.load(Ordering::Relaxed);
        counter.store(before.wrapping_add(many), Ordering::Relaxed);
        before
    } else {
        counter.fetch_add(many, Ordering::Relaxed)
    }
}

#[cold]
fn choose() -> usize {
    let stripe = take().filter(|stripe| {
        let kept = OWNER.try_with(|owner| owner.0.set(*stripe)).is_ok();
        if !kept {
            give_back(*stripe);
        }
        kept
    });
    let stripe = stripe.unwrap_or_else(shared);
    STRIPE.set(stripe);
    stripe
}

fn shared() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    OWNED + NEXT.fetch_add(1, Ordering::Relaxed) % SHARED
}

/// Acquires what the owner before has counted.
fn take() -> Option<usize> {
    let free = |taken: u32| Some((!taken).trailing_zeros() as usize).filter(|free| *free < OWNED);
    let taken = TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, |taken| {
        free(taken).map(|free| taken | 1 << free)
    });
    taken.ok().and_then(free)
}

fn give_back(stripe: usize) {
    TAKEN.fetch_and(!(1 << stripe), Ordering::Release);
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn of_a_thread() -> usize {
        thread::spawn(mine).join().unwrap()
    }

    #[test]
    fn a_stripe_is_given_back_at_the_end_of_its_thread() {
        for _ in 0..10 * OWNED {
            of_a_thread();
        }
        // Other tests may have all of them for a while.
        let found = (0..12_000).any(|_| {
            thread::sleep(Duration::from_millis(5));
            of_a_thread() < OWNED
        });
        assert!(found, "all are taken for good");
    }

    #[test]
    fn no_two_threads_own_the_same_stripe() {
        let all_there = Barrier::new(2 * OWNED);
        let mut owned: Vec<usize> = thread::scope(|scope| {
            let ask = || {
                let stripe = mine();
                all_there.wait();
                stripe
            };
            let threads: Vec<_> = (0..2 * OWNED).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        owned.retain(|stripe| *stripe < OWNED);
        let count = owned.len();
        owned.sort_unstable();
        owned.dedup();
        assert_eq!(owned.len(), count);
    }

    /// What counts when its thread ends, after its stripe was given back.
    struct Late(Cell<usize>);

    impl Drop for Late {
        fn drop(&mut self) {
            assert!(mine() < STRIPES);
            self.0.set(mine());
        }
    }

    #[test]
    fn who_counts_at_the_very_end_of_a_thread_has_a_stripe() {
        thread_local! {
            static LATE: Late = const { Late(Cell::new(NONE)) };
        }
        // Registered before and after the owner of the stripe: they end in some order.
        for first in [true, false] {
            let ended = thread::spawn(move || {
                if first {
                    LATE.with(|late| late.0.set(0));
                }
                mine();
                LATE.with(|late| late.0.set(0));
            });
            ended.join().unwrap();
        }
    }
}
