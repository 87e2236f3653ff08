//! A cache into a file, and back.

use std::io::{self, BufReader, Read, Write};
use std::ops::ControlFlow;
use std::time::Duration;

use super::custom::Sorted;
use super::faulty::{Faulty, away};
use super::fixture::{HOUR, assert_same, dump, fill, memory, over};
use yokedcache::{Cache, ErrorKind, FaultKind, Phase, Skip};

fn exported(cache: &Cache) -> Vec<u8> {
    let mut file = Vec::new();
    cache.export(&mut file).run().unwrap();
    file
}

#[test]
fn entries_of_all_kinds_come_back() {
    let from = Cache::builder(memory()).key_prefix("a");
    #[cfg(feature = "compression")]
    let from = from.compression(yokedcache::Compression::zstd());
    let from = from.build().unwrap();
    fill(&from, 2_000);
    from.entry("slow")
        .ttl(HOUR)
        .get_or_compute(|| std::thread::sleep(Duration::from_millis(9)))
        .unwrap();
    let mut file = Vec::new();
    let report = from.export(&mut file).run().unwrap();
    assert_eq!((report.looked_at, report.copied, report.skipped), (2_001, 2_001, 0));

    let to = over(memory(), "b:c");
    let report = to.import(BufReader::with_capacity(7, &file[..])).run().unwrap();
    assert_eq!((report.looked_at, report.copied, report.skipped), (2_001, 2_001, 0));
    assert!(report.is_complete());
    assert_same(&dump(&from, "a:"), &dump(&to, "b:c:"), Duration::from_secs(60));
    assert!(to.invalidate_tags(["all"]).unwrap().entries.unwrap() >= 400);
    assert_eq!(
        to.import(&file[..]).run().unwrap().there,
        1_601,
        "what was invalidated comes again"
    );
}

#[test]
#[cfg(feature = "redis")]
fn servers_are_saved_and_filled() {
    let server = super::support::RedisServer::start(&[]);
    let open = |prefix| over(yokedcache::Redis::open(server.url()).unwrap(), prefix);
    let (from, to) = (open("a"), open("b"));
    fill(&from, 1_000);
    assert_eq!(to.import(&exported(&from)[..]).run().unwrap().copied, 1_000);
    assert_same(&dump(&from, "a:"), &dump(&to, "b:"), Duration::from_secs(60));
}

#[test]
fn what_is_there_stays_unless_it_is_to_be_overwritten() {
    let (from, to) = (over(memory(), "a"), over(memory(), "b"));
    from.set("k", "older").unwrap();
    from.set("same", "same").unwrap();
    to.set("k", "newer").unwrap();
    to.set("same", "same").unwrap();
    let file = exported(&from);
    let report = to.import(&file[..]).dry_run().overwrite().run().unwrap();
    assert_eq!((report.copied, report.there), (1, 1));
    assert_eq!(to.import(&file[..]).run().unwrap().there, 2);
    assert_eq!(to.get::<String>("k").unwrap().as_deref(), Some("newer"));
    let report = to.import(&file[..]).overwrite().run().unwrap();
    assert_eq!((report.copied, report.there), (1, 1));
    assert_eq!(to.get::<String>("k").unwrap().as_deref(), Some("older"));
}

#[test]
fn patterns_pick_on_both_ways() {
    let (from, to) = (over(memory(), "a"), over(memory(), "b"));
    for key in ["user:1", "user:2", "post:1"] {
        from.set(key, key).unwrap();
    }
    let mut file = Vec::new();
    assert_eq!(from.export(&mut file).pattern("user:*").run().unwrap().copied, 2);
    assert_eq!(to.import(&file[..]).pattern("*:1").run().unwrap().looked_at, 1);
    assert_eq!(to.keys("*").unwrap(), ["user:1"]);
}

#[test]
fn a_namespace_is_saved_without_its_name_and_tags_outside_are_told() {
    let (from, to) = (over(memory(), "a"), over(memory(), "b"));
    from.namespace("eu").entry("x").tag("t").set(&1).unwrap();
    from.entry("eu:y").tag("everywhere").set(&1).unwrap();
    let mut file = Vec::new();
    let report = from.namespace("eu").export(&mut file).run().unwrap();
    assert_eq!((report.copied, &report.skips[0].why), (1, &Skip::Tag));
    to.namespace("us").import(&file[..]).run().unwrap();
    assert_eq!(to.invalidate_tags(["us:t"]).unwrap().entries, Some(1));
}

#[test]
fn an_export_that_is_stopped_is_a_file_cut_off() {
    let from = over(memory(), "a");
    fill(&from, 1_000);
    let mut file = Vec::new();
    let export = from.export(&mut file).batch_size(100).on_progress(|progress| {
        assert_eq!(progress.phase, Phase::Exporting);
        if progress.looked_at >= 300 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let report = export.run().unwrap();
    assert!(report.stopped && report.copied < 1_000);
    let to = over(memory(), "b");
    let failed = to.import(&file[..]).run().unwrap_err();
    assert_eq!(failed.fault().unwrap().kind, FaultKind::CutOff);
    assert_eq!(failed.report().copied, report.copied, "what is there was stored");
}

#[test]
fn an_import_that_is_stopped_goes_on_the_next_time() {
    let (from, to) = (over(memory(), "a"), over(memory(), "b"));
    fill(&from, 1_000);
    let file = exported(&from);
    let import = to.import(&file[..]).batch_size(100).on_progress(|progress| {
        if progress.looked_at >= 300 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let report = import.run().unwrap();
    assert!(report.stopped && report.copied == 300);
    let report = to.import(&file[..]).run().unwrap();
    assert_eq!((report.there, report.copied), (300, 700));
}

/// Fails after some bytes, as a disk that is full does.
struct Small(usize);

impl Write for Small {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Small {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        bytes.fill(b' ');
        self.write(bytes)
    }
}

#[test]
fn a_file_that_cannot_be_written_or_read_is_an_error() {
    let from = over(memory(), "a");
    fill(&from, 1_000);
    let failed = from.export(Small(20_000)).run().unwrap_err();
    assert_eq!(failed.error().kind(), ErrorKind::File);
    assert!(failed.fault().is_none() && failed.report().looked_at < 1_000);
    let source = std::error::Error::source(failed.error()).unwrap();
    assert!(source.downcast_ref::<io::Error>().is_some());

    let to = over(memory(), "b");
    let failed = to.import(BufReader::with_capacity(100, Small(1_000))).run().unwrap_err();
    assert_eq!(failed.error().kind(), ErrorKind::File);
    assert!(failed.fault().is_none());
}

#[test]
fn a_cache_that_cannot_list_keys_or_is_away_writes_no_end() {
    let source = Faulty::new();
    let from = over(source.clone(), "a");
    fill(&from, 10);
    source.hooked(|call| if call == "read" { Err(away()) } else { Ok(()) });
    let mut file = Vec::new();
    let failed = from.export(&mut file).run().unwrap_err();
    assert_eq!(failed.error().kind(), ErrorKind::Unavailable);
    let cut = over(memory(), "b").import(&file[..]).run().unwrap_err();
    assert_eq!(cut.fault().unwrap().kind, FaultKind::CutOff);

    source.change_can(|can| can.scan = false);
    let mut file = Vec::new();
    let refused = from.export(&mut file).run().unwrap_err();
    assert_eq!(refused.error().kind(), ErrorKind::Unsupported);
    assert!(file.is_empty());
}

#[test]
fn a_target_without_tags_takes_the_rest_of_a_file() {
    let from = over(memory(), "a");
    from.entry("tagged").tag("t").set(&1).unwrap();
    from.entry("plain").set(&1).unwrap();
    let to = over(Sorted::new(), "b");
    let report = to.import(&exported(&from)[..]).run().unwrap();
    assert_eq!((report.copied, report.reasons["unsupported"]), (1, 1));
}

#[test]
fn what_somebody_loads_is_waited_for_while_the_file_goes_on() {
    let (from, to) = (over(memory(), "a"), over(memory(), "b"));
    fill(&from, 1_000);
    let slot = to.entry("key:0000000").begin::<String>().unwrap();
    let file = exported(&from);
    let mut slot = Some(slot);
    let import = to.import(&file[..]).batch_size(50).on_progress(|progress| {
        if progress.looked_at == 999 {
            slot = None;
        }
        ControlFlow::Continue(())
    });
    let report = import.run().unwrap();
    assert_eq!((report.copied, report.skipped), (1_000, 0), "{report:?}");
}
