//! What can be asked of a kind of server about one name. The jobs that read and write entries are
//! made of these few questions.

use std::borrow::Cow;
use std::fmt::Debug;
use std::vec;

use bytes::Bytes;

use super::exchange::Limits;
use super::lies::Lies;
use super::seal::Sealing;
use super::talk::{Answers, Need};
use super::{stored, tags};
use crate::backend::envelope::{self, Opened};
use crate::backend::{Name, Origin};
use crate::error::Result;

/// Servers that keep entries.
pub(crate) trait Store: Sized {
    type Batch;
    type Reply;
    /// What tells a server which entry is meant: that it is still the one that was seen.
    type Seen: Clone + Debug;

    /// The word for it in errors.
    const NAME: &'static str;
    /// Whether everything has a version of its own, bare numbers and what other programs wrote, too.
    const VERSIONS_ALL: bool;

    /// Whether a load can be fenced.
    fn fences(&self) -> bool {
        true
    }

    fn origin(&self) -> Origin;
    fn memory(&self) -> &tags::Memory;
    fn sealing(&self) -> Sealing;

    /// The name a key is stored under.
    fn name_of<'k>(&self, key: &'k str) -> Cow<'k, str> {
        stored::key(key)
    }

    /// What stored bytes are, or their beginning only.
    fn open(&self, key: &str, bytes: &Bytes, whole: bool) -> Opened {
        if whole { envelope::open(key, bytes) } else { envelope::open_head(key, bytes) }
    }

    fn batch(&self) -> Self::Batch;
    fn clear(batch: &mut Self::Batch);
    fn length(batch: &Self::Batch) -> usize;

    /// Carries out a batch: one answer each.
    fn run(
        &self,
        batch: &mut Self::Batch,
        limits: Limits,
        replicas: bool,
    ) -> Vec<Result<Self::Reply>>;

    /// Adds what travels along with whatever is asked; nobody hears the answer.
    fn along(&self, batch: &mut Self::Batch) {
        let _ = batch;
    }

    /// Asks for the record of a tag, in one command or several.
    fn ask_tag(&self, batch: &mut Self::Batch, name: &str, need: Need);
    fn hear_tag(&self, need: Need, answers: &mut Answers<'_, Self::Reply>) -> Result<Option<u64>>;

    /// Gives a tag's record another version, if there is one. It is sent once only: somebody may have
    /// given it another one since.
    fn renew_tag(&self, batch: &mut Self::Batch, name: &str, record: &[u8]);
    /// Whether there was one.
    fn hear_renewed(&self, answers: &mut Answers<'_, Self::Reply>) -> Result<bool>;

    /// Asks for values and nothing else.
    fn ask_values(&self, batch: &mut Self::Batch, keys: &[Name<'_>]);
    /// Hands out the values of so many keys, in order.
    fn hear_values(
        &self,
        keys: usize,
        replies: vec::IntoIter<Result<Self::Reply>>,
        each: &mut dyn FnMut(Result<Option<Bytes>>),
    );

    /// Asks what lies under a name.
    fn look(&self, batch: &mut Self::Batch, name: &str, look: Look);
    fn hear_look(
        &self,
        key: &str,
        look: Look,
        answers: &mut Answers<'_, Self::Reply>,
    ) -> Result<Option<Lies<Self::Seen>>>;

    /// Changes what lies under a name if it is what is expected.
    fn swap(
        &self,
        batch: &mut Self::Batch,
        name: &str,
        expect: Expect<'_, Self::Seen>,
        becomes: Becomes<'_>,
    );
    fn hear_swap(
        &self,
        key: &str,
        answers: &mut Answers<'_, Self::Reply>,
    ) -> Result<Swapped<Self::Seen>>;

    /// Sends the command added last once only.
    fn not_again(batch: &mut Self::Batch);

    /// Removes what lies under a name, and tells what it was.
    fn delete(&self, batch: &mut Self::Batch, name: &str);
    fn hear_delete(
        &self,
        key: &str,
        answers: &mut Answers<'_, Self::Reply>,
    ) -> Result<Option<Lies<Self::Seen>>>;

    /// Adds to a whole number, if servers can do that with this one. Otherwise nothing is asked.
    fn add(&self, batch: &mut Self::Batch, name: &str, addend: &Addend<'_>) -> bool;
    fn hear_add(
        &self,
        by: i64,
        first: Option<i64>,
        answers: &mut Answers<'_, Self::Reply>,
    ) -> Result<Added>;

    /// Takes back what was added beyond the range of numbers, where servers have a larger one.
    fn take_back(&self, batch: &mut Self::Batch, name: &str, by: i64) {
        let _ = (batch, name, by);
    }

    /// The version of what lies there, for tokens and leases.
    fn id_of(lies: &Lies<Self::Seen>) -> Option<u128>;

    /// The same of what was just stored with this stamp; bare numbers have none.
    fn id_stored(stamp: Option<u128>, seen: Option<&Self::Seen>) -> Option<u128>;
}

/// How much is asked of what lies under a name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// All of it. Otherwise its beginning does, where servers can cut it off.
    pub(crate) whole: bool,
    /// How long it has to live.
    pub(crate) life: bool,
}

/// What must lie under a name for it to be changed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect<'a, S> {
    /// Whatever does, or nothing.
    Any,
    Nothing,
    /// Nothing, or a placeholder.
    NothingYet,
    /// An entry, if servers can tell that without its tags and times. Where they cannot they say what
    /// is there.
    Present,
    /// The version of a token or lease.
    Id(u128),
    Seen(&'a S),
}

/// What it is changed to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Becomes<'a> {
    Value(&'a [u8], End),
    /// The same with another end.
    Until(End),
    Gone,
    /// Nothing changes; it is only asked whether it is as expected.
    Same,
}

/// When something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Never,
    /// After so many milliseconds.
    After(u64),
    /// When what it replaces would have; that was so many milliseconds away, or never.
    AsBefore(Option<u64>),
}

impl End {
    pub(crate) fn after(ms: Option<u64>) -> Self {
        ms.map_or(Self::Never, Self::After)
    }
}

/// What became of a swap.
#[derive(Debug)]
pub(crate) enum Swapped<S> {
    /// It was done, and this tells what lies there now.
    Done(Option<S>),
    /// Nothing is there.
    Nothing,
    /// This is.
    There(Lies<S>),
    /// Something else is.
    Other,
}

/// What to add to a number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addend<'a> {
    pub(crate) by: i64,
    /// The number where there is none yet, if it is in range.
    pub(crate) first: Option<i64>,
    /// What is stored for it then.
    pub(crate) new: &'a [u8],
    pub(crate) end: End,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Added {
    Sum(i64),
    /// It was added, and is out of range now.
    Beyond,
    /// Nothing was done: there was none, and somebody else created it, or the first would be out of
    /// range.
    Nothing,
    /// Something is there that servers cannot add to.
    There,
}
