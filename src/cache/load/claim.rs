//! The right to store what is loaded: obtained, kept, used, given back.

use std::time::{Duration, Instant};

use super::arriving::{Offer, take};
use super::{Taking, Task, late};
use crate::backend::{
    Ask, Cause, Change, Entry, Found, Grant, Lease, Life, NotDone, Over, Read, Tags, Want, When,
    Write, Wrote,
};
use crate::cache::freshness::Freshness;
use crate::error::Result;
use crate::flight::Landing;
use crate::stats::Count;

/// The right to store a value, and what it is stored with.
#[derive(Debug)]
pub(in crate::cache) struct Claim {
    pub(in crate::cache) tags: Tags,
    right: Right,
    /// What the load is to replace.
    pub(super) previous: Option<Entry>,
    /// There is a value meanwhile, which the right is only to replace.
    refreshes: bool,
}

#[derive(Debug)]
enum Right {
    Lease(Box<Lease>),
    /// The backend gives none: what is loaded is simply stored.
    Unfenced,
    /// Something overtook the load: its value is not stored.
    Lost,
    /// The backend is down: it is not asked again in this call.
    Down,
}

/// A value on its way into the cache.
pub(in crate::cache) struct Filling {
    /// How to land once it is there.
    shared: Landing,
    /// The right it goes in by.
    held: Option<Box<Lease>>,
}

/// A load elsewhere is asked for less and less often.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// A server that is well answers within it.
const TIME_TO_ANSWER: Duration = Duration::from_millis(5);

impl Claim {
    /// None obtained yet.
    pub(in crate::cache) fn new(tags: Tags, offer: Offer) -> Self {
        let right = if offer == Offer::Down { Right::Down } else { Right::Lost };
        Self { tags, right, previous: None, refreshes: false }
    }

    /// Keeps the right that was given with an answer, or hands out why there is none.
    fn keep(&mut self, read: &mut Read) -> Option<Grant> {
        let down = matches!(read, Read::Miss(Cause::Down, _));
        match granted(read) {
            Grant::Granted(lease) => {
                self.right = Right::Lease(lease);
                None
            }
            Grant::None if down => {
                self.right = Right::Down;
                None
            }
            grant => {
                self.right = Right::Lost;
                Some(grant)
            }
        }
    }

    fn take_right(&mut self) -> Right {
        std::mem::replace(&mut self.right, Right::Lost)
    }

    /// This process overtook the load: without a lease nothing else would know.
    pub(in crate::cache) fn lose_unfenced(&mut self) {
        if let Right::Unfenced | Right::Down = self.right {
            self.right = Right::Lost;
        }
    }
}

/// What to ask for next to obtain the right, and whom the caller waits for.
#[derive(Clone, Debug)]
pub(in crate::cache) struct Quest {
    offer: Offer,
    over: Over,
    /// What is there cannot be used, and is in the way.
    takes: bool,
    pause: Duration,
    /// Who loads, and since when that is known.
    holder: Option<(u64, Instant)>,
}

/// What came of asking.
pub(in crate::cache) enum Step {
    /// The right, or that there is none to be had: the caller is to load.
    Ours,
    /// The caller has an answer and need not load.
    Answered,
    /// To ask again at once, for something else.
    Again,
    /// Somebody else loads: to ask again after this pause.
    Busy(Duration),
}

impl Quest {
    pub(in crate::cache) fn new(offer: Offer) -> Self {
        let over = offer.over();
        Self { offer, over, takes: false, pause: Duration::ZERO, holder: None }
    }

    /// Whether one question does for both.
    pub(in crate::cache) fn asks_as(&self, other: &Self) -> bool {
        (self.over, self.takes) == (other.over, other.takes)
    }

    /// What is asked of the backend.
    pub(in crate::cache) fn want<'t>(
        &self,
        task: Task<'_>,
        tags: &'t Tags,
        wants_life: bool,
    ) -> Want<'t> {
        let hold = task.hold();
        let lease = match task.core.backend.about().can.leases {
            false => Ask::No,
            true if self.takes => Ask::Take { hold, tags },
            true => Ask::Own { hold, over: self.over, tags },
        };
        Want { meta: wants_life || task.policy.fresh.is_early(), lease, ..Want::VALUE }
    }

    /// Hears the answer.
    pub(in crate::cache) fn hear(
        &mut self,
        task: Task<'_>,
        claim: &mut Claim,
        taking: &mut dyn Taking,
        mut read: Read,
    ) -> Step {
        let fenced = task.core.backend.about().can.leases;
        let (mut answered, mut stale, mut there) = (false, false, false);
        // First of all: what was there may run code of the user's, which may panic.
        let refused = claim.keep(&mut read);
        claim.previous = None;
        if let Read::Hit(found) = &read {
            answered = task.answers(found, taking);
            (stale, there) = (found.stale, !self.takes);
            let known = found.entry.schema == task.policy.schema;
            claim.previous = (known && (stale || answered)).then(|| found.entry.clone());
            if answered && !stale && !self.is_still_due(found) {
                return Step::Answered;
            }
            if fenced && !self.takes && !stale && !answered {
                task.give_back(claim, false);
                self.takes = true;
                return Step::Again;
            }
            if fenced && stale && self.over == Over::Nothing {
                self.over = Over::Stale;
                return Step::Again;
            }
        }
        claim.refreshes = there;
        match refused {
            None => Step::Ours,
            // Who wants it anew whatever its age does not leave a value because it cannot stay.
            Some(Grant::None) if fenced && self.offer == Offer::Early(None) && there => {
                self.takes = true;
                Step::Again
            }
            Some(Grant::None) if fenced && answered && !stale => Step::Answered,
            Some(Grant::None) if fenced => Step::Ours,
            Some(Grant::None) => {
                claim.right = Right::Unfenced;
                Step::Ours
            }
            Some(_) if answered => {
                task.count_served(self.offer);
                Step::Answered
            }
            // This caller has no use for the value that others refresh, or leave alone for a while.
            Some(Grant::Busy { by, .. }) if there => {
                self.over = Over::Dead(by);
                Step::Again
            }
            Some(Grant::Busy { ask_again_in, by }) => self.wait(task, ask_again_in, by),
            Some(Grant::Granted(_)) => Step::Ours,
        }
    }

    /// Whether somebody else was loading when last heard of.
    pub(in crate::cache) fn waits(&self) -> bool {
        self.holder.is_some()
    }

    /// Whether a fresh value is the one that was to be refreshed, and not a younger one.
    fn is_still_due(&self, found: &Found) -> bool {
        let Offer::Early(seen) = self.offer else { return false };
        let age = found.more.as_ref().and_then(|more| more.life.age);
        match (seen, age) {
            (Some(seen), Some(age)) => age >= seen,
            _ => true,
        }
    }

    fn wait(&mut self, task: Task<'_>, ask_again_in: Duration, by: u64) -> Step {
        let (_, since) =
            self.holder.filter(|(holder, _)| *holder == by).unwrap_or_else(|| (by, Instant::now()));
        self.holder = Some((by, since));
        // Its server may keep the right of a process that died for longer than that.
        let is_dead = since.elapsed() >= task.hold();
        self.over = if is_dead { Over::Dead(by) } else { Over::Nothing };
        let ask_again_in = ask_again_in.min(LONGEST_PAUSE);
        self.pause = (self.pause * 2).clamp(ask_again_in, LONGEST_PAUSE);
        // What comes of the other load can be used, most likely: it is not to be taken away.
        self.takes = false;
        // All who wait would ask in step.
        Step::Busy(self.pause.mul_f64(0.75 + task.core.random.unit() / 2.0))
    }
}

impl<'a> Task<'a> {
    fn hold(self) -> Duration {
        self.policy.lease(self.core.backend.about().can.shared)
    }

    /// Obtains the right to store; false if the caller has an answer and need not load.
    pub(in crate::cache) fn obtain(
        self,
        claim: &mut Claim,
        offer: Offer,
        taking: &mut dyn Taking,
        deadline: Instant,
    ) -> Result<bool> {
        if offer == Offer::Down {
            return Ok(true);
        }
        let mut quest = Quest::new(offer);
        loop {
            let want = quest.want(self, &claim.tags, taking.wants_life());
            let read = self.core.read(&self.policy.until(deadline), self.name, &want)?;
            if quest.waits() && is_late(&read, deadline) {
                return Err(late());
            }
            match quest.hear(self, claim, taking, read) {
                Step::Ours => return Ok(true),
                Step::Answered => return Ok(false),
                Step::Again => {}
                Step::Busy(pause) => wait_to_ask_again(pause, deadline)?,
            }
        }
    }

    /// Whether the caller takes what was found.
    fn answers(self, found: &Found, taking: &mut dyn Taking) -> bool {
        let known = found.entry.schema == self.policy.schema;
        known && (!found.stale || self.policy.fresh.takes_stale()) && take(taking, found)
    }

    /// See [`Load::tag`](super::Load::tag).
    pub(in crate::cache) fn tag(self, claim: &mut Claim, tag: &str) -> Result<()> {
        claim.tags = claim.tags.joined(&Tags::within(self.name.space(), [tag])?)?;
        self.core.need_tags(&claim.tags)?;
        self.renew(claim).map(drop)
    }

    /// See [`Load::renew`](super::Load::renew).
    pub(in crate::cache) fn renew(self, claim: &mut Claim) -> Result<bool> {
        if !matches!(claim.right, Right::Lease(_)) {
            return Ok(matches!(claim.right, Right::Unfenced));
        }
        match self.hold_on(claim, self.hold()) {
            Ok(Some(lease)) => claim.right = Right::Lease(lease),
            // Overtaken, or nobody knows: others need not wait for a fill that will not come.
            Ok(None) => self.give_back(claim, true),
            Err(error) => {
                self.give_back(claim, true);
                return Err(error);
            }
        }
        Ok(matches!(claim.right, Right::Lease(_)))
    }

    /// Asks to keep the right for so long from now on.
    fn hold_on(self, claim: &Claim, hold: Duration) -> Result<Option<Box<Lease>>> {
        let Right::Lease(lease) = &claim.right else { return Ok(None) };
        let lease = Ask::Renew { lease, hold, tags: &claim.tags };
        let want = Want { quiet: true, lease, ..Want::VALUE };
        Ok(match granted(&mut self.core.read(self.policy, self.name, &want)?) {
            Grant::Granted(lease) => Some(lease),
            Grant::Busy { .. } | Grant::None => None,
        })
    }

    /// Gives the right back, whether the backend hears of it or not. After a failure it does not
    /// get much time for it.
    pub(in crate::cache) fn give_back(self, claim: &mut Claim, failed: bool) {
        let policy = if failed { self.policy.in_short() } else { *self.policy };
        if let Some(release) = self.releasing(claim) {
            let _ = self.core.write(&policy, release);
        }
    }

    /// The write that gives the right back, if there is one.
    pub(in crate::cache) fn releasing(self, claim: &mut Claim) -> Option<Write<'a>> {
        match claim.take_right() {
            Right::Lease(lease) => Some(Write::new(self.name, When::Lease(lease), Change::Release)),
            Right::Unfenced | Right::Lost | Right::Down => None,
        }
    }

    /// The loader failed, and there is a value meanwhile: nobody tries again for a while.
    pub(super) fn leave_alone(self, claim: &mut Claim) {
        let Freshness { retry_after, .. } = self.policy.fresh;
        let pauses = claim.refreshes && !retry_after.is_zero() && self.policy.fresh.takes_old();
        if pauses && self.hold_on(claim, retry_after).is_ok() {
            claim.right = Right::Lost;
        }
    }

    /// The same for a caller who has the value that is there.
    pub(in crate::cache) fn put_off(self, claim: &mut Claim) {
        self.leave_alone(claim);
        self.core.counters.add(Count::Stale);
        if let Some(more) = self.core.loaders_failing.on() {
            log::warn!("yokedcache: a loader failed; the value it was to replace is served{more}");
        }
        self.give_back(claim, false);
    }

    /// Stores what was loaded, if nothing overtook it; how to land, and what to tell the caller.
    pub(super) fn fill(self, claim: &mut Claim, change: Change) -> (Landing, Result<bool>) {
        match self.filling(claim, change) {
            Ok((write, filling)) => {
                let wrote = self.core.write(self.policy, write);
                let filled = self.filled(claim, filling, wrote);
                // Whether it was stored is not known. If not, nobody is to wait for it.
                self.give_back(claim, true);
                filled
            }
            Err(landing) => (landing, Ok(false)),
        }
    }

    /// The write that stores what was loaded; how to land if there is nothing to write.
    pub(in crate::cache) fn filling(
        self,
        claim: &mut Claim,
        change: Change,
    ) -> Result<(Write<'a>, Filling), Landing> {
        let shared = match &change {
            Change::Put(entry, life) => Landing::Value(entry.clone(), *life),
            _ => Landing::Again,
        };
        let (when, held) = match claim.take_right() {
            Right::Lease(lease) => (When::Lease(lease.clone()), Some(lease)),
            Right::Unfenced => (When::Always, None),
            Right::Down => return Err(shared.unsure()),
            Right::Lost => {
                self.core.counters.add(Count::Overtaken);
                return Err(Landing::Again);
            }
        };
        Ok((Write::new(self.name, when, change), Filling { shared, held }))
    }

    /// What became of it. If that is not known the right is back, to be released.
    pub(in crate::cache) fn filled(
        self,
        claim: &mut Claim,
        Filling { shared, held }: Filling,
        wrote: Result<Wrote>,
    ) -> (Landing, Result<bool>) {
        match wrote {
            Ok(Wrote::Not(NotDone::Overtaken)) => {
                self.core.counters.add(Count::Overtaken);
                (Landing::Again, Ok(false))
            }
            Ok(wrote) => {
                self.core.fills_failing.over();
                let stored = matches!((&shared, wrote), (Landing::Value(..), Wrote::Done(_)));
                self.core.counters.add_many(Count::Set, u64::from(stored));
                (shared, Ok(stored))
            }
            Err(error) => {
                if let Some(more) = self.core.fills_failing.on() {
                    log::debug!("yokedcache: a loaded value was not stored: {error}{more}");
                }
                claim.right = held.map_or(Right::Lost, Right::Lease);
                // A backend that answers, and does not take it, may have heard of an invalidation.
                let landing = if error.is_transient() { shared.unsure() } else { Landing::Again };
                // The caller has its value: a cache that cannot keep it does not take it away.
                (landing, if self.policy.strict { Err(error) } else { Ok(false) })
            }
        }
    }

    /// Gives the right back; what was loaded may be shared if nothing overtook it.
    pub(in crate::cache) fn release(self, claim: &mut Claim, entry: Entry) -> Landing {
        let shared = Landing::Value(entry, Life::new(Some(Duration::ZERO)));
        let lease = match claim.take_right() {
            Right::Lease(lease) => lease,
            Right::Unfenced => return shared,
            Right::Down => return shared.unsure(),
            Right::Lost => return Landing::Again,
        };
        let release = Write::new(self.name, When::Lease(lease), Change::Release);
        match self.core.write(self.policy, release) {
            Ok(Wrote::Done(_)) => shared,
            _ => Landing::Again,
        }
    }
}

/// Waits for that long if there is time for another answer after it, and else until the call ends: to
/// ask with no time left would look like an outage.
pub(in crate::cache) fn wait_to_ask_again(pause: Duration, deadline: Instant) -> Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let in_time = pause + TIME_TO_ANSWER < left;
    std::thread::sleep(if in_time { pause } else { left });
    if in_time { Ok(()) } else { Err(late()) }
}

/// Whether a question was not answered because the call has come to its end. Then nobody knows that
/// there is an outage.
pub(in crate::cache) fn is_late(read: &Read, deadline: Instant) -> bool {
    matches!(read, Read::Miss(Cause::Down, _)) && Instant::now() >= deadline
}

fn granted(read: &mut Read) -> Grant {
    match read {
        Read::Hit(found) => {
            found.more.as_mut().map(|more| std::mem::take(&mut more.grant)).unwrap_or_default()
        }
        Read::Miss(_, grant) => std::mem::take(grant),
        Read::Unanswered | Read::Failed(_) => Grant::None,
    }
}
