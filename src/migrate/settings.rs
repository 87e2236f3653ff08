//! What a migration, an export and an import can be told.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use super::report::{Progress, Skip};
use crate::error::{Error, ErrorKind, Result};
use crate::pattern::Pattern;

type OnProgress<'a> = Box<dyn FnMut(&Progress) -> ControlFlow<()> + 'a>;
type OnSkip<'a> = Box<dyn FnMut(&str, &Skip) + 'a>;

/// How many keys are handled together, unless said otherwise.
const BATCH: usize = 500;

pub(super) struct Settings<'a> {
    pub(super) pattern: Result<Pattern>,
    pub(super) batch_size: usize,
    pub(super) rate: Option<f64>,
    pub(super) dry_run: bool,
    pub(super) overwrite: bool,
    pub(super) on_progress: Option<OnProgress<'a>>,
    pub(super) on_skip: Option<OnSkip<'a>>,
    pub(super) stop: Option<&'a AtomicBool>,
}

impl Settings<'_> {
    pub(super) fn new() -> Self {
        Self {
            pattern: Ok(Pattern::all()),
            batch_size: BATCH,
            rate: None,
            dry_run: false,
            overwrite: false,
            on_progress: None,
            on_skip: None,
            stop: None,
        }
    }

    pub(super) fn set_pattern<P: TryInto<Pattern>>(&mut self, pattern: P)
    where
        Error: From<P::Error>,
    {
        self.pattern = pattern.try_into().map_err(Error::from);
    }

    /// The pattern, once all has been checked.
    pub(super) fn check(&self) -> Result<Pattern> {
        let refused = |what: &'static str| Err(Error::new(ErrorKind::InvalidArgument, what));
        if self.batch_size == 0 {
            return refused("a batch of no keys");
        }
        if self.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return refused("a rate is a number of keys per second above zero");
        }
        self.pattern.clone()
    }

    pub(super) fn is_told_to_stop(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Settings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("pattern", &self.pattern)
            .field("batch_size", &self.batch_size)
            .field("rate", &self.rate)
            .field("dry_run", &self.dry_run)
            .field("overwrite", &self.overwrite)
            .finish_non_exhaustive()
    }
}

/// The methods that all three have.
macro_rules! shared_settings {
    ($builder:ident) => {
        impl<'a> $builder<'a> {
            /// Only the keys that match: a Redis glob as a string, or a [`Pattern`](crate::Pattern).
            /// It sees keys without the namespace. Default: all keys.
            ///
            /// # Errors
            /// [`run`](Self::run) refuses what is no pattern.
            pub fn pattern<P: TryInto<$crate::Pattern>>(mut self, pattern: P) -> Self
            where
                $crate::Error: From<P::Error>,
            {
                self.settings.set_pattern(pattern);
                self
            }

            /// How many keys are handled together at most. Default 500; fewer where values are large,
            /// so that a batch holds about 8 MiB of them.
            ///
            /// # Errors
            /// [`run`](Self::run) refuses 0.
            pub fn batch_size(mut self, keys: usize) -> Self {
                self.settings.batch_size = keys;
                self
            }

            /// How many keys are looked at per second, on average and without bursts. Default: as many
            /// as there is time for.
            ///
            /// # Errors
            /// [`run`](Self::run) refuses what is not above zero.
            pub fn rate_limit(mut self, keys_per_second: f64) -> Self {
                self.settings.rate = Some(keys_per_second);
                self
            }

            /// Called after each batch, and while waiting; `Break` stops it, and the
            /// [report](crate::Report::stopped) says so. Default: nothing is called.
            pub fn on_progress(
                mut self,
                told: impl FnMut(&$crate::Progress) -> ::std::ops::ControlFlow<()> + 'a,
            ) -> Self {
                self.settings.on_progress = Some(Box::new(told));
                self
            }

            /// Called for each key that is left out, without the namespace, with the reason. Default:
            /// nothing is called; the report names the first 1,000.
            pub fn on_skip(mut self, told: impl FnMut(&str, &$crate::Skip) + 'a) -> Self {
                self.settings.on_skip = Some(Box::new(told));
                self
            }

            /// Stops it soon after somebody sets this, as a handler of Ctrl-C does. Default: nothing
            /// does.
            pub fn stop_flag(mut self, stop: &'a ::std::sync::atomic::AtomicBool) -> Self {
                self.settings.stop = Some(stop);
                self
            }
        }
    };
}

/// The methods of those that write to a cache.
macro_rules! writing_settings {
    ($builder:ident) => {
        impl $builder<'_> {
            /// Writes nothing and takes no right to fill a key: the report counts what would be copied
            /// and what is at the target already. How large values are is not looked at.
            pub fn dry_run(mut self) -> Self {
                self.settings.dry_run = true;
                self
            }

            /// Replaces what the target has, unless value, codec, schema and tags are equal. Default:
            /// what the target has stays, whatever it is.
            ///
            /// While an entry is replaced, readers of a server miss it. Costs a read of all values of
            /// both sides.
            pub fn overwrite(mut self) -> Self {
                self.settings.overwrite = true;
                self
            }
        }
    };
}

pub(super) use {shared_settings, writing_settings};
