//! The cache itself: what it may do under its key prefix, and whether that is its own.

use std::process;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use yokedcache::{Cache, Error, ErrorKind, Pattern, Result};

use super::report::Report;
use crate::open::Target;

pub const CHECKS: [&str; 2] = ["permissions", "key prefix"];

/// What is stored for a moment goes by itself if this program dies.
const SHORT: Duration = Duration::from_secs(10);

/// One thing a program wants to do, and what it takes.
type Deed = (&'static str, fn(&Cache, &str) -> Result<()>);

const DEEDS: [Deed; 6] = [
    ("set", |cache, key| cache.entry(key).ttl(SHORT).tag("~doctor").set("x").map(drop)),
    ("get", |cache, key| match cache.get::<String>(key)?.as_deref() {
        Some("x") => Ok(()),
        _ => Err(Error::new(ErrorKind::Backend, "what was stored is not there")),
    }),
    ("expire", |cache, key| cache.expire(key, SHORT).map(drop)),
    ("list keys", |cache, key| cache.keys(Pattern::prefix(key)).map(drop)),
    ("invalidate tags", |cache, _| cache.invalidate_tags(["~doctor"]).map(drop)),
    ("delete", |cache, key| cache.delete(key).map(drop)),
];

pub fn examine(target: &Target, all_usable: bool, report: &mut Report) {
    if all_usable {
        permissions(target, report);
    } else {
        report.skip(&["permissions"], "servers that can be used");
    }
    prefix(target, report);
}

fn permissions(target: &Target, report: &mut Report) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let key = format!("~doctor-{}-{}", process::id(), now.as_nanos());
    let (mut can, mut cannot, mut impossible) = (Vec::new(), Vec::new(), Vec::new());
    for (name, deed) in DEEDS {
        match deed(&target.cache, &key) {
            Ok(()) => can.push(name),
            Err(error) if error.kind() == ErrorKind::Unsupported => impossible.push(name),
            Err(error) => cannot.push(format!("{name}: {error}")),
        }
    }
    if !cannot.is_empty() {
        let advice = "if a right is missing, give it to the user; else see the checks above";
        report.fail("permissions", cannot.join("; "), advice);
    } else if !impossible.is_empty() {
        let found = format!("{}; not possible here: {}", can.join(", "), impossible.join(", "));
        report.warn("permissions", found, "do without, or change the settings of the backend");
    } else {
        report.pass("permissions", can.join(", "));
    }
}

fn prefix(target: &Target, report: &mut Report) {
    if !target.cache.backend().about().can.shared {
        let advice = "each process has entries of its own, and they end with it: use a server";
        report.warn("key prefix", "not needed: the cache is in memory", advice);
        return;
    }
    match target.prefix.as_str() {
        "" => {
            let advice =
                "other programs' keys are among these, and clear is refused: set key_prefix";
            report.warn("key prefix", "none", advice);
        }
        prefix if target.is_prefix_chosen => report.pass("key prefix", prefix),
        prefix => {
            let advice = "other programs may have it, too: set one of your own (key_prefix)";
            report.warn("key prefix", format!("{prefix} by default"), advice);
        }
    }
}
