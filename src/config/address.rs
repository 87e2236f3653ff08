//! Addresses, taken apart into settings.

use percent_encoding::percent_decode_str;

use super::fault::Fault;
use super::kind::Kind;
use super::place::Place;
use super::tree::{Field, Map, Tree};
use crate::nearest::{did_you_mean, is_name};

const SCHEMES: &[&str] = &[
    "memory",
    "redis",
    "rediss",
    "redis+cluster",
    "rediss+cluster",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+unix",
    "valkey",
    "valkeys",
    "unix",
    "memcached",
    "memcacheds",
    "memcached+tls",
    "memcached+unix",
];

/// The kind of backend an address is of, and its settings: `url` and those behind the question mark.
pub(super) fn settings(address: &str, place: &Place) -> Result<(Kind, Map), Fault> {
    let here = |fault: Fault| fault.at(place);
    let Some((scheme, rest)) = address.split_once("://") else {
        return Err(here(Fault::new("an address begins with a scheme, as redis://host does")));
    };
    let Some(kind) = Kind::of_scheme(scheme) else {
        let meant = did_you_mean(scheme, SCHEMES.iter().copied());
        let scheme = if is_name(scheme) { scheme } else { "in front of ://" };
        return Err(here(Fault::new(format!("nobody knows the scheme {scheme}{meant}"))));
    };
    let (server, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut map = parameters(query, place).map_err(here)?;
    match kind {
        Kind::Memory if !server.is_empty() => {
            let what = "memory has no host and no path: memory://?max_size=1000";
            return Err(here(Fault::new(what)));
        }
        Kind::Memory => {}
        _ => {
            let url = Tree::loose(place, format!("{scheme}://{server}"));
            map.add(Field::new("url", url)).map_err(here)?;
        }
    }
    Ok((kind, map))
}

fn parameters(query: &str, place: &Place) -> Result<Map, Fault> {
    // A password with a question mark in it would have ended up here.
    if query.contains(['@', '#']) {
        let what = "no parameter has an @ or a # in it; a ? in a password is written %3F";
        return Err(Fault::new(what));
    }
    let mut map = Map::default();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        map.add(Field::new(decoded(name)?, Tree::loose(place, decoded(value)?)))?;
    }
    Ok(map)
}

fn decoded(text: &str) -> Result<String, Fault> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| Fault::new("a parameter is no text when decoded"))
}

/// The settings that an address states in front of its question mark, besides where the server is.
pub(super) fn states(address: &str) -> Vec<&'static str> {
    let (address, _) = address.split_once('?').unwrap_or((address, ""));
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let mut stated = Vec::new();
    let server = match rest.rsplit_once('@') {
        Some((_, server)) => {
            stated.extend(["username", "password"]);
            server
        }
        None => rest,
    };
    let mut path = server.split('/').skip(1);
    let db = match scheme.rsplit_once('+').map_or(scheme, |(_, arrangement)| arrangement) {
        "unix" => None,
        // The service comes first.
        "sentinel" => path.nth(1),
        _ => path.next(),
    };
    stated.extend(db.is_some_and(|db| !db.is_empty()).then_some("db"));
    stated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_what_it_states() {
        let login = ["username", "password"].as_slice();
        for (address, stated) in [
            ("redis://h", &[][..]),
            ("redis://h/?a=b/c", &[]),
            ("redis://h/2", &["db"]),
            ("redis://u:p@h:1?db=4", login),
            ("redis://u:p@h/3", &["username", "password", "db"]),
            ("redis+sentinel://s1,s2/main", &[]),
            ("redis+sentinel://s1,s2/main/2", &["db"]),
            ("redis+unix:///run/r.sock", &[]),
            ("unix:///run/r.sock", &[]),
            ("memcached://u:p@a,b", login),
        ] {
            assert_eq!(states(address), stated, "{address}");
        }
    }
}
