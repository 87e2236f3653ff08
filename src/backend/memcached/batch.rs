//! Commands on their way to the servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use super::fleet::Fleet;
use super::name::{Wire, take_apart, wrapping};
use super::{binary, meta, pieces};
use crate::error::{Error, ErrorKind};

/// Which process of a server keeps an entry, and its number there. The numbers of a server that was
/// started again begin again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The lowest two bits are 0.
    pub(super) process: u64,
    /// Not 0.
    pub(super) cas: u64,
}

impl Stamp {
    /// As one number whose lowest two bits are 0.
    pub(super) fn number(self) -> u128 {
        u128::from(self.cas) << 64 | u128::from(self.process)
    }

    pub(super) fn from_number(number: u128) -> Self {
        Self { process: number as u64 & !3, cas: (number >> 64) as u64 }
    }
}

/// How commands and answers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Transport {
    #[default]
    Meta,
    Binary,
}

/// What is asked of a server about a name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op<'a> {
    /// Its value, and with `more` what else is known of it.
    Get {
        more: bool,
    },
    /// Its value among those of others: nothing is said of one that is not there.
    Quiet,
    /// Whether it is still this.
    Same(Stamp),
    /// Another end, and whether it is still this.
    Touch {
        until: u32,
        same: Option<Stamp>,
    },
    /// To take from a number.
    Subtract {
        by: u64,
    },
    Store {
        mode: Mode,
        bytes: &'a [u8],
        until: u32,
    },
    Delete(Option<Stamp>),
    /// To add to a number, and to make it if it is not there.
    Add {
        by: u64,
        first: u64,
        until: u32,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    Always,
    IfAbsent,
    IfPresent,
    IfStill(Stamp),
}

/// The answer to one command.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Item(Item),
    /// There is none.
    Missing,
    /// It was done, and this is what lies there now.
    Done(Option<Stamp>),
    /// There is one where there should be none, or the other way round.
    NotStored,
    /// It is another one.
    Changed,
    Number(u64),
    /// What lies there is no number.
    NoNumber,
    Refused(Error),
    /// The server said something after which the connection is not used again.
    Hangs(Error),
}

/// What lies under a name.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(super) value: Bytes,
    pub(super) stamp: Option<Stamp>,
    /// Seconds to live, negative if for ever; `None` if the server was not asked or cannot tell.
    pub(super) left: Option<i64>,
}

/// One command of a batch.
#[derive(Debug)]
pub(super) struct Command {
    end: usize,
    /// Which server it goes to.
    pub(super) server: usize,
    /// Comes back with the answer: that it is the answer to this.
    pub(super) opaque: u32,
    once: bool,
    /// It means an entry of this process of the server, and is not sent to another.
    pub(super) only: Option<u64>,
    /// No answer means that there is none, unless it is the last.
    pub(super) quiet: bool,
    /// What the entry must still be, where only that is asked.
    pub(super) same: Option<Stamp>,
    /// How much of the server's room for an entry it takes.
    pub(super) size: usize,
    /// The whole name, if what was sent is cut off.
    pub(super) whole: Option<Box<str>>,
    /// The answer known without asking.
    pub(super) refused: Option<Error>,
    opcode: u8,
    /// What was sent, where another server may have to stand in.
    name: Box<str>,
}

impl Command {
    /// What it is in the binary protocol.
    pub(super) fn opcode(&self) -> u8 {
        self.opcode
    }

    /// What lies there if it is of the name asked for, and not of one that was cut off to the same.
    pub(super) fn own(&self, mut item: Item) -> Reply {
        let Some(whole) = &self.whole else { return Reply::Item(item) };
        item.value = match take_apart(&item.value) {
            Some((name, value)) if name == &**whole => value,
            // Damaged, to whoever opens it.
            _ => Bytes::from_static(&[0xC1]),
        };
        Reply::Item(item)
    }
}

/// Commands packed one after the other.
pub(crate) struct Batch {
    pub(super) fleet: Arc<Fleet>,
    bytes: Vec<u8>,
    commands: Vec<Command>,
    /// Whether what is large is stored in pieces.
    splits: bool,
    /// What is stored before, and the commands that need it.
    pieces: Option<Box<Batch>>,
    in_pieces: Vec<usize>,
}

impl Batch {
    pub(super) fn new(fleet: Arc<Fleet>) -> Self {
        let (bytes, commands, in_pieces) = (Vec::new(), Vec::new(), Vec::new());
        let splits = fleet.splits();
        Self { fleet, bytes, commands, splits, pieces: None, in_pieces }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.commands.clear();
        self.pieces = None;
        self.in_pieces.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    pub(super) fn push(&mut self, name: &str, op: Op<'_>) {
        let wire = Wire::new(name);
        let server = self.fleet.place(wire.raw.as_bytes());
        self.push_to(server, name, &wire, op);
    }

    /// The same to a server named.
    pub(super) fn push_at(&mut self, server: usize, name: &str, op: Op<'_>) {
        self.push_to(server, name, &Wire::new(name), op);
    }

    fn push_to(&mut self, server: usize, name: &str, wire: &Wire<'_>, op: Op<'_>) {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let opaque = NEXT.fetch_add(1, Ordering::Relaxed);
        let (list, wrapped);
        let op = match op {
            Op::Store { mode, bytes, until } if self.splits => {
                list = pieces::split(self, name, bytes, until);
                if list.is_some() {
                    self.in_pieces.push(self.commands.len());
                }
                Op::Store { mode, bytes: list.as_deref().unwrap_or(bytes), until }
            }
            op => op,
        };
        let op = match op {
            Op::Store { mode, bytes, until } if wire.cut => {
                wrapped = [&wrapping(name), bytes].concat();
                Op::Store { mode, bytes: &wrapped, until }
            }
            op => op,
        };
        let value = if let Op::Store { bytes, .. } = op { bytes.len() } else { 0 };
        self.bytes.reserve(wire.raw.len() + value + AROUND);
        match self.fleet.transport() {
            Transport::Meta => meta::write(&mut self.bytes, wire, op, opaque),
            Transport::Binary => binary::write(&mut self.bytes, wire, op, opaque),
        }
        let means = match op {
            Op::Same(stamp)
            | Op::Delete(Some(stamp))
            | Op::Store { mode: Mode::IfStill(stamp), .. } => Some(stamp.process),
            _ => None,
        };
        let same = match op {
            Op::Same(stamp) => Some(stamp),
            Op::Touch { same, .. } => same,
            _ => None,
        };
        let size = match op {
            Op::Store { bytes, .. } => wire.raw.len() + bytes.len() + OVERHEAD,
            _ => 0,
        };
        self.commands.push(Command {
            end: self.bytes.len(),
            server,
            opaque,
            once: !is_same_twice(&op),
            only: means,
            quiet: matches!(op, Op::Quiet) && self.fleet.transport == Transport::Meta,
            same,
            size,
            whole: wire.cut.then(|| name.into()),
            refused: (wire.cut && self.fleet.is_plain()).then(too_long),
            opcode: binary::opcode(&op),
            name: if self.fleet.ejects() { (*wire.raw).into() } else { "".into() },
        });
    }

    /// Adds a piece of a value, to be stored before anything else.
    pub(super) fn push_piece(&mut self, name: &str, bytes: &[u8], until: u32) {
        let fleet = &self.fleet;
        let whole = || Box::new(Self { splits: false, ..Self::new(fleet.clone()) });
        let pieces = self.pieces.get_or_insert_with(whole);
        pieces.push(name, Op::Store { mode: Mode::Always, bytes, until });
    }

    pub(super) fn take_pieces(&mut self) -> Option<Box<Self>> {
        self.pieces.take()
    }

    /// Sends none of the commands that need pieces.
    pub(super) fn refuse_in_pieces(&mut self, error: &Error) {
        for index in self.in_pieces.drain(..) {
            self.commands[index].refused = Some(error.clone());
        }
    }

    /// Adds a command that is not sent, and its answer.
    pub(super) fn refuse(&mut self, name: &str, error: Error) {
        self.push(name, Op::Get { more: false });
        if let Some(command) = self.commands.last_mut() {
            command.refused = Some(error);
        }
    }

    /// Sends the command added last once only.
    pub(super) fn not_again(&mut self) {
        if let Some(command) = self.commands.last_mut() {
            command.once = true;
        }
    }

    pub(super) fn command(&self, index: usize) -> &Command {
        &self.commands[index]
    }

    /// Lets another server stand in for one that is down.
    pub(super) fn place_again(&mut self, index: usize) {
        let command = &mut self.commands[index];
        command.server = self.fleet.place(command.name.as_bytes());
    }

    pub(super) fn is_once(&self, index: usize) -> bool {
        self.commands[index].once
    }

    pub(super) fn bytes(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.commands[index - 1].end };
        &self.bytes[start..self.commands[index].end]
    }

    /// The bytes of commands that follow each other.
    pub(super) fn bytes_of(&self, first: usize, last: usize) -> &[u8] {
        let start = if first == 0 { 0 } else { self.commands[first - 1].end };
        &self.bytes[start..self.commands[last].end]
    }
}

fn too_long() -> Error {
    let what = "a plain memcached key has at most 250 bytes, 186 with blanks or control characters";
    Error::new(ErrorKind::InvalidKey, what)
}

/// Room for what a command has beside name and value; of the longest some is made later.
const AROUND: usize = 64;

/// What a server keeps beside name and value of an entry: fields, a number for compare-and-swap, and
/// ends of lines.
const OVERHEAD: usize = 59;

/// Whether it does no harm to send a command again that may have been carried out. A condition that
/// we made true ourselves would look like somebody else's doing.
fn is_same_twice(op: &Op<'_>) -> bool {
    match op {
        Op::Get { .. } | Op::Quiet | Op::Same(_) | Op::Touch { .. } | Op::Delete(None) => true,
        Op::Store { mode, .. } => matches!(mode, Mode::Always),
        Op::Delete(Some(_)) | Op::Add { .. } | Op::Subtract { .. } => false,
    }
}
