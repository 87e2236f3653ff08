//! Environment variables, and how they go over what a file says.

use super::address;
use super::fault::Fault;
use super::kind::Kind;
use super::layer::{Layer, kind_of};
use super::names::{PREFIX, Target, target, unknown};
use super::place::Place;
use super::settle::settle;
use super::tree::{Field, Map, Tree, Value};

/// What the variables say.
#[derive(Default)]
pub(super) struct Variables {
    /// The file and the environment in it.
    pub(super) file: Option<String>,
    pub(super) environment: Option<String>,
    cache: Map,
    backend: Option<Field>,
    url: Option<Field>,
    sections: Vec<(Kind, Map)>,
}

impl Variables {
    /// Takes those that are ours.
    pub(super) fn of(all: impl IntoIterator<Item = (String, String)>) -> Result<Self, Fault> {
        let mut variables = Self::default();
        for (name, value) in all {
            if let Some(field) = name.strip_prefix(PREFIX) {
                let place = Place::Variable(name.as_str().into());
                let target = (name == name.to_uppercase()).then(|| target(&field.to_lowercase()));
                let Some(target) = target.flatten() else {
                    return Err(unknown(field).at(&place));
                };
                variables.put(target, place, value)?;
            }
        }
        Ok(variables)
    }

    fn put(&mut self, target: Target, place: Place, value: String) -> Result<(), Fault> {
        let field = |name: &str| Field::new(name, Tree::loose(&place, value.as_str()));
        match target {
            Target::File => self.file = Some(value),
            Target::Environment => self.environment = Some(value),
            Target::Backend => self.backend = Some(field("backend")),
            Target::Url => self.url = Some(field("url")),
            Target::Cache(name) => self.cache.set(field(&name)),
            Target::Section(kind, name) => return self.section(kind).add(field(&name)),
        }
        Ok(())
    }

    fn section(&mut self, kind: Kind) -> &mut Map {
        let at = self.sections.iter().position(|(known, _)| *known == kind);
        let at = at.unwrap_or_else(|| {
            self.sections.push((kind, Map::default()));
            self.sections.len() - 1
        });
        &mut self.sections[at].1
    }

    /// These over what a file says, if there is one.
    pub(super) fn over(self, file: Option<Layer>) -> Result<Layer, Fault> {
        let chosen = self.chosen()?;
        let layer = match (file, chosen) {
            (Some(layer), None) => layer,
            (Some(layer), Some((kind, _))) if layer.kind == kind => layer,
            (Some(layer), Some((_, place))) if layer.kind.is_wrapper() => {
                let what = format!(
                    "the file's backend is {}, around others: write ${{...}} where the address stands \
                     in it",
                    layer.kind.name()
                );
                return Err(Fault::new(what).at(&place));
            }
            (Some(layer), Some((kind, place))) => {
                Layer { kind, section: Map::default(), place, ..layer }
            }
            (None, chosen) => self.alone(chosen)?,
        };
        self.onto(layer)
    }

    /// The backend that variables name, by its name or its address.
    fn chosen(&self) -> Result<Option<(Kind, Place)>, Fault> {
        let named = match &self.backend {
            Some(field) => Some((kind_of(field)?, field.place.clone())),
            None => None,
        };
        let Some(url) = &self.url else { return Ok(named) };
        let text = url.value.text().unwrap_or_default();
        let (kind, _) = address::settings(text, &url.place)?;
        match named {
            Some((other, place)) if other != kind => {
                let what = format!(
                    "is {}, and the address in {PREFIX}URL is of {}",
                    other.name(),
                    kind.name()
                );
                Err(Fault::new(what).at(&place))
            }
            _ => Ok(Some((kind, url.place.clone()))),
        }
    }

    /// Without a file: the backend that is named, or whose server is, or memory.
    fn alone(&self, chosen: Option<(Kind, Place)>) -> Result<Layer, Fault> {
        let addressed = |(kind, section): &&(Kind, Map)| {
            let names = kind.address_fields().iter().filter(|name| **name != "port");
            names.into_iter().any(|name| section.get(name).is_some())
        };
        let servers: Vec<Kind> =
            self.sections.iter().filter(addressed).map(|(kind, _)| *kind).collect();
        let (kind, place) = match (chosen, &servers[..]) {
            (Some(chosen), _) => chosen,
            (None, []) => (Kind::Memory, Place::Code),
            (None, [kind]) => (*kind, Place::Code),
            (None, _) => {
                let what = format!("servers of several backends: {PREFIX}BACKEND says which it is");
                return Err(Fault::new(what));
            }
        };
        Ok(Layer { cache: Map::default(), root: Place::Code, kind, section: Map::default(), place })
    }

    fn onto(mut self, mut layer: Layer) -> Result<Layer, Fault> {
        let kind = layer.kind;
        if kind.is_wrapper() {
            self.refuse_inner(&layer)?;
        }
        let mut section = std::mem::take(self.section(kind));
        if let Some(url) = self.url.take() {
            if let Some(other) = kind.address_fields().iter().find_map(|name| section.get(name)) {
                let what = format!("names the server, and {PREFIX}URL does, too");
                return Err(Fault::new(what).at(&other.place));
            }
            section.add(url)?;
        }
        let stated = section.get("url").and_then(|url| url.value.text()).map(address::states);
        let settled = settle(kind, &mut section, Some(&mut self.cache));
        settled.map_err(|fault| fault.under(kind.name(), &Place::Code))?;
        let names = kind.address_fields();
        let moved = ["url", "servers"].iter().any(|name| section.get(name).is_some())
            || (section.get("host").is_some() && layer.section.get("url").is_some());
        if moved {
            names.iter().for_each(|name| drop(layer.section.take(name)));
        }
        stated.into_iter().flatten().for_each(|name| drop(layer.section.take(name)));
        layer.section = layer.section.overlaid(section);
        layer.cache = layer.cache.overlaid(self.cache);
        Ok(layer)
    }

    /// Refuses settings of a backend within the file's one, which they would not reach.
    fn refuse_inner(&self, layer: &Layer) -> Result<(), Fault> {
        for (kind, section) in &self.sections {
            let Some(field) = section.iter().next() else { continue };
            if *kind != layer.kind && has_inner(&layer.section, *kind) {
                let what = format!(
                    "the {} of the file is within its backend {}: write ${{...}} where the setting \
                     stands in it",
                    kind.name(),
                    layer.kind.name()
                );
                return Err(Fault::new(what).at(&field.place));
            }
        }
        Ok(())
    }
}

fn has_inner(section: &Map, kind: Kind) -> bool {
    section.iter().any(|field| match &field.value.value {
        Value::Map(_) if kind == Kind::Memory && field.name == "near" => true,
        Value::Map(map) => map.get(kind.name()).is_some() || has_inner(map, kind),
        _ => false,
    })
}
