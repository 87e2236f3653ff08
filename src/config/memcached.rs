//! Memcached, built of its settings.

use super::build::{boxed, given};
use super::fault::Fault;
use super::remote::{address, give_common, secret};
use super::sections::{DistributionName, MemcachedSettings, Protocol, Server};
use crate::Distribution;
use crate::backend::Backend;
use crate::error::Result;

pub(super) fn build(settings: &MemcachedSettings) -> Result<Box<dyn Backend>, Fault> {
    let s = settings;
    if s.url.is_none() && s.servers.as_ref().is_none_or(Vec::is_empty) {
        return Err(Fault::new("no server is named: url or servers"));
    }
    let mut built = match &s.url {
        Some(url) => crate::Memcached::builder(address(&url.0)?),
        None => crate::MemcachedBuilder::without_address(),
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
    let built = given(built, s.split, |built, on| built.split_large_values(on));
    Ok(boxed(built.build()?))
}
