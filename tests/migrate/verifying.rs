//! Two caches compared.

use std::time::Duration;

use super::faulty::{Faulty, away};
use super::fixture::{HOUR, memory, over};
use yokedcache::{Cache, Differs, ErrorKind, Phase};

fn compared(from: &Cache, to: &Cache) -> yokedcache::Verified {
    let report = from.migrate_to(to).dry_run().verify().run().unwrap();
    report.verified.unwrap()
}

#[test]
fn every_difference_is_found_and_named() {
    let (from, to) = (over(memory(), "a"), over(memory(), "b"));
    let keys = ["same", "missing", "value", "codec", "schema", "tags", "soft", "hard", "idle"];
    for key in keys {
        let set = |cache: &Cache, key: &str| {
            cache.entry(key).ttl(HOUR).stale_for(HOUR).sliding(HOUR).tag("t").set("v").unwrap()
        };
        set(&from, key);
        set(&to, key);
    }
    let entry = |key: &'static str| to.entry(key).ttl(HOUR).stale_for(HOUR).sliding(HOUR);
    to.delete("missing").unwrap();
    entry("value").tag("t").set("other").unwrap();
    entry("codec").tag("t").set_bytes(&b"\"v\""[..]).unwrap();
    let schema = to.with_schema(3);
    schema.entry("schema").ttl(HOUR).stale_for(HOUR).sliding(HOUR).tag("t").set("v").unwrap();
    entry("tags").tags(["t", "u"]).set("v").unwrap();
    let near = HOUR - Duration::from_secs(5);
    entry("soft").ttl(near).stale_for(HOUR + Duration::from_secs(5)).tag("t").set("v").unwrap();
    entry("hard").stale_for(near).tag("t").set("v").unwrap();
    entry("idle").sliding(near).tag("t").set("v").unwrap();

    let verified = compared(&from, &to);
    assert_eq!((verified.compared, verified.same), (9, 1));
    assert_eq!((verified.missing, verified.different), (1, 7));
    assert!(!verified.is_same());
    let mut found: Vec<(&str, Differs)> =
        verified.differences.iter().map(|found| (found.key.as_str(), found.what)).collect();
    found.sort_unstable_by_key(|found| found.0);
    let expected = [
        ("codec", Differs::Codec),
        ("hard", Differs::Life),
        ("idle", Differs::Life),
        ("missing", Differs::Missing),
        ("schema", Differs::Schema),
        ("soft", Differs::Life),
        ("tags", Differs::Tags),
        ("value", Differs::Value),
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_only_the_target_has_is_no_difference() {
    let (from, to) = (over(memory(), "a"), over(memory(), "b"));
    to.set("k", &1).unwrap();
    assert!(compared(&from, &to).is_same());
}

#[test]
#[cfg(feature = "compression")]
fn how_a_value_is_packed_is_no_difference() {
    use yokedcache::Compression;

    let text = "text ".repeat(1_000);
    let packed = |compression| {
        let cache = Cache::builder(memory()).key_prefix("b").compression(compression);
        let cache = cache.build().unwrap();
        cache.set("k", &text).unwrap();
        cache
    };
    let plain = over(memory(), "a");
    plain.set("k", &text).unwrap();
    let (lz4, zstd) = (packed(Compression::lz4()), packed(Compression::zstd()));
    for (from, to) in [(&plain, &lz4), (&lz4, &zstd), (&zstd, &plain)] {
        assert!(compared(from, to).is_same());
        assert_eq!(from.migrate_to(to).overwrite().run().unwrap().there, 1);
    }
    lz4.set("k", &text[1..]).unwrap();
    assert_eq!(compared(&zstd, &lz4).different, 1);
}

#[test]
fn a_difference_that_is_gone_at_the_second_look_is_none() {
    let target = Faulty::new();
    let (from, to) = (over(memory(), "a"), over(target.clone(), "b"));
    from.set("k", "new").unwrap();
    to.set("k", "old").unwrap();
    let (late, mut reads) = (to.clone(), 0);
    target.hooked(move |call| {
        reads += u32::from(call == "after read");
        if call == "after read" && reads == 1 {
            late.set("k", "new").unwrap();
        }
        Ok(())
    });
    assert!(compared(&from, &to).is_same());
}

#[test]
fn an_error_while_comparing_keeps_what_was_copied() {
    let target = Faulty::new();
    let (from, to) = (over(memory(), "a"), over(target.clone(), "b"));
    from.set("k", &1).unwrap();
    let broken = target.clone();
    let migration = from.migrate_to(&to).verify().on_progress(|progress| {
        if progress.phase == Phase::Copying && progress.copied == 1 {
            broken.hooked(|_| Err(away()));
        }
        std::ops::ControlFlow::Continue(())
    });
    let failed = migration.run().unwrap_err();
    assert_eq!(failed.error().kind(), ErrorKind::Unavailable);
    assert_eq!(failed.report().copied, 1);
}

#[test]
fn a_last_batch_that_takes_its_time_is_no_difference() {
    let target = Faulty::new();
    let (from, to) = (over(memory(), "a"), over(target.clone(), "b"));
    from.entry("k").ttl(HOUR).set("v").unwrap();
    target.hooked(|call| {
        if call == "write" {
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    });
    assert!(from.migrate_to(&to).verify().run().unwrap().is_complete());
}
