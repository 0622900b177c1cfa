//! How an agent stands.

use serde_json::{Value, json};

use super::world::World;
use crate::testing::START;

async fn status(w: &World, id: i64) -> Value {
    w.t.get(&w.ada, &format!("/api/v1/agents/{id}/status")).await.expect(200)
}

#[tokio::test]
async fn it_tells_budget_calls_and_leases() {
    let w = World::new().await;
    let (id, token) = w.spender(&w.ada).await;
    let lease = w.lease(&token, 4_000_000).await;
    w.lease(&token, 1_000_000).await;
    w.report(&lease, "r1", 1_000_000_000).await;
    w.t.clock.advance_millis(3_600_001);
    w.report(&lease, "r2", 1_000_000_000).await;
    let now = START.millis() + 3_600_001;
    let expected = json!({"agent_id": id, "status": "active",
        "budget": {"total": 10_000_000, "spent": 5_000_000, "remaining": 5_000_000, "percent_used": 50},
        "requests": {"total": 2, "today": 2, "last_hour": 1}, "open_leases": 2, "last_request_at": now,
        "checked_at": now});
    assert_eq!(status(&w, id).await, expected);
}

#[tokio::test]
async fn an_agent_nobody_used_has_zeros() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    let shown = status(&w, id).await;
    assert_eq!(shown["requests"], json!({"total": 0, "today": 0, "last_hour": 0}));
    assert_eq!((&shown["open_leases"], &shown["last_request_at"]), (&json!(0), &Value::Null));
}

#[tokio::test]
async fn the_first_status_that_fits_is_told() {
    let w = World::new().await;
    let key = w.key("openai").await;
    let id = w.agent_with(json!({"owner_id": w.ada.id, "provider_key_id": key})).await;
    assert_eq!(status(&w, id).await["status"], "inactive", "no token");
    let token = w.ic_token(id).await;
    assert_eq!(status(&w, id).await["status"], "active");
    w.t.put(&w.root, &format!("/api/v1/providers/{key}"), json!({"is_enabled": false})).await.expect(200);
    assert_eq!(status(&w, id).await["status"], "inactive", "no enabled key");
    w.t.put(&w.root, &format!("/api/v1/providers/{key}"), json!({"is_enabled": true})).await.expect(200);
    w.lease(&token, 10_000_000).await;
    assert_eq!(status(&w, id).await["status"], "exhausted");
    let freeze = json!({"scope": {"kind": "owner", "id": w.ada.id}, "reason": "incident"});
    w.t.post(&w.root, "/api/v1/budget/freeze", freeze).await.expect(200);
    assert_eq!(status(&w, id).await["status"], "frozen");
    let listed = w.t.get(&w.ada, "/api/v1/agents?status=frozen").await.expect(200);
    assert_eq!((listed[0]["id"].as_i64(), &listed[0]["status"]), (Some(id), &json!("frozen")));
}

#[tokio::test]
async fn a_wider_budget_that_is_used_up_exhausts_the_agent() {
    let w = World::new().await;
    let (id, token) = w.spender(&w.ada).await;
    let body = json!({"scope": {"kind": "organization"}, "cap_microdollars": 1_000_000});
    w.t.post(&w.root, "/api/v1/budgets", body).await.expect(201);
    w.lease(&token, 1_000_000).await;
    let shown = status(&w, id).await;
    assert_eq!((&shown["status"], &shown["budget"]["remaining"]), (&json!("exhausted"), &json!(9_000_000)));
}
