//! Names other caches have for settings, and where ours are.

const HINTS: &[(&str, &str)] = &[
    ("allow_legacy_insecure_deserialization", "there is none: values are always checked"),
    ("circuit_breaker_failure_threshold", "it is failure_threshold of the backend fallback"),
    ("circuit_breaker_timeout", "it is reset_timeout of the backend fallback"),
    ("compression_threshold", "it is compression_above"),
    ("connection_pool_kwargs", "its settings stand in the section redis itself"),
    ("connection_retries", "there is none: see retry_on_timeout in the section redis"),
    ("connection_timeout", "it is socket_connect_timeout in the section redis"),
    ("default_serialization", "it is codec, which is json or msgpack"),
    ("enable_circuit_breaker", "a breaker comes with the backend fallback"),
    ("enable_compression", "it is compression, which is lz4, zstd or none"),
    ("enable_fuzzy", "there is none: the feature fuzzy of the crate is enough"),
    ("enable_metrics", "there is none: the feature metrics of the crate is enough"),
    ("fallback_enabled", "name the backend fallback, with a primary and a secondary"),
    ("fuzzy_threshold", "there is none: each search has its own"),
    ("log_level", "there is none: it is the logger's, under the target yokedcache"),
    ("max_connections", "it is pool_size in the section redis"),
    ("memory_cleanup_interval", "it is cleanup_interval in the section memory"),
    ("memory_max_size", "it is max_size in the section memory"),
    ("namespace", "it is key_prefix"),
    ("prometheus_port", "there is none: metrics go to the recorder of the program"),
    ("query_specific_ttls", "there is none: entries and loaders have a ttl of their own in code"),
    ("redis_url", "it is url, or url in the section redis"),
    ("retry_delay", "there is none: what is tried again is tried at once"),
    ("serialization_method", "it is codec, which is json or msgpack"),
    ("statsd_host", "there is none: metrics go to the recorder of the program"),
    ("statsd_port", "there is none: metrics go to the recorder of the program"),
    ("tables", "there is none: entries, loaders and namespaces have settings of their own in code"),
    ("tags", "there is none: entries and loaders have tags of their own in code"),
    ("ttl", "it is default_ttl"),
    ("ttl_jitter_percent", "it is ttl_jitter, a time"),
];

/// What to say of a name that is known elsewhere.
pub(super) fn hint(name: &str) -> Option<&'static str> {
    HINTS.iter().find(|(known, _)| *known == name).map(|(_, hint)| *hint)
}
