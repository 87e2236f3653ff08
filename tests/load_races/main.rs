//! Loads that something comes between: each race that once broke a design for loading across
//! processes, played in the one order that breaks it, on real servers.
//!
//! The loader stops half way; then another process, which is a second cache over connections of its
//! own, or another program, which speaks the server's protocol, does the disturbing thing; then the
//! loader ends. "Hole n" in a comment is the number of the race in the notes the design was checked
//! by; there is one that concerns loads behind each.
#![cfg(any(feature = "redis", feature = "memcached"))]

#[cfg(feature = "redis")]
mod claims;
mod held;
mod joiners;
mod keys;
mod leases;
#[cfg(feature = "memcached")]
mod memcached;
mod outages;
mod placeholders;
#[cfg(feature = "redis")]
mod redis;
mod refreshes;
mod scans;
mod site;
#[path = "../support/mod.rs"]
mod support;
mod tags;

use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// Makes a test of each race, on this kind of site.
macro_rules! races {
    ($site:expr; $($idea:ident: $($race:ident)+;)+) => {
        $(mod $idea {
            $(#[test]
            fn $race() {
                crate::$idea::$race(&$site);
            })+
        })+
    };
    ($site:expr) => {
        $crate::races! { $site;
            keys:
                a_load_is_overtaken_by_another_process
                a_load_is_overtaken_by_another_program
                clearing_a_namespace_overtakes_its_loads_and_no_others;
            leases:
                a_load_whose_lease_ran_out_is_not_stored
                a_load_whose_lease_ran_out_harms_no_newer_value
                a_load_whose_lease_ran_out_harms_no_newer_load
                who_waits_for_a_dead_owner_waits_as_long_as_its_lease;
            joiners:
                who_comes_after_a_delete_gets_nothing_older
                who_comes_after_its_tag_was_invalidated_gets_nothing_older
                who_comes_after_a_pattern_was_invalidated_gets_nothing_older
                who_comes_after_another_program_deleted_gets_nothing_older
                who_comes_after_a_set_gets_what_was_set
                who_comes_while_nothing_disturbs_shares_the_load;
            placeholders:
                a_key_being_loaded_is_absent_to_everybody
                looking_and_touching_leave_the_lease_as_it_is
                adding_overtakes_a_load
                counting_overtakes_a_load
                deleting_what_is_being_loaded_deletes_nothing_and_overtakes;
            tags:
                an_invalidation_overtakes_a_load_that_named_the_tag_up_front
                an_invalidation_overtakes_a_load_that_named_the_tag_while_it_ran
                naming_another_tag_makes_good_for_nothing
                a_tag_may_be_invalidated_before_the_load_names_it
                all_of_some_tags_overtakes_loads_under_way
                a_record_lost_under_way_overtakes_the_load
                a_record_lost_and_made_anew_overtakes_the_load
                a_record_lost_after_the_load_takes_the_value_with_it
                a_load_under_a_version_out_of_date_is_stored_and_read
                a_write_under_a_version_out_of_date_is_read
                what_a_tag_was_remembered_as_judges_no_read;
            refreshes:
                a_refresh_is_overtaken_and_resurrects_nothing
                what_was_deleted_is_not_there_to_be_unmodified
                a_refresh_that_fails_resurrects_nothing
                a_stale_value_is_absent_to_who_would_touch_it
                adding_overtakes_a_refresh
                all_of_some_tags_overtakes_an_early_refresh_that_brings_one_more
                a_refresh_that_brings_one_more_tag_can_be_asked_for;
            scans:
                no_load_outlives_a_pattern_in_whose_scan_it_ends
                no_load_outlives_all_of_some_tags_in_whose_scan_it_ends;
        }
    };
}
pub(crate) use races;
