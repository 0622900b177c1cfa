//! Expiry and signs of life.

use kernel::{AgentId, EndedBy, LeaseState};
use ledger::{Command, Outcome, Rejection};

use crate::world::{AGENT, HOUR_MS, TTL_MS, World, ended, granted, in_micros, key, usd};

#[test]
fn a_silent_lease_runs_out_exactly_after_its_ttl() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(4));
    w.pass(TTL_MS - 1);
    let (still, nothing_moved) = ended(w.expire(&lease));
    assert_eq!((still.state, nothing_moved), (LeaseState::Active, true));
    w.pass(1);
    let (gone, nothing_moved) = ended(w.expire(&lease));
    assert_eq!((gone.state, gone.ended_by, nothing_moved), (LeaseState::Expired, Some(EndedBy::Expiry), false));
    assert_eq!(in_micros(w.allocation()), (0, 0, 4_000_000));
}

#[test]
fn expiring_twice_moves_money_once() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(4));
    w.pass(TTL_MS);
    ended(w.expire(&lease));
    let (_, nothing_moved) = ended(w.expire(&lease));
    assert!(nothing_moved);
    assert_eq!(in_micros(w.allocation()), (0, 0, 4_000_000));
}

#[test]
fn expired_money_is_not_lent_again() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(8));
    w.pass(TTL_MS);
    ended(w.expire(&lease));
    w.grant(usd(8));
    assert_eq!(in_micros(w.allocation()), (0, 2_000_000, 8_000_000), "only the two dollars that were left are lent");
}

#[test]
fn every_sign_of_life_of_the_agent_keeps_all_its_leases() {
    let mut w = World::with_allocation(usd(10));
    let (first, second) = (w.grant(usd(1)), w.grant(usd(1)));
    w.pass(TTL_MS - 1);
    w.touch();
    w.pass(TTL_MS - 1);
    w.grant(usd(1));
    w.pass(TTL_MS - 1);
    w.event(Some(&first), "e1", usd(1), w.now);
    w.pass(TTL_MS - 1);
    for lease in [&first, &second] {
        assert_eq!(ended(w.expire(lease)).0.state, LeaseState::Active);
    }
    w.pass(1);
    for lease in [&first, &second] {
        assert_eq!(ended(w.expire(lease)).0.state, LeaseState::Expired);
    }
}

#[test]
fn a_report_keeps_the_lease_it_is_on() {
    let mut w = World::with_allocation(usd(10));
    let (reporting, silent) = (w.grant(usd(1)), w.grant(usd(1)));
    w.pass(TTL_MS - 1);
    w.report(&reporting, "r1", usd(0));
    w.pass(1);
    assert_eq!(ended(w.expire(&silent)).0.state, LeaseState::Expired);
    assert_eq!(ended(w.expire(&reporting)).0.state, LeaseState::Active);
    w.pass(TTL_MS - 2);
    assert_eq!(ended(w.expire(&reporting)).0.state, LeaseState::Active);
    w.pass(1);
    assert_eq!(ended(w.expire(&reporting)).0.state, LeaseState::Expired);
}

#[test]
fn a_repeated_report_is_a_sign_of_life_too() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(1));
    w.report(&lease, "r1", usd(0));
    w.pass(TTL_MS - 1);
    w.report(&lease, "r1", usd(0));
    w.pass(TTL_MS - 1);
    assert_eq!(ended(w.expire(&lease)).0.state, LeaseState::Active);
}

#[test]
fn a_lease_that_ran_out_before_the_agent_came_back_is_not_revived() {
    for swept in [false, true] {
        let mut w = World::with_allocation(usd(10));
        let lease = w.grant(usd(4));
        w.pass(TTL_MS + HOUR_MS);
        if swept {
            ended(w.expire(&lease));
        }
        w.touch();
        let (lease, _) = ended(w.expire(&lease));
        assert_eq!(lease.state, LeaseState::Expired, "swept: {swept}");
        assert_eq!(in_micros(w.allocation()), (0, 0, 4_000_000));
    }
}

#[test]
fn a_sign_of_life_at_the_very_instant_of_expiry_comes_too_late() {
    for swept in [false, true] {
        let mut w = World::with_allocation(usd(10));
        let lease = w.grant(usd(4));
        w.pass(TTL_MS);
        if swept {
            ended(w.expire(&lease));
        }
        w.touch();
        assert_eq!(ended(w.expire(&lease)).0.state, LeaseState::Expired, "swept: {swept}");
    }
}

/// A store loads what a command names, and a touch names no lease.
#[test]
fn a_lease_that_was_not_at_hand_when_the_agent_came_back_is_not_revived_either() {
    for late_ms in [0, 1, HOUR_MS] {
        let mut w = World::with_allocation(usd(10));
        let lease = w.grant(usd(4));
        w.pass(TTL_MS + late_ms);
        let absent = w.book.leases.remove(&lease).expect("the lease");
        w.touch();
        w.book.leases.insert(lease.clone(), absent);
        assert_eq!(ended(w.expire(&lease)).0.state, LeaseState::Expired, "{late_ms} ms late");
    }
}

#[test]
fn a_lease_that_has_ended_keeps_the_instants_of_its_end() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(4));
    w.pass(TTL_MS);
    let (expired, _) = ended(w.expire(&lease));
    w.pass(HOUR_MS);
    let reported = w.report(&lease, "r1", usd(1));
    assert_eq!((reported.expires_at, reported.ended_at), (expired.expires_at, expired.ended_at));
    assert_eq!(reported.seen_at, w.now);
    let (returned, _) = ended(w.give_back(&lease, None));
    assert_eq!((returned.ended_at, returned.ended_by), (expired.ended_at, Some(EndedBy::Return)));
}

#[test]
fn a_report_after_the_clock_went_back_does_not_shorten_a_lease() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(4));
    let expires_at = w.lease(&lease).expires_at;
    w.pass(-HOUR_MS);
    assert_eq!(w.report(&lease, "r1", usd(1)).expires_at, expires_at);
}

#[test]
fn the_end_of_an_expired_lease_does_not_depend_on_when_it_is_noticed() {
    for swept in [false, true] {
        let mut w = World::with_allocation(usd(10));
        let lease = w.grant(usd(4));
        let start = w.now;
        w.pass(TTL_MS - 1);
        w.touch();
        w.pass(TTL_MS + HOUR_MS);
        if swept {
            ended(w.expire(&lease));
        }
        w.touch();
        w.pass(HOUR_MS);
        let ended_at = ended(w.expire(&lease)).0.ended_at.expect("an end");
        assert_eq!(ended_at.since(start), 2 * TTL_MS - 1, "swept: {swept}");
    }
}

#[test]
fn a_grant_on_return_notices_every_lease_that_ran_out_meanwhile() {
    let mut w = World::with_allocation(usd(10));
    let (first, second) = (w.grant(usd(2)), w.grant(usd(3)));
    w.pass(TTL_MS);
    w.grant(usd(1));
    assert_eq!([&first, &second].map(|l| w.lease(l).state), [LeaseState::Expired; 2]);
    assert_eq!(in_micros(w.allocation()), (0, 1_000_000, 5_000_000));
}

#[test]
fn life_of_one_agent_does_not_keep_the_leases_of_another() {
    let mut w = World::with_allocation(usd(10));
    w.hire(AgentId(2), "ann", None, usd(10));
    let other = w.grant_to(AgentId(2), usd(1));
    w.pass(TTL_MS - 1);
    w.touch();
    w.pass(1);
    assert_eq!(ended(w.expire(&other)).0.state, LeaseState::Expired);
}

#[test]
fn a_repeated_handshake_answers_with_the_expiry_of_now() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.new_lease_id();
    let first = Command::Grant { agent: AGENT, lease, requested: usd(1), request: key("k", 1) };
    granted(w.run(&first));
    w.pass(HOUR_MS);
    let lease = w.new_lease_id();
    let again = Command::Grant { agent: AGENT, lease, requested: usd(1), request: key("k", 1) };
    assert_eq!(granted(w.run(&again)).expires_at, w.now.plus_millis(TTL_MS));
}

#[test]
fn a_lease_granted_while_the_clock_is_behind_is_kept_by_later_signs_of_life() {
    let mut w = World::with_allocation(usd(10));
    w.touch();
    w.pass(-3 * TTL_MS);
    let lease = w.grant(usd(1));
    w.pass(TTL_MS - 1);
    w.touch();
    w.pass(TTL_MS - 1);
    assert_eq!(ended(w.expire(&lease)).0.state, LeaseState::Active);
}

#[test]
fn an_event_without_a_lease_goes_to_the_only_one_active_at_its_time() {
    let mut w = World::with_allocation(usd(10));
    let first = w.grant(usd(1));
    w.pass(HOUR_MS);
    ended(w.give_back(&first, None));
    let in_between = w.now;
    w.pass(HOUR_MS);
    let second = w.grant(usd(1));
    let attributed = |lease: Option<ledger::Lease>| lease.map(|l| l.id);
    let early = in_between.plus_millis(-1);
    assert_eq!(attributed(w.event(None, "e1", usd(1), early)), Some(first.clone()), "late, but at its time");
    assert_eq!(attributed(w.event(None, "e2", usd(1), in_between)), None, "the instant of the end is after the end");
    assert_eq!(attributed(w.event(None, "e3", usd(1), w.now)), Some(second), "from the instant of the grant");
    w.grant(usd(1));
    assert_eq!(attributed(w.event(None, "e4", usd(1), w.now)), None, "two were active");
}

#[test]
fn an_event_after_a_lease_ran_out_is_not_attributed_to_it_swept_or_not() {
    for swept in [false, true] {
        let mut w = World::with_allocation(usd(10));
        let lease = w.grant(usd(4));
        let ran_out = w.now.plus_millis(TTL_MS);
        w.pass(TTL_MS + 2 * HOUR_MS);
        if swept {
            ended(w.expire(&lease));
        }
        let after = w.event(None, "after", usd(1), ran_out);
        assert_eq!(after, None, "swept: {swept}");
        let before = w.event(None, "before", usd(1), ran_out.plus_millis(-1));
        assert_eq!(before.map(|l| l.id), Some(lease), "swept: {swept}");
    }
}

#[test]
fn a_lease_that_ran_out_unnoticed_does_not_hide_the_one_that_is_active() {
    let mut w = World::with_allocation(usd(10));
    let silent = w.grant(usd(1));
    w.pass(HOUR_MS);
    let reporting = w.grant(usd(1));
    w.pass(TTL_MS - 1);
    w.report(&reporting, "r1", usd(0));
    w.pass(2);
    let counted = w.event(None, "e1", usd(1), w.now);
    assert_eq!(counted.map(|l| l.id), Some(reporting), "{silent} has run out");
}

#[test]
fn an_event_naming_a_lease_of_another_agent_is_treated_as_naming_none() {
    let mut w = World::with_allocation(usd(10));
    w.hire(AgentId(2), "bob", None, usd(10));
    let foreign = w.grant_to(AgentId(2), usd(1));
    assert_eq!(w.event(Some(&foreign), "e1", usd(1), w.now), None);
    let own = w.grant(usd(1));
    assert_eq!(w.event(Some(&foreign), "e2", usd(1), w.now).map(|l| l.id), Some(own));
    assert_eq!(w.lease(&foreign).events, usd(0));
}

#[test]
fn touching_an_unknown_agent_is_refused() {
    let mut w = World::new();
    assert_eq!(w.run(&Command::Touch { agent: AGENT }), Err(Rejection::AgentNotFound));
    w.hire(AGENT, "ann", None, usd(1));
    assert_eq!(w.run(&Command::Touch { agent: AGENT }), Ok(Outcome::Touched));
}
