//! Servers' numbers as far as the cache's own health check has them.

use yokedcache::backend::Health;

use super::{Numbers, Server, if_any};
use crate::exit::Outcome;
use crate::open::Target;

pub fn ask(target: &Target) -> Outcome<Vec<Server>> {
    let mut servers = Vec::new();
    walk("", &target.cache.detailed_health_check(), &mut servers);
    if_any(servers)
}

/// Adds the servers among the leaves.
fn walk(part: &str, health: &Health, servers: &mut Vec<Server>) {
    for (part, child) in &health.children {
        walk(part, child, servers);
    }
    if !health.children.is_empty() || !matches!(health.name, "redis" | "memcached") {
        return;
    }
    let numbers = match (&health.server, &health.error) {
        (Some(server), _) => Ok(Numbers {
            version: server.version.clone().unwrap_or_default(),
            uptime: server.uptime,
            memory: server.used_memory,
            max_memory: server.max_memory,
            policy: server.eviction_policy.clone(),
            evicted: server.evicted,
            expired: server.expired,
            clients: server.clients,
            ..Numbers::default()
        }),
        (None, Some(error)) => Err(error.to_string()),
        (None, None) => Err("it does not tell".into()),
    };
    servers.push(Server { place: part.to_owned(), system: health.name, numbers });
}
