//! The hash chain over journal entries.

use kernel::{AgentId, BudgetNo, LeaseId, Money, Timestamp, UserId};
use ledger::{AccountKey, Actor, ChainHead, Delta, Entry, EntryKind};
use proptest::prelude::*;

use crate::world::{World, ended, nanos, usd};

fn entries() -> Vec<Entry> {
    let mut w = World::with_allocation(usd(10));
    let lease = w.grant(usd(5));
    w.report(&lease, "r1", usd(7));
    ended(w.give_back(&lease, None));
    let silent = w.grant(usd(1));
    ended(w.revoke(&silent));
    w.entries
}

fn head(entries: &[Entry]) -> ChainHead {
    entries.iter().zip(1..).fold(ChainHead::EMPTY, |head, (entry, seq)| head.extended_by(entry, seq))
}

type Change = fn(&mut Entry);

/// One change to each field, the smallest there is.
const CHANGES: [(&str, Change); 18] = [
    ("kind", |e| e.kind = if e.kind == EntryKind::Late { EntryKind::Report } else { EntryKind::Late }),
    ("agent", |e| e.agent = e.agent.map(|a| AgentId(a.0 + 1))),
    ("agent absent", |e| e.agent = None),
    ("lease", |e| e.lease = Some(LeaseId::new(e.lease.as_ref().map_or(String::new(), |l| format!("{l}0"))))),
    ("request", |e| e.request_id = Some(e.request_id.as_ref().map_or(String::new(), |r| format!("{r}0")))),
    ("amount", |e| e.amount = Money::from_nanos(e.amount.nanos() + 1)),
    ("account added", |e| e.accounts.push(AccountKey { budget: BudgetNo(0), window_start: Timestamp::EPOCH })),
    ("account removed", |e| e.accounts.truncate(e.accounts.len() - 1)),
    ("budget", |e| e.accounts[0].budget = BudgetNo(e.accounts[0].budget.0 + 1)),
    ("window", |e| e.accounts[0].window_start = e.accounts[0].window_start.plus_millis(1)),
    ("available", |e| e.delta.available = Money::from_nanos(e.delta.available.nanos() + 1)),
    ("leased", |e| e.delta.leased = Money::from_nanos(e.delta.leased.nanos() + 1)),
    ("suspense", |e| e.delta.suspense = Money::from_nanos(e.delta.suspense.nanos() + 1)),
    ("spent", |e| e.delta.spent = Money::from_nanos(e.delta.spent.nanos() + 1)),
    ("overrun", |e| e.delta.overrun = Money::from_nanos(e.delta.overrun.nanos() + 1)),
    ("occurred_at", |e| e.occurred_at = e.occurred_at.plus_millis(1)),
    ("recorded_at", |e| e.recorded_at = e.recorded_at.plus_millis(1)),
    ("actor", |e| e.actor = if e.actor == Actor::System { Actor::Agent(AgentId(1)) } else { Actor::System }),
];

#[test]
fn a_change_of_any_field_of_any_entry_changes_the_head() {
    let honest = entries();
    for n in 0..honest.len() {
        for (field, change) in CHANGES {
            let mut forged = honest.clone();
            change(&mut forged[n]);
            assert_ne!(head(&forged), head(&honest), "{field} of entry {n}");
        }
        let mut forged = honest.clone();
        forged[n].reason = Some(String::new());
        assert_ne!(head(&forged), head(&honest), "reason of entry {n}");
    }
}

#[test]
fn dropping_swapping_inserting_or_renumbering_entries_changes_the_head() {
    let honest = entries();
    for n in 0..honest.len() {
        let mut dropped = honest.clone();
        dropped.remove(n);
        assert_ne!(head(&dropped), head(&honest));
        let mut twice = honest.clone();
        twice.insert(n, honest[n].clone());
        assert_ne!(head(&twice), head(&honest));
        if n > 0 {
            let mut swapped = honest.clone();
            swapped.swap(n, n - 1);
            assert_ne!(head(&swapped), head(&honest));
        }
    }
    let renumbered = honest.iter().zip(2..).fold(ChainHead::EMPTY, |head, (entry, seq)| head.extended_by(entry, seq));
    assert_ne!(renumbered, head(&honest));
}

#[test]
fn texts_cannot_be_shifted_from_one_field_to_the_next() {
    let entry = |lease: &str, request: &str| Entry {
        lease: Some(LeaseId::new(lease)),
        request_id: Some(request.to_owned()),
        ..entries()[0].clone()
    };
    assert_ne!(head(&[entry("ab", "c")]), head(&[entry("a", "bc")]));
}

#[test]
fn an_empty_chain_is_zero_and_grows_by_one() {
    let all = entries();
    assert_eq!((ChainHead::EMPTY.length, ChainHead::EMPTY.hash), (0, [0; 32]));
    assert_eq!(head(&all).length, i64::try_from(all.len()).expect("few entries"));
}

/// The bytes under the hash are part of the stored format: a database written today must verify tomorrow.
#[test]
fn the_hash_of_a_known_entry_does_not_change() {
    let key = |budget, start| AccountKey { budget: BudgetNo(budget), window_start: Timestamp::from_millis(start) };
    let entry = Entry {
        kind: EntryKind::Report,
        agent: Some(AgentId(7)),
        lease: Some(LeaseId::new("lease_1")),
        request_id: Some("r1".to_owned()),
        amount: nanos(5),
        accounts: vec![key(1, 0), key(2, 1_700_000_000_000)],
        delta: Delta {
            leased: nanos(-3),
            spent: nanos(3),
            available: nanos(-2),
            overrun: nanos(2),
            suspense: nanos(0),
        },
        occurred_at: Timestamp::from_millis(1_700_000_000_001),
        recorded_at: Timestamp::from_millis(1_700_000_000_002),
        actor: Actor::User(UserId::new("user_1")),
        reason: Some("why".to_owned()),
    };
    let hash: String = entry.hash_after(&[1; 32], 42).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hash, "bd6511c044d0095ca68f565d14798edd71acbf4ab3c728915888b1f776c461ff");
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let text = || proptest::option::of("[ab]{0,2}");
    let small = || -2_i64..3;
    let accounts = proptest::collection::vec((small(), small()), 0..3);
    (0..EntryKind::ALL.len(), 1_i64..3, text(), text(), text(), accounts, proptest::collection::vec(small(), 8))
        .prop_map(|(kind, agent, lease, request_id, reason, accounts, n)| {
            let money = |i: usize| nanos(n[i]);
            Entry {
                kind: EntryKind::ALL[kind],
                agent: Some(AgentId(agent)),
                lease: lease.map(LeaseId::new),
                request_id,
                amount: money(0),
                accounts: accounts
                    .into_iter()
                    .map(|(b, w)| AccountKey { budget: BudgetNo(b), window_start: Timestamp::from_millis(w) })
                    .collect(),
                delta: Delta {
                    available: money(1),
                    leased: money(2),
                    suspense: money(3),
                    spent: money(4),
                    overrun: money(5),
                },
                occurred_at: Timestamp::from_millis(n[6]),
                recorded_at: Timestamp::from_millis(n[7]),
                actor: Actor::System,
                reason,
            }
        })
}

proptest! {
    /// Entries from a tiny alphabet, where a sloppy encoding would soon collide.
    #[test]
    fn different_entries_have_different_hashes(a in any_entry(), b in any_entry(), seq in 1_i64..3) {
        let equal = a.hash_after(&[0; 32], seq) == b.hash_after(&[0; 32], seq);
        prop_assert_eq!(equal, a == b);
    }
}
