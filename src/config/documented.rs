//! Whether the documentation has every field, its variable, and a test that there is.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::Config;
use super::fields::fields;
use super::kind::Kind;
use super::names::names;
use super::sections::CacheSettings;

const PAGE: &str = include_str!("../../docs/configuration.md");

/// A row of a table: a field, its variable, and its test.
struct Row {
    section: String,
    field: String,
    variable: Option<String>,
    test: String,
}

fn rows() -> Vec<Row> {
    let (mut rows, mut section) = (Vec::new(), String::new());
    let (_, tables) = PAGE.split_once("# All fields").unwrap();
    for line in tables.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.trim_matches('`').to_owned();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", field, _, _, variable, test, ""] = cells[..] {
            let code = |cell: &str| Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_owned());
            let Some(field) = code(field) else { continue };
            let (variable, test) = (code(variable), code(test).unwrap());
            rows.push(Row { section: section.clone(), field, variable, test });
        }
    }
    rows
}

#[test]
fn every_field_has_a_row_and_every_row_a_field() {
    let documented = rows();
    let of = |section: &str| -> Vec<String> {
        let rows = documented.iter().filter(|row| row.section == section);
        rows.map(|row| row.field.clone()).collect()
    };
    assert_eq!(of("The cache"), fields::<CacheSettings>());
    for kind in Kind::ALL {
        assert_eq!(of(kind.name()), kind.fields(), "{}", kind.name());
    }
}

#[test]
fn every_row_names_the_variable_that_is_read() {
    let read = names();
    for Row { section, field, variable, .. } in rows() {
        let name = if section == "The cache" { field } else { format!("{section}_{field}") };
        let expected = read.contains(&name).then(|| format!("YOKEDCACHE_{}", name.to_uppercase()));
        assert_eq!(variable, expected, "{name}");
    }
}

#[test]
fn every_row_names_a_test_that_there_is_and_that_sets_the_field() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["tests/config", "src/config"].map(|folder| fs::read_dir(root.join(folder)));
    let files = folders.into_iter().flat_map(Result::unwrap).map(|file| file.unwrap().path());
    let sources = files.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap());
    let sources: Vec<String> = sources.collect();
    for Row { field, test, .. } in rows() {
        let head = format!("fn {test}()");
        let with: Vec<&String> = sources.iter().filter(|text| text.contains(&head)).collect();
        assert!(!with.is_empty(), "{test} of {field}");
        assert!(
            with.iter().any(|text| text.contains(&field)) || test.contains("all_servers"),
            "{field}"
        );
    }
}

/// A value of every field, none as it is by default.
fn samples(section: &str) -> Value {
    let mut all = match section {
        "The cache" => json!({
            "key_prefix": "shop", "default_ttl": "5m", "negative_ttl": "never", "skip_negative": true,
            "ttl_jitter": "1s", "sliding": "2s", "stale_for": "3s", "retry_after": "4s", "refresh_at": 0.5,
            "refresh_by_chance": 1.5, "lease": "5s", "loader_threads": 6, "loader_queue": 7, "seed": 8,
            "timeout": "9s", "strict": true, "codec": "msgpack", "compression": "zstd",
            "compression_above": "10B",
        }),
        "memory" => json!({"max_size": 1, "max_bytes": "2KiB", "cleanup_interval": "3ms"}),
        "redis" => json!({
            "url": "redis://h", "host": "h", "port": 1, "username": "u", "password": "***",
            "sentinel_username": "v", "sentinel_password": "***", "db": 2, "client_name": "n",
            "read_from_replicas": true, "plain": true, "guard_restarts": "p",
        }),
        "memcached" => json!({
            "url": "memcached://h", "servers": ["a", ["b", 2]], "username": "u", "password": "***",
            "distribution": "modulo", "ketama": true, "ketama_weighted": true, "protocol": "binary",
            "binary": true, "eject": true, "plain": true, "split": true,
        }),
        "tiered" => json!({
            "near": {"max_size": 1}, "far": {"memory": {}}, "bound": "1s", "near_ttl": "2s", "strict": true,
        }),
        "fallback" => json!({
            "primary": {"memory": {}}, "secondary": {"memory": {"max_size": 2}}, "failure_threshold": 1,
            "reset_timeout": "2s", "secondary_ttl": "never", "journal_limit": 3, "journal_path": "j",
            "strict": true, "trial_timeout": "4s",
        }),
        _ => json!({
            "default": {"memory": {}}, "routes": {"a": {"memory": {"max_size": 1}}}, "delimiter": "/",
        }),
    };
    if matches!(section, "redis" | "memcached") {
        let common = json!({
            "pool_size": 3, "idle_timeout": "4s", "socket_timeout": "5s", "socket_connect_timeout": "6s",
            "retry_on_timeout": true, "health_check_interval": "7s", "tcp_nodelay": false,
            "socket_keepalive": false, "socket_keepalive_idle": "8s", "socket_keepalive_interval": "9s",
            "socket_keepalive_count": 10, "ssl_ca_certs": "a", "ssl_certfile": "b", "ssl_keyfile": "c",
            "ssl_check_hostname": false, "ssl_cert_reqs": "none",
        });
        all.as_object_mut().unwrap().extend(common.as_object().unwrap().clone());
    }
    all
}

#[test]
fn every_field_is_read_and_printed_as_it_was() {
    for kind in Kind::ALL {
        let (mut all, section) = (samples("The cache"), samples(kind.name()));
        let has = |name: &&&str| section.get(**name).is_some() || all.get(**name).is_some();
        let names = kind.fields().iter().chain(fields::<CacheSettings>());
        assert_eq!(names.clone().filter(has).count(), names.count(), "a sample is missing");
        all["backend"] = kind.name().into();
        all[kind.name()] = section;
        let config: Config = serde_json::from_value(all.clone()).unwrap();
        assert_eq!(serde_json::to_value(&config).unwrap(), all);
        let again: Config = serde_json::from_value(all).unwrap();
        assert_eq!(again, config);
    }
}
