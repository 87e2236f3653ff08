//! What the process is told by its environment.

use std::env;

use crate::server::address::with_password;
use crate::words::without_secrets;

pub const URL: &str = "YOKEDCACHE_URL";
pub const CONFIG: &str = "YOKEDCACHE_CONFIG";
pub const ENV: &str = "YOKEDCACHE_ENV";
pub const KEY_PREFIX: &str = "YOKEDCACHE_KEY_PREFIX";
const PREFIX: &str = "YOKEDCACHE_";

/// The variables that are the library's, as the command line changes them.
pub struct Variables(Vec<(String, String)>);

impl Variables {
    pub fn of_process() -> Self {
        Self(process().filter(|(name, _)| name.starts_with(PREFIX)).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn set(&mut self, name: &str, value: String) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value));
    }

    /// Puts a password where the address is, or where that of a file goes.
    pub fn set_password(&mut self, password: String) {
        match self.get(URL) {
            Some(url) => self.set(URL, given(url, Some(&password))),
            None => {
                self.set("YOKEDCACHE_REDIS_PASSWORD", password.clone());
                self.set("YOKEDCACHE_MEMCACHED_PASSWORD", password);
            }
        }
    }

    /// What the cache they name is called in messages.
    pub fn shown(&self) -> String {
        match (self.get(CONFIG), self.get(ENV), self.get(URL)) {
            (Some(file), Some(name), _) => format!("{name} of {file}"),
            (_, _, Some(url)) => without_secrets(url),
            _ => "the environment variables".into(),
        }
    }

    /// These, and what files may refer to.
    pub fn all(self) -> impl Iterator<Item = (String, String)> {
        others().chain(self.0)
    }
}

/// The address with this password, if there is one.
pub fn given(url: &str, password: Option<&str>) -> String {
    let with = password.and_then(|password| with_password(url, password));
    with.unwrap_or_else(|| url.to_owned())
}

/// The variables that are not the library's.
pub fn others() -> impl Iterator<Item = (String, String)> {
    process().filter(|(name, _)| !name.starts_with(PREFIX))
}

/// All of them. Names and values that are no Unicode are nobody's.
fn process() -> impl Iterator<Item = (String, String)> {
    env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
