//! Redis: standalone, behind sentinels, or as a cluster.

mod batch;
mod builder;
mod cluster;
mod guard;
mod health;
mod listener;
mod plain;
mod repeat;
mod resp;
mod scan;
mod script;
mod sentinel;
mod slot;
mod store;
mod topology;
mod url;
mod wire;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

pub use builder::RedisBuilder;

use self::guard::Guard;
use self::listener::Listener;
use self::repeat::Repeats;
use self::topology::Topology;
use crate::backend::health::Health;
use crate::backend::remote::exchange::Limits;
use crate::backend::remote::reading::Reading;
use crate::backend::remote::stored::Names;
use crate::backend::remote::talk::{drive, invalidate_tags};
use crate::backend::remote::values::read_values;
use crate::backend::remote::writing::write;
use crate::backend::remote::{self, in_turns, outcome_of_reads, outcome_of_writes, tags};
use crate::backend::{
    About, Backend, Call, Can, Listen, Listening, Name, Origin, Read, Removed, Scope, Want, Write,
    Wrote,
};
use crate::error::{Error, Result};
use crate::pattern::Pattern;
use crate::stats::BackendStats;

/// The longest string a Redis server takes, less what we write around a value.
const MOST_BYTES: usize = (512 << 20) - (64 << 10);

/// Entries in Redis: one server, a master behind sentinels, or a cluster.
///
/// Connections are made when they are needed and kept in an r2d2 pool for each server. Building one
/// does no I/O.
///
/// | operation | round trips |
/// |---|---|
/// | `get`, `set`, `add`, `replace`, `delete`, `increment`, `exists`, `ttl`, `expire` | 1; an `add` that finds an entry 2, a sliding read 2 |
/// | the same of tagged entries | 1, where this process saw the key and its tags before, else 2 or 3; `replace`, `expire` and `swap` 2 |
/// | `get_many`, `set_many`, `delete_many` | 1, all servers at the same time |
/// | `get_or_load` | 1 if it is there, else 3 |
/// | `invalidate_tags` | 1, whatever the number of entries |
/// | `invalidate_pattern`, `clear`, `keys` | 1 to 2 for each thousand keys of the server |
///
/// The table is checked by `each_operation_takes_the_round_trips_it_claims` in `tests/redis/`.
///
/// ```no_run
/// use std::time::Duration;
/// use yokedcache::{Cache, Redis};
///
/// # fn main() -> yokedcache::Result<()> {
/// let redis = Redis::builder("redis://localhost:6379/0")
///     .pool_size(20)
///     .timeout(Duration::from_millis(500))
///     .build()?;
/// let cache = Cache::builder(redis).key_prefix("shop").build()?;
/// cache.set("user:1", "Ann")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Redis {
    topology: Arc<Topology>,
    timeout: Duration,
    retry_on_timeout: bool,
    replica_reads: bool,
    names: Names,
    guard: Option<Arc<Guard>>,
    /// Where another server may take over.
    repeats: Option<Repeats>,
    origin: Origin,
    tags: tags::Memory,
}

impl Redis {
    /// Settings of a backend at this address.
    ///
    /// | address | what it is |
    /// |---|---|
    /// | `redis://[user][:password]@host[:port][/db]` | one server |
    /// | `rediss://...` | the same with TLS |
    /// | `redis+unix:///path/to/socket[?db=0]` | one server on this machine |
    /// | `redis+sentinel://h1[:port],h2/service[/db]` | the master that sentinels name |
    /// | `redis+cluster://h1[:port],h2` | a cluster, some of whose servers these are |
    ///
    /// `rediss+sentinel` and `rediss+cluster` use TLS. User and password are percent-encoded. The
    /// settings of [`RedisBuilder`] may follow as parameters, see there; what nobody knows is an error.
    pub fn builder(url: &str) -> RedisBuilder {
        RedisBuilder::new(url)
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

    /// The key stored under a name, if it is one.
    fn key_of<'n>(&self, name: &'n str) -> Option<&'n str> {
        self.names.key_of(name)
    }

    fn read_all(
        &self,
        call: Call,
        keys: &[Name<'_>],
        want: &Want<'_>,
        out: &mut [Read],
    ) -> Result<()> {
        let limits = self.limits(call)?;
        if want.is_plain() && !self.topology.is_cluster() {
            read_values(self, limits, keys, want, out);
            return Ok(());
        }
        let plain = matches!(want.lease, crate::backend::Ask::No) && !want.token;
        let mut jobs: Vec<Reading<'_, Self>> =
            keys.iter().zip(out).map(|(name, out)| Reading::new(self, *name, want, out)).collect();
        let replicas = self.replica_reads && plain && want.slide.is_none();
        drive(self, limits, &mut jobs, replicas);
        Ok(())
    }
}

impl Backend for Redis {
    fn about(&self) -> About {
        let mut can = Can::new();
        can.tags = !self.names.plain;
        can.versions = !self.names.plain;
        can.leases = !self.names.plain;
        can.scan = true;
        can.add = true;
        can.shared = true;
        can.max_value = Some(MOST_BYTES);
        if self.replica_reads {
            // Replication has no bound.
            can.lag = Duration::MAX;
        }
        About::new("redis", can)
    }

    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        self.repeat_if_due(call);
        if self.names.plain {
            self.plain_read(call, keys, want, out)?;
        } else {
            self.read_all(call, keys, want, out)?;
        }
        outcome_of_reads(out)
    }

    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        self.repeat_if_due(call);
        if let Some(repeats) = &self.repeats {
            repeats.note_writes(writes);
        }
        let limits = self.limits(call)?;
        if self.names.plain {
            in_turns(writes, out, |writes, out| self.plain_write(limits, writes, out));
        } else {
            write(self, limits, writes, out);
        }
        outcome_of_writes(out)
    }

    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        if self.names.plain && !matches!(what, Scope::Keys(_)) {
            return Err(Error::unsupported("plain redis", "tags"));
        }
        self.repeat_if_due(call);
        if let Some(repeats) = &self.repeats {
            repeats.note_scope(what);
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
        self.repeat_if_due(call);
        self.scan_keys(call, what, page)
    }

    fn stats(&self, _: Call) -> BackendStats {
        self.count()
    }

    fn health(&self, call: Call, probe: Name<'_>) -> Health {
        self.examine(call, probe)
    }

    fn threads(&self, each: &mut dyn FnMut(&str, bool)) {
        if let Topology::Sentinel(sentinel) = &*self.topology {
            sentinel.threads(each);
        }
    }

    fn listen(&self, to: &Listen) -> Result<Option<Box<dyn Listening>>> {
        // What replicas answer is not heard of before they answer it.
        if self.replica_reads {
            return Ok(None);
        }
        let listener = Listener::start(self.topology.clone(), self.names, to)?;
        Ok(Some(Box::new(listener)))
    }

    fn close(&self) {
        if let Some(guard) = &self.guard {
            guard.close();
        }
        if let Topology::Sentinel(sentinel) = &*self.topology {
            sentinel.close();
        }
        self.topology.known().iter().for_each(|server| server.close());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.close();
    }
}
