//! What files, variables and addresses are read into: values that know where they were said.
//!
//! It has no `Debug`: there are passwords in it.

#[cfg(feature = "config")]
use std::sync::Arc;

use super::fault::Fault;
use super::place::Place;

#[derive(Clone)]
pub(super) struct Tree {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    /// Text from where there is nothing else, a variable or an address: it may stand for a number.
    Loose(String),
    List(Vec<Tree>),
    Map(Map),
}

/// Fields in their order, each name once.
#[derive(Clone, Default)]
pub(super) struct Map(Vec<Field>);

#[derive(Clone)]
pub(super) struct Field {
    pub(super) name: String,
    /// Where the name is written.
    pub(super) place: Place,
    pub(super) value: Tree,
}

impl Tree {
    pub(super) fn new(place: Place, value: Value) -> Self {
        Self { place, value }
    }

    pub(super) fn loose(place: &Place, text: impl Into<String>) -> Self {
        Self::new(place.clone(), Value::Loose(text.into()))
    }

    pub(super) fn map(place: &Place, map: Map) -> Self {
        Self::new(place.clone(), Value::Map(map))
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Loose(text) => Some(text),
            _ => None,
        }
    }

    /// Says of which file its lines are.
    #[cfg(feature = "config")]
    pub(super) fn name_file(&mut self, file: &Arc<str>) {
        self.place.name_file(file);
        match &mut self.value {
            Value::List(list) => list.iter_mut().for_each(|tree| tree.name_file(file)),
            Value::Map(map) => map.iter_mut().for_each(|field| {
                field.place.name_file(file);
                field.value.name_file(file);
            }),
            _ => {}
        }
    }

    /// Its fields; nothing has none.
    pub(super) fn into_map(self) -> Result<Map, Fault> {
        match self.value {
            Value::Map(map) => Ok(map),
            Value::Null => Ok(Map::default()),
            other => {
                Err(Fault::new(format!("expected fields, found {}", other.kind())).at(&self.place))
            }
        }
    }
}

impl Value {
    /// What it is, for people. The value itself is not shown: it may be a password.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Unsigned(_) | Self::Signed(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) | Self::Loose(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "fields",
        }
    }
}

impl Map {
    /// Adds a field whose name must be new.
    pub(super) fn add(&mut self, field: Field) -> Result<(), Fault> {
        if self.get(&field.name).is_some() {
            return Err(Fault::new("is given twice").under(&field.name, &field.place));
        }
        self.0.push(field);
        Ok(())
    }

    /// Sets a field, in place of one of that name.
    pub(super) fn set(&mut self, field: Field) {
        self.take(&field.name);
        self.0.push(field);
    }

    /// Sets a field unless there is one of that name.
    pub(super) fn set_if_new(&mut self, field: Field) {
        if self.get(&field.name).is_none() {
            self.0.push(field);
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Field> {
        self.0.iter().find(|field| field.name == name)
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Field> {
        let at = self.0.iter().position(|field| field.name == name)?;
        Some(self.0.remove(at))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Field> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Field> {
        self.0.iter_mut()
    }

    pub(super) fn into_fields(self) -> impl Iterator<Item = Field> {
        self.0.into_iter()
    }

    /// These fields, and over them those.
    pub(super) fn overlaid(mut self, over: Map) -> Map {
        over.0.into_iter().for_each(|field| self.set(field));
        self
    }
}

impl Field {
    pub(super) fn new(name: impl Into<String>, value: Tree) -> Self {
        Self { name: name.into(), place: value.place.clone(), value }
    }
}
