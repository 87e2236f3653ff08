//! A Redis server that answers: who may use it, and what it is.

use std::time::{Duration, Instant};

use redis::Value;

use super::report::Report;
use super::settings::{eviction, memory, persistence};
use super::shared::{
    AFTER_LOGIN, PINGS, judge_clock, judge_connections, judge_latency, open_to_all,
};
use crate::server::address::{Address, Arrangement};
use crate::server::reach::why;
use crate::server::redis::{Fault, Redis, text};
use crate::server::socket::Stream;
use crate::server::{Facts, number};

pub fn examine(address: &Address, stream: Stream, report: &mut Report) -> bool {
    let mut redis = Redis::new(stream);
    if !log_in(address, &mut redis, report) {
        report.skip(&AFTER_LOGIN, "login");
        return false;
    }
    let facts = match redis.info() {
        Ok(facts) => facts,
        Err(fault) => {
            let advice = "allow the user INFO, or ask as somebody who may";
            report.warn("version", format!("not told: {}", why(&fault)), advice);
            latency(&mut redis, report);
            clock(&mut redis, report);
            let (left, _) = report.left(&AFTER_LOGIN);
            report.skip(&left, "INFO");
            return true;
        }
    };
    version(&facts, report);
    let usable = role(address, &facts, report);
    latency(&mut redis, report);
    memory(&facts, report);
    eviction(&facts, report);
    persistence(&facts, &mut redis, report);
    clock(&mut redis, report);
    let most = number(&facts, "maxclients");
    let most = most.or_else(|| redis.setting("maxclients")?.parse().ok());
    let now = number(&facts, "connected_clients").unwrap_or_default();
    judge_connections(address, now, most, report);
    if address.arrangement == Arrangement::Cluster {
        return cluster(&mut redis, report) && usable;
    }
    let of_a_cluster = facts.get("cluster_enabled").is_some_and(|enabled| enabled == "1");
    usable && (!of_a_cluster || has_all_keys(&mut redis, report))
}

fn log_in(address: &Address, redis: &mut Redis, report: &mut Report) -> bool {
    let logged_in = redis.log_in(address).and_then(|()| redis.ask(&["PING"]).map(drop));
    let said = match &logged_in {
        Err(Fault::Refused(refusal)) => refusal.0.as_str(),
        _ => "",
    };
    match &logged_in {
        // A user without the right to PING is logged in all the same.
        Err(fault) if !said.starts_with("NOPERM") => {
            report.fail("login", why(fault), no_login(address, said));
            false
        }
        _ => {
            match (&address.user, &address.password) {
                (Some(user), _) => report.pass("login", format!("as {user}")),
                (None, Some(_)) => report.pass("login", "with a password"),
                (None, None) => open_to_all(address, report),
            }
            true
        }
    }
}

fn no_login(address: &Address, said: &str) -> &'static str {
    match said.split(' ').next().unwrap_or_default() {
        "NOAUTH" if address.password.is_none() => {
            "the server wants a password, and none is given: YOKEDCACHE_URL or --password-stdin"
        }
        "WRONGPASS" => "the user or the password is wrong, or the user is off",
        "DENIED" => "the server is in protected mode: set a password there",
        "LOADING" => "the server reads its data from disk: wait until it has",
        "ERR" if said.contains("without any password") => {
            "the server has no password: leave it out of the address"
        }
        "ERR" if said.contains("DB index") => "the server has no database of this number",
        "ERR" if said.contains("SELECT is not allowed") => "clusters have no databases but 0",
        _ => "the server's log may say more",
    }
}

fn version(facts: &Facts, report: &mut Report) {
    let version = facts.get("redis_version").map_or("unknown", String::as_str);
    let major = version.split('.').next().and_then(|major| major.parse().ok());
    match major {
        Some(0..6_u32) => report.fail("version", version, "6.0 or later is needed"),
        _ => report.pass("version", version),
    }
}

/// Whether it takes writes.
fn role(address: &Address, facts: &Facts, report: &mut Report) -> bool {
    let text = |name: &str| facts.get(name).map_or("", String::as_str);
    if text("loading") == "1" {
        report.fail("role", "the server reads its data from disk", "wait until it has");
        return false;
    }
    if text("role") != "slave" {
        let replicas = match number(facts, "connected_slaves") {
            None | Some(0) => "no replicas".into(),
            Some(1) => "1 replica".into(),
            Some(more) => format!("{more} replicas"),
        };
        report.pass("role", format!("master, {replicas}"));
        return true;
    }
    let cut_off =
        if text("master_link_status") == "up" { "" } else { " that it does not hear from" };
    let found = format!("a replica of {}:{}{cut_off}", text("master_host"), text("master_port"));
    if address.arrangement == Arrangement::Cluster {
        // The others know whom to ask for its slots.
        report.pass("role", found);
        return true;
    }
    if text("slave_read_only") == "0" {
        let advice = "what is written here is lost when it hears from its master: use the master";
        report.warn("role", found, advice);
        return true;
    }
    report.fail("role", format!("{found}; it takes no writes"), "use its master's address");
    false
}

fn latency(redis: &mut Redis, report: &mut Report) {
    let mut times = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let started = Instant::now();
        match redis.ask(&["PING"]) {
            Ok(_) | Err(Fault::Refused(_)) => times.push(started.elapsed()),
            Err(fault) => {
                report.fail("latency", why(&fault), "the server hangs now and then");
                return;
            }
        }
    }
    judge_latency(times, report);
}

fn clock(redis: &mut Redis, report: &mut Report) {
    let asked = Instant::now();
    let time = match redis.ask(&["TIME"]) {
        Ok(Value::Array(time)) => time,
        _ => return report.skip(&["clock"], "the right to ask TIME"),
    };
    let trip = asked.elapsed();
    let part = |at: usize| time.get(at).and_then(|part| text(part).parse::<u64>().ok());
    match part(0).zip(part(1)) {
        Some((seconds, micros)) => {
            let theirs = Duration::from_secs(seconds) + Duration::from_micros(micros);
            judge_clock(theirs, trip, report);
        }
        None => report.skip(&["clock"], "an answer to TIME"),
    }
}

/// Whether a server of a cluster, named as if it was alone, is: else it sends most keys elsewhere.
fn has_all_keys(redis: &mut Redis, report: &mut Report) -> bool {
    let size = redis.cluster().ok().and_then(|facts| number(&facts, "cluster_size"));
    let Some(size @ 2..) = size else { return true };
    report.fail(
        "cluster",
        format!("one of {size} servers that share the keys"),
        "use redis+cluster://",
    );
    false
}

fn cluster(redis: &mut Redis, report: &mut Report) -> bool {
    let facts = match redis.cluster() {
        Ok(facts) => facts,
        Err(fault) => {
            let advice = "this server is no part of a cluster: use redis://";
            report.fail("cluster", why(&fault), advice);
            return false;
        }
    };
    let state = facts.get("cluster_state").map_or("unknown", String::as_str);
    let slots = number(&facts, "cluster_slots_ok").unwrap_or_default();
    let nodes = number(&facts, "cluster_known_nodes").unwrap_or_default();
    let found = format!("state {state}, {slots} of 16384 slots served, {nodes} nodes known");
    let whole = state == "ok" && slots == 16_384;
    if whole {
        report.pass("cluster", found);
    } else {
        report.fail("cluster", found, "bring back the nodes that are down, or move their slots");
    }
    whole
}
