//! Whether a backend answers, and what its operator should know.
//!
//! [`Cache::detailed_health_check`](crate::Cache::detailed_health_check) returns a tree of [`Health`];
//! [`health_checks`](crate::health_checks) tells how to read it.

use std::time::{Duration, Instant};

use super::{Backend, Call, Name, Read, Want};
use crate::error::{Error, ErrorKind, Result};

mod facts;
mod json;
mod parts;
mod warning;

pub use facts::{
    BreakerHealth, ClockOffset, ClusterHealth, CoolDown, DualWriteHealth, Latencies, NearHealth,
    NearState, PoolHealth, ReplicationHealth, SentinelHealth, ServerHealth,
};
pub(super) use parts::{examine, of_parts};
pub use warning::HealthWarning;

/// The state of a backend or a server, and of those inside it.
///
/// What is not known, or has no meaning there, is `None`, and is left out of the JSON that
/// `serde` makes of it. There an error is its `kind` and its `text`, and every time is a number of
/// milliseconds under a name that ends in `_ms`.
///
/// ```
/// # fn main() -> Result<(), serde_json::Error> {
/// use yokedcache::{Cache, HealthStatus};
///
/// let health = Cache::memory(10).detailed_health_check();
/// assert_eq!(health.status(), HealthStatus::Up);
/// let json = serde_json::to_value(&health)?;
/// assert_eq!((&json["name"], &json["status"]), (&"memory".into(), &"up".into()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// Its name.
    pub name: &'static str,
    /// How long it took to answer a read.
    pub latency: Option<Duration>,
    /// Why it does not answer, or does not serve.
    pub error: Option<Error>,
    /// What its operator should know, or do.
    pub warnings: Vec<HealthWarning>,
    /// How long each step of storing, reading and deleting an entry took.
    pub probe: Option<Latencies>,
    /// What a server says of itself.
    pub server: Option<Box<ServerHealth>>,
    /// The connections to a server.
    pub pool: Option<PoolHealth>,
    /// A server that is known to be down, and left alone for a moment.
    pub cool_down: Option<CoolDown>,
    /// A server with its master or its replicas.
    pub replication: Option<ReplicationHealth>,
    /// The sentinels that name the master.
    pub sentinel: Option<SentinelHealth>,
    /// What a cluster says of itself.
    pub cluster: Option<ClusterHealth>,
    /// The breaker of a [`Fallback`](crate::Fallback).
    pub breaker: Option<BreakerHealth>,
    /// The near tier of a [`Tiered`](crate::Tiered).
    pub near: Option<NearHealth>,
    /// How far a [`DualWrite`](crate::DualWrite) is.
    pub migration: Option<DualWriteHealth>,
    /// The backends and servers inside, with the parts they play.
    pub children: Vec<(String, Health)>,
}

/// Whether a backend serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// It serves, and so does all inside it.
    Up,
    /// It serves, and something inside does not, or not as it should.
    Degraded,
    /// It does not serve.
    Down,
}

impl Health {
    /// Of a backend that answered, or did not.
    pub fn new(name: &'static str, answered: Result<Duration>) -> Self {
        let (latency, error) = match answered {
            Ok(latency) => (Some(latency), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            name,
            latency,
            error,
            warnings: Vec::new(),
            probe: None,
            server: None,
            pool: None,
            cool_down: None,
            replication: None,
            sentinel: None,
            cluster: None,
            breaker: None,
            near: None,
            migration: None,
            children: Vec::new(),
        }
    }

    /// Down with an [`error`](Self::error); degraded with a warning that [says
    /// so](HealthWarning::degrades), and with a child that is not up; else up.
    pub fn status(&self) -> HealthStatus {
        let degrades = self.warnings.iter().any(|warning| warning.degrades);
        let is_whole = || self.children.iter().all(|(_, child)| child.is_up());
        match self.error {
            Some(_) => HealthStatus::Down,
            None if degrades || !is_whole() => HealthStatus::Degraded,
            None => HealthStatus::Up,
        }
    }

    /// Whether it and all inside it serve as they should.
    pub fn is_up(&self) -> bool {
        self.status() == HealthStatus::Up
    }

    /// Adds a warning.
    pub fn warn(&mut self, warning: HealthWarning) {
        self.warnings.push(warning);
    }

    /// All warnings of the tree, each with the way to where it belongs: the parts from the root on.
    ///
    /// ```
    /// # let health = yokedcache::Cache::memory(10).detailed_health_check();
    /// for (parts, warning) in health.all_warnings() {
    ///     println!("{}: {warning}", parts.join("/"));
    /// }
    /// ```
    pub fn all_warnings(&self) -> Vec<(Vec<&str>, &HealthWarning)> {
        let mut all: Vec<_> = self.warnings.iter().map(|warning| (Vec::new(), warning)).collect();
        for (part, child) in &self.children {
            all.extend(child.all_warnings().into_iter().map(|(mut parts, warning)| {
                parts.insert(0, part.as_str());
                (parts, warning)
            }));
        }
        all
    }
}

/// What is read to see whether a backend answers: no key that anybody stores.
pub(crate) const PROBE: &str = "~health";

/// Asks a backend for a key: how long that took.
pub(crate) fn read<B: Backend + ?Sized>(
    backend: &B,
    call: Call,
    key: Name<'_>,
) -> Result<Duration> {
    let started = Instant::now();
    let mut out = [Read::Unanswered];
    let want = Want { quiet: true, head_only: true, ..Want::VALUE };
    backend.read(call, &[key], &want, &mut out)?;
    match out {
        [Read::Failed(error)] => Err(error),
        [Read::Unanswered] => {
            Err(Error::new(ErrorKind::Backend, "the backend gave no fitting answer"))
        }
        _ => Ok(started.elapsed()),
    }
}
