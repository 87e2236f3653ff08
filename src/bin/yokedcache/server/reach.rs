//! From an address to servers that answer: what to do where the steps in between do not matter.

use std::io;
use std::time::Duration;

use redis::Value;

use super::address::{Address, Arrangement, Place, System};
use super::memcached::Memcached;
use super::redis::{Fault, Redis, text};
use super::socket::{self, Stream, is_late};
use super::{Facts, tls};

/// How long a step to a server may take, unless something else is said.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Connects, with TLS if the address has it.
pub fn stream(address: &Address, place: &Place, within: Duration) -> Result<Stream, String> {
    let plain = socket::open(place, within).map_err(|error| said(&error))?;
    if !address.tls {
        return Ok(Stream::Plain(plain));
    }
    match tls::shake_hands(address, place, plain) {
        Ok(tls) => Ok(Stream::Tls(Box::new(tls))),
        Err(tls::Fault::Settings(what) | tls::Fault::Distrust(what)) => Err(what),
        Err(tls::Fault::NotTls) => Err("the server does not speak TLS".into()),
        Err(tls::Fault::Io(error)) => Err(said(&error)),
    }
}

/// A Redis server that took our login.
pub fn redis(address: &Address, place: &Place, within: Duration) -> Result<Redis, String> {
    let mut redis = Redis::new(stream(address, place, within)?);
    redis.log_in(address).map_err(|fault| why(&fault))?;
    Ok(redis)
}

/// A Memcached server that took our login.
pub fn memcached(address: &Address, place: &Place, within: Duration) -> Result<Memcached, String> {
    let mut memcached = Memcached::new(stream(address, place, within)?);
    match memcached.log_in(address) {
        Ok(true) => Ok(memcached),
        Ok(false) => Err("the server refuses the login".into()),
        Err(error) => Err(said(&error)),
    }
}

/// What a server says of itself; of Redis with the keys of the database under `keys`.
pub fn facts(address: &Address, place: &Place, within: Duration) -> Result<Facts, String> {
    match address.system {
        System::Redis => {
            let mut redis = redis(address, place, within)?;
            redis.info().map_err(|fault| why(&fault))
        }
        System::Memcached if address.is_binary() => {
            Err("its numbers are asked for in the text protocol, which it does not speak".into())
        }
        System::Memcached => {
            let mut memcached = memcached(address, place, within)?;
            memcached.facts("").map_err(|error| said(&error))
        }
    }
}

/// The servers that hold entries: those an address names, or those that the ones it names tell of.
pub fn holders(address: &Address, within: Duration) -> Result<Vec<Place>, String> {
    match &address.arrangement {
        Arrangement::Single => Ok(address.places.clone()),
        Arrangement::Sentinel(service) => {
            first(address, |place| master(address, place, service, within))
        }
        Arrangement::Cluster => first(address, |place| masters(address, place, within)),
    }
}

/// The answer of the first server that gives one.
fn first(
    address: &Address,
    ask: impl Fn(&Place) -> Result<Vec<Place>, String>,
) -> Result<Vec<Place>, String> {
    let mut last = "no server is named".to_owned();
    for place in &address.places {
        match ask(place) {
            Ok(found) => return Ok(found),
            Err(why) => last = format!("{place}: {why}"),
        }
    }
    Err(last)
}

fn master(
    address: &Address,
    place: &Place,
    service: &str,
    within: Duration,
) -> Result<Vec<Place>, String> {
    let mut sentinel = Redis::new(stream(address, place, within)?);
    if let Some((user, password)) = address.sentinel_login() {
        sentinel.authenticate(user, password).map_err(|fault| why(&fault))?;
    }
    let words = ["SENTINEL", "get-master-addr-by-name", service];
    match sentinel.ask(&words).map_err(|fault| why(&fault))? {
        Value::Array(found) if found.len() == 2 => {
            let port = text(&found[1]).parse().map_err(|_| "not an address".to_owned())?;
            Ok(vec![Place::Tcp { host: text(&found[0]), port }])
        }
        _ => Err(format!("the sentinel knows no master {service:?}")),
    }
}

fn masters(address: &Address, place: &Place, within: Duration) -> Result<Vec<Place>, String> {
    let mut redis = redis(address, place, within)?;
    let nodes = redis.ask(&["CLUSTER", "NODES"]).map_err(|fault| why(&fault))?;
    let mut masters = Vec::new();
    for line in text(&nodes).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, at, flags, ..] = words[..] else { continue };
        // A master without slots holds nothing.
        if !flags.split(',').any(|flag| flag == "master") || words.len() < 9 {
            continue;
        }
        let at = at.split(['@', ',']).next().unwrap_or_default();
        masters.push(match (Place::tcp(at, 6379), place) {
            // A server that never met another does not know its own address.
            (Place::Tcp { host, port }, Place::Tcp { host: ours, .. }) if host.is_empty() => {
                Place::Tcp { host: ours.clone(), port }
            }
            (found, _) => found,
        });
    }
    if masters.is_empty() { Err("the cluster has no masters".into()) } else { Ok(masters) }
}

/// What an error of a socket means.
pub fn said(error: &io::Error) -> String {
    if is_late(error) { "no answer in time".into() } else { error.to_string() }
}

/// What went wrong with a question.
pub fn why(fault: &Fault) -> String {
    match fault {
        Fault::Refused(refusal) => format!("redis says {}", refusal.0),
        Fault::Foreign => "what came is no answer of a Redis server".into(),
        Fault::Io(error) => said(error),
    }
}
