//! Round trips that are the same on every server.

use std::time::Duration;

use yokedcache::Cache;

const HOUR: Duration = Duration::from_secs(3600);

/// Is told what is done, and how many round trips that is to take.
pub type Check<'c> = dyn FnMut(&str, u64, &dyn Fn()) + 'c;

/// What batches of loads and locks take.
pub fn batches_and_locks(cache: &Cache, check: &mut Check<'_>) {
    let many = |cache: &Cache, keys: [&'static str; 4]| {
        let entries = cache.entries(keys).ttl(HOUR).tags(["a"]);
        let values = entries.get_or_load_many(|missing| {
            Ok::<_, yokedcache::Error>(
                missing.iter().map(|key| ((*key).clone(), 1)).collect::<Vec<_>>(),
            )
        });
        assert_eq!(values.unwrap().unwrap(), [Some(1); 4]);
    };
    check("get_or_load_many of what is missing", 3, &|| many(cache, ["m1", "m2", "m3", "m4"]));
    check("get_or_load_many of some", 3, &|| many(cache, ["m1", "m2", "m5", "m6"]));
    check("get_or_load_many of what is there", 1, &|| many(cache, ["m1", "m2", "m5", "m6"]));
    let lock = cache.lock("lock", HOUR);
    check("taking a lock and giving it back", 4, &|| drop(lock.try_lock().unwrap().unwrap()));
    let _guard = lock.try_lock().unwrap().unwrap();
    check("a lock that is taken", 1, &|| assert!(lock.try_lock().unwrap().is_none()));
}
