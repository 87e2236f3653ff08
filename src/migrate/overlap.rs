//! Whether what is written to the target appears in the source: two caches of one server, say.

use std::time::Duration;

use crate::Cache;
use crate::backend::copying::{HEAD, hit, read, tell};
use crate::backend::{Change, CodecId, Entry, Life, Name, When, Write, Wrote};
use crate::error::{Error, ErrorKind, Result};
use crate::random;

/// How long the trial lies there if nobody takes it away.
const TRIAL: Duration = Duration::from_secs(10);

/// Whether the keys of the target are keys of the source, too. Only if their names could be is an
/// entry written to see it.
pub(super) fn lies_within(to: &Cache, from: &Cache, dry_run: bool) -> Result<bool> {
    if !to.prefix().starts_with(from.prefix()) {
        return Ok(false);
    }
    if from.shares_entries_with(to) || dry_run {
        return Ok(from.shares_entries_with(to));
    }
    let key = format!("{}~{:016x}", to.prefix(), random::unlikely());
    let change = |change| {
        let name = Name::new(&key, to.prefix().len());
        tell(to.call(), to.backend(), vec![Write::new(name, When::Always, change)])
    };
    let written = change(Change::Put(Entry::new("", CodecId::RAW), Life::new(Some(TRIAL))));
    let name = Name::new(&key, from.prefix().len());
    let found = read(from.call(), from.backend(), &[name], &HEAD);
    change(Change::Remove);
    match written.into_iter().find_map(away) {
        Some(error) => Err(error),
        None => Ok(found?.pop().map(hit).transpose()?.is_some_and(|found| found.is_ok())),
    }
}

/// Why nobody knows whether it was written. Where it cannot be written, no copy can.
fn away(wrote: Wrote) -> Option<Error> {
    match wrote {
        Wrote::Failed(error)
            if matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable) =>
        {
            Some(error)
        }
        _ => None,
    }
}
