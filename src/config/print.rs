//! A configuration as others see it: what is set, without passwords.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Deserializer;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Config;
use super::layer::Layer;
use super::place::Place;
use super::visit::Unplaced;
use crate::error::ErrorKind;

impl Config {
    /// The settings as a file of this one environment, in JSON. Passwords are hidden.
    pub fn to_json(&self) -> String {
        // Names and plain values always have a form.
        serde_json::to_string_pretty(&self.as_file()).unwrap_or_else(|error| error.to_string())
    }

    /// The settings as a file of this one environment, in YAML. Passwords are hidden.
    #[cfg(feature = "config")]
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(&self.as_file()).unwrap_or_else(|error| error.to_string())
    }

    fn as_file(&self) -> BTreeMap<&str, BTreeMap<&str, InFile<'_>>> {
        let environment = self.environment.as_deref().unwrap_or("default");
        BTreeMap::from([("cache", BTreeMap::from([(environment, InFile(self))]))])
    }

    /// Its fields, each value changed by this.
    fn fields<S: Serializer>(&self, to: S, change: fn(&mut Value)) -> Result<S::Ok, S::Error> {
        let mut fields = to.serialize_map(None)?;
        fields.serialize_entry("backend", self.node.name())?;
        for part in [serde_json::to_value(&self.cache), serde_json::to_value(&self.node)] {
            let mut part = part.map_err(serde::ser::Error::custom)?;
            change(&mut part);
            for (name, value) in part.as_object().into_iter().flatten() {
                fields.serialize_entry(name, value)?;
            }
        }
        fields.end()
    }
}

/// As it stands in a file, where a dollar may begin a variable.
struct InFile<'c>(&'c Config);

impl Serialize for InFile<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.fields(to, keep_dollars)
    }
}

/// Writes every text so that a file gives it back.
fn keep_dollars(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("${") || text.contains("$$") => {
            *text = text.replace('$', "$$");
        }
        Value::Array(list) => list.iter_mut().for_each(keep_dollars),
        Value::Object(fields) => fields.values_mut().for_each(keep_dollars),
        _ => {}
    }
}

impl PartialEq for Config {
    /// Whether the settings are the same, wherever they were said.
    fn eq(&self, other: &Self) -> bool {
        self.cache == other.cache && self.node == other.node
    }
}

/// What is set, without passwords.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        write!(f, "Config({text})")
    }
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.fields(to, |_| {})
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let tree = Unplaced::deserialize(from)?.0;
        let kind = ErrorKind::InvalidConfig;
        let read = tree.into_map().and_then(|map| Layer::of_environment(map, &Place::Code));
        let config = read.and_then(|layer| Self::of_layer(layer, None, kind));
        config.map_err(serde::de::Error::custom)
    }
}
