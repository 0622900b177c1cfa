//! The provider keys of an agent.

use serde_json::{Value, json};

use super::world::{SECRET, World, fields};

fn uri(id: i64) -> String {
    format!("/api/v1/agents/{id}/providers")
}

fn ids(list: &[i64]) -> Value {
    json!({ "provider_ids": list })
}

#[tokio::test]
async fn keys_are_added_and_the_first_becomes_primary() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    let (a, b, c) = (w.key("openai").await, w.key("anthropic").await, w.key("mistral").await);
    w.t.clock.advance_millis(4);
    let now = w.t.api.clock.now().millis();
    let added = w.t.post(&w.root, &uri(id), json!({"providers": [b.to_string(), a]})).await.expect(200);
    let expected = json!({"agent_id": id, "providers": [b, a], "provider_key_id": b, "count": 2, "updated_at": now});
    assert_eq!(added, expected);
    let added = w.t.post(&w.root, &uri(id), ids(&[c, a])).await.expect(200);
    assert_eq!((&added["providers"], &added["provider_key_id"]), (&json!([b, a, c]), &json!(b)));
    let agent = w.t.get(&w.ada, &format!("/api/v1/agents/{id}")).await.expect(200);
    assert_eq!(
        (&agent["providers"], &agent["provider_key_id"]),
        (&json!(["anthropic", "openai", "mistral"]), &json!(b))
    );
    assert_eq!(w.last_audit().await.0, "AGENT_PROVIDERS_UPDATED");
}

#[tokio::test]
async fn keys_it_has_already_change_nothing() {
    let w = World::new().await;
    let key = w.key("openai").await;
    let id = w.agent_with(json!({"provider_key_id": key})).await;
    w.t.clock.advance_millis(4);
    let added = w.t.post(&w.root, &uri(id), ids(&[key, key])).await.expect(200);
    assert_eq!((&added["providers"], &added["count"]), (&json!([key]), &json!(1)));
    assert_eq!(w.t.audited().await, ["PROVIDER_CREATED", "AGENT_CREATED"]);
}

#[tokio::test]
async fn keys_are_replaced_and_the_primary_one_is_among_them() {
    let w = World::new().await;
    let (a, b, c) = (w.key("openai").await, w.key("anthropic").await, w.key("mistral").await);
    let id = w.agent_with(json!({"provider_key_id": a})).await;
    let set = w.t.put(&w.root, &uri(id), ids(&[b, a])).await.expect(200);
    assert_eq!((&set["providers"], &set["provider_key_id"]), (&json!([a, b]), &json!(a)), "it stays primary");
    let set = w.t.put(&w.root, &uri(id), ids(&[c, b])).await.expect(200);
    assert_eq!((&set["providers"], &set["provider_key_id"]), (&json!([c, b]), &json!(c)), "the first as given");
    let set = w.t.put(&w.root, &uri(id), ids(&[])).await.expect(200);
    assert_eq!((&set["providers"], &set["provider_key_id"], &set["count"]), (&json!([]), &Value::Null, &json!(0)));
    let (operation, before, after) = w.last_audit().await;
    assert_eq!(operation, "AGENT_PROVIDERS_UPDATED");
    assert_eq!(before, json!({"provider_ids": [c, b], "provider_key_id": c}));
    assert_eq!(after, json!({"provider_ids": [], "provider_key_id": null}));
}

#[tokio::test]
async fn a_key_is_taken_away() {
    let w = World::new().await;
    let (a, b) = (w.key("openai").await, w.key("anthropic").await);
    let id = w.agent(&w.ada).await;
    w.t.post(&w.root, &uri(id), ids(&[a, b])).await.expect(200);
    let removed = w.t.delete(&w.root, &format!("{}/{a}", uri(id))).await.expect(200);
    let expected = json!({"agent_id": id, "provider_id": a, "removed": true, "remaining_providers": [b], "count": 1});
    assert_eq!(removed, expected);
    w.t.delete(&w.root, &format!("{}/{a}", uri(id))).await.refused(404, "PROVIDER_NOT_ASSIGNED");
    let removed = w.t.delete(&w.root, &format!("{}/{b}", uri(id))).await.expect(200);
    assert!(removed["warning"].is_string() && removed["count"] == 0, "{removed}");
    assert_eq!(w.last_audit().await.0, "AGENT_PROVIDER_REMOVED");
    w.t.delete(&w.root, &format!("{}/{a}", uri(99))).await.refused(404, "AGENT_NOT_FOUND");
    w.t.delete(&w.root, &format!("{}/x", uri(id))).await.refused(400, "INVALID_PARAMETER");
}

#[tokio::test]
async fn keys_are_shown_without_their_secrets_the_primary_one_first() {
    let w = World::new().await;
    let more = json!({"provider": "anthropic", "description": "Team", "base_url": "https://x.example/v1",
        "models": ["m"], "is_enabled": true});
    let (a, b) = (w.key("openai").await, w.key_with(more).await);
    let id = w.agent_with(json!({"owner_id": w.ada.id, "provider_key_id": b})).await;
    w.t.post(&w.root, &uri(id), ids(&[a])).await.expect(200);
    w.t.put(&w.root, &format!("/api/v1/providers/{a}"), json!({"is_enabled": false})).await.expect(200);
    let reply = w.t.get(&w.ada, &uri(id)).await;
    let expected = json!({"agent_id": id, "count": 2, "providers": [
        {"id": b, "name": "Team", "provider": "anthropic", "endpoint": "https://x.example/v1", "models": ["m"],
            "status": "enabled", "is_primary": true},
        {"id": a, "name": "openai", "provider": "openai", "endpoint": null, "models": [], "status": "disabled",
            "is_primary": false},
    ]});
    assert_eq!(reply.expect(200), expected);
    assert!(!reply.text().contains(&SECRET[..10]));
}

#[tokio::test]
async fn unknown_keys_and_agents_are_named() {
    let w = World::new().await;
    let (id, key) = (w.agent(&w.ada).await, w.key("openai").await);
    let error = w.t.post(&w.root, &uri(id), ids(&[key, 98, 99])).await.refused(404, "PROVIDER_NOT_FOUND");
    assert_eq!(error["details"], json!({"provider_ids": [98, 99]}));
    w.t.put(&w.root, &uri(id), ids(&[99])).await.refused(404, "PROVIDER_NOT_FOUND");
    w.t.post(&w.root, &uri(99), ids(&[key])).await.refused(404, "AGENT_NOT_FOUND");
    w.t.put(&w.root, &uri(99), ids(&[key])).await.refused(404, "AGENT_NOT_FOUND");
    assert_eq!(w.t.get(&w.ada, &uri(id)).await.expect(200)["count"], 0);
    for bad in [json!({}), json!({"provider_ids": []}), json!({"provider_ids": 1})] {
        let error = w.t.post(&w.root, &uri(id), bad).await.refused(400, "VALIDATION_ERROR");
        assert_eq!(fields(&error), ["provider_ids"]);
    }
    let error = w.t.put(&w.root, &uri(id), json!({"providers": [1, "x"]})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["providers[1]"]);
}

#[tokio::test]
async fn only_admins_assign_keys() {
    let w = World::new().await;
    let (id, key) = (w.agent(&w.ada).await, w.key("openai").await);
    for who in [&w.ada, &w.bob, &w.vera] {
        w.t.post(who, &uri(id), ids(&[key])).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.put(who, &uri(id), ids(&[key])).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.delete(who, &format!("{}/{key}", uri(id))).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    }
}

#[tokio::test]
async fn a_runtime_gets_another_key_at_once() {
    let w = World::new().await;
    let (a, b) = (w.key("openai").await, w.key("anthropic").await);
    let id = w.agent_with(json!({"provider_key_id": a})).await;
    let token = w.ic_token(id).await;
    let fetch = async || w.t.post((), "/api/v1/agents/provider-key", json!({"ic_token": token})).await;
    let key = fetch().await.expect(200);
    assert_eq!((&key["provider_key"], &key["provider_key_id"]), (&json!(SECRET), &json!(a)));
    w.t.put(&w.root, &uri(id), ids(&[b])).await.expect(200);
    assert_eq!(fetch().await.expect(200)["provider_key_id"], b);
    w.t.put(&w.root, &uri(id), ids(&[])).await.expect(200);
    fetch().await.refused(403, "NO_PROVIDER_ASSIGNED");
}
