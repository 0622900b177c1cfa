//! Reading the journal.

use kernel::{AgentId, BudgetId, Timestamp, UserId};
use ledger::{EntryKind, Scope};
use persistence::{JournalEntry, JournalFilter, Order, SeqCursor, Visibility};

use crate::support::{START, TestStore};
use crate::world::*;

async fn some_moves(t: &TestStore) {
    people(t, &[(1, "user_1", Some("proj_1")), (2, "user_2", None)]).await;
    allocate(t, &[(1, usd(100)), (2, usd(100))]).await;
    open(t, &budget("bud_p", project_scope("proj_1"), usd(50))).await;
    for (agent, name) in [(1, "a"), (2, "b")] {
        t.clock.advance_millis(1_000);
        done(t, grant(agent, &lease(name), usd(10))).await;
        done(t, report(t, &lease(name), "call \"1\"", usd(12))).await;
    }
    t.clock.advance_millis(1_000);
    done(t, revoke(&lease("a"))).await;
}

async fn all(t: &TestStore, filter: &JournalFilter, limit: u32) -> Vec<JournalEntry> {
    let (mut entries, mut cursor): (Vec<JournalEntry>, Option<SeqCursor>) = (Vec::new(), None);
    for _ in 0..100 {
        let slice = t.store.journal(filter, cursor, limit).await.expect("read");
        assert!(slice.rows.len() <= limit as usize);
        entries.extend(slice.rows);
        let Some(next) = slice.next else { return entries };
        cursor = Some(next.to_string().parse().expect("a cursor goes over the wire and back"));
    }
    panic!("the list has no end");
}

async fn places(t: &TestStore, filter: JournalFilter) -> Vec<i64> {
    all(t, &filter, 3).await.iter().map(|entry| entry.seq).collect()
}

on_both_backends! {
    async fn entries_come_by_their_place_from_either_end(t: TestStore) {
        some_moves(&t).await;
        let any = JournalFilter::default;
        assert_eq!(places(&t, any()).await, [8, 7, 6, 5, 4, 3, 2, 1]);
        let up = JournalFilter { order: Order::Ascending, ..any() };
        assert_eq!(places(&t, up.clone()).await, [1, 2, 3, 4, 5, 6, 7, 8]);
        let kinds: Vec<_> = all(&t, &up, 100).await.iter().map(|e| e.entry.kind.as_str()).collect();
        assert_eq!(kinds.join(" "), "allocate allocate allocate grant report grant report revoke");
    }

    async fn conditions_on_entries_narrow_together(t: TestStore) {
        some_moves(&t).await;
        let any = JournalFilter::default;
        assert_eq!(places(&t, JournalFilter { agent: Some(AgentId(1)), ..any() }).await, [8, 5, 4, 1]);
        assert_eq!(places(&t, JournalFilter { lease: Some(lease("b")), ..any() }).await, [7, 6]);
        let kinds = vec![EntryKind::Grant, EntryKind::Revoke];
        assert_eq!(places(&t, JournalFilter { kinds: kinds.clone(), ..any() }).await, [8, 6, 4]);
        assert_eq!(places(&t, JournalFilter { kinds, agent: Some(AgentId(2)), ..any() }).await, [6]);
        let (from, to) = (Some(START.plus_millis(1_000)), Some(START.plus_millis(2_000)));
        assert_eq!(places(&t, JournalFilter { from, to, ..any() }).await, [5, 4], "from is included, to is not");
        let of = |user: &str| JournalFilter { visible_to: Visibility::Of(UserId::new(user)), ..any() };
        assert_eq!(places(&t, of("user_1")).await, [8, 5, 4, 1], "budgets above agents are nobody's");
        assert!(places(&t, JournalFilter { agent: Some(AgentId(2)), ..of("user_1") }).await.is_empty());
    }

    async fn an_entry_shows_every_posting_that_moved_something(t: TestStore) {
        some_moves(&t).await;
        let entries = all(&t, &JournalFilter { lease: Some(lease("a")), order: Order::Ascending, ..JournalFilter::default() }, 9).await;
        let shown = |entry: &JournalEntry| {
            let lines = entry.postings.iter().map(|p| {
                format!("{} {} {} {:?}", p.scope.key(), p.budget, p.account, p.delta)
            });
            lines.collect::<Vec<_>>().join("\n")
        };
        assert_eq!(
            shown(&entries[0]),
            "project:proj_1 bud_p available -$10.000000000\nproject:proj_1 bud_p leased $10.000000000\n\
             agent:1 bud_agent_1 available -$10.000000000\nagent:1 bud_agent_1 leased $10.000000000"
        );
        assert_eq!(
            shown(&entries[1]),
            "project:proj_1 bud_p available -$2.000000000\nproject:proj_1 bud_p leased -$10.000000000\n\
             project:proj_1 bud_p spent $10.000000000\nproject:proj_1 bud_p overrun $2.000000000\n\
             agent:1 bud_agent_1 available -$2.000000000\nagent:1 bud_agent_1 leased -$10.000000000\n\
             agent:1 bud_agent_1 spent $10.000000000\nagent:1 bud_agent_1 overrun $2.000000000"
        );
        assert_eq!(shown(&entries[2]), "", "nothing was left to put aside");
        let report = &entries[1].entry;
        assert_eq!((report.request_id.as_deref(), report.amount), (Some("call \"1\""), usd(12)));
        assert_eq!((report.actor.to_text().as_str(), entries[2].entry.actor.to_text().as_str()), ("agent_1", "user_admin"));
        assert_eq!(entries[0].postings[0].window_start, Timestamp::EPOCH);
    }

    async fn an_opening_entry_belongs_to_the_agent_or_to_nobody(t: TestStore) {
        some_moves(&t).await;
        let entries = all(&t, &JournalFilter { order: Order::Ascending, ..JournalFilter::default() }, 9).await;
        let agents: Vec<_> = entries.iter().map(|e| e.entry.agent.map(|a| a.0)).collect();
        assert_eq!(&agents[..3], [Some(1), Some(2), None]);
        assert_eq!(entries[2].postings[0].scope, project_scope("proj_1"));
        assert_eq!(entries[0].entry.reason.as_deref(), Some("first"));
    }

    async fn an_entry_has_a_name_of_its_own_that_never_changes(t: TestStore) {
        some_moves(&t).await;
        let mut ids: Vec<_> = all(&t, &JournalFilter::default(), 9).await.iter().map(JournalEntry::tx_id).collect();
        let again: Vec<_> = all(&t, &JournalFilter::default(), 2).await.iter().map(JournalEntry::tx_id).collect();
        assert_eq!(ids, again);
        assert!(ids.iter().all(|id| id.len() == 39 && id.starts_with("tx_") && id.as_bytes()[17] == b'8'), "{ids:?}");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 8);
    }

    async fn postings_on_a_budget_that_was_deleted_keep_their_name(t: TestStore) {
        some_moves(&t).await;
        let mut work = t.begin().await;
        work.delete_budget(&BudgetId::new("bud_p")).await.expect("deleted");
        t.commit(work).await;
        let entries = all(&t, &JournalFilter { lease: Some(lease("a")), ..JournalFilter::default() }, 9).await;
        assert!(entries.iter().flat_map(|e| &e.postings).any(|p| p.budget.as_str() == "bud_p"));
        let empty = all(&t, &JournalFilter { lease: Some(lease("nobody")), ..JournalFilter::default() }, 9).await;
        assert!(empty.is_empty());
        assert_eq!(Scope::from_key("project:proj_1"), Some(project_scope("proj_1")));
    }
}
