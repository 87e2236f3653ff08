//! One configuration in three formats, and the traps of each.

use std::thread;
use std::time::Instant;

use crate::Written;

const YAML: &str = "\
cache:
  production:
    key_prefix: shop
    default_ttl: 90
    strict: yes
    refresh_at: 0.5
    route:
      default: {url: \"memory://?max_size=5\"}
      routes:
        user:
          backend: memory
          memory: {max_bytes: 1MiB}
        pages: {memcached: {servers: [a, [\"b:1\", 3]]}}
";

const TOML: &str = "\
[cache.production]
key_prefix = 'shop'
default_ttl = 90
strict = true
refresh_at = 0.5
[cache.production.route]
default.url = 'memory://?max_size=5'
[cache.production.route.routes]
pages.memcached.servers = ['a', ['b:1', 3]]
user = { backend = 'memory', memory = { max_bytes = '1MiB' } }
";

const JSON: &str = r#"{"cache": {"production": {
	"key_prefix": "\u0073hop", "default_ttl": 90, "strict": true, "refresh_at": 0.5,
	"route": {
		"default": {"url": "memory:\/\/?max_size=5"},
		"routes": {
			"user": {"backend": "memory", "memory": {"max_bytes": 1048576}},
			"pages": {"memcached": {"servers": ["a", ["b:1", 3]]}}
		}
	}
}}}"#;

#[test]
fn the_three_formats_say_the_same() {
    let yaml = Written::new("cache.yaml", YAML).load("production").unwrap();
    for (name, text) in [("cache.yml", YAML), ("cache.toml", TOML), ("CACHE.JSON", JSON)] {
        assert_eq!(Written::new(name, text).load("production").unwrap(), yaml, "{name}");
    }
    let other = YAML.replace("0.5", "0.6");
    assert_ne!(Written::new("cache.yaml", other).load("production").unwrap(), yaml);
}

#[test]
fn only_the_environment_that_is_asked_for_is_read() {
    let text = "cache:\n  a: {memory: }\n  b: {nonsense: \"${NOT_SET}\"}\nx-more: 5\n";
    Written::new("cache.yaml", text).load("a").unwrap();
}

#[test]
fn aliases_and_merge_keys_stand_for_what_they_name() {
    let text = "\
x-base: &base
  key_prefix: &name shop
  memory: &memory {max_size: 5}
cache:
  plain: {key_prefix: shop, memory: {max_size: 5}}
  merged: {<<: *base}
  changed: {<<: *base, key_prefix: other}
  named: {key_prefix: *name, memory: *memory}
  bad:
    <<: *base
    default_ttl: 0
";
    let file = Written::new("cache.yaml", text);
    let plain = file.load("plain").unwrap();
    assert_eq!(file.load("merged").unwrap(), plain);
    assert_eq!(file.load("named").unwrap(), plain);
    let changed = file.load("changed").unwrap();
    assert!(changed.to_json().contains("other") && changed.to_json().contains("\"max_size\": 5"));
    assert!(file.error("bad", &[]).starts_with("cache.yaml:11: bad.default_ttl: expected a time"));
}

#[test]
fn words_for_switches_are_text_elsewhere() {
    for word in ["yes", "no", "on", "off"] {
        let text = format!("cache:\n  e: {{memory: , key_prefix: {word}, strict: {word}}}\n");
        let config = Written::new("cache.yaml", text).load("e").unwrap();
        let prefix = format!("\"key_prefix\": \"{word}\"");
        assert!(config.to_json().contains(&prefix), "{}", config.to_json());
        let strict = format!("\"strict\": {}", word == "yes" || word == "on");
        assert!(config.to_json().contains(&strict), "{}", config.to_json());
    }
    for number in ["1_000", "0755", "12e03x"] {
        let text = format!("cache:\n  e: {{memory: , key_prefix: {number}}}\n");
        let config = Written::new("cache.yaml", text).load("e").unwrap();
        assert!(config.to_json().contains(&format!("\"{number}\"")), "{}", config.to_json());
    }
}

#[test]
fn nothing_is_as_if_it_was_not_there() {
    let text =
        "cache:\n  a: {memory: }\n  b: {memory: {max_size: ~}, key_prefix: null, default_ttl: }\n";
    let file = Written::new("cache.yaml", text);
    assert_eq!(file.load("a").unwrap(), file.load("b").unwrap());
}

#[test]
fn variables_stand_in_any_text() {
    let text = "\
cache:
  e:
    key_prefix: ${NAME}-${STAGE:-dev}
    default_ttl: ${TTL}
    strict: ${STRICT:-no}
    redis:
      url: redis://:${PASSWORD}@${HOST}/3
      pool_size: ${POOL:-12}
      client_name: a$${b}$c
";
    let file = Written::new("cache.yaml", text);
    let said =
        [("NAME", "shop"), ("TTL", "90"), ("PASSWORD", "hunter2"), ("HOST", "h"), ("POOL", "")];
    let config = file.load_with("e", &said).unwrap();
    let plain = "\
cache:
  e:
    key_prefix: shop-dev
    default_ttl: 90
    strict: false
    redis: {url: \"redis://:hunter2@h/3\", pool_size: 12, client_name: \"a${b}$c\"}
";
    let plain = Written::new("plain.toml.yaml", plain.replace("a${b}", "a$${b}"));
    assert_eq!(config, plain.load("e").unwrap());
    assert!(!config.to_yaml().contains("hunter2"));

    let error = file.error("e", &said[..2]);
    assert_eq!(error, "cache.yaml:7: e.redis.url: the variable PASSWORD is not set");
    let said = [&said[..4], &[("POOL", "hunter2")]].concat();
    let what =
        "cache.yaml:8: e.redis.pool_size: expected a whole number from 0 to 4294967295, found text";
    assert_eq!(file.error("e", &said), what);
    let quoted = Written::new("cache.yaml", "cache:\n  e:\n    memory: {max_size: \"12\"}\n");
    let what = "cache.yaml:3: e.memory.max_size: expected a whole number, 0 or more, found text";
    assert_eq!(quoted.error("e", &[]), what);
}

/// Reads a file on a thread with half the stack that threads have.
fn reads(name: &str, text: String) -> bool {
    let (file, small) = (Written::new(name, text), thread::Builder::new().stack_size(1 << 20));
    small.spawn(move || file.load("e").is_ok()).unwrap().join().unwrap()
}

#[test]
fn deep_nesting_and_aliases_of_aliases_are_refused_at_once() {
    let begun = Instant::now();
    let mut bomb = "x-0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..40 {
        let inner = format!("*a{}, ", level - 1).repeat(9);
        bomb += &format!("x-{level}: &a{level} [{inner}]\n");
    }
    let far = |depth: usize| "{tiered: {far: ".repeat(depth) + "{memory: }" + &"}}".repeat(depth);
    for (name, text) in [
        ("cache.yaml", bomb + "cache: {e: {memory: }}\n"),
        ("cache.yaml", format!("cache:\n  e: {}\n", far(500))),
        ("cache.yaml", "[".repeat(100_000)),
        ("cache.yaml", "- ".repeat(10_000)),
        ("cache.json", "{\"a\":".repeat(100_000)),
        ("cache.toml", format!("cache.e.a = {}1{}\n", "[".repeat(5000), "]".repeat(5000))),
        ("cache.toml", format!("cache.e.a = {}", "[".repeat(100_000))),
        ("cache.toml", format!("[cache.e{}]\n", ".a".repeat(500))),
        ("cache.toml", format!("cache.e{} = 1\n", ".a".repeat(500))),
    ] {
        assert!(!reads(name, text), "{name}");
    }
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    assert!(reads("cache.yaml", format!("cache:\n  e: {}\n", far(7))));
    let tables = format!("[cache.e{}.memory]\nmax_size = 1\n", ".tiered.far".repeat(7));
    assert!(reads("cache.toml", tables));
}
