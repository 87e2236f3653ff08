//! What keys and tags of one cache are called in another.

use crate::backend::Tags;
use crate::key::MAX_KEY;
use crate::tag::MAX_TAGS;

/// From one prefix to another.
#[derive(Clone, Debug)]
pub(super) struct Renaming {
    from: Box<str>,
    to: Box<str>,
}

impl Renaming {
    pub(super) fn new(from: &str, to: &str) -> Self {
        Self { from: from.into(), to: to.into() }
    }

    /// How long the prefixes of the two are.
    pub(super) fn spaces(&self) -> (usize, usize) {
        (self.from.len(), self.to.len())
    }

    /// The name without the prefix, for people.
    pub(super) fn rest<'k>(&self, full: &'k str) -> &'k str {
        full.strip_prefix(&*self.from).unwrap_or(full)
    }

    /// The same name under the other prefix; `None` if there is none, or it is too long.
    pub(super) fn name(&self, full: &str) -> Option<String> {
        let rest = full.strip_prefix(&*self.from).filter(|rest| !rest.is_empty())?;
        (self.to.len() + rest.len() <= MAX_KEY).then(|| [&self.to, rest].concat())
    }

    /// The same tags; `None` if one of them has no such name.
    pub(super) fn tags(&self, tags: &Tags) -> Option<Tags> {
        if tags.len() > MAX_TAGS {
            return None;
        }
        if self.from == self.to {
            let named = tags.iter().all(|tag| self.name(tag).is_some());
            return named.then(|| tags.clone());
        }
        let renamed: Option<Vec<String>> = tags.iter().map(|tag| self.name(tag)).collect();
        renamed.map(Tags::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_from_one_prefix_to_the_other() {
        let renaming = Renaming::new("shop:", "yokedcache:eu:");
        assert_eq!(renaming.name("shop:user:1").as_deref(), Some("yokedcache:eu:user:1"));
        assert_eq!(renaming.name("blog:1"), None);
        assert_eq!(renaming.name("shop:"), None);
        assert_eq!(renaming.name(&format!("shop:{}", "k".repeat(MAX_KEY - 5))), None);
        let tags = renaming.tags(&Tags::new(["shop:a", "shop:b"])).unwrap();
        assert_eq!(tags, Tags::new(["yokedcache:eu:a", "yokedcache:eu:b"]));
        assert_eq!(renaming.tags(&Tags::new(["shop:a", "blog:b"])), None);
        assert_eq!(renaming.tags(&Tags::NONE), Some(Tags::NONE));
        let same = Renaming::new("a:", "a:");
        assert_eq!(same.tags(&Tags::new(["b:t"])), None);
        assert_eq!(same.tags(&Tags::new(["a:t"])), Some(Tags::new(["a:t"])));
    }
}
