//! Asks a value what it is, before any codec sees it.

use std::fmt;

use serde::ser::{Error, Impossible, Serialize, Serializer};

/// What the cache has to know of a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `None`.
    None,
    /// A whole number, in decimal text.
    Integer(String),
    /// Anything else.
    Other,
}

pub(super) fn shape<T: Serialize + ?Sized>(value: &T) -> Shape {
    value.serialize(Probe { inside_some: false }).unwrap_or(Shape::Other)
}

struct Probe {
    /// `Some(None)` is not `None`.
    inside_some: bool,
}

/// "Something else": what a probe says to stop a value from going on.
#[derive(Debug)]
struct Else;

impl fmt::Display for Else {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither none nor a whole number")
    }
}

impl std::error::Error for Else {}

impl Error for Else {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, number: $type) -> Result<Shape, Else> {
            Ok(Shape::Integer(number.to_string()))
        })*
    };
}

macro_rules! others {
    ($($method:ident($($argument:ty),*) -> $result:ty;)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$result, Else> {
            Err(Else)
        })*
    };
}

type No = Impossible<Shape, Else>;

impl Serializer for Probe {
    type Ok = Shape;
    type Error = Else;
    type SerializeSeq = No;
    type SerializeTuple = No;
    type SerializeTupleStruct = No;
    type SerializeTupleVariant = No;
    type SerializeMap = No;
    type SerializeStruct = No;
    type SerializeStructVariant = No;

    integers!(
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64
    );

    fn serialize_none(self) -> Result<Shape, Else> {
        if self.inside_some { Err(Else) } else { Ok(Shape::None) }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Shape, Else> {
        value.serialize(Probe { inside_some: true })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Shape, Else> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Shape, Else> {
        Err(Else)
    }

    others! {
        serialize_bool(bool) -> Shape;
        serialize_i128(i128) -> Shape;
        serialize_u128(u128) -> Shape;
        serialize_f32(f32) -> Shape;
        serialize_f64(f64) -> Shape;
        serialize_char(char) -> Shape;
        serialize_str(&str) -> Shape;
        serialize_bytes(&[u8]) -> Shape;
        serialize_unit() -> Shape;
        serialize_unit_struct(&'static str) -> Shape;
        serialize_unit_variant(&'static str, u32, &'static str) -> Shape;
        serialize_seq(Option<usize>) -> No;
        serialize_tuple(usize) -> No;
        serialize_tuple_struct(&'static str, usize) -> No;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> No;
        serialize_map(Option<usize>) -> No;
        serialize_struct(&'static str, usize) -> No;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> No;
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<Shape, Else> {
        Err(Else)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize)]
    struct Id(u64);

    #[derive(serde::Serialize)]
    enum Either {
        Number(u64),
        Unit,
    }

    #[test]
    fn a_probe_tells_none_and_whole_numbers_from_the_rest() {
        let integer = |digits: &str| Shape::Integer(digits.into());
        assert_eq!(shape(&None::<u8>), Shape::None);
        assert_eq!(shape(&Some(None::<u8>)), Shape::Other);
        assert_eq!(shape(&Some(-5)), integer("-5"));
        assert_eq!(shape(&u64::MAX), integer("18446744073709551615"));
        assert_eq!(shape(&Id(7)), integer("7"));
        assert_eq!(shape(&Either::Number(7)), Shape::Other);
        assert_eq!(shape(&Either::Unit), Shape::Other);
        for other in ["\"7\"", "1.5", "false", "null", "[1]", "{}"] {
            let other: serde_json::Value = serde_json::from_str(other).unwrap();
            assert_eq!(shape(&other), Shape::Other, "{other}");
        }
        assert_eq!(shape(&()), Shape::Other);
    }
}
