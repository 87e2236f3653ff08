//! Whether the cache can serve, and whether it is in order.

use std::slice;
use std::time::{Duration, Instant};

use super::core::unanswered;
use super::{Cache, View};
use crate::backend::health::PROBE;
use crate::backend::{Backend, Call, Health, HealthWarning, Read, Want};
use crate::error::Result;
use crate::key::with_name;

/// How long a detailed check takes at most, unless the handle has a limit of its own.
const LONGEST: Duration = Duration::from_secs(5);

impl Cache {
    /// Whether the cache can serve now: one read of a key that nobody stores, and how long it took.
    /// One round trip. It counts in no statistics.
    ///
    /// This is the answer to an orchestrator's *readiness* probe. A [`Fallback`](crate::Fallback)
    /// whose secondary stands in is ready; [`detailed_health_check`](Self::detailed_health_check) calls
    /// it degraded. For a *liveness* probe use [`is_live`](Self::is_live): see
    /// [`health_checks`](crate::health_checks).
    ///
    /// ```
    /// # fn main() -> yokedcache::Result<()> {
    /// let took = yokedcache::Cache::memory(10).health_check()?;
    /// assert!(took.as_secs() < 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Why it cannot: what a [strict](crate::CacheBuilder::strict) cache would return for a read. Of
    /// several servers only the one that key lives on was asked.
    pub fn health_check(&self) -> Result<Duration> {
        let View { core, prefix, policy, .. } = &*self.0;
        with_name(prefix, PROBE, |name| {
            let started = Instant::now();
            let want = Want { quiet: true, head_only: true, ..Want::VALUE };
            let mut out = Read::Unanswered;
            core.backend.read(policy.call(), &[name], &want, slice::from_mut(&mut out))?;
            match out {
                Read::Hit(_) | Read::Miss(..) => Ok(started.elapsed()),
                Read::Failed(error) => Err(error),
                Read::Unanswered => Err(unanswered()),
            }
        })
    }

    /// The state of the backend, of those inside it and of their servers, with what their operators
    /// should know.
    ///
    /// It ends within the handle's [timeout](Self::with_timeout), or 5 seconds; a part that hangs
    /// leaves the others time. A server is asked in four round trips, all servers of one backend at the
    /// same time; a cluster takes one more, to ask who its servers are; memory and other backends one
    /// read. On servers an entry under the key prefix is stored, read and deleted, with five seconds to
    /// live.
    ///
    /// ```
    /// let health = yokedcache::Cache::memory(10).detailed_health_check();
    /// assert!(health.is_up() && health.warnings.is_empty());
    /// ```
    pub fn detailed_health_check(&self) -> Health {
        let View { core, pool, prefix, policy, .. } = &*self.0;
        let call = Call::Within(policy.timeout.unwrap_or(LONGEST)).armed();
        let examined = with_name(prefix, PROBE, |name| Ok(core.backend.health(call, name)));
        let mut health =
            examined.unwrap_or_else(|error| Health::new(core.backend.about().name, Err(error)));
        if !pool.is_live() {
            health.warn(died("yokedcache-loader"));
        }
        core.backend.threads(&mut |name, runs| {
            if !runs {
                health.warn(died(name));
            }
        });
        health
    }

    /// Whether the threads that the cache works with run: sweepers, listeners, those that bring a
    /// backend back, loaders. No I/O, no waiting for a server.
    ///
    /// This is the answer to an orchestrator's *liveness* probe, which restarts the program: that
    /// helps against a thread that died, and not against a server that is away. A cache that is
    /// [closed](Self::close) needs none.
    ///
    /// ```
    /// assert!(yokedcache::Cache::memory(10).is_live());
    /// ```
    pub fn is_live(&self) -> bool {
        let View { core, pool, .. } = &*self.0;
        let mut all = pool.is_live();
        core.backend.threads(&mut |_, runs| all &= runs);
        all
    }
}

fn died(thread: &str) -> HealthWarning {
    let text = format!(
        "the thread {thread} has ended, which is a bug or a panic in a value's own code: its work is \
         not done any more. Restart the program"
    );
    HealthWarning::trouble("thread-died", text)
}
