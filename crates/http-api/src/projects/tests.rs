//! Projects as a client sees them.

use serde_json::{Value, json};

use crate::agents::tests::world::{World, fields};
use crate::testing::START;

const PROJECTS: &str = "/api/v1/projects";
const MASTER: &str = "/api/v1/projects/proj_master_001";

fn ids(page: &Value) -> Vec<&str> {
    page["data"].as_array().expect("rows").iter().map(|row| row["id"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn a_new_project_is_empty() {
    let w = World::new().await;
    let body = json!({"id": "research", "name": " Research ", "description": "d"});
    let project = w.t.post(&w.root, PROJECTS, body).await.expect(201);
    let now = START.millis();
    let expected = json!({"id": "research", "name": "Research", "description": "d", "user_count": 0,
        "agent_count": 0, "created_at": now, "updated_at": now, "provider_count": 0, "total_budget": 0,
        "total_spent": 0, "total_budget_microdollars": 0, "total_spent_microdollars": 0, "providers": [],
        "settings": {"default_agent_budget": 100, "max_agents_per_user": null, "allowed_providers": []}});
    assert_eq!(project, expected);
    assert_eq!(
        w.last_audit().await,
        ("PROJECT_CREATED".to_owned(), Value::Null, json!({"name": "Research", "description": "d"}))
    );
}

#[tokio::test]
async fn an_id_is_made_up_unless_given_and_given_once() {
    let w = World::new().await;
    let project = w.t.post(&w.root, PROJECTS, json!({"name": "a"})).await.expect(201);
    assert!(project["id"].as_str().is_some_and(|id| id.starts_with("proj_")));
    let body = json!({"name": "b", "id": project["id"]});
    let error = w.t.post(&w.root, PROJECTS, body).await.refused(409, "PROJECT_EXISTS");
    assert_eq!(fields(&error), ["id"]);
    w.t.post(&w.root, PROJECTS, json!({"name": "a"})).await.expect(201);
    let error = w.t.post(&w.root, PROJECTS, json!({"id": "a/b", "description": 1})).await;
    assert_eq!(fields(&error.refused(400, "VALIDATION_ERROR")), ["description", "id", "name"]);
}

#[tokio::test]
async fn its_agents_money_and_keys_are_summed_up() {
    let w = World::new().await;
    w.project("p").await;
    let key = w.key("openai").await;
    w.t.post(&w.root, &format!("{PROJECTS}/p/provider"), json!({"provider_key_id": key})).await.expect(200);
    let mut agents = Vec::new();
    for owner in [&w.ada, &w.ada, &w.bob] {
        let more = json!({"owner_id": owner.id, "project_id": "p", "initial_budget_microdollars": 1_500_000});
        agents.push(w.agent_with(more).await);
    }
    w.agent(&w.vera).await;
    let token = w.ic_token(agents[0]).await;
    let lease = w.lease(&token, 1_000_000).await;
    w.report(&lease, "r", 250_000_000).await;
    let detail = w.t.get(&w.ada, &format!("{PROJECTS}/p")).await.expect(200);
    assert_eq!(
        (&detail["user_count"], &detail["agent_count"], &detail["provider_count"]),
        (&json!(2), &json!(3), &json!(1))
    );
    assert_eq!(detail["providers"], json!([{"provider_key_id": key, "provider": "openai"}]));
    assert_eq!((&detail["total_budget"], &detail["total_budget_microdollars"]), (&json!(4.5), &json!(4_500_000)));
    assert_eq!((&detail["total_spent"], &detail["total_spent_microdollars"]), (&json!(1), &json!(1_000_000)));
    w.t.delete(&w.root, &format!("/api/v1/agents/{}", agents[0])).await.expect(204);
    let detail = w.t.get(&w.ada, &format!("{PROJECTS}/p")).await.expect(200);
    assert_eq!((&detail["total_budget"], &detail["total_spent"]), (&json!(3), &json!(1)), "spent stays spent");
    let master = w.t.get(&w.ada, MASTER).await.expect(200);
    assert_eq!((&master["user_count"], &master["agent_count"]), (&json!(4), &json!(3)));
    assert_eq!((&master["total_budget"], &master["total_spent"]), (&json!(13), &json!(1)));
}

#[tokio::test]
async fn the_list_has_the_master_project_first_then_the_youngest() {
    let w = World::new().await;
    for id in ["a", "b", "c"] {
        w.project(id).await;
        w.t.clock.advance_millis(1);
    }
    w.agent_with(json!({"owner_id": w.ada.id, "project_id": "b"})).await;
    let page = w.t.get(&w.root, PROJECTS).await.expect(200);
    assert_eq!(ids(&page), ["proj_master_001", "c", "b", "a"]);
    let keys: Vec<&str> = page["data"][1].as_object().expect("a row").keys().map(String::as_str).collect();
    assert_eq!(keys, ["agent_count", "created_at", "description", "id", "name", "updated_at", "user_count"]);
    assert_eq!(ids(&w.t.get(&w.ada, PROJECTS).await.expect(200)), ["proj_master_001", "b"]);
    assert_eq!(ids(&w.t.get(&w.vera, PROJECTS).await.expect(200)), ["proj_master_001"]);
    let page = w.t.get(&w.root, &format!("{PROJECTS}?page=2&per_page=3")).await.expect(200);
    let pagination = json!({"page": 2, "per_page": 3, "total": 4, "total_items": 4, "total_pages": 2});
    assert_eq!((ids(&page), &page["pagination"]), (vec!["a"], &pagination));
    assert_eq!(ids(&w.t.get(&w.root, &format!("{PROJECTS}?search=MASTER")).await.expect(200)), ["proj_master_001"]);
    let error = w.t.get(&w.root, &format!("{PROJECTS}?per_page=1000")).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["per_page"]);
    w.t.get((), PROJECTS).await.refused(401, "AUTH_MISSING_TOKEN");
}

#[tokio::test]
async fn a_project_without_own_agents_does_not_exist_for_users() {
    let w = World::new().await;
    w.project("p").await;
    w.t.get(&w.ada, &format!("{PROJECTS}/p")).await.refused(404, "PROJECT_NOT_FOUND");
    w.t.get(&w.root, &format!("{PROJECTS}/none")).await.refused(404, "PROJECT_NOT_FOUND");
    w.t.get(&w.root, &format!("{PROJECTS}/a%20b")).await.refused(400, "INVALID_PARAMETER");
    w.agent_with(json!({"owner_id": w.ada.id, "project_id": "p"})).await;
    w.t.get(&w.ada, &format!("{PROJECTS}/p")).await.expect(200);
}

#[tokio::test]
async fn name_and_description_change() {
    let w = World::new().await;
    w.project("p").await;
    let uri = format!("{PROJECTS}/p");
    w.t.clock.advance_millis(5);
    let project = w.t.put(&w.root, &uri, json!({"description": "d"})).await.expect(200);
    assert_eq!((&project["name"], &project["description"]), (&json!("p"), &json!("d")));
    assert_eq!(project["updated_at"], START.millis() + 5);
    let project = w.t.put(&w.root, &uri, json!({"name": "P", "description": null})).await.expect(200);
    assert_eq!((&project["name"], &project["description"]), (&json!("P"), &Value::Null));
    let states = (json!({"name": "p", "description": "d"}), json!({"name": "P", "description": null}));
    assert_eq!(w.last_audit().await, ("PROJECT_UPDATED".to_owned(), states.0, states.1));
    w.t.put(&w.root, &uri, json!({})).await.expect(200);
    assert_eq!(w.t.audited().await.len(), 3, "an empty change is none");
    w.t.put(&w.root, &format!("{PROJECTS}/none"), json!({"name": "x"})).await.refused(404, "PROJECT_NOT_FOUND");
    let error = w.t.put(&w.root, &uri, json!({"name": ""})).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["name"]);
}

#[tokio::test]
async fn a_project_in_use_is_deleted_by_force_only() {
    let w = World::new().await;
    w.project("p").await;
    let agent = w.agent_with(json!({"owner_id": w.ada.id, "project_id": "p"})).await;
    let gone = w.agent_with(json!({"project_id": "p"})).await;
    w.t.delete(&w.root, &format!("/api/v1/agents/{gone}")).await.expect(204);
    let uri = format!("{PROJECTS}/p");
    let error = w.t.delete(&w.root, &uri).await.refused(409, "PROJECT_IN_USE");
    assert_eq!(error["details"], json!({"agent_count": 1}));
    let deleted = w.t.delete(&w.root, &format!("{uri}?force=true")).await.expect(200);
    assert_eq!(deleted, json!({"id": "p", "deleted": true, "agents_moved": 1}));
    assert_eq!(w.last_audit().await.0, "PROJECT_DELETED");
    let agent = w.t.get(&w.ada, &format!("/api/v1/agents/{agent}")).await.expect(200);
    assert_eq!(agent["project_id"], Value::Null);
    w.t.delete(&w.root, &uri).await.refused(404, "PROJECT_NOT_FOUND");
}

#[tokio::test]
async fn an_unused_project_is_deleted_and_the_master_project_never() {
    let w = World::new().await;
    w.project("p").await;
    let deleted = w.t.delete(&w.root, &format!("{PROJECTS}/p")).await.expect(200);
    assert_eq!(deleted["agents_moved"], 0);
    w.t.delete(&w.root, MASTER).await.refused(409, "PROJECT_PROTECTED");
    w.t.delete(&w.root, &format!("{MASTER}?force=true")).await.refused(409, "PROJECT_PROTECTED");
    let error = w.t.delete(&w.root, &format!("{MASTER}?force=yes")).await.refused(400, "VALIDATION_ERROR");
    assert_eq!(fields(&error), ["force"]);
}

#[tokio::test]
async fn only_admins_manage_projects() {
    let w = World::new().await;
    w.project("p").await;
    for who in [&w.ada, &w.vera] {
        w.t.post(who, PROJECTS, json!(1)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.put(who, &format!("{PROJECTS}/p"), json!(1)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
        w.t.delete(who, &format!("{PROJECTS}/p")).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    }
}

#[tokio::test]
async fn budgets_settings_and_a_freeze_of_a_project_end_with_it() {
    let w = World::new().await;
    w.project("p_1").await;
    w.project("px1").await;
    let agent = w.agent_with(json!({"owner_id": w.ada.id, "project_id": "p_1"})).await;
    let scopes = [
        json!({"kind": "project", "id": "p_1"}),
        json!({"kind": "owner_project", "id": w.ada.id, "project_id": "p_1"}),
        json!({"kind": "owner_project", "id": w.ada.id, "project_id": "px1"}),
    ];
    for scope in &scopes {
        let body = json!({"scope": scope, "cap_microdollars": 5_000_000});
        w.t.post(&w.root, "/api/v1/budgets", body).await.expect(201);
    }
    let freeze = json!({"scope": scopes[0], "reason": "why"});
    w.t.post(&w.root, "/api/v1/budget/freeze", freeze.clone()).await.expect(200);
    let settings = "/api/v1/settings/project/p_1";
    w.t.put(&w.root, settings, json!({"operational": {"default_agent_budget": 7}})).await.expect(200);
    w.t.delete(&w.root, &format!("{PROJECTS}/p_1")).await.refused(409, "PROJECT_IN_USE");
    let deleted = w.t.delete(&w.root, &format!("{PROJECTS}/p_1?force=true")).await.expect(200);
    assert_eq!(deleted["agents_moved"], 1);
    let log = w.t.audited().await;
    let last: Vec<&str> = log.iter().rev().take(4).map(String::as_str).collect();
    assert_eq!(last, ["PROJECT_DELETED", "FREEZE_LIFTED", "BUDGET_POLICY_DELETED", "BUDGET_POLICY_DELETED"]);
    w.t.post(&w.root, "/api/v1/budget/unfreeze", freeze).await.refused(404, "FREEZE_NOT_FOUND");
    let budgets = w.t.get(&w.root, "/api/v1/budgets").await.expect(200).to_string();
    assert!(!budgets.contains("p_1") && budgets.contains("px1"), "{budgets}");
    w.project("p_1").await;
    let again = w.t.get(&w.root, settings).await.expect(200);
    assert_eq!(again["inheritance"]["operational.default_agent_budget"], "system");
    assert_eq!(w.t.get(&w.root, &format!("/api/v1/agents/{agent}")).await.expect(200)["project_id"], Value::Null);
}
