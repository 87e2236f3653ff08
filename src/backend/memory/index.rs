//! Small numbers for keys, and which of them carry a tag.

use std::collections::{HashMap, HashSet};

use smol_str::SmolStr;

use crate::tag::Tags;

/// Numbers the keys of a shard. Numbers are used again; a key keeps its own while it is there, so
/// a walk over the numbers meets every key that is there throughout.
#[derive(Debug, Default)]
pub(super) struct Roster {
    keys: Vec<Option<SmolStr>>,
    free: Vec<u32>,
}

impl Roster {
    pub(super) fn add(&mut self, key: SmolStr) -> u32 {
        if let Some(id) = self.free.pop() {
            self.keys[id as usize] = Some(key);
            return id;
        }
        self.keys.push(Some(key));
        // A shard of four billion entries would not fit any memory.
        (self.keys.len() - 1) as u32
    }

    pub(super) fn remove(&mut self, id: u32) {
        self.keys[id as usize] = None;
        self.free.push(id);
    }

    pub(super) fn get(&self, id: u32) -> Option<&SmolStr> {
        self.keys.get(id as usize)?.as_ref()
    }

    /// One more than the largest number ever in use here.
    pub(super) fn end(&self) -> u32 {
        self.keys.len() as u32
    }
}

/// Which entries carry a tag. A tag nobody carries leaves nothing behind.
#[derive(Debug, Default)]
pub(super) struct TagIndex {
    members: HashMap<Box<str>, HashSet<u32>>,
    links: usize,
}

impl TagIndex {
    pub(super) fn add(&mut self, id: u32, tags: &Tags) {
        for tag in tags.iter() {
            let added = match self.members.get_mut(tag) {
                Some(members) => members.insert(id),
                None => self.members.insert(tag.into(), HashSet::from([id])).is_none(),
            };
            self.links += usize::from(added);
        }
    }

    pub(super) fn remove(&mut self, id: u32, tags: &Tags) {
        for tag in tags.iter() {
            let Some(members) = self.members.get_mut(tag) else { continue };
            self.links -= usize::from(members.remove(&id));
            if members.is_empty() {
                self.members.remove(tag);
            }
        }
    }

    pub(super) fn members(&self, tag: &str) -> impl Iterator<Item = u32> {
        self.members.get(tag).into_iter().flatten().copied()
    }

    /// How many pairs of entry and tag there are.
    pub(super) fn links(&self) -> usize {
        self.links
    }
}
