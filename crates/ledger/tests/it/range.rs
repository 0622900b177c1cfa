//! Amounts at the end of the range: refused, never wrapped, never half booked.

use kernel::{Money, Window, Zone};
use ledger::{Account, Command, Figure, Rejection, Scope, SettleOutcome, Spending};

use crate::world::{AGENT, World, admin, ended, granted, nanos, usd};

#[test]
fn a_report_that_would_leave_the_range_is_refused_and_changes_nothing() {
    let mut w = World::with_allocation(Money::MAX_CAP);
    let lease = w.grant(usd(1));
    w.report(&lease, "r1", Money::MAX_BALANCE);
    let (books, before) = (w.allocation(), w.lease(&lease).clone());
    assert_eq!(w.try_report(&lease, "r2", nanos(1)), Err(Rejection::AmountOverflow));
    assert_eq!((w.allocation(), w.lease(&lease)), (books, &before));
    assert!(!w.book.reports.contains_key(&(lease, "r2".to_owned())), "so it can be repeated");
}

#[test]
fn a_report_that_fits_its_lease_but_not_the_account_is_refused() {
    let mut w = World::with_allocation(Money::MAX_CAP);
    let (first, second) = (w.grant(usd(1)), w.grant(usd(1)));
    w.report(&first, "r1", Money::MAX_BALANCE.minus(usd(1)).expect("in range"));
    assert_eq!(w.try_report(&second, "r2", usd(2)), Err(Rejection::AmountOverflow));
    w.report(&second, "r3", usd(1));
}

#[test]
fn what_is_lent_counts_towards_the_range() {
    let mut w = World::with_allocation(Money::MAX_CAP);
    let (first, _lent) = (w.grant(usd(1)), w.grant(usd(2)));
    w.report(&first, "r1", Money::MAX_BALANCE.minus(usd(2)).expect("in range"));
    assert_eq!(w.try_report(&first, "r2", usd(1)), Err(Rejection::AmountOverflow));
}

#[test]
fn the_widest_account_may_refuse_what_the_agent_could_hold() {
    let mut w = World::with_allocation(Money::MAX_CAP);
    w.hire(kernel::AgentId(2), "bob", None, Money::MAX_CAP);
    w.open(Scope::Organization, Money::MAX_CAP, Window::None, Zone::UTC);
    let first = w.grant(usd(1));
    let other = w.grant_to(kernel::AgentId(2), usd(1));
    w.report(&other, "r1", Money::MAX_BALANCE.minus(usd(1)).expect("in range"));
    let before = w.allocation();
    assert_eq!(w.try_report(&first, "r1", usd(2)), Err(Rejection::AmountOverflow));
    assert_eq!(w.allocation(), before, "not even the accounts that could hold it");
}

#[test]
fn events_totals_and_figures_at_the_end_of_the_range_are_refused_too() {
    let mut w = World::with_allocation(Money::MAX_CAP);
    let (full, lease) = (w.grant(usd(1)), w.grant(usd(1)));
    w.report(&full, "r1", Money::MAX_BALANCE.minus(usd(1)).expect("in range"));
    let (total, item) = (Some(Money::MAX_CAP), Spending { id: "e".to_owned(), cost: usd(2), occurred_at: w.now });
    for command in [
        Command::Report { lease: lease.clone(), item: None, total, seq: None },
        Command::Event { agent: AGENT, lease: Some(lease.clone()), item },
        Command::Return { lease: lease.clone(), figure: Some(Figure::Spent(Money::MAX_CAP)) },
    ] {
        assert_eq!(w.run(&command), Err(Rejection::AmountOverflow), "{command:?}");
    }
    assert!(!w.book.events.contains_key(&(AGENT, "e".to_owned())));
    ended(w.revoke(&lease));
    assert_eq!(w.settle(&lease, SettleOutcome::Spent, Some(usd(9))), Err(Rejection::AmountOverflow));
    ended(w.settle(&lease, SettleOutcome::Spent, None));
}

#[test]
fn the_largest_cap_can_be_lent_to_the_last_micro_dollar() {
    let mut w = World::with_allocation(Money::MAX_CAP);
    assert_eq!(granted(w.try_grant(AGENT, Money::MAX_BALANCE)).granted, Money::MAX_CAP);
}

#[test]
fn an_opening_balance_out_of_range_is_refused() {
    let mut w = World::new();
    let budget = ledger::Budget {
        no: kernel::BudgetNo(1),
        scope: Scope::Organization,
        cap: usd(1),
        window: Window::None,
        zone: Zone::UTC,
        enabled: true,
        opened_window: kernel::Timestamp::EPOCH,
    };
    let opening = Account { spent: Money::MAX_BALANCE, leased: nanos(1), ..Account::default() };
    let command = Command::Open { budget, opening, actor: admin(), reason: None };
    assert_eq!(w.run(&command), Err(Rejection::AmountOverflow));
}

/// A posting that draws more than an account holds can only come from books that were damaged or loaded in part.
#[test]
fn a_posting_that_would_make_an_amount_negative_is_refused() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(5));
    for account in w.book.accounts.values_mut() {
        *account = Account::default();
    }
    assert_eq!(w.give_back(&lease, None), Err(Rejection::AmountOverflow));
    assert_eq!(w.try_report(&lease, "r1", usd(1)), Err(Rejection::AmountOverflow));
}
