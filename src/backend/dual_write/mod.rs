//! Live migration: two backends that are both written, of which one is read.
//!
//! - [`gate`] keeps the mode as it is while a call lasts.
//! - [`writing`] writes and invalidates on both sides, and tells why neither is ever left older.
//! - [`reading`] fills a new side that is read from the old one; [`copying`](super::copying) is how.
//! - [`compare`] counts how the two differ.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::audience::Audience;
use super::changing::Changing;
use super::health::{DualWriteHealth, of_parts};
use super::{
    About, Attached, Backend, Call, Health, HealthWarning, Name, Read, Removed, Scope, Want, Write,
    Wrote,
};
use crate::error::{Error, ErrorKind, Result};
use crate::pattern::Pattern;

mod compare;
mod gate;
mod reading;
mod writing;

use compare::Comparison;
pub use compare::Divergence;
use gate::{Gate, PATIENCE, State};

/// The sides, as parts in statistics.
const OLD: &str = "old";
const NEW: &str = "new";

/// Two backends, an old one that is left and a new one that is moved to, while programs go on.
///
/// A clone is a handle to the same pair: one goes into the cache, the other stays with who decides.
/// The usual way is from [`ReadOld`](DualMode::ReadOld) over [`Compare`](DualMode::Compare) to
/// [`ReadNew`](DualMode::ReadNew) and [`NewOnly`](DualMode::NewOnly). From everywhere before the last
/// step one can go back.
///
/// What was invalidated is served by neither side, whatever the mode and its changes. That asks for
/// two backends that missed no invalidation before: give it a fresh one, or one that other processes
/// keep in step. If in doubt, change to [`OldOnly`](DualMode::OldOnly) first: what leaves a mode of
/// one side is cleared on the other.
///
/// # Cost
/// A read costs what it costs on the side that is read; the first one of a key after the change to
/// `ReadNew` four or five calls more. A write costs one call to the side that is read and two to the
/// other, a removal or invalidation three calls in all. A write or invalidation fails if the other
/// side might be left with something older; then it is to be repeated.
///
/// # Several processes
/// They may go from `ReadOld` to `ReadNew` and back one after the other; meanwhile conditions (`add`,
/// counters, locks, compare-and-swap) are decided on two sides, each for itself. No process may be in
/// a mode of one side while another reads the other side.
///
/// ```
/// use yokedcache::{Cache, DualMode, DualWrite, Memory};
///
/// # fn main() -> yokedcache::Result<()> {
/// let old = Memory::builder().max_size(100).build()?;
/// let new = Memory::builder().max_size(10_000).build()?;
/// let both = DualWrite::new(old, new);
/// let cache = Cache::builder(both.clone()).build()?;
/// cache.set("k", &1)?;
/// both.set_mode(DualMode::Compare { part: 0.1 })?;
/// both.set_mode(DualMode::ReadNew)?;
/// both.set_mode(DualMode::NewOnly)?;
/// assert_eq!(cache.get::<i32>("k")?, Some(1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DualWrite(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    old: Arc<dyn Backend>,
    new: Arc<dyn Backend>,
    gate: Gate,
    changing: Changing,
    audience: Audience,
    comparison: Comparison,
}

/// Which side of a [`DualWrite`] is read, and which are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DualMode {
    /// Both are written, the old one is read.
    #[default]
    ReadOld,
    /// The same, and some reads look at the new one, too, and count how the two
    /// [differ](DualWrite::divergence).
    Compare {
        /// How many of the reads: from 0, none, to 1, all.
        part: f64,
    },
    /// Both are written, the new one is read; what it misses is filled in from the old one.
    ReadNew,
    /// The new one is all there is: done.
    NewOnly,
    /// The old one is all there is: rolled back.
    OldOnly,
}

/// What a mode comes down to.
#[derive(Clone, Copy, Debug)]
enum Sides {
    Old,
    New,
    Both { new_leads: bool, fills: bool, part: f64 },
}

/// The two sides during a call.
struct Both<'b> {
    call: Call,
    old: &'b dyn Backend,
    new: &'b dyn Backend,
    /// Whether the new one is read and decides.
    new_leads: bool,
    /// Whether what the new one misses comes from the old one.
    fills: bool,
}

impl DualMode {
    fn state(self) -> State {
        let both = |new_leads, part| Sides::Both { new_leads, fills: new_leads, part };
        let sides = match self {
            Self::ReadOld => both(false, 0.0),
            Self::Compare { part } => both(false, part),
            Self::ReadNew => both(true, 0.0),
            Self::NewOnly => Sides::New,
            Self::OldOnly => Sides::Old,
        };
        State { mode: self, sides }
    }
}

impl Sides {
    /// Works with one side, written along the other, which is never read.
    fn both_reading(new_leads: bool) -> Self {
        Self::Both { new_leads, fills: false, part: 0.0 }
    }
}

impl Both<'_> {
    fn leader(&self) -> &dyn Backend {
        if self.new_leads { self.new } else { self.old }
    }

    fn follower(&self) -> &dyn Backend {
        if self.new_leads { self.old } else { self.new }
    }
}

impl DualWrite {
    /// A pair that begins with [`ReadOld`](DualMode::ReadOld).
    pub fn new(old: impl Backend, new: impl Backend) -> Self {
        Self::over(Arc::new(old), Arc::new(new))
    }

    pub(super) fn over(old: Arc<dyn Backend>, new: Arc<dyn Backend>) -> Self {
        Self(Arc::new(Shared {
            old,
            new,
            gate: Gate::new(DualMode::default().state()),
            changing: Changing::default(),
            audience: Audience::default(),
            comparison: Comparison::default(),
        }))
    }

    /// The mode. No I/O.
    pub fn mode(&self) -> DualMode {
        self.0.gate.now().mode
    }

    /// Changes the mode, once all calls under way have ended; those that come meanwhile wait, as long
    /// as their time allows, and at most 5 seconds.
    ///
    /// Between the modes of both sides that is all it costs, and nothing is lost, but that going back
    /// from `ReadNew` finds no counters and entries whose end was moved while it lasted. A change to
    /// a mode of one side costs the same; the other side misses what is done from then on. A change
    /// away from it costs what [`clear`](crate::Cache::clear) costs on the other side, which is
    /// cleared of this cache, with both sides written meanwhile.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if `part` is not from 0 to 1;
    /// [`Unsupported`](ErrorKind::Unsupported) for `ReadNew` if the new side gives no
    /// [leases](super::Can::leases); [`Timeout`](ErrorKind::Timeout) if calls did not end in time;
    /// [`Reentrant`](ErrorKind::Reentrant) in an event handler that is told of something in the middle
    /// of a change; and if the other side cannot be cleared. The mode is as it was then.
    pub fn set_mode(&self, mode: DualMode) -> Result<()> {
        let _changing = self.0.changing.begin()?;
        self.check(mode)?;
        // By its mode: where a change failed half way, both sides may be written, one in vain.
        let before = self.mode().state();
        let changed = match (before.sides, mode.state().sides) {
            (Sides::Old, Sides::Old) | (Sides::New, Sides::New) | (Sides::Both { .. }, _) => Ok(()),
            (Sides::Old, _) => self.bring_in(&*self.0.new, false),
            (Sides::New, _) => self.bring_in(&*self.0.old, true),
        };
        let changed = changed.and_then(|()| self.0.gate.change(mode.state(), PATIENCE));
        if changed.is_err() && !matches!(before.sides, Sides::Both { .. }) {
            // Should that fail, too, the other side is written for nothing, and never read.
            let _ = self.0.gate.change(before, PATIENCE);
        }
        changed
    }

    fn check(&self, mode: DualMode) -> Result<()> {
        if let DualMode::Compare { part } = mode
            && !(0.0..=1.0).contains(&part)
        {
            let what = "the part of the reads to compare is from 0 to 1";
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        let About { name, can } = self.0.new.about();
        if mode == DualMode::ReadNew && !can.leases {
            return Err(Error::unsupported(name, "being filled from another backend"));
        }
        Ok(())
    }

    /// Writes a side along that missed what was done so far, and clears it once every call does.
    fn bring_in(&self, side: &dyn Backend, new_leads: bool) -> Result<()> {
        self.0.audience.may_clear(side)?;
        let sides = Sides::both_reading(new_leads);
        self.0.gate.change(State { mode: self.mode(), sides }, PATIENCE)?;
        self.0.audience.clear(side, Call::Unlimited)
    }

    /// How often the sides differed in [`Compare`](DualMode::Compare), in keys, since the pair was
    /// made. A key that seems to differ is read again once from both before it counts.
    pub fn divergence(&self) -> Divergence {
        self.0.comparison.counts()
    }

    /// Leaves the old side for good, once the calls under way have ended.
    pub(super) fn finish(&self, patience: Duration) -> Result<()> {
        self.0.gate.change(DualMode::NewOnly.state(), patience)
    }
}

impl Shared {
    fn both(&self, call: Call, new_leads: bool, fills: bool) -> Both<'_> {
        Both { call, old: &*self.old, new: &*self.new, new_leads, fills }
    }

    fn read_both(
        &self,
        both: &Both<'_>,
        part: f64,
        keys: &[Name<'_>],
        want: &Want<'_>,
        out: &mut [Read],
    ) -> Result<()> {
        let sides = (both.old, both.new);
        if both.fills {
            return reading::read_filled(both.call, sides, keys, want, out);
        }
        both.leader().read(both.call, keys, want, out)?;
        if part > 0.0 && self.comparison.is_due(part) {
            self.comparison.compare(both.call, sides, keys, (want, out));
        }
        Ok(())
    }
}

impl Backend for DualWrite {
    fn about(&self) -> About {
        let (old, new) = (self.0.old.about().can, self.0.new.about().can);
        About::new(
            "dual-write",
            match self.0.gate.now().sides {
                Sides::Old => old,
                Sides::New => new,
                Sides::Both { .. } => old.and(new),
            },
        )
    }

    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        let call = call.armed();
        let inside = self.0.gate.enter(call)?;
        match inside.sides {
            Sides::Old => self.0.old.read(call, keys, want, out),
            Sides::New => self.0.new.read(call, keys, want, out),
            Sides::Both { new_leads, fills, part } => {
                self.0.read_both(&self.0.both(call, new_leads, fills), part, keys, want, out)
            }
        }
    }

    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        let call = call.armed();
        let inside = self.0.gate.enter(call)?;
        match inside.sides {
            Sides::Old => self.0.old.write(call, writes, out),
            Sides::New => self.0.new.write(call, writes, out),
            Sides::Both { new_leads, fills, .. } => {
                writing::write_both(&self.0.both(call, new_leads, fills), writes, out);
                Ok(())
            }
        }
    }

    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        let call = call.armed();
        let inside = self.0.gate.enter(call)?;
        match inside.sides {
            Sides::Old => self.0.old.invalidate(call, what),
            Sides::New => self.0.new.invalidate(call, what),
            Sides::Both { new_leads, fills, .. } => {
                writing::invalidate_both(&self.0.both(call, new_leads, fills), what)
            }
        }
    }

    /// Does not hold the mode: `page` may take its time.
    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        let (old, new) = (&self.0.old, &self.0.new);
        match self.0.gate.now().sides {
            Sides::Old | Sides::Both { new_leads: false, .. } => old.scan(call, what, page),
            Sides::New | Sides::Both { fills: false, .. } => new.scan(call, what, page),
            Sides::Both { .. } => {
                let mut goes_on = true;
                new.scan(call, what, &mut |keys| {
                    let flow = page(keys);
                    goes_on = flow.is_continue();
                    flow
                })?;
                if goes_on { old.scan(call, what, page) } else { Ok(()) }
            }
        }
    }

    fn children(&self, each: &mut dyn FnMut(&str, &dyn Backend)) {
        each(OLD, &*self.0.old);
        each(NEW, &*self.0.new);
    }

    fn health(&self, call: Call, probe: Name<'_>) -> Health {
        let sides = self.0.gate.now().sides;
        let reads_new = matches!(sides, Sides::New | Sides::Both { new_leads: true, .. });
        let serving = if reads_new { NEW } else { OLD };
        let mut health = of_parts(self, call, probe, |part| part == serving);
        let (mode, divergence) = (self.mode(), self.divergence());
        health.migration = Some(DualWriteHealth { mode, divergence });
        if divergence.differences() > 0 {
            health.warn(diverged(divergence));
        }
        health
    }

    fn attach(&self, cache: &Attached<'_>) -> Result<()> {
        let _changing = self.0.changing.begin()?;
        self.0.old.attach(cache)?;
        self.0.new.attach(cache)?;
        self.0.audience.join(cache);
        Ok(())
    }
}

fn diverged(counts: Divergence) -> HealthWarning {
    let text = format!(
        "of {} entries compared {} differ on the two sides: other programs still write one side \
         only, or do not write both in the same way. Look for them before reading the new side",
        counts.same + counts.differences(),
        counts.differences(),
    );
    HealthWarning::new("divergence", text)
}
