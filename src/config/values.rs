//! Kinds of settings.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use super::units::{bytes, duration, seconds, text_of_bytes, text_of_duration};
use crate::cache::Ttl;

/// What stands in place of a secret.
pub(super) const HIDDEN: &str = "***";

/// A duration: a number of seconds, or text such as `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(pub(super) Duration);

/// A duration above zero, or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    After(Duration),
    Never,
}

/// A finite number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Real(pub(super) f64);

/// A number of bytes, or text such as `64MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) usize);

/// A password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) String);

/// An address, in which there may be a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address(pub(super) String);

impl From<Lifetime> for Ttl {
    fn from(lifetime: Lifetime) -> Self {
        match lifetime {
            Lifetime::After(time) => Self::After(time),
            Lifetime::Never => Self::Never,
        }
    }
}

impl Lifetime {
    /// As a limit: never is the longest there is.
    pub(super) fn limit(self) -> Duration {
        match self {
            Self::After(time) => time,
            Self::Never => Duration::MAX,
        }
    }
}

/// Visits numbers and text.
struct Scalar<T> {
    expected: &'static str,
    number: fn(f64) -> Option<T>,
    whole: fn(u64) -> Option<T>,
    text: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        let refused = de::Unexpected::Unsigned(value);
        (self.whole)(value).ok_or_else(|| E::invalid_value(refused, &self))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        let refused = de::Unexpected::Signed(value);
        let whole = u64::try_from(value).ok().and_then(self.whole);
        whole.ok_or_else(|| E::invalid_value(refused, &self))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        let refused = de::Unexpected::Float(value);
        (self.number)(value).ok_or_else(|| E::invalid_value(refused, &self))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<T, E> {
        let refused = de::Unexpected::Str(value);
        (self.text)(value.trim()).ok_or_else(|| E::invalid_value(refused, &self))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Scalar {
            expected: "a time: seconds, or text such as 500ms, 5m or 1h30m",
            number: |number| seconds(number).map(Self),
            whole: |number| Some(Self(Duration::from_secs(number))),
            text: |text| duration(text).map(Self),
        })
    }
}

impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Scalar {
            expected: "a time above 0 (seconds, or text such as 500ms, 5m or 1h30m), or never",
            number: |number| Self::after(seconds(number)?),
            whole: |number| Self::after(Duration::from_secs(number)),
            text: |text| match text {
                "never" => Some(Self::Never),
                text => Self::after(duration(text)?),
            },
        })
    }
}

impl Lifetime {
    fn after(time: Duration) -> Option<Self> {
        (!time.is_zero()).then_some(Self::After(time))
    }
}

impl<'de> Deserialize<'de> for Real {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(from)?;
        let refused = de::Unexpected::Float(number);
        match number.is_finite() {
            true => Ok(Self(number)),
            false => Err(de::Error::invalid_value(refused, &"a finite number")),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Scalar {
            expected: "a size: bytes, or text such as 64MiB or 64MB",
            number: |_| None,
            whole: |number| usize::try_from(number).ok().map(Self),
            text: |text| usize::try_from(bytes(text)?).ok().map(Self),
        })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&text_of_duration(self.0))
    }
}

impl Serialize for Lifetime {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::After(time) => to.serialize_str(&text_of_duration(*time)),
            Self::Never => to.serialize_str("never"),
        }
    }
}

impl Serialize for Real {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.0)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&text_of_bytes(self.0))
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(HIDDEN)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.hidden())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hidden())
    }
}

impl Address {
    /// The address with its password hidden: all between the first colon behind the scheme and the last
    /// @, wherever a password with characters that should have been encoded made it end.
    fn hidden(&self) -> String {
        let Some((before, after)) = self.0.rsplit_once('@') else { return self.without_login() };
        let (scheme, login) = match before.split_once("://") {
            Some((scheme, login)) => (format!("{scheme}://"), login),
            None => (String::new(), before),
        };
        match login.split_once(':') {
            Some((user, _)) => format!("{scheme}{user}:{HIDDEN}@{after}"),
            None => format!("{scheme}{HIDDEN}@{after}"),
        }
    }

    /// The address if its ports are numbers and it has no end that nobody reads: else there may be a
    /// password without a host, or one in the wrong place.
    fn without_login(&self) -> String {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        let hosts = rest.split(['/', '?']).next().unwrap_or_default();
        let is_host = |host: &str| {
            let six = host.strip_prefix('[').and_then(|six| six.rsplit_once(']'));
            let host = six.map_or(host, |(_, port)| port);
            let port = host.split_once(':').map_or("", |(_, port)| port);
            port.split(';')
                .next()
                .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
        };
        match hosts.split(',').all(is_host) && !rest.contains('#') {
            true => self.0.clone(),
            false => format!("{scheme}://{HIDDEN}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_their_passwords() {
        for (address, shown) in [
            ("redis://h/1", "redis://h/1"),
            ("redis://u:secret@h/1", "redis://u:***@h/1"),
            ("redis://:secret@h", "redis://:***@h"),
            ("redis://u:se@c/r?e#t@h:1", "redis://u:***@h:1"),
            ("redis://secret@h", "redis://***@h"),
            ("redis://:secret", "redis://***"),
            ("redis://u:secret/1", "redis://***"),
            ("redis://:secret]h:6379/0", "redis://***"),
            ("redis://h#password=secret", "redis://***"),
            ("redis://[::1]:7/1", "redis://[::1]:7/1"),
            ("memcached://a:1;weight=3,b", "memcached://a:1;weight=3,b"),
            ("host:1", "host:1"),
            ("u:secret@h", "u:***@h"),
        ] {
            let address = Address(address.into());
            assert_eq!(format!("{address:?}"), shown);
            assert_eq!(serde_json::to_value(&address).unwrap(), shown);
        }
    }
}
