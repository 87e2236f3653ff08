//! Servers in a list: `host:port`, or `[host:port, weight]`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::sections::Server;
use super::values::Address;

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Servers)
    }
}

struct Servers;

impl<'de> Visitor<'de> for Servers {
    type Value = Server;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a server: host:port, or [host:port, weight]")
    }

    fn visit_str<E: Error>(self, server: &str) -> Result<Server, E> {
        Ok(Server(Address(server.to_owned()), 1))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Server, A::Error> {
        let server = pair.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let weight = pair.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
        match pair.next_element::<serde::de::IgnoredAny>()? {
            None => Ok(Server(server, weight)),
            Some(_) => Err(A::Error::invalid_length(3, &self)),
        }
    }
}

impl Serialize for Server {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self(server, 1) => server.serialize(to),
            Self(server, weight) => (server, weight).serialize(to),
        }
    }
}
