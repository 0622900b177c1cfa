//! Changing agents.

use serde_json::{Value, json};

use super::world::{World, fields};

fn uri(id: i64) -> String {
    format!("/api/v1/agents/{id}")
}

#[tokio::test]
async fn what_is_given_changes_and_the_rest_stays() {
    let w = World::new().await;
    let (id, key) = (w.agent(&w.ada).await, w.key("anthropic").await);
    w.project("team").await;
    w.t.clock.advance_millis(5);
    let body = json!({"name": "new", "provider_key_id": key, "budget": 20_000_000, "owner_id": w.bob.id,
        "description": "d", "tags": ["x"], "project_id": "team"});
    let agent = w.t.put(&w.root, &uri(id), body).await.expect(200);
    assert_eq!(
        (&agent["name"], &agent["owner_id"], &agent["description"]),
        (&json!("new"), &json!(w.bob.id), &json!("d"))
    );
    assert_eq!((&agent["provider_key_id"], &agent["project_id"]), (&json!(key), &json!("team")));
    assert_eq!((&agent["providers"], &agent["tags"]), (&json!(["anthropic"]), &json!(["x"])));
    assert_eq!(agent["budget"]["total_allocated"], 20_000_000);
    assert_eq!(agent["updated_at"].as_i64(), agent["created_at"].as_i64().map(|at| at + 5));
    let agent = w.t.put(&w.root, &uri(id), json!({"tags": []})).await.expect(200);
    assert_eq!((&agent["name"], &agent["tags"]), (&json!("new"), &json!([])));
    w.t.get(&w.ada, &uri(id)).await.refused(403, "ACCESS_DENIED");
}

#[tokio::test]
async fn null_clears_key_description_and_project() {
    let w = World::new().await;
    let key = w.key("openai").await;
    w.project("team").await;
    let more = json!({"provider_key_id": key, "description": "d", "project_id": "team"});
    let id = w.agent_with(more).await;
    let nulls = json!({"provider_key_id": null, "description": null, "project_id": null, "name": null, "budget": null});
    let agent = w.t.put(&w.root, &uri(id), nulls).await.expect(200);
    for name in ["provider_key_id", "description", "project_id"] {
        assert_eq!(agent[name], Value::Null, "{name}");
    }
    assert_eq!((&agent["name"], &agent["budget"]["total_allocated"]), (&json!("bot"), &json!(10_000_000)));
}

#[tokio::test]
async fn an_empty_change_is_none() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    let before = w.t.get(&w.root, &uri(id)).await.expect(200);
    w.t.clock.advance_millis(5);
    for body in [json!({}), json!({"name": "bot", "budget": 10_000_000, "description": null})] {
        let mut after = w.t.put(&w.root, &uri(id), body).await.expect(200);
        assert_eq!(after["budget"]["updated_at"], before["budget"]["updated_at"]);
        after["budget"] = before["budget"].clone();
        assert_eq!(after, before);
    }
    assert_eq!(w.t.audited().await, ["AGENT_CREATED"]);
}

#[tokio::test]
async fn a_change_is_on_record_with_its_states() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    w.t.put(&w.root, &uri(id), json!({"name": "new", "budget": 7})).await.expect(200);
    assert_eq!(w.t.audited().await, ["AGENT_CREATED", "AGENT_UPDATED", "BUDGET_UPDATED"]);
    let (_, before, after) = w.last_audit().await;
    assert_eq!(before, json!({"total_allocated_microdollars": 10_000_000}));
    assert_eq!(after, json!({"total_allocated_microdollars": 7}));
}

#[tokio::test]
async fn all_of_it_happens_or_nothing() {
    let w = World::new().await;
    let (id, token) = w.spender(&w.ada).await;
    w.lease(&token, 5_000_000).await;
    let before = w.t.get(&w.root, &uri(id)).await.expect(200);
    let lower = json!({"name": "new", "total_allocated_microdollars": 1});
    let error = w.t.put(&w.root, &uri(id), lower.clone()).await.refused(400, "BUDGET_BELOW_COMMITTED");
    assert_eq!(error["details"], json!({"total_spent": 5_000_000, "requested": 1}));
    w.t.put(&w.root, &uri(id), json!({"name": "new", "project_id": "none"})).await.refused(404, "PROJECT_NOT_FOUND");
    assert_eq!(w.t.get(&w.root, &uri(id)).await.expect(200), before);
    let mut forced = lower;
    forced["force"] = json!(true);
    let agent = w.t.put(&w.root, &uri(id), forced).await.expect(200);
    assert_eq!((&agent["name"], &agent["status"]), (&json!("new"), &json!("exhausted")));
}

#[tokio::test]
async fn every_field_that_fails_is_named() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    let body = json!({"name": "", "budget": 1.5, "tags": [1], "providers": "x", "owner_id": 3, "force": "yes"});
    let error = w.t.put(&w.root, &uri(id), body).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["budget", "force", "name", "owner_id", "providers", "tags[0]"]);
    for budget in [0, -5] {
        w.t.put(&w.root, &uri(id), json!({"budget": budget})).await.refused(400, "VALIDATION_ERROR");
    }
}

#[tokio::test]
async fn what_an_agent_is_to_refer_to_must_exist() {
    let w = World::new().await;
    let (id, disabled) = (w.agent(&w.ada).await, w.key_with(json!({"is_enabled": false})).await);
    w.t.put(&w.root, &uri(id), json!({"provider_key_id": 99})).await.refused(404, "PROVIDER_NOT_FOUND");
    w.t.put(&w.root, &uri(id), json!({"provider_key_id": disabled})).await.refused(404, "PROVIDER_NOT_FOUND");
    w.t.put(&w.root, &uri(id), json!({"project_id": "none"})).await.refused(404, "PROJECT_NOT_FOUND");
    let error = w.t.put(&w.root, &uri(id), json!({"owner_id": "user_x"})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["owner_id"]);
    w.t.put(&w.root, &uri(99), json!({"project_id": "none"})).await.refused(404, "AGENT_NOT_FOUND");
}

#[tokio::test]
async fn only_admins_change_agents_even_their_owners_not() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    for who in [&w.ada, &w.bob, &w.vera] {
        w.t.put(who, &uri(id), json!(5)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.put(who, &uri(99), json!({})).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    }
}

#[tokio::test]
async fn a_moved_agent_borrows_from_its_new_owner_and_open_leases_stay() {
    let w = World::new().await;
    let (id, token) = w.spender(&w.ada).await;
    for owner in [&w.ada, &w.bob] {
        let body = json!({"scope": {"kind": "owner", "id": owner.id}, "cap_microdollars": 9_000_000});
        w.t.post(&w.root, "/api/v1/budgets", body).await.expect(201);
    }
    w.lease(&token, 1_000_000).await;
    w.t.put(&w.root, &uri(id), json!({"owner_id": w.bob.id})).await.expect(200);
    w.lease(&token, 2_000_000).await;
    let budgets = w.t.get(&w.root, "/api/v1/budgets?scope_kind=owner").await.expect(200);
    let leased = |owner: &str| {
        let rows = budgets["data"].as_array().expect("rows");
        rows.iter().find(|row| row["scope"]["id"] == owner).expect("a budget")["leased"].clone()
    };
    assert_eq!((leased(w.ada.id.as_str()), leased(w.bob.id.as_str())), (json!(1_000_000), json!(2_000_000)));
}
