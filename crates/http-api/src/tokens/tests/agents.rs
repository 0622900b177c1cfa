//! Tokens that belong to an agent.

use serde_json::{Value, json};

use super::{TOKENS, one, secret};
use crate::agents::tests::world::World;

fn of(agent: i64) -> String {
    format!("/api/v1/agents/{agent}/tokens")
}

#[tokio::test]
async fn an_agents_tokens_are_listed_youngest_first_with_what_the_dashboard_needs() {
    let w = World::new().await;
    let agent = w.agent(&w.ada).await;
    let (_, first) = secret(&w.t.post(&w.ada, &of(agent), json!({"name": "a"})).await.expect(201));
    w.t.clock.advance_millis(1_000);
    let by_root = json!({"name": "r", "provider": "openai", "agent_id": 77});
    let (_, second) = secret(&w.t.post(&w.root, &of(agent), by_root).await.expect(201));
    w.token(&w.ada).await;
    let list = w.t.get(&w.root, &of(agent)).await.expect(200);
    let created = |id: i64| list.as_array().and_then(|rows| rows.iter().find(|row| row["id"] == id)).expect("there");
    let expected = json!([
        {"id": second, "user_id": w.root.id, "provider": "openai", "name": "r", "last_used_at": null,
            "created_at": created(second)["created_at"], "is_active": true},
        {"id": first, "user_id": w.ada.id, "provider": null, "name": "a", "last_used_at": null,
            "created_at": created(first)["created_at"], "is_active": true},
    ]);
    assert_eq!(list, expected);
    let own = w.t.get(&w.ada, &format!("/api/v1/agents/agent_{agent}/tokens")).await.expect(200);
    assert_eq!(own, json!([expected[1]]), "others than admins see their own");
    assert_eq!(w.t.get(&w.root, &one(second)).await.expect(200)["agent_id"], json!(agent));
}

#[tokio::test]
async fn only_who_sees_the_agent_makes_or_lists_its_tokens() {
    let w = World::new().await;
    let agent = w.agent(&w.ada).await;
    let body = || json!({"name": "n"});
    w.t.get(&w.bob, &of(agent)).await.refused(403, "ACCESS_DENIED");
    w.t.post(&w.bob, &of(agent), body()).await.refused(403, "ACCESS_DENIED");
    w.t.post(&w.vera, &of(agent), body()).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    w.t.get(&w.ada, &of(999)).await.refused(404, "AGENT_NOT_FOUND");
    w.t.post(&w.ada, &of(999), body()).await.refused(404, "AGENT_NOT_FOUND");
    w.t.post(&w.ada, &of(agent), json!({"name": ""})).await.refused(400, "VALIDATION_ERROR");
}

#[tokio::test]
async fn a_deleted_agents_tokens_end_with_it() {
    let w = World::new().await;
    let agent = w.agent(&w.ada).await;
    let (token, id) = secret(&w.t.post(&w.ada, &of(agent), json!({"name": "n"})).await.expect(201));
    let (other, _) = w.token(&w.ada).await;
    w.t.get(&token, TOKENS).await.expect(200);
    w.t.delete(&w.root, &format!("/api/v1/agents/{agent}")).await.expect(204);
    w.t.get(&token, TOKENS).await.refused(401, "AUTH_TOKEN_REVOKED");
    w.t.get(&other, TOKENS).await.expect(200);
    assert_eq!(w.t.get(&w.ada, &one(id)).await.expect(200)["is_active"], json!(false));
    let entry = w.t.audit_log().await.pop().expect("an entry");
    let metadata: Value = serde_json::from_str(&entry.metadata).expect("JSON");
    assert_eq!((entry.operation.as_str(), &metadata["api_tokens_revoked"]), ("AGENT_DELETED", &json!([id])));
    w.t.post(&w.ada, TOKENS, json!({"name": "n", "agent_id": agent})).await.refused(404, "AGENT_NOT_FOUND");
}

#[tokio::test]
async fn a_token_of_an_agent_makes_tokens_of_that_agent_only() {
    let w = World::new().await;
    let (agent, other) = (w.agent(&w.ada).await, w.agent(&w.ada).await);
    let (token, _) = secret(&w.t.post(&w.ada, &of(agent), json!({"name": "n"})).await.expect(201));
    let made = w.t.post(&token, TOKENS, json!({"name": "n"})).await.expect(201);
    assert_eq!(made["agent_id"], json!(agent));
    w.t.post(&token, &of(other), json!({"name": "n"})).await.refused(403, "AGENT_TOKEN_NOT_ALLOWED");
    let (_, free) = w.token(&w.ada).await;
    w.t.post(&token, &format!("{}/rotate", one(free)), json!({})).await.refused(403, "AGENT_TOKEN_NOT_ALLOWED");
}
