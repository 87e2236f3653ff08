//! What a server says of itself: names and values, as INFO and `stats` list them.

use std::collections::BTreeMap;
use std::time::Duration;

/// What a server said, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts(BTreeMap<String, String>);

impl Facts {
    /// The lines `name:value` of INFO and CLUSTER INFO.
    pub(crate) fn of_lines(text: &str) -> Self {
        text.lines().filter_map(|line| line.trim_end().split_once(':')).collect()
    }

    pub(crate) fn insert(&mut self, name: String, value: String) {
        self.0.insert(name, value);
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(Into::into)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    pub(crate) fn seconds(&self, name: &str) -> Option<Duration> {
        self.number(name).map(Duration::from_secs)
    }

    pub(crate) fn is(&self, name: &str, value: &str) -> bool {
        self.text(name) == Some(value)
    }

    /// All of them, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<'t> FromIterator<(&'t str, &'t str)> for Facts {
    fn from_iter<I: IntoIterator<Item = (&'t str, &'t str)>>(facts: I) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self(facts.into_iter().map(owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_facts_and_titles_are_not() {
        let facts =
            Facts::of_lines("# Server\r\nuptime_in_seconds:7\r\nos:Linux 6:1\r\n\r\nodd\r\n");
        assert_eq!(facts.seconds("uptime_in_seconds"), Some(Duration::from_secs(7)));
        assert_eq!(facts.text("os"), Some("Linux 6:1"));
        assert_eq!((facts.number("os"), facts.number("odd")), (None, None));
        assert_eq!(facts.iter().count(), 2);
    }
}
