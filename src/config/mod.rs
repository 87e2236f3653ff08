//! A cache made of an address, of environment variables, or of a file with named environments.
//!
//! [Configuration](crate::configuration) has every setting. [`Cache::open`](crate::Cache::open),
//! [`Cache::from_env`](crate::Cache::from_env) and `Cache::from_config` (feature `config`) make a cache
//! at once; a [`Config`] can be looked at first, or be changed by code:
//!
//! ```
//! use yokedcache::config::Config;
//!
//! # fn main() -> yokedcache::Result<()> {
//! let config = Config::from_url("memory://?max_size=1000&default_ttl=5m")?;
//! let cache = config.builder()?.key_prefix("shop").build()?;
//! # cache.set("k", &1)?;
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::env;

mod address;
mod build;
mod de;
#[cfg(test)]
mod documented;
#[cfg(feature = "config")]
mod expand;
mod fault;
mod fields;
#[cfg(feature = "config")]
mod file;
mod give;
mod hints;
mod kind;
mod layer;
#[cfg(feature = "memcached")]
mod memcached;
mod names;
mod open;
mod place;
mod print;
#[cfg(feature = "config")]
mod read;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod remote;
mod sections;
mod server;
mod settle;
mod tree;
mod units;
mod values;
mod variables;
mod visit;

use self::fault::Fault;
use self::layer::Layer;
use self::place::Place;
use self::sections::{CacheSettings, Node};
use self::tree::{Field, Map, Tree, Value};
use self::variables::Variables;
use crate::cache::{Cache, CacheBuilder};
use crate::error::{Error, ErrorKind, Result};

/// The settings of a cache and its backend.
///
/// It serialises to the fields of one environment of a file, with passwords hidden, and reads them back:
/// a program may have it as a part of its own configuration.
#[derive(Clone)]
pub struct Config {
    /// Of the environment it was read from.
    environment: Option<String>,
    cache: CacheSettings,
    node: Node,
    /// By path, for errors of builders.
    places: BTreeMap<String, Place>,
    /// Of errors: there is one for code and one for files and variables.
    kind: ErrorKind,
}

/// What the process is told by its environment. Other programs' variables may be no text.
fn process_variables() -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for (name, value) in env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => all.push((name, value)),
            Err(_) if name.starts_with(names::PREFIX) => {
                let what = format!("{name}: is not UTF-8");
                return Err(Error::new(ErrorKind::InvalidConfig, what));
            }
            Err(_) => {}
        }
    }
    Ok(all)
}

impl Config {
    /// Settings out of an address: `redis://cache1/0?pool_size=20&key_prefix=shop`. Behind the question
    /// mark stand settings of the backend and of the cache.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for an address that cannot be read and for a
    /// setting nobody knows.
    pub fn from_url(url: &str) -> Result<Self> {
        let kind = ErrorKind::InvalidArgument;
        Layer::of_address(url)
            .and_then(|layer| Self::of_layer(layer, None, kind))
            .map_err(|fault| fault.into_error(kind))
    }

    /// Settings out of the environment variables of this process: see
    /// [`from_variables`](Self::from_variables).
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for a variable or a file that cannot be used.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(process_variables()?)
    }

    /// Settings out of these variables: of the file that `YOKEDCACHE_CONFIG` names and the
    /// environment in it that `YOKEDCACHE_ENV` names, with the other variables over it; without a file of
    /// the other variables alone, and in memory if they name no backend.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for a variable or a file that cannot be used.
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let all: Vec<(String, String)> = variables.into_iter().collect();
        let invalid = |fault: Fault| fault.into_error(ErrorKind::InvalidConfig);
        let variables = Variables::of(all.iter().cloned()).map_err(invalid)?;
        match (&variables.file, &variables.environment) {
            (None, None) => variables
                .over(None)
                .and_then(|layer| Self::of_layer(layer, None, ErrorKind::InvalidConfig))
                .map_err(invalid),
            (Some(file), Some(environment)) => Self::of_file(file, environment, &all),
            (Some(_), None) => Err(half("YOKEDCACHE_ENV: is not set, and YOKEDCACHE_CONFIG is")),
            (None, Some(_)) => Err(half("YOKEDCACHE_CONFIG: is not set, and YOKEDCACHE_ENV is")),
        }
    }

    #[cfg(feature = "config")]
    fn of_file(file: &str, environment: &str, variables: &[(String, String)]) -> Result<Self> {
        Self::load_with(file, environment, variables.iter().cloned())
    }

    #[cfg(not(feature = "config"))]
    fn of_file(_: &str, _: &str, _: &[(String, String)]) -> Result<Self> {
        let what = "YOKEDCACHE_CONFIG: files need the feature config, which this program was built without";
        Err(Error::new(ErrorKind::InvalidConfig, what))
    }

    fn of_layer(layer: Layer, environment: Option<&str>, kind: ErrorKind) -> Result<Self, Fault> {
        let Layer { cache, root, kind: backend, section, place } = layer;
        let mut node = Map::default();
        let section = Tree::map(&place, section);
        node.add(Field { name: backend.name().into(), place, value: section })?;
        let mut places = BTreeMap::new();
        places.insert(String::new(), root.clone());
        note(&cache, "", &mut places);
        note(&node, "", &mut places);
        let settings = de::read(&cache, &Place::Code)?;
        let node = de::read_node(&node)?;
        let environment = environment.map(str::to_owned);
        Ok(Self { environment, cache: settings, node, places, kind })
    }

    /// Settings of a cache, which code may change before it builds it. Code counts more than variables,
    /// they more than a file, and a file more than defaults.
    ///
    /// # Errors
    /// What the backends refuse, with the place where it is said. No I/O is done but for reading
    /// certificates and a journal.
    pub fn builder(&self) -> Result<CacheBuilder> {
        let built = self.node.build().and_then(|backend| self.cache.builder(backend));
        built.map_err(|fault| self.refused(fault))
    }

    /// The cache.
    ///
    /// # Errors
    /// As [`builder`](Self::builder).
    pub fn open(&self) -> Result<Cache> {
        self.builder()?.build().map_err(|error| self.refused(error.into()))
    }

    /// An error of a builder, with its place.
    fn refused(&self, fault: Fault) -> Error {
        let mut path = fault.path();
        let place = loop {
            if let Some(place) = self.places.get(&path) {
                break place.clone();
            }
            match path.rsplit_once('.') {
                Some((outer, _)) => path = outer.to_owned(),
                None if path.is_empty() => break Place::Code,
                None => path.clear(),
            }
        };
        let kind = match (fault.kind(), self.kind) {
            (None, kind) => kind,
            (
                Some(ErrorKind::InvalidArgument | ErrorKind::InvalidTtl),
                ErrorKind::InvalidConfig,
            ) => ErrorKind::InvalidConfig,
            (Some(kind), _) => kind,
        };
        let fault = match self.variables_of(&fault.path()) {
            names if place.is_variable() || names.is_empty() => fault,
            names => fault.with(&names),
        }
        .at(&place);
        match &self.environment {
            Some(environment) => fault.within(environment),
            None => fault,
        }
        .into_error(kind)
    }

    /// The variables that settings of a section came from.
    fn variables_of(&self, section: &str) -> Vec<&str> {
        let within =
            |path: &str| path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
        let of_section = self.places.iter().filter(|(path, _)| within(path));
        let mut names: Vec<&str> = of_section.filter_map(|(_, place)| place.variable()).collect();
        names.dedup();
        names
    }
}

fn half(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidConfig, what)
}

/// Notes where each setting is said.
fn note(map: &Map, path: &str, places: &mut BTreeMap<String, Place>) {
    for field in map.iter() {
        let path =
            if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
        if let Value::Map(inner) = &field.value.value {
            note(inner, &path, places);
        }
        places.insert(path, field.place.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a feature, what needs it is refused by its name.
    #[test]
    fn what_is_off_is_named() {
        for (is_on, url, what) in [
            (cfg!(feature = "redis"), "redis://h", "redis: needs the feature redis"),
            (
                cfg!(feature = "memcached"),
                "memcached://h",
                "memcached: needs the feature memcached",
            ),
            (
                cfg!(feature = "msgpack"),
                "memory://?codec=msgpack",
                "codec: needs the feature msgpack",
            ),
            (
                cfg!(feature = "compression"),
                "memory://?compression=lz4",
                "compression: needs the feature compression",
            ),
        ] {
            match Cache::open(url) {
                Ok(_) => assert!(is_on, "{url}"),
                Err(error) => {
                    assert!(!is_on && error.kind() == ErrorKind::InvalidArgument, "{error:?}");
                    let what = format!("{what}, which this program was built without");
                    assert_eq!(error.to_string(), what);
                }
            }
        }
    }

    #[test]
    #[cfg(not(feature = "config"))]
    fn a_file_needs_its_feature() {
        let said = [("YOKEDCACHE_CONFIG", "cache.yaml"), ("YOKEDCACHE_ENV", "production")];
        let said = said.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let error = Config::from_variables(said).unwrap_err();
        assert!(error.to_string().contains("the feature config"), "{error}");
    }
}
