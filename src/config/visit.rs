//! Trees out of any source of `serde`.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::place::Place;
use super::tree::{Field, Map, Tree, Value};

/// A tree from a source that does not tell where things stand.
pub(super) struct Unplaced(pub(super) Tree);

impl<'de> Deserialize<'de> for Unplaced {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = from.deserialize_any(Values::<Self, String>(PhantomData))?;
        Ok(Self(Tree::new(Place::Code, value)))
    }
}

impl From<Unplaced> for Tree {
    fn from(tree: Unplaced) -> Self {
        tree.0
    }
}

/// A name in a map, and where it stands.
pub(super) trait Named {
    fn named(self) -> (String, Place);
}

impl Named for String {
    fn named(self) -> (String, Place) {
        (self, Place::Code)
    }
}

/// Makes values whose parts are read as `T`, and whose names as `N`.
pub(super) struct Values<T, N>(pub(super) PhantomData<(T, N)>);

impl<'de, T: Deserialize<'de> + Into<Tree>, N: Deserialize<'de> + Named> Visitor<'de>
    for Values<T, N>
{
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a setting")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or(Value::Signed(value), Value::Unsigned))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element::<T>()? {
            list.push(element.into());
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::default();
        while let Some((name, value)) = fields.next_entry::<N, T>()? {
            let (name, place) = name.named();
            map.add(Field { name, place, value: value.into() }).map_err(A::Error::custom)?;
        }
        Ok(Value::Map(map))
    }
}
