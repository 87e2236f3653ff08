//! A tree as a source of `serde`.

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};

use super::fault::Fault;
use super::place::Place;
use super::tree::{Field, Map, Tree, Value};

/// Words for yes and no, beside the values proper.
const SWITCHES: &[(&str, bool)] =
    &[("true", true), ("yes", true), ("on", true), ("false", false), ("no", false), ("off", false)];

impl Tree {
    /// The value, if it is loose text that reads as one.
    fn parsed<T: std::str::FromStr>(&self) -> Option<T> {
        match &self.value {
            Value::Loose(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    fn switch(&self) -> Option<bool> {
        let text = self.text()?;
        let known = SWITCHES.iter().find(|(word, _)| text.eq_ignore_ascii_case(word));
        match (known, &self.value) {
            (Some((_, meaning)), _) => Some(*meaning),
            (None, Value::Loose(text)) if text == "1" => Some(true),
            (None, Value::Loose(text)) if text == "0" => Some(false),
            _ => None,
        }
    }

    fn visit<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Unsigned(value) => visitor.visit_u64(*value),
            Value::Signed(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) | Value::Loose(text) => visitor.visit_str(text),
            Value::List(list) => visitor.visit_seq(Elements { list, next: 0 }),
            Value::Map(map) => visitor.visit_map(Fields::of(map)),
        }
    }
}

/// Whole numbers, which variables write as text.
macro_rules! whole {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            match (self.parsed::<u64>(), self.parsed::<i64>()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => self.visit(visitor),
            }
            .map_err(|fault: Fault| fault.at(&self.place))
        })*
    };
}

impl<'de> Deserializer<'de> for &Tree {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit(visitor).map_err(|fault| fault.at(&self.place))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.switch() {
            Some(meaning) => visitor.visit_bool(meaning),
            None => self.visit(visitor),
        }
        .map_err(|fault: Fault| fault.at(&self.place))
    }

    whole!(deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128);

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.parsed() {
            Some(number) => visitor.visit_f64(number),
            None => self.visit(visitor),
        }
        .map_err(|fault: Fault| fault.at(&self.place))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Null => visitor.visit_map(Fields::of(&Map::default())),
            _ => self.visit(visitor),
        }
        .map_err(|fault: Fault| fault.at(&self.place))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Map(map) => visitor.visit_enum(MapAccessDeserializer::new(Fields::of(map))),
            _ => match self.text() {
                Some(text) => visitor.visit_enum(text.into_deserializer()),
                None => {
                    let what = format!("one of {}", names.join(", "));
                    Err(Fault::invalid_type(self.unexpected(), &what.as_str()))
                }
            },
        }
        .map_err(|fault: Fault| fault.at(&self.place))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct identifier ignored_any
    }
}

impl Tree {
    fn unexpected(&self) -> Unexpected<'_> {
        match &self.value {
            Value::Null => Unexpected::Unit,
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::Unsigned(value) => Unexpected::Unsigned(*value),
            Value::Signed(value) => Unexpected::Signed(*value),
            Value::Float(value) => Unexpected::Float(*value),
            Value::Text(text) | Value::Loose(text) => Unexpected::Str(text),
            Value::List(_) => Unexpected::Seq,
            Value::Map(_) => Unexpected::Map,
        }
    }
}

struct Elements<'t> {
    list: &'t [Tree],
    next: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(element) = self.list.get(self.next) else { return Ok(None) };
        let index = self.next;
        self.next += 1;
        let here = |fault: Fault| fault.element(index, &element.place);
        seed.deserialize(element).map(Some).map_err(here)
    }
}

struct Fields<'t> {
    rest: Box<dyn Iterator<Item = &'t Field> + 't>,
    /// The one whose name was handed out last.
    current: Option<&'t Field>,
}

impl<'t> Fields<'t> {
    fn of(map: &'t Map) -> Self {
        Self { rest: Box::new(map.iter()), current: None }
    }
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        self.current = self.rest.next();
        let Some(field) = self.current else { return Ok(None) };
        let name: StrDeserializer<'_, Fault> = field.name.as_str().into_deserializer();
        let here = |fault: Fault| fault.under(&field.name, &field.place);
        seed.deserialize(name).map(Some).map_err(here)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some(field) = self.current else { return Err(de::Error::custom("no field")) };
        let here = |fault: Fault| fault.under(&field.name, &field.place);
        seed.deserialize(&field.value).map_err(here)
    }
}

/// Reads settings out of fields.
pub(super) fn read<T: de::DeserializeOwned>(map: &Map, place: &Place) -> Result<T, Fault> {
    T::deserialize(MapAccessDeserializer::new(Fields::of(map))).map_err(|fault| fault.at(place))
}

/// Reads a backend: one field, named as it.
pub(super) fn read_node(map: &Map) -> Result<super::sections::Node, Fault> {
    let node = Tree::map(&Place::Code, map.clone());
    serde::Deserialize::deserialize(&node)
}
