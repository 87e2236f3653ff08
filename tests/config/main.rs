//! Caches made of addresses, environment variables and files.
#![cfg(all(feature = "config", feature = "redis", feature = "memcached"))]

mod addresses;
mod cache_fields;
mod errors;
mod formats;
mod layers;
mod memcached_fields;
mod memory_fields;
mod odd;
mod printed;
mod redis_fields;
mod seed;
#[path = "../support/mod.rs"]
mod support;
mod wrapper_fields;
mod written;

pub(crate) use written::{Written, cache_of, config_of, refusal_of, variables};
