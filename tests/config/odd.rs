//! No input makes a reader panic, and what it refuses it says in words.

use proptest::prelude::*;
use yokedcache::ErrorKind;
use yokedcache::config::Config;

use crate::{Written, variables};

/// Something like a configuration, or nothing like it.
fn text() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "cache",
        "e",
        "memory",
        "redis",
        "url",
        "backend",
        "tiered",
        "far",
        "route",
        "routes",
        "servers",
        "default_ttl",
        "max_size",
        "5m",
        "never",
        "redis://h",
        "memory://?a=b",
        "${A}",
        "${A:-1}",
        "$$",
        ":",
        ": ",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\"",
        "'",
        "&a",
        "*a",
        "<<",
        "!!int",
        "|",
        ">",
        "#",
        "---\n",
        "\t",
        "0x",
        "1e9",
        "~",
        "true",
        "é",
        "\u{0}",
        "%",
    ]);
    prop_oneof![
        prop::collection::vec(words, 0..40).prop_map(|words| words.concat()),
        ".{0,80}",
        "cache:\n  e:\n    .{0,60}",
    ]
}

/// A value in place of a setting.
fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "[a-z0-9:/?=&@.%$]{0,20}".prop_map(Into::into),
    ];
    let name = prop::sample::select(vec![
        "url",
        "redis",
        "memory",
        "memcached",
        "tiered",
        "far",
        "near",
        "fallback",
        "primary",
        "secondary",
        "route",
        "default",
        "routes",
        "servers",
        "behaviors",
        "key_prefix",
        "default_ttl",
        "max_size",
        "codec",
        "backend",
        "password",
        "x",
    ]);
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn is_refused_in_words(read: Result<Config, yokedcache::Error>) {
    if let Err(error) = read {
        assert!(matches!(error.kind(), ErrorKind::InvalidConfig | ErrorKind::InvalidArgument));
        assert!(!error.to_string().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_file_is_too_odd(text in text()) {
        for name in ["cache.yaml", "cache.toml", "cache.json"] {
            is_refused_in_words(Written::new(name, &text).load_with("e", &[("A", "7")]));
        }
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for name in ["cache.yaml", "cache.toml"] {
            is_refused_in_words(Written::new(name, &bytes).load("e"));
        }
    }

    #[test]
    fn no_structure_is_too_odd(value in value()) {
        if let Ok(config) = serde_json::from_value::<Config>(value.clone()) {
            let again: Config = serde_json::from_value(serde_json::to_value(&config).unwrap()).unwrap();
            prop_assert_eq!(again.to_json(), config.to_json());
        }
        let file = serde_json::json!({"cache": {"e": value}}).to_string();
        is_refused_in_words(Written::new("cache.json", file).load("e"));
    }

    #[test]
    fn no_address_and_no_variable_is_too_odd(
        odd in ".{0,60}",
        scheme in "(redis|rediss|memcached|memory|redis\\+sentinel|unix)(://)?",
        rest in "[a-z0-9:/?=&@.%$;,+-]{0,40}",
        name in "(URL|BACKEND|REDIS_URL|MEMCACHED_URL|DEFAULT_TTL|REDIS_[A-Z_]{0,10}|[A-Z_a-z]{0,12})",
    ) {
        for address in [&odd, &format!("{scheme}{rest}")] {
            is_refused_in_words(Config::from_url(address));
            let said = variables(&[(&format!("YOKEDCACHE_{name}"), address)]);
            is_refused_in_words(Config::from_variables(said));
        }
    }
}
