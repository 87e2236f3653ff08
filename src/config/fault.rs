//! What is wrong with a setting, and where.

use std::fmt::{self, Display};

use serde::de::{self, Expected, Unexpected};

use super::hints::hint;
use super::place::Place;
use crate::error::{Error, ErrorKind};
use crate::nearest::{did_you_mean, is_name};

/// What is wrong, told on its way from the setting to the top: where it is, and by which path.
#[derive(Debug)]
pub(super) struct Fault {
    place: Place,
    /// The innermost name comes first.
    path: Vec<String>,
    what: String,
    /// The error it was made of.
    source: Option<Error>,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { place: Place::Code, path: Vec::new(), what: what.into(), source: None }
    }

    /// A name that nobody knows.
    pub(super) fn unknown<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Self {
        let meant =
            hint(name).map_or_else(|| did_you_mean(name, names), |hint| format!("; {hint}"));
        Self::new(format!("no such field{meant}"))
    }

    /// Says where it is, unless that is known better.
    pub(super) fn at(mut self, place: &Place) -> Self {
        if self.place.is_code() {
            self.place = place.clone();
        }
        self
    }

    /// Says what it is within.
    pub(super) fn under(mut self, name: &str, place: &Place) -> Self {
        self.path.push(if is_name(name) { name.to_owned() } else { "...".to_owned() });
        self.at(place)
    }

    /// Says which element of a list it is.
    pub(super) fn element(mut self, index: usize, place: &Place) -> Self {
        self.path.push(format!("[{index}]"));
        self.at(place)
    }

    /// A word that is none of these.
    pub(super) fn unknown_word(word: &str, words: &[&str]) -> Self {
        let meant = did_you_mean(word, words.iter().copied());
        let found = if is_name(word) { word } else { "other text" };
        Self::new(format!("expected one of {}, found {found}{meant}", words.join(", ")))
    }

    /// Says which variables had a part in it.
    pub(super) fn with(mut self, variables: &[&str]) -> Self {
        self.what += &format!(" (with {})", variables.join(", "));
        self
    }

    /// The same within an environment of a file. Its name is no secret.
    pub(super) fn within(mut self, environment: &str) -> Self {
        self.path.push(environment.to_owned());
        self
    }

    /// The names it is within, the outermost first.
    pub(super) fn path(&self) -> String {
        let names: Vec<&str> = self.path.iter().rev().map(String::as_str).collect();
        names.join(".").replace(".[", "[")
    }

    /// The kind of the error it was made of.
    pub(super) fn kind(&self) -> Option<ErrorKind> {
        self.source.as_ref().map(Error::kind)
    }

    pub(super) fn into_error(self, kind: ErrorKind) -> Error {
        let what = self.to_string();
        match self.source {
            Some(source) => Error::with_source(kind, what, source),
            None => Error::new(kind, what),
        }
    }
}

/// What a builder refuses.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { source: Some(error.clone()), ..Self::new(error.to_string()) }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path())?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: Display>(what: T) -> Self {
        Self::new(what.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}, found {}", wanted(expected), kind(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}, found {length} elements", wanted(expected)))
    }

    fn unknown_field(name: &str, names: &'static [&'static str]) -> Self {
        Self::unknown(name, names.iter().copied())
    }

    fn unknown_variant(name: &str, names: &'static [&'static str]) -> Self {
        Self::unknown_word(name, names)
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new("is missing").under(name, &Place::Code)
    }
}

/// What a visitor expects, in words.
fn wanted(expected: &dyn Expected) -> String {
    let expected = expected.to_string();
    let words = match expected.as_str() {
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "a boolean" => "true or false",
        "f64" => "a number",
        "a string" => "text (in quotes, if it looks like something else)",
        "a character" => "one character",
        "a sequence" => "a list",
        other if other.starts_with("struct ") || other == "a map" => "fields",
        other => other,
    };
    words.to_owned()
}

/// What was found, without its value: that may be a password.
fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "true or false",
        Unexpected::Unsigned(0) => "0",
        Unexpected::Signed(number) if number < 0 => "a number below 0",
        Unexpected::Float(number) if number < 0.0 => "a number below 0",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a number",
        Unexpected::Str(_) | Unexpected::Char(_) => "text",
        Unexpected::Seq => "a list",
        Unexpected::Map => "fields",
        Unexpected::Unit | Unexpected::Option => "nothing",
        _ => "something else",
    }
}
