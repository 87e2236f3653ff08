//! A backend that gives each key to one of several, by how the key begins.

use std::mem;
use std::ops::ControlFlow;

use parking_lot::RwLock;

use super::health::of_parts;
use super::{
    About, Attached, Backend, Call, Change, Health, Name, Read, Removed, Scope, Want, When, Write,
    Wrote,
};
use crate::error::{Error, ErrorKind, Result};
use crate::pattern::Pattern;

mod places;

use places::Places;

/// What the keys that take no route go to, as a part in statistics.
const DEFAULT: &str = "default";

/// A backend that gives each key to one of several, by how the key begins.
///
/// A route takes the key of its own name, and every key in which the delimiter follows that name. The
/// longest route that takes a key wins; a key that none takes goes to the default. With the routes
/// `user` and `user:eu`:
///
/// | key | goes to |
/// |---|---|
/// | `user`, `user:1`, `user:us:1` | `user` |
/// | `user:eu`, `user:eu:1` | `user:eu` |
/// | `users:1`, `User:1`, `eu:user:1` | the default |
///
/// A key here is what stands behind the prefix of the cache, namespaces included:
/// `cache.namespace("user").get("1")` and `cache.get("user:1")` are one entry at one place.
///
/// ```
/// use yokedcache::{Cache, Memory, Route};
///
/// # fn main() -> yokedcache::Result<()> {
/// let route = Route::builder(Memory::builder().max_size(10_000).build()?)
///     .route("session", Memory::builder().max_size(100).build()?)
///     .build()?;
/// let cache = Cache::builder(route).build()?;
/// cache.set("session:7", "Ann")?;
/// cache.set("sessions", &1)?;
///
/// let held = cache.stats().backend.children;
/// let held: Vec<_> = held.iter().map(|(part, held)| (part.as_str(), held.entries)).collect();
/// assert_eq!(held, [("session", Some(1)), ("default", Some(1))]);
/// # Ok(())
/// # }
/// ```
///
/// # What goes where
///
/// | call | goes to |
/// |---|---|
/// | a read or a change of one key | the key's backend, as it is |
/// | a batch | the backends of its keys: a call each, one after the other, with one deadline for all |
/// | an invalidation of tags | all backends: the tags of an entry live where it lives |
/// | an invalidation of a pattern, a scan | the backends that the keys of the pattern's namespace can go to, one after the other; a deadline counts for each page of keys |
///
/// A backend that fails a batch fails its own keys, and the others are answered; if all fail, the
/// call does. An invalidation is attempted at every backend it concerns and fails with the first
/// error, even if others carried it out.
///
/// It can do what all its backends can, but tells nobody of changes that others make
/// ([`listen`](Backend::listen)). Several routes may lead to one server.
///
/// # Several caches over one
///
/// A cache whose prefix lies within another's (`shop:eu` beside `shop`) is to routes what that one's
/// namespace is: its keys are `eu:user:1` to them. The outer one is built first; afterwards it is
/// refused, as it would move keys that are there.
#[derive(Debug)]
pub struct Route {
    places: RwLock<Places>,
    /// By place, each with the part it plays; the default is the last.
    backends: Vec<(Box<str>, Box<dyn Backend>)>,
}

impl Route {
    /// A route whose keys go here unless another backend is named for them.
    pub fn builder(default: impl Backend) -> RouteBuilder {
        RouteBuilder { routes: Vec::new(), default: Box::new(default), delimiter: ':' }
    }

    fn backend_of(&self, key: &Name<'_>) -> &dyn Backend {
        let place = self.places.read().of(key.as_str());
        &*self.backends[place].1
    }

    /// Deals the keys of a batch out: a part for each backend that has any.
    fn deal<'k>(&self, keys: impl Iterator<Item = &'k str>) -> Vec<Part<'_>> {
        let mut parts: Vec<Part<'_>> = self
            .backends
            .iter()
            .map(|(_, backend)| Part { backend: &**backend, slots: Vec::new() })
            .collect();
        let places = self.places.read();
        keys.enumerate().for_each(|(slot, key)| parts[places.of(key)].slots.push(slot));
        parts.retain(|part| !part.slots.is_empty());
        parts
    }

    /// The places of the keys that a pattern may match.
    fn reached(&self, what: &Pattern) -> Vec<usize> {
        let places = self.places.read();
        let all = 0..self.backends.len();
        all.filter(|place| places.reaches(*place, what.literal_prefix())).collect()
    }

    /// Those of the keys whose place this is.
    fn own<'k>(&self, place: usize, keys: &[&'k str]) -> Vec<&'k str> {
        let places = self.places.read();
        keys.iter().copied().filter(|key| places.of(key) == place).collect()
    }
}

/// What one backend has to do of a batch.
struct Part<'a> {
    backend: &'a dyn Backend,
    /// Where in the batch its keys stand, in the batch's order.
    slots: Vec<usize>,
}

/// Does the parts of a batch one after the other, and puts each answer into its slot.
fn in_parts<A: Default>(
    parts: Vec<Part<'_>>,
    out: &mut [A],
    failed: fn(Error) -> A,
    mut carry_out: impl FnMut(&Part<'_>, &mut [A]) -> Result<()>,
) -> Result<()> {
    let (all, mut lost) = (parts.len(), Vec::new());
    for part in parts {
        let mut answers: Vec<A> = part.slots.iter().map(|_| A::default()).collect();
        match carry_out(&part, &mut answers) {
            Ok(()) => part.slots.iter().zip(answers).for_each(|(slot, answer)| out[*slot] = answer),
            Err(error) => lost.push((part.slots, error)),
        }
    }
    if lost.len() == all && !lost.is_empty() {
        return Err(lost.swap_remove(0).1);
    }
    for (slots, error) in lost {
        slots.into_iter().for_each(|slot| out[slot] = failed(error.clone()));
    }
    Ok(())
}

/// Takes a change out of a batch.
fn take<'a>(write: &mut Write<'a>) -> Write<'a> {
    let nothing = Write::new(write.key, When::Always, Change::Remove);
    mem::replace(write, nothing)
}

impl Backend for Route {
    fn about(&self) -> About {
        let cans = self.backends.iter().map(|(_, backend)| backend.about().can);
        About::new("route", cans.reduce(super::Can::and).unwrap_or_default())
    }

    fn read(&self, call: Call, keys: &[Name<'_>], want: &Want<'_>, out: &mut [Read]) -> Result<()> {
        if let [key] = keys {
            return self.backend_of(key).read(call, keys, want, out);
        }
        let parts = self.deal(keys.iter().map(Name::as_str));
        if let [part] = &parts[..] {
            return part.backend.read(call, keys, want, out);
        }
        let call = call.armed();
        in_parts(parts, out, Read::Failed, |part, out| {
            let keys: Vec<_> = part.slots.iter().map(|slot| keys[*slot]).collect();
            part.backend.read(call, &keys, want, out)
        })
    }

    fn write(&self, call: Call, writes: &mut [Write<'_>], out: &mut [Wrote]) -> Result<()> {
        if let [write] = writes {
            return self.backend_of(&write.key).write(call, writes, out);
        }
        let parts = self.deal(writes.iter().map(|write| write.key.as_str()));
        if let [part] = &parts[..] {
            return part.backend.write(call, writes, out);
        }
        let call = call.armed();
        in_parts(parts, out, Wrote::Failed, |part, out| {
            let mut dealt: Vec<_> =
                part.slots.iter().map(|slot| take(&mut writes[*slot])).collect();
            let done = part.backend.write(call, &mut dealt, out);
            // Back to where they were: a wrapper around this one may look at them again.
            part.slots.iter().zip(dealt).for_each(|(slot, write)| writes[*slot] = write);
            done
        })
    }

    fn invalidate(&self, call: Call, what: &Scope<'_>) -> Result<Removed> {
        let all = Pattern::all();
        let (call, keys) = match what {
            Scope::AnyTag(_) => (call.armed(), &all),
            // What visits keys has its time for each page of them.
            Scope::AllTags(_) => (call, &all),
            Scope::Keys(pattern) => (call, *pattern),
        };
        let (mut removed, mut failed) = (Removed::counted(0), None);
        for place in self.reached(keys) {
            match self.backends[place].1.invalidate(call, what) {
                Ok(more) => {
                    removed.entries = removed.entries.zip(more.entries).map(|(a, b)| a + b);
                    removed.pending |= more.pending;
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(removed), Err)
    }

    fn scan(
        &self,
        call: Call,
        what: &Pattern,
        page: &mut dyn FnMut(&[&str]) -> ControlFlow<()>,
    ) -> Result<()> {
        for place in self.reached(what) {
            let mut flow = ControlFlow::Continue(());
            self.backends[place].1.scan(call, what, &mut |keys| {
                let own = self.own(place, keys);
                if !own.is_empty() {
                    flow = page(&own);
                }
                flow
            })?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn children(&self, each: &mut dyn FnMut(&str, &dyn Backend)) {
        self.backends.iter().for_each(|(part, backend)| each(part, &**backend));
    }

    fn health(&self, call: Call, probe: Name<'_>) -> Health {
        of_parts(self, call, probe, |_| true)
    }

    fn attach(&self, cache: &Attached<'_>) -> Result<()> {
        self.backends.iter().try_for_each(|(_, backend)| backend.attach(cache))?;
        if self.places.write().add_root(cache.space) {
            return Ok(());
        }
        let what = "the keys of an earlier cache over these routes lie within this one's prefix, and \
                    would move: build this one first";
        Err(Error::new(ErrorKind::InvalidArgument, what))
    }
}

/// Settings of a [`Route`]. Made by [`Route::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct RouteBuilder {
    routes: Vec<(String, Box<dyn Backend>)>,
    default: Box<dyn Backend>,
    delimiter: char,
}

impl RouteBuilder {
    /// Where the key `route` goes, and all that have a delimiter after it. A delimiter at its end is
    /// dropped: `user` and `user:` are one route. Default: none, so that all keys go to one place.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses a route without a name, and one that is there already.
    pub fn route(mut self, route: impl Into<String>, backend: impl Backend) -> Self {
        self.routes.push((route.into(), Box::new(backend)));
        self
    }

    /// What stands between a route and the rest of a key. Default: `:`, as between a namespace and
    /// its keys.
    pub fn delimiter(mut self, delimiter: char) -> Self {
        self.delimiter = delimiter;
        self
    }

    /// The route.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a route that cannot be told from others.
    pub fn build(self) -> Result<Route> {
        let Self { routes, default, delimiter } = self;
        let (mut names, mut backends) = (Vec::<Box<str>>::new(), Vec::new());
        for (route, backend) in routes {
            let name: Box<str> = route.strip_suffix(delimiter).unwrap_or(&route).into();
            if name.is_empty() {
                return Err(Error::new(ErrorKind::InvalidArgument, "a route has no name"));
            }
            if names.contains(&name) {
                let what = format!("the route {name} is there twice");
                return Err(Error::new(ErrorKind::InvalidArgument, what));
            }
            names.push(name.clone());
            backends.push((name, backend));
        }
        backends.push((DEFAULT.into(), default));
        Ok(Route { places: RwLock::new(Places::new(names, delimiter)), backends })
    }
}
