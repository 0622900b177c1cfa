//! IC tokens.

use serde_json::{Value, json};

use super::world::{World, fields};
use crate::testing::{Persona, Reply, START};

fn uri(id: i64) -> String {
    format!("/api/v1/agents/{id}/ic-token")
}

async fn regenerate(w: &World, who: &Persona, id: i64) -> Reply {
    w.t.post(who, &format!("{}/regenerate", uri(id)), json!({})).await
}

/// An agent with a key, which can borrow once it has a token.
async fn keyed(w: &World) -> i64 {
    let key = w.key("openai").await;
    w.agent_with(json!({"owner_id": w.ada.id, "provider_key_id": key})).await
}

async fn handshake(w: &World, token: &str) -> Reply {
    let body = json!({"ic_token": token, "requested_budget": 1_000_000});
    w.t.post((), "/api/v1/budget/handshake", body).await
}

fn token(issued: &Value) -> String {
    issued["ic_token"].as_str().expect("a token").to_owned()
}

#[tokio::test]
async fn a_token_is_shown_once_and_is_good_to_borrow_with() {
    let w = World::new().await;
    let id = keyed(&w).await;
    let issued = w.t.post(&w.ada, &uri(id), json!({})).await.expect(201);
    assert_eq!((&issued["agent_id"], &issued["expires_at"]), (&json!(id), &Value::Null));
    assert_eq!(issued["created_at"], START.secs());
    assert!(issued["warning"].as_str().is_some_and(|warning| !warning.is_empty()));
    handshake(&w, &token(&issued)).await.expect(200);
    let shown = w.t.get(&w.ada, &uri(id)).await.expect(200);
    let expected = json!({"agent_id": id, "has_ic_token": true, "created_at": START.secs(), "expires_at": null,
        "last_used_at": START.millis()});
    assert_eq!(shown, expected);
    let agent = w.t.get(&w.ada, &format!("/api/v1/agents/{id}")).await.expect(200);
    assert_eq!((&agent["has_ic_token"], &agent["ic_token_created_at"]), (&json!(true), &json!(START.secs())));
    assert_eq!(agent["status"], "active");
}

#[tokio::test]
async fn an_agent_without_a_token_says_so() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    let none = json!({"agent_id": id, "has_ic_token": false, "created_at": null, "expires_at": null,
        "last_used_at": null});
    assert_eq!(w.t.get(&w.ada, &uri(id)).await.expect(200), none);
}

#[tokio::test]
async fn a_second_token_is_refused_while_there_is_one() {
    let w = World::new().await;
    let id = keyed(&w).await;
    let first = w.t.post(&w.ada, &uri(id), json!({})).await.expect(201);
    w.t.post(&w.root, &uri(id), json!({})).await.refused(409, "IC_TOKEN_EXISTS");
    handshake(&w, &token(&first)).await.expect(200);
}

#[tokio::test]
async fn of_two_at_once_one_gets_it() {
    let w = World::new().await;
    let id = w.agent(&w.ada).await;
    let uri = uri(id);
    let (a, b) = tokio::join!(w.t.post(&w.ada, &uri, json!({})), w.t.post(&w.root, &uri, json!({})));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}

#[tokio::test]
async fn a_regenerated_token_ends_the_old_one_on_the_next_request() {
    let w = World::new().await;
    let id = keyed(&w).await;
    let first = regenerate(&w, &w.ada, id).await.expect(200);
    assert_eq!(first["old_token_invalidated"], false);
    let lease = handshake(&w, &token(&first)).await.expect(200)["lease_id"].clone();
    let second = regenerate(&w, &w.ada, id).await.expect(200);
    assert_eq!(second["old_token_invalidated"], true);
    assert_ne!(token(&first), token(&second), "in the same second");
    handshake(&w, &token(&first)).await.refused(401, "INVALID_IC_TOKEN");
    let refresh = json!({"ic_token": token(&second), "current_lease_id": lease, "lease_id": lease});
    w.t.post((), "/api/v1/budget/refresh", refresh).await.refused(403, "STALE_EPOCH");
    handshake(&w, &token(&second)).await.expect(200);
}

#[tokio::test]
async fn a_removed_token_is_refused_and_removing_none_is_fine() {
    let w = World::new().await;
    let id = keyed(&w).await;
    let issued = w.t.post(&w.ada, &uri(id), json!({})).await.expect(201);
    for _ in 0..2 {
        assert_eq!(w.t.delete(&w.ada, &uri(id)).await.status, 204);
    }
    handshake(&w, &token(&issued)).await.refused(401, "INVALID_IC_TOKEN");
    let expected = ["PROVIDER_CREATED", "AGENT_CREATED", "IC_TOKEN_CREATED", "IC_TOKEN_REVOKED"];
    assert_eq!(w.t.audited().await, expected, "the second time nothing happened");
}

#[tokio::test]
async fn a_token_ends_after_the_days_asked_for() {
    let w = World::new().await;
    let id = keyed(&w).await;
    let issued = w.t.post(&w.ada, &uri(id), json!({"expires_in_days": 1})).await.expect(201);
    assert_eq!(issued["expires_at"], START.secs() + 86_400);
    assert_eq!(w.t.get(&w.ada, &uri(id)).await.expect(200)["expires_at"], START.secs() + 86_400);
    handshake(&w, &token(&issued)).await.expect(200);
    for bad in [json!(0), json!(3_651), json!(1.5), json!("7")] {
        let body = json!({"expires_in_days": bad});
        let error = w.t.post(&w.root, &uri(id), body.clone()).await.refused(400, "VALIDATION_ERROR");
        assert_eq!(fields(&error), ["expires_in_days"]);
        let again = format!("{}/regenerate", uri(id));
        w.t.post(&w.ada, &again, body).await.refused(400, "VALIDATION_ERROR");
    }
    w.t.clock.advance_millis(86_400_000);
    handshake(&w, &token(&issued)).await.refused(401, "INVALID_IC_TOKEN");
}

#[tokio::test]
async fn owners_keep_their_tokens_and_viewers_may_only_replace_them() {
    let w = World::new().await;
    let own = w.agent(&w.vera).await;
    w.t.post(&w.vera, &uri(own), json!({})).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    w.t.delete(&w.vera, &uri(own)).await.refused(403, "INSUFFICIENT_PERMISSIONS");
    regenerate(&w, &w.vera, own).await.expect(200);
    w.t.get(&w.vera, &uri(own)).await.expect(200);
    for who in [&w.ada, &w.bob] {
        w.t.post(who, &uri(own), json!({})).await.refused(403, "ACCESS_DENIED");
        w.t.delete(who, &uri(own)).await.refused(403, "ACCESS_DENIED");
        regenerate(&w, who, own).await.refused(403, "ACCESS_DENIED");
    }
    for reply in [
        w.t.post(&w.ada, &uri(99), json!({})).await,
        w.t.delete(&w.ada, &uri(99)).await,
        regenerate(&w, &w.vera, 99).await,
    ] {
        reply.refused(404, "AGENT_NOT_FOUND");
    }
}

#[tokio::test]
async fn the_token_is_nowhere_but_in_its_answer() {
    let w = World::new().await;
    let id = keyed(&w).await;
    let issued = token(&w.t.post(&w.ada, &uri(id), json!({})).await.expect(201));
    let replaced = token(&regenerate(&w, &w.ada, id).await.expect(200));
    w.t.delete(&w.ada, &uri(id)).await.expect(204);
    let audit = w.audit_text().await;
    let shown = w.t.get(&w.root, "/api/v1/agents").await.text();
    for token in [issued, replaced] {
        let signature = token.rsplit('.').next().expect("three parts");
        assert!(!audit.contains(signature) && !shown.contains(signature));
        assert!(!audit.contains(auth::TokenHash::of(&token).as_str()));
    }
    assert!(audit.contains("[REDACTED]"));
}
