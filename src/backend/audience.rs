//! The caches a wrapper is part of: who hears of its changes, and whose names it may touch.

use parking_lot::Mutex;

use super::event::{Attached, Event, Events};
use super::{Backend, Call, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::pattern::Pattern;

#[derive(Debug, Default)]
pub(super) struct Audience(Mutex<Vec<(Box<str>, Events)>>);

impl Audience {
    /// Takes a cache in.
    pub(super) fn join(&self, cache: &Attached<'_>) {
        self.0.lock().push((cache.space.into(), cache.events.clone()));
    }

    fn members(&self) -> Vec<(Box<str>, Events)> {
        self.0.lock().clone()
    }

    /// The prefixes of the caches, each once, without those that lie in another.
    pub(super) fn spaces(&self) -> Vec<Box<str>> {
        let mut spaces: Vec<Box<str>> =
            self.members().into_iter().map(|(space, _)| space).collect();
        spaces.sort();
        spaces.dedup_by(|later, kept| later.starts_with(&**kept));
        spaces
    }

    /// Logs an event and tells all caches, with no lock held.
    pub(super) fn tell(&self, event: &Event) {
        log::log!(event.level(), "yokedcache: {event}");
        self.members().iter().for_each(|(_, events)| events.tell(event));
    }

    /// Makes a backend part of these caches.
    pub(super) fn attach(&self, backend: &dyn Backend) -> Result<()> {
        let members = self.members();
        members.iter().try_for_each(|(space, events)| backend.attach(&Attached::new(space, events)))
    }

    /// Whether all that these caches have at a backend can be cleared, and nothing else with it.
    pub(super) fn may_clear(&self, backend: &dyn Backend) -> Result<()> {
        let super::About { name, can } = backend.about();
        if !can.scan {
            return Err(Error::unsupported(name, "clearing a namespace"));
        }
        if can.shared && self.spaces().iter().any(|space| space.is_empty()) {
            let what = format!("without a key prefix {name} cannot be cleared: others use it, too");
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        Ok(())
    }

    /// Removes all that these caches have at a backend, and every right to fill.
    pub(super) fn clear(&self, backend: &dyn Backend, call: Call) -> Result<()> {
        self.may_clear(backend)?;
        for space in self.spaces() {
            backend.invalidate(call, &Scope::Keys(&Pattern::prefix(&space)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_are_told_once_and_not_within_each_other() {
        let audience = Audience::default();
        for space in ["shop:eu:", "a:", "shop:", "a:", "shopping:"] {
            audience.join(&Attached::new(space, &Events::default()));
        }
        assert_eq!(audience.spaces(), ["a:", "shop:", "shopping:"].map(Box::from));
    }
}
