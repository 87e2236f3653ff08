//! get, set, delete, ttl, keys, search.

use serde_json::json;

use super::support::MemcachedServer;
use super::{at, end, redis};

#[test]
fn a_value_is_stored_and_shown_as_json() {
    let (_server, url) = redis();
    at(&url).args(&["set", "user:1", r#"{"name": "Ann", "tags": [1, 2]}"#]).ends(0).says("");
    at(&url).run("get user:1").ends(0).says("{\"name\":\"Ann\",\"tags\":[1,2]}\n");
    at(&url).run("set n 42").ends(0);
    at(&url).run("get n").ends(0).says("42\n");
}

#[test]
fn whole_numbers_lose_no_digits() {
    let (_server, url) = redis();
    for json in ["18446744073709551616", r#"{"a\\\"1": [-9223372036854775809]}"#] {
        at(&url).args(&["set", "n", json]).ends(2).complains("more than 64 bits");
    }
    at(&url).run("get n").ends(1);
    for json in ["18446744073709551615", r#"{"1\\":"99999999999999999999","f":1e+300}"#] {
        at(&url).args(&["set", "n", json]).ends(0);
        at(&url).run("get n").ends(0).says(&format!("{json}\n"));
    }
}

#[test]
fn text_and_bytes_are_stored_as_told() {
    let (_server, url) = redis();
    at(&url).args(&["set", "t", "hello there", "--text"]).ends(0);
    at(&url).run("get t").says("\"hello there\"\n");
    at(&url).run("get t --text").says("hello there\n");
    at(&url).fed(&["set", "b", "--bytes"], b"\x00\xff\n\x1b[31m").ends(0);
    assert_eq!(at(&url).run("get b").ends(0).bytes, b"\x00\xff\n\x1b[31m");
    assert_eq!(at(&url).run("get b --raw").ends(0).bytes, b"\x00\xff\n\x1b[31m");
    let shown = at(&url).run("--json get b").json();
    assert_eq!((&shown["type"], &shown["base64"]), (&json!("bytes"), &json!("AP8KG1szMW0=")));
}

#[test]
fn a_value_comes_from_a_file_or_from_the_standard_input() {
    let (server, url) = redis();
    let file = server.dir().join("value.json");
    std::fs::write(&file, "[1,\n 2]").unwrap();
    at(&url).args(&["set", "f", "--file", file.to_str().unwrap()]).ends(0);
    at(&url).run("get f").says("[1,2]\n");
    at(&url).fed(&["set", "i", "-"], b"true").ends(0);
    at(&url).run("get i").says("true\n");
    at(&url)
        .args(&["set", "f", "--file", "/nowhere/x"])
        .ends(5)
        .complains("/nowhere/x: No such file");
}

#[test]
fn a_missing_key_is_a_no_and_says_why() {
    let (_server, url) = redis();
    let ran = at(&url).run("get nobody").ends(1).says("");
    assert_eq!(ran.err, "nobody: there is none\n");
    assert_eq!(at(&url).run("get nobody --quiet").ends(1).err, "");
    let shown = at(&url).run("get nobody --json").ends(1).json();
    assert_eq!(shown, json!({"key": "nobody", "found": false, "cause": "absent"}));
}

#[test]
fn everything_known_of_an_entry_is_in_its_json() {
    let (_server, url) = redis();
    at(&url).run("set k [1] --ttl 10m --tag users --tag eu").ends(0);
    let mut shown = at(&url).run("--json get k").ends(0).json();
    let ttl = shown["ttl_seconds"].take().as_f64().unwrap();
    let age = shown["age_seconds"].take().as_f64().unwrap();
    assert!((590.0..=600.0).contains(&ttl) && (0.0..10.0).contains(&age), "{ttl} {age}");
    assert_eq!(
        shown,
        json!({"key": "k", "found": true, "type": "json", "value": [1], "bytes": 3,
            "ttl_seconds": null, "age_seconds": null, "tags": ["users", "eu"]})
    );
}

#[test]
fn what_is_compressed_or_in_another_codec_is_shown_all_the_same() {
    let (_server, url) = redis();
    let long = format!("[\"{}\"]", "x".repeat(4000));
    let packed = format!("{url}&compression=zstd&codec=msgpack");
    at(&packed).args(&["set", "k", &long]).ends(0);
    at(&url).run("get k").ends(0).says(&format!("{long}\n"));
    assert_eq!(at(&url).run("--json get k").json()["type"], json!("msgpack"));
}

#[test]
fn deleting_says_what_was_not_there() {
    let (_server, url) = redis();
    at(&url).run("set a 1").ends(0);
    let ran = at(&url).run("delete a b").ends(1);
    assert_eq!(ran.err, "b: there is none\n1 entry deleted\n");
    at(&url).run("set a 1").ends(0);
    let shown = at(&url).run("--json delete a").ends(0).records();
    assert_eq!(shown, [json!({"key": "a", "deleted": true})]);
}

#[test]
fn everything_is_deleted_though_nobody_reads_it() {
    let (_server, url) = redis();
    for key in ["a", "b", "c"] {
        at(&url).args(&["set", key, "1"]).ends(0);
    }
    let mut child = at(&url).start(&["--json", "delete", "a", "b", "c"]);
    drop(child.stdout.take());
    end(child).ends(0);
    at(&url).run("keys").says("");
}

#[test]
fn stored_bytes_are_no_json() {
    for line in ["--json get k --raw", "--json get k --text", "get k --json --raw"] {
        at("memory://").run(line).ends(2).complains("--");
    }
    at("memory://").run("--json stats --prometheus").ends(2).complains("--prometheus");
}

#[test]
fn a_time_to_live_is_shown_and_changed() {
    let (_server, url) = redis();
    at(&url).run("set k 1").ends(0);
    at(&url).run("ttl k").says("never\n");
    at(&url).run("ttl k --set 1h").ends(0);
    let left = at(&url).run("--json ttl k").ends(0).json();
    assert!((3590.0..=3600.0).contains(&left["ttl_seconds"].as_f64().unwrap()), "{left}");
    at(&url).run("ttl k --set never").says("never\n");
    at(&url).run("ttl nobody").ends(1);
    at(&url).run("ttl nobody --set 5").ends(1);
    at(&url).run("ttl k --set soon").ends(2).complains("is no time");
}

#[test]
fn a_value_kept_past_its_time_for_loaders_is_a_no_here() {
    let (_server, url) = redis();
    let url = format!("{url}&stale_for=1h");
    at(&url).run("set k 1 --ttl 100ms").ends(0);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let shown = at(&url).run("--json get k").ends(1).json();
    assert_eq!(shown["cause"], json!("expired"));
    assert_eq!(at(&url).run("ttl k").ends(1).err, "k: its time has come\n");
}

#[test]
fn keys_are_listed_in_a_table_or_a_line_each() {
    let (_server, url) = redis();
    at(&url).run("set user:2 1 --ttl 2h --tag users --tag eu").ends(0);
    at(&url).run("set user:1 1 --tag users").ends(0);
    at(&url).run("set order:7 1").ends(0);
    at(&url).run("keys").ends(0).says("order:7\nuser:1\nuser:2\n");
    at(&url).run("list --pattern user:*").says("user:1\nuser:2\n");
    at(&url).run("keys --tag eu").says("user:2\n");
    let ran = at(&url).run("keys --limit 2").ends(0);
    assert_eq!(ran.out.lines().count(), 2, "{ran:?}");
    assert_eq!(ran.err, "there are more than these 2: --limit 0 lists all\n");
    let table = at(&url).run("keys --ttl --tags").ends(0).out;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["KEY", "TTL", "TAGS"]);
    assert_eq!(lines[1], "order:7   never");
    assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["user:1", "never", "users"]);
    assert_eq!(lines[2].find("users"), lines[0].find("TAGS"));
    assert!(lines[3].starts_with("user:2    ") && lines[3].ends_with("users, eu"), "{table}");
    let shown = at(&url).run("--json keys --pattern user:1 --tags --ttl").records();
    assert_eq!(shown, [json!({"key": "user:1", "tags": ["users"], "ttl_seconds": null})]);
}

#[test]
fn a_key_cannot_tell_a_terminal_what_to_do() {
    let (_server, url) = redis();
    at(&url).args(&["set", "a\u{1b}[2Jb\nc", "1"]).ends(0);
    at(&url).run("keys").says("a\\u{1b}[2Jb\\nc\n");
    assert_eq!(at(&url).run("--json keys").records()[0]["key"], json!("a\u{1b}[2Jb\nc"));
}

#[test]
fn search_finds_what_is_like_the_query() {
    let (_server, url) = redis();
    at(&url).run("set user:alice \"A\"").ends(0);
    at(&url).run("set order:7 1").ends(0);
    at(&url)
        .run("search alcie")
        .ends(0)
        .says("KEY          SCORE   VALUE\nuser:alice      80   \"A\"\n");
    let shown = at(&url).run("--json search alcie").records();
    assert_eq!(shown, [json!({"key": "user:alice", "score": 80.0, "value": "A"})]);
    at(&url).run("search zzz").ends(0).says("");
    at(&url).run("search a --threshold 101").ends(2).complains("threshold");
}

#[test]
fn memcached_and_memory_do_the_same() {
    let server = MemcachedServer::start(&[]);
    let url = format!("{}?key_prefix=shop", server.url());
    at(&url).run("set k [1] --ttl 1h --tag users").ends(0);
    at(&url).run("get k").says("[1]\n");
    at(&url).run("keys --tags").says("KEY   TAGS\nk     users\n");
    at(&url).run("invalidate --tag users").ends(0);
    at(&url).run("get k").ends(1);
    at("memory://?max_size=10").run("set k 1").ends(0);
    at("memory://?max_size=10").run("get k").ends(1);
}
