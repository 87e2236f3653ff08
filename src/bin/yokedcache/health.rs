//! How the backend and its servers are.

use serde_json::json;
use yokedcache::{HealthStatus, backend};

use crate::args::Health;
use crate::exit::{Exit, Outcome, name};
use crate::open::Target;
use crate::output::{Cell, Out, Tone};
use crate::ping::ms;
use crate::words::{escaped, lasting, measured, size};

pub fn run(health: &Health, target: &Target, out: Out) -> Outcome {
    if health.detailed { detailed(target, out) } else { brief(target, out) }
}

/// One read; an outage is an answer here, and the answer is no.
fn brief(target: &Target, out: Out) -> Outcome {
    match target.cache.health_check() {
        Ok(took) => {
            out.document(&json!({"status": "up", "latency_ms": ms(took)}))?;
            out.say(format!("up, {}", measured(took)))?;
            Ok(Exit::Done)
        }
        Err(error) => {
            let why = json!({"kind": name(error.kind()), "text": error.to_string()});
            out.document(&json!({"status": "down", "error": why}))?;
            out.say(format!("down: {}", escaped(&error.to_string())))?;
            Ok(Exit::No)
        }
    }
}

fn detailed(target: &Target, out: Out) -> Outcome {
    let health = target.cache.detailed_health_check();
    out.document(&health)?;
    let mut rows = Vec::new();
    walk(&health, "", 0, &mut rows);
    out.table(&["PART", "STATUS", "LATENCY", "VERSION", "MEMORY", "UPTIME", "ERROR"], rows)?;
    let warnings = health.all_warnings();
    if !warnings.is_empty() {
        out.say("")?;
        let tone = |degrades| if degrades { Tone::Bad } else { Tone::Doubtful };
        let rows = warnings.into_iter().map(|(parts, warning)| {
            let code = Cell::toned(warning.code, tone(warning.degrades));
            vec![code, parts.join("/").into(), (&warning.text).into()]
        });
        out.table(&["WARNING", "PART", "WHAT IT MEANS"], rows.collect())?;
    }
    Ok(if health.is_up() { Exit::Done } else { Exit::No })
}

fn walk(health: &backend::Health, part: &str, depth: usize, rows: &mut Vec<Vec<Cell>>) {
    let status = match health.status() {
        HealthStatus::Up => Cell::toned("up", Tone::Good),
        HealthStatus::Degraded => Cell::toned("degraded", Tone::Doubtful),
        HealthStatus::Down => Cell::toned("down", Tone::Bad),
    };
    let label = if part.is_empty() { health.name } else { part };
    let server = health.server.as_deref();
    let memory = server.and_then(|server| {
        let used = size(server.used_memory?);
        let most = server.max_memory.filter(|most| *most > 0).map(size);
        Some(most.map_or(used.clone(), |most| format!("{used} of {most}")))
    });
    rows.push(vec![
        format!("{}{label}", "  ".repeat(depth)).into(),
        status,
        health.latency.map(measured).unwrap_or_default().into(),
        server.and_then(|server| server.version.clone()).unwrap_or_default().into(),
        memory.unwrap_or_default().into(),
        server.and_then(|server| server.uptime).map(lasting).unwrap_or_default().into(),
        health.error.as_ref().map(ToString::to_string).unwrap_or_default().into(),
    ]);
    for (part, child) in &health.children {
        walk(child, part, depth + 1, rows);
    }
}
