//! The money scenarios that break others.

use kernel::LeaseState;
use ledger::{Figure, Rejection};

use crate::world::{TTL_MS, World, denied, ended, exhausted, granted, in_micros, micros, nanos, reported, usd};

#[test]
fn report_then_return_charges_once() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(5));
    w.report(&lease, "r1", usd(2));
    ended(w.give_back(&lease, Some(Figure::Spent(usd(2)))));
    assert_eq!(in_micros(w.allocation()), (2_000_000, 0, 0));
}

#[test]
fn return_without_a_figure_charges_the_reports() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(5));
    w.report(&lease, "r1", usd(1));
    w.report(&lease, "r2", usd(2));
    let (closed, _) = ended(w.give_back(&lease, None));
    assert_eq!((closed.known(), closed.returned()), (usd(3), usd(2)));
}

#[test]
fn a_figure_below_the_reports_loses_to_them() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(5));
    w.report(&lease, "r1", usd(3));
    let (closed, _) = ended(w.give_back(&lease, Some(Figure::Spent(usd(1)))));
    assert_eq!((closed.known(), closed.returned()), (usd(3), usd(2)));
}

#[test]
fn spending_beyond_the_grant_is_recorded_in_full_and_stops_the_next_grant() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(5));
    w.report(&lease, "r1", usd(12));
    let account = w.allocation();
    assert_eq!((account.spent, account.overrun, account.leased), (usd(12), usd(7), usd(0)));
    let binding = exhausted(w.try_grant(crate::world::AGENT, micros(1)));
    assert_eq!(binding.available, usd(-2));
    denied(w.try_refresh(&lease, micros(1), None));
}

#[test]
fn a_repeated_request_id_charges_once_and_a_changed_one_is_a_conflict() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(5));
    assert!(!reported(w.try_report(&lease, "r1", usd(1))).1);
    assert!(reported(w.try_report(&lease, "r1", usd(1))).1);
    let conflict = Rejection::IdempotencyConflict { recorded: Some(usd(1)) };
    assert_eq!(w.try_report(&lease, "r1", usd(2)), Err(conflict));
    assert_eq!(in_micros(w.allocation()), (1_000_000, 4_000_000, 0));
}

#[test]
fn a_repeated_request_id_stays_known_after_the_lease_is_closed() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(5));
    w.report(&lease, "r1", usd(1));
    ended(w.give_back(&lease, None));
    assert!(reported(w.try_report(&lease, "r1", usd(1))).1);
    assert_eq!(in_micros(w.allocation()), (1_000_000, 0, 0));
}

#[test]
fn twenty_returns_credit_once() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(5));
    let repeats = (0..20).filter(|_| ended(w.give_back(&lease, Some(Figure::Spent(usd(1))))).1).count();
    assert_eq!(repeats, 19);
    assert_eq!(in_micros(w.allocation()), (1_000_000, 0, 0));
}

#[test]
fn sixty_four_handshakes_at_the_edge_grant_exactly_what_is_left() {
    let mut w = World::with_allocation(usd(100));
    let leases: Vec<_> = (0..64).filter_map(|_| w.try_grant(crate::world::AGENT, usd(3)).ok()).collect();
    assert_eq!(leases.len(), 34, "33 of 3 dollars and one of the last dollar");
    assert_eq!(in_micros(w.allocation()), (0, 100_000_000, 0));
}

#[test]
fn a_partial_grant_is_what_was_left() {
    let mut w = World::with_allocation(usd(10));
    w.grant(usd(7));
    assert_eq!(granted(w.try_grant(crate::world::AGENT, usd(7))).granted, usd(3));
}

#[test]
fn a_runtime_killed_without_return_leaves_its_rest_in_suspense_until_a_late_return() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(10));
    w.report(&lease, "r1", usd(2));
    w.pass(TTL_MS);
    ended(w.expire(&lease));
    assert_eq!(in_micros(w.allocation()), (2_000_000, 0, 8_000_000));
    exhausted(w.try_grant(crate::world::AGENT, micros(1)));
    let (closed, _) = ended(w.give_back(&lease, Some(Figure::Spent(usd(3)))));
    assert_eq!((closed.state, closed.returned()), (LeaseState::Closed, usd(7)));
    assert_eq!(granted(w.try_grant(crate::world::AGENT, usd(99))).granted, usd(7), "exactly the unspent part is free");
}

#[test]
fn three_channels_describe_the_same_spending() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(6));
    w.report(&lease, "r1", usd(2));
    w.event(Some(&lease), "e1", usd(3), w.now);
    w.report_total(&lease, usd(1));
    assert_eq!(w.lease(&lease).known(), usd(3));
    w.report(&lease, "r2", usd(2));
    assert_eq!(w.lease(&lease).known(), usd(4));
    w.report_total(&lease, usd(5));
    assert_eq!(in_micros(w.allocation()), (5_000_000, 1_000_000, 0));
}

#[test]
fn a_lower_total_after_a_higher_one_changes_nothing() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(6));
    w.report_total(&lease, usd(5));
    assert_eq!(w.report_total(&lease, usd(2)).known(), usd(5));
}

#[test]
fn a_repeated_event_id_counts_once_whatever_it_says_then() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(6));
    w.event(Some(&lease), "e1", usd(1), w.now);
    w.event(Some(&lease), "e1", usd(5), w.now);
    assert_eq!(w.lease(&lease).known(), usd(1));
}

#[test]
fn events_flushed_after_the_return_are_late_spend_where_they_exceed_it() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(6));
    ended(w.give_back(&lease, Some(Figure::Spent(usd(1)))));
    w.event(Some(&lease), "e1", usd(1), w.now);
    assert_eq!(in_micros(w.allocation()), (1_000_000, 0, 0));
    w.event(Some(&lease), "e2", usd(2), w.now);
    assert_eq!(in_micros(w.allocation()), (3_000_000, 0, 0));
}

#[test]
fn reports_below_a_micro_dollar_add_up_exactly() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(1));
    for n in 0..1_001 {
        w.report(&lease, &format!("r{n}"), nanos(1));
    }
    assert_eq!(w.allocation().spent, nanos(1_001));
    assert_eq!(w.allocation().spent.micros_ceil(), 2, "spent is shown rounded up");
    assert_eq!(w.figures().remaining().micros_floor(), 9_000_000, "and lent money is not lent twice");
}

#[test]
fn less_than_a_micro_dollar_is_nothing_to_lend() {
    let mut w = World::with_allocation(micros(10));
    let lease = w.grant(micros(9));
    w.report(&lease, "r1", nanos(9_001));
    ended(w.give_back(&lease, None));
    let binding = exhausted(w.try_grant(crate::world::AGENT, micros(5)));
    assert_eq!(binding.available, nanos(999));
}

#[test]
fn a_refresh_with_less_than_a_micro_dollar_beside_the_old_rest_is_denied() {
    let mut w = World::with_allocation(micros(10));
    let first = w.grant(micros(1));
    w.report(&first, "r1", nanos(1));
    ended(w.give_back(&first, None));
    let lease = w.grant(micros(9));
    assert_eq!(w.lease(&lease).granted, micros(9));
    denied(w.try_refresh(&lease, micros(5), None));
}

#[test]
fn grants_are_whole_micro_dollars_so_that_nothing_is_lent_that_the_holder_is_not_told_of() {
    let mut w = World::with_allocation(micros(10));
    let lease = w.grant(micros(1));
    w.report(&lease, "r1", nanos(1_500));
    assert_eq!(granted(w.try_grant(crate::world::AGENT, micros(100))).granted, micros(8));
    assert_eq!(w.figures().remaining(), nanos(500));
}

#[test]
fn total_less_committed_is_what_remains_in_micro_dollars() {
    let mut w = World::with_allocation(micros(10));
    let lease = w.grant(micros(4));
    for n in 0..9 {
        w.report(&lease, &format!("r{n}"), nanos(777));
        let figures = w.figures();
        let committed = figures.committed().micros_ceil();
        assert_eq!(figures.allocated.micros_floor() - committed, figures.remaining().micros_floor());
    }
}
