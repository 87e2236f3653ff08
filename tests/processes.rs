//! One load for a key among processes, and what becomes of it when the process that loads is killed.
//!
//! Four children ask for a cold key at once, 1,000 times. Then the one that loads is killed, a few
//! times, or as many as `YC_KILLS` says.
#![cfg(all(feature = "redis", feature = "memcached"))]

mod support;

use std::collections::BTreeMap;
use std::env;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::{Again, MemcachedServer, RedisCluster, RedisServer, orders, tell};
use yokedcache::{Cache, Memcached, Redis};

const CHILDREN: usize = 4;
const ROUNDS: usize = 1_000;
/// How long a loader works that is left alone, and one that is to be killed.
const QUICK: Duration = Duration::from_millis(1);
const SLOW: Duration = Duration::from_millis(300);
/// How long after the lease is over another has taken over.
const SOON: Duration = Duration::from_secs(1);
/// The same where the machine stood still for a moment.
const LATE: Duration = Duration::from_secs(10);
/// A child that says nothing for longer than this hangs.
const HANGS: Duration = Duration::from_secs(60);

const URL: &str = "YC_CHILD_URL";
const LEASE: &str = "YC_CHILD_LEASE";

/// What a child says.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Ready,
    /// Its loader has begun.
    Loading {
        key: String,
    },
    Got {
        key: String,
        value: u64,
        loaded_by_me: bool,
    },
    /// Nothing any more.
    Gone,
}

impl FromStr for Said {
    type Err = String;

    fn from_str(line: &str) -> Result<Said, String> {
        let unknown = || format!("a child said {line:?}");
        match *line.split(' ').collect::<Vec<_>>() {
            ["ready"] => Ok(Said::Ready),
            ["loading", key] => Ok(Said::Loading { key: key.into() }),
            ["got", key, value, by_me] => Ok(Said::Got {
                key: key.into(),
                value: value.parse().map_err(|_| unknown())?,
                loaded_by_me: by_me.parse().map_err(|_| unknown())?,
            }),
            _ => Err(unknown()),
        }
    }
}

/// Which child said something, and when it was heard.
type Heard = (usize, Instant, Said);

/// The children, and what they say.
struct Family<'a> {
    env: [(&'static str, &'a str); 2],
    children: Vec<Again>,
    said: Sender<Heard>,
    heard: Receiver<Heard>,
}

/// What happened to one key.
struct Round<'k> {
    key: &'k str,
    /// Who loaded it, and from when on.
    loads: Vec<(usize, Instant)>,
    /// What each got.
    values: BTreeMap<usize, u64>,
    gone: Option<usize>,
}

impl Round<'_> {
    fn note(&mut self, (child, at, said): Heard) {
        match said {
            Said::Loading { key } if key == self.key => self.loads.push((child, at)),
            Said::Got { key, value, loaded_by_me } if key == self.key => {
                assert_eq!(loaded_by_me, self.loads.iter().any(|(loader, _)| *loader == child));
                self.values.insert(child, value);
            }
            Said::Gone => self.gone = Some(child),
            said => panic!("child {child} said {said:?} in the round of {}", self.key),
        }
    }

    fn all_got_the_same(&self) -> bool {
        self.values.values().all(|value| Some(value) == self.values.values().next())
    }
}

impl<'a> Family<'a> {
    fn start(url: &'a str, lease_ms: &'a str) -> Family<'a> {
        let (said, heard) = channel();
        let env = [(URL, url), (LEASE, lease_ms)];
        let mut family = Family { env, children: Vec::new(), said, heard };
        for number in 0..CHILDREN {
            let child = family.child(number);
            family.children.push(child);
        }
        family
    }

    /// A child that is ready, while all others are silent.
    fn child(&self, number: usize) -> Again {
        let said = self.said.clone();
        let child = Again::start("child", &self.env, move |line| {
            let what = line.map_or(Said::Gone, |line| line.parse().unwrap());
            // Nobody hears it any more once the test is over.
            let _ = said.send((number, Instant::now(), what));
        });
        let (from, _, said) = self.hear();
        assert_eq!((from, said), (number, Said::Ready));
        child
    }

    fn hear(&self) -> Heard {
        self.heard.recv_timeout(HANGS).expect("the children say something")
    }

    /// All are told to load a key, by a loader that works so long.
    fn ask<'k>(&mut self, key: &'k str, work: Duration) -> Round<'k> {
        let order = format!("{key} {}", work.as_millis());
        self.children.iter_mut().for_each(|child| child.say(&order));
        Round { key, loads: Vec::new(), values: BTreeMap::new(), gone: None }
    }

    /// All ask for a key nobody has.
    fn cold_round(&mut self, key: &str) {
        let mut round = self.ask(key, QUICK);
        while round.values.len() < CHILDREN {
            round.note(self.hear());
            assert_eq!(round.gone, None, "a child ended: see above");
        }
        assert_eq!(round.loads.len(), 1, "{key} is loaded once");
        assert!(round.all_got_the_same(), "{key}: {:?}", round.values);
    }

    /// All ask for a key nobody has, and who loads it is killed so long after it began. How long
    /// the others waited for the next to load; none if the value was stored already, or the machine
    /// was too slow to tell.
    fn deadly_round(&mut self, key: &str, after: Duration, lease: Duration) -> Option<Duration> {
        let mut round = self.ask(key, SLOW);
        while round.loads.is_empty() {
            round.note(self.hear());
        }
        let owner = round.loads[0].0;
        sleep(after);
        self.children[owner].kill();
        let killed = Instant::now();
        let survivors = |round: &Round<'_>| round.values.keys().filter(|i| **i != owner).count();
        while survivors(&round) < CHILDREN - 1 || round.gone.is_none() {
            round.note(self.hear());
        }
        assert_eq!(round.gone, Some(owner));
        self.children[owner] = self.child(owner);
        // A machine that stands still for as long as a lease ends it for those that live, too.
        if round.loads.windows(2).skip(1).any(|pair| pair[1].1 - pair[0].1 >= lease) {
            println!("{key}: {:?} is once more than the machine allows", round.loads);
            return None;
        }
        assert!(round.all_got_the_same(), "{key}: {:?}", round.values);
        if round.values.contains_key(&owner) || round.loads.len() == 1 {
            return None;
        }
        assert_eq!(round.loads.len(), 2, "{key} is loaded once more: {:?}", round.loads);
        Some(round.loads[1].1.saturating_duration_since(killed))
    }
}

fn one_load_for_each_key(what: &str, url: &str) {
    let mut family = Family::start(url, "30000");
    let started = Instant::now();
    (0..ROUNDS).for_each(|round| family.cold_round(&format!("cold-{round}")));
    println!("{what}: {ROUNDS} rounds in {:.1?}", started.elapsed());
}

/// `YC_KILLS` times, or `kills`.
fn another_takes_over(what: &str, url: &str, lease: Duration, kills: usize) {
    let kills = env::var("YC_KILLS").map_or(kills, |kills| kills.parse().unwrap());
    let lease_ms = lease.as_millis().to_string();
    let mut family = Family::start(url, &lease_ms);
    let (mut waits, mut late, mut round) = (Vec::new(), Vec::new(), 0);
    while waits.len() < kills {
        round += 1;
        assert!(round <= kills * 10, "loads end before they are killed");
        // Rounds begin at any moment between two ticks of Memcached's clock.
        sleep(random(0, 1_000));
        let after = random(0, SLOW.as_millis() as u64 * 4 / 5);
        let wait = family.deadly_round(&format!("deadly-{round}"), after, lease);
        let (in_time, too_late): (Vec<_>, Vec<_>) =
            wait.into_iter().partition(|wait| *wait <= lease + SOON);
        waits.extend(in_time);
        late.extend(too_late);
    }
    waits.sort_unstable();
    println!(
        "{what}: {kills} kills; others took over after {waits:.1?}, and late after {late:.1?}"
    );
    // A machine may stand still for a moment, but does not make a habit of it.
    assert!(late.len() < 3 && late.iter().all(|wait| *wait <= lease + LATE), "{late:?}");
}

fn random(from_ms: u64, to_ms: u64) -> Duration {
    Duration::from_millis(from_ms + RandomState::new().hash_one(()) % (to_ms - from_ms))
}

#[test]
fn four_processes_load_each_cold_key_once_over_redis() {
    let server = RedisServer::start(&[]);
    one_load_for_each_key("redis", server.url());
}

#[test]
fn four_processes_load_each_cold_key_once_over_a_redis_cluster() {
    let cluster = RedisCluster::start();
    one_load_for_each_key("redis cluster", &cluster.url());
}

#[test]
fn four_processes_load_each_cold_key_once_over_memcached() {
    let server = MemcachedServer::start(&[]);
    one_load_for_each_key("memcached", server.url());
}

#[test]
fn another_process_takes_over_when_the_loading_one_is_killed_over_redis() {
    let server = RedisServer::start(&[]);
    another_takes_over("redis", server.url(), Duration::from_secs(1), 10);
}

/// Its clock ticks once a second, and would keep the lease for up to a second longer: who waits
/// does not rely on it.
#[test]
fn another_process_takes_over_when_the_loading_one_is_killed_over_memcached() {
    let server = MemcachedServer::start(&[]);
    another_takes_over("memcached", server.url(), Duration::from_secs(2), 5);
}

/// Not a test: one of the children, if there is a server for it.
#[test]
fn child() {
    let Ok(url) = env::var(URL) else { return };
    let cache = cache(&url);
    // Connected before the first round.
    cache.get::<u64>("warm").unwrap();
    let (orders, mut value) = (orders(), u64::from(std::process::id()) << 20);
    tell("ready");
    for order in orders {
        let (key, work) = order.split_once(' ').unwrap();
        let before = value;
        let got = cache.get_or_compute(key, || {
            tell(&format!("loading {key}"));
            sleep(Duration::from_millis(work.parse().unwrap()));
            value += 1;
            value
        });
        tell(&format!("got {key} {} {}", got.unwrap(), value > before));
    }
}

fn cache(url: &str) -> Cache {
    let builder = match url.starts_with("memcached") {
        true => Cache::builder(Memcached::open(url).unwrap()),
        false => Cache::builder(Redis::open(url).unwrap()),
    };
    let lease = env::var(LEASE).unwrap().parse().unwrap();
    builder.lease(Duration::from_millis(lease)).key_prefix("processes").build().unwrap()
}
