//! Settings out of a file with named environments.

use std::path::Path;

use super::expand::expand;
use super::fault::Fault;
use super::layer::{Layer, environment_fields};
use super::place::Place;
use super::tree::{Map, Tree, Value};
use super::variables::Variables;
use super::{Config, process_variables, read};
use crate::error::{ErrorKind, Result};
use crate::nearest::did_you_mean;

impl Config {
    /// Settings out of an environment of a file, with the environment variables of this process over
    /// them. The name of the file ends in `.yaml`, `.yml`, `.toml` or `.json`.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig), naming file, line and field, for all that cannot be
    /// used in file, environment and variables.
    pub fn load(path: impl AsRef<Path>, environment: &str) -> Result<Self> {
        Self::load_with(path, environment, process_variables()?)
    }

    /// The same with these variables in place of those of the process.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(
        path: impl AsRef<Path>,
        environment: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        let variables: Vec<(String, String)> = variables.into_iter().collect();
        let of_file = layer(path.as_ref(), environment, &variables);
        let config = of_file.and_then(|layer| {
            let layer = Variables::of(variables)?.over(Some(layer))?;
            let here = |fault: Fault| fault.within(environment);
            Self::of_layer(layer, Some(environment), ErrorKind::InvalidConfig).map_err(here)
        });
        config.map_err(|fault| fault.into_error(ErrorKind::InvalidConfig))
    }
}

/// What an environment of a file says.
fn layer(path: &Path, environment: &str, variables: &[(String, String)]) -> Result<Layer, Fault> {
    let whole = Place::Line(path.display().to_string().into(), 0);
    let tree = read::file(path)?;
    let mut found = find(tree, environment).map_err(|fault| fault.at(&whole))?;
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    };
    let here = |fault: Fault| fault.within(environment);
    expand(&mut found, &variable).map_err(here)?;
    let place = found.place.clone();
    let fields = found.into_map().map_err(here)?;
    Layer::of_environment(fields, &place).map_err(here)
}

/// The environment of that name.
fn find(tree: Tree, environment: &str) -> Result<Tree, Fault> {
    if matches!(tree.value, Value::Null) {
        return Err(Fault::new("is empty: it begins with cache:, under which stand environments"));
    }
    let mut top = tree.into_map()?;
    let cache = top.take("cache");
    // Other names are for anchors.
    if let Some(other) = top.iter().find(|field| !field.name.starts_with("x-")) {
        let fault = match environment_fields().contains(&&*other.name) {
            true => Fault::new("settings stand under cache and the name of an environment"),
            false => Fault::unknown(&other.name, ["cache"]),
        };
        return Err(fault.under(&other.name, &other.place));
    }
    let Some(cache) = cache else {
        return Err(Fault::new("has no field cache, under which stand environments"));
    };
    let here = |fault: Fault| fault.under("cache", &cache.place);
    let mut environments: Map = cache.value.into_map().map_err(here)?;
    let Some(found) = environments.take(environment) else {
        let names: Vec<String> = environments.iter().map(|field| field.name.clone()).collect();
        let meant = did_you_mean(environment, names.iter().map(String::as_str));
        let there = if names.is_empty() { "none".into() } else { names.join(", ") };
        return Err(here(Fault::new(format!(
            "no environment {environment:?}, there is {there}{meant}"
        ))));
    };
    let mut tree = found.value;
    tree.place = found.place;
    Ok(tree)
}
