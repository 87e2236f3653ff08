//! Servers' numbers in the text format of Prometheus.

use std::fmt::Write;

use super::{Numbers, Server};

type Metric = (&'static str, &'static str, &'static str, fn(&Numbers) -> Option<u64>);

const METRICS: [Metric; 10] = [
    ("uptime_seconds", "gauge", "Time since the server was started.", |n| {
        n.uptime.map(|time| time.as_secs())
    }),
    ("entries", "gauge", "Entries it holds.", |n| n.entries),
    ("memory_bytes", "gauge", "Memory in use.", |n| n.memory),
    ("max_memory_bytes", "gauge", "Memory it may use; 0 is no limit.", |n| n.max_memory),
    ("hits_total", "counter", "Reads that found something.", |n| n.hits),
    ("misses_total", "counter", "Reads that found nothing.", |n| n.misses),
    ("evicted_total", "counter", "Entries removed to make room.", |n| n.evicted),
    ("expired_total", "counter", "Entries whose time had come.", |n| n.expired),
    ("clients", "gauge", "Clients connected.", |n| n.clients),
    ("commands_total", "counter", "Commands it was given.", |n| n.commands),
];

pub fn text(servers: &[Server]) -> String {
    let mut out = String::new();
    let up = |server: &Server| Some(u64::from(server.numbers.is_ok()));
    family(&mut out, ("up", "gauge", "Whether the server answers."), servers, up);
    for (name, kind, help, number) in METRICS {
        let of = |server: &Server| server.numbers.as_ref().ok().and_then(number);
        family(&mut out, (name, kind, help), servers, of);
    }
    out
}

fn family(
    out: &mut String,
    (name, kind, help): (&str, &str, &str),
    servers: &[Server],
    number: impl Fn(&Server) -> Option<u64>,
) {
    let name = format!("yokedcache_server_{name}");
    let samples = servers.iter().filter_map(|server| {
        let label = escaped(&server.place);
        let number = number(server)?;
        Some(format!("{name}{{server=\"{label}\",system=\"{}\"}} {number}\n", server.system))
    });
    let samples: String = samples.collect();
    if !samples.is_empty() {
        // Writing to a string does not fail.
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}");
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
