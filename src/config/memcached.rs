//! Memcached, built of its settings.

use super::build::boxed;
use super::fault::Fault;
use super::give::given;
use super::remote::{address, give_common, secret};
use super::sections::{DistributionName, MemcachedSettings, Protocol, Server};
use crate::backend::Backend;
use crate::backend::memcached::{Distribution, Memcached, MemcachedBuilder};
use crate::error::Result;

pub(super) fn build(settings: &MemcachedSettings) -> Result<Box<dyn Backend>, Fault> {
    Ok(boxed(builder(settings)?.build()?))
}

fn builder(settings: &MemcachedSettings) -> Result<MemcachedBuilder, Fault> {
    let s = settings;
    if s.url.is_none() && s.servers.as_ref().is_none_or(Vec::is_empty) {
        return Err(Fault::new("no server is named: url or servers"));
    }
    let mut built = match &s.url {
        Some(url) => Memcached::builder(address(&url.0)?),
        None => MemcachedBuilder::without_address(),
    };
    give_common!(s, &mut built.common);
    for Server(server, weight) in s.servers.iter().flatten() {
        built = built.server(&server.0, *weight);
    }
    let built = given(built, s.username.as_ref(), |built, user| built.username(user));
    let built = given(built, secret(&s.password, "password")?, |built, word| built.password(word));
    let distribution = s.distribution.map(|name| match name {
        DistributionName::KetamaWeighted => Distribution::KetamaWeighted,
        DistributionName::Ketama => Distribution::Ketama,
        DistributionName::Modulo => Distribution::Modulo,
    });
    let mut built = given(built, distribution, |built, how| built.distribution(how));
    built.ketama = s.ketama;
    built.ketama_weighted = s.ketama_weighted;
    let binary = match (s.binary, s.protocol.map(|protocol| protocol == Protocol::Binary)) {
        (Some(binary), Some(protocol)) if binary != protocol => {
            return Err(Fault::new("binary and protocol disagree"));
        }
        (binary, protocol) => binary.or(protocol),
    };
    let built = given(built, binary, |built, on| built.binary(on));
    let built = given(built, s.eject, |built, on| built.eject(on));
    let built = given(built, s.plain, |built, on| built.plain(on));
    Ok(given(built, s.split, |built, on| built.split_large_values(on)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::remote::tests::{ALL, check};
    use crate::config::values::Address;

    #[test]
    fn what_all_servers_have_is_given_to_memcached() {
        let settings: MemcachedSettings = serde_json::from_value(ALL.clone()).unwrap();
        let servers = Some(vec![Server(Address("h".into()), 1)]);
        let given = MemcachedSettings { servers, ..settings };
        check(&builder(&given).unwrap().common);
    }
}
