//! Files for a test.

use std::fs;
use std::path::{Path, PathBuf};

use yokedcache::config::Config;
use yokedcache::{Cache, Result};

use crate::support::Process;

/// A configuration file in a directory of its own.
pub(crate) struct Written(PathBuf);

impl Written {
    pub(crate) fn new(name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = Process::new_dir().join(name);
        fs::write(&path, text).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The settings of an environment, without variables.
    pub(crate) fn load(&self, environment: &str) -> Result<Config> {
        self.load_with(environment, &[])
    }

    pub(crate) fn load_with(&self, environment: &str, said: &[(&str, &str)]) -> Result<Config> {
        Config::load_with(&self.0, environment, variables(said))
    }

    pub(crate) fn open(&self, environment: &str) -> Result<Cache> {
        self.load(environment)?.open()
    }

    /// The text of an error, the file named by its name alone.
    pub(crate) fn error(&self, environment: &str, said: &[(&str, &str)]) -> String {
        let opened = self.load_with(environment, said).and_then(|config| config.open());
        let error = opened.map(drop).unwrap_err().to_string();
        error.replace(&format!("{}/", self.0.parent().unwrap().display()), "")
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}

pub(crate) fn variables(said: &[(&str, &str)]) -> Vec<(String, String)> {
    said.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A cache of the fields of an environment, written as YAML.
pub(crate) fn cache_of(fields: &str) -> Cache {
    config_of(fields).open().unwrap_or_else(|error| panic!("{error}\n{fields}"))
}

pub(crate) fn config_of(fields: &str) -> Config {
    let file = Written::new("cache.yaml", yaml_of(fields));
    file.load("e").unwrap_or_else(|error| panic!("{error}\n{fields}"))
}

/// What is said of the fields of an environment that cannot be used, behind file and line.
pub(crate) fn refusal_of(fields: &str) -> String {
    let error = Written::new("cache.yaml", yaml_of(fields)).error("e", &[]);
    error.split_once(": ").map(|(_, what)| what.to_owned()).unwrap()
}

fn yaml_of(fields: &str) -> String {
    let fields: Vec<String> = fields.lines().map(|line| format!("    {line}\n")).collect();
    format!("cache:\n  e:\n{}", fields.concat())
}
