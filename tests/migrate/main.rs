//! Entries from one cache to another, into a file, and back.

mod copies;
mod faulty;
mod files;
mod fixture;
mod format;
mod races;
#[path = "../support/mod.rs"]
mod support;
mod verifying;
mod wrappers;

#[cfg(all(feature = "redis", feature = "memcached"))]
mod matrix;
#[cfg(feature = "redis")]
mod outages;
#[cfg(feature = "redis")]
mod servers;

#[path = "../../examples/custom_backend.rs"]
#[allow(dead_code)]
mod custom;
