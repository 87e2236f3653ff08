//! What an environment of a file, or an address, says: settings of the cache, and one backend's.

use super::address;
use super::fault::Fault;
use super::fields::fields;
use super::hints::hint;
use super::kind::Kind;
use super::place::Place;
use super::sections::CacheSettings;
use super::tree::{Field, Map, Tree, Value};
use super::values::Lifetime;
use crate::nearest::nearest;

/// Settings of the cache that may stand in a backend's section, too.
const SHARED: [&str; 2] = ["key_prefix", "default_ttl"];

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
fn backend(fields: &mut Map, place: &Place) -> Result<(Kind, Map, Place), Fault> {
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
    let mut found = (Map::default(), at);
    for (other, section) in sections {
        if other != kind {
            let what = format!("settings of {}, and the backend is {}", other.name(), kind.name());
            return Err(Fault::new(what).under(other.name(), &section.place));
        }
        let fields = section.value.into_map();
        found = (fields.map_err(|fault| fault.under(kind.name(), &section.place))?, section.place);
    }
    if let Some((other, url)) = url {
        let here = |what: String| Err(Fault::new(what).under("url", &url.place));
        if other != kind {
            return here(format!(
                "an address of {}, and the backend is {}",
                other.name(),
                kind.name()
            ));
        }
        if found.0.get("url").is_some() {
            return here(format!("stands here and in {}, too", kind.name()));
        }
        found.0.add(url)?;
    }
    Ok((kind, found.0, found.1))
}

/// The kind of backend that an address is of.
fn kind_of_address(url: Field) -> Result<(Kind, Field), Fault> {
    let (kind, _) = parse(&url)?;
    Ok((kind, url))
}

fn parse(field: &Field) -> Result<(Kind, Map), Fault> {
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

/// Brings a backend's settings into one form: one name each, parameters of the address as fields, those
/// of the cache in `cache`; and the same for the backends within it.
pub(super) fn settle(kind: Kind, section: &mut Map, cache: Option<&mut Map>) -> Result<(), Fault> {
    if kind == Kind::Memcached {
        flatten_behaviors(section)?;
    }
    for (alias, name) in kind.aliases() {
        rename(section, alias, name)?;
    }
    match cache {
        Some(cache) => {
            hoist(kind, section, cache)?;
            take_address_apart(kind, section, Some(cache))?;
        }
        None => {
            take_address_apart(kind, section, None)?;
            refuse_shared(section)?;
        }
    }
    match kind {
        Kind::Tiered => settle_inner(section, "far"),
        Kind::Fallback => {
            settle_inner(section, "primary")?;
            settle_inner(section, "secondary")
        }
        Kind::Route => settle_routes(section),
        Kind::Memory | Kind::Redis | Kind::Memcached => Ok(()),
    }
}

fn rename(section: &mut Map, alias: &str, name: &str) -> Result<(), Fault> {
    let Some(mut field) = section.take(alias) else { return Ok(()) };
    if section.get(name).is_some() {
        let what = format!("is another name of {name}, which is given, too");
        return Err(Fault::new(what).under(alias, &field.place));
    }
    field.name = name.to_owned();
    section.add(field)
}

/// What libmemcached calls its settings.
fn flatten_behaviors(section: &mut Map) -> Result<(), Fault> {
    const NAMES: &[(&str, &str)] = &[
        ("tcp_nodelay", "tcp_nodelay"),
        ("tcp_keepalive", "socket_keepalive"),
        ("ketama", "ketama"),
        ("ketama_weighted", "ketama_weighted"),
    ];
    let Some(behaviors) = section.take("behaviors") else { return Ok(()) };
    let here = |fault: Fault| fault.under("behaviors", &behaviors.place);
    for mut field in behaviors.value.into_map().map_err(here)?.into_fields() {
        let Some((_, name)) = NAMES.iter().find(|(known, _)| *known == field.name) else {
            let names = NAMES.iter().map(|(name, _)| *name);
            return Err(here(Fault::unknown(&field.name, names).under(&field.name, &field.place)));
        };
        field.name = (*name).to_owned();
        section.add(field).map_err(here)?;
    }
    Ok(())
}

/// Makes fields of what follows the question mark of an address. A field of that name counts more.
fn take_address_apart(
    kind: Kind,
    section: &mut Map,
    mut cache: Option<&mut Map>,
) -> Result<(), Fault> {
    if kind.is_wrapper() {
        return Ok(());
    }
    let Some(field) = section.take("url") else { return Ok(()) };
    if matches!(field.value.value, Value::Null) {
        return Ok(());
    }
    let (other, parameters) = parse(&field)?;
    if other != kind {
        let what = format!("an address of {}, in settings of {}", other.name(), kind.name());
        return Err(Fault::new(what).under("url", &field.place));
    }
    for mut parameter in parameters.into_fields() {
        let alias = kind.aliases().iter().find(|(alias, _)| *alias == parameter.name);
        if let Some((_, name)) = alias {
            parameter.name = (*name).to_owned();
        }
        let name = &&*parameter.name;
        let is_own = kind.fields().contains(name);
        match &mut cache {
            Some(cache) if !is_own && fields::<CacheSettings>().contains(name) => {
                cache.set_if_new(parameter);
            }
            Some(_) if !is_own => {
                let names = kind.fields().iter().chain(fields::<CacheSettings>());
                let fault = Fault::unknown(name, names.copied());
                return Err(fault.under(name, &parameter.place));
            }
            _ => section.set_if_new(parameter),
        }
    }
    Ok(())
}

/// Takes the settings of the cache out of a backend's section.
fn hoist(kind: Kind, section: &mut Map, cache: &mut Map) -> Result<(), Fault> {
    for name in SHARED {
        let Some(field) = section.take(name) else { continue };
        match cache.get(name) {
            Some(said) if same(&said.value, &field.value) => {}
            Some(_) => {
                let what = format!("differs from the {name} beside {}", kind.name());
                return Err(Fault::new(what).under(name, &field.place));
            }
            None => cache.add(field)?,
        }
    }
    Ok(())
}

fn same(one: &Tree, other: &Tree) -> bool {
    let time = |tree: &Tree| <Lifetime as serde::Deserialize>::deserialize(tree).ok();
    match (time(one), time(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one.text().is_some() && one.text() == other.text(),
    }
}

fn refuse_shared(section: &Map) -> Result<(), Fault> {
    match SHARED.iter().find_map(|name| section.get(name)) {
        Some(field) => {
            let what = "belongs to the environment: it is one for all backends of a cache";
            Err(Fault::new(what).under(&field.name, &field.place))
        }
        None => Ok(()),
    }
}

/// Brings a backend within another into the form of one field named as it.
fn settle_inner(section: &mut Map, part: &str) -> Result<(), Fault> {
    match section.iter_mut().find(|field| field.name == part) {
        Some(field) => settle_node(field),
        None => Ok(()),
    }
}

fn settle_routes(section: &mut Map) -> Result<(), Fault> {
    settle_inner(section, "default")?;
    let Some(routes) = section.iter_mut().find(|field| field.name == "routes") else {
        return Ok(());
    };
    let place = routes.place.clone();
    if let Value::Map(map) = &mut routes.value.value {
        for route in map.iter_mut() {
            settle_node(route).map_err(|fault| fault.under("routes", &place))?;
        }
    }
    Ok(())
}

fn settle_node(field: &mut Field) -> Result<(), Fault> {
    let here = |fault: Fault| fault.under(&field.name, &field.place);
    let mut fields = field.value.clone().into_map().map_err(here)?;
    let (kind, mut section, at) = backend(&mut fields, &field.place).map_err(here)?;
    if let Some(other) = fields.iter().next() {
        let names = ["backend", "url"].into_iter().chain(Kind::names());
        let fault = match environment_fields().contains(&&*other.name) {
            true => Fault::new("belongs to the environment: it is one for all backends of a cache"),
            false => Fault::unknown(&other.name, names),
        };
        return Err(here(fault.under(&other.name, &other.place)));
    }
    settle(kind, &mut section, None).map_err(|fault| here(fault.under(kind.name(), &at)))?;
    let mut node = Map::default();
    node.add(Field {
        name: kind.name().into(),
        place: at.clone(),
        value: Tree::map(&at, section),
    })?;
    field.value = Tree::map(&at, node);
    Ok(())
}
