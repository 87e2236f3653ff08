//! Which server a key lives on.
//!
//! Memcached servers do not know of each other: where an entry is, is what the clients agree upon.
//! Programs in other languages mostly deal keys out as libmemcached does, so this does exactly
//! that, down to its arithmetic in single precision; a key that is looked for elsewhere is a key
//! that is not found.

use std::mem;

use md5::{Digest, Md5};

/// How keys are dealt out to servers.
///
/// All clients of the same servers must do it the same way, with servers of the same names and
/// weights: libmemcached hashes names as they are written, so `localhost` is not `127.0.0.1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Distribution {
    /// libmemcached's weighted ketama (`MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED`). A server that comes
    /// or goes moves few keys besides its own.
    #[default]
    KetamaWeighted,
    /// `MEMCACHED_BEHAVIOR_KETAMA` alone: keys hashed by one-at-a-time instead of MD5. Weighted
    /// as soon as a weight is above 1.
    Ketama,
    /// What libmemcached does unless told otherwise: the key's hash modulo the number of servers.
    /// Weights do not matter, and a server that comes or goes moves nearly all keys.
    Modulo,
}

/// libmemcached leaves this port out of the names it hashes.
const DEFAULT_PORT: u16 = 11211;
const UNWEIGHTED_POINTS: usize = 100;
const WEIGHTED_POINTS: f32 = 160.0;
/// An MD5 digest is cut into this many points.
const POINTS_PER_DIGEST: f32 = 4.0;

type Point = (u32, u16);

pub(super) struct Ring {
    /// Sorted, by server where two points meet. Empty where there is nothing to look up.
    points: Vec<Point>,
    servers: usize,
    hash: fn(&[u8]) -> u32,
}

impl Ring {
    /// A server is (host, port, weight), or (path, 0, weight) where it listens on a unix socket.
    pub(super) fn new(distribution: Distribution, servers: &[(String, u16, u32)]) -> Self {
        let hash = match distribution {
            Distribution::KetamaWeighted => md5,
            Distribution::Ketama | Distribution::Modulo => one_at_a_time,
        };
        let weighted = match distribution {
            Distribution::KetamaWeighted => true,
            Distribution::Ketama => servers.iter().any(|(_, _, weight)| *weight > 1),
            Distribution::Modulo => {
                return Self { points: Vec::new(), servers: servers.len(), hash };
            }
        };
        let mut points = match (servers.len(), weighted) {
            (0 | 1, _) => Vec::new(),
            (_, true) => weighted_points(servers),
            (_, false) => unweighted_points(servers),
        };
        points.sort_unstable();
        Self { points, servers: servers.len(), hash }
    }

    /// Index of the server of a key, which is as it goes over the wire.
    pub(super) fn server(&self, key: &[u8]) -> usize {
        self.find(key).1
    }

    /// All servers in the order in which they stand in for each other, the key's own first.
    pub(super) fn order(&self, key: &[u8]) -> impl Iterator<Item = usize> + use<'_> {
        let (place, own) = self.find(key);
        let (before, after) = self.points.split_at(place);
        let ring = after.iter().chain(before).map(|(_, server)| usize::from(*server));
        // Those on no point come last: there are no points, or their weight is too small for one.
        let all = (own..self.servers).chain(0..own);
        let mut seen = vec![false; self.servers];
        let first_time = move |server: &usize| !mem::replace(&mut seen[*server], true);
        ring.chain(all).filter(first_time).take(self.servers)
    }

    /// A key's server, and the place on the ring where it is found: the first point that is not
    /// before the key's hash.
    fn find(&self, key: &[u8]) -> (usize, usize) {
        if self.servers < 2 {
            return (0, 0);
        }
        let hash = (self.hash)(key);
        let place = self.points.partition_point(|(point, _)| *point < hash);
        match self.points.get(place).or(self.points.first()) {
            Some((_, server)) => (place, usize::from(*server)),
            None => (0, hash as usize % self.servers),
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ring")
    }
}

fn weighted_points(servers: &[(String, u16, u32)]) -> Vec<Point> {
    let weight = |weight: u32| weight.max(1);
    let total = servers.iter().map(|server| u64::from(weight(server.2))).sum::<u64>() as f32;
    let mut points = Vec::new();
    for (index, server) in servers.iter().enumerate() {
        let share = weight(server.2) as f32 / total;
        let digests = share * WEIGHTED_POINTS / POINTS_PER_DIGEST * servers.len() as f32 + 1e-10;
        for label in labels(server).take(digests as usize) {
            let digest = Md5::digest(label).0;
            points.extend(
                digest.as_chunks().0.iter().map(|point| (u32::from_le_bytes(*point), index as u16)),
            );
        }
    }
    points
}

fn unweighted_points(servers: &[(String, u16, u32)]) -> Vec<Point> {
    let points = |(index, server)| {
        let labels = labels(server).take(UNWEIGHTED_POINTS);
        labels.map(move |label| (one_at_a_time(label.as_bytes()), index as u16))
    };
    servers.iter().enumerate().flat_map(points).collect()
}

/// The texts whose hashes are a server's points.
fn labels((host, port, _): &(String, u16, u32)) -> impl Iterator<Item = String> {
    (0..).map(move |n| match *port {
        DEFAULT_PORT => format!("{host}-{n}"),
        port => format!("{host}:{port}-{n}"),
    })
}

fn md5(bytes: &[u8]) -> u32 {
    let [a, b, c, d, ..] = Md5::digest(bytes).0;
    u32::from_le_bytes([a, b, c, d])
}

/// Jenkins's hash. Its bytes are signed, as a libmemcached on x86 has them; where C's `char` is
/// unsigned (Linux on ARM) libmemcached does not agree with itself elsewhere on keys beyond ASCII.
fn one_at_a_time(bytes: &[u8]) -> u32 {
    let hash = bytes.iter().fold(0u32, |hash, byte| {
        let hash = hash.wrapping_add(*byte as i8 as u32);
        let hash = hash.wrapping_add(hash << 10);
        hash ^ (hash >> 6)
    });
    let hash = hash.wrapping_add(hash << 3);
    let hash = hash ^ (hash >> 11);
    hash.wrapping_add(hash << 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    type Server = (String, u16, u32);

    const ALL: [(&str, Distribution); 3] = [
        ("ketama_weighted", Distribution::KetamaWeighted),
        ("ketama", Distribution::Ketama),
        ("modulo", Distribution::Modulo),
    ];

    fn placements() -> Value {
        let text = include_str!("../../../tests/data/ketama-vectors.json");
        serde_json::from_str(text).unwrap()
    }

    fn servers(count: usize, weights: impl Fn(usize) -> u32) -> Vec<Server> {
        (0..count).map(|n| (format!("10.0.0.{n}"), 11211, weights(n))).collect()
    }

    #[test]
    fn keys_are_where_libmemcached_puts_them() {
        let placements = placements();
        let mut checked = 0;
        for set in placements["sets"].as_array().unwrap() {
            let servers: Vec<Server> = serde_json::from_value(set["servers"].clone()).unwrap();
            let keys = placements["keys"][set["keys"].as_str().unwrap()].as_array().unwrap();
            for (name, distribution) in ALL {
                let Some(expected) = set[name].as_array() else { continue };
                let ring = Ring::new(distribution, &servers);
                for (key, server) in keys.iter().zip(expected) {
                    let found = ring.server(key.as_str().unwrap().as_bytes());
                    assert_eq!(found as u64, *server, "{key} of {name} on {servers:?}");
                    checked += 1;
                }
            }
        }
        assert_eq!(checked, 1773);
    }

    #[test]
    fn points_follow_the_weights() {
        let points = |weights: &[u32]| {
            let ring =
                Ring::new(Distribution::KetamaWeighted, &servers(weights.len(), |n| weights[n]));
            let of =
                |server| ring.points.iter().filter(|point| usize::from(point.1) == server).count();
            (0..weights.len()).map(of).collect::<Vec<_>>()
        };
        assert_eq!(points(&[3, 1, 1]), [288, 96, 96]);
        assert_eq!(points(&[1, 1, 1]), [160, 160, 160]);
        // Single precision costs each of 25 equal servers a digest.
        assert_eq!(points(&[1; 25]), [156; 25]);
        // A weight of 0 is one of 1.
        assert_eq!(points(&[0, 1]), points(&[1, 1]));
        // Too small for a single point; still the last to stand in for the others.
        assert_eq!(points(&[1000, 1]), [316, 0]);
        let ring = Ring::new(Distribution::KetamaWeighted, &servers(2, |n| [1000, 1][n]));
        assert_eq!(ring.order(b"key").collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn ketama_has_no_weights_until_one_is_above_1() {
        let ring = |weight| Ring::new(Distribution::Ketama, &servers(2, |_| weight));
        assert_eq!(ring(1).points.len(), 200);
        assert_eq!(ring(2).points.len(), 320);
    }

    #[test]
    fn a_single_server_has_all_keys() {
        for (_, distribution) in ALL {
            let ring = Ring::new(distribution, &servers(1, |_| 7));
            assert!(ring.points.is_empty());
            assert_eq!(ring.server(b"key"), 0);
            assert_eq!(ring.order(b"key").collect::<Vec<_>>(), [0]);
        }
    }

    #[test]
    fn no_servers_have_no_order() {
        for (_, distribution) in ALL {
            assert_eq!(Ring::new(distribution, &[]).order(b"key").count(), 0);
        }
    }

    #[test]
    fn a_hash_past_the_last_point_goes_to_the_first() {
        let hash = |key: &[u8]| u32::from(key[0]);
        let ring = Ring { points: vec![(10, 1), (20, 0), (20, 1), (30, 2)], servers: 3, hash };
        let order = |hash| {
            let order: Vec<_> = ring.order(&[hash]).collect();
            assert_eq!(order[0], ring.server(&[hash]));
            order
        };
        assert_eq!([order(0), order(10), order(32)], [[1, 0, 2], [1, 0, 2], [1, 0, 2]]);
        assert_eq!([order(11), order(20), order(21)], [[0, 1, 2], [0, 1, 2], [2, 1, 0]]);
    }

    fn distribution() -> impl Strategy<Value = Distribution> {
        prop::sample::select(ALL.map(|(_, distribution)| distribution).to_vec())
    }

    fn weighted() -> impl Strategy<Value = Vec<Server>> {
        prop::collection::vec(0..20u32, 1..12)
            .prop_map(|weights| servers(weights.len(), |n| weights[n]))
    }

    proptest! {
        #[test]
        fn an_order_has_every_server_once_and_the_own_first(
            distribution in distribution(), servers in weighted(), key in ".{1,40}",
        ) {
            let ring = Ring::new(distribution, &servers);
            let mut order: Vec<_> = ring.order(key.as_bytes()).collect();
            prop_assert_eq!(order[0], ring.server(key.as_bytes()));
            order.sort_unstable();
            prop_assert_eq!(order, (0..servers.len()).collect::<Vec<_>>());
        }

        #[test]
        fn the_same_servers_in_another_order_have_the_same_keys(
            ketama in 0..2usize, servers in weighted(), key in ".{1,40}",
        ) {
            let mut turned = servers.clone();
            turned.reverse();
            let of = |servers: &[Server]| {
                let ring = Ring::new(ALL[ketama].1, servers);
                ring.order(key.as_bytes()).map(|index| servers[index].0.clone()).next()
            };
            prop_assert_eq!(of(&servers), of(&turned));
        }

        #[test]
        fn without_a_server_its_keys_go_to_the_next_and_no_other_moves(
            ketama in 0..2usize, count in 2..8usize, gone in 0..8usize, key in ".{1,40}",
        ) {
            let servers = servers(count, |_| 1);
            let mut left = servers.clone();
            let gone = left.remove(gone % count);
            let (before, after) = (Ring::new(ALL[ketama].1, &servers), Ring::new(ALL[ketama].1, &left));
            let names = before.order(key.as_bytes()).map(|index| &servers[index]);
            let expected: Vec<_> = names.filter(|server| **server != gone).collect();
            let found: Vec<_> = after.order(key.as_bytes()).map(|index| &left[index]).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn shares_roughly_follow_the_weights() {
        let weights = [5, 1, 3, 1];
        for (name, distribution) in &ALL[..2] {
            let ring = Ring::new(*distribution, &servers(4, |n| weights[n]));
            let mut counts = [0u32; 4];
            for n in 0..100_000 {
                counts[ring.server(format!("user:{n}").as_bytes())] += 1;
            }
            for (count, weight) in counts.iter().zip(weights) {
                let share = f64::from(*count) / 10_000.0 / f64::from(weight);
                assert!((0.6..1.5).contains(&share), "{name}: {counts:?}");
            }
        }
    }
}
