//! Deleting agents.

use serde_json::{Value, json};

use super::world::World;

fn uri(id: i64) -> String {
    format!("/api/v1/agents/{id}")
}

async fn lease(w: &World, id: &str) -> Value {
    w.t.get(&w.root, &format!("/api/v1/budget/leases/{id}")).await.expect(200)
}

#[tokio::test]
async fn a_deleted_agent_is_gone_for_everybody() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    let reply = w.t.delete(&w.root, &uri(id)).await;
    assert_eq!((reply.status, reply.bytes.len()), (204, 0));
    for who in [&w.root, &w.ada, &w.bob] {
        w.t.get(who, &uri(id)).await.refused(404, "AGENT_NOT_FOUND");
    }
    w.t.delete(&w.root, &uri(id)).await.refused(404, "AGENT_NOT_FOUND");
    w.t.put(&w.root, &uri(id), json!({"name": "x"})).await.refused(404, "AGENT_NOT_FOUND");
    w.t.post(&w.root, &format!("{}/ic-token", uri(id)), json!({})).await.refused(404, "AGENT_NOT_FOUND");
    let (operation, before, after) = w.last_audit().await;
    assert_eq!((operation.as_str(), &before["name"], after), ("AGENT_DELETED", &json!("bot"), Value::Null));
}

#[tokio::test]
async fn its_open_leases_are_revoked_with_their_rest_in_suspense() {
    let w = World::new().await;
    let (id, token) = w.spender(&w.ada).await;
    let leases = [w.lease(&token, 1_000_000).await, w.lease(&token, 2_000_000).await];
    w.report(&leases[1], "r1", 500_000_000).await;
    let returned = w.lease(&token, 3_000_000).await;
    let body = json!({"lease_id": returned, "spent_microdollars": 0});
    w.t.post((), "/api/v1/budget/return", body).await.expect(200);
    w.t.delete(&w.root, &uri(id)).await.expect(204);
    for (lease_id, suspense) in leases.iter().zip([1_000_000, 1_500_000]) {
        let shown = lease(&w, lease_id).await;
        assert_eq!((&shown["state"], &shown["ended_by"]), (&json!("revoked"), &json!("agent_deleted")));
        assert_eq!((&shown["suspense"], &shown["agent_name"]), (&json!(suspense), &json!("bot")));
    }
    assert_eq!(lease(&w, &returned).await["state"], "closed");
    let entry = w.t.audit_log().await.pop().expect("an entry");
    assert_eq!(
        serde_json::from_str::<Value>(&entry.metadata).ok(),
        Some(json!({"leases_revoked": 2, "api_tokens_revoked": [], "budget_requests_cancelled": 0}))
    );
    let check = w.t.api.store.verify_ledger().await.expect("the books are read");
    assert!(check.is_ok(), "{check:?}");
}

#[tokio::test]
async fn a_lease_that_had_run_out_unnoticed_is_expired_not_revoked() {
    let w = World::new().await;
    let (id, token) = w.spender(&w.ada).await;
    let lease_id = w.lease(&token, 1_000_000).await;
    w.t.clock.advance_millis(21_600_001);
    w.t.delete(&w.root, &uri(id)).await.expect(204);
    let shown = lease(&w, &lease_id).await;
    assert_eq!((&shown["state"], &shown["ended_by"]), (&json!("expired"), &json!("expiry")));
    assert_eq!(shown["suspense"], 1_000_000);
}

#[tokio::test]
async fn its_token_is_refused_at_once_and_a_late_report_is_still_booked() {
    let w = World::new().await;
    let (id, token) = w.spender(&w.ada).await;
    let lease_id = w.lease(&token, 1_000_000).await;
    w.t.delete(&w.root, &uri(id)).await.expect(204);
    let body = json!({"ic_token": token, "requested_budget": 1});
    w.t.post((), "/api/v1/budget/handshake", body).await.refused(401, "INVALID_IC_TOKEN");
    w.t.post((), "/api/v1/agents/provider-key", json!({"ic_token": token})).await.refused(401, "INVALID_IC_TOKEN");
    w.report(&lease_id, "late", 400_000_000).await;
    assert_eq!(lease(&w, &lease_id).await["suspense"], 600_000);
}

#[tokio::test]
async fn only_admins_delete() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    for who in [&w.ada, &w.bob, &w.vera] {
        w.t.delete(who, &uri(id)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    }
    w.t.delete((), &uri(id)).await.refused(401, "AUTH_MISSING_TOKEN");
    w.t.get(&w.ada, &uri(id)).await.expect(200);
}
