//! Budgets as a client sees them.

use axum::http::Method;
use serde_json::{Value, json};

use crate::agents::tests::world::{World, fields, merge};
use crate::testing::START;

const BUDGETS: &str = "/api/v1/budgets";

fn organization() -> Value {
    json!({"scope": {"kind": "organization"}, "cap_microdollars": 5_000_000})
}

async fn open(w: &World, more: Value) -> Value {
    let mut body = organization();
    merge(&mut body, more);
    w.t.post(&w.root, BUDGETS, body).await.expect(201)
}

fn uri(budget: &Value) -> String {
    format!("{BUDGETS}/{}", budget["id"].as_str().expect("an id"))
}

#[tokio::test]
async fn a_new_budget_has_defaults() {
    let w = World::new().await;
    let budget = open(&w, json!({})).await;
    let now = START.millis();
    let expected = json!({"id": budget["id"], "name": null, "scope": {"kind": "organization", "id": null},
        "cap_microdollars": 5_000_000, "window": "none", "time_zone": "UTC", "thresholds": [50, 80, 95],
        "enabled": true, "source": "policy", "window_start": null, "window_end": null, "spent": 0, "leased": 0,
        "suspense": 0, "overrun": 0, "available": 5_000_000, "created_at": now, "updated_at": now,
        "created_by": w.root.id});
    assert_eq!(budget, expected);
    assert!(budget["id"].as_str().is_some_and(|id| id.starts_with("bud_")));
    assert_eq!(w.t.get(&w.root, &uri(&budget)).await.expect(200), budget);
    assert_eq!(w.last_audit().await.0, "BUDGET_POLICY_CREATED");
}

#[tokio::test]
async fn a_window_follows_the_local_clock() {
    let w = World::new().await;
    let more = json!({"window": "day", "time_zone": "Europe/Zurich", "name": " Daily ", "thresholds": [10, 200]});
    let budget = open(&w, more).await;
    let midnight = START.millis() - 13 * 3_600_000;
    assert_eq!((&budget["window_start"], &budget["window_end"]), (&json!(midnight), &json!(midnight + 86_400_000)));
    assert_eq!((&budget["time_zone"], &budget["name"]), (&json!("Europe/Zurich"), &json!("Daily")));
    assert_eq!(budget["thresholds"], json!([10, 200]));
}

#[tokio::test]
async fn a_new_budget_counts_what_its_window_has_seen() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    let lease = w.lease(&token, 4_000_000).await;
    w.report(&lease, "r", 1_000_000_000).await;
    for scope in [json!({"kind": "organization"}), json!({"kind": "owner", "id": w.ada.id})] {
        let budget = open(&w, json!({"scope": scope, "window": "month"})).await;
        let shown = [&budget["spent"], &budget["leased"], &budget["available"]];
        assert_eq!(shown, [&json!(1_000_000), &json!(3_000_000), &json!(1_000_000)]);
    }
    let body = json!({"ic_token": token, "requested_budget": 3_000_000});
    let granted = w.t.post((), "/api/v1/budget/handshake", body).await.expect(200);
    assert_eq!(granted["budget_granted"], 1_000_000, "the new budgets hold at once");
}

#[tokio::test]
async fn one_scope_has_one_budget_for_each_window() {
    let w = World::new().await;
    open(&w, json!({})).await;
    w.t.post(&w.root, BUDGETS, organization()).await.refused(409, "BUDGET_EXISTS");
    open(&w, json!({"window": "day"})).await;
    w.project("p").await;
    let pair = json!({"kind": "owner_project", "id": w.ada.id, "project_id": "p"});
    let budget = open(&w, json!({"scope": pair})).await;
    assert_eq!(budget["scope"], json!({"kind": "owner_project", "id": w.ada.id, "project_id": "p"}));
    assert_eq!(w.t.get(&w.root, &format!("{BUDGETS}?source=policy")).await.expect(200)["pagination"]["total"], 3);
}

#[tokio::test]
async fn the_scope_must_exist() {
    let w = World::new().await;
    let agent = w.agent(&w.ada).await;
    w.t.delete(&w.root, &format!("/api/v1/agents/{agent}")).await.expect(204);
    w.project("p").await;
    for (scope, code) in [
        (json!({"kind": "agent", "id": 99}), "AGENT_NOT_FOUND"),
        (json!({"kind": "agent", "id": agent}), "AGENT_NOT_FOUND"),
        (json!({"kind": "project", "id": "none"}), "PROJECT_NOT_FOUND"),
        (json!({"kind": "owner", "id": "user_x"}), "USER_NOT_FOUND"),
        (json!({"kind": "owner_project", "id": "user_x", "project_id": "p"}), "USER_NOT_FOUND"),
        (json!({"kind": "owner_project", "id": w.ada.id, "project_id": "none"}), "PROJECT_NOT_FOUND"),
    ] {
        for window in ["none", "day"] {
            let body = json!({"scope": scope, "cap_microdollars": 1, "window": window});
            w.t.post(&w.root, BUDGETS, body).await.refused(404, code);
        }
    }
}

#[tokio::test]
async fn an_agents_allocation_is_managed_at_the_agent() {
    let w = World::new().await;
    let agent = w.agent(&w.ada).await;
    let path = json!({"path": format!("/api/v1/agents/{agent}/budget")});
    let body = json!({"scope": {"kind": "agent", "id": agent.to_string()}, "cap_microdollars": 1});
    let error = w.t.post(&w.root, BUDGETS, body).await.refused(409, "MANAGED_ELSEWHERE");
    assert_eq!(error["details"], path);
    let list = w.t.get(&w.root, &format!("{BUDGETS}?source=agent_allocation")).await.expect(200);
    let allocation = &list["data"][0];
    assert_eq!(
        (&allocation["source"], &allocation["cap_microdollars"]),
        (&json!("agent_allocation"), &json!(10_000_000))
    );
    for reply in [
        w.t.put(&w.root, &uri(allocation), json!({"cap_microdollars": 1})).await,
        w.t.delete(&w.root, &uri(allocation)).await,
    ] {
        assert_eq!(reply.refused(409, "MANAGED_ELSEWHERE")["details"], path);
    }
    open(&w, json!({"scope": {"kind": "agent", "id": agent}, "window": "day"})).await;
}

#[tokio::test]
async fn every_field_that_fails_is_named() {
    let w = World::new().await;
    let error = w.t.post(&w.root, BUDGETS, json!({})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["cap_microdollars", "scope"]);
    let body = json!({"scope": {"kind": "owner_project"}, "cap_microdollars": 0.5, "window": "year",
        "time_zone": "Mars", "thresholds": [5, 5], "name": 1, "enabled": 1});
    let error = w.t.post(&w.root, BUDGETS, body.clone()).await.refused(400, "VALIDATION_ERROR");
    let names =
        ["cap_microdollars", "enabled", "name", "scope.id", "scope.project_id", "thresholds", "time_zone", "window"];
    assert_eq!(fields(&error), names);
    let budget = open(&w, json!({})).await;
    let error = w.t.put(&w.root, &uri(&budget), body).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), names);
}

#[tokio::test]
async fn what_is_given_changes_under_both_methods() {
    let w = World::new().await;
    let budget = open(&w, json!({"name": "n"})).await;
    w.t.clock.advance_millis(5);
    let body = json!({"cap_microdollars": 7_000_000, "thresholds": [90], "scope": {"kind": "organization"},
        "window": "none", "time_zone": "UTC"});
    let changed = w.t.put(&w.root, &uri(&budget), body).await.expect(200);
    assert_eq!((&changed["cap_microdollars"], &changed["available"]), (&json!(7_000_000), &json!(7_000_000)));
    assert_eq!((&changed["thresholds"], &changed["name"]), (&json!([90]), &json!("n")));
    assert_eq!(changed["updated_at"], START.millis() + 5);
    let body = json!({"enabled": false, "name": ""});
    let patched = w.t.call(Method::PATCH, &w.root, &uri(&budget), Some(body)).await.expect(200);
    assert_eq!(
        (&patched["enabled"], &patched["name"], &patched["cap_microdollars"]),
        (&json!(false), &Value::Null, &json!(7_000_000))
    );
    let (operation, before, after) = w.last_audit().await;
    assert_eq!(
        (operation.as_str(), &before["enabled"], &after["enabled"]),
        ("BUDGET_POLICY_UPDATED", &json!(true), &json!(false))
    );
    let same = w.t.put(&w.root, &uri(&budget), json!({})).await.expect(200);
    assert_eq!(same, patched);
    assert_eq!(w.t.audited().await.len(), 3, "an empty change is none");
    w.t.put(&w.root, &format!("{BUDGETS}/bud_none"), json!({})).await.refused(404, "BUDGET_NOT_FOUND");
}

#[tokio::test]
async fn the_scope_stays() {
    let w = World::new().await;
    let budget = open(&w, json!({})).await;
    let body = json!({"scope": {"kind": "owner", "id": w.ada.id}, "window": "day", "cap_microdollars": 1});
    let error = w.t.put(&w.root, &uri(&budget), body).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["scope"]);
    assert_eq!(w.t.get(&w.root, &uri(&budget)).await.expect(200), budget);
}

#[tokio::test]
async fn under_another_window_a_budget_starts_from_what_that_has_seen() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    let budget = open(&w, json!({"name": "all", "thresholds": [70]})).await;
    w.lease(&token, 1_000_000).await;
    let body = json!({"window": "day", "time_zone": "Europe/Zurich", "name": ""});
    let changed = w.t.put(&w.root, &uri(&budget), body).await.expect(200);
    for key in ["id", "scope", "cap_microdollars", "thresholds", "enabled", "source", "created_by"] {
        assert_eq!(changed[key], budget[key], "{key}");
    }
    assert_eq!((&changed["window"], &changed["time_zone"]), (&json!("day"), &json!("Europe/Zurich")));
    assert_eq!((&changed["leased"], &changed["name"]), (&json!(1_000_000), &json!(null)));
    let (operation, before, after) = w.last_audit().await;
    assert_eq!(
        (operation.as_str(), &before["window"], &after["window"]),
        ("BUDGET_POLICY_UPDATED", &json!("none"), &json!("day"))
    );
    open(&w, json!({"window": "week"})).await;
    w.t.put(&w.root, &uri(&budget), json!({"window": "week"})).await.refused(409, "BUDGET_EXISTS");
    assert_eq!(w.t.get(&w.root, &uri(&budget)).await.expect(200), changed, "nothing is half done");
}

#[tokio::test]
async fn a_cap_below_what_is_committed_leaves_nothing_available() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    let budget = open(&w, json!({})).await;
    w.lease(&token, 4_000_000).await;
    let changed = w.t.put(&w.root, &uri(&budget), json!({"cap_microdollars": 1})).await.expect(200);
    assert_eq!((&changed["available"], &changed["leased"]), (&json!(0), &json!(4_000_000)));
    let body = json!({"ic_token": token, "requested_budget": 1});
    w.t.post((), "/api/v1/budget/handshake", body).await.refused(403, "BUDGET_EXHAUSTED");
}

#[tokio::test]
async fn a_deleted_budget_limits_nothing_and_can_be_opened_anew() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    let budget = open(&w, json!({"cap_microdollars": 1_000_000})).await;
    w.lease(&token, 1_000_000).await;
    let deleted = w.t.delete(&w.root, &uri(&budget)).await.expect(200);
    assert_eq!(deleted, json!({"id": budget["id"], "deleted": true}));
    assert_eq!(w.last_audit().await.0, "BUDGET_POLICY_DELETED");
    w.lease(&token, 2_000_000).await;
    w.t.get(&w.root, &uri(&budget)).await.refused(404, "BUDGET_NOT_FOUND");
    w.t.delete(&w.root, &uri(&budget)).await.refused(404, "BUDGET_NOT_FOUND");
    assert_eq!(open(&w, json!({})).await["leased"], 3_000_000);
    let check = w.t.api.store.verify_ledger().await.expect("the books are read");
    assert!(check.is_ok(), "{check:?}");
}

#[tokio::test]
async fn the_list_is_filtered_and_paged_youngest_first() {
    let w = World::new().await;
    let agent = w.agent(&w.ada).await;
    w.project("p").await;
    for more in [
        json!({"name": "org"}),
        json!({"name": "ada", "scope": {"kind": "owner", "id": w.ada.id}, "window": "month", "enabled": false}),
        json!({"name": "pair", "scope": {"kind": "owner_project", "id": w.ada.id, "project_id": "p"}}),
    ] {
        w.t.clock.advance_millis(1);
        open(&w, more).await;
    }
    let listed = async |query: &str| {
        let page = w.t.get(&w.root, &format!("{BUDGETS}?{query}")).await.expect(200);
        let rows = page["data"].as_array().expect("rows").iter();
        rows.map(|row| row["name"].as_str().unwrap_or("-").to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(listed("").await, "pair ada org -");
    assert_eq!(listed("scope_kind=owner").await, "ada");
    assert_eq!(listed(&format!("scope_kind=owner&scope_id={}", w.ada.id)).await, "ada");
    assert_eq!(listed(&format!("scope_kind=owner&scope_id={}", w.bob.id)).await, "");
    assert_eq!(listed(&format!("scope_kind=owner_project&scope_id={}&project_id=p", w.ada.id)).await, "pair");
    assert_eq!(listed(&format!("scope_kind=agent&scope_id={agent}")).await, "-");
    assert_eq!(listed(&format!("scope_kind=agent&scope_id=agent_{agent}")).await, "-");
    assert_eq!(listed("scope_kind=organization").await, "org");
    assert_eq!(listed("window=month").await, "ada");
    assert_eq!(listed("enabled=false").await, "ada");
    assert_eq!(listed("source=agent_allocation").await, "-");
    assert_eq!(listed("page=2&per_page=3").await, "-");
    let page = w.t.get(&w.root, &format!("{BUDGETS}?per_page=3")).await.expect(200);
    assert_eq!(page["pagination"], json!({"page": 1, "per_page": 3, "total": 4, "total_pages": 2}));
    let refused = async |query: &str| {
        let error = w.t.get(&w.root, &format!("{BUDGETS}?{query}")).await.refused(400, "VALIDATION_ERROR");
        fields(&error).join(" ")
    };
    assert_eq!(refused("scope_id=x").await, "scope_kind");
    assert_eq!(
        refused("scope_kind=team&scope_id=x&window=year&source=x&enabled=x").await,
        "enabled scope_kind source window"
    );
    assert_eq!(refused("scope_kind=agent&scope_id=x").await, "scope_id");
    assert_eq!(refused("scope_kind=owner_project&scope_id=x").await, "project_id");
}

#[tokio::test]
async fn budgets_are_for_admins() {
    let w = World::new().await;
    let budget = open(&w, json!({})).await;
    for who in [&w.ada, &w.vera] {
        w.t.get(who, BUDGETS).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.post(who, BUDGETS, json!(1)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.get(who, &uri(&budget)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.put(who, &uri(&budget), json!(1)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.call(Method::PATCH, who, &uri(&budget), None).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.delete(who, &uri(&budget)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    }
    w.t.get((), BUDGETS).await.refused(401, "AUTH_MISSING_TOKEN");
}
