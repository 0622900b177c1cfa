//! Creating agents.

use auth::Role;
use serde_json::{Value, json};

use super::world::{World, fields, merge};
use crate::testing::{Reply, START};

const AGENTS: &str = "/api/v1/agents";

fn plain() -> Value {
    json!({"name": "bot", "initial_budget_microdollars": 10_000_000})
}

async fn user_world() -> World {
    World::with(|services| services.policy.allow_user_agents = true).await
}

async fn owner_budget(w: &World, owner: &str, cap: i64) {
    let body = json!({"scope": {"kind": "owner", "id": owner}, "cap_microdollars": cap});
    w.t.post(&w.root, "/api/v1/budgets", body).await.expect(201);
}

async fn by_ada(w: &World, more: Value) -> Reply {
    let mut body = plain();
    merge(&mut body, more);
    w.t.post(&w.ada, AGENTS, body).await
}

#[tokio::test]
async fn a_new_agent_has_its_budget_and_no_token() {
    let w = World::new().await;
    let key = w.key("openai").await;
    w.project("team").await;
    let body = json!({"name": " Billing bot ", "providers": ["anthropic"], "provider_key_id": key,
        "initial_budget_microdollars": 50_000_000, "owner_id": w.ada.id, "description": "Answers invoices",
        "tags": ["a", "b"], "project_id": "team"});
    let agent = w.t.post(&w.root, AGENTS, body).await.expect(201);
    let now = START.millis();
    let expected = json!({
        "id": agent["id"], "name": "Billing bot", "providers": ["openai"], "created_at": now, "updated_at": now,
        "owner_id": w.ada.id, "provider_key_id": key, "description": "Answers invoices", "tags": ["a", "b"],
        "project_id": "team", "status": "inactive", "has_ic_token": false, "ic_token_created_at": null,
        "budget": {"agent_id": agent["id"], "total_allocated": 50_000_000, "total_spent": 0,
            "budget_remaining": 50_000_000, "total_reserved": 0, "spent": 0, "leased": 0, "suspense": 0,
            "overrun": 0, "percent_used": 0, "updated_at": now},
    });
    assert_eq!(agent, expected);
}

#[tokio::test]
async fn an_agent_without_keys_shows_the_providers_it_was_said_to_use_and_belongs_to_the_caller() {
    let w = World::new().await;
    let mut body = plain();
    body["providers"] = json!(["anthropic", "openai"]);
    let agent = w.t.post(&w.root, AGENTS, body).await.expect(201);
    assert_eq!(agent["providers"], json!(["anthropic", "openai"]));
    assert_eq!((&agent["owner_id"], &agent["provider_key_id"]), (&json!(w.root.id), &Value::Null));
    assert_eq!((&agent["description"], &agent["tags"], &agent["project_id"]), (&Value::Null, &json!([]), &Value::Null));
}

#[tokio::test]
async fn its_making_is_on_record_and_begins_its_history() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    let (operation, before, after) = w.last_audit().await;
    assert_eq!((operation.as_str(), before), ("AGENT_CREATED", Value::Null));
    assert_eq!((&after["name"], &after["total_allocated_microdollars"]), (&json!("bot"), &json!(10_000_000)));
    let history = w.t.get(&w.ada, &format!("{AGENTS}/{id}/budget/history")).await.expect(200);
    assert_eq!(history["modifications"][0]["kind"], "create");
    let journal = w.t.get(&w.root, "/api/v1/budget/journal").await.expect(200);
    assert_eq!(journal["data"][0]["kind"], "allocate");
}

#[tokio::test]
async fn every_field_that_fails_is_named_and_nothing_is_made() {
    let w = World::new().await;
    let error = w.t.post(&w.root, AGENTS, json!({})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["initial_budget_microdollars", "name"]);
    for budget in [json!(0), json!(1.5), json!("5"), json!(-1), json!(1_000_000_000_000_001_i64)] {
        let body = json!({"name": "bot", "initial_budget_microdollars": budget, "tags": "x"});
        let error = w.t.post(&w.root, AGENTS, body).await.refused(400, "VALIDATION_ERROR");
        assert_eq!(fields(&error), ["initial_budget_microdollars", "tags"]);
    }
    assert_eq!(w.t.get(&w.root, AGENTS).await.expect(200), json!([]));
    assert!(w.t.audited().await.is_empty());
}

#[tokio::test]
async fn what_an_agent_refers_to_must_exist() {
    let w = World::new().await;
    let disabled = w.key_with(json!({"is_enabled": false})).await;
    let refused = async |more: Value| {
        let mut body = plain();
        merge(&mut body, more);
        w.t.post(&w.root, AGENTS, body).await
    };
    refused(json!({"provider_key_id": 99})).await.refused(404, "PROVIDER_NOT_FOUND");
    refused(json!({"provider_key_id": disabled})).await.refused(404, "PROVIDER_NOT_FOUND");
    refused(json!({"project_id": "none"})).await.refused(404, "PROJECT_NOT_FOUND");
    let error = refused(json!({"owner_id": "user_nobody"})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["owner_id"]);
    let suspended = w.t.user("gone", Role::User).await;
    w.t.put(&w.root, &format!("/api/v1/users/{suspended}/suspend"), json!({})).await.expect(200);
    let error = refused(json!({"owner_id": suspended})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["owner_id"]);
    assert_eq!(w.t.get(&w.root, AGENTS).await.expect(200), json!([]));
}

#[tokio::test]
async fn only_admins_create_unless_the_installation_lets_users() {
    let w = World::new().await;
    for who in [&w.ada, &w.vera] {
        w.t.post(who, AGENTS, json!("no object")).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    }
    w.t.post((), AGENTS, plain()).await.refused(401, "AUTH_MISSING_TOKEN");
    let w = user_world().await;
    w.t.post(&w.vera, AGENTS, plain()).await.refused(403, "INSUFFICIENT_PERMISSIONS");
}

#[tokio::test]
async fn a_user_creates_within_what_their_own_budget_has_available() {
    let w = user_world().await;
    by_ada(&w, json!({})).await.refused(403, "OWNER_BUDGET_REQUIRED");
    owner_budget(&w, w.ada.id.as_str(), 10_000_000).await;
    let error = by_ada(&w, json!({"initial_budget_microdollars": 10_000_001})).await.refused(403, "BUDGET_EXHAUSTED");
    assert_eq!(error["details"]["binding_scope"], json!({"kind": "owner", "id": w.ada.id}));
    assert_eq!(
        (&error["details"]["available"], &error["details"]["requested"]),
        (&json!(10_000_000), &json!(10_000_001))
    );
    let agent = by_ada(&w, json!({})).await.expect(201);
    assert_eq!(agent["owner_id"], json!(w.ada.id));
}

#[tokio::test]
async fn a_user_creates_only_their_own_agents_with_keys_and_projects_they_see() {
    let w = user_world().await;
    owner_budget(&w, w.ada.id.as_str(), 100_000_000).await;
    let error = by_ada(&w, json!({"owner_id": w.bob.id})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["owner_id"]);
    let key = w.key("openai").await;
    w.project("secret").await;
    by_ada(&w, json!({"provider_key_id": key})).await.refused(404, "PROVIDER_NOT_FOUND");
    by_ada(&w, json!({"project_id": "secret"})).await.refused(404, "PROJECT_NOT_FOUND");
    w.agent_with(json!({"owner_id": w.ada.id, "provider_key_id": key, "project_id": "secret"})).await;
    let agent = by_ada(&w, json!({"provider_key_id": key, "project_id": "secret"})).await.expect(201);
    assert_eq!((&agent["provider_key_id"], &agent["project_id"]), (&json!(key), &json!("secret")));
}

#[tokio::test]
async fn a_disabled_owner_budget_is_none() {
    let w = user_world().await;
    let body = json!({"scope": {"kind": "owner", "id": w.ada.id}, "cap_microdollars": 1, "enabled": false});
    w.t.post(&w.root, "/api/v1/budgets", body).await.expect(201);
    by_ada(&w, json!({})).await.refused(403, "OWNER_BUDGET_REQUIRED");
}
