//! Batches that the primary fails, in whole or in part.

use std::time::{Duration, Instant};

use yokedcache::{Cache, Fallback};

use crate::Site;
use crate::faulty::{Faulty, Mode};

#[test]
fn a_huge_batch_takes_no_longer_by_the_write() {
    // As a ratio, and of each the best: the machine may be slow, or stand still for a moment.
    let best = |len| (0..3).map(|_| batch_in_an_outage(len)).min().unwrap();
    let (small, huge) = (best(5_000), best(50_000));
    assert!(huge < 40 * small, "ten times as many take {huge:?} instead of {small:?}");
}

/// How long a batch takes that opens the fallback.
fn batch_in_an_outage(len: i32) -> Duration {
    let site = Site::new(|settings| settings);
    site.primary.down();
    let items: Vec<_> = (0..len).map(|at| (format!("{at:08}"), at)).collect();
    let begun = Instant::now();
    site.cache.set_many(items).unwrap();
    let took = begun.elapsed();
    assert_eq!(site.cache.get::<i32>(format!("{:08}", len - 1)).unwrap(), Some(len - 1));
    took
}

#[test]
fn with_nothing_to_do_again_the_secondary_is_not_asked() {
    let (primary, secondary) = (Faulty::new(), Faulty::new());
    let fallback = Fallback::builder(primary.clone(), secondary.clone());
    let cache = Cache::builder(fallback.failure_threshold(1).build().unwrap()).build().unwrap();
    primary.set(Mode::Late);
    cache.increment("k", 1).unwrap_err();
    assert_eq!(secondary.calls(), Vec::<String>::new());
}
