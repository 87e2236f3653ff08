//! How a Redis server is set up for its work as a cache.

use super::report::Report;
use crate::server::redis::Redis;
use crate::server::{Facts, number};
use crate::words::{count, size};

pub fn memory(facts: &Facts, report: &mut Report) {
    let used = number(facts, "used_memory").unwrap_or_default();
    let most = number(facts, "maxmemory").unwrap_or_default();
    if most == 0 {
        let advice = "it grows until the machine has no memory left: set maxmemory";
        report.warn("memory", format!("{} used, no limit", size(used)), advice);
        return;
    }
    let share = used as f64 / most as f64;
    let found = format!("{} of {} used, {:.0} %", size(used), size(most), share * 100.0);
    let evicts = facts.get("maxmemory_policy").is_some_and(|policy| policy != "noeviction");
    if share >= 1.0 && !evicts {
        let advice = "writes are refused: set maxmemory-policy allkeys-lru, or raise maxmemory";
        report.fail("memory", found, advice);
    } else if share > 0.9 && !evicts {
        let advice = "soon writes are refused: set maxmemory-policy allkeys-lru";
        report.warn("memory", found, advice);
    } else {
        report.pass("memory", found);
    }
}

pub fn eviction(facts: &Facts, report: &mut Report) {
    let policy = facts.get("maxmemory_policy").map_or("unknown", String::as_str);
    let evicted = count(number(facts, "evicted_keys").unwrap_or_default());
    let limited = number(facts, "maxmemory").is_some_and(|most| most > 0);
    let found = format!("{policy}, {evicted} evicted so far");
    match policy {
        "noeviction" if limited => {
            let advice =
                "when its memory is full, writes are refused: maxmemory-policy allkeys-lru";
            report.warn("eviction", found, advice);
        }
        policy if policy.starts_with("volatile") => {
            let advice = "entries without a time to live are never evicted: allkeys-lru evicts any";
            report.warn("eviction", found, advice);
        }
        _ => report.pass("eviction", found),
    }
}

pub fn persistence(facts: &Facts, redis: &mut Redis, report: &mut Report) {
    let is = |name: &str, value: &str| facts.get(name).is_some_and(|found| found == value);
    let save = redis.setting("save");
    let snapshots = save.as_ref().is_some_and(|save| !save.is_empty());
    if is("rdb_last_bgsave_status", "err") && save.as_deref() != Some("") {
        let advice =
            "the server refuses writes until one succeeds: free its disk, or set save \"\"";
        report.fail("persistence", "the last snapshot failed", advice);
    } else if is("aof_enabled", "1") || snapshots {
        let advice = "after a restart what was invalidated since comes back: save \"\" and appendonly \
                      no for a cache, or guard_restarts";
        report.warn("persistence", "data is kept on disk", advice);
    } else if save.is_none() {
        report.pass("persistence", "no log of changes; whether snapshots are made is not told");
    } else {
        report.pass("persistence", "nothing is kept on disk");
    }
}
