//! Settings of a Memcached backend.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Memcached;
use super::batch::Transport;
use super::fleet::{Fleet, Options, Server};
use super::ring::{Distribution, Ring};
use super::wire::{Limit, Login, Talker};
use crate::backend::Origin;
use crate::backend::remote::net::Endpoint;
use crate::backend::remote::settings::{self, Settings, common_settings, or};
use crate::backend::remote::tags;
use crate::backend::remote::url::{Reader, Url};
use crate::error::Result;

const READ: Reader = Reader("memcached");
const PORT: u16 = 11211;
/// Servers are numbered by 16 bits, and nobody has more.
const MOST_SERVERS: usize = 1000;
/// Beyond this points on the ring become too many to be made.
const MOST_WEIGHT: u32 = 1_000_000;

/// Settings of a [`Memcached`] backend. Each may be given in the address, too, under the name in
/// parentheses; the builder's word counts.
///
/// Times in an address are seconds, with a fraction if need be; switches are `true` or `false`.
///
/// ```
/// use std::time::Duration;
/// use yokedcache::{Distribution, Memcached};
///
/// # fn main() -> yokedcache::Result<()> {
/// let memcached = Memcached::builder("memcached://cache1;weight=3,cache2?socket_timeout=0.5")
///     .distribution(Distribution::Ketama)
///     .build()?;
/// assert!(Memcached::builder("memcached://cache1?sokcet_timeout=0.5").build().is_err());
/// # Ok(())
/// # }
/// ```
pub struct MemcachedBuilder {
    url: String,
    pub(crate) common: Settings,
    more: Vec<(String, u32)>,
    username: Option<String>,
    password: Option<String>,
    distribution: Option<Distribution>,
    /// What the address says under the names libmemcached has for it.
    pub(crate) ketama: Option<bool>,
    pub(crate) ketama_weighted: Option<bool>,
    binary: Option<bool>,
    eject: Option<bool>,
    plain: Option<bool>,
    split: Option<bool>,
}

/// What an address may say besides.
const PARAMETERS: &[&str] =
    &["distribution", "ketama", "ketama_weighted", "protocol", "eject", "plain", "split"];

impl MemcachedBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            common: Settings::default(),
            more: Vec::new(),
            username: None,
            password: None,
            distribution: None,
            ketama: None,
            ketama_weighted: None,
            binary: None,
            eject: None,
            plain: None,
            split: None,
        }
    }

    /// Settings whose servers are all given one by one.
    pub(crate) fn without_address() -> Self {
        Self::new("")
    }

    /// One more server: `host`, `host:port`, or the path of a socket, and its weight.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses what is no server, one named twice, and a weight of 0.
    pub fn server(mut self, server: impl Into<String>, weight: u32) -> Self {
        self.more.push((server.into(), weight));
        self
    }

    /// The user to log in as. Default: the one in the address, or none.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses a user without a password.
    pub fn username(mut self, user: impl Into<String>) -> Self {
        self.username = Some(user.into());
        self
    }

    /// The password. Default: the one in the address, or none. It is never shown.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses a password without a user, and in the text protocol blanks and
    /// control characters in either.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// How keys are dealt out to servers (`distribution`, which is `ketama_weighted`, `ketama` or
    /// `modulo`; or `ketama` and `ketama_weighted`, which are switches: the weighted one counts if both
    /// are on, and modulo if neither is). Default: weighted ketama.
    pub fn distribution(mut self, distribution: Distribution) -> Self {
        self.distribution = Some(distribution);
        self
    }

    /// Whether to speak the binary protocol (`protocol`, which is `meta` or `binary`). Default: no.
    ///
    /// It is for servers that want a login by SASL. Servers do not list their keys in it: patterns,
    /// `clear` and search are refused. Numbers with a time to live are then stored as other values
    /// are, which other programs cannot add to.
    pub fn binary(mut self, on: bool) -> Self {
        self.binary = Some(on);
        self
    }

    /// Lets other servers stand in for one that is down (`eject`). Default: no, and the keys of a
    /// server that is down are misses until it is back.
    ///
    /// A server that comes back still has what was deleted or invalidated meanwhile, and it is read
    /// again: [`Can::lag`](crate::backend::Can::lag) says so.
    pub fn eject(mut self, on: bool) -> Self {
        self.eject = Some(on);
        self
    }

    /// Stores values as other programs would, JSON text, bytes or a whole number, and nothing of ours
    /// around them (`plain`). Default: no.
    ///
    /// There is then no room for tags and leases: tags are refused, and a load is overtaken only by
    /// what the same cache deletes or invalidates. Values to be kept when stale, sliding ends, schema
    /// versions, compression, codecs other than JSON and keys over 250 bytes are refused, too. Without
    /// `plain`, values of other programs are readable all the same.
    pub fn plain(mut self, on: bool) -> Self {
        self.plain = Some(on);
        self
    }

    /// Stores values that are larger than a server takes in pieces (`split`). Default: no, and they are
    /// refused as too large.
    ///
    /// Writing and reading such a value takes a round trip more, and a piece that was evicted loses all
    /// of it. Other pieces are not removed with it: they end with the time to live, or when the server
    /// needs room. Every program reads values in pieces, whether it stores any or not.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses it together with [`plain`](Self::plain).
    pub fn split_large_values(mut self, on: bool) -> Self {
        self.split = Some(on);
        self
    }

    common_settings!();

    /// The backend. No I/O is done but for reading certificates.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an address or a setting that cannot
    /// be used.
    pub fn build(mut self) -> Result<Memcached> {
        let url = match self.url.as_str() {
            "" if !self.more.is_empty() => Url::nowhere("memcached"),
            url => READ.split(url)?,
        };
        let Url { scheme, user, password, hosts, path, parameters } = url;
        for (name, value) in parameters {
            self.take(&name, &value)?;
        }
        let tls = match scheme.as_str() {
            "memcached" | "memcache" | "memcached+unix" => false,
            "memcacheds" | "memcached+tls" => true,
            other => return Err(READ.bad(&format!("nobody knows the scheme {other:?}"))),
        };
        self.common.settle_tls(READ, tls)?;
        self.common.check(READ)?;
        let servers = self.servers(scheme == "memcached+unix", &hosts, &path)?;
        let login = self.login(user, password)?;
        self.build_of(&servers, login)
    }

    /// Takes a parameter of the address, unless code said otherwise.
    fn take(&mut self, name: &str, value: &str) -> Result<()> {
        if self.common.take(READ, name, value)? {
            return Ok(());
        }
        let words = [
            ("ketama_weighted", Distribution::KetamaWeighted),
            ("ketama", Distribution::Ketama),
            ("modulo", Distribution::Modulo),
        ];
        match name {
            "distribution" => or(&mut self.distribution, READ.word(name, value, &words)?),
            "ketama" => or(&mut self.ketama, READ.switch(name, value)?),
            "ketama_weighted" => or(&mut self.ketama_weighted, READ.switch(name, value)?),
            "protocol" => {
                let words = [("meta", false), ("binary", true)];
                or(&mut self.binary, READ.word(name, value, &words)?);
            }
            "eject" => or(&mut self.eject, READ.switch(name, value)?),
            "plain" => or(&mut self.plain, READ.switch(name, value)?),
            "split" => or(&mut self.split, READ.switch(name, value)?),
            name => return Err(READ.unknown(name, &[PARAMETERS, settings::PARAMETERS])),
        }
        Ok(())
    }

    /// As libmemcached decides where both are said.
    fn chosen(&self) -> Distribution {
        match (self.distribution, self.ketama_weighted, self.ketama) {
            (Some(distribution), ..) => distribution,
            (None, Some(true), _) | (None, None, None) => Distribution::KetamaWeighted,
            (None, _, Some(true)) => Distribution::Ketama,
            (None, ..) => Distribution::Modulo,
        }
    }

    /// The servers and their weights, each once.
    fn servers(&self, unix: bool, hosts: &str, path: &str) -> Result<Vec<(Endpoint, u32)>> {
        let mut servers = Vec::new();
        if unix {
            servers.push((READ.socket(hosts, path)?, 1));
        } else if !path.trim_matches('/').is_empty() {
            return Err(READ.bad("the address has a path, and memcached no databases"));
        } else if !(hosts.is_empty() && self.url.is_empty()) {
            for server in hosts.split(',') {
                let (host, weight) = server.split_once(';').unwrap_or((server, "weight=1"));
                let weight = weight.strip_prefix("weight=").and_then(|weight| weight.parse().ok());
                let no_weight = || READ.bad("a weight is a number: host:port;weight=3");
                servers.push((READ.endpoint(host, PORT)?, weight.ok_or_else(no_weight)?));
            }
        }
        for (server, weight) in &self.more {
            let endpoint = match server.strip_prefix('/') {
                Some(path) => READ.socket("", path)?,
                None => READ.endpoint(server, PORT)?,
            };
            servers.push((endpoint, *weight));
        }
        if servers.len() > MOST_SERVERS {
            return Err(READ.bad(&format!("there are at most {MOST_SERVERS} servers")));
        }
        for (index, (server, weight)) in servers.iter().enumerate() {
            if !(1..=MOST_WEIGHT).contains(weight) {
                return Err(READ.bad(&format!("a weight is from 1 to {MOST_WEIGHT}")));
            }
            if servers[..index].iter().any(|(other, _)| other == server) {
                return Err(READ.bad(&format!("the server {server} is named twice")));
            }
        }
        Ok(servers)
    }

    fn login(&mut self, user: Option<String>, password: Option<String>) -> Result<Option<Login>> {
        let login = (self.username.take().or(user), self.password.take().or(password));
        let (user, password) = match login {
            (None, None) => return Ok(None),
            (Some(user), Some(password)) => (user, password),
            (Some(_), None) => return Err(READ.bad("a user without a password")),
            (None, Some(_)) => {
                return Err(READ.bad("a password without a user: user:password@host"));
            }
        };
        let odd = |text: &str| text.bytes().any(|byte| byte <= b' ' || byte == 0x7f);
        if self.binary != Some(true) && (odd(&user) || odd(&password)) {
            let what = "the text protocol has no blanks and control characters in a login";
            return Err(READ.bad(what));
        }
        if user.contains('\0') || password.contains('\0') {
            return Err(READ.bad("SASL has no NUL in a login"));
        }
        Ok(Some(Login { user, password }))
    }

    fn build_of(self, servers: &[(Endpoint, u32)], login: Option<Login>) -> Result<Memcached> {
        let limit = Arc::new(Limit::default());
        let binary = self.binary.unwrap_or(false);
        let transport = if binary { Transport::Binary } else { Transport::Meta };
        let net = Arc::new(self.common.net()?);
        let pooling = self.common.pooling("yokedcache-memcached-{}");
        let talker = Talker { transport, login: login.map(Arc::new), limit: limit.clone() };
        let node = |(endpoint, _): &(Endpoint, u32)| {
            Arc::new(Server::new(endpoint.clone(), net.clone(), talker.clone(), &pooling))
        };
        // As libmemcached names them.
        let named = |(endpoint, weight): &(Endpoint, u32)| match endpoint {
            Endpoint::Tcp { host, port } => (host.to_string(), *port, *weight),
            Endpoint::Unix(path) => (path.display().to_string(), 0, *weight),
        };
        let names: Vec<(String, u16, u32)> = servers.iter().map(named).collect();
        let ring = Ring::new(self.chosen(), &names);
        let nodes = servers.iter().map(node).collect();
        let plain = self.plain.unwrap_or(false);
        let options = Options {
            eject: self.eject.unwrap_or(false),
            plain,
            split: self.split.unwrap_or(false),
        };
        if options.plain && options.split {
            return Err(READ.bad("other programs cannot put plain values together: plain or split"));
        }
        let fleet = Fleet { ring, servers: nodes, transport, options, limit };
        Ok(Memcached {
            fleet: Arc::new(fleet),
            timeout: self.common.timeout(),
            retry_on_timeout: self.common.retry_on_timeout.unwrap_or(false),
            plain,
            origin: Origin::unique(),
            tags: tags::Memory::new(),
        })
    }
}

impl fmt::Debug for MemcachedBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemcachedBuilder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_is_taken_and_the_nearest_named_for_others() {
        for name in PARAMETERS.iter().chain(settings::PARAMETERS) {
            let taken = MemcachedBuilder::new("").take(name, "?");
            let known = taken.map_or_else(|error| !error.to_string().contains("nobody"), |()| true);
            assert!(known, "{name}");
        }
        let error = Memcached::builder("memcached://h?ejekt=yes").build().unwrap_err();
        let what = r#"memcached: nobody knows the parameter "ejekt"; did you mean eject?"#;
        assert_eq!(error.to_string(), what);
    }
}
