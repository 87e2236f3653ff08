//! What is wrong with a file, a variable or an address is said with its place, its path, and what was
//! meant; and no password is shown.

use yokedcache::config::Config;
use yokedcache::{Cache, ErrorKind};

use crate::{Written, variables};

/// Files and what is said of them behind their names.
type Cases = &'static [(&'static str, &'static str)];

const YAML: Cases = &[
    ("", ": is empty: it begins with cache:, under which stand environments"),
    ("cache:\n", ":1: cache: no environment \"production\", there is none"),
    ("cache: 5\n", ":1: cache: expected fields, found a whole number"),
    ("- a\n", ":1: expected fields, found a list"),
    (
        "cache: {production: {backend: memory, memory: {max_size: 0}}}",
        ":1: production.memory: max_size is 0",
    ),
    (
        "cache: {productoin: {backend: memory}, dev: {}}",
        ":1: cache: no environment \"production\", there is productoin, dev; did you mean productoin?",
    ),
    (
        "cache: {production: {backend: rediss}}",
        ":1: production.backend: expected one of memory, redis, memcached, tiered, fallback, route, found rediss; did you mean redis?",
    ),
    (
        "cache: {production: {backend: 'redis://u:secret@h'}}",
        ":1: production.backend: expected one of memory, redis, memcached, tiered, fallback, route, found other text",
    ),
    (
        "cache:\n production:\n  backend: memory\n  redis: {url: 'redis://h'}",
        ":4: production.redis: settings of redis, and the backend is memory",
    ),
    (
        "cache:\n production:\n  backend: memory\n  key_prefix: a\n  memory:\n   key_prefix: b",
        ":6: production.memory.key_prefix: differs from the key_prefix beside memory",
    ),
    (
        "cache:\n production:\n  backend: memory\n  key_prefix: 5m\n  memory:\n   key_prefix: 300s",
        ":6: production.memory.key_prefix: differs from the key_prefix beside memory",
    ),
    (
        "cache:\n production:\n  backend: memory\n  timeout: 0",
        ":4: production.timeout: no call ends in no time; left out, it is the backend's",
    ),
    (
        "cache:\n production:\n  backend: memory\n  key_prefix: a\n  key_prefix: b",
        ":5: key_prefix is given twice",
    ),
    (
        "cache:\n production:\n  backend: memory\n\tkey_prefix: a\n",
        ":3: while scanning a plain scalar, found a tab",
    ),
    ("cache:\n production:\n  backend: memory\n  key_prefix: \"a\n", ":4: unclosed quote"),
    (
        "cache:\n production: {backend: memory}\n---\ncache: {}\n",
        ":4: a second document begins here; one is expected",
    ),
    ("cache:\n production: *a\n", ":2: alias references unknown anchor"),
    ("cache:\n production: &a\n  backend: *a\n", ":3: an alias refers to what it stands in"),
    (
        "cache:\n production: {backend: memory, default_ttl: 0}\n",
        ":2: production.default_ttl: expected a time above 0 (seconds, or text such as 500ms, 5m or 1h30m), or never, found 0",
    ),
    (
        "cache:\n production: {backend: memory, default_ttl: 5x}\n",
        ":2: production.default_ttl: expected a time above 0 (seconds, or text such as 500ms, 5m or 1h30m), or never, found text",
    ),
    (
        "cache:\n production: {backend: memory, default_ttl: -5}\n",
        ":2: production.default_ttl: expected a time above 0 (seconds, or text such as 500ms, 5m or 1h30m), or never, found a number below 0",
    ),
    (
        "cache:\n production: {backend: memory, key_prefix: 5}\n",
        ":2: production.key_prefix: expected text (in quotes, if it looks like something else), found a whole number",
    ),
    (
        "cache:\n production: {backend: memory, strict: 5}\n",
        ":2: production.strict: expected true or false, found a whole number",
    ),
    (
        "cache:\n production: {backend: memory, loader_threads: 0}\n",
        ":2: production.loader_threads: no threads for loaders",
    ),
    (
        "cache:\n production: {backend: memory, loader_threads: -1}\n",
        ":2: production.loader_threads: expected a whole number, 0 or more, found a number below 0",
    ),
    (
        "cache:\n production: {backend: memory, loader_threads: '5'}\n",
        ":2: production.loader_threads: expected a whole number, 0 or more, found text",
    ),
    (
        "cache:\n production: {backend: memory, loader_threads: 5.5}\n",
        ":2: production.loader_threads: expected a whole number, 0 or more, found a number",
    ),
    (
        "cache:\n production: {backend: memory, codec: msgpak}\n",
        ":2: production.codec: expected one of json, msgpack, found msgpak; did you mean msgpack?",
    ),
    (
        "cache:\n production: {backend: memory, codec: [1]}\n",
        ":2: production.codec: expected one of json, msgpack, found a list",
    ),
    (
        "cache:\n production: {backend: memory, refresh_at: 1.5}\n",
        ":2: production.refresh_at: 1.5 is no part of a life, from 0 to 1",
    ),
    (
        "cache:\n production: {backend: memory, refresh_at: 0.5, refresh_by_chance: 1}\n",
        ":2: production.refresh_by_chance: refresh_at and refresh_by_chance are two ways to do one thing: one of them",
    ),
    (
        "cache:\n production: {backend: memory, compression_above: 5}\n",
        ":2: production.compression_above: has no effect without compression",
    ),
    (
        "cache:\n production: {backend: memory, memory: 5}\n",
        ":2: production.memory: expected fields, found a whole number",
    ),
    (
        "cache:\n production: {backend: redis, redis: 'redis://u:secret@h'}\n",
        ":2: production.redis: expected fields, found text",
    ),
    (
        "cache:\n production: {backend: redis}\n",
        ":2: production.redis: no server is named: url, or host and port",
    ),
    (
        "cache:\n production: {backend: memcached}\n",
        ":2: production.memcached: no server is named: url or servers",
    ),
    (
        "cache:\n production: {redis: {url: 'redis://h:x'}}\n",
        ":2: production.redis: redis: a port is a number from 1 to 65535",
    ),
    (
        "cache:\n production: {redis: {url: 'memcached://h'}}\n",
        ":2: production.redis.url: an address of memcached, in settings of redis",
    ),
    (
        "cache:\n production: {redis: {url: 'reds://h'}}\n",
        ":2: production.redis.url: nobody knows the scheme reds; did you mean redis?",
    ),
    (
        "cache:\n production: {redis: {url: 'redis://h', redis_url: 'redis://h'}}\n",
        ":2: production.redis.redis_url: is another name of url, which is given, too",
    ),
    (
        "cache:\n production: {redis: {url: 'redis://h', host: h}}\n",
        ":2: production.redis: the server is named by url, and by host and port: one of them",
    ),
    (
        "cache:\n production: {redis: {url: 'redis://h?pool_sice=1'}}\n",
        ":2: production.redis.pool_sice: no such field; did you mean pool_size?",
    ),
    (
        "cache:\n production: {redis: {url: 'redis://h?pool_size=0'}}\n",
        ":2: production.redis: redis: a pool has 1 to 65535 connections",
    ),
    (
        "cache:\n production: {redis: {url: 'redis://h?pool_size=x'}}\n",
        ":2: production.redis.pool_size: expected a whole number from 0 to 4294967295, found text",
    ),
    (
        "cache:\n production: {url: 'redis://h', redis: {url: 'redis://h'}}\n",
        ":2: production.url: stands here and in redis, too",
    ),
    (
        "cache:\n production: {url: 'redis://h', backend: memory}\n",
        ":2: production.url: an address of redis, and the backend is memory",
    ),
    (
        "cache:\n production: {memcached: {servers: [a, [b]]}}\n",
        ":2: production.memcached.servers[1]: expected a server: host:port, or [host:port, weight], found 1 elements",
    ),
    (
        "cache:\n production: {memcached: {servers: [a, [b, x]]}}\n",
        ":2: production.memcached.servers[1][1]: expected a whole number from 0 to 4294967295, found text",
    ),
    (
        "cache:\n production: {memcached: {servers: [a, a]}}\n",
        ":2: production.memcached: memcached: the server a:11211 is named twice",
    ),
    (
        "cache:\n production: {memcached: {servers: a}}\n",
        ":2: production.memcached.servers: expected a list, found text",
    ),
    (
        "cache:\n production: {memcached: {servers: [a], behaviors: {no_delay: yes}}}\n",
        ":2: production.memcached.behaviors.no_delay: no such field",
    ),
    (
        "cache:\n production: {tiered: {near: {max_size: 1}}}\n",
        ":2: production.tiered.far: is missing",
    ),
    (
        "cache:\n production:\n  tiered:\n    far:\n      url: 'redis://h'\n      key_prefix: x\n",
        ":6: production.tiered.far.key_prefix: belongs to the environment: it is one for all backends of a cache",
    ),
    (
        "cache:\n production:\n  tiered:\n    far:\n      redis:\n        url: 'redis://h'\n        key_prefix: x\n",
        ":7: production.tiered.far.redis.key_prefix: belongs to the environment: it is one for all backends of a cache",
    ),
    (
        "cache:\n production:\n  tiered:\n    far:\n      redis:\n        url: 'redis://h'\n        pool_size: 0\n",
        ":5: production.tiered.far.redis: redis: a pool has 1 to 65535 connections",
    ),
    (
        "cache:\n production:\n  tiered:\n    far:\n      redis:\n        url: 'redis://h?pool_sice=1'\n",
        ":6: production.tiered.far.redis.pool_sice: no such field; did you mean pool_size?",
    ),
    (
        "cache:\n production:\n  tiered:\n    bound: 1ms\n    far:\n      memory:\n",
        ":3: production.tiered: the bound of a near tier is from 10 ms to a minute",
    ),
    (
        "cache:\n production:\n  route:\n    default: {url: 'memory://'}\n    delimiter: '::'\n",
        ":5: production.route.delimiter: expected one character, found text",
    ),
    (
        "cache:\n production: {backend: memory, key_prefix: '${NOPE}'}\n",
        ":2: production.key_prefix: the variable NOPE is not set",
    ),
    (
        "redis_url: redis://h\n",
        ":1: redis_url: no such field; it is url, or url in the section redis",
    ),
    (
        "cache:\n production: {redis_url: 'redis://h'}\n",
        ":2: production.redis_url: no such field; it is url, or url in the section redis",
    ),
    (
        "cache:\n production: {enable_fuzzy: true}\n",
        ":2: production.enable_fuzzy: no such field; there is none: the feature fuzzy of the crate is enough",
    ),
    (
        "cache:\n production: {}\n",
        ":2: production: no backend is named: backend, url, or a section of settings",
    ),
    (
        "cache:\n production: {memory: , redis: }\n",
        ":2: production: several sections, and backend does not say which",
    ),
    ("cache:\n production: {key_prefix: !foo bar}\n", ":2: unsupported tag (...)"),
    ("cache:\n production: {5: bar}\n", ":2: production.5: no such field"),
    (
        "cache:\n production: {backend: memory, seed: 99999999999999999999999}\n",
        ":2: production.seed: expected a whole number, 0 or more, found a number",
    ),
    (
        "cache:\n production: {backend: memory, refresh_at: .nan}\n",
        ":2: production.refresh_at: expected a finite number, found a number",
    ),
    (
        "cache:\n production: {backend: memory, max_size: 5}\n",
        ":2: production.max_size: no such field; did you mean max_size in memory?",
    ),
    ("cache:\n production:\n  redis:\n   password: !hunter2\n", ":4: unsupported tag (...)"),
    (
        "cache:\n production:\n  redis:\n   password: *hunter2\n",
        ":4: alias references unknown anchor",
    ),
    (
        "cache:\n production:\n  redis:\n   password: hunter2: x\n",
        ":4: mapping values are not allowed in this context",
    ),
    ("cache:\n production:\n  redis:\n   password: @hunter2\n", ":4: unexpected character: (...)"),
    ("cache:\n production:\n  redis:\n   password: 'hunter2\n", ":4: unclosed quote"),
    (
        "cache:\n production:\n  redis:\n   password: [hunter2]\n",
        ":4: production.redis.password: expected text (in quotes, if it looks like something else), found a list",
    ),
    (
        "cache:\n production:\n  redis:\n   password: 22222\n",
        ":4: production.redis.password: expected text (in quotes, if it looks like something else), found a whole number",
    ),
    (
        "cache:\n production:\n  backend: hunter2://secret:pw@h\n",
        ":3: production.backend: expected one of memory, redis, memcached, tiered, fallback, route, found other text",
    ),
    (
        "cache:\n production:\n  url: 'redis://u:hunter2?@h'\n",
        ":3: production.url: no parameter has an @ or a # in it; a ? in a password is written %3F",
    ),
    (
        "cache:\n production:\n  url: 'redis://u:hunter2#@h'\n",
        ":3: production.redis: redis: an address has no part after #; a # in a password is written %23",
    ),
    (
        "cache:\n production:\n  url: 'redis://hunter2@h'\n",
        ":3: production.redis: redis: the address has a user and no password: user:password@host",
    ),
    (
        "cache:\n production:\n  url: 'hunter2'\n",
        ":3: production.url: an address begins with a scheme, as redis://host does",
    ),
    (
        "cache:\n production:\n  redis: {host: 'u:hunter2@h'}\n",
        ":3: production.redis.host: no name of a host; an address is given as url",
    ),
    (
        "cache:\n production:\n  memcached: {servers: ['u:hunter2@h']}\n",
        ":3: production.memcached: memcached: a port is a number from 1 to 65535",
    ),
    (
        "cache:\n production: {backend: memory, codec: 'u:hunter2@h'}\n",
        ":2: production.codec: expected one of json, msgpack, found other text",
    ),
];

const TOML: Cases = &[
    ("cache = 5", ":1: cache: expected fields, found a whole number"),
    (
        "[cache.production]\nbackend = \"memory\"\nmemory.max_size = \"5\"\n",
        ":3: production.memory.max_size: expected a whole number, 0 or more, found text",
    ),
    ("[cache.production]\nbackend = ", ":2: string values must be quoted, expected literal string"),
    ("[cache.production]\nbackend = \"memory\"\nbackend = \"memory\"", ":3: duplicate key"),
    (
        "[cache.production]\nbackend = \"memory\"\nseed = 1979-05-27\n",
        ":3: production.seed: expected a whole number, 0 or more, found text",
    ),
    (
        "[cache.production]\nbackend=\"memory\"\n[cache.production.memory]\nmax_size = 0x0\n",
        ":3: production.memory: max_size is 0",
    ),
    (
        "[cache.production.redis]\nurl = \"redis://u:secret@h\nfoo",
        ":3: key with no value, expected `=`",
    ),
];

const JSON: Cases = &[
    (
        "{\"cache\": {\"production\": {\"backend\": \"memory\",\n\t\"max_sice\": 1}}}",
        ":2: production.max_sice: no such field; did you mean max_size in memory?",
    ),
    ("{", ":1: unclosed bracket '{'"),
    ("{\"cache\": 1,}", ":1: cache: expected fields, found a whole number"),
];

#[test]
fn a_bad_file_is_refused_with_line_path_and_what_was_meant() {
    for (name, cases) in [("cache.yaml", YAML), ("cache.toml", TOML), ("cache.json", JSON)] {
        for (text, what) in cases {
            let file = Written::new(name, text);
            assert_eq!(file.error("production", &[]), format!("{name}{what}"), "{text}");
            let opened = file.load("production").and_then(|config| config.open());
            let error = opened.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{text}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}

#[test]
fn a_field_nobody_knows_is_named_with_its_line_and_the_nearest_right_one() {
    let text = "cache:\n  production:\n    backend: redis\n    redis:\n      url: redis://h\n\n      \
                pool_sise: 50\n";
    let error = "cache.yaml:7: production.redis.pool_sise: no such field; did you mean pool_size?";
    assert_eq!(Written::new("cache.yaml", text).error("production", &[]), error);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = Config::load_with("/nowhere/cache.yaml", "production", []).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::InvalidConfig);
    let what = "/nowhere/cache.yaml: cannot be read: No such file or directory (os error 2)";
    assert_eq!(missing.to_string(), what);

    let what = "cache.txt: the name of a file ends in .yaml, .yml, .toml or .json";
    assert_eq!(Written::new("cache.txt", "cache:").error("production", &[]), what);
    let latin = b"cache:\n production:\n  key_prefix: caf\xe9\n";
    let what = "cache.yaml: is not UTF-8";
    assert_eq!(Written::new("cache.yaml", latin).error("production", &[]), what);
    let what = "cache.yml: is empty: it begins with cache:, under which stand environments";
    for text in ["", "\n", "# nothing\n", "---\n"] {
        assert_eq!(Written::new("cache.yml", text).error("production", &[]), what);
    }
}

#[test]
fn a_bad_variable_is_named_with_the_nearest_right_one() {
    for (name, value, what) in [
        (
            "YOKEDCACHE_REDIS_POOL_SISE",
            "1",
            "no such variable; did you mean YOKEDCACHE_REDIS_POOL_SIZE?",
        ),
        ("YOKEDCACHE_KEYPREFIX", "1", "no such variable; did you mean YOKEDCACHE_KEY_PREFIX?"),
        ("YOKEDCACHE_url", "memory://", "no such variable; did you mean YOKEDCACHE_URL?"),
        ("YOKEDCACHE_ZZZ", "1", "no such variable"),
        (
            "YOKEDCACHE_MAX_CONNECTIONS",
            "1",
            "no such variable; it is pool_size in the section redis",
        ),
        (
            "YOKEDCACHE_MEMORY_MAX_SIZE",
            "x",
            "memory.max_size: expected a whole number, 0 or more, found text",
        ),
        ("YOKEDCACHE_STRICT", "maybe", "strict: expected true or false, found text"),
        (
            "YOKEDCACHE_CODEC",
            "u:hunter2@h",
            "codec: expected one of json, msgpack, found other text",
        ),
        ("YOKEDCACHE_REFRESH_AT", "2", "refresh_at: 2 is no part of a life, from 0 to 1"),
        ("YOKEDCACHE_URL", "hunter2", "an address begins with a scheme, as redis://host does"),
        (
            "YOKEDCACHE_URL",
            "redis://u:hunter2@h?pool_sice=1",
            "redis.pool_sice: no such field; did you mean pool_size?",
        ),
        (
            "YOKEDCACHE_BACKEND",
            "rdis",
            "backend: expected one of memory, redis, memcached, tiered, fallback, route, found rdis; did \
             you mean redis?",
        ),
        ("YOKEDCACHE_CONFIG", "cache.yaml", ""),
        ("YOKEDCACHE_ENV", "production", ""),
    ] {
        let config = Config::from_variables(variables(&[(name, value)]));
        let error = config.and_then(|config| config.open()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        match name {
            "YOKEDCACHE_CONFIG" => {
                let what = "YOKEDCACHE_ENV: is not set, and YOKEDCACHE_CONFIG is";
                assert_eq!(error.to_string(), what);
            }
            "YOKEDCACHE_ENV" => {
                let what = "YOKEDCACHE_CONFIG: is not set, and YOKEDCACHE_ENV is";
                assert_eq!(error.to_string(), what);
            }
            name => assert_eq!(error.to_string(), format!("{name}: {what}")),
        }
    }
}

#[test]
fn what_a_backend_refuses_is_said_with_the_variables_it_was_told_by() {
    let said = [("YOKEDCACHE_MEMORY_MAX_SIZE", "0")];
    let error = Config::from_variables(variables(&said)).unwrap().open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert_eq!(error.to_string(), "memory: max_size is 0 (with YOKEDCACHE_MEMORY_MAX_SIZE)");

    let text = "cache:\n  production:\n    redis:\n      url: redis://h\n";
    let error = Written::new("cache.yaml", text).error(
        "production",
        &[("YOKEDCACHE_REDIS_POOL_SIZE", "0"), ("YOKEDCACHE_MEMORY_MAX_SIZE", "0")],
    );
    let what = "cache.yaml:3: production.redis: redis: a pool has 1 to 65535 connections (with \
                YOKEDCACHE_REDIS_POOL_SIZE)";
    assert_eq!(error, what);
}

#[test]
fn a_bad_address_is_an_invalid_argument_with_the_nearest_right_name() {
    for (url, what) in [
        (
            "redis://h?sokcet_timeout=1",
            "redis.sokcet_timeout: no such field; did you mean socket_timeout?",
        ),
        ("redis://h?key_prefx=1", "redis.key_prefx: no such field; did you mean key_prefix?"),
        ("memory://?max_size=0", "memory: max_size is 0"),
        (
            "memory://?max_size=-1",
            "memory.max_size: expected a whole number, 0 or more, found a number below 0",
        ),
        ("memory://host", "url: memory has no host and no path: memory://?max_size=1000"),
        (
            "memory://?default_ttl=0",
            "default_ttl: expected a time above 0 (seconds, or text such as 500ms, 5m or 1h30m), or never, found text",
        ),
        (
            "memory://?codec=jsn",
            "codec: expected one of json, msgpack, found jsn; did you mean json?",
        ),
        ("memory://?loader_threads=0", "loader_threads: no threads for loaders"),
        ("memory://?max_size=1&max_size=2", "url.max_size: is given twice"),
        (
            "redis://h?connection_pool_size=1&pool_size=2",
            "redis.connection_pool_size: is another name of pool_size, which is given, too",
        ),
        ("redis://h?PASSWORD=x", "redis.PASSWORD: no such field; did you mean password?"),
        ("redis://u:hun/ter2@h/0", "redis: redis: a / in a password is written %2F"),
        (
            "redis://u:a@hun/ter2@h/0",
            "redis: redis: a database is a number; a / in a password is written %2F",
        ),
        (
            "redis+unix://",
            "redis: redis: a socket's path begins with a slash: redis+unix:///run/x.sock",
        ),
        ("mem://", "url: nobody knows the scheme mem"),
        ("tiered://", "url: nobody knows the scheme tiered"),
        ("", "url: an address begins with a scheme, as redis://host does"),
        ("redis://u:hunter2@h:x", "redis: redis: a port is a number from 1 to 65535"),
        ("redis+ring://u:hunter2@h", "redis: redis: nobody knows how to reach a \"ring\" of redis"),
        (
            "memcached://u:hunter2@h/path",
            "memcached: memcached: the address has a path, and memcached no databases",
        ),
    ] {
        let error = Cache::open(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{url}");
        assert_eq!(error.to_string(), what, "{url}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}
