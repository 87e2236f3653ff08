//! The checker itself: for each rule a history that breaks it, and one that almost does.

use crate::checker::{Lag, Reason, check};
use crate::history::{Event, Nanos, Reach, Span};

const KEY: u8 = 3;
const A: u8 = 1;
const B: u8 = 2;

fn span(begin: Nanos, end: Nanos) -> Span {
    Span { begin, end, by: 0 }
}

fn set(value: u64, begin: Nanos, end: Nanos) -> Event {
    tagged(value, 0, begin, end)
}

fn tagged(value: u64, tags: u8, begin: Nanos, end: Nanos) -> Event {
    Event::Write { key: KEY, value, tags, span: span(begin, end) }
}

fn load(value: u64, began: Nanos) -> Event {
    tagged_load(value, began, &[])
}

fn tagged_load(value: u64, began: Nanos, tags: &[(u8, Nanos)]) -> Event {
    Event::Load { key: KEY, value, began, tags: tags.to_vec(), stored: Nanos::MAX, by: 0 }
}

fn stored_load(value: u64, began: Nanos, stored: Nanos) -> Event {
    Event::Load { key: KEY, value, began, tags: Vec::new(), stored, by: 0 }
}

fn read(value: u64, begin: Nanos, end: Nanos) -> Event {
    Event::Read { key: KEY, value, span: span(begin, end) }
}

fn invalidate(reach: Reach, begin: Nanos, end: Nanos) -> Event {
    Event::Invalidate { reach, span: span(begin, end) }
}

fn delete(begin: Nanos, end: Nanos) -> Event {
    invalidate(Reach::Keys(1 << KEY), begin, end)
}

#[track_caller]
fn broken(reason: Reason, history: &[Event]) {
    let reasons: Vec<_> =
        check(history, Lag::NONE).into_iter().map(|violation| violation.reason).collect();
    assert_eq!(reasons, [reason]);
}

#[track_caller]
fn right(history: &[Event]) {
    assert_eq!(check(history, Lag::NONE), []);
}

#[test]
fn what_is_read_was_written() {
    broken(Reason::NeverWritten, &[set(1, 10, 20), read(2, 30, 40)]);
    right(&[set(1, 10, 20), read(1, 30, 40)]);
}

#[test]
fn what_is_read_was_written_under_that_key() {
    let other = Event::Read { key: KEY + 1, value: 1, span: span(30, 40) };
    broken(Reason::NeverWritten, &[set(1, 10, 20), other]);
}

#[test]
fn what_an_add_refused_to_store_is_not_read() {
    let refused = Event::Refused { key: KEY, value: 1, span: span(10, 20) };
    broken(Reason::Refused, &[refused.clone(), read(1, 15, 40)]);
    right(&[refused, set(2, 10, 20), read(2, 15, 40)]);
}

#[test]
fn nothing_is_read_before_its_write_began() {
    broken(Reason::NotYetWritten, &[set(1, 50, 60), read(1, 30, 40)]);
    right(&[set(1, 35, 60), read(1, 30, 40)]);
}

#[test]
fn nothing_is_read_before_its_loader_began() {
    broken(Reason::NotYetWritten, &[load(1, 50), read(1, 30, 40)]);
    right(&[load(1, 35), read(1, 30, 40)]);
}

#[test]
fn a_delete_ends_what_was_set_before_it_began() {
    broken(Reason::GoneWithItsKey, &[set(1, 10, 20), delete(21, 30), read(1, 31, 40)]);
    right(&[set(1, 10, 21), delete(20, 30), read(1, 31, 40)]);
}

#[test]
fn a_delete_binds_reads_that_begin_after_its_end() {
    right(&[set(1, 10, 20), delete(21, 30), read(1, 29, 40)]);
}

#[test]
fn a_delete_ends_loads_that_began_before_it() {
    broken(Reason::GoneWithItsKey, &[load(1, 19), delete(20, 30), read(1, 31, 40)]);
    right(&[load(1, 21), delete(20, 30), read(1, 31, 40)]);
}

#[test]
fn a_write_that_failed_may_come_late() {
    right(&[set(1, 10, Nanos::MAX), delete(20, 30), read(1, 31, 40)]);
}

#[test]
fn a_pattern_ends_the_keys_it_covers() {
    let covers = |keys| [set(1, 10, 20), invalidate(keys, 21, 30), read(1, 31, 40)];
    broken(Reason::GoneWithItsKey, &covers(Reach::Keys(0b1010)));
    right(&covers(Reach::Keys(0b0110)));
}

#[test]
fn a_tag_ends_what_was_set_with_it() {
    let with = |tags| {
        let invalidation = invalidate(Reach::AnyTag(A), 21, 30);
        [tagged(1, tags, 10, 20), invalidation, read(1, 31, 40)]
    };
    broken(Reason::GoneWithItsTag, &with(A | B));
    right(&with(B));
}

#[test]
fn a_tag_ends_loads_that_began_before_it() {
    let began = |began| {
        let invalidation = invalidate(Reach::AnyTag(A | B), 20, 30);
        [tagged_load(1, began, &[(B, began)]), invalidation, read(1, 31, 40)]
    };
    broken(Reason::GoneWithItsTag, &began(19));
    right(&began(21));
}

#[test]
fn a_late_tag_protects_from_when_it_was_named() {
    let named = |at| {
        let invalidation = invalidate(Reach::AnyTag(A), 20, 30);
        [tagged_load(1, 10, &[(A, at)]), invalidation, read(1, 31, 40)]
    };
    broken(Reason::GoneWithItsTag, &named(19));
    right(&named(21));
}

#[test]
fn all_of_some_tags_ends_what_has_them_all() {
    let with = |tags| {
        let invalidation = invalidate(Reach::AllTags(A | B), 21, 30);
        [tagged(1, tags, 10, 20), invalidation, read(1, 31, 40)]
    };
    broken(Reason::GoneWithItsTag, &with(A | B));
    right(&with(A));
}

#[test]
fn a_set_ends_what_was_set_before_it_began() {
    broken(Reason::GoneWithItsKey, &[set(1, 10, 20), set(2, 21, 30), read(1, 31, 40)]);
    right(&[set(1, 10, 22), set(2, 21, 30), read(1, 31, 40)]);
}

#[test]
fn a_set_ends_loads_that_began_before_it() {
    broken(Reason::GoneWithItsKey, &[load(1, 20), set(2, 21, 30), read(1, 31, 40)]);
    right(&[load(1, 22), set(2, 21, 30), read(1, 31, 40)]);
}

#[test]
fn a_set_under_way_counts_once_somebody_has_read_it() {
    let seen = |seen: Event| [set(1, 10, 20), set(2, 21, 100), seen, read(1, 41, 50)];
    broken(Reason::GoneWithItsKey, &seen(read(2, 30, 40)));
    right(&seen(read(2, 30, 42)));
}

#[test]
fn a_load_counts_once_somebody_else_has_read_it() {
    broken(
        Reason::GoneWithItsKey,
        &[set(1, 10, 20), load(2, 21), read(2, 30, 40), read(1, 41, 50)],
    );
    // Its own caller has it, but it may have been overtaken.
    right(&[set(1, 10, 20), load(2, 21), read(1, 41, 50)]);
}

#[test]
fn a_load_counts_once_the_cache_says_that_it_is_stored() {
    let read_at = |begin| [set(1, 10, 20), stored_load(2, 21, 30), read(1, begin, 50)];
    broken(Reason::GoneWithItsKey, &read_at(31));
    right(&read_at(30));
}

#[test]
fn a_load_ends_loads_that_began_before_it() {
    let began = |first, second| [load(1, first), load(2, second), read(2, 30, 40), read(1, 41, 50)];
    broken(Reason::GoneWithItsKey, &began(10, 20));
    right(&began(20, 10));
}

#[test]
fn the_invalidation_that_began_last_is_found_among_those_that_ended_earlier() {
    let (long, short) = (delete(5, 30), delete(21, 25));
    broken(Reason::GoneWithItsKey, &[set(1, 10, 20), long, short, read(1, 31, 40)]);
}

/// The same event in another process.
fn elsewhere(event: Event) -> Event {
    let there = |span: Span| Span { by: 1, ..span };
    match event {
        Event::Write { key, value, tags, span } => {
            Event::Write { key, value, tags, span: there(span) }
        }
        Event::Invalidate { reach, span } => Event::Invalidate { reach, span: there(span) },
        other => other,
    }
}

#[test]
fn what_other_processes_do_may_be_seen_late_where_that_is_so() {
    let lag = Lag { invalidated: 10, overwritten: 20 };
    let reasons = |history: &[Event]| {
        check(history, lag).into_iter().map(|violation| violation.reason).collect::<Vec<_>>()
    };
    for hiding in [delete(21, 30), invalidate(Reach::AnyTag(A), 21, 30)] {
        let read_at = |hiding: Event, begin| [tagged(1, A, 10, 20), hiding, read(1, begin, 90)];
        assert_eq!(reasons(&read_at(elsewhere(hiding.clone()), 40)), []);
        assert_eq!(reasons(&read_at(elsewhere(hiding.clone()), 41)).len(), 1);
        assert_eq!(reasons(&read_at(hiding, 31)).len(), 1, "here it is seen at once");
    }
    let read_at = |set: Event, begin| [tagged(1, 0, 10, 20), set, read(1, begin, 90)];
    assert_eq!(reasons(&read_at(elsewhere(set(2, 21, 30)), 50)), []);
    assert_eq!(reasons(&read_at(elsewhere(set(2, 21, 30)), 51)).len(), 1);
    assert_eq!(reasons(&read_at(set(2, 21, 30), 31)).len(), 1);
}
