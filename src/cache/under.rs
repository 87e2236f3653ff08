//! What lies under a cache: for what works with its entries as they are stored.

use std::sync::Arc;
use std::time::SystemTime;

use super::Cache;
use crate::backend::Call;
use crate::error::Result;

impl Cache {
    /// What all keys and tags of this namespace begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.0.prefix
    }

    pub(crate) fn call(&self) -> Call {
        self.0.policy.call()
    }

    pub(crate) fn wall(&self) -> SystemTime {
        self.0.core.clock.wall()
    }

    /// Whether two handles are of one cache, perhaps of different parts of it.
    pub(crate) fn shares_entries_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.core, &other.0.core)
    }

    pub(crate) fn need_scan(&self) -> Result<()> {
        self.0.core.need_scan()
    }

    /// Keeps loads of a key that run in this process from storing what they loaded.
    pub(crate) fn overtake(&self, full_key: &str) {
        self.0.core.flights.overtake(full_key);
    }
}
