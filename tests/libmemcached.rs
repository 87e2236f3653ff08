//! Keys are shared with programs that use libmemcached: each finds what the other stored.
#![cfg(feature = "memcached")]

mod support;

use std::collections::HashMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::MemcachedServer;
use yokedcache::{Cache, Distribution, Memcached};

const ALL: [(&str, Distribution); 3] = [
    (r#"{"ketama_weighted": 1}"#, Distribution::KetamaWeighted),
    (r#"{"ketama": 1}"#, Distribution::Ketama),
    ("{}", Distribution::Modulo),
];

/// The first Python that has pylibmc: a package of the system's is for the system's Python.
fn python() -> &'static str {
    let has_it = |python: &&str| {
        let mut import = Command::new(python);
        import.args(["-c", "import _pylibmc"]).stdout(Stdio::null()).stderr(Stdio::null());
        import.status().is_ok_and(|status| status.success())
    };
    ["target/python/bin/python3", "/usr/bin/python3", "python3"].into_iter().find(has_it).expect(
        "pylibmc is missing; install it: apt-get install python3-pylibmc, or run tests/run.sh",
    )
}

/// What libmemcached answers to one command of tests/data/libmemcached.py.
fn libmemcached(command: &Value) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/libmemcached.py");
    let mut python = Command::new(python())
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(python.stdin.take().unwrap(), "{command}").unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Those that hash to other places where C's `char` has no sign are left out there.
fn keys(distribution: Distribution) -> Vec<String> {
    let words = ["user", "key", "café", "пользователь", "用户", "🦀", "\u{80}", "ÿ"];
    let odd = cfg!(all(target_os = "linux", not(any(target_arch = "x86", target_arch = "x86_64"))))
        && distribution != Distribution::KetamaWeighted;
    let words = if odd { &words[..2] } else { &words };
    (0..200).map(|n| format!("{}:{n}", words[n % words.len()])).collect()
}

/// Servers as libmemcached is told of them: host or path, port or 0, weight.
fn each_finds_the_others(servers: &[MemcachedServer], named: &[(String, u16, u32)]) {
    for (behaviors, distribution) in ALL {
        let behaviors: Value = serde_json::from_str(behaviors).unwrap();
        let ask = |what: &str, of: Value| {
            libmemcached(&json!({"servers": named, "behaviors": behaviors, what: of}))
        };
        let ours = |plain: bool| {
            // The first goes into the address, the others are told one by one.
            let first = match named[0].0.starts_with('/') {
                true => format!("memcached+unix://{}", named[0].0),
                false => format!("memcached://{}:{};weight={}", named[0].0, named[0].1, named[0].2),
            };
            let mut builder = Memcached::builder(&first).distribution(distribution).plain(plain);
            for (host, port, weight) in &named[1..] {
                let server = if *port == 0 { host.clone() } else { format!("{host}:{port}") };
                builder = builder.server(server, *weight);
            }
            let memcached = builder.build().unwrap();
            Cache::builder(memcached).key_prefix("").strict().build().unwrap()
        };
        let (plain, cache) = (ours(true), ours(false));
        let keys = keys(distribution);

        let values: HashMap<_, _> = keys.iter().map(|key| (key, "theirs")).collect();
        let set = ask("set", json!(values));
        assert_eq!(set["set"].as_array().unwrap().len(), keys.len());
        for (key, found) in keys.iter().zip(plain.get_many::<Value>(&keys).unwrap()) {
            assert!(found.is_none(), "{key}: no JSON");
            let theirs = plain.get_bytes(key).unwrap();
            assert_eq!(theirs.as_deref(), Some(&b"theirs"[..]), "{key} of {distribution:?}");
            assert_eq!(cache.get_bytes(key).unwrap(), theirs, "{key}, not plain");
            assert!(plain.set_bytes(key, "ours").unwrap());
        }

        let got = ask("get", json!(keys));
        let expected: HashMap<_, _> = keys.iter().map(|key| (key, ["bytes", "ours"])).collect();
        assert_eq!(got["get"], json!(expected));
        assert_eq!(plain.delete_many(&keys).unwrap(), keys.len() as u64);
        assert!(servers.iter().all(|server| server.keys().is_empty()));

        // Numbers are the same to both.
        plain.set(&keys[0], &41).unwrap();
        let native = ask("native", json!({ &keys[1]: 7 }));
        assert_eq!(native["native"], json!([keys[1]]));
        assert_eq!(plain.increment(&keys[1], 1).unwrap(), 8);
        assert_eq!(ask("get", json!([keys[0], keys[1]]))["get"][&keys[1]], json!(["int", 8]));
        plain.delete_many(&keys).unwrap();
    }
}

#[test]
fn each_finds_what_the_other_stored() {
    for weights in [[3, 1, 1], [1, 1, 1], [2, 70, 11]] {
        let servers = [(); 3].map(|()| MemcachedServer::start(&[]));
        let named: Vec<_> = servers
            .iter()
            .zip(weights)
            .map(|(server, weight)| ("127.0.0.1".to_owned(), server.port(), weight))
            .collect();
        each_finds_the_others(&servers, &named);
    }
}

#[test]
fn a_socket_is_named_by_its_path_and_port_0() {
    let servers = [(); 3].map(|()| MemcachedServer::unix());
    let named: Vec<_> = servers
        .iter()
        .zip([1, 3, 2])
        .map(|(server, weight)| (server.socket().display().to_string(), 0, weight))
        .collect();
    each_finds_the_others(&servers, &named);
}
