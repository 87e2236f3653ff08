//! Asking many servers at the same time: one that hangs takes no time away from the others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;

use super::share;
use crate::backend::Call;

/// So many are asked at a time.
const MOST: usize = 16;

/// Asks all, and returns the answers in their order. Of more than can be asked at a time each gets its
/// share of the time.
pub(crate) fn at_once<T: Sync, R: Send>(
    all: &[T],
    call: Call,
    ask: impl Fn(&T, Call) -> R + Sync,
) -> Vec<R> {
    let (next, answers) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(all.len())));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = all.get(at) else { return };
            let rounds = (all.len() - at).div_ceil(MOST);
            let answer = ask(one, share(call, rounds));
            answers.lock().push((at, answer));
        }
    };
    thread::scope(|scope| {
        for _ in 1..all.len().min(MOST) {
            let thread = thread::Builder::new().name("yokedcache-health".into());
            // Without another thread it takes longer.
            if thread.spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    let mut answers = answers.into_inner();
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn answers_come_in_order_and_one_that_hangs_holds_up_none() {
        let call = Call::Within(Duration::from_secs(60)).armed();
        let (others, end) = (AtomicUsize::new(0), Instant::now() + Duration::from_secs(60));
        let done = at_once(&[0, 1, 2, 3], call, |n, _| {
            if *n > 0 {
                others.fetch_add(1, Ordering::SeqCst);
            }
            // It hangs until all others are done.
            while *n == 0 && others.load(Ordering::SeqCst) < 3 {
                assert!(Instant::now() < end, "the others are held up");
                thread::yield_now();
            }
            *n
        });
        assert_eq!(done, [0, 1, 2, 3]);
    }

    #[test]
    fn of_too_many_each_gets_a_share_of_the_time() {
        let call = Call::Within(Duration::from_secs(60)).armed();
        let all = [(); 3 * MOST];
        let shares = at_once(&all, call, |(), call| call.left().unwrap().unwrap());
        assert!(shares[0] <= Duration::from_secs(20), "{:?}", shares[0]);
        assert!(shares[all.len() - 1] > Duration::from_secs(50), "time that is left is used");
    }
}
