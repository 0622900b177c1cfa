//! Every row of the table of lease states and verbs.

use kernel::{AgentId, EndedBy, LeaseId, LeaseState};
use ledger::{Command, EntryKind, Figure, Outcome, Rejection, SettleOutcome};

use crate::world::{AGENT, Answer, TTL_MS, World, admin, denied, ended, granted, in_micros, reported, usd};

/// A world with 10 dollars and a lease of 6, of which 1 was reported, in the given state.
fn lease_in(state: LeaseState) -> (World, LeaseId) {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(6));
    w.report(&lease, "first", usd(1));
    match state {
        LeaseState::Active => {}
        LeaseState::Expired => {
            w.pass(TTL_MS);
            ended(w.expire(&lease));
        }
        LeaseState::Revoked => {
            ended(w.revoke(&lease));
        }
        LeaseState::Closed => {
            ended(w.give_back(&lease, None));
        }
    }
    assert_eq!(w.lease(&lease).state, state);
    (w, lease)
}

/// What a fresh grant, return, expiry or revocation leaves in the books: `(spent, leased, suspense)`.
#[test]
fn each_state_keeps_the_rest_where_it_belongs() {
    let books = LeaseState::ALL.map(|state| in_micros(lease_in(state).0.allocation()));
    let one = 1_000_000;
    assert_eq!(books, [(one, 5 * one, 0), (one, 0, 5 * one), (one, 0, 5 * one), (one, 0, 0)]);
}

type Verb = fn(&mut World, &LeaseId) -> Answer;

// ---- report

#[test]
fn a_report_is_booked_in_every_state() {
    for state in LeaseState::ALL {
        let (mut w, lease) = lease_in(state);
        let (after, duplicate) = reported(w.try_report(&lease, "second", usd(2)));
        assert_eq!((after.state, after.known(), duplicate), (state, usd(3), false));
        let account = w.allocation();
        assert_eq!(account.spent, usd(3), "{state:?}");
        assert_eq!(account.exposure(), Ok(if state == LeaseState::Closed { usd(0) } else { usd(3) }), "{state:?}");
    }
}

#[test]
fn a_report_beyond_the_grant_is_recorded_in_full_in_every_state() {
    for state in LeaseState::ALL {
        let (mut w, lease) = lease_in(state);
        w.report(&lease, "second", usd(20));
        let account = w.allocation();
        assert_eq!(in_micros(account), (21_000_000, 0, 0), "{state:?}");
        assert_eq!(account.overrun, usd(15), "{state:?}");
    }
}

#[test]
fn facts_about_a_lease_that_has_ended_are_journaled_as_late() {
    for state in LeaseState::ALL {
        let (mut w, lease) = lease_in(state);
        w.report(&lease, "second", usd(1));
        let expected = if state == LeaseState::Active { EntryKind::Report } else { EntryKind::Late };
        assert_eq!(w.entries.last().map(|e| e.kind), Some(expected), "{state:?}");
        w.event(Some(&lease), "event", usd(4), w.now);
        let expected = if state == LeaseState::Active { EntryKind::Event } else { EntryKind::Late };
        assert_eq!(w.entries.last().map(|e| e.kind), Some(expected), "{state:?}");
    }
}

#[test]
fn a_report_on_an_unknown_lease_is_refused() {
    let mut w = World::with_allocation(usd(10));
    assert_eq!(w.try_report(&LeaseId::new("lease_x"), "r", usd(1)), Err(Rejection::LeaseNotFound));
}

// ---- refresh

#[test]
fn refresh_closes_the_old_lease_and_lends_the_remainder_again() {
    let (mut w, old) = lease_in(LeaseState::Active);
    let new = w.refresh(&old, usd(100));
    assert_eq!((new.granted, new.supersedes.as_ref()), (usd(9), Some(&old)), "everything but the dollar spent");
    let closed = w.lease(&old);
    assert_eq!((closed.state, closed.ended_by), (LeaseState::Closed, Some(EndedBy::Refresh)));
    assert_eq!((closed.returned(), closed.superseded_by.as_ref()), (usd(5), Some(&new.id)));
    assert_eq!(in_micros(w.allocation()), (1_000_000, 9_000_000, 0));
}

#[test]
fn refresh_of_an_expired_lease_settles_it_and_lends_anew() {
    let (mut w, old) = lease_in(LeaseState::Expired);
    let new = w.refresh(&old, usd(7));
    assert_eq!(new.granted, usd(7));
    assert_eq!(in_micros(w.allocation()), (1_000_000, 7_000_000, 0), "the suspense is free again");
}

#[test]
fn refresh_books_the_total_its_holder_states() {
    let (mut w, old) = lease_in(LeaseState::Active);
    let new = granted(w.try_refresh(&old, usd(2), Some(usd(3))));
    assert_eq!((w.lease(&old).known(), new.granted), (usd(3), usd(2)));
    assert_eq!(in_micros(w.allocation()), (3_000_000, 2_000_000, 0));
}

#[test]
fn refresh_with_a_total_below_the_reports_keeps_the_reports() {
    let (mut w, old) = lease_in(LeaseState::Active);
    granted(w.try_refresh(&old, usd(2), Some(usd(0))));
    assert_eq!(w.lease(&old).known(), usd(1));
}

#[test]
fn refresh_is_denied_when_nothing_is_left_beside_the_old_remainder() {
    let (mut w, old) = lease_in(LeaseState::Active);
    w.grant(usd(4));
    let (before, entries) = (w.lease(&old).clone(), w.entries.len());
    let binding = denied(w.try_refresh(&old, usd(1), Some(usd(2))));
    assert_eq!(binding.available, usd(0));
    assert_eq!(
        (w.lease(&old), w.entries.len()),
        (&before, entries),
        "the old lease is left alone, stated total and all"
    );
    w.report(&old, "second", usd(2));
    assert_eq!(w.lease(&old).leased(), usd(3), "and stays usable");
}

#[test]
fn refresh_is_denied_when_the_stated_total_eats_what_is_left() {
    let (mut w, old) = lease_in(LeaseState::Active);
    // 4 dollars are left beside the lease of 6; a total of 10 is 4 beyond the grant
    denied(w.try_refresh(&old, usd(1), Some(usd(10))));
    assert_eq!(w.lease(&old).known(), usd(1));
    assert_eq!(granted(w.try_refresh(&old, usd(1), Some(usd(9)))).granted, usd(1));
}

#[test]
fn refresh_counts_an_overrun_that_is_in_the_books_already_once() {
    let (mut w, old) = lease_in(LeaseState::Active);
    w.report(&old, "second", usd(7));
    // 8 are spent, 2 beyond the grant of 6; the stated 8 is the same money
    assert_eq!(granted(w.try_refresh(&old, usd(9), Some(usd(8)))).granted, usd(2));
}

#[test]
fn refresh_of_a_revoked_lease_is_refused() {
    let (mut w, old) = lease_in(LeaseState::Revoked);
    assert_eq!(w.try_refresh(&old, usd(1), None), Err(Rejection::LeaseRevoked));
}

#[test]
fn refresh_of_a_returned_lease_is_refused() {
    let (mut w, old) = lease_in(LeaseState::Closed);
    assert_eq!(w.try_refresh(&old, usd(1), None), Err(Rejection::LeaseClosed));
}

#[test]
fn refresh_of_a_settled_lease_is_refused() {
    let (mut w, old) = lease_in(LeaseState::Expired);
    ended(w.settle(&old, SettleOutcome::Unspent, None));
    assert_eq!(w.try_refresh(&old, usd(1), None), Err(Rejection::LeaseClosed));
}

#[test]
fn refresh_of_a_lease_older_than_the_epoch_is_refused_but_its_facts_still_count() {
    for state in [LeaseState::Active, LeaseState::Expired] {
        let (mut w, old) = lease_in(state);
        w.agent_mut(AGENT).epoch += 1;
        assert_eq!(w.try_refresh(&old, usd(1), None), Err(Rejection::StaleEpoch));
        w.report(&old, "second", usd(1));
        let (closed, _) = ended(w.give_back(&old, Some(Figure::Spent(usd(3)))));
        assert_eq!(closed.known(), usd(3));
        assert_eq!(w.lease(&w.book.leases.keys().next().expect("a lease").clone()).epoch, 1);
        let fresh = w.grant(usd(1));
        assert_eq!(w.lease(&fresh).epoch, 2);
    }
}

#[test]
fn refresh_of_the_lease_of_another_agent_is_refused() {
    let (mut w, _) = lease_in(LeaseState::Active);
    w.hire(AgentId(2), "bob", None, usd(10));
    let foreign = w.grant_to(AgentId(2), usd(1));
    assert_eq!(w.try_refresh(&foreign, usd(1), None), Err(Rejection::LeaseAgentMismatch));
    assert_eq!(w.try_refresh(&LeaseId::new("lease_x"), usd(1), None), Err(Rejection::LeaseNotFound));
}

// ---- return

#[test]
fn return_settles_an_active_or_expired_lease_whatever_the_figure() {
    for state in [LeaseState::Active, LeaseState::Expired] {
        for (figure, spent) in [
            (None, 1),
            (Some(Figure::Spent(usd(0))), 1),
            (Some(Figure::Spent(usd(4))), 4),
            (Some(Figure::Spent(usd(9))), 9),
            (Some(Figure::Returning(usd(2))), 4),
            (Some(Figure::Returning(usd(99))), 1),
        ] {
            let (mut w, lease) = lease_in(state);
            let (closed, duplicate) = ended(w.give_back(&lease, figure));
            assert!(!duplicate);
            assert_eq!((closed.state, closed.ended_by), (LeaseState::Closed, Some(EndedBy::Return)));
            assert_eq!(closed.known(), usd(spent), "{state:?} {figure:?}");
            assert_eq!(closed.returned(), usd((6 - spent).max(0)), "{state:?} {figure:?}");
            assert_eq!(in_micros(w.allocation()), (spent * 1_000_000, 0, 0), "{state:?} {figure:?}");
        }
    }
}

#[test]
fn return_of_a_closed_lease_repeats_the_recorded_answer_unless_the_figure_is_higher() {
    let (mut w, lease) = lease_in(LeaseState::Active);
    ended(w.give_back(&lease, Some(Figure::Spent(usd(3)))));
    let entries = w.entries.len();
    for figure in [None, Some(Figure::Spent(usd(0))), Some(Figure::Spent(usd(3))), Some(Figure::Returning(usd(3)))] {
        let (closed, duplicate) = ended(w.give_back(&lease, figure));
        assert_eq!((closed.known(), closed.returned(), duplicate), (usd(3), usd(3), true));
    }
    assert_eq!(w.entries.len(), entries);
    let (closed, duplicate) = ended(w.give_back(&lease, Some(Figure::Spent(usd(5)))));
    assert_eq!((closed.known(), closed.returned(), duplicate), (usd(5), usd(1), false));
    assert_eq!(w.entries.last().map(|e| e.kind), Some(EntryKind::Late));
    assert_eq!(in_micros(w.allocation()), (5_000_000, 0, 0));
}

#[test]
fn return_of_a_refreshed_lease_settles_late_without_touching_its_successor() {
    let (mut w, old) = lease_in(LeaseState::Active);
    let new = w.refresh(&old, usd(2));
    let (closed, _) = ended(w.give_back(&old, Some(Figure::Spent(usd(4)))));
    assert_eq!((closed.known(), closed.ended_by), (usd(4), Some(EndedBy::Refresh)));
    assert_eq!(w.lease(&new.id), &new);
    assert_eq!(in_micros(w.allocation()), (4_000_000, 2_000_000, 0));
}

#[test]
fn return_of_a_revoked_lease_moves_no_money_but_keeps_the_figure() {
    let (mut w, lease) = lease_in(LeaseState::Revoked);
    let (books, entries) = (w.allocation(), w.entries.len());
    for (figure, claimed) in [
        (None, None),
        (Some(Figure::Spent(usd(2))), Some(usd(2))),
        (Some(Figure::Returning(usd(1))), Some(usd(5))),
        (Some(Figure::Spent(usd(3))), Some(usd(5))),
    ] {
        match w.give_back(&lease, figure) {
            Ok(Outcome::ClaimNoted { lease }) => {
                assert_eq!((lease.state, lease.claimed), (LeaseState::Revoked, claimed))
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((w.allocation(), w.entries.len()), (books, entries));
}

#[test]
fn return_of_an_unknown_lease_is_refused() {
    let mut w = World::with_allocation(usd(10));
    assert_eq!(w.give_back(&LeaseId::new("lease_x"), None), Err(Rejection::LeaseNotFound));
}

// ---- revoke

#[test]
fn revoke_puts_the_rest_aside_once() {
    let (mut w, lease) = lease_in(LeaseState::Active);
    let (revoked, nothing_moved) = ended(w.revoke(&lease));
    assert_eq!((revoked.state, nothing_moved), (LeaseState::Revoked, false));
    assert_eq!((revoked.reason.as_deref(), revoked.ended_by), (Some("lost laptop"), Some(EndedBy::Revoke)));
    w.pass(1);
    assert_eq!(ended(w.revoke(&lease)), (revoked, true), "the first revocation stands unchanged");
    assert_eq!(in_micros(w.allocation()), (1_000_000, 0, 5_000_000));
}

#[test]
fn revoke_of_an_expired_or_closed_lease_is_refused() {
    for (state, refusal) in [(LeaseState::Expired, Rejection::LeaseEnded), (LeaseState::Closed, Rejection::LeaseClosed)]
    {
        let (mut w, lease) = lease_in(state);
        assert_eq!(w.revoke(&lease), Err(refusal));
    }
}

#[test]
fn revoke_of_a_lease_that_ran_out_unnoticed_is_refused_like_any_expired_one() {
    let (mut w, lease) = lease_in(LeaseState::Active);
    w.pass(TTL_MS);
    assert_eq!(w.revoke(&lease), Err(Rejection::LeaseEnded));
}

/// What verifies the books later learns of the end of a lease from the journal.
#[test]
fn the_end_of_a_lease_is_journaled_even_when_no_money_moves() {
    for (end, kind) in [
        ((|w, l| w.revoke(l)) as Verb, EntryKind::Revoke),
        (|w, l| w.give_back(l, None), EntryKind::Return),
        (
            |w, l| {
                w.pass(TTL_MS);
                w.expire(l)
            },
            EntryKind::Expire,
        ),
    ] {
        let mut w = World::with_allocation(usd(10));
        let lease = w.grant(usd(6));
        w.report(&lease, "all", usd(6));
        ended(end(&mut w, &lease));
        assert_eq!(w.entries.last().map(|e| e.kind), Some(kind));
    }
}

#[test]
fn deleting_an_agent_revokes_with_its_own_cause() {
    let (mut w, lease) = lease_in(LeaseState::Active);
    let (actor, reason) = (admin(), "agent deleted".to_owned());
    let command = Command::Revoke { lease: lease.clone(), by: EndedBy::AgentDeleted, actor, reason };
    let (revoked, _) = ended(w.run(&command));
    assert_eq!((revoked.state, revoked.ended_by), (LeaseState::Revoked, Some(EndedBy::AgentDeleted)));
}

// ---- settle

#[test]
fn settle_decides_about_the_suspense_of_expired_and_revoked_leases() {
    for state in [LeaseState::Expired, LeaseState::Revoked] {
        for (outcome, figure, spent) in [
            (SettleOutcome::Spent, None, 6),
            (SettleOutcome::Unspent, None, 1),
            (SettleOutcome::Spent, Some(usd(2)), 2),
            (SettleOutcome::Unspent, Some(usd(2)), 2),
            (SettleOutcome::Spent, Some(usd(9)), 9),
        ] {
            let (mut w, lease) = lease_in(state);
            let (closed, _) = ended(w.settle(&lease, outcome, figure));
            assert_eq!((closed.state, closed.ended_by), (LeaseState::Closed, Some(EndedBy::Settle)));
            let settlement = closed.settlement.clone().expect("a settlement");
            assert_eq!(settlement.presumed_spent, outcome == SettleOutcome::Spent);
            assert_eq!((settlement.spent, settlement.by.as_str()), (usd(spent), "user_admin"));
            assert_eq!(in_micros(w.allocation()), (spent * 1_000_000, 0, 0), "{state:?} {outcome:?} {figure:?}");
        }
    }
}

#[test]
fn settle_never_goes_below_what_is_known() {
    let (mut w, lease) = lease_in(LeaseState::Expired);
    let refusal = Err(Rejection::BelowKnown { known: usd(1) });
    assert_eq!(w.settle(&lease, SettleOutcome::Unspent, Some(usd(0))), refusal);
}

#[test]
fn settle_may_charge_exactly_what_is_known() {
    let (mut w, lease) = lease_in(LeaseState::Expired);
    let (closed, _) = ended(w.settle(&lease, SettleOutcome::Unspent, Some(usd(1))));
    assert_eq!((closed.known(), closed.returned()), (usd(1), usd(5)));
}

#[test]
fn settle_of_an_overrun_lease_charges_what_is_known() {
    for outcome in [SettleOutcome::Spent, SettleOutcome::Unspent] {
        let (mut w, lease) = lease_in(LeaseState::Revoked);
        w.report(&lease, "second", usd(9));
        let (closed, _) = ended(w.settle(&lease, outcome, None));
        assert_eq!((closed.known(), closed.overrun()), (usd(10), usd(4)));
        assert_eq!(closed.settlement.map(|s| s.spent), Some(usd(10)));
    }
}

#[test]
fn settle_of_an_active_or_closed_lease_is_refused() {
    for (state, refusal) in [(LeaseState::Active, Rejection::LeaseActive), (LeaseState::Closed, Rejection::LeaseClosed)]
    {
        let (mut w, lease) = lease_in(state);
        assert_eq!(w.settle(&lease, SettleOutcome::Spent, None), Err(refusal));
    }
}

#[test]
fn settle_notices_that_a_lease_has_run_out() {
    let (mut w, lease) = lease_in(LeaseState::Active);
    w.pass(TTL_MS);
    let (closed, _) = ended(w.settle(&lease, SettleOutcome::Unspent, None));
    assert_eq!(closed.state, LeaseState::Closed);
    let kinds: Vec<EntryKind> = w.entries.iter().rev().take(2).map(|e| e.kind).collect();
    assert_eq!(kinds, [EntryKind::Settle, EntryKind::Expire]);
}

#[test]
fn late_facts_on_a_settled_lease_count_only_beyond_what_was_charged() {
    let (mut w, lease) = lease_in(LeaseState::Expired);
    ended(w.settle(&lease, SettleOutcome::Spent, Some(usd(4))));
    w.report(&lease, "second", usd(3));
    assert_eq!(in_micros(w.allocation()), (4_000_000, 0, 0), "1 + 3 were charged already");
    w.report(&lease, "third", usd(1));
    assert_eq!(in_micros(w.allocation()), (5_000_000, 0, 0));
}

#[test]
fn no_command_leads_back_to_an_earlier_state() {
    for from in LeaseState::ALL {
        let verbs: [Verb; 6] = [
            |w, l| w.try_report(l, "x", usd(1)),
            |w, l| w.give_back(l, None),
            |w, l| w.try_refresh(l, usd(1), None),
            |w, l| w.revoke(l),
            |w, l| w.settle(l, SettleOutcome::Unspent, None),
            |w, l| w.expire(l),
        ];
        for verb in verbs {
            let (mut w, lease) = lease_in(from);
            let _ = verb(&mut w, &lease);
            let to = w.lease(&lease).state;
            assert!(from == to || from.may_become(to), "{from:?} became {to:?}");
        }
    }
}
