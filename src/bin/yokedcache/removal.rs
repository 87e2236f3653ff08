//! Removing many entries: invalidate and clear.

use clap::{ArgGroup, Args};
use serde_json::json;
use yokedcache::Removed;

use crate::ask;
use crate::exit::{Exit, Failure, Outcome};
use crate::open::Target;
use crate::output::Out;
use crate::words::{escaped, many};

#[derive(Args)]
// A group of its own: that of the struct has all options in it.
#[command(group(ArgGroup::new("which").required(true).args(["tag", "pattern"])))]
pub struct Invalidate {
    /// Entries with this tag; may be given several times, for any of them
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Only entries with all of the tags
    #[arg(long, requires = "tag")]
    all_tags: bool,
    /// Entries whose keys match this Redis glob
    #[arg(long, value_name = "GLOB")]
    pattern: Option<String>,
    /// Names what would go, and removes nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub struct Clear {
    /// Does not ask
    #[arg(long, short)]
    yes: bool,
    /// Names what would go, and removes nothing
    #[arg(long)]
    dry_run: bool,
}

pub fn invalidate(what: &Invalidate, target: &Target, out: Out) -> Outcome {
    let cache = &target.cache;
    if what.dry_run {
        let dry = cache.dry_run();
        let keys = match &what.pattern {
            Some(pattern) => dry.invalidate_pattern(pattern.as_str())?,
            None if what.all_tags => dry.invalidate_tags_all(&what.tag)?,
            None => dry.invalidate_tags(&what.tag)?,
        };
        return would_go(&keys, out);
    }
    let removed = match &what.pattern {
        Some(pattern) => cache.invalidate_pattern(pattern.as_str())?,
        None if what.all_tags => cache.invalidate_tags_all(&what.tag)?,
        None => cache.invalidate_tags(&what.tag)?,
    };
    gone(removed, out)
}

pub fn clear(clear: &Clear, target: &Target, out: Out) -> Outcome {
    let cache = &target.cache;
    if clear.dry_run {
        return would_go(&cache.dry_run().clear()?, out);
    }
    if !clear.yes {
        if out.json || !ask::is_somebody_there() {
            let what =
                "clear removes every entry under the key prefix: say --yes, or see --dry-run";
            return Err(Failure::usage(what));
        }
        let entries = many(cache.dry_run().clear()?.len() as u64, "entry", "entries");
        let prefix = escaped(&target.prefix);
        let question = format!("Remove {entries} under {prefix:?} at {}?", target.shown);
        if !ask::yes(&question)? {
            out.aside("nothing was removed")?;
            return Ok(Exit::No);
        }
    }
    gone(cache.clear()?, out)
}

fn would_go(keys: &[String], out: Out) -> Outcome {
    out.document(&json!({"dry_run": true, "entries": keys.len(), "keys": keys}))?;
    keys.iter().try_for_each(|key| out.say(escaped(key)))?;
    out.aside(format!("{} would be removed", many(keys.len() as u64, "entry", "entries")))?;
    Ok(Exit::Done)
}

fn gone(removed: Removed, out: Out) -> Outcome {
    let Removed { entries, pending, .. } = removed;
    out.document(&json!({"dry_run": false, "entries": entries, "pending": pending}))?;
    let what = match entries {
        Some(entries) => format!("{} removed", many(entries, "entry", "entries")),
        None => "invalidated; the backend does not count the entries of a tag".into(),
    };
    out.aside(if pending { what + ", the rest when the backend is back" } else { what })?;
    Ok(Exit::Done)
}
