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
