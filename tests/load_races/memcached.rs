//! Memcached: one server, and several.

use std::sync::LazyLock;

use super::held::Held;
use super::site::{PATIENCE, Site, assert_k, own_prefix};
use super::support::{MemcachedServer, Proxy};
use yokedcache::{Backend, Memcached};

// For all races: each has a prefix of its own.
static SERVER: LazyLock<MemcachedServer> = LazyLock::new(|| MemcachedServer::start(&[]));

struct One<'s>(&'s MemcachedServer, String);

fn one() -> One<'static> {
    One(&SERVER, own_prefix())
}

impl One<'_> {
    /// Sends a line about a key.
    fn say(&self, command: &str, key: &str, rest: &str) -> String {
        self.0.command(&format!("{command} {}{rest}", self.name(key)))
    }

    /// A flag of the answer to a meta get: the number of what is stored, say.
    fn flag(&self, key: &str, flag: char) -> Option<i64> {
        let reply = self.say("mg", key, &format!(" {flag}"));
        reply.trim_end().strip_prefix("HD ")?.strip_prefix(flag)?.parse().ok()
    }
}

impl Site for One<'_> {
    fn prefix(&self) -> &str {
        &self.1
    }

    fn backend(&self, proxy: Option<&Proxy>) -> Box<dyn Backend> {
        let addr = proxy.map_or_else(|| self.0.addr(), Proxy::addr);
        let memcached = Memcached::builder(&format!("memcached://{addr}"));
        Box::new(memcached.timeout(PATIENCE).connect_timeout(PATIENCE).build().unwrap())
    }

    fn proxy(&self) -> Option<Proxy> {
        Some(Proxy::to(&self.0.addr()))
    }

    fn delete(&self, key: &str) {
        assert_eq!(self.say("delete", key, ""), "DELETED\r\n", "{key} was there");
    }

    fn set(&self, key: &str, value: &str) {
        let rest = format!(" 0 0 {}\r\n{value}", value.len());
        assert_eq!(self.say("set", key, &rest), "STORED\r\n");
    }

    fn expire(&self, key: &str) {
        assert_eq!(self.say("touch", key, " -1"), "TOUCHED\r\n", "{key} was there");
    }

    fn left(&self, key: &str) -> Option<i64> {
        self.flag(key, 't').map(|seconds| if seconds < 0 { -1 } else { seconds * 1000 })
    }
}

mod races {
    crate::races!(crate::memcached::one());
}

/// Hole 14: another process under the same address numbers what is stored from 1 again.
#[test]
fn a_number_given_again_by_another_process_is_not_the_lease() {
    let server = MemcachedServer::start(&[]);
    let site = One(&server, own_prefix());
    let mine = site.cache();
    let load = Held::old(&mine);
    let number = site.flag("k", 'c').unwrap();
    server.restart();
    let again = || {
        site.set("k", "\"new\"");
        site.flag("k", 'c').unwrap()
    };
    // Up to the number of the lease, and not beyond.
    while again() < number {}
    assert_eq!(site.flag("k", 'c'), Some(number));
    load.end_overtaken(&mine);
    assert_k(&site, &mine, Some("new"));
}

/// Hole 14, of the number of a stale value that is being refreshed.
#[test]
fn a_number_given_again_by_another_process_is_not_the_stale_value() {
    use yokedcache::Loaded;
    let server = MemcachedServer::start(&[]);
    let site = One(&server, own_prefix());
    let mine = site.cache();
    let soon = std::time::Duration::from_millis(20);
    mine.entry("k").ttl(soon).stale_for(super::HOUR).set("stale").unwrap();
    std::thread::sleep(soon * 2);
    let number = site.flag("k", 'c').unwrap();
    let load = Held::begin({
        let mine = mine.clone();
        move |gate| {
            let loaded = mine.entry("k").load_with(|load| {
                assert_eq!(load.previous::<String>().as_deref(), Some("stale"));
                gate.wait();
                Ok::<_, ()>(Loaded::Value("old".to_owned()))
            });
            loaded.unwrap().unwrap().unwrap()
        }
    });
    server.restart();
    site.set("k", "\"new\"");
    while site.flag("k", 'c').unwrap() < number {
        site.set("k", "\"new\"");
    }
    assert_eq!(site.flag("k", 'c'), Some(number));
    load.end_overtaken(&mine);
    assert_k(&site, &mine, Some("new"));
}

/// Hole 2: everything is gone at once, and the fill finds nothing.
#[test]
fn a_flush_overtakes_a_load() {
    let server = MemcachedServer::start(&[]);
    let site = One(&server, own_prefix());
    let mine = site.cache();
    let load = Held::old(&mine);
    assert_eq!(server.command("flush_all"), "OK\r\n");
    load.end_overtaken(&mine);
    assert_k(&site, &mine, None);
}

#[test]
fn who_comes_after_a_delete_gets_nothing_older_from_a_fill_that_fails() {
    super::outages::who_comes_after_a_delete_gets_nothing_older_from_a_fill_that_fails(&one());
}

#[test]
fn who_comes_after_a_delete_gets_nothing_older_from_a_load_without_a_lease() {
    super::outages::who_comes_after_a_delete_gets_nothing_older_from_a_load_without_a_lease(&one());
}
