//! The format of an export, byte by byte.

use std::collections::BTreeSet;
use std::hash::Hasher;
use std::time::{Duration, Instant};

use super::fixture::{HOUR, memory, over};
use super::support::in_time;
use yokedcache::{Cache, ErrorKind, FaultKind, Incomplete};

/// A small cache of several kinds of entries, and its export.
fn small() -> (Cache, Vec<u8>) {
    let cache = over(memory(), "shop");
    cache.entry("user:1").ttl(HOUR).tags(["users"]).set("Ann").unwrap();
    cache.set("n", &7).unwrap();
    cache.set("none", &None::<u8>).unwrap();
    cache.set_bytes("raw", vec![0xff, 0]).unwrap();
    let mut file = Vec::new();
    cache.export(&mut file).run().unwrap();
    (cache, file)
}

fn import(file: &[u8]) -> (Cache, Result<u64, Incomplete>) {
    let cache = over(memory(), "copy");
    let imported = cache.import(file).run().map(|report| report.copied);
    (cache, imported)
}

#[track_caller]
fn fault(file: &[u8]) -> (u64, FaultKind) {
    let (cache, imported) = import(file);
    let failed = imported.unwrap_err();
    assert_eq!(failed.error().kind(), ErrorKind::File);
    let stored = cache.keys("*").unwrap().len() as u64;
    assert_eq!(failed.report().copied, stored, "the error says how many were stored");
    let fault = failed.fault().expect("it is the file's fault");
    assert!(failed.to_string().contains(&format!("line {}", fault.line)), "{failed}");
    (fault.line, fault.kind)
}

fn lines(file: &[u8]) -> Vec<Vec<u8>> {
    file.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

#[test]
fn it_is_lines_of_json() {
    let (_, file) = small();
    let text = String::from_utf8(file).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[0]["format"], "yokedcache-export");
    assert_eq!((&lines[0]["version"], &lines[0]["prefix"]), (&1.into(), &"shop:".into()));
    assert_eq!(lines[5]["entries"], 4);
    let line = |key: &str| lines.iter().find(|line| line["key"] == key).unwrap();
    let user = line("user:1");
    assert_eq!((&user["text"], &user["codec"]), (&"\"Ann\"".into(), &"json".into()));
    assert_eq!(user["tags"], serde_json::json!(["users"]));
    let hour = HOUR.as_millis() as u64;
    assert!((hour - 10_000..=hour).contains(&user["hard"].as_u64().unwrap()));
    assert_eq!((&line("n")["text"], &line("n")["codec"]), (&"7".into(), &"int".into()));
    assert_eq!(line("none")["codec"], "negative");
    assert_eq!((&line("raw")["base64"], &line("raw")["codec"]), (&"/wA=".into(), &"raw".into()));
    assert!(line("n").get("hard").is_none() && line("n").get("tags").is_none());
}

#[test]
fn a_file_cut_off_anywhere_is_noticed() {
    let (_, file) = small();
    assert_eq!(import(&file).1.unwrap(), 4);
    let ends: Vec<usize> = (0..file.len()).filter(|at| file[*at] == b'\n').collect();
    for cut in 0..file.len() {
        let line = ends.iter().filter(|end| **end < cut).count() as u64 + 1;
        assert_eq!(fault(&file[..cut]), (line, FaultKind::CutOff), "at {cut}");
    }
}

#[test]
fn a_changed_bit_is_noticed_before_its_line_is_used() {
    let (cache, file) = small();
    let all: BTreeSet<String> = cache.keys("*").unwrap().into_iter().collect();
    for at in 0..file.len() {
        for bit in [0, 3, 7] {
            let mut garbled = file.clone();
            garbled[at] ^= 1 << bit;
            let (_, kind) = fault(&garbled);
            assert_ne!(kind, FaultKind::Trailing);
            let (copy, _) = import(&garbled);
            for key in copy.keys("*").unwrap() {
                assert!(all.contains(&key));
                assert_eq!(copy.get_bytes(&key).unwrap(), cache.get_bytes(&key).unwrap());
            }
        }
    }
}

#[test]
fn lines_lost_doubled_or_out_of_order_are_noticed() {
    let (_, file) = small();
    let lines = lines(&file);
    let joined =
        |order: &[usize]| order.iter().flat_map(|at| lines[*at].clone()).collect::<Vec<u8>>();
    assert_eq!(fault(&joined(&[0, 1, 3, 4, 5])), (3, FaultKind::Damaged));
    assert_eq!(fault(&joined(&[0, 1, 1, 2, 3, 4, 5])), (3, FaultKind::Damaged));
    assert_eq!(fault(&joined(&[0, 2, 1, 3, 4, 5])), (2, FaultKind::Damaged));
    assert_eq!(fault(&joined(&[0, 5])), (2, FaultKind::Damaged));
    assert_eq!(fault(&joined(&[0, 1, 2, 3, 4, 5, 5])), (7, FaultKind::Trailing));
    assert_eq!(fault(&joined(&[0, 1, 2, 3, 4])), (6, FaultKind::CutOff));
}

#[test]
fn other_files_and_versions_are_told_apart() {
    let (_, file) = small();
    let text = String::from_utf8(file).unwrap();
    let other = text.replacen("\"version\":1", "\"version\":2", 1);
    assert_eq!(fault(other.as_bytes()), (1, FaultKind::Version(2)));
    for foreign in ["hello\n", "{}\n", "[]\n", "{\"format\":\"other\",\"version\":1}\n", "\n"] {
        assert_eq!(fault(foreign.as_bytes()), (1, FaultKind::Foreign), "{foreign:?}");
    }
    assert_eq!(fault(b""), (1, FaultKind::CutOff));
    let endless = std::io::BufReader::new(std::io::repeat(b'x'));
    let refused = over(memory(), "copy").import(endless).run().unwrap_err();
    assert_eq!(refused.fault().unwrap().kind, FaultKind::Foreign);
}

#[test]
fn the_time_a_file_lies_counts_unless_told_otherwise() {
    let (cache, _) = small();
    let short = Duration::from_secs(1);
    let file = in_time(|| {
        let mut file = Vec::new();
        let begun = Instant::now();
        cache.entry("short").ttl(short).set(&1).unwrap();
        cache.export(&mut file).run().unwrap();
        (begun.elapsed() < short / 4).then_some(file)
    });
    std::thread::sleep(2 * short);
    let copy = over(memory(), "copy");
    let report = copy.import(&file[..]).run().unwrap();
    assert_eq!((report.copied, report.reasons["gone"]), (4, 1));
    assert_eq!(report.skips[0].key, "short");
    in_time(|| {
        let (copy, begun) = (over(memory(), "copy"), Instant::now());
        let copied = copy.import(&file[..]).keep_ttl().run().unwrap().copied;
        let there = copy.exists("short").unwrap();
        // What was left of its life in the file is nearly all of it.
        if begun.elapsed() >= short / 2 {
            return None;
        }
        assert_eq!((copied, there), (5, true));
        Some(())
    });
}

/// A file of these lines, with the sums they should have.
fn sealed(lines: &[String]) -> Vec<u8> {
    let first =
        r#"{"format":"yokedcache-export","version":1,"prefix":"","created":0,"library":"x"}"#;
    let last = format!("{{\"entries\":{}}}", lines.len());
    let (mut file, mut sum) = (Vec::new(), twox_hash::XxHash3_64::new());
    for line in [first.to_owned()].iter().chain(lines).chain([&last]) {
        let begun = file.len();
        file.extend_from_slice(line.strip_suffix('}').unwrap().as_bytes());
        sum.write(&file[begun..]);
        let end = format!(",\"sum\":\"{:016x}\"}}\n", sum.finish());
        sum.write(end.as_bytes());
        file.extend_from_slice(end.as_bytes());
    }
    file
}

#[test]
fn tags_that_no_cache_would_take_are_left_out() {
    let line = |key: &str, tags: &[String]| {
        let tags = serde_json::to_string(tags).unwrap();
        format!(r#"{{"key":"{key}","text":"1","codec":"json","tags":{tags}}}"#)
    };
    let many: Vec<String> = (0..257).map(|n| n.to_string()).collect();
    let lines = [
        line("good", &many[..256]),
        line("many", &many),
        line("empty", &[String::new()]),
        line("long", &["t".repeat(yokedcache::MAX_KEY + 1)]),
    ];
    for prefix in ["", "b"] {
        let to = over(memory(), prefix);
        let report = to.import(&sealed(&lines)[..]).run().unwrap();
        assert_eq!((report.copied, report.reasons["tag"]), (1, 3), "{:?}", report.skips);
        assert_eq!(to.keys("*").unwrap(), ["good"]);
    }
}
