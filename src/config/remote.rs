//! What the settings of Redis and Memcached have in common.

use super::fault::Fault;
use super::give::within;
use super::values::{HIDDEN, Secret};

/// Gives the settings that all backends over a network have to the common part of a builder.
macro_rules! give_common {
    ($settings:expr, $common:expr) => {{
        use $crate::config::give::time;

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
        Some(HIDDEN) => Err(within(Fault::new(PRINTED), name)),
        secret => Ok(secret),
    }
}

/// An address, but not one that was printed.
pub(super) fn address(url: &str) -> Result<&str, Fault> {
    match url.contains(&format!(":{HIDDEN}@")) {
        true => Err(within(Fault::new(PRINTED), "url")),
        false => Ok(url),
    }
}

/// Why a hidden password is refused.
const PRINTED: &str = "*** stands where a password was when this was printed: put it in again";

#[cfg(test)]
pub(super) mod tests {
    use std::sync::LazyLock;
    use std::time::Duration;

    use serde_json::{Value, json};

    use crate::backend::remote::settings::Settings;

    /// Every setting, none as it is by default.
    pub(in crate::config) static ALL: LazyLock<Value> = LazyLock::new(|| {
        json!({
            "pool_size": 3,
            "idle_timeout": 4,
            "socket_timeout": "5s",
            "socket_connect_timeout": 6,
            "retry_on_timeout": true,
            "health_check_interval": 7,
            "tcp_nodelay": false,
            "socket_keepalive": false,
            "socket_keepalive_idle": 8,
            "socket_keepalive_interval": 9,
            "socket_keepalive_count": 10,
            "ssl_ca_certs": "ca",
            "ssl_certfile": "certificate",
            "ssl_keyfile": "key",
            "ssl_check_hostname": false,
            "ssl_cert_reqs": "none",
        })
    });

    /// Whether all of them came through.
    pub(in crate::config) fn check(common: &Settings) {
        let seconds = |number| Some(Duration::from_secs(number));
        assert_eq!(common.pool_size, Some(3));
        assert_eq!(common.idle_timeout, seconds(4));
        assert_eq!(common.timeout, seconds(5));
        assert_eq!(common.connect_timeout, seconds(6));
        assert_eq!(common.retry_on_timeout, Some(true));
        assert_eq!(common.health_check_interval, seconds(7));
        assert_eq!(common.nodelay, Some(false));
        assert_eq!(common.keepalive, Some(false));
        assert_eq!(common.keepalive_idle, seconds(8));
        assert_eq!(common.keepalive_interval, seconds(9));
        assert_eq!(common.keepalive_count, Some(10));
        let tls = &common.tls_given;
        assert_eq!(tls.ca.as_deref(), Some("ca"));
        assert_eq!(tls.certificate.as_deref(), Some("certificate"));
        assert_eq!(tls.key.as_deref(), Some("key"));
        assert_eq!((tls.check_hostname, tls.any_certificate), (Some(false), Some(true)));
    }
}
