//! Calls that change one entry.

use serde::Serialize;

use super::core::{Core, unanswered};
use super::policy::Policy;
use crate::backend::{
    Change, CodecId, Entry, Life, Name, NotDone, Read, Tags, Want, When, Write, Wrote,
};
use crate::error::{Error, ErrorKind, Result};
use crate::number;
use crate::stats::Count;

impl Core {
    /// The change that stores a value.
    pub(crate) fn encode<T: Serialize + ?Sized>(
        &self,
        policy: &Policy,
        value: &T,
        tags: Tags,
    ) -> Result<Change> {
        self.put(policy, self.format.encode(value)?, tags)
    }

    /// The change that stores an entry, checked; a removal where nothing is to be stored.
    pub(crate) fn put(&self, policy: &Policy, entry: Entry, tags: Tags) -> Result<Change> {
        let negative = entry.codec == CodecId::NEGATIVE;
        let fresh = &policy.fresh;
        let ttl = if negative { fresh.negative_ttl } else { fresh.ttl };
        let life = fresh.life(ttl, &self.clock, &self.random)?;
        self.need_tags(&tags)?;
        self.need_room(&entry)?;
        Ok(match life {
            Some(life) if !(negative && fresh.skip_negative) => {
                Change::Put(Entry { tags, schema: policy.schema, ..entry }, life)
            }
            _ => Change::Remove,
        })
    }

    fn need_room(&self, entry: &Entry) -> Result<()> {
        let about = self.backend.about();
        let size = entry.value.bytes().len();
        if about.can.max_value.is_none_or(|most| size <= most) {
            return Ok(());
        }
        let what = format!("the value has {size} bytes, more than {} takes", about.name);
        Err(Error::new(ErrorKind::TooLarge, what))
    }

    /// Whether a value was stored.
    pub(crate) fn stored(
        &self,
        policy: &Policy,
        name: Name<'_>,
        when: When,
        change: Change,
    ) -> Result<bool> {
        let puts = matches!(change, Change::Put(..));
        let wrote = self.write(policy, Write::new(name, when, change));
        self.store_done(policy, puts, wrote)
    }

    /// Stores what `change` says, once the value is encoded and checked. A value the backend cannot
    /// take removes the older one, which must not outlive it.
    pub(crate) fn store(
        &self,
        policy: &Policy,
        name: Name<'_>,
        when: When,
        change: Result<Change>,
    ) -> Result<bool> {
        match change {
            Ok(change) => self.stored(policy, name, when, change),
            Err(error) if error.kind() == ErrorKind::TooLarge => {
                self.write(policy, Write::new(name, when, Change::Remove))?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// What a caller that stores is told: an outage stored nothing, unless the caller is strict.
    pub(crate) fn store_done(
        &self,
        policy: &Policy,
        puts: bool,
        wrote: Result<Wrote>,
    ) -> Result<bool> {
        match wrote {
            Ok(Wrote::Done(_)) if puts => {
                self.counters.add(Count::Set);
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(error) if error.is_outage() && !policy.strict => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Stores a value if there is none. To the backend an entry of another schema is one; to this
    /// caller it is not, so it is replaced by version.
    pub(crate) fn add(&self, policy: &Policy, name: Name<'_>, change: Change) -> Result<bool> {
        let again = if self.backend.about().can.versions { Some(change.clone()) } else { None };
        if self.stored(policy, name, When::Absent, change)? {
            return Ok(true);
        }
        let want = Want { head_only: true, token: true, quiet: true, ..Want::VALUE };
        let (Some(change), Read::Hit(found)) = (again, self.read(policy, name, &want)?) else {
            return Ok(false);
        };
        let token = found.more.and_then(|more| more.token);
        match token.filter(|_| found.entry.schema != policy.schema && !found.stale) {
            Some(token) => self.stored(policy, name, When::Version(token), change),
            None => Ok(false),
        }
    }

    /// Whether there is an entry that a handle with a schema of its own does not see. Handles
    /// without one are spared the read.
    pub(crate) fn is_of_another_schema(&self, policy: &Policy, name: Name<'_>) -> Result<bool> {
        if policy.schema == 0 {
            return Ok(false);
        }
        let want = Want { head_only: true, quiet: true, ..Want::VALUE };
        let read = self.read(policy, name, &want)?;
        Ok(matches!(read, Read::Hit(found) if found.entry.schema != policy.schema))
    }

    /// Whether there was something to delete, of whatever schema. An outage is always an error.
    pub(crate) fn delete(&self, policy: &Policy, name: Name<'_>) -> Result<bool> {
        let wrote = self.write(policy, Write::new(name, When::Always, Change::Remove))?;
        let deleted = matches!(wrote, Wrote::Done(_));
        self.counters.add_many(Count::Delete, u64::from(deleted));
        Ok(deleted)
    }

    /// Adds to a counter.
    pub(crate) fn increment(&self, policy: &Policy, name: Name<'_>, by: i64) -> Result<i64> {
        let Policy { fresh, .. } = policy;
        let Some(life) = fresh.life(fresh.ttl, &self.clock, &self.random)? else {
            return Err(Error::new(ErrorKind::InvalidTtl, "a counter cannot end in the past"));
        };
        // Numbers are bare; one with a schema needs the rest of an entry.
        if policy.schema != 0 || !self.backend.about().can.add {
            self.need_versions()?;
            return self.increment_by_swap(policy, name, by, life);
        }
        let change = Change::Add { by, from: policy.initial, life };
        match self.write(policy, Write::new(name, When::Always, change))? {
            Wrote::Number(number) => Ok(number),
            _ => Err(unanswered()),
        }
    }

    /// The same without the backend's addition: read, and write back if nobody else did.
    fn increment_by_swap(
        &self,
        policy: &Policy,
        name: Name<'_>,
        by: i64,
        life: Life,
    ) -> Result<i64> {
        let policy = &Policy { strict: true, ..*policy };
        let call = policy.call().armed();
        let want = Want { token: true, meta: true, ..Want::VALUE };
        loop {
            call.left()?;
            let (sum, when, entry, life) = match self.read(policy, name, &want)? {
                Read::Hit(found) if !found.stale => {
                    let more = found.more.unwrap_or_default();
                    let when = When::Version(more.token.ok_or_else(unanswered)?);
                    if found.entry.schema == policy.schema {
                        let sum = number::add(Some(&found.entry), policy.initial, by)?;
                        (sum, when, found.entry, more.life)
                    } else {
                        (number::add(None, policy.initial, by)?, when, fresh(), life)
                    }
                }
                _ => (number::add(None, policy.initial, by)?, When::Absent, fresh(), life),
            };
            let schema = policy.schema;
            let entry = Entry { value: sum.to_string().into(), schema, ..entry };
            match self.write(policy, Write::new(name, when, Change::Put(entry, life)))? {
                Wrote::Done(_) => return Ok(sum),
                Wrote::Not(NotDone::Absent | NotDone::Exists | NotDone::Changed) => {}
                _ => return Err(unanswered()),
            }
        }
    }
}

/// A counter yet without its number.
fn fresh() -> Entry {
    Entry::new("", CodecId::INT)
}
