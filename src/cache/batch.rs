//! Many keys in one call.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::core::Core;
use super::look::reading;
use super::policy::Policy;
use super::{Cache, Lookup, View};
use crate::backend::{Cause, Change, Grant, Name, Read, Tags, Want, When, Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Names;
use crate::stats::{Count, Operation};

impl View {
    pub(super) fn names<S: AsRef<str>>(&self, keys: impl IntoIterator<Item = S>) -> Result<Names> {
        Names::new(&self.prefix, keys, ErrorKind::InvalidKey)
    }

    /// Reads all keys at once and makes one answer of each.
    fn read_all<S: AsRef<str>, R>(
        &self,
        keys: impl IntoIterator<Item = S>,
        want: &Want<'_>,
        answer: impl Fn(&mut Read) -> R,
    ) -> Result<Vec<R>> {
        let names = self.names(keys)?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let reads = self.core.read_many(&self.policy, &names.to_vec(), want)?;
        Ok(reads.into_iter().map(|mut read| answer(&mut read)).collect())
    }
}

impl Core {
    /// Reads many entries, stale ones included. An outage is a miss of each key it concerns.
    pub(super) fn read_many(
        &self,
        policy: &Policy,
        names: &[Name<'_>],
        want: &Want<'_>,
    ) -> Result<Vec<Read>> {
        let mut reads = self.read_each(policy, names, want)?;
        for read in &mut reads {
            self.answered(policy, Ok(()), read)?;
        }
        Ok(reads)
    }

    /// The same, and whether each key was answered is still to be seen.
    pub(super) fn read_each(
        &self,
        policy: &Policy,
        names: &[Name<'_>],
        want: &Want<'_>,
    ) -> Result<Vec<Read>> {
        let mut out: Vec<Read> = names.iter().map(|_| Read::Unanswered).collect();
        let done = self.ask(Operation::of_reads(want), policy, names, want, &mut out);
        if done.is_ok() {
            return Ok(out);
        }
        // An outage of all is one failure.
        let down = || Read::Miss(Cause::Down, Grant::None);
        self.answered(policy, done, &mut down())?;
        Ok(names.iter().map(|_| down()).collect())
    }

    /// Makes many changes: an answer each. Without any, no I/O.
    pub(super) fn write_many(
        &self,
        policy: &Policy,
        writes: &mut [Write<'_>],
    ) -> Result<Vec<Result<Wrote>>> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let overtaking = writes.iter().filter(|write| !matches!(write.when, When::Lease(_)));
        overtaking.for_each(|write| self.flights.overtake(write.key.as_str()));
        let mut out: Vec<Wrote> = writes.iter().map(|_| Wrote::Unanswered).collect();
        let done = self.tell_all(policy, writes, &mut out);
        done.inspect_err(|error| self.note(error))?;
        Ok(out.into_iter().map(|wrote| self.wrote(Ok(()), wrote)).collect())
    }
}

impl Cache {
    /// The values of many keys, in the order asked for. One round trip a node.
    ///
    /// What is not there, or not a `T`, is `None`. Keys may repeat. No keys, no I/O.
    ///
    /// ```
    /// # fn main() -> yokedcache::Result<()> {
    /// # let cache = yokedcache::Cache::memory(10);
    /// cache.set("a", &1)?;
    /// cache.set("c", &3)?;
    /// assert_eq!(cache.get_many::<i32>(["a", "b", "c", "a"])?, [Some(1), None, Some(3), Some(1)]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`InvalidKey`](ErrorKind::InvalidKey) for any of them, before any I/O.
    pub fn get_many<T: DeserializeOwned>(
        &self,
        keys: impl IntoIterator<Item: AsRef<str>>,
    ) -> Result<Vec<Option<T>>> {
        let View { core, policy, .. } = &*self.0;
        self.0.read_all(keys, &reading(policy), |read| core.look(policy, read).value())
    }

    /// As [`get_many`](Self::get_many), with times and causes.
    ///
    /// # Errors
    /// As there.
    pub fn lookup_many<T: DeserializeOwned>(
        &self,
        keys: impl IntoIterator<Item: AsRef<str>>,
    ) -> Result<Vec<Lookup<T>>> {
        let View { core, policy, .. } = &*self.0;
        let want = Want { meta: true, ..reading(policy) };
        self.0.read_all(keys, &want, |read| core.look_at_all(policy, read))
    }

    /// Stores many values. Returns the keys that failed, with the reason; the others are stored.
    ///
    /// ```
    /// # fn main() -> yokedcache::Result<()> {
    /// # let cache = yokedcache::Cache::memory(10);
    /// let failed = cache.set_many([("a", 1), ("b", 2)])?;
    /// assert!(failed.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`InvalidKey`](ErrorKind::InvalidKey) for any of them, before any I/O. An outage is one if
    /// the cache is strict; otherwise it is the reason of each key.
    pub fn set_many<K: AsRef<str>, T: Serialize>(
        &self,
        values: impl IntoIterator<Item = (K, T)>,
    ) -> Result<Vec<(String, Error)>> {
        let View { core, policy, .. } = &*self.0;
        let (keys, values): (Vec<K>, Vec<T>) = values.into_iter().unzip();
        let names = self.0.names(&keys)?;
        let mut failed = Vec::new();
        let (mut writes, mut puts, mut at) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (name, value)) in names.to_vec().into_iter().zip(&values).enumerate() {
            match core.encode(policy, value, Tags::NONE) {
                Ok(change) => {
                    puts.push(matches!(change, Change::Put(..)));
                    writes.push(Write::new(name, When::Always, change));
                    at.push(index);
                }
                Err(error) => {
                    // As with one key: a value too large takes the older one with it.
                    if error.kind() == ErrorKind::TooLarge {
                        writes.push(Write::new(name, When::Always, Change::Remove));
                        puts.push(false);
                        at.push(index);
                    }
                    failed.push((index, error));
                }
            }
        }
        let wrote = match core.write_many(policy, &mut writes) {
            Ok(wrote) => wrote,
            Err(error) if policy.strict || !error.is_outage() => return Err(error),
            Err(error) => writes.iter().map(|_| Err(error.clone())).collect(),
        };
        for ((wrote, puts), index) in wrote.into_iter().zip(puts).zip(at) {
            match wrote {
                Ok(_) => core.counters.add_many(Count::Set, u64::from(puts)),
                Err(error) => failed.push((index, error)),
            }
        }
        failed.sort_by_key(|(index, _)| *index);
        failed.dedup_by_key(|(index, _)| *index);
        Ok(failed.into_iter().map(|(index, error)| (keys[index].as_ref().into(), error)).collect())
    }

    /// Removes many entries; how many there were. One round trip a node.
    ///
    /// # Errors
    /// [`InvalidKey`](ErrorKind::InvalidKey) for any of them, before any I/O. An outage is always
    /// an error; some may be gone then.
    pub fn delete_many(&self, keys: impl IntoIterator<Item: AsRef<str>>) -> Result<u64> {
        let View { core, policy, .. } = &*self.0;
        let names = self.0.names(keys)?;
        let remove = |name| Write::new(name, When::Always, Change::Remove);
        let mut writes: Vec<Write<'_>> = names.to_vec().into_iter().map(remove).collect();
        let mut deleted = 0;
        for wrote in core.write_many(policy, &mut writes)? {
            deleted += u64::from(matches!(wrote?, Wrote::Done(_)));
        }
        core.counters.add_many(Count::Delete, deleted);
        Ok(deleted)
    }
}
