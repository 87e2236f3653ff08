//! A near tier in front of a far one: what is served from where, and never too long.

mod far;
mod fills;
#[path = "../support/mod.rs"]
mod support;
mod use_of_near;

#[cfg(feature = "redis")]
mod capped;
#[cfg(feature = "redis")]
mod handlers;
#[cfg(feature = "redis")]
mod heard;
#[cfg(feature = "redis")]
mod outages;
#[cfg(feature = "redis")]
mod server;
#[cfg(feature = "redis")]
mod signs;
#[cfg(feature = "redis")]
mod strict;
#[cfg(feature = "redis")]
mod topologies;
