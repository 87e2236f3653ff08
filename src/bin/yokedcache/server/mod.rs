//! Servers asked directly: what the library does not show of them, and each step to them by itself.

pub mod address;
pub mod certificate;
pub mod memcached;
pub mod reach;
pub mod redis;
pub mod sections;
pub mod socket;
pub mod tls;

use std::collections::BTreeMap;

/// What a server says of itself, by name.
pub type Facts = BTreeMap<String, String>;

/// A number among them.
pub fn number(facts: &Facts, name: &str) -> Option<u64> {
    facts.get(name)?.parse().ok()
}
