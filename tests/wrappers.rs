//! What a wrapper is asked arrives at the backend inside as itself: a wrapper that leaves a method
//! out falls back on what the trait provides, and nobody would notice.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use yokedcache::backend::{
    Attached, Backend, Call, Change, CodecId, Ear, Entry, Events, Heard, Life, Listen, Name, Read,
    Scope, Want, When, Write, Wrote,
};
use yokedcache::{DualWrite, Fallback, Memory, Pattern, Route, Switch, Tiered};

mod recorder;

use recorder::Recorder;

/// Puts a wrapper around a backend.
type Wrap = fn(Recorder) -> Box<dyn Backend>;

/// The wrappers, by what they are called when a test fails.
const WRAPPERS: [(&str, Wrap); 8] = [
    ("Box", |inside| Box::new(Box::new(inside))),
    ("Arc", |inside| Box::new(Arc::new(inside))),
    ("Switch", |inside| Box::new(Switch::new(inside))),
    ("Tiered", |inside| Box::new(Tiered::new(memory(), inside).unwrap())),
    ("Fallback", |inside| Box::new(Fallback::builder(inside, memory()).build().unwrap())),
    ("DualWrite", |inside| Box::new(DualWrite::new(inside, memory()))),
    ("Route, default", |inside| Box::new(Route::builder(inside).build().unwrap())),
    ("Route, taken", |inside| {
        let route = Route::builder(Recorder::new()).route("k", inside.clone());
        Box::new(route.route("t", inside).build().unwrap())
    }),
];

fn memory() -> Memory {
    Memory::builder().build().unwrap()
}

/// Calls one method.
type Ask = fn(&dyn Backend);

fn read(backend: &dyn Backend) {
    let mut out = [Read::Unanswered];
    backend.read(Call::Unlimited, &[key()], &Want::VALUE, &mut out).unwrap();
    assert!(matches!(out, [Read::Miss(..)]));
}

fn write(backend: &dyn Backend) {
    let put = Change::Put(Entry::new("1", CodecId::JSON), Life::FOREVER);
    let mut out = [Wrote::Unanswered];
    let mut writes = [Write::new(key(), When::Always, put)];
    backend.write(Call::Unlimited, &mut writes, &mut out).unwrap();
    assert!(matches!(out, [Wrote::Done(Some(_))]));
}

fn scan(backend: &dyn Backend) {
    let mut page = |_: &[&str]| ControlFlow::Continue(());
    backend.scan(Call::Unlimited, &Pattern::prefix("k:"), &mut page).unwrap();
}

fn invalidate(backend: &dyn Backend, what: &Scope<'_>) {
    backend.invalidate(Call::Unlimited, what).unwrap();
}

fn key() -> Name<'static> {
    Name::new("k:1", 0)
}

/// Every method but `about` and `children`, and how it is noted inside.
const METHODS: [(Ask, &str); 10] = [
    (read, "read k:1"),
    (write, "write k:1"),
    (|it| invalidate(it, &Scope::Keys(&Pattern::prefix("k:"))), "invalidate keys of k:"),
    (|it| invalidate(it, &Scope::AnyTag(&[Name::new("t", 0)])), "invalidate any of t"),
    (|it| invalidate(it, &Scope::AllTags(&[Name::new("t", 0)])), "invalidate all of t"),
    (scan, "scan k:"),
    (|it| drop(it.stats(Call::Unlimited)), "stats"),
    (|it| it.threads(&mut |_, runs| assert!(runs)), "threads"),
    (|it| it.attach(&Attached::new("shop:", &Events::default())).unwrap(), "attach shop:"),
    (|it| it.close(), "close"),
];

/// What was asked inside, apart from questions that cost nothing, each once.
fn arrived(inside: &Recorder) -> Vec<String> {
    let mut arrived = inside.take();
    arrived.retain(|line| line != "about" && line != "children");
    arrived.dedup();
    arrived
}

#[test]
fn each_method_arrives_as_itself() {
    for (name, wrap) in WRAPPERS {
        let inside = Recorder::new();
        let wrapped = wrap(inside.clone());
        inside.take();
        for (ask, expected) in METHODS {
            ask(&*wrapped);
            let mut arrived = arrived(&inside);
            // Tiers listen as soon as they know to what.
            arrived.retain(|line| line != "listen");
            assert_eq!(arrived, [expected], "{name}");
        }
    }
}

#[test]
fn health_is_asked_for_inside_once() {
    for (name, wrap) in WRAPPERS {
        let inside = Recorder::new();
        let health = wrap(inside.clone()).health(Call::Unlimited, key());
        // A tier that is part of no cache yet hears of nothing, which degrades it.
        let is_near_off = name == "Tiered" && health.warnings[0].code == "near-off";
        assert_eq!(health.is_up(), !is_near_off, "{name}");
        assert!(health.error.is_none(), "{name}");
        let arrived = arrived(&inside);
        assert_eq!(arrived, ["health k:1"], "{name}");
    }
}

#[test]
fn a_wrapper_can_what_the_backend_inside_can() {
    for (name, wrap) in WRAPPERS {
        let inside = Recorder::new();
        let wrapped = wrap(inside.clone());
        inside.take();
        let can = wrapped.about().can;
        assert_eq!(inside.take()[..1], ["about"], "{name}");
        assert_eq!(can, inside.about().can, "{name}");
    }
}

#[derive(Debug)]
struct Deaf;

impl Ear for Deaf {
    fn hear(&self, _: Heard<'_>) {}
}

#[test]
fn pointers_pass_on_who_listens_and_who_is_inside() {
    let listen = Listen::new(Vec::new(), Duration::from_secs(1), Arc::new(Deaf));
    for (name, wrap) in &WRAPPERS[..2] {
        let inside = Recorder::new();
        let wrapped = wrap(inside.clone());
        assert!(wrapped.listen(&listen).unwrap().is_none());
        let mut parts = Vec::new();
        wrapped.children(&mut |part, _| parts.push(part.to_owned()));
        assert_eq!(inside.take(), ["listen", "children"], "{name}");
        assert_eq!(parts, ["memory"], "{name}");
    }
}
