//! Addresses of servers, taken apart. No error shows more of one than names and numbers: it may hold a
//! password.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::net::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::nearest::did_you_mean;

/// `scheme://user:password@hosts/path?parameters`, decoded but for the hosts and the path.
pub(crate) struct Url {
    pub(crate) scheme: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) hosts: String,
    pub(crate) path: String,
    pub(crate) parameters: Vec<(String, String)>,
}

impl Url {
    /// An address without hosts.
    #[cfg(feature = "memcached")]
    pub(crate) fn nowhere(scheme: &str) -> Self {
        Self {
            scheme: scheme.to_owned(),
            user: None,
            password: None,
            hosts: String::new(),
            path: String::new(),
            parameters: Vec::new(),
        }
    }
}

/// Reads addresses, and says in errors what they are of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader(pub(crate) &'static str);

impl Reader {
    pub(crate) fn bad(self, what: &str) -> Error {
        Error::new(ErrorKind::InvalidArgument, format!("{}: {what}", self.0))
    }

    pub(crate) fn split(self, url: &str) -> Result<Url> {
        let no_scheme = || self.bad(&format!("the address has no scheme, as in {}://...", self.0));
        let (scheme, rest) = url.split_once("://").ok_or_else(no_scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if rest.contains('#') || query.contains('#') {
            let what = "an address has no part after #; a # in a password is written %23";
            return Err(self.bad(what));
        }
        let parameters = self.parameters(query)?;
        // What is no host is the path of a socket, in which any character may be.
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let no_port = |(_, port): (&str, &str)| port.parse::<u16>().is_err();
        if path.contains('@') && hosts.rsplit_once(':').is_some_and(no_port) {
            return Err(self.bad("a / in a password is written %2F"));
        }
        let (user, password) = self.credentials(login)?;
        Ok(Url {
            scheme: scheme.to_owned(),
            user,
            password,
            hosts: hosts.to_owned(),
            path: path.to_owned(),
            parameters,
        })
    }

    fn credentials(self, login: Option<&str>) -> Result<(Option<String>, Option<String>)> {
        let Some(login) = login else { return Ok((None, None)) };
        let Some((user, password)) = login.split_once(':') else {
            return Err(self.bad("the address has a user and no password: user:password@host"));
        };
        let user = self.decode(user)?;
        Ok(((!user.is_empty()).then_some(user), Some(self.decode(password)?)))
    }

    fn parameters(self, query: &str) -> Result<Vec<(String, String)>> {
        let mut parameters = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let (name, value) = (self.decode(name)?, self.decode(value)?);
            // A password with a question mark in it would have ended up here.
            if name.contains('@') || value.contains('@') {
                let what = "no parameter has an @ in it; a ? in a password is written %3F";
                return Err(self.bad(what));
            }
            if parameters
                .iter()
                .any(|(known, _): &(String, String)| own_name(known) == own_name(&name))
            {
                return Err(self.bad(&format!("{} is given twice", own_name(&name))));
            }
            parameters.push((name, value));
        }
        Ok(parameters)
    }

    pub(crate) fn endpoints(self, hosts: &str, port: u16) -> Result<Vec<Endpoint>> {
        hosts.split(',').map(|host| self.endpoint(host, port)).collect()
    }

    /// A host, with a port or this one.
    pub(crate) fn endpoint(self, host: &str, otherwise: u16) -> Result<Endpoint> {
        let (host, port) = match host.strip_prefix('[') {
            Some(six) => {
                let closed = six.split_once(']');
                let (host, port) = closed.ok_or_else(|| self.bad("a bracket is not closed"))?;
                match port.strip_prefix(':') {
                    None if !port.is_empty() => {
                        return Err(self.bad("a colon is missing before a port"));
                    }
                    port => (host, port.unwrap_or_default()),
                }
            }
            None => host.split_once(':').unwrap_or((host, "")),
        };
        let port = match port {
            "" => otherwise,
            port => match port.parse() {
                Ok(port) if port != 0 => port,
                _ => return Err(self.bad("a port is a number from 1 to 65535")),
            },
        };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
        if host.is_empty() || !host.bytes().all(allowed) {
            let what = "a host has no name, or one with characters that names do not have";
            return Err(self.bad(what));
        }
        Ok(Endpoint::tcp(host, port))
    }

    /// A socket on this machine.
    pub(crate) fn socket(self, hosts: &str, path: &str) -> Result<Endpoint> {
        let path = PathBuf::from(self.decode(&format!("{hosts}/{path}"))?);
        if !path.is_absolute() || path.file_name().is_none() {
            let what =
                format!("a socket's path begins with a slash: {}+unix:///run/x.sock", self.0);
            return Err(self.bad(&what));
        }
        Ok(Endpoint::Unix(path))
    }

    pub(crate) fn decode(self, text: &str) -> Result<String> {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded
            .map(Into::into)
            .map_err(|_| self.bad("a part of the address is no text when decoded"))
    }

    fn wrong(self, name: &str) -> Error {
        self.bad(&format!("{name} cannot have this value"))
    }

    /// The value of a parameter that is a time in seconds.
    pub(crate) fn seconds(self, name: &str, value: &str) -> Result<Duration> {
        let seconds = value.parse().ok().and_then(|time| Duration::try_from_secs_f64(time).ok());
        seconds.ok_or_else(|| self.wrong(name))
    }

    pub(crate) fn number(self, name: &str, value: &str) -> Result<u32> {
        value.parse().map_err(|_| self.wrong(name))
    }

    pub(crate) fn switch(self, name: &str, value: &str) -> Result<bool> {
        match value {
            "true" | "True" | "1" | "yes" => Ok(true),
            "false" | "False" | "0" | "no" => Ok(false),
            _ => Err(self.wrong(name)),
        }
    }

    /// The value of a parameter that is one of a few words.
    pub(crate) fn word<T: Copy>(self, name: &str, value: &str, words: &[(&str, T)]) -> Result<T> {
        let known = words.iter().find(|(word, _)| *word == value);
        known.map(|(_, meaning)| *meaning).ok_or_else(|| self.wrong(name))
    }

    /// A parameter that is none of these.
    pub(crate) fn unknown(self, name: &str, known: &[&[&str]]) -> Error {
        let meant = did_you_mean(name, known.iter().copied().flatten().copied());
        self.bad(&format!("nobody knows the parameter {name:?}{meant}"))
    }
}

/// Of the two names of a setting the one that is told.
fn own_name(name: &str) -> &str {
    match name {
        "connection_pool_size" => "pool_size",
        name => name,
    }
}
