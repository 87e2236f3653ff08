//! Checks everything between here and the cache, step by step, past the first failure where that makes
//! sense.

mod cache;
mod memcached;
mod network;
mod plain;
mod redis;
mod report;
mod settings;
mod shared;
mod through;

use std::time::Duration;

use crate::args::Global;
use crate::exit::Outcome;
use crate::open::{Target, open};
use crate::output::Out;
use crate::server::address::{Address, Arrangement, Place, System};
use crate::server::reach::holders;
use report::Report;

/// How long a step may take, unless something else is said.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is checked of every server, in this order.
const OF_A_SERVER: [&str; 13] = [
    "dns",
    "tcp",
    "tls",
    "protocol",
    "login",
    "version",
    "role",
    "latency",
    "memory",
    "eviction",
    "persistence",
    "clock",
    "connections",
];

pub fn run(global: &Global, out: Out) -> Outcome {
    let mut report = Report::default();
    match open(global) {
        Ok(target) => examine(&target, &mut report),
        Err(failure) => {
            report.fail("configuration", failure.message, "nothing else can be checked before");
            report.skip(&OF_A_SERVER, "a configuration");
            report.skip(&cache::CHECKS, "a configuration");
        }
    }
    report.finish(out)
}

fn examine(target: &Target, report: &mut Report) {
    report.pass("configuration", target.shown.clone());
    let within = target.timeout().unwrap_or(PATIENCE);
    let mut usable = 0;
    let mut looked_at = 0;
    for address in &target.addresses {
        if address.is_hidden {
            report.pass(
                "configuration",
                "passwords in it are hidden: its servers are asked by the cache",
            );
            usable += usize::from(through::examine(target, report));
            looked_at += 1;
            break;
        }
        let places = servers(address, within, report);
        looked_at += places.len().max(1);
        for place in places {
            report.about(Some(place.to_string()));
            usable += usize::from(server(address, &place, within, report));
        }
        report.about(None);
    }
    cache::examine(target, usable == looked_at, report);
}

/// The servers to look at: those the address names, and the ones they know of that hold entries.
fn servers(address: &Address, within: Duration, report: &mut Report) -> Vec<Place> {
    match (&address.arrangement, holders(address, within)) {
        (Arrangement::Single, _) => address.places.clone(),
        (Arrangement::Sentinel(service), Ok(found)) => {
            let masters: Vec<_> = found.iter().map(Place::to_string).collect();
            report.pass("sentinels", format!("the master {service:?} is {}", masters.join(", ")));
            found
        }
        (Arrangement::Sentinel(_), Err(why)) => {
            let advice = "do the sentinels run, and is the service's name right?";
            report.fail("sentinels", why, advice);
            report.skip(&OF_A_SERVER, "sentinels");
            Vec::new()
        }
        (Arrangement::Cluster, Ok(found)) => {
            let mut places = address.places.clone();
            for place in found {
                if !places.contains(&place) {
                    places.push(place);
                }
            }
            places
        }
        // What is wrong with the servers it names comes out with each of them.
        (Arrangement::Cluster, Err(why)) => {
            report.fail("cluster", why, "no server it names can tell of the others");
            address.places.clone()
        }
    }
}

/// Looks at one server; whether it can be used.
fn server(address: &Address, place: &Place, within: Duration, report: &mut Report) -> bool {
    let Some(stream) = network::reach(address, place, within, report) else {
        let (left, last) = report.left(&OF_A_SERVER);
        report.skip(&left, last);
        return false;
    };
    match address.system {
        System::Redis => redis::examine(address, stream, report),
        System::Memcached => memcached::examine(address, stream, report),
    }
}
