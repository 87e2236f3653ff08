//! What an environment of a file, or an address, says: settings of the cache, and one backend's.

use super::address;
use super::fault::Fault;
use super::fields::fields;
use super::hints::hint;
use super::kind::Kind;
use super::place::Place;
use super::sections::CacheSettings;
use super::settle::settle;
use super::tree::{Field, Map, Tree};
use crate::nearest::nearest;

pub(super) struct Layer {
    pub(super) cache: Map,
    /// Of the environment.
    pub(super) root: Place,
    pub(super) kind: Kind,
    pub(super) section: Map,
    /// Of the section.
    pub(super) place: Place,
}

impl Layer {
    /// Of an address.
    pub(super) fn of_address(url: &str) -> Result<Self, Fault> {
        let mut tree = Map::default();
        tree.add(Field::new("url", Tree::loose(&Place::Code, url)))?;
        Self::of_environment(tree, &Place::Code)
    }

    /// Of an environment's fields.
    pub(super) fn of_environment(mut fields: Map, place: &Place) -> Result<Self, Fault> {
        known(&fields)?;
        let (kind, mut section, at) = backend(&mut fields, place)?;
        let mut cache = fields;
        settle(kind, &mut section, Some(&mut cache))
            .map_err(|fault| fault.under(kind.name(), &at))?;
        Ok(Self { cache, root: place.clone(), kind, section, place: at })
    }
}

/// Refuses what is neither a setting of the cache nor of where it is.
fn known(cache: &Map) -> Result<(), Fault> {
    let names = environment_fields();
    match cache.iter().find(|field| !names.contains(&&*field.name)) {
        Some(field) => Err(misplaced(&field.name, &names).under(&field.name, &field.place)),
        None => Ok(()),
    }
}

/// The error of a name that is none of these, and may be one of a section's.
fn misplaced(name: &str, names: &[&str]) -> Fault {
    let elsewhere = || {
        let of_kind = |kind: Kind| Some((kind, nearest(name, kind.fields().iter().copied())?));
        Kind::ALL.into_iter().find_map(of_kind)
    };
    match (hint(name), nearest(name, names.iter().copied()), elsewhere()) {
        (None, None, Some((kind, meant))) => {
            Fault::new(format!("no such field; did you mean {meant} in {}?", kind.name()))
        }
        _ => Fault::unknown(name, names.iter().copied()),
    }
}

/// All that may stand at an environment's level.
pub(super) fn environment_fields() -> Vec<&'static str> {
    let node = ["backend", "url"].into_iter().chain(Kind::names());
    fields::<CacheSettings>().iter().copied().chain(node).collect()
}

/// Takes the backend out of the fields beside it: its kind, its settings as they are written, and where.
pub(super) fn backend(fields: &mut Map, place: &Place) -> Result<(Kind, Map, Place), Fault> {
    let named = match fields.take("backend") {
        Some(field) => Some((kind_of(&field)?, field.place)),
        None => None,
    };
    let url = fields.take("url").map(kind_of_address).transpose()?;
    let sections: Vec<(Kind, Field)> =
        Kind::ALL.into_iter().filter_map(|kind| Some((kind, fields.take(kind.name())?))).collect();
    let of_url = url.as_ref().map(|(kind, url)| (*kind, url.place.clone()));
    let of_section = match &sections[..] {
        [(kind, field)] => Some((*kind, field.place.clone())),
        _ => None,
    };
    let Some((kind, at)) = named.or(of_url).or(of_section) else {
        let what = match sections.is_empty() {
            true => "no backend is named: backend, url, or a section of settings",
            false => "several sections, and backend does not say which",
        };
        return Err(Fault::new(what).at(place));
    };
    let (mut section, at) = own(kind, at, sections)?;
    if let Some((other, url)) = url {
        add_url(kind, &mut section, other, url)?;
    }
    Ok((kind, section, at))
}

/// The section of this kind of backend, or none at this place. There is no other.
fn own(kind: Kind, at: Place, sections: Vec<(Kind, Field)>) -> Result<(Map, Place), Fault> {
    let mut found = (Map::default(), at);
    for (other, Field { place, value, .. }) in sections {
        let here = |fault: Fault| fault.under(other.name(), &place);
        if other != kind {
            let what = format!("settings of {}, and the backend is {}", other.name(), kind.name());
            return Err(here(Fault::new(what)));
        }
        found = (value.into_map().map_err(here)?, place);
    }
    Ok(found)
}

/// Puts an address that stands beside a section into it.
fn add_url(kind: Kind, section: &mut Map, other: Kind, url: Field) -> Result<(), Fault> {
    let what = if other != kind {
        format!("an address of {}, and the backend is {}", other.name(), kind.name())
    } else if section.get("url").is_some() {
        format!("stands here and in {}, too", kind.name())
    } else {
        return section.add(url);
    };
    Err(Fault::new(what).under("url", &url.place))
}

/// The kind of backend that an address is of.
fn kind_of_address(url: Field) -> Result<(Kind, Field), Fault> {
    let (kind, _) = parse(&url)?;
    Ok((kind, url))
}

pub(super) fn parse(field: &Field) -> Result<(Kind, Map), Fault> {
    let here = |fault: Fault| fault.under(&field.name, &field.place);
    let Some(text) = field.value.text() else {
        let what = format!("expected an address, found {}", field.value.value.kind());
        return Err(here(Fault::new(what)));
    };
    address::settings(text, &field.place).map_err(here)
}

/// The kind of backend that is named.
pub(super) fn kind_of(field: &Field) -> Result<Kind, Fault> {
    let name = field.value.text().unwrap_or_default();
    Kind::named(name).ok_or_else(|| {
        let names: Vec<&str> = Kind::names().collect();
        Fault::unknown_word(name, &names).under(&field.name, &field.place)
    })
}
