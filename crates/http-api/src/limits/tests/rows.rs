//! Setting limits, and the budgets that are their money.

use axum::http::Method;
use serde_json::{Value, json};

use super::{CEILING, HANDSHAKE, LIMITS, NEXT_MONTH, borrow, limit, millis, money_budgets, uri};
use crate::agents::tests::world::{World, fields, merge};
use crate::testing::{Persona, START};

#[tokio::test]
async fn an_owner_has_one_limit_and_one_for_each_project() {
    let w = World::new().await;
    w.project("p").await;
    let one = limit(&w, &w.ada, json!({"max_tokens_per_day": 1})).await;
    let pair = limit(&w, &w.ada, json!({"max_tokens_per_day": 1, "project_id": "p"})).await;
    for more in [json!({"user_id": w.ada.id}), json!({"user_id": w.ada.id, "project_id": "p"})] {
        let mut body = json!({"max_cost_per_month_microdollars": 5});
        merge(&mut body, more);
        w.t.post(&w.root, LIMITS, body).await.refused(409, "LIMIT_EXISTS");
    }
    assert!(money_budgets(&w).await.is_empty(), "nothing is left of what was refused");
    let ids = async |query: &str| {
        let list = w.t.get(&w.root, &format!("{LIMITS}{query}")).await.expect(200);
        list.as_array().expect("rows").iter().map(|row| row["id"].clone()).collect::<Vec<_>>()
    };
    let bobs = limit(&w, &w.bob, json!({"max_tokens_per_day": 1})).await;
    let [one, pair, bobs] = [&one["id"], &pair["id"], &bobs["id"]].map(Clone::clone);
    assert_eq!(ids("").await, [bobs.clone(), pair.clone(), one.clone()]);
    assert_eq!(ids(&format!("?user_id={}", w.ada.id)).await, [pair.clone(), one.clone()]);
    assert_eq!(ids("?project_id=p").await, std::slice::from_ref(&pair));
    assert_eq!(ids("?page=2&limit=2").await, [one]);
    let error = w.t.get(&w.root, &format!("{LIMITS}?page=0")).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["page"]);
}

#[tokio::test]
async fn what_a_limit_is_for_must_exist() {
    let w = World::new().await;
    w.project("p").await;
    for (body, code) in [
        (json!({"user_id": "user_x", "max_tokens_per_day": 1}), "USER_NOT_FOUND"),
        (json!({"user_id": w.ada.id, "project_id": "none", "max_tokens_per_day": 1}), "PROJECT_NOT_FOUND"),
    ] {
        w.t.post(&w.root, LIMITS, body).await.refused(404, code);
    }
    w.t.delete(&w.root, &format!("/api/v1/users/{}", w.bob.id)).await.expect(200);
    let body = json!({"user_id": w.bob.id, "max_tokens_per_day": 1});
    w.t.post(&w.root, LIMITS, body).await.refused(404, "USER_NOT_FOUND");
    let error = w.t.post(&w.root, LIMITS, json!({})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["max_tokens_per_day", "user_id"]);
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        for (id, status, code) in [("99", 404, "LIMIT_NOT_FOUND"), ("x", 400, "INVALID_PARAMETER")] {
            w.t.call(method.clone(), &w.root, &format!("{LIMITS}/{id}"), None).await.refused(status, code);
        }
    }
    w.t.put(&w.root, LIMITS, json!({})).await.refused(405, "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn limits_are_set_by_admins() {
    let w = World::new().await;
    let made = limit(&w, &w.ada, json!({"max_tokens_per_day": 1})).await;
    for who in [&w.ada, &w.vera] {
        w.t.post(who, LIMITS, json!(1)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.put(who, &uri(&made), json!(1)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.delete(who, &uri(&made)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.put(who, CEILING, json!(1)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    }
    for path in [LIMITS, uri(&made).as_str(), CEILING] {
        w.t.get((), path).await.refused(401, "AUTH_MISSING_TOKEN");
    }
}

#[tokio::test]
async fn the_money_is_an_enforced_budget_of_the_month() {
    let w = World::new().await;
    let (_, token) = w.spender(&w.ada).await;
    w.lease(&token, 1_000_000).await;
    let made = limit(&w, &w.ada, json!({"max_cost_per_month_microdollars": 3_000_000})).await;
    let budget = money_budgets(&w).await.remove(0);
    assert_eq!(budget["scope"], json!({"kind": "owner", "id": w.ada.id}));
    assert_eq!(
        (&budget["source"], &budget["window"], &budget["time_zone"]),
        (&json!("limit"), &json!("month"), &json!("UTC"))
    );
    assert_eq!((&budget["leased"], &budget["available"]), (&json!(1_000_000), &json!(2_000_000)));
    assert_eq!(budget["window_end"], millis(NEXT_MONTH));
    let body = json!({"ic_token": token, "requested_budget": 5_000_000});
    assert_eq!(w.t.post((), HANDSHAKE, body).await.expect(200)["budget_granted"], 2_000_000);
    let error = borrow(&w, &token).await.refused(403, "BUDGET_EXHAUSTED");
    assert_eq!(error["binding_scope"], json!({"kind": "owner", "id": w.ada.id}));

    let changed =
        w.t.put(&w.root, &uri(&made), json!({"max_cost_per_month_microdollars": 4_000_000})).await.expect(200);
    assert_eq!(changed["max_cost_per_month_microdollars"], 4_000_000);
    let after = money_budgets(&w).await.remove(0);
    assert_eq!((&after["id"], &after["available"]), (&budget["id"], &json!(1_000_000)), "the same budget");
    borrow(&w, &token).await.expect(200);

    let body = json!({"max_cost_per_month_microdollars": null, "max_tokens_per_day": 1_000});
    let changed = w.t.put(&w.root, &uri(&made), body).await.expect(200);
    assert_eq!(changed["max_cost_per_month_microdollars"], Value::Null);
    assert!(money_budgets(&w).await.is_empty());
    w.lease(&token, 2_000_000).await;
    let body = json!({"max_cost_per_month_microdollars": 9_000_000});
    w.t.put(&w.root, &uri(&made), body).await.expect(200);
    let again = money_budgets(&w).await.remove(0);
    assert_ne!(again["id"], budget["id"]);
    assert_eq!(again["leased"], 5_001_000, "it starts from what the month has seen");
    assert_eq!(w.t.delete(&w.root, &uri(&made)).await.expect(200), json!({"id": made["id"], "deleted": true}));
    assert!(money_budgets(&w).await.is_empty());
    assert_eq!(w.last_audit().await.0, "LIMIT_DELETED");
    let check = w.t.api.store.verify_ledger().await.expect("the books are read");
    assert!(check.is_ok(), "{check:?}");
}

#[tokio::test]
async fn a_change_keeps_what_it_does_not_name_and_leaves_one_number_at_least() {
    let w = World::new().await;
    let made = limit(&w, &w.ada, json!({"max_tokens_per_day": 5, "max_requests_per_minute": 6})).await;
    let entries = w.t.audited().await.len();
    assert_eq!(w.t.put(&w.root, &uri(&made), json!({})).await.expect(200), made);
    assert_eq!(w.t.put(&w.root, &uri(&made), json!({"max_tokens_per_day": 5})).await.expect(200), made);
    assert_eq!(w.t.audited().await.len(), entries, "no change, no entry");
    w.t.clock.advance_millis(5);
    let changed = w.t.put(&w.root, &uri(&made), json!({"max_tokens_per_day": 7})).await.expect(200);
    assert_eq!((&changed["max_tokens_per_day"], &changed["max_requests_per_minute"]), (&json!(7), &json!(6)));
    assert_eq!((&changed["updated_at"], &changed["created_at"]), (&json!(START.millis() + 5), &made["created_at"]));
    let (operation, before, after) = w.last_audit().await;
    assert_eq!(operation, "LIMIT_UPDATED");
    assert_eq!((&before["max_tokens_per_day"], &after["max_tokens_per_day"]), (&json!(5), &json!(7)));
    w.t.put(&w.root, &uri(&made), json!({"max_tokens_per_day": null})).await.expect(200);
    let error = w.t.put(&w.root, &uri(&made), json!({"max_requests_per_minute": null})).await;
    assert_eq!(fields(&error.refused(400, "VALIDATION_ERROR")), ["max_requests_per_minute"]);
    let shown = w.t.get(&w.root, &uri(&made)).await.expect(200);
    assert_eq!((&shown["max_tokens_per_day"], &shown["max_requests_per_minute"]), (&Value::Null, &json!(6)));
}

#[tokio::test]
async fn budgets_and_limits_name_each_others_place() {
    let w = World::new().await;
    let owner = |person: &Persona| json!({"kind": "owner", "id": person.id});
    let made = limit(&w, &w.ada, json!({"max_cost_per_month_microdollars": 3_000_000})).await;
    let budget = money_budgets(&w).await.remove(0);
    let at_limit = json!({"path": uri(&made)});
    let edit = format!("/api/v1/budgets/{}", budget["id"].as_str().expect("an id"));
    let month = json!({"scope": owner(&w.ada), "cap_microdollars": 5, "window": "month"});
    let weekly = json!({"scope": owner(&w.ada), "cap_microdollars": 5, "window": "week"});
    let weekly = w.t.post(&w.root, "/api/v1/budgets", weekly).await.expect(201);
    let to_month = format!("/api/v1/budgets/{}", weekly["id"].as_str().expect("an id"));
    for reply in [
        w.t.post(&w.root, "/api/v1/budgets", month).await,
        w.t.put(&w.root, &edit, json!({"cap_microdollars": 1})).await,
        w.t.call(Method::PATCH, &w.root, &edit, Some(json!({"enabled": false}))).await,
        w.t.delete(&w.root, &edit).await,
        w.t.put(&w.root, &to_month, json!({"window": "month"})).await,
    ] {
        assert_eq!(reply.refused(409, "MANAGED_ELSEWHERE")["details"], at_limit);
    }
    let policy = json!({"scope": owner(&w.bob), "cap_microdollars": 5, "window": "month"});
    let policy = w.t.post(&w.root, "/api/v1/budgets", policy).await.expect(201);
    let at_budget = json!({"path": format!("/api/v1/budgets/{}", policy["id"].as_str().expect("an id"))});
    let body = json!({"user_id": w.bob.id, "max_cost_per_month_microdollars": 5});
    let error = w.t.post(&w.root, LIMITS, body).await.refused(409, "MANAGED_ELSEWHERE");
    assert_eq!(error["details"], at_budget);
    let counted = limit(&w, &w.bob, json!({"max_tokens_per_day": 5})).await;
    let error = w.t.put(&w.root, &uri(&counted), json!({"max_cost_per_month_microdollars": 5})).await;
    assert_eq!(error.refused(409, "MANAGED_ELSEWHERE")["details"], at_budget);
    assert_eq!(w.t.get(&w.root, &uri(&counted)).await.expect(200)["max_cost_per_month_microdollars"], Value::Null);
}

#[tokio::test]
async fn limits_go_with_their_project() {
    let w = World::new().await;
    w.project("p").await;
    w.agent_with(json!({"owner_id": w.ada.id, "project_id": "p"})).await;
    let pair = limit(&w, &w.ada, json!({"max_cost_per_month_microdollars": 5, "project_id": "p"})).await;
    let kept = limit(&w, &w.ada, json!({"max_tokens_per_day": 5})).await;
    w.t.delete(&w.root, "/api/v1/projects/p").await.refused(409, "PROJECT_IN_USE");
    w.t.get(&w.root, &uri(&pair)).await.expect(200);
    w.t.delete(&w.root, "/api/v1/projects/p?force=true").await.expect(200);
    w.t.get(&w.root, &uri(&pair)).await.refused(404, "LIMIT_NOT_FOUND");
    w.t.get(&w.root, &uri(&kept)).await.expect(200);
    assert!(money_budgets(&w).await.is_empty());
    let operations = w.t.audited().await;
    assert!(operations.ends_with(&["LIMIT_DELETED".to_owned(), "PROJECT_DELETED".to_owned()]), "{operations:?}");
}
