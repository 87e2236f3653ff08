//! The cache a command works on, and where it was named.

use std::time::Duration;

use serde_json::Value;
use yokedcache::backend::Call;
use yokedcache::config::Config;
use yokedcache::{Cache, MAX_KEY};

use crate::args::Global;
use crate::ask;
use crate::exit::{Failure, Outcome};
use crate::server::address::Address;
use crate::server::sections;
use crate::variables::{CONFIG, ENV, KEY_PREFIX, Variables, given};
use crate::words::shown_address;

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

    /// What its keys begin with, without the colon.
    fn key_prefix(&self) -> &str {
        self.prefix.strip_suffix(':').unwrap_or_default()
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
    /// The address, if there is one, with what variables set beside it.
    address: Option<Address>,
}

const WHICH: &str =
    "which cache? name it with --url, with --config and --env, or in YOKEDCACHE_URL";

/// The cache that the command line, the environment or a file names. No I/O but for files.
pub fn open(global: &Global) -> Outcome<Target> {
    let variables = Variables::of_process()?;
    // With --url no variable was looked at yet.
    let prefix = variables.get(KEY_PREFIX).map(str::to_owned);
    let source = source(global)?;
    if global.url.is_none() && global.config.is_none() && !variables.name_a_cache() {
        return Err(Failure::usage(WHICH));
    }
    opened(source, global.key_prefix.clone(), prefix, global.timeout)
}

/// The cache at another address, under the prefix in it, or else that of this one.
pub fn open_beside(other: &Target, url: &str) -> Outcome<Target> {
    opened(at(url)?, None, Some(other.key_prefix().to_owned()), other.timeout)
}

/// The settings that the command line, the environment or a file names.
pub fn source(global: &Global) -> Outcome<Source> {
    // The parser does not see it if one stands in front of the command and the other behind it.
    if global.url.is_some() && (global.config.is_some() || global.environment.is_some()) {
        return Err(Failure::usage("--url stands alone: without --config and --env"));
    }
    let password = if global.password_stdin { Some(password()?) } else { None };
    if let Some(url) = &global.url {
        return at(&given(url, password.as_deref()));
    }
    let mut variables = Variables::of_process()?;
    if let Some(file) = &global.config {
        variables.set(CONFIG, file.display().to_string());
    }
    if let Some(name) = &global.environment {
        variables.set(ENV, name.clone());
    }
    if variables.is_empty() {
        return Err(Failure::usage(WHICH));
    }
    if variables.get(CONFIG).is_some() && variables.get(ENV).is_none() {
        return Err(Failure::usage("which environment of the file? name it with --env"));
    }
    let shown = variables.shown();
    if let Some(password) = password {
        variables.set_password(&password);
    }
    let address = if variables.get(CONFIG).is_none() { variables.address() } else { None };
    Ok(Source { config: Config::from_variables(variables.all())?, shown, address })
}

fn password() -> Outcome<String> {
    match ask::password()? {
        line if line.is_empty() => {
            Err(Failure::usage("no password came from the standard input: --password-stdin"))
        }
        line => Ok(line),
    }
}

fn at(url: &str) -> Outcome<Source> {
    let shown = shown_address(url);
    let config = Config::from_url(url).map_err(|error| {
        let failure = Failure::from(error);
        Failure { message: format!("{shown}: {}", failure.message), ..failure }
    })?;
    Ok(Source { config, shown, address: Address::parse(url) })
}

/// Opens it under this prefix, or the one in the settings, or the last of them.
fn opened(
    source: Source,
    first: Option<String>,
    last: Option<String>,
    timeout: Option<Duration>,
) -> Outcome<Target> {
    let Source { config, shown, address } = source;
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
    let addresses = match address {
        Some(address) => vec![address],
        None => sections::addresses(&settings),
    };
    Ok(Target { cache, prefix, is_prefix_chosen, addresses, shown, timeout })
}
