//! Many entries: keys and search.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::exit::{Exit, Outcome};
use crate::open::Target;
use crate::output::{Cell, Out};
use crate::stored::{Stored, for_terminal, look, seconds};
use crate::values::shown;
use crate::words::{count, escaped};

#[derive(Args)]
pub struct Keys {
    /// Only keys that match this Redis glob
    #[arg(long, short, value_name = "GLOB", default_value = "*")]
    pattern: String,
    /// Only entries with this tag; may be given several times, for any of them
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// The most keys listed; 0 lists all
    #[arg(long, short, value_name = "N", default_value_t = 1000)]
    limit: usize,
    /// Shows how long each still lives
    #[arg(long)]
    ttl: bool,
    /// Shows the tags of each
    #[arg(long)]
    tags: bool,
}

#[derive(Args)]
pub struct Search {
    /// What to look for; typing errors are allowed
    query: String,
    /// The least score of a match, 0 to 100
    #[arg(long, value_name = "SCORE", default_value_t = 80.0)]
    threshold: f64,
    /// The most matches
    #[arg(long, short, value_name = "N", default_value_t = 10)]
    limit: usize,
    /// Only entries with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Takes capital and small letters for the same
    #[arg(long, short)]
    ignore_case: bool,
}

/// How many entries are read at once.
const PAGE: usize = 256;

pub fn keys(keys: &Keys, target: &Target, out: Out) -> Outcome {
    let (found, more) = found(keys, target)?;
    let mut rows = Vec::new();
    for page in found.chunks(PAGE) {
        for (key, stored) in page.iter().zip(heads(keys, target, page)?) {
            // One that has gone since it was listed is left out.
            let Some(stored) = stored else { continue };
            out.record(&record(keys, key, stored.as_ref()))?;
            rows.push(row(keys, key, stored.as_ref()));
        }
    }
    if keys.ttl || keys.tags {
        let columns = [("KEY", true), ("TTL", keys.ttl), ("TAGS", keys.tags)];
        let head: Vec<_> = columns.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        out.table(&head, rows)?;
    } else {
        found.iter().try_for_each(|key| out.say(escaped(key)))?;
    }
    if more {
        let limit = count(keys.limit as u64);
        out.aside(format!("there are more than these {limit}: --limit 0 lists all"))?;
    }
    Ok(Exit::Done)
}

/// The keys to list, sorted, and whether there are more.
fn found(keys: &Keys, target: &Target) -> Outcome<(Vec<String>, bool)> {
    let limit = if keys.limit == 0 { usize::MAX } else { keys.limit };
    if !keys.tag.is_empty() {
        let pattern = yokedcache::Pattern::glob(&keys.pattern)?;
        let mut found = target.cache.dry_run().invalidate_tags(&keys.tag)?;
        found.retain(|key| pattern.matches(key));
        let more = found.len() > limit;
        found.truncate(limit);
        return Ok((found, more));
    }
    let mut found = BTreeSet::new();
    let mut more = false;
    target.cache.scan(keys.pattern.as_str(), |page| {
        for key in page {
            if found.len() >= limit && !found.contains(*key) {
                more = true;
                return ControlFlow::Break(());
            }
            found.insert((*key).to_owned());
        }
        ControlFlow::Continue(())
    })?;
    Ok((found.into_iter().collect(), more))
}

/// What is shown beside the keys: of each, nothing if it has gone, and nothing of it if not asked for.
fn heads(keys: &Keys, target: &Target, page: &[String]) -> Outcome<Vec<Option<Option<Stored>>>> {
    if !keys.ttl && !keys.tags {
        return Ok(page.iter().map(|_| Some(None)).collect());
    }
    let names: Vec<&str> = page.iter().map(String::as_str).collect();
    Ok(look(target, &names, true)?.into_iter().map(|found| found.ok().map(Some)).collect())
}

fn record(keys: &Keys, key: &str, stored: Option<&Stored>) -> Value {
    let mut record = Map::new();
    record.insert("key".into(), key.into());
    if let Some(stored) = stored {
        if keys.ttl {
            record.insert("ttl_seconds".into(), seconds(stored.left()));
        }
        if keys.tags {
            record.insert("tags".into(), stored.tags.clone().into());
        }
    }
    record.into()
}

fn row(keys: &Keys, key: &str, stored: Option<&Stored>) -> Vec<Cell> {
    let mut row = vec![Cell::from(key)];
    if let Some(stored) = stored {
        if keys.ttl {
            row.push(shown(stored.left()).into());
        }
        if keys.tags {
            row.push(stored.tags.join(", ").into());
        }
    }
    row
}

pub fn search(search: &Search, target: &Target, out: Out) -> Outcome {
    let mut query =
        target.cache.search(&search.query).threshold(search.threshold).limit(search.limit);
    if let Some(tag) = &search.tag {
        query = query.tag(tag);
    }
    if search.ignore_case {
        query = query.ignore_case();
    }
    let found = query.find()?;
    let mut rows = Vec::new();
    for found in &found {
        let value: Option<Value> = found.value()?;
        out.record(&json!({"key": found.key, "score": found.score, "value": value}))?;
        let value = value.map(|value| for_terminal(value.to_string().as_bytes()));
        let score = Cell::right(format!("{:.0}", found.score));
        rows.push(vec![Cell::from(&found.key), score, short(value.unwrap_or_default()).into()]);
    }
    if rows.is_empty() {
        out.aside("nothing is like that: a lower --threshold finds more")?;
    } else {
        out.table(&["KEY", "SCORE", "VALUE"], rows)?;
    }
    Ok(Exit::Done)
}

/// The beginning of a value.
fn short(value: String) -> String {
    const MOST: usize = 48;
    match value.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}...", &value[..at]),
        None => value,
    }
}
