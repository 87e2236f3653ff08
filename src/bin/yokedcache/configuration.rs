//! Checks or shows the configuration.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use serde_saphyr::options::NonFiniteFloatPolicy;
use yokedcache::Result;
use yokedcache::config::Config;

use crate::args::{Configuration, Global};
use crate::exit::{Exit, Failure, Outcome, name};
use crate::open::source;
use crate::output::Out;
use crate::variables::others;
use crate::words::{escaped, without_secrets};

pub fn run(what: &Configuration, global: &Global, out: Out) -> Outcome {
    match what {
        Configuration::Check { file } => check(file, global, out),
        Configuration::Show => {
            let config = source(global)?.config;
            out.document(&config)?;
            out.say(config.to_yaml().trim_end())?;
            Ok(Exit::Done)
        }
    }
}

fn check(file: &Path, global: &Global, out: Out) -> Outcome {
    let environments = match &global.environment {
        Some(name) => vec![name.clone()],
        None => environments(file)?,
    };
    let mut bad = 0;
    for environment in environments {
        // The file by itself: what variables put over it is no business of a check of the file. Nothing
        // is connected to, and what is built is dropped.
        let read = Config::load_with(file, &environment, others()).and_then(|config| {
            config.builder()?;
            Ok(config)
        });
        bad += usize::from(read.is_err());
        tell(&environment, read, out)?;
    }
    Ok(if bad == 0 { Exit::Done } else { Exit::Usage })
}

fn tell(environment: &str, read: Result<Config>, out: Out) -> Outcome<()> {
    match read {
        Ok(config) => {
            let settings = serde_json::to_value(&config)?;
            let backend = settings.get("backend").and_then(Value::as_str).unwrap_or_default();
            out.record(&json!({"environment": environment, "ok": true, "backend": backend}))?;
            out.say(escaped(&format!("{environment}: ok, {backend}")))
        }
        Err(error) => {
            let message = without_secrets(&error.to_string());
            let shown = json!({"kind": name(error.kind()), "message": message});
            out.record(&json!({"environment": environment, "ok": false, "error": shown}))?;
            out.say(escaped(&format!("{environment}: {message}")))
        }
    }
}

/// The names of the environments in a file.
fn environments(file: &Path) -> Outcome<Vec<String>> {
    match parsed(file) {
        Some(Whole { cache }) if !cache.is_empty() => Ok(cache.into_keys().collect()),
        // Whoever reads it in earnest says what is wrong with it.
        _ => match Config::load_with(file, "", others()) {
            Err(error) => Err(Failure::from(error)),
            Ok(_) => Err(Failure::usage("the file has no environments")),
        },
    }
}

/// A file, of which only the names of its environments are looked at.
#[derive(Deserialize)]
struct Whole {
    cache: BTreeMap<String, IgnoredAny>,
}

fn parsed(file: &Path) -> Option<Whole> {
    let text = fs::read_to_string(file).ok()?;
    if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml")) {
        return toml::from_str(&text).ok();
    }
    // Numbers are judged by whoever reads them in earnest.
    let options =
        serde_saphyr::options! { non_finite_float_policy: NonFiniteFloatPolicy::PassThrough };
    serde_saphyr::from_str_with_options(&text, options).ok()
}
