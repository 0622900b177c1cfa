//! Provider keys as a client sees them.

use serde_json::{Value, json};

use crate::agents::tests::world::{SECRET, World, fields, merge};
use crate::testing::{Reply, START};

const PROVIDERS: &str = "/api/v1/providers";

fn uri(id: i64) -> String {
    format!("{PROVIDERS}/{id}")
}

fn plain() -> Value {
    json!({"provider": "openai", "api_key": SECRET})
}

async fn create(w: &World, more: Value) -> Reply {
    let mut body = plain();
    merge(&mut body, more);
    w.t.post(&w.root, PROVIDERS, body).await
}

fn ids(list: &Value) -> Vec<i64> {
    list.as_array().expect("an array").iter().map(|row| row["id"].as_i64().expect("an id")).collect()
}

/// What a runtime of the agent gets.
async fn fetched(w: &World, agent: i64) -> Value {
    let token = w.ic_token(agent).await;
    w.t.post((), "/api/v1/agents/provider-key", json!({"ic_token": token})).await.expect(200)
}

// Making

#[tokio::test]
async fn a_new_key_shows_its_ends_only() {
    let w = World::new().await;
    let more = json!({"base_url": "https://api.example/v1", "description": " Team ", "models": ["a", "b"]});
    let key = create(&w, more).await.expect(201);
    let now = START.millis();
    let expected = json!({"id": key["id"], "provider": "openai", "base_url": "https://api.example/v1",
        "description": "Team", "is_enabled": true, "created_at": now, "updated_at": now, "last_used_at": null,
        "rotated_at": null, "masked_key": "sk-c...ail", "assigned_projects": [], "models": ["a", "b"],
        "agent_count": 0});
    assert_eq!(key, expected);
    let (operation, before, after) = w.last_audit().await;
    assert_eq!(
        (operation.as_str(), before, &after["api_key"]),
        ("PROVIDER_CREATED", Value::Null, &json!("[REDACTED]"))
    );
}

#[tokio::test]
async fn a_key_is_always_a_new_one() {
    let w = World::new().await;
    let (first, second) = (w.key("openai").await, w.key("openai").await);
    assert_ne!(first, second);
    w.t.delete(&w.root, &uri(second)).await.expect(204);
    assert!(w.key("openai").await > second, "ids are not used again");
}

#[tokio::test]
async fn other_names_of_fields_are_taken() {
    let w = World::new().await;
    let body = json!({"provider": "p", "credentials": {"api_key": "12345678"}, "endpoint": "https://x.example",
        "name": "n", "is_enabled": false});
    let key = w.t.post(&w.root, PROVIDERS, body).await.expect(201);
    assert_eq!((&key["base_url"], &key["description"]), (&json!("https://x.example"), &json!("n")));
    assert_eq!((&key["masked_key"], &key["is_enabled"]), (&json!("***"), &json!(false)));
}

#[tokio::test]
async fn every_field_that_fails_is_named_and_the_secret_is_not_repeated() {
    let w = World::new().await;
    let error = w.t.post(&w.root, PROVIDERS, json!({})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["api_key", "provider"]);
    let body = json!({"provider": "Open AI", "api_key": format!("{SECRET}\n"), "base_url": "x", "models": [1],
        "is_enabled": "yes", "description": "x".repeat(501)});
    let reply = w.t.post(&w.root, PROVIDERS, body).await;
    let error = reply.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["api_key", "base_url", "description", "is_enabled", "models[0]", "provider"]);
    assert!(!reply.text().contains("canary"));
    assert_eq!(w.t.get(&w.root, PROVIDERS).await.expect(200), json!([]));
}

#[tokio::test]
async fn plain_http_is_for_this_machine_unless_the_installation_allows_more() {
    let w = World::new().await;
    create(&w, json!({"base_url": "http://127.0.0.1:9000"})).await.expect(201);
    let error = create(&w, json!({"base_url": "http://llm.example"})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["base_url"]);
    let key = w.key("openai").await;
    let error = w.t.put(&w.root, &uri(key), json!({"base_url": "http://llm.example"})).await;
    assert_eq!(fields(&error.refused(400, "VALIDATION_ERROR")), ["base_url"]);
    for bad in ["https://user:pw@x.example", "https://x.example?a=1", "https://x.example#f", "ftp://x.example"] {
        create(&w, json!({"base_url": bad})).await.refused(400, "VALIDATION_ERROR");
    }
    let w = World::with(|services| services.policy.allow_http_providers = true).await;
    create(&w, json!({"base_url": "http://llm.example"})).await.expect(201);
}

#[tokio::test]
async fn only_admins_manage_keys() {
    let w = World::new().await;
    let (key, agent) = (w.key("openai").await, w.agent(&w.ada).await);
    let agents = format!("{}/agents", uri(key));
    for who in [&w.ada, &w.vera] {
        w.t.post(who, PROVIDERS, json!(1)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.put(who, &uri(key), json!(1)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.delete(who, &uri(key)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.post(who, &agents, json!(1)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.put(who, &agents, json!(1)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.delete(who, &format!("{agents}/{agent}")).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        let project = "/api/v1/projects/proj_master_001/provider";
        w.t.post(who, project, json!(1)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.delete(who, project).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    }
    for uri in [PROVIDERS, &uri(key), &agents] {
        w.t.get((), uri).await.refused(401, "AUTH_MISSING_TOKEN");
    }
}

// Seeing

#[tokio::test]
async fn users_see_the_keys_of_own_agents_and_of_their_projects() {
    let w = World::new().await;
    w.project("p").await;
    let keys = [w.key("primary").await, w.key("assigned").await, w.key("lent").await, w.key("foreign").await];
    let agent = w.agent_with(json!({"owner_id": w.ada.id, "provider_key_id": keys[0], "project_id": "p"})).await;
    w.t.post(&w.root, &format!("{}/agents", uri(keys[1])), json!({"agent_ids": [agent]})).await.expect(200);
    w.t.post(&w.root, "/api/v1/projects/p/provider", json!({"provider_key_id": keys[2]})).await.expect(200);
    assert_eq!(ids(&w.t.get(&w.ada, PROVIDERS).await.expect(200)), [keys[2], keys[1], keys[0]]);
    assert_eq!(ids(&w.t.get(&w.bob, PROVIDERS).await.expect(200)), [0_i64; 0]);
    assert_eq!(ids(&w.t.get(&w.root, PROVIDERS).await.expect(200)), [keys[3], keys[2], keys[1], keys[0]]);
    for key in &keys[..3] {
        assert_eq!(w.t.get(&w.ada, &uri(*key)).await.expect(200)["id"], *key);
    }
    w.t.get(&w.ada, &uri(keys[3])).await.refused(404, "PROVIDER_NOT_FOUND");
    w.t.get(&w.ada, &format!("{}/agents", uri(keys[3]))).await.refused(404, "PROVIDER_NOT_FOUND");
    w.t.get(&w.root, &uri(99)).await.refused(404, "PROVIDER_NOT_FOUND");
    w.t.get(&w.root, &format!("{PROVIDERS}/x")).await.refused(400, "INVALID_PARAMETER");
}

#[tokio::test]
async fn the_list_is_filtered_and_paged() {
    let w = World::new().await;
    let (a, b) = (w.key("openai").await, w.key("anthropic").await);
    w.t.put(&w.root, &uri(b), json!({"is_enabled": false})).await.expect(200);
    let listed = async |query: &str| ids(&w.t.get(&w.root, &format!("{PROVIDERS}?{query}")).await.expect(200));
    assert_eq!(listed("provider=openai").await, [a]);
    assert_eq!(listed("is_enabled=false").await, [b]);
    assert_eq!(listed("provider=openai&is_enabled=false").await, [0_i64; 0]);
    let page = w.t.get(&w.root, &format!("{PROVIDERS}?per_page=1&page=2")).await;
    assert_eq!((ids(&page.expect(200)), page.header("x-total-count")), (vec![a], Some("2")));
    let error = w.t.get(&w.root, &format!("{PROVIDERS}?is_enabled=maybe&limit=0")).await;
    assert_eq!(fields(&error.refused(400, "VALIDATION_ERROR")), ["is_enabled", "limit"]);
}

// Changing

#[tokio::test]
async fn what_is_given_changes_and_the_rest_stays() {
    let w = World::new().await;
    let more = json!({"base_url": "https://x.example", "description": "d", "models": ["m"]});
    let id = create(&w, more).await.expect(201)["id"].as_i64().expect("an id");
    w.t.clock.advance_millis(5);
    let body = json!({"provider": "openai", "is_enabled": false, "models": ["n"]});
    let key = w.t.put(&w.root, &uri(id), body).await.expect(200);
    assert_eq!((&key["is_enabled"], &key["models"], &key["description"]), (&json!(false), &json!(["n"]), &json!("d")));
    assert_eq!((&key["updated_at"], &key["rotated_at"]), (&json!(START.millis() + 5), &Value::Null));
    assert_eq!(w.last_audit().await.0, "PROVIDER_UPDATED");
    for nothing in [Value::Null, json!("")] {
        let body = json!({"base_url": "https://x.example", "description": "d"});
        w.t.put(&w.root, &uri(id), body).await.expect(200);
        let key = w.t.put(&w.root, &uri(id), json!({"base_url": nothing, "description": nothing})).await.expect(200);
        assert_eq!((&key["base_url"], &key["description"]), (&Value::Null, &Value::Null));
    }
    let error = w.t.put(&w.root, &uri(id), json!({"provider": "other"})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["provider"]);
    w.t.put(&w.root, &uri(99), json!({})).await.refused(404, "PROVIDER_NOT_FOUND");
}

#[tokio::test]
async fn an_empty_change_is_none() {
    let w = World::new().await;
    let id = w.key("openai").await;
    w.t.clock.advance_millis(5);
    let key = w.t.put(&w.root, &uri(id), json!({"is_enabled": true, "models": []})).await.expect(200);
    assert_eq!(key["updated_at"], START.millis());
    assert_eq!(w.t.audited().await, ["PROVIDER_CREATED"]);
}

#[tokio::test]
async fn a_rotated_secret_reaches_runtimes_at_once() {
    let w = World::new().await;
    let id = w.key("openai").await;
    let agent = w.agent_with(json!({"provider_key_id": id})).await;
    let key = fetched(&w, agent).await;
    assert_eq!((&key["provider_key"], &key["provider_key_id"]), (&json!(SECRET), &json!(id)));
    w.t.clock.advance_millis(5);
    let rotated = w.t.put(&w.root, &uri(id), json!({"api_key": "sk-second-canary-9876"})).await.expect(200);
    assert_eq!((&rotated["masked_key"], &rotated["rotated_at"]), (&json!("sk-s...876"), &json!(START.millis() + 5)));
    assert_eq!(w.last_audit().await.0, "PROVIDER_ROTATED".to_owned());
    assert_eq!(fetched(&w, agent).await["provider_key"], "sk-second-canary-9876");
}

#[tokio::test]
async fn a_secret_goes_only_to_runtimes() {
    let w = World::new().await;
    let id = w.key("openai").await;
    let agent = w.agent_with(json!({"owner_id": w.ada.id, "provider_key_id": id})).await;
    w.t.put(&w.root, &uri(id), json!({"api_key": "sk-second-canary-9876", "description": "d"})).await.expect(200);
    let agents = format!("/api/v1/agents/{agent}");
    for uri in [PROVIDERS, &uri(id), &format!("{}/agents", uri(id)), &agents, &format!("{agents}/providers")] {
        let text = w.t.get(&w.root, uri).await.text();
        assert!(!text.contains("canary"), "{uri}: {text}");
    }
    w.t.delete(&w.root, &uri(id)).await.expect(204);
    assert!(!w.audit_text().await.contains("canary"));
}

#[tokio::test]
async fn a_deleted_key_is_taken_from_agents_and_projects() {
    let w = World::new().await;
    w.project("p").await;
    let (a, b) = (w.key("openai").await, w.key("anthropic").await);
    let agent = w.agent_with(json!({"provider_key_id": a})).await;
    w.t.post(&w.root, &format!("{}/agents", uri(b)), json!({"agent_ids": [agent]})).await.expect(200);
    w.t.post(&w.root, "/api/v1/projects/p/provider", json!({"provider_key_id": a})).await.expect(200);
    let token = w.ic_token(agent).await;
    let fetch = async || w.t.post((), "/api/v1/agents/provider-key", json!({"ic_token": token})).await.expect(200);
    assert_eq!(fetch().await["provider_key_id"], a);
    w.t.delete(&w.root, &uri(a)).await.expect(204);
    assert_eq!(fetch().await["provider_key_id"], b, "the other one became primary");
    assert_eq!(w.t.get(&w.root, "/api/v1/projects/p").await.expect(200)["provider_count"], 0);
    w.t.get(&w.root, &uri(a)).await.refused(404, "PROVIDER_NOT_FOUND");
    w.t.delete(&w.root, &uri(a)).await.refused(404, "PROVIDER_NOT_FOUND");
}

// Who has it

#[tokio::test]
async fn agents_are_added_replaced_and_taken_away() {
    let w = World::new().await;
    let (id, other) = (w.key("openai").await, w.key("anthropic").await);
    let a = w.agent(&w.ada).await;
    let b = w.agent_with(json!({"name": "bee", "owner_id": w.bob.id, "provider_key_id": other})).await;
    let agents = format!("{}/agents", uri(id));
    let added = w.t.post(&w.root, &agents, json!({"agent_ids": [b.to_string(), a]})).await.expect(200);
    let expected = json!({"provider_id": id, "count": 2, "agents": [
        {"id": a, "name": "bot", "owner_id": w.ada.id, "is_primary": true},
        {"id": b, "name": "bee", "owner_id": w.bob.id, "is_primary": false},
    ]});
    assert_eq!(added, expected);
    assert_eq!(w.t.get(&w.root, &uri(id)).await.expect(200)["agent_count"], 2);
    let own = w.t.get(&w.bob, &agents).await.expect(200);
    assert_eq!((&own["count"], &own["agents"][0]["id"]), (&json!(1), &json!(b)));
    let set = w.t.put(&w.root, &agents, json!({"agent_ids": [b]})).await.expect(200);
    assert_eq!((&set["count"], &set["agents"][0]["id"]), (&json!(1), &json!(b)));
    assert_eq!(w.last_audit().await.1, json!({"agent_ids": [a, b]}));
    let removed = w.t.delete(&w.root, &format!("{agents}/agent_{b}")).await.expect(200);
    assert_eq!(removed, json!({"provider_id": id, "agent_id": b, "removed": true, "count": 0}));
    w.t.delete(&w.root, &format!("{agents}/{b}")).await.refused(404, "PROVIDER_NOT_ASSIGNED");
    let set = w.t.put(&w.root, &agents, json!({"agent_ids": []})).await.expect(200);
    assert_eq!(set["agents"], json!([]));
}

#[tokio::test]
async fn unknown_agents_and_keys_are_named_and_nothing_happens() {
    let w = World::new().await;
    let (id, agent) = (w.key("openai").await, w.agent(&w.ada).await);
    let agents = format!("{}/agents", uri(id));
    let error = w.t.post(&w.root, &agents, json!({"agent_ids": [agent, 98]})).await.refused(404, "AGENT_NOT_FOUND");
    assert_eq!(error["details"], json!({"agent_ids": [98]}));
    w.t.put(&w.root, &agents, json!({"agent_ids": [agent, 98]})).await.refused(404, "AGENT_NOT_FOUND");
    assert_eq!(w.t.get(&w.root, &agents).await.expect(200)["count"], 0);
    let gone = format!("{}/agents", uri(99));
    w.t.get(&w.root, &gone).await.refused(404, "PROVIDER_NOT_FOUND");
    w.t.post(&w.root, &gone, json!({"agent_ids": [agent]})).await.refused(404, "PROVIDER_NOT_FOUND");
    w.t.put(&w.root, &gone, json!({"agent_ids": [agent]})).await.refused(404, "PROVIDER_NOT_FOUND");
    w.t.delete(&w.root, &format!("{gone}/{agent}")).await.refused(404, "PROVIDER_NOT_FOUND");
    for bad in [json!({}), json!({"agent_ids": []}), json!({"agent_ids": "x"})] {
        let error = w.t.post(&w.root, &agents, bad).await.refused(400, "VALIDATION_ERROR");
        assert_eq!(fields(&error), ["agent_ids"]);
    }
}

// Projects lend it

#[tokio::test]
async fn a_project_lends_one_key_of_each_kind() {
    let w = World::new().await;
    w.project("p").await;
    let (a, b, c) = (w.key("openai").await, w.key("openai").await, w.key("anthropic").await);
    let agent = w.agent_with(json!({"project_id": "p"})).await;
    let project = "/api/v1/projects/p/provider";
    let assigned = w.t.post(&w.root, project, json!({"provider_key_id": a})).await.expect(200);
    let expected = json!({"project_id": "p", "provider_key_id": a, "provider": "openai", "assigned": true});
    assert_eq!(assigned, expected);
    assert_eq!(w.last_audit().await.0, "PROJECT_PROVIDER_ASSIGNED");
    assert_eq!(fetched(&w, agent).await["provider_key_id"], a);
    for key in [b, c] {
        w.t.post(&w.root, project, json!({"provider_key_id": key})).await.expect(200);
    }
    let detail = w.t.get(&w.root, "/api/v1/projects/p").await.expect(200);
    let keys = detail["providers"].as_array().expect("keys");
    assert!(keys.iter().all(|key| key["provider_key_id"] != a) && keys.len() == 2, "{detail}");
    assert_eq!(w.t.get(&w.root, &uri(b)).await.expect(200)["assigned_projects"], json!(["p"]));
    assert_eq!(fetched(&w, agent).await["provider_key_id"], b);
}

#[tokio::test]
async fn a_project_gives_up_one_key_or_all() {
    let w = World::new().await;
    w.project("p").await;
    let project = "/api/v1/projects/p/provider";
    let keys = [w.key("openai").await, w.key("anthropic").await, w.key("mistral").await];
    for key in keys {
        w.t.post(&w.root, project, json!({"provider_key_id": key})).await.expect(200);
    }
    let one = format!("{project}?provider_key_id={}", keys[0]);
    assert_eq!(w.t.delete(&w.root, &one).await.status, 204);
    assert_eq!(w.last_audit().await.1, json!({"provider_key_ids": [keys[0]]}));
    w.t.delete(&w.root, &one).await.refused(404, "NO_PROVIDER_KEY");
    assert_eq!(w.t.delete(&w.root, project).await.status, 204);
    w.t.delete(&w.root, project).await.refused(404, "NO_PROVIDER_KEY");
    let error = w.t.delete(&w.root, &format!("{project}?provider_key_id=x")).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["provider_key_id"]);
}

#[tokio::test]
async fn project_and_key_must_exist() {
    let w = World::new().await;
    let key = w.key("openai").await;
    let (gone, master) = ("/api/v1/projects/none/provider", "/api/v1/projects/proj_master_001/provider");
    w.t.post(&w.root, gone, json!({"provider_key_id": key})).await.refused(404, "PROJECT_NOT_FOUND");
    w.t.delete(&w.root, gone).await.refused(404, "PROJECT_NOT_FOUND");
    w.t.post(&w.root, master, json!({"provider_key_id": 99})).await.refused(404, "PROVIDER_NOT_FOUND");
    let error = w.t.post(&w.root, master, json!({})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["provider_key_id"]);
}
