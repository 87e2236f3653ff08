//! Addresses of Redis servers.

use crate::backend::remote::net::Endpoint;
use crate::backend::remote::url::{Reader, Url};
use crate::error::Result;

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

pub(super) const READ: Reader = Reader("redis");

/// Reads an address.
pub(super) fn parse(url: &str) -> Result<Address> {
    let Url { scheme, user, password, hosts, path, parameters } = READ.split(url)?;
    let (tls, arrangement) = match scheme.as_str() {
        "redis+unix" | "unix" => return unix((user, password), &hosts, &path, parameters),
        "redis" | "valkey" => (false, ""),
        "rediss" | "valkeys" => (true, ""),
        other => match other.split_once('+') {
            Some(("redis", arrangement)) => (false, arrangement),
            Some(("rediss", arrangement)) => (true, arrangement),
            _ => return Err(READ.bad(&format!("nobody knows the scheme {other:?}"))),
        },
    };
    let (kind, db) = match arrangement {
        "" => (Kind::One(only(READ.endpoints(&hosts, PORT)?)?), &*path),
        "cluster" => (Kind::Cluster(READ.endpoints(&hosts, PORT)?), &*path),
        "sentinel" => {
            let (service, db) = path.split_once('/').unwrap_or((&path, ""));
            let service = READ.decode(service)?;
            if service.is_empty() {
                return Err(READ.bad("the address of sentinels names no service: .../service/0"));
            }
            let sentinels = READ.endpoints(&hosts, SENTINEL_PORT)?;
            (Kind::Sentinel { sentinels, service }, db)
        }
        other => return Err(READ.bad(&format!("nobody knows how to reach a {other:?} of redis"))),
    };
    let db = number(db)?;
    if db != 0 && matches!(kind, Kind::Cluster(_)) {
        return Err(READ.bad("a cluster has no databases but 0"));
    }
    Ok(Address { kind, tls, user, password, db, parameters })
}

fn unix(
    (user, password): (Option<String>, Option<String>),
    hosts: &str,
    path: &str,
    mut parameters: Vec<(String, String)>,
) -> Result<Address> {
    let mut take = |name: &str| {
        let at = parameters.iter().position(|(known, _)| known == name)?;
        Some(parameters.remove(at).1)
    };
    let db = take("db");
    let (user, password) = (take("username").or(user), take("password").or(password));
    let endpoint = READ.socket(hosts, path)?;
    let db = number(db.as_deref().unwrap_or_default())?;
    Ok(Address { kind: Kind::One(endpoint), tls: false, user, password, db, parameters })
}

fn only(endpoints: Vec<Endpoint>) -> Result<Endpoint> {
    match <[Endpoint; 1]>::try_from(endpoints) {
        Ok([endpoint]) => Ok(endpoint),
        Err(_) => Err(READ.bad("several hosts are a cluster or sentinels: redis+cluster://h1,h2")),
    }
}

fn number(db: &str) -> Result<u32> {
    let db = db.trim_end_matches('/');
    // A password with a slash in it would have ended up here.
    let what = match db.contains('@') {
        true => "a database is a number; a / in a password is written %2F",
        false => "a database is a number",
    };
    if db.is_empty() { Ok(0) } else { db.parse().map_err(|_| READ.bad(what)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

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
        assert_eq!(one("redis+unix:///run/r.sock?db=3"), (socket.clone(), false, None, None, 3));
        let login = one("redis+unix://u:p@/run/r.sock");
        assert_eq!(login, (socket, false, text("u"), text("p"), 0));
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
            "redis+unix://",
            "redis+unix:///",
            "redis://h?pool_size=1&connection_pool_size=2",
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
