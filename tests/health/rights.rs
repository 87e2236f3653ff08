//! Users who may not do everything: what is not told is not known, and what is refused is said.

use yokedcache::{ErrorKind, HealthStatus};

use crate::redis::{HEALTHY, cache, server_of};
use crate::support::{RedisServer, wait_until};
use crate::{codes, warning};

#[test]
fn who_may_ask_nothing_of_the_server_has_facts_missing_and_no_error() {
    let server = RedisServer::acl(
        "app",
        "secret",
        "~h:* resetchannels -@all +get +getrange +set +unlink +eval +evalsha",
    );
    let cache = cache(server.url());
    assert!(cache.set("k", &1).unwrap() && cache.delete("k").unwrap(), "all that takes");
    let health = cache.detailed_health_check();
    assert_eq!((health.status(), codes(&health)), (HealthStatus::Up, vec![]));
    let there = server_of(&health);
    assert!(there.server.is_none() && there.replication.is_none());
    assert!(there.probe.unwrap().set.is_some(), "everything it asks for lies under the prefix");
}

#[test]
fn where_config_is_refused_info_tells_memory_and_policy() {
    let server = RedisServer::acl("app", "secret", "~h:* resetchannels +@all -config -time");
    server.command(&["CONFIG", "SET", "maxmemory", "50mb"]).expect_ok();
    let health = cache(server.url()).detailed_health_check();
    let said = server_of(&health).server.as_deref().unwrap();
    assert_eq!(
        (said.max_memory, said.eviction_policy.as_deref()),
        (Some(50 << 20), Some("noeviction"))
    );
    assert!(said.clock.is_none() && said.is_persistent.is_none());
    assert_eq!(codes(&health), ["noeviction"]);
}

#[test]
fn who_may_only_read_is_told_so() {
    let server = RedisServer::acl("app", "secret", "~h:* resetchannels -@all +@read +ping");
    let cache = cache(server.url());
    let health = cache.detailed_health_check();
    assert_eq!((health.status(), codes(&health)), (HealthStatus::Degraded, vec!["write-refused"]));
    assert!(warning(&health, "write-refused").text.contains("NOPERM"));
    assert!(warning(&health, "write-refused").text.contains("right"));
    cache.health_check().unwrap();
}

#[test]
fn a_server_that_refuses_writes_for_reasons_of_its_own_says_which() {
    let server = RedisServer::start(&[&HEALTHY[..], &[("min-replicas-to-write", "1")]].concat());
    let health = cache(server.url()).detailed_health_check();
    assert_eq!((health.status(), codes(&health)), (HealthStatus::Degraded, vec!["write-refused"]));
    assert!(warning(&health, "write-refused").text.contains("NOREPLICAS"));
}

#[test]
fn who_may_not_read_is_down() {
    let server = RedisServer::acl("app", "secret", "~other:* resetchannels +@all");
    let cache = cache(server.url());
    assert_eq!(cache.health_check().unwrap_err().kind(), ErrorKind::Denied);
    let health = cache.detailed_health_check();
    assert_eq!(health.error.as_ref().unwrap().kind(), ErrorKind::Denied);
    assert!(codes(&health).is_empty(), "that it cannot be written goes without saying");
}

#[test]
fn a_replica_is_read_only_and_tells_its_lag() {
    let master = RedisServer::start(&[&HEALTHY[..], &[("repl-ping-replica-period", "1")]].concat());
    let of = format!("127.0.0.1 {}", master.port());
    let replica = RedisServer::start(&[&HEALTHY[..], &[("replicaof", &of)]].concat());
    let (on_master, on_replica) = (cache(master.url()), cache(replica.url()));
    wait_until("the link is up", || {
        let health = on_replica.detailed_health_check();
        server_of(&health).replication.as_ref().unwrap().is_link_up == Some(true)
    });
    let health = on_replica.detailed_health_check();
    assert_eq!((health.status(), codes(&health)), (HealthStatus::Degraded, vec!["read-only"]));
    let replication = server_of(&health).replication.as_ref().unwrap();
    assert_eq!(replication.role, "replica");
    assert!(replication.last_heard.is_some() && replication.lag_bytes.is_some());
    assert!(server_of(&health).probe.unwrap().get.is_some(), "it can be read");

    wait_until("the master knows", || {
        let health = on_master.detailed_health_check();
        let replication = server_of(&health).replication.clone().unwrap();
        replication.replicas == Some(1) && replication.lag_bytes.is_some()
    });
    master.kill();
    wait_until("the link is down", || {
        codes(&on_replica.detailed_health_check()) == ["read-only", "replica-link"]
    });
}
