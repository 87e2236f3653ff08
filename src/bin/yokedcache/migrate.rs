//! Copying entries to another cache.

use std::ops::ControlFlow;

use clap::Args;
use serde_json::json;
use yokedcache::{Incomplete, Phase, Report, Skip};

use crate::args::Global;
use crate::exit::{Exit, Failure, Outcome, name};
use crate::open::{Target, open, open_beside};
use crate::output::{Out, fact};
use crate::ping::ms;
use crate::progress::Progress;
use crate::server::address::Address;
use crate::stop::Stop;
use crate::words::{count, escaped, lasting, many, size};

/// Copies entries to another cache. What is there already stays, unless told otherwise: run again, it
/// goes on where it was stopped.
#[derive(Args)]
pub struct Migrate {
    /// The cache to copy to; under the same key prefix unless it has another: ?key_prefix=shop
    /// [variable: MIGRATE_TO]
    #[arg(long, value_name = "URL", env = "MIGRATE_TO", hide_env = true)]
    to: String,
    /// Only keys that match this Redis glob
    #[arg(long, short, value_name = "GLOB", default_value = "*")]
    pattern: String,
    /// Counts what would be copied, and writes nothing
    #[arg(long)]
    dry_run: bool,
    /// Compares the two afterwards; exit code 1 if they differ
    #[arg(long)]
    verify: bool,
    /// Replaces what is there
    #[arg(long)]
    overwrite: bool,
    /// Keys a second, at most
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Keys handled together
    #[arg(long, value_name = "N", default_value_t = 500)]
    batch: usize,
}

pub fn run(migrate: &Migrate, global: &Global, out: Out) -> Outcome {
    let stop = Stop::on_ctrl_c();
    let from = open(global)?;
    let to = open_beside(&from, &migrate.to)?;
    if is_within(&to, &from) {
        let what = "a cache cannot be migrated into itself, or into a namespace of its own: give --to \
                    another server or another ?key_prefix=";
        return Err(Failure::usage(what));
    }
    // Nobody has to read it.
    let _ = out.aside(format!("from {} to {}", named(&from), named(&to)));
    let mut bar = Progress::new(out);
    let mut copying = from
        .cache
        .migrate_to(&to.cache)
        .pattern(migrate.pattern.as_str())
        .batch_size(migrate.batch)
        .stop_flag(stop.flag())
        .on_skip(|key, why| tell_skip(key, why, out))
        .on_progress(|progress| {
            bar.at(verb(progress.phase), progress.looked_at, progress.total);
            ControlFlow::Continue(())
        });
    if let Some(rate) = migrate.rate {
        copying = copying.rate_limit(rate);
    }
    if migrate.dry_run {
        copying = copying.dry_run();
    }
    if migrate.overwrite {
        copying = copying.overwrite();
    }
    if migrate.verify {
        copying = copying.verify();
    }
    let done = copying.run();
    bar.end();
    finish(done, out)
}

/// Whether the one names entries of the other, as far as addresses tell; the library tries it out.
fn is_within(to: &Target, from: &Target) -> bool {
    let shared = to.addresses.iter().any(|a| {
        let same = |b: &&Address| a.db == b.db && a.places.iter().any(|at| b.places.contains(at));
        from.addresses.iter().any(|b| same(&b))
    });
    shared && to.prefix.starts_with(&from.prefix)
}

fn named(target: &Target) -> String {
    format!("{:?} at {}", escaped(&target.prefix), target.shown)
}

pub fn verb(phase: Phase) -> &'static str {
    match phase {
        Phase::Copying => "copying",
        Phase::Verifying => "comparing",
        Phase::Exporting => "exporting",
        Phase::Importing => "importing",
        _ => "working",
    }
}

/// An entry that was left out is worth a line: nobody would miss it in a sum.
pub fn tell_skip(key: &str, why: &Skip, out: Out) {
    // Whoever does not read it does not want to know.
    let _ = out.aside(format!("left out {}: {why}", escaped(key)));
}

/// Shows what became of the entries.
pub fn finish(done: Result<Report, Incomplete>, out: Out) -> Outcome {
    let report = match &done {
        Ok(report) => report,
        Err(incomplete) => incomplete.report(),
    };
    // Of what never began there is nothing to tell but why.
    if done.is_ok() || report.looked_at > 0 {
        show(report, out)?;
    }
    let error = done.as_ref().err().map(|incomplete| {
        let error = incomplete.error();
        json!({"kind": name(error.kind()), "message": error.to_string()})
    });
    let mut document = serde_json::to_value(report)?;
    if let Some(fields) = document.as_object_mut() {
        fields.remove("elapsed");
        fields.insert("elapsed_ms".into(), ms(report.elapsed).into());
        fields.extend(error.map(|error| ("error".to_owned(), error)));
    }
    out.document(&document)?;
    match done {
        // The document has the error already.
        Err(incomplete) => Err(Failure { told: true, ..incomplete.error().clone().into() }),
        Ok(report) if report.stopped => {
            let what = "stopped before the end; run again to go on";
            Err(Failure { told: true, ..Failure::new(Exit::Other, "Stopped", what) })
        }
        Ok(report) if report.is_complete() => Ok(Exit::Done),
        Ok(_) => Ok(Exit::No),
    }
}

fn show(report: &Report, out: Out) -> Outcome<()> {
    let copied = match report.dry_run {
        true => fact("would be copied", count(report.copied)),
        false => fact("copied", format!("{}, {}", count(report.copied), size(report.bytes))),
    };
    let mut rows = vec![
        copied,
        fact("there already", count(report.there)),
        fact("newer there", count(report.overtaken)),
        fact("left out", count(report.skipped)),
    ];
    for (reason, number) in &report.reasons {
        rows.push(fact(&format!("  {}", reason.replace('_', " ")), count(*number)));
    }
    let looked_at =
        format!("{} in {}", many(report.looked_at, "key", "keys"), lasting(report.elapsed));
    rows.push(fact("looked at", looked_at));
    if let Some(verified) = &report.verified {
        rows.push(fact("compared", count(verified.compared)));
        rows.push(fact("the same", count(verified.same)));
        rows.push(fact("missing", count(verified.missing)));
        rows.push(fact("different", count(verified.different)));
    }
    out.table(&[], rows)?;
    let Some(verified) = &report.verified else { return Ok(()) };
    for difference in &verified.differences {
        let what = format!("{:?}", difference.what).to_lowercase();
        out.say(format!("differs in {what}: {}", escaped(&difference.key)))?;
    }
    Ok(())
}
