//! What Memcached servers are asked to look at and change an entry.
//!
//! A server numbers what is stored (the CAS), and that number tells one entry from another. It is
//! good for one process of the server only: a lease or a version says which, and is refused by
//! another.

use std::borrow::Cow;
use std::time::Duration;
use std::vec;

use bytes::Bytes;

use super::Memcached;
use super::batch::{Batch, Item, Mode, Op, Reply, Stamp, Transport};
use crate::backend::envelope::{self, Opened, is_whole_number};
use crate::backend::remote::exchange::Limits;
use crate::backend::remote::lies::Lies;
use crate::backend::remote::seal::Sealing;
use crate::backend::remote::stamp::{kind_of, of_the_kind};
use crate::backend::remote::store::{Added, Addend, Becomes, End, Expect, Look, Store, Swapped};
use crate::backend::remote::talk::{Answers, Need, missing};
use crate::backend::remote::{plain, stored, tags, wall_ms};
use crate::backend::{Name, Origin};
use crate::error::{Error, ErrorKind, Result};

/// Servers' clocks tick once a second, and what is shorter is rounded up to that.
pub(super) const STEP: Duration = Duration::from_secs(2);
/// Seconds beyond which servers take a time for a date.
const MONTH: u64 = 30 * 24 * 3600;
/// What servers add is added modulo 2^64: larger numbers are added by swapping, so that many of
/// them at the same time do not come around.
const MOST_ADDED: i64 = 1 << 48;

impl Store for Memcached {
    type Batch = Batch;
    type Reply = Reply;
    /// None where the server does not number entries.
    type Seen = Option<Stamp>;

    const NAME: &'static str = "memcached";
    const VERSIONS_ALL: bool = true;

    fn fences(&self) -> bool {
        self.fleet.limit.numbers()
    }

    fn origin(&self) -> Origin {
        self.origin
    }

    fn memory(&self) -> &tags::Memory {
        &self.tags
    }

    fn sealing(&self) -> Sealing {
        Sealing {
            ends: self.fleet.transport() == Transport::Binary,
            coarse: true,
            unsigned: true,
            plain: self.plain.then_some("plain memcached"),
        }
    }

    fn name_of<'k>(&self, key: &'k str) -> Cow<'k, str> {
        if self.plain { Cow::Borrowed(key) } else { stored::key(key) }
    }

    fn open(&self, key: &str, bytes: &Bytes, _: bool) -> Opened {
        match self.plain {
            true => Opened::Foreign(plain::entry(bytes.clone())),
            false => envelope::open(key, bytes),
        }
    }

    fn batch(&self) -> Batch {
        Batch::new(self.fleet.clone())
    }

    fn clear(batch: &mut Batch) {
        batch.clear();
    }

    fn length(batch: &Batch) -> usize {
        batch.len()
    }

    fn run(&self, batch: &mut Batch, limits: Limits, _: bool) -> Vec<Result<Reply>> {
        self.fleet.run(batch, limits)
    }

    fn ask_tag(&self, batch: &mut Batch, name: &str, need: Need) {
        if need.make {
            // Without an end: it outlives every entry, and goes when the server needs room.
            let (mode, bytes) = (Mode::IfAbsent, &tags::record(tags::fresh()));
            batch.push(name, Op::Store { mode, bytes, until: 0 });
        }
        batch.push(name, Op::Get { more: false });
    }

    fn hear_tag(&self, need: Need, answers: &mut Answers<'_, Reply>) -> Result<Option<u64>> {
        if need.make {
            reply(answers)?;
        }
        Ok(item(answers)?.and_then(|item| tags::version(&item.value)))
    }

    fn renew_tag(&self, batch: &mut Batch, name: &str, record: &[u8]) {
        batch.push(name, Op::Store { mode: Mode::IfPresent, bytes: record, until: 0 });
    }

    fn hear_renewed(&self, answers: &mut Answers<'_, Reply>) -> Result<bool> {
        Ok(matches!(reply(answers)?, Reply::Done(_)))
    }

    fn ask_values(&self, batch: &mut Batch, keys: &[Name<'_>]) {
        let op = if keys.len() == 1 { Op::Get { more: false } } else { Op::Quiet };
        for key in keys {
            batch.push(&self.name_of(key.as_str()), op);
        }
    }

    fn hear_values(
        &self,
        keys: usize,
        mut replies: vec::IntoIter<Result<Reply>>,
        each: &mut dyn FnMut(Result<Option<Bytes>>),
    ) {
        for _ in 0..keys {
            each(match replies.next().unwrap_or_else(|| Err(missing())) {
                Ok(Reply::Item(item)) => Ok(Some(self.text(item.value))),
                Ok(Reply::Refused(error) | Reply::Hangs(error)) => Err(error),
                Ok(_) => Ok(None),
                Err(error) => Err(error),
            });
        }
    }

    fn look(&self, batch: &mut Batch, name: &str, _: Look) {
        batch.push(name, Op::Get { more: true });
    }

    fn hear_look(
        &self,
        key: &str,
        _: Look,
        answers: &mut Answers<'_, Reply>,
    ) -> Result<Option<Lies<Self::Seen>>> {
        Ok(item(answers)?.map(|item| self.lies(key, item)))
    }

    fn swap(
        &self,
        batch: &mut Batch,
        name: &str,
        expect: Expect<'_, Self::Seen>,
        becomes: Becomes<'_>,
    ) {
        let stamp = match expect {
            Expect::Id(id) => Some(Stamp::from_number(id)),
            Expect::Seen(seen) => *seen,
            Expect::Any | Expect::Nothing | Expect::NothingYet | Expect::Present => None,
        };
        match (expect, becomes) {
            (Expect::Any, Becomes::Value(bytes, end)) => {
                batch.push(name, Op::Store { mode: Mode::Always, bytes, until: until(end) });
            }
            (Expect::Any, Becomes::Gone) => batch.push(name, Op::Delete(None)),
            (Expect::Nothing | Expect::NothingYet, Becomes::Value(bytes, end)) => {
                let until = until(end);
                batch.push(name, Op::Store { mode: Mode::IfAbsent, bytes, until });
                // If something is there: what.
                batch.push(name, Op::Get { more: true });
            }
            // What has to be judged by its tags cannot be changed without being seen.
            (Expect::Present | Expect::Nothing | Expect::NothingYet, _) | (_, Becomes::Same)
                if stamp.is_none() =>
            {
                batch.push(name, Op::Get { more: true });
            }
            (_, Becomes::Until(end)) if stamp.is_none() => {
                batch.push(name, Op::Touch { until: until(end), same: None });
            }
            (_, becomes) => match stamp {
                Some(stamp) => self.swap_stamped(batch, name, stamp, becomes),
                None => batch.refuse(name, numbers_nothing()),
            },
        }
    }

    fn hear_swap(
        &self,
        key: &str,
        answers: &mut Answers<'_, Reply>,
    ) -> Result<Swapped<Self::Seen>> {
        Ok(match reply(answers)? {
            Reply::Done(stamp) => Swapped::Done(Some(stamp)),
            Reply::Missing => Swapped::Nothing,
            Reply::Item(item) => Swapped::There(self.lies(key, item)),
            // What is there was asked in the same breath.
            Reply::NotStored => match item(answers)? {
                Some(item) => Swapped::There(self.lies(key, item)),
                None => Swapped::Nothing,
            },
            Reply::Changed | Reply::Number(_) | Reply::NoNumber => Swapped::Other,
            Reply::Refused(error) | Reply::Hangs(error) => return Err(error),
        })
    }

    fn not_again(batch: &mut Batch) {
        batch.not_again();
    }

    fn delete(&self, batch: &mut Batch, name: &str) {
        batch.push(name, Op::Get { more: true });
        batch.push(name, Op::Delete(None));
    }

    fn hear_delete(
        &self,
        key: &str,
        answers: &mut Answers<'_, Reply>,
    ) -> Result<Option<Lies<Self::Seen>>> {
        let there = item(answers);
        match reply(answers)? {
            Reply::Done(_) => Ok(there?.map(|item| self.lies(key, item))),
            _ => Ok(None),
        }
    }

    fn add(&self, batch: &mut Batch, name: &str, addend: &Addend<'_>) -> bool {
        let Addend { by, first, new, end } = *addend;
        let small = (0..MOST_ADDED).contains(&by);
        let first = first.and_then(|first| u64::try_from(first).ok());
        let bare = is_whole_number(new);
        let (Some(first), true, true) = (first, small, bare) else { return false };
        // Under a name that was cut off nothing is bare.
        if super::name::Wire::new(name).cut {
            return false;
        }
        let by = by.unsigned_abs();
        batch.push(name, Op::Add { by, first, until: until(end) });
        true
    }

    fn hear_add(
        &self,
        by: i64,
        first: Option<i64>,
        answers: &mut Answers<'_, Reply>,
    ) -> Result<Added> {
        let number = match reply(answers)? {
            Reply::Number(number) => Some(number),
            Reply::Item(item) => {
                let text = trimmed(item.value);
                std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok())
            }
            Reply::NoNumber => return Ok(Added::There),
            // Two found none, and the other one's was created.
            Reply::NotStored => return Ok(Added::Nothing),
            _ => None,
        };
        let no_sum = || Error::new(ErrorKind::Backend, "not a sum");
        let number: u64 = number.ok_or_else(no_sum)?;
        // A number of somebody else's may have come around to 0.
        let around = number < by.unsigned_abs();
        Ok(match i64::try_from(number) {
            Ok(sum) if !around || first == Some(sum) => Added::Sum(sum),
            _ => Added::Beyond,
        })
    }

    fn take_back(&self, batch: &mut Batch, name: &str, by: i64) {
        batch.push(name, Op::Subtract { by: by.unsigned_abs() });
    }

    fn id_of(lies: &Lies<Self::Seen>) -> Option<u128> {
        let kind = match &lies.opened {
            Opened::Value(envelope) => kind_of(!envelope.entry.tags.is_empty()),
            Opened::Foreign(_) => kind_of(false),
            Opened::Placeholder(_) | Opened::Damaged => return None,
        };
        lies.seen.map(|stamp| stamp.number() | kind)
    }

    fn id_stored(stamp: Option<u128>, seen: Option<&Self::Seen>) -> Option<u128> {
        let number = seen.copied().flatten()?.number();
        Some(of_the_kind(number, stamp.unwrap_or(kind_of(false))))
    }
}

impl Memcached {
    /// What was stored, but for the blanks that servers leave behind a number. Among plain values they
    /// may be somebody's.
    fn text(&self, value: Bytes) -> Bytes {
        if self.plain { value } else { trimmed(value) }
    }

    fn lies(&self, key: &str, item: Item) -> Lies<Option<Stamp>> {
        // The last of the seconds told may be over at any moment.
        let ms = |left: i64| match left {
            ..0 => -1,
            0 | 1 => 1,
            left => left.saturating_sub(1).saturating_mul(1000),
        };
        let opened = self.open(key, &self.text(item.value), true);
        let left_ms = Some(item.left.map_or(-1, ms));
        Lies { opened, seen: item.stamp, whole: true, left_ms }
    }

    /// Changes an entry whose number is known.
    fn swap_stamped(&self, batch: &mut Batch, name: &str, stamp: Stamp, becomes: Becomes<'_>) {
        let mode = Mode::IfStill(stamp);
        match becomes {
            Becomes::Value(bytes, end) => {
                batch.push(name, Op::Store { mode, bytes, until: until(end) });
            }
            // The CAS stays when the end moves. Who has moved that of something newer is told so.
            Becomes::Until(end) => {
                batch.push(name, Op::Touch { until: until(end), same: Some(stamp) });
            }
            Becomes::Gone => batch.push(name, Op::Delete(Some(stamp))),
            Becomes::Same => batch.push(name, Op::Same(stamp)),
        }
    }
}

fn numbers_nothing() -> Error {
    Error::unsupported("memcached started with -C", "compare-and-swap")
}

/// The next answer; what the server refused is an error.
fn reply(answers: &mut Answers<'_, Reply>) -> Result<Reply> {
    match answers.reply()? {
        Reply::Refused(error) | Reply::Hangs(error) => Err(error),
        reply => Ok(reply),
    }
}

/// The next answer as what lies there.
fn item(answers: &mut Answers<'_, Reply>) -> Result<Option<Item>> {
    Ok(match reply(answers)? {
        Reply::Item(item) => Some(item),
        _ => None,
    })
}

/// A number that became shorter is left with blanks behind it by servers.
fn trimmed(value: Bytes) -> Bytes {
    if value.last() != Some(&b' ') || !value[0].is_ascii_digit() {
        return value;
    }
    let text = value.trim_ascii_end();
    if is_whole_number(text) { value.slice_ref(text) } else { value }
}

/// An end as servers are told it: seconds from now, or a date if that is far away, or 0 for ever.
///
/// Their clock ticks once a second. One second more than asked, rounded up, is at least as long.
pub(super) fn until(end: End) -> u32 {
    let ms = match end {
        End::Never | End::AsBefore(None) => return 0,
        End::After(ms) | End::AsBefore(Some(ms)) => ms,
    };
    let seconds = ms.div_ceil(1000).saturating_add(1);
    let told = if seconds > MONTH { (wall_ms() / 1000).saturating_add(seconds) } else { seconds };
    // Dates beyond this do not fit what servers keep.
    u32::try_from(told).ok().filter(|told| *told <= i32::MAX as u32).unwrap_or(0)
}
