//! One server: a trial of an entry, and what the server says of itself. Four round trips.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Memcached;
use super::super::batch::{Batch, Mode, Op, Reply, Transport};
use super::super::fleet::Server;
use super::super::store;
use super::{NAME, said};
use crate::backend::health::{Health, PoolHealth};
use crate::backend::remote::exchange::{Limits, Lost, Part, exchange};
use crate::backend::remote::health::{Trial, not_written, our_side, ours, warnings};
use crate::backend::remote::store::End;
use crate::backend::remote::{stored, unique};
use crate::error::{Error, ErrorKind, Result};

/// How long what is stored for the trial lives at most, in milliseconds.
const KEPT: End = End::After(5_000);
/// What is asked of a server.
const KINDS: [&str; 2] = ["", "settings"];

pub(super) struct Visit<'v> {
    memcached: &'v Memcached,
    server: &'v Arc<Server>,
    limits: Limits,
    /// As it was before.
    pool: PoolHealth,
}

impl<'v> Visit<'v> {
    pub(super) fn new(memcached: &'v Memcached, server: &'v Arc<Server>, limits: Limits) -> Self {
        // An answer that is late is what is to be told.
        let limits = Limits { retry_late: false, ..limits };
        Self { memcached, server, limits, pool: server.pool_health() }
    }

    pub(super) fn pay(self, space: &str) -> Health {
        let mut trial = Trial::default();
        let answered = match self.pool.is_exhausted() {
            false => self.try_entry(space, &mut trial),
            true => Ok(None),
        };
        let mut health = match answered {
            Ok(took) => self.question(took),
            Err(error) => Health::new(NAME, Err(error)),
        };
        trial.tell(&mut health);
        our_side(&mut health, self.server, self.pool);
        health
    }

    /// Stores, reads and deletes an entry at this server, whoever its name belongs to. How long the
    /// server took to answer; nothing if the prefix is too long for a name that must not be cut off.
    fn try_entry(&self, space: &str, trial: &mut Trial) -> Result<Option<Duration>> {
        let name = stored::beat(space, unique(), 0, 0);
        let store = Op::Store { mode: Mode::Always, bytes: b"1", until: store::until(KEPT) };
        trial.latencies.set = self.written(&name, store, trial)?;
        let took = match self.ask(&name, Op::Get { more: false })? {
            (Reply::Refused(error), _) if error.kind() == ErrorKind::InvalidKey => {
                trial.warnings.clear();
                return Ok(None);
            }
            (Reply::Refused(error) | Reply::Hangs(error), _) => return Err(error),
            (_, took) => took,
        };
        trial.latencies.get = Some(took);
        if trial.latencies.set.is_some() {
            trial.latencies.delete = self.written(&name, Op::Delete(None), trial)?;
        }
        Ok(Some(took))
    }

    /// How long a write took; nothing if it was refused.
    fn written(&self, name: &str, op: Op<'_>, trial: &mut Trial) -> Result<Option<Duration>> {
        Ok(match self.ask(name, op)? {
            (Reply::Refused(error) | Reply::Hangs(error), _) => {
                trial.warnings.push(not_written(&error));
                None
            }
            (_, took) => Some(took),
        })
    }

    fn ask(&self, name: &str, op: Op<'_>) -> Result<(Reply, Duration)> {
        let mut batch = Batch::new(self.memcached.fleet.clone());
        batch.push(name, op);
        let mut parts = [Part::new(self.server.clone(), vec![0])];
        let started = Instant::now();
        exchange(&batch, &mut parts, self.limits);
        let [Part { mut replies, .. }] = parts;
        let nothing = || Error::new(ErrorKind::Backend, "memcached gave no answer");
        let reply = replies.pop().ok_or_else(nothing)?.map_err(Lost::into_error)?;
        Ok((reply, started.elapsed()))
    }

    /// What the server says of itself. Where no entry was tried that is its sign of life.
    fn question(&self, answered: Option<Duration>) -> Health {
        let Self { memcached, server, limits, pool } = self;
        let ask = if pool.is_exhausted() { said::apart } else { said::of };
        let (started, began) = (Instant::now(), ours());
        let told = ask(memcached, server, limits.until, KINDS);
        let (took, trip) = (started.elapsed(), (began, ours()));
        let told = match (told, answered) {
            (Ok(told), _) => told,
            (Err(_), Some(answered)) => return Health::new(NAME, Ok(answered)),
            (Err(error), None) => return Health::new(NAME, Err(error)),
        };
        let mut health = Health::new(NAME, Ok(answered.unwrap_or(took)));
        let server = said::server(&told, trip);
        let also = match memcached.fleet.transport() {
            Transport::Meta => ", and times to live of over a month",
            Transport::Binary => ", and so do all times to live over the binary protocol",
        };
        health.warnings.extend(warnings(&server, also));
        health.warnings.extend(said::unable(&told[1]));
        health.server = Some(Box::new(server));
        health
    }
}
