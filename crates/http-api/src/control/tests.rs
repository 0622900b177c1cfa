//! Freezes and explanations as a client sees them.

use serde_json::json;

use crate::agents::tests::world::World;

#[tokio::test]
async fn less_than_a_micro_dollar_cannot_be_lent_and_is_explained_so() {
    let w = World::new().await;
    let (id, token) = w.spender(&w.ada).await;
    let lease = w.lease(&token, 10_000_000).await;
    w.report(&lease, "r1", 9_999_999_500).await;
    w.t.post((), "/api/v1/budget/return", json!({"lease_id": lease})).await.expect(200);
    let shown = w.t.get(&w.ada, &format!("/api/v1/budget/explain?agent_id={id}")).await.expect(200);
    assert_eq!((&shown["decision"], &shown["grantable"]), (&json!("refuse"), &json!(0)));
    assert_eq!(shown["binding_scope"]["kind"], "agent");
    assert_eq!((&shown["scopes"][0]["available"], &shown["scopes"][0]["verdict"]), (&json!(0), &json!("blocked")));
    let handshake = json!({"ic_token": token});
    w.t.post((), "/api/v1/budget/handshake", handshake).await.refused(403, "BUDGET_EXHAUSTED");
}

#[tokio::test]
async fn a_freeze_of_what_is_gone_can_still_be_lifted() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    let body = json!({"scope": {"kind": "agent", "id": id}, "reason": "why"});
    w.t.post(&w.root, "/api/v1/budget/freeze", body.clone()).await.expect(200);
    w.t.delete(&w.root, &format!("/api/v1/agents/{id}")).await.expect(204);
    let lifted = w.t.post(&w.root, "/api/v1/budget/unfreeze", body.clone()).await.expect(200);
    assert_eq!(lifted["active"], false);
    w.t.post(&w.root, "/api/v1/budget/unfreeze", body).await.refused(404, "FREEZE_NOT_FOUND");
    let nobody = json!({"scope": {"kind": "project", "id": "proj_nobody"}, "reason": "why"});
    w.t.post(&w.root, "/api/v1/budget/unfreeze", nobody).await.refused(404, "FREEZE_NOT_FOUND");
}
