//! The outbox: gapless, in the order of the commits, and pruned from its old end.

use kernel::{AgentId, BudgetId, FreezeId, LeaseId, Money, ProviderKeyId};
use ledger::{Command, Scope, SettleOutcome};
use persistence::{BudgetChange, Extra, FetchedKey, Item, LlmFact, OutboxEvent, StoredEvent, StreamHead, llm_event};
use serde_json::{Value, json};

use crate::residents::{token, uid};
use crate::support::{START, TTL_MS, TestStore};
use crate::world::*;

async fn emit(t: &TestStore, agents: &[Option<i64>]) {
    let mut work = t.begin().await;
    for agent in agents {
        work.emit(OutboxEvent { agent: agent.map(AgentId), kind: "frozen", payload: "{\"a\":\"\\\"ü\"}".to_owned() });
    }
    t.commit(work).await;
    t.clock.advance_millis(1_000);
}

async fn places(t: &TestStore, after: i64, limit: u32) -> Vec<i64> {
    t.store.events_after(after, limit).await.expect("read").iter().map(|event| event.seq).collect()
}

async fn head(t: &TestStore) -> StreamHead {
    t.store.stream_head().await.expect("read")
}

/// What was told since a place, but for the agents' states and alerts.
async fn told(t: &TestStore, after: i64) -> Vec<(String, Option<i64>, Value)> {
    let events = t.store.events_after(after, 1_000).await.expect("read");
    let read = |event: StoredEvent| {
        let payload = serde_json::from_str(&event.payload).expect("a payload is JSON");
        (event.kind, event.agent.map(|agent| agent.0), payload)
    };
    events.into_iter().map(read).filter(|(kind, ..)| kind != "STATE_UPDATE" && kind != "COST_ALERT").collect()
}

/// The last event, which must be of this kind and agent.
async fn last(t: &TestStore, kind: &str, agent: Option<i64>) -> Value {
    let (its_kind, its_agent, payload) = told(t, 0).await.pop().expect("something was told");
    assert_eq!((its_kind.as_str(), its_agent), (kind, agent));
    payload
}

/// The keys of `data` that stand in `wanted` are as they are there.
fn assert_says(data: &Value, wanted: &Value) {
    for (key, value) in wanted.as_object().expect("an object") {
        assert_eq!(&data[key], value, "{key} of {data}");
    }
}

on_both_backends! {
    async fn a_lease_is_told_with_the_figures_of_the_lease(t: TestStore) {
        people(&t, &[(1, "user_1", Some("proj_1"))]).await;
        allocate(&t, &[(1, usd(10))]).await;
        done(&t, grant(1, &lease("a"), usd(5))).await;
        let granted = last(&t, "lease_granted", Some(1)).await;
        assert_eq!(granted, json!({
            "lease_id": "lease_a", "agent_id": 1, "owner_id": "user_1", "project_id": "proj_1", "state": "active",
            "granted": 5_000_000, "spent": 0, "remaining": 5_000_000, "suspense": 0, "returned": 0, "overrun": 0,
            "provider": "openai", "provider_key_id": 1, "epoch": 1, "ended_by": null, "reason": null,
            "supersedes": null, "superseded_by": null,
        }));
        done(&t, report(&t, &lease("a"), "r", Money::from_nanos(1_000_000_001))).await;
        assert_eq!(last(&t, "llm_call", Some(1)).await, json!({
            "model": "gpt-4o", "provider": "openai", "tokens": 1_200, "cost_usd": 1.000001,
            "cost_microdollars": 1_000_001, "lease_id": "lease_a", "event_id": null, "request_id": "r",
            "error_code": null,
        }));
        done(&t, refresh(1, &lease("a"), &lease("b"), usd(6), None)).await;
        let refreshed = last(&t, "lease_refreshed", Some(1)).await;
        assert_says(&refreshed, &json!({
            "lease_id": "lease_b", "granted": 6_000_000, "supersedes": "lease_a",
            "closed_lease": {"lease_id": "lease_a", "spent": 1_000_001, "returned": 3_999_999},
        }));
        done(&t, revoke(&lease("b"))).await;
        let revoked = last(&t, "lease_revoked", Some(1)).await;
        assert_says(&revoked, &json!({
            "lease_id": "lease_b", "state": "revoked", "suspense": 6_000_000, "reason": "stop", "ended_by": "revoke",
            "provider_key_id": 1,
        }));
        done(&t, settle(&lease("b"), SettleOutcome::Unspent, Some(usd(2)))).await;
        let settled = last(&t, "lease_settled", Some(1)).await;
        assert_says(&settled, &json!({"state": "closed", "spent": 2_000_000, "returned": 4_000_000, "suspense": 0}));
        done(&t, grant(1, &lease("c"), usd(1))).await;
        t.clock.advance_millis(TTL_MS);
        done(&t, expire(&lease("c"))).await;
        let expired = last(&t, "lease_expired", Some(1)).await;
        assert_says(&expired, &json!({"state": "expired", "suspense": 1_000_000, "ended_by": "expiry", "provider": "openai"}));
        done(&t, give_back(&lease("c"), Some(usd(3)))).await;
        let returned = last(&t, "lease_returned", Some(1)).await;
        assert_says(&returned, &json!({"spent": 3_000_000, "returned": 0, "overrun": 2_000_000, "ended_by": "return"}));
    }

    async fn a_lease_that_another_command_finds_run_out_is_told_before_what_the_command_did(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(5))).await;
        let before = head(&t).await.last;
        t.clock.advance_millis(TTL_MS);
        done(&t, report(&t, &lease("a"), "r", usd(1))).await;
        let kinds: Vec<_> = told(&t, before).await.into_iter().map(|(kind, ..)| kind).collect();
        assert_eq!(kinds, ["lease_expired", "llm_call"]);
    }

    async fn a_budget_is_told_when_it_is_opened_changed_and_ended(t: TestStore) {
        people(&t, &[(1, "user_1", None)]).await;
        allocate(&t, &[(1, usd(10))]).await;
        assert_eq!(last(&t, "budget_changed", Some(1)).await, json!({
            "id": "bud_agent_1", "scope": {"kind": "agent", "id": 1}, "cap_microdollars": 10_000_000, "window": "none",
            "enabled": true, "window_start": null, "window_end": null, "spent": 0, "leased": 0, "suspense": 0,
            "overrun": 0, "available": 10_000_000,
        }));
        done(&t, grant(1, &lease("a"), usd(4))).await;
        let new = persistence::NewBudget { window: kernel::Window::Day, ..budget("bud_o", owner_scope("user_1"), usd(9)) };
        open(&t, &new).await;
        let opened = last(&t, "budget_changed", None).await;
        assert_says(&opened, &json!({
            "id": "bud_o", "scope": {"kind": "owner", "id": "user_1"}, "window": "day", "leased": 4_000_000,
            "available": 5_000_000, "window_start": 1_768_435_200_000_i64, "window_end": 1_768_521_600_000_i64,
        }));
        let change = async |change: BudgetChange| {
            let mut work = t.begin().await;
            work.adjust_budget(&BudgetId::new("bud_o"), &change, &admin(), None).await.expect("answers").expect("done");
            t.commit(work).await;
        };
        let before = head(&t).await.last;
        change(BudgetChange { cap: Some(usd(3)), thresholds: Some(vec![10]), ..BudgetChange::default() }).await;
        let lowered = last(&t, "budget_changed", None).await;
        assert_says(&lowered, &json!({"cap_microdollars": 3_000_000, "available": 0}));
        assert_eq!(told(&t, before).await.len(), 1, "two parts of one change are one change");
        let before = head(&t).await.last;
        change(BudgetChange { cap: Some(usd(3)), enabled: Some(true), ..BudgetChange::default() }).await;
        assert!(told(&t, before).await.is_empty(), "nothing is other than it was");
        change(BudgetChange { enabled: Some(false), ..BudgetChange::default() }).await;
        assert_eq!(last(&t, "budget_changed", None).await["enabled"], false);
        let mut work = t.begin().await;
        assert!(work.delete_budget(&BudgetId::new("bud_o")).await.expect("answers"));
        t.commit(work).await;
        assert_says(&last(&t, "budget_changed", None).await, &json!({"id": "bud_o", "deleted": true}));
    }

    async fn a_freeze_is_told_once_when_it_is_set_and_once_when_it_is_lifted(t: TestStore) {
        people(&t, &[(1, "user_1", None), (2, "user_1", None)]).await;
        allocate(&t, &[(1, usd(10)), (2, usd(10))]).await;
        done(&t, grant(1, &lease("a"), usd(4))).await;
        let before = head(&t).await.last;
        let scope = owner_scope("user_1");
        for id in ["frz_1", "frz_2"] {
            let mut work = t.begin().await;
            work.set_freeze(&FreezeId::new(id), &scope, "stop", &uid("user_admin")).await.expect("frozen");
            t.commit(work).await;
        }
        assert_eq!(last(&t, "frozen", None).await, json!({
            "id": "frz_1", "scope": {"kind": "owner", "id": "user_1"}, "reason": "stop", "active": true,
            "frozen_at": START.millis(), "frozen_by": "user_admin", "unfrozen_at": null, "unfrozen_by": null,
            "unfreeze_reason": null, "agents_affected": 2, "open_leases": 1, "exposure": 4_000_000,
        }));
        assert_eq!(told(&t, before).await.len(), 1);
        t.clock.advance_millis(5);
        for _ in 0..2 {
            let mut work = t.begin().await;
            work.lift_freeze(&scope, Some("go"), &uid("user_2")).await.expect("lifted");
            t.commit(work).await;
        }
        let lifted = last(&t, "unfrozen", None).await;
        assert_says(&lifted, &json!({
            "id": "frz_1", "active": false, "reason": "stop", "unfrozen_at": START.millis() + 5, "unfrozen_by": "user_2",
            "unfreeze_reason": "go",
        }));
        assert_eq!(told(&t, before).await.len(), 2);
        let mut work = t.begin().await;
        work.set_freeze(&FreezeId::new("frz_3"), &Scope::Agent(AgentId(2)), "x", &uid("user_2")).await.expect("frozen");
        t.commit(work).await;
        assert_eq!(last(&t, "frozen", Some(2)).await["scope"], json!({"kind": "agent", "id": 2}));
    }

    async fn tokens_and_keys_are_told_without_their_secrets(t: TestStore) {
        one_agent(&t, usd(10)).await;
        let new = token("secret", &t);
        let mut work = t.begin().await;
        work.set_ic_token(AgentId(1), &new).await.expect("set");
        t.commit(work).await;
        assert_eq!(last(&t, "ic_token_changed", Some(1)).await, json!({
            "agent_id": 1, "has_ic_token": true, "created_at": new.created_at.secs(),
            "expires_at": new.expires_at.map(kernel::Timestamp::secs),
        }));
        let extra = Extra::Key(FetchedKey { id: ProviderKeyId(3), provider: "anthropic".into() });
        done(&t, Item { extra, ..Item::new(Command::Touch { agent: AgentId(1) }) }).await;
        assert_eq!(last(&t, "key_fetched", Some(1)).await, json!({
            "agent_id": 1, "provider_key_id": 3, "provider": "anthropic", "epoch": 1,
        }));
        let before = head(&t).await.last;
        done(&t, Item::new(Command::Touch { agent: AgentId(1) })).await;
        assert!(told(&t, before).await.is_empty(), "a sign of life is no event");
        for _ in 0..2 {
            let mut work = t.begin().await;
            work.clear_ic_token(AgentId(1)).await.expect("cleared");
            t.commit(work).await;
        }
        let changes = told(&t, before).await;
        assert_eq!(changes.len(), 1, "there was one token to take away");
        assert_says(&changes[0].2, &json!({"has_ic_token": false, "created_at": null, "expires_at": null}));
    }

    async fn events_are_read_after_a_place(t: TestStore) {
        assert_eq!((head(&t).await.last, head(&t).await.oldest), (0, 1), "nothing yet");
        emit(&t, &[Some(1), None]).await;
        emit(&t, &[Some(2)]).await;
        assert_eq!(places(&t, 0, 10).await, [1, 2, 3]);
        assert_eq!(places(&t, 1, 1).await, [2]);
        assert!(places(&t, 3, 10).await.is_empty());
        let events = t.store.events_after(0, 2).await.expect("read");
        assert_eq!((events[0].agent, events[1].agent), (Some(AgentId(1)), None));
        assert_eq!((events[1].kind.as_str(), events[1].payload.as_str()), ("frozen", "{\"a\":\"\\\"ü\"}"));
        assert_eq!(events[1].created_at, START);
        assert_eq!((head(&t).await.last, head(&t).await.oldest), (3, 1));
    }

    async fn an_event_whose_work_was_dropped_leaves_no_hole(t: TestStore) {
        emit(&t, &[None]).await;
        let mut work = t.begin().await;
        work.emit(OutboxEvent { agent: None, kind: "frozen", payload: "{}".to_owned() });
        drop(work);
        emit(&t, &[None]).await;
        assert_eq!(places(&t, 0, 10).await, [1, 2]);
    }

    async fn every_move_of_money_is_told_once(t: TestStore) {
        one_agent(&t, usd(10)).await;
        let before = head(&t).await.last;
        done(&t, grant_with(1, &lease("a"), usd(5), Some(("key", 1)))).await;
        done(&t, grant_with(1, &lease("b"), usd(5), Some(("key", 1)))).await;
        done(&t, report(&t, &lease("a"), "r", usd(2))).await;
        done(&t, report(&t, &lease("a"), "r", usd(2))).await;
        done(&t, refresh(1, &lease("a"), &lease("c"), usd(5), None)).await;
        t.clock.advance_millis(crate::support::TTL_MS);
        done(&t, expire(&lease("c"))).await;
        done(&t, expire(&lease("c"))).await;
        done(&t, give_back(&lease("c"), None)).await;
        let kinds: Vec<_> = told(&t, before).await.into_iter().map(|(kind, ..)| kind).collect();
        assert_eq!(kinds, ["lease_granted", "llm_call", "lease_refreshed", "lease_expired", "lease_returned"]);
    }

    async fn events_of_one_commit_are_told_one_by_one(t: TestStore) {
        emit(&t, &[Some(1)]).await;
        let many: Vec<Option<i64>> = (0..100).map(|n| (n % 3 > 0).then_some(n)).collect();
        emit(&t, &many).await;
        emit(&t, &[Some(2)]).await;
        assert_eq!(places(&t, 0, 1_000).await, (1..=102).collect::<Vec<_>>());
        for (after, limit, expected) in [(0, 1, 1..=1), (1, 40, 2..=41), (20, 7, 21..=27), (33, 32, 34..=65), (99, 9, 100..=102)] {
            assert_eq!(places(&t, after, limit).await, expected.collect::<Vec<_>>(), "{limit} after {after}");
        }
        let told = t.store.events_after(1, 100).await.expect("read");
        assert_eq!(told.iter().map(|event| event.agent.map(|agent| agent.0)).collect::<Vec<_>>(), many);
        assert!(told.iter().all(|event| event.payload == "{\"a\":\"\\\"ü\"}" && event.created_at == told[0].created_at));
    }

    async fn old_events_are_pruned_from_the_old_end(t: TestStore) {
        for _ in 0..5 {
            emit(&t, &[None, None]).await;
        }
        let prune = async |before, limit| {
            let mut work = t.begin().await;
            let gone = work.prune_events(before, limit).await.expect("pruned");
            t.commit(work).await;
            gone
        };
        assert_eq!(prune(START, 100).await, 0, "nothing is older");
        assert_eq!(prune(START.plus_millis(2_000), 3).await, 2, "no more than asked for, and whole commits");
        assert_eq!(prune(START.plus_millis(2_000), 3).await, 2);
        assert_eq!(prune(START.plus_millis(2_000), 3).await, 0);
        assert_eq!((places(&t, 0, 100).await, head(&t).await.oldest), ((5..=10).collect(), 5));
        // A clock that was behind for a while leaves an old event among young ones: it stays, so that there is no hole
        t.execute("UPDATE outbox SET created_at = 0 WHERE seq = 10").await;
        assert_eq!(prune(START.plus_millis(3_000), 100).await, 2);
        assert_eq!(places(&t, 0, 100).await, [7, 8, 9, 10]);
        assert_eq!(prune(kernel::Timestamp::MAX, 100).await, 4);
        assert_eq!((head(&t).await.last, head(&t).await.oldest), (10, 11));
        emit(&t, &[None]).await;
        assert_eq!(places(&t, 0, 100).await, [11], "numbers go on");
    }

    async fn a_store_keeps_its_epoch(t: TestStore) {
        let epoch = head(&t).await.epoch;
        assert_eq!(epoch.len(), 16);
        emit(&t, &[None]).await;
        assert_eq!(head(&t).await.epoch, epoch);
    }
}

#[test]
fn a_failed_call_is_told_as_an_error_with_what_is_known_of_it() {
    let id = LeaseId::new("lease_1");
    let fact = LlmFact {
        model: "m\"1",
        provider: "openai",
        tokens: 0,
        cost: Money::ZERO,
        lease: Some(&id),
        event_id: Some("evt_1"),
        request_id: None,
        error_code: Some("429"),
    };
    let event = llm_event(AgentId(4), true, &fact);
    assert_eq!((event.kind, event.agent), ("llm_error", Some(AgentId(4))));
    let data: Value = serde_json::from_str(&event.payload).expect("JSON");
    assert_eq!(
        data,
        json!({
            "model": "m\"1", "provider": "openai", "tokens": 0, "cost_usd": 0, "cost_microdollars": 0,
            "lease_id": "lease_1", "event_id": "evt_1", "request_id": null, "error_code": "429",
        })
    );
}
