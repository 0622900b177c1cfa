//! The provider key of a project, as people fetch it.

use serde_json::{Value, json};

use crate::agents::tests::world::{SECRET, World};
use crate::testing::{Persona, Reply};

const KEYS: &str = "/api/v1/keys";

impl World {
    /// A project with a key of each of these kinds, and an agent of ada's in it.
    async fn staffed(&self, kinds: &[&str]) -> Vec<i64> {
        self.project("proj_a").await;
        self.agent_with(json!({"owner_id": self.ada.id, "project_id": "proj_a"})).await;
        let mut keys = Vec::new();
        for kind in kinds {
            let key = self.key_with(json!({"provider": kind, "api_key": format!("{SECRET}-{kind}")})).await;
            self.assign(key).await;
            keys.push(key);
        }
        keys
    }

    async fn assign(&self, key: i64) {
        let body = json!({"provider_key_id": key});
        self.t.post(&self.root, "/api/v1/projects/proj_a/provider", body).await.expect(200);
        self.t.clock.advance_millis(1_000);
    }

    async fn personal(&self, who: &Persona, fields: Value) -> String {
        let issued = self.t.post(who, "/api/v1/api-tokens", fields).await.expect(201);
        issued["token"].as_str().expect("a token").to_owned()
    }

    async fn fetch(&self, token: &str) -> Reply {
        self.t.get(token, KEYS).await
    }
}

#[tokio::test]
async fn the_key_that_was_assigned_first_is_fetched_unless_another_kind_is_asked_for() {
    let w = World::new().await;
    let keys = w.staffed(&["openai", "anthropic"]).await;
    let change = json!({"base_url": "https://proxy.example.com/v1/"});
    w.t.put(&w.root, &format!("/api/v1/providers/{}", keys[1]), change).await.expect(200);
    let token = w.personal(&w.ada, json!({"name": "n", "project_id": "proj_a"})).await;
    let expected = json!({"provider": "openai", "api_key": format!("{SECRET}-openai")});
    assert_eq!(w.fetch(&token).await.expect(200), expected, "and no base_url");
    let expected = json!({"provider": "anthropic", "api_key": format!("{SECRET}-anthropic"),
        "base_url": "https://proxy.example.com"});
    assert_eq!(w.t.get(&token, "/api/v1/keys?provider=anthropic").await.expect(200), expected);
    w.t.get(&token, "/api/v1/keys?provider=google").await.refused(404, "NO_PROVIDER_KEY");
}

#[tokio::test]
async fn who_fetched_which_key_is_recorded_and_the_secret_is_not() {
    let w = World::new().await;
    let keys = w.staffed(&["openai"]).await;
    let token = w.personal(&w.ada, json!({"name": "n", "project_id": "proj_a"})).await;
    w.fetch(&token).await.expect(200);
    let entry = w.t.audit_log().await.pop().expect("an entry");
    assert_eq!((entry.operation.as_str(), entry.resource_id), ("KEY_FETCHED", Some(keys[0].to_string())));
    assert_eq!(entry.actor.user, Some(w.ada.id.clone()));
    let metadata: Value = serde_json::from_str(&entry.metadata).expect("JSON");
    assert_eq!((&metadata["project_id"], &metadata["provider"]), (&json!("proj_a"), &json!("openai")));
    assert!(metadata["token_id"].is_i64());
    let log = w.audit_text().await;
    assert!(!log.contains(SECRET) && !log.contains(&token));
    let key = w.t.get(&w.root, &format!("/api/v1/providers/{}", keys[0])).await.expect(200);
    assert_eq!(key["last_used_at"], json!(w.t.api.clock.now().millis()));
}

#[tokio::test]
async fn refusals_come_in_their_order() {
    let w = World::new().await;
    w.t.get(&w.root, KEYS).await.refused(403, "API_TOKEN_REQUIRED");
    w.t.get((), KEYS).await.refused(401, "AUTH_MISSING_TOKEN");
    let agent = w.agent(&w.root).await;
    let bound = w.personal(&w.root, json!({"name": "n", "agent_id": agent})).await;
    for _ in 0..12 {
        let refused = w.fetch(&bound).await.refused(403, "AGENT_TOKEN_NOT_ALLOWED");
        assert_eq!(refused["protocol"], "005", "before the limit is counted");
    }
    w.project("proj_a").await;
    let free = w.personal(&w.root, json!({"name": "n"})).await;
    w.fetch(&free).await.refused(400, "TOKEN_HAS_NO_PROJECT");
    let token = w.personal(&w.root, json!({"name": "n", "project_id": "proj_a"})).await;
    let freeze = json!({"scope": {"kind": "project", "id": "proj_a"}, "reason": "audit"});
    w.t.post(&w.root, "/api/v1/budget/freeze", freeze.clone()).await.expect(200);
    let refused = w.fetch(&token).await.refused(403, "SCOPE_FROZEN");
    assert_eq!(refused["details"]["reason"], "audit");
    w.t.post(&w.root, "/api/v1/budget/unfreeze", freeze).await.expect(200);
    w.fetch(&token).await.refused(404, "NO_PROVIDER_KEY");
    let key = w.key_with(json!({"is_enabled": false})).await;
    w.assign(key).await;
    w.fetch(&token).await.refused(403, "PROVIDER_KEY_DISABLED");
    w.t.put(&w.root, &format!("/api/v1/providers/{key}"), json!({"is_enabled": true})).await.expect(200);
    w.fetch(&token).await.expect(200);
}

#[tokio::test]
async fn a_freeze_of_owner_or_organization_covers_their_tokens() {
    let w = World::new().await;
    w.staffed(&["openai"]).await;
    let token = w.personal(&w.ada, json!({"name": "n", "project_id": "proj_a"})).await;
    for scope in [json!({"kind": "owner", "id": w.ada.id}), json!({"kind": "organization"})] {
        let freeze = json!({"scope": scope, "reason": "r"});
        w.t.post(&w.root, "/api/v1/budget/freeze", freeze.clone()).await.expect(200);
        w.fetch(&token).await.refused(403, "SCOPE_FROZEN");
        w.t.post(&w.root, "/api/v1/budget/unfreeze", freeze).await.expect(200);
        w.fetch(&token).await.expect(200);
    }
}

#[tokio::test]
async fn a_token_fetches_ten_times_a_minute_and_then_one_every_six_seconds() {
    let w = World::new().await;
    w.staffed(&["openai"]).await;
    let token = w.personal(&w.ada, json!({"name": "n", "project_id": "proj_a"})).await;
    for _ in 0..10 {
        w.fetch(&token).await.expect(200);
    }
    let refused = w.fetch(&token).await;
    refused.refused(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!((refused.header("ratelimit-limit"), refused.header("retry-after")), (Some("10"), Some("6")));
    let other = w.personal(&w.ada, json!({"name": "n", "project_id": "proj_a"})).await;
    w.fetch(&other).await.expect(200);
    w.t.clock.advance_millis(6_000);
    w.fetch(&token).await.expect(200);
    w.fetch(&token).await.refused(429, "RATE_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn who_has_left_the_project_gets_no_key_unless_an_admin_gave_the_token() {
    let w = World::new().await;
    w.staffed(&["openai"]).await;
    let own = w.personal(&w.ada, json!({"name": "n", "project_id": "proj_a"})).await;
    let given = w.personal(&w.root, json!({"user_id": w.bob.id, "project_id": "proj_a"})).await;
    w.fetch(&own).await.expect(200);
    w.fetch(&given).await.expect(200);
    let agents = w.t.get(&w.ada, "/api/v1/agents").await.expect(200);
    let agent = format!("/api/v1/agents/{}", agents[0]["id"]);
    w.t.put(&w.root, &agent, json!({"project_id": null})).await.expect(200);
    w.fetch(&own).await.refused(404, "NO_PROVIDER_KEY");
    w.fetch(&given).await.expect(200);
}

#[tokio::test]
async fn a_project_that_is_removed_takes_its_name_off_its_tokens() {
    let w = World::new().await;
    w.staffed(&["openai"]).await;
    let token = w.personal(&w.root, json!({"name": "n", "project_id": "proj_a"})).await;
    w.t.delete(&w.root, "/api/v1/projects/proj_a?force=true").await.expect(200);
    w.fetch(&token).await.refused(400, "TOKEN_HAS_NO_PROJECT");
    w.project("proj_a").await;
    w.fetch(&token).await.refused(400, "TOKEN_HAS_NO_PROJECT");
}
