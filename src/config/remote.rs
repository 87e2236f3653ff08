//! What the settings of Redis and Memcached have in common.

use super::fault::Fault;
use super::values::{HIDDEN, Secret};

/// Gives the settings that all backends over a network have to the common part of a builder.
macro_rules! give_common {
    ($settings:expr, $common:expr) => {{
        use $crate::config::build::time;

        let (settings, common) = ($settings, $common);
        common.pool_size = settings.pool_size;
        common.idle_timeout = time(settings.idle_timeout);
        common.timeout = time(settings.socket_timeout);
        common.connect_timeout = time(settings.socket_connect_timeout);
        common.retry_on_timeout = settings.retry_on_timeout;
        common.health_check_interval = time(settings.health_check_interval);
        common.nodelay = settings.tcp_nodelay;
        common.keepalive = settings.socket_keepalive;
        common.keepalive_idle = time(settings.socket_keepalive_idle);
        common.keepalive_interval = time(settings.socket_keepalive_interval);
        common.keepalive_count = settings.socket_keepalive_count;
        let tls = &mut common.tls_given;
        tls.ca = settings.ssl_ca_certs.clone();
        tls.certificate = settings.ssl_certfile.clone();
        tls.key = settings.ssl_keyfile.clone();
        tls.check_hostname = settings.ssl_check_hostname;
        tls.any_certificate =
            settings.ssl_cert_reqs.map(|reqs| reqs == $crate::config::sections::CertReqs::None);
    }};
}

pub(super) use give_common;

/// A password, but not what is printed in its place.
pub(super) fn secret<'s>(secret: &'s Option<Secret>, name: &str) -> Result<Option<&'s str>, Fault> {
    match secret.as_ref().map(|secret| secret.0.as_str()) {
        Some(HIDDEN) => Err(Fault::new(PRINTED).under(name, &Default::default())),
        secret => Ok(secret),
    }
}

/// An address, but not one that was printed.
pub(super) fn address(url: &str) -> Result<&str, Fault> {
    match url.contains(&format!(":{HIDDEN}@")) {
        true => Err(Fault::new(PRINTED).under("url", &Default::default())),
        false => Ok(url),
    }
}

/// Why a hidden password is refused.
const PRINTED: &str = "*** stands where a password was when this was printed: put it in again";
