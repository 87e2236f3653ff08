//! Functions that remember.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use yokedcache::{ErrorKind, Ttl};

use super::gate::{Runs, wait_for};
use super::invalidation::has_scan;
use super::rig::Rig;

pub fn a_function_remembers_for_so_long(rig: &Rig) {
    let (cache, runs, unit) = (rig.cache(), Runs::default(), rig.unit());
    let short = cache.memoize("short", unit / 50, |number: u32| (number, runs.next()));
    let long = cache.memoize("long", Ttl::Never, |number: u32| (number, runs.next()));
    assert_eq!(
        [short(1), long(1), long(1), long(2)].map(Result::unwrap),
        [(1, 0), (1, 1), (1, 1), (2, 2)]
    );
    rig.pass(unit + unit / 20);
    assert_eq!([short(1), long(1)].map(Result::unwrap), [(1, 3), (1, 1)]);
}

pub fn caches_over_one_backend_remember_together(rig: &Rig) {
    let runs = Runs::default();
    let (one, two) = (rig.cache(), rig.cache());
    let first = one.memoize("f", Ttl::Never, |()| runs.next());
    let second = two.memoize("f", Ttl::Never, |()| runs.next());
    assert_eq!([first(()), second(())].map(Result::unwrap), [0, 0]);
}

pub fn different_arguments_never_share(rig: &Rig) {
    #[derive(Serialize)]
    enum Either {
        A(Option<f64>),
        B(f64),
    }
    let (cache, runs) = (rig.cache(), Runs::default());
    let pairs = cache.memoize("f", Ttl::Never, |(_, _): (&str, &str)| runs.next());
    let lists = cache.memoize("f", Ttl::Never, |_: Vec<&str>| runs.next());
    let floats = cache.memoize("f", Ttl::Never, |_: Option<f64>| runs.next());
    let eithers = cache.memoize("f", Ttl::Never, |_: Either| runs.next());
    let texts = cache.memoize("f", Ttl::Never, |_: &str| runs.next());
    let numbers = cache.memoize("f", Ttl::Never, |_: i64| runs.next());
    let mut all: Vec<usize> = vec![];
    for _ in 0..2 {
        let answers = [
            pairs(("a", "b,c")),
            pairs(("a,b", "c")),
            pairs(("a\",\"b", "c")),
            pairs(("", "a")),
            pairs(("a", "")),
            lists(vec![]),
            lists(vec![""]),
            lists(vec!["a", "b"]),
            lists(vec!["a,b"]),
            floats(None),
            floats(Some(f64::NAN)),
            floats(Some(f64::INFINITY)),
            floats(Some(f64::NEG_INFINITY)),
            floats(Some(0.0)),
            floats(Some(-0.0)),
            eithers(Either::A(None)),
            eithers(Either::A(Some(1.0))),
            eithers(Either::B(1.0)),
            eithers(Either::B(f64::NAN)),
            texts("1"),
            texts("-"),
            texts("NaN"),
            numbers(1),
            numbers(-1),
        ];
        all.extend(answers.map(Result::unwrap));
    }
    let (first, second) = all.split_at(all.len() / 2);
    assert_eq!(first, second, "each is remembered");
    assert!(first.iter().copied().eq(0..24), "and none taken for another: {first:?}");
}

pub fn different_names_never_share(rig: &Rig) {
    let (cache, runs) = (rig.cache(), Runs::default());
    let names = [
        "f", "g", "f(", "f(1)", "f()", "\"f\"", "f\"", "f,", "f g", "F", "f\\", "é", "f*", "f.g",
        "f:g", "f/g", "f-g", "f_g", "f(\"1\")",
    ];
    for _ in 0..2 {
        for (number, name) in names.into_iter().enumerate() {
            let one = cache.memoize(name, Ttl::Never, |_: u8| runs.next());
            assert_eq!(one(1).unwrap(), number, "{name}");
        }
    }
    let nameless = cache.memoize("", Ttl::Never, |_: u8| runs.next());
    assert_eq!(nameless(1).unwrap_err().kind(), ErrorKind::InvalidKey);
    let nested = cache.memoize("f", Ttl::Never, |_: &str| runs.next());
    let quoted = cache.memoize("f(\"a\")", Ttl::Never, |()| runs.next());
    assert_ne!(nested("a\")(").unwrap(), quoted(()).unwrap());
}

pub fn errors_are_not_remembered(rig: &Rig) {
    let (cache, runs) = (rig.cache(), Runs::default());
    let parse = cache.try_memoize("parse", Ttl::Never, |text: &str| {
        runs.next();
        text.parse::<u8>()
    });
    for (text, good) in [("7", true), ("x", false), ("7", true), ("x", false)] {
        assert_eq!(parse(text).unwrap().is_ok(), good, "{text}");
    }
    assert_eq!(runs.count(), 3);
}

pub fn a_source_that_recovers_is_asked_again(rig: &Rig) {
    let (cache, runs) = (rig.cache(), Runs::default());
    let flaky = cache.try_memoize("flaky", Ttl::Never, |()| match runs.next() {
        0 => Err("down"),
        run => Ok(run),
    });
    let answers = [(); 3].map(|()| flaky(()).unwrap());
    assert_eq!(answers, [Err("down"), Ok(1), Ok(1)]);
}

pub fn none_is_remembered_too(rig: &Rig) {
    let (cache, runs) = (rig.cache(), Runs::default());
    let none = cache.memoize("none", Ttl::Never, |()| -> Option<u8> {
        runs.next();
        None
    });
    assert_eq!([none(()), none(())].map(Result::unwrap), [None, None]);
    assert_eq!(runs.count(), 1);
}

pub fn all_of_a_name_can_be_invalidated(rig: &Rig) {
    let (cache, runs) = (rig.cache(), Runs::default());
    if !has_scan(rig, &cache) {
        return;
    }
    let square = cache.memoize("square", Ttl::Never, |_: u32| runs.next());
    let squares = cache.memoize("squares", Ttl::Never, |_: u32| runs.next());
    assert_eq!([square(1), square(2), squares(1)].map(Result::unwrap), [0, 1, 2]);
    cache.invalidate_pattern("square(*").unwrap();
    assert_eq!([square(1), square(2), squares(1)].map(Result::unwrap), [3, 4, 2]);
}

pub fn threads_share_one_run_of_a_function(rig: &Rig) {
    let (cache, runs, all) = (rig.cache(), Runs::default(), Barrier::new(4));
    let slow = cache.memoize("slow", Ttl::Never, |_: u8| {
        // All have come and looked before it ends.
        wait_for(|| cache.stats().misses.total() == 4);
        thread::sleep(Duration::from_millis(5));
        runs.next()
    });
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                all.wait();
                assert_eq!(slow(1).unwrap(), 0);
            });
        }
    });
    assert_eq!((runs.count(), cache.stats().loads), (1, 1));
}

pub fn namespaces_remember_for_themselves(rig: &Rig) {
    let (cache, runs) = (rig.cache(), Runs::default());
    let [here, there] = ["here", "there"]
        .map(|space| cache.namespace(space).memoize("f", Ttl::Never, |_: u8| runs.next()));
    assert_eq!([here(1), there(1), here(1)].map(Result::unwrap), [0, 1, 0]);
    if has_scan(rig, &cache) {
        cache.namespace("here").invalidate_pattern("f(*").unwrap();
        assert_eq!([here(1), there(1)].map(Result::unwrap), [2, 1]);
    }
}

pub fn a_function_may_call_itself_for_other_arguments(rig: &Rig) {
    fn fibonacci(cache: &yokedcache::Cache, runs: &Runs, number: u64) -> u64 {
        let step = |number: u64| {
            runs.next();
            match number {
                0 | 1 => number,
                _ => fibonacci(cache, runs, number - 1) + fibonacci(cache, runs, number - 2),
            }
        };
        cache.memoize("fibonacci", Ttl::Never, step)(number).unwrap()
    }
    let (cache, runs) = (rig.cache(), Runs::default());
    assert_eq!(fibonacci(&cache, &runs, 20), 6765);
    assert_eq!(runs.count(), 21);
}

pub fn arguments_that_make_no_key_are_refused(rig: &Rig) {
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    let cache = rig.cache();
    let never = |_: Refuses| -> u8 { panic!("the function does not run") };
    let refused = cache.memoize("f", Ttl::Never, never)(Refuses).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Encode);
    let long = cache.memoize("f", Ttl::Never, |_: String| 1)("x".repeat(yokedcache::MAX_KEY));
    assert_eq!(long.unwrap_err().kind(), ErrorKind::InvalidKey);
    let short = cache.memoize("f", Duration::ZERO, |_: u8| 1)(1);
    assert_eq!(short.unwrap_err().kind(), ErrorKind::InvalidTtl);
}
