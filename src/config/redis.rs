//! Redis, built of its settings.

use super::build::boxed;
use super::fault::Fault;
use super::give::{given, within};
use super::remote::{address, give_common, secret};
use super::sections::RedisSettings;
use crate::backend::Backend;
use crate::backend::redis::{Redis, RedisBuilder};
use crate::error::Result;

pub(super) fn build(settings: &RedisSettings) -> Result<Box<dyn Backend>, Fault> {
    Ok(boxed(builder(settings)?.build()?))
}

fn builder(settings: &RedisSettings) -> Result<RedisBuilder, Fault> {
    let s = settings;
    let mut built = Redis::builder(&server(s)?);
    give_common!(s, &mut built.common);
    let built = given(built, s.username.as_ref(), |built, user| built.username(user));
    let built = given(built, secret(&s.password, "password")?, |built, word| built.password(word));
    let built = given(built, s.db, |built, db| built.db(db));
    let built = given(built, s.client_name.as_ref(), |built, name| built.client_name(name));
    let built = given(built, s.read_from_replicas, |built, on| built.read_from_replicas(on));
    let built = given(built, s.plain, |built, on| built.plain(on));
    let built =
        given(built, s.guard_restarts.as_ref(), |built, prefix| built.guard_restarts(prefix));
    let user = s.sentinel_username.as_deref();
    let login = secret(&s.sentinel_password, "sentinel_password")?;
    if user.is_some() && login.is_none() {
        let what = "a user without a password: sentinel_password";
        return Err(within(Fault::new(what), "sentinel_username"));
    }
    Ok(given(built, login, |built, word| built.sentinel_login(user, word)))
}

/// The address, or one made of host and port.
fn server(settings: &RedisSettings) -> Result<String, Fault> {
    let (url, host, port) = (&settings.url, &settings.host, settings.port);
    match (url, host, port) {
        (Some(url), None, None) => address(&url.0).map(str::to_owned),
        (Some(_), ..) => {
            Err(Fault::new("the server is named by url, and by host and port: one of them"))
        }
        (None, Some(host), port) => {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
            if host.is_empty() || !host.bytes().all(allowed) {
                let what = "no name of a host; an address is given as url";
                return Err(within(Fault::new(what), "host"));
            }
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            Ok(match port {
                Some(port) => format!("redis://{host}:{port}"),
                None => format!("redis://{host}"),
            })
        }
        (None, None, _) => Err(Fault::new("no server is named: url, or host and port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::remote::tests::{ALL, check};

    #[test]
    fn what_all_servers_have_is_given_to_redis() {
        let settings: RedisSettings = serde_json::from_value(ALL.clone()).unwrap();
        let given = RedisSettings { host: Some("h".into()), ..settings };
        check(&builder(&given).unwrap().common);
    }
}
