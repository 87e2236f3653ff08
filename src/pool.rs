//! A few threads for work that nobody, or somebody with little time, waits for.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::streak::Streak;

thread_local! {
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// A thread without work ends after so long.
const IDLE: Duration = Duration::from_secs(30);

/// Work that somebody waits for has this much room at least.
const MOST_WAITED: usize = 1024;

pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// Work that somebody waits for goes before work that nobody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    Waited,
    Background,
}

/// Threads that start when there is work, so many at most. Dropped, it forgets what has not begun and
/// waits for what has.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    most_waiting: usize,
}

struct Shared {
    /// But for threads that wait for others.
    most_threads: usize,
    state: Mutex<State>,
    /// There is work, or it is over.
    work: Condvar,
    /// There is no work left, or it is over.
    quiet: Condvar,
    panics: Streak,
    no_thread: Streak,
}

#[derive(Default)]
struct State {
    waited: VecDeque<Work>,
    background: VecDeque<Work>,
    running: usize,
    /// Those of the running that wait for other work of this pool.
    blocked: usize,
    threads: usize,
    closed: bool,
}

impl State {
    fn next(&mut self) -> Option<Work> {
        self.waited.pop_front().or_else(|| self.background.pop_front())
    }

    fn waiting(&self) -> usize {
        self.waited.len() + self.background.len()
    }

    /// Whether a thread is there for one more piece of work.
    fn is_free(&self) -> bool {
        self.threads > self.running + self.waiting()
    }
}

impl Pool {
    /// So many threads at most, and so much work in the background that has not begun.
    pub(crate) fn new(most_threads: usize, most_waiting: usize) -> Self {
        let (state, work, quiet) = (Mutex::default(), Condvar::new(), Condvar::new());
        let (panics, no_thread) = (Streak::new(), Streak::new());
        let shared = Arc::new(Shared { most_threads, state, work, quiet, panics, no_thread });
        Self { shared, threads: Mutex::default(), most_waiting }
    }

    /// Has the work done by a thread, some time; false if there is no room for it, or no thread.
    pub(crate) fn submit(&self, urgency: Urgency, work: Work) -> bool {
        let mut state = self.shared.state.lock();
        if state.closed {
            return false;
        }
        let startable = state.is_free() || state.threads < self.most(&state);
        // With no thread to take it at once it waits, and for that there is so much room. Work that
        // somebody waits for has room of its own, which only sources that hang fill.
        let room = startable
            || match urgency {
                Urgency::Waited => state.waited.len() < self.most_waiting.max(MOST_WAITED),
                Urgency::Background => state.background.len() < self.most_waiting,
            };
        if !room || startable && !state.is_free() && !self.start(&mut state) {
            return false;
        }
        match urgency {
            Urgency::Waited => state.waited.push_back(work),
            Urgency::Background => state.background.push_back(work),
        }
        drop(state);
        self.shared.work.notify_one();
        true
    }

    fn most(&self, state: &State) -> usize {
        self.shared.most_threads + state.blocked
    }

    /// Waits for work submitted before. A thread of the pool makes room for another meanwhile:
    /// loaders may need each other.
    pub(crate) fn wait<R>(&self, wait: impl FnOnce() -> R) -> R {
        if !IS_WORKER.get() {
            return wait();
        }
        let mut state = self.shared.state.lock();
        state.blocked += 1;
        if state.waiting() > 0 && state.threads < self.most(&state) {
            self.start(&mut state);
        }
        drop(state);
        let result = wait();
        self.shared.state.lock().blocked -= 1;
        result
    }

    /// One more thread; with some running already, it does no harm if the system refuses.
    fn start(&self, state: &mut State) -> bool {
        let shared = self.shared.clone();
        let thread = thread::Builder::new().name("yokedcache-loader".into());
        match thread.spawn(move || shared.work()) {
            Ok(thread) => {
                state.threads += 1;
                let mut threads = self.threads.lock();
                threads.retain(|thread| !thread.is_finished());
                threads.push(thread);
                true
            }
            Err(error) => {
                if let Some(more) = self.shared.no_thread.on() {
                    log::error!("yokedcache: cannot start a loader thread: {error}{more}");
                }
                state.threads > 0
            }
        }
    }

    /// Whether all its threads run. They count themselves out before they end.
    pub(crate) fn is_live(&self) -> bool {
        let state = self.shared.state.lock();
        let running = |threads: &Vec<JoinHandle<()>>| {
            threads.iter().filter(|thread| !thread.is_finished()).count()
        };
        state.closed || running(&self.threads.lock()) >= state.threads
    }

    /// Waits until nothing is waiting or running, at most so long; whether that came.
    pub(crate) fn drain(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.shared.state.lock();
        // A loader that asks is at work itself.
        let is_quiet =
            |state: &State| state.running + state.waiting() <= usize::from(IS_WORKER.get());
        while !is_quiet(&state) {
            match deadline {
                Some(deadline) => {
                    if self.shared.quiet.wait_until(&mut state, deadline).timed_out() {
                        return is_quiet(&state);
                    }
                }
                None => self.shared.quiet.wait(&mut state),
            }
        }
        true
    }
}

impl Shared {
    /// What a thread does until there is nothing left to do.
    fn work(&self) {
        IS_WORKER.set(true);
        let mut state = self.state.lock();
        // One that took the place of another that waited is not needed for longer than that.
        while !state.closed && state.threads <= self.most_threads + state.blocked {
            let Some(work) = state.next() else {
                if self.work.wait_for(&mut state, IDLE).timed_out() && state.waiting() == 0 {
                    break;
                }
                continue;
            };
            state.running += 1;
            drop(state);
            if catch_unwind(AssertUnwindSafe(work)).is_err()
                && let Some(more) = self.panics.on()
            {
                log::error!("yokedcache: a loader panicked on a thread of the cache{more}");
            }
            state = self.state.lock();
            state.running -= 1;
            if state.running + state.waiting() <= 1 {
                self.quiet.notify_all();
            }
        }
        state.threads -= 1;
        // It may have been woken for this.
        if state.waiting() > 0 {
            self.work.notify_one();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        // Dropped work tells those who wait for it; not under the lock.
        let forgotten = (std::mem::take(&mut state.waited), std::mem::take(&mut state.background));
        drop(state);
        drop(forgotten);
        self.shared.work.notify_all();
        for thread in self.threads.get_mut().drain(..) {
            // The last handle of a cache may be dropped by a loader.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                log::error!("yokedcache: a loader thread panicked");
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { running, threads, .. } = *self.shared.state.lock();
        f.debug_struct("Pool").field("threads", &threads).field("running", &running).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crossbeam_channel::bounded;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn work_is_done_waited_for_first_and_no_more_than_fits_waits() {
        let pool = Pool::new(1, 2);
        let (go, gone) = bounded::<()>(0);
        let (tell, told) = bounded(10);
        assert!(pool.submit(Urgency::Background, Box::new(move || gone.recv().unwrap())));
        while pool.shared.state.lock().running == 0 {
            thread::yield_now();
        }
        let say = |word: &'static str| {
            let tell = tell.clone();
            Box::new(move || tell.send(word).unwrap()) as Work
        };
        assert!(pool.submit(Urgency::Background, say("first")));
        assert!(pool.submit(Urgency::Background, say("second")));
        assert!(!pool.submit(Urgency::Background, say("too much")));
        assert!(pool.submit(Urgency::Waited, say("waited for")));
        assert!(!pool.drain(Duration::from_millis(1)), "it is at work");
        go.send(()).unwrap();
        assert!(pool.drain(LONG));
        assert_eq!(told.try_iter().collect::<Vec<_>>(), ["waited for", "first", "second"]);
    }

    #[test]
    fn threads_are_named_bounded_and_survive_a_panic() {
        let pool = Pool::new(3, 100);
        let (most, now) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        assert!(pool.submit(Urgency::Background, Box::new(|| panic!("a loader's"))));
        for _ in 0..50 {
            let (most, now) = (most.clone(), now.clone());
            let work = Box::new(move || {
                assert_eq!(thread::current().name(), Some("yokedcache-loader"));
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(1));
                now.fetch_sub(1, Ordering::SeqCst);
            });
            assert!(pool.submit(Urgency::Background, work));
        }
        assert!(pool.drain(LONG));
        assert!(most.load(Ordering::SeqCst) <= 3);
    }

    #[test]
    fn a_thread_that_did_not_count_itself_out_has_died() {
        let pool = Pool::new(1, 10);
        assert!(pool.is_live(), "it needs none");
        assert!(pool.submit(Urgency::Background, Box::new(|| panic!("a loader's"))));
        assert!(pool.drain(LONG) && pool.is_live(), "that kills none");
        pool.shared.state.lock().threads += 1;
        assert!(!pool.is_live());
        pool.shared.state.lock().threads -= 1;
    }

    #[test]
    fn dropped_it_waits_for_what_runs_and_forgets_the_rest() {
        let pool = Pool::new(1, 10);
        let (done, begun) = (Arc::new(AtomicUsize::new(0)), bounded(1));
        let (count, tell) = (done.clone(), begun.0);
        let slow = move || {
            tell.send(()).unwrap();
            thread::sleep(Duration::from_millis(50));
            count.fetch_add(1, Ordering::SeqCst);
        };
        assert!(pool.submit(Urgency::Background, Box::new(slow)));
        let count = done.clone();
        let never = move || _ = count.fetch_add(100, Ordering::SeqCst);
        assert!(pool.submit(Urgency::Background, Box::new(never)));
        begun.1.recv().unwrap();
        drop(pool);
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }
}
