//! The names of environment variables.

use super::fault::Fault;
use super::fields::fields;
use super::hints::hint;
use super::kind::Kind;
use super::sections::CacheSettings;
use crate::nearest::nearest;

/// What they all begin with.
pub(super) const PREFIX: &str = "YOKEDCACHE_";

/// Where a variable belongs.
pub(super) enum Target {
    File,
    Environment,
    Backend,
    Url,
    Cache(String),
    Section(Kind, String),
}

/// The names of a backend's settings that a variable can hold: those that are no lists or sections.
fn scalars(kind: Kind) -> impl Iterator<Item = &'static str> {
    const OTHERS: &[&str] =
        &["servers", "near", "far", "primary", "secondary", "default", "routes"];
    let shared = if kind.is_wrapper() { &[][..] } else { &["key_prefix", "default_ttl"] };
    let aliases =
        kind.aliases().iter().map(|(alias, _)| *alias).filter(|name| *name != "redis_url");
    let own = kind.fields().iter().chain(shared).copied().chain(aliases);
    own.filter(|name| !OTHERS.contains(name))
}

pub(super) fn target(name: &str) -> Option<Target> {
    match name {
        "config" => return Some(Target::File),
        "env" => return Some(Target::Environment),
        "backend" => return Some(Target::Backend),
        "url" => return Some(Target::Url),
        _ if fields::<CacheSettings>().contains(&name) => return Some(Target::Cache(name.into())),
        _ => {}
    }
    Kind::ALL.into_iter().find_map(|kind| {
        let field = name.strip_prefix(kind.name())?.strip_prefix('_')?;
        scalars(kind).find(|known| *known == field).map(|known| Target::Section(kind, known.into()))
    })
}

/// All variables there are, without what they begin with.
pub(super) fn names() -> Vec<String> {
    let of_kind = |kind: Kind| scalars(kind).map(move |field| format!("{}_{field}", kind.name()));
    let others = ["config", "env", "backend", "url"]
        .into_iter()
        .chain(fields::<CacheSettings>().iter().copied());
    let all = others.map(str::to_owned).chain(Kind::ALL.into_iter().flat_map(of_kind));
    all.collect()
}

pub(super) fn unknown(field: &str) -> Fault {
    let (field, all) = (field.to_lowercase(), names());
    let meant = match (hint(&field), nearest(&field, all.iter().map(String::as_str))) {
        (Some(hint), _) => format!("; {hint}"),
        (None, Some(known)) => format!("; did you mean {PREFIX}{}?", known.to_uppercase()),
        (None, None) => String::new(),
    };
    Fault::new(format!("no such variable{meant}"))
}
