//! Configuration files and variables.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::support::RedisServer;
use super::{PASSWORD, at, bare, redis};

fn file(server: &RedisServer, text: &str) -> PathBuf {
    let path = server.dir().join("cache.yaml");
    fs::write(&path, text).unwrap();
    path
}

fn two_environments(server: &RedisServer) -> PathBuf {
    let text = format!(
        "cache:\n  development:\n    backend: memory\n    memory: {{max_size: 10}}\n  production:\n    \
         backend: redis\n    redis: {{url: \"{}\", key_prefix: shop}}\n",
        server.url()
    );
    file(server, &text)
}

#[test]
fn a_file_names_the_cache() {
    let (server, url) = redis();
    let path = two_environments(&server);
    let path = path.to_str().unwrap();
    at(&url).run("set k [1]").ends(0);
    bare().args(&["get", "k", "--config", path, "--env", "production"]).ends(0).says("[1]\n");
    let cli = bare().var("YOKEDCACHE_CONFIG", path).var("YOKEDCACHE_ENV", "production");
    cli.run("get k").ends(0).says("[1]\n");
    bare().args(&["get", "k", "--config", path]).ends(2).complains("--env");
    bare().args(&["get", "k", "--config", path, "--env", "prod"]).ends(2).complains("production");
}

#[test]
fn a_file_is_checked_environment_by_environment() {
    let (server, _) = redis();
    let path = two_environments(&server);
    bare()
        .args(&["config", "check", path.to_str().unwrap()])
        .ends(0)
        .says("development: ok, memory\nproduction: ok, redis\n");
    let bad = "cache:\n  a:\n    backend: redis\n    redis: {url: \"redis://h\", pool_sise: 3}\n";
    let path = file(&server, bad);
    let path = path.to_str().unwrap();
    let shown = bare().args(&["--json", "config", "check", path]).ends(2).records();
    assert_eq!(
        (&shown[0]["ok"], &shown[0]["error"]["kind"]),
        (&json!(false), &json!("InvalidConfig"))
    );
    let text = bare().args(&["config", "check", path]).ends(2).out;
    assert!(text.contains(":4: ") && text.contains("did you mean pool_size?"), "{text}");
    bare().args(&["config", "check", "/nowhere.yaml"]).ends(2).complains("/nowhere.yaml");
}

#[test]
fn the_configuration_in_effect_is_shown_without_passwords() {
    let (server, url) = redis();
    let shown = at(&url).run("config show").ends(0).out;
    assert!(shown.contains("key_prefix: shop") && shown.contains("***"), "{shown}");
    let shown = at(&url).run("--json config show").ends(0).json();
    assert_eq!((&shown["backend"], &shown["key_prefix"]), (&json!("redis"), &json!("shop")));
    let path = two_environments(&server);
    let args = ["config", "show", "--config", path.to_str().unwrap(), "--env", "production"];
    assert!(bare().args(&args).ends(0).out.contains("production:"));
}

#[test]
fn servers_of_a_file_are_asked_for_their_numbers_and_their_health() {
    let (server, _) = redis();
    let path = two_environments(&server);
    let with = |line: &str| {
        let mut args: Vec<&str> = line.split(' ').collect();
        args.extend(["--config", path.to_str().unwrap(), "--env", "production"]);
        bare().args(&args)
    };
    let numbers = with("--json stats").ends(0).json();
    assert_eq!(numbers["servers"][0]["server"], json!(server.addr()));
    assert!(numbers["servers"][0]["numbers"]["memory_bytes"].as_u64().unwrap() > 0);
    with("doctor").ends(0);
    server.kill();
    let report = with("--json doctor").ends(1).json();
    let failed = |check: &&serde_json::Value| check["verdict"] == json!("fail");
    assert!(report["checks"].as_array().unwrap().iter().any(|check| failed(&check)), "{report}");
}

#[test]
fn a_file_without_the_password_gets_it_from_the_standard_input() {
    let (server, _) = redis();
    let text = format!(
        "cache:\n  production:\n    backend: redis\n    redis: {{url: \"redis://{}\"}}\n",
        server.addr()
    );
    let path = file(&server, &text);
    let args = ["ping", "--config", path.to_str().unwrap(), "--env", "production"];
    bare().args(&args).ends(4).complains("the server wants a password");
    let line = format!("{PASSWORD}\n");
    bare().fed(&[&args[..], &["--password-stdin"]].concat(), line.as_bytes()).ends(0);
}

#[test]
fn the_names_of_environments_are_found_in_files_of_every_kind() {
    let (server, _) = redis();
    for (name, text) in [
        ("cache.TOML", "\u{feff}[cache.p]\r\nbackend = \"memory\"\r\n"),
        ("cache.yml", "\u{feff}cache:\r\n  p:\r\n    backend: memory\r\n"),
    ] {
        let path = server.dir().join(name);
        fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        bare().args(&["config", "check", path]).ends(0).says("p: ok, memory\n");
    }
    let odd = file(&server, "cache:\n  p:\n    backend: memory\n    refresh_at: .nan\n");
    let ran = bare().args(&["config", "check", odd.to_str().unwrap()]).ends(2);
    assert!(ran.out.contains("p.refresh_at: "), "{ran:?}");
}

#[test]
fn an_address_that_goes_over_a_file_is_named() {
    let (server, url) = redis();
    let path = two_environments(&server);
    let args = ["doctor", "--config", path.to_str().unwrap(), "--env", "production"];
    let ran = at(&url).args(&args).ends(0);
    let named = format!("redis://***@{}?key_prefix=shop (YOKEDCACHE_URL)", server.addr());
    assert!(ran.out.contains(&named), "{ran:?}");
}

#[test]
fn the_prefix_is_what_is_said_first() {
    let (_server, url) = redis();
    at(&url).run("set k 1 --key-prefix a").ends(0);
    at(&url).run("get k").ends(1);
    at(&url).run("get k --key-prefix a").ends(0);
    let plain = url.replace("?key_prefix=shop", "");
    bare().var("YOKEDCACHE_KEY_PREFIX", "a").args(&["get", "k", "--url", &plain]).ends(0);
}
