//! Values as text that tells any two apart, for keys.
//!
//! JSON does not: it writes NaN, infinity and `None` as `null`. Here every value begins with what it
//! is, strings are quoted, and sequences are bracketed, so no value's text is the beginning of
//! another's. Maps are written in the order of their keys' text, whatever order they are iterated in.

use std::fmt::{Display, Write as _};

use serde::ser::{self, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The text of a value.
pub(crate) fn text<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    let mut out = String::new();
    value.serialize(Writer(&mut out)).map_err(|Refused(why)| Error::new(ErrorKind::Encode, why))?;
    Ok(out)
}

/// Why a value could not be written.
#[derive(Debug)]
struct Refused(String);

impl Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: Display>(why: T) -> Self {
        Self(why.to_string())
    }
}

struct Writer<'o>(&'o mut String);

/// Elements after an opening bracket.
struct List<'o> {
    out: &'o mut String,
    first: bool,
    close: &'static str,
}

/// Pairs, to be sorted.
struct Pairs<'o> {
    out: &'o mut String,
    pairs: Vec<(String, String)>,
    /// That of the pair begun.
    key: String,
}

fn push(out: &mut String, what: impl Display) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{what}");
}

/// In quotes, so that nothing in it ends it.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

impl<'o> Writer<'o> {
    fn list(self, open: &str, close: &'static str) -> List<'o> {
        self.0.push_str(open);
        List { out: self.0, first: true, close }
    }

    fn variant(&mut self, variant: &str) {
        quote(self.0, variant);
        self.0.push('!');
    }
}

macro_rules! as_is {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<(), Refused> {
            push(self.0, value);
            Ok(())
        })*
    };
}

impl<'o> ser::Serializer for Writer<'o> {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = List<'o>;
    type SerializeTuple = List<'o>;
    type SerializeTupleStruct = List<'o>;
    type SerializeTupleVariant = List<'o>;
    type SerializeMap = Pairs<'o>;
    type SerializeStruct = List<'o>;
    type SerializeStructVariant = List<'o>;

    as_is!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_i128: i128, serialize_u8: u8, serialize_u16: u16,
        serialize_u32: u32, serialize_u64: u64, serialize_u128: u128
    );

    // By their bits: 0.0 and -0.0 differ, and so does every NaN.
    fn serialize_f32(self, value: f32) -> Result<(), Refused> {
        push(self.0, format_args!("f{:08x}", value.to_bits()));
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Refused> {
        push(self.0, format_args!("f{:016x}", value.to_bits()));
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Refused> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Refused> {
        quote(self.0, value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Refused> {
        self.0.push_str("0x");
        value.iter().for_each(|byte| push(self.0, format_args!("{byte:02x}")));
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.0.push('-');
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.0.push('+');
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Refused> {
        self.0.push('_');
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refused> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Refused> {
        self.variant(variant);
        self.serialize_unit()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        self.variant(variant);
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'o>, Refused> {
        Ok(self.list("[", "]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<List<'o>, Refused> {
        Ok(self.list("(", ")"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List<'o>, Refused> {
        Ok(self.list("(", ")"))
    }

    fn serialize_tuple_variant(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<List<'o>, Refused> {
        self.variant(variant);
        Ok(self.list("(", ")"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Pairs<'o>, Refused> {
        Ok(Pairs { out: self.0, pairs: Vec::new(), key: String::new() })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<List<'o>, Refused> {
        Ok(self.list("{", "}"))
    }

    fn serialize_struct_variant(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<List<'o>, Refused> {
        self.variant(variant);
        Ok(self.list("{", "}"))
    }
}

impl List<'_> {
    fn next<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        if !std::mem::take(&mut self.first) {
            self.out.push(',');
        }
        value.serialize(Writer(self.out))
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Refused> {
        self.next(name)?;
        self.out.push(':');
        value.serialize(Writer(self.out))
    }

    fn close(self) -> Result<(), Refused> {
        self.out.push_str(self.close);
        Ok(())
    }
}

macro_rules! elements {
    ($($kind:ident: $method:ident),*) => {
        $(impl ser::$kind for List<'_> {
            type Ok = ();
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                self.next(value)
            }

            fn end(self) -> Result<(), Refused> {
                self.close()
            }
        })*
    };
}

elements!(
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
);

macro_rules! fields {
    ($($kind:ident),*) => {
        $(impl ser::$kind for List<'_> {
            type Ok = ();
            type Error = Refused;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Refused> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), Refused> {
                self.close()
            }
        })*
    };
}

fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Pairs<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.key.clear();
        key.serialize(Writer(&mut self.key))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        let mut text = String::new();
        value.serialize(Writer(&mut text))?;
        self.pairs.push((std::mem::take(&mut self.key), text));
        Ok(())
    }

    fn end(mut self) -> Result<(), Refused> {
        self.pairs.sort();
        self.out.push('<');
        for (index, (key, value)) in self.pairs.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            push(self.out, format_args!("{comma}{key}:{value}"));
        }
        self.out.push('>');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use proptest::prelude::*;

    use super::*;

    /// A value of every kind serde has.
    #[derive(Clone, Debug, PartialEq, serde::Serialize)]
    enum Any {
        Unit,
        Int(i64),
        Text(String),
        Real(f64),
        Maybe(Option<Box<Any>>),
        List(Vec<Any>),
        Pair(Box<Any>, Box<Any>),
        Named { a: String, b: Box<Any> },
        Map(BTreeMap<String, Any>),
    }

    fn anything() -> impl Strategy<Value = Any> {
        let leaf = prop_oneof![
            Just(Any::Unit),
            any::<i64>().prop_map(Any::Int),
            "[a-c,:\"\\\\(){}<>!+-]{0,4}".prop_map(Any::Text),
            any::<i32>().prop_map(|number| Any::Real(f64::from(number) / 3.0)),
            Just(Any::Maybe(None)),
        ];
        leaf.prop_recursive(3, 16, 3, |inner| {
            let text = "[a,:\"]{0,3}";
            prop_oneof![
                inner.clone().prop_map(|inner| Any::Maybe(Some(Box::new(inner)))),
                prop::collection::vec(inner.clone(), 0..3).prop_map(Any::List),
                (inner.clone(), inner.clone())
                    .prop_map(|(a, b)| Any::Pair(Box::new(a), Box::new(b))),
                (text, inner.clone()).prop_map(|(a, b)| Any::Named { a, b: Box::new(b) }),
                prop::collection::btree_map(text, inner, 0..3).prop_map(Any::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn two_values_have_one_text_if_they_are_one(a in anything(), b in anything()) {
            prop_assert_eq!(text(&a).unwrap() == text(&b).unwrap(), a == b);
        }
    }

    #[test]
    fn what_json_confuses_stays_apart() {
        let texts = [
            text(&f64::NAN),
            text(&f64::INFINITY),
            text(&0.0),
            text(&-0.0),
            text(&None::<f64>),
            text(&Some(None::<f64>)),
            text(&()),
            text("null"),
            text(&("a", "b,c")),
            text(&("a,b", "c")),
            text(&["a\",\"b"]),
            text(&["a", "b"]),
            text(&"1"),
            text(&1),
        ];
        let mut texts: Vec<_> = texts.into_iter().map(Result::unwrap).collect();
        let before = texts.len();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), before, "{texts:?}");
    }

    #[test]
    fn the_order_of_a_map_does_not_matter() {
        let there: HashMap<u32, u32> = (0..50).map(|key| (key, key)).collect();
        let back: HashMap<u32, u32> = (0..50).rev().map(|key| (key, key)).collect();
        assert_eq!(text(&there).unwrap(), text(&back).unwrap());
    }
}
