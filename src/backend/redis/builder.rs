//! Settings of a Redis backend.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Redis;
use super::cluster::Cluster;
use super::guard::Guard;
use super::repeat::Repeats;
use super::sentinel::Sentinel;
use super::topology::{Maker, Topology};
use super::url::{self, Address, Kind, READ};
use super::wire::{Hello, Login, Role};
use crate::backend::Origin;
use crate::backend::remote::settings::{self, Settings, common_settings, or};
use crate::backend::remote::stored::Names;
use crate::backend::remote::tags;
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
    pub(crate) common: Settings,
    given: Given,
}

/// What was said of Redis.
#[derive(Default)]
struct Given {
    username: Option<String>,
    password: Option<String>,
    sentinel_login: Option<(Option<String>, String)>,
    db: Option<u32>,
    client_name: Option<String>,
    replica_reads: Option<bool>,
    plain: Option<bool>,
    guard: Option<String>,
}

/// What an address may say besides.
const PARAMETERS: &[&str] = &["client_name", "read_from_replicas", "guard_restarts", "plain"];

impl RedisBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), common: Settings::default(), given: Given::default() }
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

    common_settings!();

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

    /// The backend. No I/O is done but for reading certificates.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an address or a setting that cannot
    /// be used; [`Backend`](crate::ErrorKind::Backend) if a thread cannot be started.
    pub fn build(mut self) -> Result<Redis> {
        let mut address = url::parse(&self.url)?;
        for (name, value) in std::mem::take(&mut address.parameters) {
            self.take(&name, value)?;
        }
        self.common.settle_tls(READ, address.tls)?;
        self.common.check(READ)?;
        self.given.check(&address)?;
        self.build_at(address)
    }

    /// Takes a parameter of the address, unless code said otherwise.
    fn take(&mut self, name: &str, value: String) -> Result<()> {
        if self.common.take(READ, name, &value)? {
            return Ok(());
        }
        let given = &mut self.given;
        match name {
            "client_name" => or(&mut given.client_name, value),
            "read_from_replicas" => or(&mut given.replica_reads, READ.switch(name, &value)?),
            "guard_restarts" => or(&mut given.guard, value),
            "plain" => or(&mut given.plain, READ.switch(name, &value)?),
            name => return Err(READ.unknown(name, &[PARAMETERS, settings::PARAMETERS])),
        }
        Ok(())
    }

    fn build_at(self, address: Address) -> Result<Redis> {
        let Self { common, given, .. } = self;
        let net = Arc::new(common.net()?);
        let pooling = common.pooling("yokedcache-redis-{}");
        let user = given.username.or(address.user);
        let login = given.password.or(address.password).map(|password| Login { user, password });
        let client_name: Option<Arc<str>> = given.client_name.map(Into::into);
        let hello = Hello {
            login: login.map(Arc::new),
            db: given.db.unwrap_or(address.db),
            client_name: client_name.clone(),
            role: Role::Any,
            guard: None,
        };
        let replica_reads = given.replica_reads.unwrap_or(false);
        let mut maker = Maker { net: net.clone(), hello, pooling: pooling.clone() };
        let guard = given.guard.map(|prefix| Arc::new(Guard::new(&prefix, maker.clone())));
        maker.hello.guard = guard.clone();
        let repeats = (!matches!(address.kind, Kind::One(_))).then(Repeats::default);
        let promoted = repeats.as_ref().map(|repeats| repeats.promoted.clone()).unwrap_or_default();
        let topology = match address.kind {
            Kind::One(endpoint) => Topology::One(maker.make(endpoint, Role::Any)),
            Kind::Cluster(seeds) => {
                Topology::Cluster(Cluster::new(seeds, maker, replica_reads, promoted))
            }
            Kind::Sentinel { sentinels, service } => {
                let login = given.sentinel_login.map(|(user, password)| Login { user, password });
                let hello = Hello { login: login.map(Arc::new), client_name, ..Hello::default() };
                let to_sentinels = Maker { net, hello, pooling };
                let makers = (maker, to_sentinels);
                Topology::Sentinel(Sentinel::new(sentinels, service, makers, promoted)?)
            }
        };
        Ok(Redis {
            topology: Arc::new(topology),
            timeout: common.timeout(),
            retry_on_timeout: common.retry_on_timeout.unwrap_or(false),
            replica_reads,
            names: Names { plain: given.plain.unwrap_or(false), guarded: guard.is_some() },
            guard,
            repeats,
            origin: Origin::unique(),
            tags: tags::Memory::new(),
        })
    }
}

impl fmt::Debug for RedisBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBuilder").finish_non_exhaustive()
    }
}

impl Given {
    fn check(&self, address: &Address) -> Result<()> {
        let is_cluster = matches!(address.kind, Kind::Cluster(_));
        if is_cluster && self.db.unwrap_or(address.db) != 0 {
            return Err(READ.bad("a cluster has no databases but 0"));
        }
        if self.replica_reads == Some(true) && !is_cluster {
            return Err(READ.bad("only a cluster's replicas can be read from"));
        }
        if self.guard.is_some() && (is_cluster || self.guard.as_deref() == Some("")) {
            return Err(READ.bad("guard_restarts needs a key prefix, and has no use in a cluster"));
        }
        let printable = |name: &String| name.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.client_name.as_ref().is_none_or(printable) {
            return Err(READ.bad("a client name has only printable characters and no blanks"));
        }
        let password = self.password.as_ref().or(address.password.as_ref());
        if password.is_none() && self.username.as_ref().or(address.user.as_ref()).is_some() {
            return Err(READ.bad("a user without a password"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_is_taken_and_the_nearest_named_for_others() {
        for name in PARAMETERS.iter().chain(settings::PARAMETERS) {
            let taken = RedisBuilder::new("").take(name, "?".into());
            let known = taken.map_or_else(|error| !error.to_string().contains("nobody"), |()| true);
            assert!(known, "{name}");
        }
        let error = Redis::builder("redis://h?sokcet_timeout=1").build().unwrap_err();
        let what =
            r#"redis: nobody knows the parameter "sokcet_timeout"; did you mean socket_timeout?"#;
        assert_eq!(error.to_string(), what);
    }
}
