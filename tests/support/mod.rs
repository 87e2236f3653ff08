//! Real servers for the integration tests, and a proxy that misbehaves.
//!
//! Every server listens on 127.0.0.1 only, in a directory of its own, and dies with the test.

// Each test binary uses a part.
#![allow(dead_code, unused_imports)]

mod again;
mod asleep;
mod certs;
mod cluster;
mod in_time;
mod memcached;
mod port;
mod process;
mod proxy;
mod redis;
mod resp;
mod sentinel;
mod tls_front;
mod trips;
mod wait;

pub use again::{Again, orders, tell};
pub use asleep::{this_thread, wait_until_asleep};
pub use cluster::RedisCluster;
pub use in_time::in_time;
pub use memcached::{MemcachedFleet, MemcachedServer};
pub use port::free_port;
pub use process::Process;
pub use proxy::{Plan, Proxy};
pub use redis::RedisServer;
pub use resp::{Reply, Resp};
pub use sentinel::RedisSentinels;
pub use tls_front::TlsFront;
pub use trips::batches_and_locks;
pub use wait::wait_until;
