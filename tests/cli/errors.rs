//! Every way to fail has its exit code, and one clear line that says what to do.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::support::{Plan, Proxy, RedisServer, free_port};
use super::{PASSWORD, Ran, at, bare, end, redis};

#[test]
fn a_command_line_that_cannot_be_read_is_2() {
    for line in
        ["frobnicate", "get", "get a b", "set k 1 --ttl 0", "--color red ping", "ping --count 0"]
    {
        at("memory://").run(line).ends(2).complains("");
    }
    for line in ["invalidate", "invalidate --dry-run", "invalidate --tag a --pattern b"] {
        at("memory://").run(line).ends(2).complains("--pattern <GLOB>");
    }
    bare().run("ping").ends(2).complains("which cache?");
    at("memory://")
        .run("keys --limti 3")
        .ends(2)
        .complains("found; a similar argument exists: '--limit'; ");
    let url = format!("redis://:{PASSWORD}@localhost");
    at("memory://").args(&["get", "a", &url]).ends(2).complains("redis://***@localhost");
    at("memory://").args(&["get", &"k".repeat(70_000)]).ends(2).complains("65535 bytes");
    at("memory://").args(&["get", ""]).ends(2);
    at("memory://").args(&["set", "k", "no json"]).ends(2).complains("--text");
}

#[test]
fn an_address_that_cannot_be_used_is_2() {
    for url in ["localhost:6379", "redsi://h", "redis://h:x", "redis://h?socket_timeot=1"] {
        at(url).run("ping").ends(2).complains("");
        bare().args(&["ping", "--url", url]).ends(2).complains("");
    }
}

#[test]
fn no_password_is_shown_of_an_address_however_it_is_written() {
    let port = free_port();
    for url in [
        format!("redis://u:{PASSWORD} x@127.0.0.1:{port}"),
        format!("redis://u:x'{PASSWORD}@127.0.0.1:{port}"),
        format!("u:{PASSWORD}@127.0.0.1:{port}"),
        format!("redis://127.0.0.1:{port}?pasword={PASSWORD}"),
        format!("redis://127.0.0.1:{port}?p%61ssword={PASSWORD}"),
    ] {
        // Each run is searched for the password at its end.
        bare().args(&["doctor", "--url", &url]).ends(1);
        at(&url).run("doctor").ends(1);
        bare().args(&["ping", &url]).ends(2);
    }
}

#[test]
fn what_a_server_says_does_not_command_the_terminal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = [0; 1024];
            while stream.read(&mut asked).is_ok_and(|read| read > 0) {
                let _ = stream.write_all(b"-ERR \x1b[2Jgone\r\n");
            }
        }
    });
    for line in ["get k", "ping", "ping --count 2 --interval 1ms", "health", "health -d", "doctor"]
    {
        let ran = at(&url).run(line);
        let said = ran.out.clone() + &ran.err;
        assert!(said.contains("gone") && !said.contains('\u{1b}'), "{ran:?}");
    }
}

#[test]
fn nobody_there_is_3_for_every_command() {
    let port = free_port();
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{port}?key_prefix=shop");
    for line in [
        "ping",
        "get k",
        "set k 1",
        "delete k",
        "ttl k",
        "ttl k --set 5",
        "keys",
        "keys --tags",
        "search k",
        "invalidate --tag t",
        "invalidate --pattern *",
        "invalidate --pattern * --dry-run",
        "clear --yes",
        "stats",
        "stats --watch",
        "stats --prometheus",
        "bench --duration 100ms",
    ] {
        let ran = at(&url).run(&format!("--quiet {line}")).ends(3).says("");
        ran.complains("Connection refused");
    }
}

#[test]
fn errors_are_json_where_answers_are() {
    let url = format!("redis://127.0.0.1:{}", free_port());
    let ran = at(&url).run("--json get k").ends(3);
    let message = ran.err.trim_start_matches("yokedcache: ").trim_end();
    assert_eq!(ran.json(), json!({"error": {"kind": "Unavailable", "message": message}}));
    let ran = at(&url).run("--json get").ends(2);
    assert_eq!(ran.json()["error"]["kind"], json!("Usage"));
}

#[test]
fn a_server_that_hangs_is_3_within_the_time_given() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::to(&server.addr());
    proxy.set(Plan::Hold);
    let started = Instant::now();
    at(&proxy.url()).run("get k --timeout 300ms").ends(3).complains("in time");
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_login_that_is_refused_is_4() {
    let (server, _) = redis();
    let none = format!("redis://{}", server.addr());
    at(&none).run("get k").ends(4).complains("the server wants a password");
    let wrong = format!("redis://:{PASSWORD}x@{}", server.addr());
    at(&wrong).run("get k").ends(4).complains("the password is wrong");
    at(&wrong).run("stats").ends(4).complains("WRONGPASS");
}

#[test]
fn a_right_that_is_missing_is_4() {
    let server = RedisServer::acl("reader", PASSWORD, "~* +@read +ping");
    at(server.url()).run("get k").ends(1);
    at(server.url()).run("set k 1").ends(4).complains("NOPERM");
    let ran = at(server.url()).run("--json stats").ends(4).complains("NOPERM");
    assert_eq!(ran.json()["error"]["kind"], json!("Denied"));
}

#[test]
fn what_a_backend_cannot_do_is_4() {
    at("memory://").run("stats").ends(4).complains("no server to ask");
    let (_server, url) = redis();
    at(&format!("{url}&plain=true"))
        .run("set k 1 --tag t")
        .ends(4)
        .complains("does not support tags");
}

#[test]
fn a_password_comes_by_the_standard_input() {
    let (server, _) = redis();
    let url = format!("redis://{}", server.addr());
    let line = format!("{PASSWORD}\n");
    at(&url).fed(&["ping", "--password-stdin"], line.as_bytes()).ends(0);
    bare().fed(&["ping", "--password-stdin", "--url", &url], line.as_bytes()).ends(0);
    let more = format!("{PASSWORD}\n[1]");
    at(&url).fed(&["set", "k", "--password-stdin"], more.as_bytes()).ends(0);
    at(server.url()).run("get k").says("[1]\n");
}

#[test]
fn a_reader_who_has_gone_is_no_error() {
    let (_server, url) = redis();
    for key in 0..50 {
        at(&url).run(&format!("set {}{key} 1", "k".repeat(2000))).ends(0);
    }
    let mut child = at(&url).start(&["keys"]);
    drop(child.stdout.take());
    let Ran { code, err, .. } = end(child);
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn variables_that_name_no_cache_are_no_cache_in_memory() {
    for line in ["set k 1", "get k", "clear --yes"] {
        bare().var("YOKEDCACHE_KEY_PREFIX", "shop").run(line).ends(2).complains("which cache?");
    }
    bare().var("YOKEDCACHE_KEY_PREFX", "x").run("ping").ends(2).complains("KEY_PREFIX?");
    bare().var("YOKEDCACHE_BACKEND", "memory").run("set k 1").ends(0);
    bare().var("YOKEDCACHE_KEY_PREFIX", "shop").run("config show").ends(0);
}

#[test]
fn a_variable_that_is_no_text_is_not_left_out() {
    let mut cli = at("memory://");
    cli.0.env("YOKEDCACHE_KEY_PREFIX", OsStr::from_bytes(b"sh\xff"));
    cli.run("clear --yes").ends(2).complains("YOKEDCACHE_KEY_PREFIX: is not UTF-8");
}

#[test]
fn what_has_no_effect_beside_an_address_is_2() {
    for line in [
        "ping --url memory:// --env production",
        "--url memory:// ping --env production",
        "--config cache.yaml ping --url memory://",
    ] {
        bare().run(line).ends(2).complains("--url");
    }
    let (server, _) = redis();
    let url = format!("redis://{}", server.addr());
    at(&url).fed(&["ping", "--password-stdin"], b"").ends(2).complains("no password came");
    // The one that comes by the standard input counts, wherever there was another.
    let line = format!("{PASSWORD}\n");
    let old = at(&format!("{url}?password=old")).var("YOKEDCACHE_REDIS_PASSWORD", "older");
    old.fed(&["ping", "--password-stdin"], line.as_bytes()).ends(0);
}

#[test]
fn numbers_that_no_machine_has_room_for_are_2() {
    for line in [
        "bench --keys 18446744073709551615",
        "bench --value-size 99999999999999",
        "bench --duration 200000000000000d",
        "ping --count 2 --interval 200000000000000d",
        "doctor --timeout 200000000000000d",
    ] {
        at("memory://").run(line).ends(2).complains("");
    }
}

#[test]
fn colours_are_for_terminals_or_on_demand() {
    let (_server, url) = redis();
    let plain = at(&url).run("doctor").out;
    assert!(!plain.contains('\u{1b}'), "{plain}");
    assert!(at(&url).run("doctor --color always").out.contains("\u{1b}[38;5;10m"));
    assert!(!at(&url).run("doctor --color always --json").out.contains('\u{1b}'));
}
