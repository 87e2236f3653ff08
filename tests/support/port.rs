//! Free ports.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the range the kernel takes for outgoing connections (32768 and up on Linux). A port in
/// that range could be taken while a server restarts, and a client that keeps dialling a dead port
/// there can get that very port as its own and so connect to itself.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;

// A random start keeps test processes apart, counting up keeps the threads of one apart.
static NEXT: LazyLock<AtomicU32> =
    LazyLock::new(|| AtomicU32::new(RandomState::new().hash_one(()) as u32));

/// A port of 127.0.0.1 nobody listens on, not given out before by this process.
pub fn free_port() -> u16 {
    loop {
        let port = (FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
