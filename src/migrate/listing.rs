//! Goes through the keys of a cache.

use std::ops::ControlFlow;

use super::primary::Primary;
use super::run::Run;
use crate::Cache;
use crate::error::Result;
use crate::pattern::Pattern;
use crate::stats::BackendStats;

/// What is done with keys.
pub(super) type Each<'e, 's, 'a> =
    dyn FnMut(&mut Run<'s, 'a>, &[&str]) -> Result<ControlFlow<()>> + 'e;

/// Hands out all keys of a cache that match, by their full names, stale ones included. A listing that
/// fails, or was one of what stands in for the cache, is begun anew: keys come again then.
pub(super) fn listed<'s, 'a>(
    cache: &Cache,
    pattern: &Pattern,
    run: &mut Run<'s, 'a>,
    each: &mut Each<'_, 's, 'a>,
) -> Result<ControlFlow<()>> {
    let pattern = pattern.within(cache.prefix()).with_stale();
    let prefix = cache.prefix().len();
    let primary = Primary::new(cache);
    for tried in 0.. {
        let mut flow = Ok(ControlFlow::Continue(()));
        let listed = cache.backend().scan(cache.call(), &pattern, &mut |keys| {
            let keys: Vec<&str> = keys.iter().copied().filter(|key| key.len() > prefix).collect();
            flow = each(run, &keys);
            match flow {
                Ok(flow) => flow,
                Err(_) => ControlFlow::Break(()),
            }
        });
        let flow = flow?;
        if flow.is_break() {
            return Ok(flow);
        }
        match listed.and_then(|()| primary.check()) {
            Ok(()) => return Ok(flow),
            Err(error) => {
                if run.pause(tried, error)?.is_break() {
                    break;
                }
            }
        }
    }
    Ok(ControlFlow::Break(()))
}

/// How many entries there may be to list.
pub(super) fn total(cache: &Cache) -> Option<u64> {
    entries(&cache.backend().stats(cache.call()))
}

/// A wrapper counts none itself: routes have entries each, others have the same twice.
fn entries(stats: &BackendStats) -> Option<u64> {
    let inside = stats.children.iter().filter_map(|(_, child)| entries(child));
    stats.entries.or_else(|| match stats.name {
        "route" => inside.reduce(|sum, more| sum + more),
        _ => inside.max(),
    })
}
