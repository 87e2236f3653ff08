//! Entries in files.

use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, BufWriter, IsTerminal};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process;

use clap::{Args, ValueHint};
use yokedcache::{Incomplete, Report};

use crate::exit::{Failure, Outcome};
use crate::migrate::{finish, tell_skip, verb};
use crate::open::Target;
use crate::output::Out;
use crate::progress::Progress;
use crate::stop::Stop;

/// Writes entries to a file of JSON lines, which import reads.
#[derive(Args)]
pub struct Export {
    /// The file; - is the standard output
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Only keys that match this Redis glob
    #[arg(long, short, value_name = "GLOB", default_value = "*")]
    pattern: String,
    /// Replaces a file that is there
    #[arg(long)]
    force: bool,
}

/// Stores the entries of a file that export wrote. What is there already stays, unless told otherwise.
#[derive(Args)]
pub struct Import {
    /// The file; - is the standard input
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Only keys that match this Redis glob
    #[arg(long, short, value_name = "GLOB", default_value = "*")]
    pattern: String,
    /// Counts what would be stored, and writes nothing
    #[arg(long)]
    dry_run: bool,
    /// Replaces what is there
    #[arg(long)]
    overwrite: bool,
    /// Times to live begin anew; else the time since the export counts
    #[arg(long)]
    keep_ttl: bool,
}

pub fn export(export: &Export, target: &Target, out: Out) -> Outcome {
    if export.file == Path::new("-") {
        if out.terminal {
            return Err(Failure::usage("an export is not for a terminal: name a file, or pipe it"));
        }
        // The entries have the standard output to themselves.
        let done = written(export, target, io::stdout().lock(), &Stop::on_ctrl_c(), out);
        return match done {
            Err(incomplete) if is_pipe(&incomplete) => {
                Err(io::Error::from(io::ErrorKind::BrokenPipe).into())
            }
            done => finish(done, out.elsewhere()),
        };
    }
    let name = export.file.display().to_string();
    let whole = |error: io::Error| Failure::file(&name, &error);
    let before = replaced(export)?;
    let stop = Stop::on_ctrl_c();
    // Under its name there is never a part of a file.
    let part = export.file.with_extension(format!("part-{}", process::id()));
    let file = File::create_new(&part).map_err(whole)?;
    if let Some(before) = before {
        file.set_permissions(before.permissions()).map_err(whole)?;
    }
    let done = written(export, target, BufWriter::new(&file), &stop, out);
    let is_whole = matches!(&done, Ok(report) if !report.stopped);
    let kept = match is_whole {
        true => file.sync_all().and_then(|()| fs::rename(&part, &export.file)),
        false => fs::remove_file(&part),
    };
    if let Err(error) = kept {
        // It may be what could not be removed: the first error counts.
        let _ = fs::remove_file(&part);
        return Err(whole(error));
    }
    finish(done, out)
}

/// The file that is there already, if it may be replaced.
fn replaced(export: &Export) -> Outcome<Option<Metadata>> {
    let name = export.file.display();
    let Ok(before) = fs::metadata(&export.file) else { return Ok(None) };
    if !before.is_file() {
        return Err(Failure::usage(format!("{name} is no file; - is the standard output")));
    }
    if !export.force {
        return Err(Failure::usage(format!("{name} is there already: --force replaces it")));
    }
    Ok(Some(before))
}

fn is_pipe(incomplete: &Incomplete) -> bool {
    let mut source = std::error::Error::source(incomplete.error());
    while let Some(error) = source {
        if error.downcast_ref().is_some_and(|e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe) {
            return true;
        }
        source = error.source();
    }
    false
}

fn written(
    export: &Export,
    target: &Target,
    to: impl io::Write,
    stop: &Stop,
    out: Out,
) -> Result<Report, Incomplete> {
    let mut bar = Progress::new(out);
    let running = target
        .cache
        .export(BufWriter::new(to))
        .pattern(export.pattern.as_str())
        .stop_flag(stop.flag())
        .on_skip(|key, why| tell_skip(key, why, out))
        .on_progress(|progress| {
            bar.at(verb(progress.phase), progress.looked_at, progress.total);
            ControlFlow::Continue(())
        });
    let done = running.run();
    bar.end();
    done
}

pub fn import(import: &Import, target: &Target, out: Out) -> Outcome {
    let name = import.file.display().to_string();
    let from: Box<dyn io::BufRead> = if import.file == Path::new("-") {
        if io::stdin().is_terminal() {
            return Err(Failure::usage("nothing comes from a terminal: name a file, or pipe it"));
        }
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(&import.file).map_err(|error| Failure::file(&name, &error))?;
        Box::new(BufReader::new(file))
    };
    let stop = Stop::on_ctrl_c();
    let mut bar = Progress::new(out);
    let mut running = target
        .cache
        .import(from)
        .pattern(import.pattern.as_str())
        .stop_flag(stop.flag())
        .on_skip(|key, why| tell_skip(key, why, out))
        .on_progress(|progress| {
            bar.at(verb(progress.phase), progress.looked_at, progress.total);
            ControlFlow::Continue(())
        });
    if import.dry_run {
        running = running.dry_run();
    }
    if import.overwrite {
        running = running.overwrite();
    }
    if import.keep_ttl {
        running = running.keep_ttl();
    }
    let done = running.run();
    bar.end();
    finish(done, out)
}
