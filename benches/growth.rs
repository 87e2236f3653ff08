//! What an operation costs as the cache grows: constant, but for what the processor's caches no
//! longer hold.
//!
//! `cargo bench --bench growth`; anything but `--bench` (`cargo test --benches`, say) is a short
//! form that shows only that it runs.

use std::time::{Duration, Instant};

use yokedcache::Cache;

const VALUE: [u8; 100] = [7; 100];
const HOUR: Duration = Duration::from_secs(3600);

/// Nanoseconds per operation of the best of some rounds: what other programs disturb least.
fn nanos(operations: usize, rounds: usize, mut operation: impl FnMut(usize)) -> f64 {
    let mut best = f64::MAX;
    for round in 0..rounds {
        let started = Instant::now();
        (0..operations).for_each(|number| operation(round * operations + number));
        best = best.min(started.elapsed().as_nanos() as f64 / operations as f64);
    }
    best
}

/// Neighbours in a sequence that are no neighbours in the cache.
fn scattered(number: usize, size: usize) -> usize {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % size
}

fn key(number: usize) -> String {
    format!("user:profile:{number:010}")
}

fn main() -> yokedcache::Result<()> {
    let short = !std::env::args().any(|argument| argument == "--bench");
    let (sizes, operations, rounds): (&[usize], _, _) = match short {
        true => (&[1_000], 1_000, 1),
        false => (&[1_000, 10_000, 100_000, 1_000_000], 100_000, 5),
    };
    println!("nanoseconds an operation, one thread, making the key included\n");
    println!("{:>9} {:>8} {:>15} {:>21}", "entries", "get", "set, evicting", "set, evicting, tags");
    for &size in sizes {
        let cache = Cache::memory(size);
        let fill = |number: usize| cache.set_bytes(key(number), &VALUE[..]);
        for number in 0..size {
            fill(number)?;
        }
        let get = nanos(operations, rounds, |number| {
            assert!(cache.get_bytes(key(scattered(number, size))).is_ok_and(|hit| hit.is_some()));
        });
        let set = nanos(operations, rounds, |number| {
            assert!(fill(size + number).is_ok_and(|stored| stored));
        });
        let tagged = nanos(operations, rounds, |number| {
            let tags = [["a", "b", "c", "d"][number % 4], "all"];
            let entry = cache.entry(key(100_000_000 + number)).tags(tags).ttl(HOUR);
            assert!(entry.set_bytes(&VALUE[..]).is_ok_and(|stored| stored));
        });
        println!("{size:>9} {get:>8.0} {set:>15.0} {tagged:>21.0}");
    }
    Ok(())
}
