//! The servers and who keeps what.

use std::sync::Arc;

use super::batch::{Batch, Reply, Transport};
use super::pieces;
use super::ring::Ring;
use super::wire::{Limit, Talker};
use crate::backend::remote::exchange::{Limits, Lost, Part, exchange};
use crate::backend::remote::node::Node;
use crate::error::{Error, ErrorKind, Result};

/// A Memcached server.
pub(super) type Server = Node<Talker>;

#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) ring: Ring,
    pub(super) servers: Vec<Arc<Server>>,
    pub(super) transport: Transport,
    pub(super) options: Options,
    /// What the servers take.
    pub(super) limit: Arc<Limit>,
}

/// What is done differently if asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    /// The keys of a server that is down go to others meanwhile.
    pub(super) eject: bool,
    /// Names are other programs' names, too, and cannot be cut off.
    pub(super) plain: bool,
    /// Values larger than a server takes are stored in pieces.
    pub(super) split: bool,
}

impl Fleet {
    /// Without servers, to write and read what would be said to one.
    #[cfg(test)]
    pub(super) fn nowhere(transport: Transport) -> Arc<Self> {
        let ring = Ring::new(super::Distribution::default(), &[]);
        let (options, limit) = (Options::default(), Arc::default());
        Arc::new(Self { ring, servers: Vec::new(), transport, options, limit })
    }

    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    pub(super) fn is_plain(&self) -> bool {
        self.options.plain
    }

    pub(super) fn ejects(&self) -> bool {
        self.options.eject
    }

    pub(super) fn splits(&self) -> bool {
        self.options.split
    }

    pub(super) fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// Which server keeps what has this name.
    pub(super) fn place(&self, name: &[u8]) -> usize {
        let own = self.ring.server(name);
        if !self.options.eject || !self.servers[own].is_down() {
            return own;
        }
        self.ring.order(name).find(|server| !self.servers[*server].is_down()).unwrap_or(own)
    }

    /// Carries out the commands of a batch, each at its server. One answer each.
    pub(super) fn run(&self, batch: &mut Batch, limits: Limits) -> Vec<Result<Reply>> {
        if let Some(mut pieces) = batch.take_pieces()
            && let Some(error) = pieces::store(self, &mut pieces, limits)
        {
            batch.refuse_in_pieces(&error);
        }
        let mut replies = self.run_whole(batch, limits);
        pieces::join(self, batch, &mut replies, limits);
        replies
    }

    /// The same without regard to pieces.
    pub(super) fn run_whole(&self, batch: &mut Batch, limits: Limits) -> Vec<Result<Reply>> {
        let all: Vec<usize> = (0..batch.len()).collect();
        if let [server] = &self.servers[..] {
            let mut parts = [Part::new(server.clone(), all)];
            exchange(batch, &mut parts, limits);
            let [Part { replies, .. }] = parts;
            return replies.into_iter().map(|reply| reply.map_err(Lost::into_error)).collect();
        }
        let unanswered = || Err(Error::new(ErrorKind::Unavailable, "no server was asked"));
        let mut replies: Vec<Result<Reply>> = (0..batch.len()).map(|_| unanswered()).collect();
        let mut again = Vec::new();
        for (index, reply) in self.ask(batch, all, limits) {
            let elsewhere = match &reply {
                Err(Lost::NotSent(_)) => true,
                // It met a connection that was dead, and no new one could be made.
                Err(Lost::Unknown(_)) => {
                    !batch.is_once(index) && self.servers[batch.command(index).server].is_down()
                }
                Ok(_) => false,
            };
            if self.options.eject && elsewhere {
                again.push(index);
            }
            replies[index] = reply.map_err(Lost::into_error);
        }
        if !again.is_empty() {
            // By now the server that did not let us in is known to be down.
            again.iter().for_each(|index| batch.place_again(*index));
            for (index, reply) in self.ask(batch, again, limits) {
                replies[index] = reply.map_err(Lost::into_error);
            }
        }
        replies
    }

    fn ask(
        &self,
        batch: &Batch,
        commands: Vec<usize>,
        limits: Limits,
    ) -> Vec<(usize, Result<Reply, Lost>)> {
        let mut parts: Vec<Part<Talker>> = Vec::new();
        let mut places = vec![None; self.servers.len()];
        for index in commands {
            let server = batch.command(index).server;
            let place = *places[server].get_or_insert_with(|| {
                parts.push(Part::new(self.servers[server].clone(), Vec::new()));
                parts.len() - 1
            });
            parts[place].commands.push(index);
        }
        exchange(batch, &mut parts, limits);
        parts.into_iter().flat_map(|part| part.commands.into_iter().zip(part.replies)).collect()
    }
}
