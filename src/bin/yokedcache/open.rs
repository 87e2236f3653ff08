//! The cache a command works on, and where it was named.

use std::env;
use std::time::Duration;

use serde_json::Value;
use yokedcache::backend::Call;
use yokedcache::config::Config;
use yokedcache::{Cache, MAX_KEY};

use crate::args::Global;
use crate::ask;
use crate::exit::{Failure, Outcome};
use crate::server::address::{Address, with_password};
use crate::server::sections;
use crate::words::without_secrets;

/// An open cache, with what is known of it.
pub struct Target {
    pub cache: Cache,
    /// What its stored keys begin with, the colon included.
    pub prefix: String,
    /// Whether somebody chose the prefix.
    pub is_prefix_chosen: bool,
    /// Its servers, as far as addresses name them.
    pub addresses: Vec<Address>,
    /// What it is called in messages.
    pub shown: String,
    timeout: Option<Duration>,
}

impl Target {
    /// How long one call may take.
    pub fn call(&self) -> Call {
        self.timeout.map_or(Call::Unlimited, Call::Within)
    }

    /// What `--timeout` says.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// A key that may be asked for.
    pub fn key<'k>(&self, key: &'k str) -> Outcome<&'k str> {
        if key.is_empty() || self.prefix.len() + key.len() > MAX_KEY {
            let what = format!("a key has 1 to {} bytes", MAX_KEY - self.prefix.len());
            return Err(Failure::usage(what));
        }
        Ok(key)
    }
}

/// Settings, and where they come from.
pub struct Source {
    pub config: Config,
    /// What it is called in messages.
    pub shown: String,
    /// The address, if there is one and nothing else.
    url: Option<String>,
}

/// The cache that the command line, the environment or a file names. No I/O but for files.
pub fn open(global: &Global) -> Outcome<Target> {
    // With --url no variable was looked at yet.
    let variable = ours().find(|(name, _)| name == "YOKEDCACHE_KEY_PREFIX").map(|(_, value)| value);
    opened(source(global)?, global.key_prefix.clone(), variable, global.timeout)
}

/// The cache at another address, under the prefix in it, or else that of this one.
pub fn open_beside(other: &Target, url: &str) -> Outcome<Target> {
    opened(at(url)?, None, Some(other.prefix.trim_end_matches(':').to_owned()), other.timeout)
}

/// The settings that the command line, the environment or a file names.
pub fn source(global: &Global) -> Outcome<Source> {
    let password = if global.password_stdin { Some(ask::first_line()?) } else { None };
    if let Some(url) = &global.url {
        return at(&given(url, password.as_deref()));
    }
    let mut variables: Vec<(String, String)> = ours().collect();
    if let Some(file) = &global.config {
        set(&mut variables, "YOKEDCACHE_CONFIG", file.display().to_string());
    }
    if let Some(name) = &global.environment {
        set(&mut variables, "YOKEDCACHE_ENV", name.clone());
    }
    let get = |name: &str| {
        let found = variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    };
    let (file, name, url) =
        (get("YOKEDCACHE_CONFIG"), get("YOKEDCACHE_ENV"), get("YOKEDCACHE_URL"));
    if variables.is_empty() {
        return Err(Failure::usage(
            "which cache? name it with --url, with --config and --env, or in YOKEDCACHE_URL",
        ));
    }
    if file.is_some() && name.is_none() {
        return Err(Failure::usage("which environment of the file? name it with --env"));
    }
    if let Some(password) = password {
        match &url {
            Some(url) => set(&mut variables, "YOKEDCACHE_URL", given(url, Some(&password))),
            None => {
                set(&mut variables, "YOKEDCACHE_REDIS_PASSWORD", password.clone());
                set(&mut variables, "YOKEDCACHE_MEMCACHED_PASSWORD", password);
            }
        }
    }
    let shown = match (&file, &name, &url) {
        (Some(file), Some(name), _) => format!("{name} of {file}"),
        (_, _, Some(url)) => without_secrets(url),
        _ => "the environment variables".into(),
    };
    let url = variables.iter().find(|(name, _)| name == "YOKEDCACHE_URL");
    let url = url.filter(|_| file.is_none()).map(|(_, url)| url.clone());
    let all = others().chain(variables.iter().cloned());
    Ok(Source { config: Config::from_variables(all)?, shown, url })
}

fn at(url: &str) -> Outcome<Source> {
    let shown = without_secrets(url);
    let config = Config::from_url(url).map_err(|error| {
        let failure = Failure::from(error);
        Failure { message: format!("{shown}: {}", failure.message), ..failure }
    })?;
    Ok(Source { config, shown, url: Some(url.to_owned()) })
}

fn given(url: &str, password: Option<&str>) -> String {
    let with = password.and_then(|password| with_password(url, password));
    with.unwrap_or_else(|| url.to_owned())
}

/// The variables of this process. Names and values that are no Unicode are nobody's.
fn process() -> impl Iterator<Item = (String, String)> {
    env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn ours() -> impl Iterator<Item = (String, String)> {
    process().filter(|(name, _)| name.starts_with("YOKEDCACHE_"))
}

/// What files may refer to.
pub fn others() -> impl Iterator<Item = (String, String)> {
    process().filter(|(name, _)| !name.starts_with("YOKEDCACHE_"))
}

fn set(variables: &mut Vec<(String, String)>, name: &str, value: String) {
    variables.retain(|(known, _)| known != name);
    variables.push((name.to_owned(), value));
}

/// Opens it under this prefix, or the one in the settings, or the last of them.
fn opened(
    source: Source,
    first: Option<String>,
    last: Option<String>,
    timeout: Option<Duration>,
) -> Outcome<Target> {
    let Source { config, shown, url } = source;
    let settings = serde_json::to_value(&config)?;
    let said = settings.get("key_prefix").and_then(Value::as_str).map(str::to_owned);
    let prefix = first.or(said).or(last);
    let mut builder = config.builder()?;
    if let Some(prefix) = &prefix {
        builder = builder.key_prefix(prefix);
    }
    if let Some(timeout) = timeout {
        builder = builder.timeout(timeout);
    }
    let cache = builder.strict().build()?;
    let shared = cache.backend().about().can.shared;
    let is_prefix_chosen = prefix.is_some();
    let mut prefix = prefix.unwrap_or_else(|| if shared { "yokedcache" } else { "" }.into());
    if !prefix.is_empty() {
        prefix.push(':');
    }
    let addresses = match &url {
        Some(url) => Address::parse(url).into_iter().collect(),
        None => sections::addresses(&settings),
    };
    Ok(Target { cache, prefix, is_prefix_chosen, addresses, shown, timeout })
}
