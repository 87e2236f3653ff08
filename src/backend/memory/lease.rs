//! Rights to fill a key, kept beside the entries of a shard and under the same lock.
//!
//! What changes a key, or invalidates its pattern or one of the tags of a fill, takes the rights to
//! it away; a fill without a right is refused. That is the whole fence: the key's own place holds
//! it from the moment a load begins, so one walk over the shards overtakes every load that began
//! before the walk.

use std::collections::HashMap;
use std::time::Duration;

use crate::backend::{Ask, Grant, Lease, Origin, Over, Tags};
use crate::clock::{self, Tick};

/// How long a watcher may take: it waits for another backend's answer, never for a loader.
const WATCH: Duration = Duration::from_secs(60);
/// How soon a caller asks again whether somebody else's load is done.
const ASK_AGAIN: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
pub(super) struct Leases(HashMap<Box<str>, Vec<Held>>);

#[derive(Debug)]
struct Held {
    id: u128,
    kind: Kind,
    end: Tick,
    tags: Tags,
}

/// What a right is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// To fill if nothing changed. Any number of holders.
    Watch,
    /// To replace a value that is there. Once that has gone it keeps nobody from loading the key.
    Refresh,
    /// To load what is missing.
    Load,
}

/// Who asks for what, and when.
pub(super) struct Request<'a> {
    pub(super) key: &'a str,
    pub(super) ask: Ask<'a>,
    /// Whether there is a value that stays until the fill.
    pub(super) over_value: bool,
    pub(super) origin: Origin,
    pub(super) fresh_id: u128,
}

impl Request<'_> {
    fn passes_over(&self, held: &Held) -> bool {
        let Ask::Own { over: Over::Dead(by), .. } = self.ask else { return false };
        held.kind == Kind::Refresh && held.id as u64 == by
    }
}

impl Leases {
    /// Answers a request. Whether the state of the key allows it is the caller's business.
    pub(super) fn ask(&mut self, request: &Request<'_>, now: Tick) -> Grant {
        match request.ask {
            Ask::No => Grant::None,
            Ask::Watch { tags } => {
                self.give(request, Kind::Watch, clock::after(now, Some(WATCH)), tags)
            }
            Ask::Own { hold, tags, .. } | Ask::Take { hold, tags } => {
                let kind = if request.over_value { Kind::Refresh } else { Kind::Load };
                match self.holder(request.key, kind, now) {
                    // Who refreshes a value is not waited for by who cannot use it.
                    Some(held) if kind == Kind::Refresh && request.passes_over(held) => {
                        self.give(request, kind, clock::after(now, Some(hold)), tags)
                    }
                    Some(held) => {
                        Grant::Busy { ask_again_in: soon(now, held.end), by: held.id as u64 }
                    }
                    None => self.give(request, kind, clock::after(now, Some(hold)), tags),
                }
            }
            Ask::Renew { lease, hold, tags } => {
                self.renew(request, lease, clock::after(now, Some(hold)), tags, now)
            }
        }
    }

    fn give(&mut self, request: &Request<'_>, kind: Kind, end: Tick, tags: &Tags) -> Grant {
        let held = Held { id: request.fresh_id, kind, end, tags: tags.clone() };
        self.0.entry(request.key.into()).or_default().push(held);
        Grant::Granted(Box::new(Lease::new(request.origin, request.fresh_id)))
    }

    fn renew(
        &mut self,
        request: &Request<'_>,
        lease: &Lease,
        end: Tick,
        tags: &Tags,
        now: Tick,
    ) -> Grant {
        let Some(held) = self.find(request.key, lease, request.origin, now) else {
            return Grant::None;
        };
        held.end = end;
        held.tags = held.tags.and(tags);
        Grant::Granted(Box::new(lease.clone()))
    }

    fn find(&mut self, key: &str, lease: &Lease, origin: Origin, now: Tick) -> Option<&mut Held> {
        let holders = self.0.get_mut(key)?.iter_mut();
        holders
            .into_iter()
            .find(|held| lease.origin == origin && held.id == lease.id && held.end > now)
    }

    /// Who keeps others from such a right.
    fn holder(&self, key: &str, kind: Kind, now: Tick) -> Option<&Held> {
        let in_the_way = |held: &&Held| match held.kind {
            Kind::Watch => false,
            Kind::Refresh => kind == Kind::Refresh,
            Kind::Load => true,
        };
        let holders = self.0.get(key)?.iter().filter(in_the_way);
        holders.filter(|held| held.end > now).max_by_key(|held| held.end)
    }

    /// Whether a right is still good.
    pub(super) fn holds(&mut self, key: &str, lease: &Lease, origin: Origin, now: Tick) -> bool {
        self.find(key, lease, origin, now).is_some()
    }

    pub(super) fn release(&mut self, key: &str, lease: &Lease) {
        if let Some(holders) = self.0.get_mut(key) {
            holders.retain(|held| held.id != lease.id);
            if holders.is_empty() {
                self.0.remove(key);
            }
        }
    }

    /// Takes all rights to a key away.
    #[inline]
    pub(super) fn overtake(&mut self, key: &str) {
        if !self.0.is_empty() {
            self.0.remove(key);
        }
    }

    /// Takes the rights away of which `hit` says so by key and tags.
    pub(super) fn overtake_where(&mut self, hit: impl Fn(&str, &Tags) -> bool) {
        self.0.retain(|key, holders| {
            holders.retain(|held| !hit(key, &held.tags));
            !holders.is_empty()
        });
    }

    /// Forgets rights whose time is over.
    pub(super) fn sweep(&mut self, now: Tick) {
        self.0.retain(|_, holders| {
            holders.retain(|held| held.end > now);
            !holders.is_empty()
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn soon(now: Tick, end: Tick) -> Duration {
    clock::left(now, end).unwrap_or(ASK_AGAIN).min(ASK_AGAIN)
}
