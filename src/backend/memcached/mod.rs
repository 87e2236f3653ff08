//! Memcached: one server, or many that keys are dealt out to.

mod batch;
mod binary;
mod builder;
mod fleet;
mod health;
mod meta;
mod name;
mod pieces;
mod ring;
mod scan;
mod store;
mod wire;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

pub use builder::MemcachedBuilder;
pub use ring::Distribution;

use self::batch::Transport;
use self::fleet::Fleet;
use crate::backend::health::Health;
use crate::backend::remote::exchange::Limits;
use crate::backend::remote::reading::Reading;
use crate::backend::remote::talk::{drive, invalidate_tags};
use crate::backend::remote::values::read_values;
use crate::backend::remote::writing::write;
use crate::backend::remote::{self, outcome_of_reads, outcome_of_writes, tags};
use crate::backend::{
    About, Ask, Backend, Call, Can, Name, Origin, Read, Removed, Scope, Want, Write, Wrote,
};
use crate::error::{Error, Result};
use crate::pattern::Pattern;
use crate::stats::BackendStats;

/// Entries in Memcached: one server, or several that share the keys as libmemcached deals them out.
///
/// Connections are made when they are needed and kept in an r2d2 pool for each server. Building one
/// does no I/O.
///
/// | operation | round trips |
/// |---|---|
/// | `get`, `set`, `add`, `delete`, `increment`, `exists`, `ttl` | 1; an `add` that finds an entry, or adding to what is no bare positive number, 2 or 3 |
/// | `replace`, `expire`, a sliding read | 2 |
/// | the same of tagged entries | as many, where this process saw the key and its tags before, else one or two more |
/// | `get_many`, `set_many`, `delete_many` | 1, all servers at the same time |
/// | `get_or_load` | 1 if it is there, else 3 |
/// | `invalidate_tags` | 1, whatever the number of entries |
/// | `invalidate_pattern`, `clear`, `keys` | a walk over all keys of each server, and 1 for each thousand that match, for `keys` each hundred |
///
/// The table is checked by `each_operation_takes_the_round_trips_it_claims` in `tests/memcached/`.
/// Servers cannot show a part of an entry: `exists`, `ttl`, `keys` and `delete` read all of it.
///
/// The servers' clocks tick once a second. Entries live at least as long as they are told to, and
/// less than two seconds more.
///
/// A key being loaded holds a placeholder, which clients of other programs see as a value. Where they
/// share keys, use [`plain`](MemcachedBuilder::plain).
///
/// ```no_run
/// use std::time::Duration;
/// use yokedcache::{Cache, Memcached};
///
/// # fn main() -> yokedcache::Result<()> {
/// let memcached = Memcached::builder("memcached://cache1:11211;weight=3,cache2:11211")
///     .pool_size(20)
///     .timeout(Duration::from_millis(500))
///     .build()?;
/// let cache = Cache::builder(memcached).key_prefix("shop").build()?;
/// cache.set("user:1", "Ann")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Memcached {
    fleet: Arc<Fleet>,
    timeout: Duration,
    retry_on_timeout: bool,
    plain: bool,
    origin: Origin,
    tags: tags::Memory,
}

impl Memcached {
    /// Settings of a backend at this address.
    ///
    /// | address | what it is |
    /// |---|---|
    /// | `memcached://host[:port][;weight=n][,...]` | one server or several; port 11211 unless said, weight 1 |
    /// | `memcacheds://...` | the same with TLS |
    /// | `memcached+unix:///path/to/socket` | one server on this machine |
    ///
    /// `user:password@` may stand before the hosts, both percent-encoded: it is said to each server, in
    /// its own protocol (`protocol=meta`, servers with `-Y`) or by SASL (`protocol=binary`, servers with
    /// `-S`). The settings of [`MemcachedBuilder`] may follow as parameters, see there; what nobody
    /// knows is an error.
    pub fn builder(url: &str) -> MemcachedBuilder {
        MemcachedBuilder::new(url)
    }

    /// A backend at this address with the settings in it.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an address that cannot be read. No I/O is done.
    pub fn open(url: &str) -> Result<Self> {
        Self::builder(url).build()
    }

    fn limits(&self, call: Call) -> Result<Limits> {
        let until = remote::deadline(call, self.timeout)?;
        Ok(Limits { until, retry_late: self.retry_on_timeout })
    }
}

impl Backend for Memcached {
    fn about(&self) -> About {
        let mut can = Can::new();
        can.tags = !self.plain;
        can.leases = !self.plain;
        can.versions = self.fleet.limit.numbers();
        can.scan = self.fleet.transport() == Transport::Meta;
        can.add = true;
        can.shared = true;
        can.ttl_step = store::STEP;
        can.max_value = self.fleet.limit.get().filter(|_| !self.fleet.splits());
        if self.fleet.ejects() {
            // A server that comes back still has what was removed from the one that stood in for it.
            can.lag = Duration::MAX;
        }
        About::new("memcached", can)
    }

    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        let limits = self.limits(call)?;
        if self.plain && !matches!(want.lease, Ask::No) {
            return Err(Error::unsupported("plain memcached", "leases"));
        }
        if want.is_plain() {
            read_values(self, limits, keys, want, out);
        } else {
            let jobs = keys.iter().zip(&mut *out);
            let mut jobs: Vec<Reading<'_, Self>> =
                jobs.map(|(name, out)| Reading::new(self, *name, want, out)).collect();
            drive(self, limits, &mut jobs, false);
        }
        outcome_of_reads(out)
    }

    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        write(self, self.limits(call)?, writes, out);
        outcome_of_writes(out)
    }

    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        if self.plain && !matches!(what, Scope::Keys(_)) {
            return Err(Error::unsupported("plain memcached", "tags"));
        }
        match what {
            Scope::Keys(pattern) => self.remove_keys(call, pattern),
            Scope::AnyTag(tags) => invalidate_tags(self, self.limits(call)?, tags),
            Scope::AllTags(tags) => self.remove_with_all(call, tags),
        }
    }

    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.scan_keys(call, what, page)
    }

    /// Asks each server: a round trip.
    fn stats(&self, call: Call) -> BackendStats {
        self.count(call)
    }

    fn health(&self, call: Call, probe: Name<'_>) -> Health {
        self.examine(call, probe)
    }

    fn close(&self) {
        self.fleet.servers().iter().for_each(|server| server.close());
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        self.close();
    }
}
