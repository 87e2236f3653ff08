//! What an answer of the backend is to one reader: decoded, judged and counted.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::core::Core;
use super::lookup::{Hit, Lookup, ttl_left};
use super::policy::Policy;
use crate::backend::{Cause, CodecId, Found, Name, Packing, Read, Want};
use crate::codec::{Decoded, packing};
use crate::error::Result;
use crate::stats::Count;

/// What a reader of a `T` gets.
pub(crate) enum Look<T> {
    Value(T),
    Negative,
    Miss(Cause),
}

impl<T> Look<T> {
    #[inline]
    pub(crate) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Negative | Self::Miss(_) => None,
        }
    }
}

/// The entry, unless this reader may not see it: stale, or of another schema.
#[inline]
pub(crate) fn usable<'r>(policy: &Policy, read: &'r mut Read) -> Result<&'r mut Found, Cause> {
    match read {
        Read::Hit(found) if found.stale => Err(Cause::Expired),
        read => present(policy, read),
    }
}

/// The entry, stale or not.
#[inline]
fn present<'r>(policy: &Policy, read: &'r mut Read) -> Result<&'r mut Found, Cause> {
    match read {
        Read::Hit(found) if found.entry.schema != policy.schema => Err(Cause::OtherVersion),
        Read::Hit(found) => Ok(found),
        Read::Miss(cause, _) => Err(*cause),
        Read::Unanswered | Read::Failed(_) => Err(Cause::Absent),
    }
}

/// What a reader of a value wants.
#[inline]
pub(crate) fn reading(policy: &Policy) -> Want<'static> {
    Want { slide: policy.fresh.sliding, ..Want::VALUE }
}

/// What a load wants that only looks yet.
#[inline]
pub(crate) fn reading_to_load(policy: &Policy, wants_life: bool) -> Want<'static> {
    Want { meta: wants_life || policy.fresh.is_early(), ..reading(policy) }
}

impl Core {
    /// Reads and decodes one value.
    #[inline]
    pub(crate) fn get<T: DeserializeOwned>(
        &self,
        policy: &Policy,
        name: Name<'_>,
    ) -> Result<Option<T>> {
        let mut read = Read::Unanswered;
        self.read_into(policy, name, &reading(policy), &mut read)?;
        Ok(self.look(policy, &mut read).value())
    }

    /// Reads one value's bytes.
    #[inline]
    pub(crate) fn get_bytes(&self, policy: &Policy, name: Name<'_>) -> Result<Option<Bytes>> {
        let mut read = Read::Unanswered;
        self.read_into(policy, name, &reading(policy), &mut read)?;
        Ok(self.look_bytes(policy, &mut read).value())
    }

    /// Decodes what was found with `decode`, and counts. Answers are looked at where they lie:
    /// moving them about would cost more than finding them.
    #[inline]
    fn look_by<T>(
        &self,
        found: Result<&mut Found, Cause>,
        decode: impl FnOnce(&mut Found) -> Decoded<T>,
    ) -> Look<T> {
        let look = match found {
            Err(cause) => Look::Miss(cause),
            Ok(found) if found.entry.codec == CodecId::NEGATIVE => Look::Negative,
            Ok(found) => match decode(found) {
                Decoded::Value(value) => Look::Value(value),
                Decoded::Negative => Look::Negative,
                Decoded::Undecodable => Look::Miss(Cause::Undecodable),
                Decoded::Corrupt => Look::Miss(Cause::Corrupt),
            },
        };
        self.counters.add(match &look {
            Look::Value(_) => Count::Hit,
            Look::Negative => Count::NegativeHit,
            Look::Miss(cause) => (*cause).into(),
        });
        look
    }

    /// As a value.
    #[inline]
    pub(crate) fn look<T: DeserializeOwned>(&self, policy: &Policy, read: &mut Read) -> Look<T> {
        self.look_by(usable(policy, read), |found| self.format.decode(&found.entry))
    }

    /// The value, if it is there and nothing else needs to be said of it: what nearly every load
    /// finds.
    #[inline]
    pub(crate) fn hit<T: DeserializeOwned>(&self, policy: &Policy, read: &mut Read) -> Option<T> {
        let found = usable(policy, read).ok().filter(|_| !policy.fresh.is_early())?;
        let Decoded::Value(value) = self.format.decode(&found.entry) else { return None };
        self.counters.add(Count::Hit);
        Some(value)
    }

    /// As bytes.
    #[inline]
    pub(crate) fn look_bytes(&self, policy: &Policy, read: &mut Read) -> Look<Bytes> {
        self.look_by(usable(policy, read), |Found { entry, .. }| match entry.packing {
            Packing::None => Decoded::Value(entry.value.take_bytes()),
            packing => packing::unpack(entry.value.bytes(), packing)
                .map_or(Decoded::Corrupt, Decoded::Value),
        })
    }

    /// As a shared value, which the entry keeps where values live in this process.
    pub(crate) fn look_arc<T>(&self, policy: &Policy, read: &mut Read) -> Look<Arc<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.look_by(usable(policy, read), |found| {
            if let Some(kept) = found.entry.value.decoded() {
                return Decoded::Value(kept);
            }
            let decoded = self.format.decode(&found.entry).map(Arc::new);
            if let Decoded::Value(value) = &decoded {
                found.entry.value.keep(value);
            }
            decoded
        })
    }

    /// With all that is known, stale values included.
    pub(crate) fn look_at_all<T: DeserializeOwned>(
        &self,
        policy: &Policy,
        read: &mut Read,
    ) -> Lookup<T> {
        let look = self.look_by(present(policy, read), |found| self.format.decode(&found.entry));
        let Read::Hit(Found { stale, tier, more, .. }) = read else {
            return match look {
                Look::Miss(cause) => Lookup::Miss(cause),
                Look::Value(_) | Look::Negative => Lookup::Miss(Cause::Absent),
            };
        };
        let life = more.as_ref().map(|more| more.life).unwrap_or_default();
        match look {
            Look::Miss(cause) => Lookup::Miss(cause),
            Look::Negative => Lookup::Negative(life),
            Look::Value(value) => Lookup::Hit(Hit {
                value,
                age: life.age,
                ttl_left: ttl_left(&life, *stale),
                tier: *tier,
                stale: *stale,
            }),
        }
    }
}
