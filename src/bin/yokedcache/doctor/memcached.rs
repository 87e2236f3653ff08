//! A Memcached server that answers: who may use it, and how it is set up.

use std::io;
use std::time::{Duration, Instant};

use super::report::Report;
use super::shared::{
    AFTER_LOGIN, PINGS, judge_clock, judge_connections, judge_latency, open_to_all,
};
use crate::server::address::Address;
use crate::server::memcached::Memcached;
use crate::server::reach::said;
use crate::server::socket::{Stream, is_late};
use crate::server::{Facts, number};
use crate::words::{count, size};

pub fn examine(address: &Address, stream: Stream, report: &mut Report) -> bool {
    if address.is_binary() {
        report.skip(&["login"], "the text protocol");
        report.skip(&AFTER_LOGIN, "the text protocol");
        return true;
    }
    let mut memcached = Memcached::new(stream);
    if !log_in(address, &mut memcached, report) {
        report.skip(&AFTER_LOGIN, "login");
        return false;
    }
    let asked = Instant::now();
    let facts = match memcached.facts("") {
        Ok(facts) => facts,
        Err(error) => return without_facts(&error, report),
    };
    let trip = asked.elapsed();
    let settings = memcached.facts("settings").unwrap_or_default();
    version(&facts, report);
    report.pass("role", "Memcached has no replicas");
    latency(&mut memcached, report);
    memory(&facts, &settings, report);
    report.pass("persistence", "nothing is kept on disk");
    match number(&facts, "time") {
        // It tells whole seconds: half of one more is the best guess.
        Some(time) => judge_clock(Duration::from_millis(time * 1000 + 500), trip, report),
        None => report.skip(&["clock"], "an answer to stats"),
    }
    let now = number(&facts, "curr_connections").unwrap_or_default();
    judge_connections(address, now, number(&settings, "maxconns"), report);
    true
}

/// Nothing is judged by numbers that were not told.
fn without_facts(error: &io::Error, report: &mut Report) -> bool {
    let is_late = is_late(error);
    if is_late {
        report.fail("version", said(error), "the server hangs now and then");
    } else {
        let found = format!("not told: {}", said(error));
        report.warn("version", found, "what stands in front of the server may not know stats");
    }
    let (left, _) = report.left(&AFTER_LOGIN);
    report.skip(&left, "stats");
    !is_late
}

fn log_in(address: &Address, memcached: &mut Memcached, report: &mut Report) -> bool {
    match memcached.log_in(address) {
        Ok(true) if address.user.is_some() => report.pass("login", "with user and password"),
        Ok(true) if wants_login(memcached) => {
            let advice = "give user and password, best in YOKEDCACHE_URL";
            report.fail("login", "the server wants a login, and none is given", advice);
            return false;
        }
        Ok(true) => open_to_all(address, report),
        Ok(false) => {
            let advice = "the user or the password is wrong, or the server wants none";
            report.fail("login", "the server refuses the login", advice);
            return false;
        }
        Err(error) => {
            report.fail("login", said(&error), "the server's log may say more");
            return false;
        }
    }
    true
}

/// A server with logins (-Y) tells others so whatever they ask.
fn wants_login(memcached: &mut Memcached) -> bool {
    memcached.ask("mn").is_ok_and(|answer| answer.contains("unauthenticated"))
}

fn version(facts: &Facts, report: &mut Report) {
    let version = facts.get("version").map_or("unknown", String::as_str);
    let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
    match (parts.next(), parts.next()) {
        (Some(1), Some(0..6)) => report.fail("version", version, "1.6 or later is needed"),
        _ => report.pass("version", version),
    }
}

fn latency(memcached: &mut Memcached, report: &mut Report) {
    let mut times = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let started = Instant::now();
        if let Err(error) = memcached.ask("mn") {
            report.fail("latency", said(&error), "the server hangs now and then");
            return;
        }
        times.push(started.elapsed());
    }
    judge_latency(times, report);
}

fn memory(facts: &Facts, settings: &Facts, report: &mut Report) {
    let fact = |name: &str| number(facts, name).unwrap_or_default();
    let (used, most) = (fact("bytes"), fact("limit_maxbytes"));
    let found = format!("{} of {} used", size(used), size(most));
    let evicted = format!("{} evicted so far", count(fact("evictions")));
    if settings.get("evictions").is_none_or(|evictions| evictions != "off") {
        report.pass("memory", found);
        report.pass("eviction", format!("on, {evicted}"));
        return;
    }
    if used as f64 > 0.9 * most as f64 {
        report.fail("memory", found, "full, and it evicts nothing: start it without -M");
    } else {
        report.pass("memory", found);
    }
    let advice = "when its memory is full, nothing is stored any more: start it without -M";
    report.warn("eviction", format!("off, {evicted}"), advice);
}
