//! What a backend missed: removals and invalidations to be carried out there. A bounded structure
//! without lock, file and thread.

use hashlink::LinkedHashSet;
use serde::{Deserialize, Serialize};

use crate::backend::{Change, Name, Scope, When, Write};
use crate::pattern::Parts;

/// One thing to carry out. All of them only remove: to repeat one, or to change their order, is safe.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Item {
    /// Remove this key.
    Key(Named),
    /// Invalidate this tag.
    Tag(Named),
    /// Invalidate what has all of these tags.
    AllTags(Vec<Named>),
    /// Invalidate the keys of a pattern.
    Keys(Parts),
}

/// A full name in two parts: its namespace, and the rest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Named(Box<str>, Box<str>);

impl Named {
    fn of(name: &Name<'_>) -> Self {
        Self(name.space().into(), name.rest().into())
    }

    pub(super) fn space(&self) -> usize {
        self.0.len()
    }

    pub(super) fn full(&self) -> String {
        [&*self.0, &self.1].concat()
    }

    fn begins_with(&self, prefix: &str) -> bool {
        match prefix.strip_prefix(&*self.0) {
            Some(beyond) => self.1.starts_with(beyond),
            None => self.0.starts_with(prefix),
        }
    }
}

impl Item {
    /// What a backend misses that does not make this write: whatever it would have changed, the old
    /// value must not come back. A fill changes nothing that somebody was told of.
    pub(super) fn of_write(write: &Write<'_>) -> Option<Self> {
        let fills = matches!(write.when, When::Lease(_));
        let changes = !matches!(write.change, Change::Release);
        (changes && !fills).then(|| Self::removal(&write.key))
    }

    /// The removal of a key.
    pub(super) fn removal(key: &Name<'_>) -> Self {
        Self::Key(Named::of(key))
    }

    /// What a backend misses that does not carry this out.
    pub(super) fn of_scope(scope: &Scope<'_>) -> Vec<Self> {
        match scope {
            Scope::Keys(pattern) => vec![Self::Keys(pattern.parts())],
            Scope::AnyTag(tags) => tags.iter().map(|tag| Self::Tag(Named::of(tag))).collect(),
            Scope::AllTags([]) => Vec::new(),
            Scope::AllTags(tags) => vec![Self::AllTags(tags.iter().map(Named::of).collect())],
        }
    }

    /// Whether all it could remove goes if everything goes that begins with `prefix`.
    fn is_within(&self, prefix: &str) -> bool {
        match self {
            Self::Key(name) | Self::Tag(name) => name.begins_with(prefix),
            Self::AllTags(tags) => tags.iter().any(|tag| tag.begins_with(prefix)),
            Self::Keys(parts) => parts.space().starts_with(prefix),
        }
    }

    /// Whether it removes all that begins with `prefix`.
    pub(super) fn clears(&self, prefix: &str) -> bool {
        matches!(self, Self::Keys(parts) if *parts == Parts::prefix(prefix))
    }

    /// The key or the tag.
    pub(super) fn name(&self) -> Option<&Named> {
        match self {
            Self::Key(name) | Self::Tag(name) => Some(name),
            _ => None,
        }
    }

    /// Whether it can be carried out together with another of this kind.
    fn joins(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Key(_), Self::Key(_)) | (Self::Tag(_), Self::Tag(_)))
    }
}

/// What became of an item to be noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Append {
    /// It is noted.
    New,
    /// It was already, or something that includes it.
    Known,
    /// There is no room. It is not noted.
    Full,
}

#[derive(Debug)]
pub(super) struct Journal {
    limit: usize,
    todo: LinkedHashSet<Item>,
    /// Being carried out. What is noted meanwhile is noted again: it may have come too late for that.
    flying: Vec<Item>,
    /// All below these is among what is to do.
    cleared: Vec<Box<str>>,
}

impl Journal {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, todo: LinkedHashSet::new(), flying: Vec::new(), cleared: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.todo.len() + self.flying.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.flying.iter().chain(self.todo.iter())
    }

    /// Notes an item.
    pub(super) fn append(&mut self, item: Item) -> Append {
        let is_known =
            self.todo.contains(&item) || self.cleared.iter().any(|prefix| item.is_within(prefix));
        if is_known {
            return Append::Known;
        }
        if self.len() >= self.limit {
            return Append::Full;
        }
        self.todo.insert(item);
        Append::New
    }

    /// Notes an item for which there is no room.
    pub(super) fn append_beyond(&mut self, item: Item) {
        self.todo.insert(item);
    }

    /// Puts the removal of all that begins with one of these prefixes in place of the items that it
    /// includes, before all others. Returns what is new.
    pub(super) fn collapse(&mut self, prefixes: &[Box<str>]) -> Vec<Item> {
        self.todo.retain(|item| !prefixes.iter().any(|prefix| item.is_within(prefix)));
        let clears = prefixes.iter().map(|prefix| Item::Keys(Parts::prefix(prefix)));
        let clears: Vec<Item> = clears.collect();
        self.put_first(clears.clone());
        self.cleared = prefixes.to_vec();
        clears
    }

    /// Takes the first items that can be carried out together, at most `most`.
    pub(super) fn take(&mut self, most: usize) -> &[Item] {
        debug_assert!(self.flying.is_empty(), "one group at a time");
        while self.flying.len() < most {
            match (self.todo.front(), self.flying.first()) {
                (Some(next), Some(first)) if !next.joins(first) => break,
                _ => {}
            }
            let Some(item) = self.todo.pop_front() else { break };
            self.flying.push(item);
        }
        // From now on names below them are noted again.
        self.cleared.clear();
        &self.flying
    }

    /// What was taken is carried out; how many items it was.
    pub(super) fn done(&mut self) -> usize {
        std::mem::take(&mut self.flying).len()
    }

    /// What was taken is not carried out, or not all of it: it comes first again.
    pub(super) fn put_back(&mut self) {
        let flying = std::mem::take(&mut self.flying);
        self.put_first(flying);
    }

    fn put_first(&mut self, items: Vec<Item>) {
        for item in items.into_iter().rev() {
            self.todo.insert(item.clone());
            self.todo.to_front(&item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;
    use proptest::prelude::*;

    fn key(full: &str) -> Item {
        Item::Key(Named("shop:".into(), full.into()))
    }

    fn tag(full: &str) -> Item {
        Item::Tag(Named("shop:".into(), full.into()))
    }

    fn journal(items: impl IntoIterator<Item = Item>) -> Journal {
        let mut journal = Journal::new(100);
        for item in items {
            assert_eq!(journal.append(item), Append::New);
        }
        journal
    }

    #[test]
    fn an_item_is_noted_once_while_it_is_to_do() {
        let mut journal = journal([key("a")]);
        assert_eq!(journal.append(key("a")), Append::Known);
        assert_eq!(journal.append(tag("a")), Append::New);
        assert_eq!(journal.len(), 2);
    }

    #[test]
    fn an_item_being_carried_out_is_noted_again() {
        let mut journal = journal([key("a")]);
        assert_eq!(journal.take(9), [key("a")]);
        assert_eq!(journal.append(key("a")), Append::New);
        assert_eq!((journal.done(), journal.len()), (1, 1));
        assert_eq!(journal.take(9), [key("a")]);
    }

    #[test]
    fn what_failed_comes_first_again_and_once() {
        let mut journal = journal([key("a"), key("b"), tag("t")]);
        assert_eq!(journal.take(9), [key("a"), key("b")]);
        assert_eq!(journal.append(key("b")), Append::New);
        journal.put_back();
        assert_eq!(journal.len(), 3);
        assert_eq!(journal.take(9), [key("a"), key("b")]);
    }

    #[test]
    fn keys_go_together_and_so_do_tags() {
        let all = Item::AllTags(vec![Named("".into(), "x".into())]);
        let mut journal = journal([key("a"), key("b"), key("c"), tag("t"), tag("u"), all.clone()]);
        let mut groups = Vec::new();
        while !journal.is_empty() {
            groups.push(journal.take(2).to_vec());
            journal.done();
        }
        let expected =
            [vec![key("a"), key("b")], vec![key("c")], vec![tag("t"), tag("u")], vec![all]];
        assert_eq!(groups, expected);
    }

    #[test]
    fn a_full_journal_becomes_the_clearing_of_its_namespaces() {
        let other = Item::Key(Named("other:".into(), "x".into()));
        let mut journal = Journal::new(2);
        assert_eq!([key("a"), other.clone()].map(|item| journal.append(item)), [Append::New; 2]);
        assert_eq!(journal.append(key("b")), Append::Full);
        let clear = Item::Keys(Parts::prefix("shop:"));
        assert_eq!(journal.collapse(&["shop:".into()]), std::slice::from_ref(&clear));
        assert_eq!(journal.append(key("b")), Append::Known);
        assert_eq!(journal.take(9), [clear]);
        // What comes while it is cleared may have come too late for that.
        journal.done();
        assert_eq!(journal.append(key("b")), Append::New);
        assert_eq!(journal.take(9), [other, key("b")]);
    }

    #[test]
    fn a_namespace_includes_what_begins_so() {
        let named = |space: &str, rest: &str| Named(space.into(), rest.into());
        let within = Pattern::glob("k*").unwrap().within("shop:eu:").parts();
        assert!(Item::Key(named("shop:eu:", "a")).is_within("shop:"));
        assert!(Item::Key(named("", "shop:a")).is_within("shop:"));
        assert!(Item::Key(named("sh", "op:a")).is_within("shop:"));
        assert!(Item::Keys(within).is_within("shop:"));
        assert!(!Item::Key(named("shop", "s:a")).is_within("shop:"));
        assert!(!Item::Key(named("", "sho")).is_within("shop:"));
        assert!(!Item::Keys(Pattern::prefix("shop").parts()).is_within("shop:"));
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Clears the namespace if there is no room, as the fallback does.
        Note(u8),
        Take(u8),
        Done,
        PutBack,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..12u8).prop_map(Step::Note),
            2 => (1..5u8).prop_map(Step::Take),
            1 => Just(Step::Done),
            1 => Just(Step::PutBack),
        ]
    }

    fn item(number: u8) -> Item {
        if number.is_multiple_of(2) { key(&number.to_string()) } else { tag(&number.to_string()) }
    }

    proptest! {
        /// Whatever was not begun to be carried out since it was noted is still to do, or all is to be
        /// cleared; and there is never more than fits.
        #[test]
        fn nothing_noted_is_lost(steps in prop::collection::vec(step(), 0..80), limit in 1..12usize) {
            let mut journal = Journal::new(limit);
            let mut owed: Vec<Item> = Vec::new();
            let mut flying: Vec<Item> = Vec::new();
            for step in steps {
                match step {
                    Step::Note(number) => {
                        if journal.append(item(number)) == Append::Full {
                            journal.collapse(&["shop:".into()]);
                            prop_assert_eq!(journal.append(item(number)), Append::Known);
                        }
                        owed.push(item(number));
                    }
                    Step::Take(most) if flying.is_empty() => {
                        flying = journal.take(most.into()).to_vec();
                        prop_assert!(flying.len() <= usize::from(most));
                        let clears = flying.iter().any(|item| item.clears("shop:"));
                        owed.retain(|item| !clears && !flying.contains(item));
                    }
                    Step::Take(_) => {}
                    Step::Done => {
                        prop_assert_eq!(journal.done(), flying.len());
                        flying.clear();
                    }
                    Step::PutBack => {
                        journal.put_back();
                        owed.append(&mut flying);
                    }
                }
                let clears = journal.todo.iter().any(|item| item.clears("shop:"));
                prop_assert!(owed.iter().all(|item| clears || journal.todo.contains(item)));
                prop_assert!(journal.todo.len() <= limit.max(flying.len()) + 1);
            }
        }
    }
}
