//! Batches that the primary fails, in whole or in part.

use std::time::{Duration, Instant};

use yokedcache::{Cache, Fallback};

use crate::Site;
use crate::faulty::{Faulty, Mode};

#[test]
fn a_huge_batch_takes_no_longer_by_the_write() {
    let site = Site::new(|settings| settings);
    site.primary.down();
    let items = (0..50_000).map(|at| (format!("{at:08}"), at));
    let begun = Instant::now();
    site.cache.set_many(items.collect::<Vec<_>>()).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(site.cache.get::<i32>("00049999").unwrap(), Some(49_999));
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
