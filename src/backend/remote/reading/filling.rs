//! The right to fill a key: asked for, kept, and the versions of tags it is given under.

use std::sync::Arc;
use std::time::Duration;

use super::{Reading, State};
use crate::backend::envelope::Opened;
use crate::backend::remote::lies::Lies;
use crate::backend::remote::seal::millis;
use crate::backend::remote::stamp::is_of_value;
use crate::backend::remote::store::{Look, Store, Swapped};
use crate::backend::remote::talk::{Answers, Talk};
use crate::backend::{Ask, Cause, Grant, Lease, Over, Read, TagVersion, Tags};
use crate::error::{ErrorKind, Result};

/// How soon a caller asks again whether somebody else's load is done.
const ASK_AGAIN: Duration = Duration::from_millis(5);

impl<'a, S: Store> Reading<'a, S> {
    pub(super) fn lease_tags(&self) -> &'a Tags {
        match self.want.lease {
            Ask::Own { tags, .. } | Ask::Take { tags, .. } | Ask::Renew { tags, .. } => tags,
            Ask::No | Ask::Watch { .. } => const { &Tags::NONE },
        }
    }

    pub(super) fn hold_ms(&self) -> u64 {
        match self.want.lease {
            Ask::Own { hold, .. } | Ask::Take { hold, .. } | Ask::Renew { hold, .. } => {
                millis(hold)
            }
            Ask::No | Ask::Watch { .. } => 1,
        }
    }

    /// Asks for the versions of the tags a load will carry, before its loader runs.
    pub(super) fn ask_lease_tags(&self, talk: &mut Talk<'_, S>) {
        for tag in self.lease_tags().iter() {
            match talk.store.memory().version(tag, Some(Duration::ZERO)) {
                Some(_) => talk.want_tag(tag),
                None => talk.make_tag(tag, Some(Duration::ZERO)),
            }
        }
    }

    /// The versions of the load's tags: `None` if a record has to be made first.
    pub(super) fn lease_versions(&self, talk: &Talk<'_, S>) -> Result<Option<Arc<[TagVersion]>>> {
        let mut seen = Vec::with_capacity(self.lease_tags().len());
        let before = match self.want.lease {
            Ask::Renew { lease, .. } => lease.seen.as_deref().unwrap_or_default(),
            _ => &[],
        };
        for tag in self.lease_tags().iter() {
            // What was read before the loader began judges it.
            let known = before.iter().find(|(seen, _)| &**seen == tag).map(|(_, version)| *version);
            let version = match known {
                Some(version) => Some(version),
                None => talk.tag_now(tag)?,
            };
            match version {
                Some(version) => seen.push((tag.into(), version)),
                None => return Ok(None),
            }
        }
        Ok(Some(seen.into()))
    }

    /// Whether a value may stay while it is loaded anew. An invalidation of all of some tags looks at
    /// what lies there, and overtakes the load by removing it. It removes what is stale, and what has
    /// the tags: so what is fresh must have those of the fill.
    pub(super) fn may_refresh(&self, lies: &Lies<S::Seen>, now_ms: u64) -> bool {
        let soft = lies.envelope().and_then(|envelope| envelope.soft);
        let tags = lies.tags();
        soft.is_some_and(|soft| soft <= now_ms)
            || self.lease_tags().iter().all(|tag| tags.contains(tag))
    }

    pub(super) fn lease(&self, talk: &Talk<'_, S>, id: u128, seen: Arc<[TagVersion]>) -> Grant {
        let mut lease = Lease::new(talk.store.origin(), id);
        lease.seen = Some(seen);
        Grant::Granted(Box::new(lease))
    }

    /// A placeholder is there: somebody loads, or did so when it died.
    pub(super) fn somebody_loads(&mut self, token: u128, seen: S::Seen) -> bool {
        // Half of it is random enough to tell one from another.
        let by = (token >> 64) as u64;
        let grant = match self.want.lease {
            Ask::Own { over: Over::Dead(dead), .. } if dead == by => {
                return self.go(State::Acquire(Some(seen)));
            }
            Ask::Own { .. } | Ask::Take { .. } => Grant::Busy { ask_again_in: ASK_AGAIN, by },
            _ => Grant::None,
        };
        self.miss(Cause::Absent, grant)
    }

    pub(super) fn hear_acquire(
        &mut self,
        talk: &mut Talk<'_, S>,
        answers: &mut Answers<'_, S::Reply>,
    ) -> Result<bool> {
        let swapped = match talk.store.hear_swap(self.key, answers) {
            Err(error) if error.kind() == ErrorKind::WrongType => {
                return Ok(self.miss(Cause::Undecodable, Grant::None));
            }
            swapped => swapped?,
        };
        Ok(match swapped {
            Swapped::Done(seen) => match S::id_stored(Some(self.token), seen.as_ref()) {
                Some(id) => self.acquired(talk, id),
                None => self.go(State::Abandon(None, Ok(()))),
            },
            Swapped::There(Lies { opened: Opened::Placeholder(by), seen, .. }) => {
                self.somebody_loads(by, seen)
            }
            Swapped::There(_) | Swapped::Other => self.go(State::Look),
            Swapped::Nothing => self.go(State::Acquire(None)),
        })
    }

    /// The placeholder is ours: the load may begin once its tags have versions.
    pub(super) fn acquired(&mut self, talk: &Talk<'_, S>, id: u128) -> bool {
        match self.lease_versions(talk) {
            Ok(Some(seen)) => {
                let grant = self.lease(talk, id, seen);
                self.miss(self.cause, grant)
            }
            Ok(None) => self.go(State::MakeTags(id)),
            Err(error) => self.go(State::Abandon(Some(id), Err(error))),
        }
    }

    pub(super) fn hear_guard(
        &mut self,
        lies: Lies<S::Seen>,
        stale: bool,
        talk: &mut Talk<'_, S>,
        answers: &mut Answers<'_, S::Reply>,
    ) -> Result<bool> {
        let won = matches!(talk.store.hear_swap(self.key, answers)?, Swapped::Done(_));
        let grant = match (won, S::id_of(&lies)) {
            (true, Some(id)) => match self.lease_versions(talk)? {
                Some(seen) => self.lease(talk, id, seen),
                // A record was lost since it was remembered.
                None => Grant::None,
            },
            (true, None) => Grant::None,
            (false, _) => Grant::Busy { ask_again_in: ASK_AGAIN, by: 0 },
        };
        let unused = won && matches!(grant, Grant::None);
        let found = self.hit(talk, lies, stale, grant);
        *self.out = Read::Hit(found);
        Ok(if unused { self.go(State::Unguard) } else { self.finish_as_is() })
    }

    pub(super) fn hear_renew(
        &mut self,
        talk: &mut Talk<'_, S>,
        answers: &mut Answers<'_, S::Reply>,
    ) -> Result<bool> {
        let Ask::Renew { lease, .. } = self.want.lease else {
            return Ok(self.miss(Cause::Absent, Grant::None));
        };
        let held = if is_of_value(lease.id) {
            let look = Look { whole: false, life: false };
            let lies = talk.store.hear_look(self.key, look, answers)?;
            let ours = |lies: &Lies<S::Seen>| S::id_of(lies) == Some(lease.id);
            let held = lies.filter(|lies| ours(lies) && self.may_refresh(lies, talk.now_ms));
            held.map(|_| Some(lease.id))
        } else {
            // A placeholder renewed has a new token: who waits sees that its owner is alive.
            match talk.store.hear_swap(self.key, answers)? {
                Swapped::Done(seen) => Some(S::id_stored(Some(self.token), seen.as_ref())),
                _ => None,
            }
        };
        let seen = self.lease_versions(talk);
        if let (Some(id), false, false) = (held, is_of_value(lease.id), matches!(seen, Ok(Some(_))))
        {
            // The right has another name by now that its holder will not hear of.
            let id = Some(id.unwrap_or(lease.id));
            return Ok(self.go(State::Abandon(id, seen.map(drop))));
        }
        let grant = match (seen?, held) {
            (Some(seen), Some(id)) if lease.origin == talk.store.origin() => {
                self.lease(talk, id.unwrap_or(lease.id), seen)
            }
            _ => Grant::None,
        };
        Ok(self.miss(Cause::Absent, grant))
    }
}
