//! Entries from one cache to another, while the target is used, and into a file and back.
//!
//! `cargo run --example migrate`: from memory to memory, or to the server that `REDIS_URL` names with
//! `--features redis`.

use std::error::Error;
use std::ops::ControlFlow;
use std::time::Duration;

use yokedcache::{Cache, Memory, Report};

const HOUR: Duration = Duration::from_secs(3600);

fn target() -> yokedcache::Result<Cache> {
    #[cfg(feature = "redis")]
    if let Ok(url) = std::env::var("REDIS_URL") {
        println!("to the server");
        return Cache::builder(yokedcache::Redis::open(&url)?)
            .key_prefix("yokedcache-migrate")
            .strict()
            .build();
    }
    println!("to memory");
    Cache::builder(Memory::builder().build()?).key_prefix("yokedcache-migrate").build()
}

fn show(what: &str, report: &Report) {
    let Report { copied, there, overtaken, skipped, elapsed, .. } = report;
    println!(
        "{what:<12} copied {copied}, there {there}, overtaken {overtaken}, skipped {skipped}, in {elapsed:.1?}"
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let old = Cache::builder(Memory::builder().build()?).key_prefix("shop").build()?;
    for n in 0..10_000 {
        let entry = old.entry(format!("user:{n}")).ttl(HOUR).tags(["users"]);
        entry.set(&format!("user {n}"))?;
    }
    let new = target()?;
    new.clear()?;
    new.set("user:7", "somebody wrote this here before")?;

    show("dry run", &old.migrate_to(&new).dry_run().run()?);

    // Somebody stops it half way, as Ctrl-C would.
    let migration = old.migrate_to(&new).on_progress(|progress| match progress.copied {
        5_000.. => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    let report = migration.run()?;
    show("stopped", &report);
    assert!(report.stopped);

    // Run again, it goes on; then the two are compared.
    let report = old.migrate_to(&new).verify().run()?;
    show("the rest", &report);
    if let Some(verified) = &report.verified {
        println!("             {} compared, {} the same", verified.compared, verified.same);
        for difference in &verified.differences {
            println!("             {}: {:?} differs", difference.key, difference.what);
        }
    }
    println!("user:8       {:?}, {:?}", new.get::<String>("user:8")?, new.ttl("user:8")?);
    println!("user:7       {:?}", new.get::<String>("user:7")?);

    let mut file = Vec::new();
    show("export", &new.export(&mut file).pattern("user:1*").run()?);
    println!("             {} bytes", file.len());
    new.invalidate_tags(["users"])?;
    show("import", &new.import(&file[..]).run()?);
    file.truncate(file.len() / 2);
    if let Err(incomplete) = Cache::memory(10_000).import(&file[..]).run() {
        println!("half a file  {incomplete}");
    }
    new.clear()?;
    Ok(())
}
