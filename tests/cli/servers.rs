//! ping, health, stats, bench.

use std::io::{BufRead, BufReader};

use serde_json::json;

use super::support::{
    MemcachedFleet, MemcachedServer, RedisCluster, RedisServer, in_time, wait_until,
};
use super::{at, end, interrupt, redis};

#[test]
fn a_ping_tells_how_long_it_took() {
    let (_server, url) = redis();
    let ran = at(&url).run("ping").ends(0);
    assert!(ran.out.starts_with("ok, ") && ran.out.lines().count() == 1, "{ran:?}");
    let shown = at(&url).run("--json ping").json();
    assert!(shown["ok"] == json!(true) && shown["ms"].as_f64().unwrap() > 0.0, "{shown}");
}

#[test]
fn pings_go_on_past_a_failure_and_end_with_a_summary() {
    let (server, url) = redis();
    let ran = at(&url).run("ping --count 3 --interval 10ms").ends(0);
    assert_eq!(ran.out.lines().count(), 3, "{ran:?}");
    assert!(ran.err.starts_with("3 of 3 answered; "), "{ran:?}");
    let mut child = at(&url).start(&["--json", "ping", "--count", "10000", "--interval", "20ms"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"ok\":true"));
    server.kill();
    assert!(lines.any(|line| line.unwrap().contains("\"ok\":false")));
    interrupt(&child);
    end(child).ends(1);
}

#[test]
fn health_is_a_yes_or_a_no() {
    let (server, url) = redis();
    let ran = at(&url).run("health").ends(0);
    assert!(ran.out.starts_with("up, "), "{ran:?}");
    assert_eq!(at(&url).run("--json health").json()["status"], json!("up"));
    let tree = at(&url).run("--json health --detailed").json();
    assert_eq!(tree["children"][0]["part"], json!(server.addr()), "{tree}");
    let table = at(&url).run("health --detailed").ends(0).out;
    assert!(table.lines().nth(2).unwrap().contains(&server.addr()), "{table}");
    server.kill();
    let ran = at(&url).run("health").ends(1);
    assert!(ran.out.starts_with("down: ") && ran.err.is_empty(), "{ran:?}");
    assert_eq!(at(&url).run("--json health").ends(1).json()["status"], json!("down"));
    assert_eq!(at(&url).run("--json health --detailed").ends(1).json()["status"], json!("down"));
}

#[test]
fn stats_are_those_of_the_server() {
    let (server, url) = redis();
    at(&url).run("set k 1").ends(0);
    let shown = at(&url).run("--json stats").ends(0).json();
    let one = &shown["servers"][0];
    assert_eq!((&one["server"], &one["system"]), (&json!(server.addr()), &json!("redis")));
    let names: Vec<&String> = one["numbers"].as_object().unwrap().keys().collect();
    let known = [
        "clients",
        "commands",
        "entries",
        "eviction_policy",
        "evicted",
        "expired",
        "hits",
        "max_memory_bytes",
        "memory_bytes",
        "misses",
        "uptime_seconds",
        "version",
    ];
    assert!(known.iter().all(|name| names.iter().any(|other| other == name)), "{names:?}");
    assert_eq!((names.len(), &one["numbers"]["entries"]), (known.len(), &json!(1)));
    let ran = at(&url).run("stats").ends(0);
    let first: Vec<&str> = ran.out.lines().map(|line| line.split("  ").next().unwrap()).collect();
    let facts = [
        "server", "uptime", "entries", "memory", "hit rate", "evicted", "expired", "clients",
        "commands", "eviction",
    ];
    assert_eq!(first, facts);
    assert!(ran.err.contains("over all their clients"), "{ran:?}");
}

#[test]
fn every_server_of_a_fleet_or_a_cluster_has_a_row() {
    let fleet = MemcachedFleet::start(3);
    let table = at(&fleet.url(&[])).run("stats").ends(0).out;
    assert!(table.starts_with("SERVER ") && table.lines().count() == 4, "{table}");
    let cluster = RedisCluster::start();
    let table = at(&cluster.url()).run("stats").ends(0).out;
    assert_eq!(table.lines().count(), 4, "{table}");
}

#[test]
fn stats_are_there_for_prometheus() {
    let server = MemcachedServer::start(&[]);
    let text = at(server.url()).run("stats --prometheus").ends(0).out;
    let label = format!("{{server=\"{}\",system=\"memcached\"}}", server.addr());
    assert!(text.contains(&format!("\nyokedcache_server_entries{label} 0\n")), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split('{').next().unwrap();
        assert!(text.contains(&format!("# TYPE {name} ")), "{line}");
        assert!(line.rsplit(' ').next().unwrap().parse::<u64>().is_ok(), "{line}");
    }
}

#[test]
fn watching_goes_on_until_ctrl_c() {
    let (_server, url) = redis();
    let mut child = at(&url).start(&["--json", "stats", "--watch", "--interval", "50ms"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["commands_per_second"], json!(null));
    let second: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert!(second["commands_per_second"].as_f64().unwrap() > 0.0, "{second}");
    interrupt(&child);
    end(child).ends(0);
}

#[test]
fn watching_goes_on_while_a_server_is_away() {
    let server = RedisServer::start(&[]);
    let url = format!("{}?key_prefix=shop", server.url());
    let mut child = at(&url).start(&["--json", "stats", "--watch", "--interval", "20ms"]);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap());
    let mut next = |what: &str| lines.find(|line: &serde_json::Value| !line[what].is_null());
    next("entries").unwrap();
    server.kill();
    assert_eq!(next("error").unwrap()["error"]["kind"], json!("Unavailable"));
    server.start_again();
    assert!(next("entries").unwrap()["commands_per_second"].is_null(), "it counts anew");
    assert!(next("commands_per_second").is_some());
    interrupt(&child);
    end(child).ends(0);
    // One that never answered is not waited for.
    server.kill();
    at(&url).run("--quiet stats --watch").ends(3).complains("refused");
}

#[test]
fn a_measurement_leaves_nothing_behind() {
    let server = RedisServer::start(&[]);
    let url = format!("{}?key_prefix=shop", server.url());
    let line = "--json bench --threads 2 --keys 50 --value-size 10 --ratio 0.5 --duration";
    let shown = in_time(|| {
        let shown = at(&url).run(&format!("{line} 300ms")).ends(0).json();
        let some = |call: &str| shown[call]["count"].as_u64().is_some_and(|count| count > 0);
        (some("get") && some("set")).then_some(shown)
    });
    assert_eq!(shown["errors"], json!(0));
    assert_eq!(server.command(&["DBSIZE"]), super::support::Reply::Int(0));
    let ran = in_time(|| {
        let ran = at(&url).run("bench --duration 200ms --keys 10 --ratio 1").ends(0);
        ran.out.contains("\nget ").then_some(ran)
    });
    assert!(ran.out.starts_with("CALL "), "{ran:?}");
    assert!(!ran.out.contains("\nset "), "{ran:?}");
    at(&url).run("bench --ratio 2").ends(2).complains("--ratio");
    let child = at(&url).start(&["bench", "--duration", "60s", "--keys", "5"]);
    wait_until("it is at work", || server.command(&["DBSIZE"]).int() > 0);
    interrupt(&child);
    end(child).ends(0);
    assert_eq!(server.command(&["DBSIZE"]), super::support::Reply::Int(0));
}
