//! Which of several sources counts, and what variables do.

use std::env;
use std::process::Command;
use std::time::Duration;

use yokedcache::config::Config;
use yokedcache::{Cache, ErrorKind, Ttl};

use crate::support::{MemcachedServer, RedisServer};
use crate::{Written, variables};

const FILE: &str = "\
cache:
  development:
    memory: {max_size: 3}
    key_prefix: dev
    default_ttl: 1h
  production:
    key_prefix: file
    default_ttl: 1h
    redis:
      url: redis://user:in-the-file@nowhere.invalid:6379/2?client_name=file
      pool_size: 7
  tiers:
    tiered:
      far: {url: \"redis://nowhere.invalid\"}
";

fn from(said: &[(&str, &str)]) -> Config {
    Config::from_variables(variables(said)).unwrap()
}

fn load(environment: &str, said: &[(&str, &str)]) -> Config {
    Written::new("cache.yaml", FILE).load_with(environment, said).unwrap()
}

fn refused(environment: &str, said: &[(&str, &str)]) -> String {
    Written::new("cache.yaml", FILE).error(environment, said)
}

/// A part of the settings, as they are printed.
fn printed(config: &Config, pointer: &str) -> String {
    let json: serde_json::Value = serde_json::to_value(config).unwrap();
    json.pointer(pointer).map_or_else(
        || "-".to_owned(),
        |value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        },
    )
}

fn minutes(cache: &Cache) -> u64 {
    cache.set("k", &1).unwrap();
    match cache.ttl("k").unwrap() {
        Some(Ttl::After(left)) => left.as_secs().div_ceil(60),
        _ => 0,
    }
}

#[test]
fn code_counts_more_than_variables_they_more_than_the_file_and_it_more_than_defaults() {
    let said = [("YOKEDCACHE_DEFAULT_TTL", "30m")];
    assert_eq!(minutes(&Cache::memory(1)), 0);
    assert_eq!(minutes(&load("development", &[]).open().unwrap()), 60);
    assert_eq!(minutes(&load("development", &said).open().unwrap()), 30);
    let by_code =
        load("development", &said).builder().unwrap().default_ttl(Duration::from_secs(600));
    assert_eq!(minutes(&by_code.build().unwrap()), 10);
}

#[test]
fn an_address_of_the_same_backend_replaces_where_it_is_and_what_it_says_itself() {
    let server = RedisServer::start(&[]);
    for name in ["YOKEDCACHE_URL", "YOKEDCACHE_REDIS_URL"] {
        let config = load("production", &[(name, "redis://h:1")]);
        assert_eq!(printed(&config, "/redis/url"), "redis://h:1");
        assert_eq!(printed(&config, "/redis/pool_size"), "7");
        assert_eq!(printed(&config, "/redis/client_name"), "file");
        assert_eq!(printed(&config, "/key_prefix"), "file");

        let url = format!("{}?client_name=variable&key_prefix=url", server.url());
        let cache = load("production", &[(name, &url)]).open().unwrap();
        cache.set("k", &1).unwrap();
        assert_eq!(server.command(&["EXISTS", "url:k"]).int(), 1);
        let clients = server.command(&["CLIENT", "LIST"]);
        assert!(clients.as_str().contains("name=variable"), "{}", clients.as_str());
    }
}

#[test]
fn the_login_and_database_of_a_file_do_not_go_to_an_address_that_has_its_own() {
    let text = "cache:\n  e:\n    redis: {host: h, username: ann, password: hunter2, db: 4}\n";
    let file = Written::new("cache.yaml", text);
    let of = |url: &str| {
        let config = file.load_with("e", &[("YOKEDCACHE_URL", url)]).unwrap();
        ["username", "password", "db", "host"]
            .map(|field| printed(&config, &format!("/redis/{field}")))
    };
    assert_eq!(of("redis://other"), ["ann", "***", "4", "-"]);
    assert_eq!(of("redis://other/5"), ["ann", "***", "-", "-"]);
    assert_eq!(of("redis://u:p@other"), ["-", "-", "4", "-"]);
    assert_eq!(of("redis://u:p@other/5?plain=true"), ["-", "-", "-", "-"]);
}

#[test]
fn an_address_of_another_backend_replaces_the_backend() {
    let config = load("production", &[("YOKEDCACHE_URL", "memory://?max_size=3")]);
    assert_eq!(printed(&config, "/backend"), "memory");
    assert_eq!(printed(&config, "/memory/max_size"), "3");
    assert_eq!(printed(&config, "/redis"), "-");
    assert_eq!(printed(&config, "/key_prefix"), "file", "the cache's own settings stay");
    assert_eq!(minutes(&config.open().unwrap()), 60);

    let said = [("YOKEDCACHE_BACKEND", "memcached"), ("YOKEDCACHE_MEMCACHED_URL", "memcached://h")];
    assert_eq!(printed(&load("development", &said), "/memcached/url"), "memcached://h");
    let what = "YOKEDCACHE_BACKEND: is memory, and the address in YOKEDCACHE_URL is of redis";
    let said = [("YOKEDCACHE_BACKEND", "memory"), ("YOKEDCACHE_URL", "redis://h")];
    assert_eq!(refused("development", &said), what);
}

#[test]
fn variables_do_not_reach_into_a_backend_around_others() {
    let what = "YOKEDCACHE_URL: the file's backend is tiered, around others: write ${...} where the \
                address stands in it";
    assert_eq!(refused("tiers", &[("YOKEDCACHE_URL", "redis://h")]), what);
    let what = "YOKEDCACHE_REDIS_URL: the redis of the file is within its backend tiered: write ${...} \
                where the setting stands in it";
    assert_eq!(refused("tiers", &[("YOKEDCACHE_REDIS_URL", "redis://h")]), what);
    let near = FILE.replace("tiered:\n", "tiered:\n      near: {max_size: 5}\n");
    let error =
        Written::new("cache.yaml", near).error("tiers", &[("YOKEDCACHE_MEMORY_MAX_SIZE", "6")]);
    assert!(
        error.starts_with("YOKEDCACHE_MEMORY_MAX_SIZE: the memory of the file is within"),
        "{error}"
    );
    let said = [("YOKEDCACHE_TIERED_BOUND", "2s"), ("YOKEDCACHE_MEMCACHED_URL", "memcached://h")];
    assert_eq!(printed(&load("tiers", &said), "/tiered/bound"), "2s");
}

#[test]
fn variables_of_a_backend_that_is_not_in_use_have_no_effect() {
    let said =
        [("YOKEDCACHE_REDIS_POOL_SIZE", "99"), ("YOKEDCACHE_MEMCACHED_URL", "memcached://h")];
    assert_eq!(load("development", &said), load("development", &[]));
    assert_eq!(printed(&load("production", &said), "/redis/pool_size"), "99");
}

#[test]
fn a_variable_may_have_another_name_of_a_setting() {
    let said = [("YOKEDCACHE_REDIS_CONNECTION_POOL_SIZE", "9")];
    assert_eq!(printed(&load("production", &said), "/redis/pool_size"), "9");
    let said = [("YOKEDCACHE_REDIS_KEY_PREFIX", "own"), ("YOKEDCACHE_REDIS_DEFAULT_TTL", "5")];
    let config = load("production", &said);
    assert_eq!(
        (&*printed(&config, "/key_prefix"), &*printed(&config, "/default_ttl")),
        ("own", "5s")
    );
    let said = [("YOKEDCACHE_REDIS_KEY_PREFIX", "own"), ("YOKEDCACHE_KEY_PREFIX", "other")];
    let what =
        "YOKEDCACHE_REDIS_KEY_PREFIX: redis.key_prefix: differs from the key_prefix beside redis";
    assert_eq!(refused("production", &said), what);
    let said = [("YOKEDCACHE_URL", "redis://a"), ("YOKEDCACHE_REDIS_URL", "redis://b")];
    let what = "YOKEDCACHE_REDIS_URL: names the server, and YOKEDCACHE_URL does, too";
    assert_eq!(refused("production", &said), what);
}

#[test]
fn without_a_file_the_variables_choose_the_backend() {
    let memcached = MemcachedServer::start(&[]);
    assert_eq!(printed(&from(&[]), "/backend"), "memory");
    let cache = from(&[("YOKEDCACHE_MEMCACHED_URL", memcached.url())]).open().unwrap();
    assert!(cache.set("k", &1).unwrap());
    assert_eq!(memcached.keys(), ["yokedcache:k"]);
    let said = [("YOKEDCACHE_REDIS_HOST", "h"), ("YOKEDCACHE_REDIS_PORT", "7")];
    assert_eq!(printed(&from(&said), "/redis/port"), "7");
    assert_eq!(printed(&from(&[("YOKEDCACHE_REDIS_PORT", "7")]), "/backend"), "memory");
    let said = [("YOKEDCACHE_REDIS_HOST", "h"), ("YOKEDCACHE_MEMCACHED_URL", "memcached://h")];
    let error = Config::from_variables(variables(&said)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "servers of several backends: YOKEDCACHE_BACKEND says which it is"
    );
    let chosen = from(&[said[0], said[1], ("YOKEDCACHE_BACKEND", "redis")]);
    assert_eq!(printed(&chosen, "/redis/host"), "h");
}

#[test]
fn numbers_and_switches_of_variables_are_text() {
    let config = from(&[
        ("YOKEDCACHE_STRICT", "1"),
        ("YOKEDCACHE_SKIP_NEGATIVE", "Off"),
        ("YOKEDCACHE_REFRESH_AT", "0.5"),
        ("YOKEDCACHE_LOADER_QUEUE", "12"),
        ("YOKEDCACHE_COMPRESSION", "lz4"),
        ("YOKEDCACHE_COMPRESSION_ABOVE", "64KiB"),
        ("YOKEDCACHE_KEY_PREFIX", "12"),
        ("YOKEDCACHE_SLIDING", "1.5"),
    ]);
    for (pointer, value) in [
        ("/strict", "true"),
        ("/skip_negative", "false"),
        ("/refresh_at", "0.5"),
        ("/loader_queue", "12"),
        ("/compression_above", "64KiB"),
        ("/key_prefix", "12"),
        ("/sliding", "1s500ms"),
    ] {
        assert_eq!(printed(&config, pointer), value, "{pointer}");
    }
    config.open().unwrap();
}

#[test]
fn a_file_and_an_environment_may_be_named_by_variables() {
    let directory = crate::support::Process::new_dir();
    let path = directory.join("cache.yaml");
    std::fs::write(&path, FILE).unwrap();
    let path = path.to_str().unwrap();
    let said =
        [("YOKEDCACHE_CONFIG", path), ("YOKEDCACHE_ENV", "development"), ("YOKEDCACHE_SEED", "1")];
    let config = from(&said);
    assert_eq!((&*printed(&config, "/key_prefix"), &*printed(&config, "/seed")), ("dev", "1"));
    // The variables that choose are not in the way of a file that code names.
    assert_eq!(printed(&load("production", &said), "/key_prefix"), "file");
    std::fs::remove_dir_all(directory).unwrap();
}

/// Says in which part the test below is run.
const CHILD: &str = "CONFIGURED_CHILD";

#[test]
fn the_environment_of_the_process_is_read() {
    if env::var_os(CHILD).is_some() {
        assert_eq!(minutes(&Cache::from_env().unwrap()), 7);
        let file = Written::new("cache.yaml", FILE);
        let path = file.path().to_str().unwrap();
        assert_eq!(minutes(&Cache::from_config(path, "development").unwrap()), 7);
        return;
    }
    let myself = |value: &str| {
        let name = "layers::the_environment_of_the_process_is_read";
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", name]).env(CHILD, "1").env("YOKEDCACHE_DEFAULT_TTL", value);
        command.output().unwrap().status.success()
    };
    assert!(myself("7m"));
    assert!(!myself("8m"));
    assert!(!myself("x"));
}

#[test]
#[cfg(unix)]
fn a_variable_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStrExt;

    if env::var_os(CHILD).is_some() {
        let error = Cache::from_env().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert_eq!(error.to_string(), "YOKEDCACHE_REDIS_PASSWORD: is not UTF-8");
        return;
    }
    let latin = std::ffi::OsStr::from_bytes(b"caf\xe9");
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "layers::a_variable_that_is_no_text_is_refused"]);
    command.env(CHILD, "1").env("OTHER", latin).env("YOKEDCACHE_REDIS_PASSWORD", latin);
    assert!(command.output().unwrap().status.success());
}
