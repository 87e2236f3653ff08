//! invalidate and clear.

use serde_json::json;

use super::{at, redis};

fn filled(url: &str) {
    at(url).run("set user:1 1 --tag users --tag eu").ends(0);
    at(url).run("set user:2 1 --tag users").ends(0);
    at(url).run("set order:1 1").ends(0);
}

#[test]
fn a_dry_run_names_what_would_go_and_removes_nothing() {
    let (_server, url) = redis();
    filled(&url);
    for (what, keys) in [
        ("invalidate --tag users", "user:1\nuser:2\n"),
        ("invalidate --tag users --tag eu --all-tags", "user:1\n"),
        ("invalidate --pattern *:1", "order:1\nuser:1\n"),
        ("clear", "order:1\nuser:1\nuser:2\n"),
    ] {
        let ran = at(&url).run(&format!("{what} --dry-run")).ends(0).says(keys);
        assert!(ran.err.ends_with("would be removed\n"), "{ran:?}");
    }
    let shown = at(&url).run("--json invalidate --tag eu --dry-run").json();
    assert_eq!(shown, json!({"dry_run": true, "entries": 1, "keys": ["user:1"]}));
    at(&url).run("keys").says("order:1\nuser:1\nuser:2\n");
}

#[test]
fn invalidating_removes_what_was_named() {
    let (_server, url) = redis();
    filled(&url);
    at(&url).run("invalidate --tag eu").ends(0);
    at(&url).run("get user:1").ends(1);
    at(&url).run("get user:2").ends(0);
    let ran = at(&url).run("invalidate --pattern user:*").ends(0);
    assert!(ran.err.ends_with("removed\n"), "{ran:?}");
    at(&url).run("keys").says("order:1\n");
    at(&url).run("invalidate").ends(2).complains("--tag");
}

#[test]
fn clearing_wants_a_yes_and_reaches_its_own_prefix_only() {
    let (server, url) = redis();
    filled(&url);
    server.command(&["SET", "somebody:else", "1"]);
    at(&url).run("clear").ends(2).complains("say --yes");
    at(&url).run("--json clear").ends(2);
    at(&url).run("keys --pattern order:*").says("order:1\n");
    at(&url).run("clear --yes").ends(0);
    at(&url).run("keys").says("");
    assert_eq!(server.command(&["EXISTS", "somebody:else"]), super::support::Reply::Int(1));
}

#[test]
fn without_a_prefix_nothing_is_cleared() {
    let (server, _) = redis();
    at(server.url())
        .args(&["clear", "--yes", "--key-prefix", ""])
        .ends(4)
        .complains("without a key prefix");
}
