//! Settings of a Redis backend.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use socket2::TcpKeepalive;

use super::Redis;
use super::cluster::Cluster;
use super::guard::Guard;
use super::repeat::Repeats;
use super::sentinel::Sentinel;
use super::topology::{Maker, Topology};
use super::url::{self, Address, Kind, bad};
use super::wire::{Hello, Login, Role};
use crate::backend::Origin;
use crate::backend::remote::net::Net;
use crate::backend::remote::node::Pooling;
use crate::backend::remote::tags;
#[cfg(feature = "tls")]
use crate::backend::remote::tls::TlsSettings;
use crate::error::Result;

/// Settings of a [`Redis`] backend. Each may be given in the address, too, under the name in
/// parentheses; the builder's word counts.
///
/// Times in an address are seconds, with a fraction if need be; switches are `true` or `false`.
///
/// ```
/// use std::time::Duration;
/// use yokedcache::Redis;
///
/// # fn main() -> yokedcache::Result<()> {
/// let redis = Redis::builder("redis://localhost?socket_timeout=0.5&client_name=shop")
///     .pool_size(20)
///     .build()?;
/// assert!(Redis::builder("redis://localhost?sokcet_timeout=0.5").build().is_err());
/// # Ok(())
/// # }
/// ```
pub struct RedisBuilder {
    url: String,
    given: Settings,
}

/// What was said and what was not.
#[derive(Clone, Default)]
struct Settings {
    username: Option<String>,
    password: Option<String>,
    sentinel_login: Option<(Option<String>, String)>,
    db: Option<u32>,
    client_name: Option<String>,
    pool_size: Option<u32>,
    idle_timeout: Option<Duration>,
    timeout: Option<Duration>,
    connect_timeout: Option<Duration>,
    retry_on_timeout: Option<bool>,
    health_check_interval: Option<Duration>,
    keepalive: Option<bool>,
    keepalive_idle: Option<Duration>,
    keepalive_interval: Option<Duration>,
    keepalive_count: Option<u32>,
    replica_reads: Option<bool>,
    plain: Option<bool>,
    guard: Option<String>,
    #[cfg(feature = "tls")]
    tls: Option<TlsSettings>,
}

const POOL_SIZE: u32 = 10;
const MOST_CONNECTIONS: u32 = 65_535;
const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
const HEALTH_CHECK_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_COUNT: u32 = 3;

impl RedisBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), given: Settings::default() }
    }

    /// The user to log in as, an ACL user. Default: the one in the address, or the server's default.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses a user without a password.
    pub fn username(mut self, user: impl Into<String>) -> Self {
        self.given.username = Some(user.into());
        self
    }

    /// The password. Default: the one in the address, or none. It is never shown.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.given.password = Some(password.into());
        self
    }

    /// How to log in to sentinels. Default: not at all.
    pub fn sentinel_login(mut self, user: Option<&str>, password: impl Into<String>) -> Self {
        self.given.sentinel_login = Some((user.map(Into::into), password.into()));
        self
    }

    /// The database. Default: the one in the address, or 0.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses any but 0 for a cluster.
    pub fn db(mut self, db: u32) -> Self {
        self.given.db = Some(db);
        self
    }

    /// The name connections have in `CLIENT LIST` (`client_name`). Default: none.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses blanks and what cannot be printed, as the server does.
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.given.client_name = Some(name.into());
        self
    }

    /// The most connections to each server (`connection_pool_size`). Default 10.
    ///
    /// A call that finds all of them in use waits for one until its time is up.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses 0 and more than 65,535.
    pub fn pool_size(mut self, size: u32) -> Self {
        self.given.pool_size = Some(size);
        self
    }

    /// When a connection nobody uses is closed (`idle_timeout`). Default 10 minutes.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses 0.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.given.idle_timeout = Some(timeout);
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
        self.given.timeout = Some(timeout);
        self
    }

    /// How long of that a connection may take to be made (`socket_connect_timeout`). Default 1 s.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses 0.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.given.connect_timeout = Some(timeout);
        self
    }

    /// Sends a command again, on a new connection, that was not answered within half of the time
    /// (`retry_on_timeout`). Default: no. Commands that are not the same twice, such as increments, are
    /// never sent again.
    pub fn retry_on_timeout(mut self, retry: bool) -> Self {
        self.given.retry_on_timeout = Some(retry);
        self
    }

    /// A connection idle for so long is asked for a sign of life before it is used
    /// (`health_check_interval`). Default 15 s. One that the server closed is noticed without.
    pub fn health_check_interval(mut self, interval: Duration) -> Self {
        self.given.health_check_interval = Some(interval);
        self
    }

    /// Whether TCP keepalive is on (`socket_keepalive`). Default: yes.
    pub fn keepalive(mut self, on: bool) -> Self {
        self.given.keepalive = Some(on);
        self
    }

    /// When the first keepalive probe is sent (`socket_keepalive_idle`, default 60 s), how far apart they
    /// are (`socket_keepalive_interval`, default 10 s), and how many may be lost
    /// (`socket_keepalive_count`, default 3).
    ///
    /// # Errors
    /// [`build`](Self::build) refuses what operating systems do: times below a second or above 32,767,
    /// and counts outside 1 to 127.
    pub fn keepalive_options(mut self, idle: Duration, interval: Duration, count: u32) -> Self {
        self.given.keepalive_idle = Some(idle);
        self.given.keepalive_interval = Some(interval);
        self.given.keepalive_count = Some(count);
        self
    }

    /// Lets a cluster's replicas answer plain reads (`read_from_replicas`). Default: no.
    ///
    /// A replica lags behind by an unknown time: what was invalidated may be read for as long, and
    /// [`Can::lag`](crate::backend::Can::lag) says so.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses it where there is no cluster.
    pub fn read_from_replicas(mut self, on: bool) -> Self {
        self.given.replica_reads = Some(on);
        self
    }

    /// Stores values as other programs would, JSON text, bytes or a whole number, and nothing of ours
    /// around them (`plain`). Default: no.
    ///
    /// There is then no room for tags, versions and leases: tags and compare-and-swap are refused,
    /// and a load is overtaken only by what the same cache deletes or invalidates. Values to be
    /// kept when stale, sliding ends, schema versions, compression and codecs other than JSON are
    /// refused, too. Without `plain`, values of other programs are readable all the same.
    pub fn plain(mut self, on: bool) -> Self {
        self.given.plain = Some(on);
        self
    }

    /// Clears the entries under this key prefix when the server is another one than they were
    /// written to (`guard_restarts`): one that came back from a snapshot, or a replica promoted before it
    /// had heard of every deletion. Default: none, and what such a server brings back is served.
    ///
    /// Until they are cleared, which a thread does, calls fail as in an outage. The first use of a
    /// prefix is such a case. The user must be allowed `INFO`.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses it for a cluster, and an empty prefix.
    pub fn guard_restarts(mut self, key_prefix: impl Into<String>) -> Self {
        self.given.guard = Some(key_prefix.into());
        self
    }

    /// How servers prove themselves. Default: by the system's certificate authorities. In an
    /// address: `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile` (paths), `ssl_check_hostname`, and
    /// `ssl_cert_reqs`, which is `required` or `none`.
    ///
    /// # Errors
    /// [`build`](Self::build) refuses it for an address without TLS.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, settings: TlsSettings) -> Self {
        self.given.tls = Some(settings);
        self
    }

    /// The backend. No I/O is done but for reading certificates.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an address or a setting that cannot
    /// be used; [`Backend`](crate::ErrorKind::Backend) if a thread cannot be started.
    pub fn build(self) -> Result<Redis> {
        let mut address = url::parse(&self.url)?;
        let parameters = std::mem::take(&mut address.parameters);
        let settings = self.given.over(parameters, &address)?;
        settings.check(&address)?;
        settings.build(address)
    }
}

impl fmt::Debug for RedisBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBuilder").finish_non_exhaustive()
    }
}

impl Settings {
    /// What was said in code, and the rest from the address.
    fn over(mut self, parameters: Vec<(String, String)>, address: &Address) -> Result<Self> {
        let mut tls = TlsParameters::default();
        // A password with a question mark in it would have ended up here.
        if parameters
            .iter()
            .any(|(name, value)| [name, value].iter().any(|text| text.contains('@')))
        {
            return Err(bad("no parameter has an @ in it; a ? in a password is written %3F"));
        }
        for (name, value) in parameters {
            let wrong = || bad(&format!("{name} cannot have this value"));
            let time = || seconds(&value).ok_or_else(wrong);
            let number = || value.parse::<u32>().map_err(|_| wrong());
            let switch = || match value.as_str() {
                "true" | "True" | "1" | "yes" => Ok(true),
                "false" | "False" | "0" | "no" => Ok(false),
                _ => Err(wrong()),
            };
            match name.as_str() {
                "client_name" => or(&mut self.client_name, value.clone()),
                "connection_pool_size" => or(&mut self.pool_size, number()?),
                "idle_timeout" => or(&mut self.idle_timeout, time()?),
                "socket_timeout" => or(&mut self.timeout, time()?),
                "socket_connect_timeout" => or(&mut self.connect_timeout, time()?),
                "retry_on_timeout" => or(&mut self.retry_on_timeout, switch()?),
                "health_check_interval" => or(&mut self.health_check_interval, time()?),
                "socket_keepalive" => or(&mut self.keepalive, switch()?),
                "socket_keepalive_idle" => or(&mut self.keepalive_idle, time()?),
                "socket_keepalive_interval" => or(&mut self.keepalive_interval, time()?),
                "socket_keepalive_count" => or(&mut self.keepalive_count, number()?),
                "read_from_replicas" => or(&mut self.replica_reads, switch()?),
                "guard_restarts" => or(&mut self.guard, value.clone()),
                "plain" => or(&mut self.plain, switch()?),
                "ssl_ca_certs" => tls.ca = Some(value.clone()),
                "ssl_certfile" => tls.certificate = Some(value.clone()),
                "ssl_keyfile" => tls.key = Some(value.clone()),
                "ssl_check_hostname" => tls.check_hostname = Some(switch()?),
                "ssl_cert_reqs" => match value.as_str() {
                    "required" => tls.any_certificate = Some(false),
                    "none" => tls.any_certificate = Some(true),
                    _ => return Err(wrong()),
                },
                name => return Err(bad(&format!("nobody knows the parameter {name:?}"))),
            }
        }
        self.take_tls(tls, address)?;
        Ok(self)
    }

    #[cfg(feature = "tls")]
    fn take_tls(&mut self, given: TlsParameters, address: &Address) -> Result<()> {
        if !address.tls {
            return match given == TlsParameters::default() && self.tls.is_none() {
                true => Ok(()),
                false => Err(bad("settings for TLS, and an address without: rediss://...")),
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
            _ => return Err(bad("ssl_certfile and ssl_keyfile go together")),
        };
        tls = tls.check_hostname(given.check_hostname.unwrap_or(true));
        if given.any_certificate == Some(true) {
            tls = tls.danger_accept_any_certificate();
        }
        self.tls = Some(tls);
        Ok(())
    }

    #[cfg(not(feature = "tls"))]
    fn take_tls(&mut self, given: TlsParameters, address: &Address) -> Result<()> {
        match address.tls || given != TlsParameters::default() {
            true => Err(bad("this program was built without the feature tls")),
            false => Ok(()),
        }
    }

    fn check(&self, address: &Address) -> Result<()> {
        if self.pool_size.is_some_and(|size| !(1..=MOST_CONNECTIONS).contains(&size)) {
            return Err(bad(&format!("a pool has 1 to {MOST_CONNECTIONS} connections")));
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
                return Err(bad(&format!("{name} is 0")));
            }
        }
        let (shortest, longest) = (Duration::from_secs(1), Duration::from_secs(32_767));
        let spans = [self.keepalive_idle, self.keepalive_interval];
        if spans.into_iter().flatten().any(|span| span < shortest || span > longest) {
            return Err(bad("keepalive times are from 1 to 32,767 seconds"));
        }
        if self.keepalive_count.is_some_and(|count| !(1..=127).contains(&count)) {
            return Err(bad("socket_keepalive_count is from 1 to 127"));
        }
        let is_cluster = matches!(address.kind, Kind::Cluster(_));
        if is_cluster && self.db.unwrap_or(address.db) != 0 {
            return Err(bad("a cluster has no databases but 0"));
        }
        if self.replica_reads == Some(true) && !is_cluster {
            return Err(bad("only a cluster's replicas can be read from"));
        }
        if self.guard.is_some() && (is_cluster || self.guard.as_deref() == Some("")) {
            return Err(bad("guard_restarts needs a key prefix, and has no use in a cluster"));
        }
        let printable = |name: &String| name.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.client_name.as_ref().is_none_or(printable) {
            return Err(bad("a client name has only printable characters and no blanks"));
        }
        let password = self.password.as_ref().or(address.password.as_ref());
        if password.is_none() && self.username.as_ref().or(address.user.as_ref()).is_some() {
            return Err(bad("a user without a password"));
        }
        Ok(())
    }

    fn keepalive(&self) -> Option<TcpKeepalive> {
        self.keepalive.unwrap_or(true).then(|| {
            TcpKeepalive::new()
                .with_time(self.keepalive_idle.unwrap_or(KEEPALIVE_IDLE))
                .with_interval(self.keepalive_interval.unwrap_or(KEEPALIVE_INTERVAL))
                .with_retries(self.keepalive_count.unwrap_or(KEEPALIVE_COUNT))
        })
    }

    fn build(self, address: Address) -> Result<Redis> {
        let net = Arc::new(Net {
            connect_timeout: self.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            keepalive: self.keepalive(),
            #[cfg(feature = "tls")]
            tls: self.tls.as_ref().map(TlsSettings::build).transpose()?,
        });
        let pooling = Pooling {
            size: self.pool_size.unwrap_or(POOL_SIZE),
            idle_timeout: self.idle_timeout.unwrap_or(IDLE_TIMEOUT),
            check_after: self.health_check_interval.unwrap_or(HEALTH_CHECK_INTERVAL),
            scheduler: Pooling::scheduler("yokedcache-redis-{}"),
        };
        let user = self.username.or(address.user);
        let login = self.password.or(address.password).map(|password| Login { user, password });
        let client_name: Option<Arc<str>> = self.client_name.map(Into::into);
        let hello = Hello {
            login: login.map(Arc::new),
            db: self.db.unwrap_or(address.db),
            client_name: client_name.clone(),
            role: Role::Any,
            guard: None,
        };
        let replica_reads = self.replica_reads.unwrap_or(false);
        let mut maker = Maker { net: net.clone(), hello, pooling: pooling.clone() };
        let guard = self.guard.map(|prefix| Arc::new(Guard::new(&prefix, maker.clone())));
        maker.hello.guard = guard.clone();
        let repeats = (!matches!(address.kind, Kind::One(_))).then(Repeats::default);
        let promoted = repeats.as_ref().map(|repeats| repeats.promoted.clone()).unwrap_or_default();
        let topology = match address.kind {
            Kind::One(endpoint) => Topology::One(maker.make(endpoint, Role::Any)),
            Kind::Cluster(seeds) => {
                Topology::Cluster(Cluster::new(seeds, maker, replica_reads, promoted))
            }
            Kind::Sentinel { sentinels, service } => {
                let login = self.sentinel_login.map(|(user, password)| Login { user, password });
                let hello = Hello { login: login.map(Arc::new), client_name, ..Hello::default() };
                let to_sentinels = Maker { net, hello, pooling };
                let makers = (maker, to_sentinels);
                Topology::Sentinel(Sentinel::new(sentinels, service, makers, promoted)?)
            }
        };
        Ok(Redis {
            topology,
            timeout: self.timeout.unwrap_or(TIMEOUT),
            retry_on_timeout: self.retry_on_timeout.unwrap_or(false),
            replica_reads,
            plain: self.plain.unwrap_or(false),
            guard,
            repeats,
            origin: Origin::unique(),
            tags: tags::Memory::new(),
        })
    }
}

/// What an address says of TLS.
#[derive(Debug, Default, PartialEq, Eq)]
struct TlsParameters {
    ca: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    check_hostname: Option<bool>,
    any_certificate: Option<bool>,
}

fn or<T>(setting: &mut Option<T>, value: T) {
    setting.get_or_insert(value);
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}
