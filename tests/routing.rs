//! Where a route sends keys, batches, invalidations and scans.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use yokedcache::backend::{
    Backend, Call, Cause, Change, CodecId, Entry, Life, Name, Read, Removed, Scope, Want, When,
    Write, Wrote,
};
use yokedcache::{Cache, ErrorKind, Lookup, Pattern, Result, Route};

mod recorder;

use recorder::Recorder;

const DOWN: Option<ErrorKind> = Some(ErrorKind::Unavailable);

/// A route over recorders, the default the last of them.
fn over<const N: usize>(routes: [&str; N]) -> (Arc<Route>, Vec<Recorder>) {
    let inside: Vec<_> = (0..=N).map(|_| Recorder::new()).collect();
    let mut builder = Route::builder(inside[N].clone());
    for (route, backend) in routes.iter().zip(&inside) {
        builder = builder.route(*route, backend.clone());
    }
    let route = Arc::new(builder.build().unwrap());
    inside.iter().for_each(|backend| drop(backend.take()));
    (route, inside)
}

fn cache_over(route: &Arc<Route>, prefix: &str) -> Cache {
    Cache::builder(route.clone()).key_prefix(prefix).build().unwrap()
}

/// What each was asked, apart from questions that cost nothing.
fn asked(inside: &[Recorder]) -> Vec<Vec<String>> {
    let free = |line: &String| ["about", "children", "attach "].contains(&line.as_str());
    inside
        .iter()
        .map(|backend| backend.take().into_iter().filter(|line| !free(line)).collect())
        .collect()
}

/// The only one that holds anything, and how many keys.
fn holder(inside: &[Recorder]) -> usize {
    let holders: Vec<_> = (0..inside.len()).filter(|i| !inside[*i].holds().is_empty()).collect();
    assert_eq!(holders.len(), 1, "{holders:?}");
    holders[0]
}

#[test]
fn the_longest_route_takes_a_key() {
    let (route, inside) = over(["user", "user:eu", "session:", "é"]);
    let cache = cache_over(&route, "");
    let table = [
        ("user", 0),
        ("user:", 0),
        ("user:1", 0),
        ("user:us:1", 0),
        ("user:eux", 0),
        ("user:eu", 1),
        ("user:eu:1", 1),
        ("session", 2),
        ("session:1", 2),
        ("é:1", 3),
        ("users:1", 4),
        ("use", 4),
        ("User:1", 4),
        ("eu:user:1", 4),
        (":user:1", 4),
        ("éa", 4),
    ];
    for (key, place) in table {
        cache.set(key, &1).unwrap();
        assert_eq!(holder(&inside), place, "{key}");
        assert_eq!(cache.get(key).unwrap(), Some(1), "{key}");
        assert!(cache.delete(key).unwrap(), "{key}");
    }
}

#[test]
fn another_delimiter_divides_instead_of_the_colon() {
    let (one, default) = (Recorder::new(), Recorder::new());
    let route = Route::builder(default.clone()).route("user/", one.clone()).delimiter('/');
    let cache = Cache::builder(route.build().unwrap()).build().unwrap();
    cache.set_many([("user", 1), ("user/1", 1), ("user:1", 1), ("users/1", 1)]).unwrap();
    assert_eq!(one.holds(), ["user", "user/1"]);
    assert_eq!(default.holds(), ["user:1", "users/1"]);
}

#[test]
fn routes_that_cannot_be_told_apart_are_refused() {
    for routes in [&["user", "user:"][..], &["user", "user"], &[""], &[":"]] {
        let builder = routes.iter().fold(Route::builder(Recorder::new()), |builder, route| {
            builder.route(*route, Recorder::new())
        });
        assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::InvalidArgument, "{routes:?}");
    }
}

#[test]
fn namespaces_and_full_keys_agree() {
    let (route, inside) = over(["user", "user:eu"]);
    let cache = cache_over(&route, "shop");
    cache.namespace("user").set("1", &1).unwrap();
    cache.namespace("user").namespace("eu").set("1", &2).unwrap();
    cache.namespace("other").set("user:1", &3).unwrap();
    let held: Vec<_> = inside.iter().map(Recorder::holds).collect();
    assert_eq!(held, [["shop:user:1"], ["shop:user:eu:1"], ["shop:other:user:1"]]);
    assert_eq!(cache.get_many(["user:1", "user:eu:1"]).unwrap(), [Some(1), Some(2)]);
    assert!(cache.namespace("user").delete("eu:1").unwrap());
    assert!(inside[1].holds().is_empty());
}

#[test]
fn of_several_prefixes_the_outer_one_counts() {
    let (route, inside) = over(["user", "eu"]);
    let [shop, eu, other] = ["shop", "shop:eu", "other"].map(|prefix| cache_over(&route, prefix));
    shop.set("user:1", &2).unwrap();
    eu.set("user:1", &3).unwrap();
    other.set("user:1", &4).unwrap();
    assert_eq!(inside[0].holds(), ["other:user:1", "shop:user:1"]);
    assert_eq!(inside[1].holds(), ["shop:eu:user:1"], "as in a namespace");
    let same = [shop.get("eu:user:1"), shop.namespace("eu").get("user:1"), eu.get("user:1")];
    assert_eq!(same.map(Result::unwrap), [Some(3); 3]);
}

#[test]
fn an_outer_prefix_that_comes_later_is_refused() {
    let (route, _) = over(["user"]);
    let shop = cache_over(&route, "shop");
    let refused = Cache::builder(route.clone()).key_prefix("").build().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    shop.set("user:1", &1).unwrap();
    assert_eq!(shop.get::<i32>("user:1").unwrap(), Some(1));
    assert!(Cache::builder(route).key_prefix("shop").build().is_ok(), "the same again");
}

#[test]
fn one_key_is_passed_on_as_it_is() {
    let (route, inside) = over(["a"]);
    let call = Call::Within(Duration::from_secs(9));
    let mut read = [Read::Unanswered];
    route.read(call, &[Name::new("a:1", 0)], &Want::VALUE, &mut read).unwrap();
    route.write(call, &mut [put("a:1", "1")], &mut [Wrote::Unanswered]).unwrap();
    assert_eq!(inside[0].deadlines(), [call; 2]);
    assert_eq!(asked(&inside), [vec!["read a:1", "write a:1"], vec![]]);
}

#[test]
fn a_batch_is_a_call_to_each_backend_of_its_keys() {
    let (route, inside) = over(["a", "b", "c"]);
    let cache = cache_over(&route, "");
    cache.set_many([("b:1", 1), ("x", 2), ("a:1", 3), ("b:2", 4), ("b:1", 5)]).unwrap();
    let written = [&["write a:1"][..], &["write b:1 b:2 b:1"], &[], &["write x"]];
    assert_eq!(asked(&inside), written);
    let keys = ["b:2", "x", "b:1", "absent", "a:1", "b:2"];
    let found = [Some(4), Some(2), Some(5), None, Some(3), Some(4)];
    assert_eq!(cache.get_many(keys).unwrap(), found, "the later of two writes counts");
    let read = [&["read a:1"][..], &["read b:2 b:1 b:2"], &[], &["read x absent"]];
    assert_eq!(asked(&inside), read);
    assert_eq!(cache.delete_many(keys).unwrap(), 4);
    assert!(inside.iter().all(|backend| backend.holds().is_empty()));
}

#[test]
fn the_parts_of_a_batch_share_one_deadline() {
    let (route, inside) = over(["a", "b"]);
    let keys = ["a", "b", "c"].map(|key| Name::new(key, 0));
    let mut out = keys.map(|_| Read::Unanswered);
    let call = Call::Within(Duration::from_secs(9));
    route.read(call, &keys, &Want::VALUE, &mut out).unwrap();
    let ends: Vec<_> = inside.iter().flat_map(Recorder::deadlines).collect();
    assert!(matches!(ends[..], [Call::Until(_), ..]), "{ends:?}");
    assert_eq!(ends, [ends[0]; 3]);
}

#[test]
fn a_backend_that_fails_a_batch_fails_its_own_keys() {
    let (route, inside) = over(["a", "b"]);
    let cache = cache_over(&route, "");
    cache.set_many([("a:1", 1), ("b:1", 2), ("c:1", 3), ("a:2", 4)]).unwrap();
    inside[0].set_failing(DOWN);

    let found = cache.lookup_many::<i32>(["a:1", "b:1", "c:1", "a:2"]).unwrap();
    let causes: Vec<_> = found.iter().map(Lookup::cause).collect();
    assert_eq!(causes, [Some(Cause::Down), None, None, Some(Cause::Down)]);
    let strict = Cache::builder(route.clone()).strict().build().unwrap();
    let error = strict.get_many::<i32>(["b:1", "a:1"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);

    let failed = cache.set_many([("c:1", 5), ("a:1", 6), ("b:1", 7)]).unwrap();
    let failed: Vec<_> = failed.iter().map(|(key, error)| (key.as_str(), error.kind())).collect();
    assert_eq!(failed, [("a:1", ErrorKind::Unavailable)]);
    assert_eq!(cache.get_many(["b:1", "c:1"]).unwrap(), [Some(7), Some(5)]);
}

#[test]
fn a_batch_fails_where_all_its_backends_do() {
    let (route, inside) = over(["a", "b"]);
    inside[..2].iter().for_each(|backend| backend.set_failing(DOWN));
    let mut out = [const { Read::Unanswered }; 2];
    let keys = ["a", "b"].map(|key| Name::new(key, 0));
    let error = route.read(Call::Unlimited, &keys, &Want::VALUE, &mut out).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(matches!(out, [Read::Unanswered, Read::Unanswered]));

    let mut out = [const { Wrote::Unanswered }; 2];
    let mut writes = [put("a", "1"), put("b", "2")];
    route.write(Call::Unlimited, &mut writes, &mut out).unwrap_err();
    assert!(matches!(out, [Wrote::Unanswered, Wrote::Unanswered]));
    for (write, text) in writes.iter().zip(["1", "2"]) {
        let Change::Put(entry, _) = &write.change else { panic!("{write:?}") };
        assert_eq!(entry.value.bytes(), text, "whoever gave it may try elsewhere");
    }
    asked(&inside);
    route.read(Call::Unlimited, &[], &Want::VALUE, &mut []).unwrap();
    assert_eq!(asked(&inside), [[""; 0]; 3], "a batch of nothing asks nobody");
}

fn put(key: &'static str, value: &'static str) -> Write<'static> {
    let entry = Entry::new(value, CodecId::JSON);
    Write::new(Name::new(key, 0), When::Always, Change::Put(entry, Life::FOREVER))
}

#[test]
fn a_route_can_what_all_its_backends_can() {
    for less in 0..3 {
        let (route, inside) = over(["a", "b"]);
        let all = route.about().can;
        let mut can = all;
        (can.tags, can.shared) = (false, true);
        inside[less].set_can(can);
        assert!(all.tags && !all.shared);
        assert_eq!(route.about().can, can, "{less}");
    }
    assert_eq!(over([]).0.about().name, "route");
}

#[test]
fn tags_reach_every_backend() {
    let (route, inside) = over(["a", "b"]);
    let cache = cache_over(&route, "");
    let fill = || {
        for key in ["a:1", "b:1", "c:1"] {
            cache.entry(key).tags(["t", key]).set(&1).unwrap();
        }
    };
    fill();
    assert_eq!(cache.invalidate_tags(["t"]).unwrap().entries, Some(3));
    fill();
    assert_eq!(cache.invalidate_tags_all(["t", "b:1"]).unwrap().entries, Some(1));
    let held: Vec<_> = inside.iter().map(Recorder::holds).collect();
    assert_eq!(held, [vec!["a:1"], vec![], vec!["c:1"]]);
}

#[test]
fn patterns_and_clear_reach_what_may_hold_their_keys() {
    let (route, inside) = over(["a", "a:b", "c"]);
    let cache = cache_over(&route, "shop");
    let keys = ["a", "a:1", "a:b:1", "ab", "c:1"];
    let fill = || keys.iter().for_each(|key| assert!(cache.set(key, &1).unwrap()));
    fill();
    assert_eq!(cache.invalidate_pattern("*1").unwrap().entries, Some(3));
    assert_eq!(cache.keys("*").unwrap(), ["a", "ab"]);
    fill();
    asked(&inside);
    assert_eq!(cache.namespace("a").clear().unwrap().entries, Some(2));
    let line = "invalidate keys of shop:a:";
    assert_eq!(asked(&inside), [vec![line], vec![line], vec![], vec![]]);
    assert_eq!(cache.keys("*").unwrap(), ["a", "ab", "c:1"]);
    assert_eq!(cache.clear().unwrap().entries, Some(3));
    assert!(inside.iter().all(|backend| backend.holds().is_empty()));
}

#[test]
fn an_invalidation_that_fails_somewhere_is_attempted_everywhere() {
    let (route, inside) = over(["a", "b"]);
    let cache = cache_over(&route, "");
    for key in ["a:1", "b:1", "c:1"] {
        cache.entry(key).tag("t").set(&1).unwrap();
    }
    for scope in [Scope::AnyTag(&[Name::new("t", 0)]), Scope::Keys(&Pattern::all())] {
        inside[0].set_failing(DOWN);
        inside[1].set_failing(Some(ErrorKind::Timeout));
        let error = route.invalidate(Call::Unlimited, &scope).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "the first");
        inside[..2].iter().for_each(|backend| backend.set_failing(None));
        let held: Vec<_> = inside.iter().map(|backend| backend.holds().len()).collect();
        assert_eq!(held, [1, 1, 0]);
        cache.set("c:1", &1).unwrap();
    }
}

#[test]
fn what_one_does_not_know_or_did_not_do_yet_holds_for_all() {
    let (route, inside) = over(["a"]);
    inside[0].set_removed(Removed::counted(2));
    let asked = || route.invalidate(Call::Unlimited, &Scope::Keys(&Pattern::all())).unwrap();
    assert_eq!(asked(), Removed::counted(2));
    let mut noted = Removed::default();
    noted.pending = true;
    inside[1].set_removed(noted);
    assert_eq!(asked(), noted);
}

#[test]
fn a_failing_backend_is_no_matter_to_namespaces_elsewhere() {
    let (route, inside) = over(["a", "b"]);
    let cache = cache_over(&route, "");
    inside[0].set_failing(DOWN);
    cache.set("b:1", &1).unwrap();
    let b = cache.namespace("b");
    assert_eq!(b.keys("*").unwrap(), ["1"]);
    assert_eq!(b.clear().unwrap().entries, Some(1));
    assert!(cache.keys("b:*").is_err(), "a glob may begin with anything");
}

#[test]
fn a_scan_names_each_key_where_it_belongs_and_stops_when_told() {
    let one = Recorder::new();
    let route = Route::builder(one.clone()).route("a", one.clone()).route("b", Recorder::new());
    let cache = Cache::builder(route.build().unwrap()).build().unwrap();
    cache.set_many([("a:1", 1), ("b:1", 1), ("c:1", 1)]).unwrap();
    // What is not found under its key is not named either.
    let mut out = [Wrote::Unanswered];
    one.write(Call::Unlimited, &mut [put("b:2", "1")], &mut out).unwrap();
    let mut named = Vec::new();
    cache
        .scan("*", |keys| {
            assert!(!keys.is_empty());
            named.extend(keys.iter().map(|key| key.to_string()));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(named, ["a:1", "b:1", "c:1"], "two routes lead to one backend");

    let mut pages = 0;
    cache
        .scan("*", |_| {
            pages += 1;
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(pages, 1);
    assert_eq!(cache.invalidate_pattern("a:*").unwrap().entries, Some(1), "counted once");
}

#[test]
fn statistics_and_health_show_the_parts() {
    let (route, inside) = over(["a", "b:"]);
    let cache = cache_over(&route, "");
    cache.set_many([("a:1", 1), ("a:2", 1), ("b:1", 1)]).unwrap();
    let stats = cache.stats().backend;
    let parts: Vec<_> =
        stats.children.iter().map(|(part, child)| (part.as_str(), child.entries)).collect();
    assert_eq!(stats.name, "route");
    assert_eq!(parts, [("a", Some(2)), ("b", Some(1)), ("default", Some(0))]);

    inside[2].set_failing(DOWN);
    let health = cache.detailed_health_check();
    let parts: Vec<_> = health.children.iter().map(|(part, _)| part.as_str()).collect();
    assert_eq!((health.is_up(), parts), (false, vec!["a", "b", "default"]));
}

/// Looks the key's segments up, the most of them first.
fn reference(routes: &[String], roots: &[String], full: &str) -> usize {
    let mut roots: Vec<&str> = roots.iter().map(String::as_str).collect();
    roots.sort_by_key(|root| root.len());
    let key = roots.iter().find_map(|root| full.strip_prefix(root)).unwrap_or(full);
    let routes: HashMap<&str, usize> =
        routes.iter().enumerate().map(|(place, route)| (route.as_str(), place)).collect();
    let segments: Vec<&str> = key.split(':').collect();
    let places = (1..=segments.len()).rev();
    let place = places.filter_map(|some| routes.get(segments[..some].join(":").as_str())).next();
    place.copied().unwrap_or(routes.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn a_key_goes_where_the_reference_says(
        routes in vec("[ab]{1,2}(:[ab]{1,2}){0,2}", 0..5),
        prefixes in vec("[ab]{1,2}(:[ab])?", 1..4),
        keys in vec("[ab:]{1,9}", 1..12),
    ) {
        let mut routes = routes;
        routes.sort();
        routes.dedup();
        let inside: Vec<_> = (0..=routes.len()).map(|_| Recorder::new()).collect();
        let mut builder = Route::builder(inside[routes.len()].clone());
        for (route, backend) in routes.iter().zip(&inside) {
            builder = builder.route(route, backend.clone());
        }
        let route = Arc::new(builder.build().unwrap());
        let mut prefixes = prefixes;
        prefixes.sort();
        let roots: Vec<String> = prefixes.iter().map(|prefix| format!("{prefix}:")).collect();
        let caches: Vec<_> = prefixes.iter().map(|prefix| cache_over(&route, prefix)).collect();
        for key in keys {
            let mut names = Vec::new();
            for (cache, root) in caches.iter().zip(&roots) {
                names.push((cache, key.clone()));
                if let Some(key) = key.strip_prefix(root.as_str()).filter(|key| !key.is_empty()) {
                    names.push((cache, key.to_owned()));
                }
            }
            for (cache, key) in names {
                cache.set(&key, &1).unwrap();
                let place = holder(&inside);
                let [full] = &inside[place].holds()[..] else { panic!("one key") };
                prop_assert_eq!(place, reference(&routes, &roots, full), "{}", full);
                cache.delete(&key).unwrap();
            }
        }
    }
}
