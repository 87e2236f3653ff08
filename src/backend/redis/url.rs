//! Addresses of Redis servers.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use crate::backend::remote::net::Endpoint;
use crate::error::{Error, ErrorKind, Result};

/// An address, taken apart.
pub(super) struct Address {
    pub(super) kind: Kind,
    pub(super) tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) db: u32,
    /// What follows the question mark, decoded.
    pub(super) parameters: Vec<(String, String)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    One(Endpoint),
    Sentinel { sentinels: Vec<Endpoint>, service: String },
    Cluster(Vec<Endpoint>),
}

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Reads an address. No error shows more of it than names and numbers: it may hold a password.
pub(super) fn parse(url: &str) -> Result<Address> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| bad("the address has no scheme; it looks like redis://localhost:6379/0"))?;
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, query),
        None => (rest, ""),
    };
    if rest.contains('#') || query.contains('#') {
        return Err(bad("an address has no part after #; a # in a password is written %23"));
    }
    let parameters = parameters(query)?;
    let (tls, arrangement) = match scheme {
        "redis+unix" | "unix" => return unix(rest, parameters),
        "redis" | "valkey" => (false, ""),
        "rediss" | "valkeys" => (true, ""),
        other => match other.split_once('+') {
            Some(("redis", arrangement)) => (false, arrangement),
            Some(("rediss", arrangement)) => (true, arrangement),
            _ => return Err(bad(&format!("nobody knows the scheme {other:?}"))),
        },
    };
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, path),
        None => (rest, ""),
    };
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    let (user, password) = credentials(login)?;
    let (kind, db) = match arrangement {
        "" => (Kind::One(only(endpoints(hosts, PORT)?)?), path),
        "cluster" => (Kind::Cluster(endpoints(hosts, PORT)?), path),
        "sentinel" => {
            let (service, db) = path.split_once('/').unwrap_or((path, ""));
            let service = decode(service)?;
            if service.is_empty() {
                return Err(bad("the address of sentinels names no service: .../service/0"));
            }
            (Kind::Sentinel { sentinels: endpoints(hosts, SENTINEL_PORT)?, service }, db)
        }
        other => return Err(bad(&format!("nobody knows how to reach a {other:?} of redis"))),
    };
    let db = number(db)?;
    if db != 0 && matches!(kind, Kind::Cluster(_)) {
        return Err(bad("a cluster has no databases but 0"));
    }
    Ok(Address { kind, tls, user, password, db, parameters })
}

fn unix(path: &str, mut parameters: Vec<(String, String)>) -> Result<Address> {
    let mut take = |name: &str| {
        let at = parameters.iter().position(|(known, _)| known == name)?;
        Some(parameters.remove(at).1)
    };
    let (db, user, password) = (take("db"), take("username"), take("password"));
    let path = PathBuf::from(decode(path)?);
    if !path.is_absolute() {
        return Err(bad("the path of a socket begins with a slash: redis+unix:///run/redis.sock"));
    }
    let db = number(db.as_deref().unwrap_or_default())?;
    let kind = Kind::One(Endpoint::Unix(path));
    Ok(Address { kind, tls: false, user, password, db, parameters })
}

fn credentials(login: Option<&str>) -> Result<(Option<String>, Option<String>)> {
    let Some(login) = login else { return Ok((None, None)) };
    let Some((user, password)) = login.split_once(':') else {
        return Err(bad("the address has a user and no password: user:password@host"));
    };
    let user = decode(user)?;
    Ok(((!user.is_empty()).then_some(user), Some(decode(password)?)))
}

fn endpoints(hosts: &str, port: u16) -> Result<Vec<Endpoint>> {
    hosts.split(',').map(|host| endpoint(host, port)).collect()
}

fn endpoint(host: &str, otherwise: u16) -> Result<Endpoint> {
    let (host, port) = match host.strip_prefix('[') {
        Some(six) => {
            let (host, port) = six.split_once(']').ok_or_else(|| bad("a bracket is not closed"))?;
            match port.strip_prefix(':') {
                None if !port.is_empty() => return Err(bad("a colon is missing before a port")),
                port => (host, port.unwrap_or_default()),
            }
        }
        None => host.split_once(':').unwrap_or((host, "")),
    };
    let port = match port {
        "" => otherwise,
        port => match port.parse() {
            Ok(port) if port != 0 => port,
            _ => return Err(bad("a port is a number from 1 to 65535")),
        },
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
    if host.is_empty() || !host.bytes().all(allowed) {
        return Err(bad("a host has no name, or one with characters that names do not have"));
    }
    Ok(Endpoint::tcp(host, port))
}

fn only(endpoints: Vec<Endpoint>) -> Result<Endpoint> {
    match <[Endpoint; 1]>::try_from(endpoints) {
        Ok([endpoint]) => Ok(endpoint),
        Err(_) => Err(bad("several hosts are a cluster or sentinels: redis+cluster://h1,h2")),
    }
}

fn number(db: &str) -> Result<u32> {
    let db = db.trim_end_matches('/');
    if db.is_empty() { Ok(0) } else { db.parse().map_err(|_| bad("a database is a number")) }
}

fn parameters(query: &str) -> Result<Vec<(String, String)>> {
    let mut parameters = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        if parameters.iter().any(|(known, _)| *known == name) {
            return Err(bad(&format!("{name} is given twice")));
        }
        parameters.push((name, value));
    }
    Ok(parameters)
}

fn decode(text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| bad("a part of the address is no text when decoded"))
}

pub(super) fn bad(what: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("redis: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::tcp(host, port)
    }

    #[test]
    fn addresses_are_taken_apart() {
        let one = |url: &str| match parse(url).unwrap() {
            Address { kind: Kind::One(endpoint), tls, user, password, db, .. } => {
                (endpoint, tls, user, password, db)
            }
            _ => panic!("{url}"),
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(one("redis://h"), (tcp("h", 6379), false, None, None, 0));
        assert_eq!(one("rediss://h:1/2"), (tcp("h", 1), true, None, None, 2));
        assert_eq!(one("redis://:p%40%2F@h/"), (tcp("h", 6379), false, None, text("p@/"), 0));
        assert_eq!(one("redis://u:p@[::1]:7"), (tcp("::1", 7), false, text("u"), text("p"), 0));
        let socket = Endpoint::Unix("/run/r.sock".into());
        assert_eq!(one("redis+unix:///run/r.sock?db=3"), (socket, false, None, None, 3));
        let sentinel = parse("rediss+sentinel://a,b:7/main/4").unwrap();
        assert_eq!((sentinel.tls, sentinel.db), (true, 4));
        let sentinels = vec![tcp("a", 26379), tcp("b", 7)];
        assert_eq!(sentinel.kind, Kind::Sentinel { sentinels, service: "main".into() });
        let cluster = parse("redis+cluster://u:p@a:1,b").unwrap();
        assert_eq!(cluster.kind, Kind::Cluster(vec![tcp("a", 1), tcp("b", 6379)]));
        let parameters = parse("redis://h?a=1&b=x%20y").unwrap().parameters;
        assert_eq!(parameters, [("a".into(), "1".into()), ("b".into(), "x y".into())]);
    }

    #[test]
    fn what_is_no_address_is_refused_and_no_password_shown() {
        for url in [
            "localhost:6379",
            "",
            "http://h",
            "redis://",
            "redis://h:0",
            "redis://h:66000",
            "redis://h:x",
            "redis://h/x",
            "redis://a,b",
            "redis://secret@h",
            "redis://u:secret@h h",
            "redis://u:sec#ret@h",
            "redis://u:%FF@h",
            "redis://h?a=1&a=2",
            "redis+unix://relative",
            "redis+sentinel://h",
            "redis+cluster://h/1",
            "redis+ring://h",
            "redis://[::1",
            "redis://[::1]6379",
        ] {
            let Err(error) = parse(url) else { panic!("{url}") };
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{url}");
            assert!(!format!("{error} {error:?}").contains("sec"), "{error:?}");
        }
    }
}
