//! Scopes take away from what an owner may do, on every route and in one place.

use axum::http::Method;
use serde_json::json;

use super::{TOKENS, one, secret};
use crate::agents::tests::world::World;

#[tokio::test]
async fn a_scope_covers_reading_or_everything_of_one_resource() {
    let w = World::new().await;
    let agent = w.agent(&w.root).await;
    let (agents, one_agent) = ("/api/v1/agents", format!("/api/v1/agents/{agent}"));
    let reader = w.scoped(&w.root, &["read:agents"]).await;
    w.t.get(&reader, agents).await.expect(200);
    assert_eq!(w.t.call(Method::HEAD, &reader, &one_agent, None).await.status, 200);
    w.t.put(&reader, &one_agent, json!({"name": "x"})).await.refused(403, "INSUFFICIENT_SCOPE");
    w.t.get(&reader, "/api/v1/projects").await.refused(403, "INSUFFICIENT_SCOPE");
    let writer = w.scoped(&w.root, &["write:agents"]).await;
    w.t.put(&writer, &one_agent, json!({"name": "x"})).await.expect(200);
    w.t.get(&writer, agents).await.expect(200);
    let all = w.scoped(&w.root, &["read:*", "write:projects"]).await;
    w.t.get(&all, "/api/v1/users").await.expect(200);
    w.t.post(&all, "/api/v1/projects", json!({"name": "p"})).await.expect(201);
    w.t.post(&all, "/api/v1/users", json!({})).await.refused(403, "INSUFFICIENT_SCOPE");
}

#[tokio::test]
async fn a_scope_gives_nobody_more_than_their_role() {
    let w = World::new().await;
    let token = w.scoped(&w.ada, &["write:*"]).await;
    w.t.get(&token, "/api/v1/users").await.refused(403, "INSUFFICIENT_PERMISSIONS");
    w.t.post(&token, "/api/v1/projects", json!({"name": "p"})).await.refused(403, "INSUFFICIENT_PERMISSIONS");
}

#[tokio::test]
async fn a_route_with_two_names_is_within_the_scope_of_either() {
    let w = World::new().await;
    let agent = w.agent(&w.root).await;
    let tokens = w.scoped(&w.root, &["read:api-tokens"]).await;
    w.t.get(&tokens, "/api/v1/tokens").await.expect(200);
    w.t.get(&tokens, TOKENS).await.expect(200);
    let agents = w.scoped(&w.root, &["write:agents"]).await;
    let history = format!("/api/v1/agents/{agent}/budget/history");
    w.t.get(&agents, &history).await.expect(200);
    let edit = json!({"budget": 20});
    w.t.call(Method::PATCH, &agents, &format!("/api/v1/agents/{agent}/budget"), Some(edit)).await.expect(200);
    w.t.get(&agents, &format!("/api/v1/limits/agents/{agent}/budget")).await.refused(403, "INSUFFICIENT_SCOPE");
    let limits = w.scoped(&w.root, &["read:limits"]).await;
    w.t.get(&limits, &format!("/api/v1/limits/agents/{agent}/budget")).await.expect(200);
    w.t.get(&limits, &format!("/api//v1/agents/{agent}")).await.refused(403, "INSUFFICIENT_SCOPE");
}

/// Every route that is described as one for users, asked with a token that has no business there.
#[tokio::test]
async fn no_route_forgets_the_scopes() {
    let w = World::with(|services| {
        let settings = crate::limit::LimitSettings {
            user_reads: crate::limit::Rate::per_minute(0),
            user_writes: crate::limit::Rate::per_minute(0),
            ..crate::limit::LimitSettings::default()
        };
        services.limits = crate::limit::Limits::new(settings, std::sync::Arc::clone(&services.clock));
    })
    .await;
    let token = w.scoped(&w.root, &["write:nothing-of-ours"]).await;
    let document = serde_json::to_value(crate::openapi::openapi()).expect("JSON");
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            if operation["security"].is_null() {
                continue;
            }
            let method: Method = method.to_uppercase().parse().expect("a method");
            let uri = path.replace("{id}", "1").replace(['{', '}'], "");
            w.t.call(method.clone(), &token, &uri, Some(json!({}))).await.refused(403, "INSUFFICIENT_SCOPE");
            asked += 1;
        }
    }
    assert!(asked > 50, "{asked}");
}

#[tokio::test]
async fn what_a_narrowed_token_makes_is_not_wider_than_itself() {
    let w = World::new().await;
    let token = w.scoped(&w.ada, &["write:tokens", "read:agents"]).await;
    let create = async |scopes: &[&str]| w.t.post(&token, TOKENS, json!({"name": "n", "scopes": scopes})).await;
    create(&["write:tokens", "write:agents"]).await.refused(403, "INSUFFICIENT_SCOPE");
    create(&["read:*"]).await.refused(403, "INSUFFICIENT_SCOPE");
    create(&["read:agents"]).await.expect(201);
    let like = create(&[]).await.expect(201);
    assert_eq!(like["scopes"], json!(["write:tokens", "read:agents"]), "nothing asked for: as narrow as its maker");
    let (_, wide) = w.token(&w.ada).await;
    w.t.post(&token, &format!("{}/rotate", one(wide)), json!({})).await.refused(403, "INSUFFICIENT_SCOPE");
    let (_, narrow) = secret(&like);
    w.t.post(&token, &format!("{}/rotate", one(narrow)), json!({})).await.expect(200);
}
