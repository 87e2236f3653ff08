//! migrate, export and import.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Child;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::support::{MemcachedServer, Plan, Proxy, RedisServer, free_port};
use super::{at, end, interrupt, redis};

fn fill(server: &RedisServer, entries: usize) {
    let script = "for entry = 1, ARGV[1] do redis.call('SET', 'shop:k' .. entry, '[1]') end";
    server.command(&["EVAL", script, "0", &entries.to_string()]);
}

#[test]
fn entries_are_copied_to_another_backend_and_compared() {
    let (server, url) = redis();
    at(&url).run("set a [1] --ttl 1h --tag t").ends(0);
    at(&url).run("set b 2").ends(0);
    let to = MemcachedServer::start(&[]);
    let dry = at(&url).run(&format!("--json migrate --to {} --dry-run", to.url())).ends(0).json();
    assert_eq!((&dry["copied"], &dry["dry_run"]), (&json!(2), &json!(true)));
    assert!(to.keys().is_empty());
    let ran = at(&url).run(&format!("migrate --to {} --verify", to.url())).ends(0);
    let facts: Vec<&str> = ran.out.lines().collect();
    assert!(facts[0].starts_with("copied          2, "), "{ran:?}");
    assert_eq!(facts[1..4], ["there already   0", "newer there     0", "left out        0"]);
    assert!(facts[4].starts_with("looked at       2 keys in "), "{ran:?}");
    let compared =
        ["compared        2", "the same        2", "missing         0", "different       0"];
    assert_eq!(facts[5..], compared);
    let there = format!("{}?key_prefix=shop", to.url());
    at(&there).run("get a").says("[1]\n");
    at(&there).run("keys --tag t").says("a\n");
    // Under another name it arrives there.
    at(&url).run(&format!("migrate --to {}?key_prefix=new", to.url())).ends(0);
    at(&format!("{}?key_prefix=new", to.url())).run("get b").says("2\n");
    drop(server);
}

#[test]
fn what_is_there_stays_unless_told_otherwise_and_differences_are_a_no() {
    let (_server, url) = redis();
    at(&url).run("set a 1").ends(0);
    let to = RedisServer::start(&[]);
    let there = format!("{}?key_prefix=shop", to.url());
    at(&there).run("set a 2").ends(0);
    let ran = at(&url).run(&format!("--json migrate --to {there} --verify")).ends(1);
    let report = ran.json();
    assert_eq!((&report["there"], &report["verified"]["different"]), (&json!(1), &json!(1)));
    let ran = at(&url).run(&format!("migrate --to {there} --verify")).ends(1);
    assert!(ran.out.ends_with("differs in value: a\n"), "{ran:?}");
    at(&url).run(&format!("migrate --to {there} --verify --overwrite")).ends(0);
    at(&there).run("get a").says("1\n");
}

#[test]
fn a_migration_into_itself_or_to_nobody_is_an_error() {
    let (_server, url) = redis();
    at(&url).run("set a 1").ends(0);
    at(&url).var("MIGRATE_TO", &url).run("--quiet migrate").ends(2).complains("itself");
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    at(&url).run("migrate --to nonsense").ends(2);
    // What never began has no counts.
    let refused = at(&url).run("--quiet migrate --to memory:// --rate 0").ends(2).says("");
    refused.complains("a rate is a number");
    at(&url).fed(&["import", "-"], b"hello\n").ends(5).says("").complains("no export");
    let ran = at(&url).run(&format!("--json --quiet migrate --to {nobody}")).ends(3);
    assert_eq!(ran.json()["error"]["kind"], json!("Unavailable"), "{ran:?}");
}

#[test]
fn a_server_by_another_name_is_the_same() {
    let (server, url) = redis();
    fill(&server, 10);
    let other = url.replace("127.0.0.1", "localhost");
    for to in [other.clone(), format!("{other}:copy")] {
        let ran = at(&url).var("MIGRATE_TO", &to).run("--quiet migrate --overwrite");
        ran.ends(2).complains("itself");
        assert_eq!(server.command(&["DBSIZE"]), super::support::Reply::Int(10));
    }
    // Beside it is not within it.
    let beside = other.replace("key_prefix=shop", "key_prefix=shop2");
    at(&url).var("MIGRATE_TO", &beside).run("migrate").ends(0);
    at(&beside).run("get k1").says("[1]\n");
}

#[test]
fn a_prefix_that_ends_with_a_colon_stays_one() {
    let (server, _) = redis();
    let to = RedisServer::start(&[]);
    let from = format!("{}?key_prefix=shop:", server.url());
    at(&from).run("set a 1").ends(0);
    at(&from).run(&format!("migrate --to {}", to.url())).ends(0);
    at(&format!("{}?key_prefix=shop:", to.url())).run("get a").says("1\n");
}

#[test]
fn an_export_replaces_files_only_and_leaves_their_rights() {
    let (server, url) = redis();
    let file = server.dir().join("backup.jsonl");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    at(&url).args(&["export", "--force", file.to_str().unwrap()]).ends(0);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    for no_file in [server.dir().to_str().unwrap(), "/dev/null"] {
        at(&url).args(&["export", "--force", no_file]).ends(2).complains("is no file");
    }
}

#[test]
fn ctrl_c_ends_a_migration_with_its_counts_and_another_run_goes_on() {
    let (server, url) = redis();
    fill(&server, 300);
    let to = RedisServer::start(&[]);
    let args = ["--json", "migrate", "--to", to.url(), "--rate", "10", "--batch", "10"];
    let child = at(&url).start(&args);
    // Before anything is copied, one entry is there for a moment.
    while matches!(to.command(&["DBSIZE"]), super::support::Reply::Int(0 | 1)) {
        thread::sleep(Duration::from_millis(20));
    }
    interrupt(&child);
    let report = end(child).ends(5).complains("run again").json();
    let copied = report["copied"].as_u64().unwrap();
    assert!(report["stopped"] == json!(true) && (1..300).contains(&copied), "{report}");
    let report = at(&url).run(&format!("--json migrate --to {} --verify", to.url())).ends(0).json();
    assert_eq!(report["copied"].as_u64().unwrap() + copied, 300);
}

#[test]
fn entries_go_into_a_file_and_come_back() {
    let (server, url) = redis();
    at(&url).run("set a [1] --ttl 1h --tag t").ends(0);
    at(&url).run("set b 2").ends(0);
    let file = server.dir().join("backup.jsonl");
    let file = file.to_str().unwrap();
    at(&url).args(&["export", file]).ends(0);
    at(&url).args(&["export", file]).ends(2).complains("--force");
    at(&url).args(&["export", file, "--force", "--pattern", "*"]).ends(0);
    at(&url).run("clear --yes").ends(0);
    at(&url).args(&["import", file, "--dry-run"]).ends(0);
    at(&url).run("keys").says("");
    let report = at(&url).args(&["--json", "import", file]).ends(0).json();
    assert_eq!(report["copied"], json!(2));
    at(&url).run("keys --tag t").says("a\n");
    let left = at(&url).run("--json ttl a").json()["ttl_seconds"].as_f64().unwrap();
    assert!((3500.0..=3600.0).contains(&left), "{left}");
}

#[test]
fn an_export_goes_through_a_pipe() {
    let (_server, url) = redis();
    at(&url).run("set a [1]").ends(0);
    let whole = at(&url).run("export -").ends(0);
    assert_eq!(whole.out.lines().count(), 3, "{whole:?}");
    at(&url).run("clear --yes").ends(0);
    at(&url).fed(&["import", "-"], &whole.bytes).ends(0);
    at(&url).run("get a").says("[1]\n");
    let half = &whole.bytes[..whole.bytes.len() / 2];
    at(&url).fed(&["--quiet", "import", "-", "--overwrite"], half).ends(5).complains("line");
}

#[test]
fn an_export_that_is_stopped_leaves_no_file() {
    let (server, url) = redis();
    fill(&server, 20_000);
    // It takes its time, and so is stopped before it is done.
    let proxy = Proxy::to(&server.addr());
    proxy.set(Plan::Delay(Duration::from_millis(300)));
    let url = url.replace(&server.addr(), &proxy.addr());
    let file = server.dir().join("backup.jsonl");
    let mut child = at(&url).start(&["export", file.to_str().unwrap(), "--verbose"]);
    wait_for_a_part(&server, &mut child);
    interrupt(&child);
    end(child).ends(5);
    let left: Vec<_> = fs::read_dir(server.dir()).unwrap().flatten().collect();
    let left = left.iter().filter(|file| file.file_name().to_string_lossy().starts_with("backup"));
    assert_eq!(left.count(), 0);
}

fn wait_for_a_part(server: &RedisServer, child: &mut Child) {
    let is_there = || {
        let files = fs::read_dir(server.dir()).unwrap().flatten();
        files.into_iter().any(|file| file.file_name().to_string_lossy().contains(".part-"))
    };
    while !is_there() {
        if child.try_wait().unwrap().is_some() {
            let said = BufReader::new(child.stderr.take().unwrap());
            panic!("{:?}", said.lines().collect::<Vec<_>>());
        }
        thread::sleep(Duration::from_millis(1));
    }
}
