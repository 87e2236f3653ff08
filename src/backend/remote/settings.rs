//! Settings that all backends over a network have.

use std::time::Duration;

use socket2::TcpKeepalive;

use super::net::Net;
use super::node::Pooling;
#[cfg(feature = "tls")]
use super::tls::TlsSettings;
use super::url::Reader;
use crate::error::Result;

/// What was said and what was not.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) pool_size: Option<u32>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) retry_on_timeout: Option<bool>,
    pub(crate) health_check_interval: Option<Duration>,
    pub(crate) nodelay: Option<bool>,
    pub(crate) keepalive: Option<bool>,
    pub(crate) keepalive_idle: Option<Duration>,
    pub(crate) keepalive_interval: Option<Duration>,
    pub(crate) keepalive_count: Option<u32>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<TlsSettings>,
    pub(crate) tls_given: TlsParameters,
}

/// What an address says of TLS.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsParameters {
    pub(crate) ca: Option<String>,
    pub(crate) certificate: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) check_hostname: Option<bool>,
    pub(crate) any_certificate: Option<bool>,
}

/// What an address may say of these.
pub(crate) const PARAMETERS: &[&str] = &[
    "pool_size",
    "connection_pool_size",
    "idle_timeout",
    "socket_timeout",
    "socket_connect_timeout",
    "retry_on_timeout",
    "health_check_interval",
    "tcp_nodelay",
    "socket_keepalive",
    "socket_keepalive_idle",
    "socket_keepalive_interval",
    "socket_keepalive_count",
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_check_hostname",
    "ssl_cert_reqs",
];

const POOL_SIZE: u32 = 10;
const MOST_CONNECTIONS: u32 = 65_535;
const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
const HEALTH_CHECK_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_COUNT: u32 = 3;

impl Settings {
    /// Takes a parameter of an address, unless code said otherwise; false if it is none of these.
    pub(crate) fn take(&mut self, read: Reader, name: &str, value: &str) -> Result<bool> {
        let time = || read.seconds(name, value);
        let number = || read.number(name, value);
        let switch = || read.switch(name, value);
        let tls = &mut self.tls_given;
        match name {
            "pool_size" | "connection_pool_size" => or(&mut self.pool_size, number()?),
            "idle_timeout" => or(&mut self.idle_timeout, time()?),
            "socket_timeout" => or(&mut self.timeout, time()?),
            "socket_connect_timeout" => or(&mut self.connect_timeout, time()?),
            "retry_on_timeout" => or(&mut self.retry_on_timeout, switch()?),
            "health_check_interval" => or(&mut self.health_check_interval, time()?),
            "tcp_nodelay" => or(&mut self.nodelay, switch()?),
            "socket_keepalive" => or(&mut self.keepalive, switch()?),
            "socket_keepalive_idle" => or(&mut self.keepalive_idle, time()?),
            "socket_keepalive_interval" => or(&mut self.keepalive_interval, time()?),
            "socket_keepalive_count" => or(&mut self.keepalive_count, number()?),
            "ssl_ca_certs" => or(&mut tls.ca, value.into()),
            "ssl_certfile" => or(&mut tls.certificate, value.into()),
            "ssl_keyfile" => or(&mut tls.key, value.into()),
            "ssl_check_hostname" => or(&mut tls.check_hostname, switch()?),
            "ssl_cert_reqs" => {
                let words = [("required", false), ("none", true)];
                or(&mut tls.any_certificate, read.word(name, value, &words)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) fn check(&self, read: Reader) -> Result<()> {
        if self.pool_size.is_some_and(|size| !(1..=MOST_CONNECTIONS).contains(&size)) {
            return Err(read.bad(&format!("a pool has 1 to {MOST_CONNECTIONS} connections")));
        }
        let times = [
            (self.timeout, "socket_timeout"),
            (self.connect_timeout, "socket_connect_timeout"),
            (self.idle_timeout, "idle_timeout"),
            (self.keepalive_idle, "socket_keepalive_idle"),
            (self.keepalive_interval, "socket_keepalive_interval"),
        ];
        for (time, name) in times {
            if time == Some(Duration::ZERO) {
                return Err(read.bad(&format!("{name} is 0")));
            }
        }
        let (shortest, longest) = (Duration::from_secs(1), Duration::from_secs(32_767));
        let spans = [self.keepalive_idle, self.keepalive_interval];
        if spans.into_iter().flatten().any(|span| span < shortest || span > longest) {
            return Err(read.bad("keepalive times are from 1 to 32,767 seconds"));
        }
        if self.keepalive_count.is_some_and(|count| !(1..=127).contains(&count)) {
            return Err(read.bad("socket_keepalive_count is from 1 to 127"));
        }
        Ok(())
    }

    /// Whether what is said of TLS goes with an address that has it or not.
    #[cfg(feature = "tls")]
    pub(crate) fn settle_tls(&mut self, read: Reader, has_tls: bool) -> Result<()> {
        let given = std::mem::take(&mut self.tls_given);
        if !has_tls {
            return match given == TlsParameters::default() && self.tls.is_none() {
                true => Ok(()),
                false => Err(read.bad("settings for TLS, and an address without")),
            };
        }
        if self.tls.is_some() {
            return Ok(());
        }
        let mut tls = TlsSettings::new();
        if let Some(ca) = given.ca {
            tls = tls.ca_file(ca);
        }
        tls = match (given.certificate, given.key) {
            (Some(certificate), Some(key)) => tls.client_certificate(certificate, key),
            (None, None) => tls,
            _ => return Err(read.bad("ssl_certfile and ssl_keyfile go together")),
        };
        tls = tls.check_hostname(given.check_hostname.unwrap_or(true));
        if given.any_certificate == Some(true) {
            tls = tls.danger_accept_any_certificate();
        }
        self.tls = Some(tls);
        Ok(())
    }

    #[cfg(not(feature = "tls"))]
    pub(crate) fn settle_tls(&mut self, read: Reader, has_tls: bool) -> Result<()> {
        match has_tls || self.tls_given != TlsParameters::default() {
            true => Err(read.bad("this program was built without the feature tls")),
            false => Ok(()),
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    pub(crate) fn net(&self) -> Result<Net> {
        Ok(Net {
            connect_timeout: self.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            nodelay: self.nodelay.unwrap_or(true),
            keepalive: self.keepalive.unwrap_or(true).then(|| {
                TcpKeepalive::new()
                    .with_time(self.keepalive_idle.unwrap_or(KEEPALIVE_IDLE))
                    .with_interval(self.keepalive_interval.unwrap_or(KEEPALIVE_INTERVAL))
                    .with_retries(self.keepalive_count.unwrap_or(KEEPALIVE_COUNT))
            }),
            #[cfg(feature = "tls")]
            verifies: self.tls.as_ref().is_none_or(TlsSettings::verifies),
            #[cfg(not(feature = "tls"))]
            verifies: true,
            #[cfg(feature = "tls")]
            tls: self.tls.as_ref().map(TlsSettings::build).transpose()?,
        })
    }

    /// `name`: that of the thread, with a place for its number.
    pub(crate) fn pooling(&self, name: &str) -> Pooling {
        Pooling {
            size: self.pool_size.unwrap_or(POOL_SIZE),
            idle_timeout: self.idle_timeout.unwrap_or(IDLE_TIMEOUT),
            check_after: self.health_check_interval.unwrap_or(HEALTH_CHECK_INTERVAL),
            scheduler: Pooling::scheduler(name),
        }
    }
}

/// What was said in code counts.
pub(crate) fn or<T>(setting: &mut Option<T>, value: T) {
    setting.get_or_insert(value);
}

/// The methods of a builder whose field `common` these settings are.
macro_rules! common_settings {
    () => {
        /// The most connections to each server (`pool_size`, or `connection_pool_size`). Default 10.
        ///
        /// A call that finds all of them in use waits for one until its time is up.
        ///
        /// # Errors
        /// [`build`](Self::build) refuses 0 and more than 65,535.
        pub fn pool_size(mut self, size: u32) -> Self {
            self.common.pool_size = Some(size);
            self
        }

        /// When a connection nobody uses is closed (`idle_timeout`). Default 10 minutes.
        ///
        /// # Errors
        /// [`build`](Self::build) refuses 0.
        pub fn idle_timeout(mut self, timeout: Duration) -> Self {
            self.common.idle_timeout = Some(timeout);
            self
        }

        /// How long a call may take in all, unless it says so itself (`socket_timeout`). Default 5 s.
        ///
        /// It covers the wait for a connection, the look-up of names, connecting, TLS, writing,
        /// reading and trying again. Calls over all keys apply it to each page.
        ///
        /// # Errors
        /// [`build`](Self::build) refuses 0.
        pub fn timeout(mut self, timeout: Duration) -> Self {
            self.common.timeout = Some(timeout);
            self
        }

        /// How long of that a connection may take to be made (`socket_connect_timeout`). Default 1 s.
        ///
        /// # Errors
        /// [`build`](Self::build) refuses 0.
        pub fn connect_timeout(mut self, timeout: Duration) -> Self {
            self.common.connect_timeout = Some(timeout);
            self
        }

        /// Sends a command again, on a new connection, that was not answered within half of the
        /// time (`retry_on_timeout`). Default: no. Commands that are not the same twice, such as
        /// increments, are never sent again.
        pub fn retry_on_timeout(mut self, retry: bool) -> Self {
            self.common.retry_on_timeout = Some(retry);
            self
        }

        /// A connection idle for so long is asked for a sign of life before it is used
        /// (`health_check_interval`). Default 15 s. One that the server closed is noticed without.
        pub fn health_check_interval(mut self, interval: Duration) -> Self {
            self.common.health_check_interval = Some(interval);
            self
        }

        /// Whether small packets are sent at once (`tcp_nodelay`). Default: yes, and there is
        /// hardly a reason not to.
        pub fn tcp_nodelay(mut self, on: bool) -> Self {
            self.common.nodelay = Some(on);
            self
        }

        /// Whether TCP keepalive is on (`socket_keepalive`). Default: yes.
        pub fn keepalive(mut self, on: bool) -> Self {
            self.common.keepalive = Some(on);
            self
        }

        /// When the first keepalive probe is sent (`socket_keepalive_idle`, default 60 s), how far
        /// apart they are (`socket_keepalive_interval`, default 10 s), and how many may be lost
        /// (`socket_keepalive_count`, default 3).
        ///
        /// # Errors
        /// [`build`](Self::build) refuses what operating systems do: times below a second or above
        /// 32,767, and counts outside 1 to 127.
        pub fn keepalive_options(mut self, idle: Duration, interval: Duration, count: u32) -> Self {
            self.common.keepalive_idle = Some(idle);
            self.common.keepalive_interval = Some(interval);
            self.common.keepalive_count = Some(count);
            self
        }

        /// How servers prove themselves. Default: by the system's certificate authorities. In an
        /// address: `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile` (paths), `ssl_check_hostname`,
        /// and `ssl_cert_reqs`, which is `required` or `none`.
        ///
        /// # Errors
        /// [`build`](Self::build) refuses it for an address without TLS.
        #[cfg(feature = "tls")]
        pub fn tls(mut self, settings: crate::TlsSettings) -> Self {
            self.common.tls = Some(settings);
            self
        }
    };
}

pub(crate) use common_settings;
