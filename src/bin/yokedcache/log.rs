//! With `--verbose`, what the library logs goes to the standard error.

use std::io::{self, Write};

use log::{LevelFilter, Log, Metadata, Record};

use crate::words::{escaped, without_secrets};

struct Stderr;

pub fn to_stderr() {
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("yokedcache")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_ascii_lowercase();
            let text = escaped(&without_secrets(&record.args().to_string()));
            // There is nobody left to tell if this fails.
            let _ = writeln!(io::stderr(), "{level}: {text}");
        }
    }

    fn flush(&self) {}
}
