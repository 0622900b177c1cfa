//! The same facts in any order, any number of times, give the same balances.

use kernel::{EndedBy, LeaseState, Money, Timestamp};
use ledger::{Account, Command, Figure, Lease, Outcome, Spending};
use proptest::prelude::*;

use crate::world::{AGENT, TTL_MS, World, ended, nanos, usd};

/// Something a runtime tells about one of its leases.
#[derive(Clone, Debug)]
enum Telling {
    Report { id: u8, total: Option<Money>, seq: Option<i64> },
    Total(Money),
    Event { id: u8 },
    Return(Option<Figure>),
}

/// The states in which the leases are when the facts come in.
const STATES: [LeaseState; 4] = LeaseState::ALL;

fn any_money() -> impl Strategy<Value = Money> {
    prop_oneof![Just(0), 1_i64..3_000, Just(2_000_000_000), Just(9_000_000_000)].prop_map(nanos)
}

fn any_telling() -> impl Strategy<Value = Telling> {
    let money = || any_money();
    prop_oneof![
        4 => (0_u8..9, proptest::option::of(money()), proptest::option::of(1_i64..9))
            .prop_map(|(id, total, seq)| Telling::Report { id, total, seq }),
        1 => money().prop_map(Telling::Total),
        3 => (0_u8..9).prop_map(|id| Telling::Event { id }),
        1 => prop_oneof![
            Just(None),
            money().prop_map(|m| Some(Figure::Spent(m))),
            money().prop_map(|m| Some(Figure::Returning(m))),
        ]
        .prop_map(Telling::Return),
    ]
}

/// What is told, about which of the leases.
type Facts = Vec<(usize, Telling)>;

/// Facts, and the same with some repeated, in another order.
fn any_two_orders() -> impl Strategy<Value = (Facts, Facts)> {
    let telling = (0..STATES.len(), any_telling());
    (proptest::collection::vec(telling, 1..16), proptest::collection::vec(any::<prop::sample::Index>(), 0..8))
        .prop_flat_map(|(facts, again)| {
            let mut more = facts.clone();
            more.extend(again.iter().map(|index| index.get(&facts).clone()));
            (Just(facts), Just(more).prop_shuffle())
        })
}

/// The cost follows from the id, so that an id always says the same.
fn cost(id: u8) -> Money {
    nanos(
        [0, 1, 999, 1_000, 500_000_000, 700_000_000, 1_000_000_000, 3_000_000_000, 5_000_000_001][usize::from(id) % 9],
    )
}

/// What a lease is in the end, all but the instants at which it was heard of.
#[derive(Debug, PartialEq, Eq)]
struct End {
    state: LeaseState,
    ended: (Option<Timestamp>, Option<EndedBy>),
    known: Money,
    parts: [Money; 5],
    channels: [Money; 2],
    claimed: Option<Money>,
    counters: (i64, Option<i64>),
}

impl End {
    fn of(l: &Lease) -> Self {
        Self {
            state: l.state,
            ended: (l.ended_at, l.ended_by),
            known: l.known(),
            parts: [l.covered(), l.overrun(), l.leased(), l.suspense(), l.returned()],
            channels: [l.reported, l.events],
            claimed: l.claimed,
            counters: (l.report_count, l.highest_seq),
        }
    }
}

/// What is left after the facts: the leases and every account.
fn after(facts: &[(usize, Telling)]) -> (Vec<End>, Vec<Account>) {
    let mut w = World::with_allocation(usd(1_000));
    let project = w.open(crate::world::project_scope("apollo"), usd(5), kernel::Window::Day, kernel::Zone::UTC);
    let leases: Vec<_> = STATES.iter().map(|_| w.grant(usd(1))).collect();
    for (lease, state) in leases.iter().zip(STATES) {
        match state {
            LeaseState::Active | LeaseState::Expired => {}
            LeaseState::Revoked => drop(ended(w.revoke(lease))),
            LeaseState::Closed => drop(ended(w.give_back(lease, None))),
        }
    }
    let granted_at = w.now;
    w.pass(TTL_MS - 1);
    w.report_total(&leases[0], Money::ZERO);
    w.pass(1);
    ended(w.expire(&leases[1]));
    for (lease, telling) in facts {
        tell(&mut w, &leases[*lease], telling);
    }
    let budgets: Vec<_> = w.book.budgets.keys().copied().collect();
    assert!(budgets.contains(&project));
    let accounts = budgets.into_iter().map(|no| w.account_at(no, granted_at)).collect();
    (leases.iter().map(|id| End::of(w.lease(id))).collect(), accounts)
}

fn tell(w: &mut World, lease: &kernel::LeaseId, telling: &Telling) {
    let (lease, occurred_at) = (lease.clone(), w.now);
    let item = |prefix: &str, id: u8| Spending { id: format!("{prefix}{id}"), cost: cost(id), occurred_at };
    let command = match telling {
        Telling::Report { id, total, seq } => {
            Command::Report { lease, item: Some(item("r", *id)), total: *total, seq: *seq }
        }
        Telling::Total(total) => Command::Report { lease, item: None, total: Some(*total), seq: None },
        // Events are known by agent, so their ids must differ between leases
        Telling::Event { id } => {
            Command::Event { agent: AGENT, item: item(&format!("{lease}e"), *id), lease: Some(lease) }
        }
        Telling::Return(figure) => Command::Return { lease, figure: *figure },
    };
    w.run(&command).expect("facts are never refused");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn order_and_repetition_do_not_matter((once, shuffled) in any_two_orders()) {
        prop_assert_eq!(after(&once), after(&shuffled));
    }

    #[test]
    fn telling_everything_again_moves_nothing((facts, again) in any_two_orders()) {
        let mut both = facts.clone();
        both.extend(again);
        prop_assert_eq!(after(&facts), after(&both));
    }

    #[test]
    fn what_is_known_only_grows(facts in proptest::collection::vec(any_telling(), 1..16)) {
        let mut w = World::with_allocation(usd(1_000));
        let lease = w.grant(usd(1));
        for telling in &facts {
            let before = w.lease(&lease).known();
            tell(&mut w, &lease, telling);
            let after = w.lease(&lease);
            prop_assert!(after.known() >= before);
            let channels = [after.reported, after.events, after.stated.unwrap_or_default()];
            prop_assert_eq!(Some(after.known()), channels.into_iter().max());
            prop_assert_eq!(w.allocation(), after.contribution().expect("in range"));
        }
    }

    #[test]
    fn a_lease_always_splits_its_grant_without_remainder(facts in proptest::collection::vec(any_telling(), 1..16)) {
        let mut w = World::with_allocation(usd(1_000));
        let lease = w.grant(usd(1));
        for telling in &facts {
            tell(&mut w, &lease, telling);
            let l = w.lease(&lease);
            let parts = [l.covered(), l.leased(), l.suspense(), l.returned()];
            prop_assert_eq!(parts.into_iter().sum::<Money>(), l.granted);
            prop_assert_eq!(l.covered().plus(l.overrun()), Ok(l.known()));
        }
    }
}

#[test]
fn a_repeated_claim_on_a_revoked_lease_keeps_the_highest() {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(1));
    ended(w.revoke(&lease));
    for (figure, kept) in [(1, 1), (3, 3), (2, 3)] {
        match w.give_back(&lease, Some(Figure::Spent(usd(figure)))) {
            Ok(Outcome::ClaimNoted { lease }) => assert_eq!(lease.claimed, Some(usd(kept))),
            other => panic!("{other:?}"),
        }
    }
}
