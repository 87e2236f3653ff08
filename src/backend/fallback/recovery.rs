//! The thread that tries the primary again and tells it what it missed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

use super::journal::{Item, Named};
use super::state::Closing;
use super::{BreakerState, Shared};
use crate::backend::{Backend, Call, Change, Event, Name, Read, Scope, Want, When, Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::streak::Streak;

/// How many keys or tags are carried out in one call.
const GROUP: usize = 256;

pub(super) const THREAD: &str = "yokedcache-fallback";

/// The thread, of which there is one at a time, from an opening to the closing.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    running: Option<Running>,
    /// The thread will look at the breaker once more before it ends.
    at_work: bool,
    /// The names of the caches are not known yet.
    pub(super) waits_for_a_cache: bool,
    stopped: bool,
    no_thread: Streak,
}

#[derive(Debug)]
struct Running {
    /// Closing the channel is the signal.
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Recovery {
    /// Whether the thread runs; nothing if there is nothing for it to do.
    pub(super) fn runs(&self) -> Option<bool> {
        let running = self.running.as_ref().filter(|_| self.at_work)?;
        Some(!running.thread.is_finished())
    }

    /// Starts the thread unless it is at work. If it cannot be started, the next call tries again.
    pub(super) fn ensure(&mut self, shared: &Arc<Shared>) {
        if self.at_work || self.stopped || self.waits_for_a_cache {
            return;
        }
        // It has nothing left to do but to return.
        if let Some(Running { thread, .. }) = self.running.take() {
            let _ = thread.join();
        }
        let (stop, stopped) = bounded(0);
        let work = {
            let shared = shared.clone();
            move || shared.recover(&stopped)
        };
        match thread::Builder::new().name(THREAD.into()).spawn(work) {
            Ok(thread) => (self.running, self.at_work) = (Some(Running { stop, thread }), true),
            Err(error) => {
                if let Some(more) = self.no_thread.on() {
                    log::error!("yokedcache: cannot start the fallback thread: {error}{more}");
                }
            }
        }
    }
}

impl Shared {
    /// Ends the thread and waits for it, unless this is the thread: an event handler may hold the last
    /// handle. None is started after that.
    pub(super) fn stop(&self) {
        let running = {
            let mut state = self.state.lock();
            state.recovery.stopped = true;
            state.recovery.running.take()
        };
        let Some(Running { stop, thread }) = running else { return };
        drop(stop);
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            log::error!("yokedcache: the fallback thread panicked");
        }
    }

    /// The work of the thread.
    fn recover(&self, stopped: &Receiver<()>) {
        let (failing, panicking) = (Streak::new(), Streak::new());
        while let Some((opening, due)) = self.next_trial() {
            if let Some(error) = opening {
                self.audience.tell(&Event::Opened { backend: self.name(), error });
            }
            if is_stopped_by(stopped, due) {
                return;
            }
            match catch_unwind(AssertUnwindSafe(|| self.trial(stopped))) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    if let Some(more) = failing.on() {
                        log::debug!("yokedcache: {} stays given up: {error}{more}", self.name());
                    }
                    self.state.lock().last_trial_error = Some(error);
                }
                Err(_) => {
                    if let Some(more) = panicking.on() {
                        log::error!("yokedcache: {} panicked when it was tried{more}", self.name());
                    }
                }
            }
        }
    }

    /// When the next trial is due, and why the primary was given up if nobody was told; nothing if it
    /// serves, and then the thread has nothing left to do.
    fn next_trial(&self) -> Option<(Option<Error>, Option<Instant>)> {
        let mut state = self.state.lock();
        // A trial that did not close the breaker has failed, however it ended.
        state.journal.put_back();
        state.breaker.trial_failed(Instant::now());
        state.recovery.at_work = state.breaker.state() != BreakerState::Closed;
        let due = state.breaker.due();
        state.recovery.at_work.then(|| (state.opening.take(), due))
    }

    /// Tries the primary, tells it what it missed, and lets it serve again.
    fn trial(&self, stopped: &Receiver<()>) -> Result<()> {
        if !self.state.lock().breaker.try_it(Instant::now()) {
            return Ok(());
        }
        self.probe()?;
        while stopped.try_recv() != Err(TryRecvError::Disconnected) {
            match self.close_or_next(GROUP) {
                Ok(Some(closing)) => {
                    self.closed(closing);
                    break;
                }
                Ok(None) => break,
                Err(items) => self.carry_out_or_clear(&items)?,
            }
        }
        Ok(())
    }

    /// What has answered gets more time for what it missed.
    fn step(&self) -> Call {
        Call::Within(self.settings.trial.saturating_mul(5))
    }

    fn probe(&self) -> Result<()> {
        let space = self.audience.spaces().into_iter().next().unwrap_or_default();
        let probe = [&space, "~probe"].concat();
        let want = Want { quiet: true, head_only: true, ..Want::VALUE };
        let mut out = [Read::Unanswered];
        let name = Name::new(&probe, space.len());
        let done = self.primary.read(Call::Within(self.settings.trial), &[name], &want, &mut out);
        let error = match (done, out) {
            (Err(error), _) | (_, [Read::Failed(error)]) => error,
            _ => return Ok(()),
        };
        if super::is_fault(&error) { Err(error) } else { Ok(()) }
    }

    /// What the primary refuses for good is carried out by clearing the namespaces it is in.
    fn carry_out_or_clear(&self, items: &[Item]) -> Result<()> {
        let Err(error) = carry_out(&*self.primary, self.step(), items) else { return Ok(()) };
        let prefixes = self.clearable();
        let clears = |item: &Item| prefixes.iter().any(|prefix| item.clears(prefix));
        if error.is_outage() || items.iter().any(clears) {
            return Err(error);
        }
        log::warn!("yokedcache: {} refuses what it missed and is cleared: {error}", self.name());
        self.state.lock().clear_instead(&prefixes);
        Ok(())
    }

    fn closed(&self, Closing { session, after, replayed }: Closing) {
        self.audience.tell(&Event::Closed { backend: self.name(), after, replayed });
        session.sweep(self.step());
    }
}

/// Waits until the instant, or for ever; true if the thread is to end.
fn is_stopped_by(stopped: &Receiver<()>, due: Option<Instant>) -> bool {
    match due {
        Some(due) => stopped.recv_deadline(due) != Err(RecvTimeoutError::Timeout),
        None => stopped.recv().is_err(),
    }
}

/// Carries out items that go together.
fn carry_out(primary: &dyn Backend, call: Call, items: &[Item]) -> Result<()> {
    match items {
        [Item::Keys(parts)] => {
            let pattern = parts.pattern()?;
            primary.invalidate(call, &Scope::Keys(&pattern)).map(drop)
        }
        [Item::AllTags(tags)] => with_names(tags.iter(), |tags| {
            match primary.invalidate(call, &Scope::AllTags(tags)) {
                // This removes more, and can be done.
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    primary.invalidate(call, &Scope::AnyTag(&tags[..1]))
                }
                done => done,
            }
            .map(drop)
        }),
        [Item::Tag(_), ..] => with_names(items.iter().filter_map(Item::name), |tags| {
            primary.invalidate(call, &Scope::AnyTag(tags)).map(drop)
        }),
        _ => with_names(items.iter().filter_map(Item::name), |keys| remove(primary, call, keys)),
    }
}

fn with_names<'n>(
    named: impl Iterator<Item = &'n Named>,
    f: impl FnOnce(&[Name<'_>]) -> Result<()>,
) -> Result<()> {
    let full: Vec<(String, usize)> = named.map(|name| (name.full(), name.space())).collect();
    let names: Vec<Name<'_>> = full.iter().map(|(full, space)| Name::new(full, *space)).collect();
    f(&names)
}

fn remove(primary: &dyn Backend, call: Call, keys: &[Name<'_>]) -> Result<()> {
    let removals = keys.iter().map(|key| Write::new(*key, When::Always, Change::Remove));
    let mut writes: Vec<Write<'_>> = removals.collect();
    let mut out: Vec<Wrote> = keys.iter().map(|_| Wrote::Unanswered).collect();
    primary.write(call, &mut writes, &mut out)?;
    out.into_iter().try_for_each(|wrote| match wrote {
        Wrote::Failed(error) => Err(error),
        Wrote::Unanswered => {
            Err(Error::new(ErrorKind::Unavailable, "the backend did not get to a removal"))
        }
        _ => Ok(()),
    })
}
