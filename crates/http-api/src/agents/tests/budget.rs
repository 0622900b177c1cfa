//! An agent's total, in both units, and its history.

use axum::http::Method;
use serde_json::{Value, json};

use super::world::{World, fields};
use crate::testing::START;

fn budget(id: i64) -> String {
    format!("/api/v1/agents/{id}/budget")
}

fn usd_budget(id: i64) -> String {
    format!("/api/v1/limits/agents/{id}/budget")
}

fn micros(total: i64) -> Value {
    json!({"total_allocated_microdollars": total})
}

#[tokio::test]
async fn what_is_shown_adds_up_to_the_micro_dollar() {
    let w = World::new().await;
    let (id, token) = w.spender(&w.ada).await;
    let lease = w.lease(&token, 4_000_000).await;
    w.report(&lease, "r1", 1_000_000_500).await;
    let shown = w.t.get(&w.ada, &budget(id)).await.expect(200);
    let expected = json!({"agent_id": id, "total_allocated": 10_000_000, "total_spent": 4_000_000,
        "budget_remaining": 6_000_000, "total_reserved": 3_000_000, "spent": 1_000_001, "leased": 3_000_000,
        "suspense": 0, "overrun": 0, "percent_used": 40, "updated_at": START.millis()});
    assert_eq!(shown, expected, "spent and lent are each rounded up from the exact figure, their sum once");
}

#[tokio::test]
async fn a_total_is_set_by_admins_only() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    w.t.clock.advance_millis(7);
    let shown = w.t.put(&w.root, &budget(id), micros(25_000_000)).await.expect(200);
    assert_eq!((&shown["total_allocated"], &shown["budget_remaining"]), (&json!(25_000_000), &json!(25_000_000)));
    assert_eq!(shown["updated_at"], START.millis() + 7);
    assert_eq!(w.last_audit().await.0, "BUDGET_UPDATED");
    for who in [&w.ada, &w.vera] {
        w.t.put(who, &budget(id), json!([])).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.put(who, &usd_budget(id), json!([])).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    }
    w.t.put(&w.root, &budget(99), micros(1)).await.refused(404, "AGENT_NOT_FOUND");
    w.t.put(&w.root, &usd_budget(99), json!({"budget": 1})).await.refused(404, "AGENT_NOT_FOUND");
    for bad in [json!({}), json!({"total_allocated_microdollars": 1.5}), micros(0), micros(1_000_000_000_000_001)] {
        let error = w.t.put(&w.root, &budget(id), bad).await.refused(400, "VALIDATION_ERROR");
        assert_eq!(fields(&error), ["total_allocated_microdollars"]);
    }
}

#[tokio::test]
async fn a_total_below_what_is_committed_needs_force_and_stops_lending() {
    let w = World::new().await;
    let (id, token) = w.spender(&w.ada).await;
    let lease = w.lease(&token, 4_000_000).await;
    w.report(&lease, "r1", 1).await;
    let error = w.t.put(&w.root, &budget(id), micros(3_999_999)).await.refused(400, "BUDGET_BELOW_COMMITTED");
    assert_eq!(error["details"], json!({"total_spent": 4_000_000, "requested": 3_999_999}));
    let exact = w.t.put(&w.root, &budget(id), micros(4_000_000)).await.expect(200);
    assert_eq!(exact["budget_remaining"], 0);
    let forced = json!({"total_allocated_microdollars": 1, "force": true, "reason": "incident"});
    let shown = w.t.put(&w.root, &budget(id), forced).await.expect(200);
    assert_eq!((&shown["total_allocated"], &shown["budget_remaining"]), (&json!(1), &json!(0)));
    assert_eq!((&shown["total_spent"], &shown["percent_used"]), (&json!(4_000_000), &json!(400_000_000)));
    let handshake = json!({"ic_token": token, "requested_budget": 1});
    w.t.post((), "/api/v1/budget/handshake", handshake).await.refused(403, "BUDGET_EXHAUSTED");
}

#[tokio::test]
async fn the_same_total_again_changes_nothing() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    w.t.put(&w.root, &budget(id), micros(10_000_000)).await.expect(200);
    assert_eq!(w.t.audited().await, ["AGENT_CREATED"]);
    let history = w.t.get(&w.ada, &format!("{}/history", budget(id))).await.expect(200);
    assert_eq!(history["pagination"]["total"], 1);
    w.t.put(&w.root, &usd_budget(id), json!({"budget": 10})).await.refused(400, "BUDGET_UNCHANGED");
}

#[tokio::test]
async fn a_budget_is_shown_in_dollars_digit_by_digit() {
    let w = World::new().await;
    let (id, token) = w.spender(&w.ada).await;
    let lease = w.lease(&token, 4_000_000).await;
    w.report(&lease, "r1", 100_000_001).await;
    let reply = w.t.get(&w.ada, &usd_budget(id)).await;
    let expected = json!({"agent_id": id, "budget": 10, "spent": 4, "remaining": 6, "percent_used": 40,
        "status": "active", "total_allocated": 10_000_000, "total_spent": 4_000_000, "budget_remaining": 6_000_000,
        "total_reserved": 3_900_000, "leased": 3_900_000, "suspense": 0, "overrun": 0,
        "updated_at": START.millis()});
    assert_eq!(reply.expect(200), expected);
    w.t.put(&w.root, &budget(id), micros(12_345_678)).await.expect(200);
    let text = w.t.get(&w.ada, &usd_budget(id)).await.text();
    assert!(text.contains(r#""budget":12.345678,"spent":4,"remaining":8.345678,"percent_used":32.4,"#), "{text}");
}

#[tokio::test]
async fn a_total_is_raised_in_dollars_under_every_address_and_name() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    w.t.clock.advance_millis(3);
    let body = json!({"budget": 12.5, "reason": " Quarter end "});
    let changed = w.t.put(&w.root, &usd_budget(id), body).await.expect(200);
    let expected = json!({"agent_id": id, "previous_budget": 10, "new_budget": 12.5, "increase_amount": 2.5,
        "increase_percent": 25, "current_spent": 0, "new_remaining": 12.5, "reason": "Quarter end",
        "modified_by": w.root.id, "modified_at": START.millis() + 3});
    assert_eq!(changed, expected);
    let patched = w.t.call(Method::PATCH, &w.root, &budget(id), Some(json!({"new_budget": 20}))).await.expect(200);
    assert_eq!((&patched["previous_budget"], &patched["new_budget"]), (&json!(12.5), &json!(20)));
    assert_eq!(patched["reason"], Value::Null);
    for bad in [json!({}), json!({"budget": 0.009}), json!({"budget": "5"}), json!({"budget": 1.000_000_1})] {
        w.t.put(&w.root, &usd_budget(id), bad).await.refused(400, "VALIDATION_ERROR");
    }
}

#[tokio::test]
async fn every_decrease_in_dollars_needs_force() {
    let w = World::new().await;
    let (id, token) = w.spender(&w.ada).await;
    w.lease(&token, 4_000_000).await;
    let error = w.t.put(&w.root, &usd_budget(id), json!({"budget": 3.5})).await;
    let error = error.refused(400, "BUDGET_DECREASE_REQUIRES_CONFIRMATION");
    let expected = json!({"current_budget": 10.0, "requested_budget": 3.5, "decrease_amount": 6.5,
        "current_spent": 4.0, "new_remaining_if_applied": 0.0});
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(error["details"][name].as_f64(), value.as_f64(), "{name}");
    }
    let forced = json!({"budget": 3.5, "force": true});
    let changed = w.t.put(&w.root, &usd_budget(id), forced).await.expect(200);
    assert_eq!((&changed["increase_amount"], &changed["increase_percent"]), (&json!(-6.5), &json!(-65)));
    assert_eq!((&changed["current_spent"], &changed["new_remaining"]), (&json!(4), &json!(0)));
}

#[tokio::test]
async fn the_history_tells_who_changed_what_newest_first() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    for (step, usd) in [(1, json!({"budget": 15, "reason": "more"})), (2, json!({"budget": 12, "force": true}))] {
        w.t.clock.advance_millis(step);
        w.t.put(&w.root, &usd_budget(id), usd).await.expect(200);
    }
    let history = w.t.get(&w.ada, &format!("{}/history?per_page=2", budget(id))).await.expect(200);
    let rows = history["modifications"].as_array().expect("rows");
    let newest = json!({"id": rows[0]["id"], "previous_budget": 15, "new_budget": 12, "increase_amount": -3,
        "increase_percent": -20, "previous_budget_microdollars": 15_000_000, "new_budget_microdollars": 12_000_000,
        "kind": "edit", "request_id": null, "reason": null, "modified_by": w.root.id, "modified_by_name": "root",
        "modified_at": START.millis() + 3});
    assert_eq!((rows.len(), &rows[0]), (2, &newest));
    assert!(rows[0]["id"].as_str().is_some_and(|id| id.starts_with("bhist_")));
    assert_eq!((&rows[1]["reason"], &history["agent_id"]), (&json!("more"), &json!(id)));
    let summary = json!({"initial_budget": 10, "current_budget": 12, "total_increases": 5, "modification_count": 2});
    assert_eq!((&history["summary"], &history["current_budget"]), (&summary, &json!(12)));
    assert_eq!(history["pagination"], json!({"page": 1, "per_page": 2, "total": 3, "total_pages": 2}));
    let first = w.t.get(&w.ada, &format!("/api/v1/limits/agents/{id}/history?page=2&per_page=2")).await.expect(200);
    let created = &first["modifications"][0];
    assert_eq!(
        (&created["kind"], &created["previous_budget"], &created["increase_percent"]),
        (&json!("create"), &json!(0), &json!(0))
    );
    let error = w.t.get(&w.ada, &format!("{}/history?page=x", budget(id))).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["page"]);
}

#[tokio::test]
async fn two_edits_at_once_leave_a_history_without_a_gap() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    let (uri, root) = (budget(id), &w.root);
    let edits = (1..=4).map(|n| w.t.put(root, &uri, micros(20_000_000 + n)));
    let mut pending: Vec<_> = edits.map(Box::pin).collect();
    let [a, b, c, d] = &mut pending[..] else { panic!("four edits") };
    let replies = tokio::join!(a, b, c, d);
    for reply in [&replies.0, &replies.1, &replies.2, &replies.3] {
        reply.expect(200);
    }
    let history = w.t.get(root, &format!("{uri}/history")).await.expect(200);
    let mut rows = history["modifications"].as_array().expect("rows").clone();
    let mut total = history["summary"]["current_budget"].as_f64();
    // Within one millisecond the order of rows is arbitrary, the chain of totals is not
    while let Some(at) = rows.iter().position(|row| row["new_budget"].as_f64() == total) {
        total = rows.swap_remove(at)["previous_budget"].as_f64();
    }
    assert!(rows.is_empty() && total == Some(0.0), "{history}");
}
