//! A storm over four servers whose network misbehaves, and which die, come back empty and stand still.
//!
//! Eight seconds unless `YC_STORM` says how many; longer where a slow machine has done little by
//! then.
#![cfg(feature = "memcached")]

mod storm;
mod support;

use storm::{Dice, LIMIT, Troubles, storm};
use support::{MemcachedFleet, Plan, Proxy};
use yokedcache::{Cache, Memcached};

fn trouble(fleet: &MemcachedFleet, proxies: &[Proxy], dice: &mut Dice, troubles: &mut Troubles) {
    let mut note = |what| *troubles.entry(what).or_default() += 1;
    let (which, other) = (dice.index(proxies.len()), dice.index(proxies.len()));
    let server = &fleet.servers[which];
    // Something else may go wrong elsewhere meanwhile.
    if dice.roll(3) == 0 {
        proxies[other].set(Plan::Random(dice.roll(1_000_000)));
        note("spells of bad network");
    }
    match dice.roll(7) {
        0 => {
            server.kill();
            dice.sleep(0, 1_000);
            server.start_again();
            note("kills");
        }
        1 => {
            server.restart();
            note("restarts");
        }
        2 => {
            server.stop();
            dice.sleep(100, 1_200);
            server.cont();
            note("stops");
        }
        3 => {
            proxies[which].set(Plan::Refuse);
            proxies[which].drop_connections();
            dice.sleep(0, 300);
            note("resets");
        }
        _ => {
            proxies[which].set(Plan::Random(dice.roll(1_000_000)));
            dice.sleep(300, 500);
            note("spells of bad network");
        }
    }
    proxies[which].set(Plan::Pass);
    proxies[other].set(Plan::Pass);
    dice.sleep(0, 200);
}

fn over(binary: bool, seconds: u64) {
    let fleet = MemcachedFleet::start(4);
    let proxies: Vec<Proxy> =
        fleet.servers.iter().map(|server| Proxy::to(&server.addr())).collect();
    let hosts: Vec<String> = proxies.iter().map(Proxy::addr).collect();
    let memcached = Memcached::builder(&format!("memcached://{}", hosts.join(",")))
        .timeout(LIMIT)
        .pool_size(4)
        .binary(binary)
        .build()
        .unwrap();
    let cache = Cache::builder(memcached).key_prefix("storm").build().unwrap();
    let protocol = if binary { "binary" } else { "meta" };
    storm(protocol, &cache, seconds, |dice, troubles| trouble(&fleet, &proxies, dice, troubles));
}

#[test]
fn in_a_storm_nothing_is_mixed_up_and_nothing_hangs() {
    let seconds = storm::seconds(8);
    // The other protocol for a quarter of the time.
    over(false, seconds - seconds / 4);
    over(true, seconds / 4);
}
