//! The servers that a configuration names. Its passwords are hidden, from us, too.

use serde_json::Value;

use super::address::{Address, Place, System};

/// What stands where a password was.
const HIDDEN: &str = "***";

/// The addresses in all sections of backends, however deep.
pub fn addresses(settings: &Value) -> Vec<Address> {
    let mut found = Vec::new();
    walk(settings, &mut found);
    found
}

fn walk(settings: &Value, found: &mut Vec<Address>) {
    let Some(fields) = settings.as_object() else { return };
    for (name, section) in fields {
        match name.as_str() {
            // Their names are free: one may be called as a backend is.
            "routes" => {
                section.as_object().into_iter().flatten().for_each(|(_, node)| walk(node, found))
            }
            "redis" if section.is_object() => found.extend(address(System::Redis, section)),
            "memcached" if section.is_object() => found.extend(address(System::Memcached, section)),
            _ => walk(section, found),
        }
    }
}

fn address(system: System, section: &Value) -> Option<Address> {
    let text = |name: &str| match section.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        other => Some(other.to_string()),
    };
    let mut address = match (text("url"), system) {
        (Some(url), _) => Address::parse(&url)?,
        (None, System::Redis) => {
            let mut address = Address::parse("redis://localhost")?;
            let port = text("port").and_then(|port| port.parse().ok()).unwrap_or(6379);
            address.places = vec![Place::Tcp { host: text("host")?, port }];
            address
        }
        (None, System::Memcached) => {
            let mut address = Address::parse("memcached://localhost")?;
            address.places.clear();
            address
        }
    };
    let servers = section.get("servers").and_then(Value::as_array).into_iter().flatten();
    address.places.extend(servers.filter_map(server));
    for name in section.as_object()?.keys() {
        if let Some(value) = text(name) {
            address.set(name, &value);
        }
    }
    let is_hidden = |secret: Option<&str>| secret.is_some_and(|secret| secret.contains(HIDDEN));
    address.is_hidden =
        is_hidden(address.password.as_deref()) || is_hidden(address.parameter("sentinel_password"));
    Some(address)
}

/// `host:port`, or that and a weight.
fn server(server: &Value) -> Option<Place> {
    let name = server.as_str().or_else(|| server.get(0)?.as_str())?;
    Some(match name.starts_with('/') {
        true => Place::Unix(name.into()),
        false => Place::tcp(name, 11211),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn servers_are_found_however_deep() {
        let settings = json!({"backend": "tiered", "tiered": {
            "near": {"backend": "memory", "memory": {}},
            "far": {"backend": "redis", "redis": {"url": "rediss://u:***@h:7/2", "ssl_ca_certs": "/ca"}},
        }, "memcached": {"servers": ["a:1", ["b", 3]], "binary": true}});
        let found = addresses(&settings);
        let redis = found.iter().find(|address| address.system == System::Redis).unwrap();
        assert_eq!((redis.is_hidden, redis.tls, redis.db), (true, true, 2));
        assert_eq!(redis.parameter("ssl_ca_certs"), Some("/ca"));
        let memcached = found.iter().find(|address| address.system == System::Memcached).unwrap();
        assert_eq!(memcached.places, [Place::tcp("a:1", 0), Place::tcp("b:11211", 0)]);
        assert!(memcached.is_binary() && !memcached.is_hidden);
        let routes = json!({"routes": {"redis": {"memcached": {"url": "memcached://a"}}}});
        assert_eq!(addresses(&routes)[0].places, [Place::tcp("a", 11211)]);
        let both = addresses(&json!({"memcached": {"url": "memcached://a", "servers": ["b"]}}));
        assert_eq!(both[0].places, [Place::tcp("a", 11211), Place::tcp("b", 11211)]);
    }
}
