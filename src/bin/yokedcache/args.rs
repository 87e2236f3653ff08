//! What can be said on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use crate::words::{self, Span};
use crate::{bench, files, listing, migrate, removal, stats, values};

const WHICH: &str = "\
Which cache:
  --url URL, or --config FILE --env NAME, or the variables YOKEDCACHE_URL, YOKEDCACHE_CONFIG and
  YOKEDCACHE_ENV. What is said on the command line counts; other variables go over a file. A password in
  --url is seen by everybody who may list processes: leave it to YOKEDCACHE_URL, to a file, or to
  --password-stdin.

Exit codes:
  0  done; the answer is yes
  1  the answer is no: no such key, not healthy, a check has failed, copies differ
  2  the command line or the configuration is wrong
  3  the backend cannot be reached, does not serve, or did not answer in time
  4  refused: the login, a right, or what the backend cannot do
  5  any other error";

/// Looks into caches, tests them, moves and removes what is in them.
#[derive(Parser)]
#[command(name = "yokedcache", version, about, after_help = WHICH, disable_help_subcommand = false)]
#[command(subcommand_required = true, arg_required_else_help = true, max_term_width = 100)]
pub struct Line {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args, Clone)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The cache's address: redis://..., memcached://..., memory:// [variable: YOKEDCACHE_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// A configuration file in YAML, TOML or JSON [variable: YOKEDCACHE_CONFIG]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with = "url")]
    pub config: Option<PathBuf>,
    /// The environment in that file [variable: YOKEDCACHE_ENV]
    #[arg(long = "env", global = true, value_name = "NAME", conflicts_with = "url")]
    pub environment: Option<String>,
    /// What all keys begin with, before a colon [variable: YOKEDCACHE_KEY_PREFIX]
    #[arg(long, global = true, value_name = "PREFIX")]
    pub key_prefix: Option<String>,
    /// Takes the password from the first line of the standard input
    #[arg(long, global = true)]
    pub password_stdin: bool,
    /// How long a call may take: 2, 0.5, 500ms, 1m
    #[arg(long, global = true, value_name = "TIME", value_parser = words::time)]
    pub timeout: Option<Duration>,
    /// One JSON document, or one a line, on the standard output and nothing else
    #[arg(long, global = true)]
    pub json: bool,
    /// Colours; auto is on a terminal, and never where NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Says nothing that was not asked for
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Shows what the library logs
    #[arg(long, short, global = true)]
    pub verbose: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand)]
pub enum Command {
    /// Asks whether the cache answers, and how quickly
    Ping(Ping),
    /// Tells how the backend and its servers are; exit code 1 if they are not well
    Health(Health),
    /// Shows a value; exit code 1 if there is none
    Get(values::Get),
    /// Stores a value
    Set(values::Set),
    /// Deletes entries by key; exit code 1 if one was not there
    Delete(values::Delete),
    /// Shows or changes how long an entry still lives
    Ttl(values::Life),
    /// Lists keys
    #[command(visible_alias = "list")]
    Keys(listing::Keys),
    /// Finds keys that are like a query
    Search(listing::Search),
    /// Removes entries by tag or pattern
    Invalidate(removal::Invalidate),
    /// Removes every entry under the key prefix, and nothing else
    Clear(removal::Clear),
    /// Shows the numbers of the servers
    Stats(stats::Show),
    /// Copies entries to another cache
    Migrate(migrate::Migrate),
    /// Writes entries to a file
    Export(files::Export),
    /// Stores the entries of a file
    Import(files::Import),
    /// Checks or shows the configuration
    #[command(subcommand)]
    Config(Configuration),
    /// Measures throughput and latency
    Bench(bench::Bench),
    /// Checks everything between here and the cache, and says what to do
    Doctor,
    /// Prints a script that completes commands in a shell
    Completions(Completions),
}

#[derive(Args)]
pub struct Ping {
    /// How often
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,
    /// The time from one to the next
    #[arg(long, short, default_value = "1s", value_parser = words::time)]
    pub interval: Duration,
}

#[derive(Args)]
pub struct Health {
    /// Each server by itself, with what it says of itself
    #[arg(long, short)]
    pub detailed: bool,
}

#[derive(Subcommand)]
pub enum Configuration {
    /// Reads a file and says what is wrong with it; every environment in it unless --env names one
    Check {
        /// The file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Prints the configuration in effect, passwords hidden
    Show,
}

#[derive(Args)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

/// A time to live on the command line.
pub fn ttl(text: &str) -> Result<Span, String> {
    if text == "never" { Ok(Span::Never) } else { words::time(text).map(Span::After) }
}
