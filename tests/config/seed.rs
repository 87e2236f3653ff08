//! Files and settings of the Python library this one is named after.

use yokedcache::config::Config;

use crate::support::RedisServer;
use crate::{Written, variables};

/// As its documents have it.
const YAML: &str = r#"# config.yaml
cache:
  development:
    backend: memory
    memory:
      max_size: 1000
      key_prefix: "dev"
  
  production:
    backend: redis
    redis:
      url: "redis://prod-redis:6379/0"
      pool_size: 50
      key_prefix: "prod"
  
  testing:
    backend: memory
    memory:
      max_size: 100
      key_prefix: "test"
"#;

#[test]
fn its_yaml_makes_caches_in_memory() {
    let file = Written::new("config.yaml", YAML);
    for (environment, most) in [("development", 1000), ("testing", 100)] {
        let cache = file.open(environment).unwrap();
        (0..2000).for_each(|key| assert!(cache.set(format!("{key}"), &1).unwrap()));
        assert_eq!(cache.stats().backend.entries, Some(most));
    }
    let dev = file.load("development").unwrap();
    assert!(dev.to_yaml().contains("key_prefix: dev"), "{}", dev.to_yaml());
}

#[test]
fn its_yaml_makes_a_cache_at_the_server_that_a_variable_names() {
    let server = RedisServer::start(&[]);
    let file = Written::new("config.yaml", YAML);
    for name in ["YOKEDCACHE_URL", "YOKEDCACHE_REDIS_URL"] {
        server.command(&["FLUSHALL"]);
        let cache = file.load_with("production", &[(name, server.url())]).unwrap().open().unwrap();
        assert!(cache.set("k", &1).unwrap());
        assert_eq!(server.command(&["GET", "prod:k"]).as_str(), "1", "{name}");
        assert_eq!(cache.get("k").unwrap(), Some(1));
    }
}

#[test]
fn a_server_in_the_environment_alone_is_used_and_memory_without_one() {
    let server = RedisServer::start(&[]);
    let said =
        variables(&[("YOKEDCACHE_REDIS_URL", server.url()), ("YOKEDCACHE_KEY_PREFIX", "app")]);
    let cache = Config::from_variables(said).unwrap().open().unwrap();
    assert!(cache.set("k", &1).unwrap());
    assert_eq!(server.command(&["GET", "app:k"]).as_str(), "1");

    let said = variables(&[("YOKEDCACHE_MEMORY_MAX_SIZE", "3"), ("PATH", "/bin")]);
    let cache = Config::from_variables(said).unwrap().open().unwrap();
    (0..9).for_each(|key| assert!(cache.set(format!("{key}"), &1).unwrap()));
    assert_eq!(cache.stats().backend.entries, Some(3));
}
