//! The history of allocations.

use auth::Role;
use kernel::{AgentId, Money};
use persistence::{AllocationChangeKind, AllocationChangeSummary, NewAllocationChange, Page};

use crate::residents::{agent, uid, user};
use crate::support::TestStore;

fn micros(n: i64) -> Money {
    Money::from_micros(n).expect("an amount")
}

fn change(agent: AgentId, previous: Money, new: Money, kind: AllocationChangeKind) -> NewAllocationChange {
    let (request_id, reason) = (None, Some("why".to_owned()));
    NewAllocationChange { agent, previous, new, kind, request_id, reason, by: uid("user_anna") }
}

async fn keep(t: &TestStore, change: &NewAllocationChange) -> String {
    t.clock.advance_millis(10);
    let mut work = t.begin().await;
    let id = work.keep_allocation_change(change, &t.entropy).await.expect("kept");
    t.commit(work).await;
    id
}

on_both_backends! {
    async fn changes_are_listed_youngest_first_with_what_they_come_to(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let (agent, other) = (agent(&t, "a", &anna).await, agent(&t, "b", &anna).await);
        keep(&t, &change(agent, Money::ZERO, micros(10), AllocationChangeKind::Create)).await;
        keep(&t, &change(agent, micros(10), micros(30), AllocationChangeKind::Edit)).await;
        keep(&t, &change(agent, micros(30), micros(25), AllocationChangeKind::Edit)).await;
        keep(&t, &change(other, Money::ZERO, micros(99), AllocationChangeKind::Create)).await;
        let by_request = NewAllocationChange {
            request_id: Some("breq_1".to_owned()),
            reason: None,
            by: uid("user_gone"),
            ..change(agent, micros(25), micros(26), AllocationChangeKind::Request)
        };
        let last = keep(&t, &by_request).await;
        let (page, summary) = t.store.allocation_history(agent, Page::first(2)).await.expect("read");
        assert_eq!(page.total, 4);
        assert!(last.starts_with("bhist_") && page.rows[0].id == last);
        assert_eq!((page.rows[0].request_id.as_deref(), page.rows[0].by_name.as_deref()), (Some("breq_1"), None));
        assert_eq!((page.rows[0].kind, page.rows[0].at), (AllocationChangeKind::Request, t.now()));
        assert_eq!((page.rows[1].previous, page.rows[1].new), (micros(30), micros(25)));
        assert_eq!((page.rows[1].by_name.as_deref(), page.rows[1].reason.as_deref()), (Some("anna"), Some("why")));
        let expected = AllocationChangeSummary { initial: micros(10), increases: micros(21), modifications: 3 };
        assert_eq!(summary, expected);
        let (page, _) = t.store.allocation_history(agent, Page { offset: 3, limit: 2 }).await.expect("read");
        assert_eq!(page.rows[0].kind, AllocationChangeKind::Create);
    }

    async fn no_number_of_large_changes_overflows_the_sum(t: TestStore) {
        let anna = user(&t, "anna", Role::User).await;
        let agent = agent(&t, "a", &anna).await;
        let mut work = t.begin().await;
        for _ in 0..20 {
            let up = change(agent, Money::ZERO, Money::MAX_CAP, AllocationChangeKind::Edit);
            work.keep_allocation_change(&up, &t.entropy).await.expect("kept");
        }
        t.commit(work).await;
        let (_, summary) = t.store.allocation_history(agent, Page::first(1)).await.expect("read");
        assert_eq!((summary.increases, summary.modifications), (Money::MAX_BALANCE, 20));
    }

    async fn an_agent_without_history_has_an_empty_one(t: TestStore) {
        let (page, summary) = t.store.allocation_history(AgentId(7), Page::first(5)).await.expect("read");
        assert_eq!((page.rows.len(), page.total), (0, 0));
        assert_eq!((summary.initial, summary.modifications), (Money::ZERO, 0));
    }
}
