//! Alerts: each is raised once for its budget, window and threshold, at the nano-dollar, whoever raises it.

use std::sync::Arc;

use kernel::entropy::SeededEntropy;
use kernel::{AgentId, BudgetId, ManualClock, Money, Window};
use ledger::{Scope, SettleOutcome};
use persistence::{Backend, BudgetChange, NewBudget, Pipeline, PipelineOptions, Store};
use serde_json::{Value, json};

use crate::support::{START, TTL_MS, TestStore};
use crate::world::*;

/// Every alert told since the beginning, with the agent it is of.
async fn alerts(t: &TestStore) -> Vec<(Option<i64>, Value)> {
    let events = t.store.events_after(0, 100_000).await.expect("read");
    let alerts = events.into_iter().filter(|event| event.kind == "COST_ALERT");
    alerts.map(|e| (e.agent.map(|a| a.0), serde_json::from_str(&e.payload).expect("JSON"))).collect()
}

/// Their budgets, kinds and thresholds.
async fn told(t: &TestStore) -> Vec<(String, String, Option<i64>)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let short = |(_, alert): (Option<i64>, Value)| {
        let data = &alert["data"];
        (text(&data["budget_id"]), text(&data["kind"]), data["threshold"].as_i64())
    };
    alerts(t).await.into_iter().map(short).collect()
}

/// The thresholds told of a budget.
async fn thresholds(t: &TestStore, budget: &str) -> Vec<i64> {
    told(t).await.into_iter().filter(|(id, ..)| id == budget).filter_map(|(.., threshold)| threshold).collect()
}

/// How often an alert without a threshold was told of a budget.
async fn count(t: &TestStore, budget: &str, kind: &str) -> usize {
    told(t).await.into_iter().filter(|(id, its, _)| id == budget && its == kind).count()
}

async fn change(t: &TestStore, budget: &str, change: BudgetChange) {
    let mut work = t.begin().await;
    work.adjust_budget(&BudgetId::new(budget), &change, &admin(), None).await.expect("answers").expect("changed");
    t.commit(work).await;
}

fn to_cap(cap: Money) -> BudgetChange {
    BudgetChange { cap: Some(cap), ..BudgetChange::default() }
}

fn pipeline(t: &TestStore, store: &Store) -> Pipeline {
    let options = PipelineOptions { lease_ttl_ms: TTL_MS, batch: 4, ..PipelineOptions::default() };
    let clock = Arc::new(ManualClock::new(t.now()));
    Pipeline::start(store.clone(), clock, Arc::new(SeededEntropy::new(3)), options, Arc::new(|_| {})).0
}

on_both_backends! {
    async fn a_threshold_is_told_at_the_nano_dollar_with_the_figures_of_then(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(10))).await;
        assert!(alerts(&t).await.is_empty(), "money lent is not spent");
        done(&t, report(&t, &lease("a"), "r1", Money::from_nanos(4_999_999_999))).await;
        assert!(alerts(&t).await.is_empty(), "a nano-dollar below");
        done(&t, report(&t, &lease("a"), "r2", Money::from_nanos(1))).await;
        assert_eq!(alerts(&t).await, [(Some(1), json!({"severity": "warning", "data": {
            "kind": "threshold", "scope": {"kind": "agent", "id": 1}, "budget_id": "bud_agent_1", "threshold": 50,
            "budget_spent": 5, "budget_limit": 10, "percentage": 50, "budget_spent_microdollars": 5_000_000,
            "budget_limit_microdollars": 10_000_000, "window_start": null, "window_end": null,
        }}))]);
        done(&t, report(&t, &lease("a"), "r3", Money::from_nanos(1))).await;
        done(&t, report(&t, &lease("a"), "r1", Money::from_nanos(4_999_999_999))).await;
        assert_eq!(thresholds(&t, "bud_agent_1").await, [50], "once");
    }

    async fn what_crosses_several_thresholds_tells_each_and_the_worst_are_critical(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(10))).await;
        done(&t, report(&t, &lease("a"), "r", usd(12))).await;
        let severities: Vec<_> = alerts(&t).await.iter().map(|(_, a)| a["severity"].as_str().map(str::to_owned)).collect();
        let [warning, critical] = ["warning", "critical"].map(|text| Some(text.to_owned()));
        let expected = [&warning, &warning, &critical, &critical, &critical].map(Clone::clone);
        assert_eq!(severities, expected);
        let id = "bud_agent_1".to_owned();
        let kinds = told(&t).await.into_iter().map(|(_, kind, threshold)| (kind, threshold)).collect::<Vec<_>>();
        let threshold = |percent| ("threshold".to_owned(), Some(percent));
        assert_eq!(
            kinds,
            [threshold(50), threshold(80), threshold(95), ("overrun".to_owned(), None), ("exhausted".to_owned(), None)],
            "{id}"
        );
        let last = alerts(&t).await.pop().expect("told").1;
        assert_eq!((last["data"]["percentage"].as_i64(), last["data"]["budget_spent"].as_i64()), (Some(120), Some(12)));
    }

    async fn from_where_on_a_threshold_is_critical_is_a_setting(t: TestStore) {
        people(&t, &[(1, "user_1", None), (2, "user_1", Some("proj_1"))]).await;
        allocate(&t, &[(1, usd(10)), (2, usd(10))]).await;
        t.execute(
            "INSERT INTO settings_levels VALUES ('system', '', 0, 'user_1'), ('project', 'proj_1', 0, 'user_1');\
             INSERT INTO settings VALUES ('system', '', 'operational.auto_pause_threshold', '80'), \
             ('project', 'proj_1', 'operational.auto_pause_threshold', '50')",
        )
        .await;
        for agent in [1, 2] {
            done(&t, grant(agent, &lease(agent), usd(10))).await;
            done(&t, report(&t, &lease(agent), "r", usd(8))).await;
        }
        let severities = alerts(&t).await.into_iter().map(|(agent, alert)| {
            (agent.unwrap_or(0), alert["data"]["threshold"].as_i64().unwrap_or(0), alert["severity"] == "critical")
        });
        assert_eq!(severities.collect::<Vec<_>>(), [(1, 50, false), (1, 80, true), (2, 50, true), (2, 80, true)]);
    }

    async fn alerts_come_after_what_caused_them_and_before_the_state(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(10))).await;
        let before = t.store.stream_head().await.expect("read").last;
        run(&t, &[report(&t, &lease("a"), "r1", usd(6)), report(&t, &lease("a"), "r2", usd(1))]).await;
        let kinds: Vec<_> = t.store.events_after(before, 10).await.expect("read").into_iter().map(|e| e.kind).collect();
        assert_eq!(kinds, ["llm_call", "llm_call", "COST_ALERT", "STATE_UPDATE"]);
    }

    async fn every_scope_has_alerts_of_its_own_and_wider_ones_are_nobodys(t: TestStore) {
        people(&t, &[(1, "user_1", Some("proj_1")), (2, "user_1", Some("proj_1"))]).await;
        allocate(&t, &[(1, usd(100)), (2, usd(100))]).await;
        open(&t, &NewBudget { thresholds: vec![40], ..budget("bud_owner", owner_scope("user_1"), usd(10)) }).await;
        open(&t, &NewBudget { thresholds: vec![3], ..budget("bud_all", Scope::Organization, usd(100)) }).await;
        open(&t, &NewBudget { enabled: false, ..budget("bud_off", project_scope("proj_1"), usd(1)) }).await;
        done(&t, grant(1, &lease("a"), usd(2))).await;
        done(&t, grant(2, &lease("b"), usd(2))).await;
        run(&t, &[report(&t, &lease("a"), "r", usd(2)), report(&t, &lease("b"), "r", usd(2))]).await;
        let mut all: Vec<_> = alerts(&t).await.into_iter().map(|(agent, a)| (agent, a["data"]["scope"].clone())).collect();
        all.sort_by_key(|(_, scope)| scope["kind"].to_string());
        assert_eq!(all, [
            (None, json!({"kind": "organization", "id": null})),
            (None, json!({"kind": "owner", "id": "user_1"})),
        ]);
        change(&t, "bud_off", BudgetChange { enabled: Some(true), ..BudgetChange::default() }).await;
        assert_eq!(thresholds(&t, "bud_off").await, [50, 80, 95], "what it has seen while it was off counts now");
    }

    async fn each_window_has_its_own_alerts(t: TestStore) {
        one_agent(&t, usd(1_000)).await;
        let scope = Scope::Agent(AgentId(1));
        open(&t, &NewBudget { window: Window::Day, thresholds: vec![50], ..budget("bud_day", scope, usd(10)) }).await;
        for day in 0..2 {
            done(&t, grant(1, &lease(day), usd(6))).await;
            done(&t, report(&t, &lease(day), "r1", usd(5))).await;
            done(&t, report(&t, &lease(day), "r2", Money::from_nanos(1))).await;
            assert_eq!(thresholds(&t, "bud_day").await.len(), day + 1);
            t.clock.advance_millis(86_400_000);
        }
        // A late report counts in the window that lent the money
        done(&t, report(&t, &lease(0), "r3", usd(5))).await;
        let last = alerts(&t).await.into_iter().filter(|(_, a)| a["data"]["budget_id"] == "bud_day");
        let last: Vec<_> = last.map(|(_, a)| (a["data"]["kind"].clone(), a["data"]["window_start"].clone())).collect();
        let midnight = START.millis() - 12 * 3_600_000;
        assert_eq!(last[2..], [("overrun".into(), json!(midnight)), ("exhausted".into(), json!(midnight))]);
    }

    async fn a_threshold_is_not_told_twice_in_a_window_whatever_becomes_of_the_cap(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(10))).await;
        done(&t, report(&t, &lease("a"), "r1", usd(6))).await;
        change(&t, "bud_agent_1", to_cap(usd(100))).await;
        assert_eq!(thresholds(&t, "bud_agent_1").await, [50]);
        done(&t, grant(1, &lease("b"), usd(80))).await;
        done(&t, report(&t, &lease("b"), "r1", usd(54))).await;
        assert_eq!(thresholds(&t, "bud_agent_1").await, [50], "60 % of the new cap: it was told");
        done(&t, report(&t, &lease("b"), "r2", usd(19))).await;
        assert_eq!(thresholds(&t, "bud_agent_1").await, [50], "79 %");
        done(&t, report(&t, &lease("b"), "r3", usd(1))).await;
        assert_eq!(thresholds(&t, "bud_agent_1").await, [50, 80], "80 % of the new cap, not of the old");
        change(&t, "bud_agent_1", to_cap(usd(84))).await;
        assert_eq!(thresholds(&t, "bud_agent_1").await, [50, 80, 95], "a lower cap reaches what spending did not");
        change(&t, "bud_agent_1", to_cap(usd(100))).await;
        change(&t, "bud_agent_1", to_cap(usd(84))).await;
        assert_eq!(thresholds(&t, "bud_agent_1").await.len(), 3);
    }

    async fn a_cap_that_was_raised_can_be_exhausted_again(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(10))).await;
        assert_eq!(count(&t, "bud_agent_1", "exhausted").await, 0, "it is lent, not gone");
        done(&t, give_back(&lease("a"), Some(usd(10)))).await;
        assert_eq!(count(&t, "bud_agent_1", "exhausted").await, 1);
        change(&t, "bud_agent_1", to_cap(usd(11))).await;
        done(&t, grant(1, &lease("b"), usd(10))).await;
        done(&t, give_back(&lease("b"), Some(usd(1)))).await;
        assert_eq!(count(&t, "bud_agent_1", "exhausted").await, 2);
        change(&t, "bud_agent_1", to_cap(usd(10))).await;
        change(&t, "bud_agent_1", to_cap(usd(11))).await;
        assert_eq!(count(&t, "bud_agent_1", "exhausted").await, 2);
    }

    async fn suspense_exhausts_once_even_when_it_comes_back_and_goes_again(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(10))).await;
        done(&t, revoke(&lease("a"))).await;
        assert_eq!(count(&t, "bud_agent_1", "exhausted").await, 1);
        done(&t, settle(&lease("a"), SettleOutcome::Unspent, None)).await;
        done(&t, grant(1, &lease("b"), usd(10))).await;
        done(&t, revoke(&lease("b"))).await;
        assert_eq!(count(&t, "bud_agent_1", "exhausted").await, 1);
        assert!(thresholds(&t, "bud_agent_1").await.is_empty(), "nothing is known to be spent");
    }

    async fn only_the_first_overrun_is_told(t: TestStore) {
        one_agent(&t, usd(100)).await;
        for n in 0..3 {
            done(&t, grant(1, &lease(n), usd(1))).await;
            done(&t, report(&t, &lease(n), "r", usd(2))).await;
        }
        assert_eq!(told(&t).await, [("bud_agent_1".to_owned(), "overrun".to_owned(), None)]);
        assert_eq!(alerts(&t).await[0].1["severity"], "critical");
    }

    async fn a_budget_starts_with_the_alerts_that_hold_when_it_is_opened(t: TestStore) {
        one_agent(&t, usd(100)).await;
        done(&t, grant(1, &lease("a"), usd(10))).await;
        done(&t, report(&t, &lease("a"), "r", usd(8))).await;
        open(&t, &budget("bud_owner", owner_scope("user_1"), usd(10))).await;
        assert_eq!(thresholds(&t, "bud_owner").await, [50, 80]);
        done(&t, report(&t, &lease("a"), "r2", usd(1))).await;
        assert_eq!(thresholds(&t, "bud_owner").await, [50, 80]);
    }

    async fn other_thresholds_are_told_where_they_hold_already(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(10))).await;
        done(&t, report(&t, &lease("a"), "r", usd(6))).await;
        let to = |thresholds: &[i64]| BudgetChange { thresholds: Some(thresholds.to_vec()), ..BudgetChange::default() };
        change(&t, "bud_agent_1", to(&[30, 50, 70])).await;
        assert_eq!(thresholds(&t, "bud_agent_1").await, [50, 30]);
        done(&t, report(&t, &lease("a"), "r2", usd(1))).await;
        assert_eq!(thresholds(&t, "bud_agent_1").await, [50, 30, 70], "the pipeline knows them too");
        change(&t, "bud_agent_1", to(&[])).await;
        done(&t, report(&t, &lease("a"), "r3", usd(2))).await;
        assert_eq!(thresholds(&t, "bud_agent_1").await.len(), 3);
    }

    async fn a_work_that_is_given_up_raises_nothing(t: TestStore) {
        one_agent(&t, usd(10)).await;
        done(&t, grant(1, &lease("a"), usd(10))).await;
        let mut work = t.begin().await;
        work.run(&[report(&t, &lease("a"), "r", usd(9))], TTL_MS).await.expect("run");
        drop(work);
        assert!(alerts(&t).await.is_empty());
        done(&t, report(&t, &lease("a"), "r", usd(9))).await;
        assert_eq!(thresholds(&t, "bud_agent_1").await, [50, 80]);
    }

    async fn servers_and_pipelines_that_race_raise_each_alert_once(t: TestStore) {
        let agents = [1, 2, 3, 4];
        people(&t, &agents.map(|id| (id, "user_1", None))).await;
        allocate(&t, &agents.map(|id| (id, usd(1_000)))).await;
        let all: Vec<i64> = (1..=10).map(|n| n * 10).collect();
        open(&t, &NewBudget { thresholds: all.clone(), ..budget("bud_owner", owner_scope("user_1"), usd(100)) }).await;
        for id in agents {
            done(&t, grant(id, &lease(id), usd(25))).await;
        }
        let second = match t.store.backend() {
            Backend::Sqlite => t.store.clone(),
            Backend::Postgres => Store::open(&t.options).await.expect("a second server"),
        };
        let pipelines = [pipeline(&t, &t.store), pipeline(&t, &second)];
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..100_usize {
            // Every report is sent to both: whoever comes first books it
            for pipeline in &pipelines {
                let item = report(&t, &lease(agents[n % 4]), &format!("r{n}"), usd(1));
                let pipeline = pipeline.clone();
                tasks.spawn(async move { pipeline.run_one(item).await });
            }
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("ends").expect("answered").expect("booked");
        }
        assert_eq!(thresholds(&t, "bud_owner").await, all, "each once, in the order of the money");
        assert_eq!(count(&t, "bud_owner", "exhausted").await, 1);
        assert_sound(&t).await;
    }
}
