//! YAML, and JSON, which is YAML, too.

use std::marker::PhantomData;
use std::sync::Arc;

use super::{MOST_LEVELS, unquoted};
use serde::Deserialize;
use serde::de::Deserializer;
use serde_saphyr::options::NonFiniteFloatPolicy;
use serde_saphyr::{Options, Spanned};

use crate::config::fault::Fault;
use crate::config::place::Place;
use crate::config::tree::{Tree, Value};
use crate::config::visit::{Named, Values};
use crate::nearest::is_name;

/// A value and its line.
struct Placed(Tree);

struct Bare(Value);

/// A name and its line.
struct Name(String, u64);

impl<'de> Deserialize<'de> for Bare {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Values::<Placed, Name>(PhantomData)).map(Self)
    }
}

impl<'de> Deserialize<'de> for Placed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let found = Spanned::<Bare>::deserialize(from)?;
        Ok(Self(Tree::new(line(found.defined.line()), found.value.0)))
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let found = Spanned::<String>::deserialize(from)?;
        Ok(Self(found.value, found.defined.line()))
    }
}

impl From<Placed> for Tree {
    fn from(placed: Placed) -> Self {
        placed.0
    }
}

impl Named for Name {
    fn named(self) -> (String, Place) {
        (self.0, line(self.1))
    }
}

/// The file is put in at the end.
fn line(number: u64) -> Place {
    Place::Line("".into(), number)
}

pub(super) fn read(text: &str, file: &Arc<str>) -> Result<Tree, Fault> {
    let options = options();
    let read = serde_saphyr::from_str_with_options::<Placed>(text, options);
    let mut tree = read.map_err(|error| fault(&error, file))?.0;
    tree.name_file(file);
    Ok(tree)
}

fn options() -> Options {
    serde_saphyr::options! {
        // Lines of the file may hold passwords.
        with_snippet: false,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        // They are refused where they are put to use.
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        budget: serde_saphyr::budget! {
            max_depth: MOST_LEVELS,
            max_nodes: 20_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 20_000,
        },
    }
}

fn fault(error: &serde_saphyr::Error, file: &Arc<str>) -> Fault {
    use serde_saphyr::Error;

    let line = error.location().map_or(0, |location| location.line());
    let what = match error {
        Error::DuplicateMappingKey { key: Some(key), .. } if is_name(key) => {
            format!("{key} is given twice")
        }
        Error::MultipleDocuments { .. } => "a second document begins here; one is expected".into(),
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "an alias refers to what it stands in".into()
        }
        other => unquoted(&other.to_string()),
    };
    // The line is said already.
    let what = what.rsplit_once(" at line ").map_or(&*what, |(what, _)| what);
    Fault::new(what).at(&Place::Line(file.clone(), line))
}
