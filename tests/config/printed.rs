//! What is printed of a configuration: all that is set, no password, and a file that says the same.

use yokedcache::config::Config;
use yokedcache::{Cache, ErrorKind};

use crate::{Written, config_of, variables};

const FULL: &str = "\
key_prefix: shop
default_ttl: never
negative_ttl: 1d2h3m4s5ms
ttl_jitter: 1.5
strict: true
refresh_at: 0.25
seed: 18446744073709551615
codec: msgpack
compression: zstd
compression_above: 1500
fallback:
  primary:
    tiered:
      near: {max_size: 5, max_bytes: 1.5MiB}
      far:
        redis: {url: \"redis://ann:hunter2@h:1/2?pool_size=3\", password: hunter2, sentinel_password: hunter2}
      bound: 250ms
  secondary:
    route:
      default: {url: \"memcached://ann:hunter2@a,b;weight=3\"}
      routes: {x: {memcached: {servers: [a, [b, 2]], username: ann, password: hunter2, protocol: meta}}}
      delimiter: /
  secondary_ttl: never
";

#[test]
fn what_is_printed_is_read_back_as_the_same() {
    let config = config_of(FULL);
    for (name, text) in [("cache.yaml", config.to_yaml()), ("cache.json", config.to_json())] {
        assert!(!text.contains("hunter2"), "{text}");
        let again = Written::new(name, &text).load("e").unwrap();
        assert_eq!((again.to_yaml(), again.to_json()), (config.to_yaml(), config.to_json()));
        assert_ne!(again, config, "the passwords are gone");
        // With the passwords put in again it is the same.
        let text = text.replace("***", "hunter2");
        assert_eq!(Written::new(name, text).load("e").unwrap(), config);
    }
    let part: Config = serde_json::from_value(serde_json::to_value(&config).unwrap()).unwrap();
    assert_eq!(serde_json::to_value(&part).unwrap(), serde_json::to_value(&config).unwrap());
}

#[test]
fn dollars_that_are_no_variables_are_read_back_as_they_were() {
    for (said, is) in [
        ("$${HOME}", "${HOME}"),
        ("$$$$", "$$"),
        ("$$${X:-${}", "$${"),
        ("cost$", "cost$"),
        ("a$b", "a$b"),
    ] {
        let text = format!(
            "key_prefix: '{said}'\nroute:\n  default: {{redis: {{host: h, client_name: '{said}'}}}}"
        );
        let config = config_of(&text);
        let plain = serde_json::to_value(&config).unwrap();
        assert_eq!(plain["key_prefix"], is);
        for (name, text) in [("cache.yaml", config.to_yaml()), ("cache.json", config.to_json())] {
            assert_eq!(Written::new(name, &text).load("e").unwrap(), config, "{text}");
        }
        assert_eq!(serde_json::from_value::<Config>(plain).unwrap(), config);
    }
}

#[test]
fn a_hidden_password_is_not_taken_for_one() {
    for fields in [
        "redis: {host: h, password: hunter2}",
        "redis: {url: \"redis+sentinel://h/main\", sentinel_password: hunter2}",
        "redis: {url: \"redis://:hunter2@h\"}",
        "memcached: {servers: [a], username: ann, password: hunter2}",
        "url: memcached://ann:hunter2@a",
    ] {
        let text = config_of(fields).to_yaml();
        let error = Written::new("cache.yaml", text).error("e", &[]);
        let what = "*** stands where a password was when this was printed: put it in again";
        assert!(error.starts_with("cache.yaml:") && error.ends_with(what), "{error}");
    }
}

#[test]
fn no_password_is_in_any_output() {
    let full = config_of(FULL);
    let said =
        [("YOKEDCACHE_URL", "redis://ann:hunter2@h"), ("YOKEDCACHE_REDIS_PASSWORD", "hunter2")];
    let of_variables = Config::from_variables(variables(&said)).unwrap();
    let of_address = Config::from_url("redis+unix:///run/hunter?password=hunter2").unwrap();
    for config in [full, of_variables, of_address] {
        let builder = config.builder().map(|builder| format!("{builder:?}"));
        let cache = config.open().map(|cache| format!("{cache:?} {:?}", cache.stats()));
        let texts = [
            format!("{config:?} {config:#?}"),
            config.to_yaml(),
            config.to_json(),
            format!("{builder:?} {cache:?}"),
        ];
        for text in texts {
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}

#[test]
fn variables_are_part_of_what_is_printed_and_defaults_are_not() {
    let file = Written::new("cache.yaml", "cache:\n  e:\n    memory: {max_size: 5}\n");
    let config = file.load_with("e", &[("YOKEDCACHE_KEY_PREFIX", "shop")]).unwrap();
    let yaml =
        "cache:\n  e:\n    backend: memory\n    key_prefix: shop\n    memory:\n      max_size: 5\n";
    assert_eq!(config.to_yaml(), yaml);
    let config = Config::from_url("memory://").unwrap();
    assert_eq!(config.to_yaml(), "cache:\n  default:\n    backend: memory\n    memory: {}\n");
}

#[test]
fn a_program_may_have_it_in_its_own_configuration() {
    #[derive(serde::Deserialize)]
    struct Program {
        name: String,
        cache: Config,
    }
    let text =
        r#"{"name": "shop", "cache": {"url": "memory://?max_size=2", "key_prefix": "shop"}}"#;
    let program: Program = serde_json::from_str(text).unwrap();
    let cache: Cache = program.cache.open().unwrap();
    (0..5).for_each(|key| assert!(cache.set(format!("{}{key}", program.name), &1).unwrap()));
    assert_eq!(cache.stats().backend.entries, Some(2));

    let wrong = text.replace("max_size", "max_sise");
    let error = serde_json::from_str::<Program>(&wrong).err().unwrap().to_string();
    assert!(error.contains("memory.max_sise: no such field; did you mean max_size?"), "{error}");
    let zero = text.replace("=2", "=0");
    let error = serde_json::from_str::<Program>(&zero).unwrap().cache.open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
}
