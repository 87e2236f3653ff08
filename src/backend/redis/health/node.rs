//! One server: a trial of an entry, and what the server says of itself. Four round trips.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{ServerError, Value};

use super::super::Redis;
use super::super::batch::Batch;
use super::super::resp::Reader;
use super::super::topology::Topology;
use super::super::wire::{Server, refused};
use super::NAME;
use super::info::{QUESTIONS, Told, unlinked};
use crate::backend::health::{ClusterHealth, Health, HealthWarning, PoolHealth};
use crate::backend::remote::exchange::Limits;
use crate::backend::remote::health::{Trial, not_written, our_side, ours, warnings};
use crate::backend::remote::net;
use crate::backend::remote::node::Link;
use crate::backend::remote::{stored, unique};
use crate::error::{Error, ErrorKind, Result};

/// How long what is stored for the trial lives at most, in milliseconds.
const KEPT: &[u8] = b"5000";

pub(super) struct Visit<'v> {
    redis: &'v Redis,
    server: &'v Arc<Server>,
    limits: Limits,
    /// As it was before.
    pool: PoolHealth,
    /// A connection beside the pool, where that has none to give.
    apart: Option<Link<Reader>>,
}

impl<'v> Visit<'v> {
    pub(super) fn new(redis: &'v Redis, server: &'v Arc<Server>, limits: Limits) -> Self {
        // An answer that is late is what is to be told.
        let limits = Limits { retry_late: false, ..limits };
        Self { redis, server, limits, pool: server.pool_health(), apart: None }
    }

    /// The server's health, and what it says of the cluster it is part of.
    pub(super) fn pay(mut self, space: &str) -> (Health, Option<ClusterHealth>) {
        let mut trial = Trial::default();
        let answered = self.knock().and_then(|()| self.try_entry(space, &mut trial));
        let is_up = answered.is_ok();
        let mut health = Health::new(NAME, answered);
        trial.tell(&mut health);
        let cluster = if is_up { self.question(&mut health) } else { None };
        our_side(&mut health, self.server, self.pool);
        (health, cluster)
    }

    /// Takes a connection beside the pool if that has none to give.
    fn knock(&mut self) -> Result<()> {
        if self.pool.is_exhausted() {
            self.apart = Some(self.server.apart(self.limits.until)?);
        }
        Ok(())
    }

    fn ask(&mut self, commands: &[&[&[u8]]]) -> Result<(Vec<Value>, Duration)> {
        let mut batch = Batch::new(false);
        commands.iter().for_each(|words| batch.push("", words));
        let started = Instant::now();
        let said = match &mut self.apart {
            None => Topology::run_at(self.server, &mut batch, self.limits)?,
            Some(link) => say(link, &batch, self.limits.until)
                .map_err(|error| net::failed(NAME, self.server.endpoint(), error))?,
        };
        Ok((said, started.elapsed()))
    }

    fn ask_one(&mut self, words: &[&[u8]]) -> Result<(Value, Duration)> {
        let (mut said, took) = self.ask(&[words])?;
        let nothing = || Error::new(ErrorKind::Backend, "redis gave no answer");
        Ok((said.pop().ok_or_else(nothing)?, took))
    }

    /// Stores, reads and deletes an entry where one of ours may live; else asks for a sign of life.
    /// How long the server took to answer.
    fn try_entry(&mut self, space: &str, trial: &mut Trial) -> Result<Duration> {
        let Some(name) = self.name(space) else { return self.greet() };
        let key = name.as_bytes();
        trial.latencies.set = self.written(&[b"SET", key, b"1", b"PX", KEPT], trial)?;
        let took = match self.ask_one(&[b"GET", key])? {
            (Value::ServerError(error), took) if is_elsewhere(&error) => return Ok(took),
            (Value::ServerError(error), _) => return Err(self.refused(&error)),
            (_, took) => took,
        };
        trial.latencies.get = Some(took);
        if trial.latencies.set.is_some() {
            trial.latencies.delete = self.written(&[b"UNLINK", key], trial)?;
        }
        Ok(took)
    }

    /// How long a write took; nothing if it was refused.
    fn written(&mut self, words: &[&[u8]], trial: &mut Trial) -> Result<Option<Duration>> {
        Ok(match self.ask_one(words)? {
            (Value::ServerError(error), _) => {
                trial.warnings.extend(self.unwritten(&error));
                None
            }
            (_, took) => Some(took),
        })
    }

    /// A name under the prefix that lives here, and that nobody takes for an entry.
    fn name(&self, space: &str) -> Option<String> {
        let id = unique();
        let name = |salt| stored::beat(space, id, 0, salt);
        match self.redis.topology.is_cluster() {
            false => Some(name(0)),
            true => self.redis.topology.own_name(self.server, name),
        }
    }

    fn greet(&mut self) -> Result<Duration> {
        match self.ask_one(&[b"PING"])? {
            // Who may not ask has an answer all the same.
            (Value::ServerError(error), _) if error.code() != "NOPERM" => Err(self.refused(&error)),
            (_, took) => Ok(took),
        }
    }

    fn refused(&self, error: &ServerError) -> Error {
        refused(self.server.endpoint(), error)
    }

    fn unwritten(&self, error: &ServerError) -> Option<HealthWarning> {
        match error.code() {
            _ if is_elsewhere(error) => None,
            "READONLY" => Some(HealthWarning::trouble(
                "read-only",
                "the server is a replica and takes no writes: nothing is stored or invalidated. Give the \
                 master's address, or use sentinels",
            )),
            _ => Some(not_written(&self.refused(error))),
        }
    }

    /// What the server says of itself; what it does not say is not known.
    fn question(&mut self, health: &mut Health) -> Option<ClusterHealth> {
        let asked = if self.redis.topology.is_cluster() { 5 } else { 4 };
        let began = ours();
        let (answers, _) = self.ask(&QUESTIONS[..asked]).ok()?;
        let trip = (began, ours());
        let told = Told::of(&answers);
        let server = told.server(trip);
        health.warnings.extend(warnings(&server, ""));
        health.server = Some(Box::new(server)).filter(|server| **server != Default::default());
        health.replication = told.replication();
        health.warnings.extend(health.replication.as_ref().and_then(unlinked));
        told.cluster()
    }
}

/// Whether the slot is another server's by now, or on its way to one.
fn is_elsewhere(error: &ServerError) -> bool {
    matches!(error.code(), "MOVED" | "ASK" | "TRYAGAIN")
}

/// Says something on a connection of our own, and reads the answers.
fn say(link: &mut Link<Reader>, batch: &Batch, until: Instant) -> std::io::Result<Vec<Value>> {
    let all: Vec<usize> = (0..batch.len()).collect();
    let Link { stream, session, .. } = link;
    stream.set_deadline(until);
    stream.write_all(&batch.bytes(&all))?;
    stream.flush()?;
    all.iter().map(|_| session.value(stream)).collect()
}
