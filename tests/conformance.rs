//! One suite for every backend: the same behaviour everywhere, or a difference its capabilities
//! declare.
//!
//! Each case is a function over a [`Rig`], which makes caches over one backend and moves its time.
//! `suite!` makes a module of tests for a backend, so that a failure names both.

mod conformance {
    pub mod atomics;
    pub mod batches;
    pub mod fallbacks;
    pub mod freshness;
    pub mod gate;
    pub mod input;
    pub mod invalidation;
    pub mod late;
    pub mod loaders;
    pub mod loads;
    pub mod locks;
    pub mod many;
    pub mod memoized;
    pub mod rig;
    #[cfg(feature = "fuzzy")]
    pub mod search;
    pub mod slots;
    pub mod ttl;
    pub mod values;
}

#[path = "../examples/custom_backend.rs"]
#[allow(dead_code)]
mod custom;

#[cfg(any(feature = "redis", feature = "memcached"))]
mod support;

use conformance::rig::Rig;

/// Suites on backends around others.
mod wrappers {
    use std::sync::Arc;

    use yokedcache::{DualMode, DualWrite, Route, Switch};

    use crate::conformance::rig::Rig;

    /// Keys of the cases dealt out over three memories. Behind a `1` as the delimiter, numbered keys
    /// are dealt out, too.
    pub fn route(delimiter: char) -> Rig {
        Rig::wrapped(|memory| {
            let (one, other) = (Arc::new(memory()), Arc::new(memory()));
            let mut route = Route::builder(memory()).delimiter(delimiter);
            for key in ["k", "a", "l", "user", "ns:a", "axbx", "text", "p:c", "old", "t"] {
                route = route.route(key, one.clone());
            }
            for key in ["n", "b", "v", "eu", "m", "eu:user", "a*[b]?", "none", "p", "new", "k0"] {
                route = route.route(key, other.clone());
            }
            route.build().unwrap()
        })
    }

    pub fn switch() -> Rig {
        Rig::wrapped(|memory| Switch::new(memory()))
    }

    pub fn dual_write(mode: DualMode) -> Rig {
        Rig::wrapped(|memory| {
            let both = DualWrite::new(memory(), memory());
            both.set_mode(mode).unwrap();
            both
        })
    }
}

/// Suites on real servers, each started once for all cases of the suite.
#[cfg(feature = "redis")]
mod servers {
    use std::sync::OnceLock;

    use yokedcache::{Fallback, Memory, Redis, Switch, Tiered};

    use crate::conformance::rig::Rig;
    use crate::support::{RedisCluster, RedisSentinels, RedisServer};

    pub fn standalone() -> Rig {
        static SERVER: OnceLock<RedisServer> = OnceLock::new();
        let server = SERVER.get_or_init(|| RedisServer::start(&[]));
        Rig::on_server(Redis::open(server.url()).unwrap())
    }

    pub fn unix() -> Rig {
        static SERVER: OnceLock<RedisServer> = OnceLock::new();
        let server = SERVER.get_or_init(RedisServer::unix);
        Rig::on_server(Redis::open(server.url()).unwrap())
    }

    #[cfg(feature = "tls")]
    pub fn tls() -> Rig {
        static SERVER: OnceLock<RedisServer> = OnceLock::new();
        let server = SERVER.get_or_init(RedisServer::tls);
        let url = format!("{}?ssl_ca_certs={}", server.url(), server.ca().display());
        Rig::on_server(Redis::open(&url).unwrap())
    }

    pub fn sentinel() -> Rig {
        static SERVERS: OnceLock<RedisSentinels> = OnceLock::new();
        let servers = SERVERS.get_or_init(RedisSentinels::start);
        Rig::on_server(Redis::open(&servers.url()).unwrap())
    }

    pub fn cluster() -> Rig {
        Rig::on_server(Redis::open(&cluster_url()).unwrap())
    }

    fn cluster_url() -> String {
        static SERVERS: OnceLock<RedisCluster> = OnceLock::new();
        SERVERS.get_or_init(RedisCluster::start).url()
    }

    pub fn tiered() -> Rig {
        tiers(Redis::open(server_for_wrappers()).unwrap())
    }

    pub fn tiered_over_cluster() -> Rig {
        tiers(Redis::open(&cluster_url()).unwrap())
    }

    fn tiers(far: Redis) -> Rig {
        Rig::on_server(Tiered::new(memory(), far).unwrap()).tiered()
    }

    fn memory() -> Memory {
        Memory::builder().max_size(100_000).build().unwrap()
    }

    pub fn fallback() -> Rig {
        let primary = Redis::open(server_for_wrappers()).unwrap();
        Rig::on_server(Fallback::builder(primary, memory()).build().unwrap())
    }

    /// A switch over a fallback from tiers to memory.
    pub fn nested() -> Rig {
        let far = Redis::open(server_for_wrappers()).unwrap();
        let tiers = Tiered::new(memory(), far).unwrap();
        let fallback = Fallback::builder(tiers, memory()).build().unwrap();
        Rig::on_server(Switch::new(fallback)).tiered()
    }

    fn server_for_wrappers() -> &'static str {
        static SERVER: OnceLock<RedisServer> = OnceLock::new();
        SERVER.get_or_init(|| RedisServer::start(&[])).url()
    }
}

/// The same of Memcached.
#[cfg(feature = "memcached")]
mod memcached_servers {
    use std::sync::OnceLock;

    use yokedcache::{Fallback, Memcached, Memory, Tiered};

    use crate::conformance::rig::Rig;
    use crate::support::{MemcachedFleet, MemcachedServer};

    pub fn one() -> Rig {
        static SERVER: OnceLock<MemcachedServer> = OnceLock::new();
        let server = SERVER.get_or_init(|| MemcachedServer::start(&[]));
        Rig::on_server(Memcached::open(server.url()).unwrap())
    }

    pub fn tiered() -> Rig {
        static SERVER: OnceLock<MemcachedServer> = OnceLock::new();
        let server = SERVER.get_or_init(|| MemcachedServer::start(&[]));
        let far = Memcached::open(server.url()).unwrap();
        Rig::on_server(Tiered::new(memory(), far).unwrap()).tiered()
    }

    pub fn fallback() -> Rig {
        // One of its own: a server lists its keys for one at a time.
        static SERVER: OnceLock<MemcachedServer> = OnceLock::new();
        let server = SERVER.get_or_init(|| MemcachedServer::start(&[]));
        let primary = Memcached::open(server.url()).unwrap();
        Rig::on_server(Fallback::builder(primary, memory()).build().unwrap())
    }

    fn memory() -> Memory {
        Memory::builder().max_size(100_000).build().unwrap()
    }

    pub fn one_binary() -> Rig {
        static SERVER: OnceLock<MemcachedServer> = OnceLock::new();
        let server = SERVER.get_or_init(|| MemcachedServer::sasl("user", "secret"));
        Rig::on_server(Memcached::builder(server.url()).binary(true).build().unwrap())
    }

    pub fn fleet() -> Rig {
        Rig::on_server(Memcached::open(&fleet_url()).unwrap())
    }

    pub fn fleet_binary() -> Rig {
        Rig::on_server(Memcached::builder(&fleet_url()).binary(true).build().unwrap())
    }

    fn fleet_url() -> String {
        static SERVERS: OnceLock<MemcachedFleet> = OnceLock::new();
        SERVERS.get_or_init(|| MemcachedFleet::start(4)).url(&[3, 1, 1, 2])
    }
}

macro_rules! cases {
    ($rig:expr; $($module:ident: $($case:ident),* $(,)?;)*) => {
        $(mod $module {
            $(#[test]
            fn $case() {
                $crate::conformance::rig::play(|| $rig, $crate::conformance::$module::$case);
            })*
        })*
    };
}

macro_rules! suite {
    ($backend:ident, $rig:expr) => {
        mod $backend {
            cases! { $rig;
                values:
                    every_kind_of_bytes_comes_back,
                    every_kind_of_value_comes_back,
                    falsy_values_are_hits,
                    none_is_a_negative_entry,
                    what_a_caller_changes_stays_its_own,
                    keys_differ_by_case_and_spelling,
                    any_utf8_is_a_key,
                    delete_tells_whether_there_was_something,
                    exists_sees_what_get_sees,
                    overwriting_replaces_value_tags_and_ttl,
                    another_schema_is_a_miss_and_is_overwritten,
                    floats_come_back_to_the_last_bit,
                    a_value_of_another_type_is_a_miss_with_its_cause,
                    lookup_tells_hits_negatives_and_misses_apart,
                    get_arc_decodes_once_where_values_live_in_this_process,
                    get_arc_follows_changes,
                    namespaces_are_prefixes,
                    whole_numbers_are_stored_as_text,
                    typed_views_share_the_cache,
                    statistics_count_what_happened;
                ttl:
                    an_entry_lives_to_the_last_unit_before_its_end,
                    the_default_ttl_applies,
                    never_ends_a_default_ttl,
                    an_end_in_the_past_removes_the_older_value,
                    a_ttl_of_zero_is_an_error_and_changes_nothing,
                    long_lives_are_kept,
                    expire_gives_a_new_end_and_keeps_value_and_tags,
                    touch_gives_the_default_end,
                    ttl_tells_what_is_left,
                    looking_does_not_slide,
                    a_sliding_entry_ends_at_its_cap,
                    jitter_spreads_ends_within_its_window,
                    a_stale_entry_is_absent_to_all_but_lookup,
                    expire_moves_the_stale_end_along,
                    negative_entries_have_a_ttl_of_their_own,
                    a_touched_entry_goes_on_sliding;
                atomics:
                    add_stores_only_what_is_absent,
                    of_many_adders_one_wins,
                    an_expired_entry_can_be_added_again,
                    an_entry_of_another_schema_can_be_added_again,
                    replace_stores_only_over_what_is_there,
                    counters_begin_at_their_initial_value,
                    concurrent_increments_are_all_counted,
                    counters_created_by_many_at_once_are_exact,
                    a_counter_keeps_its_ttl,
                    what_is_no_number_is_left_alone,
                    a_counter_does_not_wrap_around,
                    a_counter_of_another_schema_is_another_counter,
                    a_counter_is_not_created_with_tags,
                    swap_needs_the_version_read,
                    swap_refuses_a_deleted_and_added_entry,
                    of_many_swappers_one_wins;
                batches:
                    get_many_answers_each_key_in_order,
                    lookup_many_tells_causes,
                    set_many_and_delete_many_do_each_key,
                    a_value_that_cannot_be_stored_fails_alone,
                    a_bad_key_refuses_the_batch_before_it_begins,
                    empty_batches_do_nothing;
                invalidation:
                    a_tag_takes_its_entries_and_no_others,
                    any_of_and_all_of,
                    retagging_drops_the_old_tags,
                    what_is_stored_after_an_invalidation_stays,
                    tags_belong_to_their_namespace,
                    a_pattern_takes_exactly_what_matches,
                    patterns_stay_in_their_namespace,
                    a_regex_sees_the_key_without_its_namespace,
                    a_dry_run_names_what_would_go_and_removes_nothing,
                    clearing_a_namespace_leaves_the_others,
                    clearing_a_parent_clears_its_children,
                    keys_lists_live_keys_sorted,
                    scanning_may_use_the_cache_and_stop,
                    a_hundred_thousand_entries_under_one_tag_go;
                loads:
                    a_missing_value_is_loaded_and_kept,
                    a_cached_none_is_not_loaded_again,
                    skip_negative_stores_nothing,
                    a_loaders_error_is_the_callers_and_stores_nothing,
                    loaded_says_ttl_negative_and_skip,
                    a_loader_can_revalidate_a_stale_value,
                    not_modified_needs_a_previous_value,
                    tags_of_a_load_invalidate_it,
                    many_threads_load_once,
                    waiters_of_a_failed_load_get_an_error_and_the_next_loads,
                    a_panic_frees_the_key,
                    a_loader_may_load_other_keys,
                    a_loader_that_loads_its_own_key_gets_an_error,
                    different_keys_never_wait_for_each_other,
                    waiting_ends_at_the_timeout,
                    waiting_for_another_cache_ends_at_the_timeout,
                    a_load_names_no_more_tags_than_an_entry_may_have,
                    a_load_overtaken_by_delete_is_not_stored,
                    a_load_overtaken_by_set_is_not_stored,
                    a_load_overtaken_by_its_tag_is_not_stored,
                    a_load_overtaken_by_a_late_tag_is_not_stored,
                    a_load_overtaken_by_a_pattern_is_not_stored,
                    a_load_overtaken_by_clear_is_not_stored,
                    a_waiter_of_another_schema_loads_for_itself,
                    a_load_may_take_longer_than_the_timeout,
                    two_caches_over_one_backend_load_once,
                    bad_settings_are_refused_before_the_loader_runs,
                    a_stale_value_of_another_schema_is_no_previous_one,
                    an_undecodable_value_is_loaded_anew;
                freshness:
                    a_failing_loader_is_answered_with_the_stale_value,
                    a_loader_that_failed_is_left_alone_for_a_while,
                    without_a_pause_each_caller_tries_again,
                    a_pause_is_not_jittered,
                    a_success_ends_the_pause_for_all,
                    a_value_older_than_its_grace_is_gone_and_the_error_surfaces,
                    the_stale_value_is_served_while_one_loads,
                    who_takes_no_stale_value_gets_none,
                    who_takes_no_stale_value_does_not_wait_for_who_does,
                    an_entry_is_refreshed_from_its_part_on,
                    the_part_is_met_to_the_millisecond,
                    the_longest_lives_have_parts_or_no_end,
                    an_early_refresh_keeps_nobody_waiting,
                    many_threads_refresh_once,
                    an_early_refresh_that_fails_leaves_the_older_value,
                    an_early_refresh_sees_the_previous_value,
                    an_early_refresh_that_is_overtaken_is_not_stored,
                    a_chance_of_nothing_never_refreshes_and_certainty_always,
                    a_seed_makes_chance_reproducible,
                    bad_settings_are_refused_before_anything_is_done,
                    a_life_of_zero_is_refused_before_the_loader_runs,
                    bad_settings_are_refused_where_there_is_a_value,
                    a_lease_of_zero_is_refused,
                    what_an_entry_leaves_open_is_as_the_cache_is_set,
                    a_policy_of_an_entry_stands_in_place_of_the_caches,
                    who_takes_no_stale_value_leaves_it_to_others,
                    none_may_be_stored_for_a_time_of_its_own_or_not_at_all,
                    a_stale_none_is_served_as_one,
                    loads_are_jittered_within_the_window,
                    a_loaded_entry_slides_to_its_cap,
                    a_stale_value_that_is_invalidated_is_not_served;
                loaders:
                    a_loader_loads_what_is_missing,
                    a_loader_says_more_than_a_value,
                    a_loader_tells_times_and_staleness,
                    the_tags_of_a_loader_invalidate_what_it_loads,
                    a_refresh_can_revalidate_what_is_there,
                    a_stale_value_is_served_while_a_thread_loads,
                    many_threads_start_one_refresh,
                    a_refresh_that_waits_for_a_thread_is_asked_for_once,
                    an_early_refresh_runs_behind,
                    a_refresh_that_fails_leaves_the_older_value_and_the_loader_alone,
                    a_refresh_overtaken_by_delete_is_not_stored,
                    a_refresh_overtaken_by_set_is_not_stored,
                    a_refresh_overtaken_by_its_tag_is_not_stored,
                    a_refresh_overtaken_by_a_pattern_or_clear_is_not_stored,
                    a_soft_limit_is_waited_for_a_better_value,
                    without_an_end_the_soft_limit_serves_the_stale_value_for_an_error,
                    a_hard_limit_bounds_the_soft_one,
                    past_the_hard_limit_the_call_is_a_timeout,
                    what_comes_late_is_kept_if_asked_for,
                    a_value_in_time_is_the_callers_and_stored,
                    others_wait_for_the_loader_that_is_late,
                    one_refresh_too_many_is_dropped_and_counted,
                    where_all_threads_hang_limits_hold_and_misses_load,
                    a_panic_behind_leaves_the_stale_value_and_frees_the_key,
                    a_loader_that_panicked_is_left_alone_like_one_that_failed,
                    a_panic_in_time_is_an_error_of_those_who_wait,
                    a_refresh_can_be_asked_for_at_any_age,
                    dropping_the_last_handle_waits_for_the_refresh_that_runs,
                    a_loader_may_hold_the_last_handle,
                    a_loader_may_use_its_cache_but_not_wait_for_itself,
                    a_refresh_that_asks_for_its_own_key_does_not_wait_for_itself,
                    a_miss_does_not_wait_for_a_refresh_that_waits_for_a_thread,
                    a_miss_waits_for_the_refresh_that_runs,
                    draining_an_idle_cache_does_not_wait,
                    a_loader_keeps_the_schema_and_settings_of_its_handle;
                many:
                    values_come_in_the_order_asked_for_each_loaded_once,
                    nothing_asked_for_loads_nothing,
                    what_is_left_out_is_none_and_not_stored,
                    optional_values_store_that_there_is_none,
                    a_batch_stores_with_tags_and_times,
                    an_error_of_the_loader_stores_nothing_and_frees_the_keys,
                    stale_values_answer_for_a_loader_that_fails,
                    stale_values_are_served_while_another_loads,
                    a_panic_frees_all_keys,
                    a_panic_of_the_pairs_frees_all_keys,
                    what_is_overtaken_of_a_batch_is_not_stored,
                    overlapping_batches_of_two_threads_load_each_key_once,
                    overlapping_batches_of_two_caches_load_each_key_once,
                    two_batches_that_need_each_other_do_not_deadlock,
                    a_batch_and_a_single_load_share_their_runs,
                    a_failing_other_is_an_error_and_own_values_are_stored,
                    waiting_for_others_ends_at_the_timeout,
                    a_batch_that_asks_for_its_own_keys_gets_an_error,
                    a_bad_key_or_tag_refuses_the_batch_before_it_begins,
                    a_value_that_cannot_be_stored_is_the_callers_all_the_same,
                    a_batch_keeps_to_its_schema_and_namespace,
                    keys_that_meet_are_loaded_once;
                slots:
                    a_slot_is_set_and_then_there_is_a_value,
                    a_slot_is_set_for_a_time_of_its_own,
                    what_cannot_be_stored_is_refused_and_frees_the_key,
                    a_slot_that_is_dropped_frees_the_key,
                    others_wait_for_a_slot,
                    who_waits_for_a_slot_that_is_dropped_loads,
                    a_slot_waits_for_a_load,
                    a_slot_that_is_overtaken_stores_nothing,
                    a_slot_is_overtaken_by_other_caches_and_says_so_when_renewed,
                    a_slot_is_tagged_on_the_way,
                    a_slot_over_a_stale_value_shows_it_and_keeps_nobody_waiting,
                    a_slot_dropped_over_a_stale_value_leaves_it,
                    a_slot_taken_twice_by_one_thread_is_an_error,
                    a_slot_may_be_set_by_another_thread,
                    a_slot_outlives_its_handle,
                    a_slot_keeps_its_schema,
                    a_slot_may_say_that_there_is_no_value;
                locks:
                    one_has_the_lock_among_all_caches,
                    a_lock_is_given_back_once,
                    a_lock_is_over_after_its_lease_and_stays_the_nexts,
                    a_lock_renewed_is_held_for_another_lease,
                    numbers_grow_with_every_holder,
                    a_lock_is_waited_for_so_long,
                    what_a_lock_protects_is_done_by_one_at_a_time,
                    of_many_who_try_at_once_one_has_the_lock,
                    a_lock_without_a_name_or_a_lease_is_refused,
                    a_name_near_the_limit_locks_or_is_refused_and_leaves_nothing,
                    clearing_ends_a_lock,
                    a_guard_may_be_given_back_by_another_thread;
                memoized:
                    a_function_remembers_for_so_long,
                    caches_over_one_backend_remember_together,
                    different_arguments_never_share,
                    different_names_never_share,
                    errors_are_not_remembered,
                    a_source_that_recovers_is_asked_again,
                    none_is_remembered_too,
                    all_of_a_name_can_be_invalidated,
                    threads_share_one_run_of_a_function,
                    namespaces_remember_for_themselves,
                    a_function_may_call_itself_for_other_arguments,
                    arguments_that_make_no_key_are_refused;
                late:
                    what_is_deleted_while_it_is_being_stored_is_shared_with_nobody,
                    what_is_deleted_while_it_is_being_stored_is_shared_with_no_batch;
                input:
                    an_empty_key_is_refused_everywhere,
                    a_key_that_is_too_long_is_refused,
                    bad_tags_are_refused,
                    bad_patterns_are_refused,
                    a_value_that_cannot_be_encoded_is_refused;
            }
            #[cfg(feature = "fuzzy")]
            cases! { $rig;
                search:
                    bad_searches_are_refused,
                    fuzzy_search_finds_misspelt_keys,
                    fuzzy_search_has_scopes_and_limits;
            }
        }
    };
}

suite!(memory, crate::Rig::memory(100_000));
suite!(memory_in_one_shard, crate::Rig::memory(2_000));
suite!(
    tiered_over_memory,
    crate::Rig::wrapped(|memory| yokedcache::Tiered::new(memory(), memory()).unwrap()).tiered()
);
suite!(switch_over_memory, crate::wrappers::switch());
suite!(dual_write_reading_old, crate::wrappers::dual_write(yokedcache::DualMode::ReadOld));
suite!(dual_write_reading_new, crate::wrappers::dual_write(yokedcache::DualMode::ReadNew));
suite!(
    dual_write_compare,
    crate::wrappers::dual_write(yokedcache::DualMode::Compare { part: 0.5 })
);
// A stranger's backend, written from the docs, without tags and leases.
suite!(custom_backend, crate::Rig::on_real_time(crate::custom::Sorted::new()));
suite!(route_over_memory, crate::wrappers::route(':'));
suite!(route_over_memory_by_number, crate::wrappers::route('1'));
suite!(fallback_over_memory, crate::conformance::fallbacks::closed());
suite!(fallback_while_open, crate::conformance::fallbacks::open());
#[cfg(feature = "redis")]
suite!(redis_standalone, crate::servers::standalone());
#[cfg(feature = "redis")]
suite!(redis_over_a_unix_socket, crate::servers::unix());
#[cfg(all(feature = "redis", feature = "tls"))]
suite!(redis_over_tls, crate::servers::tls());
#[cfg(feature = "redis")]
suite!(redis_behind_sentinels, crate::servers::sentinel());
#[cfg(feature = "redis")]
suite!(redis_cluster, crate::servers::cluster());
#[cfg(feature = "redis")]
suite!(tiered_over_redis, crate::servers::tiered());
#[cfg(feature = "redis")]
suite!(tiered_over_a_redis_cluster, crate::servers::tiered_over_cluster());
#[cfg(feature = "redis")]
suite!(fallback_over_redis, crate::servers::fallback());
#[cfg(feature = "redis")]
suite!(switch_over_fallback_over_tiers_over_redis, crate::servers::nested());
#[cfg(feature = "memcached")]
suite!(memcached_one_server, crate::memcached_servers::one());
#[cfg(feature = "memcached")]
suite!(tiered_over_memcached, crate::memcached_servers::tiered());
#[cfg(feature = "memcached")]
suite!(fallback_over_memcached, crate::memcached_servers::fallback());
#[cfg(feature = "memcached")]
suite!(memcached_four_weighted_servers, crate::memcached_servers::fleet());
#[cfg(feature = "memcached")]
suite!(memcached_binary, crate::memcached_servers::one_binary());
#[cfg(feature = "memcached")]
suite!(memcached_binary_four_weighted_servers, crate::memcached_servers::fleet_binary());
