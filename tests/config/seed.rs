//! Files and settings of the Python library this one is named after.

use yokedcache::config::Config;

use crate::support::RedisServer;
use crate::{Written, config_of, refusal_of, variables};

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

#[test]
fn the_arguments_of_its_backends_are_settings() {
    for (section, printed) in [
        (
            "memory: {max_size: 50000, key_prefix: prod, default_ttl: 3600, cleanup_interval: 300}",
            r#"{"backend":"memory","key_prefix":"prod","default_ttl":"1h","memory":{"max_size":50000,"cleanup_interval":"5m"}}"#,
        ),
        (
            "redis: {redis_url: \"redis://localhost:6379/0\", key_prefix: myapp, connection_pool_size: 20}",
            r#"{"backend":"redis","key_prefix":"myapp","redis":{"url":"redis://localhost:6379/0","pool_size":20}}"#,
        ),
        (
            "redis: {redis_url: \"rediss://username:password@redis.example.com:6380/0\", ssl_cert_reqs: \
             required, ssl_ca_certs: /path/to/ca-certificates.crt}",
            r#"{"backend":"redis","redis":{"url":"rediss://username:***@redis.example.com:6380/0","ssl_ca_certs":"/path/to/ca-certificates.crt","ssl_cert_reqs":"required"}}"#,
        ),
        (
            "redis: {host: localhost, port: 6379, db: 0, password: secret, socket_timeout: 5.0, \
             socket_connect_timeout: 5.0, retry_on_timeout: true, health_check_interval: 30}",
            r#"{"backend":"redis","redis":{"host":"localhost","port":6379,"password":"***","db":0,"socket_timeout":"5s","socket_connect_timeout":"5s","retry_on_timeout":true,"health_check_interval":"30s"}}"#,
        ),
        (
            "memcached: {servers: [[\"cache1.example.com:11211\", 3], [\"cache2.example.com:11211\", 1]], \
             binary: true, behaviors: {tcp_nodelay: true, ketama: true, ketama_weighted: false}}",
            r#"{"backend":"memcached","memcached":{"servers":[["cache1.example.com:11211",3],"cache2.example.com:11211"],"ketama":true,"ketama_weighted":false,"binary":true,"tcp_nodelay":true}}"#,
        ),
    ] {
        let config = config_of(section);
        let printed: serde_json::Value = serde_json::from_str(printed).unwrap();
        assert_eq!(serde_json::to_value(&config).unwrap(), printed);
        let is_tls = section.contains("ssl_ca_certs");
        assert_eq!(config.open().is_ok(), !is_tls, "there are no such certificates here");
    }
}

/// Those of its settings that are not ours, too.
const OTHERS: &[&str] = &[
    "redis_url",
    "max_connections",
    "connection_timeout",
    "connection_pool_kwargs",
    "default_serialization",
    "ttl_jitter_percent",
    "allow_legacy_insecure_deserialization",
    "fallback_enabled",
    "connection_retries",
    "retry_delay",
    "enable_circuit_breaker",
    "circuit_breaker_failure_threshold",
    "circuit_breaker_timeout",
    "memory_max_size",
    "memory_cleanup_interval",
    "enable_fuzzy",
    "fuzzy_threshold",
    "enable_compression",
    "compression_threshold",
    "log_level",
    "enable_metrics",
    "prometheus_port",
    "statsd_host",
    "statsd_port",
    "tables",
    "query_specific_ttls",
    "serialization_method",
    "ttl",
    "tags",
];

#[test]
fn for_other_settings_of_it_the_error_says_where_ours_is_or_that_there_is_none() {
    for name in OTHERS {
        let told = refusal_of(&format!("backend: memory\n{name}: 1"));
        let said = told.strip_prefix(&format!("e.{name}: no such field; ")).unwrap_or(&told);
        assert!(
            ["it is ", "there is none", "its settings", "a breaker", "name "]
                .iter()
                .any(|beginning| said.starts_with(beginning)),
            "{told}"
        );
        let variable = format!("YOKEDCACHE_{}", name.to_uppercase());
        // Some of its names are those of variables of ours.
        if !["redis_url", "memory_max_size", "memory_cleanup_interval"].contains(name) {
            let error = Config::from_variables(variables(&[(&variable, "1")])).unwrap_err();
            let what = format!("{variable}: no such variable; {said}");
            assert_eq!(error.to_string(), what);
        }
    }
}

#[test]
fn a_file_without_environments_is_told_how_they_are_written() {
    let what =
        "cache.yaml:1: default_ttl: settings stand under cache and the name of an environment";
    assert_eq!(Written::new("cache.yaml", "default_ttl: 300\n").error("e", &[]), what);
}
