//! Loading: what it costs where the value is there, and how long it takes where it is not.
//!
//! `cargo bench --bench load --all-features` prints thousands of operations a second, all threads
//! together, over memory beside moka and `quick_cache`, and over servers of its own beside the bare
//! commands. `YC_BENCH_QUICK=1` is a short form that shows only that it runs; so is every call
//! without `--bench`, such as `cargo test --benches`. Words in the command line name rows: only those
//! are run.
//!
//! Contenders take turns; a figure is the median of a contender's rounds, and a ratio the median of
//! the ratios within a round.

#[cfg(feature = "memcached")]
mod memcached;
mod memory;
#[cfg(feature = "redis")]
mod redis;
#[path = "../rounds/mod.rs"]
mod rounds;
#[cfg(any(feature = "memcached", feature = "redis"))]
#[path = "../../tests/support/mod.rs"]
mod support;

use std::convert::Infallible;
use std::time::Duration;

use rounds::{Plan, Row};

/// How long what is stored on servers lives: they are not to fill up.
#[cfg(any(feature = "memcached", feature = "redis"))]
const MINUTE: Duration = Duration::from_secs(60);

fn main() {
    let plan = Plan::new(Duration::from_millis(300));
    println!("thousands of operations a second\n");
    println!("{:<28} {:>7} {:>10}  ours/theirs", "", "threads", "yokedcache");
    memory::run_rows(&plan);
    #[cfg(feature = "redis")]
    redis::run_rows(&plan);
    #[cfg(feature = "memcached")]
    memcached::run_rows(&plan);
}

/// The loader of what is there.
fn unreachable<T>() -> Result<T, Infallible> {
    unreachable!("every key is there")
}

/// Runs a row; the rates of its contenders' rounds.
fn run<A>(plan: &Plan, arena: &A, row: &Row<A>) -> Option<Vec<Vec<f64>>> {
    plan.run(arena, std::slice::from_ref(row))
}
