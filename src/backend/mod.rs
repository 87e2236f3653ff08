//! The contract between a cache and the place its entries live in.
//!
//! Five verbs are enough to write a backend of your own: [`about`](Backend::about),
//! [`read`](Backend::read), [`write`](Backend::write), [`invalidate`](Backend::invalidate) and
//! [`scan`](Backend::scan). Bytes go in and out; keys, codecs, loading, statistics and the policy
//! for failures are the cache's.
//!
//! ```
//! use std::collections::HashMap;
//! use std::ops::ControlFlow;
//! use std::sync::Mutex;
//! use yokedcache::backend::*;
//! use yokedcache::{Cache, Error, Pattern, Result};
//!
//! /// Entries without end, and nothing else.
//! #[derive(Debug, Default)]
//! struct Tiny(Mutex<HashMap<String, Entry>>);
//!
//! impl Backend for Tiny {
//!     fn about(&self) -> About {
//!         About::new("tiny", Can::new())
//!     }
//!     fn read(&self, _: Call, keys: &[Name], _: &Want, out: &mut [Read]) -> Result<()> {
//!         let entries = self.0.lock().unwrap();
//!         for (key, out) in keys.iter().zip(out) {
//!             *out = match entries.get(key.as_str()) {
//!                 Some(entry) => Read::Hit(Found::new(entry.clone())),
//!                 None => Read::Miss(Cause::Absent, Grant::None),
//!             };
//!         }
//!         Ok(())
//!     }
//!     fn write(&self, _: Call, writes: &mut [Write], out: &mut [Wrote]) -> Result<()> {
//!         let mut entries = self.0.lock().unwrap();
//!         for (write, out) in writes.iter().zip(out) {
//!             *out = match (&write.when, &write.change) {
//!                 (When::Always, Change::Put(entry, Life { hard: None, soft: None, idle: None, .. })) => {
//!                     entries.insert(write.key.as_str().to_owned(), entry.clone());
//!                     Wrote::Done(None)
//!                 }
//!                 (When::Always, Change::Remove) => match entries.remove(write.key.as_str()) {
//!                     Some(_) => Wrote::Done(None),
//!                     None => Wrote::Not(NotDone::Absent),
//!                 },
//!                 _ => Wrote::Failed(Error::unsupported("tiny", "this change")),
//!             };
//!         }
//!         Ok(())
//!     }
//!     fn invalidate(&self, _: Call, _: &Scope) -> Result<Removed> {
//!         Err(Error::unsupported("tiny", "invalidation"))
//!     }
//!     fn scan(
//!         &self,
//!         _: Call,
//!         _: &Pattern,
//!         _: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
//!     ) -> Result<()> {
//!         Err(Error::unsupported("tiny", "listing keys"))
//!     }
//! }
//!
//! # fn main() -> Result<()> {
//! let cache = Cache::builder(Tiny::default()).build()?;
//! cache.set("k", "v")?;
//! assert_eq!(cache.get::<String>("k")?.as_deref(), Some("v"));
//! # Ok(())
//! # }
//! ```
//!
//! # What a backend answers for
//!
//! - **Names.** [`Name::as_str`] is unique: store under it. Tags are names, too.
//! - **Time.** An entry past its hard end is absent, and so is one that nobody slid within its
//!   [idle](Life::idle) time. One past its soft end is a hit marked `stale`, and absent to
//!   [`When::Absent`], [`When::Present`], [`Change::Expire`], [`Change::Add`] and `scan`.
//! - **Atomicity.** Each write of a batch by itself; writes to one key in the order given. Every
//!   write of a value gives it a version no other had, also after a removal.
//! - **Fencing.** With [`Can::leases`]: no lease given before a call to `invalidate`, or before a
//!   write to the key, may fill once that call has returned. Without them the cache asks for none
//!   ([`Ask::No`]) and stores what it loaded unconditionally.
//! - **Slots.** `out` has as many slots as there are keys or writes, all `Unanswered`. Trouble with
//!   one key, a refusal too, goes into its slot; `Err` means nothing is known of any.
//! - **What is asked for.** With [`Want::meta`], [`Want::token`] or a lease asked for, a hit has its
//!   [`More`]. To fill in more than was asked for does no harm.
//! - **Deadlines.** [`Call`] bounds waiting and I/O. A backend that does neither may ignore it.
//! - **Refusals.** What a backend cannot do, and variants it does not know, it refuses with
//!   [`Error::unsupported`](crate::Error::unsupported), and says so in [`Can`].
//!
//! `examples/custom_backend.rs` is a complete one in about 160 lines, without tags and leases. The
//! structs here that may grow are made with `new` or `default`, and their fields set.

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::Arc;

mod about;
mod audience;
mod changing;
pub(crate) mod copying;
mod dual_write;
mod entry;
pub mod envelope;
mod event;
mod fallback;
pub mod health;
mod listen;
#[cfg(feature = "memcached")]
pub mod memcached;
pub mod memory;
mod read;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) mod remote;
mod route;
mod switch;
mod tiered;
mod token;
mod write;

pub use crate::key::Name;
pub use crate::tag::Tags;
pub use crate::value::Value;
pub use about::{About, Call, Can};
pub use dual_write::{Divergence, DualMode, DualWrite};
pub use entry::{CodecId, Entry, Life, Packing};
pub use event::{Attached, Event, Events};
pub use fallback::{BreakerState, Fallback, FallbackBuilder};
pub use health::{Health, HealthStatus, HealthWarning};
pub use listen::{Ear, Heard, Listen, Listening};
pub use read::{Ask, Cause, Found, Grant, More, Over, Read, Want};
pub use route::{Route, RouteBuilder};
pub use switch::Switch;
pub use tiered::{Tiered, TieredBuilder};
pub use token::{Lease, Origin, TagVersion, Token};
pub use write::{Change, NotDone, Removed, Scope, When, Write, Wrote};

use crate::error::Result;
use crate::pattern::Pattern;
use crate::stats::BackendStats;

/// A place where entries live. See the [module's page](self) for what it answers for.
pub trait Backend: Debug + Send + Sync + 'static {
    /// Its name and capabilities. No I/O.
    fn about(&self) -> About;

    /// Fills `out[i]` for `keys[i]`.
    ///
    /// # Errors
    /// Only if nothing is known of any key.
    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()>;

    /// Makes each change and fills `out[i]` for `writes[i]`.
    ///
    /// Entries may be taken out of `writes` with [`std::mem::replace`]; after an error they may be
    /// gone.
    ///
    /// # Errors
    /// Only if nothing is known of any write; some may have been made.
    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()>;

    /// Removes what `what` names and overtakes every lease it touches.
    ///
    /// # Errors
    /// If anything may be left. To repeat it is safe.
    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed>;

    /// Hands out the full keys that match, page by page, until `page` breaks.
    ///
    /// No lock and no connection is held during `page`, which may use the cache. A key that is
    /// there throughout is handed out at least once; it may come twice. Stale ones are not handed out
    /// unless the pattern [says so](Pattern::lists_stale); who keeps none may leave that alone.
    ///
    /// # Errors
    /// If keys may be missing from what was handed out.
    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()>;

    /// Shows the backends inside this one, each with the part it plays.
    fn children(&self, each: &mut dyn FnMut(&str, &dyn Backend)) {
        let _ = each;
    }

    /// What it counted, with its children.
    fn stats(&self, call: Call) -> BackendStats {
        stats_inside(self, call)
    }

    /// Whether it answers, with its children, within the time of the call. `probe` is a key that
    /// nobody stores and that may be asked for; what is written for a trial lies under
    /// [its namespace](Name::space), too.
    fn health(&self, call: Call, probe: Name<'_>) -> Health {
        health::examine(self, call, probe)
    }

    /// Shows the threads that it needs for its work, by name, and whether they run; with its
    /// children's. No I/O. One that ended because its work is done, or that was
    /// [closed](Self::close), is not shown.
    fn threads(&self, each: &mut dyn FnMut(&str, bool)) {
        self.children(&mut |_, child| child.threads(each));
    }

    /// Becomes part of a cache, before that is first used; with its children.
    ///
    /// # Errors
    /// If it cannot keep what it promises under the cache's settings: the cache is not built then.
    fn attach(&self, cache: &Attached<'_>) -> Result<()> {
        let mut attached = Ok(());
        self.children(&mut |_, child| {
            if attached.is_ok() {
                attached = child.attach(cache);
            }
        });
        attached
    }

    /// Tells of changes that others make, until what it returns is dropped. `None`: it cannot.
    ///
    /// # Errors
    /// If it could, and a thread cannot be started.
    fn listen(&self, to: &Listen) -> Result<Option<Box<dyn Listening>>> {
        let _ = to;
        Ok(None)
    }

    /// Stops threads and closes connections, as dropping it would. Calls may still come.
    fn close(&self) {
        self.children(&mut |_, child| child.close());
    }
}

/// The statistics of a backend that counts nothing itself.
fn stats_inside<B: Backend + ?Sized>(backend: &B, call: Call) -> BackendStats {
    let mut stats = BackendStats::new(backend.about().name);
    backend.children(&mut |part, child| stats.push(part, child.stats(call)));
    stats
}

/// Implements [`Backend`] for a pointer by passing every method on.
macro_rules! forward_backend {
    ($pointer:ident) => {
        impl<B: Backend + ?Sized> Backend for $pointer<B> {
            fn about(&self) -> About {
                (**self).about()
            }
            fn read(
                &self,
                call: Call,
                keys: &[Name<'_>],
                want: &Want<'_>,
                out: &mut [Read],
            ) -> Result<()> {
                (**self).read(call, keys, want, out)
            }
            fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
                (**self).write(call, writes, out)
            }
            fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
                (**self).invalidate(call, what)
            }
            fn scan(
                &self,
                call: Call,
                what: &Pattern,
                page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
            ) -> Result<()> {
                (**self).scan(call, what, page)
            }
            fn children(&self, each: &mut dyn FnMut(&str, &dyn Backend)) {
                (**self).children(each)
            }
            fn stats(&self, call: Call) -> BackendStats {
                (**self).stats(call)
            }
            fn health(&self, call: Call, probe: Name<'_>) -> Health {
                (**self).health(call, probe)
            }
            fn threads(&self, each: &mut dyn FnMut(&str, bool)) {
                (**self).threads(each)
            }
            fn attach(&self, cache: &Attached<'_>) -> Result<()> {
                (**self).attach(cache)
            }
            fn listen(&self, to: &Listen) -> Result<Option<Box<dyn Listening>>> {
                (**self).listen(to)
            }
            fn close(&self) {
                (**self).close()
            }
        }
    };
}

forward_backend!(Box);
forward_backend!(Arc);
