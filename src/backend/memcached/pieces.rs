//! Values in pieces, where one is larger than a server takes.
//!
//! What is stored under the name then is a list of the pieces: theirs are names nobody had before, so
//! that the list alone decides what is there. Pieces of a value that was replaced end with its time to
//! live, or when the server needs room.

use bytes::Bytes;

use super::batch::{Batch, Item, Op, Reply};
use super::fleet::Fleet;
use crate::backend::remote::exchange::Limits;
use crate::backend::remote::{stored, unique};
use crate::error::{Error, ErrorKind, Result};

const MARK: [u8; 2] = [0xC1, b'S'];
/// Room for what surrounds a piece.
const AROUND: usize = 4096;
/// Smaller pieces are not worth it.
const LEAST: usize = 1 << 14;
/// What servers take unless they were told otherwise.
const USUAL_ROOM: usize = 1 << 20;

/// What is stored in place of a value in pieces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct List {
    id: u128,
    length: u64,
    pieces: u32,
    name: String,
}

impl List {
    fn bytes(&self) -> Vec<u8> {
        let (length, pieces) = (self.length.to_le_bytes(), self.pieces.to_le_bytes());
        [&MARK, &self.id.to_le_bytes()[..], &length, &pieces, self.name.as_bytes()].concat()
    }

    fn read(stored: &[u8]) -> Option<Self> {
        let rest = stored.strip_prefix(&MARK)?;
        let (id, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (pieces, name) = rest.split_first_chunk()?;
        Some(Self {
            id: u128::from_le_bytes(*id),
            length: u64::from_le_bytes(*length),
            pieces: u32::from_le_bytes(*pieces),
            name: std::str::from_utf8(name).ok()?.to_owned(),
        })
    }

    fn piece(&self, number: u32) -> String {
        stored::piece(&self.name, self.id, number)
    }
}

/// The list in place of a value that is too large, with its pieces on their way.
pub(super) fn split(batch: &mut Batch, name: &str, bytes: &[u8], until: u32) -> Option<Vec<u8>> {
    let room = batch.fleet.limit.get().unwrap_or(USUAL_ROOM);
    let most = room.saturating_sub(AROUND + 2 * name.len());
    if bytes.len() <= most || most < LEAST {
        return None;
    }
    let (length, pieces) = (bytes.len() as u64, u32::try_from(bytes.len().div_ceil(most)).ok()?);
    let list = List { id: unique(), length, pieces, name: name.to_owned() };
    for (number, bytes) in (0..).zip(bytes.chunks(most)) {
        batch.push_piece(&list.piece(number), bytes, until);
    }
    Some(list.bytes())
}

/// Whether what is stored is a list of pieces.
fn is_list(reply: &Result<Reply>) -> bool {
    matches!(reply, Ok(Reply::Item(item)) if item.value.starts_with(&MARK))
}

/// Puts values together whose lists were read: a round trip more.
pub(super) fn join(fleet: &Fleet, batch: &Batch, replies: &mut [Result<Reply>], limits: Limits) {
    if !replies.iter().any(is_list) {
        return;
    }
    let mut gets = Batch::new(batch.fleet.clone());
    let mut lists = Vec::new();
    for reply in replies.iter_mut().filter(|reply| is_list(reply)) {
        let Ok(Reply::Item(item)) = reply else { continue };
        // What is no list is damaged, to whoever opens it.
        let Some(list) = List::read(&item.value) else { continue };
        (0..list.pieces.min(MOST_PIECES))
            .for_each(|number| gets.push(&list.piece(number), Op::Get { more: false }));
        lists.push((item, list));
    }
    // A piece may look like a list.
    let mut answers = fleet.run_whole(&mut gets, limits).into_iter();
    for (item, list) in lists {
        let pieces = answers.by_ref().take(list.pieces.min(MOST_PIECES) as usize);
        item.value = joined(&list, pieces);
    }
}

/// More than any value has that fits a server of 64 gigabytes.
const MOST_PIECES: u32 = 1 << 16;

/// The value, or what is damaged to whoever opens it.
fn joined(list: &List, pieces: impl Iterator<Item = Result<Reply>>) -> Bytes {
    let mut value = Vec::new();
    for piece in pieces {
        match piece {
            Ok(Reply::Item(Item { value: piece, .. })) => value.extend_from_slice(&piece),
            _ => return Bytes::from_static(&MARK[..1]),
        }
    }
    match value.len() as u64 == list.length {
        true => value.into(),
        false => Bytes::from_static(&MARK[..1]),
    }
}

/// Stores the pieces of a batch; why not, if that failed.
pub(super) fn store(fleet: &Fleet, pieces: &mut Batch, limits: Limits) -> Option<Error> {
    fleet.run_whole(pieces, limits).into_iter().find_map(|reply| match reply {
        Ok(Reply::Done(_)) => None,
        Ok(Reply::Refused(error) | Reply::Hangs(error)) | Err(error) => Some(error),
        Ok(_) => Some(Error::new(ErrorKind::Backend, "memcached did not store a piece of a value")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written_and_nothing_else_is_one() {
        let list = List { id: 7, length: 3_000_000, pieces: 3, name: "shop:k".into() };
        assert_eq!(List::read(&list.bytes()).unwrap(), list);
        for stored in [&b""[..], b"\xC1S", &list.bytes()[..29], b"\xC1V"] {
            assert_eq!(List::read(stored), None);
        }
        assert_eq!(stored::original(&list.piece(2)), None, "a piece is no key");
    }
}
