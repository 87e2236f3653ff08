//! An outage's own names in the secondary: what the last one left there is not seen in the next.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::{
    Ask, Backend, Call, Change, Found, Life, Name, Read, Removed, Scope, Tags, Want, When, Write,
    Wrote,
};
use crate::error::Result;
use crate::pattern::Pattern;
use crate::random;

/// The secondary while it stands in, from one opening to the closing.
#[derive(Debug)]
pub(super) struct Session {
    secondary: Arc<dyn Backend>,
    /// The prefixes of the caches, none within another; the name of each cache begins with one.
    roots: Vec<Box<str>>,
    /// What follows the root: no other outage of this or another process has it.
    mark: String,
    /// How long an entry lives at most.
    cap: Duration,
}

impl Session {
    pub(super) fn begin(secondary: Arc<dyn Backend>, roots: Vec<Box<str>>, cap: Duration) -> Self {
        Self { secondary, roots, mark: format!("~{:016x}:", random::unlikely()), cap }
    }

    pub(super) fn roots(&self) -> &[Box<str>] {
        &self.roots
    }

    /// What stands before the names that begin like this one. No root lies in another: all names of a
    /// pattern have the root that its literal part has.
    fn prefix(&self, name: &str) -> String {
        let root = self.roots.iter().find(|root| name.starts_with(&***root));
        [root.map_or("", |root| root), &self.mark].concat()
    }

    fn inside(&self, name: &str) -> String {
        self.prefix(name) + name
    }

    /// The name as the cache knows it.
    fn outside<'n>(&self, inside: &'n str) -> Option<&'n str> {
        let after = |root: &str| inside.strip_prefix(root)?.strip_prefix(&*self.mark);
        self.roots.iter().find_map(|root| after(root)).or_else(|| after(""))
    }

    fn inside_tags(&self, tags: &Tags) -> Tags {
        Tags::new(tags.iter().map(|tag| self.inside(tag)))
    }

    fn outside_tags(&self, tags: &Tags) -> Tags {
        Tags::new(tags.iter().filter_map(|tag| self.outside(tag)))
    }

    pub(super) fn read(
        &self,
        call: Call,
        keys: &[Name<'_>],
        want: &Want<'_>,
        out: &mut [Read],
    ) -> Result<()> {
        let tags = match &want.lease {
            Ask::Watch { tags }
            | Ask::Own { tags, .. }
            | Ask::Take { tags, .. }
            | Ask::Renew { tags, .. } => self.inside_tags(tags),
            Ask::No => Tags::NONE,
        };
        let lease = match want.lease {
            Ask::No => Ask::No,
            Ask::Watch { .. } => Ask::Watch { tags: &tags },
            Ask::Own { hold, over, .. } => Ask::Own { hold, over, tags: &tags },
            Ask::Take { hold, .. } => Ask::Take { hold, tags: &tags },
            Ask::Renew { lease, hold, .. } => Ask::Renew { lease, hold, tags: &tags },
        };
        let want = Want { lease, ..*want };
        let names = Inside::new(self, keys);
        self.secondary.read(call, &names.get(), &want, out)?;
        for found in out {
            if let Read::Hit(Found { entry, .. }) = found
                && !entry.tags.is_empty()
            {
                entry.tags = self.outside_tags(&entry.tags);
            }
        }
        Ok(())
    }

    /// Makes the changes, taking them out of `writes`.
    pub(super) fn write(
        &self,
        call: Call,
        writes: &mut [Write<'_>],
        out: &mut [Wrote],
    ) -> Result<()> {
        let keys: Vec<Name<'_>> = writes.iter().map(|write| write.key).collect();
        let names = Inside::new(self, &keys);
        let mut inside: Vec<Write<'_>> = writes
            .iter_mut()
            .zip(names.get())
            .map(|(write, key)| {
                let when = std::mem::replace(&mut write.when, When::Always);
                let change = std::mem::replace(&mut write.change, Change::Remove);
                Write::new(key, when, self.inside_change(change))
            })
            .collect();
        self.secondary.write(call, &mut inside, out)
    }

    fn inside_change(&self, change: Change) -> Change {
        match change {
            Change::Put(mut entry, life) => {
                if !entry.tags.is_empty() {
                    entry.tags = self.inside_tags(&entry.tags);
                }
                Change::Put(entry, self.capped(life))
            }
            Change::Expire(end) => Change::Expire(self.end(end)),
            Change::Add { by, from, life } => Change::Add { by, from, life: self.capped(life) },
            Change::Remove | Change::Release => change,
        }
    }

    fn capped(&self, life: Life) -> Life {
        let within = |end: Option<Duration>| end.map(|end| end.min(self.cap));
        let (soft, idle) = (within(life.soft), within(life.idle));
        Life { soft, idle, hard: self.end(life.hard), ..life }
    }

    /// An end within the cap; a cap of all time is none.
    fn end(&self, end: Option<Duration>) -> Option<Duration> {
        match end {
            Some(end) => Some(end.min(self.cap)),
            None => (self.cap != Duration::MAX).then_some(self.cap),
        }
    }

    pub(super) fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        match what {
            Scope::Keys(pattern) => {
                let inside = pattern.within(&self.prefix(pattern.literal_prefix()));
                self.secondary.invalidate(call, &Scope::Keys(&inside))
            }
            Scope::AnyTag(tags) => {
                let tags = Inside::new(self, tags);
                self.secondary.invalidate(call, &Scope::AnyTag(&tags.get()))
            }
            Scope::AllTags(tags) => {
                let tags = Inside::new(self, tags);
                self.secondary.invalidate(call, &Scope::AllTags(&tags.get()))
            }
        }
    }

    pub(super) fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        let inside = what.within(&self.prefix(what.literal_prefix()));
        self.secondary.scan(call, &inside, &mut |keys| {
            let outside: Vec<&str> = keys.iter().filter_map(|key| self.outside(key)).collect();
            page(&outside)
        })
    }

    /// Removes what the outage left; what cannot be removed ends by its time.
    pub(super) fn sweep(&self, call: Call) {
        if !self.secondary.about().can.scan {
            return;
        }
        for root in &self.roots {
            let all = Pattern::prefix(&[root, &*self.mark].concat());
            if let Err(error) = self.secondary.invalidate(call, &Scope::Keys(&all)) {
                log::debug!("yokedcache: entries of an outage are left to their end: {error}");
            }
        }
    }
}

/// Names with those of an outage in front.
struct Inside {
    names: Vec<(String, usize)>,
}

impl Inside {
    fn new(session: &Session, names: &[Name<'_>]) -> Self {
        let inside = |name: &Name<'_>| {
            let prefix = session.prefix(name.as_str());
            let space = prefix.len() + name.space().len();
            (prefix + name.as_str(), space)
        };
        Self { names: names.iter().map(inside).collect() }
    }

    fn get(&self) -> Vec<Name<'_>> {
        self.names.iter().map(|(full, space)| Name::new(full, *space)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn session(roots: &[&str], cap: Duration) -> Session {
        let roots = roots.iter().map(|root| Box::from(*root)).collect();
        let memory = crate::backend::memory::Memory::builder().build().unwrap();
        Session::begin(Arc::new(memory), roots, cap)
    }

    #[test]
    fn names_stay_below_the_prefix_of_their_cache() {
        let session = session(&["eu:", "shop:"], Duration::MAX);
        let names = [Name::new("shop:a:k", 7), Name::new("shopping:k", 0)];
        let inside = Inside::new(&session, &names);
        let mark = &session.mark;
        let [below, beside] = inside.get()[..] else { panic!() };
        assert_eq!(below.as_str(), format!("shop:{mark}shop:a:k"));
        assert_eq!((below.space(), below.rest()), (&*format!("shop:{mark}shop:a:"), "k"));
        assert_eq!(beside.as_str(), format!("{mark}shopping:k"));
    }

    #[test]
    fn no_two_outages_have_the_same_names() {
        let [one, other] = [(); 2].map(|()| session(&[""], Duration::MAX));
        assert_ne!(one.inside("k"), other.inside("k"));
        assert_eq!(other.outside(&one.inside("k")), None);
    }

    proptest! {
        #[test]
        fn names_come_back_and_differ_inside_if_they_differ(
            a in "(shop:|eu:|~)?[a-c:~]{0,4}",
            b in "(shop:|eu:|~)?[a-c:~]{0,4}",
            roots in prop::sample::select(vec![&[""][..], &["shop:"], &["eu:", "shop:"]]),
        ) {
            let session = session(roots, Duration::MAX);
            let [inside_a, inside_b] = [&a, &b].map(|name| session.inside(name));
            prop_assert_eq!(session.outside(&inside_a), Some(&*a));
            prop_assert_eq!(inside_a == inside_b, a == b);
        }

        #[test]
        fn a_life_ends_within_the_cap(
            ends in prop::collection::vec(prop::option::of(0..100u64), 3),
            cap in 1..100u64,
        ) {
            let cap = Duration::from_secs(cap);
            let [soft, hard, idle] = [0, 1, 2].map(|end| ends[end].map(Duration::from_secs));
            let life = Life { age: None, soft, hard, idle };
            let capped = session(&[""], cap).capped(life);
            prop_assert_eq!(capped.hard, Some(hard.map_or(cap, |hard| hard.min(cap))));
            prop_assert_eq!(capped.soft, soft.map(|soft| soft.min(cap)));
            prop_assert_eq!(capped.idle, idle.map(|idle| idle.min(cap)));
            prop_assert_eq!(session(&[""], Duration::MAX).capped(life), life);
        }
    }
}
