//! What the cache's own health check finds, where the servers cannot be asked by us.

use yokedcache::HealthStatus;
use yokedcache::backend::Health;

use super::report::Report;
use crate::open::Target;
use crate::words::{measured, size};

/// Whether all of it serves.
pub fn examine(target: &Target, report: &mut Report) -> bool {
    let health = target.cache.detailed_health_check();
    walk("", &health, report);
    report.about(None);
    health.status() != HealthStatus::Down
}

fn walk(part: &str, health: &Health, report: &mut Report) {
    report.about((!part.is_empty()).then(|| part.to_owned()));
    match (&health.error, health.latency) {
        (Some(error), _) => {
            let advice = "yokedcache doctor --url looks into each step to it";
            report.fail("answers", format!("{}: {error}", health.name), advice);
        }
        (None, latency) => {
            let took = latency.map(measured).unwrap_or_default();
            report.pass("answers", format!("{} {took}", health.name));
        }
    }
    if let Some(server) = &health.server {
        report.pass("version", server.version.clone().unwrap_or_else(|| "unknown".into()));
        if let Some(used) = server.used_memory {
            let most = server.max_memory.filter(|most| *most > 0);
            let of = most.map_or("no limit".into(), |most| format!("of {}", size(most)));
            report.pass("memory", format!("{} used, {of}", size(used)));
        }
    }
    for warning in &health.warnings {
        if warning.degrades {
            report.fail("health", warning.text.clone(), warning.code);
        } else {
            report.warn("health", warning.text.clone(), warning.code);
        }
    }
    for (part, child) in &health.children {
        walk(part, child, report);
    }
}
