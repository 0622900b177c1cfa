//! The check of the ledger: what is sound passes, and whatever is touched is named.

use std::sync::Arc;

use kernel::{AgentId, BudgetId, LeaseId, Window};
use ledger::{Scope, SettleOutcome};
use persistence::{
    AuditActor, AuditRecord, BudgetChange, JournalFilter, LedgerCheck, NewBudget, Order, ProblemKind, Store,
};

use crate::support::{TTL_MS, TestStore};
use crate::world::*;

/// Three agents, several budgets, and every kind of entry but `event`.
async fn some_history(t: &TestStore) {
    people(t, &[(1, "user_1", Some("proj_1")), (2, "user_1", None), (3, "user_2", None)]).await;
    allocate(t, &[(1, usd(100)), (2, usd(100)), (3, usd(100))]).await;
    done(t, grant(1, &lease("a"), usd(10))).await;
    let day = NewBudget { window: Window::Day, ..budget("bud_day", owner_scope("user_1"), usd(500)) };
    open(t, &day).await;
    open(t, &budget("bud_p", project_scope("proj_1"), usd(50))).await;
    done(t, report(t, &lease("a"), "r1", usd(4))).await;
    for (agent, name) in [(1, "b"), (2, "c"), (2, "d"), (3, "e"), (1, "f")] {
        done(t, grant(agent, &lease(name), usd(10))).await;
        done(t, report(t, &lease(name), "r1", usd(3))).await;
    }
    done(t, report(t, &lease("b"), "r2", usd(9))).await;
    done(t, give_back(&lease("c"), Some(usd(5)))).await;
    done(t, report(t, &lease("c"), "late", usd(4))).await;
    done(t, revoke(&lease("d"))).await;
    done(t, settle(&lease("d"), SettleOutcome::Spent, Some(usd(7)))).await;
    done(t, refresh(1, &lease("a"), &lease("g"), usd(6), None)).await;
    done(t, revoke(&lease("f"))).await;
    let change = BudgetChange { cap: Some(usd(60)), ..BudgetChange::default() };
    let mut work = t.begin().await;
    work.adjust_budget(&BudgetId::new("bud_p"), &change, &admin(), Some("more"))
        .await
        .expect("answered")
        .expect("changed");
    t.commit(work).await;
    t.clock.advance_millis(TTL_MS);
    done(t, expire(&lease("e"))).await;
}

async fn check(t: &TestStore) -> LedgerCheck {
    t.store.verify_ledger().await.expect("the check can be made")
}

/// The kinds of problems found, without repetition.
async fn kinds(t: &TestStore) -> Vec<&'static str> {
    let mut kinds: Vec<_> = check(t).await.problems.iter().map(|problem| problem.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// The place of the only grant of a lease.
async fn grant_of(t: &TestStore, id: &LeaseId) -> i64 {
    let filter = JournalFilter { lease: Some(id.clone()), order: Order::Ascending, ..JournalFilter::default() };
    t.store.journal(&filter, None, 1).await.expect("read").rows[0].seq
}

/// Looks at the ledger after a statement, and puts the table back.
async fn after(t: &TestStore, table: &str, statement: &str) -> LedgerCheck {
    t.execute(&format!("CREATE TABLE kept AS SELECT * FROM {table}")).await;
    // What refers to the table stands still while rows are away
    let (off, on) = match t.store.backend() {
        persistence::Backend::Sqlite => ("PRAGMA foreign_keys = OFF", "PRAGMA foreign_keys = ON"),
        persistence::Backend::Postgres => {
            ("SET session_replication_role = replica", "SET session_replication_role = origin")
        }
    };
    t.execute(&format!("{off}; {statement}; {on}")).await;
    let found = check(t).await;
    t.execute(&format!("{off}; DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept; DROP TABLE kept; {on}"))
        .await;
    found
}

on_both_backends! {
    async fn the_checks_read_beside_a_server_that_runs_and_without_one(t: TestStore) {
        let url = t.options.url.replace("mode=rwc", "mode=rw");
        let verify = async || {
            let reader = Store::open_to_read(&url).await.expect("opens beside the server");
            let (ledger, audit) = (reader.verify_ledger().await.expect("read"), reader.verify_audit(None, None).await);
            reader.close().await;
            assert!(ledger.is_ok());
            audit.expect("read").checked
        };
        let record = |n: i64| AuditRecord::new("AGENT_UPDATED", "agent", n, &AuditActor::default());
        let mut work = t.begin().await;
        work.audit(record(1));
        t.commit(work).await;
        assert_eq!(verify().await, 1);
        let mut work = t.begin().await;
        work.audit(record(2));
        t.commit(work).await;
        assert_eq!(verify().await, 2, "it has not kept the server from writing, and sees what was written");
        t.store.close().await;
        assert_eq!(verify().await, 2);
    }

    async fn an_untouched_ledger_is_sound(t: TestStore) {
        assert_sound(&t).await;
        some_history(&t).await;
        let found = check(&t).await;
        assert!(found.is_ok(), "{:#?}", found.problems);
        assert_eq!((found.agents, found.leases, found.budgets, found.first_bad_seq()), (4, 7, 5, None));
        assert!(found.entries > 20 && found.accounts >= 5, "{found:?}");
    }

    async fn a_change_of_any_column_of_an_entry_is_seen(t: TestStore) {
        some_history(&t).await;
        let seq = grant_of(&t, &lease("b")).await;
        let changes = [
            "seq = 1000",
            "seq = -1",
            "kind = 'late'",
            "kind = 'gift'",
            "agent_id = 2",
            "agent_id = NULL",
            "agent_id = 0",
            "lease_id = 'lease_a'",
            "lease_id = NULL",
            "request_id = ''",
            "amount = amount + 1",
            "accounts = ''",
            "accounts = '1@0'",
            "accounts = accounts || ','",
            "accounts = '+' || accounts",
            "accounts = 'everything'",
            "available = available + 1, leased = leased - 1",
            "leased = leased + 1, suspense = suspense - 1",
            "suspense = suspense - 1, spent = spent + 1",
            "spent = spent - 1, overrun = overrun + 1",
            "available = 9223372036854775807, leased = -9223372036854775807",
            "occurred_at = occurred_at + 1",
            "recorded_at = recorded_at - 1",
            "actor = 'system'",
            "actor = 'agent_01'",
            "reason = ''",
            "hash = (SELECT hash FROM heads_hash)",
        ];
        t.execute("CREATE TABLE heads_hash AS SELECT audit_hash AS hash FROM heads").await;
        for change in changes {
            let found = after(&t, "journal", &format!("UPDATE journal SET {change} WHERE seq = {seq}")).await;
            let first = if change == "seq = -1" { -1 } else { seq };
            assert_eq!(found.first_bad_seq(), Some(first), "{change}: {:#?}", found.problems);
        }
        assert_sound(&t).await;
    }

    async fn a_dropped_entry_is_seen(t: TestStore) {
        some_history(&t).await;
        let last = check(&t).await.entries;
        for seq in [1, 2, grant_of(&t, &lease("c")).await, last - 1, last] {
            let found = after(&t, "journal", &format!("DELETE FROM journal WHERE seq = {seq}")).await;
            assert_eq!(found.first_bad_seq(), Some(seq), "{:#?}", found.problems);
        }
        let found = after(&t, "journal", "DELETE FROM journal").await;
        assert_eq!(found.first_bad_seq(), Some(1));
        assert_sound(&t).await;
    }

    async fn swapped_entries_are_seen(t: TestStore) {
        some_history(&t).await;
        let seq = grant_of(&t, &lease("c")).await;
        for other in [seq + 1, seq + 4] {
            let swap = format!(
                "UPDATE journal SET seq = 1000 WHERE seq = {seq}; UPDATE journal SET seq = {seq} WHERE seq = {other}; \
                 UPDATE journal SET seq = {other} WHERE seq = 1000"
            );
            let found = after(&t, "journal", &swap).await;
            assert_eq!(found.first_bad_seq(), Some(seq), "{:#?}", found.problems);
        }
    }

    async fn an_added_entry_is_seen(t: TestStore) {
        some_history(&t).await;
        let last = check(&t).await.entries;
        let columns = "kind, agent_id, lease_id, request_id, amount, accounts, available, leased, suspense, spent, overrun, \
                       occurred_at, recorded_at, actor, reason, hash";
        for (place, first) in [(last + 1, last + 1), (last + 7, last + 1), (0, 0)] {
            let add = format!("INSERT INTO journal SELECT {place}, {columns} FROM journal WHERE seq = {last}");
            let found = after(&t, "journal", &add).await;
            assert_eq!(found.problems[0].kind, ProblemKind::Sequence, "{:#?}", found.problems);
            assert_eq!(found.first_bad_seq(), Some(if place == last + 7 { place } else { first }));
        }
        let seq = grant_of(&t, &lease("e")).await;
        let squeeze = format!(
            "UPDATE journal SET seq = seq + 1000 WHERE seq > {seq}; UPDATE journal SET seq = seq - 999 WHERE seq > 1000; \
             INSERT INTO journal SELECT {seq} + 1, {columns} FROM journal WHERE seq = {seq}; \
             UPDATE heads SET journal_seq = journal_seq + 1"
        );
        let found = after(&t, "journal", &squeeze).await;
        assert_eq!(found.first_bad_seq(), Some(seq + 1), "{:#?}", found.problems);
    }

    async fn a_chain_rewritten_from_some_entry_on_does_not_meet_the_agents_book(t: TestStore) {
        some_history(&t).await;
        let filter = JournalFilter { agent: Some(AgentId(2)), order: Order::Ascending, ..JournalFilter::default() };
        let entries = t.store.journal(&filter, None, 100).await.expect("read").rows;
        let mut hash = entries[1].hash;
        for (index, entry) in entries.iter().enumerate().skip(2) {
            let mut forged = entry.entry.clone();
            if index == 2 {
                forged.reason = Some("forged".to_owned());
                t.execute(&format!("UPDATE journal SET reason = 'forged' WHERE seq = {}", entry.seq)).await;
            }
            hash = forged.hash_after(&hash, entry.seq);
            let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            let bytes = match t.store.backend() {
                persistence::Backend::Sqlite => format!("x'{digits}'"),
                persistence::Backend::Postgres => format!("decode('{digits}', 'hex')"),
            };
            t.execute(&format!("UPDATE journal SET hash = {bytes} WHERE seq = {}", entry.seq)).await;
        }
        let found = check(&t).await;
        assert_eq!((found.problem_count, found.first_bad_seq()), (1, None), "every entry fits the one before it");
        assert_eq!((found.problems[0].kind, found.problems[0].agent), (ProblemKind::Head, Some(AgentId(2))));
    }

    async fn a_moved_head_or_book_is_seen(t: TestStore) {
        some_history(&t).await;
        let last = check(&t).await.entries;
        let found = after(&t, "heads", "UPDATE heads SET journal_seq = journal_seq + 1").await;
        assert_eq!(found.first_bad_seq(), Some(last + 1));
        let found = after(&t, "heads", "UPDATE heads SET journal_seq = journal_seq - 1").await;
        assert_eq!(found.first_bad_seq(), Some(last));
        for change in [
            "UPDATE agent_books SET chain_length = chain_length + 1 WHERE agent_id = 3",
            "UPDATE agent_books SET chain_hash = (SELECT audit_hash FROM heads) WHERE agent_id = 3",
            "DELETE FROM agent_books WHERE agent_id = 3",
        ] {
            let found = after(&t, "agent_books", change).await;
            let of: Vec<_> = found.problems.iter().map(|p| (p.kind, p.agent)).collect();
            assert_eq!(of, [(ProblemKind::Head, Some(AgentId(3)))], "{change}");
        }
    }

    async fn a_changed_account_is_seen(t: TestStore) {
        some_history(&t).await;
        let no = allocation(&t, 1).await.budget.no;
        for change in ["spent = spent + 1", "leased = leased + 1", "suspense = suspense + 1", "overrun = overrun - 1"] {
            let statement = format!("UPDATE accounts SET {change} WHERE budget_no = {no}");
            let found = after(&t, "accounts", &statement).await;
            let accounts: Vec<_> = found.problems.iter().map(|p| (p.kind, p.account.map(|key| key.budget))).collect();
            assert_eq!(accounts, [(ProblemKind::Account, Some(no))], "{change}");
        }
        let found = after(&t, "accounts", &format!("DELETE FROM accounts WHERE budget_no = {no}")).await;
        assert_eq!((found.problem_count, found.problems[0].kind), (1, ProblemKind::Account));
        t.execute(&format!("INSERT INTO accounts VALUES ({no}, 1, 0, 0, 0, 0)")).await;
        assert_sound(&t).await;
        t.execute(&format!("UPDATE accounts SET leased = 1 WHERE budget_no = {no} AND window_start = 1")).await;
        assert_eq!(kinds(&t).await, ["account"]);
    }

    async fn a_changed_cap_is_seen(t: TestStore) {
        some_history(&t).await;
        let found = after(&t, "budgets", "UPDATE budgets SET cap = cap + 1 WHERE id = 'bud_p'").await;
        assert_eq!((found.problem_count, found.problems[0].kind), (1, ProblemKind::Budget));
        let found = after(&t, "budgets", "UPDATE budgets SET scope_key = 'nonsense' WHERE id = 'bud_p'").await;
        assert!(found.problems.iter().any(|p| p.kind == ProblemKind::Budget));
        let found = after(&t, "budgets", "DELETE FROM budgets WHERE id = 'bud_p'").await;
        assert!(found.problems.iter().any(|p| p.kind == ProblemKind::Budget));
    }

    async fn a_changed_lease_is_seen(t: TestStore) {
        some_history(&t).await;
        let changes = [
            "granted = granted + 1",
            "state = 'expired', ended_at = 1",
            "state = 'closed', ended_at = 1",
            "reported = reported + 1",
            "reported = 9223372036854775807",
            "stated = 2 * granted",
            "events = 2 * granted",
            "settled_spent = 2 * granted, settled_at = 1",
            "report_count = 0",
            "agent_id = 3",
            "owner_id = 'user_2'",
            "project_id = NULL",
            "created_at = created_at - 86400000",
            "ended_by = 'revoke', ended_at = 1, state = 'revoked'",
        ];
        for change in changes {
            let found = after(&t, "leases", &format!("UPDATE leases SET {change} WHERE id = 'lease_b'")).await;
            let of: Vec<_> = found.problems.iter().map(|p| (p.kind, p.lease.clone())).collect();
            // Lease b is overrun, so its state moves no money: it is the one change here that only a person can judge
            let judged = change.contains("state =");
            let expected = if judged { vec![] } else { vec![(ProblemKind::Lease, Some(lease("b")))] };
            assert_eq!(of, expected, "{change}: {:#?}", found.problems);
            let found = after(&t, "leases", &format!("UPDATE leases SET {change} WHERE id = 'lease_g'")).await;
            if judged {
                assert_eq!((found.problem_count, found.problems[0].kind), (1, ProblemKind::Lease), "{change}");
            }
        }
        let found = after(&t, "leases", "DELETE FROM leases WHERE id = 'lease_g'").await;
        let seq = grant_of(&t, &lease("g")).await;
        assert_eq!((found.problem_count, found.problems[0].kind, found.problems[0].seq), (1, ProblemKind::Lease, Some(seq)));
        let columns = "agent_id, owner_id, project_id, epoch, granted, state, reported, stated, events, claimed, \
                       report_count, highest_seq, created_at, seen_at, expires_at, sweep_at, ended_at, ended_by, reason, \
                       supersedes, superseded_by, settled_presumed_spent, settled_spent, settled_reason, settled_by, \
                       settled_at, provider, provider_key_id, runtime_id, runtime_version";
        let add = format!("INSERT INTO leases (id, {columns}) SELECT 'lease_x', {columns} FROM leases WHERE id = 'lease_g'");
        let found = after(&t, "leases", &add).await;
        assert_eq!((found.problem_count, found.problems[0].lease.clone()), (1, Some(lease("x"))));
    }

    async fn a_changed_report_is_seen(t: TestStore) {
        some_history(&t).await;
        for change in [
            "UPDATE reports SET cost = cost + 1 WHERE lease_id = 'lease_b' AND request_id = 'r1'",
            "DELETE FROM reports WHERE lease_id = 'lease_b' AND request_id = 'r1'",
            "UPDATE reports SET lease_id = 'lease_g' WHERE lease_id = 'lease_b' AND request_id = 'r1'",
            "INSERT INTO reports SELECT lease_id, 'free', 0, 0, model, provider, 0, 0 FROM reports \
             WHERE lease_id = 'lease_b' AND request_id = 'r1'",
        ] {
            let found = after(&t, "reports", change).await;
            assert!(found.problems.iter().all(|p| p.kind == ProblemKind::Lease), "{change}");
            assert!(found.problems.iter().any(|p| p.lease == Some(lease("b"))), "{change}");
        }
        assert_sound(&t).await;
    }

    async fn many_problems_are_counted_and_some_described(t: TestStore) {
        one_agent(&t, usd(10_000)).await;
        let items: Vec<_> = (0..150).map(|n| grant(1, &lease(n), usd(1))).collect();
        run(&t, &items).await;
        t.execute("UPDATE journal SET amount = amount + 1 WHERE kind = 'grant'").await;
        let found = check(&t).await;
        assert_eq!((found.problem_count, found.problems.len()), (300, 100), "each entry, and each lease it is about");
        assert_eq!(found.first_bad_seq(), Some(2));
    }

    async fn a_ledger_is_sound_while_money_moves(t: TestStore) {
        let t = Arc::new(t);
        one_agent(&t, usd(10_000)).await;
        open(&t, &budget("bud_o", Scope::Organization, usd(9_000))).await;
        let writer = tokio::spawn({
            let t = Arc::clone(&t);
            async move {
                for n in 0..40 {
                    let items = [grant(1, &lease(n), usd(3)), report(&t, &lease(n), "r", usd(1)), give_back(&lease(n), None)];
                    run(&t, &items).await;
                }
            }
        });
        let mut checks = 0;
        while !writer.is_finished() {
            assert_sound(&t).await;
            checks += 1;
        }
        writer.await.expect("the writer ends");
        assert!(checks > 1);
        assert_sound(&t).await;
    }
}
