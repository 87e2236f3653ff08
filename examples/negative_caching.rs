//! Remembering that there is no value: `Option`s, a time to live of its own for that knowledge, not
//! remembering it, and a loader that says how long it is good for.
//!
//! The clock is set by hand, so that minutes pass at once.
//!
//! `cargo run --example negative_caching`

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use yokedcache::{Cache, Freshness, Loaded, Lookup, ManualClock, Memory, Result, Ttl};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Somebody else's, which is asked about many users that do not exist.
#[derive(Default)]
struct Directory {
    users: Mutex<BTreeMap<String, String>>,
    questions: AtomicU32,
}

impl Directory {
    fn find(&self, login: &str) -> Option<String> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        self.users.lock().unwrap_or_else(PoisonError::into_inner).get(login).cloned()
    }

    fn add(&self, login: &str, name: &str) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.insert(login.to_owned(), name.to_owned());
    }

    /// How often it was asked since this was asked last.
    fn questions(&self) -> u32 {
        self.questions.swap(0, Ordering::Relaxed)
    }
}

struct Tour {
    clock: ManualClock,
    cache: Cache,
    directory: Directory,
}

impl Tour {
    fn begin() -> Result<Self> {
        let clock = ManualClock::new();
        let memory = Memory::builder().clock(&clock).build()?;
        let cache = Cache::builder(memory).clock(&clock).build()?;
        Ok(Self { clock, cache, directory: Directory::default() })
    }

    fn ask(&self, login: &str, freshness: Freshness) -> Result<Option<String>> {
        let entry = self.cache.entry(login).freshness(freshness);
        entry.get_or_compute(|| self.directory.find(login))
    }

    fn ask_and_tell(&self, when: &str, login: &str, freshness: Freshness) -> Result<()> {
        let answer = self.ask(login, freshness)?;
        let (answer, asked) = (format!("{answer:?}"), self.directory.questions());
        println!("  {when:<28} {answer:<13} asked: {asked}");
        Ok(())
    }
}

fn heading(what: &str) {
    println!("\n{what}");
}

/// An `Option` is all it takes.
fn remembered(tour: &Tour) -> Result<()> {
    heading("A loader that returns None is not asked again");
    for _ in 0..1_000 {
        tour.ask("ann", Freshness::new())?;
    }
    println!("  1000 calls, the directory was asked: {}", tour.directory.questions());
    println!("  hits that said there is none: {}", tour.cache.stats().negative_hits);
    Ok(())
}

/// What does not exist yet may exist soon.
fn shorter(tour: &Tour) -> Result<()> {
    heading("Values live for a minute, the knowledge that there is none for five seconds");
    let policy = Freshness::new().ttl(MINUTE).negative_ttl(5 * SECOND);
    tour.ask_and_tell("bob is not there", "bob", policy)?;
    tour.directory.add("bob", "Bob");
    tour.clock.advance(4 * SECOND);
    tour.ask_and_tell("added; 4 seconds on", "bob", policy)?;
    tour.clock.advance(2 * SECOND);
    tour.ask_and_tell("6 seconds on", "bob", policy)?;
    tour.clock.advance(50 * SECOND);
    tour.ask_and_tell("56 seconds on", "bob", policy)?;
    Ok(())
}

/// Who adds a user knows better than any time to live.
fn invalidated(tour: &Tour) -> Result<()> {
    heading("A delete removes that knowledge like any value");
    let policy = Freshness::new().ttl(MINUTE);
    tour.ask_and_tell("eve is not there", "eve", policy)?;
    tour.directory.add("eve", "Eve");
    tour.cache.delete("eve")?;
    tour.ask_and_tell("added, and her key deleted", "eve", policy)
}

fn not_remembered(tour: &Tour) -> Result<()> {
    heading("With skip_negative only values are remembered");
    let policy = Freshness::new().ttl(MINUTE).skip_negative();
    tour.ask_and_tell("dan is not there", "dan", policy)?;
    tour.ask_and_tell("again", "dan", policy)?;
    tour.directory.add("dan", "Dan");
    tour.ask_and_tell("added", "dan", policy)?;
    tour.ask_and_tell("again", "dan", policy)
}

/// As of a web server: 404 is for now, 410 for good.
fn page(path: &str) -> Loaded<String> {
    match path {
        "/old" => Loaded::Negative(Ttl::Never),
        "/new" => Loaded::Negative(Ttl::After(5 * SECOND)),
        _ => Loaded::Value(format!("<h1>{path}</h1>")),
    }
}

fn said_by_the_loader(tour: &Tour) -> Result<()> {
    heading("Loaded::Negative: the loader says how long there will be none");
    for path in ["/", "/new", "/old"] {
        let entry = tour.cache.entry(path).ttl(MINUTE);
        let found = entry.load_with(|load| Ok::<_, yokedcache::Error>(page(load.key())))??;
        println!("  {path:<5} {found:?}");
    }
    for pass in ["at once", "a minute on"] {
        println!("  {pass}, without a loader:");
        for path in ["/", "/new", "/old"] {
            let known = match tour.cache.lookup::<String>(path)? {
                Lookup::Hit(hit) => hit.value,
                Lookup::Negative(life) => match life.hard {
                    Some(left) => format!("known not to exist for another {left:?}"),
                    None => "known not to exist, for ever".into(),
                },
                Lookup::Miss(cause) => format!("nothing is known: {cause:?}"),
            };
            println!("    {path:<5} {known}");
        }
        tour.clock.advance(MINUTE);
    }
    Ok(())
}

fn main() -> Result<()> {
    let tour = Tour::begin()?;
    remembered(&tour)?;
    shorter(&tour)?;
    invalidated(&tour)?;
    not_remembered(&tour)?;
    said_by_the_loader(&tour)
}
