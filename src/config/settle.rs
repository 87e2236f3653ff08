//! One form for a backend's settings, however they are written.

use super::fault::Fault;
use super::fields::fields;
use super::kind::Kind;
use super::layer::{backend, environment_fields, parse};
use super::sections::CacheSettings;
use super::tree::{Field, Map, Tree, Value};
use super::values::Lifetime;

/// Settings of the cache that may stand in a backend's section, too.
const SHARED: [&str; 2] = ["key_prefix", "default_ttl"];

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
    let (other, mut parameters) = parse(&field)?;
    if other != kind {
        let what = format!("an address of {}, in settings of {}", other.name(), kind.name());
        return Err(Fault::new(what).under("url", &field.place));
    }
    for (alias, name) in kind.aliases() {
        rename(&mut parameters, alias, name)?;
    }
    for parameter in parameters.into_fields() {
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
            Some(said) if same(name, &said.value, &field.value) => {}
            Some(_) => {
                let what = format!("differs from the {name} beside {}", kind.name());
                return Err(Fault::new(what).under(name, &field.place));
            }
            None => cache.add(field)?,
        }
    }
    Ok(())
}

/// Whether two values of a setting mean the same. A key prefix may look like a time and is none.
fn same(name: &str, one: &Tree, other: &Tree) -> bool {
    let time = |tree: &Tree| <Lifetime as serde::Deserialize>::deserialize(tree).ok();
    match (time(one), time(other)) {
        (Some(one), Some(other)) if name == "default_ttl" => one == other,
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
