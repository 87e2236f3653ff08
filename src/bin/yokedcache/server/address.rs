//! The parts of an address. Whether it is a good one the library has said before.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

/// An address, taken apart.
#[derive(Clone)]
pub struct Address {
    pub system: System,
    pub arrangement: Arrangement,
    pub tls: bool,
    pub user: Option<String>,
    pub password: Option<String>,
    /// There is a password, and it is not told to us.
    pub is_hidden: bool,
    pub places: Vec<Place>,
    pub db: u32,
    pub parameters: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    Redis,
    Memcached,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// Each server by itself.
    Single,
    Cluster,
    /// Sentinels that know the master of this name.
    Sentinel(String),
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Place {
    /// Reads `host`, `host:port` or `[::1]:port`.
    pub fn tcp(text: &str, otherwise: u16) -> Self {
        let text = text.split(';').next().unwrap_or_default();
        let (host, port) = match text.strip_prefix('[').and_then(|six| six.split_once(']')) {
            Some((host, port)) => (host, port.trim_start_matches(':')),
            None => text.rsplit_once(':').unwrap_or((text, "")),
        };
        Self::Tcp { host: host.into(), port: port.parse().unwrap_or(otherwise) }
    }

    /// Whether what is said to it stays on this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => {
                host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Address {
    /// Takes an address apart; `None` for one without servers.
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let (user, password) =
            login.map(|login| login.split_once(':').unwrap_or((login, ""))).unzip();
        let system = match scheme.split('+').next()? {
            "redis" | "rediss" | "valkey" | "valkeys" | "unix" => System::Redis,
            "memcached" | "memcache" | "memcacheds" => System::Memcached,
            _ => return None,
        };
        let mut address = Self {
            system,
            arrangement: Arrangement::Single,
            tls: matches!(scheme.split('+').next()?, "rediss" | "valkeys" | "memcacheds")
                || scheme == "memcached+tls",
            user: user.map(decoded).filter(|user| !user.is_empty()),
            password: password.map(decoded),
            is_hidden: false,
            places: Vec::new(),
            db: 0,
            parameters: parameters(query),
        };
        address.place(scheme, hosts, path);
        address.settle();
        Some(address)
    }

    fn place(&mut self, scheme: &str, hosts: &str, path: &str) {
        if scheme == "unix" || scheme.ends_with("+unix") {
            self.places = vec![Place::Unix(decoded(&format!("{hosts}/{path}")).into())];
            return;
        }
        let (port, db) = match (self.system, scheme.split_once('+')) {
            (System::Memcached, _) => (11211, ""),
            (System::Redis, Some((_, "sentinel"))) => {
                let (service, db) = path.split_once('/').unwrap_or((path, ""));
                self.arrangement = Arrangement::Sentinel(decoded(service));
                (26379, db)
            }
            (System::Redis, Some((_, "cluster"))) => {
                self.arrangement = Arrangement::Cluster;
                (6379, "")
            }
            (System::Redis, _) => (6379, path),
        };
        self.places = hosts.split(',').map(|host| Place::tcp(host, port)).collect();
        self.db = db.trim_end_matches('/').parse().unwrap_or(0);
    }

    /// Parameters count more than what stands in front of them, as they do in the library.
    fn settle(&mut self) {
        let text = |name: &str| self.parameter(name).map(str::to_owned);
        let (user, password) = (text("username"), text("password"));
        let db = self.parameter("db").and_then(|db| db.parse().ok());
        self.db = db.unwrap_or(self.db);
        self.user = user.or(self.user.take());
        self.password = password.or(self.password.take());
    }

    /// Adds a setting that counts more than those there are.
    pub fn set(&mut self, name: &str, value: &str) {
        self.parameters.retain(|(known, _)| known != name);
        self.parameters.push((name.into(), value.into()));
        self.settle();
    }

    /// The login that sentinels want.
    pub fn sentinel_login(&self) -> Option<(Option<&str>, &str)> {
        Some((self.parameter("sentinel_username"), self.parameter("sentinel_password")?))
    }

    /// How many connections a pool has at most, if that is set.
    pub fn pool_size(&self) -> Option<u64> {
        let size = self.parameter("pool_size").or(self.parameter("connection_pool_size"));
        size?.parse().ok()
    }

    /// What a parameter of the address says.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn switch(&self, name: &str) -> Option<bool> {
        let is_yes = |value: &str| ["true", "1", "yes", "on"].contains(&&*value.to_lowercase());
        self.parameter(name).map(is_yes)
    }

    /// Whether the servers speak memcached's binary protocol only.
    pub fn is_binary(&self) -> bool {
        self.parameter("protocol") == Some("binary") || self.switch("binary") == Some(true)
    }
}

fn parameters(query: &str) -> Vec<(String, String)> {
    let given = query.split('&').filter(|parameter| !parameter.is_empty());
    given
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The address with this password in place of the one it has.
pub fn with_password(url: &str, password: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let set = percent_encoding::NON_ALPHANUMERIC;
    let password = percent_encoding::utf8_percent_encode(password, set);
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_other = |parameter: &&str| {
        !parameter.is_empty()
            && decoded(parameter.split('=').next().unwrap_or_default()) != "password"
    };
    let mut others: Vec<String> = query.split('&').filter(is_other).map(Into::into).collect();
    let is_unix = scheme == "unix" || scheme == "redis+unix";
    let server = if is_unix {
        others.push(format!("password={password}"));
        rest.to_owned()
    } else {
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let user = login.split(':').next().unwrap_or_default();
        format!("{user}:{password}@{hosts}{path}")
    };
    let joint = if others.is_empty() { "" } else { "?" };
    Some(format!("{scheme}://{server}{joint}{}", others.join("&")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Place {
        Place::Tcp { host: host.into(), port }
    }

    #[test]
    fn addresses_are_taken_apart() {
        let one = Address::parse("rediss://u:p%40@h:7/3?ssl_ca_certs=%2Fca").unwrap();
        assert_eq!((one.tls, one.db, one.places), (true, 3, vec![tcp("h", 7)]));
        assert_eq!((one.user.as_deref(), one.password.as_deref()), (Some("u"), Some("p@")));
        assert_eq!(one.parameters, [("ssl_ca_certs".into(), "/ca".into())]);
        let cluster = Address::parse("redis+cluster://a,[::1]:8").unwrap();
        assert_eq!(cluster.places, [tcp("a", 6379), tcp("::1", 8)]);
        let sentinel = Address::parse("redis+sentinel://a/main/2").unwrap();
        assert_eq!(sentinel.arrangement, Arrangement::Sentinel("main".into()));
        assert_eq!((sentinel.db, &sentinel.places[..]), (2, &[tcp("a", 26379)][..]));
        let unix = Address::parse("redis+unix:///run/r.sock?db=4&password=x").unwrap();
        assert_eq!((unix.db, unix.places), (4, vec![Place::Unix("/run/r.sock".into())]));
        assert_eq!(unix.password.as_deref(), Some("x"));
        let behind =
            Address::parse("redis://u:p@h/2?db=1&password=q&ssl_check_hostname=ON").unwrap();
        assert_eq!((behind.db, behind.switch("ssl_check_hostname")), (1, Some(true)));
        assert_eq!((behind.user.as_deref(), behind.password.as_deref()), (Some("u"), Some("q")));
        let fleet = Address::parse("memcached://a;weight=3,b:5").unwrap();
        assert_eq!(fleet.places, [tcp("a", 11211), tcp("b", 5)]);
        assert!(Address::parse("memory://").is_none());
    }

    #[test]
    fn a_password_is_put_where_it_belongs() {
        for (url, with) in [
            ("redis://h/1", "redis://:a%2Fb@h/1"),
            ("redis://u@h?x=1", "redis://u:a%2Fb@h?x=1"),
            ("redis://u:old@h", "redis://u:a%2Fb@h"),
            ("redis+unix:///s?db=1", "redis+unix:///s?db=1&password=a%2Fb"),
            ("unix:///s?password=old", "unix:///s?password=a%2Fb"),
            ("redis://h?password=old&db=1", "redis://:a%2Fb@h?db=1"),
            ("memcached+unix://u@/s", "memcached+unix://u:a%2Fb@/s"),
        ] {
            assert_eq!(with_password(url, "a/b").as_deref(), Some(with));
        }
    }
}
