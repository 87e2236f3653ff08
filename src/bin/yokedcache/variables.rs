//! What the process is told by its environment.

use std::env;

use crate::exit::{Failure, Outcome};
use crate::server::address::{Address, System, with_password};
use crate::words::shown_address;

pub const URL: &str = "YOKEDCACHE_URL";
pub const CONFIG: &str = "YOKEDCACHE_CONFIG";
pub const ENV: &str = "YOKEDCACHE_ENV";
pub const KEY_PREFIX: &str = "YOKEDCACHE_KEY_PREFIX";
const PREFIX: &str = "YOKEDCACHE_";
const PASSWORDS: [&str; 2] = ["YOKEDCACHE_REDIS_PASSWORD", "YOKEDCACHE_MEMCACHED_PASSWORD"];
/// Those that say where a server is, besides the address.
const SERVERS: [&str; 3] =
    ["YOKEDCACHE_REDIS_URL", "YOKEDCACHE_REDIS_HOST", "YOKEDCACHE_MEMCACHED_URL"];

/// The variables that are the library's, as the command line changes them.
pub struct Variables(Vec<(String, String)>);

impl Variables {
    /// One that is no Unicode is an error: without it the cache would be another one.
    pub fn of_process() -> Outcome<Self> {
        let mut ours = Vec::new();
        for (name, value) in env::vars_os() {
            let Some(name) = name.into_string().ok().filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            let bad = |_| Failure::usage(format!("{name}: is not UTF-8"));
            let value = value.into_string().map_err(bad)?;
            ours.push((name, value));
        }
        Ok(Self(ours))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any of them says which cache; that in memory is nobody's unless it is asked for.
    pub fn name_a_cache(&self) -> bool {
        let says = |name: &str| {
            [CONFIG, URL, "YOKEDCACHE_BACKEND"].contains(&name)
                || name.starts_with("YOKEDCACHE_MEMORY_")
                || SERVERS.contains(&name)
        };
        self.0.iter().any(|(name, _)| says(name))
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
    pub fn set_password(&mut self, password: &str) {
        self.0.retain(|(known, _)| !PASSWORDS.contains(&known.as_str()));
        match self.get(URL) {
            Some(url) => self.set(URL, given(url, Some(password))),
            None => PASSWORDS.iter().for_each(|name| self.set(name, password.to_owned())),
        }
    }

    /// The address they name, with what others of them set of its servers.
    pub fn address(&self) -> Option<Address> {
        let mut address = Address::parse(self.get(URL)?)?;
        let of_system = match address.system {
            System::Redis => "YOKEDCACHE_REDIS_",
            System::Memcached => "YOKEDCACHE_MEMCACHED_",
        };
        for (name, value) in &self.0 {
            if let Some(field) = name.strip_prefix(of_system) {
                address.set(&field.to_lowercase(), value);
            }
        }
        Some(address)
    }

    /// What the cache they name is called in messages.
    pub fn shown(&self) -> String {
        match (self.get(CONFIG), self.get(ENV), self.get(URL)) {
            (Some(file), Some(name), _) => format!("{name} of {file}{}", self.elsewhere()),
            (_, _, Some(url)) => shown_address(url),
            _ => "the environment variables".into(),
        }
    }

    /// What names another server than a file does.
    fn elsewhere(&self) -> String {
        let servers = [URL].into_iter().chain(SERVERS);
        let found = servers.filter_map(|name| Some((name, self.get(name)?)));
        let shown = found.map(|(name, at)| format!(", at {} ({name})", shown_address(at)));
        shown.collect()
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
