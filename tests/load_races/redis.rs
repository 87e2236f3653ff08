//! One Redis server, and a cluster.

use std::sync::LazyLock;

use super::HOUR;
use super::held::Held;
use super::site::{PATIENCE, Site, assert_k, own_prefix};
use super::support::{Proxy, RedisCluster, RedisServer, Reply};
use yokedcache::{Backend, Redis};

// For all races: each has a prefix of its own.
static SERVER: LazyLock<RedisServer> = LazyLock::new(|| RedisServer::start(&[]));
static CLUSTER: LazyLock<RedisCluster> = LazyLock::new(RedisCluster::start);

struct One(String);

struct Cluster(String);

fn one_server() -> One {
    One(own_prefix())
}

fn a_cluster() -> Cluster {
    Cluster(own_prefix())
}

/// What differs between one server and many.
trait Servers {
    fn url(&self) -> String;
    fn own(&self) -> &str;
    fn front(&self) -> Option<Proxy>;
    /// Asks the server that has the key.
    fn say(&self, key: &str, words: &[&str]) -> Reply;
}

impl Servers for One {
    fn url(&self) -> String {
        SERVER.url().to_owned()
    }

    fn own(&self) -> &str {
        &self.0
    }

    fn front(&self) -> Option<Proxy> {
        Some(Proxy::to(&SERVER.addr()))
    }

    fn say(&self, _: &str, words: &[&str]) -> Reply {
        SERVER.command(words)
    }
}

impl Servers for Cluster {
    fn url(&self) -> String {
        CLUSTER.url()
    }

    fn own(&self) -> &str {
        &self.0
    }

    /// Clients go where the servers say, and around a proxy.
    fn front(&self) -> Option<Proxy> {
        None
    }

    fn say(&self, key: &str, words: &[&str]) -> Reply {
        CLUSTER.nodes()[CLUSTER.owner(CLUSTER.slot_of(key))].command(words)
    }
}

impl<S: Servers + Sync> Site for S {
    fn prefix(&self) -> &str {
        self.own()
    }

    fn backend(&self, proxy: Option<&Proxy>) -> Box<dyn Backend> {
        let url = proxy.map_or_else(|| self.url(), Proxy::url);
        let redis = Redis::builder(&url).timeout(PATIENCE).connect_timeout(PATIENCE);
        Box::new(redis.build().unwrap())
    }

    fn proxy(&self) -> Option<Proxy> {
        self.front()
    }

    fn delete(&self, key: &str) {
        let name = self.name(key);
        assert_eq!(self.say(&name, &["DEL", &name]).int(), 1, "{key} was there");
    }

    fn set(&self, key: &str, value: &str) {
        let name = self.name(key);
        self.say(&name, &["SET", &name, value]).expect_ok();
    }

    fn expire(&self, key: &str) {
        let name = self.name(key);
        assert_eq!(self.say(&name, &["PEXPIRE", &name, "1"]).int(), 1, "{key} was there");
    }

    fn left(&self, key: &str) -> Option<i64> {
        let name = self.name(key);
        Some(self.say(&name, &["PTTL", &name]).int()).filter(|left| *left != -2)
    }
}

mod one {
    crate::races!(crate::redis::one_server());
}

mod cluster {
    crate::races!(crate::redis::a_cluster());
}

/// Hole 3: a second name in the same slot cannot be made for these, and none is needed.
#[test]
fn keys_with_braces_are_loaded_and_overtaken_like_others() {
    let site = a_cluster();
    let (mine, theirs) = (site.cache(), site.cache());
    for key in ["a}b", "{}c", "{d}e", "f{g", "{{h}}"] {
        let load = Held::load(&mine, key, &["t{u}"], "old");
        assert!(!theirs.delete(key).unwrap());
        load.end_overtaken(&mine);
        assert_eq!(theirs.get::<String>(key).unwrap(), None, "{key}");
        assert_eq!(Held::load(&mine, key, &["t{u}"], "new").end(), "new");
        assert_eq!(theirs.get::<String>(key).unwrap().as_deref(), Some("new"), "{key}");
    }
}

/// Hole 2, in the other ways there are to put something under a name.
#[test]
fn whatever_another_program_puts_there_stays() {
    let site = one_server();
    let mine = site.cache();
    let (k, other) = (site.name("k"), site.name("other"));
    let puts: [(&[&str], _); 4] = [
        (&["RENAME", &other, &k], Some("new")),
        (&["COPY", &other, &k, "REPLACE"], Some("new")),
        (&["GETSET", &k, "\"new\""], Some("new")),
        (&["GETDEL", &k], None),
    ];
    for (words, left) in puts {
        site.set("other", "\"new\"");
        let load = Held::old(&mine);
        SERVER.command(words);
        load.end_overtaken(&mine);
        assert_k(&site, &mine, left);
        mine.delete("k").unwrap();
    }
}

/// Hole 12: the wording of what touches is the server's, and it would do it.
#[test]
fn a_placeholder_that_another_program_keeps_is_still_the_owners() {
    let site = one_server();
    let mine = site.cache();
    let load = Held::old(&mine);
    let name = site.name("k");
    SERVER.command(&["GETEX", &name, "PERSIST"]);
    assert_eq!(site.left("k"), Some(-1));
    assert_eq!(load.end(), "old");
    assert_k(&site, &mine, Some("old"));
    assert!(mine.expire("k", HOUR).unwrap());
}

#[test]
fn who_comes_after_a_delete_gets_nothing_older_from_a_fill_that_fails() {
    super::outages::who_comes_after_a_delete_gets_nothing_older_from_a_fill_that_fails(
        &one_server(),
    );
}

#[test]
fn who_comes_after_a_delete_gets_nothing_older_from_a_load_without_a_lease() {
    super::outages::who_comes_after_a_delete_gets_nothing_older_from_a_load_without_a_lease(
        &one_server(),
    );
}
