//! How a backend tells of changes that others make.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;

/// What a listener is to be told, and who it is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listen {
    /// The beginnings of the names it is about; `""` is all.
    pub spaces: Vec<Box<str>>,
    /// How often it wants to know that nothing is missing.
    pub beat: Duration,
    /// Who is told.
    pub ear: Arc<dyn Ear>,
}

impl Listen {
    /// Tells `ear` of changes to names that begin with one of `spaces`.
    pub fn new(spaces: Vec<Box<str>>, beat: Duration, ear: Arc<dyn Ear>) -> Self {
        Self { spaces, beat, ear }
    }
}

/// Hears of changes. Called by threads of the backend.
pub trait Ear: Debug + Send + Sync {
    /// Something changed, or is known. Others wait meanwhile: it must neither block nor panic.
    fn hear(&self, heard: Heard<'_>);

    /// Called now and then, and after the last word, by a thread nobody waits for: the place to tell
    /// others.
    fn rest(&self) {}
}

/// What is heard.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Heard<'a> {
    /// The entry under this full key changed.
    Key(&'a str),
    /// The tag with this full name was invalidated, or may have been.
    Tag(&'a str),
    /// Anything may have changed.
    Everything,
    /// All changes whose callers had been answered by this instant have been heard.
    Complete(Instant),
    /// From now on changes go unheard, until `Everything` is heard and a later `Complete`.
    Lost(Error),
    /// The server cannot tell of changes, or will not.
    Unable(Error),
}

/// Keeps a listener going until it is dropped.
pub trait Listening: Debug + Send + Sync {
    /// A number that is the same before and after a read if what was read came from where changes
    /// are heard of; `None` while they are not.
    fn covers(&self) -> Option<u64>;

    /// Shows its threads, by name, and whether they run: see
    /// [`Backend::threads`](super::Backend::threads). None unless it says so.
    fn threads(&self, each: &mut dyn FnMut(&str, bool)) {
        let _ = each;
    }
}
