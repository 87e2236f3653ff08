//! The command-line tool `yokedcache`.

mod args;
mod ask;
mod bench;
mod configuration;
mod doctor;
mod exit;
mod files;
mod health;
mod listing;
mod log;
mod migrate;
mod open;
mod output;
mod ping;
mod progress;
mod removal;
mod server;
mod stats;
mod stop;
mod stored;
mod values;
mod variables;
mod words;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use args::{Command, Line};
use exit::{Exit, Failure, Outcome};
use output::Out;

fn main() -> ExitCode {
    let line = match Line::try_parse() {
        Ok(line) => line,
        Err(error) => return misread(&error).into(),
    };
    let out = Out::new(&line.global);
    if line.global.verbose {
        log::to_stderr();
    }
    let json = out.json;
    run(line, out).unwrap_or_else(|failure| failure.tell(json)).into()
}

fn run(Line { global, command }: Line, out: Out) -> Outcome {
    match command {
        Command::Ping(ping) => ping::run(&ping, &open::open(&global)?, out),
        Command::Health(health) => health::run(&health, &open::open(&global)?, out),
        Command::Get(get) => values::get(&get, &open::open(&global)?, out),
        Command::Set(set) => values::set(&set, &open::open(&global)?, out),
        Command::Delete(delete) => values::delete(&delete, &open::open(&global)?, out),
        Command::Ttl(life) => values::life(&life, &open::open(&global)?, out),
        Command::Keys(keys) => listing::keys(&keys, &open::open(&global)?, out),
        Command::Search(search) => listing::search(&search, &open::open(&global)?, out),
        Command::Invalidate(what) => removal::invalidate(&what, &open::open(&global)?, out),
        Command::Clear(clear) => removal::clear(&clear, &open::open(&global)?, out),
        Command::Stats(show) => stats::run(&show, &open::open(&global)?, out),
        Command::Migrate(migrate) => migrate::run(&migrate, &global, out),
        Command::Export(export) => files::export(&export, &open::open(&global)?, out),
        Command::Import(import) => files::import(&import, &open::open(&global)?, out),
        Command::Config(what) => configuration::run(&what, &global, out),
        Command::Bench(bench) => bench::run(&bench, &open::open(&global)?, out),
        Command::Doctor => doctor::run(&global, out),
        Command::Completions(completions) => {
            let mut script = Vec::new();
            let mut command = Line::command();
            clap_complete::generate(completions.shell, &mut command, "yokedcache", &mut script);
            out.raw(&script)?;
            Ok(Exit::Done)
        }
    }
}

/// What was said on the command line may be an address in the wrong place, its scheme forgotten.
fn without_addresses(text: String) -> String {
    let words = std::env::args_os().filter_map(|arg| arg.into_string().ok());
    words.filter(|word| word.contains('@')).fold(text, |text, word| {
        let value = word.split_once('=').filter(|_| word.starts_with('-'));
        let value = value.map_or(&*word, |(_, value)| value);
        text.replace(value, &words::shown_address(value))
    })
}

/// Help and version go out as they are; what is wrong with a command line is one line.
fn misread(error: &clap::Error) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader who has gone is no error.
            let _ = error.print();
            return Exit::Done;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = write!(io::stderr(), "{}", error.render());
            return Exit::Usage;
        }
        _ => {}
    }
    let text = without_addresses(error.render().to_string());
    let text = text.split("\n\nUsage:").next().unwrap_or_default();
    let text = text.split("\n\nFor more").next().unwrap_or_default();
    let parts = text.trim_start_matches("error: ").trim_end().split("\n\n");
    let parts: Vec<_> = parts.map(|part| part.trim().trim_start_matches("tip: ")).collect();
    let what = parts.join("; ");
    let json = std::env::args_os().any(|arg| arg == "--json");
    Failure::usage(format!("{what}; see yokedcache --help")).tell(json)
}
