//! Idempotency: repeated handshakes, refreshes and reports.

use kernel::{AgentId, LeaseId};
use ledger::{Command, Outcome, Rejection, Spending};

use crate::world::{
    AGENT, Answer, HOUR_MS, TTL_MS, World, denied, ended, exhausted, granted, in_micros, key, reported, usd,
};

fn keyed(w: &mut World, agent: AgentId, name: &str, meaning: u8) -> Answer {
    let lease = w.new_lease_id();
    w.run(&Command::Grant { agent, lease, requested: usd(3), request: key(name, meaning) })
}

fn is_duplicate(answer: &Answer) -> bool {
    matches!(answer, Ok(Outcome::Granted { duplicate: true, .. }))
}

const CONFLICT: Rejection = Rejection::IdempotencyConflict { recorded: None };

#[test]
fn a_repeated_handshake_gets_the_same_lease_and_no_new_money() {
    let mut w = World::with_allocation(usd(10));
    let first = keyed(&mut w, AGENT, "k", 1);
    assert!(!is_duplicate(&first));
    w.pass(HOUR_MS);
    let again = keyed(&mut w, AGENT, "k", 1);
    assert!(is_duplicate(&again));
    assert_eq!(granted(first).id, granted(again).id);
    assert_eq!(in_micros(w.allocation()), (0, 3_000_000, 0));
}

#[test]
fn the_same_key_with_another_meaning_is_a_conflict() {
    let mut w = World::with_allocation(usd(10));
    let lease = granted(keyed(&mut w, AGENT, "k", 1)).id;
    assert_eq!(keyed(&mut w, AGENT, "k", 2), Err(CONFLICT));
    assert_eq!(w.try_refresh_with(&lease, usd(1), None, key("k", 3)), Err(CONFLICT));
}

#[test]
fn keys_belong_to_their_agent() {
    let mut w = World::with_allocation(usd(10));
    w.hire(AgentId(2), "bob", None, usd(10));
    keyed(&mut w, AGENT, "k", 1).expect("a lease");
    assert!(!is_duplicate(&keyed(&mut w, AgentId(2), "k", 2)));
}

#[test]
fn a_repeated_handshake_is_answered_even_when_nothing_is_left() {
    let mut w = World::with_allocation(usd(3));
    keyed(&mut w, AGENT, "k", 1).expect("a lease");
    exhausted(keyed(&mut w, AGENT, "other", 1));
    assert!(is_duplicate(&keyed(&mut w, AGENT, "k", 1)));
}

#[test]
fn a_refused_handshake_does_not_use_up_its_key() {
    let mut w = World::with_allocation(usd(3));
    let lease = w.grant(usd(3));
    exhausted(keyed(&mut w, AGENT, "k", 1));
    ended(w.give_back(&lease, None));
    assert!(!is_duplicate(&keyed(&mut w, AGENT, "k", 1)));
}

#[test]
fn a_repeated_handshake_whose_lease_is_no_longer_active_is_refused() {
    let endings: [fn(&mut World, &LeaseId); 5] = [
        |w, l| drop(w.give_back(l, None)),
        |w, l| drop(w.revoke(l)),
        |w, l| drop(w.try_refresh(l, usd(1), None)),
        |w, _| w.pass(TTL_MS),
        |w, l| {
            w.pass(TTL_MS);
            drop(w.expire(l));
        },
    ];
    for ending in endings {
        let mut w = World::with_allocation(usd(10));
        let lease = granted(keyed(&mut w, AGENT, "k", 1)).id;
        ending(&mut w, &lease);
        assert_eq!(keyed(&mut w, AGENT, "k", 1), Err(Rejection::LeaseClosed));
    }
}

#[test]
fn a_repeated_handshake_does_not_hand_out_a_lease_older_than_the_epoch() {
    let mut w = World::with_allocation(usd(10));
    keyed(&mut w, AGENT, "k", 1).expect("a lease");
    w.agent_mut(AGENT).epoch += 1;
    assert_eq!(keyed(&mut w, AGENT, "k", 1), Err(Rejection::LeaseClosed));
}

#[test]
fn a_repeated_refresh_gets_the_successor_again_with_and_without_a_key() {
    for request in [None, key("k", 1)] {
        let mut w = World::with_allocation(usd(10));
        let old = w.grant(usd(3));
        let first = w.try_refresh_with(&old, usd(4), None, request.clone());
        let again = w.try_refresh_with(&old, usd(4), None, request);
        assert!(!is_duplicate(&first) && is_duplicate(&again));
        match (first, again) {
            (
                Ok(Outcome::Granted { lease: a, closed: Some(closed_a), .. }),
                Ok(Outcome::Granted { lease: b, closed: Some(closed_b), .. }),
            ) => assert_eq!((a.id, closed_a), (b.id, closed_b)),
            other => panic!("{other:?}"),
        }
        assert_eq!(in_micros(w.allocation()), (0, 4_000_000, 0));
    }
}

#[test]
fn a_repeated_refresh_whose_successor_is_no_longer_active_is_refused() {
    let mut w = World::with_allocation(usd(10));
    let old = w.grant(usd(3));
    let new = w.refresh(&old, usd(3));
    ended(w.revoke(&new.id));
    assert_eq!(w.try_refresh(&old, usd(3), None), Err(Rejection::LeaseClosed));
}

#[test]
fn a_repeated_refresh_does_not_skip_a_generation() {
    let mut w = World::with_allocation(usd(10));
    let first = w.grant(usd(3));
    let second = w.refresh(&first, usd(3)).id;
    w.refresh(&second, usd(3));
    assert_eq!(w.try_refresh(&first, usd(3), None), Err(Rejection::LeaseClosed));
    assert!(is_duplicate(&w.try_refresh(&second, usd(3), None)));
}

#[test]
fn a_repeated_refresh_does_not_hand_out_a_lease_older_than_the_epoch() {
    for request in [None, key("k", 1)] {
        let mut w = World::with_allocation(usd(10));
        let old = w.grant(usd(3));
        granted(w.try_refresh_with(&old, usd(4), None, request.clone()));
        w.agent_mut(AGENT).epoch += 1;
        assert_eq!(w.try_refresh_with(&old, usd(4), None, request), Err(Rejection::StaleEpoch));
    }
}

#[test]
fn a_denied_refresh_does_not_use_up_its_key() {
    let mut w = World::with_allocation(usd(10));
    let old = w.grant(usd(6));
    let other = w.grant(usd(4));
    denied(w.try_refresh_with(&old, usd(5), None, key("k", 1)));
    ended(w.give_back(&other, None));
    assert!(!is_duplicate(&w.try_refresh_with(&old, usd(5), None, key("k", 1))));
}

#[test]
fn a_repeated_report_still_merges_its_total_and_counter() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(6));
    let mut send = |total, seq| {
        let item = Some(Spending { id: "r1".to_owned(), cost: usd(1), occurred_at: w.now });
        let (lease, duplicate) =
            reported(w.run(&Command::Report { lease: lease.clone(), item, total, seq: Some(seq) }));
        (lease.known(), lease.missing_reports(), lease.report_count, duplicate)
    };
    assert_eq!(send(None, 1), (usd(1), 0, 1, false));
    assert_eq!(send(Some(usd(3)), 4), (usd(3), 3, 1, true));
    assert_eq!(send(Some(usd(2)), 2), (usd(3), 3, 1, true));
}

#[test]
fn a_conflicting_report_changes_nothing_not_even_by_its_total() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(6));
    w.report(&lease, "r1", usd(1));
    let before = w.lease(&lease).clone();
    let item = Some(Spending { id: "r1".to_owned(), cost: usd(2), occurred_at: w.now });
    let command = Command::Report { lease: lease.clone(), item, total: Some(usd(5)), seq: Some(9) };
    assert_eq!(w.run(&command), Err(Rejection::IdempotencyConflict { recorded: Some(usd(1)) }));
    assert_eq!(w.lease(&lease), &before);
}

#[test]
fn report_ids_belong_to_their_lease() {
    let mut w = World::with_allocation(usd(10));
    let (first, second) = (w.grant(usd(3)), w.grant(usd(3)));
    w.report(&first, "r1", usd(1));
    w.report(&second, "r1", usd(2));
    assert_eq!(w.allocation().spent, usd(3));
}

#[test]
fn a_free_report_is_booked_like_any_other() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(3));
    w.report(&lease, "r1", usd(0));
    assert!(reported(w.try_report(&lease, "r1", usd(0))).1);
    let conflict = Rejection::IdempotencyConflict { recorded: Some(usd(0)) };
    assert_eq!(w.try_report(&lease, "r1", usd(1)), Err(conflict));
}
